"""The table of stages, and the reading of a run's config file: without JAX, so that an error comes at once."""

import dataclasses
import importlib
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from r1jax import config as configs
from r1jax import config_files
from r1jax.config import ConfigError
from r1jax.evaluation.config import EvaluateConfig
from r1jax.inference.served_model import check_model
from r1jax.overrides import override
from r1jax.stages.cold_start.config import ColdStartConfig, check_coldstart
from r1jax.stages.config import JudgePairsConfig, PreferenceConfig, RLConfig, SupervisedConfig, TeachConfig
from r1jax.stages.process_reward.config import (
    LabelStepsConfig,
    ProcessRewardConfig,
    SearchQuestionsConfig,
    check_continued,
)
from r1jax.stages.rejection.config import RejectionConfig
from r1jax.training.config import check_trackers

if TYPE_CHECKING:
    from jax.sharding import Mesh


def check_base(cfg: Any) -> None:
    """Raises ConfigError where a config names nothing to start from."""
    if not cfg.base and not getattr(cfg, "model", None):
        raise ConfigError(
            "config.base is empty: set where to start by --config.base=..., an id of the Hugging Face hub "
            "(Qwen/Qwen2.5-0.5B), a Hugging Face directory (config.json and safetensors), a .gguf file, a model folder "
            "of r1jax, or the config of a run that makes one"
        )


def check_training(cfg: Any) -> None:
    """Raises ConfigError where a config names nothing to start from, or a tracker's library is not installed."""
    check_base(cfg)
    check_trackers(cfg.track)


def check_sampled_model(cfg: Any) -> None:
    """Raises ConfigError where a config names no model to sample from, or two."""
    check_model(cfg.model, cfg.endpoint)


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        config: the class of its configs.
        module: where its `run(cfg, workdir, mesh, *models)` is; returns the path of what it wrote, or None.
        check: validates a config beyond what its class checks; raises ConfigError.
        starts_from: fields of the config that name a model folder, or the config file that makes one. `run` gets a
            folder for each, None for a field that is empty.
        samples_from: a field of that kind that may also name a served model: it is set to the folder.
        output: what it writes, as the console names it.
        trains: whether it trains a model: then its workdir is one config's, holds checkpoints, and gets a report.
    """

    config: type
    module: str
    check: Callable[[Any], None] = lambda cfg: None
    starts_from: tuple[str, ...] = ()
    samples_from: str = ""
    output: str = ""
    trains: bool = False

    def run(self, cfg: Any, workdir: pathlib.Path, mesh: "Mesh", *models: pathlib.Path | None) -> pathlib.Path | None:
        """Runs the stage; loads its module, and JAX with it."""
        return importlib.import_module(self.module).run(cfg, workdir, mesh, *models)


# By the value of `config.stage`. A new stage is a line here, and a module with `run`.
STAGES = {
    "supervised": Stage(
        SupervisedConfig, "r1jax.stages.supervised", check_training, ("base", "tokenizer"), output="model", trains=True
    ),
    "rl": Stage(RLConfig, "r1jax.stages.rl", check_training, ("base", "teacher"), trains=True),
    "preference": Stage(
        PreferenceConfig,
        "r1jax.stages.reward_model_training",
        check_training,
        ("base",),
        output="reward model",
        trains=True,
    ),
    "process_reward": Stage(
        ProcessRewardConfig,
        "r1jax.stages.process_reward.training",
        check_training,
        ("base",),
        output="process reward model",
        trains=True,
    ),
    "step_labels": Stage(
        LabelStepsConfig,
        "r1jax.stages.process_reward.labelling",
        check_continued,
        samples_from="model",
        output="labels",
    ),
    "search": Stage(
        SearchQuestionsConfig,
        "r1jax.stages.process_reward.searching",
        check_continued,
        samples_from="model",
        output="figures",
    ),
    "teach": Stage(TeachConfig, "r1jax.stages.teacher_scoring", check_base, ("base",)),
    "coldstart": Stage(
        ColdStartConfig, "r1jax.stages.cold_start.cold_start", check_coldstart, samples_from="model", output="samples"
    ),
    "rejection": Stage(
        RejectionConfig,
        "r1jax.stages.rejection.rejection_sampling",
        check_sampled_model,
        samples_from="model",
        output="samples",
    ),
    "judge_pairs": Stage(JudgePairsConfig, "r1jax.stages.judge_pairs", output="pairs"),
    "evaluate": Stage(EvaluateConfig, "r1jax.evaluation.evaluate", check_sampled_model, samples_from="model"),
}


def read_config(spec: str, overrides: list[str]) -> Any:
    """Loads a config file, applies the command line's overrides, and validates the result.

    Raises:
        ConfigError: see `r1jax.config`; also an unknown stage, or nothing to start from.
    """
    tree = config_files.load(spec)
    stage = tree.get("stage")  # decides which other fields there are
    for override_text in overrides:
        if override_text.startswith("stage="):
            stage = override_text.removeprefix("stage=")
    if stage not in STAGES:
        raise ConfigError(f"config.stage is {stage!r}, should be one of: {', '.join(STAGES)}")
    cls = STAGES[stage].config
    cfg = configs.parse(cls, override(cls, tree, overrides) if overrides else tree)
    STAGES[stage].check(cfg)
    return cfg
