"""Hostile programs, such as a policy under training may write: their common prelude and form.

Each gets all facts about the machine outside that could help it, for security must not rest on hiding them. A program
prints MANAGED where something forbidden succeeded; `tests/hostile_test.py` checks from outside that it did no harm. The
programs are in hostile_greed.py, hostile_reach.py and hostile_escapes.py, by group.
"""

import dataclasses
import textwrap

# Keys of the JSON on stdin: secret_path, home, repository: where secrets are. witness: a directory that anyone may
# write to. tcp, udp: ports of 127.0.0.1; address: another address of this machine; unix, abstract: sockets' names.
# victim, parent: process ids. neighbour: process id of another sandbox's first process.
_PRELUDE = """
import ctypes, glob, json, os, pathlib, resource, signal, socket, subprocess, sys, threading, time
facts = json.load(sys.stdin)
libc = ctypes.CDLL(None, use_errno=True)

def syscall(number, *arguments):
    result = libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"call {number}")
    return result

def managed(what):
    print("MANAGED", what, flush=True)

def attempt(*calls):
    for call in calls:
        try:
            print("got", repr(call())[:5000], flush=True)
        except (Exception, SystemExit) as error:
            print("refused", type(error).__name__, str(error)[:200], flush=True)

def read(path):
    with open(path, "rb") as file:
        return file.read(2**20)

def write(path, content=b"harm"):
    with open(path, "wb") as file:
        file.write(content)
    managed("write " + str(path))
"""


@dataclasses.dataclass(frozen=True)
class Hostile:
    """A program.

    Attributes:
        source: its text.
        language: "python", "shell", "c" or "javascript".
        ends: the statuses that it may end with; () for any.
    """

    source: str
    language: str = "python"
    ends: tuple[str, ...] = ()


def python(source: str, *ends: str) -> Hostile:
    return Hostile(_PRELUDE + textwrap.dedent(source), "python", ends)


def shell(source: str, *ends: str) -> Hostile:
    return Hostile(textwrap.dedent(source), "shell", ends)


def c(source: str, *ends: str) -> Hostile:
    headers = "errno fcntl pthread sched signal stdio stdlib string unistd sys/mman sys/syscall sys/wait sys/ioctl"
    includes = "".join(f"#include <{name}.h>\n" for name in headers.split())
    return Hostile("#define _GNU_SOURCE\n" + includes + textwrap.dedent(source), "c", ends)


def javascript(source: str, *ends: str) -> Hostile:
    return Hostile(textwrap.dedent(source), "javascript", ends)
