"""Plan of a stage on a machine that need not be here: every program compiled ahead of time, and whether it fits.

    r1jax plan --config=distill:qwen2_5_7b --topology=v5e:4x8
    r1jax plan --config=zero:hf --model=qwen2_5_7b --topology=v5p:2x2x2 --config.mesh.fsdp=8
    r1jax plan --config=reasoning:deepseek_v3 --topology=v5p:8x16x16 --hosts=512
    r1jax plan --config=zero:hf --model=qwen2_5_7b --topology=v6e:2x4 --search
    r1jax plan --config=zero:mini --topology=cpu:8

Topologies: v5e:4x8, v5p:2x2x2, v6e:2x4 and v7x:2x2x1 by their chips, which libtpu compiles for on any machine (`pip
install libtpu`); cpu:8, devices of this one. Weights are never made: arguments are shapes. Times are rooflines, the
least that the chip's published peaks allow (of cpu: what this machine reaches on plain work). docs/planning.md says
what is counted, and how far off a plan was where it could be measured.
"""

import argparse
import os
import re
from collections.abc import Sequence
from typing import Any

from r1jax import config as configs
from r1jax.config import ConfigError, path_given
from r1jax.cpu_devices import FLAG
from r1jax.io.files import write_json
from r1jax.overrides import overrides_from

MOST_COMPILED = 2  # of a search's candidates


def parser() -> argparse.ArgumentParser:
    """The command line of `r1jax plan`."""
    parser = argparse.ArgumentParser(
        prog="r1jax plan",
        usage="r1jax plan --config=FILE:SIZE --topology=CHIP:SHAPE [--config.FIELD=VALUE ...] [-h] [options]",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE:SIZE", help="a config that ships, or path/file.py:size")
    parser.add_argument("--topology", metavar="CHIP:SHAPE", help="v5p:2x2x2, v5e:4x8, v6e:2x4, v7x:2x2x1, cpu:8")
    parser.add_argument("--model", default="", help="a preset (qwen2_5_7b) or a model folder, in place of config.base")
    parser.add_argument("--hosts", type=int, help="say what each of so many hosts holds; by default the topology's")
    parser.add_argument("--prompt-tokens", type=int, default=0, help="of the longest prompt")
    parser.add_argument("--mean-tokens", type=int, default=0, help="of a completion; by default the most it may have")
    parser.add_argument("--search", action="store_true", help="try all meshes and microbatches; compile the best")
    parser.add_argument("--reckon", action="store_true", help="compile nothing: all but arguments is rough then")
    parser.add_argument("--only", metavar="PROGRAM", help="compile one program alone: update, prefill, ...")
    parser.add_argument("--json", type=path_given, metavar="FILE", help="write the figures to a file as well")
    return parser


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Prints the plan.

    Raises:
        ValueError: a config, a topology or a model that is not there, or that do not fit each other.
    """
    for name in ("config", "topology"):
        if not getattr(args, name):
            raise ConfigError(f"--{name} is missing; `r1jax plan --help` says what it is")
    _choose_cpu_devices(args.topology)
    import jax  # which `--help` does without

    from r1jax.planning import stage, topology

    jax.config.update("jax_platforms", "cpu")  # with libtpu installed JAX would look for a TPU
    name = args.model or stage.model_name(args.config)
    cfg = stage.read(args.config, list(overrides), name)
    model, lengths = stage.model_of(cfg, name), stage.lengths_of(cfg, args.prompt_tokens, args.mean_tokens)
    there = topology.open_topology(args.topology)
    if args.hosts is not None and (args.hosts < 1 or len(there.devices) % args.hosts):
        raise ConfigError(f"--hosts={args.hosts} does not divide {len(there.devices)} devices of {there.name}")
    chosen = _search(cfg, model, there, lengths, args) if args.search else [cfg]
    for each in chosen:
        _plan(each, model, there, lengths, args)


def _choose_cpu_devices(name: str) -> None:
    """Sets how many CPU devices JAX will have, before it starts."""
    if match := re.fullmatch(r"cpu:(\d+)", name):
        flags = re.sub(rf"{FLAG}=\d+", "", os.environ.get("XLA_FLAGS", ""))
        os.environ["XLA_FLAGS"] = f"{flags} {FLAG}={match[1]}".strip()


def _search(cfg: Any, model: Any, there: Any, lengths: Any, args: argparse.Namespace) -> list[Any]:
    """The configs of the best candidates, after a table of more."""
    from r1jax.planning.compiled import GiB
    from r1jax.planning.search import candidates

    ranked = candidates(cfg, model, there, lengths)
    print(f"{len(ranked)} meshes and microbatches reckoned, the best first:\n")
    print("| options | GiB a device | largest while | step, s |\n|---|---|---|---|")
    for each in ranked[:8]:
        largest = each.verdict.largest
        size = f"{largest.total / GiB:.1f}"
        print(f"| `{each.options}` | {size} | {largest.program.name} | {each.verdict.step_s:,.3g} |")
    print()
    return [each.cfg for each in ranked[: 1 if args.reckon else MOST_COMPILED]]


def _plan(cfg: Any, model: Any, there: Any, lengths: Any, args: argparse.Namespace) -> bool:
    """Prints one config's plan; whether it fits."""
    from r1jax.core.sharding import make_mesh, use_rules
    from r1jax.planning import compiled, stage, table, topology
    from r1jax.planning.verdict import judge

    mesh = make_mesh(cfg.mesh, there.devices)
    with use_rules(cfg.mesh):
        programs = stage.programs_of(cfg, model, mesh, lengths)
    if args.only:
        names = [program.name for program in programs]
        programs = [program for program in programs if program.name == args.only]
        if not programs:
            raise ConfigError(f"--only={args.only} is no program of this stage: {', '.join(names)}")
    print(table.heading(args.config, model, there, mesh, lengths))
    print(f"\n{table.PROGRAMS}", flush=True)
    figures = []
    with topology.compiling(there), use_rules(cfg.mesh):
        for program in programs:
            if args.reckon:
                figures.append(compiled.reckon_program(program, there.chip))
            else:
                figures.append(compiled.compile_program(program, mesh, there.chip))
            print(table.program_row(figures[-1], there), flush=True)
    verdict = judge(figures, there, cfg)
    print()
    for line in table.verdict_lines(verdict, there, not args.reckon):
        print(line)
    if args.hosts or there.hosts > 1:
        for line in table.host_lines(cfg, figures, there, lengths, args.hosts or there.hosts):
            print(line)
    print(flush=True)
    if args.json:
        record = {"config": args.config, "topology": there.name, "chips": there.chips, "mesh": table.mesh_words(mesh)}
        record |= {"compiled": not args.reckon, "fits": verdict.fits, "bytes": verdict.largest.total}
        record |= {"limit": verdict.limit, "largest": verdict.largest.program.name, "step_s": verdict.step_s}
        record |= {"chip_hours": verdict.chip_hours(there.chips), "programs": [compiled.as_json(x) for x in figures]}
        write_json(args.json, record)
    return verdict.fits


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status, see `config.exit_status`."""
    args, rest = parser().parse_known_args(argv)
    return configs.exit_status(lambda: run(args, overrides_from(rest)), f"planning {args.config} on {args.topology}")
