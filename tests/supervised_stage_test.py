"""The supervised loop: fine-tuning through the entry, from a base made here, and how a wrong start or file is told."""

import collections
import json
import pathlib

import jax
import numpy as np
import pytest
from handmade import DEEPSEEK, tensors, write_folder
from tiny_run import BASE, SFT, ZERO, merged, rows, timeless, write_config

from r1jax import config
from r1jax.core.sharding import MeshConfig, make_mesh
from r1jax.data.batching import pack
from r1jax.data.miniworld.documents import document
from r1jax.data.sft import Instructions
from r1jax.data.tasks import is_held_out
from r1jax.models.io import is_model, load_model
from r1jax.stages import base_keys
from r1jax.stages.supervised import Batches, SupervisedConfig
from r1jax.text import prompt_format
from r1jax.text.prompt_format import PromptFormat
from r1jax.tools import train
from r1jax.training import loop
from r1jax.training.state import OptimizerConfig, learning_rate

pytestmark = pytest.mark.usefixtures("in_this_process")
ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def spec(tmp_path_factory) -> str:
    """A fine-tuning page whose base is the page of a run that makes one."""
    folder = tmp_path_factory.mktemp("sft")
    base = write_config(folder / "base.py", BASE)
    return write_config(folder / "sft.py", merged(SFT, base=base))


@pytest.fixture(scope="module")
def finished(spec) -> pathlib.Path:
    workdir = pathlib.Path(spec).parent / "runs" / "sft"
    assert main(spec, workdir) == 0
    return workdir


def main(spec: str, workdir: pathlib.Path, *overrides: str) -> int:
    return train.main([f"--config={spec}", f"--workdir={workdir}", *(f"--config.{each}" for each in overrides)])


def fails(capsys, *args) -> str:
    capsys.readouterr()
    assert main(*args) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def cfg(**changes) -> SupervisedConfig:
    return config.parse(SupervisedConfig, merged(SFT, base="somewhere", **changes))


def test_a_model_is_fine_tuned_from_its_base_and_its_loss_falls(finished):
    losses = [row["loss"] for row in rows(finished / "metrics.jsonl")]
    assert len(losses) == SFT["num_steps"] and is_model(finished / "model")
    assert np.mean(losses[-5:]) < 0.7 * losses[0]
    assert prompt_format.read(finished / "model") == PromptFormat("plain", False)  # the marker is not said
    base = next(finished.parent.glob("base-*")) / "model"
    assert prompt_format.read(base) == prompt_format.R1_ZERO  # which its documents show
    assert (finished / "model" / "tokenizer.model").read_bytes() == next(
        finished.parent.glob("base-*/model/tokenizer.model")
    ).read_bytes()


def test_trap33_stopped_between_and_resumed_it_is_the_same_run(finished, spec, monkeypatch):
    workdir = finished.parent / "resumed"
    write = loop.MetricsWriter.write

    def stop_at_20(self, step, row):
        if step == 20:
            raise ValueError("stopped")
        write(self, step, row)

    with monkeypatch.context() as patch:
        patch.setattr(loop.MetricsWriter, "write", stop_at_20)
        assert main(spec, workdir, "checkpoint.every=10") == 2
    assert main(spec, workdir, "checkpoint.every=10") == 0
    whole, resumed = (map(timeless, rows(folder / "metrics.jsonl")) for folder in (finished, workdir))
    assert list(whole) == list(resumed)


@pytest.mark.slow
def test_trap33_from_a_hugging_face_folder_with_everything_that_adds_to_the_loss_too(tmp_path, tokenizer, monkeypatch):
    """Experts whose biases move, a block that looks ahead, bfloat16: the weights too are the same to the last bit."""
    model = DEEPSEEK | {"num_hidden_layers": 2}
    values = {name: 0.1 * value if value.ndim > 1 else value for name, value in tensors(model).items()}
    write_folder(tmp_path / "theirs", model, values)
    tokenizer.save(tmp_path / "theirs")
    spec = write_config(
        tmp_path / "sft.py",
        merged(
            SFT,
            base=str(tmp_path / "theirs"),
            num_steps=5,
            checkpoint={"every": 2, "keep": 1},
            auxiliary={"balance_weight": 0.01, "bias_rate": 0.01, "mtp_weight": 0.3},
            compute={"dtype": "bfloat16", "remat": True},
        ),
    )
    write = loop.MetricsWriter.write

    def stop_at_3(self, step, row):
        if step == 3:
            raise ValueError("stopped")
        write(self, step, row)

    assert main(spec, tmp_path / "whole") == 0
    with monkeypatch.context() as patch:
        patch.setattr(loop.MetricsWriter, "write", stop_at_3)
        assert main(spec, tmp_path / "resumed") == 2
    assert main(spec, tmp_path / "resumed") == 0
    whole, resumed = (rows(tmp_path / name / "metrics.jsonl") for name in ("whole", "resumed"))
    assert [timeless(row) for row in whole] == [timeless(row) for row in resumed]
    assert whole[-1]["skipped"] == 0 and whole[-1]["mtp_loss"] > 0 and "moe/violation/max" in whole[-1]
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    before, a, b = (load_model(tmp_path / name, mesh)[0] for name in ("theirs", "whole/model", "resumed/model"))
    assert jax.tree.all(jax.tree.map(np.array_equal, a, b))
    assert all(np.any(x != y) for x, y in zip(jax.tree.leaves(before), jax.tree.leaves(a), strict=True))


def batch_at(batches: Batches, step: int):
    """The batch of a step, and how many examples found no room in it."""
    made = batches.at(step)
    assert made.tokens == (made.batch.weights > 0).sum()
    return made.batch, made.metrics["no_room"]


def test_without_instructions_the_documents_are_what_they_were(tokenizer):
    plain = config.parse(SupervisedConfig, merged(BASE, seed=3))
    texts = [document(plain.corpus, 3, index) for index in range(8, 16)]  # of the second step
    ids = [[*tokenizer.encode(text), tokenizer.eos_ids[0]] for text in texts]
    expected, left_over = pack([(each, [1] * len(each)) for each in ids], plain.batch_size, plain.seq_len)
    batch, no_room = batch_at(Batches(plain, tokenizer), 1)
    assert no_room == left_over
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(batch), jax.tree.leaves(expected), strict=True))


def test_trap04_a_batch_counts_responses_alone_and_says_how_many_found_no_room(tokenizer):
    few = cfg(batch_size=2, documents_per_step=6)
    batch, no_room = batch_at(Batches(few, tokenizer), 0)
    examples = Instructions(few.data, few.seed, tokenizer, few.seq_len).take(0, 6)
    assert 0 < no_room < 6
    assert int(batch.segments.max(axis=1).sum()) == 6 - no_room
    total = sum(sum(mask) for _, mask in examples)
    assert 0 < (batch.weights > 0).sum() < total
    assert batch.weights.sum() == pytest.approx(1.0)
    enough = cfg(batch_size=6, documents_per_step=6)
    batch, no_room = batch_at(Batches(enough, tokenizer), 0)
    assert no_room == 0 and (batch.weights > 0).sum() == total


@pytest.fixture
def forty(tmp_path, tokenizer) -> pathlib.Path:
    """A file of forty examples, no two alike."""
    path = tmp_path / "forty.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{i}?", "response": "a " * (5 + i)}) + "\n" for i in range(40)))
    return path


def of_epochs(path: pathlib.Path, **changes) -> SupervisedConfig:
    changes = {"epochs": 2.0, "num_steps": 0, "data__held_out_share": 0.0, "batch_size": 4} | changes
    return cfg(data__path=str(path), **changes)


def test_two_epochs_are_as_many_updates_as_the_files_examples_make(forty, tokenizer, capsys):
    for per_step, epochs, steps in ((8, 2.0, 10), (8, 0.5, 3), (7, 2.0, 12), (100, 1.0, 1)):
        batches = Batches(of_epochs(forty, documents_per_step=per_step, epochs=epochs), tokenizer)
        assert batches.num_steps == steps
        assert batches.size == f"{epochs:g} epochs of 40 examples: {steps} steps of 4 x 160 tokens"
    fixed = Batches(of_epochs(forty, epochs=0.0, num_steps=3, documents_per_step=8), tokenizer)
    assert (fixed.num_steps, fixed.size) == (3, "3 steps of 4 x 160 tokens")


def test_filled_batches_show_every_example_as_often_as_there_are_epochs(forty, tokenizer):
    batches = Batches(of_epochs(forty, documents_per_step=0), tokenizer)
    seen = collections.Counter()
    for step in range(batches.num_steps):
        batch, no_room = batch_at(batches, step)
        assert no_room == 0 and batch.weights.sum() == pytest.approx(1.0)
        for row, segments in zip(batch.targets, batch.segments, strict=True):
            seen.update(tuple(row[segments == segment].tolist()) for segment in range(1, segments.max() + 1))
    assert len(seen) == 40 and set(seen.values()) == {2}
    # A resumed run begins in the middle; and a plan for a number of updates is the beginning of the same.
    middle = Batches(of_epochs(forty, documents_per_step=0), tokenizer).at(2).batch
    few = Batches(of_epochs(forty, documents_per_step=0, epochs=0.0, num_steps=3), tokenizer)
    assert few.num_steps == 3 < batches.num_steps
    for other in (batches.at(2).batch, few.at(2).batch):
        assert jax.tree.all(jax.tree.map(np.array_equal, middle, other))
    assert batches.at(batches.num_steps).batch.weights.sum() == 0  # after the end there is nothing


def test_a_run_of_epochs_resumes_and_its_rate_falls_to_a_tenth(forty, spec, finished, monkeypatch, capsys):
    options = (
        f"data.path={forty}",
        "data.held_out_share=0.0",
        "num_steps=0",
        "epochs=2.0",
        "documents_per_step=0",
        "batch_size=4",
        "optimizer.schedule=cosine",
        "optimizer.warmup_steps=0",
        "checkpoint.every=2",
    )
    write = loop.MetricsWriter.write

    def stop_at_3(self, step, row):
        if step == 3:
            raise ValueError("stopped")
        write(self, step, row)

    with monkeypatch.context() as patch:
        patch.setattr(loop.MetricsWriter, "write", stop_at_3)
        assert main(spec, finished.parent / "epochs", *options) == 2
    assert main(spec, finished.parent / "epochs", *options) == 0
    found = rows(finished.parent / "epochs" / "metrics.jsonl")
    summary = f"resuming at step 2; 2 epochs of 40 examples: {len(found)} steps of 4 x 160 tokens"
    assert summary in capsys.readouterr().out
    schedule = learning_rate(OptimizerConfig(1e-2, "cosine"), len(found))
    assert [row["step"] for row in found] == list(range(len(found)))
    assert [row["learning_rate"] for row in found] == pytest.approx([float(schedule(i)) for i in range(len(found))])
    assert float(schedule(len(found))) == pytest.approx(1e-3)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"epochs": 2.0}, "num_steps=30 and epochs=2.0: set the length of training by exactly one"),
        ({"num_steps": 0}, "num_steps=0 and epochs=0.0"),
        ({"num_steps": 0, "epochs": 2.0}, "epochs=2.0 is of files: name them by data.path or data.paths"),
        ({"soft_targets": "runs/teach"}, "soft_targets=runs/teach is of files"),
        ({"tokenizer": "configs/base.py:mini"}, "a base brings its own tokenizer"),
    ],
)
def test_trap34_a_run_of_no_length_or_of_two_is_an_error(changes, words):
    with pytest.raises(config.ConfigError, match=words):
        cfg(**changes)


def test_a_model_from_nothing_may_take_the_vocabulary_of_another(finished, spec, tmp_path, monkeypatch):
    """By the config that makes the other, or by its folder; what makes the student is keyed by the one it took."""
    base = train.read_config(spec, []).base
    student = merged(BASE, tokenizer=base, num_steps=1, model__attention_bias=True)
    page, workdir = write_config(tmp_path / "student.py", student), finished.parent / "student"
    assert main(page, workdir) == 0
    made = next(finished.parent.glob("base-*/model"))
    assert (workdir / "model/tokenizer.model").read_bytes() == (made / "tokenizer.model").read_bytes()
    assert json.loads((workdir / "config.json").read_text())["tokenizer_key"] == made.parent.name

    def key(tree) -> str:
        return base_keys.base_key(config.parse(SupervisedConfig, tree))

    by_folder = merged(student, tokenizer=str(made))
    assert len({key(student), key(by_folder), key(merged(student, tokenizer=""))}) == 3
    write_config(pathlib.Path(base), merged(BASE, vocab_size=500))
    other = key(student)
    write_config(pathlib.Path(base), BASE)
    assert other != key(student)


def test_the_run_says_what_of_a_file_is_left_out(tokenizer, tmp_path, capsys):
    path = tmp_path / "mine.jsonl"
    lines = [json.dumps({"prompt": f"{i} + {i}?", "response": str(2 * i)}) for i in range(50)]
    path.write_text("\n".join([*lines, "nonsense", json.dumps({"prompt": "a", "response": "b " * 200})]) + "\n")
    with pytest.raises(ValueError, match=r"mine\.jsonl:51: not JSON"):
        Batches(cfg(data__path=str(path)), tokenizer)
    Batches(cfg(data__path=str(path), data__skip_bad_lines=True), tokenizer)
    [line] = capsys.readouterr().out.splitlines()
    held_out = sum(is_held_out(f"{i} + {i}?", 0.3) for i in range(50))
    assert line == f"examples left out of {path}: 1 bad, {held_out} held-out questions, 1 longer than seq_len=160"


def test_a_tokenizer_without_a_chat_template_says_so_at_the_start(finished, spec, capsys):
    assert "chat template" in fails(capsys, spec, finished.parent / "chat", "data.chat=true")


@pytest.mark.parametrize("tree", [SFT, ZERO])
def test_a_page_that_leaves_the_base_to_the_user_asks_for_it_by_name(tree, tmp_path, capsys):
    spec = write_config(tmp_path / "page.py", tree)
    message = fails(capsys, spec, tmp_path / "run")
    assert all(word in message for word in ("config.base is empty", "--config.base=", "Hugging Face", ".gguf"))
    assert not (tmp_path / "run").exists()
    assert train.read_config(spec, ["base=some/folder"]).base == "some/folder"


def test_trap34_how_a_base_is_computed_is_not_said_of_a_model_that_has_none():
    with pytest.raises(config.ConfigError, match="config: compute is for a base; a model's shape says by its own"):
        config.parse(SupervisedConfig, merged(BASE, compute={"dtype": "bfloat16"}))


def test_rl_may_not_hold_out_what_the_fine_tuning_before_it_was_taught(spec, tmp_path):
    zero = write_config(tmp_path / "zero.py", merged(ZERO, base=spec))
    base_keys.check_split(train.read_config(zero, ["data.held_out_share=0.3"]))
    with pytest.raises(config.ConfigError, match=r"held_out_share=0.4 .* 0.3"):
        base_keys.check_split(train.read_config(zero, ["data.held_out_share=0.4"]))


def test_a_base_is_keyed_by_the_examples_that_made_it(tmp_path, spec):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"prompt": "a", "response": "b"}\n')
    base = train.read_config(spec, []).base

    def key(**changes) -> str:
        return base_keys.base_key(config.parse(SupervisedConfig, merged(SFT, base=base, **changes)))

    embedded, one = key(), key(data__path=str(path))
    path.write_text('{"prompt": "a", "response": "c"}\n')
    assert len({embedded, one, key(data__path=str(path)), key(data__held_out_share=0.0)}) == 4
    assert key() == embedded
