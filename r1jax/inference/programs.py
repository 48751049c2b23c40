"""The compiled programs of sampling on a mesh: prefill, fork, decode, score, and their arrays' layouts."""

import dataclasses
import functools

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from r1jax.core.params import Params
from r1jax.core.quantization import narrow, narrow_shardings
from r1jax.core.sharding import DECODE_RULES, TRAIN_RULES, batch_shards, replicated
from r1jax.core.shares import Shares, rows_sharding
from r1jax.inference import decode
from r1jax.inference.config import SamplingConfig
from r1jax.inference.speculation import speculative_window
from r1jax.models import cache as kv
from r1jax.models.attention import cache_kernels
from r1jax.models.config import ModelConfig
from r1jax.models.transformer import param_specs, split_stacks

TOP_LOGPROBS = 20  # of the likeliest tokens, the most that OpenAI's protocol asks for
_FREE_STOP_IDS = 8  # that a sequence may have beside the model's own


class Programs:
    """Jitted functions for one model, mesh and sampling config; no weights and no randomness.

    Attributes:
        shares: whose tokens each process reads.
        to_decode_layout: weights in any layout -> those for decoding.
        idle: cache length -> empty slots.
        resize: slots, length -> the same with a cache of that length.
        prefill, fork, take_slots, score: see `r1jax.inference.decode`.
        fewest_slots: that divide over the mesh.
        decode: weights, slots, truncates, likelihood -> a window of steps; the last two choose one of four programs.
        reads_used: whether a decode step reads what is used of the cache, and not all of it.
        window_tokens: the most that a window brings a sequence.
        max_stop_ids: of a sequence.
        fork_size: sequences that one `fork` starts.
    """

    def __init__(
        self, model: ModelConfig, cfg: SamplingConfig, num_eos_ids: int, mesh: Mesh, shares: Shares | None = None
    ):
        """Compiles nothing yet.

        Args:
            shares: of the slots, among the processes; None: all processes read all tokens.

        Raises:
            ValueError: slots or rows that do not divide over the mesh, or drafts without a block that makes them.
        """
        ways = batch_shards(mesh, DECODE_RULES)
        if cfg.slots % ways or cfg.prefill_rows % ways:
            raise ValueError(
                f"sampling.slots={cfg.slots} and sampling.prefill_rows={cfg.prefill_rows} must be multiples of "
                f"the mesh's {DECODE_RULES.named('batch')} = {ways}"
            )
        if cfg.speculative and not model.mtp_depth:
            raise ValueError(
                "sampling.speculative needs a block of multi-token prediction, which this model does not have: "
                "set it to false"
            )
        self.cfg, self.mesh, self.shares = cfg, mesh, shares or Shares.whole()
        self.max_stop_ids, self.fork_size = num_eos_ids + _FREE_STOP_IDS, min(cfg.slots, 16)
        layout = functools.partial(DECODE_RULES.sharding, mesh)
        rows, platform = layout(("batch",)), mesh.devices.flat[0].platform
        by_layer = platform == "cpu"
        cache_layout = kv.Layout(by_layer, cfg.cache_type, more_layers=int(cfg.speculative))
        cache = kv.shardings(model, cache_layout, DECODE_RULES, mesh)
        limits = decode.Limits(rows, rows, rows, layout(("batch", None)))
        slots = decode.Slots(cache, rows, rows, rows, rows, limits, rows if cfg.speculative else None)
        whole = replicated(mesh)
        # Shares are of the rows as training cuts them; decoding may cut them over more axes, and a share's processes.
        read = rows_sharding(mesh, TRAIN_RULES, self.shares, None)
        # Of the blocks of multi-token prediction, the first makes drafts, if it is asked to.
        specs = param_specs(dataclasses.replace(model, mtp_depth=int(cfg.speculative)))
        weights = narrow_shardings(specs, DECODE_RULES, mesh, cfg.weight_type)
        split = by_layer or model.scan_unroll >= model.num_layers or platform == "gpu"
        if split:
            weights = split_stacks(model, weights, lambda x, i: NamedSharding(mesh, PartitionSpec(*x.spec[1:])))

        def to_decode_layout(params: Params) -> Params:
            params = {name: params[name] for name in specs}
            if cfg.speculative:
                params["mtp"] = jax.tree.map(lambda x: x[:1], params["mtp"])
            params = narrow(params, specs, model.dtype, cfg.weight_type)
            return split_stacks(model, params) if split else params

        self.to_decode_layout = jax.jit(to_decode_layout, out_shardings=weights)
        self.idle = jax.jit(
            lambda length: decode.idle(model, cfg.slots, length, self.max_stop_ids, cache_layout),
            static_argnums=0,
            out_shardings=slots,
        )
        self.resize = jax.jit(
            lambda slots, length: dataclasses.replace(slots, cache=kv.resize(slots.cache, length)),
            static_argnums=1,
            out_shardings=slots,
        )
        width, value_width = (
            (model.mla.kv_rank + model.mla.rope_dim, model.mla.kv_rank) if model.mla else (model.head_dim,) * 2
        )
        queries = jax.ShapeDtypeStruct((1, 1 + int(cfg.speculative), model.num_heads, width), model.dtype)
        with jax.set_mesh(mesh):
            some_cache = jax.eval_shape(lambda: kv.empty(model, cfg.slots, cfg.bucket, DECODE_RULES, cache_layout))
            self.reads_used = cache_kernels(queries, some_cache, value_width) is not None
        self.take_slots = jax.jit(decode.take_slots, out_shardings=slots)
        self.fewest_slots = ways
        self.prefill = jax.jit(
            lambda params, tokens: decode.prefill(params, model, tokens, cache_layout), out_shardings=cache
        )
        self.fork = jax.jit(decode.fork, donate_argnums=0, out_shardings=slots)
        window = speculative_window if cfg.speculative else decode.decode_window
        self.window_tokens = cfg.window * (2 if cfg.speculative else 1)
        self.decode = jax.jit(
            lambda params, slots, truncates, likelihood: window(
                params, model, slots, cfg.window, truncates, TOP_LOGPROBS if likelihood else 0
            ),
            static_argnums=(2, 3),
            donate_argnums=1,
            out_shardings=(slots, decode.Sampled(read, read, whole, whole, whole)),
        )
        self.score = jax.jit(
            lambda params, tokens: decode.score(params, model, tokens, TOP_LOGPROBS), out_shardings=whole
        )
