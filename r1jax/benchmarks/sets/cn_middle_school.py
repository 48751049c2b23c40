"""Chinese middle-school mathematics: the 101 questions that Qwen2.5-Math is evaluated on, choices and values.

r1jax's layout only, or the same under other names (question or problem, answer).
"""

from r1jax.benchmarks.benchmark import BOXED_ZH, Benchmark, Row


def adapt(row: Row) -> Row:
    return {"prompt": row["question"] if "question" in row else row["problem"], "answer": str(row["answer"])}


BENCHMARK = Benchmark(
    "Chinese middle school", "maths", "maths", "cn_middle_school/test.jsonl", adapt, instruction=BOXED_ZH, votes=True
)
