"""Puzzles of the mini world, a number to be made from two to four others, and solutions by several authors.

A search in which a first attempt is seldom right, an attempt is cheap to verify, and going on after a failed one wins.
An attempt is a chain, worked from left to right: 3+7=10*5=50. Of three numbers there are at most 27 chains, of four at
most 324, and all results on the way lie in 1..99.

Authors write in several styles, none of them the norm: most give a guess or one attempt, whatever comes out; few check
an attempt against the target and try again, in words or without, and some of those check badly.

No held-out puzzle is asked, and none is worked in a drill. Not kept clear: an attempt that misses its own target may be
a solution of a held-out puzzle of the same numbers.
"""

import dataclasses
import functools
import itertools
import random
from collections.abc import Callable

from r1jax.data.miniworld.authors import Turn
from r1jax.data.tasks import is_held_out

NUMBERS, LIMIT = range(2, 10), 99
LEVELS = {2: 0.1, 3: 0.5, 4: 0.4}  # how many numbers -> share of the puzzles
# The share of authors who check their attempts is in the corpus's config; these are the shares among the others, and
# among those who check.
UNCHECKED, CHECKED = {"guess": 0.5, "attempt": 0.5}, {"careful": 0.65, "careless": 0.35}
KNOWN = {"guess": 0.10, "attempt": 0.15}  # share of puzzles whose answer an author knows beforehand
GIVES_UP, MAX_ATTEMPTS = 0.15, 12  # after each attempt that failed; attempts at most
MISJUDGED = 0.3  # of a careless author's checks
DRILL, ITEMS = 0.35, (3, 6)  # share of documents that are worked chains alone; chains in one of them

Chain = tuple[tuple[str, int], ...]  # ("", 3), ("+", 7), ("*", 5)


@dataclasses.dataclass(frozen=True)
class Puzzle:
    """Numbers in ascending order, all different, and a target that one of their chains makes."""

    numbers: tuple[int, ...]
    target: int

    @property
    def question(self) -> str:
        return f"Make {self.target} from {', '.join(map(str, self.numbers))} with + - *, each number once"


def results(chain: Chain) -> list[int]:
    """The running results of a chain, from left to right; the first number is the first of them."""
    totals = [chain[0][1]]
    for sign, number in chain[1:]:
        total = totals[-1]
        totals.append(total + number if sign == "+" else total - number if sign == "-" else total * number)
    return totals


@functools.cache
def chains(numbers: tuple[int, ...]) -> tuple[Chain, ...]:
    """All chains of all the numbers whose results lie in 1..99; of a+b and b+a, and a*b and b*a, the one in order."""
    possible = []
    for order in itertools.permutations(numbers):
        for signs in itertools.product("+-*", repeat=len(numbers) - 1):
            if signs[0] != "-" and order[0] > order[1]:
                continue
            chain = (("", order[0]), *zip(signs, order[1:], strict=True))
            if all(1 <= total <= LIMIT for total in results(chain)):
                possible.append(chain)
    return tuple(possible)


def worked(chain: Chain) -> str:
    """The chain with its results: 3+7=10*5=50."""
    totals = results(chain)
    steps = (f"{sign}{number}={total}" for (sign, number), total in zip(chain[1:], totals[1:], strict=True))
    return str(chain[0][1]) + "".join(steps)


def expression(chain: Chain) -> str:
    """The chain as an expression: (3+7)*5."""
    text, is_sum = str(chain[0][1]), False
    for sign, number in chain[1:]:
        if sign == "*":
            text, is_sum = (f"({text})*{number}" if is_sum else f"{text}*{number}"), False
        else:
            text, is_sum = f"{text}{sign}{number}", True
    return text


def draw(rng: random.Random, share: float, held_out: bool = False) -> Puzzle:
    """A puzzle of one side of the split."""
    while True:
        count = rng.choices(list(LEVELS), list(LEVELS.values()))[0]
        numbers = tuple(sorted(rng.sample(NUMBERS, count)))
        puzzle = Puzzle(numbers, results(rng.choice(chains(numbers)))[-1])
        if is_held_out(puzzle.question, share) == held_out:
            return puzzle


def solve(puzzle: Puzzle, author: str, rng: random.Random) -> tuple[str, str]:
    """An author's thought about the puzzle, and the answer it gives: an expression, right or not."""
    possible = chains(puzzle.numbers)
    if author in UNCHECKED:
        right = [chain for chain in possible if results(chain)[-1] == puzzle.target]
        chain = rng.choice(right if rng.random() < KNOWN[author] else possible)
        answer = expression(chain)
        forms = ("I think {}", "{}", "it is {}") if author == "guess" else ("{}", "first {}", "{} so that is it")
        return rng.choice(forms).format(answer if author == "guess" else worked(chain)), answer
    no, again = rng.choice(_REJECTIONS)
    attempts = rng.sample(possible, min(len(possible), MAX_ATTEMPTS))
    parts = []
    for chain in attempts:
        is_right = results(chain)[-1] == puzzle.target
        accepted = is_right != (author == "careless" and rng.random() < MISJUDGED)
        if accepted or chain is attempts[-1] or rng.random() < GIVES_UP:
            break
        parts.append(f"{worked(chain)}{no.format(puzzle.target)}")
    verdict = ", yes" if accepted else rng.choice((", I give up", ", or so"))
    return again.join([*parts, worked(chain) + verdict]), expression(chain)


# What follows a failed attempt, {} being the target, and what stands between attempts.
_REJECTIONS = (
    (", no", ". "),
    (" no", "; "),
    (", not {}", ". "),
    (", wrong", ". Retry: "),
    (", not {}", ". Wait, "),
    (", but not {}", ". Let me try again: "),
    (", check: not {}", ". Again: "),
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


def drill(rng: random.Random, share: float) -> str:
    """Some numbers, and chains of them worked out and written as expressions, held-out puzzles left out."""
    numbers = draw(rng, share).numbers
    possible = chains(numbers)
    drawn = rng.sample(possible, min(len(possible), rng.randint(*ITEMS)))
    allowed = (chain for chain in drawn if not is_held_out(Puzzle(numbers, results(chain)[-1]).question, share))
    return f"{', '.join(map(str, numbers))}: " + ", ".join(
        f"{worked(chain)} is {expression(chain)}" for chain in allowed
    )
