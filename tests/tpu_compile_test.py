"""DeepSeek-V3 at its real size compiles for real TPU slices and fits them: on any machine, without one, by libtpu.

What this does not show: speed, and that the compiled program runs.
"""

import dataclasses
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh

from r1jax.core import params as core
from r1jax.core.config import MESH_AXES
from r1jax.core.sharding import DECODE_RULES, TRAIN_RULES, replicated
from r1jax.data.batching import Batch
from r1jax.inference import decode
from r1jax.losses.auxiliary import AuxiliaryConfig
from r1jax.losses.grpo import GRPOConfig, grpo_loss
from r1jax.models import cache as kv
from r1jax.models.config import PRESETS
from r1jax.models.logits import Truncation
from r1jax.models.transformer import param_specs
from r1jax.training import state
from r1jax.training.step import make_update

V3 = PRESETS["deepseek_v3"]
GiB = 2**30
V5P = 95 * GiB  # of HBM a chip


@pytest.fixture(scope="module")
def chips():
    """512 chips of a v5p slice."""
    pytest.importorskip("libtpu", reason="needs the package libtpu: pip install libtpu")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # or it asks a cloud that is not there
    # The cache of compiled programs asks an executable for devices that these have not.
    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    yield np.array(topologies.get_topology_desc(platform="tpu", topology_name="v5p:8x8x8").devices)
    jax.config.update("jax_enable_compilation_cache", before)


def mesh_of(chips, data=1, fsdp=1, expert=1, context=1, tensor=1) -> Mesh:
    return Mesh(chips.reshape(data, fsdp, expert, context, tensor), MESH_AXES, axis_types=(AxisType.Auto,) * 5)


def bytes_a_chip(compiled) -> float:
    memory = compiled.memory_analysis()
    used = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return used + memory.temp_size_in_bytes


@pytest.mark.slow
def test_an_update_of_deepseek_v3_fits_512_chips(chips):
    """GRPO on 512 rows of 4,096 tokens: float32 weights and Adam's moments (8 TB) cut over all chips."""
    mesh = mesh_of(chips, fsdp=64, expert=8)
    specs = param_specs(V3)
    tx = state.make_optimizer(state.OptimizerConfig(), specs, 100, ("mtp",))
    rows = TRAIN_RULES.sharding(mesh, ("batch", None))

    def array(dtype, shape=(512, 4096)):
        return jax.ShapeDtypeStruct(
            shape, dtype, sharding=rows if len(shape) == 2 else TRAIN_RULES.sharding(mesh, ("batch",))
        )

    integers = {name: array(jnp.int32) for name in ("tokens", "targets", "positions", "segments")}
    batch = Batch(
        **integers,
        weights=array(jnp.float32),
        advantages=array(jnp.float32, (512,)),
        sampler_logprobs=array(jnp.float32),
        ref_logprobs=array(jnp.float32),
    )

    def loss(params, batch):
        return grpo_loss(params, V3, batch, GRPOConfig(), Truncation(), 256, AuxiliaryConfig(bias_rate=1e-3))

    update, start = make_update(loss, tx, specs, mesh, bias_rate=1e-3), state.abstract_state(specs, tx, mesh)
    with jax.set_mesh(mesh):
        compiled = update.lower(start, batch).compile()
    used = bytes_a_chip(compiled)
    print(f"update: {used / GiB:.1f} GiB a chip")
    assert used < V5P


@pytest.mark.slow
def test_decoding_deepseek_v3_fits_512_chips(chips):
    """A window of decode steps: 2,048 sequences of 8,192 tokens, bfloat16 weights cut over experts and heads."""
    mesh = mesh_of(chips, fsdp=4, expert=32, tensor=4)
    model = dataclasses.replace(V3, mtp_depth=0)
    specs = param_specs(model)
    layout = jax.tree.map(
        lambda spec, sharding: jax.ShapeDtypeStruct(
            spec.shape, jnp.float32 if spec.keep_float32 else jnp.bfloat16, sharding=sharding
        ),
        specs,
        core.shardings(specs, DECODE_RULES, mesh),
        is_leaf=lambda x: isinstance(x, core.ParamSpec),
    )
    rows = DECODE_RULES.sharding(mesh, ("batch",))
    with jax.set_mesh(mesh):
        shapes = jax.eval_shape(lambda: decode.idle(model, 2048, 8192, 9))
    axes = dataclasses.replace(
        shapes,
        cache=kv.KVCache(DECODE_RULES.sharding(mesh, kv.axes(model).k), None),
        token=rows,
        position=rows,
        remaining=rows,
        key=rows,
        limits=decode.Limits(rows, rows, rows, DECODE_RULES.sharding(mesh, ("batch", None))),
    )
    slots = jax.tree.map(lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes, axes)
    whole = replicated(mesh)
    with jax.set_mesh(mesh):
        run = jax.jit(
            lambda params, slots: decode.decode_window(params, model, slots, 16),
            donate_argnums=1,
            out_shardings=(axes, whole),
        )
        compiled = run.lower(layout, slots).compile()
    used = bytes_a_chip(compiled)
    print(f"decode window: {used / GiB:.1f} GiB a chip")
    assert used < V5P
