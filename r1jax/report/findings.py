"""Pages of the experiments on the findings of the paper, as sections of a report with their pictures inside.

A folder of such pages is `experiments/paper` of the repository. A page is one that has a table under "In short".
"""

import base64
import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import markdown_it
from markupsafe import Markup

IN_SHORT = "## In short"
# The order in which a report has the pages, so that it can be read as the paper is; others follow by name.
ORDER = (
    *("aha", "difficulty", "thinking", "ladder", "language_reward", "choices", "ppo"),
    *("preference_reward", "distillation", "process_reward", "tree_search"),
)


@dataclasses.dataclass(frozen=True)
class Section:
    """A page: its title, an anchor, and its HTML below the title."""

    title: str
    anchor: str
    html: Markup


def is_folder_of_pages(folder: Path) -> bool:
    """Whether a folder has a page of an experiment."""
    return bool(pages_of(folder))


def pages_of(folder: Path) -> list[Path]:
    """The pages of a folder in the order of a report."""
    pages = [path for path in folder.glob("*.md") if IN_SHORT in path.read_text("utf-8")]
    place = {name: place for place, name in enumerate(ORDER)}
    return sorted(pages, key=lambda path: (place.get(path.stem, len(ORDER)), path.stem))


def in_short(page: Path) -> list[str]:
    """The lines of a page's table under "In short"; none where it has no table there."""
    part = page.read_text("utf-8").partition(IN_SHORT)[2].partition("\n## ")[0]
    return [line for line in part.splitlines() if line.startswith("|")]


def all_in_short(links: Mapping[Path, str]) -> str:
    """The tables under "In short" of pages as one, in Markdown; each row ends with the link to its page."""
    lines: list[str] = []
    for page, link in links.items():
        table = in_short(page)
        if table and not lines:
            lines = [f"{table[0]} page |", f"{table[1]}---|"]
        lines += [f"{row} {link} |" for row in table[2:]]
    return "\n".join(lines)


def sections(folders: Sequence[Path]) -> list[Section]:
    """All findings in short, then the folders' pages.

    Links to files beside the pages become text, and pictures become part of the page.

    Raises:
        FileNotFoundError: a picture that a page shows.
    """
    converted, links = [], {}
    for path in (page for folder in folders for page in pages_of(folder)):
        title, _, body = path.read_text("utf-8").partition("\n")
        title = title.lstrip("# ")
        links[path] = f"[{title}](#{path.stem})"
        body = re.sub(r"!\[([^\]]*)\]\(([^):]+)\)", lambda match: _picture(path.parent, *match.groups()), body)  # noqa: B023
        body = re.sub(r"(?<!!)\[([^\]]+)\]\((?!\w+:)[^)]+\)", r"\1", body)
        # One heading lower: a section's title has the page's first.
        body = re.sub(r"^#", "##", body, flags=re.MULTILINE)
        converted.append(Section(title, path.stem, _html(body)))
    return [Section("The findings in short", "findings", _html(all_in_short(links))), *converted] if links else []


def _html(markdown: str) -> Markup:
    """The HTML of Markdown; none of the Markdown's own gets through, so that what comes out may be marked safe."""
    html = markdown_it.MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    html = html.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")
    return Markup(html.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"))


def _picture(folder: Path, text: str, name: str) -> str:
    data = base64.b64encode((folder / name).read_bytes()).decode()
    return f"![{text}](data:image/png;base64,{data})"
