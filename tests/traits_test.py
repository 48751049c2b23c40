"""Words of reflection and scripts, counted in text."""

import pytest

from r1jax.text.traits import REFLECTION_WORDS, count_reflections, scripts


@pytest.mark.parametrize(
    "text, count",
    [
        ("", 0),
        ("Wait, WAIT. wait", 3),
        ("awaiting the waiter", 0),
        ("re-check", 1),
        ("let me\n check it again", 3),
        ("等等,这个不对。wait", 3),
        ("检查wait验算", 3),
        ("12 + 30 = 42", 0),
    ],
)
def test_reflections_are_whole_words_in_english_and_substrings_in_chinese(text: str, count: int) -> None:
    assert count_reflections(text) == count


def test_each_reflection_word_counts_once() -> None:
    assert [word for word in REFLECTION_WORDS if count_reflections(f"so {word}, then") != 1] == []


def test_scripts_counts_latin_words_and_han_characters() -> None:
    assert scripts("So x + 2ab = 5cm, naïve") == {"latin": 2}
    assert scripts("答案是 42") == {"han": 3}
    assert scripts("答案是answer") == {"han": 3, "latin": 1}
    assert scripts("1 + 2 = 3 × 4 ÷ 5") == {}


def test_tags_formulas_and_commands_are_no_words() -> None:
    assert scripts(r"<think></think><answer></answer> $area = \pi r$ \(sum\) \[max\] $$min$$ \frac12 \boxed{5}") == {}


@pytest.mark.parametrize("text", ["<think>设 x 为苹果</think><answer>$x = abc$</answer>", "only words", "", "3+4"])
def test_one_script_is_not_mixed(text: str) -> None:
    assert not len(scripts(text)) > 1


def test_words_of_both_scripts_are_mixed() -> None:
    assert len(scripts("<think>首先 compute 它</think>")) > 1
