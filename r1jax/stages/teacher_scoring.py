"""A teacher's distribution over every target of its examples: what logit distillation trains on.

An option beyond the paper, whose students learn from the teacher's texts alone (arXiv 2501.12948, section 2.4). The
examples are files that students are fine-tuned on: `r1jax.stages.supervised` takes the workdir as its `soft_targets`.
Or they are the rollouts of an RL step: a student's own samples (`RolloutTeacher`). Teacher and student must have one
vocabulary.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh

from r1jax.core.params import Params
from r1jax.core.sharding import TRAIN_RULES
from r1jax.core.shares import ALL_ROWS, Shares, from_process_0, rows_sharding
from r1jax.data import teacher_logits, token_cache
from r1jax.data.batching import Batch, fill, pack, size, to_device, unpack
from r1jax.data.sft import Instructions
from r1jax.data.teacher_logits import SHARD
from r1jax.inference import context_length, model_identity
from r1jax.inference.trained_prompts import check_chat, warn_of_other_format
from r1jax.io.console import ProgressPrinter, say
from r1jax.losses import distillation
from r1jax.models.config import ModelConfig
from r1jax.models.io import load_model, read_hf_config
from r1jax.models.transformer import forward, unembed_table
from r1jax.stages.config import RLConfig, TeachConfig
from r1jax.stages.rl_batch import in_parts
from r1jax.text.tokenizer import Tokenizer


def run(cfg: TeachConfig, workdir: pathlib.Path, mesh: Mesh, base: pathlib.Path) -> None:
    """Writes what `workdir` does not hold yet.

    Args:
        base: the model folder that `cfg.base` stands for.

    Raises:
        ConfigError: the workdir holds another teacher's distributions, or those of other examples.
        FileNotFoundError, ValueError: see `load_model` and `Instructions`; also more tokens to be kept than
            there are.
    """
    context_length.check_length(read_hf_config(base), base, cfg.seq_len, "seq_len")
    params, model, tokenizer = load_model(base, mesh, cfg.compute, dtype=None)
    check_top_k(cfg.top_k, tokenizer, "top_k")
    check_chat(tokenizer, cfg.data.chat, "config.data.chat")
    warn_of_other_format(cfg.data, base, "config.data")
    instructions = Instructions(cfg.data, 0, tokenizer, cfg.seq_len, token_cache.beside(workdir))
    examples = instructions.examples
    if instructions.notice:
        say(instructions.notice)
    # The shards that the workdir does not hold yet.
    left: list[int] = []
    if jax.process_index() == 0:
        teacher = {"path": str(base), "hash": model_identity.model_hash(base)}
        setup = {
            "teacher": teacher,
            "vocabulary": teacher_logits.vocabulary_key(tokenizer),
            "k": cfg.top_k,
            "temperature": cfg.temperature,
            "dtype": model.dtype,
        }
        left = teacher_logits.begin(workdir, setup, examples)
    left = from_process_0(left)

    teach = make_teach(model, mesh, cfg.top_k, tokenizer.vocab_size, cfg.temperature, cfg.logprob_chunk)
    # A shard at a time: the teacher reads packed rows, and the distributions go to disk.
    total = sum(min(SHARD, len(examples) - SHARD * index) for index in left)
    say(f"{total} of {len(examples)} examples to be read" if left else f"all {len(examples)} examples are read")
    progress, done = ProgressPrinter("teacher", "examples", every=0.0), 0
    for index in left:
        some = examples[SHARD * index : SHARD * (index + 1)]
        distributions = []
        for first, last in itertools.pairwise(fill((size(e, cfg.seq_len) for e in some), cfg.batch_size, cfg.seq_len)):
            batch, _ = pack(some[first:last], cfg.batch_size, cfg.seq_len)
            distributions += unpack(jax.device_get(teach(params, to_device(batch, mesh))), some[first:last])
        if jax.process_index() == 0:
            teacher_logits.write_shard(workdir, index, distributions)
        done += len(some)
        tail = np.exp(np.concatenate([logprobs[:, -1] for _, logprobs in distributions]).astype(np.float32)).mean()
        outside = f"{tail:.2%} of the probability is not among the {cfg.top_k} likeliest tokens"
        progress(done, total, lambda outside=outside: outside)


def check_top_k(k: int, tokenizer: Tokenizer, key: str) -> None:
    """Raises ValueError where more tokens are to be told apart than there are; `key` is the config's."""
    if k > tokenizer.vocab_size:
        raise ValueError(f"config.{key}={k} is more than the {tokenizer.vocab_size} tokens that there are")


def make_teach(
    model: ModelConfig,
    mesh: Mesh,
    k: int,
    vocab_size: int,
    temperature: float,
    chunk: int,
    shares: Shares = ALL_ROWS,
) -> Callable[[Params, Batch], tuple[jax.Array, jax.Array]]:
    """The compiled function from a teacher's weights and a batch to its `distillation.soft_targets`."""

    def teach(params: Params, batch: Batch) -> tuple[jax.Array, jax.Array]:
        segments = {"one_segment": batch.one_segment, "contexts_BT": batch.contexts}
        hidden = forward(params, model, batch.tokens, batch.positions, batch.segments, **segments).hidden
        return distillation.soft_targets(hidden, unembed_table(params), k, vocab_size, temperature, chunk)

    return jax.jit(teach, out_shardings=rows_sharding(mesh, TRAIN_RULES, shares))


@dataclasses.dataclass(frozen=True)
class RolloutTeacher:
    """A teacher of an RL run, which gives its distributions over what the policy samples.

    Attributes:
        params: its weights.
        with_soft_targets: from the padded batch of a step, of this process's rows, to that with the teacher's
            distribution at each position.
    """

    params: Params
    with_soft_targets: Callable[[Batch], Batch]

    @classmethod
    def open(cls, cfg: RLConfig, path: pathlib.Path, student: Tokenizer, mesh: Mesh) -> "RolloutTeacher":
        """Reads the teacher in a model folder.

        Raises:
            FileNotFoundError: see `load_model`.
            ValueError: see there; also another vocabulary than the student's, or more tokens to be kept than it has.
        """
        params, model, tokenizer = load_model(path, mesh, cfg.compute, dtype=None)
        if teacher_logits.vocabulary_key(tokenizer) != teacher_logits.vocabulary_key(student):
            raise ValueError(
                f"config.teacher={path} has another vocabulary than config.base, so that its tokens' probabilities say "
                "nothing about the policy's: take a teacher with the same tokenizer, or distil by its samples"
            )
        check_top_k(cfg.teacher_top_k, tokenizer, "teacher_top_k")
        warn_of_other_format(cfg.data, path, "config.data")
        shares = Shares.of_mesh(mesh)
        teach = make_teach(model, mesh, cfg.teacher_top_k, tokenizer.vocab_size, 1.0, cfg.logprob_chunk, shares)

        def with_soft_targets(batch: Batch) -> Batch:
            ids, logprobs = in_parts(lambda rows: teach(params, rows), batch, cfg, model, mesh, shares)
            return dataclasses.replace(batch, soft_ids=ids, soft_logprobs=logprobs)

        return cls(params, with_soft_targets)
