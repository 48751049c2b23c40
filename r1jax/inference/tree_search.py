"""Tree search over the steps of a response: PUCT, expansion from a policy, values of prefixes.

As in AlphaGo Zero (Nature 550:354), after which DeepSeek-R1 (arXiv 2501.12948, version 1, section 4.2) made its
unsuccessful attempt. Differences: the children of a node are a few steps that were drawn from the policy, as there is
no list of all moves; all new children are evaluated at once, as values cost no sampled token, and each counts as a
visit; a complete answer is not visited again. The tree of a question is a function of the config, the seed and the
question, whatever else is searched together with it.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from r1jax.data.types import FinishReason, Prompt
from r1jax.inference.config import SearchConfig


class Prefix(NamedTuple):
    """The beginning of a response, which steps are drawn after.

    Attributes:
        prompt: the question.
        text: of the response so far.
        ids: its sampled token ids; () where a server has the tokenizer.
        number: of this expansion in the question's tree: the noise depends on it.
        count: steps to be drawn.
    """

    prompt: Prompt
    text: str
    ids: tuple[int, ...]
    number: int
    count: int


class DrawnStep(NamedTuple):
    """A step as it was drawn.

    Attributes:
        text: of the response so far, with this step.
        ids: its token ids; () where a server has the tokenizer.
        tokens: that were sampled for this step.
        mean_logprob: of the step's tokens; None: not known.
        finish: why the response ended with it; None: it goes on.
    """

    text: str
    ids: tuple[int, ...]
    tokens: int
    mean_logprob: float | None
    finish: FinishReason | None


# Prefixes -> the steps drawn after each.
DrawSteps = Callable[[Sequence[Prefix]], Sequence[Sequence[DrawnStep]]]


class Value(NamedTuple):
    """The value of a prefix, 0 to 1, and the tokens that were sampled to estimate it."""

    value: float
    tokens: int = 0


# (question, response so far, whether it is complete) -> the value of each
EvaluatePrefixes = Callable[[Sequence[tuple[Prompt, str, bool]]], Sequence[Value]]


@dataclasses.dataclass
class Node:
    """A prefix of responses in a tree.

    Attributes:
        text, ids, finish: see `DrawnStep`.
        depth: steps of it.
        value: of its own evaluation.
        visits, total: of it and what is below it, and the sum of their values.
        closed: nothing below it is to be searched: it is complete, or given up, or all its children are closed.
    """

    text: str = ""
    ids: tuple[int, ...] = ()
    finish: FinishReason | None = None
    mean_logprob: float | None = None
    depth: int = 0
    value: float = 0.0
    visits: int = 0
    total: float = 0.0
    closed: bool = False
    parent: "Node | None" = None
    children: list["Node"] = dataclasses.field(default_factory=list)

    @property
    def mean(self) -> float:
        """The mean of the values of it and what is below it."""
        return self.total / self.visits if self.visits else 0.0

    def path(self) -> Iterator["Node"]:
        """It and the nodes above it, up to the root."""
        node: Node | None = self
        while node:
            yield node
            node = node.parent

    def below(self) -> Iterator["Node"]:
        """It and all nodes below it, each after its parent."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.children))


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """The search of one question.

    Attributes:
        prompt: the question.
        best: the chosen complete answer; None: the budget ended before there was one.
        answers: all complete answers.
        root: the tree.
        tokens: sampled, those for values too.
        expansions: of nodes.
    """

    prompt: Prompt
    best: Node | None
    answers: tuple[Node, ...]
    root: Node
    tokens: int
    expansions: int

    def statistics(self) -> dict[str, float]:
        """nodes without the root, the depth of the deepest, and the mean number of children of a node that has any."""
        nodes = list(self.root.below())
        inner = [len(node.children) for node in nodes if node.children]
        return {
            "nodes": len(nodes) - 1,
            "depth": max(node.depth for node in nodes),
            "branching": sum(inner) / len(inner) if inner else 0.0,
            "answers": len(self.answers),
            "tokens": self.tokens,
            "expansions": self.expansions,
        }


def search(
    prompts: Sequence[Prompt], draw: DrawSteps, evaluate: EvaluatePrefixes, cfg: SearchConfig
) -> list[SearchResult]:
    """Searches these questions together: each round expands one node of each, so that the devices have work.

    Args:
        draw: see `step_drawing`, for a policy on this mesh and for a served one.
        evaluate: say `step_drawing.process_values` of a process reward model.
    """
    trees = [_Tree(prompt, cfg) for prompt in prompts]
    while active := [tree for tree in trees if not tree.is_done]:
        leaves = [tree.select() for tree in active]
        prefixes = [
            Prefix(tree.prompt, leaf.text, leaf.ids, tree.expansions, cfg.branching)
            for tree, leaf in zip(active, leaves, strict=True)
        ]
        drawn = draw(prefixes)
        new = [tree.expand(*each) for tree, *each in zip(active, leaves, drawn, strict=True)]
        flat = [(tree, node) for tree, nodes in zip(active, new, strict=True) for node in nodes]
        values = evaluate([(tree.prompt, node.text, bool(node.finish)) for tree, node in flat])
        for (tree, node), value in zip(flat, values, strict=True):
            tree.back_up(node, value)
        for leaf in leaves:
            close_upwards(leaf)
    return [tree.result() for tree in trees]


class _Tree:
    """The tree of one question, and what it has cost.

    Attributes:
        is_done: whether its budget is spent, or nothing can be drawn any more.
    """

    def __init__(self, prompt: Prompt, cfg: SearchConfig):
        self.prompt, self._cfg, self.root = prompt, cfg, Node()
        self.tokens, self.expansions, self.is_done = 0, 0, False

    def select(self) -> Node:
        """The node to expand: from the root down, where PUCT is largest among the children that are not closed."""
        node = self.root
        while children := [child for child in node.children if not child.closed]:
            priors = prior(node.children, self._cfg.prior)
            open_priors = [p for p, child in zip(priors, node.children, strict=True) if not child.closed]
            scores = puct(children, open_priors, node.visits, self._cfg.exploration)
            node = children[max(range(len(children)), key=scores.__getitem__)]
        return node

    def expand(self, leaf: Node, drawn: Sequence[DrawnStep]) -> list[Node]:
        """Adds the steps that are new below a node, and returns them; counts their tokens."""
        spent = sum(step.tokens for step in drawn)
        self.tokens, self.expansions = self.tokens + spent, self.expansions + 1
        self.is_done = not spent or self.tokens >= self._cfg.tokens
        known = {(child.text, child.finish) for child in leaf.children}
        new = []
        for step in drawn:
            if (step.text, step.finish) in known:
                continue
            known.add((step.text, step.finish))
            depth = leaf.depth + 1
            closed = bool(step.finish) or depth >= self._cfg.max_steps
            new.append(Node(step.text, step.ids, step.finish, step.mean_logprob, depth, closed=closed, parent=leaf))
        leaf.children.extend(new)
        return new

    def back_up(self, node: Node, value: Value) -> None:
        """Counts a value at a new node and at all above it."""
        self.tokens += value.tokens
        self.is_done = self.is_done or self.tokens >= self._cfg.tokens
        node.value = value.value
        for each in node.path():
            each.visits += 1
            each.total += value.value

    def result(self) -> SearchResult:
        answers = tuple(node for node in self.root.below() if node.finish)
        return SearchResult(
            self.prompt, choose(self.root, answers, self._cfg), answers, self.root, self.tokens, self.expansions
        )


def puct(children: Sequence[Node], priors: Sequence[float], visits: int, exploration: float) -> list[float]:
    """Mean value + exploration * prior * sqrt(the parent's visits) / (1 + visits), of each child."""
    return [
        child.mean + exploration * p * math.sqrt(visits) / (1 + child.visits)
        for child, p in zip(children, priors, strict=True)
    ]


def prior(children: Sequence[Node], kind: str) -> list[float]:
    """The priors of all children of a node, which sum to 1; see `SearchConfig.prior`.

    Raises:
        ValueError: "likelihood", and the policy gives no log-probs.
    """
    if kind == "uniform":
        return [1 / len(children)] * len(children)
    if any(child.mean_logprob is None for child in children):
        raise ValueError('prior="likelihood", and the policy gives no log-probs: set it to "uniform"')
    largest = max(child.mean_logprob for child in children)
    weights = [math.exp(child.mean_logprob - largest) for child in children]
    return [weight / sum(weights) for weight in weights]


def close_upwards(node: Node) -> None:
    """Closes a node whose children are all closed, and so on upwards; the root stays open, and is expanded again."""
    for each in itertools.takewhile(lambda each: each.parent, node.path()):
        if not each.children or not all(child.closed for child in each.children):
            return
        each.closed = True


def choose(root: Node, answers: Sequence[Node], cfg: SearchConfig) -> Node | None:
    """The complete answer that a search gives, see `SearchConfig.choose`; of equal ones the first."""
    whole = [node for node in answers if node.finish == "stop"] or list(answers)
    if not whole:
        return None
    if cfg.choose == "value":
        return max(whole, key=lambda node: node.value)
    leads = {id(node) for answer in whole for node in answer.path()}
    node = root
    while not node.finish:
        node = max((child for child in node.children if id(child) in leads), key=lambda c: (c.visits, c.mean))
    return node
