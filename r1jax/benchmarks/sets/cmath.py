"""CMATH (arXiv 2306.16636): 1,098 Chinese word problems of six grades of elementary school.

Original: `weitianwen/cmath` (question, golden, grade).
"""

from r1jax.benchmarks.benchmark import BOXED_ZH, Benchmark, Row


def adapt(row: Row) -> Row:
    return {"prompt": row["question"], "answer": str(row["golden"]), "subject": f"grade {row['grade']}"}


BENCHMARK = Benchmark(
    "CMATH",
    "maths",
    "maths",
    "cmath/test.jsonl",
    adapt,
    instruction=BOXED_ZH,
    votes=True,
    hub="weitianwen/cmath:test",
    licence="CC BY 4.0",
)
