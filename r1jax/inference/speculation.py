"""Speculative decoding with multi-token prediction: a draft of the next token is checked beside the newest one.

A step runs the model on two tokens, the newest and a draft of its successor (DeepSeek-V3, arXiv 2412.19437, sections
2.2 and 5.4.3). Each token is drawn by the noise of its own position, as without drafts; where the first one drawn is
the draft, the second counts too. So what is sampled is what would be sampled without drafts, up to the rounding of
products of other shapes. The draft is drawn from the prediction block by the same noise as the token that it is a guess
of: two near distributions then nearly always give the same token.
"""

import dataclasses

import jax
import jax.numpy as jnp

from r1jax.core.params import Params
from r1jax.core.sharding import DECODE_RULES
from r1jax.inference.decode import Sampled, Slots, likelihood, remaining_after, sample, unembed
from r1jax.models.config import ModelConfig
from r1jax.models.transformer import draft_states, forward


def speculative_window(
    params: Params, cfg: ModelConfig, slots: Slots, steps: int, truncates: bool = True, top: int = 0
) -> tuple[Slots, Sampled]:
    """`decode_window` with drafts: busy slots advance by one or two tokens in each of `steps` steps.

    Returns:
        The slots, and what was drawn, two entries a step; the second is active where the draft was right.
    """

    def step(slots: Slots, _):
        def draw(logits_BV: jax.Array, position_B: jax.Array) -> tuple[jax.Array, jax.Array]:
            keys = jax.vmap(jax.random.fold_in)(slots.key, position_B)
            return sample(logits_BV, keys, slots.limits, truncates)

        # The newest token and its draft. A wrong draft's keys and values are overwritten by the next step.
        positions_BT = slots.position[:, None] + jnp.arange(2)
        tokens_BT = jnp.stack([slots.token, slots.draft], axis=1)
        hidden, cache, _ = forward(params, cfg, tokens_BT, positions_BT, cache=slots.cache, rules=DECODE_RULES)
        logits = unembed(params, cfg, hidden.reshape(-1, hidden.shape[-1])).reshape(*tokens_BT.shape, -1)
        first, first_logprob = draw(logits[:, 0], positions_BT[:, 0])
        second, second_logprob = draw(logits[:, 1], positions_BT[:, 1])
        # The first always counts, the second where it follows the token that was drawn.
        has_first = slots.remaining > 0
        remaining = remaining_after(first, slots.remaining, slots.limits)
        first_ended = has_first & (remaining == 0)
        has_second = (remaining > 0) & (first == slots.draft)
        remaining = jnp.where(has_second, remaining_after(second, remaining, slots.limits), remaining)
        ended = jnp.stack([first_ended, has_second & (remaining == 0)])
        token = jnp.where(has_second, second, jnp.where(has_first, first, slots.token))
        position = slots.position + has_first + has_second
        # The next draft, of what follows the newest token.
        drawn = jnp.stack([first, second], axis=1)
        states, cache = draft_states(params, cfg, hidden, drawn, positions_BT, cache, DECODE_RULES)
        state = jnp.where(has_second[:, None], states[:, 1], states[:, 0])
        draft, _ = draw(unembed(params, cfg, state), position)
        new = dataclasses.replace(
            slots, cache=cache, token=token, position=position, remaining=remaining, draft=draft.astype(jnp.int32)
        )
        logprobs, active = jnp.stack([first_logprob, second_logprob]), jnp.stack([has_first, has_second])
        chances = likelihood(logits.swapaxes(0, 1), drawn.T, top) if top else None
        return new, Sampled(drawn.T, logprobs, active, ended, chances)

    slots, sampled = jax.lax.scan(step, slots, length=steps)
    return slots, jax.tree.map(lambda x: x.reshape(2 * steps, *x.shape[2:]), sampled)
