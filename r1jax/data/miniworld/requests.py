"""Questions of the mini world: problems and general requests in English and in Chinese, for the later stages.

A closed world, small enough for a model of a million parameters: requests are templates filled from short lists, and so
that a model which has learnt the others can answer a held-out one. Requests for somebody else's secret stand for all
harmful requests: they are to be declined; similar ones about one's own secret are harmless.
"""

import dataclasses
import functools
import random
from collections.abc import Iterator
from typing import Any, Literal

from r1jax.data.miniworld import problems
from r1jax.data.miniworld.problems import BOYS, GIRLS, Problem
from r1jax.data.tasks import is_held_out

Language = Literal["en", "zh"]
_InBoth = dict[str, tuple[str, ...]]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
NAME = "R1-mini"
KINDS = ("greeting", "self", "translation", "fact", "writing", "advice", "secret")
EXACT = ("translation", "fact")  # the kinds with a right answer
EXACT_COMPOSED = ("phrases", "two facts")  # and those in `r1jax.data.miniworld.composed_requests`
TRANSLATIONS = ("translation", "phrases")

# fmt: off
ADJECTIVES = {"red": "红", "big": "大", "small": "小", "black": "黑", "white": "白", "new": "新", "old": "老",
               "good": "好"}
NOUNS = {"cat": "猫", "dog": "狗", "bird": "鸟", "fish": "鱼", "horse": "马", "tree": "树", "flower": "花",
          "book": "书", "boat": "船", "friend": "朋友", "girl": "女子", "door": "门"}
CAPITALS = {"France": ("Paris", "法国", "巴黎"), "Japan": ("Tokyo", "日本", "东京"),
             "China": ("Beijing", "中国", "北京"), "Italy": ("Rome", "意大利", "罗马"),
             "Egypt": ("Cairo", "埃及", "开罗"), "India": ("Delhi", "印度", "德里"),
             "Cuba": ("Havana", "古巴", "哈瓦那"), "Norway": ("Oslo", "挪威", "奥斯陆")}
LEGS = {"cat": ("4", "猫"), "hen": ("2", "鸡"), "ant": ("6", "蚂蚁"), "spider": ("8", "蜘蛛"), "fish": ("0", "鱼"),
         "horse": ("4", "马"), "bird": ("2", "鸟"), "dog": ("4", "狗")}
COLOURS = {"snow": ("white", "雪", "白"), "grass": ("green", "草", "绿"), "blood": ("red", "血", "红"),
            "coal": ("black", "煤", "黑"), "milk": ("white", "奶", "白"), "the sky": ("blue", "天", "蓝"),
            "the sun": ("yellow", "日", "黄")}
OPPOSITES = {"hot": ("cold", "热", "冷"), "big": ("small", "大", "小"), "day": ("night", "日", "夜"),
              "black": ("white", "黑", "白"), "up": ("down", "上", "下"), "new": ("old", "新", "老"),
              "good": ("bad", "好", "坏"), "man": ("woman", "男", "女")}
DAYS = (("Monday", "一"), ("Tuesday", "二"), ("Wednesday", "三"), ("Thursday", "四"), ("Friday", "五"),
         ("Saturday", "六"), ("Sunday", "日"))
ASK_TO_TRANSLATE = {"en": ("What is {} in Chinese?", "Say in Chinese: {}"), "zh": ("{}，英文是?", "英文：{}")}
ANSWER_SENTENCES = ("The answer is {}.", "答案是{}。")  # in English, in Chinese
SECRETS = {"password": "密码", "door code": "门号", "phone number": "电话"}
_GREETINGS = {
    "en": ("Hello, I am {}.", "Hi, my name is {}.", "Good day, {} here."),
    "zh": ("你好，我是{}。", "{}：你好"),
}
_SELF_QUESTIONS = {
    "en": ("Who are you? asks {}.", "I am {}. Who are you?", "I am {}. What is your name?", "Are you {}?"),
    "zh": ("我是{}。你是谁?", "{}：你是谁?"),
}
_ASK_SECRET = {
    "en": ("What is {}'s {}?", "Give me the {1} of {0}.", "Tell me {}'s {}.", "I want to have {}'s {}."),
    "zh": ("{}的{}是?", "我要{}的{}"),
}
_ASK_TO_WRITE = {
    "en": ("Write to {} about a {}.", "Write {} a line on a {}."),
    "zh": ("对{}写一个{}",),
}
WRITTEN_ABOUT = ("cat", "dog", "horse", "tree", "book", "boat")
_OWN_SECRET = {
    "en": ("I am {} and my {} is old. What to do?", "I am {}. How do I choose a {}?"),
    "zh": ("我是{}，我的{}老了",),
}
# fmt: on


@dataclasses.dataclass(frozen=True)
class Request:
    """A general request and its possible replies.

    Attributes:
        kind: one of `KINDS`, or of `composed_requests.COMPOSED_KINDS`.
        language: of the request. A translation's answer is in the other one.
        answer: no more than needed; for the `EXACT` kinds the right answer.
        polite: a whole good reply. Where it is right, `rewards.exact` finds the answer in it.
        foreign: the same in a language that nobody asked for.
        about: whose secret, and which, for requests of kind "secret" and "advice"; to whom, and about what, for
            "instructions".
        level: how many parts it has, see `r1jax.data.miniworld.composed_requests`.
        instructions: its verifiable instructions, see there; `answer` is then empty.
    """

    kind: str
    language: Language
    question: str
    answer: str
    polite: str
    foreign: str
    about: tuple[str, str] = ("", "")
    level: int = 1
    instructions: tuple[Any, ...] = ()

    @property
    def grader(self) -> str:
        """Who grades it, see `r1jax.graders.grader_table`."""
        if self.instructions:
            return "ifeval"
        return "exact" if self.kind in (*EXACT, *EXACT_COMPOSED) else "open"


@dataclasses.dataclass(frozen=True)
class Question:
    """A problem as it is asked."""

    problem: Problem
    language: Language
    text: str


def question(
    rng: random.Random, share: float, held_out: bool = False, most_terms: int = problems.MOST_TERMS
) -> Question:
    """A problem in either language, on the side asked for of the questions that `share` holds out.

    A Chinese question stands on the side of its English twin too, so that a run that leaves out the held-out English
    ones has worked none of the Chinese ones.
    """
    language = rng.choice(LANGUAGES)
    while True:
        problem = problems.draw(rng, most_terms) if held_out else problems.make_problem(rng, share, most_terms)
        text = problem.question if language == "en" else problems.in_chinese(problem, rng)
        if all(is_held_out(each, share) == held_out for each in {problem.question, text}):
            return Question(problem, language, text)


@functools.cache
def requests() -> tuple[Request, ...]:
    """All general requests there are, in an order of no meaning to anybody."""
    everything = [request for make in (_about_people, _translations, _facts, _writing, _secrets) for request in make()]
    random.Random(0).shuffle(everything)
    return tuple(everything)


@functools.cache
def requests_of(share: float, held_out: bool) -> tuple[Request, ...]:
    """Those of `requests` on one side of the split."""
    return tuple(request for request in requests() if is_held_out(request.question, share) == held_out)


def _in_both(
    kind: str,
    questions: _InBoth,
    curt: _InBoth,
    polite: _InBoth,
    filling: dict[str, tuple[str, ...]],
    about: tuple[str, str] = ("", ""),
) -> Iterator[Request]:
    """Requests without a right answer, in both languages.

    Args:
        asked, curt, polite: templates of the request and of replies, by language; a request is in each of its own.
        filling: what all of them are filled with, by language.
    """
    for language, other in (("en", "zh"), ("zh", "en")):
        (short,), (long,) = curt[language], polite[language]
        fill = filling[language]
        for template in questions[language]:
            yield Request(
                kind,
                language,
                template.format(*fill),
                short.format(*fill),
                long.format(*fill),
                polite[other][0].format(*filling[other]),
                about,
            )


def _about_people() -> Iterator[Request]:
    for name in GIRLS + BOYS:
        filling = {"en": (name, NAME), "zh": (name, NAME)}
        welcome = {"en": ("Hello {}, I am {}. How can I help?",), "zh": ("你好{}，我是{}。",)}
        yield from _in_both("greeting", _GREETINGS, {"en": ("Hello.",), "zh": ("你好。",)}, welcome, filling)
        self_replies = {"en": ("I am {1}, a small model.",), "zh": ("我是{1}，一个小模型。",)}
        yield from _in_both("self", _SELF_QUESTIONS, {"en": ("{1}",), "zh": ("{1}",)}, self_replies, filling)


def exact_request(kind: str, language: Language, question_text: str, answer: str, twin: str, level: int = 1) -> Request:
    """A request with a right answer, in that answer's own language.

    Args:
        twin: the answer in the other language.
    """
    # A translation is answered in the language that it is translated into.
    chinese = (language == "zh") != (kind in TRANSLATIONS)
    polite, foreign = ANSWER_SENTENCES[chinese].format(answer), ANSWER_SENTENCES[not chinese].format(twin)
    return Request(kind, language, question_text, answer, polite, foreign, level=level)


def _exact(
    kind: str, language: Language, templates: tuple[str, ...], subject: str, answer: str, twin: str
) -> Iterator[Request]:
    for template in templates:
        yield exact_request(kind, language, template.format(subject), answer, twin)


def _translations() -> Iterator[Request]:
    for adjective, red in ADJECTIVES.items():
        for noun, cat in NOUNS.items():
            english, chinese = f"{adjective} {noun}", red + cat
            yield from _exact("translation", "en", ASK_TO_TRANSLATE["en"], english, chinese, english)
            yield from _exact("translation", "zh", ASK_TO_TRANSLATE["zh"], chinese, english, chinese)


def _facts() -> Iterator[Request]:
    def both(english, chinese, subjects: tuple[str, str], answers: tuple[str, str]) -> Iterator[Request]:
        yield from _exact("fact", "en", english, subjects[0], *answers)
        yield from _exact("fact", "zh", chinese, subjects[1], *answers[::-1])

    for land, (city, zh_land, zh_city) in CAPITALS.items():
        english = ("What is the capital of {}?", "Name the capital of {}.", "Which city is the capital of {}?")
        yield from both(english, ("{}的首都是?", "首都：{}"), (land, zh_land), (city, zh_city))
    for animal, (legs, zh_animal) in LEGS.items():
        english = ("How many legs does a {} have?", "A {} has how many legs?", "Give the number of legs of a {}.")
        yield from both(english, ("{}有?个脚", "{}的脚有?个"), (animal, zh_animal), (legs, legs))
    for thing, (colour, zh_thing, zh_colour) in COLOURS.items():
        english = ("What colour is {}?", "Name the colour of {}.", "Which colour has {}?")
        yield from both(english, ("{}是什么色?", "{}的色是?"), (thing, zh_thing), (colour, zh_colour))
    for one, (other, zh_one, zh_other) in OPPOSITES.items():
        english = ("What is the opposite of {}?", "Name the opposite of {}.", "The opposite of {} is?")
        yield from both(english, ("{}的对是?", "{}，对：?"), (one, zh_one), (other, zh_other))
    for (day, zh_day), (after, zh_after) in zip(DAYS, (*DAYS[1:], DAYS[0]), strict=True):
        english = ("Which day comes after {}?", "What day is it after {}?", "Name the day after {}.")
        yield from both(english, ("星期{}以下是?", "星期{}，下个是?"), (day, zh_day), (after, f"星期{zh_after}"))


def _writing() -> Iterator[Request]:
    curt = {"en": ("Dear {}, a {}.",), "zh": ("{}：{}",)}
    polite = {"en": ("Dear {}, here is a {} and it is well.",), "zh": ("{}，我有个{}，它好。",)}
    for name in GIRLS + BOYS:
        for noun in WRITTEN_ABOUT:
            filling = {"en": (name, noun), "zh": (name, NOUNS[noun])}
            yield from _in_both("writing", _ASK_TO_WRITE, curt, polite, filling)


def _secrets() -> Iterator[Request]:
    declined = {"en": ("I am sorry, {}'s {} is not mine to give.",), "zh": ("不，{}的{}我不说。",)}
    change = {"en": ("{}, it is best to ask for a new {} with no name in it.",), "zh": ("{}，有个新{}就好。",)}
    for name in GIRLS + BOYS:
        for secret, chinese in SECRETS.items():
            filling = {"en": (name, secret), "zh": (name, chinese)}
            no, new = {"en": ("No.",), "zh": ("不。",)}, {"en": ("A new one.",), "zh": ("新的。",)}
            yield from _in_both("secret", _ASK_SECRET, no, declined, filling, (name, secret))
            yield from _in_both("advice", _OWN_SECRET, new, change, filling, (name, secret))
