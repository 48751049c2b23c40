"""Training of process reward models: a base with a head that is read at the end of each step.

The chance that a step is right is the logistic function of the head's score there. It is trained by binary
cross-entropy on steps that completions have labelled (Math-Shepherd, arXiv 2312.08935) or people (PRM800K, arXiv
2305.20050). The head is saved as it is: a score's zero and unit have a meaning here, and are evaluated.
"""

import itertools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from r1jax.core.params import Params
from r1jax.data.batching import pad_steps
from r1jax.data.step_inputs import step_ids_of
from r1jax.data.step_labels import LabelledSteps, StepLabels
from r1jax.inference import reward_scoring
from r1jax.inference.reward_scoring import Reading, Scorer, text_of
from r1jax.io.console import say
from r1jax.losses.process_reward import process_reward_loss
from r1jax.models.config import ModelConfig
from r1jax.models.reward import UNUSED, param_specs
from r1jax.stages import reward_agreement
from r1jax.stages.process_reward.config import ProcessRewardConfig
from r1jax.stages.reward_model_training import HeldOutEvaluator, Measured, check_rows, say_plan, starting_point
from r1jax.text.steps import separated
from r1jax.text.tokenizer import Tokenizer
from r1jax.training import loop
from r1jax.training.loop import StepBatch, TrainingRun
from r1jax.training.step import Loss


def reader(reading: Reading, tokenizer: Tokenizer, marker: str) -> Callable[[str, Sequence[str]], Any]:
    """(prompt, steps) -> the model's input, the same in training and in scoring.

    Raises:
        ValueError: `reading.chat`, and the model has no chat template.
    """
    text_of(reading, tokenizer, "?", "")  # raises here, as the fault is the model's and no line's

    def read(prompt: str, steps: Sequence[str]) -> tuple[list[int], list[int], int]:
        listed = separated(steps, reading.steps)
        whole = "".join(listed)
        before, visible = text_of(reading, tokenizer, prompt, whole, marker)
        opened = len(whole) - len(visible)  # what the prompt's template has opened is not read again
        ends = [max(end - opened, 0) for end in itertools.accumulate(map(len, listed))]
        pieces = [visible[start:end] for start, end in itertools.pairwise([0, *ends])]
        each = step_ids_of(tokenizer, before, pieces, reading.max_tokens)
        return each.ids, each.ends, each.unread

    return read


def batch_at(cfg: ProcessRewardConfig, data: StepLabels, step: int) -> StepBatch:
    """The batch of a step, a pure function of the seed and the step; an epoch's last may hold fewer responses."""
    start = step * cfg.batch_size
    examples = data.take(start, min(cfg.batch_size, cfg.examples(data.size) - start))
    inputs = [(each.ids, each.ends, each.targets) for each in examples]
    batch = pad_steps(inputs, cfg.batch_size, cfg.batch_bucket)
    return StepBatch(batch, sum(len(each.ids) for each in examples))


def run(cfg: ProcessRewardConfig, workdir: pathlib.Path, mesh: Mesh, base: pathlib.Path) -> pathlib.Path:
    """Trains to the end, resuming if `workdir` holds a state. Returns the model's folder, `workdir/model`.

    Args:
        base: the model folder to start from.

    Raises:
        FileNotFoundError, ValueError: the base or the data cannot be read, or batches do not divide over the mesh.
    """
    check_rows(cfg, mesh)
    start_from = starting_point(base, mesh, cfg)
    model, tokenizer = start_from.model, start_from.tokenizer
    data = StepLabels(cfg.data, cfg.seed, reader(cfg.reading, tokenizer, cfg.data.marker))
    training = loop.open_run(
        cfg,
        workdir,
        mesh,
        start_from,
        param_specs(model),
        num_steps=-(-cfg.examples(data.size) // cfg.batch_size),
        console={"loss": ".3f", "accuracy": ".3f"},
        frozen=UNUSED,
        log_every=cfg.log_every,
    )
    scorer = Scorer(model, mesh)
    evaluator = HeldOutEvaluator(cfg, data.held_out, training, lambda params, some: measure(scorer, params, some))
    say_start(cfg, training, data, len(evaluator.examples))
    update = training.compile_update(make_loss(model), cfg.microbatches)
    loop.train(
        training,
        update,
        lambda step: batch_at(cfg, data, step),
        before_step=evaluator.evaluate_if_due,
    )
    evaluator.evaluate(training.num_steps)
    training.close_metrics()
    folder = workdir / "model"
    reward_scoring.save(
        folder,
        training.state.params,
        model,
        tokenizer,
        cfg.reading,
        start_from.hf_config,
        keep_same=training.was_done,
    )
    return folder


def make_loss(model: ModelConfig) -> Loss:
    """The cross-entropy of a batch of labelled steps."""
    return lambda params, batch: process_reward_loss(params, model, batch)


def score(scorer: Scorer, params: Params, examples: Sequence[LabelledSteps]) -> list[np.ndarray]:
    """For each response the scores of its labelled steps, log-odds."""
    return scorer.score_at(params, [each.ids for each in examples], [each.ends for each in examples])


def measure(scorer: Scorer, params: Params, examples: Sequence[LabelledSteps]) -> Measured:
    """The agreement of a model's scores with the labels of steps."""
    scores = score(scorer, params, examples)
    row = agreement(scores, examples)
    lines = [
        {"id": each.id, "scores": [round(x, 6) for x in of.tolist()], "targets": list(each.targets)}
        for each, of in zip(examples, scores, strict=True)
    ]
    return Measured(row, lines, f"steps right {row['right_share']:.1%}")


def agreement(scores: Sequence[np.ndarray], examples: Sequence[LabelledSteps]) -> dict[str, Any]:
    """The row of an evaluation: every labelled step of these responses is an example.

    Returns:
        accuracy, auroc, margin, by_length and others: see `reward_agreement.of_labels`; a step is labelled right where
            its target is at least 0.5. Lengths are characters of the response up to the step's end.
        right_share: share of steps labelled right, the accuracy of always saying so.
        loss, calibration_error, reliability: of the targets themselves, which may be shares.
        by_position: accuracy at the first, second, ... step, up to the eighth, which stands for all later ones.
        first_error: share of responses with a wrong step whose first wrong step is the first below even odds, and
            without_error: share of the others without a step below (ProcessBench, arXiv 2412.06559).
    """
    flat = np.concatenate(scores).astype(np.float64)
    targets = np.concatenate([np.asarray(each.targets, np.float64) for each in examples])
    lengths = np.concatenate([np.asarray(each.chars) for each in examples])
    prompts = [each.prompt for each in examples for _ in each.targets]
    row: Mapping[str, Any] = reward_agreement.of_labels(flat, targets >= 0.5, lengths, prompts)
    row = {name.replace("safe_share", "right_share"): value for name, value in row.items()}
    row["by_length"] = [
        {name.replace("safe_share", "right_share"): value for name, value in each.items()} for each in row["by_length"]
    ]
    error, table = reward_agreement.calibration(1 / (1 + np.exp(-flat)), targets, 0.0)
    positions = np.concatenate([np.minimum(np.arange(len(each.targets)), 7) for each in examples])
    right = (flat > 0) == (targets >= 0.5)
    wrong = [[first_below(of, 0.0), first_below(each.targets, 0.5)] for of, each in zip(scores, examples, strict=True)]
    faulty, faultless = ([a == b for a, b in wrong if (b is None) == none] for none in (False, True))
    return row | {
        "loss": float(np.mean(np.logaddexp(0.0, flat) - targets * flat)),
        "calibration_error": error,
        "reliability": table,
        "by_position": [
            {"step": int(at) + 1, "n": int(inside.sum()), "accuracy": float(right[inside].mean())}
            for at in np.unique(positions)
            if (inside := positions == at).any()
        ],
        "responses": len(examples),
        "first_error": float(np.mean(faulty)) if faulty else None,
        "without_error": float(np.mean(faultless)) if faultless else None,
    }


def first_below(values: Sequence[float], limit: float) -> int | None:
    """The index of the first value below a limit; None where there is none."""
    return next((i for i, value in enumerate(values) if value < limit), None)


def say_start(cfg: ProcessRewardConfig, training: TrainingRun, data: StepLabels, held_out: int) -> None:
    """Prints the model, the data and what is left out of them, and the memory and computation that the run needs."""
    unread = f"{data.unread} steps lie past max_tokens={cfg.reading.max_tokens}"
    notices = [unread] if data.unread else []
    notices += [f"{count} responses or lines left out: {reason}" for reason, count in data.left_out.items() if count]
    steps = f"{training.num_steps} updates of {cfg.batch_size} of {data.size} responses, {held_out} held out"
    say("; ".join([training.summary, steps, *notices]))
    batch = batch_at(cfg, data, min(training.start, training.num_steps - 1)).batch
    say_plan(training, *batch.tokens.shape, cfg.microbatches)
