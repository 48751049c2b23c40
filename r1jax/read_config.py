"""A run's config, read and judged. Without JAX, which takes most of a second to load: an error need not wait for it."""

from typing import Any

from r1jax import config as configs
from r1jax.config import ConfigError
from r1jax.evaluation.config import EvaluateConfig
from r1jax.inference.served_model import check_model
from r1jax.overrides import override
from r1jax.stages.cold_start.config import ColdStartConfig, check_coldstart
from r1jax.stages.config import JudgePairsConfig, PreferenceConfig, RLConfig, SupervisedConfig, TeachConfig
from r1jax.stages.rejection.config import RejectionConfig

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
        check_coldstart(cfg)
    elif hasattr(cfg, "endpoint"):
        check_model(cfg.model, cfg.endpoint)
    elif hasattr(cfg, "base") and not cfg.base and not getattr(cfg, "model", None):
        raise ConfigError(
            "config.base is empty: say what to start from by --config.base=..., a Hugging Face directory (config.json "
            "and safetensors), a .gguf file, a model folder of ours, or the config of a run that makes one"
        )
    return cfg
