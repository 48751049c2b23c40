"""The prompt format of a run: unset keys are filled in from the model folder, and differences cause a warning."""

import pathlib
from typing import Any, TypeVar

from r1jax.config import ConfigError
from r1jax.io.console import say
from r1jax.text import prompt_format
from r1jax.text.prompt_format import PromptFormat
from r1jax.text.tokenizer import Tokenizer

T = TypeVar("T")


def fill_prompt_format(
    cfg: T, model: pathlib.Path | str, tokenizer: Tokenizer | None, otherwise: PromptFormat, where: str = "config"
) -> T:
    """The config with its unset template, chat, marker and template arguments filled in.

    Args:
        cfg: with the fields of a `PromptFormat`.
        model: the policy's folder, which may record its prompt format; "": the policy is behind a server.
        tokenizer: the policy's; None: the policy is behind a server.
        otherwise: the format to use where no folder records one.
        where: the key of `cfg` in the config file, for messages.

    Raises:
        ConfigError: `chat` is set, and the model has no chat template.
    """
    trained = prompt_format.read(pathlib.Path(model)) if model else None
    filled = otherwise.fill(trained.fill(cfg) if trained else cfg)
    open_keys = [name for name in prompt_format.left_open(cfg) if name != "template_arguments"]
    if open_keys and trained:
        say(f"{model} uses the prompt format that its folder records: {_words(filled, open_keys)}")
    elif open_keys and model:
        say(f"{model} records no prompt format: the run uses {_words(filled, open_keys, f'{where}.')}")
    check_chat(tokenizer, filled.chat, f"{where}.chat")
    warn_of_other_format(filled, model, where)
    return filled


def warn_of_other_format(cfg: Any, model: pathlib.Path | str, where: str = "config") -> None:
    """Prints a warning where a config's prompt format differs from the one that the policy was trained with.

    Args:
        cfg: with some or all fields of a `PromptFormat`.
    """
    trained = prompt_format.read(pathlib.Path(model)) if model else None
    if trained and (names := trained.differences(cfg)):
        say(
            f"warning: {model} was trained with {_words(trained, names)}, and this run uses "
            f"{_words(cfg, names, f'{where}.')}: remove these keys, or set them as in training, unless the "
            f"difference is intended"
        )


def check_chat(tokenizer: Tokenizer | None, chat: bool, key: str) -> None:
    """Raises ConfigError where `chat` is set and the model has no chat template.

    Args:
        tokenizer: the model's; None: the model is behind a server.
        key: of the config that sets `chat`.
    """
    if chat and tokenizer is not None and not tokenizer.has_chat_template:
        raise ConfigError(
            f"{key}=true, and the model has no chat template: set {key}=false, or put the template's "
            f"Jinja source as chat_template.jinja beside the model's tokenizer.json"
        )


def _words(form: Any, names: list[str], where: str = "") -> str:
    return ", ".join(f"{where}{name}={getattr(form, name)!r}" for name in names)
