"""Grader processes: rewards of rollouts, computed in processes that can be killed while the accelerator samples.

Each custom reward has workers of its own, so that one that corrupts its process changes no other part.
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
from r1jax.rewards import custom_rewards, language_consistency
from r1jax.rewards.combine import Parts, bounded_parts, combine, grade_and_count
from r1jax.rewards.config import CustomReward, RewardConfig
from r1jax.rewards.workers import JobError, WorkerDied, Workers, WorkersFailed
from r1jax.sandbox.runner import check_available
from r1jax.text.reflection_and_scripts import TextCounts

# An ordinary answer takes a thousandth of a second. Programs take long, and their workers are not demoted.
_DEMOTE_AFTER_S = 0.1
_CUSTOM_DEMOTE_SHARE = 0.1  # of its time limit
Graded = tuple[Parts, Grade, TextCounts | None]
_log = logging.getLogger(__name__)


class PendingGrade:
    """A rollout that is being graded."""

    def __init__(self, pool: "GraderPool", rollout: Rollout) -> None:
        self._pool, self._rollout = pool, rollout
        self._grade, self._custom, self._judge_score = pool._submit_jobs(rollout)

    def result(self, scores: Mapping[str, float | None] = MappingProxyType({})) -> Rollout:
        """Waits for the grade.

        Args:
            scores: part name -> score of the reward models.

        Returns:
            the rollout with its reward, parts, verdict, answer, detail and counts. Accuracy is 0.0 where the grader
            ran out of time or memory or crashed, None where it raised or was killed twice from outside. A custom
            reward that returned no number, for whatever reason, is None, and changes no other part.

        Raises:
            WorkersFailed: no grader process can be started.
        """
        parts, grade, counts = self._parts()
        parts |= {part: self._custom_part(part, call) for part, call in self._custom.items()} | scores
        if self._judge_score is not None:
            parts["judge"] = self._judge_score.result()
        reward = combine(parts, self._pool.cfg)
        return dataclasses.replace(
            self._rollout,
            parts=parts,
            reward=reward,
            verdict=grade.verdict,
            answer=grade.answer,
            detail=grade.detail,
            counts=counts,
        )

    def _parts(self) -> Graded:
        prompt = self._rollout.prompt
        try:
            return self._grade.result()
        except TimeoutError:
            score, verdict = 0.0, "timeout"
        except MemoryError:
            score, verdict = 0.0, "memory"
        except WorkerDied as error:
            is_own_crash = error.exitcode != -signal.SIGKILL
            score, verdict = (0.0, "crash") if is_own_crash else (None, "ungradable")
            _log.warning("prompt %s: its graders died, twice: %s", printable(prompt.id), printable(str(error)))
        except JobError as error:
            score, verdict = None, "ungradable"
            _log.warning("cannot grade prompt %s: %s", printable(prompt.id), printable(str(error)))
        parts = self._pool._bounded_parts(self._rollout)
        if prompt.grader == "open":  # it has no answer to grade
            return parts, Grade(None, "open"), None
        return {"accuracy": score, **parts}, Grade(score, verdict), None

    def _custom_part(self, part: str, call: "Future[custom_rewards.Outcome]") -> float | None:
        try:
            value, error_text = call.result()
        except (TimeoutError, MemoryError, WorkerDied, JobError, WorkersFailed) as error:
            value, error_text = None, str(error)
        if error_text:
            name = printable(self._rollout.prompt.id)
            _log.warning("prompt %s: its part %s is ungradable: %s", name, part, printable(error_text))
        return value


class GraderPool:
    """A context manager that holds the grader processes.

    Args:
        cfg: the rewards, the number of processes and their limits.
        seed: of the run, for the random reward.
        max_tokens: token limit of a completion, for the length penalty.
        graders: names of the graders that will be used, so that missing requirements are errors at the start.

    Raises:
        SandboxError: programs are to be graded and the sandbox does not work.
        ValueError: an unknown target language; on entering, a judge without a key, or a custom reward that cannot be
            loaded.
    """

    def __init__(self, cfg: RewardConfig, seed: int, max_tokens: int, graders: Collection[str] = ()) -> None:
        if PROGRAMS & set(graders):
            check_available(cfg.graders.code)
        if cfg.language:
            language_consistency.check_target(cfg.target_language)
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
        """Starts grading a rollout, and returns at once."""
        return PendingGrade(self, rollout)

    def score(self, rollouts: Sequence[Rollout]) -> list[Rollout]:
        """Grades rollouts and waits for them; returns them in order, see `PendingGrade.result`."""
        pending = [self.submit(rollout) for rollout in rollouts]
        return [grade.result() for grade in pending]

    def usage(self) -> dict[str, float]:
        """The judge's usage so far, in tokens; {} without a judge."""
        if self._judge is None:
            return {}
        return {
            "judge/prompt_tokens": self._judge.prompt_tokens,
            "judge/completion_tokens": self._judge.completion_tokens,
        }

    def _open(self, reward: CustomReward, stack: contextlib.ExitStack) -> tuple[str, Workers]:
        """A custom reward's `path/file.py:name` with an absolute path, and its workers, as many as the graders have."""
        spec, graders = os.path.abspath(reward.function), self.cfg.graders
        return spec, stack.enter_context(Workers(graders.workers, graders.memory_mb, (custom_rewards.prepare, (spec,))))

    def _submit_jobs(
        self, rollout: Rollout
    ) -> "tuple[Future[Graded], dict[str, Future[custom_rewards.Outcome]], Future[float | None] | None]":
        # Graders do not need the log-probs, which are most of a rollout's bytes.
        without_logprobs = dataclasses.replace(rollout, logprobs=rollout.logprobs[:0])
        runs_programs = rollout.prompt.grader in PROGRAMS
        grade_future = self._workers.submit(
            grade_and_count,
            without_logprobs,
            self.cfg,
            self._seed,
            self._max_tokens,
            timeout_s=self.cfg.graders.timeout_s + (self.cfg.graders.code.total_s if runs_programs else 0.0),
            demote_after_s=float("inf") if runs_programs else _DEMOTE_AFTER_S,
        )
        limit_s = self.cfg.graders.timeout_s
        custom_futures = {
            part: workers.submit(
                custom_rewards.call,
                spec,
                without_logprobs,
                timeout_s=limit_s,
                demote_after_s=max(_DEMOTE_AFTER_S, _CUSTOM_DEMOTE_SHARE * limit_s),
            )
            for part, spec, workers in self._custom
        }
        return grade_future, custom_futures, self._judge.submit(rollout) if self._judge else None

    def _bounded_parts(self, rollout: Rollout) -> Parts:
        return bounded_parts(rollout, self.cfg, self._seed, self._max_tokens)
