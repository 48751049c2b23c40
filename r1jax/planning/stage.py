"""A stage's programs, its model and its lengths, from the config of the stage."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from r1jax.config import ConfigError, nearest
from r1jax.core import params as core
from r1jax.core.params import Params
from r1jax.core.sharding import TRAIN_RULES, batch_shards, check_length
from r1jax.data.batching import Batch, PreferenceBatch, StepLabelBatch, row_length
from r1jax.io import hub
from r1jax.models import reward
from r1jax.models.config import PRESETS, ModelConfig
from r1jax.models.io import SHIPPED, is_model, open_model
from r1jax.models.transformer import param_specs
from r1jax.planning.program import Lengths, Program, forward_flops, placed, train_ways
from r1jax.planning.rl_programs import rl_programs
from r1jax.planning.sampling_programs import sampling_programs
from r1jax.stages import reward_model_training, supervised
from r1jax.stages.base_keys import base_name, read_supervised
from r1jax.stages.config import PreferenceConfig, RLConfig, SupervisedConfig
from r1jax.stages.process_reward import training as process_reward_training
from r1jax.stages.process_reward.config import ProcessRewardConfig
from r1jax.stages.rejection.config import RejectionConfig
from r1jax.stages.table import read_config
from r1jax.training import plan, state
from r1jax.training.step import Loss, make_update

PLANNED = {RLConfig: "rl", SupervisedConfig: "supervised", PreferenceConfig: "preference"}
PLANNED |= {ProcessRewardConfig: "process_reward", RejectionConfig: "rejection"}


def read(spec: str, overrides: list[str], model: str) -> Any:
    """The config of a stage, whose base may be missing.

    Args:
        model: what the plan is for, see `model_of`; "": what the config names.

    Raises:
        ConfigError: see `read_config`; also a stage that no plan is made for.
    """
    field = "model" if spec.partition(":")[0] in ("rejection", "configs/rejection.py") else "base"
    cfg = read_config(spec, [*([f"{field}={model}"] if model else []), *overrides])
    if type(cfg) not in PLANNED:
        raise ConfigError(f"{spec} is of the stage {cfg.stage}; plans are made for {', '.join(PLANNED.values())}")
    return cfg


def model_name(spec: str) -> str:
    """The preset that a config's size is called after: qwen2_5_7b of distill:qwen2_5_7b; "" where there is none."""
    size = spec.rpartition(":")[2]
    return size if size in PRESETS and PRESETS[size].vocab_size else ""


def model_of(cfg: Any, name: str) -> ModelConfig:
    """The model that a stage trains or samples from, computed as the config says.

    Args:
        name: a preset of `models.config.PRESETS`, a model folder, or "": the config's base.

    Raises:
        ConfigError: there is no such model, or it is not here.
    """
    model = cfg.model if isinstance(cfg, SupervisedConfig) and cfg.model else _shape(name or _base_of(cfg))
    if isinstance(cfg, SupervisedConfig) and cfg.model:
        model = dataclasses.replace(model, vocab_size=model.vocab_size or cfg.vocab_size)
    compute = getattr(cfg, "compute", None)
    return dataclasses.replace(model, **dataclasses.asdict(compute)) if compute else model


def _base_of(cfg: Any) -> str:
    return cfg.model if isinstance(cfg, RejectionConfig) else cfg.base


def _shape(name: str) -> ModelConfig:
    if name in PRESETS and PRESETS[name].vocab_size:
        return PRESETS[name]
    if pathlib.Path(name).exists():
        return open_model(pathlib.Path(name)).cfg
    if not name.endswith(".py") and ":" not in name:
        known = nearest(name, (each for each in PRESETS if PRESETS[each].vocab_size))
        where = f"{name} is on the hub: fetch it, and name its folder" if hub.model_id(name) else f"no model {name!r}"
        raise ConfigError(f"{where}; or give a shape by --model: {known}, or the folder of a model")
    folder = SHIPPED / base_name(name)
    if is_model(folder):
        return open_model(folder).cfg
    base = read_supervised(name)
    return model_of(base, "")


def lengths_of(cfg: Any, prompt: int = 0, mean: int = 0) -> Lengths:
    """The lengths that a plan reckons with: of prompts those of the config, else a sixteenth of a completion.

    Args:
        prompt: tokens of the longest prompt; 0: by the config.
        mean: tokens of a completion on average; 0: all are as long as they may be.

    Raises:
        ConfigError: a mean longer than the longest.
    """
    if not isinstance(cfg, RLConfig | RejectionConfig):
        return Lengths(0, 0, 0)
    new = cfg.sampling.max_new_tokens
    if mean > new:
        raise ConfigError(f"--mean-tokens={mean} is more than config.sampling.max_new_tokens={new}")
    return Lengths(prompt or cfg.data.max_prompt_tokens or max(128, new // 16), new, mean or new)


def programs_of(cfg: Any, model: ModelConfig, mesh: Mesh, lengths: Lengths) -> list[Program]:
    """The programs of a stage on a mesh. Not for that mesh's context: an array made there would be one of the slice.

    Raises:
        ValueError: weights, rows or slots that do not divide over the mesh.
    """
    if isinstance(cfg, RLConfig):
        return rl_programs(cfg, model, mesh, lengths)
    if isinstance(cfg, RejectionConfig):
        weights = core.abstract(param_specs(model), TRAIN_RULES, mesh, model.dtype)
        held = {"weights": weights}
        return sampling_programs(
            model, cfg.sampling, mesh, lengths, weights, max(cfg.num_prompts, 1), cfg.samples, held, {}
        )
    if isinstance(cfg, SupervisedConfig):
        rows, ways = cfg.batch_size // cfg.microbatches, batch_shards(mesh)
        if rows % ways:
            raise ValueError(f"{rows} rows at a time (batch_size / microbatches) do not divide over {ways} ways")
        loss, specs = supervised.make_loss(cfg, model, None), param_specs(model)
        check_length(cfg.seq_len, mesh, "seq_len")
        shape = cfg.batch_size, cfg.seq_len
        ints, floats = (jax.ShapeDtypeStruct(shape, dtype) for dtype in (jnp.int32, jnp.float32))
        batch = placed(Batch(ints, ints, ints, ints, floats), mesh)
        return [_update(cfg, model, specs, loss, batch, cfg.logprob_chunk, cfg.auxiliary.idle, mesh)]
    reward_model_training.check_rows(cfg, mesh)
    batch, loss = _reward_batch(cfg, model, mesh)
    return [_update(cfg, model, reward.param_specs(model), loss, batch, 0, reward.UNUSED, mesh)]


def _reward_batch(cfg: PreferenceConfig | ProcessRewardConfig, model: ModelConfig, mesh: Mesh) -> tuple[Any, Loss]:
    """The abstract batch of a reward model's update, and its loss."""
    B, T = cfg.batch_size, row_length(cfg.reading.max_tokens, cfg.batch_bucket)

    def some(dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((B, *shape), dtype)

    if isinstance(cfg, ProcessRewardConfig):
        floats = some(jnp.float32, T)
        batch = StepLabelBatch(some(jnp.int32, T), some(jnp.int32), floats, floats)
        return placed(batch, mesh), process_reward_training.make_loss(model)
    N = 2 if cfg.kind == "pairwise" else 1
    safe = some(jnp.float32) if cfg.kind == "pointwise" else None
    batch = PreferenceBatch(some(jnp.int32, N, T), some(jnp.int32, N), some(jnp.float32), safe)
    return placed(batch, mesh), reward_model_training.make_loss(model)


def _update(
    cfg: Any, model: ModelConfig, specs: Params, loss: Loss, batch: Any, chunk: int, idle: tuple[str, ...], mesh: Mesh
) -> Program:
    """The update of a stage whose steps are one each."""
    tx = state.make_optimizer(cfg.optimizer, specs, 1000, idle)
    start = state.abstract_state(specs, tx, mesh)
    rate = cfg.auxiliary.bias_rate if isinstance(cfg, SupervisedConfig) else 0.0
    update = make_update(loss, tx, specs, mesh, cfg.microbatches, rate)
    shape = batch.tokens.shape
    rows = shape[0] // cfg.microbatches * (shape[1] if len(shape) == 3 else 1)
    forward = forward_flops(model, rows, shape[-1]) / train_ways(mesh)
    return Program(
        "update",
        "updating",
        lambda: update.lower(start, batch),
        {"weights": start.params, "optimiser": start.opt_state, "batch": batch},
        {},
        turns=cfg.microbatches,
        reckoned=plan.update_bytes(model, mesh, start, rows, shape[-1], chunk, cfg.microbatches),
        flops=cfg.microbatches * (4 if model.remat else 3) * forward,
        traffic=6 * plan.nbytes(start.params),
    )
