"""The system calls that a program in the sandbox may not use, as a filter that the kernel applies (seccomp BPF).

Refused are calls that take memory which no process's size shows, that reach into other processes or that make new
namespaces, and the parts of the kernel where most of its holes have been. So is setsid: Linux shares its cores among
sessions, and thirty of them left those who watch the clock so little that half a second became eighteen. Everything
else is allowed: this is a net below the sandbox's own walls, not the wall.
"""

import errno
import struct

# Name: (number on x86-64, on arm64), from the kernel's unistd headers.
REFUSED = {
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
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
# These depend on their first argument.
_CLONE, _CLONE3 = (56, 220), (435, 435)
_SOCKET, _SOCKETPAIR = (41, 198), (53, 199)
_NEW_NAMESPACE = 0x7E020000  # every CLONE_NEW* flag that clone takes
_AF_UNIX = 1

# What os.uname calls a machine: its column above and its AUDIT_ARCH number.
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7), "arm64": (1, 0xC00000B7)}
_X32 = 0x40000000  # x86-64's second set of numbers begins here

_LOAD, _JUMP_EQUAL, _JUMP_ATLEAST, _JUMP_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _ARGUMENT = 0, 4, 16  # offsets into struct seccomp_data; the argument's low half
_ALLOW, _KILL = 0x7FFF0000, 0x80000000


def program(machine: str) -> bytes | None:
    """The filter for `bwrap --seccomp`, an array of struct sock_filter; None for a machine without a table.

    Args:
        machine: as os.uname names it.
    """
    if machine not in _MACHINES:
        return None
    column, arch = _MACHINES[machine]
    code = [(_LOAD, 0, 0, _ARCH), (_JUMP_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _NUMBER)]
    if column == 0:
        code += [(_JUMP_ATLEAST, 0, 1, _X32), (_RETURN, 0, 0, _refusal(errno.ENOSYS))]
    for numbers in REFUSED.values():
        code += [(_JUMP_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, _refusal(errno.EPERM))]
    # clone3 keeps its flags in memory, where a filter cannot look: libraries then fall back to clone.
    code += [(_JUMP_EQUAL, 0, 1, _CLONE3[column]), (_RETURN, 0, 0, _refusal(errno.ENOSYS))]
    code += [(_JUMP_EQUAL, 0, 4, _CLONE[column]), (_LOAD, 0, 0, _ARGUMENT), (_JUMP_BITS, 0, 1, _NEW_NAMESPACE)]
    code += [(_RETURN, 0, 0, _refusal(errno.EPERM)), (_RETURN, 0, 0, _ALLOW)]
    for numbers in (_SOCKET, _SOCKETPAIR):
        code += [(_JUMP_EQUAL, 0, 4, numbers[column]), (_LOAD, 0, 0, _ARGUMENT), (_JUMP_EQUAL, 1, 0, _AF_UNIX)]
        code += [(_RETURN, 0, 0, _refusal(errno.EAFNOSUPPORT)), (_RETURN, 0, 0, _ALLOW)]
    code += [(_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *line) for line in code)


def _refusal(error: int) -> int:
    return 0x00050000 | error
