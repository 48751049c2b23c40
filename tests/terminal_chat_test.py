"""Chat in the terminal: scripted answers, hostile ones too, and the shipped base behind a pseudo-terminal."""

import dataclasses
import io
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
from rich.console import Console
from xla_flags import xla_flags

from r1jax.config import ConfigError
from r1jax.inference.session import Piece
from r1jax.serve import terminal_chat
from r1jax.serve.cards import ModelCard
from r1jax.serve.response_text import Delta, TokenTexts
from r1jax.serve.served import Served
from r1jax.serve.terminal_chat import Conversation, Settings, read_message
from r1jax.text.prompt_format import R1_ZERO, PromptFormat

ROOT = pathlib.Path(__file__).resolve().parent.parent
STYLE = re.compile(r"\x1b\[[0-9;]*m")
THOUGHT = "<think> Three and four. </think> <answer> 7 </answer>"


class Scripted:
    """A sampling session whose sequences have texts that are given; what it was asked is kept."""

    def __init__(self, tokenizer, texts):
        self.tokenizer, self.texts, self.requests, self.dropped = tokenizer, list(texts), [], []

    def add(self, request):
        self.requests.append(request)
        self.left = [*self.tokenizer.encode(self.texts.pop(0)), self.tokenizer.eos_ids[0]]
        return len(self.requests)

    def advance(self):
        ids, self.left = self.left[:3], self.left[3:]
        return [Piece(len(self.requests), ids, None, None, None if self.left else "stop")]

    def drop(self, handle):
        self.dropped.append(handle)

    def prompts(self):
        return [self.tokenizer.decode(request.ids) for request in self.requests]


class JsonChat:
    """A tokenizer whose chat template is JSON."""

    has_chat_template = True

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer

    def __getattr__(self, name):
        return getattr(self._tokenizer, name)

    def render_chat(self, messages, now):
        return json.dumps([message["content"] for message in messages])


def scripted(tokenizer, texts, chat=False, max_length=1000):
    """A model with these answers, and its session."""
    session = Scripted(tokenizer, texts)
    card, form = ModelCard("scripted", "A \x1b[2Jscript"), PromptFormat("plain", True) if chat else R1_ZERO
    used = JsonChat(tokenizer) if chat else tokenizer
    return Served(card, used, form, max_length, TokenTexts(tokenizer), lambda: session), session


def terminal(model, mesh, lines, settings=None) -> str:
    """What a terminal gets while these lines are typed."""
    screen, typed = io.StringIO(), iter(lines)

    def read_line(prompt: str) -> str:
        line = next(typed, EOFError)
        if not isinstance(line, str):
            raise line
        return line

    console = Console(file=screen, force_terminal=True, width=80, color_system="standard", legacy_windows=False)
    terminal_chat.run(model, mesh, settings or Settings(), console, read_line)
    return screen.getvalue()


HOSTILE = {
    "clear screen": ("\x1b[2J\x1b[H", r"\x1b[2J\x1b[H"),
    "title and bell": ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
    "carriage return": ("safe\rvile", r"safe\rvile"),
    "one-byte escape": ("\x9b31m", r"\x9b31m"),
    "right to left": ("\u202egnp.exe", r"\u202egnp.exe"),
    "backspaces": ("rm\b\bls", r"rm\x08\x08ls"),
    "markup of rich": ("[bold red]x[/] [link=file:///]y", "[bold red]x[/] [link=file:///]y"),
    "emoji codes": (":smile: x", ":smile: x"),
}


@pytest.mark.parametrize("place", ["answer", "thought"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_models_escape_sequences_are_shown_and_not_obeyed(name, place, tokenizer, mesh1):
    text, visible = HOSTILE[name]
    answer = f"a{text}b" if place == "answer" else f"<think>a{text}b</think><answer>1</answer>"
    screen = terminal(scripted(tokenizer, ["ready", answer])[0], mesh1, ["hello"])
    plain = STYLE.sub("", screen)
    assert f"a{visible}b" in plain
    assert all(char.isprintable() or char == "\n" for char in plain)


def test_the_thought_is_dim_and_stands_apart_and_lines_stay(tokenizer, mesh1):
    answer = "<think> One.\nTwo. </think> <answer> 7\n8 </answer> behind"
    screen = terminal(scripted(tokenizer, ["ready", answer])[0], mesh1, ["hello"])
    styled = screen.split("said before it.")[1]
    thought, _, rest = styled.partition("7")
    assert STYLE.sub("", thought).strip() == "One.\nTwo."
    assert "\x1b[2m" in thought and thought.rstrip("\n").endswith("\x1b[0m") and thought.endswith("\n\n")
    assert rest.startswith("\n8") and "behind" not in rest
    assert re.search(r"\[\d+ tokens, [\d.]+ s, [\d,]+ tokens/s\]", rest)


def test_a_model_without_a_chat_template_reads_single_questions_and_it_is_said_once(tokenizer, mesh1):
    model, session = scripted(tokenizer, ["ready", "one", "two"])
    screen = terminal(model, mesh1, ["first?", "", "second?"])
    assert screen.count("no chat template") == 1
    assert "second?" in session.prompts()[2] and "first?" not in session.prompts()[2]
    assert r"A \x1b[2Jscript" in screen


def test_a_chat_keeps_the_conversation_without_thoughts_until_it_is_cleared(tokenizer, mesh1):
    model, session = scripted(tokenizer, ["ready", f" {THOUGHT}", "two", "three"], chat=True)
    screen = terminal(model, mesh1, ["first?", "second?", "/clear", "third?", "/quit", "never"])
    assert "no chat template" not in screen and "never" not in screen
    assert [json.loads(prompt) for prompt in session.prompts()[1:]] == [
        ["first?"],
        ["first?", "7", "second?"],
        ["third?"],
    ]


def test_retry_asks_the_last_question_again_in_place_of_its_answer(tokenizer, mesh1):
    model, session = scripted(tokenizer, ["ready", "one", "two", "deux"], chat=True)
    screen = terminal(model, mesh1, ["/retry", "first?", "second?", "/retry"])
    assert "no question yet" in screen
    prompts = [json.loads(prompt) for prompt in session.prompts()[1:]]
    assert prompts[1] == prompts[2] == ["first?", "one", "second?"]


def test_an_answer_that_is_stopped_leaves_the_session_and_what_it_said(tokenizer, mesh1):
    model, session = scripted(tokenizer, ["one two three four five six", "<think> long thought", "end"], chat=True)
    conversation, shown = Conversation(model, mesh1, Settings()), []
    answer = conversation.ask("first?", shown.append, lambda: bool(shown))
    assert answer.finish is None and answer.content and "six" not in answer.content
    thought = conversation.ask("second?", shown.append, lambda: len(shown) > 3)
    assert thought.finish is None and thought.content == ""
    assert session.dropped == [1, 2]
    # The next question stands behind the answer that was begun; a question without an answer is left out.
    assert conversation.ask("third?", shown.append).content == "end"
    assert json.loads(session.prompts()[2]) == ["first?", answer.content, "third?"]


def test_ctrl_c_at_the_prompt_drops_the_line(tokenizer, mesh1):
    screen = terminal(scripted(tokenizer, ["ready", "one"])[0], mesh1, [KeyboardInterrupt, "hello"])
    assert "one" in screen


def test_a_conversation_that_is_too_long_is_refused_and_stays(tokenizer, mesh1):
    model, session = scripted(tokenizer, ["ready", "one", "two"], chat=True, max_length=60)
    screen = terminal(model, mesh1, ["first?", "x" * 100, "second?"])
    assert "error: this model's context is 60 tokens here" in screen
    assert json.loads(session.prompts()[-1]) == ["first?", "one", "second?"]


def test_settings_reach_the_sampler(tokenizer, mesh1):
    model, session = scripted(tokenizer, ["ready", "one"])
    lines = ["/settings temperature=0 top_p=1 top_k=5 seed=7 max_tokens=9 template=dialogue", "hello"]
    screen = terminal(model, mesh1, lines)
    request = session.requests[1]
    assert dataclasses.astuple(request.truncation) == (0.0, 5, 1.0)
    assert (request.key_words, request.max_tokens) == ((7, 0, 0), 9)
    assert session.prompts()[1] == "User: hello Assistant:"
    assert "seed=7" in screen and "template=dialogue" in screen


@pytest.mark.parametrize(
    "assignment, message",
    [
        ("temprature=1", r"unknown key settings\.temprature; nearest: temperature"),
        ("temperature", "sets nothing: write NAME=VALUE"),
        ("temperature=hot", r"settings\.temperature is 'hot' \(str\), should be a number"),
        ("temperature=-1", "temperature=-1.0 must be at least 0"),
        ("top_p=0", "top_p=0.0 must be above 0"),
        ("seed=-1", "seed=-1 must be"),
        ("max_tokens=0", "max_tokens=0 must be at least 1"),
        ("template=chatty", "template='chatty' is none of dialogue, plain, r1_zero"),
    ],
)
def test_a_setting_that_cannot_be_is_an_error_and_none_is_set(assignment, message, tokenizer, mesh1):
    with pytest.raises(ConfigError, match=message):
        Settings().with_values(["seed=3", assignment])
    screen = terminal(scripted(tokenizer, ["ready"])[0], mesh1, [f"/settings seed=3 {assignment}"])
    assert "error: " in screen and "seed=None" in screen


def test_settings_may_be_unset():
    settings = Settings().with_values(["seed=3", "max_tokens=5", "template=plain"])
    assert settings.with_values(["seed=None", "max_tokens=None", "template=None"]) == Settings()


@pytest.mark.parametrize(
    "lines, message",
    [
        (["a \\", "b\\", "c"], ("a \nb\nc", False)),
        (['"""', "a", "", "b", '"""'], ("a\n\nb", True)),
        (['"""/a', 'b"""  '], ("/a\nb", True)),
        (['"""a"""'], ("a", True)),
        (["/help"], ("/help", False)),
    ],
)
def test_a_message_may_have_several_lines(lines, message):
    left = iter(lines)
    assert read_message(lambda prompt: next(left)) == message
    assert not list(left)


def test_an_unknown_command_names_the_nearest_and_help_lists_them(tokenizer, mesh1):
    screen = STYLE.sub("", terminal(scripted(tokenizer, ["ready"])[0], mesh1, ["/setings", "/help", "/"]))
    assert "error: no command /setings; nearest: /settings" in screen
    for command in ("/settings", "/clear", "/retry", "/quit"):
        assert f"\n{command} " in screen


def test_deltas_are_shown_as_they_come(tokenizer, mesh1):
    model, _ = scripted(tokenizer, ["one two three four five"])
    shown: list[Delta] = []
    answer = Conversation(model, mesh1, Settings()).ask("hello", shown.append)
    assert len([delta for delta in shown if delta]) > 2
    assert "".join(delta.content for delta in shown) == answer.content == "one two three four five"


def test_the_chat_does_without_the_servers_packages():
    code = """
import sys
import r1jax.serve.terminal_chat, r1jax.tools.chat
print([name for name in ("fastapi", "pydantic", "prometheus_client", "starlette", "uvicorn") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# Windows take a tenth of a second, so that an answer can be stopped before its end.
SLOW_CHAT = """
import sys, time
from r1jax import cli
from r1jax.inference.session import Session
advance = Session.advance
def slow(self):
    time.sleep(0.1)
    return advance(self)
Session.advance = slow
sys.exit(cli.main(["chat", "mini-base", "--max-length=256"]))
"""
SUM = "State the final answer to the following arithmetic problem: 3 + 4 + 20 ="
LAST_LINE = r"\[\d+ tokens, [\d.]+ s, \d+ tokens/s\]"


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # the child only executes another program
def test_the_shipped_base_chats_in_a_terminal(tmp_path):
    pexpect = pytest.importorskip("pexpect")
    env = os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "JAX_PLATFORMS": "cpu", "TERM": "xterm"}
    env |= {"XLA_FLAGS": xla_flags(1)}
    chat = pexpect.spawn(sys.executable, ["-c", SLOW_CHAT], env=env, encoding="utf-8", timeout=120)
    chat.expect("no chat template.*> ")
    chat.sendline("/settings temperature=0")
    chat.expect("temperature=0.0.*> ")
    chat.sendline(SUM)
    chat.expect(r"3\+4")
    assert chat.expect([LAST_LINE, "27"]) == 1, "the text comes before the answer's end"
    chat.expect(f"{LAST_LINE}.*> ")
    # Ctrl-C ends the answer and not the program.
    chat.sendline(SUM)
    chat.expect(r"3\+4")
    chat.sendintr()
    chat.expect(r"tokens/s, stopped\].*> ")
    assert "27" not in chat.before
    # The same seed gives the same answer; without one they would differ at this temperature.
    chat.sendline("/settings temperature=2 seed=1 max_tokens=12")
    chat.expect("max_tokens=12.*> ")
    answers = []
    for _ in range(2):
        chat.sendline("/retry")
        chat.expect(r"/retry\r\n(.*)\[\d+ tokens")
        answers.append(chat.match[1])
        chat.expect("> ")
    assert answers[0] == answers[1] and len(STYLE.sub("", answers[0]).strip()) > 5
    chat.sendline("/quit")
    chat.expect(pexpect.EOF)
    chat.close()
    assert chat.exitstatus == 0
    assert SUM in (tmp_path / ".cache" / "r1jax" / "chat_history").read_text()
