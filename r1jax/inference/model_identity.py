"""Identity of a model and of the libraries that made a result, so that it is compared with no other by mistake."""

import pathlib
import platform

import jax

import r1jax
from r1jax.core import checksums
from r1jax.io import hub, provenance
from r1jax.text import prompt_format

_LIBRARIES = ("jax", "jaxlib", "numpy", "tokenizers", "sentencepiece", "jinja2")


def model_hash(path: pathlib.Path) -> str:
    """SHA-256 over a model's files, their names and every byte; `path` is a folder or one file.

    Left out are the folder's checksums, which add nothing, and its prompt format, which is recorded with samples.

    Reading a large model takes as long as its disk does: some 100 GB in a minute or two.
    """
    files = [path] if path.is_file() else hub.model_files(path)
    folder = path.parent if path.is_file() else path
    return provenance.named_files_hash(
        {
            file.relative_to(folder).as_posix(): file
            for file in files
            if file.name not in (checksums.FILE, prompt_format.FILE)
        }
    )


def libraries() -> dict[str, str]:
    """Versions of the libraries that sampling depends on, and the kind of device; graders report their own."""
    return {
        "r1jax": r1jax.__version__,
        "python": platform.python_version(),
        **provenance.library_versions(_LIBRARIES),
        "device": jax.devices()[0].device_kind,
    }
