"""Examples for supervised fine-tuning as a pure function of (config, seed, position): what is asked, what is taught.

The loss is on what the assistant says and on the token that ends its turn, never on what it is given. The ids before
each response are those that the sampler would be given, and the response's own ids follow them: nothing is tokenised
across that border, for the model never sees it so.
"""

import array
import dataclasses
import hashlib
import itertools
import pathlib
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from r1jax import config
from r1jax.config import within
from r1jax.data import corpus, jsonl
from r1jax.data.batching import Example
from r1jax.data.tasks import DATE, is_held_out, prompt_text
from r1jax.text import chat
from r1jax.text.tokenizer import Tokenizer

Message = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class InstructionConfig:
    """Where examples come from.

    Attributes:
        path: a JSONL file; a line is `{"prompt": ..., "response": ...}`, or `{"messages": [...]}` of `{"role": ...,
            "content": ...}`, whose assistant's turns are all taught. "" for worked solutions of the mini world's
            problems, in the R1-Zero tags.
        paths: several such files in place of one; their lines are mixed.
        template: a name in `r1jax.text.chat.TEMPLATES` that dresses a prompt. Messages are taken as they are.
        chat: ask through the model's own chat template, as in `data.tasks.DataConfig`. Messages need it.
        held_out_share: leave out what asks a question that `data.tasks.is_held_out`, in any of the user's messages; 0
            keeps all.
        skip_bad_lines: leave out, and count, lines of the file that cannot be used.
    """

    path: str = ""
    template: str = "r1_zero"
    chat: bool = False
    held_out_share: float = 0.1
    skip_bad_lines: bool = False
    paths: tuple[str, ...] = ()

    def __post_init__(self):
        if self.path and self.paths:
            raise ValueError(f"path={self.path!r} and paths={self.paths} are both given: name all files in paths, and "
                             "set path to ''")  # fmt: skip
        within("[0, 1)", self, "held_out_share")
        chat.render(self.template, "")  # Raises for a template that does not exist.

    @property
    def files(self) -> tuple[str, ...]:
        """The files to read; none for worked solutions."""
        return (self.path,) if self.path else self.paths


class Instructions:
    """An endless stream of examples. All state is fixed at construction.

    Files are tokenised whole, so that each fault shows at the start: 5 bytes a token stay in memory.

    Attributes:
        examples: what the files hold to train on, in their order; empty without a file.
        left_out: how many of the files' lines are not trained on, by reason.
    """

    def __init__(self, cfg: InstructionConfig, seed: int, tokenizer: Tokenizer, seq_len: int):
        """Reads and checks all files, if there are any.

        Args:
            seed: not negative; decides which example stands at which position.
            seq_len: an example that takes more inputs than this is left out, not cut: half an answer teaches to stop
                in the middle.

        Raises:
            FileNotFoundError, ValueError: see `jsonl.read_objects`; also files of which no example is left, or
                `chat` for a model that has no chat template.
        """
        self._cfg, self._seed, self._tokenizer, self._seq_len = cfg, seed, tokenizer, seq_len
        self._bos = len(tokenizer.encode(""))
        prompt_text("?", cfg.template, cfg.chat, tokenizer)  # No chat template is the model's fault, not a line's.
        self.examples: list[Example] = []
        self.left_out: dict[str, int] = {}
        if not cfg.files:
            return
        read, bad = [], 0
        for path in cfg.files:
            rows, spoiled = jsonl.read_objects(path, lambda row, line: self._from_row(row), cfg.skip_bad_lines)
            read += rows
            bad += spoiled
        allowed = [example for held_out, example in read if not held_out]
        self.examples = [example for example in allowed if self._fits(example)]
        self.left_out = {
            "bad": bad,
            "held-out questions": len(read) - len(allowed),
            f"longer than seq_len={seq_len}": len(allowed) - len(self.examples),
        }
        if not self.examples:
            counts = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
            raise ValueError(f"no example of {', '.join(cfg.files)} is left to train on: {counts}")

    @property
    def notice(self) -> str:
        """What to say of the lines that are not trained on; "" where all are."""
        counts = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items() if count)
        return f"examples left out of {', '.join(self._cfg.files)}: {counts}" if counts else ""

    def take(self, start: int, count: int) -> list[Example]:
        """The examples at positions start .. start + count - 1: `take(0, 10) == take(0, 5) + take(5, 5)`.

        Raises:
            ValueError: a negative start or count; without a file, a seq_len that is too short for the solutions.
        """
        if self.examples:
            return [self.examples[i] for i in jsonl.order(self._seed, len(self.examples), start, count)]
        return [self._embedded(position) for position in range(start, start + count)]

    def _embedded(self, position: int) -> Example:
        for question, response in itertools.islice(_solutions(self._cfg, self._seed, position), 100):
            example = self._from_turn(question, response)
            if self._fits(example):
                return example
        raise ValueError(
            f"none of 100 worked solutions fits seq_len={self._seq_len}; the last takes {len(example[0]) - 1} tokens"
        )

    def _fits(self, example: Example) -> bool:
        return len(example[0]) - 1 <= self._seq_len  # the last token is only a target

    def _from_row(self, row: jsonl.Row) -> tuple[bool, Example]:
        """Whether it asks a held-out question, and the example."""
        if "messages" in row:
            messages = _checked(row["messages"])
            asked = [message["content"] for message in messages if message["role"] == "user"]
            example = self._from_messages(messages)
        elif "prompt" in row and "response" in row:
            for key in ("prompt", "response"):
                jsonl.check_text(key, row[key])
            asked = [row["prompt"]]
            example = self._from_turn(row["prompt"], row["response"])
        else:
            has = config.nearest("messages", row)
            raise ValueError(f"neither 'prompt' and 'response' nor 'messages'; it has: {has}")
        return any(is_held_out(question, self._cfg.held_out_share) for question in asked), example

    def _from_turn(self, prompt: str, response: str) -> Example:
        given = prompt_text(prompt, self._cfg.template, self._cfg.chat, self._tokenizer)
        return self._join([given], [response])

    def _from_messages(self, messages: Sequence[Message]) -> Example:
        if not self._cfg.chat:
            raise ValueError("'messages' are dressed by the model's own chat template: set data.chat=true")
        given, said, so_far, prompt = [], [], "", ""
        for turn, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            prompt = self._tokenizer.render_chat(messages[:turn], now=DATE)
            if not prompt.startswith(so_far):
                raise ValueError(
                    f"the chat template does not repeat word for word what comes before message {turn} (some drop "
                    "earlier thoughts), so that the turns cannot be taught together: give each a line of its own"
                )
            given.append(prompt[len(so_far) :])
            said.append(message["content"])
            so_far = prompt + message["content"]
        if not self._tokenizer.render_chat(messages, add_generation_prompt=False, now=DATE).startswith(prompt):
            raise ValueError(
                "the chat template begins the assistant's turn in one way for the sampler, in another for this "
                "conversation: give the turn as 'prompt' and 'response', which follows the sampler's"
            )
        return self._join(given, said)

    def _join(self, given: Sequence[str], said: Sequence[str]) -> Example:
        """One sequence of turns: `said[k]` answers `given[k]`, which from the second on begins by ending a turn."""
        ends = set(self._tokenizer.eos_ids)
        ids = list(self._tokenizer.encode(given[0]))
        mask = [0] * len(ids)
        for turn, response in enumerate(said):
            if turn:
                between = self._tokenizer.encode(given[turn])[self._bos :]
                if not between or between[0] not in ends:
                    raise ValueError("the chat template closes an assistant's turn with no end-of-turn token, "
                                     f"but with {given[turn][:20]!r}")  # fmt: skip
                ids += between
                mask += [1] + [0] * (len(between) - 1)
            spoken = self._tokenizer.encode(response)[self._bos :]
            if not ends.isdisjoint(spoken):
                raise ValueError("a response holds an end-of-turn token itself: leave it out, it is added")
            ids += spoken
            mask += [1] * len(spoken)
        return array.array("i", [*ids, self._tokenizer.eos_ids[0]]), array.array("b", [*mask, 1])


def digest(cfg: InstructionConfig, seed: int) -> str:
    """What tells texts apart that a config alone does not: the files' bytes, or a sample of the worked solutions.

    Raises:
        FileNotFoundError: a file is not there.
    """
    if cfg.files:
        hashes = [hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest() for path in cfg.files]
        return hashes[0] if len(hashes) == 1 else config.fingerprint(hashes)
    return config.fingerprint([next(_solutions(cfg, seed, position)) for position in range(200)])


def _solutions(cfg: InstructionConfig, seed: int, position: int) -> Iterator[tuple[str, str]]:
    rng = random.Random(f"instructions/{seed}/{position}")
    while True:
        yield corpus.careful_solution(rng, cfg.held_out_share)


def _checked(messages: Any) -> list[Message]:
    """Messages of the right form, the assistant's without white space around them, which templates trim or keep."""
    if not isinstance(messages, list) or not messages:
        raise ValueError(f"'messages' is {messages!r}, should be a list of {{'role': ..., 'content': ...}}")
    checked = []
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            raise ValueError(f"message {index} is {message!r}, should be {{'role': ..., 'content': ...}}")
        for key in ("role", "content"):
            jsonl.check_text(f"messages[{index}].{key}", message[key])
        checked.append(message | {"content": message["content"].strip()} if message["role"] == "assistant" else message)
    if checked[0]["role"] == "assistant" or checked[-1]["role"] != "assistant":
        raise ValueError("the conversation must begin with a message to the assistant and end with one of its own")
    return checked
