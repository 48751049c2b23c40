"""Protocol between the processes of a functional test: values encoded as JSON, and frames on two pipes.

None, booleans, strings, floats, lists and small integers are encoded as themselves. Any other value is an object of one
key, its kind: {"tuple": [...]}. A decoded value is of exactly the type that the kind names, never of a subclass: no
method of the other process comes with it. Objects that are no data stay where they are, and a handle is sent.
"""

import collections
import itertools
import json
import math
import os
import select
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any

MAX_NODES = 100_000  # of a list or a tree; and items of an iterator, which may have no end
_JSON_INTEGERS = 2**63
_LENGTH = struct.Struct(">I")


class OversizedError(Exception):
    """A frame is longer than allowed."""


class Channel:
    """Frames of JSON over two pipes, one for each direction.

    Args:
        reading: descriptor of the pipe from which frames are received.
        writing: descriptor of the pipe to which they are sent.
        max_bytes: the longest frame that is received.
    """

    def __init__(self, reading: int, writing: int, max_bytes: int) -> None:
        self._reading, self._writing, self._max_bytes = reading, writing, max_bytes
        for descriptor in (reading, writing):
            os.set_blocking(descriptor, False)

    def send(self, message: Any, timeout_s: float = math.inf) -> None:
        """Sends one frame.

        Raises:
            OSError: the other end is closed; TimeoutError, a subclass: it does not read.
        """
        deadline = time.monotonic() + timeout_s
        body = json.dumps(message).encode()
        unsent = memoryview(_LENGTH.pack(len(body)) + body)
        while unsent:
            self._wait(self._writing, select.POLLOUT, deadline)
            unsent = unsent[os.write(self._writing, unsent) :]

    def receive(self, timeout_s: float = math.inf) -> Any:
        """The next frame.

        Raises:
            EOFError: the other end is closed, or the frame is no JSON.
            TimeoutError: the frame was not complete in time.
            OversizedError: the frame is too long.
        """
        deadline = time.monotonic() + timeout_s
        (length,) = _LENGTH.unpack(self._read_exactly(_LENGTH.size, deadline))
        if length > self._max_bytes:
            raise OversizedError(f"a frame of {length} bytes")
        try:
            return json.loads(self._read_exactly(length, deadline))
        except (ValueError, RecursionError) as error:
            raise EOFError(f"no JSON: {error}") from None

    def _read_exactly(self, length: int, deadline: float) -> bytes:
        pieces = bytearray()
        while len(pieces) < length:
            self._wait(self._reading, select.POLLIN, deadline)
            piece = os.read(self._reading, min(length - len(pieces), 2**16))
            if not piece:
                raise EOFError("the other end is gone")
            pieces += piece
        return bytes(pieces)

    @staticmethod
    def _wait(descriptor: int, event: int, deadline: float) -> None:
        remaining_s = deadline - time.monotonic()
        poll = select.poll()
        poll.register(descriptor, event)
        if remaining_s < 0 or not poll.poll(None if remaining_s == math.inf else remaining_s * 1000):
            raise TimeoutError("the other end is silent")


def encode(value: Any, make_reference: Callable[[Any], Any], nodes: bool) -> Any:
    """The JSON value for a value.

    Args:
        make_reference: the reference, a JSON value, for an object that is no data; may raise instead.
        nodes: whether ListNode and TreeNode are LeetCode's, so that linked lists and trees of them are data.

    Raises:
        ValueError, RecursionError: the value has too many nodes, a cycle, or too deep nesting.
    """
    if value is None or value is True or value is False:
        return value
    for base in type(value).__mro__:
        if base in _ENCODERS:
            return _ENCODERS[base](value, lambda part: encode(part, make_reference, nodes))
    if nodes and type(value).__name__ in ("ListNode", "TreeNode"):
        nodes_of_value = _list_values(value) if type(value).__name__ == "ListNode" else _tree_values(value)
        return {type(value).__name__: [[encode(val, make_reference, nodes), *links] for val, *links in nodes_of_value]}
    # Numbers of two modules that are slow to import: where such a number exists, its module is imported.
    if (type(value).__module__, type(value).__name__) == ("fractions", "Fraction"):
        return {"Fraction": [encode(part, make_reference, nodes) for part in value.as_integer_ratio()]}
    if (type(value).__module__, type(value).__name__) == ("decimal", "Decimal"):
        return {"Decimal": str(value)}
    if hasattr(type(value), "__next__") and type(value).__module__ in ("builtins", "itertools"):
        return {"iterator": [encode(item, make_reference, nodes) for item in itertools.islice(value, MAX_NODES)]}
    return {"handle": make_reference(value)}


def decode(data: Any, resolve: Callable[[Any], Any], namespace: Mapping[str, Any]) -> Any:
    """The value that `encode` encoded as `data`.

    Args:
        resolve: the object of a reference.
        namespace: where the classes ListNode and TreeNode are looked up.

    Raises:
        Exception: `data` is no output of `encode`.
    """
    if isinstance(data, list):
        return [decode(item, resolve, namespace) for item in data]
    if not isinstance(data, dict):
        return data
    ((kind, body),) = data.items()
    if kind == "handle":
        return resolve(body)
    if kind == "ListNode":
        return _build_list([decode(val, resolve, namespace) for (val,) in body], namespace[kind])
    if kind == "TreeNode":
        nodes = [(decode(val, resolve, namespace), left, right) for val, left, right in body]
        return _build_tree(nodes, namespace[kind])
    return _DECODERS[kind](decode(body, resolve, namespace))


def _items(kind: str) -> Callable[[Any, Callable[[Any], Any]], Any]:
    return lambda value, encode: {kind: [encode(item) for item in value]}


def _pairs(kind: str) -> Callable[[Any, Callable[[Any], Any]], Any]:
    return lambda value, encode: {kind: [[encode(key), encode(item)] for key, item in dict.items(value)]}


# A subclass is encoded as the nearest of its bases. Counter and OrderedDict compare differently from dict, so they have
# kinds of their own, while a defaultdict compares as a dict.
_ENCODERS: dict[type, Callable[[Any, Callable[[Any], Any]], Any]] = {
    str: lambda value, encode: str.__str__(value),
    int: lambda value, encode: int(value) if -_JSON_INTEGERS < value < _JSON_INTEGERS else {"int": hex(value)},
    float: lambda value, encode: float(value),
    list: lambda value, encode: [encode(item) for item in value],
    tuple: _items("tuple"),
    set: _items("set"),
    frozenset: _items("frozenset"),
    collections.deque: _items("deque"),
    dict: _pairs("dict"),
    collections.Counter: _pairs("Counter"),
    collections.OrderedDict: _pairs("OrderedDict"),
    type({}.keys()): _items("keys"),
    type({}.values()): _items("values"),
    type({}.items()): _items("items"),
    bytes: lambda value, encode: {"bytes": value.hex()},
    bytearray: lambda value, encode: {"bytearray": value.hex()},
    complex: lambda value, encode: {"complex": [value.real, value.imag]},
    range: lambda value, encode: {"range": [encode(value.start), encode(value.stop), encode(value.step)]},
}
_DECODERS: dict[str, Callable[[Any], Any]] = {
    "int": lambda body: int(body, 16),
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": collections.deque,
    "dict": lambda body: {key: item for key, item in body},
    "Counter": lambda body: collections.Counter({key: item for key, item in body}),
    "OrderedDict": lambda body: collections.OrderedDict([(key, item) for key, item in body]),
    "keys": lambda body: dict.fromkeys(body).keys(),
    "values": lambda body: dict(enumerate(body)).values(),
    "items": lambda body: {key: item for key, item in body}.items(),
    "iterator": iter,
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "complex": lambda body: complex(*body),
    "range": lambda body: range(*body),
    "Fraction": lambda body: _fraction(*body),
    "Decimal": lambda body: _decimal(body),
}


def _fraction(numerator: int, denominator: int) -> Any:
    import fractions

    return fractions.Fraction(numerator, denominator)


def _decimal(digits: str) -> Any:
    import decimal

    return decimal.Decimal(digits)


def _list_values(node: Any) -> list[tuple[Any]]:
    values: list[tuple[Any]] = []
    while node is not None:
        values.append((node.val,))
        _check_size(values)
        node = node.next
    return values


def _tree_values(root: Any) -> list[tuple[Any, int | None, int | None]]:
    """Each node's value and the indices of its children, the root first; a node that is reached twice occurs twice."""
    nodes, places = [root], []
    for node in nodes:  # grows in the loop
        links: list[int | None] = []
        for child in (node.left, node.right):
            links.append(None if child is None else len(nodes))
            if child is not None:
                nodes.append(child)
                _check_size(nodes)
        places.append((node.val, *links))
    return places


def _check_size(nodes: list[Any]) -> None:
    if len(nodes) > MAX_NODES:
        raise ValueError(f"more than {MAX_NODES} nodes, or a cycle")


def _build_list(values: list[Any], node: type) -> Any:
    head = None
    for value in reversed(values):
        link = node(value)
        link.next, head = head, link
    return head


def _build_tree(places: list[tuple[Any, int | None, int | None]], node: type) -> Any:
    nodes = [node(value) for value, _, _ in places]
    for place, (_, *links) in enumerate(places):
        # A child comes after its parent, so the result has no cycle, though nodes may be shared.
        if not all(link is None or place < link for link in links):
            raise ValueError("no tree")
        nodes[place].left, nodes[place].right = (None if link is None else nodes[link] for link in links)
    return nodes[0]
