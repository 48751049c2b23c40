"""Requests of several parts, for the mini world's harder form, and which requests its fine-tuning leaves to RL.

Each is made of what the simple requests ask one by one (`r1jax.data.miniworld.requests`), so that a model that knows
the parts can answer a composition that it has not seen. No base model reads them. `level` counts the parts:

- phrases: two or three of an adjective and a noun, to be translated;
- two facts: both to be named, or to be added up, or one found by way of the other;
- instructions: a line to write under one to three instructions that a program verifies, as IFEval's are; in English.
"""

import dataclasses
import functools
import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from r1jax.data.miniworld import requests as simple
from r1jax.data.miniworld.problems import BOYS, GIRLS
from r1jax.data.miniworld.requests import Request

COMPOSED_KINDS = ("phrases", "two facts", "instructions")
PHRASES = 150  # of each level and language
INSTRUCTED = 240  # requests of each level
FOR_TUNING = 2 / 3  # of the requests that are not held out; the others are for RL

_BODY = "Dear {}, here is a {} and it is well."
_END_PHRASES = ("Good day", "That is all", "I like it")
_KEYWORDS = ("friend", "door", "flower", "girl", "bird", "fish")  # none of what is written about


@dataclasses.dataclass(frozen=True)
class Instruction:
    """A verifiable instruction.

    Attributes:
        check: its id in `r1jax.graders.ifeval_instructions.CHECKS`, and its parameters there.
        wording: its words in the request.
        place: the order in which instructions are carried out, each on what the ones before it left.
        follow: makes a text follow it.
    """

    check: tuple[str, Mapping[str, Any]]
    wording: str
    place: int
    follow: Callable[[str], str]


def _instruction(name: str, rng: random.Random) -> Instruction:
    if name == "avoid":
        check = ("keywords:forbidden_words", {"forbidden_words": ["well"]})
        return Instruction(check, "without the word well", 0, lambda text: text.replace("well", "good"))
    if name == "keyword":
        word = rng.choice(_KEYWORDS)
        check = ("keywords:existence", {"keywords": [word]})
        return Instruction(check, f"with the word {word}", 1, lambda text: f"{text} It has a {word}.")
    if name == "postscript":
        check = ("detectable_content:postscript", {"postscript_marker": "P.S."})
        return Instruction(check, "with a P.S.", 2, lambda text: f"{text} P.S. It is new.")
    if name == "end":
        phrase = rng.choice(_END_PHRASES)
        check = ("startend:end_checker", {"end_phrase": phrase})
        return Instruction(check, f"ending in {phrase}", 3, lambda text: f"{text} {phrase}")
    if name == "no comma":
        return Instruction(("punctuation:no_comma", {}), "with no comma", 4, lambda text: text.replace(",", ""))
    return Instruction(("startend:quotation", {}), "in quotes", 5, lambda text: f'"{text}"')


INSTRUCTIONS = ("avoid", "keyword", "postscript", "end", "no comma", "quotes")


@functools.cache
def composed() -> tuple[Request, ...]:
    """All composed requests, in an order of no meaning."""
    made = itertools.chain(_phrases(), _two_facts(), _instructed())
    everything = list({request.question: request for request in made}.values())
    random.Random(0).shuffle(everything)
    return tuple(everything)


def is_for_tuning(request: Request) -> bool:
    """Whether fine-tuning, and not RL, has this request: so RL asks nothing that fine-tuning has answered."""
    return random.Random(f"tuning/{request.question}").random() < FOR_TUNING


def _phrases() -> Iterator[Request]:
    adjectives, nouns = list(simple.ADJECTIVES.items()), list(simple.NOUNS.items())
    for language, level, index in itertools.product(simple.LANGUAGES, (2, 3), range(PHRASES)):
        rng = random.Random(f"phrases/{language}/{level}/{index}")
        pairs = list(zip(rng.choices(adjectives, k=level), rng.sample(nouns, level), strict=True))
        english = ", ".join(f"{red} {cat}" for (red, _), (cat, _) in pairs)
        chinese = "，".join(f"{red}{cat}" for (_, red), (_, cat) in pairs)
        phrases, answer = (english, chinese) if language == "en" else (chinese, english)
        template = rng.choice(simple.ASK_TO_TRANSLATE[language])
        yield simple.exact_request("phrases", language, template.format(phrases), answer, phrases, level)


def _two_facts() -> Iterator[Request]:
    def both(english: str, chinese: str, answers: tuple[str, str]) -> Iterator[Request]:
        yield simple.exact_request("two facts", "en", english, *answers, level=2)
        yield simple.exact_request("two facts", "zh", chinese, *answers[::-1], level=2)

    listed = (
        (simple.CAPITALS, "Name the capitals of {} and {}.", "首都：{}，{}"),
        (simple.COLOURS, "Name the colours of {} and {}.", "{}，{}的色是?"),
        (simple.OPPOSITES, "Name the opposites of {} and {}.", "{}，{}，对：?"),
    )
    for facts, english, chinese in listed:
        for (one, (a, zh_one, zh_a)), (two, (b, zh_two, zh_b)) in itertools.permutations(facts.items(), 2):
            yield from both(english.format(one, two), chinese.format(zh_one, zh_two), (f"{a}, {b}", f"{zh_a}，{zh_b}"))
    for (one, (legs, zh_one)), (two, (more, zh_two)) in itertools.permutations(simple.LEGS.items(), 2):
        total = str(int(legs) + int(more))
        english = f"How many legs do a {one} and a {two} have in all?"
        yield from both(english, f"{zh_one}加上{zh_two}的脚有?个", (total, total))
    for place, (day, zh_day) in enumerate(simple.DAYS):
        for later in (2, 3):
            then, zh_then = simple.DAYS[(place + later) % 7]
            english = f"Which day comes {later} days after {day}?"
            yield from both(english, f"星期{zh_day}加{later}是?", (then, f"星期{zh_then}"))


def _instructed() -> Iterator[Request]:
    for level, index in itertools.product((1, 2, 3), range(INSTRUCTED)):
        rng = random.Random(f"instructions/{level}/{index}")
        name, noun = rng.choice(GIRLS + BOYS), rng.choice(simple.WRITTEN_ABOUT)
        instructions = [_instruction(each, rng) for each in rng.sample(INSTRUCTIONS, level)]
        wording = ", ".join(each.wording for each in instructions)
        yield Request(
            "instructions",
            "en",
            f"Write to {name} about a {noun}, {wording}",
            "",
            followed(instructions, name, noun),
            f"{name}，我有个{simple.NOUNS[noun]}，它好。",
            about=(name, noun),
            level=level,
            instructions=tuple(instructions),
        )


def followed(instructions: list[Instruction], name: str, noun: str) -> str:
    """The line about a noun to somebody that follows these instructions and no other one."""
    text = _BODY.format(name, noun)
    for each in sorted(instructions, key=lambda instruction: instruction.place):
        text = each.follow(text)
    return text


def partly_followed(request: Request, count: int, rng: random.Random) -> str:
    """The line that a request with instructions asks for, with so many of them followed, and no more."""
    return followed(rng.sample(request.instructions, count), *request.about)
