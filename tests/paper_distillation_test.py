"""The experiment on distillation: its runs' configs are valid, its costs and differences as worked out by hand."""

import pathlib
from types import ModuleType
from typing import Any

import pytest
from paper_scripts import FOLDER, script

from r1jax.io import jsonl
from r1jax.io.files import write_json
from r1jax.stages.config import RLConfig, SupervisedConfig
from r1jax.stages.table import read_config


@pytest.fixture
def experiment() -> ModuleType:
    return script("distillation")


@pytest.fixture
def trained(experiment, monkeypatch, tmp_path) -> dict[str, Any]:
    """The configs of all runs of a seed, as `r1jax train` reads them, by the names of their folders."""
    configs: dict[str, Any] = {}

    def train(config: str, workdir: pathlib.Path, environment: object = None, **fields: object) -> pathlib.Path:
        assert workdir.name not in configs, "what is done is begun again"
        configs[workdir.name] = read_config(config, [f"{field}={value}" for field, value in fields.items()])
        workdir.mkdir()
        return workdir

    monkeypatch.chdir(FOLDER.parent.parent)
    monkeypatch.setattr(experiment.study, "train", train)
    monkeypatch.setattr(experiment.study, "write_world", lambda folder, seed: folder)
    options = experiment.study.Options(tmp_path, (7,))
    experiment.make_students(options)
    assert not experiment.is_whole(options, 7)
    for _ in range(2):
        experiment.run_seed(options, 7)
        assert experiment.is_whole(options, 7)
    return configs


def test_all_arms_have_the_same_prompts_questions_and_student(trained, experiment):
    rl = {name: cfg for name, cfg in trained.items() if isinstance(cfg, RLConfig)}
    assert {name.split("_", 2)[2] for name in rl} == {"rl", "on_policy", "samples_rl"} and len(rl) == 6
    prompts = {(cfg.data.template, cfg.data.chat, cfg.data.marker) for cfg in rl.values()}
    assert prompts == {("r1_zero", False, None)} and len({cfg.data.path for cfg in rl.values()}) == 1
    supervised = {name: cfg for name, cfg in trained.items() if isinstance(cfg, SupervisedConfig)}
    distilled = {name: cfg for name, cfg in supervised.items() if cfg.data}
    assert {name.split("_", 2)[2] for name in distilled} == {"samples", "logits"} and len(distilled) == 4
    assert {(cfg.data.template, cfg.data.marker) for cfg in distilled.values()} == {("r1_zero", "")}
    for family in experiment.FAMILIES.values():
        bases = {trained[f"seed7_{family}_{name}"].base for name in ("rl", "samples", "logits", "on_policy")}
        assert bases == {experiment.STUDENTS[family]}
        assert trained[f"seed7_{family}_samples_rl"].base.endswith(f"seed7_{family}_samples/model")
        assert trained[f"seed7_{family}_logits"].soft_targets.endswith("teacher_logits")
        on_policy = trained[f"seed7_{family}_on_policy"]
        assert on_policy.teacher == trained["seed7_teacher_samples"].model == str(experiment.TEACHER)
        assert on_policy.distillation.weight == 1.0 and not on_policy.grpo.beta
    evaluations = [cfg for name, cfg in trained.items() if "_evaluation_" in name]
    assert len(evaluations) == 1 + 2 * 6
    assert {(cfg.template, cfg.marker, cfg.samples) for cfg in evaluations} == {("r1_zero", "", experiment.SAMPLES)}


def test_costs_are_added_over_the_work_of_an_arm(experiment, tmp_path):
    options = experiment.study.Options(tmp_path, (1,))

    def write(*names: str, seconds: float, metrics=(), evaluations=0.0):
        workdir = experiment.folder(options, 1, *names)
        jsonl.append(workdir / "seconds.jsonl", {"seconds": seconds})
        write_json(workdir / "config.json", {"grpo": {"prompts_per_step": 3, "group_size": 2}})
        for length in metrics:
            jsonl.append(workdir / "metrics.jsonl", {"length/mean": length, "time/eval": evaluations})

    for names in (("teacher_samples",), ("qwen2", "samples"), ("qwen2", "samples_rl"), ("evaluation", "x")):
        experiment.folder(options, 1, *names).mkdir()
    write("teacher_samples", seconds=10)
    (tmp_path / "seed1_teacher_samples" / "record").mkdir()
    for tokens in (5, 7):
        jsonl.append(tmp_path / "seed1_teacher_samples" / "record" / "samples.jsonl", {"tokens": tokens})
    write("qwen2", "samples", seconds=20)
    write("qwen2", "samples_rl", seconds=30, metrics=(10.0, 20.0), evaluations=2.0)
    figure = {"pass@1": {"value": 0.5}, "cons@8": {"value": 0.75}}
    result = {"figures": figure, "rates": {"well_formed": 1.0}, "length": {"mean": 30.0}}
    for name in ("qwen2_samples", "qwen2_samples_rl"):
        (tmp_path / f"seed1_evaluation_{name}" / "world_reasoning").mkdir(parents=True)
        write_json(tmp_path / f"seed1_evaluation_{name}" / "world_reasoning" / "result.json", result)
    by_samples = experiment.arm_result(options, 1, "qwen2", "distilled by samples")
    assert by_samples == experiment.Result(50.0, 75.0, 100.0, 30.0, 30.0, 0, 12)
    then_rl = experiment.arm_result(options, 1, "qwen2", "by samples, then RL")
    # 10 + 20 + 30 seconds less two evaluations of 2; two steps of 6 samples, of 10 and 20 tokens each.
    assert (then_rl.seconds, then_rl.student_tokens, then_rl.teacher_tokens) == (56.0, 180, 12)
    assert experiment.cells("x", [then_rl])[-3:] == ["56", "0k", "0k"]


def test_differences_are_taken_at_the_same_seed(experiment):
    def results(*accuracies: float):
        return [experiment.Result(accuracy, 0.0, 0.0, 0.0, 1.0) for accuracy in accuracies]

    arms = dict.fromkeys(experiment.ARMS, results(0.0, 0.0)) | {
        "distilled by samples": results(50.0, 60.0),
        "RL alone": results(40.0, 54.0),
    }
    first = experiment.differences({"one": arms}, (1, 2))[0]
    assert first == ["distilled by samples, less RL alone", "one", "+10.0", "+6.0", "8.0 ± 2.8"]


def test_the_page_of_finished_seeds_has_a_row_for_each_arm_and_student(experiment, monkeypatch, tmp_path):
    options, pages = experiment.study.Options(tmp_path, (1, 2), page_only=True), []
    monkeypatch.setattr(experiment.study, "write_page", lambda *page: pages.append(page))
    figures = {"pass@1": {"value": 0.25}, f"cons@{experiment.SAMPLES}": {"value": 0.5}}
    result = {"figures": figures, "rates": {"well_formed": 1.0}, "length": {"mean": 30.0}}
    for seed in options.seeds:
        for name in experiment.SHARED:
            (experiment.folder(options, seed, name) / "record").mkdir(parents=True)
            jsonl.append(experiment.folder(options, seed, name) / "record" / "samples.jsonl", {"tokens": 40_000})
            jsonl.append(experiment.folder(options, seed, name) / "seconds.jsonl", {"seconds": 10.0})
        evaluations = ["teacher"]
        for family in experiment.FAMILIES.values():
            evaluations.append(f"{family}_start")
            for work in experiment.ARMS.values():
                workdir = experiment.folder(options, seed, family, work[-1])
                workdir.mkdir()
                write_json(workdir / "config.json", {"grpo": {"prompts_per_step": 12, "group_size": 8}})
                jsonl.append(workdir / "metrics.jsonl", {"length/mean": 100.0})
                jsonl.append(workdir / "seconds.jsonl", {"seconds": 20.0})
                for step in (0, 40):
                    jsonl.append(workdir / "evals.jsonl", {"step": step, "pass@1": 0.1})
                evaluations.append(f"{family}_{work[-1]}")
        for name in evaluations:
            workdir = experiment.folder(options, seed, "evaluation", name)
            (workdir / "world_reasoning").mkdir(parents=True)
            write_json(workdir / "world_reasoning" / "result.json", result)
            jsonl.append(workdir / "seconds.jsonl", {"seconds": 1.0})
    experiment.write(options, options.seeds)
    [(name, text, figure)] = pages
    assert name == "distillation" and len(figure.axes) == 2 and text.startswith("**Of 2 of the 3 seeds so far.**")
    samples_rl = "25.0 ± 0.0 | 50.0 ± 0.0 | 100.0 ± 0.0 | 30.0 ± 0.0 | 50 ± 0 | 10 ± 0k | 40 ± 0k |"
    assert text.count(f"| by samples, then RL | {samples_rl}") == 2
    assert text.count("| as it starts |") == 2 and text.count("| +0.0 | +0.0 | 0.0 ± 0.0 |") == 2 * len(
        experiment.COMPARED
    )
