"""The stage that searches questions: figures and labels by hand, killed and resumed, and what it refuses."""

import json
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import merged, rows

from r1jax import config
from r1jax.config import ConfigError
from r1jax.inference.config import Reading
from r1jax.inference.reward_scoring import save
from r1jax.stages.process_reward import searching
from r1jax.stages.process_reward.config import SearchQuestionsConfig, check_continued

pytestmark = [
    pytest.mark.usefixtures("shared_engines"),
    # What Orbax leaves behind of a read that it broke off.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIG = {
    "stage": "search",
    "model": str(ROOT / "r1jax" / "shipped_models" / "mini-r1-zero"),
    "value": "",
    "data": {"tasks": ({"name": "chain_sum", "options": {"max_terms": 3, "max_digits": 1}},), "held_out_share": 0.1},
    "search": {"separators": (", ", "，", ". "), "tokens": 120, "branching": 2, "max_steps": 16, "step_tokens": 40},
    "num_prompts": 3,
    "block": 2,
    "sampling": {"max_new_tokens": 80, "slots": 16, "window": 4, "bucket": 256, "truncation": {"temperature": 1.0}},
    "graders": {"workers": 1, "timeout_s": 60.0},
}


def answer(text: str, value: float, score: float | None, chosen: bool = False, read: str = "") -> dict:
    return {"text": text, "value": value, "score": score, "chosen": chosen, "answer": read, "finish": "stop"}


ROW = {
    "id": "q",
    "prompt": "p",
    "answer": "4",
    **dict.fromkeys(("tokens", "nodes", "depth", "branching", "expansions"), 2),
    "answers": [
        answer("a, b, 4", 0.5, 1.0, read="4"),
        answer("a, c, 5", 0.8, 0.0, chosen=True, read="5"),
        answer("a, b 4", 0.4, 1.0, read="4"),
        answer("d, 5", 0.0, 0.0, read="5"),
    ],
}


def test_figures_by_hand():
    row = searching.figures([ROW, ROW | {"answers": []}])
    assert (row["n"], row["chosen"], row["vote"], row["any"], row["answers"]) == (2, 0.0, 0.5, 0.5, 2.0)


def test_labels_are_the_shares_of_right_answers_below_each_step():
    cfg = config.parse(SearchQuestionsConfig, merged(CONFIG, value="v", search__separators=(", ",)))
    labels = {
        "".join(row["steps"]): (row["steps"], row["shares"], row["labels"]) for row in searching.labels_of(ROW, cfg)
    }
    assert labels["a, b, 4"] == (["a,", " b,", " 4"], [pytest.approx(2 / 3), 1.0, 1.0], [1, 1, 1])
    assert labels["a, c, 5"] == (["a,", " c,", " 5"], [pytest.approx(2 / 3), 0.0, 0.0], [1, 0, 0])
    assert labels["d, 5"][1] == [0.0, 0.0] and len(labels) == 4
    assert [row["response"] for row in searching.samples_of(ROW)] == ["a, b, 4", "a, b 4"]


@pytest.fixture(scope="module")
def value(tmp_path_factory, tiny, tiny_params, tokenizer) -> str:
    """An untrained process reward model."""
    folder = tmp_path_factory.mktemp("value") / "model"
    head = {"head": jnp.asarray(np.random.default_rng(0).normal(size=tiny.embed_dim) / 4, jnp.float32)}
    reading = Reading("response", "dialogue", max_tokens=256, steps=(", ", "，", ". "))
    save(folder, {**tiny_params, **head}, tiny, tokenizer, reading)
    return str(folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, value, mesh1) -> pathlib.Path:
    workdir = tmp_path_factory.mktemp("search") / "run"
    searching.run(config.parse(SearchQuestionsConfig, merged(CONFIG, value=value)), workdir, mesh1)
    return workdir


def test_a_search_is_graded_and_stays_within_its_budget(finished):
    found = rows(finished / "searches.jsonl")
    assert len(found) == len({row["id"] for row in found}) == 3
    for row in found:
        assert 120 <= row["tokens"] < 120 + 2 * 40 and row["nodes"] >= len(row["answers"])
        assert sum(each["chosen"] for each in row["answers"]) == bool(row["answers"])
        assert all(each["verdict"] for each in row["answers"])
    result = json.loads((finished / "result.json").read_text())
    assert result["n"] == 3 and result["any"] >= result["chosen"]
    right = [each for row in found for each in row["answers"] if each["score"] == 1.0 and each["finish"] == "stop"]
    assert len(rows(finished / "samples.jsonl")) == len(right) if right else True


def test_killed_and_started_again_it_ends_the_same(finished, value, tmp_path, mesh1):
    for name in ("searches.jsonl", "setup.json"):
        content = (finished / name).read_bytes()
        kept = content if name == "setup.json" else content[: content.index(b"\n") + 40]  # a line, and a torn one
        (tmp_path / name).write_bytes(kept)
    searching.run(config.parse(SearchQuestionsConfig, merged(CONFIG, value=value)), tmp_path, mesh1)
    first, second = ({row["id"]: row for row in rows(each / "labels.jsonl")} for each in (finished, tmp_path))
    assert first == second
    assert (tmp_path / "result.json").read_text() == (finished / "result.json").read_text()


def test_other_settings_are_refused_in_its_workdir(finished, value, mesh1):
    cfg = config.parse(SearchQuestionsConfig, merged(CONFIG, value=value, search__exploration=2.0))
    with pytest.raises(ConfigError, match=r"searches by other settings; .*\n  search\.exploration: 1\.0 -> 2\.0"):
        searching.run(cfg, finished, mesh1)


def test_a_served_chat_and_log_probs_of_a_server_are_refused():
    endpoint = {"base_url": "http://x/v1", "model": "m"}
    served = merged(CONFIG, value="v", model="", endpoint=endpoint)
    with pytest.raises(ValueError, match=r"config\.data\.chat=None with an endpoint"):
        check_continued(config.parse(SearchQuestionsConfig, served))
    with pytest.raises(ValueError, match="needs log-probs, which a served policy does not give"):
        config.parse(SearchQuestionsConfig, merged(served, search__prior="likelihood"))
