"""Sandbox settings: limits on time, memory, output, disk and processes of a program."""

import dataclasses

from r1jax.config import at_least, seconds

# Limits of time are in processor seconds, so that a busy machine makes no wrong answer; these bound what only waits.
WAIT_FACTOR, LEAST_WAIT_S = 10.0, 60.0


def wait_s(processor_s: float) -> float:
    """Wall-clock seconds after which that ends which may take so many processor seconds: 10 times as many, or 60."""
    return max(WAIT_FACTOR * processor_s, LEAST_WAIT_S)


@dataclasses.dataclass(frozen=True)
class CodeConfig:
    """Limits on one program (`r1jax.sandbox.runner`); a task's own limits on time and memory take precedence.

    Attributes:
        time_s: processor seconds that one test may take, in all of the program's processes; what waits without
            computing may take 10 times as many by the clock, and a minute at least.
        total_s: the same of all tests of one program together.
        memory_mb: memory of all the program's processes together, in MiB.
        output_mb: output of one test, in MiB.
        disk_mb: its private temporary space, which is memory, in MiB.
        processes: number of its processes and threads.
        run_untrusted_code_without_a_sandbox: run model-written programs as this user, on this machine, with its network
            and its files. For machines that are deleted afterwards.

    Raises:
        ValueError: a limit is not positive, or `time_s` exceeds `total_s`.
    """

    time_s: float = 10.0
    total_s: float = 60.0
    memory_mb: int = 512
    output_mb: int = 4
    disk_mb: int = 64
    processes: int = 32
    run_untrusted_code_without_a_sandbox: bool = False

    def __post_init__(self) -> None:
        at_least(1, self, "memory_mb", "output_mb", "disk_mb", "processes")
        seconds(self, "time_s", "total_s")
        if self.time_s > self.total_s:
            raise ValueError(f"a program needs 0 < time_s <= total_s, got {self.time_s} and {self.total_s}")
