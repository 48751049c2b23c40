"""Generated data of the mini world, for the stages after the base where nobody has brought data.

    r1jax write-miniworld OUT [--seed 0] [--marker MARK] [--harder]

reasoning.jsonl       problems in English and Chinese, graded by "maths"; the last tenth of them is held out
general.jsonl         requests: translations and facts, graded by "exact", and open ones; the held-out ones at the end
mixed.jsonl           both
puzzles.jsonl         puzzles, graded by "countdown", with their level: how many numbers; the last tenth is held out
reasoning_test.jsonl  the held-out problems alone
general_test.jsonl    the held-out requests alone
sft_general.jsonl     good replies to requests, none of them held out, without thoughts
helpfulness.jsonl     pairs of replies, a better and a worse one
harmlessness.jsonl    replies, safe or not

With --harder sums have up to six terms, and there are composed requests too, some graded by "ifeval"
(`r1jax.data.miniworld.composed_requests`). sft_general.jsonl then has two thirds of the requests, answered by authors
of mixed quality, and mixed.jsonl others: all open ones, and as many questions that rules grade, half of them problems.
The other files are the same.

What is held out is `data.tasks.is_held_out(prompt, 0.1)`: a reader of a file that holds both sides splits it by that.
The same seed writes the same bytes, and each file is whole or absent.
"""

import argparse
import itertools
import pathlib
import random
from collections.abc import Iterator, Sequence

from r1jax.config import exit_status, path_given
from r1jax.data.miniworld import composed_requests, problems, puzzles, replies
from r1jax.data.miniworld import requests as world
from r1jax.data.miniworld.requests import Request
from r1jax.data.tasks import is_held_out
from r1jax.io import jsonl
from r1jax.io.jsonl import Row

HELD_OUT = 0.1
PROBLEMS = 3000
PUZZLES = 6000
PAIRS = 3000
RESPONSES = 3000
MOST_TERMS = 6  # of the sums, with --harder


def problem_rows(seed: int, count: int, held_out: bool, most_terms: int = problems.MOST_TERMS) -> list[Row]:
    """`count` different problems of one side of the split."""
    rows: dict[str, Row] = {}
    side = "test" if held_out else "training"
    for index in itertools.count():
        rng = random.Random(f"problem/{side}/{seed}/{index}")
        question = world.question(rng, HELD_OUT, held_out, most_terms)
        rows.setdefault(
            question.text,
            {
                "id": f"reasoning-{side}-{index}",
                "prompt": question.text,
                "answer": str(question.problem.answer),
                "grader": "maths",
                "language": question.language,
                "kind": question.problem.kind,
                "level": question.problem.level,
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


def request_rows(requests: Sequence[Request], held_out: bool) -> list[Row]:
    """Rows of general requests of one side. An open one's answer is a good reply to it, for judges to compare with."""
    side = "test" if held_out else "training"
    return [
        {
            "id": f"general-{side}-{index}",
            "prompt": request.question,
            "answer": request.polite if request.grader == "open" else request.answer,
            "grader": request.grader,
            "language": request.language,
            "kind": request.kind,
            "thought": "optional",
            **composition(request),
        }
        for index, request in enumerate(requests)
    ]


def composition(request: Request) -> Row:
    """The fields that rows of composed requests have beside those of all requests."""
    if request.kind not in composed_requests.COMPOSED_KINDS:
        return {}
    if not request.instructions:
        return {"level": request.level}
    names, parameters = zip(*(each.check for each in request.instructions), strict=True)
    return {"level": request.level, "instruction_id_list": list(names), "kwargs": [dict(each) for each in parameters]}


def files(seed: int, marker: str, harder: bool) -> Iterator[tuple[str, list[Row]]]:
    """All files' names and rows."""
    most_terms = MOST_TERMS if harder else problems.MOST_TERMS
    training = problem_rows(seed, PROBLEMS * 9 // 10, False, most_terms)
    held_out_problems = problem_rows(seed, PROBLEMS // 10, True, most_terms)
    known, held_out = requests_of(harder, False), requests_of(harder, True)
    for_tuning = [not harder or composed_requests.is_for_tuning(request) for request in known]
    requests, held_out_requests = request_rows(known, False), request_rows(held_out, True)
    yield "reasoning.jsonl", training + held_out_problems
    yield "general.jsonl", requests + held_out_requests
    mixed = training + requests
    if harder:
        mixed = mixture(seed, training, list(itertools.compress(requests, (not each for each in for_tuning))))
    yield "mixed.jsonl", mixed + held_out_problems + held_out_requests
    yield "puzzles.jsonl", puzzle_rows(seed, PUZZLES * 9 // 10, False) + puzzle_rows(seed, PUZZLES // 10, True)
    yield "reasoning_test.jsonl", held_out_problems
    yield "general_test.jsonl", held_out_requests
    yield "sft_general.jsonl", tuning_rows(seed, list(itertools.compress(enumerate(known), for_tuning)), harder)
    yield "helpfulness.jsonl", [replies.helpfulness_row(seed, index, marker) for index in range(PAIRS)]
    yield "harmlessness.jsonl", [replies.harmlessness_row(seed, index, marker) for index in range(RESPONSES)]


def tuning_rows(seed: int, requests: Sequence[tuple[int, Request]], harder: bool) -> list[Row]:
    """Replies for fine-tuning to numbered requests: a good one each, or those of authors of mixed quality."""
    if not harder:
        return [replies.tuning_row(index, request) for index, request in requests]
    return [row for index, request in requests for row in replies.tuning_rows_by_authors(seed, index, request)]


def mixture(seed: int, training: Sequence[Row], requests: Sequence[Row]) -> list[Row]:
    """All open requests, and as many questions that rules grade: problems and requests in equal parts.

    The paper's prompts for RL are mixed much like this: 78k of 166k are general ones, for reward models.
    """
    open_requests = [row for row in requests if row["grader"] == "open"]
    by_rule = [row for row in requests if row["grader"] != "open"]
    half = len(open_requests) // 2
    return [*training[:half], *random.Random(f"mixture/{seed}").sample(by_rule, half), *open_requests]


def requests_of(harder: bool, held_out: bool) -> list[Request]:
    """The requests of one side of the split; composed ones too in the harder form of the world."""
    simple = list(world.requests_of(HELD_OUT, held_out))
    composed = composed_requests.composed() if harder else ()
    return simple + [each for each in composed if is_held_out(each.question, HELD_OUT) == held_out]


def write(folder: pathlib.Path, seed: int, marker: str, harder: bool = False) -> None:
    """Writes all files.

    Raises:
        ValueError: a negative seed.
    """
    if seed < 0:
        raise ValueError(f"--seed={seed} should not be negative")
    for name, rows in files(seed, marker, harder):
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
    parser.add_argument("--harder", action="store_true", help="longer problems, composed requests, mixed replies")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status, see `config.exit_status`."""
    args = parser().parse_args(argv)
    return exit_status(lambda: write(args.out, args.seed, args.marker, args.harder), f"writing files into {args.out}")
