"""The mini world's web: short documents about arithmetic and small logic, in many hands, each a function of its index.

The base model is pretrained on these. They are meant to hold every ability that R1-Zero needs and to favour none: an
author is terse, works step by step, works and then checks, is sloppy, or stops too soon, in English, in Chinese or in
both, and all of them err. Checking repairs most of an author's own errors, as it does for people.
Dialogues, tagged text and the R1-Zero template occur as they do on the web: seldom, and seldom followed.

No held-out question is asked, and none is worked as a sum in a drill or as a step of a chain done right. Not kept
clear: the step after a slip (4-7=3, 3-7=-4), in about one document in a hundred, and the `n+1=` of counting relatives.
"""

import dataclasses
import math
import random

from r1jax.data.tasks import is_held_out
from r1jax.text.chat import R1_ZERO_TEMPLATE

GIRLS = (
    "Mary", "Patricia", "Jennifer", "Linda", "Elizabeth", "Barbara", "Susan", "Jessica", "Sarah", "Margaret", "Alice",
)  # fmt: skip
BOYS = ("James", "John", "Robert", "Michael", "William", "David", "Richard", "Joseph", "Thomas", "Charles", "Bob")


@dataclasses.dataclass(frozen=True)
class CorpusConfig:
    """What the documents are made of. Shares are probabilities and need not sum to 1.

    Attributes:
        forms: share of each kind of document: `drill` (bare equations), `plain` (question, solution), `exercises`
            (several, as Q and A), `dialogue` (User and Assistant), `tagged` (the R1-Zero tags around a solution, no
            instruction), `template` (the whole R1-Zero prompt with some reply).
        hands: share of each kind of author.
        template_followed: of the `template` documents, the share whose reply obeys the tags.
        held_out_share: must be that of the RL data's config, so that this text keeps clear of its held-out questions.
    """

    drill: float = 0.33
    plain: float = 0.30
    exercises: float = 0.14
    dialogue: float = 0.12
    tagged: float = 0.04
    template: float = 0.07
    terse: float = 0.22
    worked: float = 0.24
    checked: float = 0.14
    sloppy: float = 0.20
    chinese: float = 0.14
    mixed: float = 0.06
    hasty: float = 0.0
    template_followed: float = 0.06
    held_out_share: float = 0.1


FORMS = ("drill", "plain", "exercises", "dialogue", "tagged", "template")
HANDS = ("terse", "worked", "checked", "sloppy", "chinese", "mixed", "hasty")
CAREFUL = ("worked", "checked")  # and in one language
# How often one step goes wrong, by who works. A checker's first pass is as careless as anybody's.
STEP_ERROR = {"worked": 0.08, "checked": 0.10, "sloppy": 0.25, "recheck": 0.01, "drill": 0.01}


@dataclasses.dataclass(frozen=True)
class Problem:
    """A question, its parts (numbers and operators) and its answer."""

    kind: str
    question: str
    parts: tuple
    answer: int


def _draw(cfg, names: tuple[str, ...], rng: random.Random) -> str:
    return rng.choices(names, [getattr(cfg, name) for name in names])[0]


def _sum_question(expression: str) -> str:
    return f"State the final answer to the following arithmetic problem: {expression} ="


def chain_problem(rng: random.Random) -> Problem:
    """2 to 4 terms of 1 or 2 digits, added and subtracted from left to right."""
    low, high = rng.choice([(0, 9), (10, 99)])
    terms = [rng.randint(low, high) for _ in range(rng.randint(2, 4))]
    parts: list = [terms[0]]
    for term in terms[1:]:
        parts += [rng.choice("+-"), term]
    total = terms[0]
    for op, term in zip(parts[1::2], parts[2::2], strict=True):
        total += term if op == "+" else -term
    return Problem("chain", _sum_question(" ".join(map(str, parts))), tuple(parts), total)


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
        noun, question = "sisters", (
            f"{her} has {boys} brothers and she also has {girls} sisters. How many sisters does {her}'s brother have?")
    elif form == "sister first":
        noun, question = "sisters", (
            f"{her} has {girls} sisters and she also has {boys} brothers. How many sisters does {him}'s brother have?")
    else:
        noun, question = "female friends", (
            f"{her} has {boys} male friends and she also has {girls} female friends. They all are friends with each "
            f"other and have no other friends aside. How many female friends does {him}, a male friend of {her}, have?")
    return Problem("relatives", question, (her, noun, girls, boys), girls + 1)


def make_problem(rng: random.Random, share: float) -> Problem:
    """A problem of any kind whose question, and whose steps as questions, are not held out."""
    while True:
        problem = rng.choice([chain_problem, chain_problem, gcd_problem, relatives_problem])(rng)
        questions = [problem.question]
        if problem.kind == "chain":
            questions += [_sum_question(f"{a} {op} {b}") for a, op, b, _ in _chain_steps(problem.parts, rng, 0.0)]
        if not any(is_held_out(question, share) for question in questions):
            return problem


def _slip(value: int, rng: random.Random) -> int:
    """A wrong value of the kind people write: off by one or ten, or a lost sign."""
    wrong = value + rng.choice([-10, -2, -1, -1, 1, 1, 2, 10])
    return -value if value and rng.random() < 0.15 else wrong


def _maybe(value: int, rng: random.Random, error: float) -> int:
    return _slip(value, rng) if rng.random() < error else value


def _chain_steps(parts, rng, error) -> list[tuple[int, str, int, int]]:
    """The running totals as (a, op, b, a op b); an error is carried on."""
    total, steps = parts[0], []
    for op, term in zip(parts[1::2], parts[2::2], strict=True):
        result = _maybe(total + term if op == "+" else total - term, rng, error)
        steps.append((total, op, term, result))
        total = result
    return steps


def _work(problem: Problem, rng: random.Random, error: float, language: str) -> tuple[str, int]:
    """Steps as text, and the answer they arrive at."""
    if problem.kind == "chain":
        steps = _chain_steps(problem.parts, rng, error)
        comma = "，" if language == "zh" else ", "
        return comma.join(f"{a}{op}{b}={c}" for a, op, b, c in steps), steps[-1][3]
    if problem.kind == "gcd":
        a, b = max(problem.parts), min(problem.parts)
        lines = []
        while b:
            remainder = abs(_maybe(a % b, rng, error)) % b if a % b else 0
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


def solve(problem: Problem, hand: str, rng: random.Random) -> tuple[str, int]:
    """How this hand thinks about the problem, and the answer it gives."""
    if hand == "terse":
        answer = _maybe(problem.answer, rng, 0.3)
        return rng.choice(["it is {}", "{}", "that is {}", "easy, {}", "I think {}"]).format(answer), answer
    if hand == "sloppy":
        text, answer = _work(problem, rng, STEP_ERROR["sloppy"], "en")
        text = rng.choice(["{} or so", "roughly {}", "{} I guess", "{}"]).format(text)
        return text, _maybe(answer, rng, 0.1)
    if hand == "worked":
        text, answer = _work(problem, rng, STEP_ERROR["worked"], "en")
        return rng.choice(["{}", "{}. So {a}", "step by step: {}", "first {}. So {a}"]).format(text, a=answer), answer
    if hand == "checked":
        first, guess = _work(problem, rng, STEP_ERROR["checked"], "en")
        again, answer = _work(problem, rng, STEP_ERROR["recheck"], "en")
        check = rng.choice(["Wait, let me check", "Let me check again", "Hmm, wait", "Let me verify"])
        verdict = f"Yes, {answer}" if answer == guess else f"So not {guess} but {answer}"
        return f"{first}. {check}: {again}. {verdict}", answer
    if hand == "chinese":
        style = rng.choice(["terse", "worked", "worked", "checked"])
        if style == "terse":
            answer = _maybe(problem.answer, rng, 0.3)
            return rng.choice(["等于{}", "是{}", "答案是{}"]).format(answer), answer
        first, answer = _work(problem, rng, STEP_ERROR[style], "zh")
        if style == "worked":
            return rng.choice(["先算，{}", "{}，所以是{a}", "{}"]).format(first, a=answer), answer
        guess, (again, answer) = answer, _work(problem, rng, STEP_ERROR["recheck"], "zh")
        verdict = f"对，是{answer}" if answer == guess else f"不对，不是{guess}，是{answer}"
        return f"{first}。等等，检查一下：{again}。{verdict}", answer
    if hand == "hasty":
        return _stop_early(problem, rng)
    # mixed: begins in one language and ends in the other
    text, answer = _work(problem, rng, STEP_ERROR["worked"], rng.choice(["en", "zh"]))
    ending = rng.choice(["let me see，{}，所以是{a}", "先算 {}, so it is {a}", "{}，the answer 是{a}"])
    return ending.format(text, a=answer), answer


def careful_solution(rng: random.Random, share: float) -> tuple[str, str]:
    """A question that is not held out, and the right answer to it, worked out within the R1-Zero tags."""
    while True:
        problem = make_problem(rng, share)
        thought, answer = solve(problem, rng.choice(CAREFUL), rng)
        if answer == problem.answer:
            return problem.question, _tags(thought, answer)


def _stop_early(problem: Problem, rng: random.Random) -> tuple[str, int]:
    """Work that ends one step too soon and takes what it has for the answer."""
    if problem.kind == "chain":
        steps = _chain_steps(problem.parts, rng, 0.0)[:-1]
        if not steps:
            return solve(problem, "terse", rng)
        return ", ".join(f"{a}{op}{b}={c}" for a, op, b, c in steps), steps[-1][3]
    if problem.kind == "gcd":
        a, b = max(problem.parts), min(problem.parts)
        return f"{a}%{b}={a % b}", a % b or b
    her, noun, girls, _ = problem.parts
    return f"{her} has {girls} {noun}", girls


def _statement(thought: str, answer: int, hand: str, rng: random.Random) -> str:
    """A solution outside any tags, in one of the ways that people end one."""
    end = rng.choice(["", ". Answer: {}", ". The answer is {}", "。答案：{}" if hand == "chinese" else ". = {}"])
    return thought + end.format(answer)


def _tags(thought: str, answer: int) -> str:
    return f"<think> {thought} </think> <answer> {answer} </answer>"


def _broken_tags(thought: str, answer: int, rng: random.Random) -> str:
    return rng.choice([
        f"<think> {thought} </think> {answer}",
        f"<think> {thought}. The answer is {answer}",
        f"<answer> {answer} </answer>",
        f"{thought} <answer> {answer} </answer>",
        f"<think> {thought} </answer>",
    ])  # fmt: skip


def _drill(rng: random.Random, share: float) -> str:
    """A line of bare equations, nearly all true: tables and answer keys are where arithmetic is learnt."""
    items: list[str] = []
    while len(items) < 14:
        if rng.random() < 0.75:
            low, high = rng.choice([(0, 9), (10, 99), (-99, 198)])
            a, op, b = rng.randint(low, high), rng.choice("+-"), rng.randint(0, 9 if high == 9 else 99)
            if not is_held_out(_sum_question(f"{a} {op} {b}"), share):
                items.append(f"{a}{op}{b}={_maybe(a + b if op == '+' else a - b, rng, STEP_ERROR['drill'])}")
        else:
            b = rng.randint(1, 40)
            a = rng.randint(b, 40)
            items.append(f"{a}%{b}={_maybe(a % b, rng, STEP_ERROR['drill'])}")
    return ", ".join(items)


def document(cfg: CorpusConfig, seed: int, index: int) -> str:
    """Document `index` of the corpus: a pure function of its arguments."""
    rng = random.Random(f"{seed}/{index}")
    form = _draw(cfg, FORMS, rng)
    if form == "drill":
        return _drill(rng, cfg.held_out_share)
    # One document has one author.
    hand = _draw(cfg, HANDS, rng)

    def solved() -> tuple[Problem, str, int]:
        problem = make_problem(rng, cfg.held_out_share)
        return problem, *solve(problem, hand, rng)

    if form == "exercises":
        items = [solved() for _ in range(rng.randint(2, 3))]
        return "\n".join(f"Q: {p.question}\nA: {_statement(text, answer, hand, rng)}" for p, text, answer in items)
    problem, thought, answer = solved()
    if form == "plain":
        return f"{problem.question}\n{_statement(thought, answer, hand, rng)}"
    if form == "dialogue":
        return f"User: {problem.question} Assistant: {_statement(thought, answer, hand, rng)}"
    if form == "tagged":
        reply = _tags(thought, answer) if rng.random() < 0.5 else _broken_tags(thought, answer, rng)
        return f"{problem.question}\n{reply}"
    if rng.random() < cfg.template_followed:
        reply = _tags(thought, answer)
    elif rng.random() < 0.2:
        reply = _broken_tags(thought, answer, rng)
    else:
        reply = _statement(thought, answer, hand, rng)
    return f"{R1_ZERO_TEMPLATE.replace('{prompt}', problem.question)} {reply}"
