"""The main tables of experiments/ and docs/ on one page, docs/results.md, and the tables of README.md.

python experiments/results.py          run it when a table that it takes over has changed

Every number is copied from the page that the section links to, in which the experiment's own script wrote it. Only the
audit's wrong answers are added up over their kinds.
"""

import dataclasses
import os
import pathlib
import re
import textwrap
from collections.abc import Callable, Iterator

from r1jax.io.files import write_text
from r1jax.io.tables import markdown_row
from r1jax.report import findings

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS, README = ROOT / "docs" / "results.md", ROOT / "README.md"
BEGIN, END = "<!-- results: experiments/results.py -->\n", "<!-- /results -->"
WIDTH = 118
Row = dict[str, str]  # cells by column


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of a page: the heading above it, the paragraph before it, its header and rows, cell by cell."""

    heading: str
    caption: str
    header: list[str]
    rows: list[list[str]]

    def columns(self) -> list[str]:
        """Names of the columns, each of its own: `after` behind `tokens before` is `tokens after`.

        Raises:
            ValueError: two of them are alike.
        """
        names: list[str] = []
        for cell in self.header:
            earlier = {"after": "before", "last": "first"}.get(cell)
            names.append(names[-1].replace(earlier, cell) if earlier and names and earlier in names[-1] else cell)
        if len(set(names)) < len(names):
            raise ValueError(f"{self.heading}: columns of one name: {', '.join(names)}")
        return names

    def named_rows(self) -> list[Row]:
        """The rows by columns; raises as `columns` does."""
        return [dict(zip(self.columns(), row, strict=True)) for row in self.rows]


def cells_of(line: str) -> list[str]:
    """The cells of a line of a table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def tables(text: str) -> Iterator[Table]:
    """The tables of a page in Markdown, in order."""
    heading = caption = ""
    for block in re.split(r"\n{2,}", re.sub(r"^(#+ .*)\n", r"\1\n\n", text, flags=re.MULTILINE)):
        lines = [line for line in block.strip().splitlines() if not line.startswith("<!--")]
        if lines and lines[0].startswith("#"):
            heading, caption = lines[0].lstrip("# "), ""
        elif len(lines) > 1 and lines[1].startswith("|---"):
            header, _, *rows = map(cells_of, lines)
            yield Table(heading, caption, header, rows)
        else:
            caption = "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Excerpt:
    """What is taken over of one table.

    Attributes:
        title: its heading in docs/results.md.
        page: the page that it is taken from, from the repository's root.
        heading: the heading above it there, or how it begins.
        columns: their names; (): all of them.
        rows: the first cells of the rows that are taken; (): all of them.
        derived: further columns, by name, each computed from a row.
        nth: which of the tables under the heading.
        note: stands above the table; "": the paragraph that stands above it on its page.
    """

    title: str
    page: str
    heading: str
    columns: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    derived: tuple[tuple[str, Callable[[Row], str]], ...] = ()
    nth: int = 0
    note: str = ""

    def read(self) -> Table:
        """The table as it stands on its page.

        Raises:
            ValueError: it has no such table, column or row.
        """
        under = [
            table for table in tables((ROOT / self.page).read_text("utf-8")) if table.heading.startswith(self.heading)
        ]
        if len(under) <= self.nth:
            raise ValueError(f"{self.page} has no table {self.nth} under the heading {self.heading!r}")
        table = under[self.nth]
        labels = {row[0] for row in table.rows}
        if missing := ({*self.columns} - {*table.columns()}) | ({*self.rows} - labels):
            raise ValueError(f"{self.page}, {self.heading!r}: no column or row {', '.join(sorted(missing))}")
        return table

    def markdown(self, folder: str) -> str:
        """The caption and the table, with links as from a page in `folder`."""
        table = self.read()
        columns = [*(self.columns or table.columns()), *(name for name, _ in self.derived)]
        lines = [markdown_row(columns), "|---" * len(columns) + "|"]
        for label, row in zip((row[0] for row in table.rows), table.named_rows(), strict=True):
            if not self.rows or label in self.rows:
                values = row | {name: value(row) for name, value in self.derived}
                lines.append(markdown_row(values[name] for name in columns))
        caption = relinked(self.note or table.caption, self.page, folder)
        return "\n\n".join([*([filled(caption)] if caption else []), "\n".join(lines)])


def filled(text: str) -> str:
    """A paragraph in lines of one width; links stay whole."""
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def link(page: str, folder: str) -> str:
    """A link to a page, from a page in `folder`."""
    return f"[{page}]({os.path.relpath(page, folder or '.')})"


def relinked(text: str, page: str, folder: str) -> str:
    """A page's text with its relative links as from a page in `folder`."""
    own = os.path.dirname(page)
    return re.sub(
        r"\]\((?!\w+:|#)([^)#]+)",
        lambda match: f"]({os.path.relpath(os.path.join(own, match[1]), folder or '.')}",
        text,
    )


def passed(row: Row, subtle: bool) -> str:
    """The audit's wrong answers that were graded right, summed over their kinds: the subtle mutants, or all others."""
    kinds = re.findall(r"([a-z ]+?) ([\d,]+) of ([\d,]+)", row["wrong answers passed"])
    counts = [
        (int(wrong.replace(",", "")), int(all_.replace(",", "")))
        for kind, wrong, all_ in kinds
        if (kind.strip() == "subtle mutant") == subtle
    ]
    return f"{sum(wrong for wrong, _ in counts):,} of {sum(all_ for _, all_ in counts):,}" if counts else "–"


WRONG = ("wrong answers passed", lambda row: passed(row, subtle=False))
GROSS = ("gross mutants passed", lambda row: passed(row, subtle=False))
SUBTLE = ("subtle mutants passed", lambda row: passed(row, subtle=True))
RECIPE, RUNS = "experiments/r1_mini.md", "experiments/config_runs.md"

SECTIONS: dict[str, tuple[Excerpt, ...]] = {
    "R1-Zero at mini size": (
        Excerpt(
            "Three seeds and a control",
            "experiments/zero_mini.md",
            "Measured",
            (
                "run",
                "pass@1 before",
                "pass@1 after",
                "gain, points",
                "cons@k after",
                "format before",
                "format after",
                "right if well formed, before",
                "right if well formed, after",
                "last number right, before",
                "last number right, after",
                "minutes",
            ),
        ),
    ),
    "The whole recipe in the mini world": (
        Excerpt("Models", RECIPE, "The models"),
        Excerpt("Distillation against RL", RECIPE, "Distillation against RL"),
        Excerpt("Languages", RECIPE, "Languages"),
        Excerpt("Reward models", RECIPE, "Reward models"),
        Excerpt("Minutes", RECIPE, "The stages"),
    ),
    "Single runs of config files": (
        Excerpt("SFT at mini size", RUNS, "`configs/sft.py:mini`: SFT of the shipped base on worked solutions"),
        Excerpt("Evaluation of the shipped base", RUNS, "`configs/evaluate.py:mini`: the shipped base"),
        Excerpt("Pretraining of the shipped models", RUNS, "`configs/base.py`: pretraining"),
    ),
    "A real model: SmolLM2-135M": (
        Excerpt(
            "Every stage for a few steps", "experiments/r1_smollm2.md", "Every stage on a real model and real files"
        ),
        Excerpt(
            "The same texts as transformers",
            "experiments/smollm2.md",
            "SmolLM2-135M-Instruct, here and in transformers",
        ),
        Excerpt(
            "Evaluation beside lm-evaluation-harness",
            "experiments/harness.md",
            "SmolLM2-135M-Instruct: our evaluation and lm-evaluation-harness",
        ),
    ),
    "Graders": (
        Excerpt(
            "Answers: datasets fed back, and wrong answers near them",
            "docs/rewards.md",
            "Auditing",
            ("data", "grader", "rows", "unreadable", "own reference"),
            derived=(WRONG,),
            note="`own reference`: reference answers that score 1 when they are fed back. The wrong answers are made "
            "of the references, by another sign, digit, choice and the like.",
        ),
        Excerpt(
            "Programs: reference programs, and mutants of them",
            "docs/rewards.md",
            "Auditing",
            ("data", "rows", "unreadable", "own reference"),
            derived=(GROSS, SUBTLE),
            nth=1,
            note="In a gross mutant every return value is replaced; in a subtle one, which may still compute the same, "
            "one comparison, constant or operator is changed.",
        ),
        Excerpt("Answers in unusual spellings", "docs/rewards.md", "Answers in unusual spellings"),
    ),
    "Numbers beside those of transformers": (
        Excerpt("Random small models of every family", "docs/models.md", "Parity with transformers"),
    ),
    "Plans for TPU slices": (
        Excerpt(
            "What fits, and what a step takes at least",
            "experiments/plans/README.md",
            "Plans",
            ("config", "slice", "mesh", "by", "fits", "GiB a device", "a step, s"),
            note="Nothing of it has run on a TPU.",
        ),
    ),
    "Runs that are killed": (
        Excerpt("Stages", "experiments/kills.md", "Killed at random moments"),
        Excerpt("The recipe's script", "experiments/recipe_kills.md", "The recipe, killed at random moments"),
    ),
    "Several processes": (Excerpt("One process, two and four", "experiments/hosts.md", "One process, two and four"),),
    "On one GPU": (
        Excerpt("Update and decoding", "docs/performance.md", "On one NVIDIA H200"),
        Excerpt("Attention alone", "docs/performance.md", "On one NVIDIA H200", nth=1),
    ),
}
# The pages on the paper's findings; each has a table under "In short".
FINDINGS = [path.relative_to(ROOT).as_posix() for path in findings.pages_of(ROOT / "experiments" / "paper")]
# Pages that hold text and no table.
TEXTS = {"A real model: SmolLM2-135M": "experiments/zero_smollm2.md"}
README_TABLE = Excerpt(
    "",
    RECIPE,
    "The models",
    ("model", "problems pass@1", "cons@k", "mixed languages", "requests pass@1"),
    ("base", "R1-Zero", "cold start", "reasoning RL", "SFT", "R1"),
)
README_FINDINGS = Excerpt("", "experiments/paper/aha.md", "In short", ("finding", "the paper", "here"))


def findings_table(folder: str) -> str:
    """The rows of all pages' tables under "In short", each with a link to its page, as from a page in `folder`.

    Raises:
        ValueError: a page has no table there.
    """
    links = {ROOT / page: f"[{pathlib.Path(page).stem}]({os.path.relpath(page, folder or '.')})" for page in FINDINGS}
    if without := [page.name for page in links if not findings.in_short(page)]:
        raise ValueError(f"no table under 'In short': {', '.join(without)}")
    return findings.all_in_short(links)


def results_page() -> str:
    """The text of docs/results.md."""
    parts = [
        "# Results",
        "Written by `experiments/results.py` from the pages that each section names: change nothing here. Those pages\n"
        "say how their tables were made, on which machine, and how to read them. ± is a standard deviation over seeds\n"
        "where a table has several, else a standard error over questions.",
    ]
    parts += ["## The paper's findings", findings_table("docs")]
    for section, excerpts in SECTIONS.items():
        parts.append(f"## {section}")
        pages = dict.fromkeys(
            [*(excerpt.page for excerpt in excerpts), *([TEXTS[section]] if section in TEXTS else [])]
        )
        parts.append(filled(f"From {', '.join(link(page, 'docs') for page in pages)}."))
        for excerpt in excerpts:
            parts += [f"### {excerpt.title}", excerpt.markdown("docs")]
    return "\n\n".join(parts) + "\n"


def readme_table() -> str:
    """The tables of README.md."""
    return f"{README_TABLE.markdown('')}\n\n{README_FINDINGS.markdown('')}"


def with_table(readme: str) -> str:
    """A README with its table made anew."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}{readme_table()}\n{end}{after}"


def main() -> None:
    write_text(RESULTS, results_page())
    write_text(README, with_table(README.read_text("utf-8")))


if __name__ == "__main__":
    main()
