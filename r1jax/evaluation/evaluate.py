"""Evaluation on benchmarks of r1jax, Hugging Face and served models (arXiv 2501.12948, section 3).

The paper's protocol: temperature 0.6, top-p 0.95, k samples by the size of the set, at most 32,768 tokens, zero-shot;
judges see the summary only. Departures: k by `samples_for`, for the paper says no more than "4 to 64 by test-set
size"; the instructions are those of `r1jax.benchmarks`; DROP's three examples come from the set itself.
"""

import pathlib
from typing import Any

import jax
from jax.sharding import Mesh

from r1jax.evaluation import grading, result
from r1jax.evaluation.benchmark_questions import QuestionSet, from_benchmark, from_task
from r1jax.evaluation.collect import Grader, collect
from r1jax.evaluation.config import EVAL_STREAM, EvaluateConfig
from r1jax.inference import model_identity, sampler
from r1jax.inference.sampler import Sampler
from r1jax.inference.trained_prompts import fill_prompt_format
from r1jax.io.console import say
from r1jax.io.files import write_json
from r1jax.text.prompt_format import PromptFormat


def samples_for(questions: int) -> int:
    """k by the number of questions: the fewer they are, the more samples each needs for a steady mean.

    64 up to 100 questions (AIME, AMC, CNMO: the paper's cons@64), 16 up to 500, 8 up to 1,000, then 4.
    """
    return 64 if questions <= 100 else 16 if questions <= 500 else 8 if questions <= 1000 else 4


def run(cfg: EvaluateConfig, workdir: pathlib.Path, mesh: Mesh) -> list[dict[str, Any]]:
    """Asks, grades and scores every benchmark in turn, going on where `workdir` stops. Returns the results.

    A server's cost, over all runs on this workdir, is in its `usage.json`.

    Raises:
        FileNotFoundError, ValueError: the model or a benchmark's data cannot be read, or graded here.
    """
    label = cfg.label or workdir.resolve().name
    model = sampler.open_sampler(
        cfg.model,
        cfg.endpoint,
        cfg.sampling,
        cfg.chat is not False,
        cfg.compute,
        mesh,
        workdir / "usage.jsonl",
        cfg.template_arguments,
        cfg.max_prompt_tokens,
        "max_prompt_tokens",
    )
    has_template = model.tokenizer is None or model.tokenizer.has_chat_template
    cfg = fill_prompt_format(cfg, cfg.model, model.tokenizer, PromptFormat("plain", has_template, ""))
    results = evaluate_sampler(cfg, model, label, workdir)
    if model.usage and jax.process_index() == 0:
        write_json(workdir / "usage.json", model.usage.row())
        say(f"{label}: {model.usage.line()}")
    return results


def evaluate_sampler(cfg: EvaluateConfig, model: Sampler, label: str, workdir: pathlib.Path) -> list[dict[str, Any]]:
    """Asks, grades and scores every benchmark in turn, going on where `workdir` stops. Returns the results.

    Args:
        cfg: with the prompt format set; what it says of the model is not read.
        label: the model's name in tables.

    Raises:
        FileNotFoundError, ValueError: a benchmark's data cannot be read, or graded here.
    """
    sets = [from_benchmark(cfg, each, model.tokenizer, model.prompt_limit) for each in cfg.benchmarks]
    sets += [from_task(cfg, task, model.tokenizer, model.prompt_limit) for task in cfg.tasks]
    say(f"{label}: {', '.join(f'{s.name} ({s.size})' for s in sets)}")
    results = []
    work = [(each.grader, each.name) for each in sets]
    new = cfg.sampling.max_new_tokens
    with grading.open_graders(cfg.graders, cfg.judge, work, cfg.seed, new, model.shares) as grade:
        for each in sets:
            row = _evaluate(cfg, each, model, grade, label, workdir / each.name)
            if row:
                results.append(row)
    return results


def _evaluate(
    cfg: EvaluateConfig, questions: QuestionSet, model: Sampler, grade: Grader | None, label: str, folder: pathlib.Path
) -> dict[str, Any] | None:
    """One benchmark, from where its folder stops to its result; None in all processes but the first."""
    k = questions.samples or cfg.samples or samples_for(len(questions.prompts))
    setup = {"model": model.stamp, **questions.setup(cfg)}
    grader = grading.version(questions.grader, cfg.graders, cfg.judge)
    seed = cfg.seed, EVAL_STREAM
    record = collect(questions.name, folder, setup, grader, questions.prompts, k, seed, model.draw, grade, model.shares)
    if record is None:
        return None
    row = result.summarize(questions, record, k, label)
    row["stamp"] = {**setup, "grader": grader, "libraries": model_identity.libraries()}
    write_json(folder / "result.json", row)
    if questions.benchmark.write:
        questions.benchmark.write(folder, questions.rows, record.outcomes(questions.prompts, k), label)
    say(result.line(row))
    return row
