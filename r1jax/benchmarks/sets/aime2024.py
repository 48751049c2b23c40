"""AIME 2024: the 30 problems of both papers, each with an integer from 0 to 999 for an answer.

Originals: `HuggingFaceH4/aime_2024` (problem, answer), `Maxwell-Jia/AIME_2024` (Problem, Answer).
"""

from r1jax.benchmarks.benchmark import BOXED, Benchmark, Row


def adapt(row: Row) -> Row:
    row = {key.lower(): value for key, value in row.items()}
    return {"id": row.get("id"), "prompt": row["problem"], "answer": str(row["answer"])}


BENCHMARK = Benchmark(
    "AIME 2024",
    "maths",
    "maths",
    "aime2024/test.jsonl",
    adapt,
    instruction=BOXED,
    votes=True,
    hub="HuggingFaceH4/aime_2024:train",
)
