"""Human review of collected samples (arXiv 2501.12948, section 2.3.1): a file for editors, and its verdicts."""

import dataclasses
import io
import pathlib
from collections import Counter
from collections.abc import Mapping, Sequence

from r1jax import config
from r1jax.config import ConfigError
from r1jax.io import jsonl
from r1jax.stages.cold_start.candidates import Candidate
from r1jax.stages.cold_start.config import ReadableConfig
from r1jax.stages.sample_filter import ThoughtAndSummary, cold_start_reason

VERDICTS = ("accept", "edit", "reject")
REJECTED = "rejected in review"
_TO_FILL_IN = ("verdict", "editor", "note")
_KEYS = ("id", "prompt", "thought", "summary", *_TO_FILL_IN)
_MOST_REPORTED = 20  # faults at a time


@dataclasses.dataclass(frozen=True)
class Review:
    """One line of a reviewed file.

    Attributes:
        line: its number, from 1.
        verdict: one of `VERDICTS`; "": not reviewed yet.
        editor, note: the reviewer's name and remark.
        thought, summary: as edited.
    """

    line: int
    verdict: str
    editor: str
    note: str
    thought: str
    summary: str


def write_review_file(path: pathlib.Path, candidates: Sequence[Candidate]) -> None:
    """Writes the samples to review, a line each, of which an editor fills in `verdict`, `editor` and `note`.

    Raises:
        ConfigError: the file there holds an editor's work, which would be lost.
    """
    if path.exists() and any(_is_touched(line) for _, line in jsonl.numbered_lines(io.BytesIO(path.read_bytes()))):
        raise ConfigError(f"{path} holds verdicts: read them by --config.review, or move the file away")
    jsonl.write(
        path,
        (
            {
                "id": each.id,
                "prompt": each.prompt.question,
                "thought": each.thought,
                "summary": each.summary,
                **dict.fromkeys(_TO_FILL_IN, ""),
            }
            for each in candidates
        ),
    )


def _is_touched(line: bytes) -> bool:
    """Whether an editor has changed a line after `write_review_file` wrote it."""
    try:
        row = jsonl.parse(line)
    except ValueError:
        return True
    return any(row.get(key) for key in _TO_FILL_IN)


def read_review_file(
    path: pathlib.Path, candidates: Sequence[Candidate], marker: str, cfg: ReadableConfig
) -> dict[str, Review]:
    """The lines of a reviewed file by id, including those without a verdict.

    An `accept` or a `reject` with a changed text is an error, as an edit might be lost; so is an `edit` without one.
    White space does not count as a change. An edited text has to pass the same filters as any other.

    Raises:
        FileNotFoundError: no such file; names the nearest.
        ConfigError: lines that cannot be used, each by its number.
    """
    if not path.is_file():
        raise FileNotFoundError(config.missing_file(path))
    by_id = {each.id: each for each in candidates}
    reviews: dict[str, Review] = {}
    faults = []
    for number, line in jsonl.numbered_lines(io.BytesIO(path.read_bytes())):
        try:
            row = _row(line)
            if row["id"] in reviews:
                raise ValueError(f"id {row['id']!r} is already that of line {reviews[row['id']].line}")
            if row["id"] not in by_id:
                raise ValueError(f"no sample has the id {row['id']!r}; nearest: {config.nearest(row['id'], by_id)}")
            review = Review(number, *(row[key].strip() for key in (*_TO_FILL_IN, "thought", "summary")))
            _check(review, row, by_id[row["id"]], marker, cfg)
        except ValueError as error:
            faults.append(f"{path}:{number}: {error}")
        else:
            reviews[row["id"]] = review
    raise_faults(path, faults)
    return reviews


def raise_faults(path: pathlib.Path, faults: Sequence[str]) -> None:
    """Raises ConfigError that lists the first faults; does nothing where there are none."""
    if faults:
        more = [f"and {len(faults) - _MOST_REPORTED} more"] if len(faults) > _MOST_REPORTED else []
        raise ConfigError(
            f"{len(faults)} lines of {path} cannot be used; repair them, nothing was changed\n  "
            + "\n  ".join([*faults[:_MOST_REPORTED], *more])
        )


def _row(line: bytes) -> dict[str, str]:
    """A line's fields, all of them strings."""
    row = jsonl.parse(line, kind=f"an object with {', '.join(_KEYS)}")
    for key in _KEYS:
        if key not in row:
            raise ValueError(f"no {key!r}; it has: {config.listed(row)}")
        if not isinstance(row[key], str):
            raise ValueError(f"{key!r} is {row[key]!r}, should be a string")
    return row


def _check(review: Review, row: Mapping[str, str], sent: Candidate, marker: str, cfg: ReadableConfig) -> None:
    """Raises ValueError where a line's verdict and its texts do not go together."""
    if review.verdict not in ("", *VERDICTS):
        raise ValueError(f"verdict {review.verdict!r}, should be one of: {', '.join(VERDICTS)}")
    if review.verdict and not review.editor:
        raise ValueError(f"verdict {review.verdict!r} without an editor: put the reviewer's name in 'editor'")
    if _words(row["prompt"]) != _words(sent.prompt.question):
        raise ValueError("the prompt is changed: it is not to be edited")
    changed = [key for key in ("thought", "summary") if _words(row[key]) != _words(getattr(sent, key))]
    if review.verdict == "edit":
        if (review.thought, review.summary) == (sent.thought.strip(), sent.summary.strip()):
            raise ValueError("verdict 'edit', and neither thought nor summary is changed: write accept, or edit it")
        parts = ThoughtAndSummary(sent.prompt.question, review.thought, review.summary, sent.language, marker)
        if reason := cold_start_reason(parts, cfg):
            raise ValueError(f"the edited text cannot be used: {reason.name}")
    elif changed:
        verdict = f"verdict {review.verdict!r}" if review.verdict else "no verdict"
        raise ValueError(f"{verdict}, and the {' and the '.join(changed)} is changed: write edit, or restore the text")


def _words(text: str) -> list[str]:
    return text.split()


def apply(candidates: Sequence[Candidate], reviews: Mapping[str, Review]) -> tuple[list[Candidate], dict[str, int]]:
    """The reviewed candidates, verdict, editor and note in their provenance, and the number of each verdict.

    A candidate without a verdict, or without a line, stays as it is.
    """
    judged, count = [], Counter()
    for each in candidates:
        review = reviews.get(each.id)
        if not review or not review.verdict:
            count["not reviewed" if review else "no line came back"] += 1
            judged.append(each)
            continue
        count[review.verdict] += 1
        of_review = {"verdict": review.verdict, "editor": review.editor, "note": review.note}
        each = dataclasses.replace(each, provenance={**each.provenance, **of_review})
        if review.verdict == "edit":
            each = dataclasses.replace(each, thought=review.thought, summary=review.summary, bare=False)
        judged.append(dataclasses.replace(each, fault=REJECTED) if review.verdict == "reject" else each)
    return judged, dict(count)
