"""Chinese SimpleQA (arXiv 2411.07140): 3,000 short factual questions in Chinese, graded by exact match.

Original: `OpenStellarTeam/Chinese-SimpleQA` (id, primary_category, question, answer). Its authors have a judge say what
is right: `grader="facts"` does that here.
"""

from r1jax.benchmarks.benchmark import Benchmark, Row

INSTRUCTION = "{prompt}\n\n请先思考，最后一行按“答案：……”的格式只写出答案。"


def adapt(row: Row) -> Row:
    return {
        "id": row.get("id"),
        "prompt": row["question"],
        "answer": row["answer"],
        "subject": row.get("primary_category", ""),
    }


BENCHMARK = Benchmark(
    "C-SimpleQA",
    "chinese",
    "exact",
    "c_simpleqa/test.jsonl",
    adapt,
    instruction=INSTRUCTION,
    votes=True,
    hub="OpenStellarTeam/Chinese-SimpleQA:train",
)
