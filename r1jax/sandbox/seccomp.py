"""System call filter of the sandbox (seccomp BPF): the refused calls and the program that the kernel runs.

Refused are calls that take memory which no process's size includes, that reach into other processes or that make new
namespaces, and the parts of the kernel where most of its vulnerabilities have been. So is setsid: Linux shares its
cores among sessions, and thirty of them left the supervisor so little that half a second became eighteen. Everything
else is allowed: the filter is a second line of defence behind the namespaces.
"""

import dataclasses
import errno
import struct

# Name: (number on x86-64, on arm64; None where it has none), from the kernel's unistd headers.
REFUSED = {
    # Memory that no process's size includes.
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "io_setup": (206, 0),
    "inotify_init": (253, None),  # its queues hold up to 600 MiB of file names
    "inotify_init1": (294, 26),
    "mbind": (237, 235),  # a policy for each page of a file, kept with the file
    "landlock_create_ruleset": (444, 444),
    "seccomp": (317, 277),
    "process_madvise": (440, 440),  # does what `madvise` is refused below
    # Vulnerable parts of the kernel, other processes, namespaces.
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "setsid": (112, 157),
}
# These attach a page to a pipe or a socket for the price of a byte; programs have fallbacks for when they fail.
UNSUPPORTED = {"splice": (275, 76), "tee": (276, 77), "vmsplice": (278, 75), "sendfile": (40, 71)}
# Its flags are in memory, which a filter cannot read: libraries then fall back to clone.
ABSENT = {"clone3": (435, 435)}


@dataclasses.dataclass(frozen=True)
class Rule:
    """A call that is refused depending on one of its arguments, of which a filter sees the low half.

    Attributes:
        numbers: of the call, on x86-64 and on arm64.
        argument: index of the argument, from 0.
        error: errno that a refused call fails with.
        values: refused values of the argument.
        all_others: refuse all values but these instead.
        bits: an argument with all the bits of one of these is refused too.
    """

    numbers: tuple[int, int]
    argument: int
    error: int
    values: tuple[int, ...] = ()
    all_others: bool = False
    bits: tuple[int, ...] = ()

    def refuses(self, value: int) -> bool:
        """Whether a call with this argument fails."""
        if any(value & bits == bits for bits in self.bits):
            return True
        return (value in self.values) != self.all_others if self.values else False


_NEW_NAMESPACES = tuple(1 << bit for bit in (17, 25, 26, 27, 28, 29, 30))  # every CLONE_NEW* flag that clone takes
_AF_UNIX = 1
_MAP_SHARED_ANONYMOUS, _MAP_HUGETLB = 0x01 | 0x20, 0x40000
_MADV_HUGEPAGE, _MADV_COLLAPSE = 14, 25
_F_SETPIPE_SZ, _F_OFD_SETLK, _F_OFD_SETLKW = 1031, 37, 38
_SO_SNDBUF, _SO_ATTACH_FILTER, _SO_SNDBUFFORCE = 7, 26, 32
_PR_SET_SECCOMP, _PR_SCHED_CORE, _PR_FUTEX_HASH = 22, 62, 78

RULES = {
    "clone": Rule((56, 220), 0, errno.EPERM, bits=_NEW_NAMESPACES),
    "socket": Rule((41, 198), 0, errno.EAFNOSUPPORT, (_AF_UNIX,), all_others=True),
    "socketpair": Rule((53, 199), 0, errno.EAFNOSUPPORT, (_AF_UNIX,), all_others=True),
    # Shared pages that were dropped count nowhere, nor do huge pages of the pool that the host reserved.
    "mmap": Rule((9, 222), 3, errno.ENOMEM, bits=(_MAP_SHARED_ANONYMOUS, _MAP_HUGETLB)),
    # A huge page of which one small page is left counts as that one.
    "madvise": Rule((28, 233), 2, errno.EINVAL, (_MADV_HUGEPAGE, _MADV_COLLAPSE)),
    # Pipes keep their first size. Locks of open files are listed in every sandbox, whichever process holds them.
    "fcntl": Rule((72, 25), 1, errno.EPERM, (_F_SETPIPE_SZ, _F_OFD_SETLK, _F_OFD_SETLKW)),
    # Sockets keep the size by which they are counted (`r1jax.sandbox.resource_usage`).
    "setsockopt": Rule((54, 208), 2, errno.EPERM, (_SO_SNDBUF, _SO_ATTACH_FILTER, _SO_SNDBUFFORCE)),
    # A gigabyte of futexes in one call; filters of its own; cores of its own.
    "prctl": Rule((157, 167), 0, errno.EINVAL, (_PR_SET_SECCOMP, _PR_SCHED_CORE, _PR_FUTEX_HASH)),
}

# Machine, as os.uname names it: its column above and its AUDIT_ARCH number.
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7), "arm64": (1, 0xC00000B7)}
_X32 = 0x40000000  # where x86-64's second set of numbers begins

_LOAD, _AND, _JUMP_EQUAL, _JUMP_ATLEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets into struct seccomp_data; arguments take 8 bytes, the low half first
_ALLOW, _KILL = 0x7FFF0000, 0x80000000

_Instruction = tuple[int, int, int, int]


def program(machine: str) -> bytes | None:
    """The filter for `bwrap --seccomp`, an array of struct sock_filter; None for a machine without a table.

    Args:
        machine: as os.uname names it.
    """
    if machine not in _MACHINES:
        return None
    column, arch = _MACHINES[machine]
    # Calls of another architecture end the process.
    code = [(_LOAD, 0, 0, _ARCH), (_JUMP_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _NUMBER)]
    if column == 0:
        code += [(_JUMP_ATLEAST, 0, 1, _X32), _refusal(errno.ENOSYS)]
    for table, error in ((REFUSED, errno.EPERM), (UNSUPPORTED, errno.EINVAL), (ABSENT, errno.ENOSYS)):
        for numbers in table.values():
            if numbers[column] is not None:
                code += [(_JUMP_EQUAL, 0, 1, numbers[column]), _refusal(error)]
    for rule in RULES.values():
        body = _body(rule)
        code += [(_JUMP_EQUAL, 0, len(body), rule.numbers[column]), *body]
    code += [(_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *line) for line in code)


def _body(rule: Rule) -> list[_Instruction]:
    """The instructions that decide about a call with a rule's number."""
    load = (_LOAD, 0, 0, _ARGUMENTS + 8 * rule.argument)
    code = [load]
    for value in rule.values:
        code += [(_JUMP_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW) if rule.all_others else _refusal(rule.error)]
    for bits in rule.bits:
        code += [load, (_AND, 0, 0, bits), (_JUMP_EQUAL, 0, 1, bits), _refusal(rule.error)]
    return [*code, _refusal(rule.error) if rule.all_others else (_RETURN, 0, 0, _ALLOW)]


def _refusal(error: int) -> _Instruction:
    return _RETURN, 0, 0, 0x00050000 | error
