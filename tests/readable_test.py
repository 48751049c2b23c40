"""What makes a thought readable: how one is cleaned, how a summary is made, and what is not kept."""

import pytest

from r1jax.data.types import Prompt
from r1jax.stages.cold_start import candidates, rewriting
from r1jax.stages.cold_start.candidates import Candidate
from r1jax.stages.cold_start.config import ReadableConfig
from r1jax.stages.sample_filter import ThoughtAndSummary, cold_start_reason

PROSE = "Let me add the two numbers, and then let me check by counting from the first one up to the second one. "


@pytest.mark.parametrize(
    "thought, language, cleaned",
    [
        ("first 3+4=7. so 7", "en", "First 3+4=7. So 7."),
        ("x = 5, so 2x = 10", "en", "x = 5, so 2x = 10."),
        ("ab + c = 3", "en", "ab + c = 3."),
        ("sin x is 0.5. then x is 30", "en", "sin x is 0.5. Then x is 30."),
        ("one of \r\ntwo\r\n\r\n\r\n\r\nthree", "en", "One of\ntwo\n\nthree."),
        ("Wait, no. Wait, no. Wait, no. Yes!", "en", "Wait, no. Yes!"),
        ("a line\na line\n\na line\nanother", "en", "a line\n\nanother."),
        ("先算。先算。3+4=7，对吗？是7", "zh", "先算。3+4=7，对吗？是7。"),
        ("他说：“对。”然后走了", "zh", "他说：“对。”然后走了。"),
        ("two\u200b words\x07 here", "en", "Two words here."),
        ("say it:\n```\nx = 1\nx = 1\n```", "en", "say it:\n```\nx = 1\nx = 1\n```"),
        ("so that $x = 1$", "en", "So that $x = 1$"),
    ],
)
def test_a_thought_is_cleaned_and_what_it_says_left_alone(thought, language, cleaned):
    assert rewriting.clean(thought, language) == cleaned
    assert rewriting.clean(cleaned, language) == cleaned


@pytest.mark.parametrize(
    "final, language, summary",
    [
        ("12", "en", "The answer is \\boxed{12}."),
        ("12.", "zh", "答案是\\boxed{12}。"),
        ("$\\frac{1}{2}$", "en", "The answer is \\boxed{\\frac{1}{2}}."),
        ("\\boxed{12}", "en", "The answer is \\boxed{12}."),
        ("So the answer is 12", "en", "The answer is \\boxed{12}."),
        ("it is 12", "en", "The answer is \\boxed{12}."),
        ("It makes \\boxed{12}.", "en", "It makes \\boxed{12}."),
        ("12 red apples", "en", "The answer is \\boxed{12 red apples}."),
        ("5!", "en", "The answer is \\boxed{5!}."),
        ("12", "fr", "\\boxed{12}"),
        (
            "Mary has three sisters and counts too, so four it is",
            "en",
            "Mary has three sisters and counts too, so four it is",
        ),
        ("\\boxed{1} or \\boxed{2}", "en", "\\boxed{1} or \\boxed{2}"),
    ],
)
def test_a_summary_is_made_of_a_bare_answer_in_the_questions_language(final, language, summary):
    assert rewriting.summary_of(final, language) == summary


def fault(question: str, thought: str, summary: str, language: str, marker: str, cfg: ReadableConfig) -> str:
    reason = cold_start_reason(ThoughtAndSummary(question, thought, summary, language, marker), cfg)
    assert reason is None or reason.detail
    return reason.name if reason else ""


@pytest.mark.parametrize(
    "thought, summary, said",
    [
        (PROSE, "It is 5.", ""),
        (PROSE, "5", ""),
        (" ", "5", "without a thought or an answer"),
        (PROSE, "\n", "without a thought or an answer"),
        (PROSE + "||", "5", "holds the marker"),
        (PROSE, "||5", "holds the marker"),
        ("\u200b", "5", "does not fit the form"),
        (PROSE + "\ufffd", "5", "broken characters"),
        ("Short.", "5", "thought too short"),
        (PROSE * 3, "5", "thought too long"),
        (PROSE, "5" * 41, "summary too long"),
        (PROSE * 2, "5", "repeats itself"),
        ("3+4=7, 7-2=5, 5*1=5, 5+0=5", "5", "no words in the thought"),
        ("先把两个数加起来，再从第一个数数到第二个数，检查一遍，没有错。", "5", "not in the question's language"),
        ("Let me see, 先把两个数加起来, and check, 再检查一遍, so it is 5.", "5", "not in the question's language"),
        (PROSE, "两个数合起来是五，检查过了。", "not in the question's language"),
    ],
)
def test_what_speaks_against_a_thought(thought, summary, said):
    cfg = ReadableConfig(min_chars=1 if thought == "\u200b" else 10, max_chars=250, max_summary_chars=40)
    assert fault("What is 2 plus 3?", thought, summary, "en", "||", cfg) == said


def test_in_the_form_of_the_tags_no_tag_may_stand_in_the_parts():
    cfg = ReadableConfig(min_chars=1)
    assert fault("?", "so <think>", "5", "", "", cfg) == "does not fit the form"
    assert fault("?", "so <think>", "5", "", "||", cfg) == ""


def candidate(id_: str, question: str, thought: str) -> Candidate:
    return Candidate(id_, Prompt("", question, "", "open:x"), thought, "5", "en", {"way": "file"})


def test_the_first_of_equal_thoughts_is_kept_and_so_many_of_a_question():
    found = [
        candidate("a", "1?", PROSE),
        candidate("b", "1?", PROSE.replace(" ", "  ")),
        candidate("c", "2?", PROSE),
        candidate("d", "1?", PROSE + "Yes."),
        candidate("e", "1? ", PROSE + "No."),
    ]
    chosen = candidates.choose(found, "||", ReadableConfig(min_chars=1, per_question=2))
    assert [each.fault for each in chosen] == ["", candidates.DUPLICATE, "", "", candidates.OVER_QUOTA]
