"""GPQA Diamond (arXiv 2311.12022): 198 graduate questions in biology, chemistry and physics, four options.

Original: `Idavidrein/gpqa`, gpqa_diamond.csv ("Question", "Correct Answer", "Incorrect Answer 1" to "3", "Record ID",
"High-level domain"). Where the right option stands is decided by the question's hash: always the same.
"""

from r1jax.benchmarks.benchmark import LETTER, LETTERS, Benchmark, Row, options
from r1jax.io.provenance import sha256


def adapt(row: Row) -> Row:
    question, right = row["Question"].strip(), row["Correct Answer"].strip()
    choices = [row[f"Incorrect Answer {i}"].strip() for i in (1, 2, 3)]
    place = sha256(question)[0] % 4
    choices.insert(place, right)
    return {
        "id": row.get("Record ID"),
        "prompt": f"{question}\n{options(choices)}",
        "answer": LETTERS[place],
        "subject": row.get("High-level domain", ""),
    }


BENCHMARK = Benchmark(
    "GPQA Diamond",
    "knowledge",
    "choice",
    "gpqa_diamond/gpqa_diamond.csv",
    adapt,
    instruction=LETTER,
    votes=True,
    hub="Idavidrein/gpqa:gpqa_diamond:train",
    licence="CC BY 4.0",
)
