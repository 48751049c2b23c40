"""The processes of one run, joined by jax.distributed: an error in one of them ends all, and each waits for the others.

JAX alone would leave the others in their collective, and the one that failed in a barrier at its exit, for five minutes
each, and abort them then. Here the process that fails leaves a notice with the coordination service, which a thread of
every other looks for, and they all exit without that barrier. With one process nothing of this happens. JAX is loaded
where it is used first: an error in a config, before any joining, should not wait for it.
"""

import concurrent.futures
import contextlib
import itertools
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from r1jax import config

_NOTICE, _SEEN = "r1jax/notice", "r1jax/seen/{}"
_LOOK_S = 0.5
_PARTING_S = 10.0  # for the others to see the notice, which ends with process 0
_LOST_S = 5.0  # without the coordination service
_FOREVER_MS = 10 * 365 * 24 * 3600 * 1000

_meetings = itertools.count()
_over = threading.Event()
_ending = threading.Lock()


def join(coordinator: str | None, count: int | None, index: int | None) -> None:
    """Joins the other processes; where these are None JAX finds them by itself. From then on a notice is looked for."""
    import jax

    jax.distributed.initialize(coordinator, count, index)
    if several():
        threading.Thread(target=_look_for_notice, daemon=True, name="notice").start()


def several() -> bool:
    """Whether there are other processes."""
    return "jax" in sys.modules and _service().client is not None and _service().num_processes > 1


def _service() -> Any:
    """JAX's own record of the processes: the coordination service's client, their number, this one's index."""
    from jax._src import distributed

    return distributed.global_state


def meet(place: str = "") -> None:
    """Waits until all processes are here, however long one of them works alone; a collective's patience ends.

    Args:
        place: another one than the main threads' common way, for other threads.
    """
    if not several():
        return
    # In a thread, so that Ctrl-C is heard.
    waiting = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="meeting")
    barrier = place or f"r1jax/meeting/{next(_meetings)}"
    waiting.submit(_service().client.wait_at_barrier, barrier, _FOREVER_MS).result()
    waiting.shutdown()


def leave() -> None:
    """The end of a run that went well: waits for the other processes, which may still work."""
    meet()
    _over.set()


def announce(error: BaseException) -> None:
    """Tells the other processes of the error that ends this one; does not return where another was first."""
    if several() and not _over.is_set():
        status, text = config.status_of(error), config.message_of(error)
        _announce(status, f"{type(error).__name__}: {text}" if status == 1 else text or "stopped")


def stop_all(status: int, message: str) -> NoReturn:
    """Ends all processes at once, from any thread."""
    if several():
        _announce(status, message)
    _ending.acquire()
    print(message, file=sys.stderr)
    _exit(status)


def run_to_exit(main: Callable[[], int]) -> NoReturn:
    """Runs a command and ends the process with its status; after an error at once, whatever its threads wait for."""
    try:
        status = main()
    except SystemExit:  # of argparse
        raise
    except BaseException as error:
        traceback.print_exc()
        status = config.status_of(error)
    if status:
        _ending.acquire()  # should another process end this one, it need not say so any more
        _exit(status)
    sys.exit(0)


def _announce(status: int, message: str) -> None:
    index, client = _service().process_id, _service().client
    notice = {"process": index, "status": status, "message": message}
    with contextlib.suppress(RuntimeError):  # there is one already, or no service any more
        client.key_value_set(_NOTICE, json.dumps(notice))
    with contextlib.suppress(RuntimeError):
        first = json.loads(client.key_value_try_get(_NOTICE))
        if first["process"] != index and first["message"] != notice["message"]:
            _end_by(first)
        _over.set()  # all of them say the same
        client.key_value_set(_SEEN.format(index), "")


def _look_for_notice() -> None:
    client, index, lost = _service().client, _service().process_id, 0.0
    while not _over.wait(_LOOK_S):
        try:
            notice = json.loads(client.key_value_try_get(_NOTICE))
        except RuntimeError as error:
            lost = 0.0 if "NOT_FOUND" in str(error) else lost + _LOOK_S
            if lost >= _LOST_S:
                _end_by({"process": 0, "status": 1, "message": "it cannot be reached any more"})
            continue
        if notice["process"] != index:
            _end_by(notice)


def _end_by(notice: dict[str, Any]) -> NoReturn:
    """Ends this process because of another one's notice."""
    _ending.acquire()  # and never released: whoever comes second waits for the exit
    with contextlib.suppress(RuntimeError):
        _service().client.key_value_set(_SEEN.format(_service().process_id), "")
    message = config.printable(notice["message"], lines=True)
    stopped = notice["status"] in config.STOPPED
    print(message if stopped else f"error: process {notice['process']} failed: {message}", file=sys.stderr)
    _exit(notice["status"])


def _exit(status: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    if several() and _service().process_id == 0:  # with it ends the service
        with contextlib.suppress(RuntimeError):
            for index in range(_service().num_processes):
                _service().client.blocking_key_value_get(_SEEN.format(index), int(1000 * _PARTING_S))
    os._exit(status)
