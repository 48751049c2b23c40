"""The report of each stage: its panels, comparison and summary, and the cautions where nothing was learnt."""

import json
import math
from pathlib import Path

from report_runs import Elements, write_lines

from r1jax.report import run as report
from r1jax.report.panels import panels
from r1jax.report.summary import cautions, comparison, summary

TRAINED = {  # rows as the loops write them
    "supervised": {
        "learning_rate": 1e-3,
        "no_room": 3.0,
        "entropy": 2.0,
        "loss": 3.0,
        "grad_norm": 1.0,
        "skipped": 0.0,
        "tokens_per_s": 900.0,
    },
    "preference": {
        "accuracy": 0.75,
        "grad_norm": 1.0,
        "loss": 0.5,
        "margin": 1.5,
        "skipped": 0.0,
        "learning_rate": 1e-3,
        "tokens_per_s": 900.0,
    },
}
OF_PAIRS = {
    "n": 39,
    "accuracy": 0.5,
    "stderr": 0.08,
    "loss": 0.7,
    "margin": 0.1,
    "longer_wins": 0.6,
    "longer_wins_stderr": 0.07,
    "prefers_longer": 0.5,
    "calibration_error": 0.2,
    "reliability": [],
}
OF_LABELS = {
    "n": 39,
    "accuracy": 0.5,
    "stderr": 0.08,
    "safe_share": 0.66,
    "loss": 0.7,
    "auroc": 0.6,
    "auroc_stderr": 0.1,
    "length_auroc": 0.5,
    "margin": 0.1,
    "calibration_error": 0.2,
}
TRAINING = ["Learning rate", "Gradient norm", "Training speed"]


def write_stage(workdir: Path, stage: str, metrics: list[dict], evals: list[dict] | None = None, **data) -> report.Run:
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "config.json").write_text(json.dumps({"stage": stage, "num_steps": len(metrics), "data": data}))
    write_lines(workdir / "metrics.jsonl", metrics)
    if evals is not None:
        write_lines(workdir / "evals.jsonl", evals)
    return report.load_run(workdir)


def test_a_stage_has_the_panels_of_what_it_recorded_and_no_other(tmp_path):
    """Loss and learning rate of fine-tuning; speed is that of training; of pairs and of labels what each has."""
    sft, pref = ([{"step": step, **row} for step in range(2)] for row in TRAINED.values())
    teacher = [row | {"cross_entropy": 2.5, "kl": 0.5, "moe/idle/max": 0.1, "mine": 1.0} for row in sft]
    held_out = ["Held-out accuracy", "Held-out loss"]
    for rows, evals, stage, titles in (
        (sft, [], "supervised", ["Loss", "Entropy of the model", *TRAINING, "Examples without room"]),
        (
            teacher,
            [],
            "supervised",
            [
                "Loss",
                "KL to the teacher",
                "Entropy of the model",
                *TRAINING,
                "Examples without room",
                "Balance of the experts",
                "mine",
            ],
        ),
        (
            pref,
            [OF_PAIRS],
            "preference",
            [
                *held_out,
                "Preferring the longer response",
                "Calibration error",
                "Held-out margin",
                "Loss",
                "Accuracy in training",
                "Margin",
                *TRAINING,
            ],
        ),
        (
            pref,
            [OF_LABELS],
            "preference",
            [
                *held_out,
                "Held-out AUROC",
                "Calibration error",
                "Held-out margin",
                "Loss",
                "Accuracy in training",
                "Margin",
                *TRAINING,
            ],
        ),
        (pref, [], "preference", ["Loss", "Accuracy in training", "Margin", *TRAINING]),
        ([{"step": 0, "loss": math.nan, "entropy": 1.0}], [], "supervised", ["Entropy of the model"]),
    ):
        assert [panel.title for panel in panels(stage, rows, evals)] == titles
    write_stage(tmp_path, "preference", pref, [{"step": 0, **OF_PAIRS}, {"step": 2, **OF_PAIRS, "accuracy": 0.9}])
    page = report.write_report(tmp_path).read_text("utf-8")
    assert Elements(page).tags.count("img") == 11 and "no data" not in page
    assert "Sampling speed" not in page and "The same questions" not in page and "pass@1" not in page


def test_each_stage_is_summarised_in_its_own_words(tmp_path):
    rows = [{"step": step, **TRAINED["supervised"], "loss": 4.0 - step} for step in range(3)]
    run = write_stage(tmp_path / "sft", "supervised", rows)
    assert summary(run) == "Over 3 steps of training, the loss fell from 4.000 to 2.000." and not cautions(run)
    assert comparison(run, "base").rows[0] == ("loss", "4.000", "2.000", "-2.000")
    rows = [{"step": step, **TRAINED["preference"]} for step in range(2)]
    evals = [{"step": 0, **OF_PAIRS}, {"step": 2, **OF_PAIRS, "accuracy": 0.9}]
    run = write_stage(tmp_path / "pairs", "preference", rows, evals, held_out_share=0.1)
    assert summary(run) == (
        "Over 2 steps of training, held-out accuracy rose from 50.0% ± 8.0 to 90.0% ± 8.0 "
        "(39 pairs; the longer response is the chosen one in 60.0% ± 7.0)."
    )
    run = write_stage(tmp_path / "one", "preference", rows, held_out_share=0.0)
    assert "nothing is known of examples that it was not trained on" in summary(run) and not cautions(run)
    assert report.headline(tmp_path / "one").row_count == 3
    (tmp_path / "one" / "config.json").unlink()
    assert report.load_run(tmp_path / "one").stage == "preference"


def test_the_head_says_what_taught_nothing(tmp_path):
    row = TRAINED["supervised"]
    for changes, message in (
        ([{"skipped": 1.0, "loss": None}] * 3, "Nothing was learnt: every update was skipped"),
        ([{}, {"skipped": 1.0}, {"skipped": 0.5}], "Updates worth 1.5 of 3 steps were skipped"),
        ([{"learning_rate": 0.0}] * 3, "Nothing was learnt: the learning rate was 0"),
        ([{"grad_norm": 0.0}] * 3, "Nothing was learnt: the gradient was 0"),
        ([{"groups/no_signal": 1.0}] * 3, "Nothing was learnt from the rewards"),
        ([{"groups/no_signal": 1.0}, {"groups/no_signal": 0.9}], None),
    ):
        run = write_stage(tmp_path, "supervised", [{"step": i, **row, **each} for i, each in enumerate(changes)])
        notes = cautions(run)
        assert notes and notes[0].startswith(message) if message else not notes
