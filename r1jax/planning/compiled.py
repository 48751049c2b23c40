"""Figures of a compiled program: bytes on a device by kind, FLOPs, traffic, collectives, roofline, compile time."""

import collections
import dataclasses
import re
import time
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from r1jax.performance import hlo
from r1jax.performance.hlo import Chip
from r1jax.planning.program import Program
from r1jax.training.plan import nbytes

GiB = 2**30
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True)
class Figures:
    """A compiled program's figures, on one device.

    Attributes:
        program: which.
        arguments: bytes by what they are, from shapes; "batch and padding": what the compiler adds to these.
        beside: bytes by what they are, of what is in memory and no argument.
        temporaries: bytes.
        output: bytes of what it returns, but for what it writes over its arguments.
        cost: its work, see `hlo.Cost`; None where it does not compile, or was not compiled.
        moved: bytes of its collectives, by kind and type, the larger end of each.
        compile_s: seconds that lowering and compiling took.
        refused: the compiler's words where it has no memory for the program; "": it compiles.
        refused_bytes: that it would need, arguments included, where the compiler says so.
    """

    program: Program
    arguments: Mapping[str, int]
    beside: Mapping[str, int]
    temporaries: int = 0
    output: int = 0
    cost: hlo.Cost | None = None
    moved: Mapping[str, int] = dataclasses.field(default_factory=dict)
    compile_s: float = 0.0
    refused: str = ""
    refused_bytes: int = 0

    @property
    def kinds(self) -> dict[str, int]:
        """Bytes on a device by what they are, while it runs."""
        parts = {**self.beside, **self.arguments, "temporaries": self.temporaries, "results": self.output}
        return {name: size for name, size in parts.items() if size}

    @property
    def total(self) -> int:
        """Bytes on a device while it runs."""
        if self.refused:
            return sum(self.beside.values()) + max(self.refused_bytes, sum(self.arguments.values()))
        return sum(self.kinds.values())

    @property
    def seconds(self) -> float:
        """The least time of one call: operations one after the other, collectives beside them."""
        return max(self.cost.seconds, self.cost.link_seconds) if self.cost else 0.0

    def bound(self, chip: Chip) -> str:
        """What bounds it: "links", or whichever of "FLOPs" and "memory" takes longer."""
        if not self.cost:
            return "-"
        if self.cost.link_seconds > self.cost.seconds:
            return "links"
        return "FLOPs" if self.cost.flops / chip.flops > self.cost.traffic / chip.hbm else "memory"


def compile_program(program: Program, mesh: Mesh, chip: Chip) -> Figures:
    """Compiles a program ahead of time; one that the chip has no memory for has figures too, see `Figures.refused`.

    Raises:
        jax.errors.JaxRuntimeError: the compiler fails for another reason than memory.
    """
    arguments = {name: nbytes(tree) for name, tree in program.arguments.items()}
    beside = {name: nbytes(tree) for name, tree in program.beside.items()}
    began = time.monotonic()
    try:
        with jax.set_mesh(mesh):
            compiled = program.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        reason, size = refusal(str(error))
        return Figures(
            program, arguments, beside, compile_s=time.monotonic() - began, refused=reason, refused_bytes=size
        )
    seconds, text, memory = time.monotonic() - began, compiled.as_text(), compiled.memory_analysis()
    del compiled
    arguments["batch and padding"] = max(memory.argument_size_in_bytes - sum(arguments.values()), 0)
    moved: collections.Counter[str] = collections.Counter()
    for each in hlo.collectives(text, program.turns):
        moved[f"{each.kind} {each.dtype}"] += each.size * each.times
    return Figures(
        program,
        arguments,
        beside,
        memory.temp_size_in_bytes,
        max(memory.output_size_in_bytes - memory.alias_size_in_bytes, 0),
        hlo.cost(text, chip, program.turns),
        moved,
        seconds,
    )


def reckon_program(program: Program, chip: Chip) -> Figures:
    """A program's figures without compiling it: what is an argument exactly, all else roughly."""
    arguments = {name: nbytes(tree) for name, tree in program.arguments.items()}
    beside = {name: nbytes(tree) for name, tree in program.beside.items()}
    seconds = max(program.flops / chip.flops, program.traffic / chip.hbm)
    cost = hlo.Cost(round(program.flops), round(program.traffic), 0, seconds, 0.0)
    return Figures(program, arguments, beside, sum(program.reckoned.values()), cost=cost)


def refusal(message: str) -> tuple[str, int]:
    """The compiler's words on a program that has no place in memory, and the bytes that it would need, 0: not said."""
    line = next((each for each in message.splitlines() if "memory" in each), message.splitlines()[0])
    sizes = re.findall(r"[Uu]sed (\d+(?:\.\d+)?)([KMGT]?)|\((\d+(?:\.\d+)?)([KMGT]?)\) exceeds", message)
    amounts = [float(a or c) * _UNITS[b or d] for a, b, c, d in sizes]
    return line.removeprefix("RESOURCE_EXHAUSTED: ").strip(), round(max(amounts, default=0.0))


def as_json(figures: Figures) -> dict[str, Any]:
    """The figures as plain values, for a file."""
    return {
        "program": figures.program.name,
        "phase": figures.program.phase,
        "calls": figures.program.calls,
        "bytes": figures.kinds,
        "total": figures.total,
        "cost": figures.cost and dataclasses.asdict(figures.cost),
        "moved": dict(figures.moved),
        "compile_s": round(figures.compile_s, 1),
        "refused": figures.refused,
    }
