"""Search for a mesh and microbatches: all are reckoned without compiling, and the best few can then be compiled."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from r1jax.config import ConfigError
from r1jax.core.sharding import make_mesh, use_rules
from r1jax.models.config import ModelConfig
from r1jax.planning.compiled import reckon_program
from r1jax.planning.program import Lengths
from r1jax.planning.stage import programs_of
from r1jax.planning.topology import Topology
from r1jax.planning.verdict import Verdict, judge
from r1jax.stages.rejection.config import RejectionConfig

MOST_CONTEXT = 8
MOST_TENSOR = 16  # ways of `tensor`, whose sums stand between any two products: a row of the largest slices' torus


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A mesh and microbatches, and what is reckoned of them.

    Attributes:
        cfg: the config with them.
        verdict: by `reckon_program`.
    """

    cfg: Any
    verdict: Verdict

    @property
    def options(self) -> str:
        """The options of the command line that choose it."""
        mesh = self.cfg.mesh
        sizes = " ".join(f"--config.mesh.{name}={size}" for name, size in mesh.sizes().items())
        if isinstance(self.cfg, RejectionConfig):
            return sizes
        return f"{sizes} --config.microbatches={self.cfg.microbatches}"


def candidates(cfg: Any, model: ModelConfig, topology: Topology, lengths: Lengths) -> list[Candidate]:
    """All meshes of a topology that the config can run on, with all its microbatches: first those that fit, by time.

    Raises:
        ConfigError: there is none; names the reason of the last one that was tried.
    """
    reckoned, reason = [], "no mesh divides the model"
    for sizes in meshes(len(topology.devices), model):
        mesh_cfg = dataclasses.replace(cfg.mesh, **sizes)
        mesh = make_mesh(mesh_cfg, topology.devices)
        for parts in microbatches(cfg):
            try:
                other = dataclasses.replace(cfg, mesh=mesh_cfg, **({"microbatches": parts} if parts else {}))
                with use_rules(mesh_cfg):
                    programs = programs_of(other, model, mesh, lengths)
            except ValueError as error:
                reason = str(error)
                continue
            figures = [reckon_program(program, topology.chip) for program in programs]
            reckoned.append(Candidate(other, judge(figures, topology, other)))
    if not reckoned:
        raise ConfigError(f"no mesh of {topology.name} can run this config: {reason}")
    return sorted(reckoned, key=_rank)


def _rank(candidate: Candidate) -> tuple[Any, ...]:
    """First what fits with a tenth to spare, then by time; what does not fit by how much is missing."""
    verdict, mesh = candidate.verdict, candidate.cfg.mesh
    share = verdict.largest.total / verdict.limit
    parts = getattr(candidate.cfg, "microbatches", 1)
    if share > 0.9:
        return 1, share, mesh.tensor, mesh.context, parts
    return 0, round(verdict.step_s, 3), parts, mesh.context, mesh.tensor


def meshes(devices: int, model: ModelConfig) -> Iterator[dict[str, int]]:
    """The sizes of meshes of the devices that the model's heads and experts divide over; `data` is 1, or all of them.

    `context` is 1 or a power of two up to `MOST_CONTEXT`.
    """
    heads = math.gcd(math.gcd(model.num_heads, model.num_kv_heads), MOST_TENSOR)
    experts = model.moe.num_experts if model.moe else 1
    yield {"data": devices, "fsdp": 1, "expert": 1, "tensor": 1, "context": 1}
    for tensor in _divisors(math.gcd(devices, heads)):
        for context in _divisors(math.gcd(devices // tensor, MOST_CONTEXT)):
            for expert in _divisors(math.gcd(devices // tensor // context, experts)):
                fsdp = devices // tensor // context // expert
                yield {"data": 1, "fsdp": fsdp, "expert": expert, "tensor": tensor, "context": context}


def microbatches(cfg: Any) -> list[int]:
    """The numbers of microbatches that a config's rows split into, by powers of two; [0] for one that has none."""
    if not hasattr(cfg, "microbatches"):
        return [0]
    rows = cfg.rows_at_a_time * cfg.microbatches if hasattr(cfg, "rows_at_a_time") else cfg.batch_size
    return [each for each in _divisors(rows) if each & (each - 1) == 0]


def _divisors(number: int) -> list[int]:
    return [each for each in range(1, number + 1) if number % each == 0]
