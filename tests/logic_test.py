"""reasoning-gym's tasks, graded by its own scorers, full scores only."""

import numpy as np
import pytest
import reasoning_gym

from r1jax.data.types import Prompt, Rollout
from r1jax.rewards import logic


def _rollout(task: str, text: str | None = None, **metadata: object) -> Rollout:
    """A rollout of the task's first entry; without a text it gives the entry's own answer."""
    entry = reasoning_gym.create_dataset(task, size=1, seed=0)[0]
    metadata = metadata or {"entry_metadata": entry["metadata"]}
    prompt = Prompt("p", entry["question"], entry["answer"], f"reasoning_gym:{task}", metadata=metadata)
    text = f"<think>a</think><answer>\n{entry['answer']}\n</answer>" if text is None else text
    return Rollout(prompt, 0, np.zeros(0, np.int32), np.zeros(0, np.float32), text, "stop")


@pytest.mark.parametrize("task", ["chain_sum", "countdown", "knights_knaves", "leg_counting", "gcd", "zebra_puzzles"])
def test_the_entrys_own_answer_scores_1(task: str) -> None:
    assert logic.accuracy(_rollout(task)) == 1.0


@pytest.mark.parametrize("form", ["*", "<think>a</think> *", "<answer>*</answer>", "<answer>*.0</answer>"])
def test_the_answer_counts_without_good_form(form: str) -> None:
    answer = _rollout("chain_sum").prompt.answer
    assert logic.accuracy(_rollout("chain_sum", form.replace("*", answer))) == 1.0


@pytest.mark.parametrize("form", ["It is *", "* *", "1 2 3 * 5 6", "<answer>*</answer><answer>7</answer>"])
def test_an_answer_that_merely_contains_the_right_one_scores_0(form: str) -> None:
    rollout = _rollout("chain_sum")
    text = form.replace("*", rollout.prompt.answer)
    entry = {"question": "", "answer": rollout.prompt.answer, "metadata": {}}
    assert 0 < reasoning_gym.get_score_answer_fn("chain_sum")(text, entry) < 1, "the library has become strict"
    assert logic.accuracy(_rollout("chain_sum", text)) == 0.0


def test_trap20_the_answer_inside_the_thought_is_not_graded() -> None:
    answer = _rollout("chain_sum").prompt.answer
    for text in ("", f"<think>{answer}</think>", f"<think>{answer}", f"<think>{answer}</think>999999"):
        assert logic.accuracy(_rollout("chain_sum", text)) == 0.0


@pytest.mark.parametrize("answer", ["((((", "1/0", "99**98**97", "import os", "\x00", "9" * 5000])
@pytest.mark.parametrize("task", ["chain_sum", "knights_knaves", "gcd", "zebra_puzzles"])
def test_nonsense_scores_0(task: str, answer: str) -> None:
    assert logic.accuracy(_rollout(task, answer)) == 0.0


def test_an_unknown_task_and_missing_metadata_are_errors() -> None:
    rollout = _rollout("chain_sum")
    with pytest.raises(KeyError, match="entry_metadata"):
        logic.accuracy(_rollout("chain_sum", other=1))
    object.__setattr__(rollout.prompt, "source", "reasoning_gym:no_such_task")
    with pytest.raises(ValueError, match="no_such_task"):
        logic.accuracy(rollout)
