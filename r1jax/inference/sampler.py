"""Sampling backends: a checkpoint on this mesh, or a model behind a server. One call draws from both."""

import dataclasses
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
from jax.sharding import Mesh

from r1jax.config import ConfigError
from r1jax.core import processes
from r1jax.core.shares import ALL_ROWS, Shares
from r1jax.data.types import Prompt, Rollout
from r1jax.inference import context_length, model_identity
from r1jax.inference.engine import Engine, SamplingConfig
from r1jax.inference.served_model import Endpoint, EndpointConfig
from r1jax.inference.usage_log import Usage
from r1jax.models.config import ComputeConfig
from r1jax.models.io import load_model, read_hf_config
from r1jax.text.tokenizer import Tokenizer

# (prompts, samples of each, seed, called with each rollout, (id, sample) pairs to leave out)
Draw = Callable[
    [Sequence[Prompt], int, tuple[int, ...], Callable[[Rollout], None], Collection[tuple[str, int]]], object
]


@dataclasses.dataclass(frozen=True)
class Sampler:
    """A model that can be sampled from.

    Attributes:
        draw: samples what is not left out, and passes on each rollout as it is complete.
        tokenizer: the model's; None: a server has it.
        stamp: the model's identity, for the record.
        usage: a server's cost so far; None: a checkpoint on this mesh.
        template_arguments: further variables of its chat template.
        prompt_limit: tokens of a prompt with which it can hold a whole response; None: any number.
        shares: in which `draw` deals the prompts to the processes; one: process 0 gets all.
    """

    draw: Draw
    tokenizer: Tokenizer | None
    stamp: Mapping[str, Any]
    usage: Usage | None = None
    template_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    prompt_limit: int | None = None
    shares: Shares = ALL_ROWS


def settings(
    seed: int,
    sampling: SamplingConfig,
    template: str,
    chat: bool,
    marker: str,
    compute: ComputeConfig | None,
    template_arguments: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """The settings that samples depend on beside the model and the questions, for the record."""
    truncation = sampling.truncation
    return {
        "seed": seed,
        "temperature": truncation.temperature,
        "top_p": truncation.top_p,
        "top_k": truncation.top_k,
        "max_new_tokens": sampling.max_new_tokens,
        "template": template,
        "chat": chat,
        "marker": marker,
        "compute": compute,
        **({"template_arguments": dict(template_arguments)} if template_arguments else {}),
    }


def open_sampler(
    model: str,
    endpoint: EndpointConfig,
    sampling: SamplingConfig,
    chat: bool,
    compute: ComputeConfig | None,
    mesh: Mesh,
    usage: pathlib.Path | None = None,
    template_arguments: Mapping[str, Any] = MappingProxyType({}),
    max_prompt_tokens: int = 0,
    limit_key: str = "data.max_prompt_tokens",
) -> Sampler:
    """Opens the checkpoint `model`, or where that is "" a client of the endpoint, which process 0 alone calls.

    Args:
        chat: a server is sent the text as a user's message; else it continues the text.
        usage: the file that records a server's cost, see `Endpoint`.
        template_arguments: further variables of its chat template; they are sent to a server.
        max_prompt_tokens: the most tokens that a prompt may have; 0: any number that the model can hold.
        limit_key: the config key of that limit.

    Raises:
        ConfigError: a prompt and a response would take more tokens than the checkpoint was made for, or prompts are
            limited by tokens and a server has the tokenizer.
        FileNotFoundError, ValueError: see `load_model` and `Endpoint`.
    """
    if not model and max_prompt_tokens:
        raise ConfigError(
            f"config.{limit_key}={max_prompt_tokens} is counted by the model's own tokenizer, which a "
            "server does not show: set it to 0"
        )
    if not model:
        server = Endpoint(endpoint, sampling.max_new_tokens, sampling.truncation, chat, usage, template_arguments)

        def ask(*args) -> object:
            return server.generate(*args, returned=False) if jax.process_index() == 0 else None

        stamp = {"endpoint": endpoint.base_url, "name": endpoint.model}
        return Sampler(ask, None, stamp, server.usage, template_arguments, shares=Shares.whole())
    path = pathlib.Path(model)
    processes.barrier()  # process 0 may still grade what the model before said
    came_with = read_hf_config(path)
    limit = context_length.prompt_limit(came_with, path, sampling.max_new_tokens, max_prompt_tokens, limit_key)
    params, shape, tokenizer = load_model(path, mesh, compute, dtype=None)
    shares = Shares.of_mesh(mesh)
    engine = Engine(shape, sampling, tokenizer, mesh, shares)

    def draw(prompts, samples, seed, on_finish, skip) -> object:
        return engine.generate(params, prompts, samples, seed, on_finish, skip, returned=False)

    model_hash = model_identity.model_hash(path) if jax.process_index() == 0 else ""
    return Sampler(draw, tokenizer, {"path": model, "hash": model_hash}, None, template_arguments, limit, shares)
