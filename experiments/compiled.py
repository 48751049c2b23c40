"""Memory and traffic between devices of training programs compiled for TPU on any machine, as a table.

    pip install -e '.[tpu]'
    ./launch_local.sh python experiments/compiled.py            # all programs; or some, by name

Nothing is run: sizes come from the compiled program's text and from its memory analysis. A collective inside a loop
counts as often as the loop turns; loops whose number of turns is known only at run time count once. A program takes
some minutes on 2 CPU cores.
"""

import argparse
import collections
import dataclasses
import math
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh

from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES
from r1jax.data.batching import Batch
from r1jax.losses.auxiliary import AuxiliaryConfig
from r1jax.losses.grpo import GRPOConfig, grpo_loss
from r1jax.models.config import PRESETS, ModelConfig
from r1jax.models.logits import Truncation
from r1jax.models.transformer import forward, param_specs
from r1jax.training import state
from r1jax.training.step import make_update

AXES = ("data", "fsdp", "expert", "tensor")
KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "ragged-all-to-all", "collective-permute")
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8}


def tpu_mesh(topology: str, **sizes: int) -> Mesh:
    """A mesh of the chips of a TPU topology ("v5p:2x2x2"), which need not be here.

    Raises:
        ImportError: libtpu is not installed.
    """
    import libtpu  # noqa: F401  or JAX asks for a TPU instead of saying so
    from jax.experimental import topologies

    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # or it asks a cloud that is not there
    # The cache of compiled programs asks an executable for devices that these have not.
    jax.config.update("jax_enable_compilation_cache", False)
    chips = np.array(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices)
    shape = [sizes.get(axis, 1) for axis in AXES]
    return Mesh(chips.reshape(shape), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def bytes_a_device(compiled: Any) -> int:
    """Bytes of arguments, results and temporaries of a compiled program on one device."""
    memory = compiled.memory_analysis()
    used = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return used + memory.temp_size_in_bytes


def _nbytes(types: str) -> int:
    """Bytes of the largest array in an HLO type, which may be a tuple: an operation that has begun holds both ends."""
    arrays = re.findall(r"\b([a-z]+\d*)\[([\d,]*)\]", types)
    return max((BYTES.get(t, 4) * math.prod(int(n) for n in shape.split(",") if n) for t, shape in arrays), default=0)


def _group_size(line: str) -> int:
    if listed := re.search(r"replica_groups=\{\{([\d,]*)\}", line):
        return listed[1].count(",") + 1
    iota = re.search(r"replica_groups=\[\d+,(\d+)\]", line)
    return int(iota[1]) if iota else 1


def _computations(text: str) -> tuple[str, dict[str, list[str]]]:
    """The name of the entry and the lines of each computation of an HLO module."""
    lines: dict[str, list[str]] = {}
    entry = name = ""
    for line in text.splitlines():
        if begin := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line):
            name = begin[2]
            entry = name if begin[1] else entry
            lines[name] = []
        elif name:
            lines[name].append(line)
    return entry, lines


def _turns(line: str, computations: dict[str, list[str]]) -> int:
    """How often the loop of a `while` line turns; 1 where only the run can tell."""
    if known := re.search(r'known_trip_count":\{"n":"(\d+)"', line):
        return int(known[1])
    # A TPU's program does not say it: its loops count from 0 to the constant that their condition compares with.
    condition = "\n".join(computations.get(re.search(r"condition=%?([\w.\-]+)", line)[1], ()))
    bound = re.search(r"ROOT .* compare\(.*?(%?[\w.\-]+)\), direction=LT", condition)
    constant = bound and re.search(rf"{re.escape(bound[1])} = \S+ constant\((\d+)\)", condition)
    return int(constant[1]) if constant else 1


@dataclasses.dataclass(frozen=True)
class Collective:
    """A collective operation of a compiled program.

    Attributes:
        kind: one of `KINDS`.
        dtype: of what is sent, in HLO's words: "f32".
        size: bytes on one device of the larger end: what an all-gather gives, what a reduce-scatter takes.
        times: how often it runs.
    """

    kind: str
    dtype: str
    size: int
    times: int


def collectives(text: str) -> Iterator[Collective]:
    """The collective operations of an optimised HLO module, each with the turns of the loops around it."""
    entry, computations = _computations(text)

    def inside(name: str, times: int) -> Iterator[Collective]:
        for line in computations.get(name, ()):
            operation = re.match(r"\s*(?:ROOT )?%?[\w.\-]+ = (.*?) ([a-z][a-z\-]*)\(", line)
            if not operation:
                continue
            types, kind = operation[1], operation[2].removesuffix("-start")
            if kind in KINDS:
                size = _nbytes(types)
                if kind == "all-reduce" and name.startswith("all-reduce-scatter"):  # how a TPU has a reduce-scatter
                    kind = "reduce-scatter"
                elif kind == "reduce-scatter":
                    size *= _group_size(line)
                yield Collective(kind, re.search(r"[a-z]+\d+", types)[0], size, times)
            turns = _turns(line, computations) if kind == "while" else 1
            for called in re.findall(r"(?:calls|body|to_apply)=%?([\w.\-]+)", line):
                yield from inside(called, times * turns)

    yield from inside(entry, 1)


def _batch(mesh: Mesh, rows: int, tokens: int) -> Batch:
    def array(dtype, *shape):
        layout = TRAIN_RULES.sharding(mesh, ("batch", *(None,) * (len(shape) - 1)))
        return jax.ShapeDtypeStruct(shape, dtype, sharding=layout)

    ints, floats = array(jnp.int32, rows, tokens), array(jnp.float32, rows, tokens)
    integers = {name: ints for name in ("tokens", "targets", "positions", "segments")}
    return Batch(**integers, weights=floats, advantages=floats, sampler_logprobs=floats, ref_logprobs=floats)


def update(model: ModelConfig, mesh: Mesh, rows: int, tokens: int, microbatches: int) -> Any:
    """One update by GRPO with a KL term, compiled."""

    def loss(params, batch):
        return grpo_loss(params, model, batch, GRPOConfig(), Truncation(), 256, AuxiliaryConfig())

    specs = param_specs(model)
    tx = state.make_optimizer(state.OptimizerConfig(), specs, 100)
    program, start = make_update(loss, tx, specs, mesh, microbatches), state.abstract_state(specs, tx, mesh)
    with jax.set_mesh(mesh):
        return program.lower(start, _batch(mesh, rows, tokens)).compile()


def gradient_of_layers(model: ModelConfig, mesh: Mesh, rows: int, tokens: int) -> Any:
    """The gradient of a sum of the hidden states, compiled."""

    def value(params, batch):
        return forward(params, model, batch.tokens, batch.positions, batch.segments).hidden.astype(jnp.float32).sum()

    specs = param_specs(model)
    params, layout = core.abstract(specs, TRAIN_RULES, mesh), core.shardings(specs, TRAIN_RULES, mesh)
    with jax.set_mesh(mesh):
        return jax.jit(jax.grad(value), out_shardings=layout).lower(params, _batch(mesh, rows, tokens)).compile()


def qwen_7b() -> Any:
    """The update of `zero:hf` on 8 chips: 16 microbatches of 32 rows of 2,560 tokens, bfloat16, rematerialised."""
    model = dataclasses.replace(PRESETS["qwen2_5_7b"], dtype="bfloat16", remat=True)
    return update(model, tpu_mesh("v5p:2x2x2", fsdp=8), 512, 2560, 16)


def v3_layer(tokens: int, topology: str, experts: int) -> Any:
    """Forward and backward pass of one layer with DeepSeek-V3's experts; one row a chip, each chip its share of them.

    The vocabulary is cut to 8,192, for the table of embeddings is no part of the layer.
    """
    v3 = PRESETS["deepseek_v3"]
    moe = dataclasses.replace(v3.moe, first_dense=0)
    changes = {"num_layers": 1, "mtp_depth": 0, "vocab_size": 8192, "moe": moe}
    model = dataclasses.replace(v3, dtype="bfloat16", remat=True, **changes)
    return gradient_of_layers(model, tpu_mesh(topology, expert=experts), experts, tokens)


PROGRAMS: dict[str, Callable[[], Any]] = {
    "qwen-7b": qwen_7b,
    "v3-layer-4k-expert-8": lambda: v3_layer(4096, "v5p:2x2x2", 8),
    "v3-layer-32k-expert-8": lambda: v3_layer(32_768, "v5p:2x2x2", 8),
    "v3-layer-32k-expert-32": lambda: v3_layer(32_768, "v5p:2x4x4", 32),
}


def row(name: str, compiled: Any) -> str:
    """A program's line of the table: GB (10^9 bytes) of each kind of collective, and GiB on a chip."""
    sums: collections.Counter[str] = collections.Counter()
    for each in collectives(compiled.as_text()):
        sums[f"{each.kind} {each.dtype}"] += each.size * each.times
    moved = ", ".join(f"{kind} {size / 1e9:.1f}" for kind, size in sorted(sums.items()) if size >= 5e7)
    temporaries = compiled.memory_analysis().temp_size_in_bytes / 2**30
    return f"| {name} | {moved} | {temporaries:.1f} | {bytes_a_device(compiled) / 2**30:.1f} |"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="*", metavar="program", help=", ".join(PROGRAMS))
    names = parser.parse_args(argv).programs or list(PROGRAMS)
    if unknown := set(names) - set(PROGRAMS):
        parser.error(f"no program {', '.join(sorted(unknown))}; there are {', '.join(PROGRAMS)}")
    print("| program | moved on a chip, GB | temporaries, GiB | all, GiB |\n|---|---|---|---|", flush=True)
    for name in names:
        print(row(name, PROGRAMS[name]()), flush=True)


if __name__ == "__main__":
    main()
