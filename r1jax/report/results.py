"""Tables of evaluations: models measured here beside each other and beside the paper's published figures.

A folder is one model's: `<benchmark>/result.json`, with the samples and grades that it was made from.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from r1jax.benchmarks import estimators
from r1jax.io.files import parse_object, read_json
from r1jax.report.run import read_jsonl

Row = Mapping[str, Any]
# As the paper's table 4 orders them.
GROUPS = {
    "knowledge": "English",
    "judged": "judged",
    "code": "code",
    "maths": "maths",
    "chinese": "Chinese",
    "logic": "logic",
}
# What the paper's tables 2 and 5 compare: (benchmark, figure, heading).
REASONING = (
    ("aime2024", "pass@1", "AIME 2024 pass@1"),
    ("aime2024", "cons@64", "AIME 2024 cons@64"),
    ("math500", "pass@1", "MATH-500 pass@1"),
    ("gpqa_diamond", "pass@1", "GPQA Diamond pass@1"),
    ("livecodebench", "pass@1", "LiveCodeBench pass@1"),
    ("codeforces", "rating", "Codeforces rating"),
)
PUBLISHED = " (published)"  # behind the name of a model whose numbers the paper published
_RATES = ("truncated", "no_answer", "ungradable", "well_formed", "mixed_language")
_REQUIRED = ("title", "group", "model", "metric", "n", "k", "figures", "stamp")
# Settings in which two results of one row should agree.
_COMPARABLE = (
    "temperature",
    "top_p",
    "top_k",
    "max_new_tokens",
    "template",
    "chat",
    "template_arguments",
    "instruction",
    "shots",
    "seed",
    "grader",
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One number of a table: its text, and whether it is published by others."""

    text: str
    published: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table as console and page both show it; `notes` are what a reader must know before comparing."""

    title: str
    caption: str
    header: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Model:
    """One model's results.

    Attributes:
        label: what tables call it.
        folder: where they lie.
        results: benchmark -> result.json.
        unfinished: benchmarks that were begun and have no result.
    """

    label: str
    folder: Path
    results: Mapping[str, Row]
    unfinished: tuple[str, ...]

    @functools.cached_property
    def question_means(self) -> dict[str, dict[str, float]]:
        """benchmark -> question -> its mean score over the samples that the result counts."""
        return {name: self._means(name) for name in self.results}

    def samples(self, benchmark: str) -> list[tuple[float, int]]:
        """(score, tokens) of every graded sample that the result counts."""
        grades, samples = self._last(benchmark, "grades.jsonl"), self._last(benchmark, "samples.jsonl")
        return [
            (row["score"], samples[key]["tokens"])
            for key, row in grades.items()
            if row["score"] is not None and key in samples
        ]

    def _means(self, benchmark: str) -> dict[str, float]:
        scores: dict[str, list[float]] = {}
        for (id_, _), row in self._last(benchmark, "grades.jsonl").items():
            if row["score"] is not None:
                scores.setdefault(id_, []).append(row["score"])
        return {id_: sum(each) / len(each) for id_, each in scores.items()}

    def _last(self, benchmark: str, name: str) -> dict[tuple[str, int], Row]:
        """The last line of each sample, of those that k and the questions asked include, by the result's own grader."""
        path, result = self.folder / benchmark / name, self.results[benchmark]
        rows = {(row["id"], row["sample"]): row for row in read_jsonl(path, "id", str)}
        question_ids = {row["id"] for row in read_jsonl(self.folder / benchmark / "questions.jsonl", "id", str)}
        return {key: row for key, row in rows.items() if key[0] in question_ids and key[1] < result["k"]}


def load(folder: Path) -> Model:
    """Reads a model's results.

    Raises:
        FileNotFoundError: the folder holds none.
        ValueError: a result that cannot be read; names the file and what it lacks.
    """
    results, begun = {}, []
    for path in sorted(folder.glob("*/samples.jsonl")):
        if not path.with_name("result.json").exists():
            begun.append(path.parent.name)
    for path in sorted(folder.glob("*/result.json")):
        try:
            result = parse_object(path.read_bytes(), path)
        except ValueError as error:
            raise ValueError(f"{error}; evaluating again writes it anew") from error
        if missing := [key for key in _REQUIRED if key not in result]:
            raise ValueError(f"{path} lacks {', '.join(missing)}; evaluating again writes it anew")
        results[path.parent.name] = result
    if not results:
        raise FileNotFoundError(
            f"{folder} holds no result: no <benchmark>/result.json"
            + (f"; unfinished: {', '.join(begun)}" if begun else "")
        )
    label = next(iter(results.values()))["model"]
    return Model(label, folder, results, tuple(begun))


def published() -> Row:
    """The paper's own numbers, with their source."""
    return read_json(Path(__file__).with_name("published.json"))


def write(figure: Row) -> str:
    """`31.2 ± 2.0`, in percent where it is a share."""
    if figure["value"] is None:
        return "–"
    scale = 100 if figure["unit"] == "%" else 1
    error = "" if figure["stderr"] is None else f" ± {scale * figure['stderr']:.1f}"
    return f"{scale * figure['value']:.1f}{error}"


def tables(models: Sequence[Model]) -> list[Table]:
    """All tables that have rows."""
    published_rows = published()["models"]
    shown_tables = [_main(models, [row for row in published_rows if row["table"] == "main"])]
    for which, title, caption in (
        ("distilled", "Distilled models", "As the paper's table 5."),
        ("r1_zero", "R1-Zero and others", "As the paper's table 2."),
    ):
        if any((benchmark in model.results) for model in models for benchmark, _, _ in REASONING):
            shown_tables.append(
                _reasoning(models, [row for row in published_rows if row["table"] == which], title, caption)
            )
    shown_tables.append(_rates(models))
    if len(models) > 1:
        shown_tables.append(_pairs(models))
    return [table for table in shown_tables if table.rows]


def _main(models: Sequence[Model], published_rows: Sequence[Row]) -> Table:
    """Benchmarks by models."""
    names = _names(models)
    rows, notes = [], []
    columns = [row for row in published_rows if any(name in row["figures"] for name, _ in names)]
    for name, result in names:
        measured = [model.results.get(name) for model in models]
        metric = result["metric"]
        sizes = {f"n = {each['n']}, k = {each['k']}" for each in measured if each}
        cells = [Cell(_figure(each, metric)) for each in measured]
        cells += [Cell(_published_figure(row, name, metric), published=True) for row in columns]
        group = GROUPS.get(result["group"], result["group"])
        rows.append((Cell(group), Cell(f"{result['title']} ({metric})"), Cell("; ".join(sorted(sizes))), *cells))
        notes += _cautions(name, models)
    header = (
        "group",
        "benchmark (metric)",
        "size",
        *(model.label for model in models),
        *(f"{row['model']}{PUBLISHED}" for row in columns),
    )
    caption = "Percent, mean ± standard error over questions. Published numbers are the paper's, on the whole sets."
    notes += [f"{model.label}: unfinished: {', '.join(model.unfinished)}" for model in models if model.unfinished]
    return Table("Benchmarks", caption, header, rows, tuple(notes))


def _reasoning(models: Sequence[Model], published_rows: Sequence[Row], title: str, caption: str) -> Table:
    """Models by the six figures of reasoning."""
    rows = []
    for model in models:
        cells = [Cell(_figure(model.results.get(name), figure)) for name, figure, _ in REASONING]
        if any(cell.text != "–" for cell in cells):
            rows.append((Cell(model.label), *cells))
    for row in published_rows:
        cells = [Cell(_published_figure(row, name, figure), published=True) for name, figure, _ in REASONING]
        rows.append((Cell(f"{row['model']}{PUBLISHED}", published=True), *cells))
    return Table(title, caption, ("model", *(heading for _, _, heading in REASONING)), rows)


def _rates(models: Sequence[Model]) -> Table:
    """The rates and lengths beside every score (trap 31)."""
    rows = []
    for name, result in _names(models):
        for model in models:
            if each := model.results.get(name):
                # Results of earlier versions lack the last.
                shares = [f"{100 * each['rates'][key]:.1f}" if key in each["rates"] else "–" for key in _RATES]
                texts = [
                    result["title"],
                    model.label,
                    f"{each['n']} of {each['questions_in_file']}",
                    str(each["k"]),
                    *shares,
                    f"{each['length']['mean']:.0f}",
                ]
                rows.append(tuple(map(Cell, texts)))
    header = ("benchmark", "model", "questions", "k", *(f"{key.replace('_', ' ')} %" for key in _RATES), "mean tokens")
    return Table("Behind the scores", "Shares of all samples.", header, rows)


def _pairs(models: Sequence[Model]) -> Table:
    """Each model against the first, question by question."""
    first, *others = models
    rows = []
    for name, result in _names(models):
        for other in others:
            if name in first.results and name in other.results:
                a, b = (model.question_means[name] for model in (first, other))
                if not a.keys() & b.keys():
                    continue
                comparison = estimators.paired(a, b)
                texts = (
                    result["title"],
                    f"{other.label} - {first.label}",
                    str(comparison.n),
                    f"{100 * comparison.difference:+.1f} ± {100 * comparison.stderr:.1f}",
                    f"{comparison.p_value:.4f}",
                    "beyond noise" if comparison.beyond_noise else "within noise",
                )
                rows.append(tuple(map(Cell, texts)))
    caption = (
        "Mean score of the same questions, in points. p: how often flipping the signs of the questions' "
        "differences at random does as much; below 0.05 is called beyond noise."
    )
    header = ("benchmark", "models", "questions", "difference", "p", "verdict")
    return Table("Paired by question", caption, header, rows)


def _names(models: Sequence[Model]) -> list[tuple[str, Row]]:
    """Benchmarks that any model has, in the order of groups, each with one result."""
    results = {name: result for model in models for name, result in model.results.items()}
    order = list(GROUPS)
    return sorted(results.items(), key=lambda pair: (order.index(pair[1]["group"]), pair[1]["title"]))


def _figure(result: Row | None, name: str) -> str:
    return write(result["figures"][name]) if result and name in result["figures"] else "–"


def _published_figure(row: Row, benchmark: str, figure: str) -> str:
    value = row["figures"].get(benchmark, {}).get(figure)
    return "–" if value is None else f"{value:g}"


def _cautions(name: str, models: Sequence[Model]) -> Iterable[str]:
    """Settings, other than the model, in which the results of one row differ."""
    results = [model.results[name] for model in models if name in model.results]
    settings = [
        {
            **{key: each["stamp"].get(key) for key in _COMPARABLE},
            "data": (each["stamp"].get("data") or {}).get("hash"),
            "n": each["n"],
            "k": each["k"],
        }
        for each in results
    ]
    differing = [key for key in (settings[0] if settings else ()) if len({str(each[key]) for each in settings}) > 1]
    if differing:
        yield f"{results[0]['title']}: not all made alike: {', '.join(differing)} differ."
