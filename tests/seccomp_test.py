"""System call filter: its table against the kernel's headers, its decisions in an interpreter of BPF."""

import errno
import pathlib
import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1jax.sandbox import seccomp

HEADERS = {"x86_64": "/usr/include/*/asm/unistd_64.h", "aarch64": "/usr/include/asm-generic/unistd.h"}


@pytest.mark.parametrize(("machine", "column"), [("x86_64", 0), ("aarch64", 1)])
def test_system_call_numbers_equal_the_kernels(machine, column):
    headers = list(pathlib.Path("/").glob(HEADERS[machine].lstrip("/")))
    if not headers:
        pytest.skip("no kernel headers here: sudo apt-get install linux-libc-dev")
    known = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", headers[0].read_text()))
    rules = {name: rule.numbers for name, rule in seccomp.RULES.items()}
    table = {**seccomp.REFUSED, **seccomp.UNSUPPORTED, **seccomp.ABSENT, **rules}
    table_numbers = {
        name: numbers[column] if numbers[column] is None else str(numbers[column]) for name, numbers in table.items()
    }
    assert table_numbers == {name: known.get(name) for name in table}


def decide(program: bytes, arch: int, number: int, place: int, argument: int) -> int:
    """A filter's decision, by the rules of BPF."""
    code = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    data, at, value = {offset: 0 for offset in range(16, 64, 8)} | {0: number, 4: arch, 16 + 8 * place: argument}, 0, 0
    while True:
        kind, yes, no, constant = code[at]
        if kind == 0x06:
            return constant
        if kind == 0x20:
            value = data[constant]
        elif kind == 0x54:
            value &= constant
        else:
            holds = {0x15: value == constant, 0x35: value >= constant}[kind]
            at += yes if holds else no
        at += 1


ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, KILL = 0x7FFF0000, 0x80000000


TABLES = [(seccomp.REFUSED, errno.EPERM), (seccomp.UNSUPPORTED, errno.EINVAL), (seccomp.ABSENT, errno.ENOSYS)]
ARGUMENTS = st.integers(0, 100) | st.sampled_from([1031, 0x21, 0x22, 0x40022]) | st.integers(0, 2**32 - 1)


@given(st.sampled_from(sorted(ARCHES)), st.integers(0, 500) | st.integers(0, 2**32 - 1), ARGUMENTS)
def test_the_filter_refuses_its_calls_and_no_others(machine, number, argument):
    column = sorted(ARCHES, reverse=True).index(machine)
    refused = {numbers[column]: error for table, error in TABLES for numbers in table.values()}
    rule = {rule.numbers[column]: rule for rule in seccomp.RULES.values()}.get(number)
    expected = ALLOW
    if machine == "x86_64" and number >= 2**30:
        expected = 0x50000 | errno.ENOSYS
    elif number in refused:
        expected = 0x50000 | refused[number]
    elif rule and rule.refuses(argument):
        expected = 0x50000 | rule.error
    place = rule.argument if rule else 0
    assert decide(seccomp.program(machine), ARCHES[machine], number, place, argument) == expected
    assert decide(seccomp.program(machine), 0x40000003, number, place, argument) == KILL  # 32-bit calls by int 0x80


@pytest.mark.parametrize(
    ("call", "argument", "refused"),
    [
        ("mmap", 0x21, True),  # MAP_SHARED | MAP_ANONYMOUS
        ("mmap", 0x4023, True),  # MAP_SHARED_VALIDATE | MAP_ANONYMOUS | MAP_NORESERVE
        ("mmap", 0x40022, True),  # MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB
        ("mmap", 0x01, False),  # MAP_SHARED, of a file
        ("mmap", 0x20022, False),  # MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK
        ("clone", 0x11, False),  # a process
        ("clone", 0x3D0F00, False),  # a thread
        ("clone", 0x10000011, True),  # CLONE_NEWUSER
        ("socket", 1, False),
        ("socket", 2, True),
        ("madvise", 4, False),  # MADV_DONTNEED
        ("madvise", 14, True),
    ],
)
def test_rules_decide_about_known_arguments(call, argument, refused):
    assert seccomp.RULES[call].refuses(argument) == refused


def test_a_machine_without_a_table_gets_no_filter():
    assert seccomp.program("riscv64") is None
