"""Hostile programs that exceed their limits: processes, memory, disk, output, time."""

from hostile import c, javascript, python, shell

FORK_BOMBS = {
    "forks": python(
        "while True:\n    try:\n        os.fork()\n    except OSError:\n        pass\n", "timeout", "memory"
    ),
    "threads": python(
        """
        while True:
            try:
                threading.Thread(target=time.sleep, args=(10**6,)).start()
            except RuntimeError:
                pass
        """,
        "timeout",
    ),
    "classic": shell("bomb() { bomb | bomb & }; bomb; sleep 1000000", "timeout", "crash", "memory"),
    "subprocesses": python(
        """
        while True:
            try:
                subprocess.Popen(["sleep", "1000000"])
            except OSError:
                pass
        """,
        "timeout",
    ),
    "sessions": python(
        """
        while True:
            try:
                if os.fork() == 0:
                    os.setsid()
            except OSError:
                pass
        """,
        "timeout",
        "memory",
    ),
    "runs_from_killers": python(
        """
        # Each process lives for a moment only, so that a list of them is always out of date.
        while True:
            try:
                if os.fork():
                    os._exit(0)
            except OSError:
                pass
        """,
        "ok",
        "timeout",
    ),
    "vfork_in_c": c("int main() { for (;;) { if (fork() == 0) for (;;) if (fork() < 0) pause(); } }", "timeout"),
    "node": javascript(
        """
        const { spawn } = require("child_process");
        for (;;) { try { spawn("sleep", ["1000000"]).on("error", () => {}); } catch (error) {} }
        """,
        "timeout",
        "memory",
        "crash",
    ),
}

MEMORY = {
    "list": python("x = []\nwhile True:\n    x.append(bytes(2**20) + b'x')\n", "memory"),
    "one_allocation": python("x = bytearray(2**40)\n", "memory"),
    "integer": python("x = 1 << (2**36)\n", "memory"),
    "many_processes": python(
        """
        for _ in range(20):
            if os.fork() == 0:
                x = b"x" * 2**25
                time.sleep(10**6)
        time.sleep(10**6)
        """,
        "memory",
    ),
    "shared_mapping": python(
        """
        import mmap
        pages = mmap.mmap(-1, 2**32)
        for i in range(0, 2**32, 4096):
            pages[i] = 1
        """,
        "memory",
    ),
    "memfd": python(
        """
        file = os.memfd_create("x")
        while True:
            os.write(file, bytes(2**20))
            managed("memfd")
        """,
        "crash",
    ),
    "system_v": python(
        """
        while True:
            part = libc.shmget(0, 2**24, 0o1777)
            if part < 0:
                break
            managed("shmget")
        """,
        "ok",
    ),
    "message_queues": python(
        """
        while libc.msgget(0, 0o1777) >= 0:
            managed("msgget")
        """,
        "ok",
    ),
    "dev_shm": python("with open('/dev/shm/x', 'wb') as f:\n    while True:\n        f.write(bytes(2**20))\n", "crash"),
    "tmpfs_mapped": python(
        """
        import mmap
        for name in "abcdefgh":
            with open(name, "wb+") as file:
                file.truncate(2**24)
                pages = mmap.mmap(file.fileno(), 2**24)
            for i in range(0, 2**24, 4096):
                pages[i] = 1
        """,
        "crash",
    ),
    "page_tables": python(
        """
        # Reading what was never written costs no page, but the table that leads to it.
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + 3 * [ctypes.c_int] + [ctypes.c_long]
        while True:
            start = libc.mmap(None, 2**42, 1, 0x4022, -1, 0)
            for i in range(0, 2**42, 2**21):
                ctypes.string_at(start + i, 1)
        """,
        "memory",
        "timeout",
        "crash",
    ),
    "pipes": python(
        """
        import fcntl
        pipes = []
        def fill():
            while True:
                try:
                    pipes.append(os.pipe())
                    fcntl.fcntl(pipes[-1][1], 1031, 2**20)
                except OSError:
                    return
                os.set_blocking(pipes[-1][1], False)
                os.write(pipes[-1][1], bytes(2**20))
        fill()
        """,
        "ok",
        "crash",
    ),
    "thread_stacks": c(
        """
        void *deep(void *unused) { char page[1 << 20]; memset(page, 1, sizeof page); return deep(page); }
        int main() { pthread_t t; for (int i = 0; i < 30; i++) pthread_create(&t, 0, deep, 0); pause(); }
        """,
        "memory",
        "crash",
    ),
    "new_in_c": c(
        "int main() { for (;;) { char *p = malloc(1 << 20); if (!p) abort(); memset(p, 1, 1 << 20); } }",
        "memory",
        "crash",
    ),
    "node_buffers": javascript("const x = []; for (;;) x.push(Buffer.alloc(1 << 24, 1));", "memory", "crash"),
    "node_heap": javascript("const x = []; for (;;) x.push(new Array(1000).fill({}));", "memory", "crash", "timeout"),
}

DISK = {
    "big_file": python("with open('x', 'wb') as f:\n    while True:\n        f.write(bytes(2**20))\n", "crash"),
    "many_big_files": python(
        """
        for i in range(10**6):
            with open(str(i), "wb") as file:
                file.write(bytes(2**20))
        """,
        "crash",
    ),
    "empty_files": python("for i in range(10**9):\n    open(str(i), 'w').close()\n", "memory", "timeout"),
    "directories": python("for i in range(10**9):\n    os.mkdir(str(i))\n", "memory", "timeout"),
    "deep_directories": python("while True:\n    os.mkdir('d' * 200)\n    os.chdir('d' * 200)\n", "memory", "timeout"),
    "links": python("open('x', 'w')\nfor i in range(10**9):\n    os.link('x', str(i))\n", "memory", "timeout", "crash"),
    "sparse_file": python("with open('x', 'wb') as f:\n    f.truncate(2**50)\nmanaged('truncate')\n", "crash"),
    "reserved_file": python("os.posix_fallocate(os.open('x', 66), 0, 2**34)\nmanaged('fallocate')\n", "crash"),
    "deleted_but_open": python(
        """
        files = []
        for i in range(60):
            files.append(open("x", "wb"))
            os.unlink("x")
            files[-1].write(bytes(2**21))
        """,
        "crash",
    ),
}

OUTPUT = {
    "lines": python("while True:\n    print('x' * 100)\n", "output"),
    "no_newline": python("while True:\n    sys.stdout.write('x' * 65536)\n", "output"),
    "complaints": python("while True:\n    os.write(2, b'x' * 65536)\n", "output"),
    "both": python("while True:\n    os.write(1, b'x' * 4096)\n    os.write(2, b'x' * 4096)\n", "output"),
    "one_piece": python("print('x' * 2**24)\n", "output"),
    "byte_by_byte": python("while True:\n    os.write(1, b'x')\n", "output", "timeout"),
    "many_writers": python("for _ in range(3):\n    os.fork()\nwhile True:\n    os.write(1, b'x' * 65536)\n", "output"),
    "through_proc": python("while True:\n    open('/proc/self/fd/1', 'wb').write(b'x' * 65536)\n", "output"),
    "yes": shell("yes", "output"),
    "after_the_end": shell("(yes &) ; exit 0", "ok", "output"),
}

ENDLESS = {
    "busy": python("while True:\n    pass\n", "timeout"),
    "asleep": python("time.sleep(10**6)\n", "timeout"),
    "deaf": python(
        """
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        while True:
            pass
        """,
        "timeout",
    ),
    "deaf_in_c": c("int main() { for (int i = 1; i < 65; i++) signal(i, SIG_IGN); for (;;); }", "timeout"),
    "stopped": python("os.kill(os.getpid(), signal.SIGSTOP)\n", "timeout"),
    "holds_the_interpreter": python("x = 9 ** (9 ** 9)\n", "timeout", "memory"),
    "pattern": python("import re\nre.match(r'(a+)+$', 'a' * 60 + 'b')\n", "timeout"),
    "threads": python(
        "for _ in range(8):\n    threading.Thread(target=lambda: sum(iter(int, 1))).start()\n",
        "timeout",
    ),
    "processes_take_turns": python(
        """
        # None of them uses much time by itself.
        while True:
            if (pid := os.fork()) == 0:
                end = time.process_time() + 0.05
                while time.process_time() < end:
                    pass
                os._exit(0)
            os.waitpid(pid, 0)
        """,
        "timeout",
    ),
    "waits_for_a_pipe": python("os.mkfifo('x')\nopen('x')\n", "timeout"),
    "reads_zeros": shell("cat /dev/zero >/dev/null", "timeout"),
    "raises_its_limits": python(
        """
        for limit in (resource.RLIMIT_CPU, resource.RLIMIT_NPROC, resource.RLIMIT_DATA, resource.RLIMIT_FSIZE):
            soft, hard = resource.getrlimit(limit)
            resource.setrlimit(limit, (hard, hard))
            try:
                resource.setrlimit(limit, (hard + 1, hard + 1))
                managed("a higher limit")
            except ValueError:
                pass
        while True:
            pass
        """,
        "timeout",
    ),
}
