"""Context length of a model against what a config asks of it: too much is refused when a run starts."""

import pathlib
from collections.abc import Mapping
from typing import Any

from r1jax.config import ConfigError
from r1jax.models.hf_config import context_length

_MADE_FOR = "max_position_embeddings of its config.json, times what stretches its positions"


def check_length(hf_config: Mapping[str, Any] | None, base: pathlib.Path | str, tokens: int, key: str) -> None:
    """Checks that a row of this many tokens is within the context length of the model.

    Args:
        hf_config: the model's original config.json; None: none, any length is allowed.
        base: the model's path, for the error.
        key: the config key of the length.

    Raises:
        ConfigError: it is longer.
    """
    length = context_length(hf_config or {})
    if length and tokens > length:
        raise ConfigError(
            f"config.{key}={tokens} is more than the {length} tokens that {base} was made for "
            f"({_MADE_FOR}): set config.{key} to at most {length}"
        )


def prompt_limit(
    hf_config: Mapping[str, Any] | None, base: pathlib.Path | str, max_new_tokens: int, max_prompt_tokens: int, key: str
) -> int | None:
    """The most tokens that a prompt may have, so that a response of `max_new_tokens` fits behind it; None: any number.

    Args:
        max_prompt_tokens: the config's limit; 0: that of the model.
        key: its config key.

    Raises:
        ConfigError: a prompt and a response would exceed the model's context length.
    """
    length = context_length(hf_config or {})
    if length and max_prompt_tokens + max_new_tokens > length - (not max_prompt_tokens):
        prompt = f" and config.{key}={max_prompt_tokens}" if max_prompt_tokens else " and a prompt"
        raise ConfigError(
            f"config.sampling.max_new_tokens={max_new_tokens}{prompt} together are more than the {length} tokens that "
            f"{base} was made for ({_MADE_FOR}): lower config.sampling.max_new_tokens or config.{key}"
        )
    return max_prompt_tokens or (length - max_new_tokens if length else None)
