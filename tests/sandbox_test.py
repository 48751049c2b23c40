"""Sandbox: a program's input, output and files, how its end is reported, and errors where there is no sandbox.

Hostile programs are in tests/hostile_test.py, memory limits in tests/sandbox_memory_test.py.
"""

import contextlib
import dataclasses
import functools
import logging
import os
import pathlib
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import pytest
from jobs import until

from r1jax.sandbox import bubblewrap
from r1jax.sandbox import runner as sandbox
from r1jax.sandbox.config import CodeConfig
from r1jax.sandbox.runner import PYTHON, SandboxError
from r1jax.tools import sandbox as command

CFG = CodeConfig(time_s=30.0, memory_mb=256, output_mb=1, disk_mb=16)
UNSAFE = dataclasses.replace(CFG, run_untrusted_code_without_a_sandbox=True)


@functools.cache
def missing() -> str:
    """The error where the sandbox does not work here; "" where it does."""
    try:
        sandbox.check_available(CFG)
    except SandboxError as error:
        return str(error)
    return ""


needs_sandbox = pytest.mark.skipif("missing()", reason="no sandbox: sudo apt-get install bubblewrap")
both = pytest.mark.parametrize(
    "cfg", [pytest.param(CFG, id="sandbox", marks=needs_sandbox), pytest.param(UNSAFE, id="without")]
)


def python(source: str, cfg: CodeConfig = CFG, **options) -> sandbox.Outcome:
    return sandbox.run([PYTHON, "-I", "-S", "-c", source], cfg, **options)


@both
def test_a_program_gets_its_input_and_its_output_comes_back(cfg):
    outcome = python("import sys; print(sys.stdin.read()[::-1]); print('why', file=sys.stderr)", cfg, stdin=b"abc")
    assert (outcome.status, outcome.returncode) == ("ok", 0)
    assert (outcome.stdout, outcome.stderr) == (b"cba\n", b"why\n")


@both
def test_input_and_output_of_a_megabyte_arrive_whole(cfg):
    content = bytes(range(256)) * 4000
    outcome = python("import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())", cfg, stdin=content)
    assert outcome.stdout == content


@both
def test_files_can_be_read_and_executed_but_not_written(cfg):
    files = {"data": b"\x00\xff", "script": b"#!/bin/sh\necho ran\n"}
    outcome = sandbox.run(["./script"], cfg, files=files)
    assert outcome.stdout == b"ran\n"
    assert python("print(open('data', 'rb').read())", cfg, files=files).stdout == b"b'\\x00\\xff'\n"
    if cfg is CFG:
        assert b"Read-only" in python("open('data', 'wb')", cfg, files=files).stderr


@both
def test_descriptors_are_passed_under_their_numbers(cfg):
    reading, writing = os.pipe()
    program = sandbox.start([PYTHON, "-c", f"import os; os.write({writing}, b'hello')"], cfg, pass_fds=[writing])
    os.close(writing)
    assert program.wait().status == "ok"
    assert os.read(reading, 100) == b"hello"
    assert os.read(reading, 100) == b""  # nobody holds the other end any more
    os.close(reading)


@needs_sandbox
def test_a_program_inherits_no_other_descriptors():
    outcome = python("import os; print([n for n in range(1000) if os.path.exists(f'/proc/self/fd/{n}')])")
    assert outcome.stdout == b"[0, 1, 2]\n"


@both
def test_the_working_directory_is_writable(cfg):
    assert python("open('x', 'w').write('1'); print(open('x').read())", cfg).stdout == b"1\n"


@both
@pytest.mark.parametrize(
    ("source", "returncode"),
    [("raise SystemExit(3)", 3), ("import os; os.abort()", 128 + 6), ("import os; os.kill(os.getpid(), 9)", 128 + 9)],
)
def test_failure_is_a_crash_with_the_shells_return_code(cfg, source, returncode):
    outcome = python(source, cfg)
    assert (outcome.status, outcome.returncode) == ("crash", returncode)


@both
def test_a_command_that_is_not_there_is_a_crash(cfg):
    assert sandbox.run(["no-such-command"], cfg).status == "crash"


@both
def test_what_waits_may_take_longer_than_its_processor_time_and_not_for_ever(cfg, short_waits, monkeypatch):
    monkeypatch.setattr("r1jax.sandbox.config.LEAST_WAIT_S", 60.0)
    assert python("import time; time.sleep(0.8)", dataclasses.replace(cfg, time_s=0.3)).status == "ok"
    monkeypatch.setattr("r1jax.sandbox.config.LEAST_WAIT_S", 0.0)
    outcome = python("import time; time.sleep(10**6)", dataclasses.replace(cfg, time_s=0.3))
    assert outcome.status == "timeout"
    assert outcome.seconds >= 0.3  # true of a busy machine too; and without the limit it would never end


@both
def test_cpu_time_of_all_processes_together_is_bounded(cfg):
    source = """
import os, time
for _ in range(4):
    if os.fork() == 0:
        while time.process_time() < 0.7:
            pass
        os._exit(0)
for _ in range(4):
    os.wait()
"""
    limited = dataclasses.replace(cfg, time_s=2.0)  # each process takes less by far
    assert python(source, limited).status == "timeout"


@both
def test_output_is_bounded_and_what_came_before_is_kept(cfg):
    outcome = python("while True: print('x' * 99)", cfg)
    assert outcome.status == "output"
    assert outcome.stdout == (b"x" * 99 + b"\n") * 10485 + b"x" * 76  # 1 MiB


@both
def test_output_at_the_limit_is_within_it(cfg):
    assert python("import sys; sys.stdout.write('x' * 2**20)", cfg).status == "ok"
    assert python("import sys; sys.stdout.write('x' * (2**20 + 1))", cfg).status == "output"


@both
def test_the_end_of_stderr_is_kept(cfg):
    stderr = python("import sys; sys.stderr.write('x' * 10**5 + 'the end')", cfg).stderr
    assert stderr.endswith(b"xthe end")
    assert len(stderr) == 4096


@needs_sandbox
def test_temporary_space_is_bounded():
    outcome = python("open('x', 'wb').write(bytes(15 << 20)); open('y', 'wb').write(bytes(2 << 20))")
    assert b"No space left" in outcome.stderr


@both
def test_a_killed_program_ends_at_once(cfg):
    program = sandbox.start([PYTHON, "-c", "import time; time.sleep(100)"], cfg)
    program.kill()
    outcome = program.wait()
    assert outcome.status == "crash", "its time limit would say timeout"
    program.kill()  # harmless afterwards


@both
def test_concurrent_programs_get_their_own_output(cfg):
    programs = [sandbox.start([PYTHON, "-I", "-S", "-c", f"print({i})"], cfg) for i in range(12)]
    assert [program.wait().stdout for program in programs] == [f"{i}\n".encode() for i in range(12)]


@both
@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc/passwd"])
def test_file_names_are_not_paths(cfg, name):
    with pytest.raises(ValueError, match="plain name"):
        sandbox.start(["true"], cfg, files={name: b""})


@both
def test_no_descriptor_and_no_thread_is_left(cfg):
    python("pass", cfg)  # what is opened once is open now
    descriptors, threads = os.listdir("/proc/self/fd"), threading.active_count()
    for _ in range(3):
        python("import os; os.fork() or os.fork()", cfg, files={"a": b"b"}, stdin=b"c")
    until(lambda: threading.active_count() == threads)  # a thread ends just after its outcome is there
    assert len(os.listdir("/proc/self/fd")) == len(descriptors)
    assert threading.active_count() == threads


@needs_sandbox
def test_no_file_of_a_run_touches_the_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    os.utime(tmp_path, (0, 0))
    python("print(open('x').read())", files={"x": b"1"}, stdin=b"2")
    assert tmp_path.stat().st_mtime == 0


DELAYS = [i / 1000 for i in range(0, 64, 2)]  # seconds: a sandbox stands after some 20 ms
WORKER = """
import sys
from r1jax.sandbox import runner as sandbox
from r1jax.sandbox.config import CodeConfig
print("ready", flush=True)
while True:
    sandbox.run([sandbox.PYTHON, "-S", "-c", f"import time; time.sleep({sys.argv[2]})", sys.argv[1]], CodeConfig())
"""


@needs_sandbox
@pytest.mark.parametrize("sleep_s", [100, 0])
@pytest.mark.parametrize(
    "delay_s",
    [*DELAYS[::8], *(pytest.param(delay, marks=pytest.mark.slow) for delay in DELAYS if delay not in DELAYS[::8])],
)
def test_when_a_grader_process_is_killed_its_sandboxes_end(delay_s, sleep_s):
    mark = f"mark-{secrets.token_hex(8)}"
    command = [sys.executable, "-c", WORKER, mark, str(sleep_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as worker:
        assert worker.stdout.readline() == b"ready\n"
        time.sleep(delay_s)
        worker.kill()
    until(lambda: not marked(mark))
    time.sleep(0.05)
    assert marked(mark) == []


def marked(mark: str) -> list[str]:
    """Processes with a word in their command line."""
    paths = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes():
                paths.append(str(path))
    return paths


@needs_sandbox
def test_compilers_and_other_languages_run_in_it():
    for tool in ("g++", "node"):
        if shutil.which(tool, path=bubblewrap.PATH) is None:
            pytest.skip(f"there is no {tool}")
    source = b"""
#include <cstdio>
#include <vector>
int unused[1 << 28];
int main() { std::vector<int> x(1); scanf("%d", &x[0]); printf("%d", 2 * x[0]); }
"""
    larger = dataclasses.replace(CFG, memory_mb=1024, disk_mb=64)
    command = ["sh", "-c", "g++ -O1 -o /tmp/out program.cpp && cat /tmp/out"]
    compiled = sandbox.run(command, larger, files={"program.cpp": source})
    assert compiled.status == "ok", compiled.stderr.decode()
    assert sandbox.run(["./a"], CFG, files={"a": compiled.stdout}, stdin=b"21").stdout == b"42"
    doubles = b"const fs = require('fs'); fs.writeFileSync('/dev/stdout', `${2 * fs.readFileSync('/dev/stdin')}`)"
    assert sandbox.run(["node", "a.js"], CFG, files={"a.js": doubles}, stdin=b"21").stdout == b"42"


@both
def test_programs_do_not_inherit_the_graders_address_space_limit(cfg):
    """Node takes a thousand times the addresses that it fills, and would not start below such a limit."""
    script = f"""
from r1jax.sandbox import runner as sandbox
from r1jax.sandbox.config import CodeConfig
cfg = CodeConfig(run_untrusted_code_without_a_sandbox={cfg.run_untrusted_code_without_a_sandbox})
print(sandbox.run(["sh", "-c", "ulimit -v"], cfg).stdout)
"""
    command = ["prlimit", f"--as={2**32}:", sys.executable, "-c", script]
    assert subprocess.check_output(command) == b"b'unlimited\\n'\n"


@pytest.fixture
def fresh_probe():
    """Clears the results that are cached for the life of a process, before and after."""
    for forget in (sandbox._probe.cache_clear, bubblewrap._help.cache_clear):
        forget()
    yield
    for forget in (sandbox._probe.cache_clear, bubblewrap._help.cache_clear):
        forget()


def test_a_missing_bubblewrap_is_an_error_that_says_how_to_install_it(fresh_probe, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SandboxError, match=r"bwrap is not installed: sudo apt-get install bubblewrap"):
        sandbox.check_available(CFG)
    with pytest.raises(SandboxError, match="apt-get install"):
        sandbox.start(["true"], CFG)


@pytest.mark.parametrize("error", ["", "no bwrap"])
def test_the_command_reports_whether_the_sandbox_works(error, monkeypatch, capsys):
    def check(cfg: CodeConfig) -> None:
        if error:
            raise SandboxError(error)

    monkeypatch.setattr(command, "check_available", check)
    assert command.main([]) == bool(error)
    printed = capsys.readouterr()
    if error:
        assert (printed.out, printed.err) == ("", "error: no bwrap\n")
    else:
        assert printed.out.startswith("the sandbox works; default limits: time_s=10.0, ")


def test_other_systems_than_linux_are_refused(fresh_probe, monkeypatch):
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    for cfg in (CFG, UNSAFE):
        with pytest.raises(SandboxError, match="on Linux only, this is Darwin"):
            sandbox.check_available(cfg)


def test_a_kernel_that_forbids_it_is_an_error_that_names_the_settings(fresh_probe, monkeypatch):
    directory = tempfile.mkdtemp()
    os.chmod(directory, 0o755)  # root runs it as another user
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    with open(os.open(f"{directory}/bwrap", os.O_CREAT | os.O_WRONLY, 0o755), "w") as script:
        script.write("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2; exit 1\n")
    with pytest.raises(SandboxError, match=r"uid map: Permission denied.*apparmor_restrict.*--security-opt"):
        sandbox.check_available(CFG)
    program = sandbox.start(["true"], CFG)
    with pytest.raises(SandboxError, match="uid map"):
        program.wait()
    program.kill()
    shutil.rmtree(directory)


@needs_sandbox
def test_limits_hold_with_an_older_bubblewrap(monkeypatch):
    """0.6 of Ubuntu 22.04 has neither --size nor --disable-userns: supervisor and filter enforce the limits."""
    monkeypatch.setattr(bubblewrap, "_help", lambda bwrap: "")
    assert python("open('x', 'wb').write(bytes(15 << 20)); import time; time.sleep(0.2)").status == "ok"
    source = "import time\nfor i in 'ab': open(i, 'wb').write(bytes(12 << 20))\ntime.sleep(20)"
    assert python(source).status == "memory"
    assert python("import ctypes; assert ctypes.CDLL(None).unshare(0x10000000) == -1").status == "ok"


def test_running_without_a_sandbox_needs_the_setting_and_warns_once(fresh_probe, caplog):
    with caplog.at_level(logging.WARNING):
        sandbox.check_available(UNSAFE)
        sandbox.check_available(UNSAFE)
    assert [record.getMessage().count("WITHOUT A SANDBOX") for record in caplog.records] == [1]


def test_without_a_sandbox_children_end_with_the_program(tmp_path):
    source = "import os, time\nif os.fork() == 0:\n    time.sleep(0.5)\n    open({!r}, 'w')"
    assert python(source.format(str(tmp_path / "late")), UNSAFE).status == "ok"
    time.sleep(0.8)
    assert not (tmp_path / "late").exists()


def test_without_a_sandbox_the_directory_is_removed():
    directory = python("import os; open('x', 'w'); print(os.getcwd(), end='')", UNSAFE).stdout.decode()
    assert directory.startswith("/")
    assert not os.path.exists(directory)
