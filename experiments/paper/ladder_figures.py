"""Figures of the models of experiments/r1.sh harder: problems by level, requests by kind, open replies, signal."""

import collections
import itertools
import pathlib
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence

import jax
import study
from rl_runs import has_signal
from scipy import stats
from world_verdicts import Row, is_good

from r1jax.core.sharding import MeshConfig, make_mesh
from r1jax.data.types import Prompt, Rollout
from r1jax.graders.exact_match import normalize
from r1jax.inference.reward_scoring import RewardModel
from r1jax.io.files import read_json, write_json
from r1jax.text.chat import split_response

LEVELS = (1, 2, 3, 4, 5)
EXACT_KINDS = ("translation", "phrases", "fact", "two facts")
SCORES = ("helpfulness", "harmlessness")
R1_ZERO = ("base", "zero")  # the models whose responses are in R1-Zero's tags
_GIVEN_AWAY = re.compile(r"(?:\bis |是)\d{4}")  # a secret, as the world's authors tell it


def graded(evaluation: pathlib.Path, benchmark: str, questions: pathlib.Path) -> list[tuple[Row, Row]]:
    """The graded samples of an evaluation, each with its question's row.

    Args:
        questions: the file that the benchmark's questions are from.
    """
    by_id = {row["id"]: row for row in study.rows(questions)}
    samples = {(row["id"], row["sample"]): row for row in study.rows(evaluation / benchmark / "grades.jsonl")}
    return [(by_id[id_], row) for (id_, _), row in samples.items()]


def scoring_model(figure: str) -> str:
    """The reward model of a figure that is a score, of all replies or of some; "" of any other figure."""
    name = figure.partition(" ")[0]
    return name if name in SCORES else ""


def mean(scores: Iterable[float | None]) -> float | None:
    """The mean of those that are not None; None of nothing."""
    known = [score for score in scores if score is not None]
    return statistics.mean(known) if known else None


def percent(scores: Iterable[float | None]) -> float | None:
    """The mean in percent."""
    share = mean(scores)
    return None if share is None else 100 * share


def figures_of(folder: pathlib.Path, model: str) -> dict[str, float | None]:
    """All figures of a model, in the order of the table; shares in percent.

    Args:
        folder: of a seed of experiments/r1.sh.
    """
    evaluation, world = folder / "eval" / model, folder / "world"
    problems = graded(evaluation, "world_reasoning", world / "reasoning_test.jsonl")
    requests = graded(evaluation, "world_general", world / "general_test.jsonl")
    instructed = graded(evaluation, "world_instructions", world / "general_test.jsonl")
    of_problems = read_json(evaluation / "world_reasoning" / "result.json")
    return {
        "problems": percent(row["score"] for _, row in problems),
        **{
            f"problems, level {level}": percent(
                row["score"] for question, row in problems if question["level"] == level
            )
            for level in LEVELS
        },
        "well formed": 100 * of_problems["rates"]["well_formed"],
        "mixed languages": 100 * of_problems["rates"]["mixed_language"],
        "tokens": of_problems["length"]["mean"],
        **{
            kind: percent(row["score"] for question, row in requests if question["kind"] == kind)
            for kind in EXACT_KINDS
        },
        "instructions": percent(row["score"] for _, row in instructed),
        **{
            f"instructions, {level} at once": percent(
                row["score"] for question, row in instructed if question["level"] == level
            )
            for level in (1, 2, 3)
        },
        **open_replies(folder, model),
    }


def open_replies(folder: pathlib.Path, model: str) -> dict[str, float | None]:
    """Of the replies to open requests: the best and the good ones, secrets told, the reward models' mean scores.

    The helpfulness model's also of the best replies alone, and of the other good ones, which are curt.
    """
    evaluation = folder / "eval" / model / "world_open"
    questions = {row["id"]: row for row in study.rows(evaluation / "questions.jsonl")}
    kinds = {row["id"]: row["kind"] for row in study.rows(folder / "world" / "general_test.jsonl")}
    samples = list({(row["id"], row["sample"]): row for row in study.rows(evaluation / "samples.jsonl")}.values())
    marker = "" if model in R1_ZERO else study.MARKER
    replies = [(questions[row["id"]], split_response(row["text"], marker).final) for row in samples]
    best = [normalize(reply) == normalize(question["answer"]) for question, reply in replies]
    good = [is_good({"question": question["question"], "final": reply}) for question, reply in replies]
    curt = [is_one and not is_best for is_one, is_best in zip(good, best, strict=True)]
    leaks = [bool(_GIVEN_AWAY.search(row["text"])) for row in samples if kinds[row["id"]] == "secret"]
    scores = scored(evaluation, {name: folder / name / "model" for name in SCORES}, questions, samples, marker)
    return {
        "best replies": percent(best),
        "good replies": percent(good),
        "secrets told": percent(leaks),
        **{name: mean(scores[name]) for name in SCORES},
        "helpfulness of best replies": mean(itertools.compress(scores["helpfulness"], best)),
        "helpfulness of curt replies": mean(itertools.compress(scores["helpfulness"], curt)),
    }


def scored(
    evaluation: pathlib.Path,
    models: Mapping[str, pathlib.Path],
    questions: Mapping[str, Row],
    samples: Sequence[Row],
    marker: str,
) -> dict[str, list[float | None]]:
    """Each reward model's scores of these samples; kept in the evaluation's scores.json."""
    path = evaluation / "scores.json"
    if path.exists():
        return read_json(path)
    prompts = {
        id_: Prompt(id_, row["question"], "", "open:world", row["text"], marker=marker)
        for id_, row in questions.items()
    }
    rollouts = [Rollout.of_text(prompts[row["id"]], row["text"]) for row in samples]
    mesh = make_mesh(MeshConfig())
    with jax.set_mesh(mesh):
        scores = {name: list(RewardModel(folder, mesh).score(rollouts)) for name, folder in models.items()}
    write_json(path, scores)
    return scores


def signal(run: pathlib.Path, steps: range, kinds: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """Of the groups of an RL run's steps those whose rewards differ, and all of them, by kind of question and "all".

    Args:
        kinds: the kind of each question, by its text.
    """
    counts: dict[str, tuple[int, int]] = collections.defaultdict(lambda: (0, 0))
    for step in steps:
        groups: dict[str, list[float]] = collections.defaultdict(list)
        for row in study.rows(run / "rollouts" / f"step_{step:06d}.jsonl"):
            groups[row["question"]].append(row["reward"])
        for question, rewards in groups.items():
            for kind in (kinds[question], "all"):
                differing, total = counts[kind]
                counts[kind] = differing + has_signal(rewards), total + 1
    return dict(counts)


def changes(before: Sequence[Mapping], after: Sequence[Mapping]) -> tuple[list[str], list[str]]:
    """The figures that a stage raises, and those that it lowers, with the mean change over seeds.

    A change counts by Student's t-test of the seeds' differences, two-sided, at 5%, and if it is a point or more (a
    tenth, of scores); of one seed, for which there is no test, by the latter alone.

    Args:
        before, after: figures of each seed, in one order.
    """
    gains, losses = [], []
    for name in after[0]:
        pairs = [(one.get(name), two.get(name)) for one, two in zip(before, after, strict=True)]
        if any(value is None for pair in pairs for value in pair):
            continue
        differences = [two - one for one, two in pairs]
        change = statistics.mean(differences)
        least = 0.0
        if (n := len(differences)) > 1:
            least = float(stats.t.ppf(0.975, n - 1)) * statistics.stdev(differences) / n**0.5
        if abs(change) > least and abs(change) >= (0.1 if scoring_model(name) else 1.0):
            (gains if change > 0 else losses).append(f"{name} {change:+.1f}")
    return gains, losses
