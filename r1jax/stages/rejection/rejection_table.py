"""Table of rejection sampling: samples kept, and samples dropped by reason, in `table.json` and on the console."""

import collections
import dataclasses
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import rich.console
import rich.table

from r1jax.data.decontaminate import Collision
from r1jax.data.types import Prompt
from r1jax.io.tables import console_cell
from r1jax.stages.sample_filter import REJECTION_REASONS, Reason

_MOST_SOURCES = 5  # that have a column of their own on the console


class Filtered(NamedTuple):
    """A sample that went through the filters, without its text."""

    prompt: Prompt
    sample: int


@dataclasses.dataclass(frozen=True)
class FilterResult:
    """The outcome of the filters.

    Attributes:
        prompts: the questions that were sampled.
        contaminated: those left out, each with its overlap with an evaluation.
        retained: samples that pass the filters, in order.
        dropped: (sample, reason) of the others, in order.
        missing: samples that were not drawn or not graded, for example because a server failed.
    """

    prompts: Sequence[Prompt]
    contaminated: Sequence[tuple[Prompt, Collision]]
    retained: Sequence[Filtered]
    dropped: Sequence[tuple[Filtered, Reason]]
    missing: int


def count(chosen: FilterResult, samples: int) -> dict[str, Any]:
    """The counts, as plain JSON.

    Args:
        samples: drawn for each question.

    Returns:
        questions: asked, contaminated, and with a sample that is kept.
        samples: drawn and graded, kept, missing.
        reasons: in the filters' order, the number of samples dropped for each, their share of all, and by source.
        sources: of each source questions, samples, kept ones, the share of these (acceptance) and questions kept.
        kept_per_question: number of kept samples -> number of questions, from 0 to `samples`.
    """
    by_reason = collections.Counter(reason.name for _, reason in chosen.dropped)
    by_both = collections.Counter((reason.name, each.prompt.source) for each, reason in chosen.dropped)
    drawn = collections.Counter(each.prompt.source for each in chosen.retained)
    drawn.update(each.prompt.source for each, _ in chosen.dropped)
    kept_by_source = collections.Counter(each.prompt.source for each in chosen.retained)
    of_question = collections.Counter(each.prompt.id for each in chosen.retained)
    questions_by_source = collections.Counter(prompt.source for prompt in chosen.prompts)
    answered = collections.Counter(prompt.source for prompt in chosen.prompts if of_question[prompt.id])
    contaminated = collections.Counter(prompt.source for prompt, _ in chosen.contaminated)
    sources = sorted(questions_by_source | contaminated)
    histogram = collections.Counter(of_question[prompt.id] for prompt in chosen.prompts)
    return {
        "questions": {
            "asked": len(chosen.prompts),
            "contaminated": len(chosen.contaminated),
            "kept": sum(answered.values()),
        },
        "samples": {
            "drawn": drawn.total(),
            "kept": kept_by_source.total(),
            "missing": chosen.missing,
            "acceptance": _share(kept_by_source.total(), drawn.total()),
        },
        "reasons": [
            {
                "reason": name,
                "count": by_reason[name],
                "share": _share(by_reason[name], drawn.total()),
                "by_source": {source: by_both[name, source] for source in sources},
            }
            for name in REJECTION_REASONS
        ],
        "sources": {
            source: {
                "questions": questions_by_source[source],
                "contaminated": contaminated[source],
                "drawn": drawn[source],
                "kept": kept_by_source[source],
                "acceptance": _share(kept_by_source[source], drawn[source]),
                "questions_kept": answered[source],
            }
            for source in sources
        },
        "kept_per_question": {str(number): histogram[number] for number in range(samples + 1)},
    }


def show(table: dict[str, Any]) -> None:
    """Prints the table that `count` made."""
    console = rich.console.Console(width=None if sys.stdout.isatty() else 120)
    most = sorted(table["sources"], key=lambda source: -table["sources"][source]["drawn"])[:_MOST_SOURCES]
    columns = most if len(most) > 1 else []
    drawn = table["samples"]["drawn"]
    why = rich.table.Table("dropped", title=f"{drawn:,} samples", title_justify="left")
    for title in ("samples", "share", *columns):
        why.add_column(console_cell(title), justify="right")
    for row in table["reasons"]:
        by_source = (f"{row['by_source'][source]:,}" for source in columns)
        why.add_row(row["reason"], f"{row['count']:,}", _percent(row["share"]), *by_source)
    by_source = (f"{table['sources'][source]['kept']:,}" for source in columns)
    why.add_row("(kept)", f"{table['samples']['kept']:,}", _percent(table["samples"]["acceptance"]), *by_source)
    console.print(why)
    where = rich.table.Table("source", title="by source", title_justify="left")
    for title in ("questions", "contaminated", "drawn", "kept", "acceptance", "questions kept"):
        where.add_column(title, justify="right")
    for source, row in table["sources"].items():
        where.add_row(
            console_cell(source),
            f"{row['questions']:,}",
            f"{row['contaminated']:,}",
            f"{row['drawn']:,}",
            f"{row['kept']:,}",
            _percent(row["acceptance"]),
            f"{row['questions_kept']:,}",
        )
    console.print(where)
    per_question = ", ".join(f"{number}: {count:,}" for number, count in table["kept_per_question"].items() if count)
    console.print(f"questions by samples kept: {per_question}", highlight=False)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.1%}"
