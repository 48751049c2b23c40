"""Asks a task's own checker about one output, where the program that printed it is long gone.

check.py beside it defines `check(input, expected, output)`; the three are on standard input, as JSON. Prints true or
false.
"""

import json
import os
import sys


def main() -> None:
    report = os.dup(1)
    os.dup2(2, 1)  # what the checker prints is no verdict
    told = json.load(sys.stdin)
    from check import check

    try:
        passed = bool(check(told["input"], told["expected"], told["output"]))
    except Exception:  # an output that it cannot even read
        passed = False
    os.write(report, json.dumps(passed).encode())
