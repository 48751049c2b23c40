"""Faults of a training: each is said once with its causes, and stops or skips as the config says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import BASE, merged, rows, write_config

from r1jax import config, config_files
from r1jax.core.params import ParamSpec
from r1jax.io import jsonl
from r1jax.stages import supervised
from r1jax.stages.supervised import SupervisedConfig
from r1jax.training import state
from r1jax.training.config import FaultConfig, OptimizerConfig
from r1jax.training.faults import Faults
from r1jax.training.step import make_update

HEALTHY = {"grad_norm": 1.0, "reward/total": 0.5, "entropy": 0.8, "sampler_gap/mean": 1e-6}


def watch(tmp_path, capsys, changes: list[dict], start: int = 0, **policies) -> tuple[list[str], str]:
    """What a run of these rows says from step `start` on, where it was resumed; and why it stops."""
    all_rows = [HEALTHY | {"reward/total": 0.5 + 0.01 * (step % 3)} | row for step, row in enumerate(changes)]
    jsonl.write(tmp_path / "metrics.jsonl", ({"step": step, **row} for step, row in enumerate(all_rows[:start])))
    faults = Faults(tmp_path, FaultConfig(**policies), start)
    for step, row in enumerate(all_rows[start:], start):
        faults.add(step, row)
    return capsys.readouterr().out.splitlines(), faults.stopping


FAULTS = [
    ("grad_spike", [{}] * 12 + [{"grad_norm": 25.0}] + [{}] * 5, 13, "25 times the median of the steps before (1)"),
    ("reward_collapse", [{}] * 20 + [{"reward/total": 0.01}] * 12, 27, "the mean reward of the last 10 steps"),
    (
        "entropy_collapse",
        [{}] * 20 + [{"entropy": 0.03}] * 12,
        25,
        "entropy is 0.03 nats a token, and was 0.8",
    ),
    ("sampler_drift", [{}] * 3 + [{"sampler_gap/mean": 0.4}] * 9, 8, "log-probs differ by 0.4 nats a token"),
]


@pytest.mark.parametrize(("fault", "changes", "step", "words"), FAULTS)
def test_each_fault_is_said_once_where_it_begins_and_handled_by_its_policy(
    tmp_path, capsys, fault, changes, step, words
):
    [line], stopping = watch(tmp_path, capsys, changes)
    assert line.startswith(f"step {step}: ") and words in line and "Likely causes: " in line and not stopping
    assert watch(tmp_path, capsys, changes, **{fault: "ignore"}) == ([], "")
    [again], stopping = watch(tmp_path, capsys, changes, **{fault: "stop"})
    assert again == line and stopping == f"{line} (config.faults.{fault}=stop)"
    # A resumed run goes on counting, and does not repeat what was said before.
    for start in (step - 2, step - 1):
        assert watch(tmp_path, capsys, changes, start) == ([line], "")
    assert watch(tmp_path, capsys, changes, step, **{fault: "stop"}) == ([], "")


def test_noise_gaps_in_the_metrics_and_early_steps_are_no_faults(tmp_path, capsys):
    noisy = [{"reward/total": 0.3 * (step % 4 == 0), "grad_norm": 1.0 + 8.0 * (step % 5 == 0)} for step in range(60)]
    assert watch(tmp_path, capsys, noisy) == ([], "")
    broken = {"grad_norm": float("nan"), "entropy": None, "sampler_gap/mean": None}
    unknown = [{name: float("nan") for name in broken}] * 10
    assert watch(tmp_path, capsys, unknown) == ([], "")
    assert watch(tmp_path, capsys, [{"grad_norm": 100.0 * (step == 5) + 1} for step in range(9)]) == ([], "")
    supervised_rows = [{"entropy": 6.0 / (step + 1)} for step in range(200)]  # which a model that learns has
    faults = Faults(tmp_path, FaultConfig(), 0)
    for step, row in enumerate(supervised_rows):
        faults.add(step, row)
    assert not capsys.readouterr().out


def test_an_update_above_the_limit_is_left_out_and_the_limit_follows_the_median(tmp_path, mesh1):
    faults = Faults(tmp_path, FaultConfig(grad_spike="skip", spike_factor=4.0), 0)
    assert faults.largest_norm == np.inf
    for step in range(12):
        faults.add(step, {"grad_norm": 2.0 + (step == 3)})
    assert faults.largest_norm == 8.0  # four times the median
    specs = {"w": ParamSpec((4,), (None,))}
    tx = state.make_optimizer(OptimizerConfig(learning_rate=0.1), specs, 10)

    def loss(params, batch):
        return jnp.sum(params["w"] * batch), {}

    with jax.set_mesh(mesh1):
        update = make_update(
            lambda params, batch: (jnp.sum(params["w"] * batch), {}),
            tx,
            specs,
            mesh1,
            1,
            0.0,
            lambda: faults.largest_norm,
        )
        now = state.create({"w": jnp.ones(4)}, specs, tx, mesh1)
        for size, skipped in ((3.0, 0.0), (4.1, 1.0)):  # norms 6 and 8.2
            before = np.asarray(now.params["w"])
            now, metrics = update(now, jnp.full((4,), size))
            assert (float(metrics["skipped_spike"]), float(metrics["skipped"])) == (skipped, 0.0)
            assert np.array_equal(before, now.params["w"]) == bool(skipped)
        assert int(now.step) == 2


def test_a_run_that_stops_for_a_fault_leaves_its_state_and_batch_and_goes_on_past_it(
    tmp_path, mesh1, monkeypatch, shared_updates
):
    tree = merged(BASE, num_steps=4, mesh={"data": 1}, checkpoint__every=0, faults={"grad_spike": "stop"})
    cfg = config.parse(SupervisedConfig, config_files.load(write_config(tmp_path / "base.py", tree)))
    check = Faults._check

    def spike_at_second(self, row):
        self._seen = getattr(self, "_seen", 0) + 1
        return check(self, row) | ({"grad_spike": "the gradient's norm is large."} if self._seen == 2 else {})

    monkeypatch.setattr(Faults, "_check", spike_at_second)
    workdir = tmp_path / "run"
    workdir.mkdir()
    with jax.set_mesh(mesh1), pytest.raises(ValueError, match="step 2: the gradient's norm is large") as error:
        supervised.run(cfg, workdir, mesh1)
    evidence = workdir / "faults" / "step_000001.npz"
    assert str(evidence) in str(error.value) and np.load(evidence)["tokens"].any()
    assert (workdir / "checkpoints" / "2").is_dir()
    with jax.set_mesh(mesh1):
        supervised.run(cfg, workdir, mesh1)
    assert [row["step"] for row in rows(workdir / "metrics.jsonl")] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("field", "value"), [("spike_factor", 1.0), ("reward_share", 1.5), ("entropy_share", -0.1), ("largest_gap", 0.0)]
)
def test_a_threshold_without_a_meaning_is_refused(field, value):
    with pytest.raises(ValueError, match=field):
        FaultConfig(**{field: value})
