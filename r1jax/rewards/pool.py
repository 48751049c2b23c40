"""Grades in processes that can be killed, while the accelerator goes on sampling.

Each custom reward has workers of its own beside the graders': one that breaks its process changes no other part.
"""

import contextlib
import dataclasses
import logging
import os
import signal
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from types import MappingProxyType

from r1jax.config import ConfigError, printable
from r1jax.data.types import Grade, Rollout
from r1jax.graders.grader_table import PROGRAMS
from r1jax.graders.judge_client import Judge
from r1jax.rewards import custom, language
from r1jax.rewards.combine import Parts, cheap_parts, combine, grade
from r1jax.rewards.config import CustomReward, RewardConfig
from r1jax.rewards.workers import JobError, WorkerDied, Workers, WorkersFailed
from r1jax.sandbox.programs import check_available

# An ordinary answer takes a thousandth of a second. Programs take their time, and a worker each while they do.
_PATIENCE_S = 0.1
_CUSTOM_PATIENCE = 0.1  # of its time limit
_log = logging.getLogger(__name__)


class PendingGrade:
    """A rollout handed in for grading."""

    def __init__(self, graders: "GraderPool", rollout: Rollout) -> None:
        self._graders, self._rollout = graders, rollout
        self._grade, self._custom, self._judged = graders._hand_in(rollout)

    def result(self, scores: Mapping[str, float | None] = MappingProxyType({})) -> Rollout:
        """Waits for the grade.

        Args:
            scores: the reward models' parts.

        Returns:
            the rollout with its reward, its parts and what the grader found. One that ran out of time or memory or
            crashed its grader has accuracy 0.0; one whose graders raised, or were killed twice from outside, None. A
            custom reward that came to no number, for whatever reason, is None, and changes no other part.

        Raises:
            WorkersFailed: no grader process can be started.
        """
        parts, grade = self._parts()
        parts |= {part: self._custom_part(part, call) for part, call in self._custom.items()} | scores
        if self._judged is not None:
            parts["judge"] = self._judged.result()
        reward = combine(parts, self._graders.cfg)
        return dataclasses.replace(
            self._rollout, parts=parts, reward=reward,
            verdict=grade.verdict, answer=grade.answer, detail=grade.detail,
        )  # fmt: skip

    def _parts(self) -> tuple[Parts, Grade]:
        prompt = self._rollout.prompt
        try:
            return self._grade.result()
        except TimeoutError:
            score, verdict = 0.0, "timeout"
        except MemoryError:
            score, verdict = 0.0, "memory"
        except WorkerDied as death:
            own_doing = death.exitcode != -signal.SIGKILL
            score, verdict = (0.0, "crash") if own_doing else (None, "ungradable")
            _log.warning("prompt %s: its graders died, twice: %s", printable(prompt.id), printable(str(death)))
        except JobError as error:
            score, verdict = None, "ungradable"
            _log.warning("cannot grade prompt %s: %s", printable(prompt.id), printable(str(error)))
        cheap = self._graders._cheap_parts(self._rollout)
        if prompt.grader == "open":  # there was no answer to be graded
            return cheap, Grade(None, "open")
        return {"accuracy": score, **cheap}, Grade(score, verdict)

    def _custom_part(self, part: str, call: "Future[custom.Outcome]") -> float | None:
        try:
            value, fault = call.result()
        except (TimeoutError, MemoryError, WorkerDied, JobError, WorkersFailed) as error:
            value, fault = None, str(error)
        if fault:
            name = printable(self._rollout.prompt.id)
            _log.warning("prompt %s: its part %s is ungradable: %s", name, part, printable(fault))
        return value


class GraderPool:
    """A context manager that holds the grader processes.

    Args:
        cfg: the rewards, the number of processes and their limits.
        seed: the run's, for the random reward.
        max_tokens: the completion's token budget, for the length penalty.
        graders: those that will be called for, so that what one lacks here shows at the start.

    Raises:
        SandboxError: programs are to be graded and there is no sandbox.
        ValueError: an unknown target language; when it is entered, a judge without a key, or a custom reward that
            cannot be loaded.
    """

    def __init__(self, cfg: RewardConfig, seed: int, max_tokens: int, graders: Collection[str] = ()) -> None:
        if PROGRAMS & set(graders):
            check_available(cfg.graders.code)
        if cfg.language:
            language.check(cfg.target_language)
        self.cfg = cfg
        self._languages = bool(cfg.language) or "ifeval" in graders
        self._seed, self._max_tokens = seed, max_tokens
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "GraderPool":
        with contextlib.ExitStack() as stack:
            self._workers = stack.enter_context(
                Workers(self.cfg.graders.workers, self.cfg.graders.memory_mb, languages=self._languages)
            )
            self._judge = stack.enter_context(Judge(self.cfg.judge)) if self.cfg.judge.weight else None
            self._custom = [(reward.part, *self._open(reward, stack)) for reward in self.cfg.custom]
            for part, spec, workers in self._custom:
                if error := workers.submit(int, timeout_s=self.cfg.graders.timeout_s).exception():
                    raise ConfigError(f"the reward {part}, {spec}: {error}")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def submit(self, rollout: Rollout) -> PendingGrade:
        """Hands a rollout in and returns at once."""
        return PendingGrade(self, rollout)

    def score(self, rollouts: Sequence[Rollout]) -> list[Rollout]:
        """Grades rollouts; returns them in their order, with reward, parts and verdict."""
        pending = [self.submit(rollout) for rollout in rollouts]
        return [grade.result() for grade in pending]

    def usage(self) -> dict[str, float]:
        """What the judge has cost so far, in tokens; {} without one."""
        if self._judge is None:
            return {}
        return {
            "judge/prompt_tokens": self._judge.prompt_tokens, "judge/completion_tokens": self._judge.completion_tokens
        }  # fmt: skip

    def _open(self, reward: CustomReward, stack: contextlib.ExitStack) -> tuple[str, Workers]:
        """A custom reward's full name, and its workers, as many as the graders have."""
        spec, cfg = os.path.abspath(reward.function), self.cfg.graders
        return spec, stack.enter_context(Workers(cfg.workers, cfg.memory_mb, (custom.prepare, (spec,))))

    def _hand_in(
        self, rollout: Rollout
    ) -> "tuple[Future[tuple[Parts, Grade]], dict[str, Future[custom.Outcome]], Future[float | None] | None]":
        # Graders have no use for the log-probs, by far the most of a rollout's bytes.
        lean = dataclasses.replace(rollout, logprobs=rollout.logprobs[:0])
        is_code = rollout.prompt.grader in PROGRAMS
        graded = self._workers.submit(
            grade, lean, self.cfg, self._seed, self._max_tokens,
            timeout_s=self.cfg.graders.timeout_s + (self.cfg.graders.code.total_s if is_code else 0.0),
            patience_s=float("inf") if is_code else _PATIENCE_S,
        )  # fmt: skip
        limit_s = self.cfg.graders.timeout_s
        called = {
            part: workers.submit(
                custom.call, spec, lean, timeout_s=limit_s, patience_s=max(_PATIENCE_S, _CUSTOM_PATIENCE * limit_s)
            )
            for part, spec, workers in self._custom
        }
        return graded, called, self._judge.submit(rollout) if self._judge else None

    def _cheap_parts(self, rollout: Rollout) -> Parts:
        return cheap_parts(rollout, self.cfg, self._seed, self._max_tokens)
