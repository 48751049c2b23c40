"""The mini world's requests with instructions that a program verifies, those held out; of its harder form alone."""

from r1jax.benchmarks.benchmark import Benchmark, Row
from r1jax.benchmarks.sets import ifeval


def verifiable(row: Row) -> Row | None:
    return {**row, "subject": f"level {row['level']}"} if row["grader"] == "ifeval" else None


BENCHMARK = Benchmark(
    "Mini world: instructions",
    "logic",
    "ifeval",
    "general_test.jsonl",
    prepare=verifiable,
    metric="prompt_strict",
    summarize=ifeval.figures,
)
