"""The RL loop: R1-Zero from a base model (DeepSeek-R1, arXiv 2501.12948, section 2.2).

Departures from the paper: sizes; rollouts are redrawn from the newest weights at each step, the paper's step being one
update and its rollouts serving 16 of them (the same with `grpo.minibatches = 16`). Departures of the algorithm itself
are listed in `losses/grpo.py`.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from r1jax.core import processes
from r1jax.core.params import Params
from r1jax.core.sharding import TRAIN_RULES, batch_shards, check_length, in_host_memory, on_devices
from r1jax.core.shares import ALL_ROWS, Shares
from r1jax.data.batching import Batch, row_length, to_device
from r1jax.data.tasks import Questions
from r1jax.data.types import Prompt, Rollout
from r1jax.evaluation.in_training import HeldOutEvaluator
from r1jax.evaluation.rollout_files import write_samples, write_tokens
from r1jax.evaluation.rollouts import describe
from r1jax.evaluation.scheduled_benchmarks import ScheduledBenchmarks
from r1jax.graders.grader_table import check_row_for_reward
from r1jax.inference import context_length
from r1jax.inference.carry_over import CarriedGroups
from r1jax.inference.engine import Engine
from r1jax.inference.reward_scoring import RewardModel
from r1jax.inference.trained_prompts import fill_prompt_format
from r1jax.io.console import say, under_way
from r1jax.losses.grpo import grpo_loss
from r1jax.models.config import ModelConfig
from r1jax.models.io import read_hf_config
from r1jax.models.transformer import param_specs
from r1jax.rewards.grader_pool import GraderPool
from r1jax.stages.config import RLConfig
from r1jax.stages.groups import GroupSampler
from r1jax.stages.learning_signal import SignalWatch
from r1jax.stages.rl_batch import make_batch, make_scorer, minibatches, packed, summarise, with_logprobs
from r1jax.stages.teacher_scoring import RolloutTeacher
from r1jax.text import prompt_format
from r1jax.text.prompt_format import PromptFormat
from r1jax.training import loop, plan
from r1jax.training.config import HostMemoryConfig
from r1jax.training.loop import StartingPoint, TrainingRun
from r1jax.training.metrics import Stopwatch
from r1jax.training.step import Loss, Metrics, Update

CONSOLE = {"reward/accuracy": ".3f", "reward/format": ".3f", "length/mean": ".0f", "kl": ".4f", "entropy": ".3f"}


def run(
    cfg: RLConfig, workdir: pathlib.Path, mesh: Mesh, base: pathlib.Path, teacher: pathlib.Path | None = None
) -> pathlib.Path:
    """Trains to the end, resuming if `workdir` holds a state. Returns the model folder, `workdir/model`.

    Args:
        base: the model folder to start from.
        teacher: the model folder that `cfg.teacher` stands for, where it names one.

    Raises:
        FileNotFoundError, ValueError: the base, the teacher or the questions cannot be read, rows do not divide over
            the mesh, no sample of a step could be graded, or updates were skipped.
    """
    # What the run starts from: the base, the questions, the teacher, the reward models.
    limit = prompt_limit_of(cfg, base, teacher)
    start_from = loop.start_from_folder(base, mesh, cfg.compute)
    cfg, questions = open_questions(cfg, base, start_from, limit)
    training = open_run(cfg, workdir, mesh, start_from)
    teach = open_teacher(cfg, training, teacher)
    shares = Shares.of_mesh(mesh)
    models = open_reward_models(cfg, mesh)
    held_out = questions.held_out(cfg.evaluation.questions)
    say_start(cfg, training, questions, held_out, teach)
    # The compiled programs: log-probs of a batch, and the update.
    score = make_scorer(training.model, cfg, mesh, shares)
    update = training.compile_update(make_loss(cfg, training.model), cfg.microbatches, cfg.auxiliary.bias_rate)
    signal = SignalWatch(workdir, training.start, accuracy=cfg.rewards.accuracy > 0, teacher=bool(teacher))
    with open_graders(cfg, questions, sampling_shares(cfg, mesh)) as graders:
        engine = make_engine(cfg, training)
        carried = make_carried_groups(cfg, training, engine, questions)
        sampler = GroupSampler(cfg, engine, shares, questions, graders, models, carried)
        evaluator = make_evaluator(cfg, training, engine, held_out, graders, models)
        watch = Stopwatch(eval=0.0, save=0.0)
        for step in range(training.start, cfg.num_steps):
            put_aside(training, cfg.host_memory)
            # Evaluation on held-out questions, where it is due.
            with watch("eval"):
                evaluator.evaluate_if_due(training.state.params, step)
            # Rollouts of the current policy: sampled, graded, and with advantages.
            with watch("sample"):
                drawn = sampler.draw(training.state.params, step)
            keep_rollouts(cfg, workdir, step, drawn.rollouts, shares)
            # Log-probs under the policy and the reference, then the updates.
            with watch("score"), under_way("scoring"):
                training.state = on_devices(training.state)
                batch = make_batch(drawn.rollouts, shares.own(drawn.advantages), cfg, step, drawn.longest)
                batch = with_teacher(batch, teach)
                batch = with_logprobs(batch, cfg.grpo, score, training.state.params, on_devices(training.reference))
            with watch("update"), under_way("updating"):
                trained = drawn.trained_tokens(cfg.grpo.mask_truncated)
                updates, last = update_on_minibatches(training, update, batch, cfg, step, trained, shares)
            # The row of metrics.
            row = {
                **describe(drawn.numbers),
                **summarise(updates),
                "groups/no_signal": drawn.no_signal,
                **grading_metrics(graders, models),
                **(carried.metrics if carried else {}),
                "learning_rate": float(training.learning_rate(int(training.state.step) - 1)),
                "tokens_per_s": sum(each.tokens for each in drawn.numbers) / watch["sample"],
                **watch.metrics(),
            }
            training.log(step, row, [each["skipped"] for each in updates], last)
            training.faults.stop_on("no_signal", step, signal.add(step, row))
            # The end, where too many updates were skipped; else the checkpoint.
            if training.too_many_skipped:
                write_step(workdir / "skipped", step, drawn.rollouts, shares)
                raise training.skipped_error(step, last)
            watch = Stopwatch(eval=0.0, save=0.0)
            with watch("save"), under_way("saving"):  # counted in the next step's row
                training.save(step + 1, carried and carried.arrays())
        training.finish()
        evaluator.evaluate_last(training.state.params)
    if questions.faulty:  # at the start, only those on the held-out side were known
        say(questions.left_out())
    signal.at_end()
    return training.close({prompt_format.FILE: PromptFormat.of(cfg.data).content()})


def check_rows(cfg: RLConfig, mesh: Mesh) -> None:
    """Raises ValueError where a microbatch's rows, or their tokens, do not divide over the mesh, or groups over its
    processes.
    """
    ways = batch_shards(mesh)
    check_length(cfg.batch_bucket, mesh, "batch_bucket")
    if cfg.rows_at_a_time % ways:
        raise ValueError(
            f"{cfg.rows_at_a_time} rows at a time (prompts_per_step x group_size / minibatches / "
            f"microbatches) do not divide over config.mesh's {TRAIN_RULES.named('batch')} = {ways}"
        )
    shares = Shares.of_mesh(mesh).count
    if cfg.grpo.prompts_per_step % shares:
        raise ValueError(
            f"config.grpo.prompts_per_step={cfg.grpo.prompts_per_step} does not divide over the {shares} shares of the "
            "processes, each of which samples whole groups: make it a multiple"
        )


def prompt_limit_of(cfg: RLConfig, base: pathlib.Path, teacher: pathlib.Path | None = None) -> int | None:
    """The longest prompt that leaves policy and teacher a response; raises as `context_length.prompt_limit`."""
    new, longest = cfg.sampling.max_new_tokens, cfg.data.max_prompt_tokens
    models = [model for model in (base, teacher) if model]
    limits = [
        context_length.prompt_limit(read_hf_config(model), model, new, longest, "data.max_prompt_tokens")
        for model in models
    ]
    return min((limit for limit in limits if limit), default=None)


def open_questions(
    cfg: RLConfig, base: pathlib.Path, start_from: StartingPoint, limit: int | None
) -> tuple[RLConfig, Questions]:
    """The questions, and the config with the prompt format that the base was trained on, where it sets none.

    Raises:
        FileNotFoundError, ValueError: see `Questions`; also a file that has none to train on.
    """
    data = fill_prompt_format(cfg.data, base, start_from.tokenizer, prompt_format.R1_ZERO, "config.data")
    cfg = dataclasses.replace(cfg, data=data)
    questions = Questions(data, cfg.seed, start_from.tokenizer, examine=check_row_for_reward, prompt_limit=limit)
    questions.take(0, 1)  # a file without training questions is an error now, not after an evaluation
    return cfg, questions


def open_run(cfg: RLConfig, workdir: pathlib.Path, mesh: Mesh, start_from: StartingPoint) -> TrainingRun:
    """The training run, with a reference policy where the loss has a KL term.

    Raises:
        ValueError: rows do not divide over the mesh, see `check_rows`; also what `loop.open_run` raises.
    """
    check_rows(cfg, mesh)
    return loop.open_run(
        cfg,
        workdir,
        mesh,
        start_from,
        param_specs(start_from.model),
        num_steps=cfg.num_steps,
        console=CONSOLE,
        updates_per_step=cfg.grpo.minibatches * cfg.grpo.inner_epochs,
        frozen=cfg.auxiliary.idle,
        with_reference=bool(cfg.grpo.beta),
        with_pending=bool(cfg.sampling.carry_over),
        profile_at=cfg.profile_at,
    )


def open_teacher(cfg: RLConfig, training: TrainingRun, path: pathlib.Path | None) -> RolloutTeacher | None:
    """The teacher of on-policy distillation in a model folder, None where there is none."""
    return path and RolloutTeacher.open(cfg, path, training.tokenizer, training.mesh)


def with_teacher(batch: Batch, teacher: RolloutTeacher | None) -> Batch:
    """The batch with the teacher's distributions over the rollouts' tokens, where there is a teacher."""
    return teacher.with_soft_targets(batch) if teacher else batch


def make_loss(cfg: RLConfig, model: ModelConfig) -> Loss:
    """GRPO's loss of a minibatch, and the divergence from a teacher."""
    how = cfg.grpo, cfg.sampling.truncation, cfg.logprob_chunk, cfg.auxiliary, cfg.distillation

    def loss(params: Params, batch: Batch) -> tuple[jax.Array, Metrics]:
        return grpo_loss(params, model, batch, *how)

    return loss


def sampling_shares(cfg: RLConfig, mesh: Mesh) -> Shares:
    """The shares of the rollouts as they are sampled: all processes hold all where steps carry groups over."""
    return Shares.whole() if cfg.sampling.carry_over else Shares.of_mesh(mesh)


def open_reward_models(cfg: RLConfig, mesh: Mesh) -> dict[str, RewardModel]:
    """The reward models, by their parts."""
    shares = sampling_shares(cfg, mesh)
    return {
        each.part: RewardModel(each.path, mesh, each.prompts, each.over_steps, shares) for each in cfg.rewards.models
    }


def make_engine(cfg: RLConfig, training: TrainingRun) -> Engine:
    """The sampler of rollouts."""
    shares = sampling_shares(cfg, training.mesh)
    return Engine(training.model, cfg.sampling, training.tokenizer, training.mesh, shares)


def make_carried_groups(
    cfg: RLConfig, training: TrainingRun, engine: Engine, questions: Questions
) -> CarriedGroups | None:
    """The groups that are under way, those of the state where the run resumes; None where no step carries any over."""
    if not cfg.sampling.carry_over:
        return None
    grpo = cfg.grpo
    carried = CarriedGroups(
        engine,
        cfg.sampling,
        lambda position: questions.take(position, 1)[0],
        grpo.prompts_per_step,
        grpo.group_size,
        cfg.num_steps,
        cfg.seed,
    )
    if training.pending is not None:
        carried.restore(training.pending)
    return carried


@contextlib.contextmanager
def open_graders(cfg: RLConfig, questions: Questions, shares: Shares = ALL_ROWS) -> Iterator[GraderPool | None]:
    """The grader processes, where this process leads its share; None in the others, which wait for their start."""
    pool = contextlib.nullcontext()
    if shares.leads:
        pool = GraderPool(cfg.rewards, cfg.seed, cfg.sampling.max_new_tokens, questions.graders)
    with pool as graders:
        processes.barrier()  # a leader may load rewards for long, or fail
        yield graders


def make_evaluator(
    cfg: RLConfig,
    training: TrainingRun,
    engine: Engine,
    held_out: Sequence[Prompt],
    graders: GraderPool | None,
    models: Mapping[str, RewardModel],
) -> HeldOutEvaluator:
    """The evaluation on held-out questions, with the engine of the rollouts, and on benchmarks."""
    engine = engine.with_truncation(cfg.evaluation.truncation)
    benchmarks = ScheduledBenchmarks(cfg.evaluation.benchmarks, training, PromptFormat.of(cfg.data), cfg.seed)
    log = training.log_evaluation
    return HeldOutEvaluator(
        cfg.evaluation, training.workdir, log, engine, graders, held_out, models, cfg.seed, cfg.num_steps, benchmarks
    )


def keep_rollouts(cfg: RLConfig, workdir: pathlib.Path, step: int, rollouts: Sequence[Rollout], shares: Shares) -> None:
    """Writes a step's rollouts to rollouts/ and their tokens to rollout_tokens/, every `keep_rollouts` steps."""
    if cfg.keep_rollouts and step % cfg.keep_rollouts == 0:
        write_step(workdir / "rollouts", step, rollouts, shares)
        write_tokens(workdir, step, rollouts, shares)


def write_step(folder: pathlib.Path, step: int, rollouts: Sequence[Rollout], shares: Shares) -> None:
    """Writes a step's rollouts into a folder."""
    write_samples(folder / f"step_{step:06d}.jsonl", rollouts, shares)


def put_aside(training: TrainingRun, cfg: HostMemoryConfig) -> None:
    """Moves what sampling does not need to the hosts' memory, where the config asks for it."""
    if cfg.policy:
        training.state = in_host_memory(training.state)
    if cfg.reference:
        training.reference = in_host_memory(training.reference)


def update_on_minibatches(
    training: TrainingRun,
    update: Update,
    batch: Batch,
    cfg: RLConfig,
    step: int,
    trained: np.ndarray | None = None,
    shares: Shares = ALL_ROWS,
) -> tuple[list[dict[str, np.ndarray]], Batch]:
    """Updates the policy on each minibatch of a step, and the reference where it is due to follow.

    Args:
        batch: of this process's rows, as of `minibatches`.
        trained: as there.

    Returns:
        the metrics of each update, and the last minibatch.
    """
    metrics, minibatch, every = [], batch, cfg.grpo.reference_every
    done = int(training.state.step)  # read once: to read it waits for the device
    most = cfg.sampling.max_new_tokens
    for minibatch in minibatches(batch, cfg.grpo, most, cfg.seed, step, trained, shares):
        rows, _ = packed(minibatch, cfg, training.model, training.mesh, shares)
        training.state, update_metrics = update(training.state, to_device(rows, training.mesh, shares))
        metrics.append(update_metrics)
        if training.reference is not None and every and (done + len(metrics)) % every == 0:
            training.reference = jax.tree.map(lambda weight: weight.copy(), training.state.params)
    return jax.device_get(metrics), minibatch


def grading_metrics(graders: GraderPool | None, models: Mapping[str, RewardModel]) -> dict[str, float]:
    """Cost of grading a step: usage of the grader processes, and the inputs truncated for reward models."""
    truncated = {f"{part}/cut": model.cut for part, model in models.items()}
    return {**(graders.usage() if graders else {}), **truncated}


def say_start(
    cfg: RLConfig,
    training: TrainingRun,
    questions: Questions,
    held_out: Sequence[Prompt],
    teacher: RolloutTeacher | None = None,
) -> None:
    """Prints the model, the questions, and the memory and computation that the run will need."""
    steps = f"{cfg.num_steps} steps of {cfg.grpo.prompts_per_step} questions x {cfg.grpo.group_size}"
    notices = [left_out] if (left_out := questions.left_out()) else []
    say("; ".join([training.summary, f"{steps}, {len(held_out)} questions held out", *notices]))
    say_plan(cfg, training, held_out or questions.take(0, cfg.grpo.prompts_per_step), teacher)


def say_plan(
    cfg: RLConfig, training: TrainingRun, prompts: Sequence[Prompt], teacher: RolloutTeacher | None = None
) -> None:
    """Prints the memory and computation that the run will need, see `plan`; `prompts` give the typical length."""
    grpo, new, model, mesh = cfg.grpo, cfg.sampling.max_new_tokens, training.model, training.mesh
    longest = max(len(prompt.ids) for prompt in prompts) + new
    tokens = row_length(longest - 1, cfg.batch_bucket)
    cache_length = row_length(longest, cfg.sampling.bucket)
    samples, rows = grpo.prompts_per_step * grpo.group_size, cfg.rows_at_a_time
    passes = 2 * samples * (longest + tokens * (bool(grpo.beta) + grpo.needs_old_logprobs))  # sampled, and scored
    passes += (8 if model.remat else 6) * samples * tokens * grpo.inner_epochs
    updates, minibatch = grpo.minibatches * grpo.inner_epochs, samples // grpo.minibatches
    updating = plan.update_bytes(model, mesh, training.state, rows, tokens, cfg.logprob_chunk, cfg.microbatches)
    sampling = plan.sampler_bytes(
        model, mesh, cfg.sampling.slots, cache_length, cfg.sampling.weight_type, cfg.sampling.cache_type
    )
    weights, moments, reference = plan.kept_bytes(training.state, training.reference).values()
    policy = {"weights": weights, "optimiser": moments}
    # What is in the hosts' memory during a phase is not counted in it.
    always = {
        **({} if cfg.host_memory.policy else policy),
        **({} if cfg.host_memory.reference else {"reference": reference}),
        **({"teacher": plan.nbytes(teacher.params)} if teacher else {}),
    }
    plan.say_plan(
        mesh,
        always,
        {"sampling": sampling, "scoring": {**policy, "reference": reference}, "updating": {**policy, **updating}},
        f"{grpo.prompts_per_step} questions x {grpo.group_size} samples of up to {new} tokens, then {updates} "
        f"{'update' if updates == 1 else 'updates'} of {minibatch} rows of up to {tokens} tokens; up to "
        f"{plan.flops(passes * plan.used_parameters(model))} in products with weights",
    )
