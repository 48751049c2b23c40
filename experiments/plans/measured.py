"""Predicted seconds beside measured ones of the programs of zero:mini on a CPU, for experiments/plans/README.md.

    ./launch_local.sh python experiments/plans/measured.py

Each program is compiled as `r1jax plan --topology=cpu:1` does it and run on arrays of ones. Seconds are the
processor's, of all threads, in the ceilings (a square product, a copy) as in the programs, so that other work on the
machine counts less. Memory: arguments as the plan has them beside those of the arrays.
"""

import argparse
import os
import statistics
import time
import types
from typing import Any

import jax
import jax.numpy as jnp

from r1jax.core import device_ceilings
from r1jax.core.sharding import make_mesh
from r1jax.performance import hlo
from r1jax.planning import compiled, stage, topology
from r1jax.planning.program import Program

HEADER = """\
| program | GFLOP | traffic, MB | predicted, s | measured, s | measured / predicted | arguments, MB: plan | arrays |
|---|---|---|---|---|---|---|---|"""


def ones(x: Any) -> jax.Array:
    """An array of ones of a shape, or of random keys."""
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.split(jax.random.key(0), x.shape)
    return jnp.ones(x.shape, x.dtype)


def measure(program: Program, mesh: Any, chip: hlo.Chip, times: int) -> str:
    """A program's line of the table."""
    with jax.set_mesh(mesh):
        lowered = program.lower()
        runnable = lowered.compile()
    figures = compiled.compile_program(program, mesh, chip)
    seconds = []
    for _ in range(times + 1):
        arguments, named = jax.tree.map(ones, lowered.args_info)
        size = sum(x.nbytes for x in jax.tree.leaves(arguments))
        began = time.process_time()
        jax.block_until_ready(runnable(*arguments, **named))
        seconds.append(time.process_time() - began)
    measured, cost = statistics.median(seconds[1:]), figures.cost
    of_plan = sum(figures.arguments.values())
    cells = [program.name, f"{cost.flops / 1e9:.3g}", f"{cost.traffic / 1e6:,.0f}", f"{figures.seconds:.3g}"]
    cells += [f"{measured:.3g}", f"{measured / figures.seconds:.2g}", f"{of_plan / 1e6:.1f}", f"{size / 1e6:.1f}"]
    return f"| {' | '.join(cells)} |"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3, help="calls of each program; the median counts")
    args = parser.parse_args(argv)
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=1"  # before JAX starts
    device_ceilings.time = types.SimpleNamespace(perf_counter=time.process_time)
    there = topology.open_topology("cpu:1")
    cfg = stage.read("zero:mini", [], "")
    model, lengths = stage.model_of(cfg, ""), stage.lengths_of(cfg)
    mesh = make_mesh(cfg.mesh, there.devices)
    print(f"ceilings: {there.chip.flops / 1e9:.1f} GFLOP/s, {there.chip.hbm / 1e9:.1f} GB/s\n\n{HEADER}", flush=True)
    for program in stage.programs_of(cfg, model, mesh, lengths):
        print(measure(program, mesh, there.chip, args.times), flush=True)


if __name__ == "__main__":
    main()
