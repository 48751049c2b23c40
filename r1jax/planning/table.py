"""A plan as Markdown: a table of programs, the phases' memory, the verdict, what each host holds."""

from collections.abc import Iterator, Sequence
from typing import Any

from jax.sharding import Mesh

from r1jax.core import params as core
from r1jax.models.config import ModelConfig
from r1jax.models.transformer import param_specs
from r1jax.planning.compiled import Figures, GiB
from r1jax.planning.program import Lengths
from r1jax.planning.topology import Topology
from r1jax.planning.verdict import Verdict
from r1jax.stages.config import RLConfig
from r1jax.stages.rejection.config import RejectionConfig

_COLUMNS = (
    *("program", "calls a step", "bytes a device, GiB", "TFLOP", "memory traffic, GB", "collectives, GB"),
    *("roofline, s", "bound by", "all calls, s", "compiled in, s"),
)
PROGRAMS = f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}"


def mesh_words(mesh: Mesh) -> str:
    """fsdp 8 x tensor 4."""
    return " x ".join(f"{name} {size}" for name, size in mesh.shape.items() if size > 1) or "one device"


def heading(spec: str, model: ModelConfig, topology: Topology, mesh: Mesh, lengths: Lengths) -> str:
    """What is planned: model, devices, mesh and lengths."""
    chip = topology.chip
    lines = [
        f"{core.count(param_specs(model)):,} parameters on {topology.name}: {topology.chips} chips, "
        f"{len(topology.devices)} devices of {chip.memory / GiB:.2f} GiB, {topology.hosts} hosts; "
        f"mesh: {mesh_words(mesh)}",
        f"peaks a device: {chip.flops / 1e12:,.4g} TFLOP/s, memory {chip.hbm / 1e9:,.0f} GB/s, links "
        f"{chip.links / 1e9:,.0f} GB/s",
    ]
    if lengths.new:
        lines.append(
            f"prompts of up to {lengths.prompt:,} tokens, completions of up to {lengths.new:,}, on average "
            f"{lengths.mean:,}"
        )
    return "\n".join([f"plan of {spec}", *lines])


def program_row(figures: Figures, topology: Topology) -> str:
    """A program's line of the table; what is below a hundredth of the whole is not named."""
    program, total = figures.program, figures.total
    kinds = ", ".join(f"{name} {gib(size)}" for name, size in figures.kinds.items() if size >= total / 100)
    sizes = f"**{gib(total)}**: {kinds}" + (f"; **refused**: {figures.refused}" if figures.refused else "")
    moved = ", ".join(f"{kind} {size / 1e9:.3g}" for kind, size in sorted(figures.moved.items()) if size >= 5e6)
    work = ["-"] * 6
    if cost := figures.cost:
        work = [f"{cost.flops / 1e12:,.3g}", f"{cost.traffic / 1e9:,.4g}", moved or "-", f"{figures.seconds:.3g}"]
        work += [figures.bound(topology.chip), f"{figures.seconds * program.calls:,.3g}"]
    cells = [program.name, f"{program.calls:,.4g}", sizes, *work, f"{figures.compile_s:.0f}"]
    return f"| {' | '.join(cells)} |"


def gib(size: float) -> str:
    """Bytes in GiB: 12.3, 0.0456."""
    return f"{size / GiB:.1f}" if size >= 10 * GiB else f"{size / GiB:.3g}"


def verdict_lines(verdict: Verdict, topology: Topology, compiled: bool) -> Iterator[str]:
    """The verdict in words: it fits or not, the step's time and cost, and on a miss what would help."""
    largest, share = verdict.largest, verdict.largest.total / verdict.limit
    how = "" if compiled else " (reckoned, not compiled)"
    sizes = f"{gib(largest.total)} of {verdict.limit / GiB:.2f} GiB ({share:.0%})"
    if verdict.fits:
        yield f"FITS{how}: the largest, {largest.program.name}, takes {sizes} on a device"
    else:
        yield f"DOES NOT FIT{how}: {largest.program.name} needs {sizes} on a device"
        yield "largest kinds, and what makes each smaller:"
        for line in verdict.remedies():
            yield f"- {line}"
    if not largest.refused:
        phases = ", ".join(f"{name} {seconds:,.3g}" for name, seconds in verdict.by_program.items())
        yield (
            f"a step takes at least {verdict.step_s:,.4g} s on the devices ({phases}), "
            f"{verdict.chip_hours(topology.chips):,.3g} chip-hours"
        )
    for name, size in verdict.hosts_bytes.items():
        yield f"each host keeps {size / GiB:.1f} GiB of {name} while rollouts are sampled"


def host_lines(cfg: Any, figures: Sequence[Figures], topology: Topology, lengths: Lengths, hosts: int) -> Iterator[str]:
    """What each of so many hosts holds and does."""
    devices = len(topology.devices) // hosts
    yield f"each of {hosts} hosts has {devices} devices, and of them:"
    saved: dict[str, int] = {}
    for each in figures:
        saved |= {name: size for name, size in each.arguments.items() if name in ("weights", "optimiser", "reference")}
    if saved:
        total = sum(saved.values()) * devices
        yield (
            f"- {total / GiB:.1f} GiB of the state ({', '.join(saved)}), which it writes at a checkpoint, "
            "out of a copy in its memory"
        )
    if isinstance(cfg, RLConfig):
        prompts, samples = cfg.grpo.prompts_per_step, cfg.grpo.prompts_per_step * cfg.grpo.group_size
        row = lengths.row(cfg.batch_bucket)
        floats = 4 * (6 + bool(cfg.grpo.beta) + cfg.grpo.needs_old_logprobs)
        share, size = samples / hosts, samples * row * floats / GiB
        yield f"- {cfg.sampling.slots / hosts:g} slots, {prompts / hosts:g} of {prompts} questions, {share:g} rollouts"
        yield (
            f"- {size / hosts:.2f} GiB of its memory for these rollouts, padded; where each host holds those of all, "
            f"{size:.2f} GiB"
        )
    elif isinstance(cfg, RejectionConfig):
        yield f"- {cfg.sampling.slots / hosts:g} slots"
    else:
        yield f"- {cfg.batch_size / hosts:g} of {cfg.batch_size} rows of an update"
