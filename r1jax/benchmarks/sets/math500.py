"""MATH-500 (arXiv 2305.20050): 500 problems of MATH's test set, five levels, seven subjects.

Original: `HuggingFaceH4/MATH-500` (problem, solution, answer, subject, level, unique_id).
"""

from r1jax.benchmarks.benchmark import BOXED, Benchmark, Row


def adapt(row: Row) -> Row:
    return {"id": row.get("unique_id"), "prompt": row["problem"], "answer": row["answer"], "subject": row["subject"]}


BENCHMARK = Benchmark(
    "MATH-500",
    "maths",
    "maths",
    "math500/test.jsonl",
    adapt,
    instruction=BOXED,
    votes=True,
    hub="HuggingFaceH4/MATH-500:test",
    licence="MIT",
)
