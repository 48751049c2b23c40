"""A finished or half-finished run, told in one page, WORKDIR/report.html.

Reads only files of the run: config.json, metrics.jsonl, evals.jsonl and evals/step_NNNNNN.jsonl. What is missing is
named in the page; what is malformed is an error that names the file and the line.
"""

import dataclasses
import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import rich.table

from r1jax.report.plots import Row, draw_plots, number
from r1jax.text import chat
from r1jax.text.tables import console_cell

BASE_TITLE = "base model"
TRAINED_TITLE = "trained model"
QUESTIONS_SHOWN = 8
_TAG = re.compile("(" + "|".join(map(re.escape, chat.TAGS)) + ")")


@dataclasses.dataclass(frozen=True)
class Run:
    """What a workdir holds. Rows are ordered by step; of a step written twice, as a resumed run may, the last counts.

    Attributes:
        config: the nested configuration, {} when the file is missing.
        metrics: one row per RL step.
        evals: one row per evaluation.
        missing: names of the files that are not there.
    """

    workdir: Path
    config: Mapping[str, Any]
    metrics: list[Row]
    evals: list[Row]
    missing: tuple[str, ...]

    @property
    def base(self) -> Row | None:
        """The evaluation before RL, None when there was none."""
        return self.evals[0] if self.evals and self.evals[0]["step"] == 0 else None

    @property
    def trained(self) -> Row | None:
        """The last evaluation after at least one step, None when there was none."""
        return self.evals[-1] if self.evals and self.evals[-1]["step"] > 0 else None


@dataclasses.dataclass(frozen=True)
class Measure:
    """One line of the headline: where an evaluation keeps it and how it is written ("%", "tokens" or plain)."""

    label: str
    key: str
    unit: str = ""
    error_key: str = ""


PASS_AT_1 = Measure("pass@1", "pass@1", "%", "stderr")
WELL_FORMED = Measure("well-formed responses", "format", "%")
LENGTH = Measure("mean response length, tokens", "length", "tokens")
REFLECTION = Measure("responses that reflect", "reflection", "%")
QUESTIONS = Measure("questions (n)", "n")
SAMPLES = Measure("samples a question (k)", "k")
MEASURES = (
    PASS_AT_1,
    Measure("cons@k", "cons@k", "%", "cons_stderr"),
    WELL_FORMED,
    Measure("accuracy when well formed", "pass@1_if_well_formed", "%"),
    LENGTH,
    REFLECTION,
    Measure("truncated responses", "truncated", "%"),
    QUESTIONS,
    SAMPLES,
    Measure("temperature", "temperature"),
    Measure("top-p", "top_p"),
)


def load_run(workdir: Path) -> Run:
    """Reads a run's files.

    Raises:
        FileNotFoundError: the workdir holds neither metrics nor evaluations.
        ValueError: a malformed line; the message names file and line.
    """
    present = [name for name in ("config.json", "metrics.jsonl", "evals.jsonl") if (workdir / name).exists()]
    if not set(present) - {"config.json"}:
        raise FileNotFoundError(f"{workdir} holds neither metrics.jsonl nor evals.jsonl; give the workdir of a run")
    rows = {
        name: _by_step(read_jsonl(workdir / name, "step", int)) if name in present else []
        for name in ("metrics.jsonl", "evals.jsonl")
    }
    config = {}
    if "config.json" in present:
        config = _parse((workdir / "config.json").read_bytes(), str(workdir / "config.json"))
    missing = tuple(name for name in ("config.json", *rows) if name not in present)
    return Run(workdir, config, rows["metrics.jsonl"], rows["evals.jsonl"], missing)


def headline(workdir: Path, base_title: str = BASE_TITLE) -> rich.table.Table:
    """The base model against the trained one, for the console."""
    run = load_run(workdir)
    table = rich.table.Table("held-out questions", title=console_cell(_summary(run)), title_justify="left")
    for title in (base_title, TRAINED_TITLE, "change"):
        table.add_column(console_cell(title), justify="right")
    for cells in _compare(MEASURES, run.base, run.trained):
        table.add_row(*cells)
    return table


def write_report(workdir: Path, base_title: str = BASE_TITLE) -> Path:
    """Writes WORKDIR/report.html, one file that needs no other and no network, and returns its path.

    Raises:
        FileNotFoundError, ValueError: as `load_run`.
    """
    run = load_run(workdir)
    # Autoescape stays on for every value: samples are a model's output and may hold any markup.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    accuracy, *training = draw_plots(run.metrics, run.evals)
    page = environment.get_template("run.html.j2").render(
        name=workdir.resolve().name,
        titles=(base_title, TRAINED_TITLE),
        summary=_summary(run),
        cautions=_cautions(run),
        headline=_compare(MEASURES, run.base, run.trained),
        tasks=_tasks(run),
        accuracy=accuracy,
        plots=training,
        questions=_questions(run),
        settings=settings(run.config),
    )
    path = workdir / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _summary(run: Run) -> str:
    """One sentence on what happened, in words that the numbers choose."""
    base, trained = run.base, run.trained
    if base is None and trained is None:
        return f"No evaluation was recorded in {_steps(len(run.metrics))} of RL: nothing is known of held-out accuracy."
    if base is None:
        return (
            f"After {_steps(trained['step'])} of RL held-out pass@1 is {_cell(trained, PASS_AT_1)}; the base model "
            "was not evaluated, so what RL changed is not known."
        )
    if trained is None:
        return (
            f"The base model's held-out pass@1 is {_cell(base, PASS_AT_1)}; no evaluation was recorded after any RL "
            "step, so what RL changed is not known."
        )
    sampled = ""
    if base.get("n") is not None and all(base.get(key) == trained.get(key) for key in ("n", "k")):
        sampled = f" ({_cell(base, QUESTIONS)} questions, k = {_cell(base, SAMPLES)})"
    clauses = [f"Over {_steps(trained['step'])} of RL, held-out pass@1 {_verdict(base, trained)}{sampled}"]
    for measure, subject, up, down in (
        (WELL_FORMED, "the share of well-formed responses", "rose", "fell"),
        (LENGTH, "the mean response", "grew", "shrank"),
        (REFLECTION, "the share of responses that reflect", "rose", "fell"),
    ):
        before, after = number(base.get(measure.key)), number(trained.get(measure.key))
        if before is None or after is None:
            continue
        old, new = _cell(base, measure), _cell(trained, measure)
        unit = " tokens" if measure.unit == "tokens" else ""
        moved = f"stayed at {new}" if old == new else f"{up if after > before else down} from {old} to {new}"
        clauses.append(f"{subject} {moved}{unit}")
    return "; ".join(clauses) + "."


def _verdict(base: Row, trained: Row) -> str:
    """What became of pass@1. Within two standard errors of the difference it counts as no change.

    The two evaluations are treated as independent. They share their questions, which makes this the cautious side.
    """
    before, after = number(base.get("pass@1")), number(trained.get("pass@1"))
    if before is None or after is None:
        return "was not recorded both before and after"
    moved = f"from {_cell(base, PASS_AT_1)} to {_cell(trained, PASS_AT_1)}"
    errors = number(base.get("stderr")), number(trained.get("stderr"))
    if before == after:
        return f"stayed the same, {moved}"
    if None not in errors and abs(after - before) <= 2 * math.hypot(*errors):
        return f"did not change measurably: it went {moved}, within two standard errors"
    return f"{'rose' if after > before else 'fell'} {moved}"


def _cautions(run: Run) -> list[str]:
    """What a reader must know before believing the numbers."""
    cautions = [f"{name} is missing from the workdir." for name in run.missing]
    done = max((row["step"] + 1 for row in run.metrics), default=0)
    planned = number(run.config.get("num_steps"))
    if run.metrics and planned is not None and done < planned:
        cautions.append(f"The run is not complete: it logged {done} of {planned:g} steps.")
    if run.trained is not None and run.trained["step"] < done:
        cautions.append(f"The last evaluation is of step {run.trained['step']}; the run logged {_steps(done)}.")
    skipped = sum(number(row.get("skipped")) or 0.0 for row in run.metrics)
    if skipped:
        cautions.append(f"Updates worth {skipped:g} steps were skipped: their gradient was not finite.")
    ungraded = [number(row.get("grading/ungradable")) or 0.0 for row in run.metrics]
    if any(ungraded):
        cautions.append(f"On average {sum(ungraded) / len(ungraded):.1%} of a step's samples could not be graded.")
    if any("reward/random" in row for row in run.metrics):
        cautions.append("A random reward was paid: this is a control run, whose accuracy should not rise.")
    if run.base is not None and run.trained is not None:
        differing = [key for key in ("n", "k", "temperature", "top_p") if run.base.get(key) != run.trained.get(key)]
        if differing:
            cautions.append(f"The two models were not evaluated alike: {', '.join(differing)} differ.")
    return cautions


def _compare(measures: Iterable[Measure], base: Row | None, trained: Row | None) -> list[tuple[str, str, str, str]]:
    """Rows of (label, base, trained, change); a dash stands for what was not recorded."""
    rows = []
    for measure in measures:
        before, after = (number((row or {}).get(measure.key)) for row in (base, trained))
        change = ""
        if measure.unit and before is not None and after is not None:
            change = f"{100 * (after - before):+.1f} points" if measure.unit == "%" else f"{after - before:+.1f}"
        rows.append((measure.label, _cell(base, measure), _cell(trained, measure), change))
    return rows


def _tasks(run: Run) -> list[tuple[str, list[tuple[str, str, str, str]]]]:
    """Per task, its name and its rows as `_compare` makes them."""
    base, trained = ((row or {}).get("by_source") or {} for row in (run.base, run.trained))
    return [
        (name, _compare((PASS_AT_1, QUESTIONS), base.get(name), trained.get(name)))
        for name in sorted({*base, *trained})
    ]


def _cell(row: Row | None, measure: Measure) -> str:
    value, error = number((row or {}).get(measure.key)), number((row or {}).get(measure.error_key))
    if value is None:
        return "–"
    if measure.unit == "%":
        return f"{100 * value:.1f}%" + ("" if error is None else f" ± {100 * error:.1f}")
    return f"{value:.1f}" if measure.unit == "tokens" else f"{value:g}"


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"


def _questions(run: Run) -> list[dict[str, Any]]:
    """The questions shown, chosen without a look at any outcome: see the template for the rule, in words."""
    sides = [_first_samples(run, row) for row in (run.base, run.trained)]
    everything = {**sides[1], **sides[0]}
    shared = [id for id in everything if all(id in side for side in sides if side)]
    by_source: dict[str, list[str]] = {}
    for id in shared:
        by_source.setdefault(str(everything[id].get("source", "")), []).append(id)
    rounds = itertools.zip_longest(*(by_source[source] for source in sorted(by_source)))
    chosen = [id for ids in rounds for id in ids if id is not None][:QUESTIONS_SHOWN]
    return [
        {
            "id": id,
            "source": everything[id].get("source", ""),
            "question": everything[id].get("question", ""),
            "answer": everything[id].get("answer", ""),
            "sides": [_response(side.get(id)) for side in sides],
        }
        for id in chosen
    ]


def _first_samples(run: Run, evaluation: Row | None) -> dict[str, Row]:
    """The lowest-numbered sample of each question, in the file's order; {} when there is no such file."""
    if evaluation is None:
        return {}
    path = run.workdir / "evals" / f"step_{evaluation['step']:06d}.jsonl"
    first: dict[str, Row] = {}
    for row in read_jsonl(path, "id", str) if path.exists() else ():
        id = row["id"]
        if id not in first or (number(row.get("sample")) or 0) < (number(first[id].get("sample")) or 0):
            first[id] = row
    return first


def _response(row: Row | None) -> dict[str, Any] | None:
    if row is None:
        return None
    correct = number(row.get("correct"))
    text = str(row.get("text", ""))
    return {
        "mark": "ungraded" if correct is None else "right" if correct == 1 else "wrong",
        "truncated": row.get("finish") == "length",
        "tokens": row.get("num_tokens", "?"),
        "well_formed": bool(row.get("well_formed")),
        "thought": row.get("thought", ""),
        "final": row.get("final", ""),
        # Odd places hold the tags: re.split keeps what its group matched.
        "pieces": [(index % 2 == 1, piece) for index, piece in enumerate(_TAG.split(text)) if piece],
    }


def settings(config: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Sections of (dotted key, value): the top level's plain values first, then one section for each mapping in it."""
    plain = {key: value for key, value in config.items() if not isinstance(value, Mapping)}
    nested = {key: value for key, value in config.items() if isinstance(value, Mapping)}
    sections = {**({"run": plain} if plain else {}), **nested}
    return [(name, list(_flatten(section))) for name, section in sections.items()]


def _flatten(section: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in section.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value if value and isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _by_step(rows: Iterable[Row]) -> list[Row]:
    return [row for _, row in sorted({row["step"]: row for row in rows}.items())]


def read_jsonl(path: Path, key: str, kind: type) -> Iterable[Row]:
    """A file's objects, each of which has `key`, of that kind.

    Raises:
        ValueError: a malformed line; the message names file and line.
    """
    with path.open("rb") as lines:
        for line_number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = _parse(line, f"{path}, line {line_number}")
            if not isinstance(row.get(key), kind):
                raise ValueError(f"{path}, line {line_number}: {key!r} is {row.get(key)!r}; {kind.__name__} needed")
            yield row


def _parse(text: bytes, place: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except ValueError as error:  # bad JSON or bad UTF-8
        raise ValueError(f"{place}: not JSON ({error}); what a killed run left half written, resuming mends") from error
    if not isinstance(row, dict):
        raise ValueError(f"{place}: a JSON object is needed, not a {type(row).__name__}")
    return row
