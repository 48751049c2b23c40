"""The configs of the stages that train, without JAX."""

import dataclasses
from typing import Literal

from r1jax.config import at_least, seed_fits
from r1jax.core.config import MeshConfig
from r1jax.data.tasks import DataConfig
from r1jax.losses.config import AuxiliaryConfig, GRPOConfig
from r1jax.models.config import ComputeConfig, Truncation
from r1jax.rewards.config import RewardConfig
from r1jax.sampling.config import SamplingConfig
from r1jax.training.config import CheckpointConfig, OptimizerConfig


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """The paper's protocol at any size.

    Attributes:
        questions: held-out questions asked.
        samples: k, drawn for each before and after training.
        samples_during: k while training.
        every: steps between evaluations during training; 0: only before and after.
        truncation: the paper's temperature 0.6 and top-p 0.95. Not greedy: that repeats itself.
    """

    questions: int = 128
    samples: int = 16
    samples_during: int = 4
    every: int = 0
    truncation: Truncation = Truncation(temperature=0.6, top_p=0.95)

    def __post_init__(self):
        at_least(1, self, "questions", "samples", "samples_during")
        at_least(0, self, "every")


@dataclasses.dataclass(frozen=True)
class RLConfig:
    """One RL run.

    Attributes:
        stage: names the loop.
        base: where it starts: a model folder, or the config of a run that makes one (`configs/base.py:mini`), which is
            made when it is not there yet.
        num_steps: rollouts.
        data, sampling, grpo, rewards, optimizer, evaluation: see their classes.
        seed: of questions, sampling and the random reward.
        auxiliary: what a mixture of experts adds to the loss.
        compute: how the model is computed, where that is not to be as its folder says.
        microbatches: pieces a minibatch is computed in; changes memory, not results.
        logprob_chunk: positions a row whose logits exist at a time.
        batch_bucket: rows are padded to a multiple of this many tokens; each multiple is compiled once.
        keep_rollouts: steps between those whose rollouts are kept in `rollouts/step_NNNNNN.jsonl`, each sample with its
            text, reward, parts and verdict; 0: none.
        profile_at: step at which a profiler window opens; -1 for none.
    """

    stage: Literal["rl"]
    base: str
    num_steps: int
    data: DataConfig
    sampling: SamplingConfig = SamplingConfig()
    grpo: GRPOConfig = GRPOConfig()
    rewards: RewardConfig = RewardConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    evaluation: EvalConfig = EvalConfig()
    auxiliary: AuxiliaryConfig = AuxiliaryConfig()
    compute: ComputeConfig | None = None
    seed: int = 0
    microbatches: int = 1
    logprob_chunk: int = 64
    batch_bucket: int = 64
    keep_rollouts: int = 1
    profile_at: int = -1
    mesh: MeshConfig = MeshConfig()
    checkpoint: CheckpointConfig = CheckpointConfig(every=25)

    def __post_init__(self):
        at_least(1, self, "num_steps", "microbatches", "logprob_chunk", "batch_bucket")
        at_least(0, self, "keep_rollouts")
        at_least(-1, self, "profile_at")
        seed_fits(self)
        if not self.sampling.truncation.temperature:
            raise ValueError("sampling.truncation.temperature is 0: greedy samples of a group are all the same")
        rows = self.grpo.prompts_per_step * self.grpo.group_size // self.grpo.minibatches
        if rows % self.microbatches:
            raise ValueError(f"a minibatch of {rows} rows does not split into microbatches={self.microbatches}")
        if self.rewards.overlong_buffer > self.sampling.max_new_tokens:
            raise ValueError(
                f"rewards.overlong_buffer={self.rewards.overlong_buffer} is longer than "
                f"sampling.max_new_tokens={self.sampling.max_new_tokens}"
            )

    @property
    def rows_at_a_time(self) -> int:
        """Rows of a microbatch."""
        return self.grpo.prompts_per_step * self.grpo.group_size // self.grpo.minibatches // self.microbatches
