"""Options of the objective that are other algorithms', by hand: RLOO's baseline, GSPO's ratio, CISPO's surrogate."""

import jax
import numpy as np
import pytest

from r1jax.data.batching import Batch
from r1jax.losses.config import GRPOConfig
from r1jax.losses.grpo import group_advantages, log_ratios, surrogate


def test_the_baseline_may_be_the_mean_of_the_others():
    rewards = np.array([[1.0, 0.0, 0.0, 3.0], [2.0, np.nan, 0.0, 4.0], [np.nan, 1.0, np.nan, np.nan]])
    # 1 - (0 + 0 + 3) / 3, 0 - (1 + 0 + 3) / 3, ...; 2 - (0 + 4) / 2, ...; one alone has no others
    expected = [[0.0, -4 / 3, -4 / 3, 8 / 3], [0.0, 0.0, -3.0, 3.0], [0.0] * 4]
    np.testing.assert_allclose(group_advantages(rewards, False, "leave_one_out"), expected, rtol=1e-6, atol=1e-7)
    # divided by the same deviation as the group's own advantages
    both = [group_advantages(rewards, True, baseline) for baseline in ("leave_one_out", "group")]
    np.testing.assert_allclose(both[0][0], both[1][0] * 4 / 3, rtol=1e-6)


def test_the_ratio_may_be_the_geometric_mean_over_a_completion():
    """A prompt's token and two completions in a row, then padding."""
    segments, weights = np.array([[1, 1, 1, 2, 2, 0]]), np.array([[0, 0.5, 0.5, 0.2, 0.2, 0]], np.float32)
    batch = Batch(segments, segments, segments, segments, weights)
    now, old = np.array([[0, -1.0, -2.0, -3.0, -1.0, 0]]), np.array([[5.0, -2.0, -2.0, -3.5, -3.5, 0]])
    both = jax.jit(lambda now: [log_ratios(now, old, batch, level) for level in ("token", "sequence")])
    of_tokens, of_completions = both(now)
    np.testing.assert_allclose(of_tokens, now - old, rtol=1e-6)
    np.testing.assert_allclose(of_completions, [[0.5, 0.5, 0.5, 1.5, 1.5, 0.0]], rtol=1e-6)


def test_every_token_may_have_a_gradient_of_its_clipped_ratio():
    """Derivatives in the log-prob: clipped ratio x advantage, and for PPO's surrogate 0 where the clip holds."""
    ratio, advantages = np.array([0.5, 1.0, 3.0, 3.0]), np.array([1.0, 2.0, 1.0, -1.0])
    old = np.array([-1.0, -2.0, -3.0, -4.0])

    def derivative(name):
        cfg = GRPOConfig(clip_low=0.2, clip_high=0.4, surrogate=name)

        def value(logprobs):
            return surrogate(jax.numpy.exp(logprobs - old), advantages, cfg, logprobs)[0].sum()

        return jax.jit(jax.grad(value))(old + np.log(ratio))

    np.testing.assert_allclose(derivative("cispo"), [0.8, 2.0, 1.4, -1.4], rtol=1e-5)
    np.testing.assert_allclose(derivative("clip"), [0.5, 2.0, 0.0, -3.0], rtol=1e-5)


def test_a_dual_clip_is_ppos_alone():
    with pytest.raises(ValueError, match=r"dual_clip=2\.0 bounds the surrogate .clip. alone; set it to 0 for cispo"):
        GRPOConfig(surrogate="cispo", dual_clip=2.0)
