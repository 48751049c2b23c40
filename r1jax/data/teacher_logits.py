"""Teacher's distributions on disk: of each target its most likely tokens, and their log-probs.

A folder holds `setup.json`, its settings; `examples.npy`, a key and the number of targets of each example; and
shards of `SHARD` examples each, `00000.npy` and on, a row a target. A shard appears when it is whole. A row takes
6 k + 2 bytes: 194 for the 32 likeliest tokens.

A reader finds an example by its key, a hash of its ids, and may order, mix or leave out examples; the
distributions of one example are never taken for those of another.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from r1jax import config
from r1jax.data.batching import Example, Soft
from r1jax.io import buckets, files, run_record
from r1jax.io.provenance import blake2b, fingerprint, short_hash
from r1jax.text.tokenizer import Tokenizer

SHARD = 512
_SETUP, _EXAMPLES = "setup.json", "examples.npy"


def vocabulary_key(tokenizer: Tokenizer) -> str:
    """12 hex digits that identify a vocabulary: the number of ids, the text of each, and which end a text."""
    spelled = [tokenizer.decode([id_]) for id_ in range(tokenizer.vocab_size)]
    return fingerprint([spelled, sorted(tokenizer.silent_ids), list(tokenizer.eos_ids)])


def _keys(examples: Sequence[Example]) -> np.ndarray:
    """`[n]` uint64: a hash of each example's ids and of which of them are trained on."""

    def key(example: Example) -> bytes:
        ids, mask = (np.asarray(part, kind).tobytes() for part, kind in zip(example, ("<i4", "i1"), strict=True))
        return blake2b(ids + mask, 8)

    return np.frombuffer(b"".join(map(key, examples)), "<u8")


def _shard(folder: pathlib.Path, index: int) -> pathlib.Path:
    return folder / f"{index:05}.npy"


def begin(folder: pathlib.Path, setup: Mapping[str, Any], examples: Sequence[Example]) -> list[int]:
    """Makes the folder this teacher's own, or checks that it is. Returns the shards that are still to be written.

    Args:
        setup: settings that shards depend on besides examples; `vocabulary`, `k`, `temperature` and the `teacher`'s
            `path` and `hash` among it.

    Raises:
        ConfigError: the folder holds distributions of another teacher or of other examples; names what differs.
    """
    keys = _keys(examples)
    targets = np.array([sum(mask[1:]) for _, mask in examples], "<i4")
    setup = {
        **config.to_dict(setup),
        "shard": SHARD,
        "examples": len(keys),
        "examples_key": short_hash(keys.tobytes(), 12),
    }
    path = folder / _SETUP
    begun = path.exists()
    if begun:
        # A teacher is known by its hash, wherever it now lies. Its first path stays: it is a part of `key`.
        first = _setup(folder)["teacher"]
        if first["hash"] == setup["teacher"]["hash"]:
            setup["teacher"] = first
    else:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / _EXAMPLES, np.rec.fromarrays([keys, targets], names="key,targets"))
    run_record.claim(path, setup, "soft targets made otherwise", begun=begun)
    return [index for index in range(-(-len(keys) // SHARD)) if not _shard(folder, index).exists()]


def write_shard(folder: pathlib.Path, index: int, soft: Sequence[Soft]) -> None:
    """Writes the distributions for the examples from `SHARD * index` on."""
    ids, logprobs = (np.concatenate(parts) for parts in zip(*soft, strict=True))
    k = ids.shape[1]
    rows = np.empty(len(ids), [("ids", "<i4", (k,)), ("logprobs", "<f2", (k + 1,))])
    rows["ids"], rows["logprobs"] = ids, logprobs
    _write(_shard(folder, index), rows)


def _write(path: pathlib.Path, rows: np.ndarray) -> None:
    with files.replacing(path) as file:
        np.save(file, rows, allow_pickle=False)


def key(folder: pathlib.Path | str) -> str:
    """12 hex digits that identify a folder's contents: the teacher, its settings and the examples.

    Raises:
        FileNotFoundError: it holds no soft targets.
    """
    return fingerprint(_setup(buckets.local_path(folder)))


def _setup(folder: pathlib.Path) -> dict[str, Any]:
    if not (folder / _SETUP).is_file():
        raise FileNotFoundError(
            f"{folder} holds no soft targets (no {_SETUP}): it is to be the --workdir of a run of stage teach"
        )
    return files.read_json(folder / _SETUP)


class SoftTargets:
    """A finished folder, read as it is needed.

    Attributes:
        temperature: by which the teacher's logits were divided.
    """

    def __init__(self, folder: pathlib.Path | str, tokenizer: Tokenizer, examples: Sequence[Example]):
        """Opens it.

        Args:
            tokenizer: the student's.
            examples: all that will be read.

        Raises:
            FileNotFoundError: it holds no soft targets.
            ValueError: some are missing, or they are of another vocabulary, or not of all these examples.
        """
        self._folder = buckets.local_path(folder)
        setup = _setup(self._folder)
        self.temperature: float = setup["temperature"]
        if (key := vocabulary_key(tokenizer)) != setup["vocabulary"]:
            raise ValueError(
                f"{folder}: the teacher's vocabulary is {setup['vocabulary']} and this model's {key}: log-probs of "
                "one say nothing of the other. Choose a teacher and a student of one tokenizer (config.tokenizer gives "
                "a new model that of another), or train on the teacher's texts alone (soft_targets='')"
            )
        shards = -(-setup["examples"] // setup["shard"])
        missing = sum(not _shard(self._folder, index).exists() for index in range(shards))
        if missing:
            raise ValueError(
                f"{folder}: {missing} of {shards} shards are missing; start the run of stage teach again, it goes on"
            )
        known = np.load(self._folder / _EXAMPLES, allow_pickle=False)
        self._shards = [np.load(_shard(self._folder, index), mmap_mode="r") for index in range(shards)]
        self._places = {}
        for index in range(shards):
            chunk = known[index * setup["shard"] : (index + 1) * setup["shard"]]
            ends = np.cumsum(chunk["targets"])
            self._places |= {
                key: (index, end - count, end)
                for key, count, end in zip(chunk["key"].tolist(), chunk["targets"].tolist(), ends.tolist(), strict=True)
            }
        if unknown := sum(key not in self._places for key in _keys(examples).tolist()):
            raise ValueError(
                f"{folder} has no word on {unknown} of {len(examples)} examples: the teacher is to read the same files "
                "with the same data.template, data.chat, data.held_out_share and at least this seq_len"
            )

    def of(self, examples: Sequence[Example]) -> list[Soft]:
        """The teacher's distribution of each target that is trained on, example by example."""
        words = []
        for key in _keys(examples).tolist():
            index, first, last = self._places[key]
            rows = self._shards[index][first:last]
            words.append((rows["ids"], rows["logprobs"]))
        return words
