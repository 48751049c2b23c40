"""Server of the program under test: runs it and replies to calls of it until the pipe is closed.

`program_server READING WRITING MAX_BYTES`, the first two being descriptors of pipes, with task.json in the working
directory: {"sources": [...], "nodes": bool, "time_s": s}. The last source is the program. A call that takes more
processor seconds than `time_s` ends the process by SIGPROF.
Nothing here protects the verdict: once the program runs, it controls this process and its replies.
"""

import builtins
import fcntl
import functools
import json
import os
import resource
import signal
import sys
import types
from typing import Any

from r1jax.graders.code.guest.pipe_protocol import Channel, decode, encode


def main() -> None:
    reading, writing, max_bytes = map(int, sys.argv[1:])
    channel = Channel(_moved_to_high_descriptor(reading), _moved_to_high_descriptor(writing), max_bytes)
    with open("task.json", encoding="utf-8") as file:
        task = json.load(file)
    sys.argv[1:] = []
    module = types.ModuleType("solution")  # not __main__, so that a program's demonstration does not run
    sys.modules["solution"] = module
    namespace, handles = module.__dict__, []
    channel.send(["value", None])  # ready: from here on the program's time is measured
    time_s = task["time_s"]
    channel.send(_result_or_error(lambda: _run_sources(task["sources"], namespace), time_s))
    while True:
        try:
            request = channel.receive()
        except EOFError:
            return
        answer = functools.partial(_answer, request, namespace, handles, task["nodes"])
        reply = _result_or_error(answer, time_s)
        try:
            channel.send(reply)
        except RecursionError as error:  # nested too deep for JSON
            channel.send(["error", "RecursionError", str(error)])


def _moved_to_high_descriptor(fd: int) -> int:
    """A pipe's descriptor, moved because programs may close or try low ones, and not inherited by their children."""
    lowest = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 8, 1000)
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, max(lowest, 3))
    os.close(fd)
    return moved


def _result_or_error(action: Any, time_s: float) -> list[Any]:
    """["value", *result] of an action, or ["error", name of the nearest built-in exception, text] where it raises."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, time_s)
    try:
        return ["value", *action()]
    except BaseException as error:  # sys.exit() too: this process must serve further calls
        named = (base for base in type(error).__mro__ if getattr(builtins, base.__name__, None) is base)
        return ["error", next(named, Exception).__name__, str(error)[:1000]]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _run_sources(sources: list[str], namespace: dict[str, Any]) -> tuple[None]:
    for source in sources:
        exec(compile(source, "<program>", "exec"), namespace)
    return (None,)


def _answer(request: list[Any], namespace: dict[str, Any], handles: list[Any], nodes: bool) -> tuple[Any, list[Any]]:
    """The encoded value of a request, and where requested the arguments after the call."""

    def resolve(reference: str | int | list[str]) -> Any:
        if isinstance(reference, int):
            return handles[reference]
        if isinstance(reference, list):
            return getattr(builtins, reference[1])
        if reference in namespace:
            return namespace[reference]
        raise NameError(f"name {reference!r} is not defined")

    def make_handle(value: Any) -> int:
        handles.append(value)
        return len(handles) - 1

    operation, target, *arguments = (decode(part, resolve, namespace) for part in request)
    if operation == "get":
        return encode(getattr(target, *arguments), make_handle, nodes), []
    if operation == "set":
        setattr(target, *arguments)
        return None, []
    args, kwargs, copy_arguments_back = arguments
    value = encode(target(*args, **kwargs), make_handle, nodes)
    return value, [encode(arg, make_handle, nodes) for arg in args] if copy_arguments_back else []
