"""Training of reward models (DeepSeek-R1, arXiv 2501.12948 and its version in Nature).

A reward model is the base with a head in place of its unembedding, trained on pairs for helpfulness, on single labels
for harmlessness.

Departures from the paper: sizes; a mixture of experts has no load-balancing loss. Of the scores' zero and
unit, which the paper does not mention: only differences between scores have a meaning in a pair's loss, and GRPO
subtracts a group's mean, so that a score's zero is left where training puts it. Its unit is not: summed with other
rewards, a score weighs by its spread. The head that is saved is divided by the standard deviation of the scores on
training examples, so that a weight of 1.0 means about as much for one reward model as for another. The 0 of a pointwise
model, even odds, stays where it is.
"""

import array
import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from r1jax.core import params as core
from r1jax.core.params import Params
from r1jax.core.sharding import TRAIN_RULES, batch_shards, check_length
from r1jax.data.batching import pad_inputs
from r1jax.data.preference_pairs import Example, Input, Preferences
from r1jax.evaluation.config import is_due
from r1jax.inference import context_length, reward_scoring
from r1jax.inference.reward_scoring import Reading, Scorer, ids_of, text_of
from r1jax.inference.trained_prompts import check_chat
from r1jax.io import jsonl
from r1jax.io.console import say
from r1jax.losses.preference import preference_loss
from r1jax.models.config import ModelConfig
from r1jax.models.io import read_hf_config
from r1jax.models.reward import HEAD, UNUSED, param_specs
from r1jax.stages import reward_agreement
from r1jax.stages.config import PreferenceConfig
from r1jax.stages.process_reward.config import ProcessRewardConfig
from r1jax.text.tokenizer import Tokenizer
from r1jax.training import loop, plan
from r1jax.training.loop import StartingPoint, StepBatch, TrainingRun
from r1jax.training.step import Loss


class Measured(NamedTuple):
    """An evaluation of a reward model.

    Attributes:
        row: of evals.jsonl, with accuracy, stderr, n, loss and calibration_error.
        lines: of evals/step_NNNNNN.jsonl, one for each example.
        baseline: a share to compare the accuracy with, in words.
    """

    row: Mapping[str, Any]
    lines: Sequence[Mapping[str, Any]]
    baseline: str


def reader(reading: Reading, tokenizer: Tokenizer, marker: str) -> Callable[[str, str], Input]:
    """(prompt, response) -> the model's input, the same in training and in scoring.

    Raises:
        ValueError: `reading.chat`, and the model has no chat template.
    """
    text_of(reading, tokenizer, "?", "")  # raises here, as the fault is the model's and no line's

    def read(prompt: str, response: str) -> Input:
        ids, cut = ids_of(reading, tokenizer, prompt, response, marker)
        return Input(array.array("i", ids), cut, len(text_of(reading, tokenizer, prompt, response, marker)[1]))

    return read


def batch_at(cfg: PreferenceConfig, data: Preferences, step: int) -> StepBatch:
    """The batch of a step, a pure function of the seed and the step; an epoch's last may hold fewer examples."""
    start = step * cfg.batch_size
    examples = data.take(start, min(cfg.batch_size, cfg.examples(data.size) - start))
    safe = None if cfg.kind == "pairwise" else [bool(example.safe) for example in examples]
    inputs = [[each.ids for each in example.inputs] for example in examples]
    batch = pad_inputs(inputs, safe, cfg.batch_size, cfg.batch_bucket)
    return StepBatch(batch, int(np.sum(batch.lengths[batch.weights > 0])))


def score(scorer: Scorer, params: Params, examples: Sequence[Example]) -> np.ndarray:
    """`[examples, inputs]` float32."""
    flat = scorer.score(params, [each.ids for example in examples for each in example.inputs])
    return flat.reshape(len(examples), -1)


def measure(scorer: Scorer, params: Params, examples: Sequence[Example]) -> Measured:
    """The agreement of a model's scores with the judgements."""
    scores = score(scorer, params, examples)
    lengths = np.array([[each.length for each in example.inputs] for example in examples])
    prompts = [example.prompt for example in examples]
    if examples[0].safe is None:
        row, baseline = reward_agreement.of_pairs(scores, lengths, prompts), "longer_wins"
    else:
        safe = np.array([example.safe for example in examples])
        row, baseline = reward_agreement.of_labels(scores[:, 0], safe, lengths[:, 0], prompts), "safe_share"
    lines = [score_row(example, each) for example, each in zip(examples, scores, strict=True)]
    return Measured(row, lines, f"{baseline.replace('_', ' ')} {row[baseline]:.1%}")


def run(cfg: PreferenceConfig, workdir: pathlib.Path, mesh: Mesh, base: pathlib.Path) -> pathlib.Path:
    """Trains to the end, resuming if `workdir` holds a state. Returns the reward model's folder, `workdir/model`.

    Args:
        base: the model folder to start from.

    Raises:
        FileNotFoundError, ValueError: the base or the data cannot be read, or batches do not divide over the mesh.
    """
    check_rows(cfg, mesh)
    start_from = starting_point(base, mesh, cfg)
    model, tokenizer = start_from.model, start_from.tokenizer
    data = Preferences(cfg.data, cfg.kind, cfg.seed, reader(cfg.reading, tokenizer, cfg.data.marker))
    training = loop.open_run(
        cfg,
        workdir,
        mesh,
        start_from,
        param_specs(model),
        num_steps=-(-cfg.examples(data.size) // cfg.batch_size),
        console={"loss": ".3f", "accuracy": ".3f", "margin": ".2f"},
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
    params = scale_head(cfg, training.state.params, scorer, data)
    folder = workdir / "model"
    reward_scoring.save(
        folder, params, model, tokenizer, cfg.reading, start_from.hf_config, keep_same=training.was_done
    )
    return folder


def make_loss(model: ModelConfig) -> Loss:
    """The preference loss of a batch of pairs or of labelled responses."""
    return lambda params, batch: preference_loss(params, model, batch)


def check_rows(cfg: PreferenceConfig | ProcessRewardConfig, mesh: Mesh) -> None:
    """Raises ValueError where the rows of a microbatch, or their tokens, do not divide over the mesh."""
    rows, ways = cfg.batch_size // cfg.microbatches, batch_shards(mesh)
    check_length(cfg.batch_bucket, mesh, "batch_bucket")
    if rows % ways:
        raise ValueError(
            f"{rows} rows at a time (batch_size / microbatches) do not divide over config.mesh's "
            f"{TRAIN_RULES.named('batch')} = {ways}"
        )


def starting_point(base: pathlib.Path, mesh: Mesh, cfg: PreferenceConfig | ProcessRewardConfig) -> StartingPoint:
    """The base with a new head; raises as `loop.start_from_folder` does, and where the base cannot read the inputs."""
    context_length.check_length(read_hf_config(base), base, cfg.reading.max_tokens, "reading.max_tokens")
    start_from = loop.start_from_folder(base, mesh, cfg.compute)
    check_chat(start_from.tokenizer, cfg.reading.chat, "config.reading.chat")

    def read_params() -> Params:
        head = core.init({HEAD: param_specs(start_from.model)[HEAD]}, TRAIN_RULES, mesh, cfg.seed)
        return {**start_from.read_params(), **head}

    return dataclasses.replace(start_from, read_params=read_params)


class HeldOutEvaluator:
    """Measures a reward model on held-out examples before, during and after training, and writes evals/.

    Attributes:
        examples: those that are scored: all, or as many as the config says.
    """

    def __init__(
        self,
        cfg: PreferenceConfig | ProcessRewardConfig,
        held_out: Sequence[Any],
        training: TrainingRun,
        measure: Callable[[Params, Sequence[Any]], Measured],
    ):
        self._cfg, self._training, self._measure = cfg, training, measure
        limit = cfg.evaluation.examples
        chosen = jsonl.order(cfg.seed, len(held_out), 0, limit) if 0 < limit < len(held_out) else range(len(held_out))
        self.examples = [held_out[i] for i in chosen]

    def evaluate_if_due(self, step: int) -> None:
        """Evaluates before the first step, and every `evaluation.every` steps."""
        if is_due(step, self._cfg.evaluation.every):
            self.evaluate(step)

    def evaluate(self, step: int) -> None:
        """Measures the weights after `step` steps, and writes and prints the result; nothing where none is held out."""
        if not self.examples:
            return
        row, lines, baseline = self._measure(self._training.state.params, self.examples)
        if jax.process_index():
            return
        jsonl.write(self._training.workdir / "evals" / f"step_{step:06d}.jsonl", lines)
        self._training.log_evaluation(step, row)
        say(
            f"held-out after {step} steps: accuracy {row['accuracy']:.1%} ± {row['stderr']:.1%} of {row['n']} "
            f"({baseline}), loss {row['loss']:.3f}, calibration error {row['calibration_error']:.3f}"
        )


def score_row(example: Example, scores: np.ndarray) -> dict[str, Any]:
    """A held-out example's row of evals/step_NNNNNN.jsonl."""
    return {
        "id": example.id,
        "scores": [round(score, 6) for score in map(float, scores)],
        "lengths": [each.length for each in example.inputs],
        "safe": example.safe,
    }


def say_start(cfg: PreferenceConfig, training: TrainingRun, data: Preferences, held_out: int) -> None:
    """Prints the model, the data and what is left out of them, and the memory and computation that the run needs."""
    truncated = f"{data.cut} inputs are longer than max_tokens={cfg.reading.max_tokens} and lost their middle"
    notices = [truncated] if data.cut else []
    notices += [f"{count} {reason} left out" for reason, count in data.left_out.items() if count]
    notices += [f"{key}, in {count} lines, is read by nothing" for key, count in sorted(data.unread.items())]
    steps = f"{training.num_steps} steps of {cfg.batch_size} of {data.size} examples, {held_out} held out"
    say("; ".join([training.summary, steps, *notices]))
    batch = batch_at(cfg, data, min(training.start, training.num_steps - 1)).batch
    say_plan(training, int(np.prod(batch.tokens.shape[:-1])), batch.tokens.shape[-1], cfg.microbatches)


def say_plan(training: TrainingRun, rows: int, tokens: int, microbatches: int) -> None:
    """Prints the memory and the computation of updates of so many inputs, of so many tokens each."""
    model = training.model
    work = (8 if model.remat else 6) * rows * tokens * plan.used_parameters(model)
    updating = plan.update_bytes(model, training.mesh, training.state, rows // microbatches, tokens, 0, microbatches)
    plan.say_plan(
        training.mesh,
        plan.kept_bytes(training.state),
        {"updating": updating},
        f"{rows} inputs of about {tokens} tokens; {plan.flops(work)} in products with weights",
    )


def scale_head(cfg: PreferenceConfig, params: Params, scorer: Scorer, data: Preferences) -> Params:
    """The weights with a head whose scores on training examples have a standard deviation of 1."""
    if not cfg.unit_examples:
        return params
    unit = spread(score(scorer, params, data.take(0, min(cfg.unit_examples, data.size))))
    say(f"scores are divided by {unit:.4g}, their standard deviation on training examples")
    return {**params, HEAD: params[HEAD] / unit}


def spread(scores: np.ndarray) -> float:
    """The standard deviation over all scores; 1 where they are all the same."""
    return float(np.std(scores, dtype=np.float64)) or 1.0
