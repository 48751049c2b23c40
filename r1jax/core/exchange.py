"""Exchanges between devices of mesh axes: of rows, to each device another number; of a sequence's pieces."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from r1jax.core.sharding import platform


class Moves(NamedTuple):
    """Which rows go where, `[source, destination]` int32 each; the same on every device of the axis.

    Attributes:
        size: how many rows.
        start: where they begin among the source's rows.
        target: where they begin among the rows that the destination gets.
    """

    size: jax.Array
    start: jax.Array
    target: jax.Array

    def back(self) -> "Moves":
        """The moves that return them."""
        return Moves(self.size.T, self.target.T, self.start.T)


def moves_of_round(size: jax.Array, turn: jax.Array, capacity: int) -> Moves:
    """The moves of one round, in which each destination gets up to `capacity` rows.

    Args:
        size: `[source, destination]`, rows in all. A source's rows lie in the order of their destinations; a
            destination gets those of the first source first.
        turn: the round's number, from 0.
    """
    first, start = (jnp.cumsum(size, axis) - size for axis in (0, 1))
    low, high = (jnp.clip(x, turn * capacity, (turn + 1) * capacity) for x in (first, first + size))
    return Moves(high - low, start + low - first, low - turn * capacity)


def exchange(rows: jax.Array, into: jax.Array, moves: Moves, axis: tuple[str, ...]) -> jax.Array:
    """`into`, with the rows that this device gets written to it; inside a shard_map.

    Only the rows that move travel. XLA has no such collective for a CPU: there every device gets all rows of all.
    Autodiff does not go through it.

    Args:
        rows: `[R, ...]`, this device's.
        into: `[C, ...]` of the same type.
        axis: the mesh axes, one or several.
    """
    me, (size, start, target) = jax.lax.axis_index(axis), moves
    if platform() != "cpu":
        return jax.lax.ragged_all_to_all(rows, into, start[me], size[me], target[me], size[:, me], axis_name=axis)
    everywhere, place = jax.lax.all_gather(rows, axis), jnp.arange(len(into))
    begin, end = target[:, me, None], (target + size)[:, me, None]
    is_from = (begin <= place) & (place < end)
    source = jnp.argmax(is_from, axis=0)
    received = everywhere[source, start[source, me] + place - target[source, me]]
    return jnp.where(is_from.any(axis=0).reshape(-1, *(1,) * (rows.ndim - 1)), received, into)


def _owner(piece: int, ways: int) -> int:
    """The device that attends with a piece: piece d and the d-th from the end go to device d."""
    return min(piece, 2 * ways - 1 - piece)


def to_balanced(x: jax.Array, axis: tuple[str, ...]) -> tuple[jax.Array, jax.Array]:
    """Two pieces of a sequence whose causal attention is the same work on every device; inside a shard_map.

    Over n devices the sequence has 2 n pieces. Before, device d has pieces 2 d and 2 d + 1; afterwards d and
    2 n - 1 - d: the last device would otherwise see twice as many keys as there are on average.

    Args:
        x: `[B, T / n, ...]`, this device's part.
        axis: the mesh axes that cut the sequence.

    Returns:
        the earlier piece and the later one, `[B, T / (2 n), ...]` each.
    """
    ways = jax.lax.axis_size(axis)
    even, odd = (
        jax.lax.ppermute(piece, axis, [(d, _owner(2 * d + later, ways)) for d in range(ways)])
        for later, piece in enumerate(jnp.split(x, 2, axis=1))
    )
    is_even = jax.lax.axis_index(axis) % 2 == 0
    return jnp.where(is_even, even, odd), jnp.where(is_even, odd, even)


def from_balanced(early: jax.Array, late: jax.Array, axis: tuple[str, ...]) -> jax.Array:
    """The inverse of `to_balanced`."""
    ways, is_even = jax.lax.axis_size(axis), jax.lax.axis_index(axis) % 2 == 0
    pieces = jnp.where(is_even, early, late), jnp.where(is_even, late, early)
    return jnp.concatenate(
        [
            jax.lax.ppermute(piece, axis, [(_owner(2 * d + later, ways), d) for d in range(ways)])
            for later, piece in enumerate(pieces)
        ],
        axis=1,
    )
