"""Batches of jobs for worker processes, with progress on standard error."""

import concurrent.futures
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from r1jax.io.console import ProgressPrinter
from r1jax.rewards.workers import Workers, WorkersFailed


def run_all(
    workers: Workers, subject: str, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], timeout_s: float
) -> list[Future[Any]]:
    """Runs a function on every tuple of arguments, and returns the futures in order, all of them done.

    Args:
        subject: of the lines of progress, for example "gsm8k: grading".
        timeout_s: seconds that a call may take.

    Raises:
        WorkersFailed: no more calls can be run; this is no fault of the rows.
    """
    report = ProgressPrinter(subject, "rows", file=sys.stderr)
    futures = [workers.submit(function, *call, timeout_s=timeout_s) for call in calls]
    for done, _ in enumerate(concurrent.futures.as_completed(futures), 1):
        report(done, len(futures))
    for future in futures:
        if isinstance(error := future.exception(), WorkersFailed):
            raise error
    return futures
