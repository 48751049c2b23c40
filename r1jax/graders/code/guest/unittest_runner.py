"""Runs a module of unittest's tests and reports the names of those that passed.

The report opens with a code that came on standard input, so that what a program prints is no report. Everything runs in
one process: see `r1jax.graders.code.unittests` for what that leaves open.
"""

import json
import os
import sys
import types
import unittest
import unittest.case
import unittest.mock
import unittest.suite


class _Passed(unittest.TestResult):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def addSuccess(self, test: unittest.TestCase) -> None:  # not called for skipped tests
        super().addSuccess(test)
        self.names.append(test.id())


def _shape() -> list[tuple[str, int]]:
    """What unittest is made of, down to its functions' code: it is not to be what the program made of it."""
    found = []
    for module in (unittest, unittest.case, unittest.suite, unittest.result, unittest.loader):
        for name, thing in sorted(vars(module).items(), key=lambda pair: pair[0]):
            members = vars(thing).items() if isinstance(thing, type) else [("", thing)]
            for member, value in members:
                code = getattr(value, "__code__", value) if isinstance(value, types.FunctionType) else value
                if not member.startswith("__") and not isinstance(value, types.ModuleType | list | dict):
                    found.append((f"{module.__name__}.{name}.{member}", id(code)))
    return found


def main() -> None:
    report = os.dup(1)
    os.dup2(2, 1)
    code, module = sys.stdin.readline().strip(), sys.argv[1]
    before = _shape()
    suite = unittest.defaultTestLoader.loadTestsFromName(module)
    result = _Passed()
    suite.run(result)
    whole = result.wasSuccessful() and _shape() == before
    os.write(report, (code + json.dumps({"whole": whole, "passed": result.names})).encode())
