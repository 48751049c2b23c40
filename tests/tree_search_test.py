"""Tree search: PUCT by hand, the best answer among many, budgets kept, company of no effect, steps cut at their end."""

import hashlib
import itertools
import random

import numpy as np
import pytest
from chat_server import serve

from r1jax.data.types import Prompt, Rollout
from r1jax.inference.config import SamplingConfig, SearchConfig
from r1jax.inference.engine import Engine
from r1jax.inference.served_model import EndpointConfig
from r1jax.inference.step_drawing import EngineSteps, rollout_values, served_steps
from r1jax.inference.tree_search import DrawnStep, Node, Prefix, Value, close_upwards, prior, puct, search
from r1jax.models.config import Truncation
from r1jax.text.steps import first_step_end

CFG = SearchConfig(separators=(";",), tokens=90, branching=3, exploration=1.0)
GOOD = "a;c;b."


def prompt(name: str, ids=()) -> Prompt:
    return Prompt(name, f"question {name}", GOOD, "exact:x", f"User: {name} Assistant:", tuple(ids))


def draw(prefixes):
    """A policy whose responses have three steps, each a letter: a function of the question, the expansion, the draw."""

    def step(prefix: Prefix, sample: int) -> DrawnStep:
        rng = random.Random(f"{prefix.prompt.id}/{prefix.number}/{sample}")
        ends = prefix.text.count(";") == 2
        return DrawnStep(prefix.text + rng.choice("abc") + ";."[ends], (), 2, -1.0, "stop" if ends else None)

    return [[step(prefix, sample) for sample in range(prefix.count)] for prefix in prefixes]


def likeness(prefixes):
    """The share of letters that are those of the good answer."""
    return [Value(sum(a == b for a, b in zip(text, GOOD, strict=False)) / len(text)) for _, text, _ in prefixes]


def no_values(prefixes):
    return [Value(0.5) for _ in prefixes]


def test_puct_by_hand():
    children = [Node(visits=4, total=2.0), Node(visits=1, total=0.1)]
    # 2/4 + 2 * 0.5 * 3 / 5 = 1.1 and 0.1/1 + 2 * 0.5 * 3 / 2 = 1.6
    assert puct(children, [0.5, 0.5], 9, 2.0) == pytest.approx([1.1, 1.6])
    assert puct(children, [0.5, 0.5], 9, 0.0) == pytest.approx([0.5, 0.1])


def test_priors_sum_to_one_and_follow_the_likelihood():
    children = [Node(mean_logprob=np.log(0.6)), Node(mean_logprob=np.log(0.2))]
    assert prior(children, "uniform") == [0.5, 0.5]
    assert prior(children, "likelihood") == pytest.approx([0.75, 0.25])
    with pytest.raises(ValueError, match="the policy gives no log-probs"):
        prior([Node()], "likelihood")


def test_a_node_is_closed_once_all_below_it_are_and_the_root_never():
    root, inner, leaf, other = Node(), Node(), Node(closed=True), Node()
    root.children, inner.children = [inner], [leaf, other]
    inner.parent, leaf.parent, other.parent = root, inner, inner
    close_upwards(inner)
    assert not inner.closed
    other.closed = True
    close_upwards(inner)
    assert inner.closed and not root.closed


def test_with_a_good_value_it_gives_the_best_answer_and_without_one_it_seldom_does():
    prompts = [prompt(f"q{i}") for i in range(12)]
    cfg = SearchConfig(separators=(";",), tokens=240, branching=6)
    good = [result.best.text for result in search(prompts, draw, likeness, cfg)]
    blind = [result.best.text for result in search(prompts, draw, no_values, cfg)]
    assert good.count(GOOD) >= 9 and blind.count(GOOD) <= 3


def test_values_and_visits_of_a_tree_are_those_of_its_leaves():
    [result] = search([prompt("q")], draw, likeness, CFG)
    nodes = list(result.root.below())
    for node in nodes:
        below = [each for each in node.below() if each.parent]
        assert node.visits == len(below) and node.total == pytest.approx(sum(each.value for each in below))
        assert node.depth == node.text.count(";") + node.text.count(".")
    assert len({node.text for node in nodes}) == len(nodes)  # equal steps are one child
    row = result.statistics()
    assert row["nodes"] == len(nodes) - 1 and row["depth"] == 3 and 1 < row["branching"] <= 3
    assert row["answers"] == len(result.answers) == sum(node.text.endswith(".") for node in nodes)


@pytest.mark.parametrize("tokens", [1, 6, 7, 90, 300])
def test_a_budget_is_exceeded_by_one_expansion_at_most_and_spent_where_the_tree_is_small(tokens):
    cfg = SearchConfig(separators=(";",), tokens=tokens, branching=3)
    [result] = search([prompt("q")], draw, likeness, cfg)
    assert tokens <= result.tokens < tokens + 6 and result.expansions == result.tokens / 6
    assert (result.best is None) == (not result.answers)


def test_tokens_of_values_count():
    [result] = search([prompt("q")], draw, lambda each: [Value(0.5, 4)] * len(each), CFG)
    assert result.tokens == 6 * result.expansions + 4 * result.statistics()["nodes"] and result.tokens < 90 + 6 + 12


def shape(result) -> list[tuple]:
    return [(node.text, node.visits, node.value) for node in result.root.below()]


def test_company_changes_nothing():
    prompts = [prompt(f"q{i}") for i in range(5)]
    together = [shape(result) for result in search(prompts, draw, likeness, CFG)]
    assert together == [shape(search([each], draw, likeness, CFG)[0]) for each in prompts]
    assert len({tuple(each) for each in together}) == 5


def test_a_policy_that_gives_nothing_ends_its_search():
    results = search([prompt("q"), prompt("r")], lambda each: [[] for _ in each], likeness, CFG)
    assert [result.best for result in results] == [None, None] and results[0].tokens == 0


def test_long_responses_are_given_up():
    cfg = SearchConfig(separators=(";",), tokens=90, branching=3, max_steps=2)
    [result] = search([prompt("q")], draw, likeness, cfg)
    assert result.best is None and result.statistics()["depth"] == 2 and result.tokens >= 90


def test_by_visits_the_answer_lies_where_the_search_has_been_most():
    cfg = SearchConfig(separators=(";",), tokens=90, branching=3, choose="visits")
    [result] = search([prompt("q")], draw, likeness, cfg)
    path = list(result.best.path())[::-1]
    for node, following in itertools.pairwise(path):
        leads = [child for child in node.children if any(each.finish for each in child.below())]
        assert following.visits == max(child.visits for child in leads)


# The policy on this mesh.


@pytest.fixture(scope="module")
def steps_of(tiny, tiny_params, tokenizer, mesh1):
    """Steps of the smallest model, each up to a letter "e" or of twelve tokens."""
    sampling = SamplingConfig(48, Truncation(1.0), slots=16, window=4, prefill_rows=4, bucket=64)
    engine = Engine(tiny, sampling, tokenizer, mesh1)

    def make(params=tiny_params, seed=(0,)) -> EngineSteps:
        cfg = SearchConfig(separators=("e", "1"), step_tokens=12)
        return EngineSteps(engine, params, tokenizer, cfg, 48, seed)

    return make


def prefixes(tokenizer, number=0, names="pq", text="", ids=()) -> list[Prefix]:
    return [Prefix(prompt(name, tokenizer.encode(name)), text, ids, number, 6) for name in names]


def test_steps_of_an_engine_end_with_a_separator_and_are_what_was_sampled(steps_of, tokenizer):
    drawn = steps_of()(prefixes(tokenizer))
    assert [len(some) for some in drawn] == [6, 6]
    flat = [step for some in drawn for step in some]
    for step in flat:
        assert step.text == tokenizer.decode(list(step.ids)) and 1 <= step.tokens <= 12 and step.mean_logprob < 0
        ends = [first_step_end(tokenizer.decode(list(step.ids[:n])), ("e", "1")) for n in range(1, len(step.ids) + 1)]
        assert not any(ends[:-1])  # no separator before its last token
        assert ends[-1] or step.finish or len(step.ids) == 12
    assert any(len(step.ids) < 12 and not step.finish for step in flat)
    assert len({step.text for step in flat}) > 3


def test_they_depend_on_question_expansion_and_seed_and_not_on_company(steps_of, tokenizer):
    [first, second] = steps_of()(prefixes(tokenizer))
    assert steps_of()(prefixes(tokenizer, names="q")) == [second]
    assert steps_of()(prefixes(tokenizer, number=1))[0] != first
    assert steps_of(seed=(1,))(prefixes(tokenizer))[0] != first


def test_a_session_goes_on_from_a_steps_own_tokens(steps_of, tokenizer):
    draws = steps_of()
    step = next(each for each in draws(prefixes(tokenizer, names="p"))[0] if not each.finish)
    [following] = draws([Prefix(prompt("p", tokenizer.encode("p")), step.text, step.ids, 1, 4)])
    for each in following:
        assert each.ids[: len(step.ids)] == step.ids and (each.finish or len(each.ids) > len(step.ids))
        assert each.text.startswith(step.text.rstrip())


# A served policy.


def test_a_served_policy_is_sent_the_prefix_and_cut_after_its_step():
    def answer(body) -> str:
        word = hashlib.sha256(str(body["seed"]).encode()).hexdigest()[0]
        return f" {word}; and more" if body["prompt"].count(";") < 2 else f" {word}."

    with serve(answer) as server:
        endpoint = EndpointConfig(server.url, "m", api_key_env="", retries=0)
        cfg = SearchConfig(separators=(";",), tokens=200, branching=2, step_tokens=16)
        served = served_steps(endpoint, Truncation(1.0), cfg, (0,))
        [result] = search([prompt("q")], served, no_values, cfg)
    assert result.best.text.count(";") == 2 and result.best.text.endswith(".")
    assert result.tokens == 7 * len(server.asked)  # what the server says that each reply took
    bodies = [body["prompt"] for body in server.asked]
    assert all(text.startswith("User: q Assistant:") for text in bodies) and any(";" in text for text in bodies)
    assert {body["max_tokens"] for body in server.asked} == {16}


# Values by completions.


def test_the_value_of_a_prefix_is_the_share_of_its_completions_that_are_right():
    def complete(prompts):
        return [[Rollout.of_text(each, word, tokens=3) for word in ("yes", "no", "yes", "no")] for each in prompts]

    def right(rollouts):
        return [each.text.endswith("yes") for each in rollouts]

    evaluate = rollout_values(complete, right, None)
    question = prompt("q")
    values = evaluate([(question, "so ", False), (question, "it is yes", True), (question, "it is no", True)])
    assert values == [Value(0.5, 12), Value(1.0, 0), Value(0.0, 0)]
