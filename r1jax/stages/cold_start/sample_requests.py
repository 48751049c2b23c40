"""Requests to a model for thoughts and summaries; samples are recorded, graded and read as candidates."""

import dataclasses
import pathlib
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from r1jax.config import ConfigError
from r1jax.data.tasks import prompt_text
from r1jax.data.types import Grade, Prompt, Rollout
from r1jax.evaluation.collect import collect
from r1jax.evaluation.record import Record
from r1jax.graders import grader_table
from r1jax.graders.config import GraderConfig
from r1jax.inference.sampler import Sampler
from r1jax.io import jsonl
from r1jax.io.console import say
from r1jax.io.provenance import fingerprint
from r1jax.rewards.grader_pool import GraderPool
from r1jax.stages.cold_start.candidates import CUT_OFF, NOT_IN_FORM, Candidate, as_rollout, fault_of_grade
from r1jax.stages.cold_start.config import DirectConfig, FewShotConfig
from r1jax.stages.sample_filter import language_for
from r1jax.text.chat import find_response
from r1jax.text.cold_start_prompts import DIRECT, EXAMPLES, FEW_SHOT, Example, few_shot, fill, in_language

WAYS = ("few_shot", "direct", "zero", "rewrite")  # the position is part of each way's seed


@dataclasses.dataclass(frozen=True)
class Request:
    """One kind of prompt, and the form of its replies.

    Attributes:
        way: its name, one of `WAYS`, and its record's folder.
        write_version: fingerprint of the settings of `write`, for the record.
        write: a prompt as text, before any chat template.
        chat: prompt the model through its chat template; else it continues the text.
        tags: a reply has to be in the R1-Zero tags; else a thought that the model marks in its own way is accepted.
        ends: a reply has to end with the tags; else what a base model writes after them is left out.
    """

    way: str
    write_version: str
    write: Callable[[Prompt], str]
    chat: bool
    tags: bool
    ends: bool = False

    def read(self, rollout: Rollout) -> tuple[str, str, str]:
        """A reply's thought and summary, and the fault of its form, "" for none."""
        response = rollout.response if self.ends else find_response(rollout.whole, continued=not self.chat)
        closed = response.well_formed and not self.chat and not self.ends
        if rollout.finish != "stop" and not closed:
            return response.thought, response.final, CUT_OFF
        usable = response.well_formed or (not self.tags and response.thought and response.final)
        return response.thought, response.final, "" if usable else NOT_IN_FORM


def few_shot_request(cfg: FewShotConfig, chat: bool, seed: int) -> Request:
    """Few-shot prompting, with examples drawn for each question, never that question itself.

    Raises:
        FileNotFoundError, ValueError: see `jsonl.read_objects`.
    """
    by_language = _examples(cfg.examples) if cfg.examples else EXAMPLES

    def write(prompt: Prompt) -> str:
        language = language_for(prompt.question, prompt.metadata)
        others = [e for e in by_language.get(language) or by_language.get("en", ()) if e.prompt != prompt.question]
        if len(others) < cfg.shots:
            raise ConfigError(
                f"config.few_shot.shots={cfg.shots}, and there are {len(others)} examples for a question "
                f"in {language or 'no language'}: {prompt.question[:60]!r}"
            )
        return few_shot(prompt.question, random.Random(f"{seed}/{prompt.id}").sample(others, cfg.shots), language, chat)

    return Request("few_shot", fingerprint([by_language, cfg.shots, FEW_SHOT]), write, chat, tags=not chat)


def _examples(path: str) -> dict[str, tuple[Example, ...]]:
    """Examples by language."""

    def make(row: jsonl.Row, line: int) -> Example:
        jsonl.check_prompt_alone(row)
        for key in ("prompt", "thought", "summary"):
            jsonl.check_text(key, row.get(key))
        return Example(row["prompt"], row["thought"], row["summary"])

    by_language: dict[str, tuple[Example, ...]] = {}
    for example in jsonl.read_objects(path, make, remedy="repair it, or take it out")[0]:
        language = language_for(example.prompt, {})
        by_language[language] = (*by_language.get(language, ()), example)
    return by_language


def direct_request(cfg: DirectConfig, chat: bool) -> Request:
    """Direct prompting, without examples."""

    def write(prompt: Prompt) -> str:
        built_in = in_language(DIRECT, language_for(prompt.question, prompt.metadata))
        return fill(cfg.instruction or built_in, prompt=prompt.question)

    return Request("direct", fingerprint(cfg.instruction or DIRECT), write, chat, tags=not chat)


@dataclasses.dataclass(frozen=True)
class SampleCollector:
    """The collection of samples, graded and recorded, for any request.

    Attributes:
        workdir: a folder in it holds the record of each way.
        setup: the settings that samples depend on, beside the model and the request.
        seed: of sampling.
        names: of the graders, in `r1jax.graders.grader_table`.
        cfg: their settings.
        pool: the grader processes; None in processes that do not lead their share of samples.
    """

    workdir: pathlib.Path
    setup: Mapping[str, Any]
    seed: int
    names: frozenset[str]
    cfg: GraderConfig
    pool: GraderPool | None

    def collect(self, request: Request, prompts: Sequence[Prompt], samples: int, model: Sampler) -> list[Candidate]:
        """Draws and grades the samples that the record lacks. Candidates in the order of prompts and samples.

        Samples that a server did not answer are missing, and drawn when the run is started again. Prompts too long for
        the model's context with a response are left out, and counted on the console.

        Returns:
            in all processes but the first, none.

        Raises:
            ConfigError: the record holds samples of other settings.
        """
        prompts = [self._rendered(prompt, request, model) for prompt in prompts]
        if model.prompt_limit is not None:
            total = len(prompts)
            prompts = [prompt for prompt in prompts if len(prompt.ids) <= model.prompt_limit]
            if left_out := total - len(prompts):
                say(f"{request.way}: {left_out} prompts of more than {model.prompt_limit} tokens left out")
        setup = {
            "model": model.stamp,
            "chat": request.chat,
            "asked": request.write_version,
            "template_arguments": dict(model.template_arguments),
            **self.setup,
        }
        record = collect(
            request.way,
            self.workdir / request.way,
            setup,
            self._grader(),
            prompts,
            samples,
            (self.seed, WAYS.index(request.way)),
            model.draw,
            self._grade(request),
            model.shares,
        )
        return self._candidates(request, prompts, samples, record, model) if record else []

    def _rendered(self, prompt: Prompt, request: Request, model: Sampler) -> Prompt:
        text = request.write(prompt)
        if model.tokenizer is None:
            return dataclasses.replace(prompt, text=text)
        text = prompt_text(text, "plain", request.chat, model.tokenizer, model.template_arguments)
        return dataclasses.replace(prompt, text=text, ids=tuple(model.tokenizer.encode(text)))

    def _grader(self) -> str:
        """The stamp of the graders: names, versions and limits."""
        limits = [fingerprint(self.cfg.code)] if {"code", "unittests"} & self.names else []
        return " ".join([*(f"{name} {grader_table.version(name)}" for name in sorted(self.names)), *limits])

    def _grade(self, request: Request) -> Callable[[Rollout], Callable[[], Grade]] | None:
        if not self.pool:
            return None

        def grade(rollout: Rollout) -> Callable[[], Grade]:
            thought, summary, fault = request.read(rollout)
            if fault:
                return lambda: Grade(0.0, "malformed")
            pending = self.pool.submit(as_rollout(rollout.prompt, thought, summary))

            def wait() -> Grade:
                graded = pending.result()
                return Grade(graded.parts.get("accuracy"), graded.verdict, graded.answer, graded.detail)

            return wait

        return grade

    def _candidates(
        self, request: Request, prompts: Sequence[Prompt], samples: int, record: Record, model: Sampler
    ) -> list[Candidate]:
        candidates = []
        for prompt in prompts:
            for sample in range(samples):
                grade = record.grades.get((prompt.id, sample))
                if grade is None:
                    continue
                thought, summary, fault = request.read(record.rollout(prompt, sample))
                is_open = grade["verdict"] == "open"
                provenance = {
                    "way": request.way,
                    "teacher": dict(model.stamp),
                    "question": prompt.id,
                    "sample": sample,
                    "seed": self.seed,
                }
                candidates.append(
                    Candidate(
                        f"{request.way}:{prompt.id}:{sample}",
                        prompt,
                        thought,
                        summary,
                        language_for(prompt.question, prompt.metadata),
                        provenance,
                        None if is_open else prompt,
                        fault or ("" if is_open else fault_of_grade(grade["score"])),
                    )
                )
        return candidates
