"""The whole recipe in one page: `python -m r1jax.report.recipe FOLDER... [--out OUT] [--markdown FILE]`.

A folder is one seed's, as `experiments/r1.sh` leaves it: a workdir for each stage, and `eval/<model>/<benchmark>` for
each model. Several seeds are told as mean ± standard deviation. What is not there yet is left out and said.
"""

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import rich.console

from r1jax.config import exit_status, path_given
from r1jax.io.tables import markdown_table
from r1jax.report.plots import Plot
from r1jax.report.recipe_plots import compare, draw
from r1jax.report.results import Cell, Row, Table
from r1jax.report.results_page import console, render
from r1jax.report.run import read_jsonl, settings


class Stage(NamedTuple):
    """A stage of the recipe: its workdir below the seed's folder, and what it is."""

    folder: str
    title: str


STAGES = (
    Stage("zero", "R1-Zero: RL from the base"), Stage("zero_language", "Control: R1-Zero with the language reward"),
    Stage("coldstart", "Cold start: thoughts collected"), Stage("coldstart_sft", "Cold start: fine-tuning"),
    Stage("reasoning", "Reasoning RL"),
    Stage("reasoning_free", "Control: reasoning RL without the language reward"),
    Stage("rejection", "Rejection sampling"), Stage("sft", "SFT of the base"),
    Stage("helpfulness", "Reward model: helpfulness"), Stage("harmlessness", "Reward model: harmlessness"),
    Stage("r1", "RL for all scenarios"),
    Stage("distill_qwen2", "Distillation into Qwen2's architecture"), Stage("rl_qwen2", "The same student by RL alone"),
    Stage("distill_llama", "Distillation into Llama's architecture"), Stage("rl_llama", "The same student by RL alone"),
)  # fmt: skip
# Folder of eval/ -> what tables call the model, in the recipe's order.
MODELS = {
    "base": "base", "zero": "R1-Zero", "zero_language": "R1-Zero, language reward", "coldstart_sft": "cold start",
    "reasoning": "reasoning RL", "reasoning_free": "reasoning RL, no language reward", "sft": "SFT", "r1": "R1",
    "student_qwen2": "Qwen2 student", "rl_qwen2": "Qwen2 student, RL", "distill_qwen2": "Qwen2 student, distilled",
    "student_llama": "Llama student", "rl_llama": "Llama student, RL", "distill_llama": "Llama student, distilled",
}  # fmt: skip
STUDENTS = {"qwen2": "Qwen2's architecture", "llama": "Llama's architecture"}
PROBLEMS, REQUESTS = "world_reasoning", "world_general"
_OF_PREFERENCES = ("accuracy", "longer_wins", "auroc", "calibration_error")
Value = Callable[[Path], float | None]  # of one seed's folder


def load_json(path: Path) -> Any:
    """A file's content; None where there is none.

    Raises:
        ValueError: not JSON; names the file.
    """
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error


def over_seeds(folders: Sequence[Path], value: Value, scale: float = 100.0, digits: int = 1) -> str:
    """`81.2 ± 1.4`, the mean and standard deviation of the seeds that have it; of one alone, its value."""
    found = [scale * each for folder in folders if (each := value(folder)) is not None]
    if not found:
        return "–"
    if len(found) == 1:
        return f"{found[0]:.{digits}f}"
    return f"{statistics.mean(found):.{digits}f} ± {statistics.stdev(found):.{digits}f}"


def result(folder: Path, model: str, benchmark: str) -> Row | None:
    return load_json(folder / "eval" / model / benchmark / "result.json")


def figure(model: str, benchmark: str, *names: str) -> Value:
    """The value of the first of these figures, of one whose name begins so, that a result has."""

    def value(folder: Path) -> float | None:
        figures = (result(folder, model, benchmark) or {}).get("figures", {})
        return next((each["value"] for name in names for key, each in figures.items() if key.startswith(name)), None)

    return value


def part(model: str, benchmark: str, *keys: str) -> Value:
    """What stands in a result at these keys."""

    def value(folder: Path) -> float | None:
        found: Any = result(folder, model, benchmark)
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    return value


def rows_of(folder: Path, stage: str, name: str) -> list[Row]:
    path = folder / stage / name
    return list(read_jsonl(path, "step", int)) if path.exists() else []


def tables(folders: Sequence[Path]) -> list[Table]:
    """All tables that there is something to say in."""
    found = [_stages(folders), _models(folders), _language(folders), _students(folders), _votes(folders),
             _preferences(folders), _requests(folders), *_dropped(folders)]  # fmt: skip
    return [table for table in found if table.rows]


def _table(title: str, caption: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    return Table(title, caption, tuple(header), [tuple(map(Cell, row)) for row in rows])


def _stages(folders: Sequence[Path]) -> Table:
    rows = []
    for stage in STAGES:
        minutes = over_seeds(folders, _seconds(stage.folder), 1 / 60)
        if minutes != "–":
            rows.append((stage.title, stage.folder, minutes))
    total = over_seeds(folders, _seconds("*"), 1 / 60)
    if total != "–":
        rows.append(("all, evaluations too", "", total))
    return _table("The stages", "In their order, with the minutes that each took, starting and compiling included.",
                  ("stage", "folder", "minutes"), rows)  # fmt: skip


def _seconds(stage: str) -> Value:
    """What `experiments/r1.sh` notes of a stage that is done; "*": of all, evaluations among them."""

    def value(folder: Path) -> float | None:
        times = [float(path.read_text()) for path in folder.glob(f"done/{stage}")]
        return sum(times) if times else None

    return value


def _models(folders: Sequence[Path]) -> Table:
    """Each model on the held-out problems and requests."""
    rows = []
    for model, title in MODELS.items():
        values = [
            figure(model, PROBLEMS, "pass@1"), figure(model, PROBLEMS, "cons@"),
            part(model, PROBLEMS, "by_subject", "en", "value"), part(model, PROBLEMS, "by_subject", "zh", "value"),
            part(model, PROBLEMS, "rates", "well_formed"), part(model, PROBLEMS, "rates", "mixed_language"),
            figure(model, REQUESTS, "pass@1"),
        ]  # fmt: skip
        cells = [over_seeds(folders, value) for value in values]
        if cells[0] != "–":
            length = over_seeds(folders, part(model, PROBLEMS, "length", "mean"), 1.0)
            rows.append((title, *cells, length))
    results = [result(folder, model, PROBLEMS) for folder in folders for model in MODELS]
    sizes = {(each["n"], each["k"]) for each in results if each}
    size = ", ".join(f"n = {n}, k = {k}" for n, k in sorted(sizes))
    spread = f"mean ± standard deviation of {len(folders)} seeds" if len(folders) > 1 else "one seed"
    return _table(
        "The models", f"Held-out problems ({size}) and requests, percent, {spread}; temperature 0.6, top-p 0.95.",
        ("model", "problems pass@1", "cons@k", "English", "Chinese", "well formed", "mixed languages",
         "requests pass@1", "tokens"), rows,
    )  # fmt: skip


def _side_by_side(folders: Sequence[Path], out: Path) -> Plot | None:
    panels = {
        "problems, pass@1": lambda model: figure(model, PROBLEMS, "pass@1"),
        "mixed languages": lambda model: part(model, PROBLEMS, "rates", "mixed_language"),
        "requests, pass@1": lambda model: figure(model, REQUESTS, "pass@1"),
    }
    there = [model for model in MODELS if any(result(folder, model, PROBLEMS) for folder in folders)]
    models = {MODELS[model]: [[of(model)(folder) for folder in folders] for of in panels.values()] for model in there}
    return compare(models, list(panels), out)


def _language(folders: Sequence[Path]) -> Table:
    """What RL does to the language of thoughts: training's own metrics, first and last steps."""
    rows = []
    for stage in ("zero", "zero_language", "reasoning_free", "reasoning", "r1"):
        cells = [over_seeds(folders, _training(stage, key, side))
                 for key in ("language/mixed", "reward/accuracy", "reward/language")
                 for side in (slice(None, 3), slice(-3, None))]  # fmt: skip
        if cells[0] != "–":
            rows.append((dict(STAGES)[stage], *cells))
    header = ("stage", "mixed thoughts, first", "last", "accuracy, first", "last", "language reward, first", "last")
    caption = "Percent of the training samples, the first three steps and the last three."
    return _table("Languages", caption, header, rows)


def _training(stage: str, key: str, side: slice) -> Value:
    """The mean of a metric of training over some of its steps."""

    def value(folder: Path) -> float | None:
        rows = rows_of(folder, stage, "metrics.jsonl")[side]
        found = [row[key] for row in rows if row.get(key) is not None]
        return statistics.mean(found) if found else None

    return value


def _students(folders: Sequence[Path]) -> Table:
    rows = []
    for name, title in STUDENTS.items():
        base, rl, distilled = (figure(f"{kind}_{name}", PROBLEMS, "pass@1") for kind in ("student", "rl", "distill"))
        cells = [over_seeds(folders, value) for value in (base, rl, distilled, _difference(distilled, rl))]
        if "–" not in cells:
            rows.append((title, *cells))
    return _table("Distillation against RL", "The same students, pass@1 on the held-out problems, percent.",
                  ("student", "as it starts", "by RL alone", "distilled", "distilled minus RL"), rows)  # fmt: skip


def _difference(a: Value, b: Value) -> Value:
    def value(folder: Path) -> float | None:
        found = a(folder), b(folder)
        return None if None in found else found[0] - found[1]

    return value


def _votes(folders: Sequence[Path]) -> Table:
    rows = []
    for model, title in MODELS.items():
        one, votes = figure(model, PROBLEMS, "pass@1"), figure(model, PROBLEMS, "cons@")
        cells = [over_seeds(folders, value) for value in (one, votes, _difference(votes, one))]
        if cells[0] != "–":
            rows.append((title, *cells))
    return _table("pass@1 against cons@k", "Percent; what a majority of the k samples adds.",
                  ("model", "pass@1", "cons@k", "difference"), rows)  # fmt: skip


def _preferences(folders: Sequence[Path]) -> Table:
    rows = []
    for stage in ("helpfulness", "harmlessness"):
        cells = [over_seeds(folders, _evaluated(stage, key)) for key in _OF_PREFERENCES]
        if cells[0] != "–":
            rows.append((stage, *cells))
    return _table("Reward models", "On held-out pairs or labels, percent.",
                  ("model", "accuracy", "preferring the longer one", "AUROC", "calibration error"), rows)  # fmt: skip


def _evaluated(stage: str, *keys: str, index: int = -1) -> Value:
    """What a stage's own evaluation, the last one or another, says at these keys."""

    def value(folder: Path) -> float | None:
        rows = rows_of(folder, stage, "evals.jsonl")
        found: Any = rows[index] if rows else None
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        return None if found is None or math.isnan(found) else found

    return value


def _requests(folders: Sequence[Path]) -> Table:
    """What all-scenario RL did to its own rewards on held-out prompts."""
    rows = []
    for name in ("accuracy", "format", "language", "model/helpfulness", "model/harmlessness"):
        sides = [over_seeds(folders, _evaluated("r1", "parts", name, index=i), 1.0, digits=2) for i in (0, -1)]
        if sides[0] != "–":
            rows.append((name, *sides))
    return _table("RL for all scenarios, held-out prompts", "Mean of each part of the reward before and after.",
                  ("reward", "before", "after"), rows)  # fmt: skip


def _dropped(folders: Sequence[Path]) -> list[Table]:
    """What cold start and rejection sampling kept and dropped, of the first seed."""
    collected = load_json(folders[0] / "coldstart" / "table.json") or {"found": {}}
    ways = [(way, str(row["found"]), str(row["kept"]), "; ".join(f"{n} {why}" for why, n in row["dropped"].items()))
            for way, row in collected["found"].items()]  # fmt: skip
    sampled = load_json(folders[0] / "rejection" / "table.json")
    reasons = []
    if sampled:
        reasons = [(row["reason"], str(row["count"]), f"{100 * row['share']:.1f}")
                   for row in sampled["reasons"] if row["count"]]  # fmt: skip
        reasons.append(("kept", str(sampled["samples"]["kept"]), f"{100 * sampled['samples']['acceptance']:.1f}"))
    return [
        _table("What the cold start collected", "Of the first seed.", ("way", "found", "kept", "dropped"), ways),
        _table("What rejection sampling dropped", "Of the first seed.", ("reason", "samples", "percent"), reasons),
    ]


def markdown(found: Sequence[Table]) -> str:
    """The tables for a page of the project."""
    parts = []
    for table in found:
        rows = ([cell.text for cell in row] for row in table.rows)
        parts.append("\n".join([f"## {table.title}", "", table.caption, "", *markdown_table(table.header, rows)]))
    return "\n\n".join(parts) + "\n"


def write(folders: Sequence[Path], out: Path) -> tuple[list[Table], Path]:
    """Writes OUT/recipe.html and PNG files beside it; returns the tables and the page.

    Raises:
        FileNotFoundError: a folder that holds no stage of a recipe.
    """
    for folder in folders:
        if not any((folder / stage.folder).is_dir() for stage in STAGES):
            raise FileNotFoundError(f"{folder} holds no stage of the recipe; experiments/r1.sh makes such folders")
    found = tables(folders)
    out.mkdir(parents=True, exist_ok=True)
    missing = [stage.title for stage in STAGES if not (folders[0] / stage.folder).is_dir()]
    lead = f"Seeds: {', '.join(folder.name for folder in folders)}."
    if missing:
        lead += f" Not there (yet): {', '.join(missing)}."
    stamps = [(stage.title, settings(config)) for stage in STAGES
              if (config := load_json(folders[0] / stage.folder / "config.json"))]  # fmt: skip
    plots = [plot for plot in (_side_by_side(folders, out), *draw(folders, STAGES, out)) if plot]
    page = render("The recipe of R1", lead, found, plots, stamps)
    path = out / "recipe.html"
    path.write_text(page, encoding="utf-8")
    return found, path


def main() -> int:
    """The exit status, see `config.exit_status`."""
    parser = argparse.ArgumentParser(prog="r1jax.report.recipe", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("folders", type=path_given, nargs="+", help="one for each seed")
    parser.add_argument("--out", type=path_given, help="where to write; default: the first folder")
    parser.add_argument("--markdown", type=path_given, help="the tables as a page, after its first lines up to '## '")
    args = parser.parse_args()

    def run() -> None:
        found, path = write(args.folders, args.out or args.folders[0])
        for table in found:
            rich.console.Console().print(console(table))
        if args.markdown:
            head = args.markdown.read_text("utf-8").partition("## The stages")[0] if args.markdown.exists() else ""
            args.markdown.write_text(head + markdown(found), "utf-8")
        print(f"report: {path}")

    return exit_status(run, f"writing the report of {', '.join(map(str, args.folders))}")


if __name__ == "__main__":
    sys.exit(main())
