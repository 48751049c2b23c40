"""Sampling of a fixed list of prompts: a list of prompts in, a list of rollouts out."""

import copy
import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from jax.sharding import Mesh

from r1jax.core.params import Params
from r1jax.core.shares import Shares
from r1jax.data.types import FinishReason, Prompt, Rollout
from r1jax.inference.config import SamplingConfig
from r1jax.inference.programs import Programs
from r1jax.inference.session import Piece, Request, Session, join_pieces
from r1jax.io.provenance import sha256
from r1jax.models.config import ModelConfig, Truncation
from r1jax.text.tokenizer import Tokenizer


def key_words(seed: tuple[int, ...], prompt_id: str, sample: int) -> tuple[int, ...]:
    """The words of the randomness of one sample in `Engine.generate`."""
    digest = sha256(prompt_id)
    return (*seed, int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little"), sample)


class Engine:
    """Samples from a model on a mesh. Holds compiled programs, no weights and no randomness.

    Attributes:
        programs: what it has compiled.
    """

    def __init__(
        self,
        model: ModelConfig,
        cfg: SamplingConfig,
        tokenizer: Tokenizer,
        mesh: Mesh,
        shares: Shares | None = None,
    ):
        """Raises ValueError where slots or prefilled rows do not divide over the mesh.

        Args:
            shares: in which the prompts are dealt to the processes; None: each process gets all rollouts.
        """
        self._cfg, self._tokenizer = cfg, tokenizer
        self.programs = Programs(model, cfg, len(tokenizer.eos_ids), mesh, shares)

    def with_truncation(self, truncation: Truncation) -> "Engine":
        """An engine that draws by another truncation; it shares the compiled programs, which do not depend on it."""
        other = copy.copy(self)
        other._cfg = dataclasses.replace(self._cfg, truncation=truncation)
        return other

    def open(self, params: Params, shrinks: bool = False) -> Session:
        """A session with these weights, which may be in any layout; `shrinks` as of `Session`."""
        return Session(self.programs, params, shrinks)

    def generate(
        self,
        params: Params,
        prompts: Sequence[Prompt],
        samples: int,
        seed: tuple[int, ...],
        on_finish: Callable[[Rollout], None] = lambda rollout: None,
        skip: Collection[tuple[str, int]] = (),
        limits: Mapping[tuple[str, int], int] = MappingProxyType({}),
        owners: Sequence[int] | None = None,
        returned: bool = True,
    ) -> list[Rollout]:
        """Draws `samples` completions of each prompt from these very weights.

        A prompt is prefilled once for its whole group. The same prompt id, sample index and seed give the same
        tokens whatever else is in the call, see `Request.key_words`.

        Args:
            params: weights in any layout.
            prompts: with ids, at least one token each.
            samples: group size.
            seed: words of the randomness, say (run seed, step).
            on_finish: called with each rollout as soon as it is complete, in order of completion.
            skip: (prompt id, sample) of those that are not to be drawn: somebody has them already.
            limits: (prompt id, sample) -> most tokens of that completion, where less than `max_new_tokens`.
            owners: the share of each prompt, which alone gets its rollouts; None: they are dealt out in order.
            returned: False: `on_finish` alone gets the rollouts, and none is kept here.

        Returns:
            `len(prompts) * samples` rollouts, prompt by prompt, sample by sample, without those skipped and those of
            other shares.

        Raises:
            ValueError: a prompt without tokens.
        """
        session, shares = self.open(params, shrinks=True), self.programs.shares
        pieces: dict[int, list[Piece]] = {}
        samples_of: dict[int, tuple[Prompt, int]] = {}
        for i, prompt in enumerate(prompts):
            owner = owners[i] if owners else shares.of(i, len(prompts))
            for sample in range(samples):
                if (prompt.id, sample) in skip:
                    continue
                handle = session.add(self.request(prompt, sample, seed, limits.get((prompt.id, sample))), owner)
                if owner == shares.index:
                    samples_of[handle], pieces[handle] = (prompt, sample), []
        done: dict[int, Rollout] = {}
        while session.busy:
            for piece in session.advance():
                pieces[piece.handle].append(piece)
                if piece.finish:
                    whole = join_pieces(pieces.pop(piece.handle))
                    ids = np.array(whole.ids, np.int32)
                    rollout = self.rollout(*samples_of[piece.handle], ids, whole.logprobs, whole.finish)
                    if returned:
                        done[piece.handle] = rollout
                    on_finish(rollout)
        return [done[handle] for handle in samples_of] if returned else []

    def request(
        self,
        prompt: Prompt,
        sample: int,
        seed: tuple[int, ...],
        limit: int | None = None,
        drawn: Sequence[int] = (),
    ) -> Request:
        """The request of one completion, for a session of this engine.

        Args:
            seed: as of `generate`.
            limit: most tokens of the completion, where less than `max_new_tokens`.
            drawn: its first tokens, where it goes on after these: under the weights that drew them it ends as one that
                was never interrupted, up to the rounding that `Request.key_words` speaks of.

        Raises:
            ValueError: a prompt without tokens.
        """
        if not prompt.ids:
            raise ValueError(f"prompt {prompt.id!r} has no tokens")
        most = min(self._cfg.max_new_tokens if limit is None else limit, self._cfg.max_new_tokens) - len(drawn)
        words = key_words(seed, prompt.id, sample)
        return Request((*prompt.ids, *drawn), words, most, self._cfg.truncation, self._tokenizer.eos_ids)

    def rollout(
        self,
        prompt: Prompt,
        sample: int,
        ids: np.ndarray,
        logprobs: np.ndarray,
        finish: FinishReason,
        versions: np.ndarray | None = None,
    ) -> Rollout:
        """A completion with its text; arguments as of `Rollout`."""
        text = self._tokenizer.decode((ids[:-1] if finish == "stop" else ids).tolist())
        return Rollout(prompt, sample, ids, logprobs, text, finish, versions=versions)
