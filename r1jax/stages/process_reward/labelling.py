"""Labels of steps by completions: how often a policy that goes on from a step's end comes to the right answer.

Math-Shepherd (arXiv 2312.08935, section 3.3): solutions of a policy are cut into steps, each prefix is completed K
times, and a step's label is 1 where any completion is right (hard estimation) or the share that is (soft estimation).
The last step has no completion; its label is the grade of the solution itself.

The workdir holds a folder for each block of questions with all that was drawn and graded, to which a run started again
adds what is missing, and `labels.jsonl`, written from them at the end: a line for each different solution.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from r1jax.benchmarks import reading
from r1jax.core.shares import from_process_0
from r1jax.data.step_inputs import continued, whole_text
from r1jax.data.tasks import Questions
from r1jax.data.types import Grade, Prompt, Rollout
from r1jax.evaluation import grading
from r1jax.evaluation.collect import Grader, collect
from r1jax.evaluation.record import Record
from r1jax.graders.grader_table import check_row_for_reward
from r1jax.inference import sampler
from r1jax.inference.sampler import Draw, Sampler
from r1jax.inference.trained_prompts import fill_prompt_format
from r1jax.io import jsonl
from r1jax.io.console import say
from r1jax.io.files import write_json
from r1jax.stages.process_reward.config import LabelStepsConfig
from r1jax.text import prompt_format
from r1jax.text.steps import split_steps
from r1jax.text.tokenizer import Tokenizer

# Separates this stage's random numbers from an evaluation's and from those of rejection sampling.
SOLUTION_STREAM, COMPLETION_STREAM = 2**31 - 3, 2**31 - 4


@dataclasses.dataclass(frozen=True)
class Prefix:
    """The beginning of a solution up to the end of a step, which completions go on from.

    Attributes:
        prompt: the policy's prompt with the prefix in it; its id is the question's and the prefix's number.
        question: the question's own prompt.
        text: of the prefix.
    """

    prompt: Prompt
    question: Prompt
    text: str


def run(cfg: LabelStepsConfig, workdir: pathlib.Path, mesh: Mesh) -> pathlib.Path:
    """Samples solutions and completions, grades both, and writes the labels. Returns `workdir/labels.jsonl`.

    Raises:
        ConfigError: the workdir's samples are of other settings.
        FileNotFoundError, ValueError: the policy or the questions cannot be read, or cannot be graded here.
    """
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
        cfg.data, cfg.seed, model.tokenizer, examine=check_row_for_reward, prompt_limit=model.prompt_limit
    )
    prompts = [*questions.training(cfg.num_prompts), *(questions.held_out(cfg.held_out) if cfg.held_out else [])]
    blocks = [prompts[first : first + cfg.block] for first in range(0, len(prompts), cfg.block)]
    say(f"{len(prompts)} questions in {len(blocks)} blocks, {cfg.solutions} solutions each; {questions.left_out()}")
    setup = {
        "model": model.stamp,
        "data": cfg.data,
        "data_hash": reading.data_hash(cfg.data.path) if cfg.data.path else "",
        "separators": cfg.separators,
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
    work = {(prompt.grader, prompt.source) for prompt in prompts}
    out, totals = workdir / "labels.jsonl", dict.fromkeys(("solutions", "steps", "completions", "tokens"), 0)
    new = cfg.sampling.max_new_tokens
    with grading.open_graders(cfg.graders, cfg.judge, work, cfg.seed, new, model.shares) as grade:
        labelling = _Labelling(cfg, setup, model, grade)
        rows = (
            row
            for number, block in enumerate(blocks)
            for row in labelling.label(workdir / f"block_{number:05d}", f"block {number + 1} of {len(blocks)}", block)
        )
        if jax.process_index() == 0:
            jsonl.write(out, _counted(rows, totals))
        else:
            for _ in rows:  # the other processes sample, too
                pass
    if jax.process_index() == 0:
        write_json(workdir / "summary.json", {"questions": len(prompts), **totals, **labelling.counts})
        say(f"{totals['steps']} steps of {totals['solutions']} solutions: {out}")
    return out


def _counted(rows: Iterator[dict[str, Any]], totals: dict[str, int]) -> Iterator[dict[str, Any]]:
    for row in rows:
        totals["solutions"] += 1
        totals["steps"] += len(row["steps"])
        totals["completions"] += sum(row["completions"])
        totals["tokens"] += row["tokens"]
        yield row


class _Labelling:
    """Labelling of blocks of questions.

    Attributes:
        counts: tokens that were sampled for completions, over all blocks.
    """

    def __init__(
        self,
        cfg: LabelStepsConfig,
        setup: Mapping[str, Any],
        model: Sampler,
        grade: Grader | None,
    ):
        self._cfg, self._setup, self._model, self._grade = cfg, setup, model, grade
        self.counts = {"completion_tokens": 0}

    def label(self, folder: pathlib.Path, name: str, prompts: Sequence[Prompt]) -> Iterator[dict[str, Any]]:
        """The rows of a block; none in processes other than 0. All processes call it."""
        cfg = self._cfg
        versions = {prompt.id: grading.version(prompt.grader, cfg.graders, cfg.judge) for prompt in prompts}
        solved = collect(
            f"{name}, solutions",
            folder / "solutions",
            self._setup,
            versions,
            prompts,
            cfg.solutions,
            (cfg.seed, SOLUTION_STREAM),
            self._model.draw,
            self._grade,
            self._model.shares,
        )
        texts = from_process_0(_texts(solved, prompts, cfg.solutions) if solved else None)
        prefixes = _prefixes(prompts, texts, cfg.separators, self._model.tokenizer)
        by_id = {each.prompt.id: each for each in prefixes.values()}
        completed = collect(
            f"{name}, completions",
            folder / "completions",
            self._setup,
            {id_: versions[each.question.id] for id_, each in by_id.items()},
            [each.prompt for each in by_id.values()],
            cfg.completions,
            (cfg.seed, COMPLETION_STREAM),
            _whole_responses(self._model.draw, self._model.tokenizer, by_id),
            _of_questions(self._grade, by_id) if self._grade else None,
            self._model.shares,
        )
        if solved and completed:
            self.counts["completion_tokens"] += sum(row["tokens"] for row in completed.samples.values())
            yield from _rows(cfg, prompts, solved, completed, prefixes)


def _texts(record: Record, prompts: Sequence[Prompt], solutions: int) -> dict[str, list[str]]:
    """The different texts of each question's solutions that have a grade."""
    keys = {prompt.id: [(prompt.id, sample) for sample in range(solutions)] for prompt in prompts}
    return {
        id_: list(dict.fromkeys(record.samples[key]["text"] for key in some if _is_graded(record, key)))
        for id_, some in keys.items()
    }


def _is_graded(record: Record, key: tuple[str, int]) -> bool:
    return key in record.samples and key in record.grades and record.grades[key]["score"] is not None


def _prefixes(
    prompts: Sequence[Prompt],
    texts: Mapping[str, Sequence[str]],
    separators: Sequence[str],
    tokenizer: Tokenizer | None,
) -> dict[tuple[str, str], Prefix]:
    """The prefixes of all solutions, each once, by question and text; not whole solutions."""
    prefixes: dict[tuple[str, str], Prefix] = {}
    for prompt in prompts:
        solutions = (itertools.accumulate(split_steps(text, separators)[:-1]) for text in texts[prompt.id])
        for number, prefix in enumerate(dict.fromkeys(itertools.chain.from_iterable(solutions))):
            going_on = continued(prompt, prefix, tokenizer, f"{prompt.id}/{number}")
            prefixes[prompt.id, prefix] = Prefix(going_on, prompt, prefix)
    return prefixes


def _whole_responses(draw: Draw, tokenizer: Tokenizer | None, by_id: Mapping[str, Prefix]) -> Draw:
    """`draw` for continued prompts: the texts that it passes on are whole responses, prefix and completion."""

    def draw_whole(prompts, samples, seed, on_finish, skip) -> object:
        def finished(rollout: Rollout) -> None:
            each = by_id[rollout.prompt.id]
            text = whole_text(tokenizer, each.question, each.text, rollout)
            on_finish(dataclasses.replace(rollout, text=text))

        return draw(prompts, samples, seed, finished, skip)

    return draw_whole


def _of_questions(grade: Grader, by_id: Mapping[str, Prefix]) -> Grader:
    """The grader of whole responses to the questions that prefixes belong to."""

    def grade_whole(rollout: Rollout) -> Callable[[], Grade]:
        return grade(dataclasses.replace(rollout, prompt=by_id[rollout.prompt.id].question))

    return grade_whole


def _rows(
    cfg: LabelStepsConfig,
    prompts: Sequence[Prompt],
    solved: Record,
    completed: Record,
    prefixes: Mapping[tuple[str, str], Prefix],
) -> Iterator[dict[str, Any]]:
    """The labelled solutions; a step none of whose completions could be graded has the label null."""
    for prompt in prompts:
        seen = set()
        for sample in range(cfg.solutions):
            key = prompt.id, sample
            if not _is_graded(solved, key) or (text := solved.samples[key]["text"]) in seen:
                continue
            seen.add(text)
            score = solved.grades[key]["score"]
            steps = split_steps(text, cfg.separators)
            if not steps:
                continue
            shares, counts = [], []
            for prefix in itertools.accumulate(steps[:-1]):
                each = prefixes[prompt.id, prefix]
                keys = [(each.prompt.id, completion) for completion in range(cfg.completions)]
                most = cfg.sampling.max_new_tokens - (len(each.prompt.ids) - len(each.question.ids))
                right = [
                    completed.grades[k]["score"] >= 1.0 and completed.samples[k]["tokens"] <= most
                    for k in keys
                    if _is_graded(completed, k)
                ]
                shares.append(sum(right) / len(right) if right else None)
                counts.append(len(right))
            shares.append(float(score >= 1.0))
            yield {
                "id": f"{prompt.id}-{sample}",
                "prompt": prompt.question,
                "answer": prompt.answer,
                "steps": steps,
                "labels": [None if share is None else int(share > 0) for share in shares],
                "shares": shares,
                "completions": counts,
                "tokens": solved.samples[key]["tokens"],
                "verdict": solved.grades[key]["verdict"],
                "source": prompt.source,
            }
