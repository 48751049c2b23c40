"""Rejection sampling: several responses of a policy to each question, the best kept as examples for SFT.

The reasoning data of DeepSeek-R1's second fine-tuning (arXiv 2501.12948, section 2.3.3): samples of the RL checkpoint,
kept where they are right by rule, or by a generative judge where no rule fits, and where the thought is readable.

The workdir holds `record/`, every sample and grade, to which a run started again adds the missing ones; and,
written from it at the end of each run, `samples.jsonl`, the examples; `dropped.jsonl`, a line for each other
sample; `table.json`, the counts. Other filters or graders need no new samples.

Departures: the number of samples, the temperature, the thresholds and the judge's prompt are r1jax's, as the paper
gives none; questions that overlap with evaluations (`r1jax.data.decontaminate`) are left out before sampling.
"""

import collections
import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from jax.sharding import Mesh

from r1jax import config
from r1jax.benchmarks import reading
from r1jax.data.decontaminate import Collision, DecontaminateConfig, Index
from r1jax.data.tasks import DataConfig, Questions
from r1jax.data.types import Prompt, Rollout
from r1jax.evaluation import grading
from r1jax.evaluation.collect import collect
from r1jax.evaluation.record import Record
from r1jax.graders import judge_protocols
from r1jax.graders.grader_table import check_row_for_reward
from r1jax.inference import sampler
from r1jax.inference.trained_prompts import fill_prompt_format
from r1jax.io import files, jsonl, row_files
from r1jax.io.console import ProgressPrinter, say
from r1jax.io.files import write_json
from r1jax.rewards.workers import Workers
from r1jax.stages import sample_filter
from r1jax.stages.rejection import rejection_table
from r1jax.stages.rejection.config import RejectionConfig
from r1jax.stages.rejection.rejection_table import Filtered, FilterResult
from r1jax.stages.sample_filter import Reason
from r1jax.text import prompt_format
from r1jax.text.chat import join_response

# Separates this stage's random numbers from an evaluation's, see `held_out.EVAL_STREAM`.
REJECTION_STREAM = 2**31 - 2
_CHUNK = 64  # samples that a process filters at a time


def run(cfg: RejectionConfig, workdir: pathlib.Path, mesh: Mesh) -> pathlib.Path:
    """Samples, grades, filters and writes, adding to the record in `workdir`. Returns the file of examples.

    Raises:
        ConfigError: the workdir's samples are of other settings, or an evaluation's questions cannot be found.
        FileNotFoundError, ValueError: the model or the questions cannot be read, or cannot be graded here.
    """
    # The policy, and the questions that no evaluation has.
    model = sampler.open_sampler(
        cfg.model,
        cfg.endpoint,
        cfg.sampling,
        bool(cfg.data.chat),
        cfg.compute,
        mesh,
        template_arguments=cfg.data.template_arguments,
        max_prompt_tokens=cfg.data.max_prompt_tokens,
    )
    data = fill_prompt_format(cfg.data, cfg.model, model.tokenizer, prompt_format.R1_ZERO, "config.data")
    cfg = dataclasses.replace(cfg, data=data)
    questions = Questions(
        cfg.data, cfg.seed, model.tokenizer, examine=grader_chooser(cfg), prompt_limit=model.prompt_limit
    )
    questions_taken = questions.training(cfg.num_prompts)
    if left_out := questions.left_out():
        say(f"{cfg.data.path or 'tasks'}: {left_out}")
    prompts, contaminated = split_contaminated(cfg.decontaminate, questions_taken)
    by_grader = collections.Counter(prompt.grader for prompt in prompts)
    say(
        f"{len(prompts)} questions, {cfg.samples} samples each, graded by "
        + ", ".join(f"{name} ({count})" for name, count in sorted(by_grader.items()))
        + (f"; {len(contaminated)} questions are those of evaluations and not asked" if contaminated else "")
    )
    # Samples and their grades; the record holds those of earlier runs.
    setup = {
        "model": model.stamp,
        "questions": _stamp(cfg.data),
        **sampler.settings(
            cfg.seed,
            cfg.sampling,
            cfg.data.template,
            cfg.data.chat,
            cfg.data.marker,
            cfg.compute,
            cfg.data.template_arguments,
        ),
    }
    versions = {name: grading.version(name, cfg.graders, cfg.judge) for name in sorted(by_grader)}
    stamps = {prompt.id: versions[prompt.grader] for prompt in prompts}
    work = {(prompt.grader, prompt.source) for prompt in prompts}
    new = cfg.sampling.max_new_tokens
    with grading.open_graders(cfg.graders, cfg.judge, work, cfg.seed, new, model.shares) as grade:
        record = collect(
            "rejection",
            workdir / "record",
            setup,
            stamps,
            prompts,
            cfg.samples,
            (cfg.seed, REJECTION_STREAM),
            model.draw,
            grade,
            model.shares,
        )
    # The filters, and what they keep.
    out = workdir / "samples.jsonl"
    if record is not None:
        with files.replacing(out) as file:
            chosen = choose(
                cfg,
                record,
                prompts,
                contaminated,
                lambda rollout: file.write(jsonl.line_of(_example(cfg, model.stamp, rollout))),
            )
        table = rejection_table.count(chosen, cfg.samples)
        jsonl.write(workdir / "dropped.jsonl", _dropped(chosen))
        stamp = {
            **setup,
            "graders": versions,
            "filters": config.to_dict(cfg.filters),
            "decontaminate": config.to_dict(cfg.decontaminate),
        }
        write_json(workdir / "table.json", table | {"stamp": stamp})
        rejection_table.show(table)
        say(f"{len(chosen.retained)} examples: {out}")
    return out


def grader_chooser(cfg: RejectionConfig) -> Callable[[jsonl.Row], str]:
    """The function that names the grader of a question's row, for `Questions`.

    A rule, as in RL, but for rows of the grader "open" and of those in `cfg.judged`, and, where there is a judge, for
    rows that name no grader and whose reference no rule can read. These the judge grades: by the facts of the reference
    answer, or where there is none by whether it prefers the response to the row's `reference_output`. A row may also
    name its protocol, a key of `judging.PROTOCOLS`, as its grader.
    """

    def name(row: jsonl.Row) -> str:
        named = row.get("grader", "")
        if named in judge_protocols.PROTOCOLS:
            judge_protocols.PROTOCOLS[named].check(row)
            return named
        if named == "open" or named in cfg.judged:
            return _protocol(row)
        try:
            grader_name = check_row_for_reward(row)
        except ValueError as error:
            if named or not cfg.judge.base_url:
                raise ValueError(f"{error}; what no rule can grade a judge can, see config.judge and judged") from error
            return _protocol(row)
        return _protocol(row) if grader_name in cfg.judged else grader_name

    return name


def _protocol(row: jsonl.Row) -> str:
    if row["answer"].strip():
        return "facts"
    if row.get("reference_output"):
        judge_protocols.PROTOCOLS["preference"].check(row)
        return "preference"
    raise ValueError(
        "no rule grades it, and a judge has no reference: give it an 'answer', or a "
        "'reference_output' to compare with, or the 'grader' of a rule"
    )


def split_contaminated(
    cfg: DecontaminateConfig, prompts: Sequence[Prompt]
) -> tuple[list[Prompt], list[tuple[Prompt, Collision]]]:
    """The questions that no evaluation has, and the contaminated ones.

    Raises:
        ConfigError, FileNotFoundError, ValueError: see `reading.questions`.
    """
    if not cfg.against:
        return list(prompts), []
    index = Index((each for name in cfg.against for each in reading.questions(name, cfg.data)), cfg.ngram)
    clear, contaminated = [], []
    for prompt in prompts:
        if collision := index.collision(prompt.question, cfg.share):
            contaminated.append((prompt, collision))
        else:
            clear.append(prompt)
    if not clear:
        raise ValueError(f"all {len(prompts)} questions are those of evaluations (config.decontaminate): none is left")
    return clear, contaminated


def choose(
    cfg: RejectionConfig,
    record: Record,
    prompts: Sequence[Prompt],
    contaminated: Sequence[tuple[Prompt, Collision]],
    keep: Callable[[Rollout], object],
) -> FilterResult:
    """Filters all samples that have a grade, in the questions' order; the texts of a few are in memory at a time.

    Args:
        keep: called with each that passes.
    """
    graded = [
        (prompt, sample)
        for prompt in prompts
        for sample in range(cfg.samples)
        if (prompt.id, sample) in record.grades and (prompt.id, sample) in record.samples
    ]
    rollouts = (_graded(record, prompt, sample) for prompt, sample in graded)
    retained, dropped, seen = [], [], set()
    with_reasons = _with_reasons(rollouts, len(graded), cfg)
    for _, pairs in itertools.groupby(with_reasons, key=lambda pair: pair[0].prompt.id):
        group = list(pairs)
        reasons = sample_filter.select([rollout for rollout, reason in group if not reason], cfg.filters, seen)
        for rollout, reason in group:
            filtered = Filtered(rollout.prompt, rollout.sample)
            if reason := reason or reasons.get(rollout.sample):
                dropped.append((filtered, reason))
            else:
                retained.append(filtered)
                keep(rollout)
    return FilterResult(prompts, contaminated, retained, dropped, len(prompts) * cfg.samples - len(graded))


def _graded(record: Record, prompt: Prompt, sample: int) -> Rollout:
    grade = record.grades[prompt.id, sample]
    rollout = record.rollout(prompt, sample)
    return dataclasses.replace(rollout, parts={"accuracy": grade["score"]}, verdict=grade["verdict"])


def _with_reasons(
    rollouts: Iterable[Rollout], total: int, cfg: RejectionConfig
) -> Iterator[tuple[Rollout, Reason | None]]:
    """Each rollout with the reason, if any, for which its own content drops it; checked in worker processes."""
    progress, done = ProgressPrinter("filters", "samples"), 0
    waiting: collections.deque = collections.deque()
    source = iter(rollouts)
    with Workers(cfg.graders.workers, cfg.graders.memory_mb, languages=True) as workers:
        while True:
            while len(waiting) <= 2 * cfg.graders.workers and (chunk := list(itertools.islice(source, _CHUNK))):
                reasons = workers.submit(sample_filter.rejection_reasons, chunk, cfg.filters, timeout_s=float("inf"))
                waiting.append((chunk, reasons))
            if not waiting:
                return
            chunk, reasons = waiting.popleft()
            yield from zip(chunk, reasons.result(), strict=True)
            done += len(chunk)
            progress(done, total)


def _stamp(data: DataConfig) -> dict[str, Any]:
    """The settings that decide which questions there are, and in which order."""
    if data.path:
        return {
            "path": row_files.name_of(data.path),
            "hash": reading.data_hash(data.path),
            "columns": data.columns,
            "held_out_share": data.held_out_share,
            "skip_bad_lines": data.skip_bad_lines,
        }
    return {"tasks": data.tasks, "held_out_share": data.held_out_share}


def _example(cfg: RejectionConfig, model: Any, rollout: Rollout) -> jsonl.Row:
    """A row for SFT: the thought and the summary joined in the prompt's form, or the summary alone."""
    prompt, response = rollout.prompt, rollout.response
    whole = join_response(response.thought, response.final, prompt.marker) if response.thought else response.final
    return {
        "id": f"{prompt.id}-{rollout.sample}",
        "prompt": prompt.question,
        "response": whole,
        "answer": prompt.answer,
        "source": prompt.source,
        "language": sample_filter.language_for(prompt.question, prompt.metadata),
        "provenance": {
            "stage": "rejection",
            "model": dict(model),
            "question": prompt.id,
            "sample": rollout.sample,
            "seed": cfg.seed,
            "temperature": cfg.sampling.truncation.temperature,
            "grader": prompt.grader,
            "verdict": rollout.verdict,
            "score": rollout.parts["accuracy"],
        },
    }


def _dropped(chosen: FilterResult) -> Iterator[jsonl.Row]:
    for prompt, collision in chosen.contaminated:
        yield {
            "id": prompt.id,
            "sample": None,
            "reason": "contaminated",
            "detail": f"{collision.id}: {collision.shared}",
        }
    for each, reason in chosen.dropped:
        yield {"id": each.prompt.id, "sample": each.sample, "reason": reason.name, "detail": reason.detail}
