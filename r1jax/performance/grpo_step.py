"""One GRPO step on fixed work: its seconds by phase, and its FLOP/s and bytes/s as shares of measured ceilings."""

import argparse
import collections
import dataclasses
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES
from r1jax.data.batching import to_device
from r1jax.data.tasks import DataConfig
from r1jax.data.types import Rollout
from r1jax.inference.config import RolloutSamplingConfig
from r1jax.inference.engine import Engine
from r1jax.io.console import ProgressPrinter, say
from r1jax.losses.config import GRPOConfig
from r1jax.losses.grpo import group_advantages, grpo_loss
from r1jax.models.config import ModelConfig
from r1jax.models.transformer import param_specs
from r1jax.performance.work import (
    EndlessTokenizer,
    completion_lengths,
    decode_bytes,
    draw_prompts,
    forward_flops,
    random_rollouts,
)
from r1jax.stages.config import RLConfig
from r1jax.stages.rl_batch import make_batch, make_scorer, minibatches, packed
from r1jax.training import state
from r1jax.training.config import OptimizerConfig
from r1jax.training.metrics import Stopwatch
from r1jax.training.step import make_update

PHASES = ("reshard", "prefill", "fork", "decode", "host", "reward", "log-probs", "update")
# The attributes of `Programs` that a sampling session calls, each with its phase.
PROGRAMS = {
    "to_decode_layout": "reshard",
    "prefill": "prefill",
    "idle": "fork",
    "resize": "fork",
    "take_slots": "fork",
    "fork": "fork",
    "decode": "decode",
}


def medians(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The median of each key of mappings that have the same keys."""
    columns = collections.defaultdict(list)
    for row in rows:
        for name, value in row.items():
            columns[name].append(value)
    return {name: statistics.median(values) for name, values in columns.items()}


def time_sampling(engine: Engine, generate: Callable[[], Any]) -> dict[str, float]:
    """Seconds of the sampling programs by phase, waiting for each call's result; `host` is what is left.

    The waiting itself keeps the host from working while the device does: the sum is more than an undisturbed call.
    """
    programs, watch = engine.programs, Stopwatch()
    originals = {name: getattr(programs, name) for name in PROGRAMS}

    def waiting(program: Callable, phase: str) -> Callable:
        def call(*arguments):
            with watch(phase):
                return jax.block_until_ready(program(*arguments))

        return call

    for name, phase in PROGRAMS.items():
        setattr(programs, name, waiting(originals[name], phase))
    try:
        with watch("host"):
            generate()
    finally:
        for name, program in originals.items():
            setattr(programs, name, program)
    return dict.fromkeys(PROGRAMS.values(), 0.0) | watch | {"host": 2 * watch["host"] - sum(watch.values())}


def config_of(args: argparse.Namespace) -> RLConfig:
    """The RL config of a step of this size."""
    return RLConfig(
        "rl",
        "",
        args.steps,
        DataConfig(tasks=(), path="bench.jsonl"),
        RolloutSamplingConfig(
            args.new_tokens,
            slots=args.slots or args.prompts * args.samples,
            window=args.window,
            prefill_rows=args.prompts,
            bucket=args.bucket or args.prompt_tokens + args.new_tokens,
            prompt_bucket=args.prompt_tokens,
        ),
        GRPOConfig(args.prompts, args.samples, minibatches=1, beta=args.beta),
        optimizer=OptimizerConfig(learning_rate=1e-5, clip_norm=1.0),
        microbatches=args.microbatches,
        logprob_chunk=args.chunk,
        batch_bucket=args.batch_bucket,
    )


def measure(args: argparse.Namespace, model: ModelConfig, mesh: Mesh, ceilings: dict[str, float]) -> dict[str, Any]:
    """Times whole steps: sampling, reward, log-probs of the reference, update.

    Args:
        args: the options of `r1jax bench`.
        ceilings: of all devices of the mesh together, see `measure_ceilings`.

    Raises:
        RuntimeError: completions of other lengths than the work has.
    """
    cfg, specs = config_of(args), param_specs(model)
    lengths = completion_lengths(args.prompts * args.samples, args.new_tokens, args.long_tail)
    tx = state.make_optimizer(cfg.optimizer, specs, 1000)
    reference = core.init(specs, TRAIN_RULES, mesh, args.seed)
    train_state = state.create(reference, specs, tx, mesh)
    if not args.beta:
        del reference
    engine = Engine(model, cfg.sampling, EndlessTokenizer(model.vocab_size), mesh)
    score = make_scorer(model, cfg, mesh)
    update = make_update(
        lambda params, batch: grpo_loss(
            params, model, batch, cfg.grpo, cfg.sampling.truncation, cfg.logprob_chunk, cfg.auxiliary
        ),
        tx,
        specs,
        mesh,
        cfg.microbatches,
    )

    def generate(step: int) -> list[Rollout]:
        prompts = draw_prompts(model.vocab_size, args.prompts, args.prompt_tokens, step)
        if args.no_sampling:
            return random_rollouts(prompts, args.samples, lengths, model.vocab_size)
        keys = [(prompt.id, sample) for prompt in prompts for sample in range(args.samples)]
        limits = dict(zip(keys, lengths.tolist(), strict=True))
        return engine.generate(train_state.params, prompts, args.samples, (args.seed, step), limits=limits)

    steps: list[Stopwatch] = []
    say("compiling, and running the first step", sys.stderr)
    progress = ProgressPrinter("bench", "steps", every=0.0, file=sys.stderr)
    for step in range(args.warmup + args.steps):
        progress(step, args.warmup + args.steps)
        watch = Stopwatch()
        with watch("step"):
            with watch("sampling"):
                rollouts = generate(step)
            with watch("reward"):
                rewards = np.array([r.ids.sum() % 7 + 0.01 * i for i, r in enumerate(rollouts)])  # no two alike
                advantages = group_advantages(rewards.reshape(args.prompts, args.samples), True)
            with watch("host"):
                batch = make_batch(rollouts, advantages, cfg)
            with watch("log-probs"):
                if args.beta:
                    [ref_logprobs] = score([reference], batch)
                    batch = dataclasses.replace(batch, ref_logprobs=ref_logprobs)
            with watch("host"):
                [minibatch] = minibatches(batch, cfg.grpo, args.new_tokens, args.seed, step)
                rows_of_update, _ = packed(minibatch, cfg, model, mesh)
            with watch("update"):
                train_state, metrics = jax.block_until_ready(update(train_state, to_device(rows_of_update, mesh)))
        if step >= args.warmup:
            steps.append(watch)
    if args.trace:
        with jax.profiler.trace(args.trace):
            train_state, metrics = jax.block_until_ready(update(train_state, to_device(rows_of_update, mesh)))
    seconds = medians(steps)
    split = dict.fromkeys(PHASES, 0.0) | {name: seconds[name] for name in PHASES if name in seconds}
    if not args.no_sampling:
        sampling = medians(time_sampling(engine, lambda: generate(0)) for _ in range(min(args.steps, 3)))
        split |= sampling | {"host": sampling["host"] + seconds["host"]}
    drawn = np.array([len(rollout.ids) for rollout in rollouts])
    if (drawn != lengths).any():
        raise RuntimeError(
            f"completions of {drawn.tolist()} tokens, not of {lengths.tolist()}: the work is not the same"
        )
    rates = rates_of(args, model, lengths, seconds, split["decode"])
    return {
        "what": "step",
        "rows": len(lengths),
        "lengths": {"mean": float(lengths.mean()), "median": float(np.median(lengths)), "max": int(lengths.max())},
        "step_s": seconds["step"],
        "step_s_all": [watch["step"] for watch in steps],
        "sampling_s": seconds["sampling"],
        "split_s": split,
        "new_tokens_per_s": None if args.no_sampling else float(lengths.sum()) / seconds["sampling"],
        "trained_tokens_per_s": float(lengths.sum() + len(lengths) * (args.prompt_tokens - 1)) / seconds["update"],
        **rates,
        "share_of_ceiling": {name: rate and rate / ceilings[name.split()[-1]] for name, rate in rates.items()},
        "loss": float(metrics["loss"]),
        "grad_norm": float(metrics["grad_norm"]),
        "state_bytes": sum(x.nbytes for x in jax.tree.leaves(train_state)),
    }


def rates_of(
    args: argparse.Namespace, model: ModelConfig, lengths: np.ndarray, seconds: Mapping[str, float], decode_s: float
) -> dict[str, float | None]:
    """FLOP/s and bytes/s of what the work needs, without padding; None of what was left out.

    Args:
        lengths: of the completions.
        seconds: of the phases that were not disturbed, and of the step.
        decode_s: of decoding; 0: nothing was sampled.
    """
    prompt = args.prompt_tokens - 1  # the prompt's last token is the first that is decoded
    forward = forward_flops(model, lengths + prompt)
    decoded = forward - forward_flops(model, np.full(len(lengths), prompt))
    moved = sum(decode_bytes(model, (lengths > t).sum(), args.prompt_tokens + t) for t in range(args.new_tokens))
    passes = 3 + bool(args.beta)  # of the update and of the reference
    sampled = decoded + forward_flops(model, np.full(args.prompts, args.prompt_tokens)) if decode_s else 0.0
    return {
        "step flop/s": (passes * forward + sampled) / seconds["step"],
        "log-probs flop/s": forward / seconds["log-probs"] if args.beta else None,
        "update flop/s": 3 * forward / seconds["update"],
        "decode flop/s": decoded / decode_s if decode_s else None,
        "decode byte/s": moved / decode_s if decode_s else None,
    }
