"""Hostile custom rewards, one for each known kind of misbehaviour, and a well-behaved one."""

import builtins
import contextlib
import ctypes
import os
import signal
import sys
import threading
import time

import jobs

from r1jax.data import types
from r1jax.rewards import custom_rewards


def letters(rollout):
    """A well-behaved reward."""
    return float(len(rollout.response.final))


def raises(rollout):
    raise RuntimeError("boom \x1b[31m")


def nan(rollout):
    return float("nan")


def text(rollout):
    return "1.0"


def huge(rollout):
    return 10**400


def exits(rollout):
    sys.exit(0)


def exits_at_once(rollout):
    os._exit(3)


def kills_itself(rollout):
    os.kill(os.getpid(), signal.SIGKILL)


def crashes(rollout):
    ctypes.string_at(0)


def interrupts(rollout):
    raise KeyboardInterrupt


def unheard_of(rollout):
    raise BaseException("b")


def takes_memory(rollout):
    return float(len(bytearray(4 * 2**30)))


def recurses(rollout):
    return recurses(rollout)


def divides_by_zero_once(rollout):
    """Fails for one sample only; the others have theirs."""
    return rollout.sample / (rollout.sample - 1)


def forks(rollout):
    """Both processes return."""
    os.fork()
    return float(rollout.sample)


def forks_and_is_late(rollout):
    if not os.fork():
        jobs.note(rollout.prompt.metadata["log"], "late")
        time.sleep(0.3)
        return 777.0
    return float(rollout.sample)


def leaves_a_daemon(rollout):
    """A child of a child, in a session of its own."""
    if not os.fork():
        os.setsid()
        if not os.fork():
            jobs.note(rollout.prompt.metadata["log"], "daemon")
            time.sleep(1000)
        os._exit(0)
    jobs.until(lambda: "daemon" in dict(jobs.noted(rollout.prompt.metadata["log"])))
    return 1.0


def leaves_threads(rollout):
    for _ in range(4):
        threading.Thread(target=time.sleep, args=(1000,)).start()
    return 1.0


def closes(rollout):
    os.closerange(3, 200)
    return 1.0


def writes(rollout):
    for descriptor in range(3, 200):
        with contextlib.suppress(OSError):
            os.write(descriptor, b"garbage")
    return 1.0


def replaces_builtins(rollout):
    builtins.float = lambda _: 5.0
    return 0.5


def replaces_for_others(rollout):
    """What it does to one sample's process would change the other samples' parts."""
    if rollout.sample == 0:
        builtins.len = lambda _: 99
        types.Rollout.response = property(lambda self: None)
        custom_rewards.call = custom_rewards.load = None
    return letters(rollout) if rollout.sample else 0.0


def hangs(rollout):
    jobs.note(rollout.prompt.metadata["log"], "parent")
    if not os.fork():
        jobs.note(rollout.prompt.metadata["log"], "child")
    while True:
        pass
