"""LiveCodeBench (arXiv 2403.07974): contest problems by date; the paper's are of August 2024 to January 2025.

Original: `livecodebench/code_generation_lite` (question_content, starter_code, public_test_cases, private_test_cases,
metadata, contest_date). Private tests are JSON, or JSON pickled, deflated and in base64: unpickled by a reader that
makes no object but text. Tests of kind "functional" become asserts. Rows without a test are left out: r1jax's copy has
only the public ones, of its AtCoder problems, so that its numbers are no LiveCodeBench scores.
"""

import base64
import io
import json
import pickle
import zlib
from typing import Any

from r1jax.benchmarks.benchmark import Benchmark, Row

INSTRUCTION = "{prompt}\n\nGive one complete Python program in one ```python code block."


class _TextOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise ValueError(f"a pickle that asks for {module}.{name}: not a list of tests")


def adapt(row: Row) -> Row:
    cases = json.loads(row["public_test_cases"]) + _private(row["private_test_cases"])
    common = {
        "id": row["question_id"],
        "answer": "",
        "subject": row.get("difficulty", ""),
        "contest_date": str(row.get("contest_date", "")),
    }
    if cases and cases[0]["testtype"] == "functional":
        name = json.loads(row["metadata"])["func_name"]
        prompt = f"{row['question_content']}\n\nComplete this:\n```python\n{row['starter_code']}\n```"
        return {**common, "prompt": prompt, "test_list": [_assert(name, case) for case in cases]}
    return {
        **common,
        "prompt": row["question_content"],
        "tests": [{"input": case["input"], "output": case["output"]} for case in cases],
    }


def _private(text: str) -> list[Row]:
    try:
        return json.loads(text)
    except ValueError:
        return json.loads(_TextOnly(io.BytesIO(zlib.decompress(base64.b64decode(text)))).load())


def _assert(name: str, case: Row) -> str:
    """Arguments stand in JSON, one a line."""
    arguments = ", ".join(repr(json.loads(line)) for line in case["input"].split("\n") if line.strip())
    return f"assert Solution().{name}({arguments}) == {json.loads(case['output'])!r}"


def prepare(row: Row) -> Row | None:
    """Rows that have tests; those of r1jax's copy name a file of hidden tests, which is missing."""
    tests = row["tests"] if isinstance(row.get("tests"), list) else row.get("public_tests")
    return row if tests or row.get("test_list") else None


BENCHMARK = Benchmark("LiveCodeBench", "code", "code", "livecodebench_v5/test.jsonl", adapt, prepare, INSTRUCTION)
