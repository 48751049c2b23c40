"""Configs of the losses, without JAX."""

import dataclasses
from typing import Literal

from r1jax.config import at_least, within

Aggregation = Literal["sequence", "token", "dr_grpo"]


@dataclasses.dataclass(frozen=True)
class GRPOConfig:
    """Hyperparameters of GRPO; the defaults are the paper's for R1-Zero.

    Attributes:
        prompts_per_step: questions a step. The paper samples 8,192 outputs of 512 questions and splits them into 16
            minibatches of 512.
        group_size: samples G of each question.
        minibatches: updates that a step's samples are split into, at random.
        inner_epochs: passes over a step's samples.
        clip_low, clip_high: the ratio is clipped to [1 - clip_low, 1 + clip_high]. The paper's 10 leaves only the
            upper bound, at 11.
        ratio_level: whose probability ratio is clipped: "token", or "sequence", the geometric mean over a completion,
            the same for all its tokens (GSPO, arXiv 2507.18071, with bounds below 0.001).
        surrogate: "clip", PPO's minimum of the free and the clipped one, without a gradient where the clip holds; or
            "cispo", the log-prob times the clipped ratio taken as constant, so that every token has one (MiniMax-M1,
            arXiv 2506.13585).
        dual_clip: where the advantage is negative, bounds ratio * advantage from below by dual_clip * advantage; 0 is
            off.
        beta: weight of the KL term.
        reference_every: updates between replacements of the reference model by the policy; 0 keeps the first.
        aggregation: "sequence": mean over a sequence's tokens, then over sequences (the paper); "token": mean over all
            tokens; "dr_grpo": sum over tokens / (sequences * max_new_tokens).
        normalize_std: divide advantages by the group's standard deviation.
        baseline: what is subtracted from a reward: "group", the mean of its group, or "leave_one_out", that of the
            group's others (RLOO, arXiv 2402.14740).
        dynamic_sampling_rounds: how often groups without signal may be replaced by groups of fresh questions; 0 is off.
        mask_truncated: leave truncated samples out of the loss (their rewards still count in the group's baseline).
        importance_cap: multiply the surrogate by min(trainer / sampler probability, cap); 0 is off. It corrects for a
            sampler of other numbers, and for tokens of earlier policies (`sampling.carry_over`).
        importance_level: whose probability that is: "token", or "sequence", the whole completion's, the same for all
            its tokens.
        importance_min, importance_max: leave what has trainer / sampler probability outside these bounds out of the
            surrogate; 0 is off.
        entropy_bonus: weight of the entropy, maximised.
    """

    prompts_per_step: int = 512
    group_size: int = 16
    minibatches: int = 16
    inner_epochs: int = 1
    clip_low: float = 10.0
    clip_high: float = 10.0
    ratio_level: Literal["token", "sequence"] = "token"
    surrogate: Literal["clip", "cispo"] = "clip"
    dual_clip: float = 0.0
    beta: float = 0.001
    reference_every: int = 400
    aggregation: Aggregation = "sequence"
    normalize_std: bool = True
    baseline: Literal["group", "leave_one_out"] = "group"
    dynamic_sampling_rounds: int = 0
    mask_truncated: bool = False
    importance_cap: float = 0.0
    importance_level: Literal["token", "sequence"] = "token"
    importance_min: float = 0.0
    importance_max: float = 0.0
    entropy_bonus: float = 0.0

    def __post_init__(self):
        at_least(1, self, "prompts_per_step", "minibatches", "inner_epochs")
        at_least(0, self, "beta", "reference_every", "dynamic_sampling_rounds", "importance_cap", "entropy_bonus")
        at_least(0, self, "importance_min", "importance_max")
        at_least(0, self, "clip_low", "clip_high", "dual_clip", "group_size")
        if self.group_size < 2:
            raise ValueError(f"group_size={self.group_size}: a group of one has no baseline, use at least 2")
        if self.prompts_per_step * self.group_size % self.minibatches:
            raise ValueError(
                f"prompts_per_step x group_size = {self.prompts_per_step * self.group_size} samples do not split into "
                f"minibatches={self.minibatches}"
            )
        if self.importance_max and self.importance_max <= self.importance_min:
            raise ValueError(
                f"importance_max={self.importance_max} must be above importance_min={self.importance_min}, or 0 for off"
            )
        if self.dual_clip and self.surrogate == "cispo":
            raise ValueError(f'dual_clip={self.dual_clip} bounds the surrogate "clip" alone; set it to 0 for cispo')
        if self.dual_clip and self.dual_clip <= 1:
            raise ValueError(f"dual_clip={self.dual_clip} must be above 1, or 0 for off")

    @property
    def needs_old_logprobs(self) -> bool:
        """Whether a step has several updates, so that the policy changes before the last one."""
        return self.minibatches * self.inner_epochs > 1


@dataclasses.dataclass(frozen=True)
class AuxiliaryConfig:
    """Auxiliary losses of a mixture of experts and of multi-token prediction; other models have none.

    Attributes:
        balance_weight: alpha of the sequence-wise balance loss (section 2.1.2, eq. 17).
        bias_rate: gamma by which each update moves the experts' selection biases against their load, without a loss.
            V3 was pretrained with 0.001 and its biases were frozen at the end, hence the default.
        mtp_weight: lambda of multi-token prediction (eq. 25); V3 was pretrained with 0.3, then 0.1. At 0 its blocks
            are neither computed nor changed.
    """

    balance_weight: float = 1e-4
    bias_rate: float = 0.0
    mtp_weight: float = 0.0

    def __post_init__(self):
        at_least(0, self, "balance_weight", "bias_rate", "mtp_weight")

    @property
    def idle(self) -> tuple[str, ...]:
        """Parts of the parameter tree that get no gradient."""
        return () if self.mtp_weight else ("mtp",)


Direction = Literal["forward", "reverse"]


@dataclasses.dataclass(frozen=True)
class DistillationConfig:
    """The loss of distillation from a teacher's distributions.

    Attributes:
        weight: of the KL divergence from the teacher; cross-entropy, in RL GRPO's loss, has 1 - weight.
        kl: direction of the divergence, see `r1jax.losses.distillation`.
    """

    weight: float = 0.5
    kl: Direction = "forward"

    def __post_init__(self):
        within("(0, 1]", self, "weight")
