"""Runs of a stage whose config is read: the workdir, the models that they start from, the stage's loop, the report."""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
from jax.sharding import Mesh

from r1jax import config as configs
from r1jax.config import ConfigError
from r1jax.core import processes
from r1jax.core.sharding import make_mesh
from r1jax.data import sft, teacher_logits
from r1jax.data.miniworld.documents import document
from r1jax.evaluation import evaluate
from r1jax.evaluation.config import EvaluateConfig
from r1jax.io import ownership, run_record
from r1jax.models import hf
from r1jax.read_config import read_config
from r1jax.stages import judge_pairs, reward_model_training, rl, supervised, teacher_scoring
from r1jax.stages.cold_start import cold_start
from r1jax.stages.cold_start.config import ColdStartConfig
from r1jax.stages.config import JudgePairsConfig, PreferenceConfig, RLConfig, SupervisedConfig, TeachConfig
from r1jax.stages.rejection import rejection_sampling  # fmt: skip
from r1jax.stages.rejection.config import RejectionConfig
from r1jax.training import checkpoint, state, stopping
from r1jax.training.metrics import say

# What keeps a state of its own, in a workdir that is one config's; the others leave records, which guard themselves.
Trained = SupervisedConfig | RLConfig | PreferenceConfig
SHIPPED = pathlib.Path(__file__).parent.parent / "experiments" / "models"


def claim(workdir: pathlib.Path, cfg: Trained) -> None:
    """Makes the workdir this config's own, or checks that it is. One whose run failed before its first step is free.

    Raises:
        ConfigError: it holds a run with another config; names every key of another meaning, see `core.run_record`.
    """
    # Models by their keys, the data by its bytes: a page or a file may have changed since.
    keys = {f"{name}_key": base_name(spec) for name in ("base", "tokenizer") if (spec := getattr(cfg, name, ""))}
    if getattr(cfg, "soft_targets", ""):
        keys["soft_targets_key"] = teacher_logits.key(cfg.soft_targets)
    files = getattr(cfg.data, "files", (cfg.data.path,)) if cfg.data else ()
    files = [path for path in files if pathlib.Path(path).is_file()]  # one that is missing is told where it is read
    if files:
        hashes = (hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()[:12] for path in files)
        keys["data_key"] = " ".join(hashes)
    run_record.claim(
        workdir / "config.json", cfg, "another config's run", begun=has_begun(workdir),
        keys=keys, files={"data_key": files}, grows={"num_steps": state.fixes_num_steps(cfg.optimizer)},
        writes=jax.process_index() == 0,
    )  # fmt: skip


def has_begun(workdir: pathlib.Path) -> bool:
    """Whether a run has left steps or a state in its workdir, whichever of them somebody has deleted since."""
    steps, states = workdir / "metrics.jsonl", workdir / "checkpoints"
    saved = states.is_dir() and any(state.name.isdigit() for state in states.iterdir())
    return saved or (steps.exists() and bool(steps.stat().st_size))


def base_name(spec: str) -> str:
    """What tells bases apart: a model folder's path, or the key of the config that makes one.

    Raises:
        ConfigError: neither a model folder nor the config of a supervised run.
    """
    return spec if checkpoint.is_model(pathlib.Path(spec)) else f"base-{base_key(read_supervised(spec))}"


def base_key(cfg: SupervisedConfig) -> str:
    """Names a base model by what makes it: its config, and a sample of the text that its code generates.

    Where it is computed, and in how many pieces, changes at most its last bits, and so is left out.
    """
    named = {name: base_name(spec) for name in ("base", "tokenizer") if (spec := getattr(cfg, name))}
    cfg = dataclasses.replace(cfg, **named)
    # What stands at its default is left out, so that a new option does not rename the models there are.
    made_of = {key: value for key, value in configs.without_defaults(cfg).items() if not run_record.is_means(key)}
    texts = [document(cfg.corpus, cfg.seed, i) for i in range(200)]
    if cfg.data:
        texts.append(sft.digest(cfg.data, cfg.seed))
    if cfg.soft_targets:
        texts.append(teacher_logits.key(cfg.soft_targets))
    return configs.fingerprint([made_of, texts])


def read_supervised(spec: str) -> SupervisedConfig:
    """The config of a run that makes a base model.

    Raises:
        ConfigError: see `read_config`; also another stage's config, or a folder.
    """
    if hint := hf.hint_for(spec):
        raise ConfigError(f"base={spec} is no model{hint}")
    if pathlib.Path(spec).is_dir():
        raise ConfigError(f"base={spec} is a folder without a model: it has neither a {checkpoint.MODEL} of ours nor a "
                          "config.json of Hugging Face's, with a model_type")  # fmt: skip
    cfg = read_config(spec, [])
    if not isinstance(cfg, SupervisedConfig):
        raise ConfigError(f"base={spec} is a config of the stage {cfg.stage}; give a model or a supervised config")
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
    with owned(workdir):
        claim(workdir, cfg)
        return run_supervised(cfg, workdir, mesh)


def check_split(cfg: RLConfig) -> None:
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


def run_supervised(cfg: SupervisedConfig, workdir: pathlib.Path, mesh: Mesh) -> pathlib.Path:
    """Runs the loop from the base, or with the vocabulary, that the config names, made first where it is not there."""
    base, vocabulary = (find_base(spec, workdir.parent, mesh) if spec else None for spec in (cfg.base, cfg.tokenizer))
    return supervised.run(cfg, workdir, mesh, base, vocabulary)


@contextlib.contextmanager
def owned(workdir: pathlib.Path) -> Iterator[None]:
    """Within, the workdir is this run's alone: process 0 owns it for all. Raises as `ownership.owned` does."""
    with ownership.owned(workdir) if jax.process_index() == 0 else contextlib.nullcontext():
        processes.meet()  # before any of them writes
        yield
        processes.meet()  # for process 0 may be done before the others


def keep_compiled(folder: pathlib.Path) -> None:
    """Keeps compiled programs in this folder, or in that of JAX_COMPILATION_CACHE_DIR in the environment."""
    jax.config.update("jax_compilation_cache_dir", os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def run(cfg: Any, workdir: pathlib.Path) -> None:
    """Runs the config's stage in its workdir, and where it trains writes the report.

    Raises:
        FileNotFoundError, ValueError: see the stage; also a workdir that is another run's.
    """
    keep_compiled(workdir.absolute().parent / "xla_cache")
    mesh = make_mesh(cfg.mesh)
    deed = configs.doing(f"running stage {cfg.stage} in {workdir}")
    with stopping.sigterm_as_ctrl_c(), jax.set_mesh(mesh), deed, owned(workdir):
        if isinstance(cfg, Trained):
            if isinstance(cfg, RLConfig):
                check_split(cfg)
            claim(workdir, cfg)
        # Other stages keep what they have line by line, and stop at once.
        with stopping.after_the_step() if isinstance(cfg, Trained) else contextlib.nullcontext():
            run_stage(cfg, workdir, mesh)
        if isinstance(cfg, Trained) and jax.process_index() == 0:
            from rich.console import Console

            from r1jax.report.run import headline, write_report

            with configs.doing("writing its report"):
                path = write_report(workdir)
            Console().print(headline(workdir))
            print(f"report: {path}")
    processes.leave()


def run_stage(cfg: Any, workdir: pathlib.Path, mesh: Mesh) -> None:
    """Runs a stage, from the models that its config names; one that a config makes is made where it is not there.

    Raises:
        FileNotFoundError, ValueError: see the stage.
    """
    runs = workdir.parent
    if hasattr(cfg, "endpoint") and cfg.model.partition(":")[0].endswith(".py"):
        cfg = dataclasses.replace(cfg, model=str(find_base(cfg.model, runs, mesh)))
    match cfg:
        case SupervisedConfig():
            say(f"model: {run_supervised(cfg, workdir, mesh)}")
        case RLConfig():
            rl.run(cfg, workdir, mesh, find_base(cfg.base, runs, mesh))
        case PreferenceConfig():
            say(f"reward model: {reward_model_training.run(cfg, workdir, mesh, find_base(cfg.base, runs, mesh))}")
        case TeachConfig():
            teacher_scoring.run(cfg, workdir, mesh, find_base(cfg.base, runs, mesh))
        case ColdStartConfig():
            say(f"samples: {cold_start.run(cfg, workdir, mesh)}")
        case RejectionConfig():
            say(f"samples: {rejection_sampling.run(cfg, workdir, mesh)}")
        case JudgePairsConfig():
            say(f"pairs: {judge_pairs.run(cfg, workdir)}")
        case EvaluateConfig():
            evaluate.run(cfg, workdir, mesh)
