"""Programs of sampling: the weights' copy in decoding's layout, prefill, fork, a window of decode steps."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from r1jax.core.params import Params
from r1jax.core.sharding import DECODE_RULES, batch_shards, replicated
from r1jax.data.batching import row_length
from r1jax.inference import decode
from r1jax.inference.config import SamplingConfig
from r1jax.inference.programs import Programs
from r1jax.models import cache as kv
from r1jax.models.config import ModelConfig
from r1jax.planning.program import Lengths, Program, array, forward_flops
from r1jax.training import plan

COPY, CACHE, PROMPTS = "decoding's copy of the weights", "cache", "prompts' cache"


def sampling_programs(
    model: ModelConfig,
    cfg: SamplingConfig,
    mesh: Mesh,
    lengths: Lengths,
    weights: Params,
    prompts: int,
    samples: int,
    held: Mapping[str, Any],
    held_at_reshard: Mapping[str, Any],
) -> list[Program]:
    """The programs of drawing `samples` completions of each of `prompts` prompts, once.

    Args:
        weights: abstract, in any layout: what is copied.
        held: what is in the devices' memory throughout, besides what sampling makes.
        held_at_reshard: the same while the weights are copied, without the weights.

    Raises:
        ValueError: slots or rows that do not divide over the mesh.
    """
    programs = Programs(model, cfg, 1, mesh)
    width = row_length(lengths.prompt, cfg.prompt_bucket or cfg.bucket)
    tokens = array(mesh, DECODE_RULES, jnp.int32, cfg.prefill_rows, width)
    with jax.set_mesh(mesh):
        copy = programs.to_decode_layout.eval_shape(weights)
        slots = programs.idle.eval_shape(lengths.cache(cfg.bucket))
        rows = jax.ShapeDtypeStruct((cfg.prefill_rows,), jnp.int32)
        # What prefill returns, without tracing the model: a search asks for it hundreds of times.
        shapes = jax.eval_shape(lambda cache, rows: kv.resize(kv.take_rows(cache, rows), width), slots.cache, rows)
        of_prompts = jax.tree.map(
            lambda x, like: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=like.sharding), shapes, slots.cache
        )
    truncates = bool(cfg.truncation.top_k or cfg.truncation.top_p < 1)
    ways, total = batch_shards(mesh, DECODE_RULES), prompts * samples
    windows = max(total * lengths.mean / cfg.slots, lengths.mean) / programs.window_tokens
    # Of a window, a device's share: every weight and the used cache once a step, and products with all weights.
    steps, tensor = cfg.window, DECODE_RULES.ways("mlp", mesh)
    of_decode = 2 * plan.used_parameters(model) * cfg.slots / ways / tensor * steps
    return [
        Program(
            "copy of the weights for decoding",
            "sampling",
            lambda: programs.to_decode_layout.lower(weights),
            {"weights": weights},
            held_at_reshard,
            reckoned={COPY: plan.nbytes(copy)},
            traffic=plan.nbytes(weights) + plan.nbytes(copy),
        ),
        Program(
            "prefill",
            "sampling",
            lambda: programs.prefill.lower(copy, tokens),
            {COPY: copy, "batch": tokens},
            {**held, CACHE: slots},
            calls=-(-prompts // cfg.prefill_rows),
            reckoned={PROMPTS: plan.nbytes(of_prompts)},
            flops=forward_flops(model, cfg.prefill_rows / ways, width) / tensor,
        ),
        Program(
            "fork of prompts into slots",
            "sampling",
            lambda: programs.fork.lower(slots, of_prompts, *_fork_arguments(programs, mesh)),
            {CACHE: slots, PROMPTS: of_prompts},
            {**held, COPY: copy},
            calls=-(-total // programs.fork_size),
        ),
        Program(
            "window of decode steps",
            "sampling",
            lambda: programs.decode.lower(copy, slots, truncates, False),
            {COPY: copy, CACHE: slots},
            {**held, PROMPTS: of_prompts},
            calls=windows,
            flops=of_decode,
            traffic=steps * (plan.nbytes(copy) + plan.nbytes(slots)),
        ),
    ]


def _fork_arguments(programs: Programs, mesh: Mesh) -> list[Any]:
    """Abstract arguments of a fork, but for the slots and the prompts."""
    F, whole = programs.fork_size, replicated(mesh)

    def some(dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((F, *shape), dtype, sharding=whole)

    number, ratio = some(jnp.int32), some(jnp.float32)
    limits = decode.Limits(ratio, number, ratio, some(jnp.int32, programs.max_stop_ids))
    return [*[number] * 5, some(jnp.uint32, decode.MAX_KEY_WORDS), number, limits]
