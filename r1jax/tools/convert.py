"""Conversion of a model in another format to r1jax's folder, or of an r1jax model to a Hugging Face folder.

    r1jax convert SRC DST [--to r1jax|hf] [--dtype bfloat16] [--max-shard-size 5GB] [--overwrite]

SRC is a Hugging Face folder (config.json and safetensors), a .gguf file, an r1jax model folder, or any of these on the
Hugging Face hub (`Qwen/Qwen2.5-0.5B`). The first two become an r1jax model folder, the last a Hugging Face folder that
`transformers` opens, unless --to says otherwise. Weights
keep their type unless --dtype says otherwise; fp8 becomes bfloat16, and what GGUF quantises float32.

Training reads all three kinds as they are: converting is for sharing a model. The weights go through the memory of
JAX's devices; JAX_PLATFORMS=cpu takes the host's, where a model is too large for an accelerator. DST appears when it is
whole.
Errors are one line; with R1JAX_DEBUG=1 in the environment they keep their traceback.
"""

import argparse
import re
import time
from collections.abc import Sequence

from r1jax.config import exit_status, path_given


def size_in_bytes(text: str) -> int:
    """5GB -> 5_000_000_000. Raises ValueError where it is no size."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)B", text, re.IGNORECASE)
    if not match or not float(match[1]):
        raise ValueError(f"--max-shard-size={text} is not a size; write it like 5GB or 500MB")
    return int(float(match[1]) * 1000 ** " KMGT".index(match[2].upper() or " "))


def run(args: argparse.Namespace) -> None:
    """Converts, and prints the size and the time.

    Raises:
        FileNotFoundError, ValueError: see `model_conversion.convert`; also a DST that should stay as it is.
    """
    max_shard_bytes = size_in_bytes(args.max_shard_size)
    from r1jax.conversion import model_conversion
    from r1jax.core import params  # and JAX with it, which `--help` does without
    from r1jax.io import hub
    from r1jax.io.console import clock, say
    from r1jax.models.transformer import param_specs

    source = hub.model_path(args.source)
    model_conversion.check_target(source, args.target, args.overwrite)
    began = time.monotonic()
    cfg = model_conversion.convert(source, args.target, args.to, args.dtype, max_shard_bytes)
    say(f"{args.target}: {params.count(param_specs(cfg)):,} parameters, {clock(time.monotonic() - began)}")


def parser() -> argparse.ArgumentParser:
    """The command line of `r1jax convert`."""
    parser = argparse.ArgumentParser(
        prog="r1jax convert",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SRC", type=path_given, help="the model to read")
    parser.add_argument("target", metavar="DST", type=path_given, help="the folder to write")
    parser.add_argument("--to", choices=("r1jax", "hf"), help="what to write; by default the other kind")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="of the weights; by default kept")
    parser.add_argument("--max-shard-size", default="5GB", help="of a safetensors file; by default 5GB")
    parser.add_argument("--overwrite", action="store_true", help="replace the model that DST holds")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status, see `config.exit_status`."""
    args = parser().parse_args(argv)
    return exit_status(lambda: run(args), f"converting {args.source} to {args.target}")
