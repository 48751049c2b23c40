"""Runs the tests of a functional task, in a process where the program under test is not.

`tester READING WRITING MAX_BYTES`, the first two being descriptors of pipes, with task.json beside it: {"sources":
[...], "nodes": bool, "names": [...], "keep_going": bool, "time_s": s, "total_s": s}. The names are the program's; to
the tests each is a `Handle`. The tests' asserts come as calls of `_record` and `_record_failure`
(`r1jax.graders.code.asserts`). Prints a line of JSON: {"passed": places, "failed": places, "first": the first failure's
verdict, "end": "done" or the verdict that cut the tests short}.
"""

import builtins
import collections
import json
import math
import os
import sys
import time
from typing import Any, NoReturn

from r1jax.graders.code.guest.wire import Channel, Oversized, decode, encode

# Raised here by these, a program's exception would mean something to the machinery of the tests themselves: inside
# map() or next() a StopIteration ends a loop, and `all` of nothing is true.
_NOT_RAISED = (StopIteration, StopAsyncIteration)


class Stop(BaseException):
    """The tests end here; no exception that they could catch by the usual means."""


class Session:
    """The tests' side of the channel and the record of their asserts.

    Attributes:
        end: what cut the tests short: a verdict, or "".
    """

    def __init__(self, channel: Channel, namespace: dict[str, Any], task: dict[str, Any]) -> None:
        self._channel, self._namespace = channel, namespace
        self._nodes, self._keep_going = task["nodes"], task["keep_going"]
        self._time_s, self._deadline = task["time_s"], time.monotonic() + task["total_s"]
        self.passed: set[int] = set()
        self.failed: set[int] = set()
        self.end = self.first = ""
        self.asked = False

    def ask(self, *request: Any) -> tuple[Any, list[Any]]:
        """A request of the program: its value and the changed arguments.

        Raises:
            Exception: what the program raised, as the nearest built-in class.
            Stop: the program is lost.
        """
        self.asked = True
        try:
            message = [encode(part, reference, self._nodes) for part in request]
        except Unsendable:
            self._lose("ungradable")
        return self.answer(message, self._time_s)

    def answer(self, message: list[Any] | None = None, time_s: float = math.inf) -> tuple[Any, list[Any]]:
        """What the program's side says to `message`, or of its own accord, within the time of all tests."""
        if self.end:
            raise Stop
        try:
            limit_s = min(time_s, self._deadline - time.monotonic())
            if limit_s <= 0:
                raise TimeoutError
            started = time.monotonic()
            if message is not None:
                self._channel.send(message, limit_s)
            status, *body = self._channel.receive(max(limit_s - (time.monotonic() - started), 1e-3))
            if status == "value":
                value, changed = (decode(part, self._handle, self._namespace) for part in (*body, [])[:2])
                return value, changed
            name, text = body
        except TimeoutError:
            self._lose("timeout")
        except Oversized:
            self._lose("output")
        except Exception:  # it is dead, or speaks nonsense
            self._lose("crash")
        raise self._exception(str(name), str(text))

    @staticmethod
    def _exception(name: str, text: str) -> Exception:
        kind = getattr(builtins, name, None)
        if not isinstance(kind, type) or not issubclass(kind, Exception) or issubclass(kind, _NOT_RAISED):
            kind = RuntimeError
        try:
            error = kind(text)
        except TypeError:  # UnicodeDecodeError wants more
            error = RuntimeError(text)
        error.remote = "memory" if kind is MemoryError else "crash"
        return error

    def record(self, place: int, value: Any) -> None:
        """Notes an assert whose condition is `value`."""
        if value:
            self.passed.add(place)
        else:
            self.record_failure(place, None)

    def record_failure(self, place: int, error: BaseException | None) -> None:
        """Notes an assert that failed, by `error` or by being false.

        Raises:
            Stop: the program is lost, or one failure is enough.
        """
        self.failed.add(place)
        self.first = self.first or self.end or getattr(error, "remote", "wrong")
        if self.end or not self._keep_going:
            raise Stop from None

    def _lose(self, verdict: str) -> NoReturn:
        self.end = verdict
        raise Stop from None

    def _handle(self, reference: Any) -> "Handle":
        if not isinstance(reference, int):
            raise TypeError("no handle")
        return Handle(self, reference)


class Handle:
    """An object that stays with the program. It can be called and asked for attributes, and nothing else.

    To compare it or take it for true or false would leave the verdict to the program's own methods, so that raises.
    """

    __slots__ = ("__reference", "__session")

    def __init__(self, session: Session, reference: str | int) -> None:
        object.__setattr__(self, "_Handle__session", session)
        object.__setattr__(self, "_Handle__reference", reference)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__session.ask("call", self, args, kwargs, False)[0]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.__session.ask("get", self, name)[0]

    def __setattr__(self, name: str, value: Any) -> None:
        self.__session.ask("set", self, name, value)

    def _refuse(self, *_: Any) -> Any:
        raise TypeError("an object of the program's own, which it alone could compare")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __hash__ = __len__ = __contains__ = _refuse


def reference(value: Any) -> str | int | list[str]:
    """What stands for an object on the wire: a handle's own reference, or the name of what both sides have."""
    if type(value) is Handle:
        return object.__getattribute__(value, "_Handle__reference")
    name = getattr(value, "__name__", "")
    if vars(builtins).get(name) is value:  # int, len
        return ["builtins", name]
    raise Unsendable(f"{type(value).__name__}")


class Unsendable(Exception):
    """A test passes what cannot be sent, a function of its own, say."""


def call_for_effect(function: Any, *args: Any, **kwargs: Any) -> None:
    """A call whose value the tests drop: it is made for what it does to its arguments, so that is copied back."""
    if type(function) is not Handle:
        function(*args, **kwargs)
        return
    session = object.__getattribute__(function, "_Handle__session")
    _, changed = session.ask("call", function, args, kwargs, True)
    for arg, now in zip(args, changed, strict=False):
        if type(arg) is not type(now):
            continue
        if isinstance(arg, (list, bytearray)):
            arg[:] = now
        elif isinstance(arg, (dict, set, collections.deque)):
            arg.clear()
            (arg.extend if isinstance(arg, collections.deque) else arg.update)(now)
        elif hasattr(arg, "__dict__"):  # a list's or a tree's first node
            vars(arg).update(vars(now))


def main() -> None:
    reading, writing, max_bytes = map(int, sys.argv[1:])
    report = os.dup(1)
    os.dup2(2, 1)  # what tests print is no part of the report
    with open("task.json", encoding="utf-8") as file:
        task = json.load(file)
    namespace: dict[str, Any] = {"__name__": "tests"}
    session = Session(Channel(reading, writing, max_bytes), namespace, task)
    namespace |= {name: Handle(session, name) for name in task["names"]}
    namespace |= {"_record": session.record, "_record_failure": session.record_failure}
    namespace |= {"_call_for_effect": call_for_effect, "_Anything": BaseException}
    outcome = "done"
    try:
        session.answer()  # its process is there
        session.answer(time_s=task["time_s"])  # the program is loaded
    except BaseException as error:
        outcome = session.end or ("compile_error" if isinstance(error, SyntaxError) else error.remote)
    else:
        try:
            for source in task["sources"]:
                exec(compile(source, "<tests>", "exec"), namespace)
        except Stop:
            outcome = session.end or "done"
        except BaseException as error:
            outcome = getattr(error, "remote", "wrong" if session.asked else "ungradable")
    told = {"passed": list(session.passed), "failed": list(session.failed), "first": session.first}
    os.write(report, json.dumps(told | {"end": session.end or outcome}).encode() + b"\n")
    os._exit(0)
