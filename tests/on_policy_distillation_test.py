"""On-policy distillation: its loss by hand, its gradient on any mesh, a run that resumes, and what it refuses."""

import dataclasses
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from advantages_test import rollout
from rl_test import Graders, leaves, same
from tiny_run import ZERO, merged, rows, timeless, write_config

from r1jax import config, config_files
from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES
from r1jax.data.batching import pad_rollouts, to_device
from r1jax.losses.auxiliary import AuxiliaryConfig
from r1jax.losses.config import DistillationConfig, GRPOConfig
from r1jax.losses.grpo import grpo_loss
from r1jax.models.config import ModelConfig
from r1jax.models.io import load_model, save_model
from r1jax.models.logits import Truncation
from r1jax.models.transformer import forward, param_specs
from r1jax.stages import rl
from r1jax.stages.rl_batch import make_batch, minibatches, packed
from r1jax.stages.teacher_scoring import RolloutTeacher
from r1jax.text.tokenizer import train_sentencepiece
from r1jax.training import state
from r1jax.training.checkpoint import Checkpoints
from r1jax.training.step import make_update

pytestmark = pytest.mark.usefixtures("shared_engines", "shared_updates")
V = 12
MODEL = ModelConfig(
    vocab_size=V,
    embed_dim=8,
    num_layers=1,
    num_heads=2,
    num_kv_heads=2,
    head_dim=4,
    mlp_dim=8,
    tie_embeddings=False,
)
GRPO = GRPOConfig(prompts_per_step=2, group_size=2, minibatches=1, beta=0.0)
# A policy that finds all 12 tokens equally likely; a teacher that gives token 0 a half, and the others the same each.
UNIFORM_KL = {
    "reverse": math.log(1 / 6) / 12 + 11 / 12 * math.log(11 / 6),
    "forward": math.log(6) / 2 + math.log(6 / 11) / 2,
}
# The derivatives in the logits, of token 0 and of another: q (log(q / p) - KL), and q - p.
UNIFORM_SLOPES = {
    "reverse": ((math.log(1 / 6) - UNIFORM_KL["reverse"]) / 12, (math.log(11 / 6) - UNIFORM_KL["reverse"]) / 12),
    "forward": (1 / 12 - 1 / 2, 1 / 12 - 1 / 22),
}


def loss(params, batch, weight=1.0, kl="reverse", grpo=GRPO):
    how = DistillationConfig(weight, kl)
    return grpo_loss(params, MODEL, batch, grpo, Truncation(), 3, AuxiliaryConfig(), how)


@pytest.fixture(scope="module")
def uniform(mesh1):
    """Weights of the policy that finds all tokens equally likely."""
    drawn = core.init(param_specs(MODEL), TRAIN_RULES, mesh1, seed=0)
    return {**drawn, "unembed": jnp.zeros_like(drawn["unembed"])}


@pytest.fixture(scope="module")
def taught():
    """Two rollouts, of two tokens and of one, each token with the same weight, and that teacher's distributions."""
    batch = pad_rollouts([rollout([3, 4], [5, 6]), rollout([7], [8])], np.array([1.0, -1.0]), 4)
    ids, logprobs = np.zeros((2, 4, 1), np.int32), np.full((2, 4, 2), math.log(0.5), np.float16)
    return dataclasses.replace(batch, weights=batch.weights / 3, soft_ids=ids, soft_logprobs=logprobs)


@pytest.mark.parametrize("kl", ["reverse", "forward"])
def test_loss_and_gradient_by_hand(uniform, taught, kl):
    (value, metrics), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=(2, 3))(
        uniform, taught, 1.0, kl
    )
    assert float(value) == pytest.approx(UNIFORM_KL[kl], abs=2e-4)
    assert float(metrics["teacher_kl"]) == pytest.approx(UNIFORM_KL[kl], abs=2e-4)
    # Each logit is the product of a row of the table with the state at a sampled token, of which there are three.
    hidden = forward(uniform, MODEL, taught.tokens, taught.positions, taught.segments).hidden
    states = jnp.sum(hidden * taught.weights[..., None], axis=(0, 1))
    first, others = UNIFORM_SLOPES[kl]
    np.testing.assert_allclose(gradient["unembed"][0], first * states, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(gradient["unembed"][1], others * states, rtol=1e-2, atol=1e-4)


def test_below_weight_1_the_objective_of_rl_has_the_rest(uniform, taught):
    values = {weight: float(jax.jit(loss, static_argnums=2)(uniform, taught, weight)[0]) for weight in (0.25, 1.0)}
    alone = dataclasses.replace(taught, soft_ids=None, soft_logprobs=None)
    of_rewards = float(jax.jit(loss)(uniform, alone)[0])
    # The ratio is 1: the objective is the mean advantage over the three tokens, (1 + 1 - 1) / 3.
    assert of_rewards == pytest.approx(-1 / 3, abs=1e-6)
    assert values[0.25] == pytest.approx(0.75 * of_rewards + 0.25 * values[1.0], abs=1e-6)


def test_at_weight_1_rewards_do_not_count(uniform, taught):
    moved = dataclasses.replace(taught, advantages=5 - 3 * taught.advantages)
    gradient = jax.jit(jax.grad(lambda params, batch: loss(params, batch)[0]))
    jax.tree.map(np.testing.assert_array_equal, gradient(uniform, taught), gradient(uniform, moved))


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tiny, tiny_params, tokenizer, mesh1):
    """A student, and a teacher of its vocabulary and of another shape, with opinions far from uniform."""
    folder = tmp_path_factory.mktemp("on_policy")
    shape = dataclasses.replace(tiny, num_layers=1, embed_dim=48, tie_embeddings=False)
    teacher = core.init(param_specs(shape), TRAIN_RULES, mesh1, seed=1)
    save_model(folder / "student", tiny_params, tiny, tokenizer)
    save_model(folder / "teacher", {**teacher, "unembed": 5 * teacher["unembed"]}, shape, tokenizer)
    return folder


def config_of(folder: pathlib.Path, **changes):
    tree = merged(
        ZERO,
        **{
            "base": "student",
            "teacher": "teacher",
            "mesh": {"data": 1},
            "num_steps": 4,
            "grpo__beta": 0.0,
            "evaluation__every": 0,
            "checkpoint__every": 1,
            "optimizer__learning_rate": 0.01,
            **changes,
        },
    )
    return config.parse(rl.RLConfig, config_files.load(write_config(folder / "on_policy.py", tree)))


def test_a_teacher_gives_the_same_distributions_and_gradient_packed_and_on_any_mesh(
    folders, tiny, tiny_params, tokenizer, mesh1, mesh8
):
    rng = np.random.default_rng(0)
    rollouts = [
        rollout(rng.integers(5, 500, 3).tolist(), rng.integers(5, 500, n).tolist())
        for n in (12, *rng.integers(1, 5, 15))
    ]
    results = []
    for mesh, parts in ((mesh1, 1), (mesh1, 4), (mesh8, 4)):
        cfg = config_of(folders, grpo__minibatches=1, microbatches=parts, logprob_chunk=8)
        with jax.set_mesh(mesh):
            teacher = RolloutTeacher.open(cfg, folders / "teacher", tokenizer, mesh)
            batch = teacher.with_soft_targets(make_batch(rollouts, np.zeros((4, 4)), cfg))
            assert batch.soft_ids.shape[-1] == 32 and batch.soft_logprobs.shape[-1] == 33
            [whole] = minibatches(batch, cfg.grpo, 12, 0, 0)
            packed_rows, places = packed(whole, cfg, tiny, mesh)
            assert (places is not None) == (parts > 1)
            update = make_update(rl.make_loss(cfg, tiny), optax.sgd(1.0), param_specs(tiny), mesh, parts)
            start = state.create(jax.device_get(tiny_params), param_specs(tiny), optax.sgd(1.0), mesh)
            end, metrics = update(start, to_device(packed_rows, mesh))
            assert float(metrics["teacher_kl"]) > 0.1
            trained = batch.weights > 0
            step = jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), tiny_params, end.params)
            results.append((np.asarray(batch.soft_logprobs)[trained], float(metrics["teacher_kl"]), step))
    first = results[0]
    for other in results[1:]:
        np.testing.assert_allclose(other[0], first[0], rtol=2e-3, atol=1e-4)  # a step of float16 is 1e-3
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4), other[1:], first[1:])


def test_a_run_comes_closer_to_its_teacher_and_resumes_as_if_it_had_not_been_killed(
    folders, mesh1, monkeypatch, capsys
):
    monkeypatch.setattr(rl, "GraderPool", Graders)
    save = Checkpoints.save

    def save_and_break_off(self, finished, trees):
        save(self, finished, trees)
        if finished == 2:
            self.close()
            raise InterruptedError

    cfg, models = config_of(folders), (folders / "student", folders / "teacher")
    with jax.set_mesh(mesh1):
        whole = rl.run(cfg, folders / "whole", mesh1, *models)
        assert ", teacher 0." in capsys.readouterr().out  # in the plan's memory
        with monkeypatch.context() as patch:
            patch.setattr(Checkpoints, "save", save_and_break_off)
            with pytest.raises(InterruptedError):
                rl.run(cfg, folders / "killed", mesh1, *models)
        resumed = rl.run(cfg, folders / "killed", mesh1, *models)
    assert same(*(leaves(load_model(model, mesh1)[0]) for model in (whole, resumed)))
    of_whole, of_killed = (
        [timeless(row) for row in rows(model.parent / "metrics.jsonl")] for model in (whole, resumed)
    )
    assert of_whole == of_killed and len(of_whole) == 4
    assert of_whole[-1]["teacher_kl"] < 0.9 * of_whole[0]["teacher_kl"]
    assert of_whole[0]["reward/accuracy"] == 0.5  # measured all the same


def test_what_cannot_be_meant_is_refused(folders, tokenizer, mesh1, tmp_path, tiny, tiny_params):
    for change, left_over in (({"grpo__beta": 0.1}, "grpo.beta"), ({"grpo__dynamic_sampling_rounds": 1}, "grpo.dynam")):
        with pytest.raises(ValueError, match=rf"distillation.weight=1 leaves nothing .* {left_over}"):
            config_of(folders, **change)
    config_of(folders, grpo__beta=0.1, distillation={"weight": 0.5, "kl": "reverse"})
    with pytest.raises(ValueError, match=r"teacher_top_k=513 is more than the 512 tokens"):
        RolloutTeacher.open(config_of(folders, teacher_top_k=513), folders / "teacher", tokenizer, mesh1)
    other = train_sentencepiece(iter(["words of another text", "and more of them"] * 50), 300)
    with pytest.raises(ValueError, match=r"config.teacher=.* has another vocabulary .* take a teacher with the same"):
        RolloutTeacher.open(config_of(folders), folders / "teacher", other, mesh1)
