"""What a config is asked when the command line's fields are in it, beyond what its classes check. Without JAX."""

import pathlib

from r1jax.config import ConfigError, missing_file
from r1jax.inference.served_model import EndpointConfig
from r1jax.stages.asking_config import ColdStartConfig


def check_coldstart(cfg: ColdStartConfig) -> None:
    """Checks what only a config with the command line's fields in it can be asked.

    Raises:
        ConfigError: no teacher, or two, where one is needed; no questions; no record and no checkpoint, or both.
        FileNotFoundError: the review is not there.
    """
    if cfg.needs_teacher:
        check_model(cfg.model, cfg.endpoint)
    if cfg.zero and bool(cfg.zero.record) == bool(cfg.zero.model):
        raise ConfigError("say where R1-Zero's outputs are from: config.zero.record, a folder of an RL run or of "
                          "samples, or config.zero.model, a checkpoint to sample from")  # fmt: skip
    if cfg.asks and not cfg.questions:
        raise ConfigError("config.questions is missing: say what is asked, by its path or tasks")
    if cfg.review and not pathlib.Path(cfg.review).is_file():
        raise FileNotFoundError(missing_file(pathlib.Path(cfg.review)))


def check_model(model: str, endpoint: EndpointConfig) -> None:
    """Raises ConfigError unless exactly one of the two is given."""
    if bool(model) == bool(endpoint.base_url):
        raise ConfigError(
            "say which one model to ask: config.model, a Hugging Face directory (config.json, safetensors), a .gguf "
            "file or our own folder; or config.endpoint.base_url and config.endpoint.model"
        )
