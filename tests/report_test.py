"""The report of a run: tells what the files say, whatever of them is there, and stands alone."""

import html.parser
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import rich.console

from r1jax.report import run as report
from r1jax.report.panels import panels
from r1jax.report.plots import smooth
from r1jax.report.summary import cautions, comparison, summary

PLOT_TITLES = (
    "Held-out accuracy",
    "Reward and its parts",
    "Verdicts",
    "Response length",
    "Truncated responses",
    "Responses that reflect",
    "Rate of reflection words",
    "Language of the thoughts",
    "KL to the reference model",
    "Entropy of the policy",
    "Groups with no signal",
    "Clip rate",
    "Gradient norm",
    "Sampler against trainer",
    "Sampling speed",
    "Learning rate",
    "Loss",
    "Seconds by phase",
)


def evaluation(step: int, accuracy: float, **changes) -> dict:
    row = {
        "step": step, "n": 200, "k": 4, "pass@1": accuracy, "stderr": 0.02, "cons@k": min(1.0, accuracy + 0.05),
        "cons_stderr": 0.03, "truncated": 0.05, "format": 0.1 + 0.9 * step / 100, "pass@1_if_well_formed": accuracy,
        "length": 40.0 + step / 2, "reflection": 0.1 + step / 200, "temperature": 0.6, "top_p": 0.95,
        "by_source": {
            "reasoning_gym:chain_sum": {"n": 120, "pass@1": accuracy, "stderr": 0.03},
            "reasoning_gym:countdown": {"n": 80, "pass@1": accuracy / 2, "stderr": 0.04},
        },
    }  # fmt: skip
    return {**row, **changes}


def metric(step: int) -> dict:
    noise = math.sin(7.3 * step) / 20
    done = 1 / (1 + math.exp(4 - step / 10))
    return {
        "step": step, "reward/total": 2 * done + noise, "reward/accuracy": done + noise, "reward/format": done,
        "verdict/right": done, "verdict/wrong": 1 - done, "verdict/timeout": 0.0,
        "length/mean": 40 + 50 * done + 40 * noise, "length/max": 128, "length/truncated": 0.05 * (1 - done),
        "reflection/share": 0.5 * done, "reflection/per_response": done + noise + 0.1,
        "language/mixed": 0.1 * (1 - done), "language/chinese": 0.3 * (1 - done), "kl": done / 10,
        "entropy": 1.2 - done, "clip/rate": 0.004 + noise / 50, "groups/no_signal": 1 - done, "loss": noise,
        "grad_norm": 1 + noise, "sampler_gap/mean": 1e-6 + abs(noise) * 1e-6, "sampler_gap/max": 3e-5,
        "learning_rate": 1e-3, "tokens_per_s": 5000 - 4000 * (step == 0), "time/sample": 1.5, "time/grade": 0.1,
        "time/score": 0.4, "time/update": 1.8, "time/eval": 8.0 * (step % 20 == 0), "time/save": 0.1,
    }  # fmt: skip


def sample(question: int, source: str, text: str, **changes) -> dict:
    row = {
        "id": f"heldout-{source}-{question}", "question": f"What is {question} + {question}?",
        "answer": str(2 * question), "source": f"reasoning_gym:{source}", "sample": 0, "text": text, "thought": "",
        "final": text, "correct": 0, "finish": "stop", "num_tokens": 31, "well_formed": False,
    }  # fmt: skip
    return {**row, **changes}


def write_lines(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_run(workdir: Path, evals: list[dict] | None = None, metrics: list[dict] | None = None) -> Path:
    workdir.mkdir(parents=True, exist_ok=True)
    grpo = {"beta": 0.001, "clip": {"low": 0.2}}
    config = {"stage": "rl", "num_steps": 100, "seed": 0, "grpo": grpo, "model": {"preset": "mini"}}
    (workdir / "config.json").write_text(json.dumps(config))
    write_lines(workdir / "metrics.jsonl", [metric(step) for step in range(100)] if metrics is None else metrics)
    if evals is None:
        evals = [evaluation(0, 0.081), evaluation(40, 0.4), evaluation(80, 0.75), evaluation(100, 0.83)]
    write_lines(workdir / "evals.jsonl", evals)
    base, trained = [], []
    for question in range(1, 7):
        for source in ("chain_sum", "countdown"):
            base.append(sample(question, source, "<think>it is <script>alert(1)</script> 验算", finish="length"))
            base.append(sample(question, source, "a later sample", sample=1))
            thought, final = f"{question} + {question}. Wait, check: it is {2 * question}.", str(2 * question)
            split = {"thought": thought, "final": final, "well_formed": True}
            trained.append(sample(question, source, "", correct=1, num_tokens=64, **split))
    write_lines(workdir / "evals" / "step_000000.jsonl", base)
    write_lines(workdir / "evals" / "step_000100.jsonl", trained)
    return workdir


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    return report.write_report(write_run(tmp_path_factory.mktemp("run") / "zero-mini")).read_text(encoding="utf-8")


@pytest.fixture
def no_plots(monkeypatch) -> None:
    """Drawing takes seconds; what is not about plots goes without."""
    monkeypatch.setattr(report, "draw_plots", lambda stage, metrics, evals: [])


class Elements(html.parser.HTMLParser):
    def __init__(self, page: str):
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]


def test_page_stands_alone(page):
    elements = Elements(page)
    assert elements.links and all(link.startswith("data:image/svg+xml;base64,") for link in elements.links)
    assert not {"script", "link", "iframe"} & set(elements.tags)
    assert "@import" not in page and "url(" not in page
    assert "prefers-color-scheme: dark" in page and "max-width: 640px" in page


def test_every_plot_is_drawn_under_its_title(page):
    for title in PLOT_TITLES:
        assert f"<h3>{title}</h3>" in page
    assert Elements(page).tags.count("img") == len(PLOT_TITLES)


def test_markup_in_a_sample_is_text_and_its_tags_are_marked(page):
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; 验算" in page
    assert '<span class="tag">&lt;think&gt;</span>' in page


def test_page_holds_tables_settings_and_marks(page):
    for text in ("8.1% ± 2.0", "83.0% ± 2.0", "+74.9 points", "reasoning_gym:countdown", "grpo", "clip.low", "0.2"):
        assert text in page
    for text in ("✓ right", "✗ wrong", "… truncated", "64 tokens", "How to read this", "cons@k"):
        assert text in page


def test_questions_shown_take_turns_over_tasks_and_ignore_outcomes(tmp_path):
    shown = report._questions(report.load_run(write_run(tmp_path)))
    assert [item["id"] for item in shown] == [
        f"heldout-{source}-{question}" for question in (1, 2, 3, 4) for source in ("chain_sum", "countdown")
    ]
    assert all("".join(piece for _, piece in item["sides"][0]["pieces"]) != "a later sample" for item in shown)


def test_summary_says_what_rose(tmp_path):
    assert summary(report.load_run(write_run(tmp_path))) == (
        "Over 100 steps of RL, held-out pass@1 rose from 8.1% ± 2.0 to 83.0% ± 2.0 (200 questions, k = 4); "
        "the share of well-formed responses rose from 10.0% to 100.0%; "
        "the mean response grew from 40.0 to 90.0 tokens; "
        "the share of responses that reflect rose from 10.0% to 60.0%."
    )


def test_summary_says_that_accuracy_fell_and_length_shrank(tmp_path):
    worse = evaluation(100, 0.2, length=12.0, reflection=0.1)
    text = summary(report.load_run(write_run(tmp_path, [evaluation(0, 0.4), worse])))
    assert "pass@1 fell from 40.0% ± 2.0 to 20.0% ± 2.0" in text
    assert "the mean response shrank from 40.0 to 12.0 tokens" in text
    assert "the share of responses that reflect stayed at 10.0%" in text


def test_summary_calls_no_noise_a_change(tmp_path):
    text = summary(report.load_run(write_run(tmp_path, [evaluation(0, 0.40), evaluation(100, 0.45)])))
    assert "did not change measurably: it went from 40.0% ± 2.0 to 45.0% ± 2.0" in text


@pytest.mark.parametrize(
    ("evals", "said"),
    [
        ([], "No evaluation was recorded in 100 steps of RL"),
        ([evaluation(0, 0.081)], "The base model's held-out pass@1 is 8.1% ± 2.0; no evaluation was recorded after"),
        ([evaluation(100, 0.83)], "After 100 steps of RL held-out pass@1 is 83.0% ± 2.0; the base model was not"),
        ([{"step": 0}, {"step": 100, "by_source": None}], "pass@1 was not recorded both before and after"),
        ([evaluation(0, math.nan, stderr=None), evaluation(100, 0.5)], "not recorded both before and after"),
    ],
)
def test_missing_evaluations_are_said_not_guessed(tmp_path, no_plots, evals, said):
    workdir = write_run(tmp_path, evals)
    assert said in summary(report.load_run(workdir))
    assert "<h2>The same questions, before and after</h2>" in report.write_report(workdir).read_text(encoding="utf-8")
    console = rich.console.Console(width=120, record=True, file=io.StringIO())
    console.print(report.headline(workdir))
    shown = [row[1:3] for row in comparison(report.load_run(workdir), "base").rows]
    assert ("–", "–") not in shown and (shown or not any("n" in row for row in evals))
    assert said.split(";")[0].split(":")[0][:40] in " ".join(console.export_text().split())


def test_missing_files_and_keys_are_named(tmp_path):
    write_lines(tmp_path / "metrics.jsonl", [
        {"step": 0, "reward/total": 0.5, "kl": 0.1, "loss": None},
        {"step": 1, "reward/total": 0.5, "kl": math.nan, "loss": None},
    ])  # fmt: skip
    page = report.write_report(tmp_path).read_text(encoding="utf-8")
    for text in (
        "config.json is missing",
        "evals.jsonl is missing",
        "KL: 1 of 2 steps hold no finite value.",
        "No step holds a finite value of loss.",
        "No samples of held-out questions were recorded.",
        "No configuration was recorded.",
    ):
        assert text in page


TRAINED = {  # rows as the loops write them
    "supervised": {"learning_rate": 1e-3, "no_room": 3.0, "entropy": 2.0, "loss": 3.0, "grad_norm": 1.0,
                   "skipped": 0.0, "tokens_per_s": 900.0},
    "preference": {"accuracy": 0.75, "grad_norm": 1.0, "loss": 0.5, "margin": 1.5, "skipped": 0.0,
                   "learning_rate": 1e-3, "tokens_per_s": 900.0},
}  # fmt: skip
OF_PAIRS = {"n": 39, "accuracy": 0.5, "stderr": 0.08, "loss": 0.7, "margin": 0.1, "longer_wins": 0.6,
            "longer_wins_stderr": 0.07, "prefers_longer": 0.5, "calibration_error": 0.2, "reliability": []}  # fmt: skip
OF_LABELS = {"n": 39, "accuracy": 0.5, "stderr": 0.08, "safe_share": 0.66, "loss": 0.7, "auroc": 0.6,
             "auroc_stderr": 0.1, "length_auroc": 0.5, "margin": 0.1, "calibration_error": 0.2}  # fmt: skip
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
        (teacher, [], "supervised", ["Loss", "KL to the teacher", "Entropy of the model", *TRAINING,
                                     "Examples without room", "Balance of the experts", "mine"]),
        (pref, [OF_PAIRS], "preference", [*held_out, "Preferring the longer response", "Calibration error",
                                          "Held-out margin", "Loss", "Accuracy in training", "Margin", *TRAINING]),
        (pref, [OF_LABELS], "preference", [*held_out, "Held-out AUROC", "Calibration error", "Held-out margin",
                                           "Loss", "Accuracy in training", "Margin", *TRAINING]),
        (pref, [], "preference", ["Loss", "Accuracy in training", "Margin", *TRAINING]),
        ([{"step": 0, "loss": math.nan, "entropy": 1.0}], [], "supervised", ["Entropy of the model"]),
    ):  # fmt: skip
        assert [panel.title for panel in panels(stage, rows, evals)] == titles
    write_stage(tmp_path, "preference", pref, [{"step": 0, **OF_PAIRS}, {"step": 2, **OF_PAIRS, "accuracy": 0.9}])
    page = report.write_report(tmp_path).read_text("utf-8")
    assert Elements(page).tags.count("img") == 11 and "no data" not in page
    assert "Sampling speed" not in page and "The same questions" not in page and "pass@1" not in page


def test_each_stage_is_told_in_its_own_words(tmp_path):
    rows = [{"step": step, **TRAINED["supervised"], "loss": 4.0 - step} for step in range(3)]
    run = write_stage(tmp_path / "sft", "supervised", rows)
    assert summary(run) == "Over 3 steps of training, the loss fell from 4.000 to 2.000." and not cautions(run)
    assert comparison(run, "base").rows[0] == ("loss", "4.000", "2.000", "-2.000")
    rows = [{"step": step, **TRAINED["preference"]} for step in range(2)]
    evals = [{"step": 0, **OF_PAIRS}, {"step": 2, **OF_PAIRS, "accuracy": 0.9}]
    run = write_stage(tmp_path / "pairs", "preference", rows, evals, held_out_share=0.1)
    assert summary(run) == ("Over 2 steps of training, held-out accuracy rose from 50.0% ± 8.0 to 90.0% ± 8.0 "
                            "(39 pairs; the longer response is the chosen one in 60.0% ± 7.0).")  # fmt: skip
    run = write_stage(tmp_path / "one", "preference", rows, held_out_share=0.0)
    assert "nothing is known of examples that it was not trained on" in summary(run) and not cautions(run)
    assert report.headline(tmp_path / "one").row_count == 3
    (tmp_path / "one" / "config.json").unlink()
    assert report.load_run(tmp_path / "one").stage == "preference"


def test_the_head_says_what_taught_nothing(tmp_path):
    row = TRAINED["supervised"]
    for changes, said in (
        ([{"skipped": 1.0, "loss": None}] * 3, "Nothing was learnt: every update was skipped"),
        ([{}, {"skipped": 1.0}, {"skipped": 0.5}], "Updates worth 1.5 of 3 steps were skipped"),
        ([{"learning_rate": 0.0}] * 3, "Nothing was learnt: the learning rate was 0"),
        ([{"grad_norm": 0.0}] * 3, "Nothing was learnt: the gradient was 0"),
        ([{"groups/no_signal": 1.0}] * 3, "Nothing was learnt from the rewards"),
        ([{"groups/no_signal": 1.0}, {"groups/no_signal": 0.9}], None),
    ):
        run = write_stage(tmp_path, "supervised", [{"step": i, **row, **each} for i, each in enumerate(changes)])
        found = cautions(run)
        assert found and found[0].startswith(said) if said else not found


def test_evaluations_alone_make_a_report(tmp_path, no_plots):
    write_lines(tmp_path / "evals.jsonl", [evaluation(0, 0.1), evaluation(10, 0.5)])
    assert "metrics.jsonl is missing" in report.write_report(tmp_path).read_text(encoding="utf-8")


def test_cautions_name_an_unfinished_run_unlike_evaluations_and_a_control(tmp_path):
    metrics = [{**metric(step), "reward/random": 0.5} for step in range(60)]
    run = report.load_run(write_run(tmp_path, [evaluation(0, 0.1), evaluation(40, 0.2, n=50)], metrics))
    assert cautions(run) == [
        "The run is not complete: it logged 60 of 100 steps.",
        "The last evaluation is of step 40; the run logged 60 steps.",
        "A random reward was paid: this is a control run, whose accuracy should not rise.",
        "The two models were not evaluated alike: n differ.",
    ]


def test_a_step_written_twice_counts_once_and_the_last_counts(tmp_path):
    run = report.load_run(write_run(tmp_path, [evaluation(0, 0.1), evaluation(50, 0.2), evaluation(50, 0.3)]))
    assert [(row["step"], row["pass@1"]) for row in run.evals] == [(0, 0.1), (50, 0.3)]


@pytest.mark.parametrize("line", ['{"step": 1, "kl"', "[1]", '{"kl": 0.5}', '{"step": "one"}'])
def test_malformed_line_is_an_error_naming_file_and_line(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n' + line)
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2"):
        report.write_report(tmp_path)


def test_malformed_sample_is_an_error_naming_file_and_line(tmp_path, no_plots):
    workdir = write_run(tmp_path)
    with (workdir / "evals" / "step_000100.jsonl").open("a") as samples:
        samples.write('{"question": "no id"}\n')
    with pytest.raises(ValueError, match=r"step_000100\.jsonl, line 13: 'id'"):
        report.write_report(workdir)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="workdir of a run"):
        report.write_report(tmp_path)


def test_headline_prints_base_trained_and_change(tmp_path):
    console = rich.console.Console(width=120, record=True, file=io.StringIO())
    console.print(report.headline(write_run(tmp_path), base_title="mini [base]"))
    text = console.export_text()
    for part in ("mini [base]", "8.1% ± 2.0", "83.0% ± 2.0", "+74.9 points", "rose from"):
        assert part in text


def test_smoothing_keeps_a_constant_and_the_ends():
    np.testing.assert_allclose(smooth(np.full(40, 3.0)), 3.0)
    np.testing.assert_allclose(smooth(np.arange(5.0)), np.arange(5.0))
    np.testing.assert_allclose(smooth(np.arange(45.0))[1:-1], np.arange(45.0)[1:-1])
