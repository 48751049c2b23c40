"""Chat template of a model: Jinja source from a checkpoint, untrusted code, in a process of its own."""

import atexit
import contextlib
import datetime
import functools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

Message = Mapping[str, Any]

# Of one rendering. The longest conversations with the most tools take a tenth of a second and a few megabytes.
SECONDS, MEMORY, CHARACTERS = 5.0, 512 * 2**20, 2**24
# Set by the code that renders a conversation, so that no config may set them.
_VARIABLES = ("messages", "tools", "add_generation_prompt", "now")
_SERVE = "import sys; sys.path[:] = sys.argv[1:]; from r1jax.text.template_sandbox import serve; serve({}, {}, {})"


def check_arguments(arguments: Mapping[str, Any], chat: bool) -> None:
    """Checks a config's `template_arguments`.

    Raises:
        ValueError: `chat` is off, a config may not set one of them, or one is not a JSON value.
    """
    if arguments and not chat:
        raise ValueError(f"template_arguments={dict(arguments)} are for the model's own chat template: set chat=true")
    for name in _VARIABLES:
        if name in arguments:
            raise ValueError(f"template_arguments.{name} is not to be chosen: it is given with each conversation")
    try:
        json.dumps(dict(arguments), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"template_arguments={dict(arguments)} should be what JSON can hold: {error}") from error


class TemplateLimitError(ValueError):
    """A chat template takes more time or memory than any needs."""


class _Renderer:
    """The process of `template_sandbox`, started again where a template has ended it. One thread asks at a time."""

    def __init__(self):
        self._lock, self._process = threading.Lock(), None
        atexit.register(self._stop)

    def ask(self, request: Mapping[str, Any]) -> dict[str, str]:
        """The answer to a request, see `template_sandbox`; raises TemplateLimitError where it ended the process."""
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            process = self._running()
            try:
                process.stdin.write(line)
                process.stdin.flush()
                answer = process.stdout.readline()
            except BrokenPipeError:
                answer = b""
            except BaseException:
                self._stop()  # else its answer would be taken for that to the next request
                raise
            if answer.endswith(b"\n"):
                return json.loads(answer)
            self._stop()
        late, status = f"takes more than {SECONDS:g} s of computing, or has no end", process.returncode
        raise TemplateLimitError(late if status == -signal.SIGPROF else f"ended its process with status {status}")

    def _running(self) -> subprocess.Popen:
        if self._process is None or self._process.poll() is not None:
            self._stop()
            serve = _SERVE.format(SECONDS, MEMORY, CHARACTERS)
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", serve, *filter(None, sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        return self._process

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in self._process.stdin, self._process.stdout:
                with contextlib.suppress(OSError):  # what was not read in time
                    pipe.close()
            self._process = None


@functools.cache
def _renderer(pid: int) -> _Renderer:
    """A process's own: one that was forked must not write between the lines of its parent."""
    return _Renderer()


def render_template(source: str, variables: Mapping[str, Any], now: datetime.datetime | None = None) -> str:
    """The text that a chat template makes of its variables: `messages`, `bos_token`, `tools` and so on.

    The template sees plain data only (what JSON can hold), calls no Python that jinja2's sandbox forbids, and has 5
    seconds of computing, 512 MiB of memory and 16 million characters: a hundred times what the largest needs.

    Args:
        now: the time that `strftime_now` gives the template; None: the clock's.

    Raises:
        TemplateLimitError, a ValueError: it takes more.
        ValueError: the source does not parse; or the template refuses its variables (in its own words), breaks on
            them, or leaves the sandbox.
    """
    now = now or datetime.datetime.now()
    try:
        answer = _renderer(os.getpid()).ask({"source": source, "variables": variables, "now": now.isoformat()})
    except TemplateLimitError as error:
        raise TemplateLimitError(f"the chat template {error}") from None
    except (TypeError, ValueError, RecursionError) as error:  # an object that JSON does not have
        raise ValueError(f"the chat template failed: {error or type(error).__name__}") from error
    if "limit" in answer:
        raise TemplateLimitError(f"the chat template {answer['limit']}")
    if "error" in answer:
        raise ValueError(f"the chat template {answer['error']}")
    return answer["text"]
