"""Inputs of process reward models and of policies that go on from a prefix: token ids that end where steps end."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from r1jax.data.types import Prompt, Rollout
from r1jax.text.tokenizer import Tokenizer


class StepInput(NamedTuple):
    """A process reward model's input for a response.

    Attributes:
        ids: of the question and of the steps that fit.
        ends: for each of these steps the position of its last token in `ids`, where the head is read.
        unread: steps that do not fit.
    """

    ids: list[int]
    ends: list[int]
    unread: int


def step_ids_of(tokenizer: Tokenizer, before: str, steps: Sequence[str], max_tokens: int) -> StepInput:
    """The ids of a response's steps after its question, as a process reward model reads them.

    The ids up to a step's end are a function of the text up to there: a step scores the same in a prefix, as a search
    has it, and in the whole response. Names of special tokens that a response spells out are left out, as in
    `reward_scoring.ids_of`, and no end of turn follows. A question of more than half of
    `max_tokens` loses its middle.

    Args:
        before: the text before the response.
        steps: joined, the text of the response.
    """
    special = tokenizer.silent_ids.union(tokenizer.eos_ids)
    ids, half = tokenizer.encode(before), max_tokens // 2
    if len(ids) > half:
        ids = ids[: half - half // 2] + ids[len(ids) - half // 2 :]
    response: list[int] = []
    text, ends = "", []
    for piece in steps:
        response, text = _extended(tokenizer, response, text, piece, special), text + piece
        if len(ids) + len(response) > max_tokens:
            break
        ends.append(len(ids) + len(response) - 1)
    return StepInput((ids + response)[:max_tokens], ends, len(steps) - len(ends))


def _extended(tokenizer: Tokenizer, ids: list[int], text: str, piece: str, special: frozenset[int]) -> list[int]:
    """The ids of text and piece: those of the tokenizer, where they go on from `ids`; else the piece's own after them.

    The first is what the model knows. Most tokenizers put something in front of a text that is encoded by itself.
    """
    begins = len(tokenizer.encode(""))
    whole = [id_ for id_ in tokenizer.encode(text + piece)[begins:] if id_ not in special]
    if whole[: len(ids)] == ids:
        return whole
    return ids + [id_ for id_ in tokenizer.encode(piece)[begins:] if id_ not in special]


def continued(prompt: Prompt, prefix: str, tokenizer: Tokenizer | None, id_: str) -> Prompt:
    """The prompt of a policy that goes on from the beginning of a response.

    Args:
        prefix: of the response, as the policy writes it.
        tokenizer: the policy's; None: a server has it, and there are no ids.
        id_: its id, which decides the noise.
    """
    if tokenizer is None:
        return dataclasses.replace(prompt, id=id_, text=prompt.text + prefix)
    begins = len(tokenizer.encode(""))
    ids = (*prompt.ids, *tokenizer.encode(prefix)[begins:])
    return dataclasses.replace(prompt, id=id_, text=prompt.text + prefix, ids=ids)


def whole_text(tokenizer: Tokenizer | None, question: Prompt, prefix: str, rollout: Rollout) -> str:
    """The whole response of a completion of `continued(question, prefix, ...)`.

    Prefix and completion are decoded together: alone, a text may lose its first blank.
    """
    if tokenizer is None:
        return prefix + rollout.text
    drawn = rollout.ids[:-1] if rollout.finish == "stop" else rollout.ids
    return tokenizer.decode([*rollout.prompt.ids[len(question.ids) :], *drawn.tolist()])
