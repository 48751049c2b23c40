"""Tokenised examples on disk: the same examples, notices and errors as in memory, made once and read as needed."""

import collections
import dataclasses
import functools
import operator
import os

import pytest
from tiny_run import SFT, merged

from r1jax import config
from r1jax.data import sft, token_cache, tokenizing
from r1jax.data.sft import InstructionConfig, Instructions
from r1jax.io import jsonl
from r1jax.stages.config import SupervisedConfig
from r1jax.stages.supervised import Batches

SEQ_LEN = 60


@pytest.fixture(autouse=True)
def small_files_too(monkeypatch):
    monkeypatch.setattr(sft, "_CACHED_BYTES", 0)
    monkeypatch.setattr(tokenizing, "process_count", lambda: 2)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> InstructionConfig:
    """Two files of more than a chunk, with bad lines, unread keys, held-out questions and rows that are too long."""
    paths = [tmp_path_factory.mktemp("data") / name for name in ("a.jsonl", "b.jsonl")]
    for number, path in enumerate(paths):
        rows = [
            {
                "prompt": f"What is {number} + {i}?",
                "response": "so " * (i % 50) + str(number + i),
                **({"note": 1} if i % 7 == 0 else {}),
            }
            for i in range(45)
        ]
        rows.insert(40, {"prompt": "What?"})
        jsonl.write(path, rows)
        with path.open("a") as file:
            file.write("{no JSON\n")
    return InstructionConfig(paths=tuple(map(str, paths)), template="plain", held_out_share=0.3, skip_bad_lines=True)


def facts(of: Instructions) -> tuple:
    return of.left_out, of.unread, of.open_thoughts, of.notice


def test_examples_notices_and_order_are_those_in_memory(tmp_path, tokenizer, data):
    in_memory = Instructions(data, 3, tokenizer, SEQ_LEN)
    cached = Instructions(data, 3, tokenizer, SEQ_LEN, tmp_path)
    assert isinstance(cached.examples, token_cache.TokenizedExamples) and len(cached.examples) > 20
    assert list(cached.examples) == in_memory.examples and cached.examples[2:5] == in_memory.examples[2:5]
    assert cached.take(5, 100) == in_memory.take(5, 100) and cached.lengths(5, 100) == in_memory.lengths(5, 100)
    assert facts(cached) == facts(in_memory)
    assert cached.left_out["bad"] == 4 and cached.left_out[f"longer than seq_len={SEQ_LEN}"] > 0
    assert cached.unread == collections.Counter({"note": 14})


@pytest.mark.parametrize("per_step", [0, 4])
def test_batches_are_bitwise_those_in_memory(tmp_path, tokenizer, data, per_step):
    tree = merged(SFT, batch_size=4, seq_len=SEQ_LEN, documents_per_step=per_step, num_steps=0, epochs=2.0)
    tree["data"] = config.to_dict(data)
    cfg = config.parse(SupervisedConfig, tree)
    in_memory, cached = Batches(cfg, tokenizer), Batches(cfg, tokenizer, tmp_path)
    assert in_memory.num_steps == cached.num_steps and in_memory.size == cached.size
    for step in range(in_memory.num_steps):
        a, b = in_memory.at(step), cached.at(step)
        assert a.metrics == b.metrics and a.batch.tokens.tobytes() == b.batch.tokens.tobytes()
        assert a.batch.weights.tobytes() == b.batch.weights.tobytes()


def test_a_second_run_tokenises_nothing_and_other_settings_or_bytes_do(tmp_path, tokenizer, data, monkeypatch):
    first = Instructions(data, 0, tokenizer, SEQ_LEN, tmp_path)
    [folder] = tmp_path.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(tokenizing, "in_processes", lambda *some: pytest.fail("tokenised again"))
        again = Instructions(dataclasses.replace(data, marker=""), 1, tokenizer, SEQ_LEN, tmp_path)
    assert list(again.examples) == list(first.examples) and facts(again) == facts(first)
    Instructions(data, 0, tokenizer, SEQ_LEN + 1, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    (folder / "ids.bin").write_bytes((folder / "ids.bin").read_bytes()[:-1])
    with pytest.raises(ValueError, match="is damaged: delete it"):
        Instructions(data, 0, tokenizer, SEQ_LEN, tmp_path)


def test_a_bad_line_is_the_same_error_and_leaves_no_cache(tmp_path, tokenizer, data):
    strict, messages = dataclasses.replace(data, skip_bad_lines=False), []
    for cache in None, tmp_path:
        with pytest.raises(ValueError, match=r"a\.jsonl:41: neither 'prompt' and 'response' nor 'messages'") as error:
            Instructions(strict, 0, tokenizer, SEQ_LEN, cache)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert not any(token_cache.is_whole(folder) for folder in tmp_path.iterdir())
    whole = Instructions(data, 0, tokenizer, SEQ_LEN, tmp_path)  # over what is left of the other
    assert list(whole.examples) == Instructions(data, 0, tokenizer, SEQ_LEN).examples


def test_results_come_in_order_and_a_process_that_ends_or_fails_is_an_error():
    divide = functools.partial, (operator.floordiv, 100)
    assert list(tokenizing.in_processes(*divide, range(1, 21), 2)) == [100 // i for i in range(1, 21)]
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        list(tokenizing.in_processes(*divide, [5, 0], 1))
    with pytest.raises(RuntimeError, match=r"has ended \(status 3\)"):
        list(tokenizing.in_processes(functools.partial, (os._exit,), [3, 3], 1))
