"""Structure: imports go down and in no circle, files and packages stay small, importing has no effect."""

import ast
import collections
import functools
import graphlib
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAX_LINES, MAX_MODULES = 400, 16
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "r1jax").rglob("*.py"))
}
SIZED = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("r1jax", "configs", "examples", "experiments", "tests")
    for path in (ROOT / folder).rglob("*.py")
)

# Package -> the packages, or single modules of one, that it may import besides itself; a line names earlier packages
# only. What is in none of these (tools, report, performance, running) is at the top and may import all of them.
MAY_IMPORT = {
    "config": (),
    "config_files": ("config",),
    "overrides": ("config",),
    "io": ("config",),
    "core": ("config", "io"),
    "text": ("config", "io"),
    "kernels": ("config", "core"),
    "models": ("config", "io", "core", "kernels", "text"),
    "data": ("config", "io", "core", "text"),
    "losses": ("config", "core", "models", "data.types", "data.batching"),
    "training": ("config", "io", "core", "models", "text.tokenizer", "text.prompt_format", "data.batching"),
    "inference": ("config", "io", "core", "models", "text", "data"),
    "sandbox": ("config", "core.process_tree"),
    "graders": ("config", "io", "text", "data.types", "sandbox"),
    "rewards": ("config", "io", "core.process_tree", "text", "data.types", "sandbox", "graders"),
    "audit": ("config", "io", "text", "data", "sandbox", "graders", "rewards"),
    "benchmarks": ("config", "io", "text", "data.types", "graders"),
    "evaluation": (
        "config",
        "io",
        "core",
        "models",
        "text",
        "data",
        "training",
        "inference",
        "graders",
        "rewards",
        "benchmarks",
    ),
    "stages": (
        "config",
        "config_files",
        "overrides",
        "io",
        "core",
        "models",
        "text",
        "data",
        "losses",
        "training",
        "inference",
        "graders",
        "rewards",
        "benchmarks",
        "evaluation",
    ),
    "serve": (
        "config",
        "io",
        "core",
        "models",
        "text",
        "data",
        "inference",
        "graders",
        "rewards",
        "evaluation",
    ),
}
# Packages for the host: graders start as processes of their own, and each would pay for jax with seconds and memory.
WITHOUT_JAX = ("config", "config_files", "overrides", "io", "text", "sandbox", "graders", "rewards", "benchmarks")
JAX = ("jax", "jaxlib", "flax", "optax", "orbax", "chex")


def package_of(module: str) -> str:
    """`r1jax.data.types` -> `data`; `r1jax.cli` -> `top`, `r1jax` itself -> ``."""
    name = module.removeprefix("r1jax").lstrip(".").split(".")[0]
    return name if name in MAY_IMPORT or not name else "top"


def is_in(module: str, place: str) -> bool:
    return module == place or module.startswith(place + ".")


def at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below `node`, in functions too, but for what only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            children = child.orelse
        else:
            children = [child]
            yield child
        for each in children:
            yield from at_run_time(each)


def imports(module: str, nodes: Iterator[ast.AST]) -> set[str]:
    """The full names that `nodes` of `module` import: of r1jax the modules' names, of others as written."""
    package = module.split(".") if FILES[module].name == "__init__.py" else module.split(".")[:-1]
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            # `from r1jax.text import chat` imports a module, `from r1jax.text.chat import TAGS` a name in one.
            found.update(full if (full := f"{source}.{name.name}") in FILES else source for name in node.names)
    return found


@functools.cache
def parsed(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text("utf-8"), FILES[module])


@functools.cache
def all_imports(module: str) -> set[str]:
    return imports(module, ast.walk(parsed(module)))


@functools.cache
def run_time_imports(module: str) -> set[str]:
    return imports(module, at_run_time(parsed(module)))


def path_to_jax(module: str, seen: frozenset[str] = frozenset()) -> list[str] | None:
    """The chain of imports by which `module` reaches jax, None where it does not."""
    for name in sorted(run_time_imports(module)):
        if name.split(".")[0] in JAX:
            return [module, name]
        if name in FILES and name not in seen and (rest := path_to_jax(name, seen | {module})):
            return [module, *rest]
    return None


def test_the_table_names_earlier_packages_only():
    names = list(MAY_IMPORT)
    assert all(names.index(below.split(".")[0]) < names.index(name) for name in names for below in MAY_IMPORT[name])


@pytest.mark.parametrize("module", FILES)
def test_imports_only_go_down(module: str):
    here = package_of(module)
    allowed = MAY_IMPORT.get(here, MAY_IMPORT if here == "top" else ())
    places = [f"r1jax.{place}" for place in allowed]
    for name in all_imports(module):
        ours = is_in(name, "r1jax") and package_of(name) not in ("", here)
        assert not ours or any(is_in(name, place) for place in places), (
            f"{module} imports {name}, and {here} may import {', '.join(allowed)} only"
        )


@pytest.mark.parametrize("module", [module for module in FILES if package_of(module) in WITHOUT_JAX])
def test_host_packages_do_without_jax_directly_and_through_others(module: str):
    path = path_to_jax(module)
    assert path is None, " -> ".join(path)


def test_no_modules_import_each_other_directly_or_through_others():
    """Imports inside functions count: a circle that they break is a circle of concerns all the same."""
    imported = {module: run_time_imports(module) & FILES.keys() - {module} for module in FILES}
    try:
        graphlib.TopologicalSorter(imported).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("file", SIZED)
def test_a_file_is_read_in_one_sitting(file: str):
    lines = len((ROOT / file).read_text("utf-8").splitlines())
    assert lines <= MAX_LINES, f"{file} has {lines} lines: split it where its concerns part"


def test_a_package_is_surveyed_at_a_glance():
    counts = collections.Counter(path.parent for path in FILES.values() if path.name != "__init__.py")
    sizes = {folder.relative_to(ROOT).as_posix(): count for folder, count in counts.items()}
    del sizes["r1jax/benchmarks/sets"]  # a module for each benchmark
    assert not {folder: count for folder, count in sizes.items() if count > MAX_MODULES}


def test_no_module_is_called_utils():
    assert not [path for path in FILES.values() if path.stem in ("utils", "util")]


IMPORT_ALL = f"""
import importlib, sys
for module in sys.argv[1].split():
    importlib.import_module(module)
assert not [name for name in {JAX} if name in sys.modules], "a host package imports jax through a library"
for module in sys.argv[2].split():
    importlib.import_module(module)
import jax
assert not jax._src.xla_bridge.backends_are_initialized(), "a module starts a jax backend when imported"
"""


def test_importing_every_module_prints_nothing_starts_no_backend_and_writes_no_file(tmp_path: pathlib.Path):
    host = [module for module in FILES if package_of(module) in WITHOUT_JAX]
    rest = [module for module in FILES if module not in host]
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", IMPORT_ALL, " ".join(host), " ".join(rest)]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())
