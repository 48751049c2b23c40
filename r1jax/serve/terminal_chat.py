"""Chat in the terminal: questions and commands in, answers sampled in this process and shown as they come.

Text of models, and of the errors about them, is shown by `r1jax.config.printable`: no escape sequence in it is obeyed.
"""

import ast
import contextlib
import dataclasses
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import jax
from jax.sharding import Mesh
from rich.console import Console

from r1jax.config import ConfigError, at_least, nearest, parse, printable, to_dict, within
from r1jax.data.types import FinishReason
from r1jax.inference.session import Request
from r1jax.models.config import Truncation
from r1jax.serve.completion import chat_job, warm_up_job
from r1jax.serve.config import ServeConfig
from r1jax.serve.errors import ApiError
from r1jax.serve.response_text import Delta, ResponseText
from r1jax.serve.served import Served
from r1jax.text.chat import TEMPLATES

HELP = r'''/settings              shows the settings of sampling
/settings NAME=VALUE   sets temperature, top_p, top_k, seed, max_tokens, template;
                       the last three may be None
/clear                 forgets the conversation
/retry                 asks the last question again
/quit                  ends, as Ctrl-D does; Ctrl-C stops an answer
A line that ends with \ goes on in the next one. Lines between """ and """ are one
question, which may begin with /.'''
_COMMANDS = ("/help", "/settings", "/clear", "/retry", "/quit")
_PROMPT, _PROMPT_OF_NEXT_LINES, _QUOTES = "> ", ". ", '"""'
_HISTORY_LINES = 1000


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of sampling that a person may change between answers.

    Attributes:
        temperature, top_p, top_k: see `r1jax.models.config.Truncation`.
        seed: the same conversation and seed give the same answer; None: a random one for each answer.
        max_tokens: of an answer; None: all that the model's context leaves.
        template: a name in `r1jax.text.chat.TEMPLATES`; None: the model's own.
    """

    temperature: float = ServeConfig.temperature
    top_p: float = ServeConfig.top_p
    top_k: int = 0
    seed: int | None = None
    max_tokens: int | None = None
    template: str | None = None

    def __post_init__(self) -> None:
        _ = self.truncation
        if self.seed is not None:
            within(f"[0, {2**64})", self, "seed")
        if self.max_tokens is not None:
            at_least(1, self, "max_tokens")
        if self.template is not None and self.template not in TEMPLATES:
            raise ValueError(f"template={self.template!r} is none of {', '.join(sorted(TEMPLATES))}")

    @property
    def truncation(self) -> Truncation:
        """How logits become the distribution that is sampled from."""
        return Truncation(self.temperature, self.top_k, self.top_p)

    def with_values(self, assignments: Sequence[str]) -> "Settings":
        """The settings after `NAME=VALUE` of each.

        Raises:
            ConfigError: there is no such setting, or it cannot have the value; then none is set.
        """
        values = to_dict(self)
        for assignment in assignments:
            name, equals, text = assignment.partition("=")
            if not equals:
                raise ConfigError(f"{assignment!r} sets nothing: write NAME=VALUE, without blanks")
            try:
                values[name] = ast.literal_eval(text)
            except (ValueError, SyntaxError):
                values[name] = text
        return parse(Settings, values, "settings")


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer that has ended.

    Attributes:
        content: its text without the thought.
        tokens: that were sampled.
        seconds: that it took.
        finish: "stop" or "length"; None: it was stopped.
    """

    content: str
    tokens: int
    seconds: float
    finish: FinishReason | None


class Conversation:
    """A conversation with one model.

    Attributes:
        settings: of the next answer.
        messages: `{"role", "content"}`, without thoughts; answers without any text are left out with their questions.
        question: the last one; None: there was none.
        is_kept: whether the model reads earlier messages. One without a chat template reads a single question.
    """

    def __init__(self, model: Served, mesh: Mesh, settings: Settings):
        """Opens a sampling session."""
        self._model, self._mesh, self.settings = model, mesh, settings
        self.is_kept = model.prompt_format.chat
        with jax.set_mesh(mesh):
            self._session = model.open_session()
        self.clear()

    def clear(self) -> None:
        """Forgets what was said."""
        self.messages: list[dict[str, str]] = []
        self.question: str | None = None

    def warm_up(self) -> None:
        """Samples a few tokens, so that the first answer need not wait for the compiler."""
        [(request, text)] = warm_up_job(self._model, self.settings.truncation, ServeConfig.window).sequences()
        self._sample(request, text, lambda delta: None, lambda: False)

    def take_back(self) -> None:
        """Forgets the last question with its answer, where they are in the conversation."""
        if self.messages and self.messages[-2]["content"] == self.question:
            del self.messages[-2:]

    def ask(
        self, question: str, show: Callable[[Delta], None], is_stopped: Callable[[], bool] = lambda: False
    ) -> Answer:
        """Samples the answer to a question.

        Args:
            show: called with text as it comes.
            is_stopped: asked between windows of tokens; the answer ends where it is true.

        Raises:
            ApiError: see `r1jax.serve.completion.chat_job`; the conversation is as before.
        """
        self.question, settings, began = question, self.settings, time.monotonic()
        message = {"role": "user", "content": question}
        job = chat_job(
            self._model,
            [*self.messages, message],
            settings.truncation,
            template=settings.template,
            max_tokens=settings.max_tokens,
            seed=settings.seed,
        )
        [(request, text)] = job.sequences()
        content = ""

        def receive(delta: Delta) -> None:
            nonlocal content
            content += delta.content
            show(delta)

        self._sample(request, text, receive, is_stopped)
        if self.is_kept and content:
            self.messages += [message, {"role": "assistant", "content": content}]
        return Answer(content, text.tokens, time.monotonic() - began, text.finish)

    def _sample(
        self, request: Request, text: ResponseText, receive: Callable[[Delta], None], is_stopped: Callable[[], bool]
    ) -> None:
        with jax.set_mesh(self._mesh):
            handle = self._session.add(request)
            while text.finish is None and not is_stopped():
                for piece in self._session.advance():
                    if piece.handle == handle:
                        delta, _ = text.push(piece.ids, piece.finish)
                        receive(delta)
            self._session.drop(handle)


def read_message(read_line: Callable[[str], str]) -> tuple[str, bool]:
    """A question or a command, of one line or of several, and whether it was quoted and so is no command.

    Args:
        read_line: `input`, or something like it.

    Raises:
        EOFError: the input has ended.
    """
    line = read_line(_PROMPT)
    if line.lstrip().startswith(_QUOTES):
        lines = [line.lstrip().removeprefix(_QUOTES)]
        while not lines[-1].rstrip().endswith(_QUOTES):
            lines.append(read_line(_PROMPT_OF_NEXT_LINES))
        return "\n".join(lines).rstrip().removesuffix(_QUOTES).strip("\n"), True
    lines = [line]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1].removesuffix("\\")
        lines.append(read_line(_PROMPT_OF_NEXT_LINES))
    return "\n".join(lines), False


def run(model: Served, mesh: Mesh, settings: Settings, console: Console, read_line: Callable[[str], str]) -> None:
    """Reads questions and commands and answers them, until the input ends or `/quit`."""
    terminal = _Terminal(Conversation(model, mesh, settings), console)
    terminal.note("compiling ...")
    terminal.conversation.warm_up()
    terminal.note(f"{model.id}: {model.card.title}. /help lists the commands; Ctrl-D ends.")
    if not terminal.conversation.is_kept:
        terminal.note("This model has no chat template: it reads each question alone, and nothing said before it.")
    while True:
        try:
            text, is_quoted = read_message(read_line)
            if text.startswith("/") and not is_quoted:
                if not terminal.obey(text.split()):
                    return
            elif text.strip():
                terminal.answer(text)
        except EOFError:
            console.print()
            return
        except KeyboardInterrupt:  # at the prompt: the line is dropped, as in a shell
            console.print()


class _Terminal:
    """The output of a conversation."""

    def __init__(self, conversation: Conversation, console: Console):
        self.conversation, self._console = conversation, console

    def note(self, text: str) -> None:
        """Prints what the program says, apart from the model."""
        self._write(f"{text}\n", "dim")

    def obey(self, words: Sequence[str]) -> bool:
        """Runs a command; false: it was to end."""
        conversation = self.conversation
        match words:
            case ["/quit"]:
                return False
            case ["/help"]:
                self.note(HELP)
            case ["/clear"]:
                conversation.clear()
                self.note("The conversation is forgotten.")
            case ["/retry"] if conversation.question is None:
                self.note("There is no question yet.")
            case ["/retry"]:
                conversation.take_back()
                self.answer(conversation.question)
            case ["/settings", *assignments]:
                try:
                    conversation.settings = conversation.settings.with_values(assignments)
                except ConfigError as error:
                    self.note(f"error: {error}")
                self.note("  ".join(f"{name}={value}" for name, value in to_dict(conversation.settings).items()))
            case [command, *_]:
                self.note(f"error: no command {command}; nearest: {nearest(command, _COMMANDS)}")
        return True

    def answer(self, question: str) -> None:
        """Asks, shows the answer as it comes, and says how long it took."""
        was_thinking = None

        def show(delta: Delta) -> None:
            nonlocal was_thinking
            for text, is_thought in ((delta.reasoning, True), (delta.content, False)):
                if text:
                    self._write("\n\n" if was_thinking and not is_thought else "")
                    self._write(text, "dim" if is_thought else None)
                    was_thinking = is_thought

        try:
            with _ctrl_c() as is_stopped:
                answer = self.conversation.ask(question, show, is_stopped)
        except ApiError as error:
            self.note(f"error: {error}")
            return
        how = {"stop": "", "length": ", cut at its most tokens", None: ", stopped"}[answer.finish]
        lost = self.conversation.is_kept and not answer.content
        rate = answer.tokens / max(answer.seconds, 1e-9)
        self.note(
            f"{'' if was_thinking is None else chr(10)}[{answer.tokens} tokens, {answer.seconds:.1f} s, "
            f"{rate:,.0f} tokens/s{how}{', not kept in the conversation' if lost else ''}]"
        )

    def _write(self, text: str, style: str | None = None) -> None:
        self._console.out(printable(text, lines=True), style=style, end="", highlight=False)


@contextlib.contextmanager
def _ctrl_c() -> Iterator[Callable[[], bool]]:
    """Within, Ctrl-C raises nothing, which would tear a sampling session; yields whether it was pressed."""
    pressed = threading.Event()
    previous = signal.signal(signal.SIGINT, lambda *_: pressed.set())
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, previous)


@contextlib.contextmanager
def line_editing(history: pathlib.Path) -> Iterator[None]:
    """Within, `input` on a terminal edits lines and recalls earlier ones, which this file keeps.

    A file that cannot be read or written is no error, nor is a Python without readline.
    """
    try:
        import readline
    except ImportError:
        readline = None
    if readline is None or not sys.stdin.isatty():
        yield
        return
    with contextlib.suppress(OSError):
        readline.read_history_file(history)
    try:
        yield
    finally:
        readline.set_history_length(_HISTORY_LINES)
        with contextlib.suppress(OSError):
            history.parent.mkdir(parents=True, exist_ok=True)
            history.touch(mode=0o600)
            readline.write_history_file(history)
