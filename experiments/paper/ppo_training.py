"""PPO beside GRPO: the RL loop of r1jax with a critic, and advantages of tokens in place of groups' advantages.

    python experiments/paper/ppo_training.py --config=zero:mini --workdir=runs/ppo --config.gae_lambda=0.95

A config of `r1jax train` with the fields of `PPOConfig`. Questions, samples, graders, minibatches, the policy's update
and the evaluation are those of `r1jax/stages/rl.py`; the critic's state is a part of the policy's checkpoints, so that
a killed run goes on as if it had not been. One process; no reward models, no groups carried over.
"""

import argparse
import dataclasses
import pathlib
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh
from ppo_critic import Critic, explained_variance, generalized_advantages, token_rewards, whitened

from r1jax import config, config_files, cpu_devices, running
from r1jax.config import ConfigError, at_least, within
from r1jax.core import params as core
from r1jax.core import processes, stopping
from r1jax.core.sharding import make_mesh
from r1jax.core.shares import Shares
from r1jax.data.batching import Batch
from r1jax.data.types import Rollout
from r1jax.evaluation.rollouts import describe
from r1jax.io.files import write_json
from r1jax.overrides import override, overrides_from
from r1jax.stages import rl
from r1jax.stages.bases import find_base
from r1jax.stages.config import RLConfig
from r1jax.stages.groups import GroupSampler
from r1jax.stages.rl_batch import make_batch, make_scorer, summarise, with_logprobs
from r1jax.stages.workdir import claim, owned
from r1jax.text import prompt_format
from r1jax.text.prompt_format import PromptFormat
from r1jax.training import loop, plan
from r1jax.training.config import OptimizerConfig
from r1jax.training.loop import TrainingRun
from r1jax.training.metrics import Stopwatch


@dataclasses.dataclass(frozen=True)
class PPOConfig(RLConfig):
    """An RL run with a critic. Of `grpo` the advantages have no use, and `grpo.beta` is the KL term of the loss.

    Attributes:
        gae_lambda: of the generalised advantages; at 1 a token's advantage is the rewards to come less its value.
        kl_in_reward: weight of log pi - log pi_ref, subtracted from each token's reward.
        critic: optimiser of the value network.
    """

    gae_lambda: float = 1.0
    kl_in_reward: float = 0.001
    critic: OptimizerConfig = OptimizerConfig(learning_rate=1e-4, warmup_steps=5)

    def __post_init__(self):
        super().__post_init__()
        within("[0, 1]", self, "gae_lambda")
        at_least(0, self, "kl_in_reward")
        refused = {
            "rewards.models": self.rewards.models,
            "teacher": self.teacher,
            "sampling.carry_over": self.sampling.carry_over,
            "grpo.dynamic_sampling_rounds": self.grpo.dynamic_sampling_rounds,
        }
        if wrong := [name for name, value in refused.items() if value]:
            raise ValueError(f"PPO with a critic has no {', '.join(wrong)}; leave it out, or use r1jax train")


def read_config(spec: str, overrides: Sequence[str]) -> PPOConfig:
    """The config of a file with fields set; raises ConfigError as `r1jax.stages.table.read_config`."""
    tree = config_files.load(spec)
    if tree.get("stage") != "rl":
        raise ConfigError(f"{spec} is of stage {tree.get('stage')!r}; PPO takes a config of stage 'rl', say zero:mini")
    return config.parse(PPOConfig, override(PPOConfig, tree, overrides))


def run(cfg: PPOConfig, workdir: pathlib.Path, mesh: Mesh, base: pathlib.Path) -> pathlib.Path:
    """Trains to the end, resuming if `workdir` holds a state. Returns the model folder, `workdir/model`.

    Raises:
        FileNotFoundError, ValueError: as `r1jax.stages.rl.run`.
    """
    rl.check_rows(cfg, mesh)
    start_from = loop.start_from_folder(base, mesh, cfg.compute)
    cfg, questions = rl.open_questions(cfg, base, start_from, rl.prompt_limit_of(cfg, base))
    training = open_run(cfg, workdir, mesh, start_from)
    critic = open_critic(cfg, training)
    held_out = questions.held_out(cfg.evaluation.questions)
    rl.say_start(cfg, training, questions, held_out)
    write_json(workdir / "state_bytes.json", state_bytes(training, critic))
    score = make_scorer(training.model, cfg, mesh)
    update = training.compile_update(rl.make_loss(cfg, training.model), cfg.microbatches, cfg.auxiliary.bias_rate)
    with rl.open_graders(cfg, questions) as graders:
        engine = rl.make_engine(cfg, training)
        sampler = GroupSampler(cfg, engine, Shares.whole(), questions, graders, {})
        evaluator = rl.make_evaluator(cfg, training, engine, held_out, graders, {})
        watch = Stopwatch(eval=0.0, save=0.0)
        for step in range(training.start, cfg.num_steps):
            with watch("eval"):
                evaluator.evaluate_if_due(training.state.params, step)
            with watch("sample"):
                drawn = sampler.draw(training.state.params, step)
            rollouts = drawn.rollouts
            rl.keep_rollouts(cfg, workdir, step, rollouts, Shares.whole())
            with watch("score"):
                batch = make_batch(rollouts, np.zeros(len(rollouts)), cfg, step)
                batch = with_logprobs(batch, cfg.grpo, score, training.state.params, training.reference)
            with watch("value"):
                values = critic.values(batch)
            for_policy, for_critic, of_advantages = with_advantages(batch, rollouts, values, cfg)
            with watch("update"):
                updates, last = rl.update_on_minibatches(training, update, for_policy, cfg, step)
            with watch("critic"):
                of_critic = critic.learn(for_critic, step)
            row = {
                **describe(drawn.numbers),
                **summarise(updates),
                **{f"critic/{name}": value for name, value in summarise(of_critic).items()},
                **of_advantages,
                "learning_rate": float(training.learning_rate(int(training.state.step) - 1)),
                **watch.metrics(),
            }
            training.log(step, row, [each["skipped"] for each in (*updates, *of_critic)])
            if training.too_many_skipped:
                raise training.skipped_error(step, last)
            watch = Stopwatch(eval=0.0, save=0.0)
            with watch("save"):
                training.save(step + 1, critic.arrays())
        training.finish()
        evaluator.evaluate_last(training.state.params)
    return training.close({prompt_format.FILE: PromptFormat.of(cfg.data).content()})


def open_run(cfg: PPOConfig, workdir: pathlib.Path, mesh: Mesh, start_from: loop.StartingPoint) -> TrainingRun:
    """The policy's run, whose checkpoints hold the critic's arrays too, and a reference where a KL term needs one."""
    return loop.open_run(
        cfg,
        workdir,
        mesh,
        start_from,
        rl.param_specs(start_from.model),
        num_steps=cfg.num_steps,
        console=rl.CONSOLE,
        updates_per_step=cfg.grpo.minibatches * cfg.grpo.inner_epochs,
        frozen=cfg.auxiliary.idle,
        with_reference=bool(cfg.grpo.beta or cfg.kl_in_reward),
        with_pending=True,
    )


def open_critic(cfg: PPOConfig, training: TrainingRun) -> Critic:
    """The critic: the checkpoint's where the run resumes, else a new one of the policy's first weights."""
    critic = Critic(cfg, cfg.critic, training.model, training.mesh)
    if training.pending is None:
        critic.start(training.state.params)
    else:
        critic.restore(training.pending)
    return critic


def state_bytes(training: TrainingRun, critic: Critic) -> dict[str, int]:
    """Bytes on one device that stay through the run, by what they are, and the parameters that are trained."""
    policy, value = plan.kept_bytes(training.state, training.reference), plan.kept_bytes(critic.state)
    return {
        "policy": policy["weights"] + policy["optimiser"],
        "reference": policy["reference"],
        "critic": value["weights"] + value["optimiser"],
        "policy_parameters": core.count(training.specs),
        "critic_parameters": critic.parameters,
    }


def with_advantages(
    batch: Batch, rollouts: Sequence[Rollout], values: np.ndarray, cfg: PPOConfig
) -> tuple[Batch, Batch, dict[str, float]]:
    """The batches of policy and critic, with whitened advantages and with the values' targets; and what they are like.

    A rollout that could not be graded is in neither.
    """
    graded = np.array([[rollout.reward is not None] for rollout in rollouts], np.float32)
    batch = dataclasses.replace(batch, weights=batch.weights * graded)
    mask = (batch.weights > 0).astype(np.float32)
    logprobs = batch.sampler_logprobs if batch.old_logprobs is None else batch.old_logprobs
    rewards = np.array([rollout.reward or 0.0 for rollout in rollouts])
    of_tokens = token_rewards(rewards, mask, logprobs, batch.ref_logprobs, cfg.kl_in_reward)
    advantages, targets = generalized_advantages(of_tokens, values, mask, cfg.gae_lambda)
    _, rewards_to_come = generalized_advantages(of_tokens, values, mask, 1.0)  # the targets have values in them
    inside = mask > 0
    metrics = {
        "value/explained_variance": explained_variance(values, rewards_to_come, mask),
        "value/mean": float(values[inside].mean()) if inside.any() else 0.0,
        "advantage/std": float(advantages[inside].std()) if inside.any() else 0.0,
        "reward/kl": float((of_tokens.sum(axis=1) - rewards * mask.any(axis=1)).mean()),
    }
    for_policy = dataclasses.replace(batch, advantages=whitened(advantages, mask))
    return for_policy, dataclasses.replace(batch, advantages=targets), metrics


def parser() -> argparse.ArgumentParser:
    """The command line, without the fields of a config."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--config", required=True, help="a config of stage rl: zero:mini, or path/file.py:size")
    made.add_argument("--workdir", required=True, type=pathlib.Path, help="where the run is written, and resumed from")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status, see `config.exit_status`."""
    args, rest = parser().parse_known_args(argv)

    def train() -> None:
        cfg, workdir = read_config(args.config, overrides_from(rest)), args.workdir
        cpu_devices.choose()
        running.keep_compiled(workdir.absolute().parent / "xla_cache")
        mesh = make_mesh(cfg.mesh)
        with stopping.sigterm_as_ctrl_c(), jax.set_mesh(mesh), owned(workdir):
            claim(workdir, cfg)
            with stopping.after_the_step(cfg.checkpoint.grace_s):
                run(cfg, workdir, mesh, find_base(cfg.base, workdir.parent, mesh))

    return config.exit_status(train)


if __name__ == "__main__":
    processes.run_to_exit(main)
