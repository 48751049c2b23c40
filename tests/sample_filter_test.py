"""Filters of samples: each on samples that it drops and that it keeps, in English and in Chinese."""

import dataclasses
import hashlib
import json
import random
import subprocess
import sys

import pytest
from steps import assert_linear

from r1jax import config
from r1jax.config import ConfigError
from r1jax.data.types import Prompt, Rollout
from r1jax.stages.cold_start.candidates import Candidate, choose
from r1jax.stages.cold_start.config import ReadableConfig
from r1jax.stages.rejection.config import FilterConfig
from r1jax.stages.sample_filter import (
    REJECTION_CHECKS,
    REJECTION_REASONS,
    Reason,
    code_block,
    rejection_reason,
    select,
)

EN, ZH = "How many apples are left if Tom eats three of his seven apples?", "小明有七个苹果，吃了三个，还剩几个？"
THOUGHT = {EN: "Tom has seven apples and eats three of them, so four apples are left.", ZH: "七个减去三个等于四个。"}
SUMMARY = {EN: "Four apples are left.", ZH: "还剩四个。"}


def rollout(
    text=None,
    question=EN,
    thought=None,
    score=1.0,
    verdict="right",
    finish="stop",
    tokens=50,
    sample=0,
    marker="||",
    **metadata,
) -> Rollout:
    thought = THOUGHT[question] if thought is None else thought
    text = f"||{thought}||{SUMMARY[question]}" if text is None else text
    prompt = Prompt(f"id of {question}", question, "4", "maths:t", metadata=metadata, marker=marker)
    drawn = Rollout.of_text(prompt, text, sample, finish, tokens)
    return dataclasses.replace(drawn, parts={"accuracy": score}, verdict=verdict)


def name(sample: Rollout, **changes) -> str | None:
    found = rejection_reason(sample, FilterConfig(**changes))
    assert found is None or (found.name in REJECTION_REASONS and found.detail)
    return found and found.name


@pytest.mark.parametrize("question", [EN, ZH])
def test_a_right_and_readable_sample_is_kept(question):
    assert name(rollout(question=question)) is None


@pytest.mark.parametrize("question", [EN, ZH])
def test_what_was_cut_off_is_dropped_first_of_all(question):
    assert name(rollout("loop", question, score=None, finish="length")) == "truncated"


@pytest.mark.parametrize("question", [EN, ZH])
def test_malformed(question):
    thought, summary = THOUGHT[question], SUMMARY[question]
    for text in (summary, f"||{thought}", f"||{thought}||{summary}||{summary}", f"so ||{thought}||{summary}"):
        assert name(rollout(text, question)) == "malformed"
    tags = f"<think>{thought}</think> <answer>{summary}</answer>"
    assert name(rollout(tags, question, marker="")) is None
    assert name(rollout(tags, question)) == "malformed"


def test_the_form_may_be_that_of_a_server_or_have_no_thought():
    served = rollout(f"<think>{THOUGHT[EN]}</think>{SUMMARY[EN]}", marker="")
    bare, unclosed = rollout(SUMMARY[EN], marker=""), rollout(f"<think>{THOUGHT[EN]}", marker="")
    assert [name(each) for each in (served, bare, unclosed)] == ["malformed"] * 3
    assert [name(each, form="parts") for each in (served, bare, unclosed)] == [None, "malformed", "malformed"]
    assert [name(each, form="any") for each in (served, bare, unclosed)] == [None, None, "malformed"]


def test_wrong_and_ungradable():
    assert name(rollout(score=0.0, verdict="wrong")) == "wrong"
    assert name(rollout(score=None, verdict="ungradable")) == "ungradable"
    tie = rollout(score=0.5, verdict="partly_right")
    assert rejection_reason(tie, FilterConfig()) == Reason("wrong", "verdict partly_right, score 0.5")
    assert name(tie, min_score=0.5) is None


@pytest.mark.parametrize(
    "question, thought, found",
    [
        (EN, "Tom has seven apples 然后他吃了三个苹果，所以还剩四个苹果 and that is the answer.", "mixed_languages"),
        (EN, THOUGHT[ZH] + "所以答案是四个苹果。", "mixed_languages"),
        (ZH, "小明有七个苹果，he eats three of them and so there are four of them left，还剩四个。", "mixed_languages"),
        (ZH, THOUGHT[EN], "mixed_languages"),
        (EN, "7 - 3 = 4", None),  # equations are of any language
        (ZH, "$x = 7 - 3 = 4$", None),
        (ZH, "设 Tom 有 $x$ 个苹果，那么 $x = 7 - 3$，所以还剩四个苹果。", None),
    ],
)
def test_a_thought_is_in_the_questions_language(question, thought, found):
    assert name(rollout(question=question, thought=thought)) == found
    assert name(rollout(question=question, thought=thought), language=0.0) is None


def test_a_row_may_name_the_language_to_think_in():
    assert name(rollout(question=EN, thought=THOUGHT[ZH] * 3, language="zh")) is None
    assert name(rollout(question=EN, language="zh")) == "mixed_languages"
    assert name(rollout(question=EN, language="python")) is None  # a language of another kind


@pytest.mark.parametrize("question, sentence, words", [(EN, "and so it goes on", 6), (ZH, "于是又这样下去了", 9)])
def test_a_thought_is_set_in_paragraphs(question, sentence, words):
    lines = [f"{sentence} {i}, " for i in range(60)]
    whole, set_out = (rollout(question=question, thought=between.join(lines)) for between in ("", "\n"))
    found = rejection_reason(whole, FilterConfig(repetition=0.0))
    assert found == Reason("long_paragraph", f"{60 * words} words without a line break")
    assert name(set_out, repetition=0.0) is None
    assert name(whole, paragraph_words=60 * words, repetition=0.0) is None
    assert name(whole, paragraph_words=0, repetition=0.0) is None


@pytest.mark.parametrize(
    "text",
    [
        "Let me count.\n```python\nprint(7 - 3)\n```\nSo four.",
        "我来算一下。\n```\n7 - 3\n```\n所以是四。",
        "It begins\n  ~~~\n7 - 3",  # and never ends
        "See <pre>7 - 3</pre>.",
        "Let me count:\ndef left(a, b):\n    c = a - b\n    return c\nSo four.",
        "for (int i = 0; i < 3; i++) {\n    x--;\n}\nSo four.",
        "import math\n\nx = math.sqrt(16)\n\nprint(x)",
        '#include <stdio.h>\nint main() {\n  printf("4");\n}',
        "我写一个程序：\nfor i in range(3):\n    x = x - 1\n    print(x)",
    ],
)
def test_code_blocks_in_thoughts(text):
    assert code_block(text)
    question = ZH if "我" in text else EN
    assert name(rollout(question=question, thought=text), language=0.0) == "code_in_thought"
    assert name(rollout(question=question, thought=text), language=0.0, code=True) is None
    # It may stand in the summary.
    assert name(rollout(f"||{THOUGHT[question]}||{text}", question)) is None


@pytest.mark.parametrize(
    "text",
    [
        "x = 5\ny = 3\nz = x - y = 2",
        "f(3) = 4\nf(4) = 5\nf(5) = 6",
        "If it is even:\nthen we halve it;\nand go on.",
        "First, seven;\nthen three less;\nso four;",
        "\\begin{cases}\nx = 1 \\\\\ny = 2\n\\end{cases}",
        "A = {1, 2, 3}\nB = {2, 3}\nA - B = {1}",
        "from 7 to 4\nreturn to the start\nwhile x is 3\nthe `print` of it",
        "设 x = 7；\n设 y = 3；\n那么 x - y = 4；",
    ],
)
def test_formulas_and_prose_are_no_code(text):
    assert code_block(text) is None


@pytest.mark.parametrize("piece", ["a(", "for ", "x = 5\n", "x) ", "<pre ", " \n "])
def test_hostile_text_costs_no_more_than_its_length(piece):
    assert_linear(code_block, piece)


@pytest.mark.parametrize(
    "question, line",
    [
        (EN, "Wait, is that so? Let me check it again, step by step.\n"),
        (ZH, "等等，是这样吗？让我一步一步地再检查一遍。\n"),
    ],
)
def test_loops(question, line):
    assert name(rollout(question=question, thought=line * 20)) == "repetition"
    assert name(rollout(question=question, thought=line * 2)) is None
    assert name(rollout(question=question, thought=line * 20), repetition=0.0) is None


def test_lengths_are_tokens():
    assert name(rollout(tokens=50), max_tokens=50, min_tokens=50) is None
    assert name(rollout(tokens=51), max_tokens=50) == "too_long"
    assert name(rollout(tokens=49), min_tokens=50) == "too_short"


def test_the_first_reason_in_order_is_given():
    bad = rollout("```\nloop loop loop", score=0.0, verdict="wrong", tokens=5)
    assert name(bad, min_tokens=9) == "malformed"
    assert name(bad, min_tokens=9, form="any") == "wrong"
    assert name(bad, min_tokens=9, form="any", min_score=0.0) == "too_short"
    assert list(REJECTION_CHECKS) == list(REJECTION_REASONS[: len(REJECTION_CHECKS)])


def group(*thoughts: str, question=EN, tokens=None) -> list[Rollout]:
    sizes = tokens or [50] * len(thoughts)
    return [rollout(None, question, thought, tokens=sizes[i], sample=i) for i, thought in enumerate(thoughts)]


def names(dropped: dict[int, Reason]) -> dict[int, str]:
    return {sample: reason.name for sample, reason in dropped.items()}


OTHER = {EN: "Three were eaten. What is left of seven is counted: six, five, four.", ZH: "三加四等于七，所以剩下四个。"}


@pytest.mark.parametrize("question", [EN, ZH])
def test_duplicates_within_a_question(question):
    one, other = THOUGHT[question], OTHER[question]
    spaced = one.replace("，", "， ").replace("so", " so\n").upper()
    near = one + ("Yes." if question == EN else "对。")
    dropped = select(group(one, spaced, near, other, question=question), FilterConfig(near_duplicate=0.6), set())
    assert names(dropped) == {1: "duplicate", 2: "near_duplicate"}
    assert "sample 0" in dropped[2].detail
    assert names(select(group(one, near, question=question), FilterConfig(near_duplicate=0.0), set())) == {}


def test_short_thoughts_that_differ_in_a_sign_are_no_duplicates():
    assert select(group("7-3=4", "7+3=4"), FilterConfig(), set()) == {}


def test_duplicates_over_all_questions_are_those_that_ask_the_same_too():
    seen = set()
    assert select(group(THOUGHT[EN]), FilterConfig(), seen) == {}
    again = rollout(rollout().text, EN.replace(" ", "  ").upper(), "")
    assert names(select([again], FilterConfig(), seen)) == {0: "duplicate"}
    assert select(group(THOUGHT[EN], question=ZH), FilterConfig(), seen) == {}  # the same answer to another question


def test_a_question_keeps_so_many_samples_and_no_more():
    thoughts = [
        f"{word} is how I begin, and then {word} again, till four are left of {word}"
        for word in ("red", "green", "blue", "white", "black")
    ]
    five = group(*thoughts, tokens=[50, 40, 30, 20, 40])
    near = {"near_duplicate": 0.0}
    assert names(select(five, FilterConfig(keep_per_prompt=2, **near), set())) == {i: "over_quota" for i in (2, 3, 4)}
    shortest = select(five, FilterConfig(keep_per_prompt=2, prefer="shortest", **near), set())
    assert sorted(shortest) == [0, 1, 4]
    assert select(five, FilterConfig(keep_per_prompt=0, **near), set()) == {}


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"min_score": 1.5}, "min_score=1.5 must be between 0 and 1"),
        ({"language": -0.1}, "language=-0.1 must be"),
        ({"repetition_ngram": 0}, "repetition_ngram=0 must be at least 1"),
        ({"max_tokens": 5, "min_tokens": 6}, "max_tokens=5 is less than min_tokens=6"),
        ({"form": "loose"}, "nearest: "),
        ({"max_words": 5}, "unknown key filters.max_words; nearest: "),
    ],
)
def test_bad_settings_are_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        config.parse(FilterConfig, changes, "filters")


def test_filters_run_without_jax():
    code = "import sys, r1jax.stages.sample_filter; assert not {'jax', 'jaxlib'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Both stages' filters on generated samples: digests made when each stage had filters of its own.
CORPUS_QUESTIONS = (
    "How many apples are left if Tom eats three of his seven apples?",
    "小明有七个苹果，吃了三个，还剩几个？",
    "7 - 3 = ?",
)
CORPUS_THOUGHTS = (
    "Tom has seven apples and eats three of them, so four apples are left.",
    "Tom has seven apples and eats  three of them, so four apples are left. Yes.",
    "七个减去三个等于四个，所以还剩四个苹果，检查过了，没有错。",
    "Tom has seven apples 然后他吃了三个苹果，所以还剩四个苹果 and that is the answer.",
    "7 - 3 = 4",
    "Wait, is that so? Let me check it again, step by step.\n" * 20,
    "and so it goes on, " * 80,
    "".join(f"and so it goes on {i}, " for i in range(80)),
    "Let me count.\n```python\nprint(7 - 3)\n```\nSo four.",
    "Let me count:\ndef left(a, b):\n    c = a - b\n    return c\nSo four.",
    "broken \ufffd characters stand in the middle of this thought",
    "so <think> it holds a tag, and goes on for a while after it",
    "so it holds || the marker, and goes on for a while after it",
    "Short.",
    "",
)
CORPUS_SUMMARIES = ("Four apples are left.", "还剩四个。", "4", "", "It is four. " * 9)


def corpus(seed):
    rng = random.Random(seed)
    for number in range(600):
        yield (
            number,
            rng.choice(CORPUS_QUESTIONS),
            rng.choice(CORPUS_THOUGHTS),
            rng.choice(CORPUS_SUMMARIES),
            rng.choice(("", "||")),
            rng,
        )


def digest(rows):
    return hashlib.sha256("\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()).hexdigest()[:16]


def test_rejection_sampling_drops_the_same_samples_for_the_same_reasons_as_ever():
    rows = []
    for cfg in (
        FilterConfig(min_tokens=5, max_tokens=60, keep_per_prompt=3),
        FilterConfig("any", 0.5, 0.0, 0, True, 0.0, near_duplicate=0.0, keep_per_prompt=0),
        FilterConfig("parts", paragraph_words=30, near_duplicate=0.5, keep_per_prompt=2, prefer="shortest"),
    ):
        groups, keys = {}, set()
        for number, question, thought, summary, marker, rng in corpus(1):
            text = f"||{thought}||{summary}" if marker else f"<think>{thought}</think> <answer>{summary}</answer>"
            metadata = rng.choice(({}, {}, {"language": "zh"}, {"language": "python"}, {"thought": "optional"}))
            prompt = Prompt(f"p{number // 6}", question, "4", "maths:t", metadata=metadata, marker=marker)
            score = rng.choice((1.0, 1.0, 1.0, 0.5, 0.0, None))
            drawn = Rollout.of_text(
                prompt, text, number % 6, rng.choice(("stop",) * 9 + ("length",)), rng.randrange(1, 70)
            )
            drawn = dataclasses.replace(drawn, parts={"accuracy": score}, verdict="right" if score else "wrong")
            groups.setdefault(prompt.id, []).append(drawn)
        for group in groups.values():
            reasons = {each.sample: rejection_reason(each, cfg) for each in group}
            reasons |= select([each for each in group if not reasons[each.sample]], cfg, keys)
            rows += [[each.prompt.id, each.sample, *(reasons[each.sample] or ())] for each in group]
    assert digest(rows) == "3c9ddc2116eb9c4c"


def test_the_cold_start_drops_the_same_samples_for_the_same_reasons_as_ever():
    rows = []
    for cfg, marker in (
        (ReadableConfig(min_chars=8, max_chars=900, max_summary_chars=60, per_question=20), "||"),
        (ReadableConfig(0.0, 0.0, min_chars=1), ""),
        (ReadableConfig(0.5, 0.5, 5, min_chars=30), "|special_token|"),
    ):
        candidates = [
            Candidate(
                str(number),
                Prompt("", question + " " * rng.randrange(3), "", "open:x"),
                thought,
                summary,
                rng.choice(("en", "en", "zh", "")),
                {},
                None,
                rng.choice(("",) * 9 + ("wrong",)),
            )
            for number, question, thought, summary, _, rng in corpus(2)
        ]
        rows += [[each.id, each.fault] for each in choose(candidates, marker, cfg)]
    assert digest(rows) == "84d881ab3033a32d"
