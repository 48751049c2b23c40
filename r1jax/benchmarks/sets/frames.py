"""FRAMES (arXiv 2409.12941): 824 questions over several articles, asked without them; a judge grades.

Original: `google/frames-benchmark` (Prompt, Answer, reasoning_types, wiki_links).
"""

from r1jax.benchmarks.benchmark import Benchmark, Row
from r1jax.benchmarks.facts import figures


def adapt(row: Row) -> Row:
    return {"prompt": row["Prompt"], "answer": row["Answer"], "subject": row.get("reasoning_types", "")}


BENCHMARK = Benchmark(
    "FRAMES",
    "knowledge",
    "facts",
    "frames/test.jsonl",
    adapt,
    metric="correct",
    summarize=figures,
    hub="google/frames-benchmark:test",
    licence="Apache-2.0",
)
