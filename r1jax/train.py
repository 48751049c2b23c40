"""Runs a stage.

    python -m r1jax.train --config=configs/zero.py:mini --workdir=runs/zero-mini [--config.grpo.beta=0.01 ...]

The config's `stage` picks the loop. A workdir that holds a run resumes it; one that holds another config is refused.
Errors are one line; with R1JAX_DEBUG=1 in the environment they keep their trace.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import pathlib
import sys

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from r1jax import config as configs
from r1jax.config import ConfigError
from r1jax.core.sharding import make_mesh
from r1jax.data import instructions
from r1jax.data.corpus import document
from r1jax.stages import evaluate, rl, supervised
from r1jax.training import checkpoint
from r1jax.training.metrics import say

STAGES = {"supervised": supervised.SupervisedConfig, "rl": rl.RLConfig, "evaluate": evaluate.EvaluateConfig}
Config = supervised.SupervisedConfig | rl.RLConfig | evaluate.EvaluateConfig
WHERE_AND_HOW = ("mesh", "microbatches", "logprob_chunk", "log_every", "checkpoint")
SHIPPED = pathlib.Path(__file__).parent.parent / "experiments" / "models"


def read_config(spec: str, overrides: list[str]) -> Config:
    """Loads a config file and types it.

    Raises:
        ConfigError: see `r1jax.config`; also an unknown stage, or nothing to start from.
    """
    cfg = _typed(configs.load(spec))
    if overrides:
        # Over the typed config, so that the command line may set what the page leaves at its default.
        cfg = _typed(configs.override(configs.to_dict(cfg), overrides))
    if isinstance(cfg, evaluate.EvaluateConfig):
        if bool(cfg.model) == bool(cfg.endpoint.base_url):
            raise ConfigError(
                "say which one model to evaluate: config.model, a Hugging Face directory (config.json, safetensors), "
                "a .gguf file or our own folder; or config.endpoint.base_url and config.endpoint.model"
            )
        return cfg
    if not cfg.base and not getattr(cfg, "model", None):
        raise ConfigError(
            "config.base is empty: say what to start from by --config.base=..., a Hugging Face directory (config.json "
            "and safetensors), a .gguf file, a model folder of ours, or the config of a run that makes one"
        )
    return cfg


def _typed(tree: ConfigDict) -> Config:
    stage = tree.get("stage")
    if stage not in STAGES:
        raise ConfigError(f"config.stage is {stage!r}, should be one of: {', '.join(STAGES)}")
    return configs.parse(STAGES[stage], tree)


def claim(workdir: pathlib.Path, cfg) -> None:
    """Makes the workdir this config's own, or checks that it is. One whose run failed before its first step is free.

    Raises:
        ConfigError: it holds a run with another config; names every key that differs.
    """
    path, steps = workdir / "config.json", workdir / "metrics.jsonl"
    # The base by its key, the data by its bytes: a page or a file may have changed since.
    ours = {**configs.to_dict(cfg), **({"base_key": base_name(cfg.base)} if cfg.base else {})}
    data = pathlib.Path(cfg.data.path) if cfg.data and cfg.data.path else None
    if data and data.is_file():  # one that is missing is told where it is read
        ours["data_key"] = hashlib.sha256(data.read_bytes()).hexdigest()[:12]
    if path.exists() and steps.exists() and steps.stat().st_size:
        changed = configs.differences(json.loads(path.read_text()), ours)
        if changed:
            lines = "\n  ".join(changed)
            raise ConfigError(f"{workdir} holds another config's run; choose another --workdir, or set back\n  {lines}")
    elif jax.process_index() == 0:
        workdir.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(ours, indent=1) + "\n")
        temporary.replace(path)


def base_name(spec: str) -> str:
    """What tells bases apart: a model folder's path, or the key of the config that makes one.

    Raises:
        ConfigError: neither a model folder nor the config of a supervised run.
    """
    return spec if checkpoint.is_model(pathlib.Path(spec)) else f"base-{base_key(read_supervised(spec))}"


def base_key(cfg: supervised.SupervisedConfig) -> str:
    """Names a base model by what makes it: its config, and a sample of the text that its code generates.

    Where it is computed, and in how many pieces, changes at most its last bits, and so is left out.
    """
    if cfg.base:
        cfg = dataclasses.replace(cfg, base=base_name(cfg.base))
    made_of = {key: value for key, value in configs.to_dict(cfg).items() if key not in WHERE_AND_HOW}
    texts = [document(cfg.corpus, cfg.seed, i) for i in range(200)]
    if cfg.data:
        texts.append(instructions.digest(cfg.data, cfg.seed))
    return configs.fingerprint([made_of, texts])


def read_supervised(spec: str) -> supervised.SupervisedConfig:
    """The config of a run that makes a base model.

    Raises:
        ConfigError: see `read_config`; also the config of an RL run, or a folder.
    """
    if pathlib.Path(spec).is_dir():
        raise ConfigError(f"base={spec} is a folder without a model: it has neither a {checkpoint.MODEL} of ours nor a "
                          "config.json of Hugging Face's, with a model_type")  # fmt: skip
    cfg = read_config(spec, [])
    if not isinstance(cfg, supervised.SupervisedConfig):
        raise ConfigError(f"base={spec} is the config of an RL run; give a model folder or a supervised config")
    return cfg


def find_base(spec: str, runs: pathlib.Path, mesh: Mesh) -> pathlib.Path:
    """The model folder that `spec` names: itself, or the one its config makes: shipped, made before, or made now.

    Raises:
        ConfigError: neither a model folder nor the config of a supervised run.
    """
    if checkpoint.is_model(pathlib.Path(spec)):
        return pathlib.Path(spec)
    name = base_name(spec)
    workdir = runs / name
    for folder in (SHIPPED / name, workdir / "model"):
        if checkpoint.is_model(folder):
            say(f"base model: {folder}")
            return folder
    say(f"making the base model of {spec} in {workdir}")
    cfg = read_supervised(spec)
    claim(workdir, cfg)
    return run_supervised(cfg, workdir, mesh)


def check_split(cfg: rl.RLConfig) -> None:
    """Checks that the base's documents kept clear of this run's held-out questions.

    Raises:
        ConfigError: the run holds out more than the base did.
    """
    spec = cfg.base
    while not cfg.data.path and spec and not checkpoint.is_model(pathlib.Path(spec)):
        base = read_supervised(spec)
        if cfg.data.held_out_share > base.held_out_share:
            raise ConfigError(
                f"config.data.held_out_share={cfg.data.held_out_share} is more than the {base.held_out_share} "
                f"that the texts of {spec} keep clear of: the base may have seen the answers"
            )
        spec = base.base


def run_supervised(cfg: supervised.SupervisedConfig, workdir: pathlib.Path, mesh: Mesh) -> pathlib.Path:
    """Runs the loop from the base that the config names, if it names one, made first where it is not there."""
    base = find_base(cfg.base, workdir.parent, mesh) if cfg.base else None
    return supervised.run(cfg, workdir, mesh, base)


def set_up_jax(args: argparse.Namespace) -> None:
    """Joins the other processes where there are any, and keeps compiled programs beside the runs."""
    given = (args.coordinator, args.num_processes, args.process_id)
    if any(value is not None for value in given) or os.environ.get("R1JAX_DISTRIBUTED"):
        jax.distributed.initialize(args.coordinator, args.num_processes, args.process_id)
    jax.config.update("jax_compilation_cache_dir", str(args.workdir.absolute().parent / "xla_cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def run(args: argparse.Namespace, overrides: list[str]) -> None:
    if "://" in str(args.workdir) or ":/" in str(args.workdir):
        raise ConfigError(f"--workdir={args.workdir} is an address; give a folder, on several hosts one that all share")
    cfg = read_config(args.config, overrides)
    set_up_jax(args)
    mesh = make_mesh(cfg.mesh)
    with jax.set_mesh(mesh):
        if isinstance(cfg, evaluate.EvaluateConfig):
            evaluate.run(cfg, args.workdir, mesh)
            return
        if isinstance(cfg, supervised.SupervisedConfig):
            claim(args.workdir, cfg)
            say(f"model: {run_supervised(cfg, args.workdir, mesh)}")
            return
        check_split(cfg)
        claim(args.workdir, cfg)
        base = find_base(cfg.base, args.workdir.parent, mesh)
        rl.run(cfg, args.workdir, mesh, base)
    if jax.process_index() == 0:
        from rich.console import Console

        from r1jax.report.run import headline, write_report

        path = write_report(args.workdir)
        Console().print(headline(args.workdir))
        print(f"report: {path}")


def main(argv: list[str] | None = None) -> int:
    """The exit status, see `config.exit_status`."""
    parser = argparse.ArgumentParser(prog="r1jax.train", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--config", required=True, help="path/file.py:arg; --config.section.field=value sets a field")
    parser.add_argument("--workdir", required=True, type=pathlib.Path, help="where the run lives, and is resumed from")
    parser.add_argument("--coordinator", help="host:port of process 0; found by itself on TPU")
    parser.add_argument("--num-processes", type=int, help="joins that many processes; found by itself on TPU")
    parser.add_argument("--process-id", type=int, help="which of them this is; found by itself on TPU")
    args, rest = parser.parse_known_args(argv)
    return configs.exit_status(lambda: run(args, configs.overrides_from(rest)))


if __name__ == "__main__":
    sys.exit(main())
