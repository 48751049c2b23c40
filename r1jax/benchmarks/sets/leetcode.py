"""LeetCodeDataset (arXiv 2504.14655): problems with a `Solution` class to write and functional tests.

Original: `newfacade/LeetCodeDataset` (task_id, problem_description, starter_code, completion, test, entry_point).
"""

from r1jax.benchmarks.benchmark import Benchmark, Row

INSTRUCTION = "{prompt}\n\nGive the whole class Solution in one ```python code block."


def adapt(row: Row) -> Row:
    prompt = f"{row['problem_description']}\n\n```python\n{row['starter_code']}\n```"
    # The original's `check` is called with the method that entry_point names: Solution().twoSum.
    return {
        "id": row["task_id"],
        "prompt": prompt,
        "answer": row["completion"],
        "subject": row.get("difficulty", ""),
        "test": f"{row['test']}\n\ncheck({row['entry_point']})",
    }


BENCHMARK = Benchmark(
    "LeetCode",
    "code",
    "code",
    "leetcode/train.jsonl",
    adapt,
    instruction=INSTRUCTION,
    hub="newfacade/LeetCodeDataset:test",
    licence="Apache-2.0",
)
