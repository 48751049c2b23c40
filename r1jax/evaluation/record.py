"""The record of a question set's samples: each sample as it is drawn and each grade, in two files.

Two files, so that a newer grader needs no new samples. Lines are only ever added: of two for one sample the last
counts.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from r1jax.benchmarks.benchmark import Outcome
from r1jax.data.types import Grade, Prompt, Rollout
from r1jax.io import jsonl, progress, run_record
from r1jax.io.row_log import Key, RowLog


class Record:
    """The folder of one set of questions. Texts stay on disk, in two files that are open once.

    Where several processes draw, each adds to files of its own, a part, which process 0 takes in when all are done.

    Attributes:
        samples: line of samples.jsonl by (question id, sample); its total counts those that were cut off.
        grades: line of grades.jsonl, of the present grader's version alone; its total is that of the scores.
        corrupted: lines that a kill cut off or that hold no sample or grade; what they held is done again.
        other_grader: samples whose grade is another grader's, or an older one's.
    """

    def __init__(self, folder: pathlib.Path, setup: Mapping[str, Any], grader: str | Mapping[str, str], part: int = 0):
        """Opens what is there, or begins.

        Args:
            setup: the settings that samples depend on; a folder with other settings is refused.
            grader: the present grader's version; by the question's id where not all have the same.
            part: to add to; 0: the record itself, which first takes in the parts that a killed run has left.

        Raises:
            ConfigError: the folder's samples were drawn otherwise; names every key that differs.
        """
        self.folder, self._grader = folder, grader
        of_part = f".{part}" if part else ""
        folder.mkdir(parents=True, exist_ok=True)
        self.samples = RowLog(
            folder / "samples.jsonl",
            _is_sample,
            lambda row: float(row["finish"] == "length"),
            added=folder / f"samples{of_part}.jsonl",
        )
        if not part:
            run_record.claim(folder / "setup.json", setup, "samples drawn otherwise", begun=bool(self.samples))
        self.grades = RowLog(
            folder / "grades.jsonl",
            _is_grade,
            lambda row: row["score"],
            counts=lambda row: row["grader"] == self._stamp(row["id"]),
            added=folder / f"grades{of_part}.jsonl",
        )
        self.corrupted = self.samples.corrupted + self.grades.corrupted
        self.other_grader = self.grades.refused
        if not part:
            self.take_in_parts()

    def take_in_parts(self) -> None:
        """Adds the samples and grades of all parts that it lacks, and deletes the parts.

        Killed on the way, it takes in the rest when it is opened again.
        """
        for path in sorted(self.folder.glob("samples.*.jsonl")):
            for _, _, row in jsonl.placed_rows(path):
                if row is not None and _is_sample(row):
                    self._add_sample(row)
            path.unlink()
        for path in sorted(self.folder.glob("grades.*.jsonl")):
            for _, _, row in jsonl.placed_rows(path):
                if row is not None and _is_grade(row) and row["grader"] == self._stamp(row["id"]):
                    self._add_grade(row)
            path.unlink()

    def keep_sample(self, rollout: Rollout) -> None:
        """Adds a sample that was just drawn."""
        row = {
            "id": rollout.prompt.id,
            "sample": rollout.sample,
            "text": rollout.text,
            "finish": rollout.finish,
            "tokens": len(rollout.ids),
        }
        self._add_sample(row)
        progress.saved()

    def keep_grade(self, key: Key, grade: Grade, well_formed: bool) -> None:
        """Adds a sample's grade."""
        row = {
            "id": key[0],
            "sample": key[1],
            **grade._asdict(),
            "well_formed": well_formed,
            "grader": self._stamp(key[0]),
        }
        self._add_grade(row)

    def _add_sample(self, row: dict[str, Any]) -> None:
        if (row["id"], row["sample"]) not in self.samples:
            self.samples.append(row)

    def _add_grade(self, row: dict[str, Any]) -> None:
        if (row["id"], row["sample"]) not in self.grades:
            self.grades.append(row)

    def rollout(self, prompt: Prompt, sample: int) -> Rollout:
        """A sample as it was drawn, for grading; its ids are not kept, only how many there were."""
        row = self.samples[prompt.id, sample]
        return Rollout.of_text(prompt, row["text"], sample, row["finish"], row["tokens"])

    def outcomes(self, prompts: Sequence[Prompt], samples: int) -> list[Outcome]:
        """The graded samples of these questions, in order."""
        keys = [(prompt.id, sample) for prompt in prompts for sample in range(samples)]
        return [self._outcome(key) for key in keys if key in self.grades and key in self.samples]

    def well_formed(self, prompts: Sequence[Prompt], samples: int) -> float:
        """The share of them in the response format."""
        well_formed = [self.grades[o.id, o.sample]["well_formed"] for o in self.outcomes(prompts, samples)]
        return sum(well_formed) / len(well_formed) if well_formed else 0.0

    def mixed_language(self, prompts: Sequence[Prompt], samples: int) -> float:
        """The share of them whose thought, or text where there is none, is written in more than one script."""
        by_id = {prompt.id: prompt for prompt in prompts}
        rollouts = (self.rollout(by_id[o.id], o.sample) for o in self.outcomes(prompts, samples))
        mixed = [len(rollout.text_counts().scripts) > 1 for rollout in rollouts]
        return sum(mixed) / len(mixed) if mixed else 0.0

    def _stamp(self, id_: str) -> str | None:
        return self._grader if isinstance(self._grader, str) else self._grader.get(id_)

    def _outcome(self, key: Key) -> Outcome:
        grade, sample = self.grades[key], self.samples[key]
        return Outcome(
            *key,
            grade["score"],
            grade["verdict"],
            grade["answer"],
            grade["detail"] or {},
            sample["tokens"],
            sample["finish"],
        )


def read_samples(path: pathlib.Path) -> tuple[list[dict[str, Any]], int]:
    """The rows of a samples.jsonl and the number of corrupted lines, among which is one whose text is none."""
    return jsonl.read_log(path, _is_sample)


def read_grades(path: pathlib.Path) -> tuple[list[dict[str, Any]], int]:
    """The rows of a grades.jsonl and the number of corrupted lines."""
    return jsonl.read_log(path, _is_grade)


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
