"""Collection of samples: drawn, graded and recorded one by one, so that a killed run resumes.

A new grader grades the recorded samples again, without new ones. Evaluation and the stages that collect samples use it.
"""

import collections
import pathlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax

from r1jax.core import shared_files
from r1jax.core.shares import Shares, gather
from r1jax.data.types import Grade, Prompt, Rollout
from r1jax.evaluation.record import Record
from r1jax.inference.sampler import Draw
from r1jax.io import jsonl
from r1jax.io.console import ProgressPrinter, say
from r1jax.rewards.format_rewards import well_formed

# Submits a sample for grading and returns at once a function that waits for the grade.
Grader = Callable[[Rollout], Callable[[], Grade]]


def collect(
    name: str,
    folder: pathlib.Path,
    setup: Mapping[str, Any],
    grader: str | Mapping[str, str],
    prompts: Sequence[Prompt],
    k: int,
    seed: tuple[int, ...],
    draw: Draw,
    grade: Grader | None,
    shares: Shares | None = None,
) -> Record | None:
    """Draws k samples of each prompt, those that `folder` does not hold yet, and grades what has no grade of `grader`.

    With several processes each grades and records the samples of its share of the prompts.

    Args:
        name: for the console.
        folder: of the record.
        setup: the settings that samples depend on; a folder of samples with other settings is refused.
        grader: the grader's version, see `Record`; samples with another version's grade are graded again.
        grade: None in processes that do not lead their share.
        shares: in which `draw` deals out the prompts; None: it gives process 0 all samples.

    Returns:
        the record; None in all processes but the first.

    Raises:
        ConfigError: see `Record`.
    """
    shares, is_first = shares or Shares.whole(), jax.process_index() == 0
    record = Record(folder, setup, grader) if is_first else None
    parts = [folder / f"{log}.{i}.jsonl" for log in ("samples", "grades") for i in range(1, shares.count)]
    # Process 0 has taken in the parts of earlier runs.
    shared_files.from_first([folder / "samples.jsonl", folder / "grades.jsonl", *parts])
    if not (grade and shares.leads):
        draw(prompts, k, seed, lambda rollout: None, frozenset().union(*gather(frozenset(), shares)))
        shared_files.to_first(parts)
        return None
    if is_first:
        jsonl.write(
            folder / "questions.jsonl",
            ({"id": p.id, "question": p.question, "answer": p.answer, "text": p.text} for p in prompts),
        )
    else:
        record = Record(folder, setup, grader, shares.index)
    own = [prompt for i, prompt in enumerate(prompts) if shares.of(i, len(prompts)) == shares.index]
    keys = [(prompt.id, sample) for prompt in own for sample in range(k)]
    by_id = {prompt.id: prompt for prompt in own}
    again = [key for key in keys if key in record.samples and key not in record.grades]
    progress = _Progress(name, len(keys), sum(key in record.samples for key in keys), record)
    if record.corrupted:
        say(f"{name}: {record.corrupted} lines were cut off; what they held is done again")
    if again:
        say(f"{name}: {len(again)} samples that are there are graded (again)")
    # One thread waits for grades, in the order of the samples, and records them.
    with ThreadPoolExecutor(1, thread_name_prefix="grades") as recorder:

        def keep(key: tuple[str, int], rollout: Rollout, graded: Callable[[], Grade]) -> None:
            record.keep_grade(key, graded(), bool(well_formed(rollout)))

        waiting: collections.deque[Future[None]] = collections.deque()

        def submit(rollout: Rollout) -> None:
            while waiting and waiting[0].done() and not waiting[0].exception():
                waiting.popleft()  # it holds its rollout
            waiting.append(recorder.submit(keep, (rollout.prompt.id, rollout.sample), rollout, grade(rollout)))

        def finished(rollout: Rollout) -> None:
            record.keep_sample(rollout)
            submit(rollout)
            progress.drawn()

        try:
            for id_, sample in again:
                submit(record.rollout(by_id[id_], sample))
            have = frozenset(key for key in keys if key in record.samples)
            draw(prompts, k, seed, finished, frozenset().union(*gather(have, shares)))
            for each in waiting:
                each.result()
        except BaseException:  # Ctrl-C, too: what waits for its grade is kept, and graded by the next run
            recorder.shutdown(wait=False, cancel_futures=True)
            raise
    if missing := sum(key not in record.grades for key in keys):
        say(f"{name}: {missing} of {len(keys)} samples are missing; the same command draws them again")
    shared_files.to_first(parts)  # every part is whole
    if not is_first:
        return None
    record.take_in_parts()
    return record


class _Progress:
    """Progress on the console: samples, rate, time left, score so far."""

    def __init__(self, name: str, total: int, done: int, record: Record):
        self._printer = ProgressPrinter(name, "samples", start=done)
        self._total, self._done, self._record = total, done, record

    def drawn(self) -> None:
        """Counts one sample more."""
        self._done += 1
        self._printer(self._done, self._total, self._results)

    def _results(self) -> str:
        grades = self._record.grades
        score = f"{grades.total / grades.counted:.1%} so far, " if grades.counted else ""
        return f"{score}{self._record.samples.total:.0f} cut off"
