"""Hooks of mkdocs: pages from outside docs/, links between them, and an API reference of one page a package."""

import ast
import collections
import os
import pathlib
import posixpath
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Path in the repository -> path in the site; what lies in docs/ is at the site's top.
OUTSIDE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"} | {
    path.relative_to(ROOT).as_posix(): path.relative_to(ROOT).as_posix()
    for kind in ("md", "png")
    for folder in ("experiments", "experiments/paper")
    for path in sorted((ROOT / folder).glob(f"*.{kind}"))
}
SOURCES = {site: source for source, site in OUTSIDE.items()}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:)([^)\s]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Appends the reference to the navigation."""
    config.nav.append({"Reference": [{name: f"reference/{name}.md"} for name in reference_pages()]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages and pictures from outside docs/, and the pages of the reference."""
    for source, site in OUTSIDE.items():
        files.append(File.generated(config, site, abs_src_path=str(ROOT / source)))
    for name, content in reference_pages().items():
        files.append(File.generated(config, f"reference/{name}.md", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links of the repository into links of the site; links to files that are not in the site become text."""
    here = page.file.src_uri
    source = SOURCES.get(here, f"docs/{here}")

    def replace(link: re.Match[str]) -> str:
        picture, text, target = link.groups()
        path, mark, anchor = target.partition("#")
        if not path:  # an anchor of the same page
            return link[0]
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        site = OUTSIDE.get(place, place.removeprefix("docs/"))
        if place in OUTSIDE or (place.startswith("docs/") and files.get_file_from_path(site)):
            return f"{picture}[{text}]({os.path.relpath(site, posixpath.dirname(here) or '.')}{mark}{anchor})"
        if not (ROOT / place).exists():
            return link[0]  # mkdocs says that it leads nowhere
        return text

    blocks = re.split(r"(^```.*?^```)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(block if i % 2 else LINK.sub(replace, block) for i, block in enumerate(blocks))


def reference_pages() -> dict[str, str]:
    """The pages of the reference, in Markdown, by the name of their package: a section for each module."""
    pages = collections.defaultdict(list)
    for path in sorted((ROOT / "r1jax").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1].startswith("__") or not ast.get_docstring(ast.parse(path.read_text("utf-8"))):
            continue
        pages[".".join(parts[:-1])].append(f"::: {'.'.join(parts)}\n")
    return {name: f"# {name}\n\n" + "\n".join(modules) for name, modules in pages.items()}
