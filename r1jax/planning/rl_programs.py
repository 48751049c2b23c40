"""Programs of an RL step: sampling, reward models, log-probs, a teacher's distributions, and the update."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES
from r1jax.data.batching import Batch
from r1jax.inference import reward_scoring
from r1jax.inference.reward_scoring import Scorer
from r1jax.models import reward
from r1jax.models.config import ModelConfig
from r1jax.models.io import is_model, open_model
from r1jax.models.transformer import param_specs
from r1jax.planning.program import Lengths, Program, array, forward_flops, placed, train_ways
from r1jax.planning.sampling_programs import sampling_programs
from r1jax.stages import rl
from r1jax.stages.config import RLConfig
from r1jax.stages.rl_batch import compile_score
from r1jax.stages.teacher_scoring import make_teach
from r1jax.training import plan, state
from r1jax.training.step import make_update

Trees = Mapping[str, Any]  # abstract arrays, by what they are


def rl_programs(cfg: RLConfig, model: ModelConfig, mesh: Mesh, lengths: Lengths) -> list[Program]:
    """The programs of an RL run on a mesh.

    Reward models and the teacher have the policy's shape where their folders are not here.

    Raises:
        ValueError: weights, rows or slots that do not divide over the mesh.
    """
    rl.check_rows(cfg, mesh)
    specs, grpo = param_specs(model), cfg.grpo
    tx = state.make_optimizer(cfg.optimizer, specs, cfg.num_steps, cfg.auxiliary.idle)
    start = state.abstract_state(specs, tx, mesh)
    policy = {"weights": start.params, "optimiser": start.opt_state}
    reference = {"reference": core.abstract(specs, TRAIN_RULES, mesh)} if grpo.beta else {}
    teacher = {"teacher": core.abstract(specs, TRAIN_RULES, mesh, model.dtype)} if cfg.teacher else {}
    judges = _reward_models(cfg, model, mesh)
    others = {**teacher, **{name: params for name, (params, _) in judges.items()}}
    # What `rl.put_aside` moves to the hosts is not there while rollouts are sampled.
    aside = {**({} if cfg.host_memory.policy else policy), **({} if cfg.host_memory.reference else reference)}
    at_reshard = {name: tree for name, tree in aside.items() if name != "weights"}
    programs = sampling_programs(
        model,
        cfg.sampling,
        mesh,
        lengths,
        start.params,
        grpo.prompts_per_step,
        grpo.group_size,
        {**aside, **others},
        {**at_reshard, **others},
    )
    for name, (params, shape) in judges.items():
        programs.append(_reward_program(name, params, shape, mesh, {**aside, **others}, cfg))
    part = _batch(cfg, mesh, cfg.rows_at_a_time, lengths)
    parts = -(-grpo.minibatches * cfg.microbatches * lengths.filled(cfg) // 1)
    forward = forward_flops(model, cfg.rows_at_a_time, part.tokens.shape[1]) / train_ways(mesh)
    scoring = {**policy, **reference, **others}
    if teacher:
        teach = make_teach(model, mesh, cfg.teacher_top_k, model.vocab_size, 1.0, cfg.logprob_chunk)
        programs.append(
            _scoring(
                "teacher's distributions",
                lambda: teach.lower(teacher["teacher"], part),
                teacher,
                scoring,
                parts,
                forward,
            )
        )
    scored = {**reference, **({"weights": start.params} if grpo.needs_old_logprobs else {})}
    if scored:
        score = compile_score(model, cfg, mesh)
        weights = list(scored.values())
        program = _scoring(
            "log-probs", lambda: score.lower(weights, part), scored, scoring, parts, len(scored) * forward
        )
        programs.append(program)
    beside = {**({} if cfg.host_memory.reference else reference), **others}
    return [*programs, _update(cfg, model, mesh, lengths, start, tx, beside, forward)]


def _scoring(name: str, lower: Any, arguments: Trees, all_there: Trees, parts: float, flops: float) -> Program:
    beside = {each: tree for each, tree in all_there.items() if each not in arguments}
    return Program(name, "scoring", lower, arguments, beside, calls=parts, flops=flops)


def _update(
    cfg: RLConfig, model: ModelConfig, mesh: Mesh, lengths: Lengths, start: Any, tx: Any, beside: Trees, forward: float
) -> Program:
    grpo = cfg.grpo
    batch = _batch(cfg, mesh, cfg.rows_at_a_time * cfg.microbatches, lengths, with_scores=True)
    update = make_update(
        rl.make_loss(cfg, model), tx, param_specs(model), mesh, cfg.microbatches, cfg.auxiliary.bias_rate
    )
    turns = max(round(cfg.microbatches * lengths.filled(cfg)), 1)
    tokens = batch.tokens.shape[1]
    return Program(
        "update",
        "updating",
        lambda: update.lower(start, batch),
        {"weights": start.params, "optimiser": start.opt_state, "batch": batch},
        beside,
        calls=grpo.minibatches * grpo.inner_epochs,
        turns=turns,
        reckoned=plan.update_bytes(model, mesh, start, cfg.rows_at_a_time, tokens, cfg.logprob_chunk, cfg.microbatches),
        flops=turns * (4 if model.remat else 3) * forward,
        traffic=6 * plan.nbytes(start.params),
    )


def _batch(cfg: RLConfig, mesh: Mesh, rows: int, lengths: Lengths, with_scores: bool = False) -> Batch:
    """The abstract batch of an update, or without what is scored that of a microbatch's scoring."""
    tokens = lengths.row(cfg.batch_bucket)

    def some(dtype: Any, *more: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((rows, tokens, *more), dtype)

    optional = {}
    if cfg.sampling.carry_over:
        optional["stale"] = some(jnp.bool)
    if cfg.grpo.needs_old_logprobs and with_scores:
        optional["old_logprobs"] = some(jnp.float32)
    if cfg.grpo.beta and with_scores:
        optional["ref_logprobs"] = some(jnp.float32)
    if cfg.teacher and with_scores:
        optional["soft_ids"] = some(jnp.int32, cfg.teacher_top_k)
        optional["soft_logprobs"] = some(jnp.float16, cfg.teacher_top_k + 1)
    ints, floats = some(jnp.int32), some(jnp.float32)
    batch = Batch(ints, ints, ints, ints, floats, floats, floats, **optional, one_segment=not cfg.packing)
    return placed(batch, mesh)


def _reward_models(cfg: RLConfig, model: ModelConfig, mesh: Mesh) -> dict[str, tuple[Any, ModelConfig]]:
    """Abstract weights and shape of each reward model, by its name."""
    models = {}
    for each in cfg.rewards.models:
        path = pathlib.Path(each.path)
        shape = open_model(path).cfg if is_model(path) else model
        specs = {name: spec for name, spec in reward.param_specs(shape).items() if name not in reward.UNUSED}
        models[f"reward model {each.name}"] = core.abstract(specs, TRAIN_RULES, mesh, shape.dtype), shape
    return models


def _reward_program(name: str, params: Any, shape: ModelConfig, mesh: Mesh, there: Trees, cfg: RLConfig) -> Program:
    scorer, length = Scorer(shape, mesh), reward_scoring.TOKENS
    samples = cfg.grpo.prompts_per_step * cfg.grpo.group_size
    rows = scorer.rows(length, samples)
    tokens, lengths = (array(mesh, TRAIN_RULES, jnp.int32, *size) for size in ((rows, length), (rows,)))
    flops = forward_flops(shape, rows, length) / train_ways(mesh)
    beside = {each: tree for each, tree in there.items() if each != name}
    return Program(
        f"scores of {name}",
        "sampling",
        lambda: scorer.program.lower(params, tokens, lengths),
        {name: params},
        beside,
        calls=-(-samples // rows),
        flops=flops,
    )
