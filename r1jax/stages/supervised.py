"""The supervised loop: next-token cross-entropy. Pretraining of the mini base, and fine-tuning on instructions."""

import dataclasses
import pathlib
import time
from collections.abc import Callable
from typing import Literal

import jax
from jax.sharding import Mesh

from r1jax.config import at_least
from r1jax.core import params as core
from r1jax.core.params import Params
from r1jax.core.sharding import TRAIN_RULES, MeshConfig
from r1jax.data import corpus
from r1jax.data.batching import Batch, Example, pack, to_device
from r1jax.data.corpus import CorpusConfig
from r1jax.data.instructions import InstructionConfig, Instructions
from r1jax.losses.auxiliary import AuxiliaryConfig
from r1jax.losses.supervised import cross_entropy_loss
from r1jax.models.config import ComputeConfig, ModelConfig
from r1jax.models.transformer import param_specs
from r1jax.text.tokenizer import Tokenizer, train_sentencepiece
from r1jax.training import checkpoint, state
from r1jax.training.checkpoint import CheckpointConfig, Checkpoints
from r1jax.training.metrics import MetricsWriter, say
from r1jax.training.state import OptimizerConfig
from r1jax.training.step import make_update


@dataclasses.dataclass(frozen=True)
class SupervisedConfig:
    """One supervised run.

    Attributes:
        stage: names the loop.
        seed: of weights and examples.
        model: the model's shape, for one that starts from nothing.
        base: where to start instead: a model folder, or the config of a run that makes one.
        vocab_size: of the SentencePiece tokenizer that a start from nothing trains on the first `tokenizer_documents`
            documents.
        corpus: the documents.
        data: prompts and responses to train on instead of the documents; the loss is on the responses.
        num_steps, batch_size, seq_len: updates, rows an update, tokens a row.
        documents_per_step: documents or instructions drawn for each update and packed first-fit; those that find no
            room are dropped. As many instructions as rows always find room.
        auxiliary: what a mixture of experts and multi-token prediction add to the loss.
        compute: how the base is computed, where that is not to be as its folder says.
        microbatches: pieces a batch is computed in.
        logprob_chunk: positions a row whose logits exist at a time.
        log_every: steps between console lines.
    """

    stage: Literal["supervised"]
    optimizer: OptimizerConfig
    num_steps: int
    batch_size: int
    seq_len: int
    documents_per_step: int
    model: ModelConfig | None = None
    base: str = ""
    seed: int = 0
    vocab_size: int = 640
    tokenizer_documents: int = 4000
    corpus: CorpusConfig = CorpusConfig()
    data: InstructionConfig | None = None
    auxiliary: AuxiliaryConfig = AuxiliaryConfig()
    compute: ComputeConfig | None = None
    microbatches: int = 1
    logprob_chunk: int = 64
    log_every: int = 20
    mesh: MeshConfig = MeshConfig()
    checkpoint: CheckpointConfig = CheckpointConfig(every=200)

    def __post_init__(self):
        at_least(1, self, "num_steps", "batch_size", "seq_len", "documents_per_step", "microbatches", "logprob_chunk",
                 "log_every")  # fmt: skip
        at_least(0, self, "seed")
        if self.base and self.model is not None:
            raise ValueError("give either a model's shape to start from nothing, or a base to start from")
        if self.compute and self.model is not None:
            raise ValueError("compute is for a base; a model's shape says by its own dtype, remat and scan_unroll how "
                             "it is computed")  # fmt: skip
        if self.batch_size % self.microbatches:
            raise ValueError(f"batch_size={self.batch_size} does not split into microbatches={self.microbatches}")

    @property
    def held_out_share(self) -> float:
        """The share of questions that what it trains on keeps clear of."""
        return self.data.held_out_share if self.data else self.corpus.held_out_share


Take = Callable[[int, int], list[Example]]  # (first position, count) -> examples, a pure function


def make_source(cfg: SupervisedConfig, tokenizer: Tokenizer) -> Take:
    """Where the run's examples come from: its instructions, else the corpus. Says what a file's lines were not fit for.

    Raises:
        FileNotFoundError, ValueError: see `Instructions`.
    """
    if cfg.data:
        instructions = Instructions(cfg.data, cfg.seed, tokenizer, cfg.seq_len)
        left_out = [f"{count} {reason}" for reason, count in instructions.left_out.items() if count]
        if left_out:
            say(f"examples left out of {cfg.data.path}: {', '.join(left_out)}")
        return instructions.take

    def document(index: int) -> Example:
        ids = [*tokenizer.encode(corpus.document(cfg.corpus, cfg.seed, index)), tokenizer.eos_ids[0]]
        return ids, [1] * len(ids)

    return lambda start, count: [document(index) for index in range(start, start + count)]


def batch_at(cfg: SupervisedConfig, take: Take, step: int) -> tuple[Batch, int]:
    """The batch of a step, and how many examples found no room in it.

    A pure function of the seed and the step, so a resumed run needs no reader's position.
    """
    return pack(take(step * cfg.documents_per_step, cfg.documents_per_step), cfg.batch_size, cfg.seq_len)


def start_from(
    cfg: SupervisedConfig, mesh: Mesh, base: pathlib.Path | None
) -> tuple[Params, ModelConfig, Tokenizer]:
    """The weights, shape and tokenizer that a run begins with: the base's, or new ones."""
    if base is not None:
        return checkpoint.load_model(base, mesh, cfg.compute)
    documents = (corpus.document(cfg.corpus, cfg.seed, i) for i in range(cfg.tokenizer_documents))
    tokenizer = train_sentencepiece(documents, cfg.vocab_size)
    model = dataclasses.replace(cfg.model, vocab_size=tokenizer.vocab_size)
    return core.init(param_specs(model), TRAIN_RULES, mesh, cfg.seed), model, tokenizer


def run(cfg: SupervisedConfig, workdir: pathlib.Path, mesh: Mesh, base: pathlib.Path | None = None) -> pathlib.Path:
    """Trains to the end, resuming if `workdir` holds a state. Returns the model folder, `workdir/model`.

    Args:
        base: the model folder that `cfg.base` stands for, where it names one.
    """
    params, model, tokenizer = start_from(cfg, mesh, base)
    came_with = base and checkpoint.read_hf_config(base)  # now: at the end of a long run the base may be gone
    take = make_source(cfg, tokenizer)
    specs = param_specs(model)
    tx = state.make_optimizer(cfg.optimizer, specs, cfg.num_steps, cfg.auxiliary.idle)
    checkpoints = Checkpoints(workdir, cfg.checkpoint, cfg.num_steps)
    restored = checkpoints.restore({"state": state.abstract_state(specs, tx, mesh)})
    if restored:
        start, train_state = restored[0], restored[1]["state"]
    else:
        start, train_state = 0, state.create(params, specs, tx, mesh)
    del params  # the state has a copy
    say(f"{core.count(specs):,} parameters, {cfg.num_steps} steps of {cfg.batch_size} x {cfg.seq_len} tokens"
        + (f", resuming at step {start}" if start else ""))

    def loss(params, batch):
        return cross_entropy_loss(params, model, batch, cfg.logprob_chunk, cfg.auxiliary)

    update = make_update(loss, tx, specs, mesh, cfg.microbatches, cfg.auxiliary.bias_rate)
    schedule = state.learning_rate(cfg.optimizer, cfg.num_steps)
    writer = MetricsWriter(workdir, start, cfg.num_steps, {"loss": ".3f", "tokens_per_s": ",.0f"}, cfg.log_every)
    batch, no_room = batch_at(cfg, take, start)
    for step in range(start, cfg.num_steps):
        began = time.monotonic()
        train_state, metrics = update(train_state, to_device(batch, mesh))
        row = {"learning_rate": float(schedule(step)), "no_room": no_room}
        trained = int((batch.weights > 0).sum())
        batch, no_room = batch_at(cfg, take, step + 1)  # while the device works
        row |= {name: float(value) for name, value in jax.device_get(metrics).items()}
        writer.write(step, row | {"tokens_per_s": trained / (time.monotonic() - began)})
        checkpoints.save(step + 1, {"state": train_state})
    checkpoints.close()
    writer.close()
    checkpoint.save_model(workdir / "model", train_state.params, model, tokenizer, came_with)
    return workdir / "model"
