"""Trains reward models (DeepSeek-R1, arXiv 2501.12948 and its version in Nature): the model with a head in place of its
unembedding, on pairs for helpfulness, on single labels for harmlessness.

Departures from the paper: sizes; a mixture of experts is given no loss that balances them. Of the scores' zero and
unit, which the paper does not mention: only differences between scores have a meaning in a pair's loss, and GRPO
subtracts a group's mean, so that a score's zero is left where training puts it. Its unit is not: summed with other
rewards, a score weighs by its spread. The head that is saved is divided by the standard deviation of the scores on
training examples, so that a weight of 1.0 means about as much for one reward model as for another. The 0 of a pointwise
model, even odds, stays where it is.
"""

import array
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from r1jax.core import params as core
from r1jax.core.params import Params
from r1jax.core.sharding import BATCH, TRAIN_RULES, batch_ways
from r1jax.data.batching import PreferenceBatch, pad_inputs, to_device
from r1jax.data.preference_pairs import Example, Input, Preferences
from r1jax.inference import context_length, reward_scoring
from r1jax.inference.as_trained import check_chat
from r1jax.inference.reward_scoring import Reading, Scorer, ids_of, text_of
from r1jax.io import jsonl
from r1jax.losses.preference import preference_loss
from r1jax.models.reward import HEAD, UNUSED, param_specs
from r1jax.stages import reward_agreement
from r1jax.stages.config import PreferenceConfig
from r1jax.text.tokenizer import Tokenizer
from r1jax.training import checkpoint, plan, state
from r1jax.training.checkpoint import Checkpoints
from r1jax.training.metrics import MetricsWriter, keep_rows_before, say, under_way
from r1jax.training.skipped import SkippedUpdates
from r1jax.training.step import make_update


def reader(reading: Reading, tokenizer: Tokenizer, marker: str) -> Callable[[str, str], Input]:
    """(prompt, response) -> what the model reads of it, in training as in scoring.

    Raises:
        ValueError: `reading.chat`, and the model has no chat template.
    """
    text_of(reading, tokenizer, "?", "")  # That is the model's fault, not a line's.

    def read(prompt: str, response: str) -> Input:
        ids, cut = ids_of(reading, tokenizer, prompt, response, marker)
        return Input(array.array("i", ids), cut, len(text_of(reading, tokenizer, prompt, response, marker)[1]))

    return read


def batch_at(cfg: PreferenceConfig, data: Preferences, step: int) -> PreferenceBatch:
    """The batch of a step, a pure function of the seed and the step; an epoch's last may hold fewer examples."""
    start = step * cfg.batch_size
    examples = data.take(start, min(cfg.batch_size, cfg.examples(data.size) - start))
    safe = None if cfg.kind == "pairwise" else [bool(example.safe) for example in examples]
    return pad_inputs([[each.ids for each in example.inputs] for example in examples], safe, cfg.batch_size,
                      cfg.batch_bucket)  # fmt: skip


def score(scorer: Scorer, params: Params, examples: Sequence[Example]) -> np.ndarray:
    """`[examples, inputs]` float32."""
    flat = scorer.score(params, [each.ids for example in examples for each in example.inputs])
    return flat.reshape(len(examples), -1)


def evaluate(scores: np.ndarray, examples: Sequence[Example]) -> dict[str, Any]:
    """The row of `agreement` for scored examples."""
    lengths = np.array([[each.length for each in example.inputs] for example in examples])
    prompts = [example.prompt for example in examples]
    if examples[0].safe is None:
        return reward_agreement.of_pairs(scores, lengths, prompts)
    return reward_agreement.of_labels(scores[:, 0], np.array([e.safe for e in examples]), lengths[:, 0], prompts)


def run(cfg: PreferenceConfig, workdir: pathlib.Path, mesh: Mesh, base: pathlib.Path) -> pathlib.Path:
    """Trains to the end, resuming if `workdir` holds a state. Returns the reward model's folder, `workdir/model`.

    Args:
        base: the model folder to start from.

    Raises:
        FileNotFoundError, ValueError: the base or the data cannot be read, or batches do not divide over the mesh.
    """
    rows, ways = cfg.batch_size // cfg.microbatches, batch_ways(mesh)
    if rows % ways:
        raise ValueError(f"{rows} rows at a time (batch_size / microbatches) do not divide over config.mesh's "
                         f"{' x '.join(BATCH)} = {ways}")  # fmt: skip
    came_with = checkpoint.read_hf_config(base)  # now: at the end of a long run the base may be gone
    context_length.check_length(came_with, base, cfg.reading.max_tokens, "reading.max_tokens")
    params, model, tokenizer = checkpoint.load_model(base, mesh, cfg.compute)
    check_chat(tokenizer, cfg.reading.chat, "config.reading.chat")
    data = Preferences(cfg.data, cfg.kind, cfg.seed, reader(cfg.reading, tokenizer, cfg.data.marker))
    held_out = data.held_out
    if cfg.evaluation.examples and len(held_out) > cfg.evaluation.examples:
        held_out = [held_out[i] for i in jsonl.order(cfg.seed, len(held_out), 0, cfg.evaluation.examples)]
    steps = -(-cfg.examples(data.size) // cfg.batch_size)
    specs = param_specs(model)
    tx = state.make_optimizer(cfg.optimizer, specs, steps, UNUSED)
    schedule = state.learning_rate(cfg.optimizer, steps)
    checkpoints = Checkpoints(workdir, cfg.checkpoint, steps)
    restored = checkpoints.restore({"state": state.abstract_state(specs, tx, mesh)})
    if restored:
        start, train_state = restored[0], restored[1]["state"]
    else:
        head = core.init({HEAD: specs[HEAD]}, TRAIN_RULES, mesh, cfg.seed)
        start, train_state = 0, state.create({**params, **head}, specs, tx, mesh)
    del params  # the state has a copy
    say(f"{core.count(specs):,} parameters, {steps} steps of {cfg.batch_size} of {data.size} examples, "
        f"{len(held_out)} held out" + (f", resuming at step {start}" if start else "")
        + (f"; {data.cut} inputs are longer than max_tokens={cfg.reading.max_tokens} and lost their middle"
           if data.cut else "")
        + "".join(f"; {count} {reason} left out" for reason, count in data.left_out.items() if count)
        + "".join(f"; {key}, in {count} lines, is read by nothing" for key, count in sorted(data.unread.items())))
    update = make_update(lambda params, batch: preference_loss(params, model, batch), tx, specs, mesh, cfg.microbatches)
    scorer = Scorer(model, mesh)

    def evaluate_at(step: int) -> None:
        """Scores what is held out with the weights after `step` steps, and writes what it found."""
        if not held_out:
            return
        scores = score(scorer, train_state.params, held_out)
        row = evaluate(scores, held_out)
        if jax.process_index() == 0:
            jsonl.write(workdir / "evals" / f"step_{step:06d}.jsonl", (
                {"id": e.id, "scores": [round(s, 6) for s in map(float, each)], "lengths": [i.length for i in e.inputs],
                 "safe": e.safe} for e, each in zip(held_out, scores, strict=True)
            ))  # fmt: skip
            jsonl.append(workdir / "evals.jsonl", {"step": step, **row})
            baseline = "longer_wins" if cfg.kind == "pairwise" else "safe_share"
            say(f"held-out after {step} steps: accuracy {row['accuracy']:.1%} ± {row['stderr']:.1%} "
                f"({baseline.replace('_', ' ')} {row[baseline]:.1%}), loss {row['loss']:.3f}, calibration error "
                f"{row['calibration_error']:.3f}")

    if jax.process_index() == 0:
        keep_rows_before(workdir / "evals.jsonl", start)
    writer = MetricsWriter(workdir, start, steps, {"loss": ".3f", "accuracy": ".3f", "margin": ".2f"}, cfg.log_every)
    skipped = SkippedUpdates(workdir, cfg.optimizer, start)
    batch = batch_at(cfg, data, min(start, steps - 1))
    inputs, tokens = int(np.prod(batch.tokens.shape[:2])), batch.tokens.shape[-1]  # other batches are about as long
    work = (8 if model.remat else 6) * inputs * tokens * plan.used_parameters(model)
    plan.say_plan(
        mesh, plan.kept_bytes(train_state),
        {"updating": plan.update_bytes(model, mesh, train_state, inputs // cfg.microbatches, tokens, 0,
                                       cfg.microbatches)},
        f"{inputs} inputs of about {tokens} tokens; {plan.flops(work)} in products with weights",
    )  # fmt: skip
    for step in range(start, steps):
        if step == 0 or (cfg.evaluation.every and step % cfg.evaluation.every == 0):
            evaluate_at(step)
        began, tokens = time.monotonic(), int(np.sum(batch.lengths[batch.weights > 0]))
        with under_way("updating"):
            train_state, metrics = update(train_state, to_device(batch, mesh))
            batch = batch_at(cfg, data, min(step + 1, steps - 1))  # while the device works
            row = {name: float(value) for name, value in jax.device_get(metrics).items()}
        row |= skipped.count([row["skipped"]], row["loss"])
        writer.write(step, {**row, "learning_rate": float(schedule(step)),
                            "tokens_per_s": tokens / (time.monotonic() - began)})  # fmt: skip
        if skipped.too_many:
            raise skipped.error(step, batch_at(cfg, data, step))
        checkpoints.save(step + 1, {"state": train_state})
    checkpoints.close()
    skipped.check_end(train_state, mesh)
    evaluate_at(steps)
    writer.close()
    saved = dict(train_state.params)
    if cfg.unit_examples:
        unit = spread(score(scorer, saved, data.take(0, min(cfg.unit_examples, data.size))))
        say(f"scores are divided by {unit:.4g}, their standard deviation on training examples")
        saved[HEAD] = saved[HEAD] / unit
    reward_scoring.save(workdir / "model", saved, model, tokenizer, cfg.reading, came_with)
    return workdir / "model"


def spread(scores: np.ndarray) -> float:
    """The standard deviation over all scores; 1 where they are all the same, which nothing can be done about."""
    return float(np.std(scores, dtype=np.float64)) or 1.0
