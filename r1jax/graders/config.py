"""Grader settings: grader processes and their limits, and the judge."""

import dataclasses

from r1jax.config import at_least, seconds
from r1jax.sandbox.config import CodeConfig


@dataclasses.dataclass(frozen=True)
class GraderConfig:
    """Settings of graders and their processes.

    Attributes:
        partial_credit: score reasoning-gym's partial solutions and programs that pass some tests between 0 and 1; else
            a response is right or wrong.
        workers: grader processes that work at a time.
        timeout_s: processor seconds for grading a sample, after which it counts as wrong; programs have `code.total_s`
            in addition. What waits without computing may take 10 times as many by the clock, and a minute at least.
        memory_mb: memory of a grader process, in MiB.
        code: limits on programs.
    """

    partial_credit: bool = False
    workers: int = 2
    timeout_s: float = 10.0
    memory_mb: int = 2048
    code: CodeConfig = CodeConfig()

    def __post_init__(self) -> None:
        at_least(1, self, "workers")
        at_least(512, self, "memory_mb")
        seconds(self, "timeout_s")


@dataclasses.dataclass(frozen=True)
class JudgeConfig:
    """A generative judge behind an OpenAI-compatible endpoint (`r1jax.graders.judge_client`).

    Attributes:
        weight: of the judge's preference, 0 to 1, for the response over the prompt's reference answer; 0.0: no judge.
        base_url: of the endpoint, for example http://localhost:8000/v1.
        model: as the endpoint names it.
        api_key_env: the environment variable that holds the key; "" where none is needed.
        in_flight: requests at a time.
        timeout_s: seconds that a request may take.
        retries: of a request that failed; after them the part is ungradable.
    """

    weight: float = 0.0
    base_url: str = ""
    model: str = ""
    api_key_env: str = "OPENAI_API_KEY"
    in_flight: int = 8
    timeout_s: float = 60.0
    retries: int = 3

    def __post_init__(self) -> None:
        at_least(1, self, "in_flight")
        at_least(0, self, "retries", "weight")
        if self.weight and not (self.base_url and self.model):
            raise ValueError("a judge that has weight needs base_url and model")
        seconds(self, "timeout_s")
