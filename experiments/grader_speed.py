"""Speed of graders and of sandbox starts, as a Markdown table.

    ./launch_local.sh python experiments/grader_speed.py

Each figure is the median of three runs, with their spread: a minute on 2 idle CPU cores. Tests count processes and
steps instead of seconds.
"""

import dataclasses
import pathlib
import statistics
import sys
import time
from collections.abc import Callable

from r1jax.data.types import Prompt, Rollout
from r1jax.graders.config import GraderConfig
from r1jax.rewards import grader_pool as pool_module
from r1jax.rewards.combine import grade_and_count
from r1jax.rewards.config import RewardConfig
from r1jax.rewards.grader_pool import GraderPool
from r1jax.sandbox import runner
from r1jax.sandbox.config import CodeConfig

RUNS = 3
CFG = RewardConfig(graders=GraderConfig(timeout_s=2.0, memory_mb=512))
THOUGHT = "Let us see what follows from the first equation, and then check it. " * 30
# Reference and answer: four that are compared as they stand, and an expression that sympy must read.
FORMS = (
    ("{}", "{}"),
    ("{}.5", "{}.50"),
    (r"\frac{{{}}}{{7}}", r"\dfrac{{{}}}{{7}}"),
    ("({}, 3)", r"\left({},3\right)"),
    (r"{}\sqrt{{2}}", r"\sqrt{{2}} \cdot {}"),
)
PATHOLOGICAL = (
    "9^{9^{9^{9}}}",
    "1+" * 500_000 + "1",
    "(" * 5000 + "5" + ")" * 5000,
    r"\frac{" * 2000,
    "5" * 1_000_000,
    "99!!!!",
    r"\boxed{" * 20_000,
    "the answer is " * 80_000,
    "[" * 30 + "x^2" + "]" * 30,
    r"\sqrt{" * 300 + "2" + "}" * 300,
)


def rollout(answer: str, reference: str = "5", sample: int = 0, thought: str = "a") -> Rollout:
    """A rollout with an answer in its tags."""
    prompt = Prompt("p", "What is x?", reference, "maths:speed")
    text = f"<think>{thought}</think><answer>{answer}</answer>"
    return Rollout.of_text(prompt, text, sample, tokens=500)


def ordinary(count: int) -> list[Rollout]:
    """Right answers as in MATH after a page of thought, one in five an expression; no two references are the same."""
    return [
        rollout(
            rf"It is $\boxed{{{FORMS[i % len(FORMS)][1].format(i + 1)}}}$.",
            FORMS[i % len(FORMS)][0].format(i + 1),
            i,
            THOUGHT,
        )
        for i in range(count)
    ]


def clean(count: int) -> list[Rollout]:
    """Wrong answers, each a plain number."""
    return [rollout(f"{i}.5", sample=i) for i in range(count)]


def mixed(count: int, hostile: tuple[str, ...]) -> list[Rollout]:
    """`clean` with a hostile answer at every twentieth place."""
    answers = [hostile[i // 20 % len(hostile)] if i % 20 == 0 else f"{i}.5" for i in range(count)]
    return [rollout(answer, sample=i) for i, answer in enumerate(answers)]


def grade_or_hang(sample: Rollout, *arguments: object) -> object:
    """A grader that an answer makes hang, with the interpreter lock held."""
    if "hang" in sample.text:
        9**9**9
    return grade_and_count(sample, *arguments)


def seconds(work: Callable[[], object]) -> list[float]:
    """The wall-clock times of some runs."""
    times = []
    for _ in range(RUNS):
        start = time.monotonic()
        work()
        times.append(time.monotonic() - start)
    return times


def row(label: str, times: list[float], count: int = 0) -> str:
    """A line of the table: seconds, or with a count items a second."""
    figures = sorted(count / each for each in times) if count else sorted(times)
    unit, digits = ("answers a second", ",.0f") if count else ("s", ".3f")
    low, middle, high = (format(x, digits) for x in (figures[0], statistics.median(figures), figures[-1]))
    return f"| {label} | {middle} {unit} | {low} to {high} |"


def main() -> None:
    print("| what | median | of three runs |\n|---|---|---|")
    # References of an earlier run are remembered: other numbers each time.
    batches = iter([ordinary((i + 1) * 4096)[i * 4096 :] for i in range(RUNS)])
    with GraderPool(dataclasses.replace(CFG, graders=GraderConfig()), 0, 1000) as graders:
        graders.score(clean(64))
        times = seconds(lambda: graders.score(next(batches)))
        print(row("as in MATH: a page of thought, one answer in five an expression", times, 4096), flush=True)
    with GraderPool(CFG, 0, 1000) as graders:
        graders.score(clean(64))
        print(row("512 plain numbers", seconds(lambda: graders.score(clean(512)))), flush=True)
        times = seconds(lambda: graders.score(mixed(512, PATHOLOGICAL)))
        print(row("512 answers, 26 of them pathological", times), flush=True)
        pool_module.grade_and_count = grade_or_hang
        times = seconds(lambda: graders.score(mixed(512, ("hang",))))
        print(row("512 answers, 26 of which hang, with a limit of 2 s", times), flush=True)
    for label, command in (("true", ["true"]), ("Python, an empty program", [runner.PYTHON, "-I", "-S", "-c", ""])):
        runner.run(command, CodeConfig())
        print(row(f"sandbox: {label}", seconds(lambda command=command: runner.run(command, CodeConfig()))), flush=True)


if __name__ == "__main__":
    # The workers find this file's functions under its name, not under that of the program, which they must not import.
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    import grader_speed

    grader_speed.main()
