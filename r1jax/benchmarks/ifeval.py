"""IFEval (arXiv 2311.07911): 541 prompts with instructions that a program can check; the paper's figure: prompt strict.

Original: `google/IFEval` (key, prompt, instruction_id_list, kwargs).
"""

from collections.abc import Mapping, Sequence

from r1jax.benchmarks.benchmark import Benchmark, Figure, Outcome, Row
from r1jax.benchmarks.estimators import by_question, figure


def adapt(row: Row) -> Row:
    return {"id": row.get("key"), "answer": "",
            **{name: row[name] for name in ("prompt", "instruction_id_list", "kwargs")}}  # fmt: skip


def figures(rows: Mapping[str, Row], outcomes: Sequence[Outcome]) -> dict[str, Figure]:
    """By prompt and by instruction, strict and loose; of instructions the error is by prompt too, each one's share.

    A response whose grading found nothing to tell, refused as too long or out of time, follows none.
    """
    groups = by_question(o for o in outcomes if o.score is not None)
    found = {}

    def followed(outcome: Outcome, key: str) -> Sequence[bool]:
        return outcome.detail.get(key) or [False] * len(rows[outcome.id]["instruction_id_list"])

    for name, key in (("strict", "followed"), ("loose", "loose")):
        told = [[followed(outcome, key) for outcome in group] for group in groups.values()]
        whole = [sum(map(all, group)) / len(group) for group in told]
        counts = [(sum(map(sum, group)), sum(map(len, group))) for group in told]
        found[f"prompt_{name}"] = figure(whole)
        found[f"instruction_{name}"] = Figure(sum(kept for kept, _ in counts) / max(sum(n for _, n in counts), 1),
                                              figure([kept / n for kept, n in counts]).stderr)  # fmt: skip
    return found


BENCHMARK = Benchmark(
    "IFEval", "knowledge", "ifeval", "ifeval/test.jsonl", adapt, metric="prompt_strict", summarize=figures
)
