"""The configs of the optimiser, of states and of trackers, without JAX."""

import dataclasses
import importlib.util
from typing import Literal

from r1jax.config import ConfigError, above, at_least, within


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with a global-norm clip.

    Attributes:
        learning_rate: peak.
        schedule: after warm-up, "constant", or "cosine", which falls to `final_share` of the peak at the end.
        warmup_steps: updates over which the rate rises linearly, from `learning_rate / warmup_steps`.
        final_share: see schedule.
        b1, b2, eps: Adam's.
        weight_decay: decoupled; norms and biases are exempt.
        clip_norm: bound on the global norm of the gradient; 0 switches it off.
        max_skipped: so many updates in a row whose gradient is not finite, and which are therefore skipped, end the run
            with an error; 0: it goes on whatever comes.
    """

    learning_rate: float = 3e-6
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = 0
    final_share: float = 0.1
    b1: float = 0.9
    b2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    max_skipped: int = 20

    def __post_init__(self):
        at_least(0, self, "learning_rate", "warmup_steps", "weight_decay", "clip_norm", "max_skipped")
        within("[0, 1]", self, "final_share")
        within("[0, 1)", self, "b1", "b2")
        within("[1e-37, inf)", self, "eps")  # what is 0 in float32 makes 0 / 0 of a weight whose gradient is 0


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """When states are saved.

    Attributes:
        every: steps between saves; 0 saves only at the end.
        keep: how many of the newest states stay on disk.
        keep_best: how many of the best states stay besides.
        best_by: what is best: a key of evals.jsonl, for which `every` should be a multiple of `evaluation.every`, else
            of metrics.jsonl; with a "-" before it less is better, as in "-loss".
        grace_s: seconds from a notice to stop (SIGTERM or SIGUSR1) until the run must have left: less than the cluster
            waits before it kills, 30 s on most. A step that is sampling when half of them are over is given up and done
            again later. 0: the step under way takes what it takes.
    """

    every: int = 50
    keep: int = 2
    keep_best: int = 0
    best_by: str = "pass@1"
    grace_s: float = 25.0

    def __post_init__(self):
        at_least(0, self, "every", "keep_best", "grace_s")
        at_least(1, self, "keep")
        if not self.best_by.removeprefix("-"):
            raise ValueError(f"best_by={self.best_by!r} should name a metric, say pass@1 or -loss")


@dataclasses.dataclass(frozen=True)
class FaultConfig:
    """What a run does about faults of the training (`training.faults`); not finite: `OptimizerConfig.max_skipped`.

    "report" prints what was seen, with likely causes; "stop" also ends the run with an error, its state saved and the
    last batch in WORKDIR/faults, and the same command goes on past it; "ignore" says nothing.

    Attributes:
        grad_spike: a gradient norm above `spike_factor` times the median of the steps before; "skip" also leaves such
            updates out.
        spike_factor: see grad_spike.
        reward_collapse: in RL, the mean reward over some steps is below `reward_share` of its best so far.
        reward_share: see reward_collapse.
        entropy_collapse: in RL, the policy's entropy stays below `entropy_share` of that of the first steps.
        entropy_share: see entropy_collapse.
        sampler_drift: in RL, the sampler's and the trainer's log-probs differ by more than `largest_gap`, on average.
        largest_gap: nats a token.
        no_signal: in RL, for some steps no group has a learning signal.
    """

    grad_spike: Literal["ignore", "report", "skip", "stop"] = "report"
    spike_factor: float = 10.0
    reward_collapse: Literal["ignore", "report", "stop"] = "report"
    reward_share: float = 0.5
    entropy_collapse: Literal["ignore", "report", "stop"] = "report"
    entropy_share: float = 0.05
    sampler_drift: Literal["ignore", "report", "stop"] = "report"
    largest_gap: float = 0.1
    no_signal: Literal["report", "stop"] = "report"

    def __post_init__(self):
        within("(1, inf)", self, "spike_factor")
        within("[0, 1]", self, "reward_share", "entropy_share")
        above(0, self, "largest_gap")


@dataclasses.dataclass(frozen=True)
class HostMemoryConfig:
    """What lies in the hosts' memory while it is not in use; it costs a copy each way a step, and changes no result.

    Attributes:
        policy: the weights that are trained and the optimiser's moments, while rollouts are sampled.
        reference: the reference policy's weights, but for their pass over the rollouts.
    """

    policy: bool = False
    reference: bool = False


@dataclasses.dataclass(frozen=True)
class TrackConfig:
    """Curves and sample texts for TensorBoard and Weights & Biases, beside metrics.jsonl.

    Attributes:
        tensorboard: write event files to `WORKDIR/tensorboard`.
        wandb: "offline" writes a run to `WORKDIR/wandb`, which `wandb sync` uploads; "online" uploads it as it goes.
        project: of Weights & Biases.
        name: of the run there; "": the workdir's.
        samples: texts in a table, the first of each evaluation and of each step whose rollouts are kept; 0: none.
    """

    tensorboard: bool = False
    wandb: Literal["off", "offline", "online"] = "off"
    project: str = "r1jax"
    name: str = ""
    samples: int = 4

    def __post_init__(self):
        at_least(0, self, "samples")


def check_trackers(cfg: TrackConfig) -> None:
    """Raises ConfigError where the library of a tracker that is switched on is not installed."""
    for name, on in (("tensorboard", cfg.tensorboard), ("wandb", cfg.wandb != "off")):
        if on and importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"config.track.{name} needs the package {name}: pip install -e '.[track]' in r1jax's folder"
            )
