"""SWE-bench: patches found in responses, predictions in the harness's own format."""

import json

import pytest

from r1jax.benchmarks import reading
from r1jax.benchmarks.benchmark import Outcome, find
from r1jax.benchmarks.sets.swe_bench import write
from r1jax.data.types import Prompt, Rollout
from r1jax.graders import repository_patch
from r1jax.graders.config import GraderConfig

DIFF = "diff --git a/x.py b/x.py\n--- a/x.py\n+++ b/x.py\n@@ -1 +1 @@\n-a\n+b\n"


@pytest.mark.parametrize(
    "text, patch",
    [
        (f"I see.\n```diff\n{DIFF}```\nDone.", DIFF),
        (f"```diff\nold\n```\nNo:\n```patch\n{DIFF}\n\n```", DIFF),
        (f"So:\n{DIFF}", DIFF),
        ("```python\nx\n```", ""),
        ("", ""),
        ("```diff\n\n```", ""),
    ],
)
def test_the_patch_of_a_response(text, patch):
    assert repository_patch.extract(text) == patch


def test_patches_are_ungradable_here_and_kept():
    prompt = Prompt("a", "Mend it.", "", "patch:test", metadata={"instance_id": "a"})
    text = f"<think>```diff\nx\n```</think>```diff\n{DIFF}```"
    patch = repository_patch.grade(Rollout.of_text(prompt, text), GraderConfig())
    assert patch == (None, "ungradable", "", {"patch": DIFF})
    with pytest.raises(ValueError, match="instance_id"):
        repository_patch.check({})


def test_rows_and_predictions(tmp_path):
    row = {
        "instance_id": "astropy__1",
        "repo": "astropy/astropy",
        "base_commit": "abc",
        "problem_statement": "It fails.",
        "hints_text": "",
        "patch": "secret",
        "test_patch": "secret",
    }
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    bench = find("swe_bench")
    [made] = reading.read(bench, tmp_path / "rows.jsonl", bench.grader, {}).rows
    assert "It fails." in made["prompt"] and "secret" not in json.dumps(made)
    outcomes = [Outcome(made["id"], s, None, "ungradable", "", {"patch": DIFF if s == 0 else "no"}) for s in range(2)]
    write(tmp_path, {made["id"]: made}, outcomes, "mine")
    [line] = (tmp_path / "predictions.jsonl").read_text().splitlines()
    assert json.loads(line) == {"instance_id": "astropy__1", "model_name_or_path": "mine", "model_patch": DIFF}
