"""Decode steps of so many sequences: milliseconds beside the fewest that reading weights and cache takes."""

import argparse
import dataclasses
import json
import pathlib
import statistics
import sys
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from r1jax.core import params as core
from r1jax.core.device_ceilings import timed
from r1jax.core.params import Params
from r1jax.core.sharding import TRAIN_RULES
from r1jax.inference.config import SamplingConfig
from r1jax.inference.programs import Programs
from r1jax.io.console import say
from r1jax.models.config import ModelConfig
from r1jax.models.transformer import param_specs
from r1jax.performance.work import decode_bytes


def measure(args: argparse.Namespace, model: ModelConfig, mesh: Mesh, ceilings: dict[str, float]) -> dict[str, Any]:
    """Times windows of decode steps of `args.decode` sequences, which end `args.context` tokens long.

    Args:
        args: the options of `r1jax bench`.
        ceilings: of all devices of the mesh together, see `measure_ceilings`.

    Raises:
        SystemExit: the context is shorter than the windows.
    """
    start = args.context - args.window * (args.steps + 3)
    if start < 0:
        raise SystemExit(f"--context={args.context} is too short for {args.steps + 3} windows of {args.window}")
    model = dataclasses.replace(model, mtp_depth=0)
    table, params = [], None
    for rows in args.decode:
        sampling = SamplingConfig(args.context, slots=rows, window=args.window, prefill_rows=mesh.size)
        programs = Programs(model, sampling, 1, mesh)
        if params is None:
            params = programs.to_decode_layout(core.init(param_specs(model), TRAIN_RULES, mesh, args.seed))
        compile_s, _, *seconds = window_seconds(programs, params, start, args.context, args.steps + 2, args.trace)
        step_s = statistics.median(seconds) / args.window
        floor_s = decode_bytes(model, rows, args.context) / ceilings["byte/s"]
        row = {
            "sequences": rows,
            "ms": step_s * 1e3,
            "floor_ms": floor_s * 1e3,
            "share": floor_s / step_s,
            "tokens_per_s": rows / step_s,
            "compile_s": compile_s,
        }
        table.append(row)
        say(json.dumps(row), sys.stderr)
    return {"what": "decode", "context": args.context, "table": table}


def window_seconds(
    programs: Programs, params: Params, start: int, length: int, windows: int, trace: pathlib.Path | None
) -> list[float]:
    """Seconds of windows one after another, in all slots.

    Args:
        start: tokens that each sequence has at first.
        length: of the cache.
        trace: write a profile of one more window to this folder.
    """
    slots = programs.idle(length)
    position, remaining = (
        jax.device_put(jnp.full(programs.cfg.slots, n, jnp.int32), slots.position.sharding) for n in (start, length)
    )
    slots = dataclasses.replace(slots, position=position, remaining=remaining)

    def run():
        nonlocal slots
        slots, sampled = programs.decode(params, slots, False, False)
        return slots, sampled

    seconds = [timed(run) for _ in range(windows)]
    if trace:
        with jax.profiler.trace(trace):
            jax.block_until_ready(run())
    return seconds
