"""Arena-Hard v0.1 (arXiv 2406.11939): 500 hard requests, judged against a baseline.

Original: arena-hard-auto's question.jsonl (question_id or uid, cluster or category, turns or prompt). It has no
answers: give the baseline's as the benchmark's `baseline`.
"""

from r1jax.benchmarks.arena import figures
from r1jax.benchmarks.benchmark import Benchmark, Row


def adapt(row: Row) -> Row:
    return {
        "id": row.get("question_id") or row.get("uid"),
        "answer": "",
        "prompt": row["turns"][0]["content"] if "turns" in row else row["prompt"],
        "subject": row.get("cluster") or row.get("category", ""),
    }


BENCHMARK = Benchmark(
    "Arena-Hard",
    "judged",
    "degrees",
    "arena_hard/v0.1.jsonl",
    adapt,
    metric="win_rate",
    summarize=figures,
    licence="Apache-2.0",
)
