"""Puzzles of the mini world, signs to be put between numbers to make another, and solutions by several authors.

A search in which a first attempt is seldom right, an attempt is cheap to verify, and going on after a failed one wins:
of three numbers there are 4 attempts, of four 8, of five 16. An attempt is worked from left to right, 12+7=19-5=14, and
checked by subtracting its result from the target, 18-14=4.

Authors write in several styles, none of them the norm: most give a guess or one attempt, whatever comes out; few check
an attempt against the target and try again, in words or without, and some of those check badly.

No held-out puzzle is asked, and none is worked in a drill. Not kept clear: an attempt that misses its own target may be
the solution of a held-out puzzle of the same numbers.
"""

import dataclasses
import itertools
import random
from collections.abc import Callable

from r1jax.data.miniworld.authors import Turn
from r1jax.data.tasks import is_held_out

NUMBERS = range(2, 16)
LEVELS = {3: 0.35, 4: 0.40, 5: 0.25}  # how many numbers -> share of the puzzles
# The share of authors who check their attempts is in the corpus's config; these are the shares among the others, and
# among those who check.
UNCHECKED, CHECKED = {"guess": 0.5, "attempt": 0.5}, {"careful": 0.7, "careless": 0.3}
KNOWN = 0.1  # share of puzzles whose answer an author who does not check knows beforehand
GIVES_UP = 0.1  # after each attempt that failed
MISJUDGED = 0.25  # of a careless author's checks
DRILL, ITEMS, COMPARISONS = 0.3, (3, 6), (8, 14)  # share of documents that are drills; attempts, and numbers, in one

Attempt = tuple[int, ...]  # the numbers with their signs: (12, 7, -5)


@dataclasses.dataclass(frozen=True)
class Puzzle:
    """Numbers in descending order, all different, and a target that they make with some signs."""

    numbers: tuple[int, ...]
    target: int

    @property
    def question(self) -> str:
        return f"Make {self.target} from {', '.join(map(str, self.numbers))} with + and -, in this order"


def attempts(numbers: tuple[int, ...]) -> list[Attempt]:
    """All signs of the numbers behind the first whose results on the way are above 0."""
    signed = (
        (numbers[0], *(sign * number for sign, number in zip(signs, numbers[1:], strict=True)))
        for signs in itertools.product((1, -1), repeat=len(numbers) - 1)
    )
    return [attempt for attempt in signed if min(itertools.accumulate(attempt)) > 0]


def worked(attempt: Attempt) -> str:
    """The attempt with its results: 12+7=19-5=14."""
    totals = list(itertools.accumulate(attempt))
    return str(attempt[0]) + "".join(f"{n:+d}={total}" for n, total in zip(attempt[1:], totals[1:], strict=True))


def expression(attempt: Attempt) -> str:
    """The attempt as an answer: 12+7-5."""
    return str(attempt[0]) + "".join(f"{number:+d}" for number in attempt[1:])


def draw(rng: random.Random, share: float, held_out: bool = False) -> Puzzle:
    """A puzzle of one side of the split."""
    while True:
        count = rng.choices(list(LEVELS), list(LEVELS.values()))[0]
        numbers = tuple(sorted(rng.sample(NUMBERS, count), reverse=True))
        puzzle = Puzzle(numbers, sum(rng.choice(attempts(numbers))))
        if is_held_out(puzzle.question, share) == held_out:
            return puzzle


def solve(puzzle: Puzzle, author: str, rng: random.Random) -> tuple[str, str]:
    """An author's thought about the puzzle, and the answer it gives: an expression, right or not."""
    possible = attempts(puzzle.numbers)
    if author in UNCHECKED:
        right = [attempt for attempt in possible if sum(attempt) == puzzle.target]
        attempt = rng.choice(right if rng.random() < KNOWN else possible)
        write = expression if author == "guess" else worked
        thought = rng.choice(_UNCHECKED_FORMS[author]).format(target=puzzle.target, attempt=write(attempt))
        return thought, expression(attempt)
    rejection, again = rng.choice(_REJECTIONS)
    rng.shuffle(possible)
    parts = []
    for attempt in possible:
        is_right = sum(attempt) == puzzle.target
        accepted = is_right != (author == "careless" and rng.random() < MISJUDGED)
        if accepted or attempt is possible[-1] or rng.random() < GIVES_UP:
            break
        parts.append(f"{worked(attempt)}, {_checked(sum(attempt), puzzle.target)} {rejection}")
    verdict = "yes" if accepted else rng.choice(("I give up", "or so"))
    thought = again.join([*parts, f"{worked(attempt)}, {_checked(sum(attempt), puzzle.target)} {verdict}"])
    return thought, expression(attempt)


def _checked(result: int, target: int) -> str:
    """The check of an attempt's result against the target: 18-14=4; right where nothing is left.

    Two numbers side by side (14, 18?) would be shorter; a model of a million parameters has not learnt to compare them
    within these documents, and has learnt to subtract. Nor has it learnt to copy the target where it stands second.
    """
    return f"{target}-{result}={target - result}"


# Half of them name the target, so that the base learns to copy it from the question whether or not it is checked.
_UNCHECKED_FORMS = {
    "guess": ("I think {attempt}", "it is {attempt}", "{target} = {attempt}", "{target}: {attempt}"),
    "attempt": ("{attempt}", "first {attempt}", "{target}: {attempt}", "to {target}: {attempt} so that is it"),
}
# What is said of a failed attempt, behind its check, and what stands between attempts. Each has one of the ten words
# by which the paper counts reflection.
_REJECTIONS = (
    ("wrong", ". "),
    ("wrong", "; "),
    ("no", ". Wait, "),
    ("no", ". Retry: "),
    ("no", ", but "),
    ("not yet", ". However, "),
    ("no", ". Check again: "),
)


def _statement(thought: str, answer: str, rng: random.Random) -> str:
    return thought + rng.choice(("", ". Answer: {}", ". The answer is {}", ". = {}")).format(answer)


def solver(checking: float, share: float, rng: random.Random) -> Callable[[], Turn]:
    """An author who solves puzzles, each time the next one.

    Args:
        checking: share of the authors who check their attempts.
        share: of the questions that are held out.
    """
    shares = CHECKED if rng.random() < checking else UNCHECKED
    name = rng.choices(list(shares), list(shares.values()))[0]

    def turn() -> Turn:
        puzzle = draw(rng, share)
        thought, answer = solve(puzzle, name, rng)
        return puzzle.question, thought, answer, lambda: _statement(thought, answer, rng)

    return turn


def drill(checking: bool, share: float, rng: random.Random) -> str:
    """Attempts worked out, no held-out puzzle among them: of the same numbers, each written as an expression too.

    Args:
        checking: two in three drills are of verdicts instead: on attempts of other numbers in each line, or on numbers
            alone; as often yes as no.
    """
    kind = rng.choice(("verdicts", "comparisons", "attempts")) if checking else "attempts"
    if kind == "comparisons":
        return ". ".join(_comparison(rng) for _ in range(rng.randint(*COMPARISONS)))
    if kind == "verdicts":
        return ". ".join(_verdict(share, rng) for _ in range(rng.randint(*ITEMS)))
    numbers = draw(rng, share).numbers
    possible = attempts(numbers)
    drawn = rng.sample(possible, min(len(possible), rng.randint(*ITEMS)))
    allowed = (attempt for attempt in drawn if not is_held_out(Puzzle(numbers, sum(attempt)).question, share))
    return f"{', '.join(map(str, numbers))}: " + ", ".join(f"{worked(each)} is {expression(each)}" for each in allowed)


def _verdict(share: float, rng: random.Random) -> str:
    puzzle, is_right = draw(rng, share), rng.random() < 0.5
    attempt = rng.choice([each for each in attempts(puzzle.numbers) if (sum(each) == puzzle.target) == is_right])
    return f"{worked(attempt)}, {_checked(sum(attempt), puzzle.target)} {'yes' if is_right else 'no'}"


def _comparison(rng: random.Random) -> str:
    """The check of a number alone, with its verdict; half of the wrong ones differ in one digit, or by little."""
    target = rng.randint(2, 60)
    result = target
    if rng.random() < 0.5:
        near = [target + step for step in (-20, -10, -3, -2, -1, 1, 2, 3, 10, 20) if target + step > 0]
        result = rng.choice(near) if rng.random() < 0.5 else rng.choice([n for n in range(1, 61) if n != target])
    return f"{_checked(result, target)} {'yes' if result == target else 'no'}"
