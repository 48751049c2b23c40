"""Tree searches of questions: a policy, a process reward model for values, graded answers, and what they teach.

The workdir holds `searches.jsonl`, a line a question, to which a run started again adds what is missing; and, written
from it at the end, `result.json`, the figures; `samples.jsonl`, right answers, for SFT of the policy; and
`labels.jsonl`, the steps of all answers with the share of right answers below each, for the next process reward model.
So rounds of search, SFT and labels are the loop in which DeepSeek-R1's authors trained policy and value in turn (arXiv
2501.12948, version 1, section 4.2).
"""

import collections
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from r1jax.benchmarks import reading
from r1jax.benchmarks.estimators import standard_error
from r1jax.core.shares import from_process_0
from r1jax.data.tasks import DataConfig, Questions
from r1jax.data.types import Grade, Prompt, Rollout
from r1jax.evaluation import grading
from r1jax.evaluation.collect import Grader
from r1jax.graders.grader_table import check_row_for_reward
from r1jax.inference import context_length, model_identity
from r1jax.inference.engine import Engine
from r1jax.inference.reward_scoring import RewardModel
from r1jax.inference.step_drawing import EngineSteps, process_values, served_steps
from r1jax.inference.trained_prompts import fill_prompt_format
from r1jax.inference.tree_search import DrawSteps, SearchResult, search
from r1jax.io import jsonl, run_record
from r1jax.io.console import ProgressPrinter, say
from r1jax.io.files import write_json
from r1jax.models.io import load_model, read_hf_config
from r1jax.stages.process_reward.config import SearchQuestionsConfig
from r1jax.text import prompt_format
from r1jax.text.steps import split_steps
from r1jax.text.tokenizer import Tokenizer

SEARCH_STREAM = 2**31 - 5  # separates this stage's random numbers from those of others


def run(cfg: SearchQuestionsConfig, workdir: pathlib.Path, mesh: Mesh) -> pathlib.Path:
    """Searches and grades the questions that `workdir` does not hold yet. Returns the file of figures.

    Raises:
        ConfigError: the workdir's searches are of other settings.
        FileNotFoundError, ValueError: policy, process reward model or questions cannot be read, or graded here.
    """
    draw, tokenizer, limit, data = _open_policy(cfg, mesh)
    questions = Questions(data, cfg.seed, tokenizer, examine=check_row_for_reward, prompt_limit=limit)
    prompts = questions.held_out(cfg.num_prompts) if cfg.held_out else questions.training(cfg.num_prompts)
    values = process_values(RewardModel(cfg.value, mesh, over_steps=cfg.over_steps))
    path = workdir / "searches.jsonl"
    rows, corrupted = jsonl.read_log(path)
    _claim(cfg, data, workdir, begun=bool(rows))
    done = set(from_process_0([row["id"] for row in rows]))
    missing = [prompt for prompt in prompts if prompt.id not in done]
    say(
        f"{len(prompts)} questions, {len(missing)} of them to search, {cfg.search.tokens} tokens each"
        + (f"; {corrupted} lines were cut off and are searched again" if corrupted else "")
    )
    progress = ProgressPrinter("search", "questions", start=len(prompts) - len(missing))
    work = {(prompt.grader, prompt.source) for prompt in prompts}
    with grading.open_graders(cfg.graders, cfg.judge, work, cfg.seed, cfg.sampling.max_new_tokens) as grade:
        for first in range(0, len(missing), cfg.block):
            for result in search(missing[first : first + cfg.block], draw, values, cfg.search):
                if grade:
                    rows.append(_row(result, grade))
                    jsonl.append(path, rows[-1])
            progress(len(prompts) - len(missing) + min(first + cfg.block, len(missing)), len(prompts))
    out = workdir / "result.json"
    if jax.process_index() == 0:
        ids = {prompt.id for prompt in prompts}
        rows = [row for row in rows if row["id"] in ids]
        result = figures(rows)
        write_json(out, result)
        jsonl.write(workdir / "samples.jsonl", (each for row in rows for each in samples_of(row)))
        jsonl.write(workdir / "labels.jsonl", (each for row in rows for each in labels_of(row, cfg)))
        say(
            f"{result['chosen']:.1%} ± {result['stderr']:.1%} right by the search's choice, {result['any']:.1%} with a "
            f"right answer in the tree, {result['tokens']:.0f} tokens a question"
        )
    return out


def _open_policy(cfg: SearchQuestionsConfig, mesh: Mesh) -> tuple[DrawSteps, Tokenizer | None, int | None, DataConfig]:
    """What draws steps, the policy's tokenizer, tokens that a prompt may have, and the data with its prompt format."""
    seed = (cfg.seed, SEARCH_STREAM)
    if not cfg.model:
        if jax.process_count() > 1:
            raise ValueError("a served policy is searched by one process: start this stage on one host")
        draw = served_steps(cfg.endpoint, cfg.sampling.truncation, cfg.search, seed)
        return draw, None, None, prompt_format.R1_ZERO.fill(cfg.data)
    path = pathlib.Path(cfg.model)
    most = cfg.sampling.max_new_tokens
    limit = context_length.prompt_limit(
        read_hf_config(path), path, most, cfg.data.max_prompt_tokens, "data.max_prompt_tokens"
    )
    params, shape, tokenizer = load_model(path, mesh, cfg.compute, dtype=None)
    engine = Engine(shape, cfg.sampling, tokenizer, mesh)
    data = fill_prompt_format(cfg.data, cfg.model, tokenizer, prompt_format.R1_ZERO, "config.data")
    return EngineSteps(engine, params, tokenizer, cfg.search, most, seed), tokenizer, limit, data


def _claim(cfg: SearchQuestionsConfig, data: DataConfig, workdir: pathlib.Path, begun: bool) -> None:
    """Records the settings that searches depend on, or checks that they are the same."""
    if jax.process_index():
        return
    setup = {
        "model": cfg.model or cfg.endpoint.model,
        "model_hash": model_identity.model_hash(pathlib.Path(cfg.model)) if cfg.model else "",
        "value_hash": model_identity.model_hash(pathlib.Path(cfg.value)),
        "over_steps": cfg.over_steps,
        "data": data,
        "data_hash": reading.data_hash(data.path) if data.path else "",
        "search": cfg.search,
        "truncation": cfg.sampling.truncation,
        "max_new_tokens": cfg.sampling.max_new_tokens,
        "held_out": cfg.held_out,
        "seed": cfg.seed,
    }
    run_record.claim(workdir / "setup.json", setup, "searches by other settings", begun=begun)


def _row(result: SearchResult, grade: Grader) -> dict[str, Any]:
    """A question's line of searches.jsonl: its answers with their values and grades, and the tree's statistics."""
    waiting = [grade(Rollout.of_text(result.prompt, node.text, finish=node.finish)) for node in result.answers]
    grades: list[Grade] = [each() for each in waiting]
    answers = [
        {
            "text": node.text,
            "value": node.value,
            "finish": node.finish,
            "score": each.score,
            "verdict": each.verdict,
            "answer": each.answer,
            "chosen": node is result.best,
        }
        for node, each in zip(result.answers, grades, strict=True)
    ]
    prompt: Prompt = result.prompt
    row = {"id": prompt.id, "prompt": prompt.question, "answer": prompt.answer, "source": prompt.source}
    statistics = result.statistics()
    return {**row, **statistics, "answers": answers}


def figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of searches; an answer that could not be graded counts as wrong, as does none at all.

    Returns:
        chosen: share of questions whose chosen answer is right, and stderr, its standard error.
        vote: the same by the largest sum of values over equal answers; any: with a right answer in the tree.
        and means of the trees' statistics.
    """
    chosen = np.array([max((a["score"] or 0.0 for a in row["answers"] if a["chosen"]), default=0.0) for row in rows])
    best = [max((a["score"] or 0.0 for a in row["answers"]), default=0.0) for row in rows]
    means = {
        name: float(np.mean([row[name] for row in rows]))
        for name in ("tokens", "nodes", "depth", "branching", "expansions")
    }
    return {
        "n": len(rows),
        "chosen": float(np.mean(chosen)),
        "stderr": standard_error(chosen),
        "vote": float(np.mean([vote(row["answers"]) for row in rows])),
        "any": float(np.mean(best)),
        "answers": float(np.mean([len(row["answers"]) for row in rows])),
        **means,
    }


def vote(answers: Sequence[Mapping[str, Any]]) -> float:
    """The score of the answer with the largest sum of values; 0.0 where there is none."""
    sums: collections.Counter[str] = collections.Counter()
    scores: dict[str, float] = {}
    for each in answers:
        if each["answer"]:
            sums[each["answer"]] += each["value"]
            scores.setdefault(each["answer"], each["score"] or 0.0)
    return scores[max(sums, key=sums.__getitem__)] if sums else 0.0


def samples_of(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows for SFT: the right answers of a search, those of the highest values first."""
    right = [each for each in row["answers"] if each["finish"] == "stop" and each["score"] == 1.0]
    right.sort(key=lambda each: -each["value"])
    return [
        {"id": f"{row['id']}-{n}", "prompt": row["prompt"], "response": each["text"], "answer": row["answer"]}
        for n, each in enumerate(right)
    ]


def labels_of(row: Mapping[str, Any], cfg: SearchQuestionsConfig) -> list[dict[str, Any]]:
    """Labelled steps of all answers of a search: the share of right answers among those that begin so."""
    graded = [each for each in row["answers"] if each["score"] is not None]
    steps = [split_steps(each["text"], cfg.search.separators) for each in graded]
    below: dict[str, list[float]] = collections.defaultdict(list)
    for each, pieces in zip(graded, steps, strict=True):
        for count in range(1, len(pieces) + 1):
            below["".join(pieces[:count])].append(each["score"])
    rows = []
    for n, pieces in enumerate(steps):
        shares = [float(np.mean(below["".join(pieces[: count + 1])])) for count in range(len(pieces))]
        labels = [int(share > 0) for share in shares]
        if pieces:
            rows.append(
                {"id": f"{row['id']}-{n}", "prompt": row["prompt"], "steps": pieces, "labels": labels, "shares": shares}
            )
    return rows
