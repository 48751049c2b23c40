"""Benchmark of one GRPO step on fixed work: seconds by phase, and shares of what the machine can do.

    r1jax bench                                     # 3.03M parameters, 8 x 8 completions of 128 tokens
    r1jax bench --long-tail                         # lengths whose longest is 8 times the median
    r1jax bench --model=qwen3_0_6b --dtype=bfloat16 --remat --prompts=1 --samples=1 \\
        --prompt-tokens=1 --new-tokens=16384 --no-sampling          # log-probs and update alone, on random completions
    r1jax bench --model=qwen3_0_6b --dtype=bfloat16 --decode=1,8,64,256 --context=1024

Weights are random. Completions never meet an end of sequence, so that every run does the same work. FLOPs are those of
products with weights (2 a weight and token, backward passes twice that) and of causal attention; what is computed again
or for padding is not counted. Ceilings are measured in the same run: a square matrix product in the compute type, and a
copy. The table goes to the terminal, and with `--json` one line to a file.
"""

import argparse
import dataclasses
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from r1jax.core import params as core
from r1jax.core.device_ceilings import measure_ceilings, peak_bytes, timed
from r1jax.core.sharding import TRAIN_RULES, MeshConfig, make_mesh
from r1jax.data.tasks import DataConfig
from r1jax.data.types import Prompt, Rollout
from r1jax.inference.config import SamplingConfig
from r1jax.inference.engine import Engine
from r1jax.io import jsonl
from r1jax.io.console import ProgressPrinter, say
from r1jax.losses.config import GRPOConfig
from r1jax.losses.grpo import group_advantages, grpo_loss
from r1jax.models.config import PRESETS, ModelConfig
from r1jax.models.transformer import param_specs
from r1jax.stages import rl
from r1jax.stages.config import RLConfig
from r1jax.training import state
from r1jax.training.config import OptimizerConfig
from r1jax.training.step import make_update

SHAPES = PRESETS | {
    "bench": ModelConfig(512, 256, 4, 4, 2, 64, 688, scan_unroll=4),
    "qwen3_0_6b": ModelConfig(151_936, 1024, 28, 16, 8, 128, 3072, rope_theta=1e6, dtype="bfloat16", qk_norm=True),
}
PHASES = ("reshard", "prefill", "decode", "host", "reward", "log-probs", "update")


class EndlessTokenizer:
    """A tokenizer without text, whose end of sequence no model can sample."""

    def __init__(self, vocab_size: int):
        self.vocab_size, self.eos_ids, self.pad_id = vocab_size, (vocab_size,), 0
        self.silent_ids, self.byte_ids, self.has_chat_template = frozenset(), frozenset(), False

    def decode(self, ids: Sequence[int]) -> str:
        return ""


def draw_prompts(vocab_size: int, count: int, tokens: int, seed: int) -> list[Prompt]:
    """Prompts of random ids, all of the same length."""
    ids = np.random.default_rng(seed).integers(2, vocab_size, (count, tokens))
    return [Prompt(f"{seed}/{i}", "", "", "exact:bench", ids=tuple(row.tolist())) for i, row in enumerate(ids)]


def completion_lengths(count: int, longest: int, long_tail: bool, seed: int = 0) -> np.ndarray:
    """`[count]` lengths in a random order: all the longest, or log-normal with a median of an eighth of it."""
    if not long_tail or count < 2:
        return np.full(count, longest)
    normal = statistics.NormalDist()
    z = np.array([normal.inv_cdf((i + 0.5) / count) for i in range(count)])
    lengths = np.rint(longest * 8.0 ** (z / z[-1] - 1.0)).astype(int).clip(1, longest)
    return np.random.default_rng(seed).permutation(lengths)


def forward_flops(model: ModelConfig, lengths: np.ndarray) -> float:
    """FLOPs of a forward pass over sequences of these lengths: products with weights, and causal attention."""
    specs = param_specs(dataclasses.replace(model, mtp_depth=0))
    weights = core.count(specs) - (0 if model.tie_embeddings else model.vocab_size * model.embed_dim)
    pairs = (lengths.astype(float) * (lengths + 1)).sum() / 2  # of a query and a key that it sees
    return 2 * weights * float(lengths.sum()) + 4 * model.num_layers * model.num_heads * model.head_dim * pairs


def decode_bytes(model: ModelConfig, rows: int, tokens: float) -> float:
    """Bytes that a decode step has to read: every weight once, and keys and values of `tokens` tokens a row."""
    specs = param_specs(dataclasses.replace(model, mtp_depth=0))
    size = jnp.dtype(model.dtype).itemsize
    width = model.mla.kv_rank + model.mla.rope_dim if model.mla else 2 * model.num_kv_heads * model.head_dim
    return size * (core.count(specs) + rows * tokens * model.num_layers * width)


def time_engine_phases(engine: Engine, generate: Callable[[], Any]) -> dict[str, float]:
    """Seconds of each of the engine's programs, waiting for each call's result; `host` is what is left.

    The waiting itself keeps the host from working while the device does: the sum is more than an undisturbed call.
    """
    programs = {"_to_decode_layout": "reshard", "_prefill": "prefill", "_decode": "decode"}
    seconds = dict.fromkeys(programs.values(), 0.0)
    originals = {name: getattr(engine, name) for name in programs}

    def watched(program, phase):
        def call(*arguments):
            start = time.perf_counter()
            result = jax.block_until_ready(program(*arguments))
            seconds[phase] += time.perf_counter() - start
            return result

        return call

    for name, phase in programs.items():
        setattr(engine, name, watched(originals[name], phase))
    try:
        whole = timed(lambda: generate() and None)
    finally:
        for name, program in originals.items():
            setattr(engine, name, program)
    return seconds | {"host": whole - sum(seconds.values())}


def random_rollouts(prompts: Sequence[Prompt], samples: int, lengths: np.ndarray, vocab_size: int) -> list[Rollout]:
    """Rollouts of random ids, where none are sampled."""
    rng = np.random.default_rng(0)
    pairs = [(prompt, sample) for prompt in prompts for sample in range(samples)]
    return [
        Rollout(prompt, sample, rng.integers(0, vocab_size, n, np.int32), np.full(n, -1.0, np.float32), "", "length")
        for (prompt, sample), n in zip(pairs, lengths, strict=True)
    ]


def bench_step(args: argparse.Namespace, model: ModelConfig, mesh: Mesh, ceilings: dict[str, float]) -> dict[str, Any]:
    """Times whole steps: sampling, reward, log-probs, update. Shares of the ceilings are of all devices together."""
    rows, longest = args.prompts * args.samples, args.new_tokens
    width = args.prompt_tokens + longest
    lengths = completion_lengths(rows, longest, args.long_tail)
    cfg = RLConfig(
        "rl",
        "",
        args.steps,
        DataConfig(tasks=(), path="bench.jsonl"),
        SamplingConfig(
            longest,
            slots=args.slots or rows,
            window=args.window,
            prefill_rows=args.prompts,
            bucket=args.bucket or width,
        ),
        GRPOConfig(args.prompts, args.samples, minibatches=1, beta=args.beta),
        optimizer=OptimizerConfig(learning_rate=1e-5, clip_norm=1.0),
        microbatches=args.microbatches,
        logprob_chunk=args.chunk,
        batch_bucket=args.batch_bucket,
    )
    specs = param_specs(model)
    tx = state.make_optimizer(cfg.optimizer, specs, 1000)
    reference = core.init(specs, TRAIN_RULES, mesh, args.seed)
    train_state = state.create(reference, specs, tx, mesh)
    if not args.beta:
        del reference
    engine = Engine(model, cfg.sampling, EndlessTokenizer(model.vocab_size), mesh)
    score = rl.make_scorer(model, cfg, mesh)
    update = make_update(
        lambda params, batch: grpo_loss(
            params, model, batch, cfg.grpo, cfg.sampling.truncation, cfg.logprob_chunk, cfg.auxiliary
        ),
        tx,
        specs,
        mesh,
        cfg.microbatches,
    )
    weight_bytes = sum(x.nbytes for x in jax.tree.leaves(train_state))

    def generate(step: int) -> list[Rollout]:
        prompts = draw_prompts(model.vocab_size, args.prompts, args.prompt_tokens, step)
        if args.no_sampling:
            return random_rollouts(prompts, args.samples, lengths, model.vocab_size)
        limits = {
            (p.id, s): int(lengths[i * args.samples + s]) for i, p in enumerate(prompts) for s in range(args.samples)
        }
        return engine.generate(train_state.params, prompts, args.samples, (args.seed, step), limits=limits)

    times: dict[str, list[float]] = {phase: [] for phase in ("sampling", "reward", "log-probs", "update", "step")}
    say("compiling, and running the first step", sys.stderr)
    progress = ProgressPrinter("bench", "steps", every=0.0, file=sys.stderr)
    for step in range(args.warmup + args.steps):
        progress(step, args.warmup + args.steps)
        marks = [time.perf_counter()]
        rollouts = generate(step)
        marks.append(time.perf_counter())
        rewards = np.array([rollout.ids.sum() % 7 + 0.01 * i for i, rollout in enumerate(rollouts)])  # no two alike
        advantages = group_advantages(rewards.reshape(args.prompts, args.samples), True)
        marks.append(time.perf_counter())
        batch = rl.make_batch(rollouts, advantages, cfg)
        if args.beta:
            batch = dataclasses.replace(batch, ref_logprobs=score(reference, batch))
        marks.append(time.perf_counter())
        for minibatch in rl.minibatches(batch, cfg.grpo, longest, args.seed, step):
            train_state, metrics = update(train_state, rl.to_device(minibatch, mesh))
        metrics = jax.device_get(metrics)
        marks.append(time.perf_counter())
        if step >= args.warmup:
            for phase, seconds in zip(times, [*np.diff(marks), marks[-1] - marks[0]], strict=True):
                times[phase].append(seconds)
    if args.trace:
        with jax.profiler.trace(args.trace):
            train_state, metrics = jax.block_until_ready(update(train_state, rl.to_device(minibatch, mesh)))
    seconds = {phase: statistics.median(values) for phase, values in times.items()}
    split = dict.fromkeys(PHASES, 0.0) | {phase: seconds[phase] for phase in ("reward", "log-probs", "update")}
    if not args.no_sampling:
        split |= time_engine_phases(engine, lambda: generate(0))
    tokens = lengths + args.prompt_tokens - 1
    flops = forward_flops(model, tokens)
    devices, decode_s = mesh.size, split["decode"]
    moved = sum(decode_bytes(model, (lengths > t).sum(), args.prompt_tokens + t) for t in range(longest))
    rates = {
        "log-probs flop/s": flops / seconds["log-probs"] if args.beta else None,
        "update flop/s": 3 * flops / seconds["update"],
        "decode byte/s": moved / decode_s if decode_s else None,
    }
    unit_ceilings = {name: ceilings[name.split()[-1]] * devices for name in rates}
    return {
        "what": "step",
        "rows": rows,
        "lengths": {"mean": float(lengths.mean()), "median": float(np.median(lengths)), "max": int(lengths.max())},
        "step_s": seconds["step"],
        "step_s_all": times["step"],
        "sampling_s": seconds["sampling"],
        "split_s": split,
        "new_tokens_per_s": None if args.no_sampling else float(lengths.sum()) / seconds["sampling"],
        "trained_tokens_per_s": float(tokens.sum()) / seconds["update"],
        **rates,
        "share_of_ceiling": {name: rate and rate / unit_ceilings[name] for name, rate in rates.items()},
        "loss": float(metrics["loss"]),
        "grad_norm": float(metrics["grad_norm"]),
        "state_bytes": weight_bytes,
    }


def bench_decode(
    args: argparse.Namespace, model: ModelConfig, mesh: Mesh, ceilings: dict[str, float]
) -> dict[str, Any]:
    """Milliseconds of a decode step of so many sequences, all `context` tokens long, against the fewest bytes."""
    model = dataclasses.replace(model, mtp_depth=0)
    engine_of = {}
    rows_out = []
    params = None
    for rows in args.decode:
        sampling = SamplingConfig(args.context, slots=rows, window=args.window, prefill_rows=1, bucket=args.context)
        engine = engine_of[rows] = Engine(model, sampling, EndlessTokenizer(model.vocab_size), mesh)
        if params is None:
            params = engine._to_decode_layout(core.init(param_specs(model), TRAIN_RULES, mesh, args.seed))
        start = args.context - args.window * (args.steps + 3)
        if start < 0:
            raise SystemExit(f"--context={args.context} is too short for {args.steps + 3} windows of {args.window}")
        full = jnp.full(rows, args.context, jnp.int32)
        slots = dataclasses.replace(
            engine._idle(args.context), position=jnp.full(rows, start, jnp.int32), remaining=full
        )
        slots = jax.device_put(slots, jax.tree.map(lambda x: x.sharding, engine._idle(args.context)))
        seconds = []
        for _ in range(args.steps + 2):
            begin = time.perf_counter()
            slots, sampled = jax.block_until_ready(engine._decode(params, slots))
            seconds.append(time.perf_counter() - begin)
        if args.trace:
            with jax.profiler.trace(args.trace):
                slots, sampled = jax.block_until_ready(engine._decode(params, slots))
        step_s = statistics.median(seconds[2:]) / args.window
        floor_s = decode_bytes(model, rows, args.context) / (ceilings["byte/s"] * mesh.size)
        rows_out.append(
            {
                "sequences": rows,
                "ms": step_s * 1e3,
                "floor_ms": floor_s * 1e3,
                "share": floor_s / step_s,
                "tokens_per_s": rows / step_s,
                "compile_s": seconds[0],
            }
        )
        print(json.dumps(rows_out[-1]), flush=True)
        del slots, sampled, engine_of[rows], engine
    return {"what": "decode", "context": args.context, "table": rows_out}


def table(result: dict[str, Any]) -> str:
    """The result as text for the terminal."""
    lines = [
        f"{result['model']}: {result['parameters']:,} parameters, {result['dtype']}, {result['devices']} x "
        f"{result['device']}; ceilings {result['ceilings']['flop/s'] / 1e9:,.0f} GFLOP/s, "
        f"{result['ceilings']['byte/s'] / 1e9:,.0f} GB/s a device; peak {result['peak_bytes'] / 2**30:.2f} GiB"
    ]
    if result["what"] == "decode":
        lines.append(f"{'sequences':>10} {'ms a step':>10} {'floor ms':>10} {'share':>7} {'tokens/s':>10}")
        for row in result["table"]:
            lines.append(
                f"{row['sequences']:>10} {row['ms']:>10.2f} {row['floor_ms']:>10.2f} {row['share']:>7.0%} "
                f"{row['tokens_per_s']:>10,.0f}"
            )
        return "\n".join(lines)
    new = result["new_tokens_per_s"]
    lines += [
        f"step {result['step_s']:.3f} s (sampling {result['sampling_s']:.3f}); "
        + (f"{new:,.0f} new tokens/s, " if new else "")
        + f"{result['trained_tokens_per_s']:,.0f} trained tokens/s",
        "  " + ", ".join(f"{phase} {seconds:.3f}" for phase, seconds in result["split_s"].items()),
        "  of the ceiling: " + ", ".join(f"{n} {s:.1%}" for n, s in result["share_of_ceiling"].items() if s),
    ]
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
    add("--new-tokens", type=int, default=128, help="of the longest completion")
    add("--prompt-tokens", type=int, default=32)
    add("--long-tail", action="store_true", help="completions differ in length, the median an eighth of the longest")
    add("--beta", type=float, default=0.001, help="of the KL term; 0: no reference model")
    add("--steps", type=int, default=5)
    add("--warmup", type=int, default=2)
    add("--slots", type=int, default=0, help="sequences decoded together; 0: all of a step")
    add("--window", type=int, default=8, help="decode steps in one device call")
    add("--bucket", type=int, default=0, help="of the cache's length; 0: prompt and completion")
    add("--batch-bucket", type=int, default=32)
    add("--microbatches", type=int, default=1)
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
    model = dataclasses.replace(SHAPES[args.model], dtype=args.dtype, remat=args.remat)
    if args.layers:
        model = dataclasses.replace(model, num_layers=args.layers)
    devices = jax.devices()[: args.devices or None]
    mesh = make_mesh(MeshConfig(data=-1), devices)
    say("measuring the ceilings of this machine", sys.stderr)
    ceilings = measure_ceilings(args.dtype)
    begin = time.perf_counter()
    with jax.set_mesh(mesh):
        result = (bench_decode if args.decode else bench_step)(args, model, mesh, ceilings)
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
    line = json.dumps(result)
    if args.json:
        jsonl.append(args.json, result)
    print(line)
    print(table(result))
    return 0
