"""ASDiv (arXiv 2106.15772): 2,305 word problems of elementary school, 2,215 in the usual evaluation copy.

Original: `EleutherAI/asdiv` (body, question, answer "9 (apples)"): the unit in brackets is left out.
"""

from r1jax.benchmarks.benchmark import BOXED, Benchmark, Row


def adapt(row: Row) -> Row:
    return {"prompt": f"{row['body']} {row['question']}", "answer": row["answer"].partition(" (")[0]}


def prepare(row: Row) -> Row | None:
    """Without the one question whose answer is a dash."""
    return None if row["answer"] == "-" else row


BENCHMARK = Benchmark(
    "ASDiv",
    "maths",
    "maths",
    "asdiv/test.jsonl",
    adapt,
    prepare,
    instruction=BOXED,
    votes=True,
    hub="EleutherAI/asdiv:asdiv:validation@refs/convert/parquet",
    licence="CC BY-NC 4.0",
)
