"""Runs a stage.

    python -m r1jax.train --config=configs/zero.py:mini --workdir=runs/zero-mini [--config.grpo.beta=0.01 ...]

The config's `stage` picks the loop. A workdir that holds a run resumes it; one that holds another config is refused.
"""

import argparse
import json
import os
import pathlib
import sys

import jax
from jax.sharding import Mesh

from r1jax import config as configs
from r1jax.config import ConfigError
from r1jax.core.sharding import make_mesh
from r1jax.data.corpus import document
from r1jax.stages import rl, supervised
from r1jax.training import checkpoint
from r1jax.training.metrics import say

STAGES = {"supervised": supervised.SupervisedConfig, "rl": rl.RLConfig}
WHERE_AND_HOW = ("mesh", "microbatches", "logprob_chunk", "log_every", "checkpoint")
SHIPPED = pathlib.Path(__file__).parent.parent / "experiments" / "models"


def read_config(spec: str, overrides: list[str]) -> supervised.SupervisedConfig | rl.RLConfig:
    """Loads a config file and types it.

    Raises:
        ConfigError: see `r1jax.config`; also an unknown stage.
    """
    tree = configs.load(spec)
    stage = tree.get("stage")
    if stage not in STAGES:
        raise ConfigError(f"config.stage is {stage!r}, should be one of: {', '.join(STAGES)}")
    cfg = configs.parse(STAGES[stage], tree)
    if not overrides:
        return cfg
    # Over the typed config, so that the command line may set what the page leaves at its default.
    return configs.parse(STAGES[stage], configs.override(configs.to_dict(cfg), overrides))


def claim(workdir: pathlib.Path, cfg) -> None:
    """Makes the workdir this config's own, or checks that it is. One whose run failed before its first step is free.

    Raises:
        ConfigError: it holds a run with another config; names every key that differs.
    """
    path, ours = workdir / "config.json", configs.to_dict(cfg)
    if path.exists() and (workdir / "metrics.jsonl").exists():
        changed = configs.differences(json.loads(path.read_text()), ours)
        if changed:
            lines = "\n  ".join(changed)
            raise ConfigError(f"{workdir} holds another config's run; choose another --workdir, or set back\n  {lines}")
    elif jax.process_index() == 0:
        workdir.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(ours, indent=1) + "\n")
        temporary.replace(path)


def base_key(cfg: supervised.SupervisedConfig) -> str:
    """Names a base model by what makes it: its config, and a sample of the text that its code generates.

    Where it is computed, and in how many pieces, changes at most its last bits, and so is left out.
    """
    made_of = {key: value for key, value in configs.to_dict(cfg).items() if key not in WHERE_AND_HOW}
    return configs.fingerprint([made_of, [document(cfg.corpus, cfg.seed, i) for i in range(200)]])


def find_base(spec: str, runs: pathlib.Path, mesh: Mesh) -> pathlib.Path:
    """The model folder that `spec` names: itself, or the one its config makes: shipped, made before, or made now.

    Raises:
        ConfigError: neither a model folder nor the config of a supervised run.
    """
    if checkpoint.is_model(pathlib.Path(spec)):
        return pathlib.Path(spec)
    cfg = read_config(spec, [])
    if not isinstance(cfg, supervised.SupervisedConfig):
        raise ConfigError(f"config.base={spec} is the config of an RL run; give a model folder or a supervised config")
    key = base_key(cfg)
    workdir = runs / f"base-{key}"
    for folder in (SHIPPED / f"base-{key}", workdir / "model"):
        if checkpoint.is_model(folder):
            say(f"base model: {folder}")
            return folder
    say(f"making the base model of {spec} in {workdir}")
    claim(workdir, cfg)
    return supervised.run(cfg, workdir, mesh)


def set_up_jax(args: argparse.Namespace) -> None:
    """Joins the other processes where there are any, and keeps compiled programs beside the runs."""
    if args.num_processes or os.environ.get("R1JAX_DISTRIBUTED"):
        jax.distributed.initialize(args.coordinator, args.num_processes, args.process_id)
    jax.config.update("jax_compilation_cache_dir", str(args.workdir.absolute().parent / "xla_cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def run(args: argparse.Namespace, overrides: list[str]) -> None:
    cfg = read_config(args.config, overrides)
    set_up_jax(args)
    mesh = make_mesh(cfg.mesh)
    with jax.set_mesh(mesh):
        if isinstance(cfg, supervised.SupervisedConfig):
            claim(args.workdir, cfg)
            say(f"model: {supervised.run(cfg, args.workdir, mesh)}")
            return
        claim(args.workdir, cfg)
        base = find_base(cfg.base, args.workdir.parent, mesh)
        rl.run(cfg, args.workdir, mesh, base)
    if jax.process_index() == 0:
        from rich.console import Console

        from r1jax.report import headline, write_report

        path = write_report(args.workdir)
        Console().print(headline(args.workdir))
        print(f"report: {path}")


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 done, 2 a config, file or data error (one line on stderr)."""
    parser = argparse.ArgumentParser(prog="r1jax.train", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--config", required=True, help="path/file.py:arg; --config.section.field=value sets a field")
    parser.add_argument("--workdir", required=True, type=pathlib.Path, help="where the run lives, and is resumed from")
    parser.add_argument("--coordinator", help="host:port of process 0; found by itself on TPU")
    parser.add_argument("--num-processes", type=int, help="joins that many processes; found by itself on TPU")
    parser.add_argument("--process-id", type=int, help="which of them this is; found by itself on TPU")
    args, rest = parser.parse_known_args(argv)
    try:
        run(args, configs.overrides_from(rest))
    except (ConfigError, FileNotFoundError, ValueError) as error:
        # ValueErrors of ours are messages to the user; a programming error's keeps its trace for who asks.
        if os.environ.get("R1JAX_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
