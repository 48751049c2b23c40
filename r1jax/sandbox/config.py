"""Settings of the sandbox that programs run in."""

import dataclasses

from r1jax.config import at_least, seconds


@dataclasses.dataclass(frozen=True)
class CodeConfig:
    """How programs are run (`r1jax.sandbox.programs`). A task's own limits on time and memory take these ones' place.

    Attributes:
        time_s: wall-clock seconds that one test may take; CPU seconds are bounded by the same number, rounded up.
        total_s: wall-clock seconds that all tests of one program may take together.
        memory_mb: memory of all the program's processes together, in MiB.
        output_mb: what it may print in one test, in MiB.
        disk_mb: its private temporary space, which is memory, in MiB.
        processes: its processes and threads.
        run_untrusted_code_without_a_sandbox: run what a model wrote as this user, on this machine, with its network and
            its files. For machines that are thrown away afterwards.
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
