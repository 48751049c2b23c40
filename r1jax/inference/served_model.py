"""Sampling from a model behind an OpenAI-compatible server: the same call as the engine's, without weights here."""

import dataclasses
import logging
import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from types import MappingProxyType
from typing import Any

from r1jax.config import ConfigError, at_least, printable, seconds
from r1jax.data.types import Prompt, Rollout
from r1jax.inference.usage_log import Usage
from r1jax.io.openai_client import MissedReply, Server
from r1jax.io.provenance import sha256
from r1jax.models.config import Truncation

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class EndpointConfig:
    """The server of a model.

    Attributes:
        base_url: of the server, for example http://localhost:8000/v1; "": none.
        model: the server's name for it.
        api_key_env: the environment variable that holds the key; "" where none is needed.
        in_flight: requests at a time.
        timeout_s: seconds that a request may take as a whole.
        retries: of a request that failed; after them the sample is missing, and drawn when the run is started again.
        requests_per_minute: at most so many, retries included, evenly spread; 0: no limit.
        price_per_million_input, price_per_million_output: of tokens, in any currency; 0: tokens are counted alone.
    """

    base_url: str = ""
    model: str = ""
    api_key_env: str = "OPENAI_API_KEY"
    in_flight: int = 16
    timeout_s: float = 1800.0
    retries: int = 5
    requests_per_minute: float = 0.0
    price_per_million_input: float = 0.0
    price_per_million_output: float = 0.0

    def __post_init__(self):
        at_least(1, self, "in_flight")
        at_least(0, self, "retries", "requests_per_minute", "price_per_million_input", "price_per_million_output")
        if bool(self.base_url) != bool(self.model):
            raise ValueError("an endpoint needs both base_url and model")
        seconds(self, "timeout_s")


class Endpoint:
    """A client of a server, with several requests at a time.

    Attributes:
        usage: the cost so far.
    """

    def __init__(
        self,
        cfg: EndpointConfig,
        max_new_tokens: int,
        truncation: Truncation,
        chat: bool,
        usage: pathlib.Path | None = None,
        template_arguments: Mapping[str, Any] = MappingProxyType({}),
    ):
        """Makes no request.

        Args:
            chat: send the text as a user's message; else as text to continue.
            usage: the file that records the cost of replies, of earlier runs too; None: no record.
            template_arguments: further variables of the server's chat template, sent as `chat_template_kwargs`, which
                vLLM and SGLang support; another server may refuse the request.

        Raises:
            ValueError: the key or the address is missing, or a top-k is set, which the protocol lacks.
        """
        if truncation.top_k:
            raise ValueError(f"OpenAI's protocol has no top-k: set sampling.truncation.top_k={truncation.top_k} to 0")
        self._cfg, self._chat = cfg, chat
        self.usage = Usage(usage, cfg.price_per_million_input, cfg.price_per_million_output)
        self._server = Server(
            "the endpoint",
            cfg.base_url,
            cfg.model,
            cfg.api_key_env,
            cfg.timeout_s,
            cfg.retries,
            cfg.requests_per_minute,
        )
        self._settings = {
            "max_tokens": max_new_tokens,
            "temperature": truncation.temperature,
            "top_p": truncation.top_p,
        }
        if template_arguments:
            self._settings["chat_template_kwargs"] = dict(template_arguments)

    def generate(
        self,
        prompts: Sequence[Prompt],
        samples: int,
        seed: tuple[int, ...],
        on_finish: Callable[[Rollout], None] = lambda rollout: None,
        skip: Collection[tuple[str, int]] = (),
        returned: bool = True,
    ) -> list[Rollout]:
        """Samples like `Engine.generate`, from prompts' texts; servers that support seeds give the same again.

        A rollout's log-probs are empty and its ids are -1, as many as the server says it sampled. A thought that the
        server keeps apart from the content is put back before it, in its tags.

        Raises:
            ValueError: the server refuses the key, the model or the address, or all of the first requests.
        """
        samples_to_draw = [(prompt, s) for prompt in prompts for s in range(samples) if (prompt.id, s) not in skip]
        done: dict[tuple[str, int], Rollout | None] = {}
        refused = 0
        threads = ThreadPoolExecutor(self._cfg.in_flight, thread_name_prefix="endpoint")
        try:
            for reply in self._replies(threads, samples_to_draw, seed):
                if isinstance(reply, Rollout):
                    done[reply.prompt.id, reply.sample] = reply if returned else None
                    on_finish(reply)
                    continue
                # One prompt may be too long, or not to the server's liking; all of them are the config's fault.
                refused += reply.kind == "HTTP 400"
                if not (done or skip) and refused == min(self._cfg.in_flight, len(samples_to_draw)):
                    raise ValueError(f"{self._cfg.model!r} at {self._cfg.base_url}: {printable(str(reply))}")
        finally:
            threads.shutdown(cancel_futures=True)
        if misses := self._server.misses():
            _log.warning("%s", misses)
        return [done[prompt.id, s] for prompt, s in samples_to_draw if (prompt.id, s) in done] if returned else []

    def _replies(
        self, threads: ThreadPoolExecutor, samples: Sequence[tuple[Prompt, int]], seed: tuple[int, ...]
    ) -> Iterator["Rollout | MissedReply"]:
        """The replies as they come; none is kept, and few requests wait for a thread."""
        waiting: set[Future] = set()
        for prompt, sample in samples:
            waiting.add(threads.submit(self._ask, prompt, sample, seed))
            if len(waiting) >= 2 * self._cfg.in_flight:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (each.result() for each in done)
        yield from (each.result() for each in as_completed(waiting))

    def _ask(self, prompt: Prompt, sample: int, seed: tuple[int, ...]) -> Rollout | MissedReply:
        """One sample, or the reason why there is none."""
        word = sha256(repr((seed, prompt.id, sample)))[:4]
        text = {"messages": [{"role": "user", "content": prompt.text}]} if self._chat else {"prompt": prompt.text}
        request = {**text, **self._settings, "seed": int.from_bytes(word) >> 1}
        try:
            reply = self._server.ask(request, lambda tokens: self.usage.add(prompt.id, sample, tokens))
        except MissedReply as missed:
            _log.warning("no sample %d of %s: %s", sample, printable(prompt.id), printable(str(missed)))
            return missed
        return Rollout.of_text(prompt, reply.text, sample, reply.finish, reply.tokens[1] if reply.tokens else 0)


def check_model(model: str, endpoint: EndpointConfig) -> None:
    """Raises ConfigError unless exactly one of the two is given."""
    if bool(model) == bool(endpoint.base_url):
        raise ConfigError(
            "say which one model to ask: config.model, an id of the Hugging Face hub, a Hugging Face directory "
            "(config.json, safetensors), a .gguf file or a model folder of r1jax; or config.endpoint.base_url and "
            "config.endpoint.model"
        )
