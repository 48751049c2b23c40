"""Documents of the mini world's web: sums and small logic by several authors, each a function of its index.

The base model is pretrained on these. They are meant to hold every ability that R1-Zero needs and to favour none: an
author is terse, works step by step, works and then checks, is sloppy, or stops too soon, in English, in Chinese or in
both, and all of them err. Checking repairs most of an author's own errors, as it does for people.
Dialogues, tagged text and the R1-Zero template occur as they do on the web: seldom, and seldom followed.

No held-out question is asked, and none is worked as a sum in a drill or as a step of a chain done right. Not kept
clear: the step after a slip (4-7=3, 3-7=-4), in about one document in a hundred, and the `n+1=` of counting relatives.
"""

import dataclasses
import random
from collections.abc import Callable

from r1jax.config import at_least, within
from r1jax.data.miniworld import puzzles
from r1jax.data.miniworld.authors import FORMS_OF_REQUESTS, Turn, assistant, solver
from r1jax.data.miniworld.problems import Problem, chain_steps, make_problem, maybe, sum_question, work
from r1jax.data.tasks import is_held_out
from r1jax.text.chat import R1_ZERO_TEMPLATE, join_response


@dataclasses.dataclass(frozen=True)
class CorpusConfig:
    """The mixture of documents. Shares are probabilities and need not sum to 1.

    Attributes:
        drill: share of documents that are bare equations.
        plain: share that are a question and its solution.
        exercises: share that are several, as Q and A.
        dialogue: share that are of User and Assistant.
        tagged: share with the R1-Zero tags around a solution, and no instruction.
        template: share that are the whole R1-Zero prompt with some reply.
        terse: share of authors who give an answer alone, wrong three times in ten.
        worked: share who work step by step in English.
        checked: share who do so and check the result.
        sloppy: share who work step by step with many errors.
        chinese: share who work in Chinese.
        mixed: share who mix English and Chinese within a solution.
        hasty: share who stop too soon.
        template_followed: of the `template` documents, the share whose reply obeys the tags.
        world: share of the documents that are of the bilingual world (`r1jax.data.miniworld.authors`): problems in
            the same forms but for drills, and requests, mostly in dialogues. They have their own authors.
        requests: of those, the share that answers general requests; the others solve problems.
        puzzles: share of the documents that are of puzzles (`r1jax.data.miniworld.puzzles`): worked chains, and
            solutions in the same forms as problems' but for drills. They have their own authors.
        puzzles_checked: of the authors of puzzles, the share who check an attempt and try again; at 0 no drill has a
            verdict either.
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
    world: float = 0.0
    requests: float = 0.4
    puzzles: float = 0.0
    puzzles_checked: float = 0.2
    held_out_share: float = 0.1

    def __post_init__(self):
        at_least(0, self, *FORMS, *AUTHORS)
        within("[0, 1]", self, "template_followed", "world", "requests", "puzzles", "puzzles_checked")
        within("[0, 1)", self, "held_out_share")
        for kind, names in (("forms", FORMS), ("authors", AUTHORS)):
            if not sum(getattr(self, name) for name in names):
                raise ValueError(f"all {kind} ({', '.join(names)}) have a share of 0: there is nothing to draw from")


FORMS = ("drill", "plain", "exercises", "dialogue", "tagged", "template")
AUTHORS = ("terse", "worked", "checked", "sloppy", "chinese", "mixed", "hasty")
CAREFUL = ("worked", "checked")  # and in one language
# How often one step goes wrong, by who works. A checker's first pass is as careless as anybody's.
STEP_ERROR = {"worked": 0.08, "checked": 0.10, "sloppy": 0.25, "recheck": 0.01, "drill": 0.01}


def _draw(cfg, names: tuple[str, ...], rng: random.Random) -> str:
    return rng.choices(names, [getattr(cfg, name) for name in names])[0]


def solve(problem: Problem, author: str, rng: random.Random) -> tuple[str, int]:
    """This author's thought about the problem, and the answer it gives."""
    if author == "terse":
        answer = maybe(problem.answer, rng, 0.3)
        return rng.choice(["it is {}", "{}", "that is {}", "easy, {}", "I think {}"]).format(answer), answer
    if author == "sloppy":
        text, answer = work(problem, rng, STEP_ERROR["sloppy"], "en")
        text = rng.choice(["{} or so", "roughly {}", "{} I guess", "{}"]).format(text)
        return text, maybe(answer, rng, 0.1)
    if author == "worked":
        text, answer = work(problem, rng, STEP_ERROR["worked"], "en")
        return rng.choice(["{}", "{}. So {a}", "step by step: {}", "first {}. So {a}"]).format(text, a=answer), answer
    if author == "checked":
        first, guess = work(problem, rng, STEP_ERROR["checked"], "en")
        again, answer = work(problem, rng, STEP_ERROR["recheck"], "en")
        check = rng.choice(["Wait, let me check", "Let me check again", "Hmm, wait", "Let me verify"])
        verdict = f"Yes, {answer}" if answer == guess else f"So not {guess} but {answer}"
        return f"{first}. {check}: {again}. {verdict}", answer
    if author == "chinese":
        style = rng.choice(["terse", "worked", "worked", "checked"])
        if style == "terse":
            answer = maybe(problem.answer, rng, 0.3)
            return rng.choice(["等于{}", "是{}", "答案是{}"]).format(answer), answer
        first, answer = work(problem, rng, STEP_ERROR[style], "zh")
        if style == "worked":
            return rng.choice(["先算，{}", "{}，所以是{a}", "{}"]).format(first, a=answer), answer
        guess, (again, answer) = answer, work(problem, rng, STEP_ERROR["recheck"], "zh")
        verdict = f"对，是{answer}" if answer == guess else f"不对，不是{guess}，是{answer}"
        return f"{first}。等等，检查一下：{again}。{verdict}", answer
    if author == "hasty":
        return _stop_early(problem, rng)
    # mixed: begins in one language and ends in the other
    text, answer = work(problem, rng, STEP_ERROR["worked"], rng.choice(["en", "zh"]))
    ending = rng.choice(["let me see，{}，所以是{a}", "先算 {}, so it is {a}", "{}，the answer 是{a}"])
    return ending.format(text, a=answer), answer


def careful_solution(rng: random.Random, share: float) -> tuple[str, str]:
    """A question that is not held out, and the right answer to it, worked out within the R1-Zero tags."""
    while True:
        problem = make_problem(rng, share)
        thought, answer = solve(problem, rng.choice(CAREFUL), rng)
        if answer == problem.answer:
            return problem.question, join_response(thought, str(answer))


def _stop_early(problem: Problem, rng: random.Random) -> tuple[str, int]:
    """Work that ends one step too soon and takes what it has for the answer."""
    if problem.kind == "chain":
        steps = chain_steps(problem.parts, rng, 0.0)[:-1]
        if not steps:
            return solve(problem, "terse", rng)
        return ", ".join(f"{a}{op}{b}={c}" for a, op, b, c in steps), steps[-1][3]
    if problem.kind == "gcd":
        a, b = max(problem.parts), min(problem.parts)
        return f"{a}%{b}={a % b}", a % b or b
    her, noun, girls, _ = problem.parts
    return f"{her} has {girls} {noun}", girls


def _statement(thought: str, answer: int, author: str, rng: random.Random) -> str:
    """A solution outside any tags, in one of the ways that people end one."""
    end = rng.choice(["", ". Answer: {}", ". The answer is {}", "。答案：{}" if author == "chinese" else ". = {}"])
    return thought + end.format(answer)


def _broken_tags(thought: str, answer: str, rng: random.Random) -> str:
    return rng.choice(
        [
            f"<think> {thought} </think> {answer}",
            f"<think> {thought}. The answer is {answer}",
            f"<answer> {answer} </answer>",
            f"{thought} <answer> {answer} </answer>",
            f"<think> {thought} </answer>",
        ]
    )


def _drill(rng: random.Random, share: float) -> str:
    """A line of bare equations, nearly all true: tables and answer keys are where arithmetic is learnt."""
    items: list[str] = []
    while len(items) < 14:
        if rng.random() < 0.75:
            low, high = rng.choice([(0, 9), (10, 99), (-99, 198)])
            a, op, b = rng.randint(low, high), rng.choice("+-"), rng.randint(0, 9 if high == 9 else 99)
            if not is_held_out(sum_question(f"{a} {op} {b}"), share):
                items.append(f"{a}{op}{b}={maybe(a + b if op == '+' else a - b, rng, STEP_ERROR['drill'])}")
        else:
            b = rng.randint(1, 40)
            a = rng.randint(b, 40)
            items.append(f"{a}%{b}={maybe(a % b, rng, STEP_ERROR['drill'])}")
    return ", ".join(items)


def _author(cfg: CorpusConfig, rng: random.Random) -> Callable[[], Turn]:
    """An author of the ordinary web, who solves one problem after the other."""
    author = _draw(cfg, AUTHORS, rng)

    def turn() -> Turn:
        problem = make_problem(rng, cfg.held_out_share)
        thought, answer = solve(problem, author, rng)
        return problem.question, thought, str(answer), lambda: _statement(thought, answer, author, rng)

    return turn


def document(cfg: CorpusConfig, seed: int, index: int) -> str:
    """Document `index` of the corpus: a pure function of its arguments."""
    rng = random.Random(f"{seed}/{index}")
    # Without puzzles or a world nothing is drawn here: each document, and the key of each base, is as it was before.
    if cfg.puzzles and rng.random() < cfg.puzzles:
        if rng.random() < puzzles.DRILL:
            return puzzles.drill(cfg.puzzles_checked > 0, cfg.held_out_share, rng)
        form, turn = _draw(cfg, FORMS[1:], rng), puzzles.solver(cfg.puzzles_checked, cfg.held_out_share, rng)
    elif cfg.world and rng.random() < cfg.world:
        if rng.random() < cfg.requests:
            form, turn = rng.choices(*FORMS_OF_REQUESTS)[0], assistant(cfg.held_out_share, rng)
        else:
            form, turn = _draw(cfg, FORMS[1:], rng), solver(cfg.held_out_share, rng)
    else:
        form = _draw(cfg, FORMS, rng)
        if form == "drill":
            return _drill(rng, cfg.held_out_share)
        turn = _author(cfg, rng)  # one document has one author
    if form == "exercises":
        items = [turn() for _ in range(rng.randint(2, 3))]
        return "\n".join(f"Q: {question}\nA: {state()}" for question, _, _, state in items)
    question, thought, answer, state = turn()
    if form == "plain":
        return f"{question}\n{state()}"
    if form == "dialogue":
        return f"User: {question} Assistant: {state()}"
    if form == "tagged":
        reply = join_response(thought, answer) if rng.random() < 0.5 else _broken_tags(thought, answer, rng)
        return f"{question}\n{reply}"
    if rng.random() < cfg.template_followed:
        reply = join_response(thought, answer)
    elif rng.random() < 0.2:
        reply = _broken_tags(thought, answer, rng)
    else:
        reply = state()
    return f"{R1_ZERO_TEMPLATE.replace('{prompt}', question)} {reply}"
