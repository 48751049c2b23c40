"""Runs the program under test and answers calls of it, until the other end is closed.

`candidate READING WRITING MAX_BYTES`, the first two being descriptors of pipes, with task.json beside it: {"sources":
[...], "nodes": bool}. The last source is the program.
Nothing here guards the verdict: once the program runs, everything in this process is its own, and so are the answers.
"""

import builtins
import fcntl
import json
import os
import resource
import sys
import types
from typing import Any

from r1jax.graders.code.guest.wire import Channel, decode, encode


def main() -> None:
    reading, writing, max_bytes = map(int, sys.argv[1:])
    channel = Channel(_out_of_the_way(reading), _out_of_the_way(writing), max_bytes)
    with open("task.json", encoding="utf-8") as file:
        task = json.load(file)
    sys.argv[1:] = []
    module = types.ModuleType("solution")  # not __main__: a program's own demonstration is not asked for
    sys.modules["solution"] = module
    namespace, kept = module.__dict__, []
    channel.send(["value", None])  # ready: from here on the time is the program's
    channel.send(_guarded(lambda: _load(task["sources"], namespace)))
    while True:
        try:
            request = channel.receive()
        except EOFError:
            return
        reply = _guarded(lambda: _answer(request, namespace, kept, task["nodes"]))  # noqa: B023 - called at once
        try:
            channel.send(reply)
        except RecursionError as error:  # nested deeper than JSON can tell
            channel.send(["error", "RecursionError", str(error)])


def _out_of_the_way(fd: int) -> int:
    """A pipe's descriptor, moved away from programs that close or try low ones, and not left to their children."""
    high = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 8, 1000)
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, max(high, 3))
    os.close(fd)
    return moved


def _guarded(action: Any) -> list[Any]:
    """["value", ...] of what `action` returns, or ["error", name of a built-in exception, text] of what it raises."""
    try:
        return ["value", *action()]
    except BaseException as error:  # sys.exit() too: this process has calls to answer
        named = (base for base in type(error).__mro__ if getattr(builtins, base.__name__, None) is base)
        return ["error", next(named, Exception).__name__, str(error)[:1000]]


def _load(sources: list[str], namespace: dict[str, Any]) -> tuple[None]:
    for source in sources:
        exec(compile(source, "<program>", "exec"), namespace)
    return (None,)


def _answer(request: list[Any], namespace: dict[str, Any], kept: list[Any], nodes: bool) -> tuple[Any, list[Any]]:
    """A request's value, and the arguments as they are after the call where that is asked for."""

    def resolve(reference: str | int | list[str]) -> Any:
        if isinstance(reference, int):
            return kept[reference]
        if isinstance(reference, list):
            return getattr(builtins, reference[1])
        if reference in namespace:
            return namespace[reference]
        raise NameError(f"name {reference!r} is not defined")

    def keep(value: Any) -> int:
        kept.append(value)
        return len(kept) - 1

    operation, target, *rest = (decode(part, resolve, namespace) for part in request)
    if operation == "get":
        return encode(getattr(target, *rest), keep, nodes), []
    if operation == "set":
        setattr(target, *rest)
        return None, []
    args, kwargs, effects = rest
    value = encode(target(*args, **kwargs), keep, nodes)
    return value, [encode(arg, keep, nodes) for arg in args] if effects else []
