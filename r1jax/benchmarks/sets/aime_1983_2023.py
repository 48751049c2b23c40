"""AIME 1983-2023: 975 problems (933 and the rest in other copies), answers from 0 to 999; 4 are in MATH-500.

Original: `di-zhang-fdu/AIME_1983_2024` (ID, Year, Question, Answer), of which 2024 is left out.
"""

from r1jax.benchmarks.benchmark import BOXED, Benchmark, Row


def adapt(row: Row) -> Row | None:
    if int(row["Year"]) > 2023:
        return None
    return {"id": row.get("ID"), "prompt": row["Question"], "answer": str(row["Answer"]), "subject": str(row["Year"])}


BENCHMARK = Benchmark(
    "AIME 1983-2023",
    "maths",
    "maths",
    "aime_1983_2023/train.jsonl",
    adapt,
    instruction=BOXED,
    votes=True,
    hub="di-zhang-fdu/AIME_1983_2024:train",
)
