"""Evaluation on benchmarks: any model of ours, any Hugging Face model, any server (arXiv 2501.12948, section 3).

The paper's protocol: temperature 0.6, top-p 0.95, k samples by the size of the set, at most 32,768 tokens, zero-shot;
judges see the summary only. Departures: k by our own rule (`samples_for`), for the paper says no more than "4 to 64 by
test-set size"; instructions are ours (`r1jax.benchmarks`); DROP's three examples come from the set itself.
"""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

import jax
from jax.sharding import Mesh

from r1jax.config import at_least, fingerprint
from r1jax.core.sharding import MeshConfig
from r1jax.data import jsonl
from r1jax.data.tasks import TaskConfig
from r1jax.data.types import Grade, Rollout
from r1jax.models.config import ComputeConfig
from r1jax.models.logits import Truncation
from r1jax.rewards import graders, judging
from r1jax.rewards.config import GraderConfig, JudgeConfig, RewardConfig
from r1jax.rewards.form import well_formed
from r1jax.rewards.judge import Judge
from r1jax.rewards.pool import GraderPool
from r1jax.sampling.endpoint import Endpoint, EndpointConfig
from r1jax.sampling.engine import Engine, SamplingConfig
from r1jax.stages import result, stamp
from r1jax.stages.grading import from_process_0
from r1jax.stages.held_out import EVAL_STREAM
from r1jax.stages.question_sets import BenchmarkConfig, QuestionSet, from_benchmark, from_task
from r1jax.stages.record import Record, write_json
from r1jax.training import checkpoint
from r1jax.training.metrics import clock, say

_SAY_EVERY_S = 10.0
PROGRAMS = ("code", "unittests")  # their grades depend on the sandbox's limits too
# Draws what is not skipped: (set, k, (id, sample) pairs to skip, called with each rollout).
Draw = Callable[[QuestionSet, int, Collection[tuple[str, int]], Callable[[Rollout], None]], object]
# Hands a sample in, for the grader of that name, and returns at once what waits for the grade.
Grader = Callable[[str, Rollout], Callable[[], Grade]]


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
        marker: of the cold-start form, see `Prompt.marker`; "": the form of the tags.
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
    mesh: MeshConfig = MeshConfig()

    def __post_init__(self):
        at_least(0, self, "questions", "samples", "seed")
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

    Raises:
        FileNotFoundError, ValueError: the model or a benchmark's data cannot be read, or graded here.
    """
    label = cfg.label or workdir.resolve().name
    draw, tokenizer, model = _local(cfg, mesh) if cfg.model else _remote(cfg)
    sets = [from_benchmark(cfg, each, tokenizer) for each in cfg.benchmarks]
    sets += [from_task(cfg, task, tokenizer) for task in cfg.tasks]
    say(f"{label}: {', '.join(f'{s.name} ({len(s.prompts)} questions)' for s in sets)}")
    results = []
    with _graders(cfg, sets) as grade:
        for each in sets:
            found = _evaluate(cfg, each, draw, grade, model, label, workdir / each.name)
            if found:
                results.append(found)
    return results


def _evaluate(
    cfg: EvaluateConfig, questions: QuestionSet, draw: Draw, grade: Grader | None,
    model: dict[str, Any], label: str, folder: pathlib.Path,
) -> dict[str, Any] | None:  # fmt: skip
    """One benchmark, from where its folder stops to its result; None in all processes but the first."""
    k = questions.samples or cfg.samples or samples_for(len(questions.prompts))
    if not grade:
        draw(questions, k, from_process_0(None), lambda rollout: None)
        return None
    setup = {"model": model, **questions.setup(cfg)}
    grader = grader_version(cfg, questions.grader)
    record = Record(folder, setup, grader)
    jsonl.write(folder / "questions.jsonl", questions.as_rows())
    keys = [(prompt.id, sample) for prompt in questions.prompts for sample in range(k)]
    prompts = {prompt.id: prompt for prompt in questions.prompts}
    again = [key for key in keys if key in record.samples and key not in record.grades]
    progress = Progress(questions.name, len(keys), sum(key in record.samples for key in keys), record)
    if record.spoiled:
        say(f"{questions.name}: {record.spoiled} lines were cut off; what they held is done again")
    if again:
        say(f"{questions.name}: {len(again)} samples that are there are graded (again)")
    # One thread waits for grades, in the order in which samples came, and writes them down.
    with ThreadPoolExecutor(1, thread_name_prefix="grades") as clerk:

        def keep(key: tuple[str, int], rollout: Rollout, graded: Callable[[], Grade]) -> None:
            record.keep_grade(key, graded(), bool(well_formed(rollout)))

        waiting: list[Future[None]] = []

        def hand_in(rollout: Rollout) -> None:
            key = (rollout.prompt.id, rollout.sample)
            waiting.append(clerk.submit(keep, key, rollout, grade(questions.grader, rollout)))

        def finished(rollout: Rollout) -> None:
            record.keep_sample(rollout)
            hand_in(rollout)
            progress.drawn()

        for id_, sample in again:
            hand_in(record.rollout(prompts[id_], sample))
        have = frozenset(key for key in keys if key in record.samples)
        draw(questions, k, from_process_0(have), finished)
        for each in waiting:
            each.result()
    if missing := sum(key not in record.grades for key in keys):
        say(f"{questions.name}: {missing} of {len(keys)} samples are missing; the same command draws them again")
    row = result.summarize(questions, record, k, label)
    row["stamp"] = {**setup, "grader": grader, "libraries": stamp.libraries()}
    write_json(folder / "result.json", row)
    if questions.benchmark.write:
        questions.benchmark.write(folder, questions.rows, record.outcomes(questions.prompts, k), label)
    say(result.line(row))
    return row


def _local(cfg: EvaluateConfig, mesh: Mesh) -> tuple[Draw, Any, dict[str, Any]]:
    """Sampling from weights on this mesh: what draws, the tokenizer, and the model's stamp."""
    path = pathlib.Path(cfg.model)
    params, model, tokenizer = checkpoint.load_model(path, mesh, cfg.compute, dtype=None)
    engine = Engine(model, cfg.sampling, tokenizer, mesh)

    def draw(questions: QuestionSet, k: int, skip: Collection[tuple[str, int]], on_finish: Callable) -> object:
        return engine.generate(params, questions.prompts, k, (cfg.seed, EVAL_STREAM), on_finish, skip)

    told = stamp.model_hash(path) if jax.process_index() == 0 else ""
    return draw, tokenizer, {"path": cfg.model, "hash": told}


def _remote(cfg: EvaluateConfig) -> tuple[Draw, None, dict[str, Any]]:
    """The same from a server, which has the tokenizer."""
    endpoint = Endpoint(cfg.endpoint, cfg.sampling.max_new_tokens, cfg.sampling.truncation, cfg.chat)

    def draw(questions: QuestionSet, k: int, skip: Collection[tuple[str, int]], on_finish: Callable) -> object:
        return endpoint.generate(questions.prompts, k, (cfg.seed, EVAL_STREAM), on_finish, skip)

    return draw, None, {"endpoint": cfg.endpoint.base_url, "name": cfg.endpoint.model}


@contextlib.contextmanager
def _graders(cfg: EvaluateConfig, sets: list[QuestionSet]) -> Iterator[Grader | None]:
    """Who grades, in process 0; None in the others.

    Raises:
        ValueError: a judge is called for and there is none, or no sandbox where programs are to run.
    """
    if jax.process_index():
        yield None
        return
    names = {each.grader for each in sets}
    judged = sorted(names & set(judging.PROTOCOLS))
    if judged and not cfg.judge.base_url:
        who = ", ".join(each.name for each in sets if each.grader in judged)
        raise ValueError(f"{who}: judged by a model: set config.judge.base_url and config.judge.model to a server that "
                         "speaks OpenAI's protocol")  # fmt: skip
    with contextlib.ExitStack() as stack:
        rewards = RewardConfig(graders=cfg.graders)
        pool = stack.enter_context(
            GraderPool(rewards, cfg.seed, cfg.sampling.max_new_tokens, names - set(judging.PROTOCOLS))
        )
        judge = stack.enter_context(Judge(cfg.judge)) if judged else None

        def grade(name: str, rollout: Rollout) -> Callable[[], Grade]:
            if name in judging.PROTOCOLS:
                return judge.grade(judging.PROTOCOLS[name].grade, rollout).result
            pending = pool.submit(rollout)
            return lambda: _grade_of(pending.result())

        yield grade


def _grade_of(rollout: Rollout) -> Grade:
    return Grade(rollout.parts["accuracy"], rollout.verdict, rollout.answer, rollout.detail)


def grader_version(cfg: EvaluateConfig, name: str) -> str:
    """The stamp of who grades: grades of another are given anew."""
    if name in judging.PROTOCOLS:
        return judging.version(name, cfg.judge)
    return f"{name} {graders.version(name)} {fingerprint(cfg.graders.code) if name in PROGRAMS else ''}".strip()


class Progress:
    """Tells the console every ten seconds how far a benchmark is, at what rate, and how it stands."""

    def __init__(self, name: str, total: int, done: int, record: Record):
        self._name, self._total, self._record = name, total, record
        self._first, self._done = done, done
        self._began = self._said = time.monotonic()

    def drawn(self) -> None:
        """Counts one sample more."""
        self._done += 1
        now = time.monotonic()
        if now - self._said < _SAY_EVERY_S:
            return
        self._said, rate = now, (self._done - self._first) / (now - self._began)
        grades = list(self._record.grades.values())
        scores = [row["score"] for row in grades if row["score"] is not None]
        cut = sum(row["finish"] == "length" for row in list(self._record.samples.values()))
        so_far = f", {sum(scores) / len(scores):.1%} so far" if scores else ""
        say(f"{self._name}: {self._done}/{self._total} samples, {rate:.2f}/s, "
            f"{clock((self._total - self._done) / rate)} left{so_far}, {cut} cut off")
