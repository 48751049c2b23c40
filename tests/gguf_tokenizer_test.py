"""The tokenizer inside a .gguf file is the one that it was made from."""

import re

import gguf
import pytest
from nasty import TEXTS
from tiny_bpe import CONFIG, NAMES, train, write_folder, write_gguf
from tokenizers import Tokenizer

from r1jax.text.gguf_tokenizer import SPLITS, read_files
from r1jax.text.tokenizer import load


@pytest.fixture(scope="module")
def original():
    return train(adds_bos=True)


def test_ids_and_ends_are_the_originals(original, tmp_path):
    ours = load(write_gguf(tmp_path / "model.gguf", original))
    for text in TEXTS:
        ids = original.encode(text).ids
        assert ours.encode(text) == (ids[1:] if ids[1:2] == [3] else ids)
    assert ours.eos_ids == (2, 0) and ours.render_chat([{"role": "user", "content": "a"}]).startswith("<|bos|>")


def test_a_user_defined_token_is_text_and_an_unused_slot_is_no_token(original, tmp_path):
    ours = load(write_gguf(tmp_path / "model.gguf", original))
    tool = original.get_vocab_size()
    assert ours.encode("<tool>") == [3, tool] and ours.decode([3, tool]) == "<tool>"
    assert ours.vocab_size == tool + 1 and ours.decode([tool + 1]) == ""
    assert ours.silent_ids == set(range(len(NAMES)))


def test_what_is_saved_reads_back_the_same(original, tmp_path):
    ours = load(write_gguf(tmp_path / "model.gguf", original))
    ours.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert (again.eos_ids, again.vocab_size) == (ours.eos_ids, ours.vocab_size)
    assert all(again.encode(text) == ours.encode(text) for text in TEXTS)


@pytest.mark.parametrize(
    "pre, text, pieces",
    [
        ("gpt-2", "a1234  5", ["a", "1234", " ", " 5"]),
        ("default", "a1234  5", ["a", "1234", " ", " 5"]),
        ("smollm", "a1234  5", ["a", "1", "2", "3", "4", "  ", "5"]),
        ("llama-bpe", "a1234  5\n\nB'S", ["a", "123", "4", " ", " ", "5", "\n\n", "B", "'S"]),
        ("qwen2", "a1234  5\n\nB'S", ["a", "1", "2", "3", "4", " ", " ", "5", "\n\n", "B", "'S"]),
        ("deepseek-r1-qwen", "a1234  5\n\nB'S", ["a", "1", "2", "3", "4", " ", " ", "5", "\n\n", "B", "'S"]),
        ("deepseek-v3", "a1234 中文.b", ["a", "123", "4", " ", "中文", ".b"]),
    ],
)
def test_text_is_cut_by_the_rule_of_its_name(tmp_path, pre, text, pieces):
    """By hand, from the rules of the models' own tokenizers."""
    path = write_gguf(tmp_path / "model.gguf", train(), pre)
    made = Tokenizer.from_buffer(read_files(path)["tokenizer.json"])
    assert [text[a:b] for _, (a, b) in made.pre_tokenizer.pre_tokenize_str(text)] == pieces


def test_a_file_without_tokens_is_named(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_tokenizer_model("gpt2")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ValueError, match=r"model\.gguf: 0 tokenizer\.ggml\.tokens"):
        load(tmp_path / "model.gguf")


def test_several_chat_templates_come_out_by_name(original, tmp_path):
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "{{ tools[0].name }}"}]
    ours = load(write_gguf(tmp_path / "model.gguf", original, template=named))
    chat = [{"role": "user", "content": "a"}]
    assert (ours.render_chat(chat), ours.render_chat(chat, tools=[{"name": "add"}])) == ("plain", "add")


@pytest.mark.parametrize("model, pre", [("llama", "default"), ("gpt2", "tekken")])
def test_another_kind_is_refused_and_a_tokenizer_json_beside_it_taken_instead(tmp_path, original, model, pre):
    path = write_gguf(tmp_path / "model.gguf", original, pre, model)
    found = re.escape(f"model {model!r}, pre-tokenizer {pre!r}; supported is model 'gpt2' with {', '.join(SPLITS)}")
    with pytest.raises(ValueError, match=found + r"\. Put the model's own tokenizer\.json beside the file"):
        load(path)
    write_folder(tmp_path, original, tokenizer_config=CONFIG)
    assert load(path).encode("a b") == original.encode("a b").ids
