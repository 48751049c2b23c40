"""Candidate chains of thought, from files and from the records of R1-Zero's runs, and the choice among them."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from r1jax.config import missing_file, nearest
from r1jax.data.types import Prompt, Rollout
from r1jax.evaluation.record import read_grades, read_samples
from r1jax.graders.grader_table import check_row
from r1jax.graders.math.numerals import number
from r1jax.io import jsonl
from r1jax.rewards.language_consistency import language_of
from r1jax.stages.cold_start.config import ReadableConfig
from r1jax.stages.sample_filter import INCOMPLETE, Selection, ThoughtAndSummary, cold_start_reason, language_for
from r1jax.text.chat import join_response
from r1jax.text.reflection_and_scripts import words

# The fields of a row that hold a thought, and those that hold the summary after it; the first that is present counts.
THOUGHTS = ("thinking", "thought", "reasoning", "reasoning_content", "solution")
SUMMARIES = ("summary", "response", "final", "output")

# Why a candidate is not kept, beside the reasons of `sample_filter.COLD_START_CHECKS`.
HELD_OUT, CUT_OFF, NOT_IN_FORM = "asks a held-out question", "cut off", "not in the form"
WRONG, UNGRADABLE = "wrong", "cannot be graded"
DUPLICATE, OVER_QUOTA = "says what another one says", "more than per_question"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A thought and a summary that may become a sample.

    Attributes:
        id: unique in its collection, and the same in every run.
        prompt: the question, with its reference answer, "" where there is none.
        thought, summary: as they would be in the sample.
        language: of the question, an ISO 639-1 code; "": it is not recognised.
        provenance: where it is from, plain JSON.
        check: the prompt that a changed summary is graded against; None: no rule can grade it.
        fault: why it is not kept; "": no reason so far.
        bare: the summary is the file's answer and no summary of the thought; where that is the reference, only the end
            of the thought can be graded.
    """

    id: str
    prompt: Prompt
    thought: str
    summary: str
    language: str
    provenance: Mapping[str, Any]
    check: Prompt | None = None
    fault: str = ""
    bare: bool = False

    def rollout(self) -> Rollout:
        """The response to grade."""
        return as_rollout(self.check, self.thought, self.thought if self.bare else self.summary)


def as_rollout(prompt: Prompt, thought: str, summary: str) -> Rollout:
    """A complete response in the tags."""
    bare = dataclasses.replace(prompt, text="", marker="")
    return Rollout.of_text(bare, join_response(thought, summary))


def from_file(folder: pathlib.Path, name: str) -> list[Candidate]:
    """The chains of thought of a JSONL file, unfiltered.

    A row has a `prompt`, a thought in one of `THOUGHTS`, and a summary in one of `SUMMARIES`, or else in `answer`.
    Beside a summary of its own, `answer` is the reference that the summary is graded against; beside a `solution` as
    the thought, the solution's own end is. The row's `grader` grades. Without one, only numbers and boxed answers
    are compared, as mathematics: no rule can grade prose that concludes "Cefaclor.".

    Args:
        folder: where `name` is; the latter alone is part of ids.

    Raises:
        FileNotFoundError: no such file; names the nearest.
        ValueError: a line that is no JSON object, by file and line; or no row with a thought.
    """
    path = folder / name
    made, _ = jsonl.read_objects(path, lambda row, line: _from_row(row, line, name), remedy="repair it, or take it out")
    if all(candidate.fault == INCOMPLETE for candidate in made):
        raise ValueError(f"{path}: no row has a prompt, a thought ({', '.join(THOUGHTS)}) and an answer")
    return made


def _from_row(row: jsonl.Row, line: int, name: str) -> Candidate:
    jsonl.check_prompt_alone(row)
    question = _text(row, "prompt", "question")
    thought, summary, answer = _text(row, *THOUGHTS), _text(row, *SUMMARIES), _text(row, "answer")
    provenance = {"way": "file", "file": name, "line": line, "row": str(row.get("id", line))}
    fault = "" if question and thought and (summary or answer) else INCOMPLETE
    # Where no summary follows a solution, its own end is graded.
    graded = bool(answer and (summary or thought == _text(row, "solution")))
    grader = "open"
    comparable = number(answer) or ("\\boxed" in (summary or thought) and not words(answer))
    if graded and not fault and ("grader" in row or comparable):
        try:
            grader = check_row({**row, "prompt": question, "answer": answer})
        except ValueError:
            fault = UNGRADABLE
    metadata = {key: value for key, value in row.items() if key not in ("id", "prompt", "answer", "grader")}
    prompt = Prompt(f"{name}:{line}", question, answer if graded else "", f"{grader}:{name}", metadata=metadata)
    language = language_for(question, metadata)
    check = prompt if grader != "open" else None
    return Candidate(prompt.id, prompt, thought, summary or answer, language, provenance, check, fault, not summary)


def _text(row: jsonl.Row, *names: str) -> str:
    """The first of these fields that holds something, numbers as text; "" where none does."""
    values = (str(row[name]).strip() for name in names if isinstance(row.get(name), str | int | float))
    return next(filter(None, values), "")


def from_record(record: pathlib.Path, from_step: int = 0) -> list[Candidate]:
    """R1-Zero's recorded responses, with their recorded grades.

    Args:
        record: a workdir of `stages.rl` with `rollouts/step_*.jsonl`, or else `evals/step_*.jsonl`; or a folder that
            `stages.collect` or an evaluation filled.
        from_step: rollouts of earlier steps are left out.

    Raises:
        FileNotFoundError: no such folder, or it holds none of these files, which the error names.
        ValueError: a line that cannot be read, by file and line.
    """
    if not record.is_dir():
        raise FileNotFoundError(missing_file(record))
    if (record / "samples.jsonl").exists() and (record / "questions.jsonl").exists():
        return list(_collected(record))
    files = sorted(record.glob("rollouts/step_*.jsonl")) or sorted(record.glob("evals/step_*.jsonl"))
    files = [file for file in files if int(file.stem.rpartition("_")[2]) >= from_step]
    if not files:
        raise FileNotFoundError(
            f"{record} holds no rollouts/step_*.jsonl or evals/step_*.jsonl from step {from_step} on, and no "
            f"samples.jsonl with questions.jsonl; it has: {nearest('rollouts', (f.name for f in record.iterdir()))}"
        )

    def make(row: jsonl.Row, line: int) -> Candidate:
        rollout = as_rollout(Prompt("", row["question"], row["answer"], row["source"]), row["thought"], row["final"])
        provenance = {"question": row["id"], "sample": row["sample"], "step": int(file.stem.rpartition("_")[2])}
        id_ = f"zero:{file.stem}:{row['id']}:{row['sample']}"
        return _from_zero(id_, rollout, row["correct"], row["finish"], row["well_formed"], provenance)

    candidates = []
    for file in files:
        candidates += jsonl.read_objects(file, make, remedy="it is no record of an RL run of r1jax")[0]
    return candidates


def _collected(folder: pathlib.Path) -> Iterator[Candidate]:
    """A folder of `stages.record`; a sample that has no grade yet is left out."""
    questions = {row["id"]: row for row in jsonl.read_log(folder / "questions.jsonl")[0]}
    grades = {(row["id"], row["sample"]): row for row in read_grades(folder / "grades.jsonl")[0]}
    latest = {(row["id"], row["sample"]): row for row in read_samples(folder / "samples.jsonl")[0]}
    for (id_, sample), row in sorted(latest.items()):
        if id_ not in questions or (id_, sample) not in grades:
            continue
        question, grade = questions[id_], grades[id_, sample]
        prompt = Prompt(id_, question["question"], question["answer"], f"record:{folder.name}", question["text"])
        rollout = Rollout.of_text(prompt, row["text"], sample, row["finish"])
        yield _from_zero(
            f"zero:{id_}:{sample}",
            rollout,
            grade["score"],
            row["finish"],
            rollout.response.well_formed,
            {"question": id_, "sample": sample},
        )


def _from_zero(
    id_: str, rollout: Rollout, score: float | None, finish: str, well_formed: bool, provenance: Mapping[str, Any]
) -> Candidate:
    prompt, response = rollout.prompt, rollout.response
    fault = fault_of_grade(score) if finish == "stop" and well_formed else CUT_OFF if finish != "stop" else NOT_IN_FORM
    return Candidate(
        id_,
        prompt,
        response.thought,
        response.final,
        language_of(prompt.question),
        {"way": "zero", **provenance},
        None,
        fault,
    )


def fault_of_grade(score: float | None) -> str:
    """The fault that a grade stands for, "" for none."""
    return UNGRADABLE if score is None else "" if score == 1.0 else WRONG


def choose(candidates: Sequence[Candidate], marker: str, cfg: ReadableConfig) -> list[Candidate]:
    """The same candidates in the same order, those that are dropped with their faults.

    Of those that answer the same question with the same thought, white space aside, the first is kept.
    """
    selection, chosen = Selection(cfg.per_question), []
    for each in candidates:
        fault = each.fault
        parts = ThoughtAndSummary(each.prompt.question, each.thought, each.summary, each.language, marker)
        if not fault and (reason := cold_start_reason(parts, cfg)):
            fault = reason.name
        question, thought = (" ".join(text.split()) for text in (each.prompt.question, each.thought))
        if not fault and (reason := selection.add(question, (question, thought))):
            fault = DUPLICATE if reason.name == "duplicate" else OVER_QUOTA
        chosen.append(dataclasses.replace(each, fault=fault))
    return chosen
