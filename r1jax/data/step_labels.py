"""Labelled steps for process reward models, as a pure function of (config, seed, position).

The caller decides which ids a process reward model reads (`r1jax.data.step_inputs.step_ids_of`).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from r1jax import config
from r1jax.config import at_least, within
from r1jax.data.held_out_split import split
from r1jax.io import jsonl, row_files


@dataclasses.dataclass(frozen=True)
class StepLabelsConfig:
    """The source of labelled steps.

    Attributes:
        path: a file of rows `{"prompt", "steps", "labels"}`, see `r1jax.io.row_files`, which the stage `step_labels`
            writes. A label is true, false, a number from 0 to 1, or null: of that step nothing is learnt. Rows may have
            `shares` too, numbers of the same kind.
        target: what is learnt: "hard", the labels, or "soft", the shares of right completions, where a row has them.
        first_wrong: leave out the labels after a response's first step below 0.5, as PRM800K has none there.
        marker: the format of the responses, see `data.types.Prompt.marker`; "": that of the tags, or none.
        held_out_share: share of the prompts, by `data.tasks.is_held_out`, that is kept for evaluation; 0: none.
        count: responses that are used of the training prompts', the first of the file; 0: all.
        skip_bad_lines: leave out, and count, lines of the file that cannot be used.
    """

    path: str
    target: Literal["hard", "soft"] = "hard"
    first_wrong: bool = False
    marker: str = ""
    held_out_share: float = 0.1
    count: int = 0
    skip_bad_lines: bool = False

    def __post_init__(self):
        within("[0, 1)", self, "held_out_share")
        at_least(0, self, "count")


class LabelledSteps(NamedTuple):
    """One response.

    Attributes:
        id: the line's, else `<file name>-<line>`.
        prompt: its own text, before any template.
        ids: token ids of question and response.
        ends: positions of the labelled steps' last tokens.
        targets: of the same, 0 to 1.
        chars: characters of the response up to these ends.
    """

    id: str
    prompt: str
    ids: Sequence[int]
    ends: Sequence[int]
    targets: Sequence[float]
    chars: Sequence[int]


# (prompt, steps) -> ids, the positions of the steps' ends, and how many last steps do not fit
ReadSteps = Callable[[str, Sequence[str]], tuple[Sequence[int], Sequence[int], int]]


class StepLabels:
    """An endless stream of labelled responses, and those held out. All state is fixed at construction.

    Attributes:
        size: different training responses.
        held_out: responses whose prompts are held out, in the file's order.
        left_out: how many lines or responses are not used, by reason.
        unread: steps that did not fit.
    """

    def __init__(self, cfg: StepLabelsConfig, seed: int, read: ReadSteps):
        """Reads and checks the whole file.

        Raises:
            ConfigError: no path.
            FileNotFoundError, ValueError: see `row_files.read_records`; also a file of which no response is left to
                train on, or none to evaluate on where a share is held out.
        """
        if not cfg.path:
            raise config.ConfigError("config.data.path is empty: name a file of labelled steps")
        self._cfg, self._seed, self._read, self.unread = cfg, seed, read, 0
        lines, bad = row_files.read_records(cfg.path, self._from_row, cfg.skip_bad_lines, None)
        usable = [line for line in lines if line.ends]
        self.left_out = {"bad lines": bad, "without a label": len(lines) - len(usable)}
        training, self.held_out = split(cfg.path, cfg.held_out_share, usable, self.left_out, "responses")
        self._training = training[: cfg.count or None]
        self.size = len(self._training)

    def take(self, start: int, count: int) -> list[LabelledSteps]:
        """The training responses at positions start .. start + count - 1: `take(0, 10) == take(0, 5) + take(5, 5)`.

        Raises:
            ValueError: a negative start or count.
        """
        return [self._training[i] for i in jsonl.order(self._seed, self.size, start, count)]

    def _from_row(self, row: jsonl.Row, line: int) -> LabelledSteps:
        jsonl.check_text("prompt", row.get("prompt"))
        steps = row.get("steps")
        if not isinstance(steps, list) or not steps:
            raise ValueError(f"'steps' is {steps!r}, should be a list of texts, at least one")
        for number, step in enumerate(steps):
            jsonl.check_text(f"steps[{number}]", step)
        name = "shares" if self._cfg.target == "soft" and row.get("shares") is not None else "labels"
        labels = checked_labels(name, row.get(name), len(steps))
        if self._cfg.first_wrong:
            wrong = next((i for i, label in enumerate(labels) if label is not None and label < 0.5), len(labels))
            labels = [*labels[: wrong + 1], *[None] * (len(labels) - wrong - 1)]
        ids, ends, unread = self._read(row["prompt"], steps)
        self.unread += unread
        chars = np.cumsum([len(step) for step in steps]).tolist()
        used = [i for i, label in enumerate(labels[: len(ends)]) if label is not None]
        id_ = str(row.get("id", f"{row_files.stem_of(self._cfg.path)}-{line}"))
        at, targets = [ends[i] for i in used], [float(labels[i]) for i in used]
        return LabelledSteps(id_, row["prompt"], ids, at, targets, [chars[i] for i in used])


def checked_labels(name: str, labels: Any, count: int) -> list[float | None]:
    """The labels of `count` steps.

    Raises:
        ValueError: they are no list of so many numbers from 0 to 1, booleans or nulls.
    """
    if not isinstance(labels, list) or len(labels) != count:
        number = f"{len(labels)} of them" if isinstance(labels, list) else repr(labels)
        raise ValueError(f"'{name}' is {number}, should be a list of a label for each of the {count} steps")
    for number, label in enumerate(labels):
        if not (label is None or (isinstance(label, bool | int | float) and 0 <= label <= 1)):
            raise ValueError(f"'{name}[{number}]' is {label!r}, should be true, false, null or a number from 0 to 1")
    return labels
