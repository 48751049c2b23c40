"""Runner of a functional task's asserts, in another process than the program under test.

`assert_runner READING WRITING MAX_BYTES`, the first two being descriptors of pipes, with task.json in the working
directory: {"sources": [...], "nodes": bool, "names": [...], "keep_going": bool, "time_s": s, "total_s": s}. The names
are the program's; in the tests each is a `Handle`. The tests' asserts are calls of `_record` and `_record_failure`
(`r1jax.graders.code.assert_instrumentation`). Prints a line of JSON: {"passed": places, "failed": places, "first": the
first failure's verdict, "end": "done" or the verdict that ended the tests early}.
"""

import builtins
import collections
import json
import math
import os
import sys
import time
from typing import Any, NoReturn

from r1jax.graders.code.guest.pipe_protocol import Channel, OversizedError, decode, encode

# Raised here, these exceptions of a program would affect the tests' own control flow: inside map() or next() a
# StopIteration ends a loop, and `all` of nothing is true.
_LOOP_EXCEPTIONS = (StopIteration, StopAsyncIteration)


class StopTests(BaseException):
    """Ends the tests; no subclass of Exception, so that they do not catch it by accident."""


class AssertSession:
    """The tests' side of the channel, and the outcomes of their asserts.

    Attributes:
        passed, failed: places of asserts.
        first: verdict of the first failure; "" for none.
        end: the verdict that ended the tests early; "" for none.
        has_called: whether the tests have called the program.
    """

    def __init__(self, channel: Channel, namespace: dict[str, Any], task: dict[str, Any]) -> None:
        self._channel, self._namespace = channel, namespace
        self._nodes, self._keep_going = task["nodes"], task["keep_going"]
        self._time_s, self._deadline = task["time_s"], time.monotonic() + task["total_s"]
        self.passed: set[int] = set()
        self.failed: set[int] = set()
        self.end = self.first = ""
        self.has_called = False

    def call(self, *request: Any) -> tuple[Any, list[Any]]:
        """Sends a request to the program: the resulting value, and the arguments after it where requested.

        Raises:
            Exception: the program's exception, as the nearest built-in class.
            StopTests: the program does not reply, or the request cannot be sent.
        """
        self.has_called = True
        try:
            message = [encode(part, reference_of, self._nodes) for part in request]
        except UnsendableError:
            self._abort("ungradable")
        return self.exchange(message, self._time_s)

    def exchange(self, message: list[Any] | None = None, time_s: float = math.inf) -> tuple[Any, list[Any]]:
        """Sends a message, if any, and receives one, within the time of all tests; raises as `call`."""
        if self.end:
            raise StopTests
        try:
            limit_s = min(time_s, self._deadline - time.monotonic())
            if limit_s <= 0:
                raise TimeoutError
            started = time.monotonic()
            if message is not None:
                self._channel.send(message, limit_s)
            status, *body = self._channel.receive(max(limit_s - (time.monotonic() - started), 1e-3))
            if status == "value":
                value, changed = (decode(part, self._make_handle, self._namespace) for part in (*body, [])[:2])
                return value, changed
            name, text = body
        except TimeoutError:
            self._abort("timeout")
        except OversizedError:
            self._abort("output")
        except Exception:  # it has ended, or its reply is malformed
            self._abort("crash")
        raise self._exception_of(str(name), str(text))

    @staticmethod
    def _exception_of(name: str, text: str) -> Exception:
        kind = getattr(builtins, name, None)
        if not isinstance(kind, type) or not issubclass(kind, Exception) or issubclass(kind, _LOOP_EXCEPTIONS):
            kind = RuntimeError
        try:
            error = kind(text)
        except TypeError:  # UnicodeDecodeError takes more arguments
            error = RuntimeError(text)
        error.remote = "memory" if kind is MemoryError else "crash"
        return error

    def record(self, place: int, value: Any) -> None:
        """Records the outcome of an assert whose condition has this value."""
        if value:
            self.passed.add(place)
        else:
            self.record_failure(place, None)

    def record_failure(self, place: int, error: BaseException | None) -> None:
        """Records an assert that failed, with an exception or because it was false.

        Raises:
            StopTests: the program does not reply, or one failure is enough.
        """
        self.failed.add(place)
        self.first = self.first or self.end or getattr(error, "remote", "wrong")
        if self.end or not self._keep_going:
            raise StopTests from None

    def _abort(self, verdict: str) -> NoReturn:
        self.end = verdict
        raise StopTests from None

    def _make_handle(self, reference: Any) -> "Handle":
        if not isinstance(reference, int):
            raise TypeError("no handle")
        return Handle(self, reference)


class Handle:
    """An object in the program's process, which can be called and has attributes, and nothing else.

    Comparisons and truth tests raise, for they would leave the verdict to the program's own methods.
    """

    __slots__ = ("__reference", "__session")

    def __init__(self, session: AssertSession, reference: str | int) -> None:
        object.__setattr__(self, "_Handle__session", session)
        object.__setattr__(self, "_Handle__reference", reference)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__session.call("call", self, args, kwargs, False)[0]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.__session.call("get", self, name)[0]

    def __setattr__(self, name: str, value: Any) -> None:
        self.__session.call("set", self, name, value)

    def _refuse(self, *_: Any) -> Any:
        raise TypeError("an object of the program's own, which it alone could compare")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __hash__ = __len__ = __contains__ = _refuse


def reference_of(value: Any) -> str | int | list[str]:
    """The encoded reference to an object: that of a handle, or the name of a builtin, which both processes have."""
    if type(value) is Handle:
        return object.__getattribute__(value, "_Handle__reference")
    name = getattr(value, "__name__", "")
    if vars(builtins).get(name) is value:  # int, len
        return ["builtins", name]
    raise UnsendableError(f"{type(value).__name__}")


class UnsendableError(Exception):
    """A test passes an argument that cannot be sent, such as a function of its own."""


def call_for_effect(function: Any, *args: Any, **kwargs: Any) -> None:
    """A call whose value the tests ignore: it is made to change its arguments, so changes are copied back."""
    if type(function) is not Handle:
        function(*args, **kwargs)
        return
    session = object.__getattribute__(function, "_Handle__session")
    _, changed = session.call("call", function, args, kwargs, True)
    for arg, new_value in zip(args, changed, strict=False):
        if type(arg) is not type(new_value):
            continue
        if isinstance(arg, (list, bytearray)):
            arg[:] = new_value
        elif isinstance(arg, (dict, set, collections.deque)):
            arg.clear()
            (arg.extend if isinstance(arg, collections.deque) else arg.update)(new_value)
        elif hasattr(arg, "__dict__"):  # the first node of a linked list or a tree
            vars(arg).update(vars(new_value))


def main() -> None:
    reading, writing, max_bytes = map(int, sys.argv[1:])
    report = os.dup(1)
    os.dup2(2, 1)  # what tests print is no part of the report
    with open("task.json", encoding="utf-8") as file:
        task = json.load(file)
    namespace: dict[str, Any] = {"__name__": "tests"}
    session = AssertSession(Channel(reading, writing, max_bytes), namespace, task)
    namespace |= {name: Handle(session, name) for name in task["names"]}
    namespace |= {"_record": session.record, "_record_failure": session.record_failure}
    namespace |= {"_call_for_effect": call_for_effect, "_Anything": BaseException}
    outcome = "done"
    try:
        session.exchange()  # the program's process is ready
        session.exchange(time_s=task["time_s"])  # the program is loaded
    except BaseException as error:
        outcome = session.end or ("compile_error" if isinstance(error, SyntaxError) else error.remote)
    else:
        try:
            for source in task["sources"]:
                exec(compile(source, "<tests>", "exec"), namespace)
        except StopTests:
            outcome = session.end or "done"
        except BaseException as error:
            outcome = getattr(error, "remote", "wrong" if session.has_called else "ungradable")
    result = {"passed": list(session.passed), "failed": list(session.failed), "first": session.first}
    os.write(report, json.dumps(result | {"end": session.end or outcome}).encode() + b"\n")
    os._exit(0)
