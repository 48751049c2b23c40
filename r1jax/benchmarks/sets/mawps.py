"""MAWPS (Koncel-Kedziorski et al., NAACL 2016): 2,065 arithmetic word problems.

Original: `MU-NLPC/Calc-mawps` (question, result).
"""

from r1jax.benchmarks.benchmark import BOXED, Benchmark, Row


def adapt(row: Row) -> Row:
    return {"prompt": row["question"], "answer": str(row["result"])}


BENCHMARK = Benchmark(
    "MAWPS",
    "maths",
    "maths",
    "mawps/test.jsonl",
    adapt,
    instruction=BOXED,
    votes=True,
    hub="MU-NLPC/Calc-mawps:test",
    licence="MIT",
)
