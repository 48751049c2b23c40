"""What a run says it will need: shapes over the mesh to the byte, activations near what the compiler allots."""

import dataclasses

import jax
import numpy as np
import pytest

from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES, MeshConfig, make_mesh
from r1jax.data.batching import Batch
from r1jax.losses.auxiliary import AuxiliaryConfig
from r1jax.losses.supervised import cross_entropy_loss
from r1jax.models.config import MoEConfig
from r1jax.models.transformer import param_specs
from r1jax.training import plan, state
from r1jax.training.state import OptimizerConfig
from r1jax.training.step import make_update


def test_bytes_are_those_of_one_device(tiny):
    """Weights are cut over fsdp but for norms and heads' vectors; Adam has two of each; a cache is cut by its rows."""
    specs, devices = param_specs(tiny), jax.devices()
    tx = state.make_optimizer(OptimizerConfig(), specs, 10)
    for fsdp in (1, 4):
        mesh = make_mesh(MeshConfig(fsdp=fsdp), devices[:fsdp])
        abstract = state.abstract_state(specs, tx, mesh)
        whole = sum(
            4 * np.prod(s.shape) / (fsdp if "embed" in s.axes else 1)
            for s in jax.tree.leaves(specs, is_leaf=lambda node: isinstance(node, core.ParamSpec))
        )
        kept = plan.kept_bytes(abstract, core.abstract(specs, TRAIN_RULES, mesh))
        assert kept["weights"] == kept["reference"] == whole
        assert kept["optimiser"] == pytest.approx(2 * whole, abs=16)  # and its counters
        assert plan.kept_bytes(abstract)["reference"] == 0
        model = dataclasses.replace(tiny, dtype="bfloat16")
        copy, cache = plan.sampler_bytes(model, mesh, 8, 64).values()
        assert copy == 2 * core.count(specs)  # whole on each device, in the sampler's type
        heads = 2 * tiny.num_layers * 8 * tiny.num_kv_heads * 64 / fsdp
        assert cache == 2 * heads * tiny.head_dim
        smaller, cache = plan.sampler_bytes(model, mesh, 8, 64, "int8", "int8").values()
        assert copy / 2 < smaller < copy  # the embedding stays, and each output has a scale
        assert cache == heads * (tiny.head_dim + 4)


def test_activations_are_near_what_the_compiler_allots(tiny, mesh1):
    specs = param_specs(tiny)
    tx = state.make_optimizer(OptimizerConfig(), specs, 10)
    update = make_update(lambda p, b: cross_entropy_loss(p, tiny, b, 32, AuxiliaryConfig()), tx, specs, mesh1)
    ints, floats = (jax.ShapeDtypeStruct((32, 128), dtype) for dtype in (np.int32, np.float32))
    with jax.set_mesh(mesh1):
        compiled = update.lower(state.abstract_state(specs, tx, mesh1), Batch(ints, ints, ints, ints, floats)).compile()
    allotted = compiled.memory_analysis().temp_size_in_bytes
    assert plan.activation_bytes(tiny, 32, 128, 32, mesh1) == pytest.approx(allotted, rel=0.35)


def test_of_experts_only_those_that_a_token_goes_to_are_work(tiny):
    moe = MoEConfig(num_experts=8, top_k=2, expert_dim=16, num_shared=1)
    few = core.count(param_specs(dataclasses.replace(tiny, moe=dataclasses.replace(moe, num_experts=2))))
    used = plan.used_parameters(dataclasses.replace(tiny, moe=moe))
    routers = tiny.num_layers * 6 * (tiny.embed_dim + 1)  # a row and a bias of each expert
    assert few <= used <= few + routers
    assert plan.used_parameters(tiny) == core.count(param_specs(tiny))


def test_the_first_lines_name_devices_mesh_memory_by_its_parts_and_the_work(mesh8, capsys):
    updating = {"gradients": 4_000_000, "activations": 1_200_000_000}
    plan.say_plan(
        mesh8,
        {"weights": 4_000_000, "reference": 0},
        {"sampling": {"cache": 3_000_000}, "updating": {"weights": 4_000_000, **updating}},  # which count once
        f"8 rows; {plan.flops(2.5e12)}",
    )
    assert capsys.readouterr().out.splitlines() == [
        "devices: 8 x cpu; mesh: data 2 x fsdp 2 x tensor 2",
        "memory: about 1.21 GB a device while updating, besides the program itself: weights 4.0 MB, gradients 4.0 MB, "
        "activations 1.20 GB; 9.66 GB for this process's devices, which share its memory",
        "a step: 8 rows; 2.5 TFLOP",
    ]
