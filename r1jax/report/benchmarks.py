"""Benchmarks on a schedule in a run's report: of each, a table of its first and last evaluation, and plots."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from r1jax.report.panels import Panel, Row, number
from r1jax.report.plots import Plot, draw_evaluations
from r1jax.report.summary import LENGTH, QUESTIONS, SAMPLES, Measure, compare

RATES = (
    Measure("truncated responses", "truncated", "%"),
    Measure("well-formed responses", "well_formed", "%"),
    Measure("mixed-language responses", "mixed_language", "%"),
    Measure("no answer", "no_answer", "%"),
    Measure("ungradable", "ungradable", "%"),
)


@dataclasses.dataclass(frozen=True)
class Section:
    """A benchmark in the page.

    Attributes:
        titles: of the table's two sides, the first evaluation and the last.
        rows: as `compare` makes them.
    """

    name: str
    titles: tuple[str, str]
    rows: list[tuple[str, str, str, str]]
    plots: list[Plot]


def sections(rows: Sequence[Row]) -> list[Section]:
    """The sections of benchmarks.jsonl's rows, in the order of their first; of a step written twice the last counts."""
    by_name: dict[str, dict[int, Row]] = {}
    for row in rows:
        by_name.setdefault(str(row.get("benchmark")), {})[row["step"]] = row
    return [_section(name, [row for _, row in sorted(each.items())]) for name, each in by_name.items()]


def _section(name: str, rows: Sequence[Row]) -> Section:
    units = _units(rows)
    first, last = rows[0], rows[-1] if len(rows) > 1 else None
    measures = [Measure(figure, figure, unit or "rating", f"{figure}_stderr") for figure, unit in units.items()]
    table = compare((*measures, *RATES, LENGTH, QUESTIONS, SAMPLES), first, last)
    title = str(rows[-1].get("title") or name)
    titles = f"step {first['step']}", f"step {last['step']}" if last else "later"
    return Section(title, titles, table, draw_evaluations(rows, list(_panels(title, rows, units))))


def _units(rows: Sequence[Row]) -> dict[str, str]:
    """The unit of each figure that a row has a finite value of: "%" or ""."""
    units: dict[str, str] = {}
    for row in rows:
        of_row = row.get("units")
        for name, unit in of_row.items() if isinstance(of_row, Mapping) else ():
            if number(row.get(name)) is not None:
                units[name] = str(unit)
    return units


def _panels(title: str, rows: Sequence[Row], units: Mapping[str, str]) -> Iterator[Panel]:
    """One of the shares, and one of each plain figure."""
    shares = [name for name, unit in units.items() if unit == "%"]
    for names in ([shares] if shares else []) + [[name] for name in units if name not in shares]:
        yield Panel(
            f"{title}: {', '.join(names)}",
            "Bars are one standard error each way.",
            "share" if names is shares else names[0],
            {name: name for name in names},
            errors={name: f"{name}_stderr" for name in names},
            share=names is shares,
            evaluated=True,
        )
