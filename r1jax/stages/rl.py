"""The RL loop: R1-Zero from a base model (DeepSeek-R1, arXiv 2501.12948, section 2.2).

Departures from the paper: sizes; rollouts are redrawn from the newest weights at each step, the paper's step being one
update and its rollouts serving 16 of them (the same with `grpo.minibatches = 16`). The algorithm's own departures stand
in `losses/grpo.py`.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from r1jax.core import params as core
from r1jax.core import processes
from r1jax.core.params import Params
from r1jax.core.sharding import BATCH, TRAIN_RULES, batch_ways, replicated
from r1jax.data.batching import Batch, pad_rollouts, take_rows, to_device
from r1jax.data.tasks import Questions
from r1jax.data.types import Prompt, Rollout
from r1jax.evaluation.in_training import evaluate, write_samples
from r1jax.evaluation.rollouts import describe, sample_and_grade
from r1jax.graders.grader_table import examine_for_reward
from r1jax.inference import context_length
from r1jax.inference.as_trained import as_trained
from r1jax.inference.engine import Engine
from r1jax.inference.reward_scoring import RewardModel
from r1jax.io import jsonl
from r1jax.losses.grpo import GRPOConfig, grpo_loss, token_weights
from r1jax.losses.supervised import batch_logprobs
from r1jax.models.config import ModelConfig
from r1jax.models.transformer import param_specs
from r1jax.rewards.pool import GraderPool
from r1jax.stages.config import RLConfig
from r1jax.stages.groups import draw_rollouts, that_count
from r1jax.stages.learning_signal import SignalWatch
from r1jax.text import prompt_form
from r1jax.text.prompt_form import PromptForm
from r1jax.training import checkpoint, plan, state
from r1jax.training.checkpoint import Checkpoints
from r1jax.training.metrics import MetricsWriter, Stopwatch, keep_rows_before, say, under_way
from r1jax.training.skipped import SkippedUpdates
from r1jax.training.state import TrainState
from r1jax.training.step import make_update


def make_batch(rollouts: Sequence[Rollout], advantages_PG: np.ndarray, cfg: RLConfig) -> Batch:
    """The rollouts as a host batch, truncated ones without weight where the config says so."""
    batch = pad_rollouts(rollouts, advantages_PG.reshape(-1), cfg.batch_bucket)
    if not cfg.grpo.mask_truncated:
        return batch
    complete = np.array([[rollout.finish == "stop"] for rollout in rollouts], np.float32)
    return dataclasses.replace(batch, weights=batch.weights * complete)


def minibatches(batch: Batch, cfg: GRPOConfig, max_tokens: int, seed: int, step: int) -> Iterator[Batch]:
    """Splits a rollout's rows at random, anew in each inner epoch, and sets each part's token weights."""
    rows = batch.tokens.shape[0]
    for epoch in range(cfg.inner_epochs):
        order = np.random.default_rng([seed, step, epoch]).permutation(rows)
        for part in np.split(order, cfg.minibatches):
            rows_of_part = take_rows(batch, part)
            weights = token_weights(rows_of_part.weights, cfg.aggregation, max_tokens)
            yield dataclasses.replace(rows_of_part, weights=weights)


def make_scorer(model: ModelConfig, cfg: RLConfig, mesh: Mesh) -> Callable[[Params, Batch], np.ndarray]:
    """Teacher-forced log-probs `[B, T]` of a batch under given weights, on the host, a microbatch's rows at a time."""

    def score(params: Params, batch: Batch):
        return batch_logprobs(params, model, batch, cfg.sampling.truncation, cfg.logprob_chunk)[0]

    jitted = jax.jit(score, out_shardings=replicated(mesh))

    def score_all(params: Params, batch: Batch) -> np.ndarray:
        parts = np.split(np.arange(batch.tokens.shape[0]), batch.tokens.shape[0] // cfg.rows_at_a_time)
        return np.concatenate([jitted(params, to_device(take_rows(batch, rows), mesh)) for rows in parts])

    return score_all


def run(cfg: RLConfig, workdir: pathlib.Path, mesh: Mesh, base: pathlib.Path) -> pathlib.Path:
    """Trains to the end, resuming if `workdir` holds a state. Returns the model folder, `workdir/model`.

    Args:
        base: the model folder to start from.
    """
    ways = batch_ways(mesh)
    if cfg.rows_at_a_time % ways:
        raise ValueError(f"{cfg.rows_at_a_time} rows at a time (prompts_per_step x group_size / minibatches / "
                         f"microbatches) do not divide over config.mesh's {' x '.join(BATCH)} = {ways}")  # fmt: skip
    came_with = checkpoint.read_hf_config(base)  # now: at the end of a long run the base may be gone
    limit = context_length.prompt_limit(came_with, base, cfg.sampling.max_new_tokens, cfg.data.max_prompt_tokens,
                                 "data.max_prompt_tokens")  # fmt: skip
    base_params, model, tokenizer = checkpoint.load_model(base, mesh, cfg.compute)
    specs = param_specs(model)
    G, max_tokens = cfg.grpo.group_size, cfg.sampling.max_new_tokens
    updates = cfg.num_steps * cfg.grpo.minibatches * cfg.grpo.inner_epochs
    tx = state.make_optimizer(cfg.optimizer, specs, updates, cfg.auxiliary.idle)
    schedule = state.learning_rate(cfg.optimizer, updates)
    data = as_trained(cfg.data, base, tokenizer, prompt_form.R1_ZERO, "config.data")
    cfg = dataclasses.replace(cfg, data=data)
    questions = Questions(cfg.data, cfg.seed, tokenizer, examine=examine_for_reward, prompt_limit=limit)
    held_out = questions.held_out(cfg.evaluation.questions)
    questions.take(0, 1)  # a file that has none to train on says so now, not after an evaluation
    engine = Engine(model, cfg.sampling, tokenizer, mesh)
    eval_sampling = dataclasses.replace(cfg.sampling, truncation=cfg.evaluation.truncation)
    eval_engine = Engine(model, eval_sampling, tokenizer, mesh)
    models = {reward.part: RewardModel(reward.path, mesh, reward.prompts) for reward in cfg.rewards.models}
    score = make_scorer(model, cfg, mesh)
    update = make_update(
        lambda params, batch: grpo_loss(
            params, model, batch, cfg.grpo, cfg.sampling.truncation, cfg.logprob_chunk, cfg.auxiliary
        ),
        tx, specs, mesh, cfg.microbatches, cfg.auxiliary.bias_rate,
    )  # fmt: skip

    checkpoints = Checkpoints(workdir, cfg.checkpoint, cfg.num_steps)
    target = {"state": state.abstract_state(specs, tx, mesh)}
    if cfg.grpo.beta:  # without a KL term there is no reference; one that an earlier version saved is not read
        target["reference"] = core.abstract(specs, TRAIN_RULES, mesh)
    if restored := checkpoints.restore(target):
        start, trees = restored
        train_state, reference = trees["state"], trees.get("reference")
    else:
        start, train_state = 0, state.create(base_params, specs, tx, mesh)
        reference = base_params if cfg.grpo.beta else None
    del base_params  # the reference, until it is replaced; one that was restored is another copy
    say(f"{core.count(specs):,} parameters, {cfg.num_steps} steps of {cfg.grpo.prompts_per_step} questions x {G}, "
        f"{len(held_out)} questions held out"
        + (f", resuming at step {start}" if start else "")
        + (f"; {left_out}" if (left_out := questions.left_out()) else ""))

    say_plan(cfg, model, mesh, train_state, reference, held_out or questions.take(0, cfg.grpo.prompts_per_step))

    def ask(params: Params, step: int) -> Callable[[int, int, int], list[Rollout]]:
        """Samples and grades groups for questions of the stream, with these weights."""

        def sample(first: int, count: int, round_: int) -> list[Rollout]:
            prompts = questions.take(first, count)
            asked = that_count(models, cfg.rewards, step)
            return sample_and_grade(engine, graders, params, prompts, G, (cfg.seed, step, round_), asked)

        return sample

    def evaluate_at(step: int) -> None:
        """Evaluates the weights after `step` steps, where questions are held out, and writes what it found."""
        if not held_out:
            return
        edge = step in (0, cfg.num_steps)
        samples = cfg.evaluation.samples if edge else cfg.evaluation.samples_during
        row, rollouts = evaluate(
            eval_engine, graders, train_state.params, held_out, samples, cfg.evaluation.truncation, cfg.seed, models
        )
        if jax.process_index() == 0:
            write_samples(workdir / "evals" / f"step_{step:06d}.jsonl", rollouts)
            jsonl.append(workdir / "evals.jsonl", {"step": step, **row})
            say(f"held-out after {step} steps: pass@1 {row['pass@1']:.1%} ± {row['stderr']:.1%}, cons@{samples} "
                f"{row['cons@k']:.1%}, format {row['format']:.1%}, {row['length']:.0f} tokens")

    if jax.process_index() == 0:
        keep_rows_before(workdir / "evals.jsonl", start)
    writer = MetricsWriter(
        workdir, start, cfg.num_steps,
        {"reward/accuracy": ".3f", "reward/format": ".3f", "length/mean": ".0f", "kl": ".4f", "entropy": ".3f"},
        profile_at=cfg.profile_at,
    )  # fmt: skip
    skipped = SkippedUpdates(workdir, cfg.optimizer, start)
    signal = SignalWatch(workdir, start, accuracy=cfg.rewards.accuracy > 0)
    watch = Stopwatch(eval=0.0, save=0.0)
    pool = contextlib.nullcontext()
    if jax.process_index() == 0:
        pool = GraderPool(cfg.rewards, cfg.seed, max_tokens, questions.graders)
    with pool as graders:
        processes.meet()  # process 0 may load rewards for long, or fail
        for step in range(start, cfg.num_steps):
            if step == 0 or (cfg.evaluation.every and step % cfg.evaluation.every == 0):
                with watch("eval"):
                    evaluate_at(step)
            with watch("sample"):  # and grade
                rollouts, advantages, no_signal = draw_rollouts(
                    ask(train_state.params, step), cfg.grpo, cfg.rewards, step
                )
            if all(rollout.reward is None for rollout in rollouts):
                raise ValueError(f"step {step}: none of {len(rollouts)} samples could be graded; see the warnings")
            if cfg.keep_rollouts and step % cfg.keep_rollouts == 0 and jax.process_index() == 0:
                write_samples(workdir / "rollouts" / f"step_{step:06d}.jsonl", rollouts)
            with watch("score"), under_way("scoring"):
                batch = make_batch(rollouts, advantages, cfg)
                if cfg.grpo.beta:
                    batch = dataclasses.replace(batch, ref_logprobs=score(reference, batch))
                if cfg.grpo.needs_old_logprobs:
                    batch = dataclasses.replace(batch, old_logprobs=score(train_state.params, batch))
            with watch("update"), under_way("updating"):
                sums = []
                for minibatch in minibatches(batch, cfg.grpo, max_tokens, cfg.seed, step):
                    train_state, metrics = update(train_state, to_device(minibatch, mesh))
                    sums.append(metrics)
                    every = cfg.grpo.reference_every
                    if reference is not None and every and int(train_state.step) % every == 0:
                        reference = jax.tree.map(lambda w: w.copy(), train_state.params)
                sums = jax.device_get(sums)
                metrics = summarise(sums)
            metrics |= skipped.count([each["skipped"] for each in sums], metrics["loss"])
            # Before the save: a run killed in between redoes the step and its row; the other way the row would be lost.
            row = {
                **describe(rollouts), **metrics, "groups/no_signal": no_signal, **(graders.usage() if graders else {}),
                **{f"{part}/cut": reward_model.cut for part, reward_model in models.items()},
                "learning_rate": float(schedule(int(train_state.step) - 1)),
                "tokens_per_s": sum(len(r.ids) for r in rollouts) / watch["sample"],
                **{f"time/{phase}": seconds for phase, seconds in watch.items()},
            }  # fmt: skip
            writer.write(step, row)
            signal.add(step, row)
            if skipped.too_many:
                if jax.process_index() == 0:
                    write_samples(workdir / "skipped" / f"step_{step:06d}.jsonl", rollouts)
                raise skipped.error(step, minibatch)
            watch = Stopwatch(eval=0.0, save=0.0)
            with watch("save"), under_way("saving"):  # shows in the next step's row
                kept = {} if reference is None else {"reference": reference}
                checkpoints.save(step + 1, {"state": train_state, **kept})
        checkpoints.close()
        skipped.check_end(train_state, mesh)
        evaluate_at(cfg.num_steps)
    if questions.faulty:  # the start knew of those on the held-out side alone
        say(questions.left_out())
    writer.close()
    signal.at_end()
    beside = {prompt_form.FILE: PromptForm.of(cfg.data).content()}
    checkpoint.save_model(workdir / "model", train_state.params, model, tokenizer, came_with, beside)
    return workdir / "model"


def say_plan(
    cfg: RLConfig, model: ModelConfig, mesh: Mesh, train_state: TrainState, reference: Params | None,
    prompts: Sequence[Prompt],
) -> None:  # fmt: skip
    """Says what the run will need, see `plan`; `prompts` stand for the lengths of all others."""
    grpo, new = cfg.grpo, cfg.sampling.max_new_tokens
    longest = max(len(prompt.ids) for prompt in prompts) + new
    tokens = -(-(longest - 1) // cfg.batch_bucket) * cfg.batch_bucket
    samples, rows = grpo.prompts_per_step * grpo.group_size, cfg.rows_at_a_time
    passes = 2 * samples * (longest + tokens * (bool(grpo.beta) + grpo.needs_old_logprobs))  # sampled, and scored
    passes += (8 if model.remat else 6) * samples * tokens * grpo.inner_epochs
    updates, minibatch = grpo.minibatches * grpo.inner_epochs, samples // grpo.minibatches
    plan.say_plan(
        mesh, plan.kept_bytes(train_state, reference),
        {"sampling": plan.sampler_bytes(model, mesh, cfg.sampling.slots,
                                        -(-longest // cfg.sampling.bucket) * cfg.sampling.bucket),
         "updating": plan.update_bytes(model, mesh, train_state, rows, tokens, cfg.logprob_chunk, cfg.microbatches)},
        f"{grpo.prompts_per_step} questions x {grpo.group_size} samples of up to {new} tokens, then {updates} "
        f"{'update' if updates == 1 else 'updates'} of {minibatch} rows of up to {tokens} tokens; up to "
        f"{plan.flops(passes * plan.used_parameters(model))} in products with weights",
    )  # fmt: skip


def summarise(updates: Sequence[dict[str, np.ndarray]]) -> dict[str, float]:
    """One row from the metrics of a step's updates: sums become weighted means, maxima stay, the rest is averaged."""
    row = {}
    for name in updates[0]:
        values = np.array([float(metrics[name]) for metrics in updates])
        if name.endswith("/max"):
            row[name] = float(values.max())
        elif name in ("loss", "grad_norm", "skipped"):
            row[name] = float(values.mean())
        elif name != "weight":
            row[name] = float(values.sum() / max(sum(float(metrics["weight"]) for metrics in updates), 1e-9))
    return row
