"""Benchmark of one GRPO step on fixed work: seconds by phase, and shares of what the machine can do.

    r1jax bench                                     # 3.03M parameters, 8 x 8 completions of 128 tokens
    r1jax bench --long-tail                         # up to 1024 tokens, the longest 8 times the median
    r1jax bench --model=qwen3_0_6b --dtype=bfloat16 --remat --prompts=1 --samples=1 \\
        --prompt-tokens=1 --new-tokens=16384 --no-sampling          # log-probs and update alone, on random completions
    r1jax bench --model=qwen3_0_6b --dtype=bfloat16 --decode=1,8,64,256 --context=1024

Weights are random. Completions never meet an end of sequence, so that every run does the same work. FLOPs are those of
products with weights (2 a weight and token, backward passes twice that) and of causal attention; what is computed again
or for padding is not counted. Ceilings are measured in the same run, on all devices at once: square matrix products in
the compute type, and copies. One line of JSON and a table go to standard output; with `--json` the line goes to a file
as well.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

from r1jax.io import jsonl
from r1jax.io.console import say
from r1jax.models.config import PRESETS, ModelConfig

SHAPES = PRESETS | {
    "bench": ModelConfig(512, 256, 4, 4, 2, 64, 688, scan_unroll=4),
    "qwen3_0_6b": ModelConfig(151_936, 1024, 28, 16, 8, 128, 3072, rope_theta=1e6, dtype="bfloat16", qk_norm=True),
}
# Where the command line has no number: (all of one length, long tail).
NEW_TOKENS, BUCKETS = (128, 1024), (0, 128)
ROWS = 8  # of a long tail's microbatch: all 64 rows of 1,056 tokens at once would take tens of gigabytes


def table(result: dict[str, Any]) -> str:
    """The result as text for the terminal."""
    lines = [
        f"{result['model']}: {result['parameters']:,} parameters, {result['dtype']}, {result['devices']} x "
        f"{result['device']}; ceilings {result['ceilings']['flop/s'] / 1e9:,.0f} GFLOP/s, "
        f"{result['ceilings']['byte/s'] / 1e9:,.1f} GB/s; peak {result['peak_bytes'] / 2**30:.2f} GiB"
    ]
    if result["what"] == "decode":
        lines.append(f"{'sequences':>10} {'ms a step':>10} {'floor ms':>10} {'share':>7} {'tokens/s':>10}")
        for row in result["table"]:
            lines.append(
                f"{row['sequences']:>10} {row['ms']:>10.2f} {row['floor_ms']:>10.2f} {row['share']:>7.0%} "
                f"{row['tokens_per_s']:>10,.0f}"
            )
        return "\n".join(lines)
    new, spread = result["new_tokens_per_s"], result["step_s_all"]
    lines += [
        f"step {result['step_s']:.3f} s, the median of {len(spread)} ({min(spread):.3f} to {max(spread):.3f}); "
        + (f"sampling {result['sampling_s']:.3f} s, {new:,.0f} new tokens/s; " if new else "")
        + f"{result['trained_tokens_per_s']:,.0f} trained tokens/s",
        "",
        f"{'phase':<10} {'seconds':>8} {'GFLOP/s':>8} {'share':>6} {'GB/s':>6} {'share':>6}",
    ]
    for phase, seconds in [*result["split_s"].items(), ("step", result["step_s"])]:
        line = f"{phase:<10} {seconds:>8.3f}"
        for unit, width in (("flop/s", 8), ("byte/s", 6)):
            rate, share = result.get(f"{phase} {unit}"), result["share_of_ceiling"].get(f"{phase} {unit}")
            line += f" {rate / 1e9:>{width}.1f} {share:>6.1%}" if rate else " " * (width + 8)
        lines.append(line.rstrip())
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The command line of `r1jax bench`."""
    parser = argparse.ArgumentParser(prog="r1jax bench", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--model", default="bench", choices=sorted(name for name, shape in SHAPES.items() if shape.vocab_size))
    add("--layers", type=int, default=0, help="another number of layers than the model has")
    add("--dtype", default="float32", choices=("float32", "bfloat16"))
    add("--remat", action="store_true", help="recompute each block in the backward pass")
    add("--prompts", type=int, default=8)
    add("--samples", type=int, default=8, help="of each prompt")
    add(
        "--new-tokens",
        type=int,
        help="of the longest completion; default: {} and, with --long-tail, {}".format(*NEW_TOKENS),
    )
    add("--prompt-tokens", type=int, default=32)
    add("--long-tail", action="store_true", help="completions differ in length, the median an eighth of the longest")
    add("--print-lengths", action="store_true", help="print the completions' lengths as JSON, and measure nothing")
    add("--beta", type=float, default=0.001, help="of the KL term; 0: no reference model")
    add("--steps", type=int, default=5)
    add("--warmup", type=int, default=2)
    add("--slots", type=int, default=0, help="sequences decoded together; 0: all of a step")
    add("--window", type=int, default=8, help="decode steps in one device call")
    add(
        "--bucket",
        type=int,
        help="of the cache's length; 0: prompt and completion; default: {} and {}".format(*BUCKETS),
    )
    add(
        "--batch-bucket", type=int, help="of rows' length; default: an eighth of prompt and completion, so just as long"
    )
    add("--microbatches", type=int, help=f"default: 1 and, with --long-tail, one for each {ROWS} completions")
    add("--chunk", type=int, default=64, help="positions a row whose logits exist at a time")
    add("--no-sampling", action="store_true", help="random completions: log-probs and update alone")
    add("--decode", type=lambda text: [int(n) for n in text.split(",")], help="time decode steps of so many sequences")
    add("--context", type=int, default=1024, help="tokens a sequence with --decode")
    add("--devices", type=int, default=0, help="0: all there are")
    add("--seed", type=int, default=0)
    add("--trace", type=pathlib.Path, help="write a profile of one more step, or decode window, to this folder")
    add("--json", type=pathlib.Path, help="append the result to this file, as one line")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    rows = args.prompts * args.samples
    defaults = {
        "new_tokens": NEW_TOKENS[args.long_tail],
        "bucket": BUCKETS[args.long_tail],
        "batch_bucket": -(-(args.prompt_tokens + (args.new_tokens or NEW_TOKENS[args.long_tail]) - 1) // 8),
        "microbatches": -(-rows // ROWS) if args.long_tail else 1,
    }
    vars(args).update({name: value for name, value in defaults.items() if getattr(args, name) is None})

    import jax

    from r1jax.core import params as core
    from r1jax.core.device_ceilings import measure_ceilings, peak_bytes
    from r1jax.core.sharding import MeshConfig, make_mesh
    from r1jax.models.transformer import param_specs
    from r1jax.performance import decode_steps, grpo_step
    from r1jax.performance.work import completion_lengths

    if args.print_lengths:
        lengths = completion_lengths(rows, args.new_tokens, args.long_tail)
        print(json.dumps(lengths.tolist()))
        return 0
    model = dataclasses.replace(SHAPES[args.model], dtype=args.dtype, remat=args.remat)
    if args.layers:
        model = dataclasses.replace(model, num_layers=args.layers)
    devices = jax.devices()[: args.devices or None]
    mesh = make_mesh(MeshConfig(data=-1), devices)
    say("measuring the ceilings of this machine", sys.stderr)
    ceilings = measure_ceilings(args.dtype, devices)
    begin = time.perf_counter()
    with jax.set_mesh(mesh):
        result = (decode_steps if args.decode else grpo_step).measure(args, model, mesh, ceilings)
    result = {
        "model": args.model,
        "dtype": args.dtype,
        "remat": args.remat,
        "device": devices[0].device_kind,
        "devices": len(devices),
        "jax": jax.__version__,
        "parameters": core.count(param_specs(model)),
        "ceilings": ceilings,
        **result,
        "peak_bytes": peak_bytes(),
        "seconds": time.perf_counter() - begin,
        "arguments": {name: value for name, value in vars(args).items() if name not in ("json", "trace")},
    }
    if args.json:
        jsonl.append(args.json, result)
    print(json.dumps(result))
    print(table(result))
    return 0
