"""MMLU-Redux (arXiv 2406.04127): 5,700 questions of MMLU (3,000 in the first version), reviewed by people.

Original: `edinburgh-dawg/mmlu-redux` (question, choices, answer, error_type, correct_answer). Questions without an
error are asked, and those whose only error is the key, with the key corrected; the others have no one right answer and
are left out. A corrected key that is no letter, number or option is left out too.
"""

from r1jax.benchmarks.benchmark import LETTER, LETTERS, Benchmark, Row, options


def adapt(row: Row) -> Row | None:
    letter = LETTERS[int(row["answer"])]
    if row["error_type"] == "wrong_groundtruth":
        letter = _corrected(str(row["correct_answer"] or "").strip(), row["choices"])
    elif row["error_type"] != "ok":
        return None
    if not letter:
        return None
    return {
        "prompt": f"{row['question'].strip()}\n{options(row['choices'])}",
        "answer": letter,
        "subject": row.get("subject", ""),
    }


def _corrected(key: str, choices: list[str]) -> str:
    if key in choices:
        return LETTERS[choices.index(key)]
    if key.isdecimal() and int(key) < len(choices):
        return LETTERS[int(key)]
    return key.upper() if len(key) == 1 and key.upper() in LETTERS[: len(choices)] else ""


BENCHMARK = Benchmark(
    "MMLU-Redux",
    "knowledge",
    "choice",
    "mmlu_redux/test.jsonl",
    adapt,
    instruction=LETTER,
    votes=True,
    licence="CC BY 4.0",
)
