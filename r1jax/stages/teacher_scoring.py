"""A teacher's distribution over every target of its examples: the training data of logit distillation.

An option beyond the paper, whose students learn from the teacher's texts alone (arXiv 2501.12948, section 2.4). The
files are those that students are fine-tuned on; `r1jax.stages.supervised` takes the workdir as its `soft_targets`.
Teacher and student must have one vocabulary.
"""

import itertools
import pathlib

import jax
import numpy as np
from jax.sharding import Mesh

from r1jax.core.params import Params
from r1jax.core.sharding import replicated
from r1jax.data import teacher_logits
from r1jax.data.batching import Batch, fill, pack, size, to_device, unpack
from r1jax.data.sft import Instructions
from r1jax.data.teacher_logits import SHARD
from r1jax.evaluation.rollouts import from_process_0
from r1jax.inference import context_length, model_identity
from r1jax.inference.trained_prompts import check_chat, warn_of_other_format
from r1jax.io.console import ProgressPrinter, say
from r1jax.losses import distillation
from r1jax.models.io import load_model, read_hf_config
from r1jax.models.transformer import forward, unembed_table
from r1jax.stages.config import TeachConfig


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
    if cfg.top_k > tokenizer.vocab_size:
        raise ValueError(f"config.top_k={cfg.top_k} is more than the {tokenizer.vocab_size} tokens that there are")
    check_chat(tokenizer, cfg.data.chat, "config.data.chat")
    warn_of_other_format(cfg.data, base, "config.data")
    instructions = Instructions(cfg.data, 0, tokenizer, cfg.seq_len)
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

    def teach(params: Params, batch: Batch) -> tuple[jax.Array, jax.Array]:
        hidden = forward(params, model, batch.tokens, batch.positions, batch.segments).hidden
        return distillation.soft_targets(
            hidden, unembed_table(params), cfg.top_k, tokenizer.vocab_size, cfg.temperature, cfg.logprob_chunk
        )

    teach = jax.jit(teach, out_shardings=replicated(mesh))
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
