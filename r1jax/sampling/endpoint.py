"""Samples from a model behind an OpenAI-compatible server: the same call as the engine's, and no weights of ours."""

import dataclasses
import hashlib
import logging
import pathlib
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import numpy as np

from r1jax.config import at_least, seconds
from r1jax.data.types import Prompt, Rollout
from r1jax.models.logits import Truncation
from r1jax.sampling.usage import Usage
from r1jax.text.endpoint import OURS_TO_MEND, connect

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class EndpointConfig:
    """Where the model is.

    Attributes:
        base_url: of the server, say http://localhost:8000/v1; "": there is none.
        model: as the server names it.
        api_key_env: the environment variable that holds the key; "" where none is needed.
        in_flight: requests at a time.
        timeout_s: seconds that a request may take.
        retries: of a request that failed; after them the sample is missing, and drawn when the run is started again.
        requests_per_minute: at most so many, retries among them, evenly spread; 0: as they come.
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
    """Asks a server, several samples at a time.

    Attributes:
        usage: what it has cost so far.
    """

    def __init__(
        self, cfg: EndpointConfig, max_new_tokens: int, truncation: Truncation, chat: bool,
        usage: pathlib.Path | None = None,
    ):  # fmt: skip
        """Makes no request.

        Args:
            chat: send the text as a user's message; else have it continued as it stands.
            usage: the file that keeps what replies cost, and may hold that of earlier runs; None: it is kept nowhere.

        Raises:
            ValueError: there is no key, the package openai is missing, or a top-k, which the protocol does not know.
        """
        if truncation.top_k:
            raise ValueError(f"OpenAI's protocol has no top-k: set sampling.truncation.top_k={truncation.top_k} to 0")
        self._cfg, self._chat = cfg, chat
        self.usage = Usage(usage, cfg.price_per_million_input, cfg.price_per_million_output)
        self._client = connect(
            "the endpoint", cfg.base_url, cfg.api_key_env, cfg.timeout_s, cfg.retries, cfg.requests_per_minute
        )
        self._settings = {
            "model": cfg.model, "max_tokens": max_new_tokens,
            "temperature": truncation.temperature, "top_p": truncation.top_p,
        }  # fmt: skip

    def generate(
        self, prompts: Sequence[Prompt], samples: int, seed: tuple[int, ...],
        on_finish: Callable[[Rollout], None] = lambda rollout: None, skip: Collection[tuple[str, int]] = (),
    ) -> list[Rollout]:  # fmt: skip
        """Draws what `Engine.generate` would, from prompts' texts; servers that know seeds repeat themselves.

        A rollout's log-probs are empty and its ids are -1, as many as the server says it sampled. A thought that the
        server keeps apart from the content is put back before it, in its tags.

        Raises:
            ValueError: the server refuses the key, the model or the address.
        """
        wanted = [(prompt, s) for prompt in prompts for s in range(samples) if (prompt.id, s) not in skip]
        done = {}
        threads = ThreadPoolExecutor(self._cfg.in_flight, thread_name_prefix="endpoint")
        try:
            asked = [threads.submit(self._ask, prompt, s, seed) for prompt, s in wanted]
            for future in as_completed(asked):
                if rollout := future.result():
                    done[rollout.prompt.id, rollout.sample] = rollout
                    on_finish(rollout)
        finally:
            threads.shutdown(cancel_futures=True)
        return [done[prompt.id, s] for prompt, s in wanted if (prompt.id, s) in done]

    def _ask(self, prompt: Prompt, sample: int, seed: tuple[int, ...]) -> Rollout | None:
        """One sample; None where the request failed for good."""
        import openai

        word = hashlib.sha256(repr((seed, prompt.id, sample)).encode()).digest()[:4]
        settings = {**self._settings, "seed": int.from_bytes(word) >> 1}
        try:
            if self._chat:
                messages = [{"role": "user", "content": prompt.text}]
                reply = self._client.chat.completions.create(messages=messages, **settings)
            else:
                reply = self._client.completions.create(prompt=prompt.text, **settings)
        except openai.APIStatusError as error:
            if error.status_code in (400, *OURS_TO_MEND):
                reason = OURS_TO_MEND.get(error.status_code, str(error))
                raise ValueError(f"{self._cfg.model!r} at {self._cfg.base_url}: {reason}") from error
            return self._missed(prompt, sample, error)
        except openai.OpenAIError as error:
            return self._missed(prompt, sample, error)
        spent = (reply.usage.prompt_tokens, reply.usage.completion_tokens) if reply.usage else None
        self.usage.add(prompt.id, sample, spent)  # before anything can go wrong with what it holds
        if not reply.choices:
            return self._missed(prompt, sample, "an empty reply")
        [choice, *_] = reply.choices
        text = _text(choice.message) if self._chat else choice.text
        tokens = np.full(spent[1] if spent else 0, -1, np.int32)
        finish = "length" if choice.finish_reason == "length" else "stop"
        return Rollout(prompt, sample, tokens, np.zeros(0, np.float32), text, finish)

    def _missed(self, prompt: Prompt, sample: int, why: object) -> None:
        _log.warning("no sample %d of %s: %s", sample, prompt.id, why)


def _text(message: Any) -> str:
    """A reply's whole text. DeepSeek's API and vLLM keep the thought in a field of its own, under either name."""
    content = message.content or ""
    thought = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
    return f"<think>{thought}</think>{content}" if thought else content
