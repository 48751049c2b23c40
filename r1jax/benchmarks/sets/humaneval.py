"""HumanEval (arXiv 2107.03374): 164 Python functions to complete from a docstring, with hidden tests.

Original: `openai/openai_humaneval` (task_id, prompt, canonical_solution, test, entry_point).
"""

from r1jax.benchmarks.benchmark import Benchmark, Row

INSTRUCTION = (
    "Complete the following Python function. Give the whole function, with its imports, in one ```python code block."
    "\n\n```python\n{prompt}\n```"
)


def adapt(row: Row) -> Row:
    return {
        "id": row["task_id"],
        "prompt": row["prompt"],
        "answer": row["canonical_solution"],
        "test": row["test"],
        "entry_point": row["entry_point"],
    }


BENCHMARK = Benchmark(
    "HumanEval",
    "code",
    "code",
    "humaneval/test.jsonl",
    adapt,
    instruction=INSTRUCTION,
    hub="openai/openai_humaneval:test",
    licence="MIT",
)
