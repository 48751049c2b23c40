"""MMLU-Pro (arXiv 2406.01574): 12,032 questions with up to ten options.

Original: `TIGER-Lab/MMLU-Pro` (question_id, question, options, answer "I", answer_index, category).
"""

from r1jax.benchmarks.benchmark import LETTER, LETTERS, Benchmark, Row, options


def adapt(row: Row) -> Row:
    return {
        "id": row.get("question_id"),
        "prompt": f"{row['question'].strip()}\n{options(row['options'])}",
        "answer": LETTERS[row["answer_index"]],
        "subject": row["category"],
    }


BENCHMARK = Benchmark(
    "MMLU-Pro",
    "knowledge",
    "choice",
    "mmlu_pro/test.jsonl",
    adapt,
    instruction=LETTER,
    votes=True,
    hub="TIGER-Lab/MMLU-Pro:test",
    licence="MIT",
)
