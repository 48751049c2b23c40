"""Text survives the tokenizer, ids of any kind decode, and a text begins with one beginning of sequence."""

import io
import json

import pytest
import sentencepiece
from nasty import TEXTS

from r1jax.text import tokenizer as tokenizers
from r1jax.text.chat import R1_ZERO_TEMPLATE

NASTY = (
    "",
    " ",
    "\n",
    "a",
    "  two spaces  ",
    "\n\n a\n",
    "tab\there",
    "\r\n",
    "12+34=46",
    "-7",
    "😀👩‍👩‍👧 é e\u0301 ñ",
    "答案是：42。",
    "\x00\x01\x7f",
    "\u200b\u202e\ufeff",
    "ﬁ Ａ ½",
    "\ufffd",
    "<s></s><unk><pad>",
    "<0x41>",
    r"\boxed{\frac{1}{2}}",
    R1_ZERO_TEMPLATE,
)


@pytest.mark.parametrize("text", NASTY)
def test_trap06_a_text_begins_exactly_once_and_survives(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    bos = tokenizer.encode("")
    assert len(bos) == 1 and ids[0] == bos[0] and ids.count(bos[0]) == 1
    assert not set(ids) & {*tokenizer.eos_ids, tokenizer.pad_id}
    assert all(0 <= i < tokenizer.vocab_size for i in ids)


def test_digits_stand_alone(tokenizer):
    ids = tokenizer.encode("1234567890")[1:]
    pieces = [tokenizer.decode([i]) for i in ids]
    assert "".join(pieces) == "1234567890" and all(len(piece) <= 1 for piece in pieces)


def test_a_line_break_is_a_token_of_its_own(tokenizer):
    newline = tokenizer.encode("\n")[-1]
    assert tokenizer.decode([newline]) == "\n" and tokenizer.encode("A: 1\n\nQ: 2\n").count(newline) == 3


def test_ids_of_any_kind_decode(tokenizer):
    """Each alone, and those past the vocabulary, which a table padded for the mesh can sample."""
    for i in (*range(tokenizer.vocab_size), tokenizer.vocab_size, -1, 2**31 - 1, 2**40):
        assert isinstance(tokenizer.decode([i]), str)
    a = tokenizer.encode("a")
    assert tokenizer.decode([*a, tokenizer.vocab_size + 5, *tokenizer.eos_ids, tokenizer.pad_id]) == "a"
    smile = tokenizer.encode("😀")
    assert "\ufffd" in tokenizer.decode(smile[:-1])  # broken UTF-8


def test_a_saved_tokenizer_is_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "model")
    again = tokenizers.load(tmp_path / "model")
    for name in ("vocab_size", "eos_ids", "pad_id"):
        assert getattr(again, name) == getattr(tokenizer, name)
    assert all(again.encode(text) == tokenizer.encode(text) for text in NASTY)


def test_transformers_reads_the_saved_folder(tokenizer, tmp_path):
    """The same ids but where a text begins with white space or holds the names of special tokens."""
    transformers = pytest.importorskip("transformers")
    tokenizer.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    names = {theirs.eos_token: tokenizer.eos_ids[0], theirs.pad_token: tokenizer.pad_id}
    assert names == {"</s>": theirs.eos_token_id, "<pad>": theirs.pad_token_id}
    for text in TEXTS:
        if not text[:1].isspace() and not text.startswith("▁") and "<" not in text:
            assert theirs.encode(text) == tokenizer.encode(text), text
            assert theirs.decode(tokenizer.encode(text), skip_special_tokens=True) == tokenizer.decode(
                tokenizer.encode(text)
            )


def without_special_names() -> list[str]:
    return [text for text in (*TEXTS, *NASTY) if not any(name in text for name in ("<s>", "</s>", "<unk>", "<pad>"))]


@pytest.mark.parametrize("model_type", [None, "llama", "qwen3", "deepseek_v3"])
def test_transformers_reads_an_export_with_the_same_ids_and_no_other_package(tokenizer, tmp_path, model_type):
    transformers = pytest.importorskip("transformers")
    assert tokenizer.export(tmp_path)
    (tmp_path / "tokenizer.model").unlink()  # what is read instead
    if model_type:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    names = {theirs.eos_token: tokenizer.eos_ids[0], theirs.pad_token: tokenizer.pad_id}
    assert names == {"</s>": theirs.eos_token_id, "<pad>": theirs.pad_token_id}
    again = tokenizers.load(tmp_path)
    for name in ("vocab_size", "eos_ids", "pad_id", "silent_ids", "byte_ids"):
        assert getattr(again, name) == getattr(tokenizer, name)
    for text in without_special_names():
        ids = tokenizer.encode(text)
        assert theirs.encode(text) == again.encode(text) == ids, text
        assert theirs.decode(ids, skip_special_tokens=True) == again.decode(ids) == tokenizer.decode(ids)


def test_transformers_reads_an_exported_qwen2_by_the_class_that_convert_names(tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer.export(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert all(theirs.encode(text) == tokenizer.encode(text) for text in without_special_names())


def test_an_export_is_read_here_as_the_sentencepiece_model_that_it_holds(tokenizer, tmp_path):
    tokenizer.export(tmp_path)
    again = tokenizers.load(tmp_path)
    assert isinstance(again, tokenizers.SentencePieceTokenizer) and again.encode("<s> a") == tokenizer.encode("<s> a")


@pytest.mark.parametrize(
    "options",
    [
        {"model_type": "unigram"},
        {"normalization_rule_name": "nmt_nfkc"},
        {"user_defined_symbols": ["<tool>"]},
        {"remove_extra_whitespaces": True},
        {"add_dummy_prefix": False},
    ],
)
def test_a_kind_that_tokenizer_json_would_cut_otherwise_is_exported_without_it(tmp_path, options):
    made = io.BytesIO()
    usual = {"model_type": "bpe", "normalization_rule_name": "identity", "remove_extra_whitespaces": False}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c d ab cd abc"] * 9),
        model_writer=made,
        vocab_size=20,
        hard_vocab_limit=False,
        minloglevel=2,
        **usual | options,
    )
    assert not tokenizers.SentencePieceTokenizer(made.getvalue()).export(tmp_path)
    assert not (tmp_path / "tokenizer.json").exists() and tokenizers.load(tmp_path).encode("a b")


def test_a_folder_without_one_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no tokenizer in .*: expected tokenizer\.json or tokenizer\.model"):
        tokenizers.load(tmp_path)


def test_trap05_a_model_without_an_end_and_a_file_that_is_none_are_refused(tmp_path):
    """Else -1 would be the end: never sampled, and the last row of the table when taught."""
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c d"] * 9),
        model_writer=made,
        vocab_size=9,
        eos_id=-1,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    path = tmp_path / "tokenizer.model"
    for content, message in (made.getvalue(), "has no end of sequence"), (b"nonsense", "is no SentencePiece model"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"tokenizer in {tmp_path}: tokenizer\.model {message}"):
            tokenizers.load(tmp_path)


def test_training_again_gives_the_same_bytes(tmp_path):
    texts = [f"the sum of {a} and {b} is {a + b}\n" for a in range(40) for b in range(40)]
    for folder in ("first", "second"):
        tokenizers.train_sentencepiece(texts, 300).save(tmp_path / folder)
    first, second = ((tmp_path / folder / "tokenizer.model").read_bytes() for folder in ("first", "second"))
    assert first == second
