"""Our forward, cache, gradients and greedy sampling against `transformers`, on random small models of every family."""

import functools
import pathlib

import numpy as np
import pytest
from reference import FAMILIES, draw, load, their_ahead

from r1jax.conversion import transformers_comparison as comparison
from r1jax.tools import parity

DENSE = ("llama", "qwen2", "qwen3")
# Two orders of the same float32 sums: what the issue of parity allows.
CLOSE = 1e-4
ALL = 8


@pytest.fixture(scope="module", autouse=True)
def references_are_installed():
    pytest.importorskip("torch", reason="parity needs PyTorch: pip install -e '.[parity]'")
    pytest.importorskip("transformers", reason="parity needs transformers: pip install -e '.[parity]'")


def draws(few: int):
    """Every family, `few` draws of each by default and the others when slow tests are asked for."""
    return pytest.mark.parametrize(
        "family, seed",
        [
            pytest.param(family, seed, marks=[pytest.mark.slow] if seed >= few else [])
            for family in FAMILIES
            for seed in range(ALL)
        ],
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """(family, seed) -> what was drawn, and the same as r1jax reads it."""

    @functools.cache
    def make(family: str, seed: int):
        drawn = draw(family, seed)
        return drawn, load(drawn, tmp_path_factory.mktemp(f"{family}{seed}"))

    return make


def tokens(seed: int, rows: int = 3, length: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 61, (rows, length)).astype(np.int32)


@draws(2)
def test_logits_equal_the_references_whole_cached_padded_and_packed(model, family, seed):
    """Twenty positions: past the sixteen of the drawn models' pretraining, where stretched rope differs most."""
    drawn, ours = model(family, seed)
    found = comparison.compare(ours, drawn.theirs, tokens(seed), np.array([20, 13, 4]))
    assert max(found.values()) < CLOSE, (drawn.options, found)


@draws(1)
def test_greedy_generation_is_the_same_token_for_token(model, family, seed):
    drawn, ours = model(family, seed)
    assert comparison.compare_greedy(ours, drawn.theirs, tokens(seed, length=8), 12) == 1.0, drawn.options


@draws(1)
def test_gradients_of_the_loss_equal_the_references(model, family, seed):
    if family not in DENSE:
        pytest.skip("transformers keeps the experts of a layer in one tensor, under no name of the checkpoint's")
    drawn, ours = model(family, seed)
    assert comparison.compare_gradients(ours, drawn.theirs, tokens(seed)) < CLOSE, drawn.options


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[pytest.mark.slow] if seed >= 2 else []) for seed in range(ALL)]
)
def test_multi_token_prediction_equals_the_references_at_every_depth(model, seed):
    drawn, ours = model("deepseek_v3", seed)
    ids = tokens(seed)
    for depth, (mine, theirs) in enumerate(zip(ours.ahead(ids), their_ahead(drawn, ids), strict=True), 1):
        assert comparison.relative(mine[:, :-depth], theirs[:, :-depth]) < CLOSE, drawn.options


def test_a_number_that_is_not_finite_is_no_agreement_wherever_it_stands():
    ones = np.ones((2, 3))
    for broken in (np.nan, np.inf):
        some = np.array([[1, 1, 1], [1, broken, 1]])
        # As it is taken: max keeps the first of two that do not compare.
        assert (
            not max(0.0, comparison.relative(some, ones)) < CLOSE
            and not max(0.0, comparison.relative(ones, some)) < CLOSE
        )
    assert comparison.relative(ones, ones) == 0


def test_the_command_compares_a_folder(tmp_path: pathlib.Path, capsys):
    drawn = draw("qwen2", 0)
    load(drawn, tmp_path)
    assert parity.main([str(tmp_path), "--length", "12"]) == 0
    assert "left-padded" in capsys.readouterr().out
