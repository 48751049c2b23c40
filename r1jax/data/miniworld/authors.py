"""Authors of the mini world's texts, as the base model `configs/base.py:world` reads them, in two languages.

Those who answer requests do it well or badly; some give away secrets. Of those who solve problems, the careful ones are
right most often, and two in three of them change language within a thought: so a policy that is rewarded for right
answers alone comes to mix languages, as R1-Zero did, and one that is also rewarded for one language need not, since
the others are careful too. They err a little more often, as the paper's model did (section 2.3.2).
"""

import random
from collections.abc import Callable

from r1jax.data.miniworld import replies, requests
from r1jax.data.miniworld.problems import Problem, maybe, work
from r1jax.data.miniworld.requests import Language

AUTHORS = {"terse": 0.36, "sloppy": 0.22, "careful": 0.14, "mixing": 0.28}
STEP_ERROR = {"sloppy": 0.25, "careful": 0.08, "mixing": 0.03, "recheck": 0.01}
CHECKED = 0.33  # of what careful and mixing authors write
MANNERS = {"polite": 0.48, "curt": 0.20, "wrong": 0.08, "rude": 0.08, "empty": 0.06, "foreign": 0.06, "off_topic": 0.04}
FORMS_OF_REQUESTS = ("dialogue", "template", "tagged"), (0.80, 0.15, 0.05)
INDISCREET = 0.5  # of those who are asked for a secret

# The text that an author writes around its steps {}, by language: `a` is the answer, `again` the steps gone through
# once more.
_TERSE = {
    "en": ("it is {a}", "{a}", "that is {a}", "I think {a}"),
    "zh": ("等于{a}", "是{a}", "答案是{a}", "{a}"),
}
_SLOPPY = {"en": ("{} or so", "{} I guess", "{}"), "zh": ("{}，是不?", "{}上下", "{}")}
_WORKED = {
    "en": ("first {}. So it is {a}", "step by step: {}. So {a}", "first {}", "{}. So it is {a}"),
    "zh": ("先算，{}，所以是{a}", "先算，{}", "{}，所以是{a}", "先算一下，{}，答案是{a}"),
}
_CHECKED = {
    "en": ("first {}. Let me check: {again}. So it is {a}", "{}. Wait, let me check again: {again}. Yes, {a}"),
    "zh": ("先算，{}。等等，检查一下：{again}。所以是{a}", "{}。等等，检查一下：{again}。对，是{a}"),
}
_MIXED = ("first {}，所以是{a}", "先算 {}, so it is {a}", "first {}, so 答案是{a}", "先算，{}，所以 it is {a}")
_MIXED_CHECKED = (
    "first {}。等等，let me check: {again}。所以是{a}",
    "先算 {}. wait, 检查一下：{again}. so it is {a}",
)


def solve(problem: Problem, language: Language, author: str, rng: random.Random) -> tuple[str, int]:
    """This author's thought about a problem in this language, and the answer it gives."""
    if author == "terse":
        answer = maybe(problem.answer, rng, 0.3)
        return rng.choice(_TERSE[language]).format(a=answer), answer
    if author == "sloppy":
        steps, answer = work(problem, rng, STEP_ERROR["sloppy"], language)
        return rng.choice(_SLOPPY[language]).format(steps), maybe(answer, rng, 0.1)
    written_in = rng.choice(requests.LANGUAGES) if author == "mixing" else language
    steps, answer = work(problem, rng, STEP_ERROR[author], written_in)
    if rng.random() < CHECKED:
        again, answer = work(problem, rng, STEP_ERROR["recheck"], written_in)
        forms = _MIXED_CHECKED if author == "mixing" else _CHECKED[language]
        return rng.choice(forms).format(steps, again=again, a=answer), answer
    forms = _MIXED if author == "mixing" else _WORKED[language]
    return rng.choice(forms).format(steps, a=answer), answer


def _statement(thought: str, answer: str, language: Language, rng: random.Random) -> str:
    ends = {"en": ("", ". Answer: {}", ". The answer is {}"), "zh": ("", "。答案：{}", "。答案是{}")}
    return thought + rng.choice(ends[language]).format(answer)


# A question, the thought, the answer, and both as text without tags.
Turn = tuple[str, str, str, Callable[[], str]]


def solver(share: float, rng: random.Random) -> Callable[[], Turn]:
    """An author who solves problems, each time the next one."""
    author = rng.choices(list(AUTHORS), list(AUTHORS.values()))[0]

    def turn() -> Turn:
        question = requests.question(rng, share)
        thought, answer = solve(question.problem, question.language, author, rng)
        return question.text, thought, str(answer), lambda: _statement(thought, str(answer), question.language, rng)

    return turn


def assistant(share: float, rng: random.Random) -> Callable[[], Turn]:
    """An author who answers requests, each time the next one."""
    manner, indiscreet = rng.choices(list(MANNERS), list(MANNERS.values()))[0], rng.random() < INDISCREET

    def turn() -> Turn:
        request = replies.draw(rng, requests.requests_of(share, False))
        if request.kind == "secret" and indiscreet:
            reply_text = replies.leak(*request.about, request.language, rng)
        else:
            reply_text = replies.reply(request, manner, rng)
        return request.question, replies.thought(request, rng), reply_text, lambda: reply_text

    return turn
