"""Critic of PPO: rewards of tokens, generalised advantage estimates (GAE), and a value network with its updates.

PPO: Schulman et al., arXiv 1707.06347; GAE: arXiv 1506.02438, equations 11 to 16; the KL penalty inside the reward:
InstructGPT, arXiv 2203.02155, section 3.5. A token is a step of the decision process, and nothing is discounted.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from r1jax.core import params as core
from r1jax.core.params import Params
from r1jax.core.sharding import replicated
from r1jax.data.batching import Batch, take_rows, to_device, unpack_rows
from r1jax.models import reward, transformer
from r1jax.models.config import ModelConfig
from r1jax.stages.config import RLConfig
from r1jax.stages.rl_batch import minibatches, packed
from r1jax.training import state
from r1jax.training.config import OptimizerConfig
from r1jax.training.step import Metrics, make_update


def token_rewards(
    rewards_B: np.ndarray, mask_BT: np.ndarray, logprobs_BT: np.ndarray, reference_BT: np.ndarray | None, beta: float
) -> np.ndarray:
    """Reward of each sampled token, `[B, T]` float64: -beta (log pi - log pi_ref), and at the last one the rollout's.

    Args:
        rewards_B: of each rollout.
        mask_BT: 1 at the positions whose targets were sampled, which lie together in a row; else 0.
        logprobs_BT, reference_BT: of the targets under the policy that drew them and under the reference policy; no
            reference is needed where beta is 0.
    """
    mask = np.asarray(mask_BT, np.float64)
    rewards = np.zeros_like(mask)
    if beta:
        rewards -= beta * np.where(mask > 0, np.asarray(logprobs_BT, np.float64) - reference_BT, 0.0)
    following = np.pad(mask[:, 1:], ((0, 0), (0, 1)))
    return rewards + (mask - following * mask) * np.asarray(rewards_B, np.float64)[:, None]


def generalized_advantages(
    rewards_BT: np.ndarray, values_BT: np.ndarray, mask_BT: np.ndarray, gae_lambda: float
) -> tuple[np.ndarray, np.ndarray]:
    """A_t = delta_t + lambda A_(t+1), delta_t = r_t + V_(t+1) - V_t, and the targets of the values, A_t + V_t.

    Both are `[B, T]` float32 and 0 outside the mask. After a rollout's last token the value is 0, whether it ended or
    was cut off: no reward can follow in either case. With lambda = 1 a target is the sum of all rewards to come.

    Args:
        rewards_BT: see `token_rewards`.
        values_BT: of the critic, before each token.
        mask_BT: see `token_rewards`.
    """
    mask = np.asarray(mask_BT, np.float64)
    values = np.asarray(values_BT, np.float64) * mask
    advantages = np.zeros_like(values)
    following_value = following_advantage = np.zeros(len(values))
    for t in reversed(range(values.shape[1])):
        delta = rewards_BT[:, t] + following_value - values[:, t]
        advantages[:, t] = mask[:, t] * (delta + gae_lambda * following_advantage)
        following_value, following_advantage = values[:, t], advantages[:, t]
    return advantages.astype(np.float32), (advantages + values).astype(np.float32)


def whitened(advantages_BT: np.ndarray, mask_BT: np.ndarray) -> np.ndarray:
    """The advantages with mean 0 and standard deviation 1 over all tokens of the mask, `[B, T]` float32."""
    inside = np.asarray(mask_BT) > 0
    tokens = advantages_BT[inside].astype(np.float64)
    if not tokens.size:
        return np.zeros_like(advantages_BT, np.float32)
    return np.where(inside, (advantages_BT - tokens.mean()) / (tokens.std() + 1e-8), 0.0).astype(np.float32)


def explained_variance(values_BT: np.ndarray, targets_BT: np.ndarray, mask_BT: np.ndarray) -> float:
    """1 - var(target - value) / var(target) over the tokens of the mask: 1 is exact, 0 no better than a constant."""
    inside = np.asarray(mask_BT) > 0
    spread = float(np.var(targets_BT[inside])) if inside.any() else 0.0
    return 1.0 - float(np.var((targets_BT - values_BT)[inside])) / spread if spread > 1e-12 else 0.0


def token_values(params: Params, model: ModelConfig, batch: Batch) -> jax.Array:
    """The value before each target, `[B, T]` float32: the head at the position that predicts it."""
    hidden_BTD = transformer.forward(
        params,
        model,
        batch.tokens,
        batch.positions,
        batch.segments,
        one_segment=batch.one_segment,
        contexts_BT=batch.contexts,
    ).hidden
    return reward.apply_head(hidden_BTD, params[reward.HEAD])


def value_loss(params: Params, model: ModelConfig, batch: Batch) -> tuple[jax.Array, Metrics]:
    """Half the squared error of the values, weighted by `batch.weights`; the targets are in `batch.advantages`."""
    values = token_values(params, model, batch)
    loss = jnp.sum(batch.weights * 0.5 * (values - batch.advantages) ** 2)
    return loss, {"weight": jnp.sum(batch.weights), "value": jnp.sum(batch.weights * values)}


class Critic:
    """A network of the policy's shape with a scalar head, its Adam, and its compiled programs.

    It starts from the base's weights, with a head of zeros: the first advantages are the rewards to come, and not the
    differences of random numbers. Its values are not clipped. As in reward models the unembedding has no use.

    Attributes:
        offset: added to what the head gives: the mean of the values' targets at the step before, 0 at the first. So the
            network learns how targets differ. A head without a bias would have to give their mean, too, and Adam does
            that by turning the states of all tokens in one direction, until nothing tells them apart.
    """

    def __init__(self, cfg: RLConfig, optimizer: OptimizerConfig, model: ModelConfig, mesh: Mesh):
        """Compiles nothing yet, and has no state until `start` or `restore`."""
        self._cfg, self._model, self._mesh = cfg, model, mesh
        self.specs = reward.param_specs(model)
        updates = cfg.num_steps * cfg.grpo.minibatches * cfg.grpo.inner_epochs
        self._optimizer = state.make_optimizer(optimizer, self.specs, updates, reward.UNUSED)
        self._update = make_update(
            lambda params, batch: value_loss(params, model, batch),
            self._optimizer,
            self.specs,
            mesh,
            cfg.microbatches,
        )
        self._values = jax.jit(lambda params, batch: token_values(params, model, batch), out_shardings=replicated(mesh))
        self.state: state.TrainState | None = None
        self.offset = 0.0

    @property
    def parameters(self) -> int:
        """Parameters that are trained."""
        return core.count({name: spec for name, spec in self.specs.items() if name not in reward.UNUSED})

    def start(self, base: Params) -> None:
        """A new state: copies of a base's weights, and a head of zeros."""
        head = jax.device_put(np.zeros(self._model.embed_dim, np.float32), replicated(self._mesh))
        self.state = state.create({**base, reward.HEAD: head}, self.specs, self._optimizer, self._mesh)

    def arrays(self) -> dict[str, np.ndarray]:
        """The state's arrays on the host, by their places in it, as `TrainingRun.save` takes them."""
        leaves = enumerate(jax.tree.leaves(self.state))
        return {
            "critic_offset": np.float32([self.offset]),
            **{f"critic_{i:04}": np.asarray(leaf) for i, leaf in leaves},
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Puts the arrays of a saved state on the mesh."""
        shapes = state.abstract_state(self.specs, self._optimizer, self._mesh)
        leaves, structure = jax.tree.flatten(shapes)
        saved = [arrays[f"critic_{i:04}"] for i in range(len(leaves))]
        placed = [
            jax.device_put(np.asarray(value, leaf.dtype).reshape(leaf.shape), leaf.sharding)
            for value, leaf in zip(saved, leaves, strict=True)
        ]
        self.state = jax.tree.unflatten(structure, placed)
        self.offset = float(arrays["critic_offset"][0])

    def values(self, batch: Batch) -> np.ndarray:
        """Values `[B, T]` of a padded batch on the host, a microbatch's packed rows at a time."""
        rows, places = packed(batch, self._cfg, self._model, self._mesh)
        parts = rows.tokens.shape[0] // self._cfg.rows_at_a_time
        values = np.zeros(rows.tokens.shape, np.float32)
        for part in range(parts):
            if rows.segments[part::parts].any():
                of_part = to_device(take_rows(rows, np.s_[part::parts]), self._mesh)
                values[part::parts] = self._values(self.state.params, of_part)
        return self.offset + (values if places is None else unpack_rows(values, places))

    def learn(self, batch: Batch, step: int) -> Sequence[Mapping[str, np.ndarray]]:
        """One update on each of the minibatches that the policy learns from, by the new offset; returns their metrics.

        Args:
            batch: with the targets of the values in `advantages`.
        """
        cfg, metrics = self._cfg, []
        targets = batch.advantages[batch.weights > 0]
        self.offset = float(targets.mean()) if targets.size else self.offset
        batch = dataclasses.replace(batch, advantages=batch.advantages - np.float32(self.offset))
        for minibatch in minibatches(batch, cfg.grpo, cfg.sampling.max_new_tokens, cfg.seed, step):
            rows, _ = packed(minibatch, cfg, self._model, self._mesh)
            self.state, update_metrics = self._update(self.state, to_device(rows, self._mesh))
            metrics.append(update_metrics)
        return jax.device_get(metrics)
