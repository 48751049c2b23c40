"""R1-Zero on one device: GRPO from a base model with two rewards by rule, in one loop to read first and to fork.

    ./launch_local.sh python examples/grpo_minimal.py [MODEL_FOLDER]

The pieces are those of `r1jax train --config=zero:mini`, and the first step is that run's first step (arXiv 2501.12948,
section 2.2). Left out here: the mesh, packing, microbatches, processes that can kill a grader, evaluation, checkpoints,
reports (`r1jax/stages/rl.py` has them all).
"""

import dataclasses
import math
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from r1jax.core.config import MeshConfig
from r1jax.core.params import Params
from r1jax.core.sharding import make_mesh
from r1jax.data.batching import pad_rollouts, to_device
from r1jax.data.tasks import DataConfig, Questions, TaskConfig
from r1jax.data.types import Rollout
from r1jax.graders import grader_table
from r1jax.graders.config import GraderConfig
from r1jax.inference.config import RolloutSamplingConfig
from r1jax.inference.engine import Engine
from r1jax.losses.config import AuxiliaryConfig, GRPOConfig
from r1jax.losses.grpo import group_advantages, grpo_loss, token_weights
from r1jax.losses.logprobs import batch_logprobs
from r1jax.models.io import load_model, save_model
from r1jax.models.transformer import param_specs
from r1jax.rewards.format_rewards import well_formed
from r1jax.stages.bases import find_base
from r1jax.training.config import OptimizerConfig
from r1jax.training.state import make_optimizer


@dataclasses.dataclass(frozen=True)
class Settings:
    """The run's settings; the defaults are those of `zero:mini`.

    Attributes:
        base: the base model: a model folder, a Hugging Face folder, or a config file that makes one.
        chunk: positions whose log-probs are computed at once, so that `[B, T, V]` never exists.
        bucket: row lengths are rounded up to one of few multiples of this, see `row_length`; each is compiled once.
    """

    base: str = "configs/base.py:mini"
    steps: int = 60
    seed: int = 0
    data: DataConfig = DataConfig(
        tasks=(
            TaskConfig("chain_sum", 2.0, {"min_terms": 2, "max_terms": 4, "min_digits": 1, "max_digits": 2}),
            TaskConfig("gcd", 1.0, {"min_numbers": 2, "max_numbers": 2, "min_value": 1, "max_value": 40}),
            TaskConfig("aiw", 1.0, {"task_type_weights": [0.5, 0.5, 0.0]}),
        ),
        template="r1_zero",
        chat=False,
    )
    sampling: RolloutSamplingConfig = RolloutSamplingConfig(max_new_tokens=112, bucket=272)
    grpo: GRPOConfig = GRPOConfig(prompts_per_step=16, group_size=8, minibatches=1)
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-4, warmup_steps=5)
    chunk: int = 64
    bucket: int = 96


def reward(rollout: Rollout) -> float:
    """1 for the right answer and 1 for the format, by rule; NaN where the answer cannot be graded. Yours goes here."""
    accuracy = grader_table.grade(rollout, GraderConfig()).score
    return math.nan if accuracy is None else accuracy + well_formed(rollout)


def train(settings: Settings) -> tuple[Params, list[dict[str, float]]]:
    """Trains, prints a line a step, and writes runs/minimal/model; returns the weights and each step's metrics."""
    cfg, sampling, seed = settings.grpo, settings.sampling, settings.seed
    mesh = make_mesh(MeshConfig(data=1), jax.devices()[:1])
    with jax.set_mesh(mesh):
        # The policy, and the reference that the KL term holds it to.
        params, model, tokenizer = load_model(find_base(settings.base, pathlib.Path("runs"), mesh), mesh)
        reference = jax.tree.map(jnp.copy, params)
        optimizer = make_optimizer(settings.optimizer, param_specs(model), settings.steps)
        opt_state = optimizer.init(params)
        questions = Questions(settings.data, seed, tokenizer, examine=grader_table.check_row_for_reward)
        engine = Engine(model, sampling, tokenizer, mesh)

        @jax.jit
        def logprobs(params, batch):
            return batch_logprobs(params, model, batch, sampling.truncation, settings.chunk)[0]

        @jax.jit
        def update(params, opt_state, batch):
            def loss(params):
                return grpo_loss(params, model, batch, cfg, sampling.truncation, settings.chunk, AuxiliaryConfig())

            (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(params)
            updates, opt_state = optimizer.update(gradient, opt_state, params)
            return optax.apply_updates(params, updates), opt_state, {"loss": value, **metrics}

        rows = []
        for step in range(settings.steps):
            began = time.monotonic()
            # Rollouts: a group of samples for each question, from the newest weights.
            prompts = questions.take(step * cfg.prompts_per_step, cfg.prompts_per_step)
            rollouts = engine.generate(params, prompts, cfg.group_size, (seed, step, 0))
            # Rewards, and advantages within each group: (r - mean) / std.
            rewards = np.array([reward(rollout) for rollout in rollouts])
            advantages_PG = group_advantages(rewards.reshape(-1, cfg.group_size), cfg.normalize_std)
            # The batch: prompts and completions in rows; the loss averages over each completion, then over the batch.
            batch = pad_rollouts(rollouts, advantages_PG.reshape(-1), settings.bucket)
            weights = token_weights(batch.weights, cfg.aggregation, sampling.max_new_tokens)
            batch = to_device(dataclasses.replace(batch, weights=weights), mesh)
            batch = dataclasses.replace(batch, ref_logprobs=logprobs(reference, batch))
            # One update by GRPO's loss.
            params, opt_state, metrics = update(params, opt_state, batch)
            row = {
                "reward": float(np.nanmean(rewards)),
                "tokens": float(np.mean([len(rollout.ids) for rollout in rollouts])),
                **{name: float(value) for name, value in metrics.items()},
            }
            rows.append(row)
            line = "  ".join(f"{name} {row[name]:.4g}" for name in ("reward", "tokens", "loss", "kl", "entropy"))
            print(f"step {step + 1}/{settings.steps}  {line}  {time.monotonic() - began:.1f} s", flush=True)
        save_model(pathlib.Path("runs/minimal/model"), params, model, tokenizer)
    return params, rows


if __name__ == "__main__":
    train(Settings(base=sys.argv[1]) if sys.argv[1:] else Settings())
