"""The mini world's problems, those held out: sums, divisors and relatives in English and Chinese."""

from r1jax.benchmarks.benchmark import Benchmark, Row


def by_language(row: Row) -> Row:
    return {**row, "subject": row["language"]}


BENCHMARK = Benchmark("Mini world: problems", "logic", "maths", "reasoning_test.jsonl", prepare=by_language, votes=True)
