"""Judged responses for reward models as a pure function of (config, seed, position): pairs, or labelled ones.

The caller decides which ids of a response a reward model reads (`r1jax.inference.reward_scoring.ids_of`).
"""

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from r1jax import config
from r1jax.config import within
from r1jax.data import columns
from r1jax.data.held_out_split import split
from r1jax.io import jsonl, row_files

Kind = Literal["pairwise", "pointwise"]


@dataclasses.dataclass(frozen=True)
class PreferenceDataConfig:
    """The source of judged responses.

    Attributes:
        path: a JSONL, CSV or parquet file, a folder that `datasets` saved, or a split of the Hugging Face hub, see
            `r1jax.io.row_files`. A row is a pair `{"prompt", "chosen", "rejected"}`, or `{"prompt", "response",
            "safe"}` with true or false. A prompt may be a whole conversation, which is used unchanged.
        columns: where these fields are in rows of another layout, see `r1jax.data.columns`: a ready mapping by its name
            (`ultrafeedback`), or the column of each field; "": as they are called.
        pairs_as_labels: pointwise alone: a pair is two responses, the chosen one safe and the rejected one unsafe.
        marker: the format of the responses, see `data.types.Prompt.marker`; "": that of the tags, or none.
        held_out_share: share of the prompts, by `data.tasks.is_held_out`, that is kept for evaluation; 0: none.
        skip_bad_lines: leave out, and count, lines of the file that cannot be used.
    """

    path: str
    pairs_as_labels: bool = False
    marker: str = ""
    held_out_share: float = 0.1
    skip_bad_lines: bool = False
    columns: Any = ""

    def __post_init__(self):
        within("[0, 1)", self, "held_out_share")
        columns.reader(self.columns, "pairs")  # Raises for a mapping that does not exist.


class Input(NamedTuple):
    """A reward model's input for a response.

    Attributes:
        ids: token ids.
        cut: whether its middle is missing.
        length: characters of the response in it.
    """

    ids: Sequence[int]
    cut: bool
    length: int


class Example(NamedTuple):
    """One line of the file, or half a line where pairs are taken for labels.

    Attributes:
        id: the line's, else `<file name>-<line>`; `-chosen` or `-rejected` follows for half a line.
        prompt: its own text, before any template.
        inputs: of the chosen and of the rejected response, or of the only one.
        safe: the label of the only one; None for a pair.
    """

    id: str
    prompt: str
    inputs: tuple[Input, ...]
    safe: bool | None = None


class Preferences:
    """An endless stream of training examples, and those held out. All state is fixed at construction.

    A file is tokenised whole, so that each fault shows at the start: 4 bytes a token stay in memory.

    Attributes:
        size: different training examples.
        held_out: examples whose prompts are held out, in the file's order.
        left_out: how many lines or examples are not used, by reason.
        cut: inputs whose middle is missing.
        unread: the number of lines with a key that nothing reads, by the key.
    """

    def __init__(self, cfg: PreferenceDataConfig, kind: Kind, seed: int, read: Callable[[str, str], Input]):
        """Reads and checks the whole file.

        Args:
            seed: not negative; decides which example stands at which position.
            read: (prompt, response) -> the model's input.

        Raises:
            ConfigError: no path.
            FileNotFoundError, ValueError: see `row_files.read_records`; also a file of which no example is left to
                train on, or none to evaluate on where a share is held out.
        """
        if not cfg.path:
            raise config.ConfigError("config.data.path is empty: name a file of pairs or of labelled responses")
        self._cfg, self._kind, self._seed, self._read = cfg, kind, seed, read
        self.unread: collections.Counter[str] = collections.Counter()
        mapped = columns.reader(cfg.columns, "pairs")
        lines, bad = row_files.read_records(cfg.path, self._from_row, cfg.skip_bad_lines, mapped)
        examples = [example for line in lines for example in line]
        # Two inputs of the same ids have the same score: they teach nothing, and count as half right.
        distinct = [example for example in examples if not _same(example.inputs)]
        self.left_out = {"bad lines": bad, "pairs that read the same": len(examples) - len(distinct)}
        self.cut = sum(each.cut for example in distinct for each in example.inputs)
        self._training, self.held_out = split(cfg.path, cfg.held_out_share, distinct, self.left_out, "examples")
        self.size = len(self._training)

    def take(self, start: int, count: int) -> list[Example]:
        """The training examples at positions start .. start + count - 1: `take(0, 10) == take(0, 5) + take(5, 5)`.

        Raises:
            ValueError: a negative start or count.
        """
        return [self._training[i] for i in jsonl.order(self._seed, self.size, start, count)]

    def _from_row(self, row: jsonl.Row, line: int) -> list[Example]:
        row = {key: value for key, value in row.items() if value is not None}
        jsonl.check_prompt_alone(row)
        id_ = str(row.get("id", f"{row_files.stem_of(self._cfg.path)}-{line}"))
        is_pair = "chosen" in row and "rejected" in row
        texts = ("chosen", "rejected") if is_pair else ("response",)
        if not is_pair and not {"response", "safe"} <= row.keys():
            keys = config.listed(row)
            raise ValueError(f"neither 'chosen' and 'rejected' nor 'response' and 'safe'; it has: {keys}")
        for key in ("prompt", *texts):
            jsonl.check_text(key, row.get(key))
        if is_pair and self._kind == "pointwise" and not self._cfg.pairs_as_labels:
            raise ValueError(
                "a pair, where responses with a label are called for: data.pairs_as_labels=true takes the "
                "chosen one for safe and the rejected one for unsafe"
            )
        if not is_pair and self._kind == "pairwise":
            raise ValueError("a response with a label, where pairs are called for: kind=pointwise trains on labels")
        if not is_pair and not isinstance(row["safe"], bool):
            raise ValueError(f"'safe' is {row['safe']!r}, should be true or false")
        inputs = tuple(self._read(row["prompt"], row[key]) for key in texts)
        self.unread.update(row.keys() - {"id", "prompt", *texts} - (set() if is_pair else {"safe"}))
        if self._kind == "pairwise":
            return [Example(id_, row["prompt"], inputs)]
        if not is_pair:
            return [Example(id_, row["prompt"], inputs, row["safe"])]
        return [
            Example(f"{id_}-{key}", row["prompt"], (each,), key == "chosen")
            for key, each in zip(texts, inputs, strict=True)
        ]


def _same(inputs: Sequence[Input]) -> bool:
    return len(inputs) == 2 and list(inputs[0].ids) == list(inputs[1].ids)
