"""The experiment on thinking longer: answers cut at a limit, votes and interpolation at equal tokens, by hand."""

import json
import math

import pytest
from paper_scripts import script

measures, thinking = map(script, ("thinking_measures", "thinking"))

QUESTION = "Make 8 from 9, 5, 4 with + and -, in this order"


def graded(text: str, tokens: int, finish: str = "stop", score: float = 0.0, chance: float = 0.5) -> dict:
    return {
        "question": QUESTION,
        "text": text,
        "tokens": tokens,
        "finish": finish,
        "score": score,
        "answer": "9-5+4",
        "chances": [chance],
    }


def answer(text: str, tokens: int, chance: float = 0.5) -> dict:
    return measures.read(graded(text, tokens, chance=chance))


def test_the_last_expression_counts_tags_or_not_and_only_of_a_response_that_ended():
    found = measures.read(graded("9+5=14+4=18, no. So 9-5+4", 30, score=0.0))
    assert (found["score"], found["answer"], found["with tags"], found["level"]) == (1.0, "9-5+4", 0.0, 3)
    cut_off = measures.read(graded("9-5+4, or", 352, "length", 1.0, 0.9))
    assert (cut_off["score"], cut_off["answer"], cut_off["with tags"], cut_off["chances"]) == (0.0, "", 0.0, [0.0])
    assert cut_off["tokens"] == 352 and not cut_off["ended"]


def test_with_fewer_tokens_a_response_counts_if_it_had_ended_by_then():
    whole = answer("9-5+4", 64)
    assert measures.cut(whole, 64) == whole
    cut = measures.cut(whole, 63)
    assert (cut["tokens"], cut["score"], cut["answer"], cut["ended"]) == (63, 0.0, "", False)


GROUPS = [
    [answer("9-5+4", 40), answer("9+5+4", 20), answer("9+5+4", 30), answer("9-5+4", 400)],
    [answer("9-5+4", 10), answer("9-5+4", 20), answer("9-5+4", 30), answer("9+5-4", 40)],
]


def test_accuracy_by_the_tokens_allowed_by_hand():
    rows = dict(zip(measures.LIMITS, measures.by_limit(GROUPS), strict=True))
    assert rows[32]["tokens"] == (32 + 20 + 30 + 32 + 10 + 20 + 30 + 32) / 8
    assert rows[32]["right"] == 37.5 and rows[64]["right"] == rows[352]["right"] == 50.0
    assert rows[64]["ended"] == 87.5 and rows[64]["3"] == 50.0 and math.isnan(rows[64]["5"])


def test_accuracy_by_the_tokens_used_and_of_the_longer_half_by_hand():
    short, *_, longest = measures.by_tokens(GROUPS)
    assert (short["share"], short["right"]) == (87.5, pytest.approx(400 / 7))
    assert longest["share"] == 0.0 and math.isnan(longest["right"])
    # First question: 400 and 40 tokens both right, 20 and 30 both wrong; second: half right against all right.
    assert measures.longer_minus_shorter(GROUPS)["3"] == (100 - 50) / 2


def test_one_of_n_answers_and_their_tokens_by_hand(monkeypatch):
    monkeypatch.setattr(measures, "COUNTS", (1, 2, 4))
    one, two, four = measures.by_count(GROUPS)
    assert one["tokens"] == 590 / 8 and four["tokens"] == 590 / 2
    assert one["one answer"] == one["majority"] == 62.5 and four["one answer"] == 62.5
    # Of two, the first one where they differ; of four, the first of two equally frequent ones in the first question.
    assert two["majority"] == 75.0 and four["majority"] == 100.0 and two["any (bound)"] == 100.0


def test_votes_among_short_answers_by_hand(monkeypatch):
    monkeypatch.setattr(measures, "COUNTS", (1, 4))
    row = measures.votes_of_short(GROUPS)[0]
    assert row["limit"] == 64 and row["tokens"] == [(590 - 336) / 8, (590 - 336) / 2]
    # Without the response of 400 tokens the first question's majority is wrong.
    assert row["right"] == [50.0, 50.0]


def test_the_reward_model_chooses_the_highest_chance_and_its_ranking_counts_pairs():
    group = [answer("9-5+4", 9, 0.6), answer("9+5+4", 9, 0.7), answer("9+5-4", 9, 0.6), answer("9-5+4", 9, 0.8)]
    assert (
        measures.WAYS["best by reward model"](group[:2]) == 0.0 and measures.WAYS["best by reward model"](group) == 1.0
    )
    assert measures.WAYS["weighted majority"](group[:3]) == 0.0  # 0.6, 0.7, 0.6
    # 0.6 below 0.7 and equal to 0.6; 0.8 above both.
    assert measures.ranked([group]) == 100 * (0 + 0.5 + 1 + 1) / 4
    assert measures.ranked([group[:1]]) == 50.0


def test_equal_tokens_are_read_off_a_line_over_the_logarithm():
    curve = [{"tokens": t, "majority": r} for t, r in ((50.0, 10.0), (100.0, 20.0), (400.0, 40.0))]
    expected = {25.0: 10.0, 50.0: 10.0, 100.0: 20.0, 200.0: 30.0, 800.0: 40.0}
    for tokens, right in expected.items():
        assert measures.at_tokens(curve, "majority", tokens) == pytest.approx(right)
    assert measures.tokens_to_reach(curve, "majority", 15.0) == 100.0
    assert measures.tokens_to_reach(curve, "majority", 41.0) == math.inf


def test_a_cell_leaves_out_seeds_without_a_value_and_says_so():
    assert thinking.cell([1.0, 3.0]) == "2.0 ± 1.4" and thinking.cell([math.inf, math.nan]) == "–"
    assert thinking.cell([1.0, math.inf, 3.0], 0) == "2 ± 1 (2 of 3 seeds)"


def test_labels_are_of_all_early_samples_and_as_many_later_ones(tmp_path):
    run = tmp_path / "run"
    (run / "rollouts").mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"num_steps": thinking.EARLY + 40}))
    for step in range(thinking.EARLY + 40):
        row = {"question": QUESTION, "text": f"9-5{'+-'[step % 2]}4", "finish": "stop" if step != 2 else "length"}
        (run / "rollouts" / f"step_{step:06d}.jsonl").write_text(json.dumps(row | {"step": step}) + "\n")
    thinking.write_labels(tmp_path / "labels.jsonl", run)
    rows = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * thinking.EARLY
    assert [row["safe"] for row in rows[:4]] == [True, False, False, False]
    assert all(row["safe"] for row in rows[thinking.EARLY :])  # every other one of the later steps: 20, 22, ...
    assert rows[0] == {"id": "0", "prompt": QUESTION, "response": "9-5+4", "safe": True}
