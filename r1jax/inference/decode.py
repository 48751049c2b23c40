"""The device side of sampling, pure functions: prefill a prompt, fork it into slots, decode a window of steps."""

import dataclasses

import jax
import jax.numpy as jnp

from r1jax.core.params import Params
from r1jax.core.sharding import DECODE_RULES, constrain
from r1jax.models import cache as kv
from r1jax.models.cache import KVCache
from r1jax.models.config import ModelConfig
from r1jax.models.logits import RowTruncation, process_rows
from r1jax.models.transformer import draft_states, forward, unembed_table

MAX_KEY_WORDS = 8  # of a sequence's randomness
NO_TOKEN = -1  # in a list of stop ids


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Limits:
    """Settings of B sequences: how each is drawn, and where it ends.

    Attributes:
        temperature: `[B]` float32; 0 is greedy.
        top_k: `[B]` int32; 0 keeps all tokens.
        top_p: `[B]` float32; 1 keeps all tokens.
        stop_ids: `[B, E]` int32; a sequence ends with the first of them. `NO_TOKEN` fills the row up.
    """

    temperature: jax.Array
    top_k: jax.Array
    top_p: jax.Array
    stop_ids: jax.Array


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
        limits: of each sequence.
        draft: `[B]` int32, a guess of what follows `token`, see `speculation.py`; None: nothing is guessed.
    """

    cache: KVCache
    token: jax.Array
    position: jax.Array
    remaining: jax.Array
    key: jax.Array
    limits: Limits
    draft: jax.Array | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Likelihood:
    """Log-probs of the model itself, at temperature 1 and without truncation.

    Attributes:
        chosen: `[...]` float32, of a given token.
        top_ids, top: `[..., N]`, the N likeliest tokens and their log-probs, in descending order.
    """

    chosen: jax.Array
    top_ids: jax.Array
    top: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sampled:
    """Tokens that a window of W steps drew.

    Attributes:
        tokens: `[W, B]` int32.
        logprobs: `[W, B]` float32, under the distribution that was drawn from.
        active: `[W, B]` bool, False where a slot was idle.
        ended: `[W, B]` bool, whether the token is its sequence's last.
        likelihood: `[W, B]`, of the tokens; None where it was not asked for.
    """

    tokens: jax.Array
    logprobs: jax.Array
    active: jax.Array
    ended: jax.Array
    likelihood: Likelihood | None


def idle(cfg: ModelConfig, rows: int, length: int, stop_ids: int, layout: kv.Layout = kv.PLAIN) -> Slots:
    """Empty slots; with room for a draft where the cache has a layer for it.

    Args:
        stop_ids: the most that a sequence may have.
        layout: of the cache.
    """
    zeros = jnp.zeros(rows, jnp.int32)
    ones = jnp.ones(rows, jnp.float32)
    limits = Limits(ones, zeros, ones, jnp.full((rows, stop_ids), NO_TOKEN, jnp.int32))
    keys = jax.random.split(jax.random.key(0), rows)
    draft = zeros if layout.more_layers else None
    return Slots(kv.empty(cfg, rows, length, DECODE_RULES, layout), zeros, zeros, zeros, keys, limits, draft)


def prefill(params: Params, cfg: ModelConfig, tokens_RP: jax.Array, layout: kv.Layout = kv.PLAIN) -> KVCache:
    """Keys and values of R right-padded prompts. Slots past a prompt's end hold rubbish that decoding overwrites."""
    positions = jnp.broadcast_to(jnp.arange(tokens_RP.shape[1]), tokens_RP.shape)
    cache = kv.empty(cfg, *tokens_RP.shape, DECODE_RULES, layout)
    hidden, cache, _ = forward(params, cfg, tokens_RP, positions, cache=cache, rules=DECODE_RULES, one_segment=True)
    if layout.more_layers:
        following = jnp.roll(tokens_RP, -1, axis=1)
        _, cache = draft_states(params, cfg, hidden, following, positions, cache, DECODE_RULES)
    return cache


def fork(
    slots: Slots,
    prompts: KVCache,
    slot: jax.Array,
    row: jax.Array,
    token: jax.Array,
    position: jax.Array,
    remaining: jax.Array,
    key_words: jax.Array,
    num_key_words: jax.Array,
    limits: Limits,
) -> Slots:
    """Starts a sequence in each of F slots from a prefilled prompt.

    A slot begins at its prompt's last token, so that the first sampled token comes out of an ordinary decode step.

    Args:
        prompts: the cache of R prompts of up to P tokens, P at most the slots' length.
        slot: `[F]` int32; an index past the end marks an unused entry.
        row: `[F]` which prompt each is forked from.
        token: `[F]`, see Slots.
        position: `[F]`, see Slots.
        remaining: `[F]`, see Slots.
        key_words: `[F, MAX_KEY_WORDS]` uint32, folded into `jax.random.key(0)` one after the other.
        num_key_words: `[F]` int32, how many of them count.
        limits: `[F]`.
    """

    def derive(words, n):
        return jax.lax.fori_loop(0, n, lambda i, k: jax.random.fold_in(k, words[i]), jax.random.key(0))

    def put_row(all_B, new_F):
        return all_B.at[slot].set(new_F, mode="drop")

    return Slots(
        kv.copy_rows(slots.cache, slot, prompts, row),
        put_row(slots.token, token),
        put_row(slots.position, position),
        put_row(slots.remaining, remaining),
        put_row(slots.key, jax.vmap(derive)(key_words, num_key_words)),
        jax.tree.map(put_row, slots.limits, limits),
        None if slots.draft is None else put_row(slots.draft, token),  # which nobody has guessed yet
    )


def take_slots(slots: Slots, rows: jax.Array) -> Slots:
    """Slots `[N]` that are rows `[N]` of others; a row that is out of range makes an idle one."""
    is_row = (rows >= 0) & (rows < slots.position.shape[0])
    rows = jnp.where(is_row, rows, 0)
    taken = jax.tree.map(lambda x: jnp.take(x, rows, axis=0), dataclasses.replace(slots, cache=None))
    remaining = jnp.where(is_row, taken.remaining, 0)
    return dataclasses.replace(taken, cache=kv.take_rows(slots.cache, rows), remaining=remaining)


def sample(
    logits_BV: jax.Array, keys_B: jax.Array, limits: Limits, truncates: bool = True
) -> tuple[jax.Array, jax.Array]:
    """Draws a token a row by the Gumbel-max rule. Returns tokens and their log-probs under what was drawn from.

    Args:
        truncates: False: the caller knows that no row has a top-k or a top-p.
    """
    greedy = limits.temperature == 0
    temperature = jnp.where(greedy, 1.0, limits.temperature)
    top_k, top_p = (limits.top_k, limits.top_p) if truncates else (None, None)
    logits = process_rows(logits_BV, RowTruncation(temperature, top_k, top_p))
    noise = jax.vmap(lambda k: jax.random.gumbel(k, logits.shape[1:], jnp.float32))(keys_B)
    tokens = jnp.argmax(jnp.where(greedy[:, None], logits_BV.astype(jnp.float32), logits + noise), axis=-1)
    chosen = jnp.take_along_axis(logits, tokens[:, None], axis=-1)[:, 0]
    return tokens, jnp.where(greedy, 0.0, chosen - jax.nn.logsumexp(logits, axis=-1))


def likelihood(logits: jax.Array, tokens: jax.Array, top: int) -> Likelihood:
    """The model's own log-probs of tokens `[...]` under logits `[..., V]`, with those of the `top` likeliest."""
    logprobs = jax.nn.log_softmax(logits.astype(jnp.float32))
    best, ids = jax.lax.top_k(logprobs, min(top, logits.shape[-1]))
    return Likelihood(jnp.take_along_axis(logprobs, tokens[..., None], axis=-1)[..., 0], ids, best)


def unembed(params: Params, cfg: ModelConfig, hidden: jax.Array) -> jax.Array:
    """Logits `[B, V]` float32 of hidden states `[B, D]`."""
    table = unembed_table(params).astype(cfg.dtype)
    logits = jnp.einsum("bd,vd->bv", hidden, table, preferred_element_type=jnp.float32)
    return constrain(logits, DECODE_RULES, "batch", "vocab")


def remaining_after(tokens: jax.Array, remaining: jax.Array, limits: Limits) -> jax.Array:
    """How many tokens each sequence may still have after these: none after a stop id."""
    ended = jnp.any(tokens[:, None] == limits.stop_ids, axis=-1)
    return jnp.where((remaining > 0) & ~ended, remaining - 1, 0)


def decode_window(
    params: Params, cfg: ModelConfig, slots: Slots, steps: int, truncates: bool = True, top: int = 0
) -> tuple[Slots, Sampled]:
    """Advances busy slots by up to `steps` tokens; one stops at a stop id or at its limit of tokens.

    Args:
        truncates: False: the caller knows that no busy slot has a top-k or a top-p.
        top: with how many of the likeliest tokens to report the model's own log-probs; 0: not at all.
    """

    def step(slots: Slots, _):
        hidden, cache, _ = forward(
            params, cfg, slots.token[:, None], slots.position[:, None], cache=slots.cache, rules=DECODE_RULES
        )
        logits = unembed(params, cfg, hidden[:, 0])
        keys = jax.vmap(jax.random.fold_in)(slots.key, slots.position)
        tokens, logprobs = sample(logits, keys, slots.limits, truncates)
        active = slots.remaining > 0
        remaining = remaining_after(tokens, slots.remaining, slots.limits)
        new = dataclasses.replace(
            slots,
            cache=cache,
            token=jnp.where(active, tokens, slots.token),
            position=jnp.where(active, slots.position + 1, slots.position),
            remaining=remaining,
        )
        chances = likelihood(logits, tokens, top) if top else None
        return new, Sampled(tokens, logprobs, active, active & (remaining == 0), chances)

    return jax.lax.scan(step, slots, length=steps)


def score(params: Params, cfg: ModelConfig, tokens_RP: jax.Array, top: int, chunk: int = 32) -> Likelihood:
    """The model's own log-probs `[R, P - 1]` of each token after the first, given those before it.

    Logits `[R, P, V]` never exist: `chunk` positions at a time are unembedded.
    """
    R, P = tokens_RP.shape
    positions = jnp.broadcast_to(jnp.arange(P), tokens_RP.shape)
    hidden = forward(params, cfg, tokens_RP, positions, rules=DECODE_RULES).hidden[:, :-1]
    pad = -(P - 1) % chunk
    hidden_CRD = jnp.moveaxis(jnp.pad(hidden, ((0, 0), (0, pad), (0, 0))).reshape(R, -1, chunk, hidden.shape[-1]), 1, 0)
    tokens_CRT = jnp.moveaxis(jnp.pad(tokens_RP[:, 1:], ((0, 0), (0, pad))).reshape(R, -1, chunk), 1, 0)

    def of_chunk(args):
        hidden_RTD, tokens_RT = args
        logits = unembed(params, cfg, hidden_RTD.reshape(-1, hidden.shape[-1]))
        return jax.tree.map(lambda x: x.reshape(R, chunk, *x.shape[1:]), likelihood(logits, tokens_RT.reshape(-1), top))

    chunks = jax.lax.map(of_chunk, (hidden_CRD, tokens_CRT))
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(R, -1, *x.shape[3:])[:, : P - 1], chunks)
