"""The entry: a tiny run from nothing to a report, the run again, and every way in which a user may be wrong."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
from tiny_run import BASE, ZERO, merged, rows, timeless, write_config
from tracking_test import event_files

from r1jax import config
from r1jax.inference.model_identity import model_hash
from r1jax.models.io import is_model
from r1jax.stages import base_keys, bases, supervised
from r1jax.stages.groups import GroupSampler
from r1jax.stages.supervised import SupervisedConfig
from r1jax.stages.workdir import claim
from r1jax.tools import train

pytestmark = pytest.mark.usefixtures("in_this_process")
ROOT = pathlib.Path(__file__).resolve().parent.parent
QUESTIONS = [{"prompt": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(40)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("train")


@pytest.fixture(scope="module")
def tree(folder):
    base = write_config(folder / "base.py", BASE)
    as_in_training = {"temperature": 1.0, "top_p": 1.0}  # one compilation fewer
    return merged(ZERO, base=base, seed=0, data__held_out_share=0.3, evaluation__truncation=as_in_training)


@pytest.fixture(scope="module")
def spec(folder, tree) -> str:
    return write_config(folder / "zero.py", tree)


def main(spec: str, workdir: pathlib.Path, *overrides: str) -> int:
    return train.main([f"--config={spec}", f"--workdir={workdir}", *(f"--config.{each}" for each in overrides)])


def fails(capsys, *args: str) -> str:
    """Runs to exit code 2, and returns the one message that is all of standard error."""
    capsys.readouterr()
    assert main(*args) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "Traceback" not in error
    return error.removeprefix("error: ").rstrip("\n")


@pytest.fixture(scope="module")
def finished(folder, spec) -> pathlib.Path:
    """A run from nothing: base, three steps, evaluations, report."""
    assert main(spec, folder / "runs" / "zero") == 0
    return folder / "runs" / "zero"


def test_a_run_leaves_metrics_evaluations_samples_a_model_and_a_report(finished):
    metrics = rows(finished / "metrics.jsonl")
    assert [row["step"] for row in metrics] == [0, 1, 2]
    for key in (
        "reward/total",
        "reward/accuracy",
        "reward/format",
        "reward/random",
        "length/mean",
        "length/truncated",
        "reflection/share",
        "language/mixed",
        "kl",
        "entropy",
        "clip/rate",
        "groups/no_signal",
        "sampler_gap/max",
        "grad_norm",
        "learning_rate",
        "tokens_per_s",
        "time/sample",
        "time/update",
        "time/eval",
        "time/save",
    ):
        assert all(isinstance(row[key], float) for row in metrics), key
    assert all(row["skipped"] == 0.0 and row["grad_norm"] > 0 for row in metrics)
    evals = rows(finished / "evals.jsonl")
    assert [(row["step"], row["n"], row["k"]) for row in evals] == [(0, 4, 2), (2, 4, 1), (3, 4, 2)]  # trap 31
    assert all({"stderr", "truncated", "cons@k", "temperature", "top_p"} <= row.keys() for row in evals)
    for row in evals:
        samples = rows(finished / "evals" / f"step_{row['step']:06d}.jsonl")
        assert len(samples) == row["n"] * row["k"]
        assert len({sample["question"] for sample in samples}) == 4
    assert is_model(finished / "model")
    assert "<html" in (finished / "report.html").read_text()[:500].lower()


def test_what_is_not_in_use_may_lie_in_the_hosts_memory_and_no_bit_changes(finished, spec, monkeypatch):
    places = []

    def draw(sampler, params, step):
        places.append({x.sharding.memory_kind for x in jax.tree.leaves(params)})
        return draw_groups(sampler, params, step)

    draw_groups = GroupSampler.draw
    monkeypatch.setattr(GroupSampler, "draw", draw)
    workdir = finished.parent / "aside"
    assert main(spec, workdir, "host_memory.policy=True", "host_memory.reference=True", "evaluation.every=0") == 0
    assert places == [{"pinned_host"}] * 3
    of_both = [[timeless(row) for row in rows(run / "metrics.jsonl")] for run in (workdir, finished)]
    assert of_both[0] == of_both[1]


def test_a_finished_run_started_again_does_nothing_new_and_succeeds(finished, spec, capsys):
    names = ("metrics.jsonl", "evals.jsonl", "config.json", "evals/step_000003.jsonl")
    before = {name: (finished / name).read_bytes() for name in names}
    states = {p.name: p.stat().st_mtime_ns for p in (finished / "checkpoints").iterdir()}
    model = model_hash(finished / "model")
    assert main(spec, finished) == 0
    assert model_hash(finished / "model") == model
    assert "resuming at step 3" in capsys.readouterr().out
    assert {name: (finished / name).read_bytes() for name in names} == before
    assert {p.name: p.stat().st_mtime_ns for p in (finished / "checkpoints").iterdir()} == states


def test_trap33_the_same_run_elsewhere_is_the_same_run_on_the_same_base(finished, spec, folder, capsys):
    """And with fewer slots, a value that may change no result: what differs is the order in which samples end."""
    assert main(spec, folder / "runs" / "again", "sampling.slots=16") == 0
    assert "making the base" not in capsys.readouterr().out
    assert len(list((folder / "runs").glob("base-*"))) == 1
    for name in ("metrics.jsonl", "evals.jsonl"):
        a, b = rows(finished / name), rows(folder / "runs" / "again" / name)
        for x, y in zip(a, b, strict=True):
            # The sampler's log-probs come from products of other shapes: rounding, which `sampler_gap` alone shows.
            assert all(value == y[key] for key, value in timeless(x).items() if "gap" not in key)


def test_a_workdir_of_another_config_is_refused_with_the_keys_that_differ(finished, spec, capsys):
    message = fails(capsys, spec, finished, "grpo.beta=0.02", "seed=3", "microbatches=2")
    assert str(finished) in message and "--workdir" in message
    assert [line.strip() for line in message.splitlines()[1:]] == ["grpo.beta: 0.01 -> 0.02", "seed: 0 -> 3"]


def test_trap38_a_finished_run_goes_on_for_longer_by_other_means(finished, spec, tmp_path, capsys):
    workdir = shutil.copytree(finished, tmp_path / "zero")
    shutil.copytree(next(finished.parent.glob("base-*")), tmp_path / next(finished.parent.glob("base-*")).name)
    means = ["microbatches=2", "sampling.slots=4", "batch_bucket=32", "checkpoint.every=1", "keep_rollouts=0"]
    means.append("track.tensorboard=true")
    assert main(spec, workdir, "num_steps=4", *means) == 0
    said = capsys.readouterr().out
    assert "resuming at step 3" in said and "num_steps 3 -> 4" in said and "sampling.slots 8 -> 4" in said
    metrics = rows(workdir / "metrics.jsonl")
    assert metrics[:3] == rows(finished / "metrics.jsonl") and metrics[3]["step"] == 3 and metrics[3]["grad_norm"] > 0
    assert [row["step"] for row in rows(workdir / "evals.jsonl")] == [0, 2, 4]
    assert len(rows(workdir / "config_changes.jsonl")[0]["changed"]) == 7
    scalars, tables, _ = event_files(workdir)  # the steps before it was switched on, too
    assert sorted(scalars) == [0, 1, 2, 3, 4]
    steps = {tag: sorted(by_step) for tag, by_step in tables.items()}
    assert steps == {"samples/evals": [0, 2, 4], "samples/rollouts": [0, 1, 2]}
    for row in metrics:
        step = row.pop("step")
        assert {name: scalars[step][name] for name in row} == {name: float(np.float32(v)) for name, v in row.items()}
    assert "num_steps: 4 -> 3" in fails(capsys, spec, workdir)  # the record is that of now


@pytest.mark.parametrize("workdir", ["", " "])
def test_an_empty_workdir_is_refused_and_nothing_is_written_here(spec, workdir, tmp_path, monkeypatch, capsys):
    """As a script gives it whose variable is not set; "" as a path is the folder that it was started in."""
    monkeypatch.chdir(tmp_path)
    assert fails(capsys, spec, workdir).startswith("--workdir is empty")
    assert not list(tmp_path.iterdir())


OUT_OF_RANGE = [
    "sampling.max_new_tokens=0",
    "sampling.slots=0",
    "sampling.window=0",
    "sampling.bucket=0",
    "grpo.minibatches=0",
    "grpo.inner_epochs=0",
    "grpo.prompts_per_step=0",
    "microbatches=0",
    "batch_bucket=0",
    "num_steps=0",
    "seed=-1",
    "evaluation.questions=0",
    "evaluation.samples=0",
    "checkpoint.keep=0",
    "rewards.overlong_buffer=1000",
]


@pytest.mark.parametrize("override", OUT_OF_RANGE)
def test_a_setting_out_of_range_is_refused_by_name(spec, override):
    with pytest.raises(config.ConfigError, match=override.split(".")[-1]):
        train.read_config(spec, [override])


def test_a_workdir_whose_base_is_another_now_is_refused(spec, tmp_path, monkeypatch):
    cfg = train.read_config(spec, [])
    monkeypatch.setattr("r1jax.stages.workdir.base_name", lambda spec: "base-old")
    claim(tmp_path, cfg)
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n')
    claim(tmp_path, cfg)
    monkeypatch.setattr("r1jax.stages.workdir.base_name", lambda spec: "base-new")
    with pytest.raises(config.ConfigError, match="base_key: 'base-old' -> 'base-new'"):
        claim(tmp_path, cfg)


def test_questions_that_the_base_may_have_read_are_not_held_out(tmp_path):
    base = write_config(tmp_path / "base.py", BASE)
    zero = write_config(tmp_path / "zero.py", merged(ZERO, base=base))
    base_keys.check_split(train.read_config(zero, ["data.held_out_share=0.3"]))
    with pytest.raises(config.ConfigError, match=r"held_out_share=0.4 .* 0.3"):
        base_keys.check_split(train.read_config(zero, ["data.held_out_share=0.4"]))


def test_a_field_that_the_page_leaves_at_its_default_can_be_set_too(spec):
    cfg = train.read_config(spec, ["grpo.entropy_bonus=0.5", "mesh.fsdp=2", "sampling.truncation.top_k=7"])
    assert (cfg.grpo.entropy_bonus, cfg.mesh.fsdp, cfg.sampling.truncation.top_k) == (0.5, 2, 7)


def test_a_page_is_judged_after_the_command_line_and_not_before(tmp_path):
    """Values that would be refused, and fields that are missing, do not matter where the command line sets them."""
    page = merged(
        ZERO,
        base=str(tmp_path / "nowhere"),
        num_steps=-3,
        optimizer__clip_norm=-1.0,
        data__template="plane",
        stage="r1",
        grpo__beta="much",
    )
    del page["evaluation"], page["data"]["tasks"]
    spec = write_config(tmp_path / "zero.py", page)
    mended = [
        "stage=rl",
        "base=model",
        "num_steps=2",
        "optimizer.clip_norm=1",
        "data.template=plain",
        "grpo.beta=0.1",
        "data.path=questions.jsonl",
    ]
    cfg = train.read_config(spec, mended)
    assert (cfg.base, cfg.num_steps, cfg.optimizer.clip_norm, cfg.grpo.beta) == ("model", 2, 1.0, 0.1)
    for left_out in mended:  # each of them is refused for itself
        if not left_out.startswith("base="):
            with pytest.raises(config.ConfigError):
                train.read_config(spec, [each for each in mended if each != left_out])
    with pytest.raises(config.ConfigError, match=r"clip_norm=-2\.0"):
        train.read_config(spec, [*mended, "optimizer.clip_norm=-2"])


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("grpo.betta=0.1", ["config.grpo.betta", "beta"]),
        ("grpo.learning_rate=0.1", ["config.grpo.learning_rate", "in other sections: optimizer.learning_rate"]),
        ("grpo.beta=often", ["config.grpo.beta", "a number"]),
        ("sampling.slots=1.5", ["config.sampling.slots", "an int"]),
        ("data.path=qestions.jsonl", ["qestions.jsonl", "questions.jsonl"]),
        ("grpo.aggregation=tokens", ["config.grpo.aggregation", "'token'"]),
        ("base=configs/bass.py:mini", ["configs/bass.py", "base.py"]),
        ("stage=sft", ["config.stage", "supervised, rl"]),
        ("mesh.data=3", ["config.mesh", "1 devices"]),
        ("evaluation.questions=4000000", ["held-out questions"]),
    ],
)
def test_a_wrong_value_is_one_line_that_names_its_place(finished, folder, tree, capsys, monkeypatch, override, says):
    folder.joinpath("questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    monkeypatch.chdir(folder if "path" in override else ROOT)
    full = merged(
        tree,
        grpo__aggregation="token",
        mesh__data=1,
        data__tasks=(
            {"name": "chain_sum", "options": {"max_digits": 1, "min_digits": 1, "min_terms": 2, "max_terms": 2}},
        ),
    )
    message = fails(capsys, write_config(folder / "full.py", full), folder / "runs" / "wrong", override)
    assert "\n" not in message
    assert all(word in message for word in says), message


def test_a_base_that_is_a_folder_without_a_model_says_so_and_one_that_is_not_there_names_the_nearest(
    tree, tmp_path, capsys
):
    (tmp_path / "Qwen2.5-7B").mkdir()
    spec = write_config(tmp_path / "zero.py", tree)
    message = fails(capsys, spec, tmp_path / "run", f"base={tmp_path / 'Qwen2.5-7B'}")
    assert "Qwen2.5-7B is a folder without a model: it has neither r1jax's model.json nor" in message
    assert "nearest in" in (message := fails(capsys, spec, tmp_path / "run", f"base={tmp_path / 'Qwen2.5-8B'}"))
    assert message.endswith("Qwen2.5-7B")


def test_a_missing_config_file_names_the_nearest(folder, capsys, spec):
    message = fails(capsys, str(folder / "zeno.py"), folder / "runs" / "wrong")
    assert "zeno.py" in message and "zero.py" in message and "\n" not in message


def file_of(path: pathlib.Path, *extra: str) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS) + "".join(line + "\n" for line in extra))
    return f"data.path={path}"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"prompt": "1 + 1?", "answer": ', "not JSON"),
        ('{"prompt": "1 + 1?"}', "no 'answer'"),
        ('{"prompt": "Why?", "answer": "$$"}', "reference answer '$$'"),  # trap 25
    ],
)
def test_trap25_a_bad_line_is_named_and_left_out_only_when_told(finished, spec, folder, capsys, line, says):
    path = folder / "bad.jsonl"
    data, workdir = file_of(path, line), folder / "runs" / "bad"
    message = fails(capsys, spec, workdir, data)
    assert f"{path}:41:" in message and says in message and "data.skip_bad_lines=true" in message
    assert "\n" not in message


def test_a_users_questions_take_the_tasks_place_and_bad_lines_are_counted(finished, spec, folder, capsys):
    """In the workdir that the bad line was refused in: taking the message's advice must be enough."""
    data, workdir = file_of(folder / "users.jsonl", "nonsense", "more of it"), folder / "runs" / "users"
    fails(capsys, spec, workdir, data)
    assert main(spec, workdir, data, "data.skip_bad_lines=true", "num_steps=1", "evaluation.every=0") == 0
    assert "2 bad lines left out" in capsys.readouterr().out
    asked = {row["question"] for row in rows(workdir / "evals" / "step_000001.jsonl")}
    assert len(asked) == 4 and asked <= {row["prompt"] for row in QUESTIONS}
    assert all(row["source"] == "maths:users.jsonl" for row in rows(workdir / "evals" / "step_000001.jsonl"))
    with (folder / "users.jsonl").open("a") as file:
        file.write("\n")
    message = fails(capsys, spec, workdir, data, "data.skip_bad_lines=true", "num_steps=1", "evaluation.every=0")
    assert "data_key: " in message, "the questions are other ones than the run began with"


def test_the_base_is_keyed_by_all_that_makes_it(monkeypatch, tmp_path, mesh1):
    def key(**changes) -> str:
        return base_keys.base_key(config.parse(SupervisedConfig, merged(BASE, **changes)))

    assert key() == key()
    changes = [
        {},
        {"num_steps": 3},
        {"seed": 1},
        {"optimizer__b2": 0.9},
        {"model__num_layers": 3},
        {"corpus__drill": 0.5},
    ]
    assert len({key(**change) for change in changes}) == len(changes)

    made = []

    def record(cfg, workdir, mesh, base, vocabulary):
        made.append(workdir.name)
        return workdir / "model"

    monkeypatch.setattr(supervised, "run", record)
    spec = write_config(tmp_path / "base.py", BASE)
    for _ in range(2):
        assert bases.find_base(spec, tmp_path / "runs", mesh1) == tmp_path / "runs" / f"base-{key()}" / "model"
    write_config(tmp_path / "base.py", merged(BASE, num_steps=3))
    bases.find_base(spec, tmp_path / "runs", mesh1)
    assert made == [f"base-{key()}"] * 2 + [f"base-{key(num_steps=3)}"]
    # The text that its code generates counts, too.
    old = key()
    monkeypatch.setattr("r1jax.stages.base_keys.document", lambda cfg, seed, index: "another world")
    assert key() != old


def test_a_model_folder_is_a_base_as_it_is_and_an_rl_config_is_none(finished, spec, mesh1):
    assert bases.find_base(str(finished / "model"), finished.parent, mesh1) == finished / "model"
    with pytest.raises(config.ConfigError, match="is a config of the stage rl"):
        bases.find_base(spec, finished.parent, mesh1)
