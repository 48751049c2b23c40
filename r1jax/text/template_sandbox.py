"""The process that chat templates are rendered in: a sandbox, a limit of memory and one of computing time.

A template is an untrusted program, and jinja2's sandbox bounds neither: loops within loops, `"a".center(3 * 10**9)`,
a text that is doubled forty times. `r1jax.text.chat_template` starts `serve` and writes a request a line,

    {"source": ..., "variables": {...}, "now": ISO time}

and reads a line for each: {"text": ...}, {"error": words} or {"limit": words}. A rendering that takes longer than its
time ends the process by SIGPROF.
"""

import datetime
import functools
import json
import os
import resource
import signal
import sys
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

_MEMORY = "takes more than {} MiB of memory"


class _Generation(jinja2.ext.Extension):
    """`{% generation %} ... {% endgeneration %}` marks what the model wrote; rendered as if it were not there."""

    tags = {"generation"}  # noqa: RUF012  (jinja2 declares it so)

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        # A scope, since what a block sets inside the tag is not seen after it in the reference either.
        return jinja2.nodes.Scope(body).set_lineno(line)


class _Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """jinja2's sandbox; the commonest ways to hang a host, repetition and powers, are refused at once."""

    intercepted_binops = frozenset({"*", "**"})
    LIMIT = 1_000_000

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and not (abs(left) <= self.LIMIT and abs(right) <= 64):
            raise jinja2.sandbox.SecurityError(f"{left!r} ** {right!r} is too large")
        if operator == "*":
            sequence, times = (right, left) if isinstance(left, int) else (left, right)
            if isinstance(times, int) and hasattr(sequence, "__len__") and len(sequence) * times > self.LIMIT:
                raise jinja2.sandbox.SecurityError(f"a repetition of {len(sequence) * times:,} items is too large")
        return super().call_binop(context, operator, left, right)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Leaves `<`, `&` and letters beyond ASCII as they are, unlike jinja2's own: a prompt is not a web page."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    return environment


@functools.lru_cache(maxsize=16)
def _compile(source: str) -> jinja2.Template:
    return _environment().from_string(source)


def _answer(line: bytes, memory: int, characters: int) -> dict[str, str]:
    try:
        request = json.loads(line)
        now = datetime.datetime.fromisoformat(request["now"])
        text = _compile(request["source"]).render(request["variables"] | {"strftime_now": now.strftime})
    except jinja2.TemplateSyntaxError as error:
        return {"error": f"does not parse: line {error.lineno}: {error.message}"}
    except MemoryError:
        return {"limit": _MEMORY.format(memory // 2**20)}
    except Exception as error:  # A template is a program and fails like one: TypeError, RecursionError, ...
        return {"error": f"failed: {str(error)[:10_000] or type(error).__name__}"}
    if len(text) > characters:
        return {"limit": f"makes a text of {len(text):,} characters, more than {characters:,}"}
    return {"text": text}


def _limit_memory(bytes_more: int) -> None:
    """What this process may take besides what it has."""
    try:
        with open("/proc/self/statm") as statm:
            present = int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:  # not Linux
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = present + bytes_more
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def serve(seconds: float, memory: int, characters: int) -> None:
    """Answers requests from stdin on stdout, until stdin ends.

    Args:
        seconds: of computing that one takes at most.
        memory: bytes that the process takes at most besides those that it begins with.
        characters: of the text.
    """
    # Whatever the parent did with the signals, this one ends the process.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this process by closing stdin
    _limit_memory(memory)
    answers = os.fdopen(os.dup(1), "wb")
    for line in sys.stdin.buffer:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            answer = json.dumps(_answer(line, memory, characters)).encode()
        except MemoryError:
            answer = json.dumps({"limit": _MEMORY.format(memory // 2**20)}).encode()
        signal.setitimer(signal.ITIMER_PROF, 0)
        answers.write(answer + b"\n")
        answers.flush()
