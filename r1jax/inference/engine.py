"""The host side of sampling: keeps the slots full. A list of prompts in, a list of rollouts out."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from r1jax.core import params as core
from r1jax.core.params import Params
from r1jax.core.sharding import BATCH, DECODE_RULES, batch_shards, place, replicated
from r1jax.data.types import Prompt, Rollout
from r1jax.inference import decode
from r1jax.inference.config import SamplingConfig
from r1jax.io.provenance import sha256
from r1jax.models import cache as kv
from r1jax.models.config import ModelConfig
from r1jax.models.transformer import param_specs, split_stacks
from r1jax.text.tokenizer import Tokenizer


@dataclasses.dataclass
class _Sequence:
    """One sample under way: what the host knows of it."""

    prompt: int  # index into the call's prompts
    sample: int
    max_tokens: int  # that it may have
    ids: list[int] = dataclasses.field(default_factory=list)
    logprobs: list[float] = dataclasses.field(default_factory=list)
    windows: int = 0  # dispatched since it was forked


def _key_words(prompt_id: str, sample: int) -> tuple[int, int, int]:
    digest = sha256(prompt_id)
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little"), sample


class Engine:
    """Samples from a model on a mesh. Holds compiled programs, no weights and no randomness."""

    def __init__(self, model: ModelConfig, cfg: SamplingConfig, tokenizer: Tokenizer, mesh: Mesh):
        ways = batch_shards(mesh)
        if cfg.slots % ways or cfg.prefill_rows % ways:
            raise ValueError(
                f"sampling.slots={cfg.slots} and sampling.prefill_rows={cfg.prefill_rows} must be multiples of "
                f"the mesh's {' x '.join(BATCH)} = {ways}"
            )
        self._cfg, self._tokenizer, self._mesh = cfg, tokenizer, mesh
        self._eos_ids = tokenizer.eos_ids
        layout = functools.partial(DECODE_RULES.sharding, mesh)
        rows, axes = layout(("batch",)), kv.axes(model)
        cache = kv.KVCache(layout(axes.k), axes.v and layout(axes.v))
        slots = decode.Slots(cache, rows, rows, rows, rows)
        whole = replicated(mesh)
        specs = param_specs(dataclasses.replace(model, mtp_depth=0))  # those blocks take no part
        weights = core.shardings(specs, DECODE_RULES, mesh)
        split = model.scan_unroll >= model.num_layers or mesh.devices.flat[0].platform == "gpu"
        if split:
            weights = split_stacks(model, weights, lambda x, i: NamedSharding(mesh, PartitionSpec(*x.spec[1:])))

        def to_decode_layout(params: Params) -> Params:
            params = core.cast({name: params[name] for name in specs}, specs, model.dtype)
            return split_stacks(model, params) if split else params

        self._to_decode_layout = jax.jit(to_decode_layout, out_shardings=weights)
        self._idle = jax.jit(
            lambda length: decode.idle(model, cfg.slots, length), static_argnums=0, out_shardings=slots
        )
        self._prefill = jax.jit(lambda params, tokens: decode.prefill(params, model, tokens), out_shardings=cache)
        self._fork = jax.jit(decode.fork, donate_argnums=0, out_shardings=slots)
        self._resize = jax.jit(
            lambda slots, length: dataclasses.replace(slots, cache=kv.resize(slots.cache, length)),
            static_argnums=1,
            out_shardings=slots,
        )
        self._decode = jax.jit(
            lambda params, slots: decode.decode_window(params, model, slots, cfg.truncation, self._eos_ids, cfg.window),
            donate_argnums=1,
            out_shardings=(slots, decode.Sampled(whole, whole, whole)),
        )

    def generate(
        self,
        params: Params,
        prompts: Sequence[Prompt],
        samples: int,
        seed: tuple[int, ...],
        on_finish: Callable[[Rollout], None] = lambda rollout: None,
        skip: Collection[tuple[str, int]] = (),
        limits: Mapping[tuple[str, int], int] = MappingProxyType({}),
    ) -> list[Rollout]:
        """Draws `samples` completions of each prompt from these very weights.

        A prompt is prefilled once for its whole group. The same prompt id, sample index and seed give the same
        tokens whatever else is in the call (up to floating-point ties: batched matrix products of other shapes
        round differently in the last bit).

        Args:
            params: weights in any layout; resharded for decoding here.
            prompts: with ids, at least one token each.
            samples: group size.
            seed: words of the randomness, say (run seed, step).
            on_finish: called with each rollout as soon as it is complete, in order of completion.
            skip: (prompt id, sample) of those that are not to be drawn: somebody has them already.
            limits: (prompt id, sample) -> most tokens of that completion, where less than `max_new_tokens`.

        Returns:
            `len(prompts) * samples` rollouts, prompt by prompt, sample by sample, without those skipped.

        Raises:
            ValueError: a prompt without tokens.
        """
        for prompt in prompts:
            if not prompt.ids:
                raise ValueError(f"prompt {prompt.id!r} has no tokens")
        cfg = self._cfg
        params = self._to_decode_layout(params)
        key = functools.reduce(jax.random.fold_in, seed, jax.random.key(0))
        key = jax.device_put(key, replicated(self._mesh))
        missing = [(p, s) for p in range(len(prompts)) for s in range(samples) if (prompts[p].id, s) not in skip]
        most = cfg.max_new_tokens
        waiting = collections.deque(
            _Sequence(p, s, min(limits.get((prompts[p].id, s), most), most)) for p, s in missing
        )
        running: list[_Sequence | None] = [None] * cfg.slots
        done: dict[tuple[str, int], Rollout] = {}
        shelf: tuple[range, kv.KVCache | None] = (range(0), None)  # the prompts prefilled last
        slots: decode.Slots | None = None
        unread: collections.deque[tuple[list[_Sequence | None], decode.Sampled]] = collections.deque()

        def needed() -> int:
            """Cache length that the next window may touch; what the host has not read yet counts as sampled."""
            ends = [len(prompts[s.prompt].ids) + min(cfg.window * (s.windows + 1), s.max_tokens) for s in running if s]
            return self._round(max(ends))

        while waiting or any(running) or unread:
            free = [i for i, sequence in enumerate(running) if sequence is None]
            while free and waiting:
                if waiting[0].prompt not in shelf[0]:
                    shelf = self._prefill_from(params, prompts, waiting[0].prompt)
                batch = []
                while free and waiting and waiting[0].prompt in shelf[0] and len(batch) < self._fork_size:
                    batch.append((free.pop(0), waiting.popleft()))
                for i, sequence in batch:
                    running[i] = sequence
                slots = self._resized(slots, max(needed(), shelf[1].length))
                slots = self._fork_into(slots, shelf, prompts, batch, key)
            if any(running):
                slots, sampled = self._decode(params, self._resized(slots, needed()))
                unread.append((list(running), sampled))
                for sequence in filter(None, running):
                    sequence.windows += 1
            if len(unread) > 1 or not any(running):
                for i, rollout in self._read(*unread.popleft(), prompts):
                    running[i] = None
                    done[rollout.prompt.id, rollout.sample] = rollout
                    on_finish(rollout)
        return [done[prompts[p].id, s] for p, s in missing]

    @property
    def _fork_size(self) -> int:
        return min(self._cfg.slots, 16)

    def _round(self, length: int) -> int:
        return -(-length // self._cfg.bucket) * self._cfg.bucket

    def _resized(self, slots: decode.Slots | None, length: int) -> decode.Slots:
        """The slots with a cache of at least `length`; it only grows, for some slot is nearly always long."""
        if slots is None:
            return self._idle(length)
        return self._resize(slots, length) if slots.cache.length < length else slots

    def _prefill_from(self, params: Params, prompts: Sequence[Prompt], first: int) -> tuple[range, kv.KVCache]:
        """Prefills the next `prefill_rows` prompts, each once for its whole group."""
        taken = range(first, min(first + self._cfg.prefill_rows, len(prompts)))
        width = self._round(max(len(prompts[p].ids) for p in taken))
        tokens = np.zeros((self._cfg.prefill_rows, width), np.int32)
        for row, p in enumerate(taken):
            tokens[row, : len(prompts[p].ids)] = prompts[p].ids
        sharding = DECODE_RULES.sharding(self._mesh, ("batch", None))
        return taken, self._prefill(params, place(tokens, lambda _: sharding))

    def _fork_into(self, slots, shelf, prompts, batch: list[tuple[int, _Sequence]], key) -> decode.Slots:
        F = self._fork_size
        columns = np.zeros((F, 5), np.int32)
        columns[:, 0] = self._cfg.slots  # out of range: unused
        words = np.zeros((F, 3), np.uint32)
        for f, (slot, sequence) in enumerate(batch):
            ids = prompts[sequence.prompt].ids
            row = sequence.prompt - shelf[0].start
            columns[f] = slot, row, ids[-1], len(ids) - 1, sequence.max_tokens
            words[f] = _key_words(prompts[sequence.prompt].id, sequence.sample)
        arguments = place((*columns.T, words), lambda _: replicated(self._mesh))
        return self._fork(slots, shelf[1], *arguments, key)

    def _read(self, owners: list[_Sequence | None], sampled: decode.Sampled, prompts: Sequence[Prompt]):
        """Files a window's tokens with their sequences; yields (slot, rollout) for those that ended in it."""
        tokens, logprobs, active = (np.asarray(x) for x in (sampled.tokens, sampled.logprobs, sampled.active))
        for i, sequence in enumerate(owners):
            if sequence is None or not active[0, i]:
                continue  # idle, or it ended in an earlier window and was read then
            n = int(active[:, i].sum())
            sequence.ids += tokens[:n, i].tolist()
            sequence.logprobs += logprobs[:n, i].tolist()
            stopped = sequence.ids[-1] in self._eos_ids
            if stopped or len(sequence.ids) == sequence.max_tokens:
                text = self._tokenizer.decode(sequence.ids[:-1] if stopped else sequence.ids)
                yield (
                    i,
                    Rollout(
                        prompts[sequence.prompt],
                        sequence.sample,
                        np.array(sequence.ids, np.int32),
                        np.array(sequence.logprobs, np.float32),
                        text,
                        "stop" if stopped else "length",
                    ),
                )
