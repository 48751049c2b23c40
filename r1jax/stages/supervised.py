"""The supervised loop: next-token cross-entropy. Pretraining of the mini base, and fine-tuning on instructions.

Fine-tuning is the recipe's SFT, and distillation into a student (arXiv 2501.12948, sections 2.3.3 and 2.4). A teacher's
distribution of each target may be learnt beside the target itself.
"""

import dataclasses
import itertools
import pathlib
import time
from collections.abc import Callable

import jax
from jax.sharding import Mesh

from r1jax.core import params as core
from r1jax.core.params import Params
from r1jax.core.sharding import TRAIN_RULES
from r1jax.data.batching import Batch, Example, fill, pack, size, to_device
from r1jax.data.miniworld import documents as corpus
from r1jax.data.sft import Instructions
from r1jax.data.teacher_logits import SoftTargets
from r1jax.inference import context_length
from r1jax.inference.as_trained import check_chat
from r1jax.losses.distillation import distillation_loss
from r1jax.losses.supervised import cross_entropy_loss
from r1jax.models.config import ModelConfig
from r1jax.models.transformer import param_specs
from r1jax.stages.config import SupervisedConfig
from r1jax.text import prompt_form
from r1jax.text import tokenizer as text
from r1jax.text.prompt_form import R1_ZERO, PromptForm
from r1jax.text.tokenizer import Tokenizer, train_sentencepiece
from r1jax.training import checkpoint, plan, state
from r1jax.training.checkpoint import Checkpoints
from r1jax.training.metrics import MetricsWriter, say, under_way
from r1jax.training.skipped import SkippedUpdates
from r1jax.training.step import make_update

Take = Callable[[int, int], list[Example]]  # (first position, count) -> examples, a pure function


class Batches:
    """A run's batches: each is a pure function of the seed and its step, so a resumed run needs no reader's position.

    Attributes:
        num_steps: of the run; `at` goes on with more where the config says how many documents a step takes.
        size: of the run, in words.
        soft: what the teacher said, None without one.
    """

    def __init__(self, cfg: SupervisedConfig, tokenizer: Tokenizer):
        """Opens the run's instructions, else the corpus. Says what a file's lines were not fit for.

        Raises:
            FileNotFoundError, ValueError: see `Instructions` and `SoftTargets`.
        """
        self._cfg, self.soft = cfg, None
        self.num_steps, self.size, drawn = cfg.num_steps, "", None
        if cfg.data:
            instructions = Instructions(cfg.data, cfg.seed, tokenizer, cfg.seq_len)
            if instructions.notice:
                say(instructions.notice)
            if cfg.soft_targets:
                self.soft = SoftTargets(cfg.soft_targets, tokenizer, instructions.examples)
            if cfg.epochs:
                drawn = max(round(cfg.epochs * len(instructions.examples)), 1)
                self.size = f"{cfg.epochs:g} epochs of {len(instructions.examples):,} examples: "
            self._take = instructions.take
        else:
            self._take = _documents(cfg, tokenizer)
        self._starts = None if cfg.documents_per_step else self._plan(drawn)
        if drawn:
            self.num_steps = len(self._starts) - 1 if self._starts else -(-drawn // cfg.documents_per_step)
        self.size += f"{self.num_steps} steps of {cfg.batch_size} x {cfg.seq_len} tokens"

    def at(self, step: int) -> tuple[Batch, int]:
        """The batch of a step, and how many examples found no room in it."""
        cfg, count = self._cfg, self._cfg.documents_per_step
        start = step * count
        if self._starts:
            start, end = (self._starts[min(s, self.num_steps)] for s in (step, step + 1))
            count = end - start
        examples = self._take(start, count)
        return pack(examples, cfg.batch_size, cfg.seq_len, self.soft.of(examples) if self.soft else ())

    def _plan(self, drawn: int | None) -> list[int]:
        """At which example each step begins, and at last the one after the run, of `drawn` or else of `num_steps`."""
        chunk = 4096  # to take one by one would order the files anew each time
        stream = itertools.chain.from_iterable(self._take(start, chunk) for start in itertools.count(0, chunk))
        sizes = (size(example, self._cfg.seq_len) for example in itertools.islice(stream, drawn))
        starts = fill(sizes, self._cfg.batch_size, self._cfg.seq_len)
        return list(starts if drawn else itertools.islice(starts, self.num_steps + 1))


def _documents(cfg: SupervisedConfig, tokenizer: Tokenizer) -> Take:
    def document(index: int) -> Example:
        ids = [*tokenizer.encode(corpus.document(cfg.corpus, cfg.seed, index)), tokenizer.eos_ids[0]]
        return ids, [1] * len(ids)

    return lambda start, count: [document(index) for index in range(start, start + count)]


def start_from(
    cfg: SupervisedConfig, mesh: Mesh, base: pathlib.Path | None, vocabulary: pathlib.Path | None = None
) -> tuple[Params, ModelConfig, Tokenizer]:
    """The weights, shape and tokenizer that a run begins with: the base's, or new ones, but for the vocabulary's."""
    if base is not None:
        return checkpoint.load_model(base, mesh, cfg.compute)
    if vocabulary is not None:
        tokenizer = text.load(vocabulary)
    else:
        documents = (corpus.document(cfg.corpus, cfg.seed, i) for i in range(cfg.tokenizer_documents))
        tokenizer = train_sentencepiece(documents, cfg.vocab_size)
    model = dataclasses.replace(cfg.model, vocab_size=tokenizer.vocab_size)
    return core.init(param_specs(model), TRAIN_RULES, mesh, cfg.seed), model, tokenizer


def prompt_form_of(cfg: SupervisedConfig) -> PromptForm | None:
    """How to ask what is trained so; None: nothing teaches it a form."""
    if cfg.data:
        return PromptForm.of(cfg.data)
    return R1_ZERO if cfg.corpus.template else None


def run(
    cfg: SupervisedConfig, workdir: pathlib.Path, mesh: Mesh, base: pathlib.Path | None = None,
    vocabulary: pathlib.Path | None = None,
) -> pathlib.Path:  # fmt: skip
    """Trains to the end, resuming if `workdir` holds a state. Returns the model folder, `workdir/model`.

    Args:
        base: the model folder that `cfg.base` stands for, where it names one.
        vocabulary: the model folder that `cfg.tokenizer` stands for, where it names one.
    """
    came_with = base and checkpoint.read_hf_config(base)  # now: at the end of a long run the base may be gone
    context_length.check_length(came_with, cfg.base, cfg.seq_len, "seq_len")
    params, model, tokenizer = start_from(cfg, mesh, base, vocabulary)
    if cfg.data:
        check_chat(tokenizer, cfg.data.chat, "config.data.chat")
    batches = Batches(cfg, tokenizer)
    num_steps = batches.num_steps
    specs = param_specs(model)
    tx = state.make_optimizer(cfg.optimizer, specs, num_steps, cfg.auxiliary.idle)
    checkpoints = Checkpoints(workdir, cfg.checkpoint, num_steps)
    restored = checkpoints.restore({"state": state.abstract_state(specs, tx, mesh)})
    if restored:
        start, train_state = restored[0], restored[1]["state"]
    else:
        start, train_state = 0, state.create(params, specs, tx, mesh)
    del params  # the state has a copy
    say(f"{core.count(specs):,} parameters, {batches.size}" + (f", resuming at step {start}" if start else ""))

    tokens = cfg.batch_size * cfg.seq_len
    plan.say_plan(
        mesh, plan.kept_bytes(train_state),
        {"updating": plan.update_bytes(model, mesh, train_state, cfg.batch_size // cfg.microbatches, cfg.seq_len,
                                       cfg.logprob_chunk, cfg.microbatches)},
        f"{cfg.batch_size} rows of {cfg.seq_len} tokens; "
        f"{plan.flops((8 if model.remat else 6) * tokens * plan.used_parameters(model))} in products with weights",
    )  # fmt: skip

    def loss(params, batch):
        given = params, model, batch, cfg.logprob_chunk, cfg.auxiliary
        if not batches.soft:
            return cross_entropy_loss(*given)
        return distillation_loss(*given, cfg.distillation, batches.soft.temperature)

    update = make_update(loss, tx, specs, mesh, cfg.microbatches, cfg.auxiliary.bias_rate)
    schedule = state.learning_rate(cfg.optimizer, num_steps)
    shown = {"loss": ".3f", "kl": ".3f", "tokens_per_s": ",.0f"}
    writer = MetricsWriter(workdir, start, num_steps, shown, cfg.log_every)
    skipped = SkippedUpdates(workdir, cfg.optimizer, start)
    batch, no_room = batches.at(start)
    for step in range(start, num_steps):
        began = time.monotonic()
        with under_way("updating"):
            train_state, metrics = update(train_state, to_device(batch, mesh))
            row = {"learning_rate": float(schedule(step)), "no_room": no_room}
            trained = int((batch.weights > 0).sum())
            batch, no_room = batches.at(step + 1)  # while the device works
            row |= {name: float(value) for name, value in jax.device_get(metrics).items()}
        row |= skipped.count([row["skipped"]], row["loss"])
        writer.write(step, row | {"tokens_per_s": trained / (time.monotonic() - began)})
        if skipped.too_many:
            raise skipped.error(step, batches.at(step)[0])
        checkpoints.save(step + 1, {"state": train_state})
    checkpoints.close()
    writer.close()
    skipped.check_end(train_state, mesh)
    beside = {prompt_form.FILE: form.content()} if (form := prompt_form_of(cfg)) else {}
    checkpoint.save_model(workdir / "model", train_state.params, model, tokenizer, came_with, beside)
    return workdir / "model"
