"""Importance weights between the sampler's probabilities and the trainer's, by hand."""

import jax
import numpy as np
import pytest

from r1jax.losses.config import GRPOConfig
from r1jax.losses.grpo import importance

# Two completions packed in a row, then padding; probabilities of the trainer over those of the sampler.
RATIOS = np.array([[2.0, 0.5, 4.0, 0.1, 3.0, 1.0]])
SEGMENTS = np.array([[1, 1, 1, 2, 2, 0]])


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({"importance_cap": 2.0}, [2, 0.5, 2, 0.1, 2, 1]),
        ({"importance_min": 0.5, "importance_max": 3.0}, [1, 1, 0, 0, 1, 1]),
        ({"importance_min": 0.5, "importance_max": 3.5, "importance_cap": 2.0}, [2, 0.5, 0, 0, 2, 1]),
        ({"importance_level": "sequence", "importance_cap": 3.0}, [3, 3, 3, 0.3, 0.3, 1]),  # 2 x 0.5 x 4 and 0.1 x 3
        ({"importance_level": "sequence", "importance_min": 0.5}, [1, 1, 1, 0, 0, 1]),
        ({"importance_level": "sequence", "importance_max": 3.5}, [0, 0, 0, 1, 1, 1]),
    ],
    ids=lambda x: str(x),
)
def test_weights_are_capped_or_left_out_by_token_or_by_completion(settings, expected):
    weights = jax.jit(lambda gap: importance(gap, SEGMENTS, GRPOConfig(**settings)))(np.log(RATIOS).astype(np.float32))
    np.testing.assert_allclose(weights, [expected], rtol=1e-5)


def test_bounds_that_leave_nothing_are_refused():
    with pytest.raises(ValueError, match=r"importance_max=0\.5 must be above importance_min=0\.8, or 0 for off"):
        GRPOConfig(importance_min=0.8, importance_max=0.5)
