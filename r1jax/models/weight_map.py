"""Map between a checkpoint's tensors and r1jax's weights, and how each lies there; read in both directions.

Hugging Face keeps a tensor a layer (and an expert), matrices as [out, in] with heads and their width in one axis;
r1jax stacks layers and keeps matrices as [in, out] with an axis of their own for heads.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

import jax
import numpy as np

from r1jax.config import nearest
from r1jax.core.params import ParamSpec
from r1jax.models.config import ModelConfig
from r1jax.models.transformer import param_specs

Index = tuple[slice, ...]  # with start and stop given
Array = TypeVar("Array", np.ndarray, jax.Array)

# For each axis of a checkpoint's tensor, r1jax's axes that are flattened into it.
_VECTOR = ((0,),)
_TABLE = ((0,), (1,))
_MATRIX = ((1,), (0,))  # [in, out] <- [out, in]
_TO_HEADS = ((1, 2), (0,))  # [in, heads, width] <- [heads width, in]
_FROM_HEADS = ((2,), (0, 1))  # [heads, width, out] <- [out, heads width]
_HEADS = ((0, 1),)  # [heads, width] <- [heads width]

_TOP = {
    "embed": ("model.embed_tokens.weight", _TABLE),
    "final_norm": ("model.norm.weight", _VECTOR),
    "unembed": ("lm_head.weight", _TABLE),
}
_BLOCK = {
    "attn_norm": ("input_layernorm.weight", _VECTOR),
    "q": ("self_attn.q_proj.weight", _TO_HEADS),
    "k": ("self_attn.k_proj.weight", _TO_HEADS),
    "v": ("self_attn.v_proj.weight", _TO_HEADS),
    "q_bias": ("self_attn.q_proj.bias", _HEADS),
    "k_bias": ("self_attn.k_proj.bias", _HEADS),
    "v_bias": ("self_attn.v_proj.bias", _HEADS),
    "q_norm": ("self_attn.q_norm.weight", _VECTOR),
    "k_norm": ("self_attn.k_norm.weight", _VECTOR),
    "q_a": ("self_attn.q_a_proj.weight", _MATRIX),
    "q_a_norm": ("self_attn.q_a_layernorm.weight", _VECTOR),
    "q_b": ("self_attn.q_b_proj.weight", _TO_HEADS),
    "kv_a": ("self_attn.kv_a_proj_with_mqa.weight", _MATRIX),
    "kv_a_norm": ("self_attn.kv_a_layernorm.weight", _VECTOR),
    "kv_b": ("self_attn.kv_b_proj.weight", _TO_HEADS),
    "o": ("self_attn.o_proj.weight", _FROM_HEADS),
    "mlp_norm": ("post_attention_layernorm.weight", _VECTOR),
    "gate": ("mlp.gate_proj.weight", _MATRIX),
    "up": ("mlp.up_proj.weight", _MATRIX),
    "down": ("mlp.down_proj.weight", _MATRIX),
    "router": ("mlp.gate.weight", _MATRIX),
    "router_bias": ("mlp.gate.e_score_correction_bias", _VECTOR),
    "expert_gate": ("mlp.experts.{}.gate_proj.weight", _MATRIX),
    "expert_up": ("mlp.experts.{}.up_proj.weight", _MATRIX),
    "expert_down": ("mlp.experts.{}.down_proj.weight", _MATRIX),
    "shared_gate": ("mlp.shared_experts.gate_proj.weight", _MATRIX),
    "shared_up": ("mlp.shared_experts.up_proj.weight", _MATRIX),
    "shared_down": ("mlp.shared_experts.down_proj.weight", _MATRIX),
    # The blocks of multi-token prediction, which DeepSeek numbers as layers past the last.
    "embed_norm": ("enorm.weight", _VECTOR),
    "hidden_norm": ("hnorm.weight", _VECTOR),
    "merge": ("eh_proj.weight", _MATRIX),
    "norm": ("shared_head.norm.weight", _VECTOR),
}
# Buffers that old versions saved, and that follow from the config.
_IGNORED = re.compile(r"rotary_emb\.inv_freq$")


@dataclasses.dataclass(frozen=True)
class Piece:
    """One tensor of a checkpoint and its place among r1jax's weights.

    Attributes:
        name: the tensor's name in the checkpoint.
        path: of the weight in the tree.
        index: which part of that weight it is: (), (layer,) or (layer, expert).
        shape: of that part.
        axes: for each axis of the tensor, the axes of our part that are flattened into it.
        pairs: that many last entries of our last axis are rotated, and the checkpoint turns neighbours (2i, 2i + 1)
            together where we turn the two halves (i, i + pairs / 2); 0 where it does as we do.
        copy: the tensor repeats a weight that another piece holds.
    """

    name: str
    path: tuple[str, ...]
    index: tuple[int, ...]
    shape: tuple[int, ...]
    axes: tuple[tuple[int, ...], ...]
    pairs: int = 0
    copy: bool = False

    @property
    def file_shape(self) -> tuple[int, ...]:
        return tuple(math.prod(self.shape[axis] for axis in axes) for axes in self.axes)

    def to_file(self, part: np.ndarray) -> np.ndarray:
        """Our part as the checkpoint has it: `shape` -> `file_shape`."""
        if self.pairs:
            part = part[..., np.argsort(_halves(self.shape[-1], self.pairs))]
        part = part.transpose(self._order)
        tensor = np.empty(part.shape, part.dtype)
        copy_into(tensor, part)
        return tensor.reshape(self.file_shape)

    def from_file(self, read: Callable[[Index], np.ndarray], index: Index) -> np.ndarray:
        """`part[index]`, read from no more of the tensor than it needs along each of its axes.

        Args:
            read: gives a slice of the tensor.
            index: of our part.
        """
        # An axis of the tensor is cut along the first of our axes in it; what lies inside is read whole. So is a
        # rotated axis, whose order is another.
        last = len(self.shape) - 1
        cut = {axes[0] for axes in self.axes if not (self.pairs and axes[0] == last)}
        taken = [index[axis] if axis in cut else slice(0, size) for axis, size in enumerate(self.shape)]
        inner = [math.prod(self.shape[axis] for axis in axes[1:]) for axes in self.axes]
        block = read(
            tuple(
                slice(taken[axes[0]].start * size, taken[axes[0]].stop * size)
                for axes, size in zip(self.axes, inner, strict=True)
            )
        )
        block = block.reshape([taken[axis].stop - taken[axis].start for axis in self._order])
        block = block.transpose(np.argsort(self._order))
        block = self.in_our_order(block)
        return block[tuple(slice(None) if axis in cut else at for axis, at in enumerate(index))]

    def in_our_order(self, part: Array) -> Array:
        """Our part with the entries of its last axis, which is whole, in our order: see `pairs`."""
        return part[..., _halves(self.shape[-1], self.pairs)] if self.pairs else part

    @property
    def _order(self) -> list[int]:
        return [axis for axes in self.axes for axis in axes]


def copy_into(into: np.ndarray, part: np.ndarray) -> None:
    """into[...] = part; where that transposes, 64 columns at a time: four times as fast, for the cache's sake."""
    width = into.shape[-1] if part.flags.c_contiguous else 64
    for start in range(0, into.shape[-1], width):
        into[..., start : start + width] = part[..., start : start + width]


@functools.cache
def _halves(size: int, pairs: int) -> np.ndarray:
    """For each of our entries, which of the checkpoint's it is."""
    rotated = np.arange(size - pairs, size)
    return np.concatenate([np.arange(size - pairs), rotated[::2], rotated[1::2]])


def pieces(cfg: ModelConfig, interleaved: bool) -> list[Piece]:
    """Every tensor of a model's checkpoint under its Hugging Face name, in the order of the layers.

    Args:
        interleaved: whether the checkpoint rotates neighbours together, see `Piece.pairs`.
    """
    specs = param_specs(cfg)
    pieces = [_top("embed", specs["embed"])]
    for stack, first in ("layers", 0), ("moe_layers", cfg.num_dense_layers), ("mtp", cfg.num_layers):
        weights = specs.get(stack, {})
        for layer in range(weights["attn_norm"].shape[0] if weights else 0):
            prefix = f"model.layers.{first + layer}."
            for key, spec in weights.items():
                name, axes = _BLOCK[key]
                pairs = _rotated(cfg, key) if interleaved else 0
                if "{}" in name:
                    pieces += [
                        Piece(prefix + name.format(expert), (stack, key), (layer, expert), spec.shape[2:], axes)
                        for expert in range(spec.shape[1])
                    ]
                else:
                    pieces.append(Piece(prefix + name, (stack, key), (layer,), spec.shape[1:], axes, pairs))
            if stack == "mtp":  # its own copies of the two tables
                head = "embed" if cfg.tie_embeddings else "unembed"
                for name, key in ("embed_tokens.weight", "embed"), ("shared_head.head.weight", head):
                    pieces.append(dataclasses.replace(_top(key, specs[key]), name=prefix + name, copy=True))
    pieces.append(_top("final_norm", specs["final_norm"]))
    if cfg.tie_embeddings:
        pieces.append(dataclasses.replace(pieces[0], name=_TOP["unembed"][0], copy=True))
    else:
        pieces.append(_top("unembed", specs["unembed"]))
    return pieces


def check_count(cfg: ModelConfig, there: Mapping[str, jax.ShapeDtypeStruct], where: str) -> None:
    """Raises ValueError where a config describes far more tensors than there are: `pieces` would list them all."""
    expected = 0
    for stack in "layers", "moe_layers", "mtp":
        for key, spec in param_specs(cfg).get(stack, {}).items():
            expected += math.prod(spec.shape[:2] if "{}" in _BLOCK[key][0] else spec.shape[:1])
    if expected > 10 * len(there) + 10_000:
        raise ValueError(
            f"{where} holds {len(there):,} tensors, and its config describes {expected:,}, with "
            f"num_hidden_layers={cfg.num_layers}"
        )


def _top(key: str, spec: ParamSpec) -> Piece:
    name, axes = _TOP[key]
    return Piece(name, (key,), (), spec.shape, axes)


def _rotated(cfg: ModelConfig, key: str) -> int:
    """How many entries of a weight's last axis are rotated."""
    if cfg.mla:
        return cfg.mla.rope_dim if key in ("q", "q_b", "kv_a") else 0
    return cfg.head_dim if key in ("q", "k", "q_bias", "k_bias") else 0


def check(
    expected: Sequence[Piece], there: Mapping[str, jax.ShapeDtypeStruct], where: str, ignored: Collection[str] = ()
) -> None:
    """Holds a checkpoint's tensors against those that its config asks for.

    Raises:
        ValueError: tensors that are missing, unknown or of another shape: how many, and the first few by name.
    """
    by_name = {piece.name: piece for piece in expected}
    missing = [piece.name for piece in expected if not piece.copy and piece.name not in there]
    unknown = [name for name in there if name not in by_name and name not in ignored and not _IGNORED.search(name)]
    misshaped = [
        f"{name} is {list(there[name].shape)}, should be {list(piece.file_shape)}"
        for name, piece in by_name.items()
        if name in there and there[name].shape != piece.file_shape
    ]
    lines = [
        _listed("missing", missing, unknown),
        _listed("not known", unknown, missing),
        _listed("of another shape", misshaped, []),
    ]
    if any(lines):
        raise ValueError(
            f"{where} does not hold the tensors that its config describes\n  "
            + "\n  ".join(line for line in lines if line)
        )


def _listed(kind: str, names: list[str], others: list[str], most: int = 5) -> str:
    if not names:
        return ""
    close = f"; nearest to the first: {nearest(names[0], others[:1000])}" if others else ""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} {kind}: {', '.join(names[:most])}{more}{close}"
