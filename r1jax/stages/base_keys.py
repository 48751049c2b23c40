"""Keys of base models, by which the bases that config files make are distinguished."""

import dataclasses
import pathlib

from r1jax import config as configs
from r1jax.config import ConfigError
from r1jax.data import sft, teacher_logits
from r1jax.data.miniworld.documents import document
from r1jax.io import buckets, hub, run_record
from r1jax.io.provenance import fingerprint
from r1jax.models import hf
from r1jax.models.io import MODEL, is_model
from r1jax.stages.config import RLConfig, SupervisedConfig
from r1jax.stages.table import read_config


def base_name(spec: str) -> str:
    """The name that distinguishes a base: a model folder's path, an id of the hub, or the key of its config.

    Raises:
        ConfigError: neither a model folder nor the config of a supervised run.
    """
    return f"base-{base_key(read_supervised(spec))}" if is_made(spec) else spec


def is_made(spec: str) -> bool:
    """Whether a text names no model but the config of a run that makes one."""
    return not (buckets.is_address(spec) or is_model(pathlib.Path(spec)) or hub.model_id(spec))


def base_key(cfg: SupervisedConfig) -> str:
    """Names a base model by what makes it: its config, and a sample of the text that its code generates.

    Settings of where it is computed, and in how many pieces, are left out: they change at most its last bits.
    """
    named = {name: base_name(spec) for name in ("base", "tokenizer") if (spec := getattr(cfg, name))}
    cfg = dataclasses.replace(cfg, **named)
    # Values at their defaults are left out, so that a new option does not rename existing models.
    made_of = {key: value for key, value in configs.without_defaults(cfg).items() if not run_record.is_changeable(key)}
    texts = [document(cfg.corpus, cfg.seed, i) for i in range(200)]
    if cfg.data:
        texts.append(sft.digest(cfg.data, cfg.seed))
    if cfg.soft_targets:
        texts.append(teacher_logits.key(cfg.soft_targets))
    return fingerprint([made_of, texts])


def read_supervised(spec: str) -> SupervisedConfig:
    """The config of a run that makes a base model.

    Raises:
        ConfigError: see `read_config`; also another stage's config, or a folder.
    """
    if hint := hf.hint_for(spec):
        raise ConfigError(f"base={spec} is no model{hint}")
    if pathlib.Path(spec).is_dir():
        raise ConfigError(
            f"base={spec} is a folder without a model: it has neither r1jax's {MODEL} nor a "
            "config.json of Hugging Face's, with a model_type"
        )
    cfg = read_config(spec, [])
    if not isinstance(cfg, SupervisedConfig):
        raise ConfigError(f"base={spec} is a config of the stage {cfg.stage}; give a model or a supervised config")
    return cfg


def check_split(cfg: RLConfig) -> None:
    """Checks that the base's documents kept clear of this run's held-out questions.

    Raises:
        ConfigError: the run holds out more than the base did.
    """
    spec = cfg.base
    while not cfg.data.path and spec and is_made(spec):
        base = read_supervised(spec)
        if cfg.data.held_out_share > base.held_out_share:
            raise ConfigError(
                f"config.data.held_out_share={cfg.data.held_out_share} is more than the {base.held_out_share} "
                f"that the texts of {spec} keep clear of: the base may have seen the answers"
            )
        spec = base.base
