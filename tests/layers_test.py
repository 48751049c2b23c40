"""The house stands: imports only look down, files stay short, and importing a module has no effect."""

import ast
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "r1jax").rglob("*.py"))
}

# Room -> the rooms, or single modules of one, that it may look into besides itself. From the ground up: a line names
# earlier rooms only. Modules beside the rooms (train, report, plan, convert, serve) are the roof and look into all.
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
    "training": ("config", "io", "core", "models", "text.tokenizer", "text.prompt_form", "data.batching"),
    "inference": ("config", "io", "core", "models", "text", "data"),
    "sandbox": ("config",),
    "graders": ("config", "io", "text", "data.types", "sandbox"),
    "rewards": ("config", "io", "text", "data.types", "sandbox", "graders"),
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
}
# Rooms for the host: graders start as processes of their own, and each would pay for jax with seconds and memory.
WITHOUT_JAX = ("config", "config_files", "overrides", "io", "text", "sandbox", "graders", "rewards", "benchmarks")
JAX = ("jax", "jaxlib", "flax", "optax", "orbax", "chex")


def room(module: str) -> str:
    """`r1jax.data.types` -> `data`; `r1jax.cli` -> `roof`, `r1jax` itself -> ``."""
    name = module.removeprefix("r1jax").lstrip(".").split(".")[0]
    return name if name in MAY_IMPORT or not name else "roof"


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


TREES = {module: ast.parse(path.read_text("utf-8"), path) for module, path in FILES.items()}
ALL_IMPORTS = {module: imports(module, ast.walk(tree)) for module, tree in TREES.items()}
RUN_TIME_IMPORTS = {module: imports(module, at_run_time(tree)) for module, tree in TREES.items()}


def road_to_jax(module: str, seen: frozenset[str] = frozenset()) -> list[str] | None:
    """The chain of imports by which `module` reaches jax, None where it does not."""
    for name in sorted(RUN_TIME_IMPORTS[module]):
        if name.split(".")[0] in JAX:
            return [module, name]
        if name in FILES and name not in seen and (rest := road_to_jax(name, seen | {module})):
            return [module, *rest]
    return None


def test_the_table_itself_only_looks_down():
    rooms = list(MAY_IMPORT)
    assert all(rooms.index(below.split(".")[0]) < rooms.index(name) for name in rooms for below in MAY_IMPORT[name])


@pytest.mark.parametrize("module", FILES)
def test_imports_only_look_down(module: str):
    here = room(module)
    allowed = MAY_IMPORT.get(here, MAY_IMPORT if here == "roof" else ())
    places = [f"r1jax.{place}" for place in allowed]
    for name in ALL_IMPORTS[module]:
        ours = is_in(name, "r1jax") and room(name) not in ("", here)
        assert not ours or any(is_in(name, place) for place in places), (
            f"{module} imports {name}, and {here} may look into {', '.join(allowed)} only"
        )


@pytest.mark.parametrize("module", [module for module in FILES if room(module) in WITHOUT_JAX])
def test_host_rooms_do_without_jax_directly_and_through_others(module: str):
    road = road_to_jax(module)
    assert road is None, " -> ".join(road)


@pytest.mark.parametrize("module", FILES)
def test_a_file_is_read_in_one_sitting(module: str):
    lines = len(FILES[module].read_text("utf-8").splitlines())
    assert lines <= 450, f"{FILES[module].relative_to(ROOT)} has {lines} lines: split it where its concerns part"


def test_no_module_is_called_utils():
    assert not [path for path in FILES.values() if path.stem in ("utils", "util")]


IMPORT_ALL = f"""
import importlib, sys
for module in sys.argv[1].split():
    importlib.import_module(module)
assert not [name for name in {JAX} if name in sys.modules], "a host room imports jax through a library"
for module in sys.argv[2].split():
    importlib.import_module(module)
import jax
assert not jax._src.xla_bridge.backends_are_initialized(), "a module starts a jax backend when imported"
"""


def test_importing_every_module_prints_nothing_starts_no_backend_and_writes_no_file(tmp_path: pathlib.Path):
    host = [module for module in FILES if room(module) in WITHOUT_JAX]
    rest = [module for module in FILES if module not in host]
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", IMPORT_ALL, " ".join(host), " ".join(rest)]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())
