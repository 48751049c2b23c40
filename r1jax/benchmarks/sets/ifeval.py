"""IFEval (arXiv 2311.07911): 541 prompts with instructions that a program can check; figure: prompt strict.

Original: `google/IFEval` (key, prompt, instruction_id_list, kwargs).
"""

from collections.abc import Mapping, Sequence

from r1jax.benchmarks.benchmark import Benchmark, Figure, Outcome, Row
from r1jax.benchmarks.estimators import by_question, figure


def adapt(row: Row) -> Row:
    return {
        "id": row.get("key"),
        "answer": "",
        **{name: row[name] for name in ("prompt", "instruction_id_list", "kwargs")},
    }


def figures(rows: Mapping[str, Row], outcomes: Sequence[Outcome]) -> dict[str, Figure]:
    """By prompt and by instruction, strict and loose; of instructions the error is by prompt too, each one's share.

    A response without details, refused as too long or out of time, follows no instruction.
    """
    groups = by_question(o for o in outcomes if o.score is not None)
    figures_by_name = {}

    def followed(outcome: Outcome, key: str) -> Sequence[bool]:
        return outcome.detail.get(key) or [False] * len(rows[outcome.id]["instruction_id_list"])

    for name, key in (("strict", "followed"), ("loose", "loose")):
        results = [[followed(outcome, key) for outcome in group] for group in groups.values()]
        whole = [sum(map(all, group)) / len(group) for group in results]
        counts = [(sum(map(sum, group)), sum(map(len, group))) for group in results]
        figures_by_name[f"prompt_{name}"] = figure(whole)
        figures_by_name[f"instruction_{name}"] = Figure(
            sum(followed_count for followed_count, _ in counts) / max(sum(n for _, n in counts), 1),
            figure([followed_count / n for followed_count, n in counts]).stderr,
        )
    return figures_by_name


BENCHMARK = Benchmark(
    "IFEval",
    "knowledge",
    "ifeval",
    "ifeval/test.jsonl",
    adapt,
    metric="prompt_strict",
    summarize=figures,
    hub="google/IFEval:train",
    licence="Apache-2.0",
)
