"""The first check of overfitting: every stage trains on a file of one row, of which nothing is held out."""

import json
import pathlib

import pytest
from tiny_run import SFT, ZERO, merged, rows, write_config

from r1jax import config
from r1jax.data.preference_pairs import Input, PreferenceDataConfig, Preferences
from r1jax.data.sft import InstructionConfig, Instructions
from r1jax.data.tasks import DataConfig, Questions
from r1jax.models.io import is_model, save_model
from r1jax.report.run import load_run
from r1jax.tools import train

pytestmark = pytest.mark.usefixtures("in_this_process")
QUESTION = {"prompt": "What is 2 + 2?", "answer": "4"}
ANSWERED = {"prompt": "What is 2 + 2?", "response": "<think>2+2=4</think> <answer>4</answer>"}
PAIR = {"prompt": "Ask.", "chosen": "Yes, please.", "rejected": "No."}
PREFERENCE = {
    "stage": "preference",
    "kind": "pairwise",
    "data": {},
    "reading": {"sees": "summary", "template": "dialogue", "max_tokens": 48},
    "batch_size": 8,
    "epochs": 0,
    "num_steps": 4,
    "batch_bucket": 48,
    "optimizer": {"learning_rate": 1e-2},
}


def write(folder: pathlib.Path, row: dict) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "one.jsonl").write_text(json.dumps(row) + "\n")
    return str(folder / "one.jsonl")


@pytest.mark.parametrize(
    ("tree", "row"),
    [
        pytest.param(merged(SFT, num_steps=4), ANSWERED, marks=pytest.mark.slow),
        pytest.param(PREFERENCE, PAIR, marks=pytest.mark.slow),
        (merged(ZERO, num_steps=1), QUESTION),
    ],
)
def test_a_stage_trains_on_one_row_without_an_evaluation(tree, row, tmp_path, tiny, tiny_params, tokenizer):
    save_model(tmp_path / "base", tiny_params, tiny, tokenizer)
    spec = write_config(
        tmp_path / "one.py",
        merged(
            tree,
            base=str(tmp_path / "base"),
            data__path=write(tmp_path, row),
            data__held_out_share=0.0,
        ),
    )
    workdir = tmp_path / "run"
    assert train.main([f"--config={spec}", f"--workdir={workdir}"]) == 0
    metrics = rows(workdir / "metrics.jsonl")
    assert len(metrics) == tree["num_steps"] and all(row["grad_norm"] > 0 for row in metrics)
    assert tree["stage"] == "rl" or metrics[-1]["loss"] < metrics[0]["loss"]
    assert not (workdir / "evals.jsonl").exists() and is_model(workdir / "model")
    # Every trained stage leaves its report, which misses nothing that was not asked for.
    assert (workdir / "report.html").exists() and not load_run(workdir).missing


def test_one_row_of_which_a_share_is_held_out_says_what_to_set(tmp_path, tokenizer):
    """The one question lies on one of the two sides; the other side is empty."""

    def questions(share: float) -> Questions:
        return Questions(
            DataConfig(path=write(tmp_path, QUESTION), held_out_share=share), 0, tokenizer, examine=lambda row: "maths"
        )

    assert questions(0.0).held_out(8) == [] and {each.question for each in questions(0.0).take(0, 4)} == {
        QUESTION["prompt"]
    }
    with pytest.raises(ValueError, match=r"0 held-out questions.* data.held_out_share=1e-09 .*with 0 all are trained"):
        questions(1e-9).held_out(8)
    with pytest.raises(ValueError, match=r"0 training questions.* with 0 all are trained on and none is evaluated"):
        questions(1.0).take(0, 1)
    read = lambda prompt, text: Input([len(text)], False, len(text))  # noqa: E731
    with pytest.raises(ValueError, match=r"1 examples to train on and 0 held out.* with data.held_out_share=0 all"):
        Preferences(PreferenceDataConfig(write(tmp_path, PAIR), held_out_share=1e-9), "pairwise", 0, read)
    with pytest.raises(ValueError, match=r"1 held-out questions.*; data.held_out_share=0 keeps all questions"):
        Instructions(InstructionConfig(write(tmp_path, ANSWERED), held_out_share=1 - 1e-9), 0, tokenizer, 99)


def test_tasks_of_which_nothing_is_held_out_are_not_evaluated_either():
    data = config.parse(DataConfig, {"tasks": ({"name": "chain_sum"},), "held_out_share": 0.0})
    assert Questions(data, 0, None, examine=lambda row: "maths").held_out(3) == []
