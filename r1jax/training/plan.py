"""Plan of a run, printed in its first lines: devices, memory by its parts, and the work of a step.

Weights, optimiser, sampler and cache are counted exactly, from shapes and shardings. Activations are reckoned from the
blocks' shapes, roughly: the compiler fuses some away and keeps others twice. The process itself, compiled programs and
what the grader processes take are not in it. On two CPU devices the trainer of `configs/zero.py:mini` peaked at 4.69 GB
of resident memory; 3.56 GB were expected, and 1.2 GB is what the process takes between updates.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from r1jax.core import params as core
from r1jax.core.params import Params
from r1jax.core.quantization import narrow, narrow_shardings
from r1jax.core.sharding import DECODE_RULES, TRAIN_RULES
from r1jax.io.console import say
from r1jax.models import cache as kv
from r1jax.models.attention import QUERIES, SCORE_BYTES
from r1jax.models.config import ModelConfig
from r1jax.models.transformer import param_specs
from r1jax.training.state import TrainState


def nbytes(tree: Any) -> int:
    """Bytes on one device of a tree of arrays, or of shapes with shardings."""
    return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def kept_bytes(state: TrainState, reference: Params | None = None) -> dict[str, int]:
    """Bytes on one device that a run holds throughout."""
    return {"weights": nbytes(state.params), "optimiser": nbytes(state.opt_state), "reference": nbytes(reference)}


def update_bytes(
    model: ModelConfig, mesh: Mesh, state: TrainState, rows: int, tokens: int, chunk: int, microbatches: int
) -> dict[str, int]:
    """Bytes on one device that an update adds, with `rows` rows at a time; see `activation_bytes`."""
    copies = 1 if microbatches == 1 else 2  # the sum, and what is added to it
    return {
        "gradients": copies * nbytes(state.params),
        "activations": activation_bytes(model, rows, tokens, chunk, mesh),
    }


def sampler_bytes(
    model: ModelConfig, mesh: Mesh, slots: int, length: int, weight_type: str = "", cache_type: str = ""
) -> dict[str, int]:
    """Bytes on one device that sampling adds: the weights in the sampler's types and layout, and the cache.

    Args:
        weight_type: see `SamplingConfig`.
        cache_type: see there.
    """
    specs, layout = param_specs(model), kv.Layout(dtype=cache_type)

    def placed(shapes: Any, shardings: Any) -> Any:
        return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings)

    weights = jax.eval_shape(
        lambda params: narrow(params, specs, model.dtype, weight_type),
        core.abstract(specs, DECODE_RULES, mesh),
    )
    cache = jax.eval_shape(lambda: kv.empty(model, slots, length, DECODE_RULES, layout))
    return {
        "sampler's copy of the weights": nbytes(
            placed(weights, narrow_shardings(specs, DECODE_RULES, mesh, weight_type))
        ),
        f"cache of {slots} x {length} tokens": nbytes(placed(cache, kv.shardings(model, layout, DECODE_RULES, mesh))),
    }


def activation_bytes(model: ModelConfig, rows: int, tokens: int, chunk: int, mesh: Mesh) -> int:
    """Bytes on one device, roughly, that a backward pass over `rows` x `tokens` holds.

    Args:
        chunk: positions a row whose logits exist at a time; 0: no logits are made.
    """
    rows, keys, tokens = (
        -(-rows // TRAIN_RULES.ways("batch", mesh)),
        tokens,
        -(-tokens // TRAIN_RULES.ways("length", mesh)),
    )
    D, N, K, H = model.embed_dim, model.num_heads, model.num_kv_heads, model.head_dim
    inner = model.mlp_dim
    if model.moe:
        inner = (model.moe.top_k + model.moe.num_shared) * model.moe.expert_dim
    tensor = TRAIN_RULES.ways("mlp", mesh)
    # Each of an element's inputs to a product or a non-linearity is kept: of a block the stream twice and its two
    # norms; queries, keys and values before and after rotation, and what attention gives; gate, up, and their products.
    width = 4 * D + (3 * N * H + 4 * K * H + 4 * inner) // tensor
    size = jax.numpy.dtype(model.dtype).itemsize
    # Scores in float32, before and after the exponential; those of long inputs are made again, a piece at a time.
    is_long = tokens > QUERIES
    scores = 2 * SCORE_BYTES if is_long else 2 * 4 * rows * N // tensor * tokens * keys
    block = rows * tokens * width * size + scores
    if model.remat:
        # Of each layer its input, and what attention returns (`attention.is_attention_kernel`).
        returned = D + N * (model.mla.v_dim if model.mla else H) // tensor
        activations = model.num_layers * rows * tokens * returned * size + block
    else:
        activations = model.num_layers * (block - scores if is_long else block) + scores
    logits = 4 * 4 * rows * min(chunk, tokens) * model.vocab_size // tensor  # logits, probabilities, their gradients
    return activations + logits


def used_parameters(model: ModelConfig) -> int:
    """Parameters that a token is multiplied with: of routed experts its own share."""
    specs = jax.tree.leaves(param_specs(model), is_leaf=lambda node: isinstance(node, core.ParamSpec))
    share = model.moe.top_k / model.moe.num_experts if model.moe else 1.0
    return round(sum(math.prod(s.shape) * (share if "experts" in s.axes else 1.0) for s in specs))


def amount(size: float) -> str:
    """15_400_000 -> "15.4 MB"."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def say_plan(mesh: Mesh, always: Mapping[str, int], phases: Mapping[str, Mapping[str, int]], step: str) -> None:
    """Prints the devices, the memory that a run needs on each of them, and the work of a step.

    Args:
        always: bytes on one device, by name, of what is there throughout.
        phases: of what a phase has, by phase; what is in `always` too counts once. The largest decides.
        step: the work of one step, in words.
    """
    devices = mesh.devices.flatten()
    kinds = ", ".join(sorted({device.device_kind for device in devices}))
    axes = " x ".join(f"{name} {size}" for name, size in mesh.shape.items() if size > 1) or "one device"
    processes = f", {jax.process_count()} processes" if jax.process_count() > 1 else ""
    platform = devices[0].platform if kinds != devices[0].platform else ""
    say(f"devices: {len(devices)} x {f'{kinds} ({platform})' if platform else kinds}; mesh: {axes}{processes}")
    sizes = {phase: {**always, **parts} for phase, parts in phases.items()}
    phase = max(sizes, key=lambda phase: sum(sizes[phase].values()))
    total = sum(sizes[phase].values())
    named = ", ".join(f"{name} {amount(size)}" for name, size in sizes[phase].items() if size)
    here = sum(device.process_index == jax.process_index() for device in devices)
    shared = f"; {amount(total * here)} for this process's devices, which share its memory"
    say(
        f"memory: about {amount(total)} a device while {phase}, besides the program itself: {named}"
        + (shared if devices[0].platform == "cpu" and here > 1 else "")
    )
    say(f"a step: {step}")


def flops(count: float) -> str:
    """2.5e12 -> "2.5 TFLOP"."""
    for unit, name in ((1e15, "PFLOP"), (1e12, "TFLOP")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count / 1e9:.3g} GFLOP"
