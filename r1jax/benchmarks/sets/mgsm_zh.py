"""MGSM, Chinese (arXiv 2210.03057): 250 questions of GSM8K's test set, translated.

Original: `juletxara/mgsm`, zh (question, answer_number).
"""

from r1jax.benchmarks.benchmark import BOXED_ZH, Benchmark, Row


def adapt(row: Row) -> Row:
    return {
        "prompt": row["question"].removeprefix("问题：").removeprefix("问题:").strip(),
        "answer": str(row["answer_number"]),
    }


BENCHMARK = Benchmark(
    "MGSM-zh",
    "maths",
    "maths",
    "mgsm_zh/test.jsonl",
    adapt,
    instruction=BOXED_ZH,
    votes=True,
    hub="juletxara/mgsm:zh:test@refs/convert/parquet",
    licence="CC BY-SA 4.0",
)
