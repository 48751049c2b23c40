"""The mini world's problems, in English and in Chinese, and how they are worked out, with and without slips."""

import dataclasses
import math
import random

from r1jax.data.tasks import is_held_out

GIRLS = (
    "Mary",
    "Patricia",
    "Jennifer",
    "Linda",
    "Elizabeth",
    "Barbara",
    "Susan",
    "Jessica",
    "Sarah",
    "Margaret",
    "Alice",
)
BOYS = ("James", "John", "Robert", "Michael", "William", "David", "Richard", "Joseph", "Thomas", "Charles", "Bob")
MOST_TERMS = 4  # of the sums that base models read
HIGHEST_LEVEL = 5


@dataclasses.dataclass(frozen=True)
class Problem:
    """A question, its parts (numbers and operators) and its answer."""

    kind: str
    question: str
    parts: tuple
    answer: int

    @property
    def level(self) -> int:
        """Its difficulty, 1 to 5: the steps of its solution, and in sums one more for numbers of two digits."""
        if self.kind == "chain":
            return min(len(self.parts) // 2 + (max(map(abs, self.parts[::2])) > 9), HIGHEST_LEVEL)
        if self.kind == "gcd":
            return min(len(work(self, random.Random(0), 0.0, "en")[0].split(", ")), HIGHEST_LEVEL)
        return 1


def sum_question(expression: str) -> str:
    return f"State the final answer to the following arithmetic problem: {expression} ="


def chain_problem(rng: random.Random, most_terms: int = MOST_TERMS) -> Problem:
    """2 to `most_terms` terms of 1 or 2 digits, added and subtracted from left to right."""
    low, high = rng.choice([(0, 9), (10, 99)])
    terms = [rng.randint(low, high) for _ in range(rng.randint(2, most_terms))]
    parts: list = [terms[0]]
    for term in terms[1:]:
        parts += [rng.choice("+-"), term]
    total = terms[0]
    for op, term in zip(parts[1::2], parts[2::2], strict=True):
        total += term if op == "+" else -term
    return Problem("chain", sum_question(" ".join(map(str, parts))), tuple(parts), total)


def gcd_problem(rng: random.Random) -> Problem:
    """Greatest common divisor of two numbers up to 40; half the time with a common factor, as in exercise books."""
    factor = rng.randint(2, 12) if rng.random() < 0.5 else 1
    a, b = (factor * rng.randint(1, 40 // factor) for _ in range(2))
    ask = "Find the Greatest Common Divisor (GCD) of these numbers: {}, {}. Give only the GCD as your final answer."
    return Problem("gcd", ask.format(a, b), (a, b), math.gcd(a, b))


def relatives_problem(rng: random.Random) -> Problem:
    """Count the sisters or female friends that a boy near her has: she is one of them herself."""
    her, him, girls, boys = rng.choice(GIRLS), rng.choice(BOYS), rng.randint(1, 6), rng.randint(1, 6)
    form = rng.choice(["brother first", "sister first", "friends", "friends"])
    if form == "brother first":
        noun = "sisters"
        question = f"{her} has {boys} brothers and she also has {girls} sisters."
        question += f" How many sisters does {her}'s brother have?"
    elif form == "sister first":
        noun = "sisters"
        question = f"{her} has {girls} sisters and she also has {boys} brothers."
        question += f" How many sisters does {him}'s brother have?"
    else:
        noun = "female friends"
        question = f"{her} has {boys} male friends and she also has {girls} female friends."
        question += " They all are friends with each other and have no other friends aside."
        question += f" How many female friends does {him}, a male friend of {her}, have?"
    return Problem("relatives", question, (her, noun, girls, boys), girls + 1)


def in_chinese(problem: Problem, rng: random.Random) -> str:
    """The problem's question in Chinese, in one of the phrasings that there are."""
    if problem.kind == "chain":
        return rng.choice(["算一下：{} = ?", "{} 等于?", "先算一下，{} 是?"]).format(" ".join(map(str, problem.parts)))
    if problem.kind == "gcd":
        return rng.choice(["{}, {} 的最大公约数是?", "最大公约数：{}, {}"]).format(*problem.parts)
    her, noun, girls, boys = problem.parts
    if noun == "sisters":
        ask = rng.choice(
            [
                "{her}有{boys}个兄弟，{girls}个姐妹。她的兄弟有?个姐妹",
                "{her}有{girls}个姐妹，{boys}个兄弟。{him}是她的兄弟，有?个姐妹",
            ]
        )
    else:
        ask = "{her}有{boys}个男性朋友，{girls}个女性朋友，都是朋友。男性朋友{him}有?个女性朋友"
    return ask.format(her=her, him=rng.choice(BOYS), girls=girls, boys=boys)


def draw(rng: random.Random, most_terms: int = MOST_TERMS) -> Problem:
    """A problem of any kind, held out or not."""
    kind = rng.choice(["chain", "chain", "gcd", "relatives"])
    if kind == "chain":
        return chain_problem(rng, most_terms)
    return gcd_problem(rng) if kind == "gcd" else relatives_problem(rng)


def make_problem(rng: random.Random, share: float, most_terms: int = MOST_TERMS) -> Problem:
    """A problem of any kind whose question, and whose steps as questions, are not held out."""
    while True:
        problem = draw(rng, most_terms)
        questions = [problem.question]
        if problem.kind == "chain":
            questions += [sum_question(f"{a} {op} {b}") for a, op, b, _ in chain_steps(problem.parts, rng, 0.0)]
        if not any(is_held_out(question, share) for question in questions):
            return problem


def _slip(value: int, rng: random.Random) -> int:
    """A wrong value of the kind people write: off by one or ten, or a lost sign."""
    wrong = value + rng.choice([-10, -2, -1, -1, 1, 1, 2, 10])
    return -value if value and rng.random() < 0.15 else wrong


def maybe(value: int, rng: random.Random, error: float) -> int:
    return _slip(value, rng) if rng.random() < error else value


def chain_steps(parts, rng, error) -> list[tuple[int, str, int, int]]:
    """The running totals as (a, op, b, a op b); an error is carried on."""
    total, steps = parts[0], []
    for op, term in zip(parts[1::2], parts[2::2], strict=True):
        result = maybe(total + term if op == "+" else total - term, rng, error)
        steps.append((total, op, term, result))
        total = result
    return steps


def work(problem: Problem, rng: random.Random, error: float, language: str) -> tuple[str, int]:
    """Steps as text, and the answer they arrive at."""
    if problem.kind == "chain":
        steps = chain_steps(problem.parts, rng, error)
        comma = "，" if language == "zh" else ", "
        return comma.join(f"{a}{op}{b}={c}" for a, op, b, c in steps), steps[-1][3]
    if problem.kind == "gcd":
        a, b = max(problem.parts), min(problem.parts)
        lines = []
        while b:
            remainder = abs(maybe(a % b, rng, error)) % b if a % b else 0
            lines.append(f"{a}%{b}={remainder}")
            a, b = b, remainder
        return ("，" if language == "zh" else ", ").join(lines), a
    her, noun, girls, boys = problem.parts
    forgot = rng.random() < 2 * error
    count = boys if rng.random() < error else girls
    if language == "zh":
        noun = {"sisters": "姐妹", "female friends": "女性朋友"}[noun]
        text = f"{her}有{count}个{noun}" + ("" if forgot else f"，加上她自己，{count}+1={count + 1}")
    else:
        text = f"{her} has {count} {noun}" + ("" if forgot else f", and {her} counts too, {count}+1={count + 1}")
    return text, count + (not forgot)
