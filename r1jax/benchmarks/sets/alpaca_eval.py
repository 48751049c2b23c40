"""AlpacaEval 2.0 (arXiv 2404.04475): 805 instructions, judged against another model's answer, length-controlled.

Original: `tatsu-lab/alpaca_eval` (instruction, output, generator, dataset); the leaderboard compares with GPT-4 Turbo's
outputs, older copies with text-davinci-003's: numbers against different references are not to be compared.
"""

from r1jax.benchmarks.benchmark import Benchmark, Row
from r1jax.benchmarks.length_control import figures


def adapt(row: Row) -> Row:
    return {"prompt": row["instruction"], "answer": "", "reference_output": row["output"], "subject": row["dataset"]}


BENCHMARK = Benchmark(
    "AlpacaEval 2.0",
    "judged",
    "preference",
    "alpaca_eval/eval.jsonl",
    adapt,
    metric="lc_win_rate",
    summarize=figures,
    licence="CC BY-NC 4.0",
)
