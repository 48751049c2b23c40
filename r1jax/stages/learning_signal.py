"""Learning signal of an RL run: warnings while no group has one, the likely reason, and the recovery.

A group has a signal where its samples differ in reward (`losses.grpo.group_advantages`).
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from r1jax.data.types import VERDICTS
from r1jax.io.console import say
from r1jax.io.jsonl import read_log

STEPS = 5  # in a row before a warning is printed
Row = Mapping[str, Any]


class SignalWatch:
    """Watches the rows of metrics.jsonl; a resumed run begins with the rows of the steps before it.

    Args:
        start: first step of this process.
        accuracy: whether the reward counts right answers.
        teacher: whether a teacher is learnt from too: then nothing is printed.
    """

    def __init__(self, workdir: pathlib.Path, start: int, accuracy: bool, teacher: bool = False):
        self._accuracy, self._recent, self._teacher = accuracy, [], teacher
        self._silent, self._none_right = 0, 0  # steps in a row without any signal; without a right answer
        self._reported_none_right = False
        self._teaching = False  # whether any group of the run has had a signal
        for row in read_log(workdir / "metrics.jsonl")[0]:
            if row["step"] < start:
                self._count(row)  # the process that wrote it printed its messages

    def add(self, step: int, row: Row) -> str:
        """Counts a step, and prints where no signal or no right answer has lasted `STEPS` steps, or has ended.

        Args:
            row: of the step, as it goes to metrics.jsonl.

        Returns:
            what was printed where no signal has now lasted `STEPS` steps; else "".
        """
        lines = [] if self._teacher else self._count(row)
        for line in lines:
            say(f"step {step + 1}: {line}")
        return lines[0] if lines and self._silent == STEPS else ""

    def at_end(self) -> None:
        """Prints a message at the end of a run in which no group had a signal."""
        if self._recent and not (self._teaching or self._teacher):
            say(f"nothing was learnt from the rewards: no group of the whole run had a signal. {explain(self._recent)}")

    def _count(self, row: Row) -> list[str]:
        lines, silent, none_right = [], self._silent, self._none_right
        self._recent = [*self._recent, row][-STEPS:]
        self._silent = silent + 1 if row.get("groups/no_signal") == 1.0 else 0
        self._none_right = none_right + 1 if self._accuracy and row.get("reward/accuracy") == 0.0 else 0
        self._teaching |= not self._silent
        if self._silent == STEPS:
            lines.append(
                f"no group has had a signal for {STEPS} steps: all samples of each question got the same "
                f"reward, so nothing is learnt. {explain(self._recent)}"
            )
        elif not self._silent and silent >= STEPS:
            lines.append(f"groups have a signal again, after {silent} steps without")
        if self._none_right >= STEPS and self._silent < STEPS and not self._reported_none_right:
            self._reported_none_right = True
            lines.append(
                f"no sample has been right for {self._none_right} steps: what is learnt comes from the other "
                f"rewards alone. {explain(self._recent)}"
            )
        elif not self._none_right and self._reported_none_right:
            self._reported_none_right = False
            lines.append(f"the first right answers after {none_right} steps without")
        return lines


def explain(rows: Sequence[Row]) -> str:
    """The verdicts on steps without a signal, the likely reason, and advice."""

    def mean(name: str) -> float:
        return sum(row.get(name) or 0.0 for row in rows) / len(rows)

    shares = {verdict: mean(f"verdict/{verdict}") for verdict in VERDICTS}
    observations = [f"{name} {share:.0%}" for name, share in sorted(shares.items(), key=lambda item: -item[1]) if share]
    observations += [f"well formed {mean('reward/format'):.0%}", f"truncated {mean('length/truncated'):.0%}"]
    if shares["right"] >= 0.5:
        advice = "The questions are too easy for this model: take harder ones"
    elif mean("length/truncated") >= 0.5:
        advice = "Most responses are cut short: raise sampling.max_new_tokens"
    elif shares["no_answer"] + shares["malformed"] >= 0.5:
        advice = (
            "In most responses no answer is found: read some in rollouts/, and ask in a form that the model "
            "keeps to (data.template; data.chat for a chat model), or teach it that form (configs/sft.py)"
        )
    elif shares["ungradable"] + shares["timeout"] + shares["crash"] >= 0.5:
        advice = "Most responses cannot be graded: `r1jax audit --data` tests a file's answers and graders"
    else:
        advice = (
            "The questions are too hard for this model, or worded unlike all that it has read: read some responses in "
            "rollouts/; take easier or otherwise worded questions, more samples of each (grpo.group_size), or "
            "teach it such questions first (configs/sft.py)"
        )
    return f"Samples: {', '.join(observations)}. {advice}"
