"""Notebooks: executed with reduced sizes, by slow tests twice; stored with outputs, without traces of a machine."""

import importlib.util
import json
import pathlib
import re

import nbformat
import pytest
from xla_flags import xla_flags

from r1jax.report import live

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATHS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
QUICK = "4_inside_grpo.ipynb"  # one step in the kernel's process; the others run commands for minutes
MAX_BYTES = 500_000


@pytest.fixture(scope="module")
def notebooks():
    """The script that executes them."""
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "experiments" / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def outputs(notebook) -> list:
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def execute(path, times: int, notebooks, folder: pathlib.Path, monkeypatch) -> None:
    """Executes a notebook with reduced sizes; none of its cells may fail."""
    monkeypatch.setenv("XLA_FLAGS", xla_flags(1))
    executed = notebooks.execute(path, folder, quick=True, times=times)
    assert not [output for output in outputs(executed) if output.output_type == "error"]


def test_the_quickest_notebook_runs(notebooks, tmp_path, monkeypatch):
    execute(ROOT / "examples" / "notebooks" / QUICK, 1, notebooks, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_a_notebook_can_be_run_twice(path, notebooks, tmp_path, monkeypatch):
    execute(path, 2, notebooks, tmp_path, monkeypatch)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_a_stored_notebook_has_the_outputs_of_one_run(path):
    assert path.stat().st_size <= MAX_BYTES
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    stored = outputs(notebook)
    assert not [output for output in stored if output.output_type == "error"]
    assert [output for output in stored if "image/png" in output.get("data", {})]
    assert len([cell for cell in code if cell.outputs]) > len(code) / 2


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_a_stored_notebook_has_no_trace_of_the_machine(path):
    text = "\n".join(str(output.get("text", "")) for output in outputs(nbformat.read(path, as_version=4)))
    assert not re.findall(r"(?<!\w)/(?:work|tmp|root|home|usr|opt)/\S*", text)
    assert not re.findall(r"\d s/step", text)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_a_notebook_installs_looks_for_accelerators_and_has_reduced_sizes(path):
    source = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    for part in ("%pip install -q", "r1jax[cuda]", "r1jax[tpu]", "R1JAX_NOTEBOOK_QUICK", "idle CPU cores"):
        assert part in source, part


def test_paths_and_times_of_a_machine_are_left_out(notebooks, tmp_path):
    text = f"base: {ROOT}/r1jax/x in {tmp_path}/runs\n  updating: 1m30s\n"
    text += "kl 0.1  78.17 s with compilation\n15.67 s/step, 1m05s left\n"
    cell = nbformat.v4.new_code_cell("", outputs=[nbformat.v4.new_output("stream", text=text)])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    notebooks.clean(notebook, tmp_path)
    [output] = outputs(notebook)
    assert output.text == "base: r1jax/x in runs\nkl 0.1  ... with compilation\n.../step, ...\n"


def test_a_command_prints_its_lines_and_raises_with_the_last(capsys):
    live.command("grade", "--help")
    assert "usage: r1jax grade" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match=r"r1jax train ended with status 2: error: .*nosuch"):
        live.command("train", "--config=nosuch:mini", "--workdir=unused")


def test_curves_are_drawn_of_runs_that_have_begun_and_of_those_that_have_not(tmp_path):
    empty = live.draw(tmp_path / "none", live.RL)
    rows = [{"step": step, "reward/accuracy": step / 3, "reward/format": None} for step in range(3)]
    torn = '{"step": 3, "rew'
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows) + torn)
    drawn = live.draw(tmp_path, live.RL)
    assert empty.startswith(b"\x89PNG") and drawn.startswith(b"\x89PNG") and len(drawn) > len(empty)
