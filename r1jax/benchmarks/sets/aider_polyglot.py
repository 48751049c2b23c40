"""Aider-Polyglot: 225 hard Exercism exercises in six languages, of which Python's 34 are asked, with unit tests.

Rows as r1jax's copy has them, from `Aider-AI/polyglot-benchmark` (language, starter_files, test_files). One attempt,
which returns the whole file: aider's own protocol edits files and allows a second attempt after the tests' output.
"""

from r1jax.benchmarks.benchmark import Benchmark, Row

INSTRUCTION = "{prompt}\n\nGive the whole file back, completed, in one ```python code block. Keep the names in it."


def prepare(row: Row) -> Row | None:
    """Python's rows, with the file that is to be completed below the text."""
    if row["language"] != "python":
        return None
    [(name, content)] = row["starter_files"].items()
    return {**row, "prompt": f"{row['prompt']}\n\nThe file `{name}`:\n\n```python\n{content}```"}


BENCHMARK = Benchmark(
    "Aider-Polyglot (Python)",
    "code",
    "unittests",
    "aider_polyglot/test.jsonl",
    None,
    prepare,
    INSTRUCTION,
    licence="MIT",
)
