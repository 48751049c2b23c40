"""AMC 2023: 40 problems of AMC 12, asked without their choices.

Originals: `math-ai/amc23` (question, answer), `AI-MO/aimo-validation-amc` (problem, answer; 2022
too).
"""

from r1jax.benchmarks.benchmark import BOXED, Benchmark, Row


def adapt(row: Row) -> Row:
    answer = row["answer"]
    whole = isinstance(answer, float) and answer.is_integer()  # one copy keeps integers as 27.0
    return {
        "prompt": row["question"] if "question" in row else row["problem"],
        "answer": str(int(answer) if whole else answer),
    }


BENCHMARK = Benchmark(
    "AMC 23", "maths", "maths", "amc23/test.jsonl", adapt, instruction=BOXED, votes=True, hub="math-ai/amc23:test"
)
