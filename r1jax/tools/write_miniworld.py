"""Generated data of the mini world, for the stages after the base where nobody has brought data.

    r1jax write-miniworld OUT [--seed 0] [--marker MARK]

reasoning.jsonl       problems in English and Chinese, graded by "maths"; the last tenth of them is held out
general.jsonl         requests: translations and facts, graded by "exact", and open ones; the held-out ones at the end
mixed.jsonl           both
puzzles.jsonl         puzzles, graded by "countdown", with their level: how many numbers; the last tenth is held out
reasoning_test.jsonl  the held-out problems alone
general_test.jsonl    the held-out requests alone
sft_general.jsonl     good replies to requests, none of them held out, without thoughts
helpfulness.jsonl     pairs of replies, a better and a worse one
harmlessness.jsonl    replies, safe or not

What is held out is `data.tasks.is_held_out(prompt, 0.1)`: a reader of a file that holds both sides splits it by that.
The same seed writes the same bytes, and each file is whole or absent.
"""

import argparse
import itertools
import pathlib
import random
from collections.abc import Iterator, Sequence

from r1jax.config import exit_status, path_given
from r1jax.data.miniworld import puzzles, replies
from r1jax.data.miniworld import requests as world
from r1jax.io import jsonl
from r1jax.io.jsonl import Row

HELD_OUT = 0.1
PROBLEMS = 3000
PUZZLES = 6000
PAIRS = 3000
RESPONSES = 3000


def problem_rows(seed: int, count: int, held_out: bool) -> list[Row]:
    """`count` different problems of one side of the split."""
    rows: dict[str, Row] = {}
    side = "test" if held_out else "training"
    for index in itertools.count():
        question = world.question(random.Random(f"problem/{side}/{seed}/{index}"), HELD_OUT, held_out)
        rows.setdefault(
            question.text,
            {
                "id": f"reasoning-{side}-{index}",
                "prompt": question.text,
                "answer": str(question.problem.answer),
                "grader": "maths",
                "language": question.language,
                "kind": question.problem.kind,
            },
        )
        if len(rows) == count:
            return list(rows.values())


def puzzle_rows(seed: int, count: int, held_out: bool) -> list[Row]:
    """`count` different puzzles of one side of the split."""
    side = "test" if held_out else "training"
    rng, drawn = random.Random(f"puzzle/{side}/{seed}"), {}
    while len(drawn) < count:
        puzzle = puzzles.draw(rng, HELD_OUT, held_out)
        drawn[puzzle.question] = puzzle
    return [
        {
            "id": f"puzzle-{side}-{index}",
            "prompt": question,
            "answer": "",
            "grader": "countdown",
            "nums": list(puzzle.numbers),
            "target": puzzle.target,
            "level": len(puzzle.numbers),
        }
        for index, (question, puzzle) in enumerate(drawn.items())
    ]


def request_rows(held_out: bool) -> list[Row]:
    """All general requests of one side. An open one's answer is a good reply to it, for judges to compare with."""
    side = "test" if held_out else "training"
    return [
        {
            "id": f"general-{side}-{index}",
            "prompt": request.question,
            "answer": request.answer if request.grader == "exact" else request.polite,
            "grader": request.grader,
            "language": request.language,
            "kind": request.kind,
            "thought": "optional",
        }
        for index, request in enumerate(world.requests_of(HELD_OUT, held_out))
    ]


def files(seed: int, marker: str) -> Iterator[tuple[str, list[Row]]]:
    """All files' names and rows."""
    problems = problem_rows(seed, PROBLEMS * 9 // 10, False)
    held_out_problems = problem_rows(seed, PROBLEMS // 10, True)
    requests, held_out_requests = request_rows(False), request_rows(True)
    yield "reasoning.jsonl", problems + held_out_problems
    yield "general.jsonl", requests + held_out_requests
    yield "mixed.jsonl", problems + requests + held_out_problems + held_out_requests
    yield "puzzles.jsonl", puzzle_rows(seed, PUZZLES * 9 // 10, False) + puzzle_rows(seed, PUZZLES // 10, True)
    yield "reasoning_test.jsonl", held_out_problems
    yield "general_test.jsonl", held_out_requests
    known = world.requests_of(HELD_OUT, False)
    yield "sft_general.jsonl", [replies.tuning_row(index, request) for index, request in enumerate(known)]
    yield "helpfulness.jsonl", [replies.helpfulness_row(seed, index, marker) for index in range(PAIRS)]
    yield "harmlessness.jsonl", [replies.harmlessness_row(seed, index, marker) for index in range(RESPONSES)]


def write(folder: pathlib.Path, seed: int, marker: str) -> None:
    """Writes all files.

    Raises:
        ValueError: a negative seed.
    """
    if seed < 0:
        raise ValueError(f"--seed={seed} should not be negative")
    for name, rows in files(seed, marker):
        jsonl.write(folder / name, rows)
        print(f"{len(rows):6,} lines: {folder / name}")


def parser() -> argparse.ArgumentParser:
    """The command line of `r1jax write-miniworld`."""
    parser = argparse.ArgumentParser(
        prog="r1jax write-miniworld",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=path_given, help="the folder to write into")
    parser.add_argument("--seed", type=int, default=0, help="of problems, pairs and responses; %(default)s")
    parser.add_argument("--marker", default="", help="of the cold-start form, for thoughts; by default those of tags")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status, see `config.exit_status`."""
    args = parser().parse_args(argv)
    return exit_status(lambda: write(args.out, args.seed, args.marker), f"writing files into {args.out}")
