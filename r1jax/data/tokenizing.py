"""Worker processes that tokenise: chunks of rows go to them, and what they make of them comes back in order.

They are started as a command of their own, with pickles through pipes: a fork of a process that runs JAX may hang, and
`multiprocessing` would run the user's script again in each.
"""

import collections
import contextlib
import os
import pickle
import queue
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_MOST_PROCESSES = 64
_COMMAND = "from r1jax.data.tokenizing import serve; serve()"


def process_count() -> int:
    """One for each core that this process may use, but one, and at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores - 1, _MOST_PROCESSES))


def in_processes(make: Callable[..., Callable[[Any], Any]], args: Any, chunks: Iterable[Any], count: int) -> Iterator:
    """What `make(*args)` gives for each chunk, in their order; a few chunks for each process are under way at a time.

    Args:
        make: a module's function, called once in each process.
        args: are pickled.
        chunks: are pickled.
        count: of processes.

    Raises:
        RuntimeError: a process ended, or the function raised there.
    """
    with contextlib.ExitStack() as stack:
        free: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        for _ in range(count):
            free.put(stack.enter_context(_Process(make, args)))
        threads = ThreadPoolExecutor(count, thread_name_prefix="tokenising")
        stack.callback(threads.shutdown, cancel_futures=True)

        def run(chunk: Any) -> Any:
            process = free.get()
            try:
                return process.call(chunk)
            finally:
                free.put(process)

        waiting: collections.deque = collections.deque()
        for chunk in chunks:
            waiting.append(threads.submit(run, chunk))
            if len(waiting) > 2 * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class _Process:
    """One of them, a context manager."""

    def __init__(self, make: Callable[..., Any], args: Any):
        self._first = (make, args)

    def __enter__(self) -> "_Process":
        # The parent's cores are shared out already: a tokenizer is not to start a thread for each.
        env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TOKENIZERS_PARALLELISM": "false"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen([sys.executable, "-c", _COMMAND], env=env, **pipes)
        self._started = False
        return self

    def __exit__(self, *error) -> None:
        with contextlib.suppress(OSError):
            self._process.stdin.close()  # which ends it
        self._process.stdout.close()
        self._process.wait()

    def call(self, chunk: Any) -> Any:
        try:
            if not self._started:
                pickle.dump(self._first, self._process.stdin)
                self._started = True
            pickle.dump(chunk, self._process.stdin)
            self._process.stdin.flush()
            fault, result = pickle.load(self._process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):  # its pipes end before it does
                self._process.wait(10)
            status = self._process.returncode
            raise RuntimeError(f"a process that tokenises has ended (status {status}), for want of memory?") from error
        if fault:
            raise RuntimeError(f"a process that tokenises failed: {fault}")
        return result


def serve() -> None:
    """The main function of such a process; it ends with its standard input."""
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no result
    work = None
    while True:
        try:
            message = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        except KeyboardInterrupt:  # Ctrl-C goes to the whole group; the parent closes the pipe
            continue
        if work is None:
            make, args = message
            work = make(*args)
            continue
        try:
            reply = "", work(message)
        except Exception:
            reply = traceback.format_exc(), None
        pickle.dump(reply, results)
        results.flush()
