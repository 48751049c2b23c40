"""Summary of a run's report: one sentence, a comparison of before and after, and cautions.

A run with evaluations is summarised by the first and the last of them; one without by its first and last training
steps.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from r1jax.report.panels import Row, number

NOT_RECORDED = "–"
TRAINED_TITLE = "trained model"


@dataclasses.dataclass(frozen=True)
class Run:
    """The files of a workdir. Rows are ordered by step; of a step written twice, as a resumed run may, the last counts.

    Attributes:
        stage: "supervised", "preference" or "rl".
        config: the nested configuration, {} when the file is missing.
        metrics: one row per training step.
        evals: one row per evaluation.
        missing: names of the files that are not there and should be.
        benchmarks: one row per benchmark and evaluation, as they were written.
    """

    workdir: Path
    stage: str
    config: Mapping[str, Any]
    metrics: list[Row]
    evals: list[Row]
    missing: tuple[str, ...]
    benchmarks: list[Row] = dataclasses.field(default_factory=list)

    @property
    def base(self) -> Row | None:
        """The evaluation before training, None when there was none."""
        return self.evals[0] if self.evals and self.evals[0]["step"] == 0 else None

    @property
    def trained(self) -> Row | None:
        """The last evaluation after at least one step, None when there was none."""
        return self.evals[-1] if self.evals and self.evals[-1]["step"] > 0 else None

    @property
    def edge_steps(self) -> int:
        """A fifteenth of the steps, one at least."""
        return max(len(self.metrics) // 15, 1)

    @property
    def edges(self) -> tuple[Row, Row]:
        """The means of the metrics over the first `edge_steps` and over the last."""
        return _means(self.metrics[: self.edge_steps]), _means(self.metrics[-self.edge_steps :])


@dataclasses.dataclass(frozen=True)
class Measure:
    """One line of a comparison: where a row keeps it and how it is written.

    Attributes:
        unit: "%", "tokens", "rating", "decimal", or "" for a plain number.
    """

    label: str
    key: str
    unit: str = ""
    error_key: str = ""


PASS_AT_1 = Measure("pass@1", "pass@1", "%", "stderr")
WELL_FORMED = Measure("well-formed responses", "format", "%")
LENGTH = Measure("mean response length, tokens", "length", "tokens")
REFLECTION = Measure("responses that reflect", "reflection", "%")
QUESTIONS = Measure("questions (n)", "n")
SAMPLES = Measure("samples a question (k)", "k")
ACCURACY = Measure("accuracy", "accuracy", "%", "stderr")
LOSS = Measure("loss", "loss", "decimal")
LONGER = Measure("the longer response is the chosen one", "longer_wins", "%", "longer_wins_stderr")
SAFE = Measure("share of safe responses", "safe_share", "%")
# Of evaluations, by stage.
EVALUATED = {
    "rl": (
        PASS_AT_1,
        Measure("cons@k", "cons@k", "%", "cons_stderr"),
        WELL_FORMED,
        Measure("accuracy when well formed", "pass@1_if_well_formed", "%"),
        LENGTH,
        REFLECTION,
        Measure("truncated responses", "truncated", "%"),
        QUESTIONS,
        SAMPLES,
        Measure("temperature", "temperature"),
        Measure("top-p", "top_p"),
    ),
    "preference": (
        ACCURACY,
        LONGER,
        SAFE,
        LOSS,
        Measure("AUROC", "auroc", "decimal", "auroc_stderr"),
        Measure("AUROC of the length alone", "length_auroc", "decimal"),
        Measure("the longer response scores higher", "prefers_longer", "%"),
        Measure("calibration error", "calibration_error", "%"),
        Measure("margin", "margin", "decimal"),
        Measure("examples (n)", "n"),
    ),
    "supervised": (),
}
# Of training steps, by stage.
TRAINED = {
    "rl": (
        Measure("reward", "reward/total", "decimal"),
        Measure("accuracy", "reward/accuracy", "%"),
        Measure("well-formed responses", "reward/format", "%"),
        Measure("mean response length, tokens", "length/mean", "tokens"),
        Measure("responses that reflect", "reflection/share", "%"),
        Measure("truncated responses", "length/truncated", "%"),
        Measure("groups with no signal", "groups/no_signal", "%"),
    ),
    "preference": (Measure("accuracy", "accuracy", "%"), LOSS, Measure("margin", "margin", "decimal")),
    "supervised": (
        LOSS,
        Measure("cross-entropy", "cross_entropy", "decimal"),
        Measure("KL to the teacher", "kl", "decimal"),
        Measure("entropy", "entropy", "decimal"),
        Measure("tokens per second", "tokens_per_s", "tokens"),
    ),
}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two sides of a run: its evaluations before and after training, else its first and last training steps.

    Attributes:
        titles: of the two sides.
        rows: as `compare` makes them, but for measures that neither side has.
    """

    caption: str
    titles: tuple[str, str]
    rows: list[tuple[str, str, str, str]]


def comparison(run: Run, base_title: str) -> Comparison:
    if run.evals:
        caption = (
            "Held-out questions, before and after RL"
            if run.stage == "rl"
            else ("Held-out examples, before and after training")
        )
        titles, rows = (base_title, TRAINED_TITLE), compare(EVALUATED[run.stage], run.base, run.trained)
    else:
        edge = "step" if run.edge_steps == 1 else f"{run.edge_steps} steps"
        caption, titles = "Training, means over the first and the last steps", (f"first {edge}", f"last {edge}")
        rows = compare(TRAINED[run.stage], *run.edges)
    return Comparison(caption, titles, [row for row in rows if row[1:3] != (NOT_RECORDED, NOT_RECORDED)])


def summary(run: Run) -> str:
    """One sentence on the run's results, chosen by the numbers."""
    if run.stage == "rl":
        return _of_rl(run)
    if run.stage == "preference" and run.base and run.trained:
        return _of_preference(run)
    if not run.metrics:
        return "No training step was recorded."
    measures = (LOSS, ACCURACY) if run.stage == "preference" else (LOSS,)
    before, after = run.edges
    clauses = [moved for measure in measures if (moved := _moved(f"the {measure.label}", measure, before, after))]
    result = "; ".join(clauses) if clauses else "no finite loss was recorded"
    unknown = "" if run.stage == "supervised" else "; nothing is known of examples that it was not trained on"
    return f"Over {steps(len(run.metrics))} of training, {result}{unknown}."


def _of_preference(run: Run) -> str:
    base, trained = run.base, run.trained
    of_pairs = number(trained.get("longer_wins")) is not None
    baseline = (
        f"the longer response is the chosen one in {cell(trained, LONGER)}"
        if of_pairs
        else (f"{cell(trained, SAFE)} of the responses are safe")
    )
    n = cell(trained, Measure("", "n"))
    return (
        f"Over {steps(trained['step'])} of training, held-out accuracy {_verdict(base, trained, ACCURACY)} "
        f"({n} {'pairs' if of_pairs else 'responses'}; {baseline})."
    )


def _of_rl(run: Run) -> str:
    base, trained = run.base, run.trained
    if base is None and trained is None:
        return f"No evaluation was recorded in {steps(len(run.metrics))} of RL: nothing is known of held-out accuracy."
    if base is None:
        return (
            f"After {steps(trained['step'])} of RL held-out pass@1 is {cell(trained, PASS_AT_1)}; the base model "
            "was not evaluated, so what RL changed is not known."
        )
    if trained is None:
        return (
            f"The base model's held-out pass@1 is {cell(base, PASS_AT_1)}; no evaluation was recorded after any RL "
            "step, so what RL changed is not known."
        )
    sampled = ""
    if base.get("n") is not None and all(base.get(key) == trained.get(key) for key in ("n", "k")):
        sampled = f" ({cell(base, QUESTIONS)} questions, k = {cell(base, SAMPLES)})"
    moved = (
        _moved("the share of well-formed responses", WELL_FORMED, base, trained),
        _moved("the mean response", LENGTH, base, trained, "grew", "shrank"),
        _moved("the share of responses that reflect", REFLECTION, base, trained),
    )
    first = f"Over {steps(trained['step'])} of RL, held-out pass@1 {_verdict(base, trained, PASS_AT_1)}{sampled}"
    return "; ".join(filter(None, (first, *moved))) + "."


def _moved(subject: str, measure: Measure, base: Row, trained: Row, up: str = "rose", down: str = "fell") -> str:
    """`the loss fell from 4.2 to 2.7`; "" where it was not recorded on both sides."""
    before, after = number(base.get(measure.key)), number(trained.get(measure.key))
    if before is None or after is None:
        return ""
    old, new = cell(base, measure), cell(trained, measure)
    unit = " tokens" if measure.unit == "tokens" else ""
    moved = f"stayed at {new}" if old == new else f"{up if after > before else down} from {old} to {new}"
    return f"{subject} {moved}{unit}"


def _verdict(base: Row, trained: Row, measure: Measure) -> str:
    """The change of a share, in words. Within two standard errors of the difference it counts as no change.

    The two evaluations are treated as independent. They share their questions, which makes this the cautious side.
    """
    before, after = number(base.get(measure.key)), number(trained.get(measure.key))
    if before is None or after is None:
        return "was not recorded both before and after"
    moved = f"from {cell(base, measure)} to {cell(trained, measure)}"
    errors = number(base.get(measure.error_key)), number(trained.get(measure.error_key))
    if before == after:
        return f"stayed the same, {moved}"
    if None not in errors and abs(after - before) <= 2 * math.hypot(*errors):
        return f"did not change measurably: it went {moved}, within two standard errors"
    return f"{'rose' if after > before else 'fell'} {moved}"


def cautions(run: Run) -> list[str]:
    """Warnings about the numbers, for the reader."""
    notes = [f"{name} is missing from the workdir." for name in run.missing]
    notes += _not_learnt(run)
    done = max((row["step"] + 1 for row in run.metrics), default=0)
    planned = number(run.config.get("num_steps"))
    if run.metrics and planned and done < planned:
        notes.append(f"The run is not complete: it logged {done} of {planned:g} steps.")
    if run.trained is not None and run.trained["step"] < done:
        notes.append(f"The last evaluation is of step {run.trained['step']}; the run logged {steps(done)}.")
    never = [
        key
        for key in dict.fromkeys(key for row in run.metrics for key in row)
        if all(key in row and number(row[key]) is None for row in run.metrics)
    ]
    if never:
        notes.append(f"No step holds a finite value of {', '.join(never)}.")
    ungraded = [number(row.get("grading/ungradable")) or 0.0 for row in run.metrics]
    if any(ungraded):
        notes.append(f"On average {sum(ungraded) / len(ungraded):.1%} of a step's samples could not be graded.")
    if any("reward/random" in row for row in run.metrics):
        notes.append("A random reward was paid: this is a control run, whose accuracy should not rise.")
    if run.base is not None and run.trained is not None:
        differing = [key for key in ("n", "k", "temperature", "top_p") if run.base.get(key) != run.trained.get(key)]
        if differing:
            notes.append(f"The two models were not evaluated alike: {', '.join(differing)} differ.")
    return notes


def _not_learnt(run: Run) -> list[str]:
    """Steps without learning: skipped updates, a learning rate or gradient of 0, groups without a signal."""
    if not run.metrics:
        return []

    def always(key: str, value: float) -> bool:
        return all(row.get(key) == value for row in run.metrics)

    notes = []
    skipped = sum(number(row.get("skipped")) or 0.0 for row in run.metrics)
    if skipped == len(run.metrics):
        notes.append("Nothing was learnt: every update was skipped, for its gradient was not finite.")
    elif skipped:
        notes.append(
            f"Updates worth {skipped:g} of {steps(len(run.metrics))} were skipped: their gradient was not finite."
        )
    if always("learning_rate", 0.0):
        notes.append("Nothing was learnt: the learning rate was 0 at every step.")
    elif always("grad_norm", 0.0):
        notes.append("Nothing was learnt: the gradient was 0 at every step.")
    if always("groups/no_signal", 1.0):
        notes.append("Nothing was learnt from the rewards: at no step did the samples of any group differ in reward.")
    return notes


def compare(measures: Iterable[Measure], base: Row | None, trained: Row | None) -> list[tuple[str, str, str, str]]:
    """Rows of (label, base, trained, change); a dash stands for what was not recorded."""
    rows = []
    for measure in measures:
        before, after = (number((row or {}).get(measure.key)) for row in (base, trained))
        change = ""
        if measure.unit and before is not None and after is not None:
            change = (
                f"{100 * (after - before):+.1f} points"
                if measure.unit == "%"
                else (f"{after - before:+.{_digits(measure)}f}")
            )
        rows.append((measure.label, cell(base, measure), cell(trained, measure), change))
    return rows


def tasks(run: Run) -> list[tuple[str, list[tuple[str, str, str, str]]]]:
    """Per task of RL, its name and its rows as `compare` makes them."""
    base, trained = ((row or {}).get("by_source") or {} for row in (run.base, run.trained))
    return [
        (name, compare((PASS_AT_1, QUESTIONS), base.get(name), trained.get(name))) for name in sorted({*base, *trained})
    ]


def cell(row: Row | None, measure: Measure) -> str:
    value, error = number((row or {}).get(measure.key)), number((row or {}).get(measure.error_key))
    if value is None:
        return NOT_RECORDED
    if measure.unit == "%":
        return f"{100 * value:.1f}%" + ("" if error is None else f" ± {100 * error:.1f}")
    if not measure.unit:
        return f"{value:g}"
    return f"{value:.{_digits(measure)}f}" + ("" if error is None else f" ± {error:.{_digits(measure)}f}")


def _digits(measure: Measure) -> int:
    return 1 if measure.unit in ("tokens", "rating") else 3


def steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"


def _means(rows: Sequence[Row]) -> dict[str, float]:
    """The mean of each metric over the rows that have a finite value of it."""
    values = {key: [v for row in rows if (v := number(row.get(key))) is not None] for row in rows for key in row}
    return {key: sum(numbers) / len(numbers) for key, numbers in values.items() if numbers}
