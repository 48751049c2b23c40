"""A run's config, read and judged. Without JAX, which takes most of a second to load: an error need not wait for it."""

import pathlib
from typing import Any

from r1jax import config as configs
from r1jax.config import ConfigError
from r1jax.overrides import override
from r1jax.sampling.endpoint import EndpointConfig
from r1jax.stages.asking_config import ColdStartConfig, EvaluateConfig, JudgePairsConfig, RejectionConfig
from r1jax.stages.config import PreferenceConfig, RLConfig, SupervisedConfig, TeachConfig

STAGES = {
    "supervised": SupervisedConfig,
    "rl": RLConfig,
    "coldstart": ColdStartConfig,
    "rejection": RejectionConfig,
    "judge_pairs": JudgePairsConfig,
    "preference": PreferenceConfig,
    "teach": TeachConfig,
    "evaluate": EvaluateConfig,
}


def read_config(spec: str, overrides: list[str]) -> Any:
    """Loads a config file, sets the fields that the command line sets, and judges the result.

    Raises:
        ConfigError: see `r1jax.config`; also an unknown stage, or nothing to start from.
    """
    tree = configs.load(spec)
    stage = tree.get("stage")  # says which other fields there are
    for each in overrides:
        if each.startswith("stage="):
            stage = each.removeprefix("stage=")
    if stage not in STAGES:
        raise ConfigError(f"config.stage is {stage!r}, should be one of: {', '.join(STAGES)}")
    cls = STAGES[stage]
    cfg = configs.parse(cls, override(cls, tree, overrides) if overrides else tree)
    if isinstance(cfg, ColdStartConfig):
        _check_coldstart(cfg)
    elif hasattr(cfg, "endpoint"):
        _check_model(cfg.model, cfg.endpoint)
    elif hasattr(cfg, "base") and not cfg.base and not getattr(cfg, "model", None):
        raise ConfigError(
            "config.base is empty: say what to start from by --config.base=..., a Hugging Face directory (config.json "
            "and safetensors), a .gguf file, a model folder of ours, or the config of a run that makes one"
        )
    return cfg


def _check_coldstart(cfg: ColdStartConfig) -> None:
    """Checks what only a config with the command line's fields in it can be asked.

    Raises:
        ConfigError: no teacher, or two, where one is needed; no questions; no record and no checkpoint, or both.
        FileNotFoundError: the review is not there.
    """
    if cfg.needs_teacher:
        _check_model(cfg.model, cfg.endpoint)
    if cfg.zero and bool(cfg.zero.record) == bool(cfg.zero.model):
        raise ConfigError("say where R1-Zero's outputs are from: config.zero.record, a folder of an RL run or of "
                          "samples, or config.zero.model, a checkpoint to sample from")  # fmt: skip
    if cfg.asks and not cfg.questions:
        raise ConfigError("config.questions is missing: say what is asked, by its path or tasks")
    if cfg.review and not pathlib.Path(cfg.review).is_file():
        raise FileNotFoundError(configs.missing_file(pathlib.Path(cfg.review)))


def _check_model(model: str, endpoint: EndpointConfig) -> None:
    """Raises ConfigError unless exactly one of the two is given."""
    if bool(model) == bool(endpoint.base_url):
        raise ConfigError(
            "say which one model to ask: config.model, a Hugging Face directory (config.json, safetensors), a .gguf "
            "file or our own folder; or config.endpoint.base_url and config.endpoint.model"
        )
