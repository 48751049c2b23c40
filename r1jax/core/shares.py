"""Shares of a batch's rows among the processes of a run: each holds its own rows, none holds all.

The rows of a global array lie on the devices of several processes. A process makes and reads only those on its own
devices: its prompts, rollouts and log-probs. What all need of the others' rows is gathered as small objects.
"""

import dataclasses
import itertools
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding

from r1jax.core import processes
from r1jax.core.sharding import TRAIN_RULES, AxisRules, batch_shards, replicated


@dataclasses.dataclass(frozen=True)
class Shares:
    """Equal, consecutive shares of the rows of every batch, each of the processes whose devices hold these rows.

    Where weights are cut over processes, several have the same share and do the same work; the first of them, its
    leader, grades and writes for it.

    Attributes:
        leaders: the leader of each share, in the order of the rows. One share: all processes hold all rows.
        index: of the share of this process.
        leads: whether this process is its leader.
    """

    leaders: tuple[int, ...] = (0,)
    index: int = 0
    leads: bool = True

    @classmethod
    def whole(cls) -> "Shares":
        """One share: every process holds all rows, and process 0 grades and writes."""
        return cls(leads=jax.process_index() == 0)

    @classmethod
    def of_mesh(cls, mesh: Mesh) -> "Shares":
        """The shares of the processes whose devices are on a mesh.

        One share, see `whole`, where the mesh does not give each process consecutive rows, and all equally many.
        """
        if jax.process_count() == 1:
            return cls.whole()
        batch_axes = [mesh.axis_names.index(axis) for axis in TRAIN_RULES.parts(("batch",))[0]]
        devices = np.moveaxis(mesh.devices, batch_axes, range(len(batch_axes))).reshape(batch_shards(mesh), -1)
        holders = [frozenset(device.process_index for device in row) for row in devices]
        runs = [(together, len(list(run))) for together, run in itertools.groupby(holders)]
        members = [index for together, _ in runs for index in together]
        if len(set(members)) < len(members) or len({length for _, length in runs}) > 1:
            return cls.whole()
        process, leaders = jax.process_index(), tuple(min(together) for together, _ in runs)
        share = next(share for share, (together, _) in enumerate(runs) if process in together)
        return cls(leaders, share, leaders[share] == process)

    @property
    def count(self) -> int:
        """The number of shares."""
        return len(self.leaders)

    def of(self, item: int, total: int) -> int:
        """The share that holds one of `total` rows, or of anything else that is dealt out in order."""
        return item * self.count // total

    def own(self, items: Sequence[Any]) -> Sequence[Any]:
        """Those of all items, whose number the shares divide, that this process holds."""
        size = len(items) // self.count
        return items[self.index * size : (self.index + 1) * size]


ALL_ROWS = Shares()  # of one share: every process passes all rows


def from_process_0(value: Any) -> Any:
    """Process 0's value, in every process; see `gather`."""
    return gather(value, Shares.whole())[0]


def gather(value: Any, shares: Shares) -> list[Any]:
    """The values of the shares' leaders, in the order of the shares, in every process.

    They are pickled: small objects, numbers of each rollout, not its tokens. It waits for all processes without a time
    limit, as `processes.barrier`.
    """
    if jax.process_count() == 1:
        return [value]
    processes.barrier()  # a leader may have worked on it alone, for longer than a collective waits
    data = np.frombuffer(pickle.dumps(value) if shares.leads else b"", np.uint8)
    sizes = np.atleast_1d(multihost_utils.process_allgather(np.int32(data.size)))
    padded = np.zeros(1 << int(sizes.max()).bit_length(), np.uint8)  # each new size is compiled
    padded[: data.size] = data
    rows = np.asarray(multihost_utils.process_allgather(padded))
    return [pickle.loads(rows[leader][: sizes[leader]].tobytes()) for leader in shares.leaders]


def rows_sharding(mesh: Mesh, rules: AxisRules, shares: Shares, *before: None) -> NamedSharding:
    """Of an array that `own_rows` reads: its rows cut over the devices, or whole on each where all hold all rows.

    Args:
        before: a None for each axis before the rows.
    """
    return replicated(mesh) if shares.count == 1 else rules.sharding(mesh, (*before, "batch"))


def place_rows(tree: Any, sharding_of: Callable[[np.ndarray], NamedSharding], shares: Shares) -> Any:
    """Host arrays `[n, ...]`, the rows of this process's share -> global arrays `[count * n, ...]`."""

    def put(x: np.ndarray) -> jax.Array:
        x = np.asarray(x)
        n, total = x.shape[0], x.shape[0] * shares.count

        def rows(index: tuple[slice, ...]) -> np.ndarray:
            start, stop, _ = index[0].indices(total)
            return x[(slice(start - shares.index * n, stop - shares.index * n), *index[1:])]

        return jax.make_array_from_callback((total, *x.shape[1:]), sharding_of(x), rows)

    return jax.tree.map(put, tree)


def own_rows(x: jax.Array, shares: Shares, axis: int = 0) -> np.ndarray:
    """This process's share of a global array's rows, which lie along `axis`, on the host."""
    if shares.count == 1:
        return np.asarray(x)
    n = x.shape[axis] // shares.count
    own = np.empty((*x.shape[:axis], n, *x.shape[axis + 1 :]), x.dtype)
    for shard in x.addressable_shards:
        start, stop, _ = shard.index[axis].indices(x.shape[axis])
        place = list(shard.index)
        place[axis] = slice(start - shares.index * n, stop - shares.index * n)
        own[tuple(place)] = shard.data
    return own
