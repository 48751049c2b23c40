"""Work of one GRPO step for other trainers: model shape, prompts, completion lengths; the line of the result.

They run in environments of their own (setup.sh), without r1jax: so the numbers of `r1jax bench` stand here again.
"""

import argparse
import json
import pathlib
import random
import statistics
from collections.abc import Mapping, Sequence

VOCAB, WIDTH, LAYERS, HEADS, KV_HEADS, HEAD_DIM, MLP = 512, 256, 4, 4, 2, 64, 688
PAD, EOS = 0, 1  # never sampled, but for EOS where a completion ends


def parser(description: str) -> argparse.ArgumentParser:
    """The options that all trainers have."""
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument
    add("--prompts", type=int, default=8)
    add("--samples", type=int, default=8, help="of each prompt")
    add("--prompt-tokens", type=int, default=32)
    add("--lengths", type=pathlib.Path, required=True, help="what `r1jax bench --print-lengths` printed")
    add("--microbatches", type=int, default=1)
    add("--steps", type=int, default=3)
    add("--warmup", type=int, default=1)
    add("--json", type=pathlib.Path, required=True, help="append the result to this file, as one line")
    return parser


def completion_lengths(args: argparse.Namespace) -> list[int]:
    """Tokens of each completion of a step, prompt by prompt.

    Raises:
        SystemExit: the file is of another number of completions.
    """
    lengths = json.loads(args.lengths.read_text("utf-8"))
    if len(lengths) != args.prompts * args.samples:
        raise SystemExit(f"{args.lengths} has {len(lengths)} lengths, not {args.prompts} x {args.samples}")
    return lengths


def draw_prompts(args: argparse.Namespace) -> list[str]:
    """The prompts of all steps, step by step: ids as decimal numbers with blanks between."""
    rng = random.Random(0)
    count = args.prompts * (args.warmup + args.steps)
    return [" ".join(str(rng.randrange(2, VOCAB)) for _ in range(args.prompt_tokens)) for _ in range(count)]


def reward(ids: Sequence[int]) -> float:
    """A reward that costs nothing and differs within a group."""
    return sum(ids) % 7 / 7


def check_lengths(drawn: Sequence[int], lengths: Sequence[int]) -> None:
    """Raises RuntimeError where a step's completions have other lengths than asked for, in any order."""
    if sorted(drawn) != sorted(lengths):
        raise RuntimeError(f"completions of {sorted(drawn)} tokens, not of {sorted(lengths)}")


def write_result(
    args: argparse.Namespace, lengths: Sequence[int], steps: Sequence[Mapping[str, float]], **about: object
) -> None:
    """Appends the medians of a run's steps after the first `args.warmup`.

    Args:
        steps: seconds of `step`, of `sampling` and of `log-probs` within it; what is left is the update's.
        about: versions and parameters.
    """
    rows = [{**step, "update": step["step"] - step["sampling"] - step["log-probs"]} for step in steps[args.warmup :]]
    seconds = {f"{name}_s": statistics.median(row[name] for row in rows) for name in rows[0]}
    result = {**about, **seconds, "step_s_all": [row["step"] for row in rows]}
    result["new_tokens_per_s"] = sum(lengths) / seconds["sampling_s"]
    with args.json.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
    print(json.dumps(result))
