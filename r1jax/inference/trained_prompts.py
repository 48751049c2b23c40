"""Prompts as a policy was trained on them, where a stage's config leaves that open; a warning where it differs."""

import pathlib
from typing import Any, TypeVar

from r1jax.config import ConfigError
from r1jax.io.console import say
from r1jax.text import prompt_format
from r1jax.text.prompt_format import PromptFormat
from r1jax.text.tokenizer import Tokenizer

T = TypeVar("T")


def as_trained(
    cfg: T, model: pathlib.Path | str, tokenizer: Tokenizer | None, otherwise: PromptFormat, where: str = "config"
) -> T:
    """The config in which template, chat, marker and template arguments, where it leaves them open, are filled in.

    Args:
        cfg: with the fields of a `PromptFormat`.
        model: of the policy, whose folder says how it was trained; "": a server's.
        tokenizer: the policy's; None: a server has it.
        otherwise: how it is asked where no folder says.
        where: the config's own key, for messages.

    Raises:
        ConfigError: it is to be asked through a chat template that it does not have.
    """
    trained = prompt_format.read(pathlib.Path(model)) if model else None
    filled = otherwise.fill(trained.fill(cfg) if trained else cfg)
    open_keys = [name for name in prompt_format.left_open(cfg) if name != "template_arguments"]
    if open_keys and trained:
        say(f"{model} is asked as it was trained: {_words(filled, open_keys)}")
    elif open_keys and model:
        say(f"{model} does not say how it was trained: it is asked with {_words(filled, open_keys, f'{where}.')}")
    check_chat(tokenizer, filled.chat, f"{where}.chat")
    warn_otherwise(filled, model, where)
    return filled


def warn_otherwise(cfg: Any, model: pathlib.Path | str, where: str = "config") -> None:
    """Says so where a config asks a policy otherwise than its folder says that it was trained.

    Args:
        cfg: with fields of a `PromptFormat`, not all of them perhaps.
    """
    trained = prompt_format.read(pathlib.Path(model)) if model else None
    if trained and (names := trained.differences(cfg)):
        say(
            f"warning: {model} was trained with {_words(trained, names)}, and is asked with "
            f"{_words(cfg, names, f'{where}.')}: leave these keys out, or set them as it was trained, unless that is "
            f"meant"
        )


def check_chat(tokenizer: Tokenizer | None, chat: bool, key: str) -> None:
    """Raises ConfigError where a model is to be asked through a chat template that it does not have.

    Args:
        tokenizer: the model's; None: a server has it.
        key: of the config that says so.
    """
    if chat and tokenizer is not None and not tokenizer.has_chat_template:
        raise ConfigError(
            f"{key}=true, and the model has no chat template: set {key}=false, or put the template's "
            f"Jinja source as chat_template.jinja beside the model's tokenizer.json"
        )


def _words(form: Any, names: list[str], where: str = "") -> str:
    return ", ".join(f"{where}{name}={getattr(form, name)!r}" for name in names)
