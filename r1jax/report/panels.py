"""The panels of a run's report: which metrics of a stage are drawn together, and what they are called."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Panel:
    """One plot of metrics over steps.

    Attributes:
        series: a metric's key -> its name in the legend.
        errors: a metric's key -> the key of its standard error.
        share: values are shares of 1, written in percent.
        log: the axis is logarithmic.
        evaluated: of evaluations, not of training steps.
    """

    title: str
    caption: str
    ylabel: str
    series: Mapping[str, str]
    errors: Mapping[str, str] = dataclasses.field(default_factory=dict)
    share: bool = False
    log: bool = False
    evaluated: bool = False


ENTROPY = Panel(
    "Entropy of the model",
    "Uncertainty about the next token, mean over the tokens trained on.",
    "nats per token",
    {"entropy": "entropy"},
)
GRADIENT = Panel(
    "Gradient norm", "Norm of the gradient at each step, before it is clipped.", "norm", {"grad_norm": "gradient"}
)
LEARNING_RATE = Panel(
    "Learning rate", "Of the step's last update.", "learning rate", {"learning_rate": "learning rate"}
)
EXPERTS = Panel(
    "Balance of the experts",
    "The busiest expert's load over the mean load, less 1; and the share of experts that no token went to. Of all "
    "layers the worst.",
    "worst layer",
    {"moe/violation/max": "violation", "moe/idle/max": "idle experts"},
)
BALANCE = Panel(
    "Balance loss",
    "The experts' sequence-wise balance loss, before it is weighted.",
    "loss",
    {"balance_loss": "balance loss"},
)
AHEAD = Panel(
    "Loss of multi-token prediction",
    "Cross-entropy of tokens further ahead, before it is weighted.",
    "nats per token",
    {"mtp_loss": "further ahead"},
)
TRAINING_SPEED = Panel(
    "Training speed",
    "Tokens trained on for each second of a step; the first step also waits for compilation.",
    "tokens per second",
    {"tokens_per_s": "tokens"},
)

SUPERVISED = (
    Panel(
        "Loss",
        "What the optimiser minimises, on the tokens trained on: cross-entropy; where a teacher is learnt from or a "
        "loss is added, their weighted sum.",
        "nats per token",
        {"loss": "loss", "cross_entropy": "cross-entropy"},
    ),
    Panel(
        "KL to the teacher",
        "How far the model's distributions are from the teacher's, on the tokens trained on.",
        "nats per token",
        {"kl": "KL"},
    ),
    ENTROPY,
    LEARNING_RATE,
    GRADIENT,
    TRAINING_SPEED,
    Panel(
        "Examples without room",
        "Examples drawn for a step that its rows had no room for, and which were dropped.",
        "examples",
        {"no_room": "dropped"},
    ),
    AHEAD,
    BALANCE,
    EXPERTS,
)

PREFERENCE = (
    Panel(
        "Held-out accuracy",
        "Share of held-out pairs whose chosen response scores higher, or of labels on the right side of 0; bars are "
        "one standard error each way. Beside it what needs no model: taking the longer response, or saying safe.",
        "held-out accuracy",
        {"accuracy": "accuracy", "longer_wins": "the longer one is the chosen one", "safe_share": "safe responses"},
        errors={"accuracy": "stderr", "longer_wins": "longer_wins_stderr"},
        share=True,
        evaluated=True,
    ),
    Panel(
        "Held-out loss", "Mean of -log sigmoid(margin) on held-out examples.", "nats", {"loss": "loss"}, evaluated=True
    ),
    Panel(
        "Held-out AUROC",
        "The chance that a safe response scores above an unsafe one; beside it that of the length alone.",
        "AUROC",
        {"auroc": "score", "length_auroc": "length"},
        errors={"auroc": "auroc_stderr"},
        evaluated=True,
    ),
    Panel(
        "Preferring the longer response",
        "Share of held-out pairs whose longer response scores higher; beside it how often it is the chosen one.",
        "share of pairs",
        {"prefers_longer": "scores higher", "longer_wins": "is the chosen one"},
        share=True,
        evaluated=True,
    ),
    Panel(
        "Calibration error",
        "Mean distance between predicted chances and what was observed, on held-out examples.",
        "error",
        {"calibration_error": "calibration error"},
        evaluated=True,
    ),
    Panel(
        "Held-out margin",
        "Mean score of the chosen or safe responses less that of the others.",
        "margin",
        {"margin": "margin"},
        evaluated=True,
    ),
    Panel("Loss", "Mean of -log sigmoid(margin) over the batch.", "nats", {"loss": "loss"}),
    Panel(
        "Accuracy in training",
        "Share of the batch's pairs whose chosen response scores higher, or of its labels on the right side of 0.",
        "share of the batch",
        {"accuracy": "right"},
        share=True,
    ),
    Panel(
        "Margin",
        "Score of the chosen response less that of the rejected one, or of a single response towards its "
        "label, mean over the batch.",
        "margin",
        {"margin": "margin"},
    ),
    LEARNING_RATE,
    GRADIENT,
    TRAINING_SPEED,
)

RL = (
    Panel(
        "Response length",
        "Tokens sampled a response: the batch's mean and its longest.",
        "tokens",
        {"length/mean": "mean", "length/max": "longest"},
    ),
    Panel(
        "Truncated responses",
        "Share of responses that ran into the token limit before they ended.",
        "share of responses",
        {"length/truncated": "truncated"},
        share=True,
    ),
    Panel(
        "Responses that reflect",
        "Share of responses with at least one reflection word (wait, check, mistake ...).",
        "share of responses",
        {"reflection/share": "at least one word"},
        share=True,
    ),
    Panel(
        "Rate of reflection words",
        "Reflection words counted in a response, on average.",
        "words per response",
        {"reflection/per_response": "words"},
    ),
    Panel(
        "Language of the thoughts",
        "Share of thoughts that mix languages, and of those wholly in Chinese.",
        "share of thoughts",
        {"language/mixed": "mixed", "language/chinese": "wholly Chinese"},
        share=True,
    ),
    Panel(
        "KL to the reference model",
        "How far the policy has moved from the reference; it drops to zero where the reference is refreshed.",
        "nats per token",
        {"kl": "KL"},
    ),
    Panel(
        "Entropy of the policy",
        "Uncertainty about the next token; near zero, every sample of a group says the same.",
        "nats per token",
        {"entropy": "entropy"},
    ),
    Panel(
        "Groups with no signal",
        "Share of groups whose samples all earned the same reward: they teach nothing at this step.",
        "share of groups",
        {"groups/no_signal": "no signal"},
        share=True,
    ),
    Panel(
        "Clip rate",
        "Share of tokens whose probability ratio was clipped; zero with one update for each batch of samples.",
        "share of tokens",
        {"clip/rate": "clipped"},
        share=True,
    ),
    GRADIENT,
    Panel(
        "Sampler against trainer",
        "Absolute gap between the log-prob a token was sampled with and the one the trainer computes for it.",
        "nats (log scale)",
        {"sampler_gap/mean": "mean", "sampler_gap/max": "largest", "sampler_gap/stale": "mean, carried over"},
        log=True,
    ),
    Panel(
        "Carried-over groups",
        "How many steps lie between the policy that drew a token and the step that trains on it.",
        "steps",
        {"carry_over/steps/mean": "mean", "carry_over/steps/max": "most"},
    ),
    Panel(
        "Sampling speed",
        "Tokens sampled for each second of sampling; the first step also waits for compilation.",
        "tokens per second",
        {"tokens_per_s": "tokens"},
    ),
    LEARNING_RATE,
    Panel(
        "Loss",
        "The negated objective. It does not measure progress: advantages are relative to their group, so "
        "that it stays near zero.",
        "loss",
        {"loss": "loss"},
    ),
    Panel(
        "Probability ratio",
        "Probability of a sampled token now over what it was when sampled, on average.",
        "ratio",
        {"ratio": "ratio"},
    ),
    Panel(
        "Ungradable samples",
        "Share of samples that no grader could grade.",
        "share of samples",
        {"grading/ungradable": "ungradable"},
        share=True,
    ),
    Panel(
        "Tokens of the judge",
        "Tokens that the judge has read and written so far.",
        "tokens",
        {"judge/prompt_tokens": "read", "judge/completion_tokens": "written"},
    ),
    AHEAD,
    BALANCE,
    EXPERTS,
)

PANELS = {"supervised": SUPERVISED, "preference": PREFERENCE, "rl": RL}
# Reported in the page's head where they are not 0.
SKIPPED = ("skipped", "skipped_in_a_row")


def panels(stage: str, metrics: Sequence[Row], evals: Sequence[Row]) -> Iterator[Panel]:
    """The stage's panels with those of their series that have a finite value; a panel without one is left out.

    What no panel of the stage names follows at the end, a panel for each metric.
    """
    recorded, evaluated = (
        {key for row in rows for key in row if number(row.get(key)) is not None} for rows in (metrics, evals)
    )
    named = {"step", *SKIPPED}
    for panel in (*(_rewards(recorded, metrics) if stage == "rl" else ()), *PANELS[stage]):
        there = evaluated if panel.evaluated else recorded
        named |= set() if panel.evaluated else set(panel.series)
        if series := {key: name for key, name in panel.series.items() if key in there}:
            yield dataclasses.replace(panel, series=series)
    for key in dict.fromkeys(key for row in metrics for key in row):
        if key in recorded - named and not key.startswith(("time/", "verdict/")):
            yield Panel(key, "A metric of this run.", "", {key: key})


def _rewards(recorded: set[str], metrics: Sequence[Row]) -> tuple[Panel, Panel]:
    """RL's panels whose series are named by what its graders give."""
    keys = [key for key in dict.fromkeys(key for row in metrics for key in row) if key in recorded]
    occurring = [key for key in keys if key.startswith("verdict/") and any(row.get(key) for row in metrics)]
    return (
        Panel(
            "Reward and its parts",
            "Mean over the batch of the total reward and of each part.",
            "reward",
            {key: key.removeprefix("reward/") for key in keys if key.startswith("reward/")},
        ),
        Panel(
            "Verdicts",
            "What the graders said of the answers, as shares of the samples.",
            "share of samples",
            {key: key.removeprefix("verdict/").replace("_", " ") for key in occurring},
            share=True,
        ),
    )


def number(value: Any) -> float | None:
    """The value as a float, or None where it is missing, not a number, infinite or NaN."""
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return None
