"""The supervised loop: next-token cross-entropy. Pretraining of the mini base, and fine-tuning on instructions.

Fine-tuning is the recipe's SFT, and distillation into a student (arXiv 2501.12948, sections 2.3.3 and 2.4). A teacher's
distribution over each target may be learnt beside the target itself.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable

import jax
from jax.sharding import Mesh

from r1jax.core import params as core
from r1jax.core.params import Params
from r1jax.core.sharding import TRAIN_RULES, check_length
from r1jax.data import token_cache
from r1jax.data.batching import Batch, Example, fill, pack, size_of
from r1jax.data.miniworld import documents as corpus
from r1jax.data.sft import Instructions
from r1jax.data.teacher_logits import SoftTargets
from r1jax.evaluation.scheduled_benchmarks import ScheduledBenchmarks
from r1jax.inference import context_length
from r1jax.inference.trained_prompts import check_chat
from r1jax.io.console import say
from r1jax.losses.distillation import distillation_loss
from r1jax.losses.supervised import cross_entropy_loss
from r1jax.models.config import ModelConfig
from r1jax.models.io import read_hf_config
from r1jax.models.transformer import param_specs
from r1jax.stages.config import SupervisedConfig
from r1jax.text import prompt_format
from r1jax.text import tokenizer as text
from r1jax.text.prompt_format import R1_ZERO, PromptFormat
from r1jax.text.tokenizer import Tokenizer, train_sentencepiece
from r1jax.training import loop, plan
from r1jax.training.loop import StartingPoint, StepBatch, TrainingRun
from r1jax.training.step import Loss, Metrics

Take = Callable[[int, int], list[Example]]  # (first position, count) -> examples, a pure function


class Batches:
    """A run's batches, each a pure function of the seed and its step: a resumed run needs no position in a file.

    Attributes:
        num_steps: of the run; `at` goes on with more where the config says how many documents a step takes.
        size: of the run, as a phrase for the console.
        soft: the teacher's distributions, None without a teacher.
    """

    def __init__(self, cfg: SupervisedConfig, tokenizer: Tokenizer, cache: pathlib.Path | None = None):
        """Opens the run's instructions, else the corpus. Prints how many lines of a file were left out, and why.

        Args:
            cache: see `Instructions`.

        Raises:
            FileNotFoundError, ValueError: see `Instructions` and `SoftTargets`.
        """
        self._cfg, self.soft = cfg, None
        self.num_steps, self.size, drawn = cfg.num_steps, "", None
        if cfg.data:
            instructions = Instructions(cfg.data, cfg.seed, tokenizer, cfg.seq_len, cache)
            if instructions.notice:
                say(instructions.notice)
            if cfg.soft_targets:
                self.soft = SoftTargets(cfg.soft_targets, tokenizer, instructions.examples)
            if cfg.epochs:
                drawn = max(round(cfg.epochs * len(instructions.examples)), 1)
                self.size = f"{cfg.epochs:g} epochs of {len(instructions.examples):,} examples: "
            self._take, self._lengths = instructions.take, instructions.lengths
        else:
            self._take = _documents(cfg, tokenizer)
            self._lengths = lambda start, count: [len(ids) for ids, _ in self._take(start, count)]
        self._starts = None if cfg.documents_per_step else self._plan(drawn)
        if drawn:
            self.num_steps = len(self._starts) - 1 if self._starts else -(-drawn // cfg.documents_per_step)
        self.size += f"{self.num_steps} steps of {cfg.batch_size} x {cfg.seq_len} tokens"

    def at(self, step: int) -> StepBatch:
        """The batch of a step; `no_room` among its metrics counts the examples that did not fit in it."""
        cfg, count = self._cfg, self._cfg.documents_per_step
        start = step * count
        if self._starts:
            start, end = (self._starts[min(s, self.num_steps)] for s in (step, step + 1))
            count = end - start
        examples = self._take(start, count)
        batch, unplaced = pack(examples, cfg.batch_size, cfg.seq_len, self.soft.of(examples) if self.soft else ())
        return StepBatch(batch, int((batch.weights > 0).sum()), {"no_room": unplaced})

    def _plan(self, drawn: int | None) -> list[int]:
        """The first example of each step, and last the one after the run of `drawn` examples, else of `num_steps`."""
        chunk = 4096  # taking examples one by one would order the files again for each
        stream = itertools.chain.from_iterable(self._lengths(start, chunk) for start in itertools.count(0, chunk))
        sizes = (size_of(tokens, self._cfg.seq_len) for tokens in itertools.islice(stream, drawn))
        starts = fill(sizes, self._cfg.batch_size, self._cfg.seq_len)
        return list(starts if drawn else itertools.islice(starts, self.num_steps + 1))


def _documents(cfg: SupervisedConfig, tokenizer: Tokenizer) -> Take:
    def document(index: int) -> Example:
        ids = [*tokenizer.encode(corpus.document(cfg.corpus, cfg.seed, index)), tokenizer.eos_ids[0]]
        return ids, [1] * len(ids)

    return lambda start, count: [document(index) for index in range(start, start + count)]


def starting_point(
    cfg: SupervisedConfig, mesh: Mesh, base: pathlib.Path | None, vocabulary: pathlib.Path | None = None
) -> StartingPoint:
    """The base where there is one; else new weights, with the vocabulary's tokenizer or one trained on the corpus."""
    if base is not None:
        return loop.start_from_folder(base, mesh, cfg.compute)
    if vocabulary is not None:
        tokenizer = text.load(vocabulary)
    else:
        documents = (corpus.document(cfg.corpus, cfg.seed, i) for i in range(cfg.tokenizer_documents))
        tokenizer = train_sentencepiece(documents, cfg.vocab_size)
    model = dataclasses.replace(cfg.model, vocab_size=tokenizer.vocab_size)
    return StartingPoint(model, tokenizer, lambda: core.init(param_specs(model), TRAIN_RULES, mesh, cfg.seed))


def prompt_format_of(cfg: SupervisedConfig) -> PromptFormat | None:
    """The prompt format that this run trains on; None: it trains on none."""
    if cfg.data:
        return PromptFormat.of(cfg.data)
    return R1_ZERO if cfg.corpus.template else None


def run(
    cfg: SupervisedConfig,
    workdir: pathlib.Path,
    mesh: Mesh,
    base: pathlib.Path | None = None,
    vocabulary: pathlib.Path | None = None,
) -> pathlib.Path:
    """Trains to the end, resuming if `workdir` holds a state. Returns the model folder, `workdir/model`.

    Args:
        base: the model folder that `cfg.base` stands for, where it names one.
        vocabulary: the model folder that `cfg.tokenizer` stands for, where it names one.
    """
    # What the run starts from: the base or new weights, and the examples.
    context_length.check_length(base and read_hf_config(base), cfg.base, cfg.seq_len, "seq_len")
    check_length(cfg.seq_len, mesh, "seq_len")
    start_from = starting_point(cfg, mesh, base, vocabulary)
    if cfg.data:
        check_chat(start_from.tokenizer, cfg.data.chat, "config.data.chat")
    batches = Batches(cfg, start_from.tokenizer, token_cache.beside(workdir))
    training = loop.open_run(
        cfg,
        workdir,
        mesh,
        start_from,
        param_specs(start_from.model),
        num_steps=batches.num_steps,
        console={"loss": ".3f", "kl": ".3f", "tokens_per_s": ",.0f"},
        frozen=cfg.auxiliary.idle,
        log_every=cfg.log_every,
    )
    say(f"{training.summary}; {batches.size}")
    say_plan(cfg, training)
    # Training.
    loss = make_loss(cfg, training.model, batches.soft)
    update = training.compile_update(loss, cfg.microbatches, cfg.auxiliary.bias_rate)
    form = prompt_format_of(cfg)
    benchmarks = ScheduledBenchmarks(cfg.evaluation.benchmarks, training, form or R1_ZERO, cfg.seed)
    loop.train(
        training,
        update,
        batches.at,
        before_step=lambda step: benchmarks.evaluate_if_due(training.state.params, step),
    )
    benchmarks.evaluate(training.state.params, training.num_steps)
    # The model folder, with the prompt format for those who sample from it.
    return training.close({prompt_format.FILE: form.content()} if form else {})


def make_loss(cfg: SupervisedConfig, model: ModelConfig, soft: SoftTargets | None) -> Loss:
    """Cross-entropy on the targets, and with a teacher's distributions the distillation loss beside it."""

    def loss(params: Params, batch: Batch) -> tuple[jax.Array, Metrics]:
        common = params, model, batch, cfg.logprob_chunk, cfg.auxiliary
        if soft is None:
            return cross_entropy_loss(*common)
        return distillation_loss(*common, cfg.distillation, soft.temperature)

    return loss


def say_plan(cfg: SupervisedConfig, training: TrainingRun) -> None:
    """Prints the memory and computation that the run will need, see `plan`."""
    model, tokens = training.model, cfg.batch_size * cfg.seq_len
    rows = cfg.batch_size // cfg.microbatches
    work = (8 if model.remat else 6) * tokens * plan.used_parameters(model)
    plan.say_plan(
        training.mesh,
        plan.kept_bytes(training.state),
        {
            "updating": plan.update_bytes(
                model, training.mesh, training.state, rows, cfg.seq_len, cfg.logprob_chunk, cfg.microbatches
            )
        },
        f"{cfg.batch_size} rows of {cfg.seq_len} tokens; {plan.flops(work)} in products with weights",
    )
