"""Benchmarks while a model is trained, by the code that evaluates finished models."""

from collections.abc import Mapping
from typing import Any

from r1jax.core.params import Params
from r1jax.core.shares import Shares
from r1jax.evaluation.config import BenchmarkConfig, BenchmarkSchedule, EvaluateConfig
from r1jax.evaluation.evaluate import evaluate_sampler
from r1jax.inference import context_length
from r1jax.inference.engine import Engine
from r1jax.inference.sampler import Sampler
from r1jax.text.prompt_format import PromptFormat
from r1jax.training.loop import TrainingRun


class ScheduledBenchmarks:
    """Evaluates a model's present weights on a schedule, and logs a row a benchmark to benchmarks.jsonl.

    Samples and grades lie in `benchmarks/step_NNNNNN/NAME`, in the form of an evaluation's workdir; what a kill
    interrupts goes on from there.
    """

    def __init__(self, schedule: BenchmarkSchedule, training: TrainingRun, prompt_format: PromptFormat, seed: int):
        """Compiles nothing.

        Args:
            training: the run whose model is evaluated, and which logs the rows.
            prompt_format: of the model's prompts, as its folder will record it.

        Raises:
            ConfigError: no such benchmark, its data are nowhere, or the model cannot hold a prompt and a response.
        """
        self._schedule, self._training = schedule, training
        if not schedule.names:
            return
        sets = (name.partition("=") for name in schedule.with_sources().names)
        self._cfg = EvaluateConfig(
            "evaluate",
            benchmarks=tuple(BenchmarkConfig(name, path) for name, _, path in sets),
            questions=schedule.questions,
            samples=schedule.samples,
            template=prompt_format.template,
            chat=prompt_format.chat,
            marker=prompt_format.marker or "",
            sampling=schedule.sampling,
            graders=schedule.graders,
            judge=schedule.judge,
            seed=seed,
            template_arguments=prompt_format.template_arguments,
        )
        new, key = schedule.sampling.max_new_tokens, "evaluation.benchmarks.sampling.max_new_tokens"
        self._limit = context_length.prompt_limit(training.hf_config, training.workdir, new, 0, key)
        self._shares = Shares.of_mesh(training.mesh)
        self._engine = Engine(training.model, schedule.sampling, training.tokenizer, training.mesh, self._shares)

    def evaluate_if_due(self, params: Params, step: int) -> None:
        """Evaluates before this step, where the schedule says so."""
        if self._schedule.is_due(step):
            self.evaluate(params, step)

    def evaluate(self, params: Params, step: int) -> None:
        """Evaluates the weights after `step` steps, where there are benchmarks.

        Raises:
            FileNotFoundError, ValueError: see `evaluate_sampler`.
        """
        if not self._schedule.names:
            return

        def draw(prompts, samples, seed, on_finish, skip) -> object:
            return self._engine.generate(params, prompts, samples, seed, on_finish, skip)

        run, workdir = self._training, self._training.workdir
        stamp = {"path": str(workdir), "step": step}
        sampler = Sampler(draw, run.tokenizer, stamp, prompt_limit=self._limit, shares=self._shares)
        folder = workdir / "benchmarks" / f"step_{step:06d}"
        for result in evaluate_sampler(self._cfg, sampler, f"after {step} steps", folder):
            run.log_evaluation(step, row_of(result), "benchmarks")


def row_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """The row of benchmarks.jsonl from a benchmark's result: its figures with their errors and units, and rates."""
    figures = {}
    for name, figure in result["figures"].items():
        figures |= {name: figure["value"], f"{name}_stderr": figure["stderr"]}
    return {
        "benchmark": result["benchmark"],
        "title": result["title"],
        "units": {name: figure["unit"] for name, figure in result["figures"].items()},
        "n": result["n"],
        "k": result["k"],
        **figures,
        **result["rates"],
        "length": result["length"]["mean"],
    }
