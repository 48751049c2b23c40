"""The documentation as a site: every page is in the navigation, links are the site's, and CI builds it strictly."""

import pathlib
import runpy
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from layers_test import FILES, parsed
from mkdocs.config import load_config

ROOT = pathlib.Path(__file__).resolve().parent.parent
HOOKS = runpy.run_path(str(ROOT / "docs" / "site_hooks.py"))


def pages_of(nav: list | dict | str) -> Iterator[str]:
    """The pages of a navigation, in its order."""
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from pages_of(part)


def test_every_page_is_in_the_navigation_once() -> None:
    listed = list(pages_of(load_config(str(ROOT / "mkdocs.yml")).nav))
    written = [path.name for path in (ROOT / "docs").glob("*.md")]
    assert sorted(listed) == sorted([*written, *(page for page in HOOKS["OUTSIDE"].values() if page.endswith(".md"))])


def test_the_reference_has_every_module_with_a_docstring() -> None:
    text = "\n".join(HOOKS["reference_pages"]().values())
    modules = {line.removeprefix("::: ") for line in text.splitlines() if line.startswith("::: ")}
    documented = {
        name
        for name, path in FILES.items()
        if not path.name.startswith("__") and HOOKS["ast"].get_docstring(parsed(name))
    }
    assert modules == documented


@pytest.mark.parametrize(
    "here, text, expected",
    [
        ("recipe.md", "[a](rewards.md#graders)", "[a](rewards.md#graders)"),
        ("recipe.md", "[a](../experiments/r1_mini.md)", "[a](experiments/r1_mini.md)"),
        ("experiments/r1_mini.md", "![b](r1_mini.png)", "![b](r1_mini.png)"),
        ("experiments/r1_mini.md", "[a](../docs/recipe.md)", "[a](../recipe.md)"),
        (
            "index.md",
            "[a](docs/recipe.md#cold-start), [b](CONTRIBUTING.md)",
            "[a](recipe.md#cold-start), [b](contributing.md)",
        ),
        ("recipe.md", "a [notebook](../examples/notebooks/4_inside_grpo.ipynb)", "a notebook"),
        ("recipe.md", "[a](nothing.md), [b](#here), [c](https://x.y)", "[a](nothing.md), [b](#here), [c](https://x.y)"),
        ("recipe.md", "```\n[a](../setup.py)\n```\n", "```\n[a](../setup.py)\n```\n"),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(here: str, text: str, expected: str) -> None:
    page = SimpleNamespace(file=SimpleNamespace(src_uri=here))
    files = SimpleNamespace(get_file_from_path=lambda name: (ROOT / "docs" / name).exists())
    assert HOOKS["on_page_markdown"](text, page, None, files) == expected


def test_continuous_integration_builds_the_site_before_the_tests() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert 0 < script.index("launch_local.sh mkdocs build --strict <") < script.index("launch_local.sh pytest")
