"""Carried-over groups: completions that a step leaves unfinished are finished under the weights of later steps.

A step that waits for its longest completion leaves most slots idle. Here it ends once P groups are complete, and free
slots begin the stream's next groups meanwhile. What is unfinished is kept; in the next step it is prefilled with the
new weights and drawn on, so that a completion may be of several policies. Each token keeps its log-prob and the step
whose policy drew it.

Nothing is dropped, for that would favour short answers: every group is trained on once. With a bound of N steps at most
(N + 1) P groups are under way, a step trains on the oldest of those that are complete, and it goes on as long as one of
the others could not be trained on within N steps of its first token. The run's last groups are waited for.

What is drawn when is decided by counts of decode windows, never by the clock.
"""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import get_args

import numpy as np

from r1jax.core.params import Params
from r1jax.data.types import FinishReason, Prompt, Rollout
from r1jax.inference.config import RolloutSamplingConfig
from r1jax.inference.engine import Engine
from r1jax.inference.session import Piece, join_pieces

_FINISH = (None, *get_args(FinishReason))  # by their numbers in a checkpoint


@dataclasses.dataclass
class Completion:
    """A completion so far.

    Attributes:
        ids, logprobs, versions: `[T]`, as of `Rollout`.
        finish: None: it is unfinished.
        rollout: of a finished one, once it has been asked for.
    """

    ids: np.ndarray
    logprobs: np.ndarray
    versions: np.ndarray
    finish: FinishReason | None = None
    rollout: Rollout | None = None

    def extend(self, piece: Piece, step: int) -> None:
        """Adds tokens that a step has drawn."""
        self.ids = np.append(self.ids, np.array(piece.ids, np.int32))
        self.logprobs = np.append(self.logprobs, piece.logprobs)
        self.versions = np.append(self.versions, np.full(len(piece.ids), step, np.int32))
        self.finish = piece.finish


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """A question's completions under way.

    Attributes:
        position: in the stream of questions.
        begun: the step that began it; no token is older.
        prompt: the question.
        completions: its samples.
    """

    position: int
    begun: int
    prompt: Prompt
    completions: list[Completion]

    @property
    def complete(self) -> bool:
        """Whether all of its completions are."""
        return all(completion.finish for completion in self.completions)


class CarriedGroups:
    """The groups of a run that are under way, and the draw of each step.

    Attributes:
        groups: under way, in the stream's order.
        metrics: of the latest draw.
    """

    def __init__(
        self,
        engine: Engine,
        cfg: RolloutSamplingConfig,
        question_at: Callable[[int], Prompt],
        groups_per_step: int,
        group_size: int,
        num_steps: int,
        seed: int,
    ):
        """Begins without any.

        Args:
            question_at: position in the stream -> question.
            groups_per_step: P, that a step trains on.
            num_steps: of the run, which begins P groups a step altogether.
            seed: of the run.
        """
        self._engine, self._cfg, self._question_at = engine, cfg, question_at
        self._groups_per_step, self._group_size = groups_per_step, group_size
        self._num_steps, self._seed = num_steps, seed
        self.groups: list[Group] = []
        self.metrics: dict[str, float] = {}

    def draw(self, params: Params, step: int, on_finish: Callable[[Rollout], None]) -> list[Rollout]:
        """Draws with these weights until the step has its groups.

        Args:
            step: its number; each one before it has been drawn.
            on_finish: called with each rollout as soon as it is complete, whichever step will train on it.

        Returns:
            P groups, in the stream's order, sample by sample.
        """
        P, session = self._groups_per_step, self._engine.open(params, shrinks=True)
        owners: dict[int, tuple[Group, int]] = {}
        unread: dict[int, list[Piece]] = collections.defaultdict(list)

        def add(group: Group) -> None:
            seed = self._seed, group.begun, 0
            for sample, completion in enumerate(group.completions):
                if not completion.finish:
                    drawn = completion.ids.tolist()
                    handle = session.add(self._engine.request(group.prompt, sample, seed, drawn=drawn))
                    owners[handle] = group, sample

        def keep(pieces: Sequence[Piece]) -> None:
            for piece in pieces:
                unread[piece.handle].append(piece)
                if piece.finish:
                    group, sample = owners[piece.handle]
                    group.completions[sample].extend(join_pieces(unread.pop(piece.handle)), step)
                    on_finish(self._rollout(group, sample))

        for group in self.groups:
            add(group)
        most = min(self._cfg.carry_over + 1, self._num_steps - step) * P
        waited = 0  # windows, with enough groups complete
        while not self._suffices(complete := self._complete(), step):
            while len(self.groups) < most and (
                len(self.groups) < P or (session.running < self._cfg.slots and not session.waiting)
            ):
                self.groups.append(self._begin(step))
                add(self.groups[-1])
            keep(session.advance())
            waited += len(complete) >= P
        keep(session.read_dispatched())  # which may complete more groups
        for handle, pieces in unread.items():
            group, sample = owners[handle]
            group.completions[sample].extend(join_pieces(pieces), step)
        chosen = self._complete()[:P]
        self.groups = [group for group in self.groups if group not in chosen]
        rollouts = [self._rollout(group, sample) for group in chosen for sample in range(self._group_size)]
        self.metrics = self._metrics(rollouts, step) | {
            "carry_over/windows": session.windows,
            "carry_over/windows_waited": waited,
        }
        return rollouts

    def arrays(self) -> dict[str, np.ndarray]:
        """The groups under way, for a checkpoint. Each array has a 0 more at its end: Orbax saves no empty one."""
        completions = [completion for group in self.groups for completion in group.completions]
        arrays = {
            "position": _int32(group.position for group in self.groups),
            "begun": _int32(group.begun for group in self.groups),
            "finish": _int32(_FINISH.index(each.finish) for each in completions),
            "length": _int32(len(each.ids) for each in completions),
            "ids": np.concatenate([_int32(()), *(each.ids for each in completions)]),
            "logprobs": np.concatenate([np.zeros(0, np.float32), *(each.logprobs for each in completions)]),
            "versions": np.concatenate([_int32(()), *(each.versions for each in completions)]),
        }
        return {name: np.pad(array, (0, 1)) for name, array in arrays.items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes over the groups of a checkpoint, see `arrays`."""
        arrays = {name: np.asarray(array)[:-1] for name, array in arrays.items()}
        cuts = np.cumsum(arrays["length"])[:-1]
        tokens = (np.split(arrays[name], cuts) for name in ("ids", "logprobs", "versions"))
        finish = [_FINISH[number] for number in arrays["finish"]]
        completions = (Completion(*each) for each in zip(*tokens, finish, strict=False))
        self.groups = [
            Group(position, begun, self._question_at(position), list(itertools.islice(completions, self._group_size)))
            for position, begun in zip(arrays["position"].tolist(), arrays["begun"].tolist(), strict=True)
        ]

    def _complete(self) -> list[Group]:
        return [group for group in self.groups if group.complete]

    def _suffices(self, complete: list[Group], step: int) -> bool:
        """Whether P groups are complete, and the rest can be trained on in time, the oldest first."""
        P = self._groups_per_step
        if len(complete) < P:
            return False
        chosen = set(complete[:P])
        rest = [group for group in self.groups if group not in chosen]
        return all(step + 1 + rank // P <= group.begun + self._cfg.carry_over for rank, group in enumerate(rest))

    def _begin(self, step: int) -> Group:
        """The stream's next group: those before it are under way, or were trained on."""
        position = step * self._groups_per_step + len(self.groups)
        completions = [Completion(_int32(()), np.zeros(0, np.float32), _int32(())) for _ in range(self._group_size)]
        return Group(position, step, self._question_at(position), completions)

    def _rollout(self, group: Group, sample: int) -> Rollout:
        of = group.completions[sample]
        if of.rollout is None:
            of.rollout = self._engine.rollout(group.prompt, sample, of.ids, of.logprobs, of.finish, of.versions)
        return of.rollout

    def _metrics(self, rollouts: Sequence[Rollout], step: int) -> dict[str, float]:
        """How far behind the tokens of a step's rollouts are, in steps, and what is under way after it."""
        behind = step - np.concatenate([rollout.versions for rollout in rollouts])
        return {
            "carry_over/share": float((behind > 0).mean()),
            "carry_over/steps/mean": float(behind.mean()),
            "carry_over/steps/max": float(behind.max()),
            "carry_over/groups_pending": len(self.groups),
            "carry_over/tokens_pending": sum(len(each.ids) for group in self.groups for each in group.completions),
        }


def _int32(values: Iterable[int]) -> np.ndarray:
    return np.array(list(values), np.int32)
