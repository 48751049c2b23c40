"""The mini world's open requests, those held out: replies without a score, for readers and reward models."""

from r1jax.benchmarks.benchmark import Benchmark, Row


def without_answer(row: Row) -> Row | None:
    return {**row, "subject": row["kind"]} if row["grader"] == "open" else None


BENCHMARK = Benchmark("Mini world: open requests", "logic", "open", "general_test.jsonl", prepare=without_answer)
