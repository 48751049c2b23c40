"""The mini world's requests with one answer, those held out: small facts and translations.

Open ones (greetings, writing) have no right answer; they are left out here and scored by reward models in RL.
"""

from r1jax.benchmarks.benchmark import Benchmark, Row


def graded(row: Row) -> Row | None:
    return {**row, "subject": row["kind"]} if row["grader"] == "exact" else None


BENCHMARK = Benchmark("Mini world: requests", "logic", "exact", "general_test.jsonl", prepare=graded, votes=True)
