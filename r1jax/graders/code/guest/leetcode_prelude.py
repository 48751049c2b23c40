"""Imports and node classes that LeetCode's programs and tests use without defining them."""
# ruff: noqa: F401, F403

import bisect
import builtins
import collections
import copy
import datetime
import functools
import heapq
import itertools
import math
import operator
import random
import re
import string
import sys
from bisect import *
from collections import *
from functools import *
from heapq import *
from itertools import *
from math import *
from math import inf
from operator import *
from string import *
from typing import *

pow = builtins.pow  # not that of math or operator, which takes no modulus


class ListNode:
    def __init__(self, val=0, next=None):
        self.val, self.next = val, next


class TreeNode:
    def __init__(self, val=0, left=None, right=None):
        self.val, self.left, self.right = val, left, right


def list_node(values):
    """The linked list of `values`."""
    head = None
    for value in reversed(values):
        head = ListNode(value, head)
    return head


def tree_node(values):
    """The tree of `values`, level by level; None for a missing child."""
    if not values or values[0] is None:
        return None
    root = TreeNode(values[0])
    level, rest = collections.deque([root]), iter(values[1:])
    while level:
        node = level.popleft()
        for side in ("left", "right"):
            value = next(rest, None)
            if value is not None:
                setattr(node, side, TreeNode(value))
                level.append(getattr(node, side))
    return root


def is_same_list(first, second):
    """Whether two linked lists hold the same values."""
    while first is not None and second is not None:
        if first.val != second.val:
            return False
        first, second = first.next, second.next
    return first is None and second is None


def is_same_tree(first, second):
    """Whether two trees have the same shape and values."""
    pairs = [(first, second)]
    while pairs:
        first, second = pairs.pop()
        if first is None or second is None:
            if first is not second:
                return False
            continue
        if first.val != second.val:
            return False
        pairs += [(first.left, second.left), (first.right, second.right)]
    return True
