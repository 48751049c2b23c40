"""Pages of the experiments on the findings of the paper, as sections of a report with their pictures inside.

A folder of such pages is `experiments/paper` of the repository. A page is one that has a table under "In short".
"""

import base64
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import markdown_it
from markupsafe import Markup

IN_SHORT = "## In short"


@dataclasses.dataclass(frozen=True)
class Section:
    """A page: its title, an anchor, and its HTML below the title."""

    title: str
    anchor: str
    html: Markup


def is_folder_of_pages(folder: Path) -> bool:
    """Whether a folder has a page of an experiment."""
    return any(IN_SHORT in path.read_text("utf-8") for path in folder.glob("*.md"))


def sections(folders: Sequence[Path]) -> list[Section]:
    """The folders' pages, by name; links to files beside them become text, and pictures become part of the page.

    Raises:
        FileNotFoundError: a picture that a page shows.
    """
    # No HTML of the Markdown's own gets through, so that what comes out may be marked safe.
    renderer = markdown_it.MarkdownIt("commonmark", {"html": False}).enable("table")
    pages = []
    for folder in folders:
        for path in sorted(folder.glob("*.md")):
            text = path.read_text("utf-8")
            if IN_SHORT not in text:
                continue
            title, _, body = text.partition("\n")
            body = re.sub(r"!\[([^\]]*)\]\(([^):]+)\)", lambda match: _picture(folder, *match.groups()), body)  # noqa: B023
            body = re.sub(r"(?<!!)\[([^\]]+)\]\((?!\w+:)[^)]+\)", r"\1", body)
            # One heading lower: a section's title has the page's first.
            body = re.sub(r"^#", "##", body, flags=re.MULTILINE)
            html = renderer.render(body).replace("<table>", '<div class="scroll"><table>')
            pages.append(Section(title.lstrip("# "), path.stem, Markup(html.replace("</table>", "</table></div>"))))
    return pages


def _picture(folder: Path, text: str, name: str) -> str:
    data = base64.b64encode((folder / name).read_bytes()).decode()
    return f"![{text}](data:image/png;base64,{data})"
