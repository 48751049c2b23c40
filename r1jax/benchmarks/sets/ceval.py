"""C-Eval (arXiv 2305.08322): Chinese multiple choice on 52 subjects; val, 1,346 questions, has public answers.

Original: `ceval/ceval-exam` (id, question, A, B, C, D, answer); its ids are those of one subject, so new ones are made.
"""

from r1jax.benchmarks.benchmark import LETTER_ZH, Benchmark, Row, options


def adapt(row: Row) -> Row:
    return {
        "id": "",
        "prompt": f"{row['question']}\n{options([row[letter] for letter in 'ABCD'])}",
        "answer": row["answer"],
    }


BENCHMARK = Benchmark(
    "C-Eval",
    "chinese",
    "choice",
    "ceval/val.jsonl",
    adapt,
    instruction=LETTER_ZH,
    votes=True,
    licence="CC BY-NC-SA 4.0",
)
