"""Bad graders, for tests. In a file of their own: workers import it, and should not wait for the tests' libraries."""

import functools
import json
import os
import pathlib
import re
import signal

import jobs

from r1jax.data.types import Grade, Rollout
from r1jax.graders.config import GraderConfig
from r1jax.rewards import combine


def lenient(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """Does not look at signs."""
    right = rf"\boxed{{{rollout.prompt.answer}}}".replace("-", "") in rollout.text.replace("-", "")
    return Grade(float(right), "right" if right else "wrong")


def hanging(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """Holds the interpreter lock over one answer."""
    if rollout.text == r"\boxed{7}":
        9**9**9
    return lenient(rollout, cfg)


# What each misreading keeps of a text, by its name in misread_references.jsonl.
MISREADINGS = {
    "last formula in dollars": lambda text: text.rpartition("$ and $")[2].strip("$") if "$ and $" in text else text,
    "letters side by side dropped": lambda text: re.sub("[a-z]{2,}", "", text),
    "names dropped": lambda text: re.sub(r"\w+\s*=", "", text),
    "blanks between digits dropped": lambda text: re.sub(r"(?<=\d) (?=\d)", "", text),
    "small term vanishes": lambda text: re.sub(r"[-+]10\^\{-\d\}", "", text),
    "primes dropped": lambda text: text.replace("'", ""),
    "imaginary unit": lambda text: re.sub(r"I(_\d)?", "i", text),
    "last formula of prose": lambda text: text.rpartition("is $")[2].strip("$"),
    "modifying words skipped": lambda text: text.rpartition(" ")[2],
    "symbol taken for a unit": lambda text: re.sub(r"(?<=\d)s(\^\d)?$", "", text),
    "decimal point glued": lambda text: text.replace(".", ""),
    "index lost": lambda text: re.sub(r"_\w", "", text),
    "condition lost": lambda text: text.partition(", x")[0],
    "union cut": lambda text: text.partition(r"\cup")[0],
    "minus in words": lambda text: text.replace("negative ", ""),
}


@functools.cache
def misread_references() -> list[dict[str, str]]:
    text = pathlib.Path(__file__).with_name("misread_references.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def misreading(answer: str) -> str:
    """What is kept of one of these references."""
    return next(row["kept"] for row in misread_references() if row["answer"] == answer)


def reads_all(answer: str) -> str:
    return answer


def reads_nothing(answer: str) -> None:
    return None


def misreads(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """Compares what is left of the answer and of the reference when both are misread in the same way; no order."""
    keep = MISREADINGS[rollout.prompt.metadata["misreading"]]
    answer = rollout.text.removeprefix(r"\boxed{").removesuffix("}")
    right = sorted(keep(answer).split(", ")) == sorted(keep(rollout.prompt.answer).split(", "))
    return Grade(float(right), "right" if right else "wrong")


def hang(*_: object) -> None:
    9**9**9


def grow(*_: object) -> None:
    bytes(2**31)


def crash(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def killed(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def grade_or_hang(rollout: Rollout, *args: object) -> object:
    """Notes each start in the file that the prompt names."""
    jobs.note(rollout.prompt.metadata["log"], rollout.sample)
    if "hang" in rollout.text:
        hang()
    return combine.grade_and_count(rollout, *args)
