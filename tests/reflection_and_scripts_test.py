"""Words of reflection and scripts, counted in text."""

import pytest
from steps import assert_linear

from r1jax.text.reflection_and_scripts import REFLECTION_WORDS, Word, count_reflections, scripts, words


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


def test_words_carry_their_script_and_whether_they_begin_a_sentence() -> None:
    assert words("So Δx is it. Then 我们说カナ и да\nmаke") == [
        Word("So", "Latin", True),
        Word("is", "Latin", False),
        Word("it", "Latin", False),
        Word("Then", "Latin", True),
        Word("我们说", "Han", False),
        Word("カナ", "Kana", False),
        Word("и", "Cyrillic", False),
        Word("да", "Cyrillic", False),
        Word("mаke", "other", True),
    ]


@pytest.mark.parametrize(
    "text, found",
    [
        (r"\(sum\) and \[max\] and $$all$$ and $some$", ["and", "and", "and"]),
        (r"\begin{align*} total \\ price \end{align*} is", ["is"]),
        ("`code` or ```\nlong code\n``` or [asy] draw(it); [/asy] here", ["or", "or", "here"]),
        ("costs $18 and $5, no more", ["costs", "and", "no", "more"]),
        (r"costs \$18 and \$5", ["costs", "and"]),
        ("a `tick that never closes", ["tick", "that", "never", "closes"]),
        (r"an \( open formula", ["an", "open", "formula"]),
        ("a $ b\nline $ of dollars", ["line", "of", "dollars"]),
        ("sin log kg 5cm x_1 total_sum ABC pH xy", ["xy"]),
        ("don't, l'eau, O’Neil", ["don't", "l'eau", "O'Neil"]),
        ("cafe\u0301 हिन्दी שלום", ["café", "हिन्दी", "שלום"]),
        ("$one two three four five six seven$", []),
        ("$one two three four five six seven eight$", ["one", "two", "three", "four", "five", "six", "seven", "eight"]),
        (r"\text{one two} $\text{three four}$ five", ["one", "two", "five"]),
    ],
)
def test_code_and_formulas_hide_words_but_not_prose(text: str, found: list[str]) -> None:
    assert [word.text for word in words(text)] == found


@pytest.mark.parametrize("loop", ["$", "$$", "`", "```", r"\(", r"\begin{a}", "a$", "[asy]", "<think>", "`a $b ", "'"])
def test_hostile_delimiters_take_linear_time(loop: str) -> None:
    assert_linear(words, loop)
