"""MBPP (arXiv 2108.07732): short Python functions with three asserts each; the test split is tasks 11 to 510.

Originals: `google-research-datasets/mbpp`, full (task_id, text, code, test_list, test_setup_code) and sanitized
(prompt, test_imports). The asserts are shown, as the original does: only they tell the function's name.
"""

from r1jax.benchmarks.benchmark import Benchmark, Row

INSTRUCTION = "{prompt}\n\nGive one complete Python program without tests, in one ```python code block."


def adapt(row: Row) -> Row:
    return {
        "id": row["task_id"],
        "prompt": row["text"] if "text" in row else row["prompt"],
        "answer": row["code"],
        "test_list": row["test_list"],
        "test_setup_code": row.get("test_setup_code") or "\n".join(row.get("test_imports") or []),
    }


def prepare(row: Row) -> Row | None:
    """The test split, where rows say which they are of, with the asserts below the text."""
    if row.get("split", "test") != "test":
        return None
    return {**row, "prompt": f"{row['prompt']}\n\nYour code should pass these tests:\n\n" + "\n".join(row["test_list"])}


BENCHMARK = Benchmark(
    "MBPP",
    "code",
    "code",
    "mbpp/all.jsonl",
    adapt,
    prepare,
    INSTRUCTION,
    hub="google-research-datasets/mbpp:full:test",
    licence="CC BY 4.0",
)
