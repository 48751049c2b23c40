"""Reward models of r1jax on disk, the inputs that they read, and the scoring of rollouts with one.

A folder is a model folder with two files more: `reward_head.npy`, and `reward.json`, a `Reading`, written last. What a
reward model reads is made by `ids_of` here alone, in training and in scoring; what a process reward model reads, whose
reading has `steps`, by `r1jax.data.step_inputs.step_ids_of`.
"""

import collections
import dataclasses
import io
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from r1jax import config
from r1jax.core import sharding
from r1jax.core.params import Params
from r1jax.core.sharding import TRAIN_RULES, replicated
from r1jax.core.shares import ALL_ROWS, Shares, gather, own_rows, place_rows, rows_sharding
from r1jax.data.step_inputs import step_ids_of
from r1jax.data.tasks import prompt_text
from r1jax.data.types import Prompt, Rollout
from r1jax.inference.config import Reading
from r1jax.io import hub
from r1jax.io.console import reporter, say
from r1jax.models.config import ModelConfig
from r1jax.models.hf import read_json
from r1jax.models.io import is_model, load_tokenizer, open_model, save_model
from r1jax.models.reward import HEAD, UNUSED, position_rewards, rewards
from r1jax.text import chat
from r1jax.text.chat import split_response
from r1jax.text.steps import Combination, combine_steps, split_steps
from r1jax.text.tokenizer import Tokenizer

READING, HEAD_FILE = "reward.json", "reward_head.npy"
# Tokens, padding among them, that a device is given at a time; one row where a row is longer.
TOKENS = 8192
SHORTEST = 64  # tokens of the shortest rows; the others are twice, four times, ... as long: each length is compiled


def text_of(reading: Reading, tokenizer: Tokenizer, question: str, response: str, marker: str = "") -> tuple[str, str]:
    """The text before the response, and the part of the response to read; that of a thought that never closed is empty.

    Args:
        question: its own text, before any template.
        response: as the policy wrote it.
        marker: its format, see `split_response`.
    """
    before = prompt_text(question, reading.template, reading.chat, tokenizer, reading.template_arguments)
    if reading.sees == "summary":
        return before, split_response(response, marker).final
    return before, chat.continuation(before, response)


def ids_of(
    reading: Reading, tokenizer: Tokenizer, question: str, response: str, marker: str = ""
) -> tuple[list[int], bool]:
    """`text_of` as a model reads it, and whether anything was cut out of it.

    The ids are those of a supervised example: at most one beginning of sequence, nothing tokenised across the border
    between question and response, and one end of turn, which is the token that the head reads, whether or not the
    response came to its end. Names of special tokens that a response spells out are left out of it: else it could
    close its own turn and speak as the user.

    What exceeds `max_tokens` is cut from the middle of the response, and from the middle of the question too where
    that takes more than half: of both the beginning and the end stay, and with them the template's own words.
    """
    before, visible = text_of(reading, tokenizer, question, response, marker)
    prompt_ids, begins = tokenizer.encode(before), len(tokenizer.encode(""))
    special = tokenizer.silent_ids.union(tokenizer.eos_ids)
    response_ids = [id_ for id_ in tokenizer.encode(visible)[begins:] if id_ not in special]
    limit = reading.max_tokens - 1
    kept_prompt = _without_middle(prompt_ids, max(limit - len(response_ids), limit // 2))
    ids = [*kept_prompt, *_without_middle(response_ids, limit - len(kept_prompt)), tokenizer.eos_ids[0]]
    return ids, len(ids) <= len(prompt_ids) + len(response_ids)


def _without_middle(ids: list[int], limit: int) -> list[int]:
    if len(ids) <= limit:
        return ids
    return ids[: limit - limit // 2] + ids[len(ids) - limit // 2 :]


def save(
    folder: pathlib.Path,
    params: Params,
    cfg: ModelConfig,
    tokenizer: Tokenizer,
    reading: Reading,
    hf_config: Mapping[str, Any] | None = None,
    keep_same: bool = False,
) -> None:
    """Writes a reward model's folder; killed on the way, it leaves none.

    Args:
        params: of the shape of `models.reward.param_specs(cfg)`, whole.
        hf_config: see `save_model`.
        keep_same: see there.
    """
    model = {name: weight for name, weight in params.items() if name != HEAD}
    head = io.BytesIO()
    np.save(head, np.asarray(params[HEAD], np.float32))
    content = f"{json.dumps(dataclasses.asdict(reading), indent=1)}\n".encode()
    beside = {HEAD_FILE: head.getvalue(), READING: content}
    save_model(folder, model, cfg, tokenizer, hf_config, beside, keep_same)


def load(
    path: pathlib.Path | str, mesh: Mesh, dtype: str | None = "float32"
) -> tuple[Params, ModelConfig, Tokenizer, Reading]:
    """Reads what `save` wrote, each weight into its sharding for training.

    Args:
        dtype: of all weights but the head, which is float32; None: the model's own compute type.

    Raises:
        FileNotFoundError: no such folder, a model without a reward head, or a file of it is missing.
        ValueError: a head that is not the model's, a reading that is not understood, and as `load_model`.
    """
    path = hub.model_path(path).absolute()
    if not path.exists():
        raise FileNotFoundError(config.missing_file(path))
    if not (path / READING).exists():
        kind = "a model without a reward head" if is_model(path) else "no reward model"
        raise FileNotFoundError(f"{path} is {kind}: it has no {READING}; a reward model is what its training leaves")
    reading = config.parse(Reading, read_json(path / READING), str(path / READING))
    model = open_model(path)
    tokenizer = load_tokenizer(path, model.cfg)
    head = _read_head(path / HEAD_FILE, model.cfg.embed_dim)
    params = model.read(mesh, dtype or model.cfg.dtype, reporter(f"reading {path}"))
    return {**params, HEAD: sharding.place(head, lambda _: replicated(mesh))}, model.cfg, tokenizer, reading


def _read_head(path: pathlib.Path, width: int) -> np.ndarray:
    try:
        head = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if (head.shape, head.dtype) != ((width,), np.float32):
        raise ValueError(
            f"{path} holds {head.dtype} of shape {head.shape}, should be float32 of shape ({width},), "
            f"the model's embed_dim"
        )
    return head


class Scorer:
    """Scores sequences of ids in few compiled shapes, on the mesh that models are trained on.

    All processes call it together, each with the inputs of its share, and get the scores of these.

    Attributes:
        program: jitted; weights, tokens `[R, T]` and lengths `[R]` -> a score for each row.
    """

    def __init__(self, cfg: ModelConfig, mesh: Mesh, shares: Shares = ALL_ROWS):
        self._mesh, self._shares = mesh, shares
        scores = rows_sharding(mesh, TRAIN_RULES, shares)
        self.program = jax.jit(
            lambda params, tokens, lengths: rewards(params, cfg, tokens, lengths), out_shardings=scores
        )

        def at(params, tokens, lengths, ends):
            return jnp.take_along_axis(position_rewards(params, cfg, tokens, lengths), ends, axis=1)

        self._rewards_at = jax.jit(at, out_shardings=scores)

    def score(self, params: Params, inputs: Sequence[Sequence[int]]) -> np.ndarray:
        """`[N]` float32, a score for each of N inputs, in their order; those that are `UNUSED` may be missing."""
        return np.array(self._all(params, inputs, None), np.float32)

    def score_at(
        self, params: Params, inputs: Sequence[Sequence[int]], ends: Sequence[Sequence[int]]
    ) -> list[np.ndarray]:
        """For each input the scores `[S]` float32 at its S positions `ends`, in their order."""
        return [scores[: len(at)] for scores, at in zip(self._all(params, inputs, ends), ends, strict=True)]

    def _all(
        self, params: Params, inputs: Sequence[Sequence[int]], ends: Sequence[Sequence[int]] | None
    ) -> list[np.ndarray]:
        """For each input its score, or those at its `ends`, filled up to the most that any has."""
        used = {name: weight for name, weight in params.items() if name not in UNUSED}
        by_length = collections.defaultdict(list)
        for place, ids in enumerate(inputs):
            by_length[max(SHORTEST, _power_of_two(len(ids)))].append(place)
        # What is compiled and how often it runs is the same in all processes: as the one with the most inputs needs it.
        most_ends = max((len(each) for each in ends or ()), default=1)
        everybody = gather((most_ends, {length: len(places) for length, places in by_length.items()}), self._shares)
        most = _power_of_two(max(ends for ends, _ in everybody) or 1)  # one shape for the whole call
        counts: collections.Counter[int] = collections.Counter()
        for _, of_share in everybody:
            counts |= collections.Counter(of_share)
        scores: list[np.ndarray] = [np.float32(0)] * len(inputs)
        pieces = 2 * TRAIN_RULES.ways("length", self._mesh)
        for shortest, count in counts.items():
            places, length = by_length[shortest], -(-shortest // pieces) * pieces
            rows = self.rows(length, count * self._shares.count) // self._shares.count
            for start in range(0, count, rows):
                some = places[start : start + rows]
                positions = None if ends is None else np.zeros((rows, most), np.int32)
                for row, place in enumerate(some if ends is not None else ()):
                    positions[row, : len(ends[place])] = ends[place]
                batch = self._batch(used, [inputs[place] for place in some], rows, length, positions)
                for place, row in zip(some, batch, strict=True):
                    scores[place] = row
        return scores

    def rows(self, length: int, count: int) -> int:
        """Rows of a batch: as many as a device takes, or for fewer inputs the power of two that holds them."""
        ways = sharding.batch_shards(self._mesh)
        return ways * min(max(TOKENS // length, 1), _power_of_two(-(-count // ways)))

    def _batch(
        self,
        params: Params,
        inputs: Sequence[Sequence[int]],
        rows: int,
        length: int,
        ends: np.ndarray | None,
    ) -> np.ndarray:
        """The scores of at most `rows` inputs, a batch of this process's share."""
        tokens, lengths = np.zeros((rows, length), np.int32), np.ones(rows, np.int32)  # a row to spare has one token
        for row, ids in enumerate(inputs):
            tokens[row, : len(ids)], lengths[row] = ids, len(ids)
        arrays = (tokens, lengths) if ends is None else (tokens, lengths, ends)
        placed = place_rows(
            arrays, lambda x: TRAIN_RULES.sharding(self._mesh, ("batch",) + (None,) * (x.ndim - 1)), self._shares
        )
        program = self.program if ends is None else self._rewards_at
        return own_rows(program(params, *placed), self._shares)[: len(inputs)]


class RewardModel:
    """Scores rollouts, on the mesh that the policy is trained on.

    All processes call it together, each with the rollouts of its share.

    Attributes:
        reading: the format of its inputs.
        cut: inputs so far that were longer than `reading.max_tokens` and lost their middle, or their last steps.
    """

    def __init__(
        self,
        path: pathlib.Path | str,
        mesh: Mesh,
        prompts: Literal["all", "open"] = "all",
        over_steps: Combination = "minimum",
        shares: Shares = ALL_ROWS,
    ):
        """Reads the model in its own compute type; raises as `load` does, and where `reading.chat` has no template.

        Args:
            prompts: see `reads`.
            over_steps: how the chances of steps become a score, where it is a process reward model.
            shares: of the rollouts; one: all processes pass the same ones.
        """
        self._prompts, self._over_steps = prompts, over_steps
        params, cfg, self._tokenizer, self.reading = load(path, mesh, dtype=None)
        text_of(self.reading, self._tokenizer, "?", "")  # No chat template is the model's fault, not a rollout's.
        self._params = {name: weight for name, weight in params.items() if name not in UNUSED}
        self._name, self._scorer, self.cut = pathlib.Path(path), Scorer(cfg, mesh, shares), 0

    def reads(self, prompt: Prompt) -> bool:
        """Whether it scores responses to this prompt: all, or those to open requests only."""
        return self._prompts == "all" or prompt.grader == "open"

    def score(self, rollouts: Sequence[Rollout]) -> list[float | None]:
        """A score for each rollout, in their order; None where the model gave no finite number."""
        if self.reading.steps:
            scores = [combine_steps(chances, self._over_steps) for chances in self.step_chances(rollouts)]
            return [score if math.isfinite(score) else None for score in scores]
        inputs = [
            ids_of(self.reading, self._tokenizer, rollout.prompt.question, rollout.whole, rollout.prompt.marker)
            for rollout in rollouts
        ]
        self._count_cut(sum(cut for _, cut in inputs), len(inputs), "middle")
        scores = self._scorer.score(self._params, [ids for ids, _ in inputs])
        return [score if math.isfinite(score) else None for score in scores.tolist()]

    def step_chances(self, rollouts: Sequence[Rollout]) -> list[list[float]]:
        """For each rollout the chance, 0 to 1, that each of its steps is right.

        Steps past `reading.max_tokens` have the chance 0: else errors could be hidden behind padding.

        Raises:
            ValueError: the model was not trained on steps.
        """
        if not self.reading.steps:
            raise ValueError(f"{self._name} scores whole responses: a process reward model's reading has steps")
        inputs = []
        for rollout in rollouts:
            before, visible = text_of(
                self.reading, self._tokenizer, rollout.prompt.question, rollout.whole, rollout.prompt.marker
            )
            steps = split_steps(visible, self.reading.steps)
            inputs.append(step_ids_of(self._tokenizer, before, steps, self.reading.max_tokens))
        self._count_cut(sum(bool(each.unread) for each in inputs), len(inputs), "last steps")
        ids, ends = [each.ids for each in inputs], [each.ends for each in inputs]
        scores = self._scorer.score_at(self._params, ids, ends)
        chances = [1 / (1 + np.exp(-np.float64(each))) for each in scores]
        return [[*each.tolist(), *[0.0] * one.unread] for each, one in zip(chances, inputs, strict=True)]

    def _count_cut(self, cut: int, total: int, lost: str) -> None:
        self.cut += cut
        if cut:
            say(
                f"{self._name}: {cut} of {total} inputs are longer than max_tokens={self.reading.max_tokens} "
                f"and lost their {lost}"
            )


def _power_of_two(count: int) -> int:
    """The least power of two that is at least `count`."""
    return 1 << (count - 1).bit_length()
