"""Evaluation on benchmarks: any model of ours, any Hugging Face model, any server (arXiv 2501.12948, section 3).

The paper's protocol: temperature 0.6, top-p 0.95, k samples by the size of the set, at most 32,768 tokens, zero-shot;
judges see the summary only. Departures: k by our own rule (`samples_for`), for the paper says no more than "4 to 64 by
test-set size"; instructions are ours (`r1jax.benchmarks`); DROP's three examples come from the set itself.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import jax
from jax.sharding import Mesh

from r1jax.config import at_least, seed_fits
from r1jax.core.sharding import MeshConfig
from r1jax.data.tasks import TaskConfig
from r1jax.models.config import ComputeConfig
from r1jax.models.logits import Truncation
from r1jax.rewards.config import GraderConfig, JudgeConfig
from r1jax.sampling.endpoint import EndpointConfig
from r1jax.sampling.engine import SamplingConfig
from r1jax.stages import graders, result, sampler, stamp
from r1jax.stages.collect import Grader, collect
from r1jax.stages.held_out import EVAL_STREAM
from r1jax.stages.question_sets import BenchmarkConfig, QuestionSet, from_benchmark, from_task
from r1jax.stages.record import write_json
from r1jax.stages.sampler import Sampler
from r1jax.text.chat_template import check_arguments
from r1jax.training.metrics import say


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """One model on some benchmarks.

    Attributes:
        stage: names the loop.
        model: a model folder of ours, a Hugging Face folder or a .gguf file; "": the endpoint.
        endpoint: a model behind an OpenAI-compatible server.
        label: what tables call the model; "": the workdir's name.
        data: the folder that holds the benchmarks' files, each where its adapter says.
        benchmarks: which; see `r1jax.benchmarks`.
        tasks: reasoning-gym's tasks, each a benchmark of `task_questions` questions.
        task_questions: see `tasks`.
        questions: asked of each benchmark, the first of a seeded order; 0: all.
        samples: k; 0: by the number of questions, see `samples_for`.
        template: a name in `r1jax.text.chat.TEMPLATES`, around what the benchmark asks.
        chat: ask through the model's own chat template; with an endpoint, as a user's message.
        template_arguments: what else the chat template reads, say `{"enable_thinking": False}`.
        marker: of the cold-start form, see `Prompt.marker`; "": the form of the tags.
        max_prompt_tokens: leave out, and count, questions whose prompt has more; 0: none of a benchmark, and it is an
            error where the model cannot hold a prompt and a response of `sampling.max_new_tokens`.
        sampling: how samples are drawn.
        graders: how answers are graded.
        judge: who judges the judged benchmarks; its weight means nothing here.
        compute: how the model is computed, where that is not to be as its folder says.
        seed: of the questions' order and of sampling.
    """

    stage: Literal["evaluate"]
    model: str = ""
    endpoint: EndpointConfig = EndpointConfig()
    label: str = ""
    data: str = ""
    benchmarks: tuple[BenchmarkConfig, ...] = ()
    tasks: tuple[TaskConfig, ...] = ()
    task_questions: int = 100
    questions: int = 0
    samples: int = 0
    template: str = "plain"
    chat: bool = True
    marker: str = ""
    sampling: SamplingConfig = SamplingConfig(max_new_tokens=32768, truncation=Truncation(0.6, top_p=0.95))
    graders: GraderConfig = GraderConfig()
    judge: JudgeConfig = JudgeConfig()
    compute: ComputeConfig | None = None
    seed: int = 0
    template_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    max_prompt_tokens: int = 0
    mesh: MeshConfig = MeshConfig()

    def __post_init__(self):
        at_least(0, self, "questions", "samples", "max_prompt_tokens")
        check_arguments(self.template_arguments, self.chat)
        seed_fits(self)
        at_least(1, self, "task_questions")
        names = [benchmark.folder for benchmark in self.benchmarks] + [f"reasoning_gym_{t.name}" for t in self.tasks]
        if not names:
            raise ValueError("nothing to evaluate on: name benchmarks or tasks")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"benchmarks named twice: {', '.join(twice)}")


def samples_for(questions: int) -> int:
    """k by the number of questions: the fewer they are, the more samples each needs for a steady mean.

    64 up to 100 questions (AIME, AMC, CNMO: the paper's cons@64), 16 up to 500, 8 up to 1,000, then 4.
    """
    return 64 if questions <= 100 else 16 if questions <= 500 else 8 if questions <= 1000 else 4


def run(cfg: EvaluateConfig, workdir: pathlib.Path, mesh: Mesh) -> list[dict[str, Any]]:
    """Asks, grades and scores every benchmark in turn, going on where `workdir` stops. Returns the results.

    What a server cost, over all runs on this workdir, is in its `usage.json`.

    Raises:
        FileNotFoundError, ValueError: the model or a benchmark's data cannot be read, or graded here.
    """
    label = cfg.label or workdir.resolve().name
    model = sampler.open_sampler(
        cfg.model, cfg.endpoint, cfg.sampling, cfg.chat, cfg.compute, mesh, workdir / "usage.jsonl",
        cfg.template_arguments, cfg.max_prompt_tokens, "max_prompt_tokens",
    )  # fmt: skip
    sets = [from_benchmark(cfg, each, model.tokenizer, model.prompt_limit) for each in cfg.benchmarks]
    sets += [from_task(cfg, task, model.tokenizer, model.prompt_limit) for task in cfg.tasks]
    say(f"{label}: {', '.join(f'{s.name} ({s.size})' for s in sets)}")
    results = []
    work = [(each.grader, each.name) for each in sets]
    with graders.open_graders(cfg.graders, cfg.judge, work, cfg.seed, cfg.sampling.max_new_tokens) as grade:
        for each in sets:
            found = _evaluate(cfg, each, model, grade, label, workdir / each.name)
            if found:
                results.append(found)
    if model.usage and jax.process_index() == 0:
        write_json(workdir / "usage.json", model.usage.row())
        say(f"{label}: {model.usage.line()}")
    return results


def _evaluate(
    cfg: EvaluateConfig, questions: QuestionSet, model: Sampler, grade: Grader | None, label: str, folder: pathlib.Path
) -> dict[str, Any] | None:
    """One benchmark, from where its folder stops to its result; None in all processes but the first."""
    k = questions.samples or cfg.samples or samples_for(len(questions.prompts))
    setup = {"model": model.stamp, **questions.setup(cfg)}
    grader = graders.version(questions.grader, cfg.graders, cfg.judge)
    record = collect(
        questions.name, folder, setup, grader, questions.prompts, k, (cfg.seed, EVAL_STREAM), model.draw, grade
    )  # fmt: skip
    if record is None:
        return None
    row = result.summarize(questions, record, k, label)
    row["stamp"] = {**setup, "grader": grader, "libraries": stamp.libraries()}
    write_json(folder / "result.json", row)
    if questions.benchmark.write:
        questions.benchmark.write(folder, questions.rows, record.outcomes(questions.prompts, k), label)
    say(result.line(row))
    return row
