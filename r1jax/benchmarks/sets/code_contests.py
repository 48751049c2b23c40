"""CodeContests (Li et al., Science 378, 2022): 165 contest problems of the test split, for standard input.

Original: `deepmind/code_contests` (name, description, public_tests, private_tests, generated_tests: {input, output},
time_limit {seconds, nanos}, memory_limit_bytes). Problems with several right outputs have no checkers there.
"""

from r1jax.benchmarks.benchmark import Benchmark, Row

INSTRUCTION = "{prompt}\n\nGive one complete Python program that reads standard input, in one ```python code block."


def adapt(row: Row) -> Row:
    cases = [
        {"input": stdin, "output": stdout}
        for kind in ("public_tests", "private_tests", "generated_tests")
        for stdin, stdout in zip(row[kind]["input"], row[kind]["output"], strict=True)
    ]
    limit = row.get("time_limit") or {}
    return {
        "id": row["name"],
        "prompt": row["description"],
        "answer": "",
        "tests": cases,
        "time_limit_s": (limit.get("seconds") or 0) + (limit.get("nanos") or 0) / 1e9,
        "memory_limit_mb": (row.get("memory_limit_bytes") or 0) // 2**20,
    }


BENCHMARK = Benchmark(
    "CodeContests",
    "code",
    "code",
    "code_contests/test.jsonl",
    adapt,
    instruction=INSTRUCTION,
    hub="deepmind/code_contests:test",
    licence="CC BY 4.0",
)
