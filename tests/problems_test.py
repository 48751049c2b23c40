"""The mini world's problems in Chinese: the same problems, in words that a Chinese question is known by."""

import random
import re

from r1jax.data.miniworld import problems
from r1jax.rewards.language_consistency import language_of


def drawn(count: int) -> list[tuple[problems.Problem, str]]:
    rng = random.Random(0)
    return [(problem, problems.in_chinese(problem, rng)) for problem in (problems.draw(rng) for _ in range(count))]


def test_a_chinese_question_is_known_for_one_and_its_english_twin_too():
    for problem, chinese in drawn(300):
        assert language_of(chinese) == "zh", chinese
        assert language_of(problem.question) == "en", problem.question


def test_a_chinese_question_holds_what_is_needed_to_answer_it():
    for problem, chinese in drawn(300):
        if problem.kind == "relatives":
            her, noun, girls, _ = problem.parts
            named = {"sisters": "姐妹", "female friends": "女性朋友"}[noun]
            assert f"{girls}个{named}" in chinese and chinese.startswith(her)
            assert chinese.endswith(f"有?个{named}")
        else:
            numbers = [part for part in problem.parts if isinstance(part, int)]
            assert [int(number) for number in re.findall(r"\d+", chinese)] == numbers
            assert set("+-").isdisjoint(chinese) != (problem.kind == "chain")


def test_work_without_slips_arrives_at_the_answer_in_either_language():
    rng = random.Random(1)
    for problem, _ in drawn(300):
        for language in ("en", "zh"):
            text, answer = problems.work(problem, rng, 0.0, language)
            assert answer == problem.answer, text
            assert bool(re.search(r"[\u4e00-\u9fff，]", text)) <= (language == "zh")
