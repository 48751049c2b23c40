"""Processes of a distributed run (jax.distributed): joining, barriers, and one exit for all after an error.

JAX alone would leave the others in their collective, and the failed process in a barrier at its exit, for five minutes
each, and then abort them. Here the failed process posts a notice to the coordination service; a thread in every other
process polls for it, and all exit without that barrier. The same thread gives signs of life, so that a process that was
killed is noticed, too. With one process these functions do nothing. JAX is imported on first use, so that an error in a
config need not wait for it.
"""

import concurrent.futures
import contextlib
import ctypes
import itertools
import json
import os
import re
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from r1jax import config

_NOTICE, _LEAVING = "r1jax/notice", "r1jax/leaving/{}"
_SIGNS, _STACKS = "r1jax/signs/", "r1jax/stacks"
_JOIN_S = 120  # within which all processes must have joined
_LEAVE_S = 60  # after which JAX would abort a process that has not joined, and that should have left by then
_POLL_S, _POLLS_PER_SIGN = 0.5, 4
_EVIDENCE_S = 8.0  # for which a process that failed waits for signs of life of the others
_EXIT_WAIT_S = 10.0  # of process 0, with which the service ends, until the others have read the notice and leave
_GRACE_S = 0.5  # for their exit after that
_ANSWER_S = 1.5  # of the coordination service, after which it is looked for by its port
_UNREACHABLE_S = 2.0  # of its port, until this process exits; with the former less than `_delay_abort` gives
_NO_TIMEOUT_MS = 10 * 365 * 24 * 3600 * 1000

_barriers = itertools.count()
_CAUSES = "it was killed, for want of memory say, or its host or the network failed; see the end of its output"
_DEVICE_ERROR = re.compile("[A-Z_]{5,}: ")  # of XLA, of whatever class: it begins with a code
_finished = threading.Event()
_exiting = threading.Lock()
_answered_at = 0.0  # when the coordination service last answered, in monotonic seconds
_lost: set[int] = set()  # processes that give no sign of life any more
_lost_s = 45.0
_state: Callable[[], Mapping[str, Any]] = dict  # of this process, for its signs of life
_write_stacks: Callable[[str], Any] = str


def join(coordinator: str | None, count: int | None, index: int | None) -> None:
    """Joins the other processes and starts polling for their notices. What is None, JAX detects.

    Args:
        coordinator: `host:port` of process 0.
        count: number of processes.
        index: of this one.

    Raises:
        ConnectionError: process 0 cannot listen, or some have not joined within two minutes (R1JAX_JOIN_S).
    """
    global _answered_at

    join_s = int(os.environ.get("R1JAX_JOIN_S") or _JOIN_S)
    try:
        if index == 0 and coordinator:
            _check_port(coordinator)
        _initialize(coordinator, count, index, join_s)
    except (RuntimeError, OSError) as error:
        _service().client = None
        raise _named_join_error(error, coordinator or _service().coordinator_address or "", join_s) from error
    if is_multiprocess():
        _answered_at = time.monotonic()
        threading.Thread(target=_watch_for_notice, daemon=True, name="notice").start()
        if _service().process_id:
            _delay_abort()
            threading.Thread(target=_watch_coordinator, daemon=True, name="coordinator").start()


def _initialize(coordinator: str | None, count: int | None, index: int | None, join_s: int) -> None:
    """`jax.distributed.initialize` in a thread, which JAX 0.10 would let abort the process at the end of its time.

    Raises:
        TimeoutError: it has not joined; the thread is left to itself.
        RuntimeError, ValueError: see `jax.distributed.initialize`.
    """
    import jax

    errors: list[Exception] = []

    def initialize() -> None:
        try:
            jax.distributed.initialize(coordinator, count, index, initialization_timeout=join_s + _LEAVE_S)
        except Exception as error:
            errors.append(error)

    joining = threading.Thread(target=initialize, daemon=True, name="joining")
    joining.start()
    joining.join(join_s)
    if joining.is_alive():
        raise TimeoutError
    if errors:
        raise errors[0]


def _check_port(coordinator: str) -> None:
    """Listens for a moment where JAX's service will; raises OSError where that fails, of which JAX 0.10 crashes."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a run that has just ended is no obstacle
        listening.bind(("", int(coordinator.rpartition(":")[2])))
        listening.listen()


def _named_join_error(error: Exception, address: str, join_s: int) -> BaseException:
    """What kept this process from joining the others, in one line with a remedy."""
    if isinstance(error, TimeoutError) or any(code in str(error) for code in ("DEADLINE_EXCEEDED", "UNAVAILABLE")):
        return ConnectionError(
            f"the processes did not all reach process 0 at {address} within {join_s} s: see whether process 0 runs, "
            "its output, how many processes were started, and whether a firewall closes the port; R1JAX_JOIN_S=600 "
            "waits longer"
        )
    if isinstance(error, OSError) or "start RPC server" in str(error):
        return ConnectionError(
            f"process 0 cannot listen on port {address.rpartition(':')[2]}: another program of its host uses that "
            "port; give another one in --coordinator, the same to all processes"
        )
    return error


def is_multiprocess() -> bool:
    """Whether there are other processes."""
    return "jax" in sys.modules and _service().client is not None and _service().num_processes > 1


def index() -> int:
    """This process's index; 0 where there are no others."""
    return _service().process_id if is_multiprocess() else 0


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
        message = f"{type(error).__name__}: {text}" if status == 1 else text or "stopped"
        # Where one is killed, the others' collectives may fail first, with words that say nothing of it.
        if (status == 1 or _DEVICE_ERROR.match(text)) and (lost := _without_sign(_EVIDENCE_S)):
            _lost.update(lost)
            message = f"{_named(lost)} gave no sign of life any more: {_CAUSES}; the error that followed: {message}"
            stop_all(1, message, f"error: {config.printable(message, lines=True)}")
        _post_notice(status, message)


def stop_all(status: int, message: str, own_message: str = "") -> NoReturn:
    """Ends all processes at once, with this exit status and message. Any thread may call it.

    Args:
        own_message: what this process prints; "": the same.
    """
    if is_multiprocess():
        _post_notice(status, message)
    _exiting.acquire()
    print(own_message or message, file=sys.stderr)
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


def give_signs(lost_s: float, state: Callable[[], Mapping[str, Any]], write_stacks: Callable[[str], Any]) -> None:
    """Sets what the signs of life say and what this process does for the others; of several calls the last one counts.

    Args:
        lost_s: seconds without a sign of life after which a process counts as dead.
        state: of this process, as JSON has it; called in another thread.
        write_stacks: writes this process's stacks to files of that name.
    """
    global _lost_s, _state, _write_stacks
    _lost_s, _state, _write_stacks = lost_s, state, write_stacks


def signs() -> dict[int, dict[str, Any]]:
    """The last sign of life of each process; {} where there are no others, or the service does not answer."""
    pairs: list[tuple[str, str]] = []
    if is_multiprocess():
        with contextlib.suppress(RuntimeError):
            pairs = _service().client.key_value_dir_get(_SIGNS)
    return {int(key.rpartition("/")[2]): json.loads(text) for key, text in pairs}


def request_stacks(name: str) -> None:
    """Has all other processes write their stacks, see `give_signs`, within seconds."""
    if is_multiprocess():
        with contextlib.suppress(RuntimeError):
            _service().client.key_value_set(_STACKS, name, allow_overwrite=True)


def _without_sign(seconds: float) -> list[int]:
    """The other processes that give no new sign of life within these seconds."""
    before, deadline = signs(), time.monotonic() + seconds
    silent = set(range(_service().num_processes)) - {_service().process_id}
    while silent and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        now = signs()
        silent = {i for i in silent if now.get(i, {}).get("number") == before.get(i, {}).get("number")}
    return sorted(silent)


class _Silence:
    """Seconds since the last sign of life of each process, counted only while this process runs itself."""

    def __init__(self, count: int) -> None:
        self.seconds = dict.fromkeys(range(1, count), 0.0)
        self._numbers: dict[int, int] = {}
        self._at = time.monotonic()

    def update(self) -> list[int]:
        """The processes that have been silent for too long."""
        now, last = time.monotonic(), signs()
        passed_s, self._at = min(now - self._at, 2 * _POLL_S * _POLLS_PER_SIGN), now
        for i in self.seconds:
            number = last.get(i, {}).get("number")
            self.seconds[i] = 0.0 if number != self._numbers.get(i) else self.seconds[i] + passed_s
            self._numbers[i] = number
        return [i for i, seconds in self.seconds.items() if seconds > _lost_s]


def _watch_for_notice() -> None:
    """Polls for a notice of another process, and gives signs of life; in process 0 also looks for the others'."""
    global _answered_at
    client, index, silence = _service().client, _service().process_id, _Silence(_service().num_processes)
    stacks = ""
    for turn in itertools.count():
        if _finished.wait(_POLL_S):
            return
        if (text := _value(_NOTICE)) is None:
            continue  # `_watch_coordinator` sees to it
        _answered_at = time.monotonic()
        if text and (notice := json.loads(text))["process"] != index:
            _exit_on_notice(notice)
        if turn % _POLLS_PER_SIGN:
            continue
        with contextlib.suppress(RuntimeError):
            sign = json.dumps({"number": turn, **_state()})
            client.key_value_set(f"{_SIGNS}{index}", sign, allow_overwrite=True)
        if index == 0:
            if not text and (lost := silence.update()):
                _end_without(lost)
        elif (name := _value(_STACKS)) and name != stacks:
            stacks = name
            with contextlib.suppress(OSError):
                _write_stacks(name)


def _value(key: str) -> str | None:
    """The coordination service's value of a key; "" where it has none, None where it does not answer."""
    try:
        return _service().client.key_value_try_get(key)
    except RuntimeError as error:
        return "" if "NOT_FOUND" in str(error) else None


def _end_without(lost: list[int]) -> NoReturn:
    """Ends all processes, as others of them have ended without a notice."""
    _lost.update(lost)
    more = f" (so did {_named(lost[1:])})" if lost[1:] else ""
    message = f"it gave no sign of life for {_lost_s:g} s{more}: {_CAUSES}"
    notice = {"process": lost[0], "status": 1, "message": message}
    with contextlib.suppress(RuntimeError):
        _service().client.key_value_set(_NOTICE, json.dumps(notice))
    _exit_on_notice(json.loads(_value(_NOTICE) or json.dumps(notice)))


def _named(indices: list[int]) -> str:
    return f"process{'es' if indices[1:] else ''} {', '.join(map(str, indices))}"


def _watch_coordinator() -> None:
    """Ends this process where process 0, with which the coordination service ends, cannot be reached any more.

    The service's client blocks then, so that this looks for its port alone.
    """
    host, _, port = _service().coordinator_address.rpartition(":")
    unreachable_s = 0.0
    while not _finished.wait(_POLL_S):
        began = time.monotonic()
        if began - _answered_at < _ANSWER_S:
            unreachable_s = 0.0
            continue
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_UNREACHABLE_S).close()
            unreachable_s = 0.0
        except OSError:
            unreachable_s += _POLL_S + time.monotonic() - began
        if unreachable_s >= _UNREACHABLE_S:
            message = f"it cannot be reached any more: {_CAUSES}"
            _exit_on_notice({"process": 0, "status": 1, "message": message}, can_reply=False)


def _delay_abort() -> None:
    """Gives `_watch_coordinator` six seconds to end this process in one line before JAX's abort ends it.

    JAX's client aborts its process as soon as the coordination service closes its connection, and has no setting for
    it. The C library's `sleep` is made the handler of SIGABRT, whose number, 6, is then its argument: it sleeps in the
    thread that aborts, and after it the abort goes on.
    """
    if sys.platform == "linux" and signal.SIGABRT == 6:
        library = ctypes.CDLL(None)
        library.signal.argtypes, library.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
        library.signal(signal.SIGABRT, ctypes.cast(library.sleep, ctypes.c_void_p))


def _exit_on_notice(notice: dict[str, Any], can_reply: bool = True) -> NoReturn:
    """Prints another process's notice and exits with its status; see `_exit`."""
    _exiting.acquire()  # never released: a second thread waits here for the exit
    message = config.printable(notice["message"], lines=True)
    stopped = notice["status"] in config.STOPPED
    print(message if stopped else f"error: process {notice['process']} failed: {message}", file=sys.stderr)
    _exit(notice["status"], can_reply)


def _exit(status: int, can_reply: bool = True) -> NoReturn:
    """Exits at once.

    Args:
        can_reply: whether the coordination service answers.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    if can_reply and is_multiprocess():
        index, client = _service().process_id, _service().client
        with contextlib.suppress(RuntimeError):  # last, for JAX aborts a process that outlives the service
            client.key_value_set(_LEAVING.format(index), "")
        if index == 0:  # the service ends with it
            with contextlib.suppress(RuntimeError):
                for other in set(range(_service().num_processes)) - _lost:
                    client.blocking_key_value_get(_LEAVING.format(other), int(1000 * _EXIT_WAIT_S))
            time.sleep(_GRACE_S)
    os._exit(status)
