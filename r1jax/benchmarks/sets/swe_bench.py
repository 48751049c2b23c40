"""SWE-bench Verified (arXiv 2310.06770): 500 issues of real repositories; writes predictions, not grades.

Original: `princeton-nlp/SWE-bench_Verified` (instance_id, repo, base_commit, problem_statement, hints_text). The model
sees the issue alone: no agent, no files of the repository. predictions.jsonl, sample 0 of each, is what the benchmark's
own harness takes; what it resolves, with its repositories and containers, is the score. It is not computed here.
"""

import pathlib
from collections.abc import Mapping, Sequence

from r1jax.benchmarks.benchmark import Benchmark, Outcome, Row
from r1jax.io import jsonl

INSTRUCTION = (
    "Below is an issue of the repository named first. Resolve it by a patch that `git apply` takes, in one ```diff "
    "code block.\n\n{prompt}"
)


def adapt(row: Row) -> Row:
    return {
        "id": row["instance_id"],
        "instance_id": row["instance_id"],
        "answer": "",
        "subject": row["repo"],
        "prompt": f"Repository: {row['repo']} at {row['base_commit']}\n\n{row['problem_statement']}",
    }


def write(folder: pathlib.Path, rows: Mapping[str, Row], outcomes: Sequence[Outcome], model: str) -> None:
    """Writes predictions.jsonl in the harness's format; an empty patch where the response has none."""
    patches = {rows[o.id]["instance_id"]: o.detail.get("patch", "") for o in outcomes if o.sample == 0}
    jsonl.write(
        folder / "predictions.jsonl",
        ({"instance_id": id_, "model_name_or_path": model, "model_patch": patch} for id_, patch in patches.items()),
    )


BENCHMARK = Benchmark(
    "SWE-bench Verified",
    "code",
    "patch",
    "swe_bench/test.jsonl",
    adapt,
    instruction=INSTRUCTION,
    write=write,
    hub="princeton-nlp/SWE-bench_Verified:test",
)
