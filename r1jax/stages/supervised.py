"""The supervised loop: next-token cross-entropy. Pretraining of the mini base; SFT and distillation share it."""

import dataclasses
import pathlib
import time
from typing import Literal

import jax
from jax.sharding import Mesh

from r1jax.config import at_least
from r1jax.core import params as core
from r1jax.core.params import Params
from r1jax.core.sharding import TRAIN_RULES, MeshConfig
from r1jax.data import corpus
from r1jax.data.batching import Batch, pack, to_device
from r1jax.data.corpus import CorpusConfig
from r1jax.losses.supervised import cross_entropy_loss
from r1jax.models.config import ModelConfig
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
        seed: of weights and documents.
        model: the model's shape, for one that starts from nothing.
        base: where to start instead: a model folder, or the config of a run that makes one.
        vocab_size: of the SentencePiece tokenizer that a start from nothing trains on the first `tokenizer_documents`
            documents.
        corpus: the documents.
        num_steps, batch_size, seq_len: updates, rows an update, tokens a row.
        documents_per_step: drawn for each update and packed first-fit; those that find no room are dropped.
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
    microbatches: int = 1
    logprob_chunk: int = 64
    log_every: int = 20
    mesh: MeshConfig = MeshConfig()
    checkpoint: CheckpointConfig = CheckpointConfig(every=200)

    def __post_init__(self):
        at_least(1, self, "num_steps", "batch_size", "seq_len", "documents_per_step", "microbatches", "logprob_chunk",
                 "log_every")  # fmt: skip
        at_least(0, self, "seed")
        if bool(self.base) == (self.model is not None):
            raise ValueError("give either a model's shape to start from nothing, or a base to start from")
        if self.batch_size % self.microbatches:
            raise ValueError(f"batch_size={self.batch_size} does not split into microbatches={self.microbatches}")


def batch_at(cfg: SupervisedConfig, tokenizer: Tokenizer, step: int) -> Batch:
    """The batch of a step: a pure function of the seed and the step, so a resumed run needs no reader's position."""
    first = step * cfg.documents_per_step

    def example(index: int):
        ids = [*tokenizer.encode(corpus.document(cfg.corpus, cfg.seed, index)), tokenizer.eos_ids[0]]
        return ids, [1] * len(ids)

    examples = map(example, range(first, first + cfg.documents_per_step))
    return pack(examples, cfg.batch_size, cfg.seq_len)[0]


def start_from(
    cfg: SupervisedConfig, mesh: Mesh, base: pathlib.Path | None
) -> tuple[Params, ModelConfig, Tokenizer]:
    """The weights, shape and tokenizer that a run begins with: the base's, or new ones."""
    if base is not None:
        return checkpoint.load_model(base, mesh)
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
    specs = param_specs(model)
    tx = state.make_optimizer(cfg.optimizer, specs, cfg.num_steps)
    checkpoints = Checkpoints(workdir, cfg.checkpoint, cfg.num_steps)
    restored = checkpoints.restore({"state": state.abstract_state(specs, tx, mesh)})
    if restored:
        start, train_state = restored[0], restored[1]["state"]
    else:
        start, train_state = 0, state.create(params, specs, tx, mesh)
    say(f"{core.count(specs):,} parameters, {cfg.num_steps} steps of {cfg.batch_size} x {cfg.seq_len} tokens"
        + (f", resuming at step {start}" if start else ""))

    def loss(params, batch):
        return cross_entropy_loss(params, model, batch, cfg.logprob_chunk)

    update = make_update(loss, tx, specs, mesh, cfg.microbatches)
    schedule = state.learning_rate(cfg.optimizer, cfg.num_steps)
    writer = MetricsWriter(workdir, start, cfg.num_steps, {"loss": ".3f", "tokens_per_s": ",.0f"}, cfg.log_every)
    batch = batch_at(cfg, tokenizer, start)
    for step in range(start, cfg.num_steps):
        began = time.monotonic()
        train_state, metrics = update(train_state, to_device(batch, mesh))
        batch, trained = batch_at(cfg, tokenizer, step + 1), int((batch.weights > 0).sum())  # while the device works
        metrics = {name: float(value) for name, value in jax.device_get(metrics).items()}
        metrics |= {"learning_rate": float(schedule(step)), "tokens_per_s": trained / (time.monotonic() - began)}
        writer.write(step, metrics)
        checkpoints.save(step + 1, {"state": train_state})
    checkpoints.close()
    writer.close()
    checkpoint.save_model(workdir / "model", train_state.params, model, tokenizer)
    return workdir / "model"
