"""Names in documents, config files and scripts: modules, files, sizes, graders, benchmarks and stages exist."""

import ast
import pathlib
import re
import runpy
import subprocess
import sys
import unicodedata

import pytest
from layers_test import FILES, MAY_IMPORT, WITHOUT_JAX, parsed

from r1jax import config_files
from r1jax.benchmarks.benchmark import find, names
from r1jax.core.sharding import DECODE_RULES, TRAIN_RULES
from r1jax.graders.grader_table import GRADERS
from r1jax.stages.table import STAGES

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
EXPERIMENTS = (ROOT / "experiments", ROOT / "experiments" / "paper")
PAGES = [*DOCUMENTS, *(path for folder in EXPERIMENTS for path in sorted(folder.glob("*.md")))]
SCRIPTS = [path for folder in EXPERIMENTS for path in sorted(folder.glob("*.py"))]
SHELL = sorted([*ROOT.glob("*.sh"), *(path for folder in EXPERIMENTS for path in folder.glob("*.sh"))])
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
TEXTS = [*DOCUMENTS, *sorted((ROOT / "configs").glob("*.py")), *SCRIPTS, *SHELL, *FILES.values(), *NOTEBOOKS]
# Config files are modules too: r1jax/configs is a link to configs/.
MODULES = FILES | {f"r1jax.configs.{path.stem}": path for path in (ROOT / "configs").glob("*.py")}
# What runs leave, and a reader's own files.
ELSEWHERE = ("runs/", "results/", "path/", "DATA/", "WORKDIR/")


def wrong_names(text: str) -> list[str]:
    """The dotted names of r1jax in a text that are neither modules nor something that a module defines or imports."""
    wrong, names = [], re.findall(r"\br1jax(?:\.[A-Za-z_]\w*)+", text)
    for module, imported in re.findall(r"\bfrom (r1jax[\w.]*) import (\w[\w, ]*)", text):
        names += [f"{module}.{each.split()[0]}" for each in imported.split(",") if each.strip()]
    for name in names:
        parts = name.split(".")
        if parts[-1] in ("git", "log", "pid", "py", "tgz"):  # files' names
            continue
        known = max(i for i in range(1, len(parts) + 1) if ".".join(parts[:i]) in MODULES)
        if name == "r1jax.configs":
            continue
        source = MODULES[".".join(parts[:known])].read_text("utf-8")
        if known < len(parts) and not re.search(rf"\b{re.escape(parts[known])}\b", source):
            wrong.append(name)
    return wrong


def wrong_paths(text: str) -> list[str]:
    """The paths of the project's own folders in a text at which there is nothing."""
    folders, kinds = "r1jax|configs|examples|experiments|docs|tests", "py|md|sh|jsonl|png"
    paths = re.findall(rf"(?<![\w./-])(?:{folders})/[\w/.-]*\w\.(?:{kinds})\b", text)
    return [path for path in paths if not path.startswith(ELSEWHERE) and not (ROOT / path).exists()]


def wrong_sizes(text: str) -> list[str]:
    """The config files with a size in a text that have no such size."""
    wrong = []
    for spec in re.findall(r"(?<![\w./-])configs/\w+\.py:[a-z]\w*", text):
        try:
            config_files.load(str(ROOT / spec))
        except Exception as error:
            wrong.append(f"{spec}: {error}")
    return wrong


def test_what_texts_name_is_there() -> None:
    faults = {}
    for path in TEXTS:
        text = path.read_text("utf-8")
        if wrong := wrong_names(text) + wrong_paths(text) + wrong_sizes(text):
            faults[str(path.relative_to(ROOT))] = wrong
    assert faults == {}


def test_names_of_what_is_not_there_are_found() -> None:
    assert wrong_names("see `r1jax.models.nothing` and r1jax.models.config.ModelConfig") == ["r1jax.models.nothing"]
    assert wrong_names("from r1jax.models import config, gone as here") == ["r1jax.models.gone"]
    assert wrong_paths("docs/nothing.md, docs/models.md and runs/x/docs/y.md") == ["docs/nothing.md"]
    assert [each.split(": ")[0] for each in wrong_sizes("configs/zero.py:mini configs/zero.py:huge")] == [
        "configs/zero.py:huge"
    ]


@pytest.mark.parametrize(
    "path", [path for path in SCRIPTS if "__main__" in path.read_text()], ids=lambda path: path.name
)
def test_scripts_of_experiments_can_be_imported(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if path.name == "parity.py":
        pytest.importorskip("torch")
    monkeypatch.setattr(sys, "path", [str(path.parent), *sys.path])
    assert callable(runpy.run_path(str(path), run_name="imported")["main"])


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_shell_scripts_parse_and_say_what_they_do(path: pathlib.Path) -> None:
    subprocess.run(["bash", "-n", path], check=True)
    printed = subprocess.run(["bash", path, "--help"], capture_output=True, text=True, timeout=60)
    assert printed.returncode == 0 and path.name in printed.stdout


def table_of(page: str, heading: str) -> list[list[str]]:
    """The rows of a page's table whose first line begins with `heading`, cell by cell."""
    lines = (ROOT / "docs" / page).read_text("utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(heading))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_the_table_of_graders_lists_them_all() -> None:
    assert {row[0].strip("`") for row in table_of("rewards.md", "| `grader` |") if row[0][0] == "`"} == set(GRADERS)


def test_the_table_of_benchmarks_lists_the_files_of_benchmarks() -> None:
    listed = {name for row in table_of("evaluation.md", "| group | sets") for name in re.findall(r"`(\w+)`", row[1])}
    files = {
        name.rpartition(".")[2]
        for name, path in FILES.items()
        if name.startswith("r1jax.benchmarks.sets.")
        and re.search(r"^BENCHMARK\b", path.read_text("utf-8"), re.MULTILINE)
    }
    assert files and listed == {name for name in files if not name.startswith("world_")}


def test_the_table_of_sources_says_what_the_files_of_benchmarks_say() -> None:
    rows = {row[0].strip("`"): row[1:] for row in table_of("evaluation.md", "| set | from | licence |")}
    assert set(rows) == {name for name in names() if not name.startswith("world_")}
    for name, (where, licence) in rows.items():
        benchmark = find(name)
        assert licence == (benchmark.licence or "–"), name
        assert where == f"`{benchmark.hub}`" if benchmark.hub else not re.fullmatch("`[^`]+`", where), name


def test_the_readme_has_a_line_for_each_package() -> None:
    tree = re.search(r"^r1jax/\n.*?^```", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)[0]
    listed = re.findall(r"^( +)(\w+)/ ", tree, re.MULTILINE)
    parents, paths = {}, []
    for indent, name in listed:
        depth = len(indent) // 2
        parents[depth] = name
        paths.append("/".join(parents[each] for each in range(1, depth + 1)))
    packages = {path.parent for path in FILES.values() if path.name == "__init__.py"} - {ROOT / "r1jax"}
    assert sorted(paths) == sorted(str(path.relative_to(ROOT / "r1jax")) for path in packages)


def test_the_readme_is_short_and_says_first_what_has_not_been_run() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= 150
    assert not [line for line in lines if len(line) > 120]
    first_screen = "\n".join(lines[:24])
    assert "What has run" in first_screen and "What has not" in first_screen and "TPU" in first_screen


def test_the_readmes_diagram_numbers_nine_stages() -> None:
    diagram = (ROOT / "README.md").read_text("utf-8").split("```")[1]
    assert sorted(re.findall(r"\b(\d) [a-zA-Z]", diagram)) == list("123456789")


def test_the_table_of_packages_is_that_of_the_imports() -> None:
    rows = {
        name.strip("`"): (tuple(re.findall(r"`([\w.]+)`", imports)), host == "yes")
        for name, imports, host in table_of("architecture.md", "| package | imports |")
    }
    assert rows == {name: (below, name in WITHOUT_JAX) for name, below in MAY_IMPORT.items()}
    assert list(rows) == list(MAY_IMPORT)


def test_the_table_of_sharding_is_that_of_the_rules() -> None:
    listed = {
        axis: tuple(tuple(re.findall(r"\w+", part)) for part in (training, decoding))
        for axes, training, decoding in table_of("architecture.md", "| logical axis |")
        for axis in re.findall(r"\w+", axes)
    }
    training, decoding = dict(TRAIN_RULES.rules), dict(DECODE_RULES.rules)
    assert listed == {axis: (training[axis], decoding[axis]) for axis in training | decoding}


def names_of(path: str) -> set[str]:
    """The functions, classes and constants that a module of r1jax defines."""
    names = set()
    for node in parsed(path.removesuffix(".py").replace("/", ".")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def test_modules_define_what_documents_name_of_them() -> None:
    named = {
        (path.name, module, name)
        for path in DOCUMENTS
        for module, name in re.findall(r"`(r1jax/[\w/]+\.py):(\w+)`", path.read_text("utf-8"))
    }
    assert len(named) > 20
    assert not [each for each in named if each[2] not in names_of(each[1])]


def without_code(text: str) -> str:
    """A page in Markdown without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    names = set()
    for heading in re.findall(r"^#+ (.*)$", without_code(text), re.MULTILINE):
        kept_characters = (c for c in heading.lower() if c in " -_" or unicodedata.category(c)[0] in "LN")
        names.add("".join(kept_characters).replace(" ", "-"))
    return names


def wrong_links(path: pathlib.Path, text: str) -> list[str]:
    """The relative links of a page in Markdown that lead to no file, or to no heading of one."""
    wrong = []
    for link in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", without_code(text)):
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: pathlib.Path) -> None:
    assert wrong_links(path, path.read_text("utf-8")) == []


def test_links_that_lead_nowhere_are_found() -> None:
    text = "[a](docs/models.md) [b](docs/nothing.md) [c](docs/models.md#models) [d](docs/models.md#nothing) [e](http://x.y)"
    assert wrong_links(ROOT / "README.md", text) == ["docs/nothing.md", "docs/models.md#nothing"]


def test_every_page_is_linked_from_the_readme_or_from_the_results() -> None:
    linked = set()
    for path in (ROOT / "README.md", ROOT / "docs" / "results.md"):
        links = re.findall(r"\]\((?!\w+:)([^)#\s]+)", path.read_text("utf-8"))
        linked |= {(path.parent / link).resolve() for link in links}
    assert set(PAGES) - linked == {ROOT / "README.md"}


def test_the_table_of_config_files_lists_their_sizes_and_all_stages() -> None:
    listed = {
        row[0].strip("`"): (re.findall(r"`(\w+)`", row[1]), re.findall(r"`(\w+)`", row[2]))
        for row in table_of("recipe.md", "| config file |")
    }
    files = {}
    for name in config_files.shipped_names():
        sizes = config_files.sizes(ROOT / "configs" / f"{name}.py")
        stages = [config_files.load(f"{name}:{size}").stage for size in sizes]
        files[f"{name}.py"] = (list(dict.fromkeys(stages)), sizes)
    assert files and listed == files
    assert {stage for stages, _ in listed.values() for stage in stages} == set(STAGES)


def test_the_table_of_the_recipe_names_every_stage_that_a_workdir_is_made_by() -> None:
    specs = [
        spec
        for row in table_of("recipe.md", "| stage | config file")
        for spec in re.findall(r"`configs/([\w.:]+)`", row[1])
    ]
    assert {config_files.load(f"configs/{spec}").stage for spec in specs} == set(STAGES) - {"evaluate"}


@pytest.mark.parametrize("page, heading", [("recipe.md", "| config file |"), ("quickstart.md", "| config |")])
def test_every_config_file_has_its_line_in_the_tables_of_the_recipe_and_of_the_quickstart(page, heading) -> None:
    cells = " ".join(row[0] for row in table_of(page, heading))
    named = set(re.findall(r"`(?:configs/)?(\w+\.py)[`:]", cells))
    assert named == {f"{name}.py" for name in config_files.shipped_names()}


def test_the_test_files_that_the_script_of_dependency_bounds_runs_exist() -> None:
    script = (ROOT / "experiments" / "dependency_bounds.sh").read_text("utf-8")
    block = re.search(r"^tests=\(\n(.*?)^\)", script, re.MULTILINE | re.DOTALL)[1]
    names = [name for line in block.splitlines() for name in line.partition("#")[0].split()]
    assert len(names) > 20
    assert not [name for name in names if not (ROOT / "tests" / f"{name}_test.py").exists()]
