"""Errors of the operating system: one line that says what was being done, to which file, and what to do about it."""

import errno
import os
import pathlib

import pytest
from tiny_run import SFT, merged, write_config

from r1jax import config
from r1jax.core import processes
from r1jax.tools import report, train

pytestmark = pytest.mark.usefixtures("in_this_process")


def line_of(capsys, run, deed: str = "") -> str:
    capsys.readouterr()
    assert config.exit_status(run, deed) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "Errno" not in error
    return error.strip()


def test_each_kind_is_told_with_its_file_its_deed_and_a_remedy(tmp_path, capsys):
    (tmp_path / "file").write_text("")

    def fails(number: int, file: pathlib.Path | None = None):
        def run() -> None:
            raise OSError(number, os.strerror(number), *([str(file)] if file else []))

        return run

    for number, file, parts in (
        (errno.ENOSPC, None, ["no space left on device, while saving x", "free some space"]),
        (errno.ENOSPC, tmp_path / "a", [f"{tmp_path}/a: no space left", "the same command goes on"]),
        (errno.EACCES, tmp_path / "a", [f"{tmp_path}/a: permission denied", "ls -ld"]),
        (errno.EROFS, tmp_path / "a", [f"{tmp_path}/a: read-only file system", "choose a place"]),
        (errno.EISDIR, tmp_path, [f"{tmp_path}: it is a folder, where a file is needed"]),
        (errno.ENOTDIR, tmp_path / "file" / "a", ["file/a: it, or what stands before it in the path, is a file"]),
        (errno.EEXIST, tmp_path / "file", ["file: it, or what stands before it in the path, is a file"]),
        (errno.ENOENT, tmp_path / "fill", [f"no file {tmp_path}/fill; nearest in {tmp_path}: file"]),
        (errno.EIO, tmp_path / "a", [f"{tmp_path}/a: input/output error, while saving x"]),
    ):
        said = line_of(capsys, fails(number, file), "saving x")
        assert all(part in said for part in [*parts, "while saving x"]), said
        assert "while" not in line_of(capsys, fails(number, file))


def test_a_full_disk_is_told_without_a_file_by_what_was_being_done(capsys):
    """A write names no file, only its opening does."""

    def run() -> None:
        with config.doing("writing the report"), open("/dev/full", "w") as file:
            file.write("x")

    said = line_of(capsys, run, "running y")
    assert "no space left on device, while writing the report, while running y; free" in said


def test_words_that_an_error_brings_itself_stay(capsys):
    def run() -> None:
        raise FileNotFoundError("no tokenizer here")

    assert line_of(capsys, run, "running x") == "error: no tokenizer here"


def test_a_run_names_the_folder_that_is_a_file_and_the_file_that_is_a_folder(tmp_path, capsys, monkeypatch):
    spec = write_config(tmp_path / "sft.py", merged(SFT, base=str(tmp_path)))
    (tmp_path / "taken").write_text("")

    def main(*args: str):
        return lambda: train.run(train_args(*args), [])

    def train_args(page: str, workdir: pathlib.Path):
        from argparse import Namespace

        return Namespace(config=page, workdir=str(workdir), coordinator=None, num_processes=None, process_id=None)

    monkeypatch.setattr(processes, "finish", lambda: None)
    said = line_of(capsys, main(spec, tmp_path / "taken"))
    assert f"{tmp_path}/taken" in said and "a folder is needed" in said and "running stage supervised" in said
    said = line_of(capsys, main(str(tmp_path), tmp_path / "run"))
    assert f"{tmp_path} is a folder, where a file is needed" in said
    said = line_of(capsys, lambda: print(report.report([tmp_path / "taken"], "base", None)), "writing the report")
    assert "taken" in said
