"""A program that a stage compiles, with abstract arguments and what else is in memory; lengths of a plan."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from r1jax.core.sharding import TRAIN_RULES, AxisRules, batch_shards
from r1jax.data.batching import AnyBatch, axes_of, row_length
from r1jax.models.config import ModelConfig
from r1jax.stages.config import RLConfig
from r1jax.training.plan import used_parameters


@dataclasses.dataclass(frozen=True)
class Program:
    """A program of a stage.

    Attributes:
        name: as the tables have it.
        phase: of a step: "sampling", "scoring" or "updating".
        lower: lowers it with its abstract arguments, in the mesh's context.
        arguments: trees of shapes with shardings, by what they are: "weights", "cache", ...
        beside: the same of what is in the devices' memory while it runs and no argument of it.
        calls: in one step of the stage.
        turns: at most, of a loop whose number only the run can tell.
        reckoned: bytes on a device that it adds, by name, reckoned without compiling.
        flops: on a device, reckoned without compiling, of a call.
        traffic: bytes between a device and its memory, reckoned without compiling, of a call.
    """

    name: str
    phase: str
    lower: Callable[[], jax.stages.Lowered]
    arguments: Mapping[str, Any]
    beside: Mapping[str, Any]
    calls: float = 1.0
    turns: int = 1
    reckoned: Mapping[str, int] = dataclasses.field(default_factory=dict)
    flops: float = 0.0
    traffic: float = 0.0


@dataclasses.dataclass(frozen=True)
class Lengths:
    """Tokens of prompts and completions that a plan reckons with.

    Attributes:
        prompt: of the longest prompt.
        new: the most that a completion may have.
        mean: of a completion, on average; it decides time, not memory.
    """

    prompt: int
    new: int
    mean: int

    def cache(self, bucket: int) -> int:
        """Length of the cache."""
        return row_length(self.prompt + self.new, bucket)

    def row(self, bucket: int) -> int:
        """Length of a row that is trained on."""
        return row_length(self.prompt + self.new - 1, bucket)

    def filled(self, cfg: RLConfig) -> float:
        """Share of the microbatches that packing leaves with tokens."""
        return min((self.prompt + self.mean - 1) / self.row(cfg.batch_bucket), 1.0) if cfg.packing else 1.0


def array(mesh: Mesh, rules: AxisRules, dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
    """An abstract array whose first axis is a batch's rows."""
    return jax.ShapeDtypeStruct(shape, dtype, sharding=rules.sharding(mesh, ("batch", *(None,) * (len(shape) - 1))))


def placed(batch: AnyBatch, mesh: Mesh) -> AnyBatch:
    """A batch of shapes as `batching.to_device` places one of arrays."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=TRAIN_RULES.sharding(mesh, axes_of(batch, x))), batch
    )


def train_ways(mesh: Mesh) -> int:
    """Devices that the work of a forward pass is dealt out to."""
    return batch_shards(mesh) * TRAIN_RULES.ways("length", mesh) * TRAIN_RULES.ways("mlp", mesh)


def forward_flops(model: ModelConfig, rows: float, tokens: int) -> float:
    """FLOPs of a forward pass over `rows` x `tokens`: products with the weights that a token meets, and attention."""
    width = model.head_dim + (model.mla.v_dim if model.mla else model.head_dim)
    attention = model.num_layers * model.num_heads * width * rows * tokens * tokens
    return 2 * used_parameters(model) * rows * tokens + attention
