"""Messages between a graded program's process and the tests' own: values arrive unchanged, or are refused."""

import collections
import decimal
import fractions
import json
import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1jax.graders.code.guest import leetcode_prelude
from r1jax.graders.code.guest.pipe_protocol import Channel, OversizedError, decode, encode


def there_and_back(value: object) -> object:
    def refuse(thing: object) -> None:
        raise TypeError(f"{thing!r} is no data")

    return decode(json.loads(json.dumps(encode(value, refuse, nodes=True))), refuse, vars(leetcode_prelude))


def exactly(value: object) -> object:
    """A value with its types, which == overlooks: 1 is True and 1.0."""
    if isinstance(value, list | tuple | collections.deque):
        return type(value), [exactly(item) for item in value]
    if isinstance(value, dict):
        return type(value), [(exactly(key), exactly(item)) for key, item in value.items()]
    if isinstance(value, set | frozenset):
        return type(value), sorted(repr(exactly(item)) for item in value)
    return type(value), repr(value)


ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers()


HASHABLE = st.recursive(ATOMS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=4)


VALUES = st.recursive(
    HASHABLE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(HASHABLE, inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)


@given(VALUES)
@settings(max_examples=100, deadline=None)
def test_plain_data_arrives_unchanged(value: object) -> None:
    assert exactly(there_and_back(value)) == exactly(value)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(10**5000, id="huge"),  # more digits than Python would print
        range(0, 10**20, 3),
        bytearray(b"\x00\xff"),
        collections.deque([1, [2]]),
        collections.Counter("abca"),
        collections.OrderedDict([(2, 1), (1, 2)]),
        fractions.Fraction(1, 3),
        decimal.Decimal("0.10"),
        "\ud800",
        {1: 2}.keys(),
    ],
)
def test_other_builtin_types_arrive_unchanged(value: object) -> None:
    back = there_and_back(value)
    assert type(back) is type(value)
    assert back == value


def test_a_subclass_arrives_as_its_base() -> None:
    class Five(int):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__

    Point = collections.namedtuple("Point", "x y")
    assert exactly(there_and_back([Five(7), Point(1, 2), collections.defaultdict(list, {1: []})])) == exactly(
        [7, (1, 2), {1: []}]
    )


def test_an_iterator_arrives_as_an_iterator_and_not_as_the_list_that_it_would_equal() -> None:
    back = there_and_back(x * x for x in range(3))
    assert back != [0, 1, 4]
    assert list(back) == [0, 1, 4]


@given(st.lists(st.none() | st.integers(0, 9), max_size=20))
@settings(deadline=None)
def test_lists_and_trees_of_nodes_arrive_in_their_shape(values: list) -> None:
    assert leetcode_prelude.is_same_list(
        there_and_back(leetcode_prelude.list_node(values)), leetcode_prelude.list_node(values)
    )
    assert leetcode_prelude.is_same_tree(
        there_and_back(leetcode_prelude.tree_node(values)), leetcode_prelude.tree_node(values)
    )


def test_a_cyclic_list_of_nodes_is_refused() -> None:
    node = leetcode_prelude.ListNode(1)
    node.next = node
    with pytest.raises(ValueError, match="cycle"):
        there_and_back(node)


def test_a_tree_is_read_level_by_level() -> None:
    root = leetcode_prelude.tree_node([1, None, 2, 3, 4, None, 5])
    assert (root.left, root.right.val, root.right.left.val, root.right.right.val) == (None, 2, 3, 4)
    assert (root.right.left.left, root.right.left.right.val) == (None, 5)


KINDS = st.sampled_from(["int", "tuple", "dict", "set", "range", "TreeNode", "ListNode", "bytes", "handle", "nothing"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KINDS, inner, max_size=2),
)


@given(JSON)
@settings(deadline=None)
def test_malformed_messages_are_refused_or_decode_to_harmless_data(data: object) -> None:
    try:
        value = decode(data, lambda reference: None, vars(leetcode_prelude))
    except Exception:
        return
    assert type(value).__module__ in ("builtins", leetcode_prelude.__name__)


def test_a_channel_distinguishes_a_closed_pipe_a_delay_a_flood_and_no_json() -> None:
    def hearing(sent: bytes, close: bool = True) -> object:
        reading, writing = os.pipe()
        with os.fdopen(reading), os.fdopen(writing, "wb", 0) as other_side:
            other_side.write(sent)
            if close:
                other_side.close()
            return Channel(reading, reading, 100).receive(0.05)

    assert hearing(struct.pack(">I", 2) + b"[]") == []
    with pytest.raises(EOFError):
        hearing(b"\x00\x00")
    with pytest.raises(EOFError):
        hearing(struct.pack(">I", 3) + b"[}]")
    with pytest.raises(EOFError):
        hearing(struct.pack(">I", 100) + b"[" * 100)
    with pytest.raises(TimeoutError):
        hearing(struct.pack(">I", 9) + b"[", close=False)
    with pytest.raises(OversizedError):
        hearing(struct.pack(">I", 101))
