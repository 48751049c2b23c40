"""Questions as a pure function of (config, seed, position), from reasoning-gym's tasks or from a file.

The text of a question alone decides whether it is kept for evaluation. Under no seed does training, or pretraining text
that is filtered by `is_held_out`, contain one of them.
"""

import dataclasses
import datetime
import decimal
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from r1jax.config import ConfigError, above, at_least, nearest, within
from r1jax.data import columns, reference_answer_checks
from r1jax.data.types import Prompt
from r1jax.io import jsonl, row_files
from r1jax.io.provenance import sha256
from r1jax.text import chat
from r1jax.text.chat_template import check_arguments
from r1jax.text.prompt_format import R1_ZERO
from r1jax.text.tokenizer import Tokenizer

# The date for chat templates that tell the model one, Llama 3's own default: a prompt must not change with the day on
# which a run is resumed, nor at midnight on one of its hosts.
DATE = datetime.datetime(2024, 7, 26)
# A reasoning-gym dataset draws entry i from Random(seed + i). All datasets have seed 0 here, so that the candidate i
# alone names a question (neighbouring seeds would share nearly all entries); the run's seed picks the candidates.
CANDIDATES = 2**31 - 1
# These list every entry's kind when created: time and memory grow with their size.
LISTED_AHEAD = ("acre", "gsm_symbolic")
LISTED_CANDIDATES = 10_000
# Found by comparing processes, 20 entries a task: entries that vary with the order of a set or the calls before.
UNREPRODUCIBLE = (
    "codeio",
    "isomorphic_strings",
    "knight_swap",
    "list_functions",
    "polynomial_multiplication",
    "ransom_note",
    "word_ladder",
)


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """One reasoning-gym task.

    The library decides how long a question takes: mostly far under a millisecond, but some tasks search (`sokoban`,
    `knight_swap`: tenths of a second), and `basic_arithmetic` divides by trial, which from `max_digits` 4 on can take
    a minute for one entry.

    Attributes:
        name: in that library's registry, for example `chain_sum`.
        weight: the frequency of its questions, relative to the other tasks.
        options: fields of the task's own config, for example `{"max_terms": 4}`; `seed` and `size` are fixed.
    """

    name: str
    weight: float = 1.0
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        above(0, self, "weight")


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The source of questions.

    Attributes:
        tasks: the mixture.
        path: rows of `{"prompt", "answer"}` and further fields for their grader, in place of tasks: a JSONL, CSV or
            parquet file, a folder that `datasets` saved, or a split of the Hugging Face hub
            (`openai/gsm8k:main:train`), see `r1jax.io.row_files`; "": none.
        columns: where these fields are in rows of another layout, see `r1jax.data.columns`: a ready mapping by its name
            (`gsm8k`), or the column of each field (`{"prompt": "question"}`); "": as they are called.
        template: a name in `r1jax.text.chat.TEMPLATES`. None, as for chat and marker: the one recorded in the model's
            folder (`r1jax.text.prompt_format`); without a record R1-Zero's template, no chat, the format of the tags.
        chat: use the model's own chat template: the rendered `template` is the user's message.
        template_arguments: further variables of the chat template, for example `{"enable_thinking": False}`.
        marker: of the cold-start format, see `Prompt.marker`; "": the format of the tags.
        held_out_share: share of all questions that is kept for evaluation, by `is_held_out`.
        grader: of the file's lines, a key of `r1jax.graders.grader_table.GRADERS`; "": each line's own `grader`, or
            the one that its other fields call for.
        skip_bad_lines: leave out, and count, lines of the file that cannot be used.
        max_prompt_tokens: leave out, and count, questions whose prompt, template and all, has more; 0: only those with
            which the model cannot hold a response of `sampling.max_new_tokens`.
    """

    tasks: tuple[TaskConfig, ...] = ()
    path: str = ""
    template: str | None = None
    chat: bool | None = None
    marker: str | None = None
    held_out_share: float = 0.1
    grader: str = ""
    skip_bad_lines: bool = False
    template_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    max_prompt_tokens: int = 0
    columns: Any = ""

    def __post_init__(self):
        at_least(0, self, "max_prompt_tokens")
        if not self.tasks and not self.path:
            raise ValueError("no questions: give tasks, or the path of a file of them")
        columns.reader(self.columns, "questions")  # Raises for a mapping that does not exist.
        within("[0, 1]", self, "held_out_share")
        check_arguments(self.template_arguments, self.chat is not False)
        if self.template is not None:
            chat.render(self.template, "")  # Raises for a template that does not exist.


def check_question_count(num_prompts: int, data: DataConfig) -> None:
    """Raises ValueError where all questions are asked, and they are tasks, which have no end."""
    if not num_prompts and not data.path:
        raise ValueError("num_prompts=0 takes all questions of a file, and tasks have no end: set a number")


def is_held_out(question: str, share: float) -> bool:
    """Whether a question, before any template, is one of the `share` kept for evaluation.

    Decided by the text's hash, white space aside. A smaller share's questions are among a larger one's.
    """
    digest = sha256(" ".join(question.split()))
    return int.from_bytes(digest[:8]) < share * 2**64


def prompt_text(
    question: str,
    template: str,
    as_chat: bool,
    tokenizer: Tokenizer | None,
    arguments: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """The text of a prompt up to the beginning of the response, the same in fine-tuning and in sampling.

    Args:
        tokenizer: the model's; None: a server has it, and its chat template.
        arguments: further variables of the chat template.

    Raises:
        ValueError: no such template; `as_chat`, and the model has no chat template.
    """
    text = chat.render(template, question)
    if not as_chat or tokenizer is None:
        return text
    return tokenizer.render_chat([{"role": "user", "content": text}], now=DATE, **arguments)


class Questions:
    """Two endless streams of questions, for training and held out.

    Their contents are fixed at construction. A task's candidates whose reference answer fails the check of
    `r1jax.data.reference_answer_checks` are left out.

    Attributes:
        skipped: lines of the file that could not be used and were left out.
        graders: the names of their graders.
    """

    def __init__(
        self,
        cfg: DataConfig,
        seed: int,
        tokenizer: Tokenizer | None,
        *,
        examine: Callable[[jsonl.Row], str],
        prompt_limit: int | None = None,
    ):
        """Creates the tasks' datasets, or reads and checks the whole file.

        Args:
            seed: not negative; decides which question stands at which position, and nothing about the split.
            tokenizer: makes `Prompt.ids` from the rendered template; None: a server has it, and ids are empty.
            examine: names the grader of a file's row; raises ValueError for a row that could not be graded against.
            prompt_limit: tokens of a prompt that the model can hold, beside what the config allows; None: any number.

        Raises:
            ConfigError: an unknown task, or options that it refuses; a limit of tokens, and nothing to count them by.
            FileNotFoundError, ValueError: see `row_files.read_questions`; also a file of which no prompt is short
                enough.
        """
        if cfg.max_prompt_tokens and tokenizer is None:
            raise ConfigError(
                f"max_prompt_tokens={cfg.max_prompt_tokens} is counted by the model's own tokenizer, "
                "which a server does not show: set it to 0"
            )
        self._limit = min(filter(None, (cfg.max_prompt_tokens, prompt_limit)), default=None)
        self._too_long: set[int | tuple[int, int]] = set()  # a file's row, or (task, candidate)
        self.skipped = 0
        self._faulty: set[tuple[int, int]] = set()  # (task, candidate); it decides nothing
        cfg = R1_ZERO.fill(cfg)
        self._cfg, self._seed, self._tokenizer = cfg, seed, tokenizer
        if cfg.path:

            def examine_row(row: jsonl.Row) -> None:
                jsonl.check_prompt_alone(row)
                row["grader"] = examine({**row, "grader": cfg.grader} if cfg.grader else row)

            mapped = columns.reader(cfg.columns, "questions")
            rows, self.skipped = row_files.read_questions(cfg.path, cfg.skip_bad_lines, examine_row, mapped)
            rows = self._short_enough(rows)
            self.graders = frozenset(row["grader"] for row in rows)
            held_out = [row for row in rows if is_held_out(row["prompt"], cfg.held_out_share)]
            self._training = [row for row in rows if not is_held_out(row["prompt"], cfg.held_out_share)]
            # Each question counts once in an evaluation, however often the file repeats it.
            self._held_out = list({row["prompt"]: row for row in held_out}.values())
        else:
            self._datasets = [_dataset(task) for task in cfg.tasks]
            self.graders = frozenset({"reasoning_gym"})
            weights = np.array([task.weight for task in cfg.tasks])
            self._weights = weights / weights.sum()

    def _short_enough(self, rows: Sequence[jsonl.Row]) -> Sequence[jsonl.Row]:
        if self._limit is None or self._tokenizer is None:
            return rows
        # To render and count every prompt of a large file takes minutes. A token stands for a byte at least, though
        # a tokenizer's normalisation may make 11 bytes of one that is not ASCII (NFKC of U+FDFA).
        shortest, longer = (len(self._rendered("x" * n)[0].encode()) for n in (1, 1001))

        def may_be_long(question: str) -> bool:
            spelled = len(question.encode()) * (1 if question.isascii() else 11)
            return shortest + spelled * (longer - shortest) / 1000 + 8 > self._limit

        perhaps = [i for i, row in enumerate(rows) if may_be_long(row["prompt"])]
        self._too_long = {i for i in perhaps if len(self._rendered(rows[i]["prompt"])[1]) > self._limit}
        if len(self._too_long) == len(rows):
            raise ValueError(
                f"{self._cfg.path}: all {len(rows)} prompts have more than {self._limit} tokens: raise "
                "data.max_prompt_tokens, or lower sampling.max_new_tokens"
            )
        return [row for i, row in enumerate(rows) if i not in self._too_long]

    @property
    def too_long(self) -> int:
        """Questions left out so far because their prompt has too many tokens."""
        return len(self._too_long)

    @property
    def faulty(self) -> int:
        """Candidates left out so far because their reference answer is wrong; each counts once."""
        return len(self._faulty)

    def left_out(self) -> str:
        """A description of the questions left out so far; "": none."""
        counts = (
            (self.skipped, "bad lines"),
            (self.faulty, "generated questions with a wrong reference answer"),
            (self.too_long, f"questions with a prompt of more than {self._limit} tokens"),
        )
        return "; ".join(f"{count} {kind} left out" for count, kind in counts if count)

    def held_out(self, count: int) -> list[Prompt]:
        """The first `count` held-out questions, or all of a file that has fewer; [] where no share is held out.

        Raises:
            ValueError: the file has none, and a share is held out.
        """
        if not self._cfg.held_out_share:
            return []
        return self.take(0, max(min(count, len(self._held_out)), 1) if self._cfg.path else count, held_out=True)

    def training(self, count: int) -> list[Prompt]:
        """The first `count` training questions without repetitions: fewer, and all different.

        Args:
            count: 0, or more than a file has: all of the file.

        Raises:
            ValueError: the file has none; 0 of tasks, which have no end.
        """
        if self._cfg.path:
            count = max(min(count or len(self._training), len(self._training)), 1)
        elif not count:
            raise ValueError("tasks have no end: say how many questions to take")
        first: dict[str, Prompt] = {}
        for prompt in self.take(0, count):
            first.setdefault(prompt.question, prompt)
        return list(first.values())

    def take(self, start: int, count: int, held_out: bool = False) -> list[Prompt]:
        """The questions at positions start .. start + count - 1 of one of the two streams.

        `take(0, 10) == take(0, 5) + take(5, 5)`, in any process. Held-out questions are all different, wherever they
        stand in their stream (so the work grows with start + count there); training questions may come again.

        Raises:
            ValueError: the side has no questions, or is held out and has fewer different ones than this.
        """
        if start < 0 or count < 0:
            raise ValueError(f"cannot take {count} questions from position {start}")
        make = self._from_file if self._cfg.path else self._from_tasks
        return make(start, count, held_out)

    def _from_file(self, start: int, count: int, held_out: bool) -> list[Prompt]:
        rows = self._held_out if held_out else self._training
        side = "held-out" if held_out else "training"
        if not rows or (held_out and start + count > len(rows)):
            raise ValueError(
                f"{self._cfg.path} has {len(rows)} {side} questions, {start + count} are asked for; "
                f"data.held_out_share={self._cfg.held_out_share} divides them by their text: with 0 all are trained on "
                "and none is evaluated"
            )
        prompts = []
        for position, index in enumerate(jsonl.order(self._seed, len(rows), start, count), start):
            row = rows[index]
            source = f"{row['grader']}:{row_files.name_of(self._cfg.path)}"
            metadata = {key: value for key, value in row.items() if key not in ("id", "prompt", "answer", "grader")}
            prompts.append(self._prompt(f"{row['id']}-{position}", row["prompt"], row["answer"], source, metadata))
        return prompts

    def _from_tasks(self, start: int, count: int, held_out: bool) -> list[Prompt]:
        if not held_out:
            return [self._generate(position, False, set()) for position in range(start, start + count)]
        prompts, seen = [], set()
        for position in range(start + count):
            prompts.append(self._generate(position, True, seen))
            seen.add(prompts[-1].question)
        return prompts[start:]

    def _generate(self, position: int, held_out: bool, seen: set[str]) -> Prompt:
        share = self._cfg.held_out_share if held_out else 1 - self._cfg.held_out_share
        if not share:
            raise ValueError(f"data.held_out_share={self._cfg.held_out_share} leaves no question on this side")
        rng = np.random.default_rng([self._seed, position])
        index = rng.choice(len(self._datasets), p=self._weights)
        dataset, name = self._datasets[index], self._cfg.tasks[index].name
        # Chance alone would miss the side that often with probability exp(-100).
        attempts = int(100 / share) + 1
        for _ in range(attempts):
            candidate = int(rng.integers(len(dataset)))
            # decimal_arithmetic sets the thread's precision, at which decimal_chain_sum would then round its answers.
            with decimal.localcontext(decimal.Context()):
                entry = dataset[candidate]
            question = entry["question"].strip()
            if question not in seen and is_held_out(question, self._cfg.held_out_share) == held_out:
                if not reference_answer_checks.is_right(name, entry):
                    self._faulty.add((index, candidate))
                    continue
                # Some tasks have no one answer and grade by their metadata.
                answer = "" if entry["answer"] is None else str(entry["answer"])
                # As it is, tuples too: two of the library's graders compare with them.
                metadata = {"entry_metadata": entry["metadata"]}
                id_ = f"{name}-{position}-{candidate}"
                prompt = self._prompt(id_, question, answer, f"reasoning_gym:{name}", metadata)
                if self._limit is None or len(prompt.ids) <= self._limit:
                    return prompt
                self._too_long.add((index, candidate))
        side = "held-out" if held_out else "training"
        raise ValueError(
            f"task {name} is too small: beyond {len(seen)} {side} questions, {attempts} tries gave no new one"
            f"{f' whose reference is right ({self.faulty} are wrong)' if self.faulty else ''}"
            f"{f' of {self._limit} tokens at most ({self.too_long} have more)' if self.too_long else ''}; "
            f"ask for fewer, widen its options or change data.held_out_share={self._cfg.held_out_share}"
            f"{f' or data.max_prompt_tokens={self._cfg.max_prompt_tokens}' if self.too_long else ''}"
        )

    def _prompt(self, id_: str, question: str, answer: str, source: str, metadata: Mapping[str, Any]) -> Prompt:
        return Prompt(id_, question, answer, source, *self._rendered(question), metadata, self._cfg.marker)

    def _rendered(self, question: str) -> tuple[str, tuple[int, ...]]:
        """A prompt's text and ids."""
        cfg = self._cfg
        text = prompt_text(question, cfg.template, cfg.chat, self._tokenizer, cfg.template_arguments)
        return text, tuple(self._tokenizer.encode(text)) if self._tokenizer else ()


def _dataset(task: TaskConfig) -> Any:
    # Imported here: it takes over a second, which those who only read a file or the config need not wait.
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    if task.name not in DATASETS:
        raise ConfigError(f"reasoning-gym has no task {task.name!r}; nearest: {nearest(task.name, DATASETS)}")
    if task.name in UNREPRODUCIBLE:
        raise ConfigError(f"task {task.name} does not give the same questions in every process; choose another")
    options = {field.name for field in dataclasses.fields(DATASETS[task.name][1])} - {"seed", "size"}
    for name in task.options:
        if name not in options:
            raise ConfigError(f"task {task.name} has no option {name!r}; nearest: {nearest(name, options)}")
    size = LISTED_CANDIDATES if task.name in LISTED_AHEAD else CANDIDATES
    try:
        return reasoning_gym.create_dataset(task.name, seed=0, size=size, **task.options)
    except (AssertionError, TypeError, ValueError) as error:
        raise ConfigError(f"task {task.name} refuses its options {dict(task.options)}: {error}") from error
