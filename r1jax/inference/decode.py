"""The device side of sampling, pure functions: prefill a prompt, fork it into slots, decode a window of steps."""

import dataclasses

import jax
import jax.numpy as jnp

from r1jax.core.params import Params
from r1jax.core.sharding import DECODE_RULES, constrain
from r1jax.models import cache as kv
from r1jax.models.cache import KVCache
from r1jax.models.config import ModelConfig
from r1jax.models.logits import Truncation, process
from r1jax.models.transformer import forward, unembed_table


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Slots:
    """B sequences being decoded.

    Attributes:
        cache: keys and values of everything before `token`.
        token: `[B]` int32, the newest token, not yet in the cache.
        position: `[B]` int32, where `token` stands.
        remaining: `[B]` int32, how many tokens may still be sampled; 0 is an idle slot.
        key: `[B]` keys; a token's noise depends on its slot's key and its position, and on nothing else in the batch.
    """

    cache: KVCache
    token: jax.Array
    position: jax.Array
    remaining: jax.Array
    key: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sampled:
    """What a window of W steps drew: tokens and their log-probs `[W, B]`; `active` is False where a slot was idle."""

    tokens: jax.Array
    logprobs: jax.Array
    active: jax.Array


def idle(cfg: ModelConfig, rows: int, length: int) -> Slots:
    """Slots with nothing in them."""
    zeros = jnp.zeros(rows, jnp.int32)
    keys = jax.random.split(jax.random.key(0), rows)
    return Slots(kv.empty(cfg, rows, length, DECODE_RULES), zeros, zeros, zeros, keys)


def prefill(params: Params, cfg: ModelConfig, tokens_RP: jax.Array) -> KVCache:
    """Keys and values of R right-padded prompts. Slots past a prompt's end hold rubbish that decoding overwrites."""
    positions = jnp.broadcast_to(jnp.arange(tokens_RP.shape[1]), tokens_RP.shape)
    cache = kv.empty(cfg, *tokens_RP.shape, DECODE_RULES)
    return forward(params, cfg, tokens_RP, positions, cache=cache, rules=DECODE_RULES).cache


def fork(
    slots: Slots,
    prompts: KVCache,
    slot: jax.Array,
    row: jax.Array,
    token: jax.Array,
    position: jax.Array,
    remaining: jax.Array,
    key_words: jax.Array,
    key: jax.Array,
) -> Slots:
    """Starts a sequence in each of F slots from a prefilled prompt.

    A slot begins at its prompt's last token, so that the first sampled token comes out of an ordinary decode step.

    Args:
        prompts: `[L, R, K, P, H]` of R prompts, P at most the slots' length.
        slot: `[F]` int32; an index past the end marks an unused entry.
        row: `[F]` which prompt each is forked from.
        token, position, remaining: `[F]`, see Slots.
        key_words: `[F, 3]` uint32, folded into `key` one after the other.
    """

    def put(all_LBKSH, new_LRKPH):
        return all_LBKSH.at[:, slot, :, : new_LRKPH.shape[3]].set(new_LRKPH[:, row], mode="drop")

    def derive(words):
        return jax.lax.fori_loop(0, words.shape[0], lambda i, k: jax.random.fold_in(k, words[i]), key)

    return Slots(
        jax.tree.map(put, slots.cache, prompts),
        slots.token.at[slot].set(token, mode="drop"),
        slots.position.at[slot].set(position, mode="drop"),
        slots.remaining.at[slot].set(remaining, mode="drop"),
        slots.key.at[slot].set(jax.vmap(derive)(key_words), mode="drop"),
    )


def sample(logits_BV: jax.Array, keys_B: jax.Array, truncation: Truncation) -> tuple[jax.Array, jax.Array]:
    """Draws a token a row by the Gumbel-max rule. Returns tokens and their log-probs under what was drawn from."""
    if truncation.temperature == 0:
        return jnp.argmax(logits_BV, axis=-1), jnp.zeros(logits_BV.shape[0], jnp.float32)
    logits = process(logits_BV, truncation)
    noise = jax.vmap(lambda k: jax.random.gumbel(k, logits.shape[1:], jnp.float32))(keys_B)
    tokens = jnp.argmax(logits + noise, axis=-1)
    chosen = jnp.take_along_axis(logits, tokens[:, None], axis=-1)[:, 0]
    return tokens, chosen - jax.nn.logsumexp(logits, axis=-1)


def decode_window(
    params: Params, cfg: ModelConfig, slots: Slots, truncation: Truncation, eos_ids: tuple[int, ...], steps: int
) -> tuple[Slots, Sampled]:
    """Advances busy slots by up to `steps` tokens; one stops at an end-of-sequence id or at its limit of tokens."""
    table = unembed_table(params).astype(cfg.dtype)

    def step(slots: Slots, _):
        hidden, cache, _ = forward(
            params, cfg, slots.token[:, None], slots.position[:, None], cache=slots.cache, rules=DECODE_RULES
        )
        logits = jnp.einsum("bd,vd->bv", hidden[:, 0], table, preferred_element_type=jnp.float32)
        logits = constrain(logits, DECODE_RULES, "batch", "vocab")
        tokens, logprobs = sample(logits, jax.vmap(jax.random.fold_in)(slots.key, slots.position), truncation)
        active = slots.remaining > 0
        ended = jnp.isin(tokens, jnp.array(eos_ids))
        new = Slots(
            cache,
            jnp.where(active, tokens, slots.token),
            jnp.where(active, slots.position + 1, slots.position),
            jnp.where(active & ~ended, slots.remaining - 1, 0),
            slots.key,
        )
        return new, Sampled(tokens, logprobs, active)

    return jax.lax.scan(step, slots, length=steps)
