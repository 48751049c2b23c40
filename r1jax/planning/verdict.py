"""The verdict on a stage: does all that is in memory together fit, what a step takes, what would make it fit."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from r1jax.planning.compiled import Figures
from r1jax.planning.sampling_programs import CACHE, COPY
from r1jax.planning.topology import Topology
from r1jax.stages.config import RLConfig
from r1jax.training.plan import amount, nbytes

# What a device's memory is left for besides a program: its code, the runtime's own buffers.
RESERVED = 0.02

REMEDIES = {
    "weights": "more of config.mesh.fsdp or config.mesh.tensor",
    "optimiser": "more of config.mesh.fsdp or config.mesh.tensor; config.host_memory.policy=true while sampling",
    "reference": "config.host_memory.reference=true, or config.grpo.beta=0, which has none",
    COPY: "more of config.mesh.tensor or config.mesh.expert (fsdp does not cut it), config.sampling.weight_type=int8",
    CACHE: "fewer config.sampling.slots, config.sampling.cache_type=int8, more of config.mesh.tensor for key heads",
    "temporaries": "config.compute.remat=true, more config.microbatches or config.mesh.tensor, a smaller logprob_chunk",
    "results": "fewer config.sampling.prefill_rows",
}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the figures of a stage's programs say together.

    Attributes:
        fits: whether each program fits beside what is in memory with it.
        largest: the program with the most bytes on a device.
        limit: bytes of a device.
        step_s: the least seconds of a step on the devices: each program's roofline as often as it is called.
        by_program: of these, by program.
        hosts_bytes: bytes that one host holds of what is put aside, by what it is.
    """

    fits: bool
    largest: Figures
    limit: int
    step_s: float
    by_program: Mapping[str, float]
    hosts_bytes: Mapping[str, int]

    def chip_hours(self, chips: int) -> float:
        """Chip-hours of a step."""
        return self.step_s * chips / 3600

    def remedies(self) -> list[str]:
        """What the largest kinds are, and which fields make each smaller; the largest first."""
        kinds = sorted(self.largest.kinds.items(), key=lambda item: -item[1])
        if self.largest.refused and self.largest.refused_bytes:
            known = sum(size for name, size in self.largest.arguments.items())
            kinds.insert(0, ("temporaries", max(self.largest.refused_bytes - known, 0)))
        return [f"{name}, {amount(size)}: {REMEDIES[name]}" for name, size in kinds if name in REMEDIES][:4]


def judge(figures: Sequence[Figures], topology: Topology, cfg: Any) -> Verdict:
    """The verdict on a stage's programs, all of one run on one mesh."""
    largest = max(figures, key=lambda each: (bool(each.refused), each.total))
    limit = topology.chip.memory
    by_program = {each.program.name: each.seconds * each.program.calls for each in figures}
    return Verdict(
        not largest.refused and largest.total <= limit * (1 - RESERVED),
        largest,
        limit,
        sum(by_program.values()),
        by_program,
        put_aside(figures, topology, cfg),
    )


def put_aside(figures: Sequence[Figures], topology: Topology, cfg: Any) -> dict[str, int]:
    """Bytes that one host holds of what `config.host_memory` moves there, by what it is."""
    if not isinstance(cfg, RLConfig):
        return {}
    names = [*(["weights", "optimiser"] if cfg.host_memory.policy else ())]
    names += ["reference"] if cfg.host_memory.reference else []
    trees: dict[str, Any] = {}
    for each in figures:
        trees |= {name: tree for name, tree in each.program.arguments.items() if name in names}
    devices = len(topology.devices) // topology.hosts
    return {name: nbytes(tree) * devices for name, tree in trees.items()}
