"""A resumed run takes its weights and its reference policy from its state: the base's weights are not read again."""

import pathlib

import jax
import numpy as np
import pytest
from handmade import QWEN2, tensors, write_folder
from tiny_run import SFT, ZERO, merged

from r1jax import config
from r1jax.models import safetensors
from r1jax.models.io import PARAMS, save_model
from r1jax.models.reward import param_specs as reward_specs
from r1jax.models.transformer import param_specs
from r1jax.stages import reward_model_training, rl, supervised
from r1jax.stages.config import PreferenceConfig, RLConfig, SupervisedConfig
from r1jax.training import loop

REWARD_MODEL = {
    "stage": "preference",
    "kind": "pairwise",
    "data": {"path": "pairs.jsonl"},
    "reading": {"sees": "summary", "template": "dialogue", "max_tokens": 48},
    "batch_size": 4,
    "epochs": 0,
    "num_steps": 3,
    "optimizer": {"learning_rate": 1e-3},
}


def open_rl(base, workdir, mesh):
    cfg = config.parse(RLConfig, merged(ZERO, base=str(base)))
    return rl.open_run(cfg, workdir, mesh, loop.start_from_folder(base, mesh, cfg.compute))


def open_supervised(base, workdir, mesh):
    cfg = config.parse(SupervisedConfig, merged(SFT, base=str(base)))
    start_from = supervised.starting_point(cfg, mesh, base)
    return loop.open_run(cfg, workdir, mesh, start_from, param_specs(start_from.model), num_steps=3, console={})


def open_reward_model(base, workdir, mesh):
    cfg = config.parse(PreferenceConfig, merged(REWARD_MODEL, base=str(base)))
    start_from = reward_model_training.starting_point(base, mesh, cfg)
    return loop.open_run(cfg, workdir, mesh, start_from, reward_specs(start_from.model), num_steps=3, console={})


def leaves(tree) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def destroy_weights(base: pathlib.Path) -> None:
    """Deletes r1jax's weights; of Hugging Face's keeps the headers, which belong to the model's shape, before NaN."""
    for path in (base / PARAMS).rglob("*"):
        if path.is_file():
            path.unlink()
    for path in base.glob("*.safetensors"):
        content = path.read_bytes()
        begin = 8 + int.from_bytes(content[:8], "little")
        path.write_bytes(content[:begin] + b"\xff" * (len(content) - begin))


@pytest.mark.parametrize(
    ("kind", "open_run"),
    [("r1jax", open_rl), ("r1jax", open_reward_model), ("hugging_face", open_supervised)],
)
def test_a_resumed_run_needs_no_weights_of_its_base(
    tmp_path, tiny, tiny_params, tokenizer, mesh1, monkeypatch, kind, open_run
):
    base, workdir = tmp_path / "base", tmp_path / "run"
    workdir.mkdir()
    if kind == "r1jax":
        save_model(base, tiny_params, tiny, tokenizer)
    else:
        write_folder(base, QWEN2 | {"vocab_size": 512}, tensors(QWEN2 | {"vocab_size": 512}))
        tokenizer.save(base)
    with jax.set_mesh(mesh1):
        begun = open_run(base, workdir, mesh1)
        before = leaves((begun.state, begun.reference))
        begun.save(3)  # the end, which is always saved
        begun.finish()
        destroy_weights(base)
        read = []
        monkeypatch.setattr(safetensors.SafetensorsFolder, "read", lambda _, name, index: read.append(name))
        resumed = open_run(base, workdir, mesh1)
        resumed.finish()
    after = leaves((resumed.state, resumed.reference))
    assert resumed.start == 3 and read == []
    assert len(before) == len(after) and all(map(np.array_equal, before, after))
