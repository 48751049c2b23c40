"""Hostile programs that reach outside the sandbox: network, secrets, other processes, later programs."""

from hostile import javascript, python, shell

NETWORK = {
    "tcp_to_this_machine": python(
        """
        for host in ("127.0.0.1", "0.0.0.0", "localhost", facts["address"]):
            attempt(lambda host=host: socket.create_connection((host, facts["tcp"]), 0.5).send(b"harm"))
        """
    ),
    "udp_to_this_machine": python(
        """
        for host in ("127.0.0.1", facts["address"]):
            attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"harm", (host, facts["udp"])))
        """
    ),
    "tcp_to_the_world": python("attempt(lambda: managed(socket.create_connection(('1.1.1.1', 53), 0.5)))\n"),
    "ipv6": python("attempt(lambda: socket.create_connection(('::1', facts['tcp']), 0.5).send(b'harm'))\n"),
    "names": python("attempt(lambda: managed(socket.getaddrinfo('example.com', 80)))\n"),
    "unix_socket": python(
        """
        def call():
            client = socket.socket(socket.AF_UNIX)
            client.connect(facts["unix"])
            client.send(b"harm")
        attempt(call)
        """
    ),
    "abstract_socket": python(
        """
        def call():
            client = socket.socket(socket.AF_UNIX)
            client.connect("\\0" + facts["abstract"])
            client.send(b"harm")
        attempt(call)
        """
    ),
    "raw": python(
        """
        attempt(lambda: managed(socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)))
        attempt(lambda: managed(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)))
        """
    ),
    "other_families": python(
        """
        for family in (socket.AF_NETLINK, socket.AF_VSOCK, socket.AF_ALG, socket.AF_CAN, socket.AF_BLUETOOTH):
            attempt(lambda: managed(socket.socket(family, socket.SOCK_RAW)))
            attempt(lambda: managed(socket.socket(family, socket.SOCK_SEQPACKET)))
        """
    ),
    "shell": shell(". ./facts.sh; bash -c 'echo harm >/dev/tcp/127.0.0.1/'$tcp; curl -m 1 http://127.0.0.1:$tcp/harm"),
    "node": javascript(
        """
        const facts = JSON.parse(require("fs").readFileSync(0));
        const client = require("net").connect(facts.tcp, "127.0.0.1", () => client.write("harm"));
        client.on("error", (error) => console.log("refused", error.code));
        setTimeout(() => process.exit(0), 300);
        """
    ),
}

SECRETS = {
    "environment": python("print(dict(os.environ))\n"),
    "environments_of_others": python(
        """
        for path in glob.glob("/proc/[0-9]*/environ") + [f"/proc/{facts['parent']}/environ"]:
            attempt(lambda: read(path))
        """
    ),
    "command_lines": python("for path in glob.glob('/proc/[0-9]*/cmdline'):\n    attempt(lambda: read(path))\n"),
    "the_file": python("attempt(lambda: read(facts['secret_path']))\n"),
    "home": python(
        """
        for root in (facts["home"], "/root", "/home", os.path.expanduser("~")):
            attempt(lambda: list(os.walk(root))[:100])
        for name in (".bashrc", ".ssh/id_rsa", ".netrc", ".bash_history"):
            attempt(lambda: managed(read(os.path.join(facts["home"], name))))
        """
    ),
    "accounts": python(
        "for name in ('passwd', 'shadow', 'sudoers', 'hosts', 'machine-id', 'ssh/ssh_host_rsa_key'):\n"
        "    attempt(lambda: managed(read('/etc/' + name)))\n"
    ),
    "repository": python(
        """
        attempt(lambda: managed(os.listdir(facts["repository"])))
        attempt(lambda: managed(read(facts["repository"] + "/setup.py")))
        attempt(lambda: managed(__import__("r1jax")))
        sys.path.append(facts["repository"])
        attempt(lambda: managed(__import__("r1jax")))
        """
    ),
    "all_files": shell(
        "cat /dev/shm/* /tmp/* /var/tmp/* /run/*/* /mnt/* /srv/* /etc/* /opt/*/* /home/*/* 2>&1", "crash"
    ),
    "grep": shell(
        "grep -rs r1jax-secret / --exclude-dir=usr --exclude-dir=proc --exclude-dir=lib | head -c 5000; exit 0"
    ),
    "other_runs_files": python(
        """
        attempt(lambda: read("/tmp/neighbour.txt"))
        for path in glob.glob("/proc/*/root/tmp/*") + glob.glob("/proc/*/cwd/*") + glob.glob("/tmp/*"):
            if not path.endswith(("program", "facts.sh")):
                attempt(lambda: read(path))
        attempt(lambda: read(f"/proc/{facts['neighbour']}/root/tmp/neighbour.txt"))
        """
    ),
    "open_files": python(
        """
        for number in [*range(3, 1024)]:
            try:
                os.fstat(number)
            except OSError:
                continue
            attempt(lambda: os.pread(number, 5000, 0), lambda: os.listdir(number), lambda: os.read(number, 5000))
        """
    ),
    "memory_of_others": python(
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
    "kernel": python(
        """
        for path in ("/proc/kcore", "/proc/kmsg", "/dev/kmsg", "/dev/mem", "/sys/kernel/debug", "/proc/keys"):
            attempt(lambda: managed(read(path)[:100]) if len(read(path)) else None)
        attempt(lambda: managed(syscall(103, 3, ctypes.create_string_buffer(4096), 4096)))
        """
    ),
    "keyrings": python(
        "attempt(lambda: managed(syscall(250, 0, -4, 1)), lambda: managed(syscall(250, 11, -4, 0, 0)))\n"
    ),
}

LEFT_BEHIND = {
    "session": python("if os.fork() == 0:\n    os.setsid()\n    time.sleep(1000)\n", "ok"),
    "daemon": python(
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
    "nohup": shell("nohup sleep 1000 >/dev/null 2>&1 & exit 0", "ok"),
    "zombies": python("for _ in range(10):\n    if os.fork() == 0:\n        os._exit(0)\n", "ok"),
    "deaf_child": python(
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
    "stopped_child": python("if os.fork() == 0:\n    os.kill(os.getpid(), signal.SIGSTOP)\n", "ok"),
    "holds_the_pipe": python("if os.fork() == 0:\n    time.sleep(1000)\nprint('done')\n", "ok"),
    "busy_child": python("if os.fork() == 0:\n    while True:\n        print('x')\n", "ok", "output"),
    "many": python(
        "for _ in range(20):\n    if os.fork() == 0:\n        os.setsid()\n        time.sleep(1000)\n", "ok"
    ),
    "asks_for_life": python(
        """
        if os.fork() == 0:
            attempt(lambda: libc.prctl(1, 0), lambda: libc.prctl(36, 1))
            attempt(lambda: write("/proc/self/oom_score_adj", b"-1000"))
            time.sleep(1000)
        """
    ),
}

POISON = {
    "packages": python(
        """
        import sysconfig
        for directory in {*sys.path, *sysconfig.get_paths().values()}:
            for name in ("sitecustomize.py", "x.pth", "json.py", "__pycache__/x.pyc"):
                attempt(lambda: write(os.path.join(directory, name), b"print('poison')"))
        """
    ),
    "user_packages": python(
        """
        for home in (facts["home"], os.path.expanduser("~")):
            directory = pathlib.Path(home, ".local/lib/python3.11/site-packages")
            attempt(lambda: directory.mkdir(parents=True))
            attempt(lambda: (directory / "usercustomize.py").write_text("print(1)"))
            attempt(lambda: pathlib.Path(home, ".bashrc").write_text("echo poison"))
            attempt(lambda: pathlib.Path(home, ".pythonrc").write_text("print(1)"))
        """
    ),
    "temporary_files": python(
        """
        for name in ("random.py", "json.py", "os.py", "left"):
            pathlib.Path("/tmp", name).write_text("print('poison')")
            attempt(lambda: pathlib.Path("/dev/shm", name).write_text("poison"))
            attempt(lambda: pathlib.Path("/var/tmp", name).write_text("poison"))
        """
    ),
    "own_files": python(
        """
        attempt(lambda: write("program"), lambda: os.unlink("program"), lambda: os.rename("program", "x"))
        attempt(lambda: os.chmod("program", 0o777), lambda: os.truncate("program", 0), lambda: write("/stdin"))
        attempt(lambda: managed(os.write(0, b"harm")), lambda: write("/proc/self/fd/0"))
        """
    ),
    "limits_of_others": python(
        """
        for pid in (1, os.getppid(), facts["parent"], facts["victim"]):
            attempt(lambda: resource.prlimit(pid, resource.RLIMIT_CPU, (1, 1)), lambda: os.setpriority(0, pid, 19))
            attempt(lambda: os.sched_setaffinity(pid, {0}))
        attempt(lambda: os.setpriority(os.PRIO_USER, 0, 19), lambda: managed(os.nice(-5)))
        attempt(lambda: managed(os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))))
        """
    ),
    "clock": python(
        """
        attempt(lambda: managed(time.clock_settime(time.CLOCK_REALTIME, 0)))
        attempt(lambda: managed(subprocess.run(["date", "-s", "2001-01-01"], check=True, capture_output=True)))
        """
    ),
    "names": python(
        "attempt(lambda: managed(socket.sethostname('poison')), lambda: subprocess.run(['hostname', 'poison']))\n"
    ),
    "caches": shell(
        "echo poison >/etc/ld.so.cache; ldconfig; mkdir -p /tmp/__pycache__; echo x >/tmp/__pycache__/program.pyc"
    ),
    "terminal_settings": shell("stty raw -echo </dev/tty; stty raw; tput reset; printf '\\033c\\033]0;poison\\007'"),
}

SIGNALS = {
    "everyone": python("os.kill(-1, signal.SIGKILL)\n"),
    "init": python("for n in (9, 15, 19, 1):\n    attempt(lambda: os.kill(1, n))\n"),
    "group": python("os.killpg(0, signal.SIGKILL)\n"),
    "the_victim": python("for n in (9, 15, 19):\n    attempt(lambda: os.kill(facts['victim'], n))\n"),
    "the_parent": python(
        "for pid in (facts['parent'], os.getppid(), facts['neighbour']):\n    attempt(lambda: os.kill(pid, 9))\n"
    ),
    "all_numbers": python(
        """
        for pid in range(2, 2**22):
            if pid != os.getpid():
                libc.kill(pid, 9)
        """,
        "ok",
        "crash",
        "timeout",
    ),
    "stops_all": python("os.kill(-1, signal.SIGSTOP)\nos.kill(os.getppid(), signal.SIGSTOP)\ntime.sleep(0.1)\n"),
    "by_descriptor": python(
        """
        for pid in (1, facts["parent"], facts["victim"], facts["neighbour"]):
            attempt(lambda: signal.pidfd_send_signal(os.pidfd_open(pid), 9))
        """
    ),
}
