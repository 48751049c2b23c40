"""Steps and values for a tree search: of an engine or a server, and of a process reward model."""

import bisect
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from r1jax.core.params import Params
from r1jax.data.step_inputs import continued, whole_text
from r1jax.data.types import Prompt, Rollout
from r1jax.inference.config import SearchConfig
from r1jax.inference.engine import Engine
from r1jax.inference.reward_scoring import RewardModel
from r1jax.inference.served_model import Endpoint, EndpointConfig
from r1jax.inference.session import Piece, Session
from r1jax.inference.tree_search import DrawnStep, DrawSteps, EvaluatePrefixes, Prefix, Value
from r1jax.models.config import Truncation
from r1jax.text.steps import first_step_end
from r1jax.text.tokenizer import Tokenizer


class EngineSteps:
    """Steps drawn from weights on this mesh; called as a `DrawSteps`.

    The ids of a response are those that were sampled: nothing is encoded again. A step's tokens are counted up to the
    one with which its separator is complete; the engine draws up to two windows more, which are dropped: a small
    `sampling.window` wastes less.
    """

    def __init__(
        self,
        engine: Engine,
        params: Params,
        tokenizer: Tokenizer,
        cfg: SearchConfig,
        max_new_tokens: int,
        seed: tuple[int, ...],
    ):
        """Reshards the weights for decoding, once.

        Args:
            max_new_tokens: of a whole response, the engine's.
            seed: words of the randomness.
        """
        self._engine, self._tokenizer, self._cfg = engine, tokenizer, cfg
        self._session: Session = engine.open(params)
        self._most, self._seed = max_new_tokens, seed

    def __call__(self, prefixes: Sequence[Prefix]) -> list[list[DrawnStep]]:
        under_way: dict[int, _Drawing] = {}
        handles: list[list[int]] = []
        for prefix in prefixes:
            prompt = dataclasses.replace(prefix.prompt, id=f"{prefix.prompt.id}/{prefix.number}")
            limit = len(prefix.ids) + self._cfg.step_tokens
            handles.append([])
            for sample in range(prefix.count):
                request = self._engine.request(prompt, sample, self._seed, limit, prefix.ids)
                handle = self._session.add(request)
                under_way[handle] = _Drawing(prefix, self._tokenizer, self._cfg.separators, self._most)
                handles[-1].append(handle)
        done: dict[int, DrawnStep] = {}
        while self._session.busy:
            for piece in self._session.advance():
                if step := under_way[piece.handle].add(piece):
                    done[piece.handle] = step
                    self._session.drop(piece.handle)
        return [[done[handle] for handle in some] for some in handles]


class _Drawing:
    """A step under way."""

    def __init__(self, prefix: Prefix, tokenizer: Tokenizer, separators: Sequence[str], most: int):
        self._prefix, self._tokenizer, self._separators, self._most = prefix, tokenizer, separators, most
        self._ids: list[int] = []
        self._logprobs: list[float] = []

    def add(self, piece: Piece) -> DrawnStep | None:
        """Adds tokens; the step, once a separator or the response's end is among them."""
        self._ids += piece.ids
        self._logprobs += piece.logprobs.tolist()
        ends = piece.finish == "stop"
        visible = len(self._ids) - ends
        if self._step_end(visible) is not None:
            seen = 1 + bisect.bisect_left(range(1, visible + 1), True, key=lambda n: self._step_end(n) is not None)
            length = len(self._prefix.text) + self._step_end(seen)
            retained = 1 + bisect.bisect_left(range(1, seen + 1), True, key=lambda n: len(self._text(n)) >= length)
            return self._step(retained, seen, None)
        if not piece.finish:
            return None
        whole = len(self._prefix.ids) + len(self._ids) >= self._most
        return self._step(visible, len(self._ids), "stop" if ends else "length" if whole else None)

    def _step(self, retained: int, tokens: int, finish) -> DrawnStep:
        ids = (*self._prefix.ids, *self._ids[:retained])
        return DrawnStep(self._text(retained), ids, tokens, float(np.mean(self._logprobs[: max(retained, 1)])), finish)

    def _text(self, count: int) -> str:
        """The whole response up to so many tokens of this step."""
        return self._tokenizer.decode([*self._prefix.ids, *self._ids[:count]])

    def _step_end(self, count: int) -> int | None:
        return first_step_end(self._text(count)[len(self._prefix.text) :], self._separators)


def served_steps(
    endpoint: EndpointConfig, truncation: Truncation, cfg: SearchConfig, seed: tuple[int, ...]
) -> DrawSteps:
    """Steps drawn from a server that continues texts (`/completions`), for one process.

    Servers end a text at its own end and at a stop text with the same word, so none is sent: what follows a step's
    separator is left out here, and its tokens, which were paid for, count. `cfg.step_tokens` limits them.

    Raises:
        ValueError: see `Endpoint`.
    """
    server = Endpoint(endpoint, cfg.step_tokens, truncation, chat=False)

    def draw(prefixes: Sequence[Prefix]) -> list[list[DrawnStep]]:
        by_id = {f"{each.prompt.id}/{each.number}": each for each in prefixes}
        prompts = [continued(each.prompt, each.text, None, id_) for id_, each in by_id.items()]
        steps: dict[str, list[DrawnStep]] = {id_: [] for id_ in by_id}
        for rollout in server.generate(prompts, max((each.count for each in prefixes), default=0), seed):
            prefix = by_id[rollout.prompt.id]
            end = first_step_end(rollout.text, cfg.separators)
            finish = "stop" if end is None and rollout.finish == "stop" else None
            tokens = len(rollout.ids) or max(len(rollout.text) // 4, 1)  # a server need not say how many
            steps[rollout.prompt.id].append(DrawnStep(prefix.text + rollout.text[:end], (), tokens, None, finish))
        return [steps[id_] for id_ in by_id]

    return draw


def process_values(model: RewardModel) -> EvaluatePrefixes:
    """Values by a process reward model: its score of the steps so far, 0 where it gives no finite number.

    With `over_steps="last"` of the model a value is the chance that the last step is right.
    """

    def evaluate(prefixes: Sequence[tuple[Prompt, str, bool]]) -> list[Value]:
        scores = model.score([Rollout.of_text(prompt, text) for prompt, text, _ in prefixes])
        return [Value(score or 0.0) for score in scores]

    return evaluate


def rollout_values(
    draw: Callable[[Sequence[Prompt]], Sequence[Sequence[Rollout]]],
    right: Callable[[Sequence[Rollout]], Sequence[bool]],
    tokenizer: Tokenizer | None,
) -> EvaluatePrefixes:
    """Values by completions: the share, of those that go on from a prefix, that are right; they need the answers.

    Args:
        draw: completions of each of the prompts, which hold the prefix; at least one.
        right: whether each of these rollouts, whose texts are whole responses to their questions, is right.
        tokenizer: the policy's; None: a server has it.
    """

    def evaluate(prefixes: Sequence[tuple[Prompt, str, bool]]) -> list[Value]:
        unfinished = [(prompt, text) for prompt, text, complete in prefixes if not complete]
        prompts = [continued(prompt, text, tokenizer, f"{prompt.id}/value/{text}") for prompt, text in unfinished]
        groups = iter(draw(prompts) if prompts else ())
        values = []
        for prompt, text, complete in prefixes:
            group = [] if complete else next(groups)
            whole = [
                Rollout.of_text(prompt, whole_text(tokenizer, prompt, text, each), finish=each.finish) for each in group
            ]
            grades = right(whole or [Rollout.of_text(prompt, text)])
            values.append(Value(sum(grades) / len(grades), sum(len(each.ids) for each in group)))
        return values

    return evaluate
