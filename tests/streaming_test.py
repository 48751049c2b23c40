"""Pieces of a stream are the text, and none is half a character."""

import itertools
import json
import random

import pytest
from nasty import TEXTS, random_ids
from tiny_bpe import CONFIG, train, write_folder
from tokenizers import Tokenizer, decoders, models

from r1jax.text.streaming import TextStream
from r1jax.text.tokenizer import load


def streamed(tokenizer, ids) -> list[str]:
    stream = TextStream(tokenizer)
    return [*(stream.push([i]) for i in ids), stream.flush()]


def byte_level(folder, tokenizer):
    """Every token is bytes, of whole characters or not."""
    ours = load(write_folder(folder, train(), tokenizer_config=CONFIG))
    # How a byte-level vocabulary spells F0 9F 98 80, and E1 88 and ED, which begin characters of three bytes.
    names = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    return ours, [*(names[name] for name in ("ð", "Ł", "ĺ", "Ģ", "áĪ", "í")), *ours.encode("a"), 0, ours.vocab_size]


def sentence_piece(folder, tokenizer):
    smile = tokenizer.encode("😀")[-4:]
    return tokenizer, [*smile, tokenizer.encode("a")[-1], tokenizer.encode("  ")[-1], 0, 1, tokenizer.vocab_size]


def byte_fallback(folder, tokenizer):
    """A run of byte tokens that is broken anywhere is broken everywhere here: the whole run decodes at once."""
    names = ["<unk>", "</s>", "▁", "a", "▁b", "\ufffd", *(f"<0x{b:02X}>" for b in range(256))]
    made = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, [], byte_fallback=True, unk_token="<unk>"))
    made.add_special_tokens(["</s>"])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    ours = load(write_folder(folder, made, tokenizer_config={"eos_token": "</s>"}))
    return ours, [*(6 + byte for byte in "😀".encode()), 1, 2, 3, 5]


@pytest.fixture(scope="module", params=[byte_level, sentence_piece, byte_fallback])
def kind(request, tmp_path_factory, tokenizer):
    """A tokenizer of each kind, and ids of it that are worst to cut between."""
    return request.param(tmp_path_factory.mktemp("kind"), tokenizer)


def test_pieces_join_to_the_text_of_every_short_sequence(kind):
    tokenizer, worst = kind
    for length in range(5):
        for ids in itertools.product(worst, repeat=length):
            assert "".join(streamed(tokenizer, ids)) == tokenizer.decode(ids), ids


def test_pieces_join_to_the_text_of_long_ones(kind):
    tokenizer, worst = kind
    rng = random.Random(0)
    rows = random_ids(tokenizer.vocab_size, 300) + [rng.choices(worst, k=60) for _ in range(300)]
    for ids in rows:
        stream = TextStream(tokenizer)
        cuts = sorted(rng.choices(range(len(ids) + 1), k=3))  # several ids at a time, or none
        pieces = [stream.push(ids[a:b]) for a, b in itertools.pairwise([0, *cuts, len(ids)])]
        assert "".join([*pieces, stream.flush()]) == tokenizer.decode(ids), ids
        assert stream.flush() == ""  # and the stream begins anew
        assert "".join([stream.push(ids), stream.flush()]) == tokenizer.decode(ids)


def test_no_piece_of_a_sane_text_is_half_a_character(kind):
    tokenizer, _ = kind
    for text in TEXTS:
        if "\ufffd" not in tokenizer.decode(ids := tokenizer.encode(text)):
            assert "\ufffd" not in "".join(streamed(tokenizer, ids)), text


def test_a_finished_character_is_shown_at_once(tmp_path, tokenizer):
    ours, _ = byte_level(tmp_path, tokenizer)
    pieces = streamed(ours, ours.encode("a😀b"))
    assert [piece for piece in pieces if piece] == ["a", "😀", "b"] and pieces[-1] == ""


@pytest.mark.parametrize("garbage", [False, True])
def test_time_is_linear(kind, garbage):
    """Counted in ids that `decode` sees. A run of byte tokens is looked at once, at its end."""
    tokenizer, worst = kind
    ids = [worst[3]] * 2000 if garbage else tokenizer.encode("答案是 42. The sum of 3 and 4 is 7.\n" * 100)
    seen = 0

    class Counting:
        vocab_size, silent_ids, byte_ids = tokenizer.vocab_size, tokenizer.silent_ids, tokenizer.byte_ids

        def decode(self, part):
            nonlocal seen
            seen += len(part)
            return tokenizer.decode(part)

    assert "".join(streamed(Counting(), ids)) == tokenizer.decode(ids)
    assert seen < 30 * len(ids)
