"""DROP (arXiv 1903.00161): counting and comparing over a passage; 3 examples, F1 over accepted answers.

Originals: `ucinlp/drop` (passage, question, answers_spans {spans}), whose spans are taken for so many accepted answers;
simple-evals' file (context, completion, ref_text "a|b"). The examples are the file's first three questions.
"""

from collections.abc import Mapping, Sequence

from r1jax.benchmarks.benchmark import Benchmark, Figure, Outcome, Row
from r1jax.benchmarks.estimators import by_question, figure, question_means

INSTRUCTION = (
    "Read the passages and answer the last question. Some examples come first. Think step by step, then give the "
    "answer, as short as in the examples, on a last line of the form 'Answer: ...'.\n\n{prompt}"
)


def adapt(row: Row) -> Row:
    if "ref_text" in row:
        accepted = row["ref_text"].split("|")
        return {"prompt": row["context"], "answer": accepted[0], "answers": accepted}
    accepted = list(dict.fromkeys(row["answers_spans"]["spans"]))
    return {
        "id": row.get("query_id"),
        "prompt": f"Passage: {row['passage']}\nQuestion: {row['question']}",
        "answer": accepted[0],
        "answers": accepted,
    }


def figures(rows: Mapping[str, Row], outcomes: Sequence[Outcome]) -> dict[str, Figure]:
    """F1 and exact match."""
    groups = by_question(outcomes)
    exact = [sum(o.detail.get("exact", 0.0) for o in group) / len(group) for group in groups.values()]
    return {"f1": figure(list(question_means(groups).values())), "exact": figure(exact)}


BENCHMARK = Benchmark(
    "DROP",
    "knowledge",
    "drop",
    "drop/dev_sample.jsonl",
    adapt,
    instruction=INSTRUCTION,
    metric="f1",
    shots=3,
    summarize=figures,
    hub="ucinlp/drop:validation",
    licence="CC BY-SA 4.0",
)
