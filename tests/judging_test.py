"""Judged benchmarks: the texts that a judge reads, the scores of its verdicts, and figures of known judgements."""

import json

import numpy as np
import pytest

from r1jax.benchmarks import arena, facts, length_control
from r1jax.benchmarks.benchmark import Outcome
from r1jax.data.types import Prompt, Rollout
from r1jax.graders import judge_protocols
from r1jax.graders.config import JudgeConfig
from r1jax.graders.judge_protocols import PROTOCOLS
from r1jax.io import jsonl


class Judge:
    """Answers by a rule; keeps the texts that it read."""

    def __init__(self, rule):
        self.rule, self.texts = rule, []

    def ask_verdict(self, instructions, texts, verdicts):
        self.texts.append(dict(texts))
        verdict = self.rule(dict(texts))
        assert verdict is None or verdict in verdicts
        return verdict

    def compare_both_orders(self, question, a, b):
        both = [
            self.ask_verdict("", [("QUESTION", question), ("ANSWER A", x), ("ANSWER B", y)], ("A", "B", "TIE"))
            for x, y in ((a, b), (b, a))
        ]
        worth = {"A": 1.0, "B": 0.0, "TIE": 0.5}
        return None if None in both else (worth[both[0]], 1.0 - worth[both[1]])


def grade(protocol: str, rule, text: str, reference: str = "hers", answer: str = ""):
    judge = Judge(rule)
    prompt = Prompt("q", "Why?", answer, f"{protocol}:test", metadata={"reference_output": reference})
    rollout = Rollout.of_text(prompt, text)
    return PROTOCOLS[protocol].grade(judge, rollout), judge


def best(of: str):
    return lambda texts: "A" if of in texts["ANSWER A"] else "B"


def test_preference_is_the_mean_of_both_orders():
    graded, judge = grade("preference", best("mine"), "<think>secret</think>mine")
    assert (graded.score, graded.verdict, graded.detail["orders"]) == (1.0, "right", [1.0, 1.0])
    assert (graded.detail["length"], graded.detail["reference_length"]) == (4, 4)
    assert "secret" not in json.dumps(judge.texts)  # the summary alone
    assert grade("preference", best("hers"), "mine")[0].score == 0.0
    assert grade("preference", lambda texts: "A", "mine")[0].score == 0.5  # goes by the place
    assert grade("preference", lambda texts: "TIE", "mine")[0].score == 0.5
    assert grade("preference", lambda texts: None, "mine")[0][:2] == (None, "ungradable")


def test_degrees_are_those_of_the_responses_side():
    def rule(texts):
        return "A>>B" if "mine" in texts["ANSWER A"] else "B>A"

    graded, _ = grade("degrees", rule, "mine")
    assert graded.detail["games"] == ["A>>B", "A>B"] and graded.score == 1.0
    graded, _ = grade("degrees", lambda texts: "A>B", "mine")
    assert graded.detail["games"] == ["A>B", "B>A"] and graded.score == 0.5
    graded, _ = grade("degrees", lambda texts: "A=B", "mine")
    assert graded.detail["games"] == ["A=B", "A=B"] and graded.score == 0.5
    assert grade("degrees", lambda texts: None, "mine")[0].score is None


@pytest.mark.parametrize(
    "verdict, score, outcome",
    [
        ("CORRECT", 1.0, "right"),
        ("INCORRECT", 0.0, "wrong"),
        ("NOT_ATTEMPTED", 0.0, "no_answer"),
        (None, None, "ungradable"),
    ],
)
def test_facts(verdict, score, outcome):
    graded, judge = grade("facts", lambda texts: verdict, "<think>x</think>She did", answer="She")
    assert graded[:2] == (score, outcome)
    assert judge.texts == [{"QUESTION": "Why?", "REFERENCE": "She", "ANSWER": "She did"}]


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_an_empty_summary_loses_unasked(protocol):
    graded, judge = grade(protocol, lambda texts: 1 / 0, "<think>on and on")
    assert graded[:2] == (0.0, "no_answer") and not judge.texts


def test_what_the_judge_does_not_see_whole_is_noted():
    graded, _ = grade("preference", best("mine"), "mine" * 10_000)
    assert graded.detail["cut"] and "cut" not in grade("preference", best("mine"), "mine")[0].detail


def test_rows_that_nothing_can_be_compared_with_are_refused():
    for protocol in ("preference", "degrees"):
        with pytest.raises(ValueError, match="baseline"):
            PROTOCOLS[protocol].check({"answer": ""})
    with pytest.raises(ValueError, match="no reference answer"):
        PROTOCOLS["facts"].check({"answer": " "})


def test_a_stamp_changes_with_the_judge_and_the_protocol():
    cfg = JudgeConfig(base_url="http://a/v1", model="m")
    others = [JudgeConfig(base_url="http://b/v1", model="m"), JudgeConfig(base_url="http://a/v1", model="n")]
    stamps = [judge_protocols.version("facts", each) for each in (cfg, *others)]
    stamps.append(judge_protocols.version("degrees", cfg))
    assert len(set(stamps)) == 4
    assert judge_protocols.version("facts", JudgeConfig(base_url="http://a/v1/", model="m")) == stamps[0]


def preferences(quality: float, for_length: float, longer: np.ndarray, rng) -> np.ndarray:
    chance = 1 / (1 + np.exp(-(quality + for_length * np.tanh(longer / longer.std()))))
    return (rng.random((2, len(longer))) < chance).mean(axis=0)


@pytest.mark.parametrize("quality, bias", [(0.0, 2.0), (1.0, 2.0), (-1.0, 1.0), (0.5, 0.0)])
def test_length_control_gives_the_planted_preference_back(quality, bias):
    """A model that writes longer, before a judge that likes length."""
    rates, plain = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        longer = rng.normal(600, 400, size=805)
        drawn = preferences(quality, bias, longer, rng)
        rates.append(length_control.win_rate(drawn, longer, np.zeros(805)))
        plain.append(drawn.mean())
    # One estimate varies by 0.03: four standard errors of a mean of 20.
    assert np.mean(rates) == pytest.approx(1 / (1 + np.exp(-quality)), abs=4 * 0.031 / np.sqrt(20))
    if bias:
        assert np.mean(plain) > np.mean(rates) + 0.08  # the plain win rate takes length for merit


def test_without_a_difference_in_length_the_win_rate_is_left_as_it_is():
    drawn = np.array([1.0, 0.0, 1.0, 1.0] * 50)
    assert length_control.win_rate(drawn, np.zeros(200), np.zeros(200)) == pytest.approx(0.75, abs=0.002)
    # Turned round, it is the other side's.
    longer = np.random.default_rng(1).normal(size=200)
    one = length_control.win_rate(drawn, longer, np.zeros(200))
    assert length_control.win_rate(1 - drawn, -longer, np.zeros(200)) == pytest.approx(1 - one, abs=1e-4)


def test_length_controlled_figures_by_question():
    rng = np.random.default_rng(2)
    longer = rng.normal(300, 300, size=200)
    drawn = preferences(0.5, 1.5, longer, rng)
    outcomes = [
        Outcome(str(i), 0, p, "", "", {"length": 1000 + d, "reference_length": 1000})
        for i, (p, d) in enumerate(zip(drawn, longer, strict=True))
    ]
    outcomes.append(Outcome("none", 0, None, "ungradable", "", {"length": 1, "reference_length": 1}))
    figures = length_control.figures({str(i): {} for i in range(200)}, outcomes)
    assert figures["win_rate"].value == pytest.approx(drawn.mean())
    lc = figures["lc_win_rate"]
    assert lc.low < lc.value < lc.high and 0.02 < lc.stderr < 0.08 and lc.value < figures["win_rate"].value


def games(*pairs: tuple[str, str]) -> list[Outcome]:
    return [Outcome(str(i), 0, 0.5, "", "", {"games": list(pair)}) for i, pair in enumerate(pairs)]


def test_arena_by_hand():
    """Strong verdicts count three times: (3 + 1) won of 3 + 1 + 1 + 1, a tie gives half."""
    rate = arena.figures({}, games(("A>>B", "A>B"), ("B>A", "A=B")))["win_rate"]
    assert rate.value == pytest.approx((3 + 1 + 0.5) / 6)
    assert arena.strength(0.5) == 0 and arena.strength(10 / 11) == pytest.approx(400)


def test_arenas_estimate_is_the_bradley_terry_maximum():
    rng = np.random.default_rng(0)
    drawn = games(*(tuple(rng.choice(list(arena._GAMES), 2)) for _ in range(50)))
    rate = arena.figures({}, drawn)["win_rate"].value

    def loss(rating: float) -> float:
        rate = 1 / (1 + 10 ** (-rating / 400))
        flat = [arena._GAMES[game] for outcome in drawn for game in outcome.detail["games"]]
        return -sum(w * (p * np.log(rate) + (1 - p) * np.log(1 - rate)) for w, p in flat)

    ratings = np.linspace(-800, 800, 16_001)
    best_one = ratings[np.argmin([loss(each) for each in ratings])]
    assert arena.strength(rate) == pytest.approx(best_one, abs=0.11)


def test_arenas_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(100):
        wins = rng.random((120, 2)) < rng.beta(6, 4, size=(120, 1))  # both games of a question go alike
        rate = arena.figures({}, games(*(tuple("A>B" if w else "B>A" for w in pair) for pair in wins)))["win_rate"]
        held += rate.low <= 0.6 <= rate.high
    assert 88 <= held <= 99


def test_trap40_a_baseline_cut_short_in_a_thought_that_its_prompt_opened_has_no_answer(tmp_path):
    rows = [{"id": id_, "sample": 0, "text": text} for id_, text in (("q1", "so it is 4"), ("q2", "so</think>4"))]
    jsonl.write(tmp_path / "samples.jsonl", rows)
    jsonl.write(tmp_path / "questions.jsonl", [{"id": id_, "text": "?<think>\n"} for id_ in ("q1", "q2")])
    assert arena.read_baseline(tmp_path / "samples.jsonl") == {"q1": "", "q2": "4"}


def test_figures_of_facts_by_hand():
    verdicts = ["CORRECT", "CORRECT", "INCORRECT", "NOT_ATTEMPTED", "NOT_ATTEMPTED"]
    figures = facts.figures({}, [Outcome(str(i), 0, 0.0, "", "", {"grade": each}) for i, each in enumerate(verdicts)])
    assert [figures[name].value for name in ("correct", "incorrect", "not_attempted")] == [0.4, 0.2, 0.4]
    assert figures["correct_given_attempted"].value == pytest.approx(2 / 3)
    assert figures["f"].value == pytest.approx(2 * 0.4 * (2 / 3) / (0.4 + 2 / 3))
    assert facts.figures({}, []) == {}


@pytest.mark.parametrize(
    "row, answer",
    [
        ({"id": "q1", "sample": 0, "text": "<think>x</think>mine"}, "mine"),
        ({"question_id": "q1", "choices": [{"turns": [{"content": "mine"}]}]}, "mine"),
        (
            {"uid": "q1", "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "mine"}]},
            "mine",
        ),
        ({"uid": "q1", "messages": [{"role": "assistant", "content": {"answer": "mine"}}]}, "mine"),
    ],
)
def test_baselines_are_read_in_every_layout(row, answer, tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps({"id": "q1", "sample": 1, "text": "other"}) + "\n\n")
    assert arena.read_baseline(path) == {"q1": answer}
    path.write_text('{"what": 1}\n')
    with pytest.raises(ValueError, match=r"answers.jsonl:1: no answer"):
        arena.read_baseline(path)
    with pytest.raises(FileNotFoundError, match="nearest"):
        arena.read_baseline(tmp_path / "answer.jsonl")
