"""Forged verdicts: programs that do not solve their task and try to be graded as right; none succeeds."""

import textwrap

import pytest
from programs import HUMANEVAL, LEETCODE, STDIO, functional, judge, needs_sandbox

from r1jax.data.types import Grade

pytestmark = needs_sandbox

# The task's format around a program's `answer`, which follows every program below.
FORMATS = {
    "humaneval": (HUMANEVAL, "def add(a, b):\n    return answer(a, b)\n"),
    "leetcode": (LEETCODE, "class Solution:\n    def add(self, a, b):\n        return answer(a, b)\n"),
    "stdio": (STDIO, "import sys\na, b = map(int, sys.stdin.read().split())\nprint(answer(a, b))\n"),
}
# Frames as the guest scripts send them, and the report that the assert runner prints.
FORGED_MESSAGES = r"""
import json, struct
def frame(message):
    body = json.dumps(message).encode()
    return struct.pack(">I", len(body)) + body
REPORT = b'{"passed": [0, 1], "failed": [], "first": "", "end": "done"}\n'
ANSWERS = frame(["value", None, []]) + frame(["value", True, []]) * 50
"""
PROGRAMS = {
    "exits while it is imported": "import sys; sys.exit(0)",
    "exits hard while it is imported": "import os; os._exit(0)",
    "exits in a call": "def answer(a, b): raise SystemExit(0)",
    "exits hard in a call": "import os\ndef answer(a, b): os._exit(0)",
    "prints markers of success": r"""
        print("All tests passed"); print("OK"); print("1.0"); print("right"); print("true")
        print(REPORT.decode(), end="", flush=True)
        answer = lambda a, b: 0
    """,
    "prints markers at its end": r"""
        import atexit, os
        atexit.register(lambda: os.write(1, REPORT))
        answer = lambda a, b: 0
    """,
    "writes to every open descriptor": r"""
        import os
        for fd in range(64):
            for mark in (REPORT, ANSWERS, b"true"):
                try: os.write(fd, mark)
                except OSError: pass
        answer = lambda a, b: 0
    """,
    "answers before it is asked and goes": r"""
        import os
        for fd in range(3, 64):
            try: os.write(fd, ANSWERS)
            except OSError: pass
        os._exit(0)
    """,
    "answers from a thread": r"""
        import os, threading
        def flood():
            while True:
                for fd in range(3, 64):
                    try: os.write(fd, frame(["value", True, []]))
                    except OSError: pass
        threading.Thread(target=flood, daemon=True).start()
        answer = lambda a, b: 0
    """,
    "replays the last answer": r"""
        import os
        sent, write = [], os.write
        def replay(fd, data):
            sent.append(bytes(data))
            return write(fd, sent[0])
        os.write = replay
        answer = lambda a, b: 5
    """,
    "patches what assert calls": r"""
        import builtins
        class AssertionError(Exception):
            def __new__(cls, *_): return True
        builtins.AssertionError = AssertionError
        builtins.bool = builtins.all = builtins.any = lambda *_: True
        answer = lambda a, b: 0
    """,
    "patches json and the scripts": r"""
        import sys
        json.dumps = lambda *_, **__: '["value", true, []]'
        for name, module in list(sys.modules.items()):
            if name.startswith("r1jax"):
                for key in ("encode", "decode"):
                    if hasattr(module, key): setattr(module, key, lambda *_: True)
        answer = lambda a, b: 0
    """,
    "equal to everything": r"""
        class Anything:
            __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __bool__ = lambda *_: True
            __add__ = __sub__ = __abs__ = __getitem__ = lambda self, *_: self
            __hash__ = lambda self: 5
            __int__ = __index__ = __len__ = lambda self: 5
            __str__ = __repr__ = lambda self: "5"
            __iter__ = lambda self: iter([self])
        answer = lambda a, b: Anything()
    """,
    "an integer of its own": r"""
        class Five(int):
            __eq__ = lambda *_: True
            __ne__ = lambda *_: False
            __hash__ = int.__hash__
        answer = lambda a, b: Five(7)
    """,
    "a float of its own": r"""
        class Near(float):
            __eq__ = __lt__ = __le__ = lambda *_: True
            __sub__ = __rsub__ = __abs__ = lambda self, *_: self
            __hash__ = float.__hash__
        answer = lambda a, b: Near("nan")
    """,
    "a string of its own": r"""
        class Text(str):
            __eq__ = lambda *_: True
            __hash__ = str.__hash__
        answer = lambda a, b: Text("5")
    """,
    "a list and a dict of their own": r"""
        class Many(list):
            __eq__ = __contains__ = lambda *_: True
        class Table(dict):
            __eq__ = lambda *_: True
            __missing__ = lambda self, key: 5
        answer = lambda a, b: Many([Table()])
    """,
    "lies about its class": r"""
        class Meta(type):
            __instancecheck__ = __subclasscheck__ = __eq__ = lambda *_: True
            __hash__ = type.__hash__
        class Liar(metaclass=Meta):
            __class__ = property(lambda self: int)
            __eq__ = lambda *_: True
        answer = lambda a, b: Liar()
    """,
    "raises AssertionError": "def answer(a, b): raise AssertionError('passed')",
    "raises StopIteration": "def answer(a, b): raise StopIteration(5)",
    "raises KeyboardInterrupt": "def answer(a, b): raise KeyboardInterrupt",
    "raises GeneratorExit": "def answer(a, b): raise GeneratorExit",
    "raises an exception named like the assert runner's": r"""
        class StopTests(BaseException): pass
        class UnsendableError(Exception): remote = "right"
        def answer(a, b): raise UnsendableError("ungradable") if a > 0 else StopTests
    """,
    "looks for the tests in frames and in the heap": r"""
        import gc, re, sys
        found, frame_ = [], sys._getframe()
        while frame_:
            found += [repr(frame_.f_locals), repr(frame_.f_globals)]
            frame_ = frame_.f_back
        found += [repr(each)[:2000] for each in gc.get_objects() if isinstance(each, (str, list, dict, tuple))]
        def answer(a, b):
            match = re.search(rf"\({a}, {b}\) == (-?\d+)", " ".join(found))
            return int(match[1]) if match else "not found"
    """,
    "looks for the tests in files": r"""
        import glob, re
        text = ""
        for pattern in ("*", "../*", "/tmp/*", "/proc/*/cmdline", "/proc/*/environ", "/proc/*/fd/*", "/dev/shm/*"):
            for name in glob.glob(pattern):
                if name == "/stdin" or name.endswith("/fd/0"): continue
                try: text += open(name, errors="replace").read(100000) if "/fd/" not in name else ""
                except OSError: pass
        def answer(a, b):
            match = re.search(rf"\(a? ?=? ?{a}, b? ?=? ?{b}\) == (-?\d+)", text)
            return int(match[1]) if match else "not found"
    """,
    "reads its input once more for the output": r"""
        import os
        def answer(a, b):
            try:
                os.lseek(0, 0, 0)
                return os.read(0, 1000).decode().split("output")[-1] or 0
            except OSError: return 0
    """,
    "a huge value": "def answer(a, b): return [5] * 2**21",
    "a value nested without end": "def answer(a, b):\n    x = []\n    x.append(x)\n    return x",
    "an iterator without end": "import itertools\ndef answer(a, b): return itertools.repeat(5)",
    "exits when it is collected": r"""
        import os
        class Last:
            def __del__(self): os.write(1, REPORT); os._exit(0)
        def answer(a, b): Last()
    """,
    "handles signals and kills": r"""
        import os, signal
        for number in range(1, 32):
            try: signal.signal(number, lambda *_: os._exit(0))
            except (OSError, ValueError): pass
        def answer(a, b):
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGTERM)
    """,
    "crashes below Python": "import ctypes\ndef answer(a, b): ctypes.string_at(0)",
    "forks and lets the child answer": r"""
        import os
        if os.fork(): os._exit(0)
        answer = lambda a, b: 0
    """,
    "closes what it did not open": r"""
        import os
        os.closerange(0, 64)
        answer = lambda a, b: 5
    """,
    "traces the server's loop": r"""
        import sys
        def trace(frame_, event, value):
            for name in frame_.f_locals: frame_.f_locals[name] = True
            return trace
        sys.settrace(trace); sys.setprofile(lambda *_: None)
        answer = lambda a, b: True
    """,
}


@pytest.mark.parametrize("task_format", FORMATS)
def test_a_right_program_passes_in_every_format(task_format: str) -> None:
    row, end = FORMATS[task_format]
    assert judge(row, f"{FORGED_MESSAGES}\nanswer = lambda a, b: a + b\n{end}") == Grade(1.0, "right")


@pytest.mark.parametrize("task_format", ["humaneval", pytest.param("leetcode", marks=pytest.mark.slow), "stdio"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_no_forged_verdict_passes(name: str, task_format: str) -> None:
    row, end = FORMATS[task_format]
    grade = judge(row, f"{FORGED_MESSAGES}\n{textwrap.dedent(PROGRAMS[name])}\n{end}")
    assert grade.score == 0.0  # nor is it ungradable: that would be a way out of being wrong


def test_arguments_cannot_be_changed_to_match() -> None:
    row = functional("""
        def check(candidate):
            for n in range(3, 6):
                values = list(range(n, 0, -1))
                assert candidate(values) == sorted(values)
    """)
    assert judge(row, "def add(values): return sorted(values)").score == 1.0
    assert judge(row, "def add(values):\n    values.clear()\n    return []").score == 0.0
    assert judge(row, "def add(values):\n    values[:] = [1]\n    return values").score == 0.0


def test_the_program_cannot_define_a_helper_that_the_tests_lack() -> None:
    row = {
        **LEETCODE,
        "test": "def check(candidate):\n    assert is_same_graph(candidate(1), 2)\n\ncheck(Solution().add)",
    }
    with pytest.raises(ValueError, match="is_same_graph"):
        judge(row, "is_same_graph = lambda *_: True\nclass Solution:\n    add = lambda self, a: a")


def test_the_program_cannot_replace_a_library_module_that_the_tests_do_not_import() -> None:
    row = {"prompt": "", "test_list": ["assert size((1, 2)) == sys.getsizeof((1, 2))"]}
    assert judge(row, "import sys\ndef size(x): return sys.getsizeof(x)").score == 1.0
    assert judge(row, "class sys:\n    getsizeof = lambda x: 7\ndef size(x): return 7").score == 0.0


def test_helpers_of_the_tests_win_over_those_of_the_program() -> None:
    test = "def check(candidate):\n    assert is_same_list(candidate(list_node([1, 2])), list_node([2, 1]))\n\n"
    row = {**LEETCODE, "test": test + "check(Solution().add)"}
    end = "class Solution:\n    def add(self, head): return head\n"
    assert judge(row, f"is_same_list = lambda *_: True\n{end}").score == 0.0
    evil = "class ListNode:\n    def __init__(self, val=0, next=None): self.val, self.next = Same(), next\n"
    same = "class Same(int):\n    __eq__ = lambda *_: True\n    __ne__ = lambda *_: False\n"
    assert judge(row, f"{same}{evil}{end}").score == 0.0


def test_trap61_a_program_holds_no_socket_of_the_hosts_network() -> None:
    row = {"prompt": "", "test_list": ["assert kinds() == ['fifo', 'fifo']"]}
    program = """
import os, stat
def kinds():
    paths = [f"/proc/self/fd/{number}" for number in range(3, 64)]
    modes = [os.stat(path).st_mode for path in paths if os.path.exists(path)]
    return ["fifo" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "other" for mode in modes]
"""
    assert judge(row, program) == Grade(1.0, "right")


def test_an_error_cannot_end_the_loop_of_a_test_early() -> None:
    row = functional("def check(candidate):\n    assert all(map(candidate, [1, 2]))\n")
    assert judge(row, "def add(n): raise StopIteration").score == 0.0


def test_asserts_that_are_skipped_count_as_failed() -> None:
    row = functional("""
        def check(candidate):
            for got, want in zip(candidate(3), [1, 2, 3]):
                assert got == want
            assert candidate(0) == []
    """)
    assert judge(row, "def add(n): return list(range(1, n + 1))").score == 1.0
    assert judge(row, "def add(n): return []").score == 0.0


def test_a_test_that_catches_everything_does_not_hide_that_the_program_has_ended() -> None:
    row = functional("""
        def check(candidate):
            assert candidate(1) == 1
            try:
                candidate(2)
            except:
                pass
    """)
    assert judge(row, "import os\ndef add(n): return n if n == 1 else os._exit(0)") == Grade(0.0, "crash")


def test_trap21_a_checker_takes_the_output_as_text_and_not_as_code() -> None:
    checker = "def check(input, expected, output):\n    return sum(map(int, output.split())) == int(expected)\n"
    row = {"prompt": "", "tests": [{"input": "7\n", "output": "7"}], "checker": checker}
    assert judge(row, "print(3, 4)").score == 1.0
    for text in ("true", '"}) or True #', "');import os;os.write(3,b'true')#", '{"output": 7}', "\\u0037", "7 0x0"):
        assert judge(row, f"print({text!r})").score == 0.0
