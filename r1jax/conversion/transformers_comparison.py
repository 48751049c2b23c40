"""Comparison of a model's numbers in r1jax with those in `transformers`, on any checkpoint that both can read.

Both compute in float32. A deviation is max |r1jax - transformers| / max |transformers| over the logits of real tokens.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from r1jax.core.params import Params
from r1jax.core.sharding import DECODE_RULES, MeshConfig, make_mesh
from r1jax.data.batching import Batch, pack
from r1jax.data.types import Prompt
from r1jax.inference.engine import Engine, SamplingConfig
from r1jax.losses.auxiliary import AuxiliaryConfig
from r1jax.losses.supervised import cross_entropy_loss
from r1jax.models import cache as kv
from r1jax.models import hf
from r1jax.models.config import ModelConfig
from r1jax.models.logits import Truncation
from r1jax.models.transformer import forward, look_ahead, unembed_table
from r1jax.models.weight_map import Piece
from r1jax.models.weights import at, part_on_host

Model = Any  # a transformers model


def relative(value: np.ndarray, reference: np.ndarray) -> float:
    """max |value - reference| / max |reference|; infinite where either holds what is not finite."""
    value, reference = np.asarray(value, np.float64), np.asarray(reference, np.float64)
    # A NaN would be lost in the maxima that are taken of these.
    if not (np.isfinite(value).all() and np.isfinite(reference).all()):
        return float("inf")
    return float(np.abs(value - reference).max() / np.abs(reference).max())


def their_logits(model: Model, ids: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """`[B, T, V]` float32; tokens with mask 0 are padding, on either side."""
    import torch

    mask = np.ones_like(ids) if mask is None else mask
    positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
    with torch.no_grad():
        output = model(torch.tensor(ids), attention_mask=torch.tensor(mask), position_ids=torch.tensor(positions))
    return output.logits.numpy()


@dataclasses.dataclass
class R1jaxModel:
    """A model of r1jax, ready to run; float32, one device."""

    params: Params
    cfg: ModelConfig
    pieces: Sequence[Piece]  # where each tensor of the checkpoint lies among the weights

    @classmethod
    def load(cls, folder: pathlib.Path) -> "R1jaxModel":
        """Reads a Hugging Face folder."""
        mesh = make_mesh(MeshConfig(1, 1, 1, 1), jax.devices()[:1])
        opened = hf.open_folder(pathlib.Path(folder))
        return cls(opened.read(mesh, "float32"), dataclasses.replace(opened.cfg, dtype="float32"), opened.pieces)

    def logits(self, ids: np.ndarray, positions: np.ndarray, segments: np.ndarray) -> np.ndarray:
        """`[B, T, V]` float32 of a whole pass."""
        return np.asarray(self._whole(self.params, ids, positions, segments))

    @functools.cached_property
    def _whole(self) -> Callable[..., jax.Array]:
        def run(params, ids, positions, segments):
            return forward(params, self.cfg, ids, positions, segments).hidden @ unembed_table(params).T

        return jax.jit(run)

    def decoded_logits(self, ids: np.ndarray, prefix: int) -> np.ndarray:
        """The same, `prefix` tokens at once and the others one by one through the cache."""
        positions = np.broadcast_to(np.arange(ids.shape[1], dtype=np.int32), ids.shape)
        cache = kv.empty(self.cfg, *ids.shape, DECODE_RULES)

        def run(params, ids, positions, cache):
            hidden, cache, _ = forward(params, self.cfg, ids, positions, cache=cache, rules=DECODE_RULES)
            return hidden @ unembed_table(params).T, cache

        step, pieces = jax.jit(run), []
        for piece in (slice(0, prefix), *(slice(t, t + 1) for t in range(prefix, ids.shape[1]))):
            logits, cache = step(self.params, ids[:, piece], positions[:, piece], cache)
            pieces.append(logits)
        return np.concatenate(pieces, axis=1)

    def greedy(self, ids: np.ndarray, new_tokens: int) -> np.ndarray:
        """The sampler's most likely continuation of each row, `[B, new_tokens]`."""

        class Endless:
            eos_ids, pad_id, vocab_size = (-1,), 0, self.cfg.vocab_size

            def decode(self, ids):
                return ""

        prompts = [Prompt(str(row), "?", "", "", ids=tuple(map(int, tokens))) for row, tokens in enumerate(ids)]
        sampling = SamplingConfig(
            new_tokens,
            Truncation(temperature=0.0),
            slots=len(ids),
            window=4,
            prefill_rows=len(ids),
            bucket=ids.shape[1] + new_tokens,
        )
        mesh = make_mesh(MeshConfig(1, 1, 1, 1), jax.devices()[:1])
        with jax.set_mesh(mesh):
            engine = Engine(self.cfg, sampling, Endless(), mesh)
            return np.stack([rollout.ids for rollout in engine.generate(self.params, prompts, 1, (0,))])

    def gradients(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """Of the mean next-token loss over all rows, under the checkpoint's names and in its layout."""
        B, T = ids[:, 1:].shape
        positions = np.broadcast_to(np.arange(T, dtype=np.int32), (B, T))
        batch = Batch(
            ids[:, :-1], ids[:, 1:], positions, np.ones((B, T), np.int32), np.full((B, T), 1 / (B * T), np.float32)
        )
        loss = jax.jit(jax.grad(lambda params: cross_entropy_loss(params, self.cfg, batch, T, AuxiliaryConfig(0.0))[0]))
        grads = loss(self.params)
        return {piece.name: part_on_host(at(grads, piece.path), piece) for piece in self.pieces if not piece.copy}

    def ahead(self, ids: np.ndarray) -> list[np.ndarray]:
        """Multi-token prediction's logits `[B, T, V]` of each depth d; the last d positions mean nothing."""
        positions = np.broadcast_to(np.arange(ids.shape[1], dtype=np.int32), ids.shape)
        segments = np.ones_like(ids)

        def run(params):
            hidden = forward(params, self.cfg, ids, positions, segments).hidden
            states, _ = look_ahead(params, self.cfg, hidden, jnp.roll(ids, -1, axis=1), positions, segments)
            return [state @ unembed_table(params).T for state in states]

        return [np.asarray(logits) for logits in jax.jit(run)(self.params)]


def compare(model: R1jaxModel, reference: Model, ids: np.ndarray, lengths: np.ndarray) -> dict[str, float]:
    """The deviation of each way to run a model.

    Args:
        ids: `[B, T]` int32 tokens.
        lengths: `[B]` how many of each row's are real where rows are padded or packed.
    """
    B, T = ids.shape
    count = np.broadcast_to(np.arange(T, dtype=np.int32), (B, T))
    whole = their_logits(reference, ids)
    deviations = {"full": relative(model.logits(ids, count, np.ones_like(ids)), whole)}
    deviations["cached"] = relative(model.decoded_logits(ids, T // 2), whole)
    for side in ("right", "left"):
        real = count < lengths[:, None] if side == "right" else count >= T - lengths[:, None]
        tokens = (
            np.where(real, ids, 0)
            if side == "right"
            else np.where(real, np.stack([np.roll(row, T - n) for row, n in zip(ids, lengths, strict=True)]), 0)
        )
        positions = np.maximum(np.cumsum(real, axis=1) - 1, 0).astype(np.int32)
        logits = model.logits(tokens.astype(np.int32), positions, real.astype(np.int32))
        deviations[f"{side}-padded"] = relative(
            logits[real], their_logits(reference, tokens, real.astype(np.int32))[real]
        )
    pieces = [ids[row, :n] for row, n in enumerate(lengths)]
    batch, left_over = pack([([*piece, 0], [1] * (len(piece) + 1)) for piece in pieces], B, T)
    assert not left_over
    packed = model.logits(batch.tokens, batch.positions, batch.segments)
    for piece in pieces:
        reference_alone = their_logits(reference, piece[None])[0]
        row, start = next(
            (r, t)
            for r in range(B)
            for t in range(T - len(piece) + 1)
            if batch.positions[r, t] == 0
            and batch.segments[r, t]
            and np.array_equal(batch.tokens[r, t : t + len(piece)], piece)
        )
        deviation = relative(packed[row, start : start + len(piece)], reference_alone)
        deviations["packed"] = max(deviations.get("packed", 0.0), deviation)
    return deviations


def compare_gradients(model: R1jaxModel, reference: Model, ids: np.ndarray) -> float:
    """The largest deviation of any weight's gradient of the mean next-token loss, each by its own largest entry."""
    import torch

    reference.zero_grad()
    reference(torch.tensor(ids), labels=torch.tensor(ids, dtype=torch.long)).loss.backward()
    named: Mapping[str, Any] = dict(reference.named_parameters())
    gradients = model.gradients(ids)
    return max(relative(gradient, named[name].grad.numpy()) for name, gradient in gradients.items() if name in named)


def compare_greedy(model: R1jaxModel, reference: Model, ids: np.ndarray, new_tokens: int) -> float:
    """The share of greedily generated tokens that are the same, up to each row's first difference."""
    import torch

    generated = reference.generate(
        torch.tensor(ids),
        attention_mask=torch.ones(ids.shape, dtype=torch.long),
        max_new_tokens=new_tokens,
        min_new_tokens=new_tokens,
        do_sample=False,
    )
    same = model.greedy(ids, new_tokens) == generated[:, ids.shape[1] :].numpy()
    return float(np.logical_and.accumulate(same, axis=1).mean())
