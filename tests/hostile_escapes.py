"""Hostile programs that try to escape from the sandbox."""

from hostile import c, python, shell

ESCAPES = {
    "dots": python(
        """
        for depth in range(1, 12):
            attempt(lambda: read("../" * depth + facts["secret_path"]))
            attempt(lambda: os.stat("/proc/self/cwd/" + "../" * depth + facts["witness"]))
        """
    ),
    "symbolic_links": python(
        """
        secret = facts["secret_path"]
        for i, target in enumerate([secret, facts["witness"] + "/new", "/proc/1/root" + secret]):
            attempt(lambda: os.symlink(target, f"link{i}"))
            attempt(lambda: read(f"link{i}"), lambda: open(f"link{i}", "w").write("harm"))
        """
    ),
    "hard_links": python(
        "attempt(lambda: os.link(facts['secret_path'], 'x'), lambda: os.link('/usr/bin/env', '/usr/x'))\n"
    ),
    "root_of_others": python(
        """
        for pid in {1, os.getppid(), facts["parent"], facts["victim"], facts["neighbour"]}:
            attempt(lambda: read(f"/proc/{pid}/root{facts['secret_path']}"))
            attempt(lambda: read(f"/proc/{pid}/cwd/../{facts['secret_path']}"))
        """
    ),
    "descriptors": python(
        """
        for link in glob.glob("/proc/*/fd/*"):
            attempt(lambda: os.listdir(link + "/.."), lambda: os.open("../" * 9 + facts["secret_path"], 0, dir_fd=3))
        """
    ),
    "write_outside": python(
        """
        for path in (facts["witness"] + "/new", facts["witness"] + "/there", facts["secret_path"]):
            attempt(lambda: write(path))
        """
    ),
    "write_the_system": python(
        """
        for path in ("/usr/x", "/usr/bin/env", "/etc/x", "/etc/ld.so.preload", "/x", "/bin/sh", "/lib/x", "/dev/x"):
            attempt(lambda: write(path))
        attempt(lambda: write(sys.executable), lambda: write(os.__file__), lambda: os.rename("/usr", "/usr2"))
        """
    ),
    "mount": python(
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
    "chroot": python("attempt(lambda: managed(os.chroot('/tmp')), lambda: managed(os.chroot('/proc/1/root')))\n"),
    "namespaces": python(
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
    "clone_into_namespaces": c(
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
    "setuid_programs": python(
        """
        for command in (["su", "-c", "id"], ["sudo", "-n", "id"], ["mount"], ["passwd", "-S"], ["newgrp"], ["chsh"]):
            attempt(lambda: subprocess.run(command, capture_output=True, timeout=0.3))
        attempt(lambda: managed(os.setuid(0)), lambda: managed(os.setgid(0)), lambda: managed(os.setgroups([0])))
        for line in open("/proc/self/status"):
            if line.startswith(("CapEff", "CapPrm", "CapBnd", "CapAmb")) and int(line.split()[1], 16):
                managed(line)
        """
    ),
    "own_setuid_file": python(
        """
        def make():
            import shutil
            shutil.copy("/usr/bin/id", "x")
            os.chown("x", 0, 0)
            managed("chown")
        attempt(make, lambda: (os.chmod("x", 0o6755), subprocess.check_output("./x")))
        """
    ),
    "debugging": python(
        """
        for pid in (1, os.getppid(), facts["parent"], facts["victim"]):
            attempt(lambda: managed(syscall(101, 16, pid, 0, 0)))
            buffer = ctypes.create_string_buffer(8)
            vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)
            attempt(lambda: managed(syscall(310, pid, vector, 1, vector, 1, 0)))
        """
    ),
    "device_files": python(
        """
        for device in ((8, 0), (254, 0), (259, 0), (1, 1), (1, 2)):
            attempt(lambda: managed(os.mknod(f"/tmp/d{device}", 0o60600, os.makedev(*device))))
        for path in glob.glob("/dev/*"):
            if path not in ("/dev/zero", "/dev/full", "/dev/random", "/dev/urandom") and os.path.exists(path):
                attempt(lambda: os.read(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 100))
        """
    ),
    "kernel_settings": python(
        """
        for name in ("kernel/core_pattern", "kernel/hostname", "vm/drop_caches", "kernel/modprobe", "fs/file-max"):
            attempt(lambda: write("/proc/sys/" + name, b"1"))
        attempt(lambda: write("/proc/sysrq-trigger", b"c"), lambda: write("/proc/sys/user/max_user_namespaces", b"9"))
        """
    ),
    "control_groups": python(
        """
        attempt(lambda: os.listdir("/sys"), lambda: managed(os.listdir("/sys/fs/cgroup")))
        attempt(lambda: managed(os.makedirs("/sys/fs/cgroup/x")), lambda: write("/sys/fs/cgroup/release_agent"))
        """
    ),
    "file_handles": python(
        """
        handle = ctypes.create_string_buffer(b"\\x08\\0\\0\\0\\1\\0\\0\\0\\2\\0\\0\\0\\0\\0\\0\\0", 16)
        attempt(lambda: managed(syscall(304, os.open("/usr", 0), handle, 0)))
        """
    ),
    "corners_of_the_kernel": python(
        """
        calls = {"bpf": 321, "io_uring_setup": 425, "perf_event_open": 298, "userfaultfd": 323, "kexec_load": 246,
                 "init_module": 175, "open_tree": 428, "fsopen": 430, "move_mount": 429, "pivot_root": 155,
                 "memfd_secret": 447, "fanotify_init": 300, "kcmp": 312, "pidfd_getfd": 438, "acct": 163, "reboot": 169}
        for name, number in calls.items() if os.uname().machine == "x86_64" else ():
            attempt(lambda: managed(f"{name} {syscall(number, 1, 0, 0, 0, 0)}"))
        """
    ),
    "other_numbers": c(
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
    "terminal": c(
        """
        int main() {
            int tty = open("/dev/tty", O_RDWR);
            for (int fd = 0; fd < 8; fd++) if (ioctl(fd, TIOCSTI, "x") == 0) puts("MANAGED type into the terminal");
            if (tty >= 0) puts("MANAGED open the terminal");
        }
        """
    ),
    "capabilities_by_files": shell("cp /usr/bin/id x; setcap cap_sys_admin+ep x && echo MANAGED setcap; ./x"),
}
