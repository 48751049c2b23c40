"""Fixed work for benchmarks: prompts, completions of given lengths, and the FLOPs and bytes that they need."""

import dataclasses
import statistics
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from r1jax.core import params as core
from r1jax.data.types import Prompt, Rollout
from r1jax.models.config import ModelConfig
from r1jax.models.transformer import param_specs


class EndlessTokenizer:
    """A tokenizer without text, whose end of sequence no model can sample."""

    def __init__(self, vocab_size: int):
        self.vocab_size, self.eos_ids, self.pad_id = vocab_size, (vocab_size,), 0
        self.silent_ids, self.byte_ids, self.has_chat_template = frozenset(), frozenset(), False

    def decode(self, ids: Sequence[int]) -> str:
        return ""


def completion_lengths(count: int, longest: int, long_tail: bool, seed: int = 0) -> np.ndarray:
    """`[count]` lengths in a random order: all the longest, or log-normal with a median of an eighth of it."""
    if not long_tail or count < 2:
        return np.full(count, longest)
    normal = statistics.NormalDist()
    z = np.array([normal.inv_cdf((i + 0.5) / count) for i in range(count)])
    lengths = np.rint(longest * 8.0 ** (z / z[-1] - 1.0)).astype(int).clip(1, longest)
    return np.random.default_rng(seed).permutation(lengths)


def draw_prompts(vocab_size: int, count: int, tokens: int, seed: int) -> list[Prompt]:
    """Prompts of random ids, all of the same length."""
    ids = np.random.default_rng(seed).integers(2, vocab_size, (count, tokens))
    return [Prompt(f"{seed}/{i}", "", "", "exact:bench", ids=tuple(row.tolist())) for i, row in enumerate(ids)]


def random_rollouts(prompts: Sequence[Prompt], samples: int, lengths: np.ndarray, vocab_size: int) -> list[Rollout]:
    """Rollouts of random ids, where none are sampled.

    Args:
        lengths: `[len(prompts) * samples]`, prompt by prompt.
    """
    rng = np.random.default_rng(0)
    pairs = [(prompt, sample) for prompt in prompts for sample in range(samples)]
    return [
        Rollout(prompt, sample, rng.integers(0, vocab_size, n, np.int32), np.full(n, -1.0, np.float32), "", "length")
        for (prompt, sample), n in zip(pairs, lengths, strict=True)
    ]


def forward_flops(model: ModelConfig, lengths: np.ndarray) -> float:
    """FLOPs of a forward pass over sequences of these lengths: products with weights, and causal attention."""
    specs = param_specs(dataclasses.replace(model, mtp_depth=0))
    weights = core.count(specs) - (0 if model.tie_embeddings else model.vocab_size * model.embed_dim)
    pairs = (lengths.astype(float) * (lengths + 1)).sum() / 2  # of a query and a key that it sees
    return 2 * weights * float(lengths.sum()) + 4 * model.num_layers * model.num_heads * model.head_dim * pairs


def decode_bytes(model: ModelConfig, rows: int, tokens: float) -> float:
    """Bytes that a decode step has to read: every weight once, and keys and values of `tokens` tokens a row."""
    specs = param_specs(dataclasses.replace(model, mtp_depth=0))
    size = jnp.dtype(model.dtype).itemsize
    width = model.mla.kv_rank + model.mla.rope_dim if model.mla else 2 * model.num_kv_heads * model.head_dim
    return size * (core.count(specs) + rows * tokens * model.num_layers * width)
