"""RL's own evaluation: pass@1 over k samples and cons@k on its held-out questions, with their standard errors.

Benchmarks are evaluated by `r1jax.evaluation.evaluate`.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from r1jax.benchmarks import estimators
from r1jax.benchmarks.benchmark import Outcome
from r1jax.benchmarks.estimators import standard_error
from r1jax.core.params import Params
from r1jax.core.shares import gather
from r1jax.data.types import Prompt, Rollout
from r1jax.evaluation.config import EVAL_STREAM, EvalConfig, is_due
from r1jax.evaluation.rollout_files import write_samples
from r1jax.evaluation.rollouts import RolloutNumbers, describe, gather_numbers, mean, sample_and_grade
from r1jax.evaluation.scheduled_benchmarks import ScheduledBenchmarks
from r1jax.inference.engine import Engine
from r1jax.inference.reward_scoring import RewardModel
from r1jax.io.console import say
from r1jax.models.logits import Truncation
from r1jax.rewards.grader_pool import GraderPool


class QuestionScore(NamedTuple):
    """The score of one question's samples.

    Attributes:
        source: of the question, see `Prompt`.
        passes: the mean over the samples really drawn; an ungradable one is left out of it.
        consensus: the first grade among the samples that gave the majority's answer.
    """

    source: str
    passes: float
    consensus: float


def question_scores(rollouts: Sequence[Rollout], samples: int) -> list[QuestionScore]:
    """The scores of the questions that could be graded, from graded rollouts, `samples` for each in turn."""
    scores_ = []
    for i in range(0, len(rollouts), samples):
        group = rollouts[i : i + samples]
        grades = [grade for r in group if (grade := r.parts.get("accuracy")) is not None]
        if not grades:  # also: an open request
            continue
        votes = [Outcome(r.prompt.id, r.sample, r.parts["accuracy"], r.verdict, r.answer) for r in group]
        scores_.append(QuestionScore(group[0].prompt.source, np.mean(grades), estimators.consensus(votes)))
    return scores_


def scores(questions: Sequence[QuestionScore], rollouts: Sequence[RolloutNumbers], samples: int) -> dict[str, Any]:
    """The row of an evaluation: pass@1 and cons@k over its questions, and the numbers of all its rollouts."""
    passes, consensus = np.array([q.passes for q in questions]), np.array([q.consensus for q in questions])
    shape = describe(rollouts)
    graded = [r for r in rollouts if "accuracy" in r.parts]
    well_formed = [r.parts["accuracy"] for r in graded if r.parts["format"] == 1.0]

    def by_source(source: str) -> dict[str, float]:
        chosen = passes[[q.source == source for q in questions]]
        return {"n": len(chosen), "pass@1": mean(chosen), "stderr": standard_error(chosen)}

    return {
        "n": len(passes),
        "k": samples,
        "pass@1": mean(passes),
        "stderr": standard_error(passes),
        "cons@k": mean(consensus),
        "cons_stderr": standard_error(consensus),
        "truncated": shape["length/truncated"],
        "format": shape["reward/format"],
        "pass@1_if_well_formed": mean([g for g in well_formed if g is not None]) if well_formed else None,
        "length": shape["length/mean"],
        "reflection": shape["reflection/share"],
        "mixed_language": shape["language/mixed"],
        "ungradable": mean([r.parts["accuracy"] is None for r in graded]),
        "parts": {name.removeprefix("reward/"): value for name, value in shape.items() if name.startswith("reward/")},
        "by_source": {source: by_source(source) for source in sorted({q.source for q in questions})},
    }


def evaluate(
    engine: Engine,
    graders: GraderPool | None,
    params: Params,
    prompts: Sequence[Prompt],
    samples: int,
    truncation: Truncation,
    seed: int,
    models: Mapping[str, RewardModel] = MappingProxyType({}),
) -> tuple[dict[str, Any], list[Rollout]]:
    """Asks every question `samples` times. The noise is the same whenever it is asked: models differ, luck does not.

    Returns:
        the row of `scores` with the sampling settings, and the graded rollouts of this process's share.
    """
    rollouts = sample_and_grade(engine, graders, params, prompts, samples, (seed, EVAL_STREAM), models)
    shares = engine.programs.shares
    questions = gather(question_scores(rollouts, samples) if shares.leads else None, shares)
    row = scores(list(itertools.chain.from_iterable(questions)), gather_numbers(rollouts, shares), samples)
    return {**row, "temperature": truncation.temperature, "top_p": truncation.top_p}, rollouts


@dataclasses.dataclass(frozen=True)
class HeldOutEvaluator:
    """Evaluates a policy on its held-out questions during training, and writes evals/.

    Attributes:
        log: writes the row of a step to evals.jsonl.
        engine: samples by the evaluation's own truncation.
        graders: the grader processes; None in processes that do not lead their share.
        prompts: the questions; none of them: nothing is evaluated.
        models: reward models, by their parts.
        benchmarks: are evaluated too, where they are due.
    """

    cfg: EvalConfig
    workdir: pathlib.Path
    log: Callable[[int, Mapping[str, Any]], None]
    engine: Engine
    graders: GraderPool | None
    prompts: Sequence[Prompt]
    models: Mapping[str, RewardModel]
    seed: int
    num_steps: int
    benchmarks: ScheduledBenchmarks

    def evaluate_if_due(self, params: Params, step: int) -> None:
        """Evaluates before this step: the first, and each that `cfg.every` divides, and benchmarks where these are."""
        if is_due(step, self.cfg.every):
            self._evaluate(params, step)
        self.benchmarks.evaluate_if_due(params, step)

    def evaluate_last(self, params: Params) -> None:
        """Evaluates the trained weights."""
        self._evaluate(params, self.num_steps)
        self.benchmarks.evaluate(params, self.num_steps)

    def _evaluate(self, params: Params, step: int) -> None:
        """Evaluates the weights after `step` steps; before and after training with more samples a question."""
        if not self.prompts:
            return
        samples = self.cfg.samples if step in (0, self.num_steps) else self.cfg.samples_during
        row, rollouts = evaluate(
            self.engine, self.graders, params, self.prompts, samples, self.cfg.truncation, self.seed, self.models
        )
        shares = self.engine.programs.shares
        write_samples(self.workdir / "evals" / f"step_{step:06d}.jsonl", rollouts, shares)
        if jax.process_index() == 0:
            self.log(step, row)
            say(
                f"held-out after {step} steps: pass@1 {row['pass@1']:.1%} ± {row['stderr']:.1%}, cons@{samples} "
                f"{row['cons@k']:.1%}, format {row['format']:.1%}, {row['length']:.0f} tokens"
            )
