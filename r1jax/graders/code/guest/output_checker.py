"""Output checker in the sandbox: a task's own function, applied to the output of a program that has ended.

check.py in the working directory defines `check(input, expected, output)`; the three are on standard input, as JSON.
Prints true or false.
"""

import json
import os
import sys


def main() -> None:
    report = os.dup(1)
    os.dup2(2, 1)  # so that output of the checker is no verdict
    arguments = json.load(sys.stdin)
    from check import check

    try:
        passed = bool(check(arguments["input"], arguments["expected"], arguments["output"]))
    except Exception:  # an output that the checker cannot parse
        passed = False
    os.write(report, json.dumps(passed).encode())
