"""Who grades samples as they are drawn: rules, and a judge for what no rule fits. Evaluation and rejection sampling
share it.
"""

import contextlib
from collections.abc import Callable, Collection, Iterator

import jax

from r1jax.config import fingerprint
from r1jax.data.types import Grade, Rollout
from r1jax.evaluation.collect import Grader
from r1jax.graders import grader_table, judge_protocols
from r1jax.graders.config import GraderConfig, JudgeConfig
from r1jax.graders.judge_client import Judge
from r1jax.rewards.config import RewardConfig
from r1jax.rewards.pool import GraderPool


@contextlib.contextmanager
def open_graders(
    cfg: GraderConfig, judge: JudgeConfig, work: Collection[tuple[str, str]], seed: int, max_tokens: int
) -> Iterator[Grader | None]:
    """Who grades, in process 0; None in the others. A sample goes to the grader, or the protocol, of its prompt.

    Args:
        judge: its weight means nothing here.
        work: (name of a grader or a protocol, what it is to grade) of all that will come.
        seed, max_tokens: see `GraderPool`.

    Raises:
        ValueError: a judge is called for and there is none, or no sandbox where programs are to run.
    """
    if jax.process_index():
        yield None
        return
    judged = sorted({what for name, what in work if name in judge_protocols.PROTOCOLS})
    if judged and not judge.base_url:
        raise ValueError(f"{', '.join(judged)}: judged by a model: set config.judge.base_url and config.judge.model to "
                         "a server that speaks OpenAI's protocol")  # fmt: skip
    rules = {name for name, _ in work} - set(judge_protocols.PROTOCOLS)
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(GraderPool(RewardConfig(graders=cfg), seed, max_tokens, rules))
        asked = stack.enter_context(Judge(judge)) if judged else None

        def grade(rollout: Rollout) -> Callable[[], Grade]:
            name = rollout.prompt.grader
            if name in judge_protocols.PROTOCOLS:
                return asked.grade(judge_protocols.PROTOCOLS[name].grade, rollout).result
            pending = pool.submit(rollout)
            return lambda: _grade_of(pending.result())

        yield grade


def _grade_of(rollout: Rollout) -> Grade:
    return Grade(rollout.parts["accuracy"], rollout.verdict, rollout.answer, rollout.detail)


def version(name: str, cfg: GraderConfig, judge: JudgeConfig) -> str:
    """The stamp of who grades: grades of another are given anew."""
    if name in judge_protocols.PROTOCOLS:
        return judge_protocols.version(name, judge)
    limits = fingerprint(cfg.code) if name in grader_table.PROGRAMS else ""
    return f"{name} {grader_table.version(name)} {limits}".strip()
