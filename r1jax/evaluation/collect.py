"""Draws samples and grades them, each written down at once: what is killed goes on, what is graded anew needs no new
samples. Evaluation and the stages that collect samples share it.
"""

import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from r1jax.data.types import Grade, Prompt, Rollout
from r1jax.evaluation.record import Record
from r1jax.evaluation.rollouts import from_process_0
from r1jax.inference.sampler import Draw
from r1jax.io import jsonl
from r1jax.rewards.format_rewards import well_formed
from r1jax.training.metrics import clock, say

_SAY_EVERY_S = 10.0
# Hands a sample in and returns at once what waits for the grade.
Grader = Callable[[Rollout], Callable[[], Grade]]


def collect(
    name: str, folder: pathlib.Path, setup: Mapping[str, Any], grader: str | Mapping[str, str],
    prompts: Sequence[Prompt], k: int, seed: tuple[int, ...], draw: Draw, grade: Grader | None,
) -> Record | None:  # fmt: skip
    """Draws k samples of each prompt, those that `folder` does not hold yet, and grades what has no grade of `grader`.

    Args:
        name: for the console.
        folder: of the record.
        setup: what samples depend on; a folder of samples drawn otherwise is refused.
        grader: the stamp of who grades, see `Record`; other grades are given anew.
        grade: None in all processes but the first.

    Returns:
        the record; None in all processes but the first.

    Raises:
        ConfigError: see `Record`.
    """
    if not grade:
        draw(prompts, k, seed, lambda rollout: None, from_process_0(None))
        return None
    record = Record(folder, setup, grader)
    jsonl.write(folder / "questions.jsonl", (
        {"id": p.id, "question": p.question, "answer": p.answer, "text": p.text} for p in prompts
    ))  # fmt: skip
    keys = [(prompt.id, sample) for prompt in prompts for sample in range(k)]
    by_id = {prompt.id: prompt for prompt in prompts}
    again = [key for key in keys if key in record.samples and key not in record.grades]
    progress = _Progress(name, len(keys), sum(key in record.samples for key in keys), record)
    if record.spoiled:
        say(f"{name}: {record.spoiled} lines were cut off; what they held is done again")
    if again:
        say(f"{name}: {len(again)} samples that are there are graded (again)")
    # One thread waits for grades, in the order in which samples came, and writes them down.
    with ThreadPoolExecutor(1, thread_name_prefix="grades") as clerk:

        def keep(key: tuple[str, int], rollout: Rollout, graded: Callable[[], Grade]) -> None:
            record.keep_grade(key, graded(), bool(well_formed(rollout)))

        waiting: list[Future[None]] = []

        def hand_in(rollout: Rollout) -> None:
            waiting.append(clerk.submit(keep, (rollout.prompt.id, rollout.sample), rollout, grade(rollout)))

        def finished(rollout: Rollout) -> None:
            record.keep_sample(rollout)
            hand_in(rollout)
            progress.drawn()

        try:
            for id_, sample in again:
                hand_in(record.rollout(by_id[id_], sample))
            have = frozenset(key for key in keys if key in record.samples)
            draw(prompts, k, seed, finished, from_process_0(have))
            for each in waiting:
                each.result()
        except BaseException:  # Ctrl-C, too: what waits for its grade is kept, and graded by the next run
            clerk.shutdown(wait=False, cancel_futures=True)
            raise
    if missing := sum(key not in record.grades for key in keys):
        say(f"{name}: {missing} of {len(keys)} samples are missing; the same command draws them again")
    return record


class _Progress:
    """Tells the console every ten seconds how far it is, at what rate, and how it stands."""

    def __init__(self, name: str, total: int, done: int, record: Record):
        self._name, self._total, self._record = name, total, record
        self._first, self._done = done, done
        self._began = self._said = time.monotonic()

    def drawn(self) -> None:
        """Counts one sample more."""
        self._done += 1
        now = time.monotonic()
        if now - self._said < _SAY_EVERY_S:
            return
        self._said, rate = now, (self._done - self._first) / (now - self._began)
        grades = list(self._record.grades.values())
        scores = [row["score"] for row in grades if row["score"] is not None]
        cut = sum(row["finish"] == "length" for row in list(self._record.samples.values()))
        so_far = f", {sum(scores) / len(scores):.1%} so far" if scores else ""
        say(f"{self._name}: {self._done}/{self._total} samples, {rate:.2f}/s, "
            f"{clock((self._total - self._done) / rate)} left{so_far}, {cut} cut off")
