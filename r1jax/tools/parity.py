"""Comparison of a Hugging Face model's logits and greedy tokens in r1jax with those in `transformers`.

    r1jax parity FOLDER

Both compute in float32, on random tokens: whole sequences, through the cache, padded on either side, and packed. A
deviation is max |r1jax - transformers| / max |transformers| over the logits of real tokens. It needs torch and
transformers: pip install -e '.[parity]'. The exit status is 1 where a deviation is above 1e-4.
"""

import argparse
import pathlib
from collections.abc import Sequence

import numpy as np

from r1jax.config import exit_status, path_given
from r1jax.io import hub

MOST = 1e-4


def parser() -> argparse.ArgumentParser:
    """The command line of `r1jax parity`."""
    parser = argparse.ArgumentParser(
        prog="r1jax parity",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="FOLDER", type=path_given, help="a Hugging Face folder, or an id of the hub")
    parser.add_argument("--length", type=int, default=64, help="tokens of a sequence; %(default)s")
    return parser


def largest_deviation(folder: pathlib.Path, length: int) -> float:
    """Compares, prints, and returns the largest deviation.

    Raises:
        ValueError: torch or transformers is not installed, or the folder holds no model.
    """
    try:
        import torch
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise ValueError(f"{error}: the comparison needs torch and transformers, pip install -e '.[parity]'") from error
    from r1jax.conversion.transformers_comparison import R1jaxModel, compare, compare_greedy

    folder = hub.model_path(folder)
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    model = R1jaxModel.load(folder)
    ids = np.random.default_rng(0).integers(0, model.cfg.vocab_size, (3, length)).astype(np.int32)
    deviations = compare(model, reference, ids, np.array([length, length // 2, length // 3]))
    for name, deviation in deviations.items():
        print(f"{name:14s} {deviation:.1e}")
    same = compare_greedy(model, reference, ids[:, : length // 2], 32)
    print(f"{'greedy tokens':14s} {same:.0%} the same")
    return max(deviations.values())


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status, see the module and `config.exit_status`."""
    args = parser().parse_args(argv)
    deviations: list[float] = []
    action = f"comparing {args.folder} with transformers"
    status = exit_status(lambda: deviations.append(largest_deviation(args.folder, args.length)), action)
    return status or int(max(deviations) > MOST)
