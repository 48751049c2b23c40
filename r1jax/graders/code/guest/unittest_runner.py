"""Runner of a unittest module, which reports the names of the tests that passed.

The report begins with a secret from standard input, so that a program's output is no report. Everything runs in one
process: see `r1jax.graders.code.unittest_grader` for what that does not prevent.
"""

import json
import os
import sys
import types
import unittest
import unittest.case
import unittest.mock
import unittest.suite


class _PassedTests(unittest.TestResult):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def addSuccess(self, test: unittest.TestCase) -> None:  # not called for skipped tests
        super().addSuccess(test)
        self.names.append(test.id())


def _unittest_members() -> list[tuple[str, int]]:
    """(name, identity) of all members of unittest's modules and classes, by which changes are detected."""
    identities = []
    for module in (unittest, unittest.case, unittest.suite, unittest.result, unittest.loader):
        for name, attribute in sorted(vars(module).items(), key=lambda pair: pair[0]):
            members = vars(attribute).items() if isinstance(attribute, type) else [("", attribute)]
            for member, value in members:
                code = getattr(value, "__code__", value) if isinstance(value, types.FunctionType) else value
                if not member.startswith("__") and not isinstance(value, types.ModuleType | list | dict):
                    identities.append((f"{module.__name__}.{name}.{member}", id(code)))
    return identities


def main() -> None:
    report = os.dup(1)
    os.dup2(2, 1)
    secret, module = sys.stdin.readline().strip(), sys.argv[1]
    before = _unittest_members()
    suite = unittest.defaultTestLoader.loadTestsFromName(module)
    result = _PassedTests()
    suite.run(result)
    is_intact = result.wasSuccessful() and _unittest_members() == before
    os.write(report, (secret + json.dumps({"whole": is_intact, "passed": result.names})).encode())
