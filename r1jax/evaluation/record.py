"""What is kept of some questions' samples, say a benchmark's: every sample as it is drawn, every grade as it is given.

Samples and grades stand in two files, so that a newer grader needs no new samples. Lines are only ever added: of two
for one sample the last counts.
"""

import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from r1jax.benchmarks.benchmark import Outcome
from r1jax.data.types import Grade, Prompt, Rollout
from r1jax.evaluation.rollouts import thought_scripts
from r1jax.io import jsonl, run_record

Key = tuple[str, int]


class Record:
    """The folder of one set of questions.

    Attributes:
        samples: line of samples.jsonl by (question id, sample).
        grades: line of grades.jsonl, of who grades now alone.
        spoiled: lines that a kill cut off or that hold no sample or grade; what they held is done again.
        other_grader: samples whose grade is another grader's, or an older one's.
    """

    def __init__(self, folder: pathlib.Path, setup: Mapping[str, Any], grader: str | Mapping[str, str]):
        """Opens what is there, or begins.

        Args:
            setup: what samples depend on; another one's samples are refused.
            grader: the stamp of who grades now; by the question's id where not all have the same.

        Raises:
            ConfigError: the folder's samples were drawn otherwise; names every key that differs.
        """
        self.folder, self._grader = folder, grader
        folder.mkdir(parents=True, exist_ok=True)
        samples, spoiled = read_samples(folder / "samples.jsonl")
        run_record.claim(folder / "setup.json", setup, "samples drawn otherwise", begun=bool(samples))
        self.samples = {(row["id"], row["sample"]): row for row in samples}
        grades, spoiled_grades = read_grades(folder / "grades.jsonl")
        latest = {(row["id"], row["sample"]): row for row in grades}
        self.grades = {key: row for key, row in latest.items() if row["grader"] == self._stamp(key[0])}
        self.spoiled = spoiled + spoiled_grades
        self.other_grader = len(latest) - len(self.grades)

    def keep_sample(self, rollout: Rollout) -> None:
        """Adds a sample that was just drawn."""
        row = {"id": rollout.prompt.id, "sample": rollout.sample, "text": rollout.text, "finish": rollout.finish,
               "tokens": len(rollout.ids)}  # fmt: skip
        jsonl.append(self.folder / "samples.jsonl", row)
        self.samples[rollout.prompt.id, rollout.sample] = row

    def keep_grade(self, key: Key, grade: Grade, well_formed: bool) -> None:
        """Adds what a grader said of a sample."""
        row = {"id": key[0], "sample": key[1], **grade._asdict(), "well_formed": well_formed,
               "grader": self._stamp(key[0])}  # fmt: skip
        jsonl.append(self.folder / "grades.jsonl", row)
        self.grades[key] = row

    def rollout(self, prompt: Prompt, sample: int) -> Rollout:
        """A sample as it was drawn, for grading; its ids are not kept, only how many there were."""
        row = self.samples[prompt.id, sample]
        ids = np.broadcast_to(np.int32(-1), row["tokens"])  # takes no memory: there may be a great many samples
        return Rollout(prompt, sample, ids, np.zeros(0, np.float32), row["text"], row["finish"])

    def outcomes(self, prompts: Sequence[Prompt], samples: int) -> list[Outcome]:
        """The graded samples of these questions, in order."""
        keys = [(prompt.id, sample) for prompt in prompts for sample in range(samples)]
        return [self._outcome(key) for key in keys if key in self.grades and key in self.samples]

    def well_formed(self, prompts: Sequence[Prompt], samples: int) -> float:
        """The share of them that keep to the form of thought and answer."""
        kept = [self.grades[o.id, o.sample]["well_formed"] for o in self.outcomes(prompts, samples)]
        return sum(kept) / len(kept) if kept else 0.0

    def mixed_language(self, prompts: Sequence[Prompt], samples: int) -> float:
        """The share of them whose thought, or text where there is none, is written in more than one script."""
        by_id = {prompt.id: prompt for prompt in prompts}
        rollouts = [self.rollout(by_id[o.id], o.sample) for o in self.outcomes(prompts, samples)]
        mixed = [len(thought_scripts(rollout)) > 1 for rollout in rollouts]
        return sum(mixed) / len(mixed) if mixed else 0.0

    def _stamp(self, id_: str) -> str | None:
        return self._grader if isinstance(self._grader, str) else self._grader.get(id_)

    def _outcome(self, key: Key) -> Outcome:
        grade, sample = self.grades[key], self.samples[key]
        return Outcome(*key, grade["score"], grade["verdict"], grade["answer"], grade["detail"] or {},
                       sample["tokens"], sample["finish"])  # fmt: skip


def read_lines(
    path: pathlib.Path, usable: Callable[[dict[str, Any]], bool] = lambda row: True
) -> tuple[list[dict[str, Any]], int]:
    """A file's objects, and the number of lines that a kill spoiled or that are not `usable`."""
    if not path.exists():
        return [], 0
    rows, spoiled = [], 0
    with path.open("rb") as lines:
        for line in lines:
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if isinstance(row, dict) and usable(row):
                rows.append(row)
            else:
                spoiled += 1
    return rows, spoiled


def read_samples(path: pathlib.Path) -> tuple[list[dict[str, Any]], int]:
    """The same of a samples.jsonl: a line whose text is none is a spoiled one."""
    return read_lines(path, _is_sample)


def read_grades(path: pathlib.Path) -> tuple[list[dict[str, Any]], int]:
    """The same of a grades.jsonl."""
    return read_lines(path, _is_grade)


def _is_sample(row: dict[str, Any]) -> bool:
    text, tokens = row.get("text"), row.get("tokens")
    counted = type(tokens) is int and 0 <= tokens < 2**31
    return _has_key(row) and _is_text(text) and row.get("finish") in ("stop", "length") and counted


def _is_grade(row: dict[str, Any]) -> bool:
    return _has_key(row) and {"score", "verdict", "answer", "detail", "well_formed", "grader"} <= row.keys()


def _has_key(row: dict[str, Any]) -> bool:
    return isinstance(row.get("id"), str) and type(row.get("sample")) is int


def _is_text(text: Any) -> bool:
    try:
        text.encode()
    except (AttributeError, UnicodeEncodeError):  # something else, or half a surrogate pair
        return False
    return True
