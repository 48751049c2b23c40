"""Questions of a benchmark, rendered as prompts of one model."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from r1jax import config
from r1jax.benchmarks import arena, reading
from r1jax.benchmarks.benchmark import Benchmark, Row, find, render, source
from r1jax.config import ConfigError
from r1jax.data.tasks import DataConfig, Questions, TaskConfig, prompt_text
from r1jax.data.types import Prompt
from r1jax.evaluation.config import BenchmarkConfig, EvaluateConfig
from r1jax.graders.grader_table import check_row
from r1jax.inference import sampler
from r1jax.io import jsonl, row_files
from r1jax.io.provenance import fingerprint
from r1jax.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class QuestionSet:
    """A benchmark's questions.

    Attributes:
        name: of its folder of results.
        benchmark: its protocol.
        grader: name of the grader or judge protocol.
        prompts: the prompts.
        rows: the data's row of each, by id.
        in_file: questions that the data has.
        samples: k; 0: the evaluation's.
        data: path and hash of the data.
        prompting: instruction and number of examples.
    """

    name: str
    benchmark: Benchmark
    grader: str
    prompts: Sequence[Prompt]
    rows: Mapping[str, Row]
    in_file: int
    samples: int
    data: Mapping[str, Any]
    prompting: Mapping[str, Any]

    @property
    def size(self) -> str:
        """How many questions are asked, and how many are not for the length of their prompts."""
        left_out = self.data.get("prompts_too_long", 0)
        return f"{len(self.prompts)} questions" + (f", {left_out} with too long a prompt left out" if left_out else "")

    def setup(self, cfg: EvaluateConfig) -> dict[str, Any]:
        """The settings that samples depend on beside the model."""
        how = sampler.settings(
            cfg.seed, cfg.sampling, cfg.template, cfg.chat, cfg.marker, cfg.compute, cfg.template_arguments
        )
        return {"data": dict(self.data), **how, **self.prompting}


def from_benchmark(
    cfg: EvaluateConfig, each: BenchmarkConfig, tokenizer: Tokenizer | None, prompt_limit: int | None = None
) -> QuestionSet:
    """Reads, checks and renders a benchmark.

    Args:
        tokenizer: the model's; None: only a server has it.
        prompt_limit: the most tokens of a prompt; None: any number.

    Raises:
        ConfigError: no such benchmark, its data are nowhere, or a prompt is longer than the model can hold
            and the config does not say to leave it out.
        FileNotFoundError, ValueError: see `reading.read`.
    """
    benchmark = find(each.name)
    path = each.path or source(each.name, cfg.data)
    grader = each.grader or benchmark.grader
    answers = arena.read_baseline(pathlib.Path(each.baseline)) if each.baseline else {}
    loaded = reading.read(benchmark, path, grader, answers)
    instruction = benchmark.instruction if each.instruction is None else each.instruction
    count = min(each.questions or cfg.questions or len(loaded.rows), len(loaded.rows))
    rows = [loaded.rows[i] for i in jsonl.order(cfg.seed, len(loaded.rows), 0, count)]
    prompts = []
    for row in rows:
        question = render(row, instruction, loaded.shots)
        text = prompt_text(question, cfg.template, cfg.chat, tokenizer, cfg.template_arguments)
        metadata = {key: value for key, value in row.items() if key not in ("id", "prompt", "answer")}
        prompts.append(
            Prompt(
                row["id"],
                row["prompt"],
                row["answer"],
                f"{grader}:{each.folder}",
                text,
                tuple(tokenizer.encode(text)) if tokenizer else (),
                metadata,
                cfg.marker,
            )
        )
    data = {"path": row_files.name_of(path), "hash": reading.data_hash(path)}
    if prompt_limit is not None and (too_long := [p for p in prompts if len(p.ids) > prompt_limit]):
        longest = max(len(prompt.ids) for prompt in too_long)
        if len(too_long) == len(prompts):
            raise ConfigError(
                f"{each.name}: all {len(prompts)} prompts have more than {prompt_limit} tokens, up to "
                f"{longest}: raise config.max_prompt_tokens={cfg.max_prompt_tokens}, or lower "
                f"config.sampling.max_new_tokens={cfg.sampling.max_new_tokens}"
            )
        if not cfg.max_prompt_tokens:
            raise ConfigError(
                f"{each.name}: {len(too_long)} of {len(prompts)} prompts have more than {prompt_limit} tokens, up to "
                f"{longest}, and the model cannot hold them with responses of config.sampling.max_new_tokens="
                f"{cfg.sampling.max_new_tokens}: lower that, or leave such questions out by "
                f"config.max_prompt_tokens={prompt_limit}"
            )
        data["prompts_too_long"] = len(too_long)
        prompts = [prompt for prompt in prompts if len(prompt.ids) <= prompt_limit]
        asked_ids = {prompt.id for prompt in prompts}
        rows = [row for row in rows if row["id"] in asked_ids]
    if each.baseline:
        data["baseline"] = reading.data_hash(pathlib.Path(each.baseline))
    return QuestionSet(
        each.folder,
        benchmark,
        grader,
        prompts,
        {row["id"]: row for row in rows},
        len(loaded.rows),
        each.samples,
        data,
        {"instruction": instruction, "shots": len(loaded.shots)},
    )


def from_task(
    cfg: EvaluateConfig, task: TaskConfig, tokenizer: Tokenizer | None, prompt_limit: int | None = None
) -> QuestionSet:
    """Held-out questions of a reasoning-gym task: those that no r1jax training with this share ever uses.

    Raises:
        ConfigError: see `tasks.Questions`.
    """
    data = DataConfig(
        tasks=(task,),
        template=cfg.template,
        chat=cfg.chat,
        marker=cfg.marker,
        template_arguments=cfg.template_arguments,
    )
    questions = Questions(data, cfg.seed, tokenizer, examine=check_row, prompt_limit=prompt_limit)
    prompts = questions.held_out(cfg.task_questions)
    name = f"reasoning_gym_{task.name}"
    made_of = {"task": task.name, "options": config.to_dict(task.options), "held_out_share": data.held_out_share}
    if questions.faulty:  # another check would leave out others
        made_of["wrong_references_left_out"] = questions.faulty
    if questions.too_long:
        made_of["prompts_too_long"] = questions.too_long
    benchmark = Benchmark(task.name, "logic", "reasoning_gym", votes=True)
    rows = {prompt.id: {"prompt": prompt.question, "answer": prompt.answer} for prompt in prompts}
    return QuestionSet(
        name,
        benchmark,
        "reasoning_gym",
        prompts,
        rows,
        len(prompts),
        0,
        {
            "path": f"reasoning-gym {task.name}",
            "hash": fingerprint(made_of),
            **({"prompts_too_long": questions.too_long} if questions.too_long else {}),
        },
        {"instruction": "{prompt}", "shots": 0},
    )
