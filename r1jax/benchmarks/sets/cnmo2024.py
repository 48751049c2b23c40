"""CNMO 2024: Chinese national competition problems in English, 30 in the copy that LIMO evaluates on.

No original is published under that name by the paper's authors; rows of (problem or question, answer) are read.
"""

from r1jax.benchmarks.benchmark import BOXED, Benchmark, Row


def adapt(row: Row) -> Row:
    return {"prompt": row["problem"] if "problem" in row else row["question"], "answer": str(row["answer"])}


BENCHMARK = Benchmark("CNMO 2024", "maths", "maths", "cnmo2024/test.jsonl", adapt, instruction=BOXED, votes=True)
