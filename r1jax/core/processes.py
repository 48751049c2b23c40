"""Processes of a distributed run (jax.distributed): joining, barriers, and one exit for all after an error.

JAX alone would leave the others in their collective, and the failed process in a barrier at its exit, for five minutes
each, and then abort them. Here the failed process posts a notice to the coordination service; a thread in every other
process polls for it, and all exit without that barrier. With one process these functions do nothing. JAX is imported
on first use, so that an error in a config need not wait for it.
"""

import concurrent.futures
import contextlib
import itertools
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from r1jax import config

_NOTICE, _LEAVING = "r1jax/notice", "r1jax/leaving/{}"
_POLL_S = 0.5
_EXIT_WAIT_S = 10.0  # of process 0, with which the service ends, until the others have read the notice and leave
_GRACE_S = 0.5  # for their exit after that
_UNREACHABLE_S = 5.0  # of the coordination service, until this process exits
_NO_TIMEOUT_MS = 10 * 365 * 24 * 3600 * 1000

_barriers = itertools.count()
_finished = threading.Event()
_exiting = threading.Lock()


def join(coordinator: str | None, count: int | None, index: int | None) -> None:
    """Joins the other processes and starts polling for their notices. What is None, JAX detects.

    Args:
        coordinator: `host:port` of process 0.
        count: number of processes.
        index: of this one.
    """
    import jax

    jax.distributed.initialize(coordinator, count, index)
    if is_multiprocess():
        threading.Thread(target=_watch_for_notice, daemon=True, name="notice").start()


def is_multiprocess() -> bool:
    """Whether there are other processes."""
    return "jax" in sys.modules and _service().client is not None and _service().num_processes > 1


def _service() -> Any:
    """JAX's state of the distributed run: the coordination service's client, process count, this process's index."""
    from jax._src import distributed

    return distributed.global_state


def barrier(name: str = "") -> None:
    """Waits for all processes without a timeout, which collectives have: one process may work alone for long.

    Args:
        name: of the barrier; "": the next of the main threads' common sequence. Other threads must give one.
    """
    if not is_multiprocess():
        return
    # In a thread, so that Ctrl-C interrupts the wait.
    waiter = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="barrier")
    key = name or f"r1jax/barrier/{next(_barriers)}"
    waiter.submit(_service().client.wait_at_barrier, key, _NO_TIMEOUT_MS).result()
    waiter.shutdown()


def finish() -> None:
    """Ends a successful run: waits for the other processes, and ignores notices from then on."""
    barrier()
    _finished.set()


def report_error(error: BaseException) -> None:
    """Posts this process's error for the others; exits instead where another process has posted one before."""
    if is_multiprocess() and not _finished.is_set():
        status, text = config.status_of(error), config.message_of(error)
        _post_notice(status, f"{type(error).__name__}: {text}" if status == 1 else text or "stopped")


def stop_all(status: int, message: str) -> NoReturn:
    """Ends all processes at once, with this exit status and message. Any thread may call it."""
    if is_multiprocess():
        _post_notice(status, message)
    _exiting.acquire()
    print(message, file=sys.stderr)
    _exit(status)


def run_to_exit(main: Callable[[], int]) -> NoReturn:
    """Runs a command and exits with its status; after an error without waiting for the process's threads."""
    try:
        status = main()
    except SystemExit:  # of argparse
        raise
    except BaseException as error:
        traceback.print_exc()
        status = config.status_of(error)
    if status:
        _exiting.acquire()  # a notice of another process is not printed any more
        _exit(status)
    sys.exit(0)


def _post_notice(status: int, message: str) -> None:
    index, client = _service().process_id, _service().client
    notice = {"process": index, "status": status, "message": message}
    with contextlib.suppress(RuntimeError):  # another notice was first, or the service has ended
        client.key_value_set(_NOTICE, json.dumps(notice))
    with contextlib.suppress(RuntimeError):
        first = json.loads(client.key_value_try_get(_NOTICE))
        if first["process"] != index and first["message"] != notice["message"]:
            _exit_on_notice(first)
        _finished.set()  # all processes raised the same error


def _watch_for_notice() -> None:
    client, index, unreachable_s = _service().client, _service().process_id, 0.0
    while not _finished.wait(_POLL_S):
        try:
            notice = json.loads(client.key_value_try_get(_NOTICE))
        except RuntimeError as error:
            unreachable_s = 0.0 if "NOT_FOUND" in str(error) else unreachable_s + _POLL_S
            if unreachable_s >= _UNREACHABLE_S:
                _exit_on_notice({"process": 0, "status": 1, "message": "it cannot be reached any more"})
            continue
        if notice["process"] != index:
            _exit_on_notice(notice)


def _exit_on_notice(notice: dict[str, Any]) -> NoReturn:
    """Prints another process's notice and exits with its status."""
    _exiting.acquire()  # never released: a second thread waits here for the exit
    message = config.printable(notice["message"], lines=True)
    stopped = notice["status"] in config.STOPPED
    print(message if stopped else f"error: process {notice['process']} failed: {message}", file=sys.stderr)
    _exit(notice["status"])


def _exit(status: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    if is_multiprocess():
        index, client = _service().process_id, _service().client
        with contextlib.suppress(RuntimeError):  # last, for JAX aborts a process that outlives the service
            client.key_value_set(_LEAVING.format(index), "")
        if index == 0:  # the service ends with it
            with contextlib.suppress(RuntimeError):
                for other in range(_service().num_processes):
                    client.blocking_key_value_get(_LEAVING.format(other), int(1000 * _EXIT_WAIT_S))
            time.sleep(_GRACE_S)
    os._exit(status)
