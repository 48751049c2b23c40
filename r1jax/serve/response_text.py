"""Text of a completion while it is sampled: stop strings, the thought apart from the answer, token counts."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from r1jax.data.types import FinishReason
from r1jax.text.chat import TAGS
from r1jax.text.streaming import TextStream
from r1jax.text.tokenizer import Tokenizer


@dataclasses.dataclass
class Delta:
    """New text of a completion: of its thought, of its answer, or both."""

    reasoning: str = ""
    content: str = ""

    def __bool__(self) -> bool:
        return bool(self.reasoning or self.content)

    def __add__(self, other: "Delta") -> "Delta":
        return Delta(self.reasoning + other.reasoning, self.content + other.content)


class ThoughtSplitter:
    """Splits a response into thought and answer as it comes, without the tags and the white space around either.

    A response that does not begin with the opening tag is all answer. What follows a thought is the answer; where that
    has tags of its own, it ends with them, and what a model writes behind them is left out.
    """

    def __init__(self, opened: bool, marker: str = ""):
        """Splits from the beginning of a completion.

        Args:
            opened: the prompt ends with the opening tag.
            marker: of the format `<marker>thought<marker>summary`; "": the format of the tags.
        """
        open_tag, close_tag, self._open_answer, self._close_answer = TAGS
        self._open, self._close = (marker, marker) if marker else (open_tag, close_tag)
        self._has_answer_tags = not marker
        self._part: Literal["start", "thought", "between", "answer", "rest", "over"] = "thought" if opened else "start"
        self._held = ""
        self._begun = False  # the present part has text

    @property
    def in_thought(self) -> bool:
        """Whether the text that comes next belongs to the thought."""
        return self._part == "thought"

    def push(self, text: str, last: bool = False) -> Delta:
        """The text that is settled; with `last` all that was held back."""
        self._held += text
        delta, before = Delta(), None
        while before != (self._part, self._held):
            before = self._part, self._held
            delta += self._step(last)
        return delta

    def _step(self, last: bool) -> Delta:
        if self._part in ("start", "between"):
            tag = self._open if self._part == "start" else self._open_answer if self._has_answer_tags else ""
            held = self._held.lstrip()
            if tag and held.startswith(tag):
                self._enter("thought" if self._part == "start" else "answer", held[len(tag) :])
            elif last or (held and not tag.startswith(held)):
                self._enter("rest", held)
            return Delta()
        if self._part == "over":
            self._held = ""
            return Delta()
        if self._part == "thought":
            return Delta(reasoning=self._until(self._close, "between", last))
        return Delta(content=self._until(self._close_answer if self._part == "answer" else "", "over", last))

    def _enter(self, part: Literal["thought", "between", "answer", "rest", "over"], held: str) -> None:
        self._part, self._held, self._begun = part, held, False

    def _until(self, tag: str, following: Literal["between", "over"], last: bool) -> str:
        """The settled text before a tag, and past the tag into the following part."""
        if not self._begun:
            self._held = self._held.lstrip()
        text, separator, rest = self._held.partition(tag) if tag else (self._held, "", "")
        if separator:
            self._enter(following, rest)
            return text.rstrip()
        held = 0 if last else held_back(text, [tag] if tag else [])
        settled = text[: len(text) - held]
        settled = settled.rstrip()  # white space waits for what follows it
        self._begun = self._begun or bool(settled)
        self._held = "" if last else text[len(settled) :]
        return settled


def held_back(text: str, strings: Sequence[str]) -> int:
    """Length of the longest end of a text that one of the strings may begin with."""
    most = max((len(string) for string in strings), default=0)
    return next(
        (n for n in range(min(most, len(text)), 0, -1) if any(string.startswith(text[-n:]) for string in strings)), 0
    )


class ResponseText:
    """The text of one completion, from its tokens.

    Attributes:
        tokens: sampled so far, stop ids included.
        reasoning_tokens: those of the thought.
        finish: "stop" or "length"; None: not ended.
    """

    def __init__(
        self, tokenizer: Tokenizer, stop_ids: Sequence[int], stops: Sequence[str], splitter: ThoughtSplitter | None
    ):
        """Begins a completion.

        Args:
            stops: strings that end it and are left out.
            splitter: of its thought; None: the whole text is content.
        """
        self._stream, self._stop_ids, self._stops, self._splitter = TextStream(tokenizer), stop_ids, stops, splitter
        self._held = ""  # may be the beginning of a stop string
        self.tokens = self.reasoning_tokens = 0
        self.finish: FinishReason | None = None

    def push(self, ids: Sequence[int], finish: FinishReason | None) -> tuple[Delta, int]:
        """Adds tokens, and returns the settled text and how many of the tokens have a part in the completion.

        Where a stop string ends it, `finish` becomes "stop" and the tokens behind the string count no more.

        Args:
            finish: of the sequence, with its last tokens.
        """
        delta, used = Delta(), 0
        for i in ids:
            self.tokens += 1
            self.reasoning_tokens += bool(self._splitter and self._splitter.in_thought)
            if i in self._stop_ids:
                break
            used += 1
            delta += self._settle(self._stream.push([i]))
            if self.finish:
                return delta, used
        if finish:
            delta += self._settle(self._stream.flush(), last=True)
            self.finish = self.finish or finish
        return delta, used

    def _settle(self, text: str, last: bool = False) -> Delta:
        text = self._held + text
        ends = [end for stop in self._stops if (end := text.find(stop)) >= 0]
        if ends:
            text, self._held, self.finish = text[: min(ends)], "", "stop"
        else:
            keep = len(text) - (0 if last else held_back(text, self._stops))
            text, self._held = text[:keep], text[keep:]
        return self._splitter.push(text, last or bool(ends)) if self._splitter else Delta(content=text)


class TokenTexts:
    """Texts of single tokens, as log-probs name them."""

    def __init__(self, tokenizer: Tokenizer):
        self._decode = tokenizer.decode
        # Behind another token: some tokenizers strip the space of a text's first one.
        self._anchor = next(iter(tokenizer.encode("x")[-1:]), 0)
        self._anchor_text = tokenizer.decode([self._anchor])
        self._texts: dict[int, str] = {}

    def __call__(self, token: int) -> str:
        if token not in self._texts:
            text = self._decode([self._anchor, token])
            self._texts[token] = text[len(self._anchor_text) :] or f"<token {token}>"
        return self._texts[token]

    def of_top(self, ids: Sequence[int], logprobs: Sequence[float], count: int) -> dict[str, float]:
        """Log-probs by text of the likeliest tokens; of several with one text the likeliest."""
        named: dict[str, float] = {}
        for token, logprob in zip(ids[:count], logprobs[:count], strict=True):
            named.setdefault(self(int(token)), float(logprob))
        return named

    def entry(self, token: int, logprob: float) -> dict[str, Any]:
        """A token in the form of the chat API."""
        text = self(token)
        return {"token": text, "logprob": float(logprob), "bytes": list(text.encode())}
