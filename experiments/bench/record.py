"""A timed command of run.sh: its result, and how busy others kept the cores meanwhile, as a line of JSON.

    python experiments/bench/record.py RESULTS ROUND WORK TRAINER -- COMMAND ...

COMMAND gets `--json=FILE` and appends a line to FILE. Where others took more than a sixteenth of the cores' time, the
row is not clean, and the table leaves it out: torch has been seen ten times slower beside one busy process.
"""

import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

CLEAN = 1 / 16


def busy_seconds() -> float:
    """Seconds that all cores together have not been idle, since the machine started."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _, _, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """Processor seconds of this process and of the children that have ended."""
    usages = [resource.getrusage(processes) for processes in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> int:
    results, number, work, trainer, separator, *command = sys.argv[1:]
    if separator != "--" or not command:
        raise SystemExit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        line = pathlib.Path(folder, "result.jsonl")
        began, busy, own = time.monotonic(), busy_seconds(), own_seconds()
        done = subprocess.run([*command, f"--json={line}"], stdout=subprocess.DEVNULL)
        elapsed = time.monotonic() - began
        others = (busy_seconds() - busy - (own_seconds() - own)) / (elapsed * (os.cpu_count() or 1))
        result = json.loads(line.read_text("utf-8")) if done.returncode == 0 else None
    row = {
        "round": int(number),
        "work": work,
        "trainer": trainer,
        "status": done.returncode,
        "seconds": elapsed,
        "others": others,
        "clean": done.returncode == 0 and others < CLEAN,
        "result": result,
    }
    with open(results, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    step = f"a step {result['step_s']:.2f} s" if result else f"failed with status {done.returncode}"
    print(
        f"{work}, {trainer}, round {number}: {step}; others took {others:.1%} of the cores; {elapsed:.0f} s", flush=True
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
