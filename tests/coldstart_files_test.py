"""Cold start from files of thoughts: which fields are read, and what is left out."""

import pytest
from coldstart_test import ROOT, TINY, table
from readable_test import PROSE
from tiny_run import merged, rows

from r1jax import config
from r1jax.data.tasks import is_held_out
from r1jax.io import jsonl
from r1jax.stages.cold_start import cold_start
from r1jax.stages.cold_start.cold_start import ColdStartConfig

SHARED = ROOT.parent / "shared" / "data"


def test_fields_of_a_file_are_found_by_plain_rules(mesh1, tmp_path):
    jsonl.write(
        tmp_path / "mixed.jsonl",
        [
            {
                "id": 7,
                "prompt": "What is 2 plus 3?",
                "thinking": PROSE,
                "response": "It makes \\boxed{5}.",
                "answer": 5,
            },
            {"prompt": "What is 2 plus 4?", "thinking": PROSE, "response": "It makes \\boxed{5}.", "answer": "6"},
            {"prompt": "Is it so, do you think?", "thinking": PROSE, "answer": "yes"},
            {"question": "What is 2 plus 5?", "solution": PROSE + "So \\boxed{7}.", "answer": "7"},
            {"prompt": "What is 2 plus 6?", "solution": PROSE + "So \\boxed{7}.", "answer": "8"},
            {
                "prompt": "Which drug?",
                "reasoning": PROSE,
                "response": "The second one is right.",
                "answer": "Cefaclor.",
            },
            {"prompt": "Pick one.", "thought": PROSE, "final": "The answer is B.", "answer": "B", "grader": "choice"},
            {"prompt": "And now?", "answer": "5"},
        ],
    )
    cfg = config.parse(ColdStartConfig, merged(TINY, data=str(tmp_path), files=("mixed.jsonl",), questions=None))
    cold_start.run(cfg, tmp_path / "work", mesh1)
    samples = {row["provenance"]["line"]: row for row in rows(tmp_path / "work" / "samples.jsonl")}
    summaries = {line: row["response"].split("|| ")[-1] for line, row in samples.items()}
    assert summaries == {
        1: "It makes \\boxed{5}.",
        3: "The answer is \\boxed{yes}.",
        4: "The answer is \\boxed{7}.",
        6: "The second one is right.",
        7: "The answer is B.",
    }
    assert {line: (row["answer"], row["source"].split(":")[0]) for line, row in samples.items()} == {
        1: ("5", "maths"),
        3: ("", "open"),
        4: ("7", "maths"),
        6: ("Cefaclor.", "open"),
        7: ("B", "choice"),
    }
    assert samples[1]["provenance"] == {"way": "file", "file": "mixed.jsonl", "line": 1, "row": "7"}
    assert table(tmp_path / "work")["found"] == {
        "mixed.jsonl": {"found": 8, "kept": 5, "dropped": {"wrong": 2, "without a thought or an answer": 1}}
    }


def test_what_asks_a_held_out_question_is_left_out(mesh1, tmp_path):
    jsonl.write(
        tmp_path / "many.jsonl",
        [{"prompt": f"What is {i} plus 3?", "thinking": PROSE, "response": f"\\boxed{{{i + 3}}}."} for i in range(60)],
    )
    changes = {"data": str(tmp_path), "files": ("many.jsonl",), "held_out_share": 0.3, "questions": None}
    cold_start.run(config.parse(ColdStartConfig, merged(TINY, **changes)), tmp_path / "work", mesh1)
    kept = {row["prompt"] for row in rows(tmp_path / "work" / "samples.jsonl")}
    assert kept == {prompt for i in range(60) if not is_held_out(prompt := f"What is {i} plus 3?", 0.3)}
    assert table(tmp_path / "work")["found"]["many.jsonl"]["dropped"] == {"asks a held-out question": 60 - len(kept)}


@pytest.mark.skipif(not (SHARED / "longcot_rasbt").is_dir(), reason="needs the data sets in ../shared/data")
def test_real_chains_of_thought_come_to_the_form(mesh1, tmp_path):
    files = ("longcot_rasbt/train.jsonl", "longcot_marco_o1/train.jsonl")
    cfg = config.parse(ColdStartConfig, {"stage": "coldstart", "data": str(SHARED), "files": files})
    cold_start.run(cfg, tmp_path, mesh1)
    found = table(tmp_path)["found"]
    assert found[files[0]]["found"] == 10 and found[files[1]]["found"] == 123
    assert found[files[0]]["dropped"].keys() <= {"asks a held-out question"}
    assert found[files[1]]["dropped"]["broken characters"] >= 4
    for row in rows(tmp_path / "samples.jsonl"):
        assert row["response"].startswith("|special_token|") and row["response"].count("|special_token|") == 2
