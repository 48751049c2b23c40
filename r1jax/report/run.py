"""The report of a finished or unfinished run, one HTML page: WORKDIR/report.html.

Reads only files of the run: config.json, metrics.jsonl, evals.jsonl, benchmarks.jsonl, evals/step_NNNNNN.jsonl and, of
a run under way, rollouts/step_NNNNNN.jsonl. Missing files are named in the page; a malformed line is an error that
names file and line.
"""

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import rich.table

from r1jax.io import files, jsonl
from r1jax.io.tables import console_cell
from r1jax.report import benchmarks
from r1jax.report.panels import PANELS, Row, number
from r1jax.report.plots import draw_plots
from r1jax.report.summary import TRAINED_TITLE, Run, cautions, comparison, summary, tasks
from r1jax.text import chat

BASE_TITLE = "base model"
QUESTIONS_SHOWN = 8
_TAG = re.compile("(" + "|".join(map(re.escape, chat.TAGS)) + ")")


def load_run(workdir: Path) -> Run:
    """Reads a run's files.

    Raises:
        FileNotFoundError: the workdir holds no metrics, evaluations or benchmarks.
        ValueError: a malformed line; the message names file and line.
    """
    names = ("config.json", "metrics.jsonl", "evals.jsonl", "benchmarks.jsonl")
    present = [name for name in names if (workdir / name).exists()]
    if not set(present) - {"config.json"}:
        raise FileNotFoundError(
            f"{workdir} holds none of metrics.jsonl, evals.jsonl and benchmarks.jsonl; give the workdir of a run of "
            f"stage {', '.join(PANELS)}, or folders of evaluations"
        )
    metrics, evals = (
        _by_step(read_jsonl(workdir / name, "step", int)) if name in present else []
        for name in ("metrics.jsonl", "evals.jsonl")
    )
    config = {}
    if "config.json" in present:
        config = files.parse_object((workdir / "config.json").read_bytes(), workdir / "config.json")
    stage = config.get("stage") if config.get("stage") in PANELS else _stage(metrics, evals)
    expected = ["config.json", "metrics.jsonl"]
    if stage != "supervised" and (config.get("data") or {}).get("held_out_share") != 0:
        expected.append("evals.jsonl")
    missing = tuple(name for name in expected if name not in present)
    scheduled = [*read_jsonl(workdir / names[-1], "step", int)] if names[-1] in present else []
    return Run(workdir, stage, config, metrics, evals, missing, scheduled)


def _stage(metrics: Sequence[Row], evals: Sequence[Row]) -> str:
    """The stage of a run that says none, by what its rows hold."""
    keys = {key for row in (*metrics[:1], *evals[:1]) for key in row}
    if keys & {"calibration_error", "margin"}:
        return "preference"
    return "supervised" if "loss" in keys and "reward/total" not in keys else "rl"


def headline(workdir: Path, base_title: str = BASE_TITLE) -> rich.table.Table:
    """A run's two sides, for the console: see `summary.Comparison`."""
    run = load_run(workdir)
    sides = comparison(run, base_title)
    table = rich.table.Table(
        title=console_cell(summary(run)),
        title_justify="left",
        caption_justify="left",
        caption="\n".join(map(console_cell, cautions(run))) or None,
    )
    table.add_column(console_cell(sides.caption))
    for title in (*sides.titles, "change"):
        table.add_column(console_cell(title), justify="right")
    for cells in sides.rows:
        table.add_row(*cells)
    return table


def write_report(workdir: Path, base_title: str = BASE_TITLE) -> Path:
    """Writes WORKDIR/report.html, see `page`, and returns its path; raises as `load_run`."""
    path = workdir / "report.html"
    files.write_text(path, page(workdir, base_title))
    return path


def page(workdir: Path, base_title: str = BASE_TITLE, newest: bool = False) -> str:
    """The report as HTML, one page that needs no other file and no network.

    Args:
        newest: with the newest rollouts of RL, for a run under way.

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
    return environment.get_template("run.html.j2").render(
        name=workdir.resolve().name,
        stage=run.stage,
        titles=(base_title, TRAINED_TITLE),
        summary=summary(run),
        cautions=cautions(run),
        comparison=comparison(run, base_title),
        tasks=tasks(run),
        benchmarks=benchmarks.sections(run.benchmarks),
        plots=draw_plots(run.stage, run.metrics, run.evals),
        newest=_newest(workdir) if newest else None,
        questions=_questions(run) if run.stage == "rl" else [],
        settings=settings(run.config),
    )


def _newest(workdir: Path) -> dict[str, Any] | None:
    """The newest step whose rollouts are kept, and the first sample of its first questions; None without any."""
    paths = sorted((workdir / "rollouts").glob("step_*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    if not paths:
        return None
    rows = list(_first_samples(paths[-1]).values())[:QUESTIONS_SHOWN]
    return {"step": int(paths[-1].stem.removeprefix("step_")), "samples": [(row, _response(row)) for row in rows]}


def _questions(run: Run) -> list[dict[str, Any]]:
    """The questions shown, chosen without a look at any outcome: see the template for the rule, in words."""
    folder = run.workdir / "evals"
    sides = [_first_samples(folder / f"step_{row['step']:06d}.jsonl") if row else {} for row in (run.base, run.trained)]
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


def _first_samples(path: Path) -> dict[str, Row]:
    """The lowest-numbered sample of each question, in the file's order; {} when there is no such file."""
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
        for line_number, row in jsonl.objects(lines, path, "resuming the run removes a line that a kill cut off"):
            if not isinstance(row.get(key), kind):
                raise ValueError(
                    f"{path}:{line_number}: {key!r} is {row.get(key)!r}, should be of type {kind.__name__}"
                )
            yield row
