"""Tables of a recipe: stages, models, languages, distillation, votes, reward models, rewards, dropped samples.

All values are read from the files of the runs that the manifest lists, and summarised over seeds.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from r1jax.io.files import read_json
from r1jax.io.tables import markdown_table
from r1jax.report.recipe_manifest import Manifest
from r1jax.report.results import Cell, Row, Table
from r1jax.report.run import read_jsonl

PROBLEMS, REQUESTS = "world_reasoning", "world_general"
MISSING = "–"
_AGREEMENT = ("accuracy", "longer_wins", "auroc", "calibration_error")
Value = Callable[[Path], float | None]  # of one seed's folder


def tables(folders: Sequence[Path], manifest: Manifest) -> list[Table]:
    """All tables that have rows.

    Args:
        folders: one for each seed.
    """
    candidates = [
        _stages(folders, manifest),
        _models(folders, manifest),
        _languages(folders, manifest),
        _distillation(folders, manifest),
        _votes(folders, manifest),
        _reward_models(folders, manifest),
        _all_scenario_rewards(folders, manifest),
        _cold_start_drops(folders, manifest),
        _rejection_drops(folders, manifest),
    ]
    return [table for table in candidates if table.rows]


def markdown(written: Sequence[Table]) -> str:
    """The tables as Markdown sections."""
    parts = []
    for table in written:
        rows = ([cell.text for cell in row] for row in table.rows)
        parts.append("\n".join([f"## {table.title}", "", table.caption, "", *markdown_table(table.header, rows)]))
    return "\n\n".join(parts) + "\n"


def load_json(path: Path) -> Any:
    """A file's content; None where there is no file.

    Raises:
        ValueError: not JSON; names the file.
    """
    return read_json(path) if path.exists() else None


def over_seeds(folders: Sequence[Path], value: Value, scale: float = 100.0, digits: int = 1) -> str:
    """`81.2 ± 1.4`, the mean and standard deviation of the seeds that have the value; of one seed, its value."""
    values = [scale * number for folder in folders if (number := value(folder)) is not None]
    if not values:
        return MISSING
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def result(folder: Path, evaluation: str, benchmark: str) -> Row | None:
    """The result of an evaluation's benchmark, by the evaluation's folder; None where there is none."""
    return load_json(folder / evaluation / benchmark / "result.json")


def figure(evaluation: str, benchmark: str, prefix: str) -> Value:
    """The value of a result's first figure whose name begins with the prefix."""

    def value(folder: Path) -> float | None:
        figures = (result(folder, evaluation, benchmark) or {}).get("figures", {})
        return next((each["value"] for key, each in figures.items() if key.startswith(prefix)), None)

    return value


def part(evaluation: str, benchmark: str, *keys: str) -> Value:
    """The value at these keys of a result."""
    return lambda folder: _at(result(folder, evaluation, benchmark), keys)


def _at(tree: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def _rows(folder: Path, stage: str, name: str) -> list[Row]:
    path = folder / stage / name
    return list(read_jsonl(path, "step", int)) if path.exists() else []


def _table(title: str, caption: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    return Table(title, caption, tuple(header), [tuple(map(Cell, row)) for row in rows])


def _stages(folders: Sequence[Path], manifest: Manifest) -> Table:
    rows = []
    for run in manifest.stages:
        minutes = over_seeds(folders, _seconds(run.name), 1 / 60)
        if minutes != MISSING:
            rows.append((run.label, run.folder, minutes))
    total = over_seeds(folders, _seconds("*"), 1 / 60)
    if total != MISSING:
        rows.append(("all, evaluations too", "", total))
    return _table(
        "The stages",
        "In their order, with the minutes that each took, starting and compiling included.",
        ("stage", "folder", "minutes"),
        rows,
    )


def _seconds(name: str) -> Value:
    """The seconds that a run took, which `experiments/r1.sh` records; "*": all runs, evaluations among them."""

    def value(folder: Path) -> float | None:
        times = [float(path.read_text()) for path in folder.glob(f"done/{name}")]
        return sum(times) if times else None

    return value


def _models(folders: Sequence[Path], manifest: Manifest) -> Table:
    """Each model on the held-out problems and requests."""
    evaluations = manifest.of_kind("evaluation")
    rows = []
    for run in evaluations:
        values = [
            figure(run.folder, PROBLEMS, "pass@1"),
            figure(run.folder, PROBLEMS, "cons@"),
            part(run.folder, PROBLEMS, "by_subject", "en", "value"),
            part(run.folder, PROBLEMS, "by_subject", "zh", "value"),
            part(run.folder, PROBLEMS, "rates", "well_formed"),
            part(run.folder, PROBLEMS, "rates", "mixed_language"),
            figure(run.folder, REQUESTS, "pass@1"),
        ]
        cells = [over_seeds(folders, value) for value in values]
        if cells[0] != MISSING:
            length = over_seeds(folders, part(run.folder, PROBLEMS, "length", "mean"), 1.0)
            rows.append((run.label, *cells, length))
    results = [result(folder, run.folder, PROBLEMS) for folder in folders for run in evaluations]
    sizes = {(each["n"], each["k"]) for each in results if each}
    size = ", ".join(f"n = {n}, k = {k}" for n, k in sorted(sizes))
    spread = f"mean ± standard deviation of {len(folders)} seeds" if len(folders) > 1 else "one seed"
    return _table(
        "The models",
        f"Held-out problems ({size}) and requests, percent, {spread}; temperature 0.6, top-p 0.95.",
        (
            "model",
            "problems pass@1",
            "cons@k",
            "English",
            "Chinese",
            "well formed",
            "mixed languages",
            "requests pass@1",
            "tokens",
        ),
        rows,
    )


def _languages(folders: Sequence[Path], manifest: Manifest) -> Table:
    """The languages of thoughts in RL, by its training metrics, first and last steps."""
    rows = []
    for run in manifest.of_kind("rl", "all_scenario_rl"):
        cells = [
            over_seeds(folders, _training(run.folder, key, side))
            for key in ("language/mixed", "reward/accuracy", "reward/language")
            for side in (slice(None, 3), slice(-3, None))
        ]
        if cells[0] != MISSING:
            rows.append((run.label, *cells))
    header = ("stage", "mixed thoughts, first", "last", "accuracy, first", "last", "language reward, first", "last")
    caption = "Percent of the training samples, the first three steps and the last three."
    return _table("Languages", caption, header, rows)


def _training(stage: str, key: str, side: slice) -> Value:
    """The mean of a training metric over some of its steps."""

    def value(folder: Path) -> float | None:
        rows = _rows(folder, stage, "metrics.jsonl")[side]
        values = [row[key] for row in rows if row.get(key) is not None]
        return statistics.mean(values) if values else None

    return value


def _distillation(folders: Sequence[Path], manifest: Manifest) -> Table:
    """Each student as it starts, by RL alone, and distilled."""
    rows = []
    for student in manifest.of_kind("student"):
        trained = {run.kind: run.name for run in manifest.runs if run.starts_from == student.name}
        models = (student.name, trained.get("student_rl", ""), trained.get("distillation", ""))
        evaluations = [manifest.evaluation_of(model) for model in models]
        if None in evaluations:
            continue
        base, rl, distilled = (figure(run.folder, PROBLEMS, "pass@1") for run in evaluations)
        cells = [over_seeds(folders, value) for value in (base, rl, distilled, _difference(distilled, rl))]
        if MISSING not in cells:
            rows.append((student.label, *cells))
    return _table(
        "Distillation against RL",
        "The same students, pass@1 on the held-out problems, percent.",
        ("student", "as it starts", "by RL alone", "distilled", "distilled minus RL"),
        rows,
    )


def _difference(a: Value, b: Value) -> Value:
    def value(folder: Path) -> float | None:
        sides = a(folder), b(folder)
        return None if None in sides else sides[0] - sides[1]

    return value


def _votes(folders: Sequence[Path], manifest: Manifest) -> Table:
    rows = []
    for run in manifest.of_kind("evaluation"):
        single, votes = figure(run.folder, PROBLEMS, "pass@1"), figure(run.folder, PROBLEMS, "cons@")
        cells = [over_seeds(folders, value) for value in (single, votes, _difference(votes, single))]
        if cells[0] != MISSING:
            rows.append((run.label, *cells))
    return _table(
        "pass@1 against cons@k",
        "Percent; what a majority of the k samples adds.",
        ("model", "pass@1", "cons@k", "difference"),
        rows,
    )


def _reward_models(folders: Sequence[Path], manifest: Manifest) -> Table:
    rows = []
    for run in manifest.of_kind("reward_model"):
        cells = [over_seeds(folders, _evaluated(run.folder, key)) for key in _AGREEMENT]
        if cells[0] != MISSING:
            rows.append((run.name, *cells))
    return _table(
        "Reward models",
        "On held-out pairs or labels, percent.",
        ("model", "accuracy", "preferring the longer one", "AUROC", "calibration error"),
        rows,
    )


def _evaluated(stage: str, *keys: str, index: int = -1) -> Value:
    """The value at these keys of a stage's own evaluation, the last one or another."""

    def value(folder: Path) -> float | None:
        rows = _rows(folder, stage, "evals.jsonl")
        number = _at(rows[index], keys) if rows else None
        return None if number is None or math.isnan(number) else number

    return value


def _all_scenario_rewards(folders: Sequence[Path], manifest: Manifest) -> Table:
    """All-scenario RL's rewards on held-out prompts."""
    rows = []
    names = ("accuracy", "format", "language", *(f"model/{run.name}" for run in manifest.of_kind("reward_model")))
    for run in manifest.of_kind("all_scenario_rl"):
        for name in names:
            sides = [over_seeds(folders, _evaluated(run.folder, "parts", name, index=i), 1.0, 2) for i in (0, -1)]
            if sides[0] != MISSING:
                rows.append((name, *sides))
    return _table(
        "RL for all scenarios, held-out prompts",
        "Mean of each part of the reward before and after.",
        ("reward", "before", "after"),
        rows,
    )


def _cold_start_drops(folders: Sequence[Path], manifest: Manifest) -> Table:
    """The cold start's samples by source, kept and dropped, of the first seed."""
    rows = []
    for run in manifest.of_kind("cold_start"):
        collected = load_json(folders[0] / run.folder / "table.json") or {"found": {}}
        for source, row in collected["found"].items():
            reasons = "; ".join(f"{count} {reason}" for reason, count in row["dropped"].items())
            rows.append((source, str(row["found"]), str(row["kept"]), reasons))
    header = ("way", "found", "kept", "dropped")
    return _table("What the cold start collected", "Of the first seed.", header, rows)


def _rejection_drops(folders: Sequence[Path], manifest: Manifest) -> Table:
    """Rejection sampling's samples by reason, of the first seed."""
    rows = []
    for run in manifest.of_kind("rejection"):
        if table := load_json(folders[0] / run.folder / "table.json"):
            reasons = [row for row in table["reasons"] if row["count"]]
            rows += [(row["reason"], str(row["count"]), f"{100 * row['share']:.1f}") for row in reasons]
            samples = table["samples"]
            rows.append(("kept", str(samples["kept"]), f"{100 * samples['acceptance']:.1f}"))
    return _table("What rejection sampling dropped", "Of the first seed.", ("reason", "samples", "percent"), rows)
