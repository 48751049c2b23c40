"""Served models: found by name or path, loaded, and how a request becomes a prompt of each."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jax.sharding import Mesh

from r1jax.config import ConfigError, listed
from r1jax.core.sharding import DECODE_RULES, batch_shards
from r1jax.data.tasks import DATE
from r1jax.inference.config import SamplingConfig
from r1jax.inference.engine import Engine
from r1jax.inference.session import Session
from r1jax.models.hf_config import context_length
from r1jax.models.io import load_model, read_hf_config
from r1jax.serve.cards import ModelCard, find
from r1jax.serve.config import ServeConfig
from r1jax.serve.errors import ApiError
from r1jax.serve.response_text import ThoughtSplitter, TokenTexts
from r1jax.text import chat, prompt_format
from r1jax.text.prompt_format import R1_ZERO, PromptFormat
from r1jax.text.tokenizer import Tokenizer

_PREFILL_ROWS = 4
_LONGEST = 4096  # by default, of models that are made for more
_UNKNOWN = 512  # of a model of r1jax's making, which records no length; the mini stages train on less


@dataclasses.dataclass(frozen=True)
class Served:
    """A loaded model.

    Attributes:
        card: its description.
        tokenizer: its tokenizer.
        prompt_format: of its prompts in a chat.
        max_length: tokens of a prompt and its completion together.
        token_texts: texts of its tokens.
        open_session: begins sampling.
    """

    card: ModelCard
    tokenizer: Tokenizer
    prompt_format: PromptFormat
    max_length: int
    token_texts: TokenTexts
    open_session: Callable[[], Session]

    @property
    def id(self) -> str:
        """Its name in the API."""
        return self.card.id

    def chat_prompt(
        self, messages: Sequence[Mapping[str, Any]], template: str | None, arguments: Mapping[str, Any]
    ) -> str:
        """The text of a prompt that a conversation becomes.

        Args:
            messages: `{"role", "content"}`, contents as text.
            template: a name in `r1jax.text.chat.TEMPLATES` for the last message; None: the model's own.
            arguments: further variables of its chat template.

        Raises:
            ApiError: a conversation that the model's format cannot hold.
        """
        form = self.prompt_format
        question = chat.render(form.template if template is None else template, messages[-1]["content"])
        if form.chat:
            rendered = [*messages[:-1], {**messages[-1], "content": question}]
            try:
                return self.tokenizer.render_chat(rendered, now=DATE, **{**form.template_arguments, **arguments})
            except ValueError as error:
                raise ApiError(400, str(error), "messages") from error
        if len(messages) > 1 or messages[0]["role"] != "user":
            raise ApiError(
                400,
                f"{self.id} has no chat template and answers single questions: send one message, of the role user",
                "messages",
            )
        if arguments:
            raise ApiError(400, f"{self.id} has no chat template that reads arguments", "chat_template_kwargs")
        return question

    def splitter(self, prompt: str) -> ThoughtSplitter:
        """Splits completions of a chat's prompt."""
        marker = self.prompt_format.marker or ""
        return ThoughtSplitter(bool(chat.opening_tag(prompt, marker)), marker)

    def max_tokens(self, prompt_tokens: int, requested: int | None) -> int:
        """The most tokens that a completion may have.

        Raises:
            ApiError: the prompt is too long, alone or with the tokens that the request wants.
        """
        left = self.max_length - prompt_tokens
        if left < 1 or (requested or 0) > left:
            completion = f" and {requested} in the completion" if requested else ""
            raise ApiError(
                400,
                f"this model's context is {self.max_length} tokens here: you asked for {prompt_tokens} in the "
                f"prompt{completion}; shorten the prompt or lower max_tokens",
                "messages",
                "context_length_exceeded",
            )
        return left if requested is None else requested


def load(names: Sequence[str], cfg: ServeConfig, mesh: Mesh) -> list[Served]:
    """Loads models for serving.

    Raises:
        FileNotFoundError, ValueError: see `find` and `r1jax.models.io.load_model`.
        ConfigError: two of them would have one name, or `max_length` is more than a model was made for.
    """
    entries = [find(name) for name in names]
    ids = [card.id for _, card in entries]
    if twice := {id_ for id_ in ids if ids.count(id_) > 1}:
        raise ConfigError(f"two models would be named {listed(sorted(twice))}: rename a folder")
    return [_load(path, card, cfg, mesh) for path, card in entries]


def slots_on(mesh: Mesh, cfg: ServeConfig) -> int:
    """The slots of a model: those of the config, rounded up so that they divide over the mesh."""
    return _rounded_up(cfg.slots, mesh)


def _rounded_up(count: int, mesh: Mesh) -> int:
    ways = batch_shards(mesh, DECODE_RULES)
    return -(-count // ways) * ways


def _load(path: pathlib.Path, card: ModelCard, cfg: ServeConfig, mesh: Mesh) -> Served:
    made_for = context_length(read_hf_config(path) or {})
    if made_for and cfg.max_length > made_for:
        raise ConfigError(f"--max-length={cfg.max_length} is more than the {made_for} tokens that {path} was made for")
    max_length = cfg.max_length or min(made_for or _UNKNOWN, _LONGEST)
    params, shape, tokenizer = load_model(path, mesh, dtype=None)
    # A cache grows in few steps, for each is a program to compile; a prompt's width costs work, and its program little.
    sampling = SamplingConfig(
        max_new_tokens=max_length,
        slots=slots_on(mesh, cfg),
        window=cfg.window,
        prefill_rows=_rounded_up(_PREFILL_ROWS, mesh),
        bucket=max(min(max_length, 512), -(-max_length // 4)),
        prompt_bucket=min(128, max_length),
    )
    engine = Engine(shape, sampling, tokenizer, mesh)
    recorded = prompt_format.read(path)
    form = recorded or (PromptFormat("plain", True) if tokenizer.has_chat_template else R1_ZERO)
    return Served(card, tokenizer, form, max_length, TokenTexts(tokenizer), lambda: engine.open(params))
