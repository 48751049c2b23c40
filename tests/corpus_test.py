"""The mini world's text: the same everywhere, clear of held-out questions, and favouring no style but correctness."""

import collections
import dataclasses
import pathlib
import random
import re
import subprocess
import sys

import pytest

from r1jax import config, config_files
from r1jax.data.miniworld.documents import AUTHORS, FORMS, CorpusConfig, document, solve
from r1jax.data.miniworld.problems import chain_problem, gcd_problem, make_problem
from r1jax.data.tasks import is_held_out
from r1jax.text.chat import R1_ZERO_TEMPLATE, split_response

CFG = CorpusConfig()
COUNT = 2000
SUM = "State the final answer to the following arithmetic problem: "
QUESTION = re.compile(
    r"State the final answer .*? =|Find the Greatest .*? final answer\."
    r"|\w+ has \d+ (?:brothers|sisters|male friends) and she .*?\?"
)
HEAD = R1_ZERO_TEMPLATE.split("{prompt}")[0]


@pytest.fixture(scope="module")
def documents() -> list[str]:
    return [document(CFG, 0, i) for i in range(COUNT)]


def form_of(text: str) -> str:
    for start, form in ((HEAD, "template"), ("Q: ", "exercises"), ("User: ", "dialogue")):
        if text.startswith(start):
            return form
    if not QUESTION.match(text):
        return "drill"
    return "tagged" if "<think>" in text or "<answer>" in text else "plain"


def test_a_document_is_a_function_of_its_arguments(documents):
    """Also in another process, whose strings hash otherwise, and whatever was drawn before."""
    assert [document(CFG, 0, i) for i in reversed(range(50))] == documents[:50][::-1]
    code = "from r1jax.data.miniworld.documents import *\n"
    code += "print(repr([document(CorpusConfig(), 0, i) for i in range(50)]))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert other.strip() == repr(documents[:50])
    assert sum(document(CFG, 1, i) == documents[i] for i in range(50)) < 5
    assert len(set(documents)) > 0.99 * COUNT


def test_no_held_out_question_is_asked(documents):
    asked = [question for text in documents for question in QUESTION.findall(text)]
    assert len(asked) > 0.7 * COUNT
    assert not [question for question in asked if is_held_out(question, CFG.held_out_share)]
    # Not empty words: of questions as they come, the share is held out.
    rng = random.Random(0)
    drawn = [chain_problem(rng).question for _ in range(1000)] + [gcd_problem(rng).question for _ in range(1000)]
    assert 0.07 < sum(is_held_out(question, CFG.held_out_share) for question in drawn) / 2000 < 0.13


def test_no_held_out_sum_is_worked_but_after_a_slip(documents):
    """The sum after a slip is another one than the question's: the known leak, and how large it is."""
    count_of_relatives = r"(?:counts too, |加上她自己，)\d+\+1="
    leaks = {"drill": 0, "chain": 0}
    for text in documents:
        sums = re.findall(r"(?<![\d%])(-?\d+)([+-])(\d+)=", re.sub(count_of_relatives, "", text))
        if any(is_held_out(SUM + " ".join(step) + " =", CFG.held_out_share) for step in sums):
            leaks["chain" if QUESTION.search(text) else "drill"] += 1
    assert leaks["drill"] == 0
    assert leaks["chain"] < 0.015 * COUNT


def test_forms_come_as_configured(documents):
    counts = collections.Counter(map(form_of, documents))
    for form in FORMS:
        share = getattr(CFG, form) / sum(getattr(CFG, name) for name in FORMS)
        # Four standard errors of 2,000 draws.
        assert counts[form] / COUNT == pytest.approx(share, abs=4 * (share * (1 - share) / COUNT) ** 0.5), form


def shares_of(cfg: CorpusConfig) -> dict[str, float]:
    total = sum(getattr(cfg, hand) for hand in AUTHORS)
    return {hand: getattr(cfg, hand) / total for hand in AUTHORS}


@pytest.mark.parametrize("part", ["mini_textbook", "mini"])
def test_no_hand_of_the_base_has_more_than_three_tenths_and_careful_ones_no_majority(part):
    page = pathlib.Path(__file__).parent.parent / "configs" / "base.py"
    cfg = config.parse(CorpusConfig, config_files.load(f"{page}:{part}").get("corpus", {}))
    shares = shares_of(cfg)
    assert max(shares.values()) <= 0.3
    assert shares["worked"] + shares["checked"] < 0.4


def test_each_hand_can_be_told(documents):
    """Three of the hands leave marks that no other leaves: their shares are measured, the others' configured."""
    shares = shares_of(CFG)
    told = [text for text in documents if form_of(text) != "drill"]
    checks = re.compile("Wait, let me check|Let me check again|Hmm, wait|Let me verify")
    checked = [text for text in told if checks.search(text)]
    mixed = [text for text in told if re.search(r"let me see，|先算 .*, so it is|，the answer 是", text, re.DOTALL)]
    chinese = [text for text in told if text not in mixed and re.search(r"[\u4e00-\u9fff]", text)]
    for found, hand in ((checked, "checked"), (mixed, "mixed"), (chinese, "chinese")):
        share = shares[hand]
        assert len(found) / len(told) == pytest.approx(share, abs=4 * (share * (1 - share) / len(told)) ** 0.5), hand


def test_well_formed_tagged_text_is_seldom(documents):
    """The format is R1-Zero's to learn: present, so that it can be found, and below 5%."""
    replies = [text.split("Assistant:")[-1] if text.startswith(HEAD) else text.partition("\n")[2] for text in documents]
    share = sum(split_response(reply).well_formed for reply in replies) / COUNT
    assert 0.005 < share < 0.05
    templates = [reply for reply, text in zip(replies, documents, strict=True) if text.startswith(HEAD)]
    assert sum(split_response(reply).well_formed for reply in templates) / len(templates) < 0.15


def accuracy(hand: str, count: int = 1500) -> float:
    rng = random.Random(0)
    problems = [make_problem(rng, CFG.held_out_share) for _ in range(count)]
    return sum(solve(problem, hand, rng)[1] == problem.answer for problem in problems) / count


def test_working_is_mostly_right_and_checking_more_so():
    right = {hand: accuracy(hand) for hand in AUTHORS}
    assert right["worked"] > 0.75 and right["checked"] > 0.93
    assert right["checked"] > right["worked"] + 0.05 and right["worked"] > right["terse"] + 0.05 > right["sloppy"]
    assert right.pop("hasty") < 0.4
    assert all(0.4 < share < 0.99 for share in right.values()), right  # nobody is perfect, nobody else is random


def test_the_answer_returned_is_the_one_the_text_arrives_at():
    rng = random.Random(1)
    for _ in range(500):
        problem = make_problem(rng, CFG.held_out_share)
        thought, answer = solve(problem, rng.choice(["worked", "checked", "mixed"]), rng)
        numbers = re.findall(r"-?\d+", re.sub(r"(?<=\d)-", " - ", thought))
        # Euclid's last line, a%b=0, arrives at b.
        assert str(answer) == (numbers[-2] if problem.kind == "gcd" and numbers[-1] == "0" else numbers[-1]), thought


def test_reference_answers_are_right():
    rng = random.Random(2)
    for _ in range(300):
        problem = make_problem(rng, 0.0)
        if problem.kind == "chain":
            assert problem.answer == eval("".join(map(str, problem.parts)))  # numbers and signs of our own making
        elif problem.kind == "gcd":
            a, b = problem.parts
            assert problem.answer == max(d for d in range(1, 41) if a % d == b % d == 0)
        else:
            assert problem.answer == int(re.search(r"(\d+) (?:sisters|female)", problem.question)[1]) + 1


def test_shares_are_obeyed():
    only = dict.fromkeys((*FORMS, *AUTHORS), 0.0)
    cfg = dataclasses.replace(CFG, **{**only, "template": 1.0, "worked": 1.0}, template_followed=1.0)
    texts = [document(cfg, 0, i) for i in range(50)]
    assert all(text.startswith(HEAD) and split_response(text.split("Assistant:")[1]).well_formed for text in texts)
