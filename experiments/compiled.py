"""Memory and traffic between devices of training programs compiled for TPU on any machine, as a table.

    pip install -e '.[tpu]'
    ./launch_local.sh python experiments/compiled.py            # all programs; or some, by name
    ./launch_local.sh python experiments/compiled.py --plain    # without the kernels of attention

Nothing is run: sizes come from the compiled program's text and from its memory analysis, and times are rooflines, the
least that a chip needs at its published peaks (`r1jax/performance/hlo.py`). What is inside a loop counts as often as
the loop turns; where that is known only at run time, as of microbatches, at the most. A program takes some minutes on
2 CPU cores.
"""

import argparse
import collections
import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh

from r1jax.core import params as core
from r1jax.core.config import MESH_AXES
from r1jax.core.sharding import DECODE_RULES, TRAIN_RULES, replicated
from r1jax.data.batching import Batch
from r1jax.inference import decode
from r1jax.losses.auxiliary import AuxiliaryConfig
from r1jax.losses.grpo import GRPOConfig, grpo_loss
from r1jax.models import attention
from r1jax.models import cache as kv
from r1jax.models.config import PRESETS, ModelConfig
from r1jax.models.logits import Truncation
from r1jax.models.transformer import forward, param_specs
from r1jax.performance import hlo
from r1jax.training import state
from r1jax.training.step import make_update

AXES = MESH_AXES


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


def _batch(mesh: Mesh, rows: int, tokens: int) -> Batch:
    def array(dtype, *shape):
        layout = TRAIN_RULES.sharding(mesh, ("batch", "length"))
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


def decode_window(model: ModelConfig, mesh: Mesh, rows: int, tokens: int, steps: int) -> Any:
    """A window of decode steps over full caches, weights in the compute type, compiled."""
    specs = param_specs(dataclasses.replace(model, mtp_depth=0))
    layout = functools.partial(DECODE_RULES.sharding, mesh)
    each = layout(("batch",))
    limits = decode.Limits(each, each, each, layout(("batch", None)))
    placed = decode.Slots(kv.shardings(model, kv.PLAIN, DECODE_RULES, mesh), each, each, each, each, limits)
    with jax.set_mesh(mesh):
        shapes = (
            jax.eval_shape(
                lambda params: core.cast(params, specs, model.dtype), core.abstract(specs, TRAIN_RULES, mesh)
            ),
            jax.eval_shape(lambda: decode.idle(model, rows, tokens, 9)),
        )
        weights, slots = jax.tree.map(
            lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
            shapes,
            (core.shardings(specs, DECODE_RULES, mesh), placed),
        )
        run = jax.jit(
            lambda params, slots: decode.decode_window(params, model, slots, steps, truncates=False),
            donate_argnums=1,
            out_shardings=(placed, replicated(mesh)),
        )
        return run.lower(weights, slots).compile()


def qwen_7b() -> Any:
    """The update of `zero:hf` on 8 chips: 16 microbatches of 32 rows of 2,560 tokens, bfloat16, rematerialised."""
    model = dataclasses.replace(PRESETS["qwen2_5_7b"], dtype="bfloat16", remat=True)
    return update(model, tpu_mesh("v5p:2x2x2", fsdp=8), 512, 2560, 16)


def qwen_7b_decode(topology: str, **sizes: int) -> Any:
    """A window of 32 steps of `zero:hf`'s sampling on 8 chips: 512 sequences of up to 2,560 tokens, bfloat16."""
    model = dataclasses.replace(PRESETS["qwen2_5_7b"], dtype="bfloat16")
    return decode_window(model, tpu_mesh(topology, **sizes), 512, 2560, 32)


def v3_layer(tokens: int, topology: str, experts: int) -> Any:
    """Forward and backward pass of one layer with DeepSeek-V3's experts; one row a chip, each chip its share of them.

    The vocabulary is cut to 8,192, for the table of embeddings is no part of the layer.
    """
    v3 = PRESETS["deepseek_v3"]
    moe = dataclasses.replace(v3.moe, first_dense=0)
    changes = {"num_layers": 1, "mtp_depth": 0, "vocab_size": 8192, "moe": moe}
    model = dataclasses.replace(v3, dtype="bfloat16", remat=True, **changes)
    return gradient_of_layers(model, tpu_mesh(topology, expert=experts), experts, tokens)


@dataclasses.dataclass(frozen=True)
class Program:
    """A program of the table.

    Attributes:
        compile: makes it.
        chip: a key of `hlo.CHIPS`.
        turns: at most, of a loop whose number is known only at run time.
    """

    compile: Callable[[], Any]
    chip: str = "v5p"
    turns: int = 1


PROGRAMS = {
    "qwen-7b": Program(qwen_7b, turns=16),
    "qwen-7b-decode": Program(lambda: qwen_7b_decode("v5p:2x2x2", fsdp=8)),
    "qwen-7b-decode-v6e": Program(lambda: qwen_7b_decode("v6e:2x4", fsdp=8), "v6e"),
    "qwen-7b-decode-v5e-tensor-4": Program(lambda: qwen_7b_decode("v5e:2x4", fsdp=2, tensor=4), "v5e"),
    "v3-layer-4k-expert-8": Program(lambda: v3_layer(4096, "v5p:2x2x2", 8)),
    "v3-layer-32k-expert-8": Program(lambda: v3_layer(32_768, "v5p:2x2x2", 8)),
    "v3-layer-32k-expert-32": Program(lambda: v3_layer(32_768, "v5p:2x4x4", 32)),
}
HEADER = """\
| program | moved on a chip, GB | TFLOP | HBM traffic, GB | roofline, s | links, s | temporaries, GiB | all, GiB |
|---|---|---|---|---|---|---|---|"""


def row(name: str, program: Program, text: str, temporaries: int, total: int) -> str:
    """A program's line of the table; GB are 10^9 bytes.

    Args:
        text: of the compiled program.
        temporaries: bytes on a chip.
        total: bytes on a chip, arguments and results included.
    """
    sums: collections.Counter[str] = collections.Counter()
    for each in hlo.collectives(text, program.turns):
        sums[f"{each.kind} {each.dtype}"] += each.size * each.times
    moved = ", ".join(f"{kind} {size / 1e9:.1f}" for kind, size in sorted(sums.items()) if size >= 5e7)
    cost = hlo.cost(text, hlo.CHIPS[program.chip], program.turns)
    work = f"{cost.flops / 1e12:,.0f} | {cost.traffic / 1e9:,.0f} | {cost.seconds:.3g} | {cost.link_seconds:.2g}"
    return f"| {name} | {moved} | {work} | {temporaries / 2**30:.1f} | {total / 2**30:.1f} |"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="*", metavar="program", help=", ".join(PROGRAMS))
    parser.add_argument("--plain", action="store_true", help="attention in plain JAX, as it was before the kernels")
    args = parser.parse_args(argv)
    names = args.programs or list(PROGRAMS)
    if unknown := set(names) - set(PROGRAMS):
        parser.error(f"no program {', '.join(sorted(unknown))}; there are {', '.join(PROGRAMS)}")
    if args.plain:
        attention.kernels_for = lambda *_: None
    print(HEADER, flush=True)
    for name in names:
        compiled = PROGRAMS[name].compile()
        temporaries = compiled.memory_analysis().temp_size_in_bytes
        print(row(name, PROGRAMS[name], compiled.as_text(), temporaries, bytes_a_device(compiled)), flush=True)


if __name__ == "__main__":
    main()
