"""Examples for supervised fine-tuning as a pure function of (config, seed, position): prompts and responses.

The loss is on the assistant's responses and on the token that ends each turn, never on the prompt. The ids before a
response are those of the sampler's prompt, and the response's own ids follow them: nothing is tokenised across that
border, as in sampling.
"""

import array
import collections
import dataclasses
import itertools
import pathlib
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from r1jax import config
from r1jax.config import within
from r1jax.data import columns, conversations, token_cache, tokenizing
from r1jax.data.miniworld import documents
from r1jax.data.tasks import is_held_out, prompt_text
from r1jax.data.types import Example
from r1jax.io import buckets, jsonl, provenance, row_files
from r1jax.io.console import ProgressPrinter
from r1jax.io.provenance import fingerprint
from r1jax.text import chat
from r1jax.text import tokenizer as text
from r1jax.text.chat_template import check_arguments
from r1jax.text.tokenizer import Tokenizer

_CACHED_BYTES = (
    2**22
)  # of the files, from which on they are tokenised into a cache; fewer take less than processes to start
_CHUNK = 32  # rows that a process gets at a time


@dataclasses.dataclass(frozen=True)
class InstructionConfig:
    """The source of examples.

    Attributes:
        path: a JSONL, CSV or parquet file, a folder that `datasets` saved, or a split of the Hugging Face hub
            (`allenai/tulu-3-sft-mixture:train`), see `r1jax.io.row_files`. A row is `{"prompt": ..., "response": ...}`,
            or `{"messages": [...]}`, whose assistant's turns are trained on except those of `"weight": 0`, see
            `r1jax.data.conversations`; either may have `system` and `tools`. "" for worked solutions of the mini
            world's problems, in the R1-Zero tags.
        paths: several such sources in place of one; their rows are mixed.
        columns: where these fields are in rows of another layout, see `r1jax.data.columns`: a ready mapping by its name
            (`openr1_math`), or the column of each field; "": as they are called.
        template: a name in `r1jax.text.chat.TEMPLATES`, for prompts; messages are used without it.
        chat: use the model's own chat template, as in `data.tasks.DataConfig`. Messages need it.
        template_arguments: further variables of the chat template, for example `{"enable_thinking": False}`.
        marker: of the responses' cold-start format, "" for the format of the tags. It changes nothing here and is
            recorded with the model, for later prompts (`r1jax.text.prompt_format`); None: not recorded.
        held_out_share: leave out examples with a question that `data.tasks.is_held_out`, in any user message; 0: none.
        skip_bad_lines: leave out, and count, lines of the file that cannot be used.
    """

    path: str = ""
    template: str = "r1_zero"
    chat: bool = False
    held_out_share: float = 0.1
    skip_bad_lines: bool = False
    paths: tuple[str, ...] = ()
    template_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    marker: str | None = None
    columns: Any = ""

    def __post_init__(self):
        check_arguments(self.template_arguments, self.chat)
        if self.path and self.paths:
            raise ValueError(
                f"path={self.path!r} and paths={self.paths} are both given: name all files in paths, and set path to ''"
            )
        within("[0, 1)", self, "held_out_share")
        columns.reader(self.columns, "examples")  # Raises for a mapping that does not exist.
        chat.render(self.template, "")  # Raises for a template that does not exist.

    @property
    def files(self) -> tuple[str, ...]:
        """The files to read; none for worked solutions."""
        return (self.path,) if self.path else self.paths


class Instructions:
    """An endless stream of examples. All state is fixed at construction.

    Files are tokenised whole, so that each fault shows at the start: 5 bytes a token stay in memory, or in a cache on
    disk (`data.token_cache`), which process 0 makes, in worker processes, once for files, tokenizer and settings.

    Attributes:
        examples: what the files hold to train on, in their order; empty without a file.
        left_out: how many of the files' lines are not trained on, by reason.
        unread: the number of lines with a key that nothing reads, by the key.
        open_thoughts: responses that do not close the thought that the chat template opens for them.
    """

    def __init__(
        self, cfg: InstructionConfig, seed: int, tokenizer: Tokenizer, seq_len: int, cache: pathlib.Path | None = None
    ):
        """Reads and checks all files, if there are any.

        Args:
            seed: not negative; decides which example stands at which position.
            seq_len: an example that takes more inputs than this is left out, not cut: half an answer teaches to stop
                in the middle.
            cache: folder of caches, which all processes share; None, or small files: none is made.

        Raises:
            FileNotFoundError, ValueError: see `row_files.read_records`; also files of which no example is left, or
                `chat` for a model that has no chat template.
        """
        self._cfg, self._seed, self._seq_len = cfg, seed, seq_len
        self._rows = _Rows(cfg, tokenizer)
        # No chat template, or one that does not read its arguments, is no line's fault.
        prompt_text("?", cfg.template, cfg.chat, tokenizer, cfg.template_arguments)
        self.examples: Sequence[Example] = []
        self.left_out: dict[str, int] = {}
        self.unread: collections.Counter[str] = collections.Counter()
        self.open_thoughts = 0
        if not cfg.files:
            return
        tallies: collections.Counter[str] = collections.Counter()
        if cache is None or sum(map(row_files.size, cfg.files)) < _CACHED_BYTES:
            self.examples = list(self._usable(self._in_this_process(tallies), tallies))
        else:
            self.examples = self._cached(cache, tokenizer, tallies)
            tallies = collections.Counter(self.examples.facts)
        unread, long = "unread ", f"longer than seq_len={seq_len}"
        self.left_out = {name: tallies[name] for name in ("bad", _HELD_OUT)} | {long: tallies["long"]}
        self.unread.update({name.removeprefix(unread): n for name, n in tallies.items() if name.startswith(unread)})
        self.open_thoughts = tallies["open thoughts"]
        if not self.examples:
            counts = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
            hint = "; data.held_out_share=0 keeps all questions" if self.left_out[_HELD_OUT] else ""
            raise ValueError(f"no example of {', '.join(cfg.files)} is left to train on: {counts}{hint}")

    def _usable(self, read: Iterator[tuple[bool, Example]], tallies: collections.Counter[str]) -> Iterator[Example]:
        """The examples that are trained on; counts the others."""
        for held_out, example in read:
            if held_out or not self._fits(example):
                tallies[_HELD_OUT if held_out else "long"] += 1
            else:
                yield example

    def _in_this_process(self, tallies: collections.Counter[str]) -> Iterator[tuple[bool, Example]]:
        mapped = columns.reader(self._cfg.columns, "examples")
        for path in self._cfg.files:
            read, bad = row_files.read_records(
                path, lambda row, _: self._rows.read(row), self._cfg.skip_bad_lines, mapped
            )
            tallies["bad"] += bad
            yield from read
        tallies.update(self._rows.counts)

    def _cached(
        self, cache: pathlib.Path, tokenizer: Tokenizer, tallies: collections.Counter[str]
    ) -> token_cache.TokenizedExamples:
        key = ""
        if _is_process_0() or buckets.address_of(cache):  # beside a workdir in a bucket each process has its own
            with tempfile.TemporaryDirectory() as folder:
                tokenizer.save(pathlib.Path(folder))
                key = _cache_key(self._cfg, self._seq_len, pathlib.Path(folder))
                if not token_cache.is_whole(cache / key):
                    read = _in_processes(self._cfg, folder, tallies)
                    token_cache.write(cache / key, self._usable(read, tallies), tallies)
        return token_cache.TokenizedExamples(cache / token_cache.agreed(key))

    @property
    def notice(self) -> str:
        """A message on lines that are not trained on, and on keys that are not read; "": none."""
        counts = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items() if count)
        unread = ", ".join(f"{key} ({count} lines)" for key, count in sorted(self.unread.items()))
        notices = (
            counts and f"examples left out of {', '.join(self._cfg.files)}: {counts}",
            unread and f"keys that nothing reads: {unread}",
            self.open_thoughts
            and f"responses in the thought that the chat template opens, which they never close: {self.open_thoughts}",
        )
        return "; ".join(notice for notice in notices if notice)

    def lengths(self, start: int, count: int) -> list[int]:
        """The tokens of `take(start, count)`, which are not read for it where the files are cached."""
        if not isinstance(self.examples, token_cache.TokenizedExamples):
            return [len(ids) for ids, _ in self.take(start, count)]
        return self.examples.lengths[jsonl.order(self._seed, len(self.examples), start, count)].tolist()

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
            example = self._rows.of_turn(question, response, {})
            if self._fits(example):
                return example
        raise ValueError(
            f"none of 100 worked solutions fits seq_len={self._seq_len}; the last takes {len(example[0]) - 1} tokens"
        )

    def _fits(self, example: Example) -> bool:
        return len(example[0]) - 1 <= self._seq_len  # the last token is only a target


_HELD_OUT = "held-out questions"


class _Rows:
    """The examples of rows.

    Attributes:
        counts: of responses with "open thoughts", and of the rows with a key that nothing reads, "unread KEY".
    """

    def __init__(self, cfg: InstructionConfig, tokenizer: Tokenizer):
        self._cfg, self._tokenizer = cfg, tokenizer
        self._bos = len(tokenizer.encode(""))
        self.counts: collections.Counter[str] = collections.Counter()

    def read(self, row: jsonl.Row) -> tuple[bool, Example]:
        """Whether it holds a held-out question, and the example. A key that is null counts as absent."""
        row = {key: value for key, value in row.items() if value is not None}
        for key in conversations.TURN_KEYS:
            if key in row:
                raise ValueError(
                    f"{key!r} stands beside the messages, where nothing reads it: it is a key of a turn, "
                    "{'role': 'assistant', 'content': ...}, in 'messages'"
                )
        if "messages" in row:
            questions, example, unread = self._from_messages(row)
            read = {"messages"}
        elif "prompt" in row and "response" in row:
            for key in ("prompt", "response"):
                jsonl.check_text(key, row[key])
            questions, unread, read = [row["prompt"]], set(), {"prompt", "response"}
            example = self.of_turn(row["prompt"], row["response"], row)
        else:
            raise ValueError(f"neither 'prompt' and 'response' nor 'messages'; it has: {config.listed(row)}")
        others = row.keys() - read - {"id", "system", "tools"}
        self.counts.update(f"unread {key}" for key in unread | others)
        return any(is_held_out(question, self._cfg.held_out_share) for question in questions), example

    def of_turn(self, prompt: str, response: str, row: jsonl.Row) -> Example:
        cfg, tokenizer = self._cfg, self._tokenizer
        system, tools = conversations.system_of(row), conversations.tools_of(row)
        if not (system or tools):
            rendered = prompt_text(prompt, cfg.template, cfg.chat, tokenizer, cfg.template_arguments)
        elif cfg.chat:
            messages = [{"role": "system", "content": system}] if system else []
            messages.append({"role": "user", "content": chat.render(cfg.template, prompt)})
            rendered = conversations.prompt_of(messages, tools, tokenizer, cfg.template_arguments)
        else:
            raise ValueError(
                "'system' and 'tools' are rendered by the model's own chat template: set config.data.chat=true"
            )
        self.counts["open thoughts"] += bool(chat.opening_tag(rendered)) and "</think>" not in response
        return self._join([rendered], [chat.continuation(rendered, response)])

    def _from_messages(self, row: jsonl.Row) -> tuple[Sequence[str], Example, frozenset[str]]:
        """The user's questions, the example, and the messages' keys that nothing reads."""
        if not self._cfg.chat:
            raise ValueError("'messages' are rendered by the model's own chat template: set config.data.chat=true")
        conversation = conversations.read(row)
        turns = conversations.turns(conversation, self._tokenizer, self._cfg.template_arguments)
        unread = frozenset(f"messages[].{key}" for key in turns.unread)
        return conversation.questions, self._join(turns.prompts, turns.responses), unread

    def _join(self, prompts: Sequence[str], responses: Sequence[str]) -> Example:
        """One sequence of turns: `responses[k]` answers `prompts[k]`, which from the second ends a turn first."""
        ends = set(self._tokenizer.eos_ids)
        ids = list(self._tokenizer.encode(prompts[0]))
        mask = [0] * len(ids)
        for turn, response in enumerate(responses):
            if turn:
                between = self._tokenizer.encode(prompts[turn])[self._bos :]
                if not between or between[0] not in ends:
                    raise ValueError(
                        "the chat template closes an assistant's turn with no end-of-turn token, "
                        f"but with {prompts[turn][:20]!r}"
                    )
                ids += between
                mask += [1] + [0] * (len(between) - 1)
            spoken = self._tokenizer.encode(response)[self._bos :]
            if not ends.isdisjoint(spoken):
                raise ValueError("a response holds an end-of-turn token itself: leave it out, it is added")
            ids += spoken
            mask += [1] * len(spoken)
        return array.array("i", [*ids, self._tokenizer.eos_ids[0]]), array.array("b", [*mask, 1])


def _is_process_0() -> bool:
    jax = sys.modules.get("jax")
    return jax is None or jax.process_index() == 0


def _cache_key(cfg: InstructionConfig, seq_len: int, tokenizer: pathlib.Path) -> str:
    """A name for all that decides which examples there are: data, tokenizer, prompt format, settings, and this code.

    Args:
        tokenizer: a folder with nothing but its files.
    """
    files = {path.relative_to(tokenizer).as_posix(): path for path in sorted(tokenizer.rglob("*")) if path.is_file()}
    package = pathlib.Path(__file__).parent.parent
    code = provenance.code_version(package, sorted([*package.glob("data/*.py"), *package.glob("text/*.py")]))
    data = [row_files.content_hash(path) for path in cfg.files]
    settings = dataclasses.replace(cfg, path="", paths=(), marker=None)
    return fingerprint([code, data, provenance.named_files_hash(files), settings, seq_len])


def _in_processes(
    cfg: InstructionConfig, tokenizer: str, tallies: collections.Counter[str]
) -> Iterator[tuple[bool, Example]]:
    """What `Instructions` reads in its own process, from several, in the same order and with the same errors."""
    progress, done = ProgressPrinter("tokenising", "rows"), 0
    total = sum(map(row_files.count, cfg.files))
    usable, bad = (dict.fromkeys(cfg.files, 0) for _ in range(2))
    of_chunks: collections.deque[tuple[str, list[str]]] = collections.deque()
    chunks, processes = _chunks(cfg.files, of_chunks), tokenizing.process_count()
    for rows, counts in tokenizing.in_processes(_make_read, (cfg, tokenizer), chunks, processes):
        path, places = of_chunks.popleft()
        for place, row in zip(places, rows, strict=True):
            if isinstance(row, str) and not cfg.skip_bad_lines:
                raise ValueError(f"{place}: {row} ({row_files.REMEDY})")
            if isinstance(row, str):
                bad[path] += 1
            else:
                usable[path] += 1
                yield row
        tallies.update(counts)
        done += len(rows)
        progress(done, total)
    tallies["bad"] = sum(bad.values())
    for path in cfg.files:
        if not usable[path]:
            raise ValueError(f"{path} holds no usable line ({bad[path]} bad ones were skipped)")


def _chunks(paths: Sequence[str], places: collections.deque[tuple[str, list[str]]]) -> Iterator[list[jsonl.Row | str]]:
    """Rows of files, an error in the place of a bad one; `places` gets each chunk's file and its rows' places."""
    for path in paths:
        items = row_files.items(path)
        while chunk := list(itertools.islice(items, _CHUNK)):
            rows: list[jsonl.Row | str] = []
            for _, _, parse in chunk:
                try:
                    rows.append(parse())
                except ValueError as error:
                    rows.append(str(error))
            places.append((path, [place for place, _, _ in chunk]))
            yield rows


def _make_read(cfg: InstructionConfig, tokenizer: str) -> Callable[[list[jsonl.Row | str]], Any]:
    """What a worker process does: the examples of a chunk's rows, or their errors, and the counts."""
    rows, mapped = _Rows(cfg, text.load(pathlib.Path(tokenizer))), columns.reader(cfg.columns, "examples")

    def read_one(row: jsonl.Row | str) -> tuple[bool, Example] | str:
        if isinstance(row, str):
            return row
        try:
            row = mapped(row) if mapped else row
            try:
                return rows.read(row)
            except ValueError as error:
                return f"{error}; {mapped}" if mapped else str(error)
        except ValueError as error:
            return str(error)

    def read(chunk: list[jsonl.Row | str]) -> tuple[list[Any], dict[str, int]]:
        rows.counts.clear()
        return [read_one(row) for row in chunk], dict(rows.counts)

    return read


def digest(cfg: InstructionConfig, seed: int) -> str:
    """A key of the texts that the config alone does not determine: of the files' bytes, or of sample solutions.

    Raises:
        FileNotFoundError: a file is not there.
    """
    if cfg.files:
        hashes = [row_files.content_hash(path) for path in cfg.files]
        return hashes[0] if len(hashes) == 1 else fingerprint(hashes)
    return fingerprint([next(_solutions(cfg, seed, position)) for position in range(200)])


def _solutions(cfg: InstructionConfig, seed: int, position: int) -> Iterator[tuple[str, str]]:
    rng = random.Random(f"instructions/{seed}/{position}")
    while True:
        yield documents.careful_solution(rng, cfg.held_out_share)
