"""The real tokenizers of Qwen2.5, Llama 3, DeepSeek-V3 and SmolLM2: the same ids, text and chats as transformers gives.

They are fetched (see fetched.py); without them, or without transformers, these tests are skipped and say so.
Decoding is compared with `clean_up_tokenization_spaces=False`: Llama's configuration asks for the clean-up, which was
made for word pieces and changes text (" ." to "."); Llama's own tokenizer does not clean, nor does transformers 5.
"""

import dataclasses
import json
import shutil
from typing import Any

import pytest
from fetched import TOKENIZERS, smollm2_gguf, tokenizer_folder
from nasty import TEXTS, random_ids
from tiny_bpe import train, write_gguf
from tokenizers import Tokenizer, pre_tokenizers

from r1jax.text import tokenizer as text
from r1jax.text.gguf_tokenizer import read_files
from r1jax.text.streaming import TextStream

USER, SYSTEM = {"role": "user", "content": " What is 1 + 1?\n"}, {"role": "system", "content": "Be brief: “<&>” 你好"}
TURNS = [USER, {"role": "assistant", "content": "2"}, {"role": "user", "content": "And 2 + 2?"}]
PARAMETERS = {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}, "required": ["a"]}
ADD = {"name": "add", "description": "Adds <two> numbers.", "parameters": PARAMETERS}
TOOLS = [{"type": "function", "function": ADD}]


def called(arguments: Any, content: str | None) -> list[dict[str, Any]]:
    """A turn in which the assistant calls a tool and answers from what it gave."""
    call = {"type": "function", "function": {"name": "add", "arguments": arguments}}
    return [
        USER,
        {"role": "assistant", "content": content, "tool_calls": [call]},
        {"role": "tool", "content": "2"},
        {"role": "assistant", "content": "It is 2."},
    ]


@dataclasses.dataclass(frozen=True)
class Pair:
    """Our tokenizer and transformers' for the same files; `as_read` has its ids before the fixture mends it."""

    name: str
    ours: text.Tokenizer
    theirs: Any
    as_read: dict[str, list[int]] | None = None


@pytest.fixture(scope="module", autouse=True)
def transformers():
    """Imported where these tests run: every process of pytest collects them."""
    return pytest.importorskip("transformers")


@pytest.fixture(scope="module", params=[*TOKENIZERS, "smollm2"])
def pair(request, transformers) -> Pair:
    if request.param == "smollm2":
        path = smollm2_gguf()
        theirs = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        # transformers 5 takes a byte-level .gguf whose pre-tokenizer it does not know for GPT-2's. SmolLM2's own cuts
        # single digits first; test_smollm2_differs_from_transformers_only_at_digits has the difference.
        as_read = {each: theirs.encode(each) for each in (*TEXTS, "a  5")}
        theirs.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        return Pair(request.param, text.load(path), theirs, as_read)
    folder = tokenizer_folder(request.param)
    return Pair(request.param, text.load(folder), transformers.AutoTokenizer.from_pretrained(folder))


def test_ids_are_those_of_transformers(pair):
    bos = {"llama3_1": [128000], "deepseek_v3": [0]}.get(pair.name, [])
    assert pair.ours.encode("") == bos
    for each in TEXTS:
        theirs = pair.theirs.encode(each, add_special_tokens=False)
        theirs = theirs[1:] if theirs[:1] == bos != [] else theirs  # the text began with it
        assert pair.ours.encode(each) == bos + theirs, each


def test_the_text_of_ids_is_that_of_transformers(pair):
    assert pair.ours.vocab_size == len(pair.theirs)
    rows = random_ids(pair.ours.vocab_size, 300) + [pair.ours.encode(each) for each in TEXTS]
    for ids in rows:
        known = [i for i in ids if i < pair.ours.vocab_size]
        theirs = pair.theirs.decode(known, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert pair.ours.decode(ids) == theirs, ids


def test_streamed_pieces_join_to_the_whole_text(pair):
    for ids in random_ids(pair.ours.vocab_size, 300, seed=1) + [pair.ours.encode(each) for each in TEXTS]:
        stream = TextStream(pair.ours)
        assert "".join([*(stream.push([i]) for i in ids), stream.flush()]) == pair.ours.decode(ids), ids


@pytest.mark.parametrize("add_generation_prompt", [True, False])
def test_trap06_chats_are_rendered_as_transformers_renders_them(pair, add_generation_prompt, transformers):
    chats = [([USER], {}), ([SYSTEM, USER], {}), (TURNS, {}), ([SYSTEM, *TURNS], {}), (TURNS[:2], {})]
    if pair.name == "qwen2_5":
        chats += [
            (TURNS, {"tools": TOOLS}),
            ([SYSTEM, USER], {"tools": TOOLS}),
            (called({"a": 1, "b": "é"}, "Let me see."), {"tools": TOOLS}),
        ]
    if pair.name == "deepseek_v3":
        chats += [(called('{"a": 1}', None), {"tools": TOOLS}), (called('{"a": 1}', None)[:3], {})]
    for messages, variables in chats:
        ours = pair.ours.render_chat(messages, add_generation_prompt, **variables)
        asked = {"add_generation_prompt": add_generation_prompt, **variables}
        if any(message["content"] is None for message in messages):
            # apply_chat_template of transformers 5 leaves out what is None, and DeepSeek's template, which asks for a
            # content that is None, then fails in it. The renderer below it does as the template's authors meant.
            (theirs,), _ = transformers.utils.chat_template_utils.render_jinja_template(
                [messages], chat_template=pair.theirs.chat_template, **pair.theirs.special_tokens_map, **asked
            )
        else:
            theirs = pair.theirs.apply_chat_template(messages, tokenize=False, **asked)
        assert ours == theirs
        ids = pair.ours.encode(ours)
        assert ids == pair.theirs.encode(ours, add_special_tokens=False)
        if bos := pair.ours.encode(""):
            assert ids[:1] == bos and ids.count(bos[0]) == 1


def test_trap05_the_end_of_a_turn_comes_first_among_all_ends(pair, tmp_path):
    ends = {"qwen2_5": (151645, 151643), "llama3_1": (128009, 128001), "deepseek_v3": (1,), "smollm2": (2, 0)}
    assert pair.ours.eos_ids == ends[pair.name]
    assert pair.ours.pad_id == {"qwen2_5": 151643, "llama3_1": 128009, "deepseek_v3": 1, "smollm2": 2}[pair.name]
    if pair.name == "llama3_1":
        # The package has Llama 3's vocabulary, where 128008 (end of message) has no name yet: 3.1's own file says it.
        folder = shutil.copytree(tokenizer_folder(pair.name), tmp_path / "model")
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [128001, 128008, 128009]}))
        assert text.load(folder).eos_ids == (128009, 128001, 128008)


def test_what_is_saved_reads_back_the_same_here_and_in_transformers(pair, tmp_path, transformers):
    pair.ours.save(tmp_path)
    again, theirs = text.load(tmp_path), transformers.AutoTokenizer.from_pretrained(tmp_path)
    for name in ("vocab_size", "eos_ids", "pad_id", "silent_ids", "byte_ids"):
        assert getattr(again, name) == getattr(pair.ours, name)
    for each in TEXTS:
        assert again.encode(each) == pair.ours.encode(each)
        assert theirs.encode(each, add_special_tokens=False) == pair.theirs.encode(each, add_special_tokens=False)
    chat = {"tokenize": False, "add_generation_prompt": True}
    assert theirs.apply_chat_template(TURNS, **chat) == again.render_chat(TURNS) == pair.ours.render_chat(TURNS)
    if pair.name in TOKENIZERS:
        for path in tokenizer_folder(pair.name).iterdir():
            assert (tmp_path / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("pair", ["smollm2"], indirect=True)
def test_smollm2_differs_from_transformers_only_at_digits(pair):
    """Its reading of the .gguf lets white space before a digit, and the bytes of other numerals, join as in GPT-2."""
    for each in TEXTS:
        if not any(character.isnumeric() for character in each):
            assert pair.ours.encode(each) == pair.as_read[each], each
    assert (len(pair.ours.encode("a  5")), len(pair.as_read["a  5"])) == (3, 4)


@pytest.mark.parametrize("name, pre", [("qwen2_5", "qwen2"), ("llama3_1", "llama-bpe"), ("deepseek_v3", "deepseek-v3")])
def test_a_gguf_file_cuts_text_as_the_models_own_tokenizer_does(name, pre, tmp_path):
    path = write_gguf(tmp_path / "tiny.gguf", train(), pre)
    made = Tokenizer.from_buffer(read_files(path)["tokenizer.json"])
    real = Tokenizer.from_file(str(tokenizer_folder(name) / "tokenizer.json"))
    for each in TEXTS:
        cuts = [
            tokenizer.pre_tokenizer.pre_tokenize_str(
                tokenizer.normalizer.normalize_str(each) if tokenizer.normalizer else each
            )
            for tokenizer in (made, real)
        ]
        assert cuts[0] == cuts[1], each
