"""SimpleQA (arXiv 2411.04368): 4,326 short factual questions, each with one answer; a judge grades.

Original: simple_qa_test_set.csv, `basicv8vc/SimpleQA` (problem, answer, metadata).
"""

from r1jax.benchmarks.benchmark import Benchmark, Row
from r1jax.benchmarks.facts import figures


def adapt(row: Row) -> Row:
    return {"prompt": row["problem"], "answer": row["answer"]}


BENCHMARK = Benchmark(
    "SimpleQA",
    "knowledge",
    "facts",
    "simpleqa/test.jsonl",
    adapt,
    metric="correct",
    summarize=figures,
    hub="basicv8vc/SimpleQA:test",
    licence="MIT",
)
