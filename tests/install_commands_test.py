"""Commands in messages and pages that install an extra; they name r1jax's folder, as no package index has it."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ("r1jax", "docs", "experiments", "configs", "tests")
FILES = [*ROOT.iterdir(), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))]
EXTRAS = re.findall(r'^        "(\w+)": \[', (ROOT / "setup.py").read_text("utf-8"), re.MULTILINE)
INSTALLS = re.compile(r"pip install (?:--?[\w-]+ )*(?P<what>['\"]?(?:r1jax|\.)\[[^\]]*\])")


def commands() -> list[tuple[str, str]]:
    """Pairs of a file and what its command installs, as in `'.[judge]`: the closing quote is left out."""
    commands_found = []
    for path in FILES:
        if path.suffix in (".py", ".md", ".sh") and path != pathlib.Path(__file__).resolve():
            text = path.read_text("utf-8").replace('\\"', '"')
            commands_found += [(str(path.relative_to(ROOT)), match["what"]) for match in INSTALLS.finditer(text)]
    return commands_found


@pytest.mark.parametrize(("where", "what"), sorted(set(commands())))
def test_trap53_commands_that_install_an_extra_name_this_folder_in_quotes(where: str, what: str):
    # zsh takes brackets that are not quoted for a pattern, and finds no file.
    assert what[0] in "'\"" and what[1:3] == ".[", f"{where}: pip install -e '.[...]'"
    if "$" not in what:
        assert set(what[3:-1].split(",")) <= set(EXTRAS), f"{where}: setup.py has the extras {EXTRAS}"


def test_there_are_such_commands():
    assert len(commands()) > 3 and {"parquet", "parity", "dev"} <= set(EXTRAS)
