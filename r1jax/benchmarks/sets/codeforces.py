"""Codeforces problems: pass@1, and from problems' ratings an expected rating and its percentile.

Original: `open-r1/codeforces` (id, title, description, input_format, output_format, note, time_limit, memory_limit,
official_tests, rating, generated_checker). r1jax's copy (CodeElo's problems) has sample tests and no ratings:
pass@1 alone.
"""

from r1jax.benchmarks.benchmark import Benchmark, Row
from r1jax.benchmarks.codeforces_rating import figures
from r1jax.benchmarks.sets.code_contests import INSTRUCTION


def adapt(row: Row) -> Row | None:
    parts = [
        row["description"],
        "Input:\n" + (row.get("input_format") or ""),
        "Output:\n" + (row.get("output_format") or ""),
        row.get("note") or "",
    ]
    if row.get("interaction_format") or not row["official_tests"]:
        return None  # talks with a judge, or has nothing to be graded by
    return {
        "id": row["id"],
        "prompt": f"{row['title']}\n\n" + "\n\n".join(filter(None, parts)),
        "answer": "",
        "tests": row["official_tests"],
        "rating": row.get("rating"),
        "time_limit_s": row.get("time_limit"),
        "memory_limit_mb": row.get("memory_limit"),
    }


def prepare(row: Row) -> Row:
    return {key: value for key, value in row.items() if value is not None}


BENCHMARK = Benchmark(
    "Codeforces",
    "code",
    "code",
    "codeforces/test.jsonl",
    adapt,
    prepare,
    INSTRUCTION,
    metric="rating",
    summarize=figures,
    hub="open-r1/codeforces:default:test",
    licence="CC BY 4.0",
)
