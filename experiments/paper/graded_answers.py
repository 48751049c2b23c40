"""Graded answers of a policy to held-out questions, and the ways to choose one of n: majority, reranking, any.

For the experiments on process rewards and tree search, which compare them at equal numbers of sampled tokens.
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from r1jax import config as configs
from r1jax import config_files
from r1jax.core.config import MeshConfig
from r1jax.core.sharding import make_mesh
from r1jax.data.tasks import DataConfig, Questions
from r1jax.data.types import Rollout
from r1jax.evaluation import grading
from r1jax.evaluation.collect import collect
from r1jax.graders.config import JudgeConfig
from r1jax.graders.grader_table import check_row_for_reward
from r1jax.inference import sampler
from r1jax.inference.reward_scoring import RewardModel
from r1jax.inference.served_model import EndpointConfig
from r1jax.inference.trained_prompts import fill_prompt_format
from r1jax.overrides import override
from r1jax.stages.process_reward.config import LabelStepsConfig
from r1jax.stages.process_reward.searching import vote
from r1jax.text import prompt_format
from r1jax.text.steps import Combination, combine_steps

# The answers of one question: each with its score, the answer as the grader read it, its tokens, and the chances that a
# reward model gives: of each step, or one of the whole response. Also the question, the text and the finish reason.
Answers = list[dict[str, Any]]
WAYS: tuple[Combination, ...] = ("minimum", "last", "mean")


def answers_of(
    model: str,
    labels: str,
    folder: pathlib.Path,
    questions: int,
    samples: int,
    seed: int,
    value: str = "",
    **fields: object,
) -> list[Answers]:
    """Draws and grades answers to held-out questions, those that `folder` lacks.

    Args:
        model: the policy's folder.
        labels: the config of its labelling (`process_reward:mini_labels`): the questions, sampling and graders.
        value: folder of a reward model, of steps or of responses; "": answers have no chances.
        fields: values of that config's fields, `**{"sampling.max_new_tokens": 288}`.
    """
    settings = [f"{field}={value}" for field, value in fields.items()]
    cfg = configs.parse(LabelStepsConfig, override(LabelStepsConfig, config_files.load(labels), settings))
    mesh = make_mesh(MeshConfig(data=1), jax.devices()[:1])
    with jax.set_mesh(mesh):
        policy = sampler.open_sampler(model, EndpointConfig(), cfg.sampling, bool(cfg.data.chat), None, mesh)
        data: DataConfig = fill_prompt_format(cfg.data, model, policy.tokenizer, prompt_format.R1_ZERO, "config.data")
        source = Questions(data, seed, policy.tokenizer, examine=check_row_for_reward, prompt_limit=policy.prompt_limit)
        prompts = source.held_out(questions)
        versions = {each.id: grading.version(each.grader, cfg.graders, JudgeConfig()) for each in prompts}
        work = {(each.grader, each.source) for each in prompts}
        setup = {"model": policy.stamp, "data": data, "seed": seed, "truncation": cfg.sampling.truncation}
        with grading.open_graders(cfg.graders, JudgeConfig(), work, seed, cfg.sampling.max_new_tokens) as grade:
            record = collect("answers", folder, setup, versions, prompts, samples, (seed, 77), policy.draw, grade)
        reader = RewardModel(value, mesh) if value else None
        rollouts = [record.rollout(prompt, n) for prompt in prompts for n in range(samples)]
        chances = chances_of(reader, rollouts) if reader else [[]] * len(rollouts)
        answers = [
            _answer(record.grades[r.prompt.id, r.sample], r, each) for r, each in zip(rollouts, chances, strict=True)
        ]
        return [answers[first : first + samples] for first in range(0, len(answers), samples)]


def chances_of(reader: RewardModel, rollouts: Sequence[Rollout]) -> list[list[float]]:
    """For each rollout the chances of its steps, or the one of the whole where the model was not trained on steps.

    A score that is not finite counts as no chance at all.
    """
    if reader.reading.steps:
        return reader.step_chances(rollouts)
    return [[0.0 if score is None else float(1 / (1 + np.exp(-score)))] for score in reader.score(rollouts)]


def _answer(grade: dict[str, Any], rollout: Rollout, chances: Sequence[float]) -> dict[str, Any]:
    return {
        "score": grade["score"] or 0.0,
        "answer": grade["answer"],
        "tokens": len(rollout.ids),
        "chances": list(chances),
        "question": rollout.prompt.question,
        "text": rollout.text,
        "finish": rollout.finish,
    }


def voted(answers: Answers, weight: Callable[[dict[str, Any]], float]) -> float:
    """The score of the answer with the largest sum of weights, the first of equal ones; 0 where none was read."""
    return vote([{**each, "value": weight(each)} for each in answers])


def reranked(way: Combination) -> Callable[[Answers], float]:
    """The score of the answer whose steps score highest, combined in this way."""
    return lambda answers: max(answers, key=lambda each: combine_steps(each["chances"], way))["score"]


def ways_to_choose() -> dict[str, Callable[[Answers], float]]:
    """The ways to choose one of n answers, by their names in tables; each gives the chosen answer's score."""
    return {
        "one answer": lambda answers: float(np.mean([each["score"] for each in answers])),
        "majority": lambda answers: voted(answers, lambda each: 1.0),
        **{f"reranked, {way}": reranked(way) for way in WAYS},
        "weighted majority": lambda answers: voted(answers, lambda each: combine_steps(each["chances"], "minimum")),
        "any (bound)": lambda answers: max(each["score"] for each in answers),
    }


def ways_among_finished() -> dict[str, Callable[[Answers], float]]:
    """Ways to choose among the answers that ended within their tokens, which can be seen without a model."""

    def finished(answers: Answers) -> Answers:
        return [each for each in answers if each["finish"] == "stop"] or answers

    ways = ways_to_choose()
    return {
        "one that ended": lambda answers: ways["one answer"](finished(answers)),
        "one that ended, reranked": lambda answers: ways["reranked, last"](finished(answers)),
    }


def accuracy(groups: Sequence[Answers], n: int, choose: Callable[[Answers], float]) -> float:
    """Percent of questions right by a way to choose among n answers, over all disjoint groups of n."""
    scores = [choose(answers[first : first + n]) for answers in groups for first in range(0, len(answers) - n + 1, n)]
    return 100 * float(np.mean(scores))


def mean_tokens(groups: Sequence[Answers]) -> float:
    """Tokens of an answer."""
    return float(np.mean([each["tokens"] for answers in groups for each in answers]))
