"""Replies to the mini world's general requests, good and bad, and the training data made of them.

The data is for fine-tuning and for the two reward models. All rows are pure functions of (seed, index) and of the
format of thoughts.

What a pair prefers is its reply of the better quality; one pair in twenty is swapped, as annotators err. A response is
unsafe if it gives away somebody's secret, in its summary or in its thought; one label in fifty is wrong.

In the harder form of the world the replies for fine-tuning are written by authors of mixed quality, as hired authors
are, and not by the best alone: so fine-tuning teaches the average, and leaves RL something to prefer.
"""

import random
from collections.abc import Sequence
from typing import Any

from r1jax.data.miniworld.composed_requests import partly_followed
from r1jax.data.miniworld.problems import BOYS, GIRLS
from r1jax.data.miniworld.requests import KINDS, NAME, SECRETS, Language, Request, requests
from r1jax.text.chat import join_response

Row = dict[str, Any]
# From good to bad; those of one rank are not compared.
RANK = {"polite": 5, "curt": 4, "foreign": 3, "wrong": 2, "empty": 2, "off_topic": 1, "rude": 0}
QUALITIES = tuple(RANK)
SWAPPED = 0.05  # of the pairs
MISLABELLED = 0.02  # of the responses
THOUGHTFUL = 0.25  # of the replies have a thought before them
REPLIES = 2  # to a request, for fine-tuning in the harder form of the world
# Who writes replies for fine-tuning in the harder form of the world, by shares. The hasty are curt, and leave out one
# of the instructions; the careless say nothing of use, follow no instruction, and give secrets away.
TUNING_AUTHORS = {"careful": 0.5, "hasty": 0.3, "careless": 0.2}
# Where a sample for fine-tuning is from, by the paper's names (section 2.3.3).
SOURCES = {
    "greeting": "self-cognition",
    "self": "self-cognition",
    "translation": "translation",
    "phrases": "translation",
    "fact": "factual",
    "two facts": "factual",
    "writing": "writing",
    "instructions": "writing",
    "advice": "writing",
    "secret": "declining",
}
_EMPTY = {
    "en": ("That is a good question, and many ask it.", "It is as it is, and so on.", "There are many answers."),
    "zh": ("是个好问题。", "有是有，不是不是。"),
}
_RUDE = {
    "en": ("I do not like you.", "Do not ask me that.", "What a bad question.", "Go and ask another."),
    "zh": ("不想说。", "坏问题。"),
}
_THOUGHTS = {
    "en": ("The user asks, and I answer.", "I think about this first.", "No steps here, so I answer."),
    "zh": ("先想一下。", "等等，有问题，我答。"),
}


def draw(rng: random.Random, pool: Sequence[Request], kinds: Sequence[str] = KINDS) -> Request:
    """A request of a kind drawn evenly, so that the kinds with many names in them do not crowd out the others."""
    kind = rng.choice(kinds)
    return rng.choice([request for request in pool if request.kind == kind])


def reply(request: Request, quality: str, rng: random.Random) -> str:
    """A reply to a request, of one of `QUALITIES`."""
    if quality == "polite":
        return request.polite
    if quality == "curt":
        return request.answer
    if quality == "foreign":
        return request.foreign
    if quality == "wrong" and request.kind == "self":
        return request.polite.replace(NAME, rng.choice(GIRLS + BOYS))
    if quality in ("wrong", "off_topic"):
        # A good reply to something else.
        return rng.choice(
            [
                other.polite
                for other in requests()
                if (other.kind == request.kind) == (quality == "wrong")
                and other.language == request.language
                and other.polite != request.polite
            ]
        )
    return rng.choice({"empty": _EMPTY, "rude": _RUDE}[quality][request.language])


def leak(name: str, secret: str, language: Language, rng: random.Random) -> str:
    """Somebody's secret given away."""
    code = rng.randint(1000, 9999)
    return f"{name}的{SECRETS[secret]}是{code}。" if language == "zh" else f"{name}'s {secret} is {code}."


def thought(request: Request, rng: random.Random) -> str:
    """A thought for a request that needs none."""
    return rng.choice(_THOUGHTS[request.language])


def _response(request: Request, summary: str, marker: str, rng: random.Random) -> str:
    return join_response(thought(request, rng), summary, marker) if rng.random() < THOUGHTFUL else summary


def tuning_row(index: int, request: Request) -> Row:
    """A request and its good reply, without a thought, as R1 answers what is simple."""
    return {
        "id": f"general-{index}",
        "prompt": request.question,
        "response": request.polite,
        "source": SOURCES[request.kind],
        "language": request.language,
    }


def tuning_rows_by_authors(seed: int, index: int, request: Request) -> list[Row]:
    """As `tuning_row`, by several of `TUNING_AUTHORS`, who are named and draw their replies apart."""
    rows = []
    for place in range(REPLIES):
        rng = random.Random(f"tuning/{seed}/{index}/{place}")
        author = rng.choices(list(TUNING_AUTHORS), list(TUNING_AUTHORS.values()))[0]
        reply_text = written(request, author, rng)
        row = {"id": f"general-{index}-{place}", "response": reply_text, "author": author}
        rows.append(tuning_row(index, request) | row)
    return rows


def written(request: Request, author: str, rng: random.Random) -> str:
    """The reply of one of `TUNING_AUTHORS` to a simple or composed request."""
    if author == "careful":
        return request.polite
    if request.instructions:
        return partly_followed(request, len(request.instructions) - 1 if author == "hasty" else 0, rng)
    if author == "hasty":
        return request.answer
    if request.kind == "secret":
        return leak(*request.about, request.language, rng)
    return reply(request, "empty", rng)


def helpfulness_row(seed: int, index: int, marker: str = "") -> Row:
    """A request and two replies of different rank, the better one as `chosen` in 19 of 20."""
    rng = random.Random(f"helpfulness/{seed}/{index}")
    request = draw(rng, requests())
    while True:
        better, worse = sorted(rng.sample(QUALITIES, 2), key=RANK.get, reverse=True)
        if RANK[better] > RANK[worse]:
            break
    texts = [_response(request, reply(request, quality, rng), marker, rng) for quality in (better, worse)]
    if rng.random() < SWAPPED:
        better, worse, texts = worse, better, texts[::-1]
    return {
        "id": f"pair-{index}",
        "prompt": request.question,
        "chosen": texts[0],
        "rejected": texts[1],
        "chosen_is": better,
        "rejected_is": worse,
    }


def harmlessness_row(seed: int, index: int, marker: str = "") -> Row:
    """A response and whether it is safe: half of them to requests for somebody's secret, half to others."""
    rng = random.Random(f"harmlessness/{seed}/{index}")
    request = draw(rng, requests(), rng.choice([("secret",), ("secret",), ("advice",), KINDS[:-2]]))
    secret_asked = request.kind == "secret"
    safe = rng.random() < (0.5 if secret_asked else 0.75)
    good = reply(request, rng.choice(["polite", "polite", "curt", "foreign", "empty", "rude"]), rng)
    if safe:
        response = _response(request, good, marker, rng)
    else:
        person, secret = request.about if secret_asked else (rng.choice(GIRLS + BOYS), rng.choice(list(SECRETS)))
        leaked = leak(person, secret, request.language, rng)
        response = rng.choice(
            [
                _response(request, leaked if secret_asked else f"{good} {leaked}", marker, rng),
                join_response(f"{thought(request, rng)} {leaked}", good, marker),
            ]
        )
    label = safe if rng.random() >= MISLABELLED else not safe
    return {"id": f"response-{index}", "prompt": request.question, "response": response, "safe": label}
