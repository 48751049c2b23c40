"""The report of an RL run: its page, summary and cautions, with files missing or malformed."""

import io
import math

import numpy as np
import pytest
import rich.console
from report_runs import Elements, evaluation, metric, write_lines, write_run

from r1jax.report import run as report
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


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    return report.write_report(write_run(tmp_path_factory.mktemp("run") / "zero-mini")).read_text(encoding="utf-8")


@pytest.fixture
def no_plots(monkeypatch) -> None:
    """Drawing takes seconds; what is not about plots goes without."""
    monkeypatch.setattr(report, "draw_plots", lambda stage, metrics, evals: [])


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
    values = report._questions(report.load_run(write_run(tmp_path)))
    assert [item["id"] for item in values] == [
        f"heldout-{source}-{question}" for question in (1, 2, 3, 4) for source in ("chain_sum", "countdown")
    ]
    assert all("".join(piece for _, piece in item["sides"][0]["pieces"]) != "a later sample" for item in values)


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
    ("evals", "message"),
    [
        ([], "No evaluation was recorded in 100 steps of RL"),
        ([evaluation(0, 0.081)], "The base model's held-out pass@1 is 8.1% ± 2.0; no evaluation was recorded after"),
        ([evaluation(100, 0.83)], "After 100 steps of RL held-out pass@1 is 83.0% ± 2.0; the base model was not"),
        ([{"step": 0}, {"step": 100, "by_source": None}], "pass@1 was not recorded both before and after"),
        ([evaluation(0, math.nan, stderr=None), evaluation(100, 0.5)], "not recorded both before and after"),
    ],
)
def test_missing_evaluations_are_said_not_guessed(tmp_path, no_plots, evals, message):
    workdir = write_run(tmp_path, evals)
    assert message in summary(report.load_run(workdir))
    assert "<h2>The same questions, before and after</h2>" in report.write_report(workdir).read_text(encoding="utf-8")
    console = rich.console.Console(width=120, record=True, file=io.StringIO())
    console.print(report.headline(workdir))
    values = [row[1:3] for row in comparison(report.load_run(workdir), "base").rows]
    assert ("–", "–") not in values and (values or not any("n" in row for row in evals))
    assert message.split(";")[0].split(":")[0][:40] in " ".join(console.export_text().split())


def test_missing_files_and_keys_are_named(tmp_path):
    write_lines(
        tmp_path / "metrics.jsonl",
        [
            {"step": 0, "reward/total": 0.5, "kl": 0.1, "loss": None},
            {"step": 1, "reward/total": 0.5, "kl": math.nan, "loss": None},
        ],
    )
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
    with pytest.raises(ValueError, match=r"metrics\.jsonl:2: "):
        report.write_report(tmp_path)


def test_malformed_sample_is_an_error_naming_file_and_line(tmp_path, no_plots):
    workdir = write_run(tmp_path)
    with (workdir / "evals" / "step_000100.jsonl").open("a") as samples:
        samples.write('{"question": "no id"}\n')
    with pytest.raises(ValueError, match=r"step_000100\.jsonl:13: 'id'"):
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
