"""GSM8K (arXiv 2110.14168): 1,319 word problems of grade school, each with an integer for an answer.

The original, `openai/gsm8k`: question, answer (a worked solution that ends in "#### 18").
"""

from r1jax.benchmarks.benchmark import BOXED, Benchmark, Row


def adapt(row: Row) -> Row:
    return {"prompt": row["question"], "answer": row["answer"].rpartition("####")[2].replace(",", "").strip()}


BENCHMARK = Benchmark(
    "GSM8K",
    "maths",
    "maths",
    "gsm8k/test.jsonl",
    adapt,
    instruction=BOXED,
    votes=True,
    hub="openai/gsm8k:main:test",
    licence="MIT",
)
