"""MMLU (arXiv 2009.03300): 14,042 multiple-choice questions on 57 subjects, four options.

Original: `cais/mmlu` (question, choices, answer 0 to 3, subject).
"""

from r1jax.benchmarks.benchmark import LETTER, LETTERS, Benchmark, Row, options


def adapt(row: Row) -> Row:
    return {
        "prompt": f"{row['question'].strip()}\n{options(row['choices'])}",
        "answer": LETTERS[row["answer"]],
        "subject": row["subject"],
    }


BENCHMARK = Benchmark(
    "MMLU",
    "knowledge",
    "choice",
    "mmlu/test.jsonl",
    adapt,
    instruction=LETTER,
    votes=True,
    hub="cais/mmlu:all:test",
    licence="MIT",
)
