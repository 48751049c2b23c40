"""Graders of samples as they are drawn: grader processes, and a judge where no rule fits.

Evaluation and rejection sampling use them.
"""

import contextlib
from collections.abc import Callable, Collection, Iterator

from r1jax.core.shares import Shares
from r1jax.data.types import Grade, Rollout
from r1jax.evaluation.collect import Grader
from r1jax.graders import grader_table, judge_protocols
from r1jax.graders.config import GraderConfig, JudgeConfig
from r1jax.graders.judge_client import Judge
from r1jax.io.provenance import fingerprint
from r1jax.rewards.config import RewardConfig
from r1jax.rewards.grader_pool import GraderPool


@contextlib.contextmanager
def open_graders(
    cfg: GraderConfig,
    judge: JudgeConfig,
    work: Collection[tuple[str, str]],
    seed: int,
    max_tokens: int,
    shares: Shares | None = None,
) -> Iterator[Grader | None]:
    """The function that grades, where this process leads its share; None in the others.

    A sample goes to its prompt's grader or protocol.

    Args:
        judge: its weight is not used.
        work: (grader or protocol, name of the set that it grades) of all samples to come.
        seed: see `GraderPool`.
        max_tokens: see `GraderPool`.
        shares: of the samples; None: process 0 grades all.

    Raises:
        ValueError: a judge is called for and there is none, or no sandbox where programs are to run.
    """
    if not (shares or Shares.whole()).leads:
        yield None
        return
    judged = sorted({subject for name, subject in work if name in judge_protocols.PROTOCOLS})
    if judged and not judge.base_url:
        raise ValueError(
            f"{', '.join(judged)}: judged by a model: set config.judge.base_url and config.judge.model to "
            "a server that speaks OpenAI's protocol"
        )
    rules = {name for name, _ in work} - set(judge_protocols.PROTOCOLS)
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(GraderPool(RewardConfig(graders=cfg), seed, max_tokens, rules))
        judge_client = stack.enter_context(Judge(judge)) if judged else None

        def grade(rollout: Rollout) -> Callable[[], Grade]:
            name = rollout.prompt.grader
            if name in judge_protocols.PROTOCOLS:
                return judge_client.grade(judge_protocols.PROTOCOLS[name].grade, rollout).result
            pending = pool.submit(rollout)
            return lambda: _grade_of(pending.result())

        yield grade


def _grade_of(rollout: Rollout) -> Grade:
    return Grade(rollout.parts.get("accuracy"), rollout.verdict, rollout.answer, rollout.detail)


def version(name: str, cfg: GraderConfig, judge: JudgeConfig) -> str:
    """The version of a grader or judge protocol: grades of another version are replaced."""
    if name in judge_protocols.PROTOCOLS:
        return judge_protocols.version(name, judge)
    limits = fingerprint(cfg.code) if name in grader_table.PROGRAMS else ""
    return f"{name} {grader_table.version(name)} {limits}".strip()
