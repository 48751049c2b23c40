"""Summary of audits: summary.json, the table of Markdown and console, and the checks that failed."""

import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from r1jax.audit.dataset_audit import Audit
from r1jax.graders import grader_table
from r1jax.graders.config import GraderConfig
from r1jax.io import files, jsonl, tables

_REASONS = 3
COLUMNS = (
    "data",
    "grader",
    "rows",
    "unreadable",
    "misread",
    "own reference",
    "wrong answers passed",
    "recorded verdicts",
    "time-outs",
    "a second",
)


def summary(audit: Audit, workers: int) -> dict[str, Any]:
    """What summary.json holds of a file."""
    own, tried = audit.own()
    return {
        "data": audit.name,
        "grader": audit.grader,
        "version": grader_table.version(audit.grader) if audit.grader else "",
        "rows": audit.rows,
        "unreadable": {"count": len(audit.unreadable), "first": [reason for *_, reason in audit.unreadable[:_REASONS]]},
        "reading": {
            "tried": len(audit.readings),
            "misread": len(audit.misread()),
            "lost": sum(bool(reading.lost) for *_, reading in audit.readings),
            "added": sum(bool(reading.added) for *_, reading in audit.readings),
        },
        "own": {"passed": own, "tried": tried},
        "perturbed": {
            kind: {"passed": passed, "tried": count} for kind, (passed, count) in audit.tally("perturbed").items()
        },
        "recorded": audit.recorded(),
        "timeouts": audit.timeouts(),
        "gradings": len(audit.results),
        "seconds": round(audit.seconds, 3),
        "per_second": round(len(audit.results) / audit.seconds, 1) if audit.results else None,
        "workers": workers,
    }


def failures(audit: Audit) -> Iterator[dict[str, Any]]:
    """A line of failures.jsonl for everything that is not as it should be."""
    for id_, answer, reason in audit.unreadable:
        yield {"data": audit.name, "id": id_, "check": "readable", "gold": answer, "error": reason}
    for id_, answer, reading in audit.misread():
        for kind, tokens in (("lost", reading.lost), ("added", reading.added)):
            if tokens:
                line = {"data": audit.name, "id": id_, "check": "reading", "kind": kind, "gold": answer}
                yield line | {"kept": reading.text, "tokens": tokens}
    for result in audit.results:
        if result.failed:
            yield {
                "data": audit.name,
                "id": result.prompt.id,
                "check": result.case.check,
                "kind": result.case.kind,
                "graded": result.case.text,
                "gold": result.prompt.answer,
                "should_be_right": result.case.right,
                "verdict": result.grade.verdict,
                "score": result.grade.score,
                "error": result.error,
            }


def cells(audit: Audit) -> list[str]:
    """A file's line in the table, by `COLUMNS`."""
    own, tried = audit.own()
    recorded = audit.recorded()
    perturbed = [f"{kind} {passed:,} of {count:,}" for kind, (passed, count) in audit.tally("perturbed").items()]
    agreed = (
        f"{recorded['agreed'] / recorded['n']:.2%} of {recorded['n']:,} "
        f"(+{recorded['false_positives']} −{recorded['false_negatives']})"
        if recorded["n"]
        else "–"
    )
    return [
        audit.name,
        audit.grader or "–",
        f"{audit.rows:,}",
        f"{len(audit.unreadable):,}",
        f"{len(audit.misread()):,} of {len(audit.readings):,}" if audit.readings else "–",
        f"{own:,} of {tried:,}" if tried else "–",
        ", ".join(perturbed) or "–",
        agreed,
        f"{audit.timeouts():,}",
        f"{len(audit.results) / audit.seconds:,.0f}" if audit.results else "–",
    ]


def write(workdir: pathlib.Path, audits: Sequence[Audit], cfg: GraderConfig) -> None:
    """Writes what is known so far."""
    workdir.mkdir(parents=True, exist_ok=True)
    summaries = [summary(audit, cfg.workers) for audit in audits]
    files.write_text(workdir / "summary.json", json.dumps(summaries, ensure_ascii=False, indent=2) + "\n")
    lines = tables.markdown_table(COLUMNS, map(cells, audits))
    versions = [f"- {name}: {grader_table.version(name)}" for name in sorted({a.grader for a in audits if a.grader})]
    files.write_text(workdir / "table.md", "\n".join([*lines, "", *versions]) + "\n")
    jsonl.write(workdir / "failures.jsonl", (line for audit in audits for line in failures(audit)))
