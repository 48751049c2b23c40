"""Pairs made by a judge, against a server of our own: what it is shown, what is kept, and nothing asked twice."""

import json

import pytest
from judge_test import KEY, RETRY, Server, server  # noqa: F401  (a fixture)
from tiny_run import merged, rows

from r1jax import config
from r1jax.data.preference_pairs import PreferenceDataConfig, Preferences
from r1jax.data.types import Prompt, Rollout
from r1jax.evaluation.record import Record
from r1jax.inference.reward_scoring import Reading
from r1jax.io import jsonl
from r1jax.stages import judge_pairs
from r1jax.stages.judge_pairs import JudgePairsConfig, ResponsesConfig
from r1jax.stages.reward_model_training import reader

ASKED = [{"id": f"q{i}", "prompt": f"What of {i}?", "responses": [f"good {i}", f"dull {i}"]} for i in range(6)]


def says(verdict: str) -> str:
    return f"I have read both.\nVERDICT {{}}: {verdict}"


def by(rule):
    """Replies by a function of the two answers shown, in order."""
    return lambda number, a, b, nonce: says(rule(a, b)).format(nonce)


def prefers(best: str, strongly: bool = True):
    sign = ">>" if strongly else ">"
    return by(lambda a, b: f"A{sign}B" if best in a else f"B{sign}A")


@pytest.fixture
def make(server, tmp_path):  # noqa: F811
    """(sources' rows, settings) -> what the folder then holds."""

    def make(asked=ASKED, **settings) -> dict:
        if isinstance(asked, list):
            jsonl.write(tmp_path / "asked.jsonl", asked)
            settings = {"data__sources": [str(tmp_path / "asked.jsonl")]} | settings
        tree = {
            "stage": "judge_pairs",
            "length_ratio": 0.0,
            "data": {},
            "judge": {"base_url": server.url, "model": "m", "api_key_env": KEY, "retries": 0},
        }
        given = merged(tree, **settings)
        path = judge_pairs.run(config.parse(JudgePairsConfig, given), tmp_path / "out")
        return {
            "pairs": rows(path),
            "judgements": jsonl.read_log(tmp_path / "out" / "judgements.jsonl")[0],
            **json.loads((tmp_path / "out" / "summary.json").read_text()),
        }

    make.server = server
    return make


def test_each_pair_is_judged_in_both_orders_and_what_the_judge_prefers_is_chosen(make):
    make.server.replies = prefers("good")
    found = make()
    assert len(make.server.requests) == 6 * 4 == found["verdicts"] == len(found["judgements"])
    shown = [tuple(make.server.answers(n)) for n in range(24)]
    for i in range(6):
        assert sorted(pair for pair in shown if f"good {i}" in pair) == [
            *[(f"dull {i}", f"good {i}")] * 2,
            *[(f"good {i}", f"dull {i}")] * 2,
        ]
    assert [(p["prompt"], p["chosen"], p["rejected"]) for p in found["pairs"]] == [
        (f"What of {i}?", f"good {i}", f"dull {i}") for i in range(6)
    ]
    assert all(p["margin"] == 2.0 and p["judgements"] == [2, 2, 2, 2] for p in found["pairs"])
    assert (found["orders_agree"], found["first_wins"], found["kept"]) == (1.0, 0.5, 6)


@pytest.mark.parametrize("verdict", ["A>>B", "B>>A", "A=B"])
def test_a_judge_that_goes_by_the_place_alone_makes_no_pair(make, verdict):
    make.server.replies = by(lambda a, b: verdict)
    found = make()
    assert found["pairs"] == [] and found["dropped"]["within the margin"] == 6
    assert found["first_wins"] == {"A>>B": 1.0, "B>>A": 0.0, "A=B": None}[verdict] and found["orders_agree"] == 0.0


def test_a_margin_is_the_mean_of_the_degrees_and_has_to_be_passed(make):
    make.server.replies = prefers("good", strongly=False)
    found = make()
    assert found["pairs"] == [] and found["dropped"]["within the margin"] == 6  # exactly 1 is not above 1
    asked = len(make.server.requests)
    assert [p["margin"] for p in make(margin=0.5)["pairs"]] == [1.0] * 6  # decided anew, from what was said
    assert len(make.server.requests) == asked


def test_judgements_that_disagree_are_averaged(make):
    make.server.replies = by(lambda a, b: "A>>B" if "good" in a else "A=B")  # by the place, and by what it says
    found = make(margin=0.9)
    assert {p["margin"] for p in found["pairs"]} == {1.0}
    assert all(sorted(p["judgements"]) == [0, 0, 2, 2] for p in found["pairs"])
    assert found["orders_agree"] == 0.0


def test_the_judge_sees_summaries_only_and_the_pair_holds_the_whole_responses(make):
    whole = {"good": "<think> a secret </think> <answer> good </answer>", "dull": "|s|a secret|s|dull"}
    make.server.replies = prefers("good")
    found = make([{"prompt": "Why?", "responses": [whole["good"], "dull"]}])
    assert (found["pairs"][0]["chosen"], found["pairs"][0]["lengths"]) == (whole["good"], [4, 4])
    found = make([{"prompt": "Who?", "responses": ["|s|a secret|s|good", whole["dull"]]}], data__marker="|s|")
    assert found["pairs"][0]["rejected"] == whole["dull"]
    assert "secret" not in json.dumps([body for _, body in make.server.requests])


def test_every_pair_says_where_it_is_from_and_who_judged_it(make):
    make.server.replies = prefers("good")
    [pair] = make(ASKED[:1])["pairs"]
    assert (pair["chosen_from"], pair["rejected_from"]) == ("asked.jsonl:q0:0", "asked.jsonl:q0:1")
    assert pair["judge"].startswith("degrees ") and " m " in pair["judge"] and pair["judge"].endswith("T=1.0")


def test_responses_of_one_prompt_come_together_from_several_files(make, tmp_path):
    for name in ("good", "dull"):
        jsonl.write(
            tmp_path / f"{name}.jsonl",
            ({"id": row["id"], "prompt": row["prompt"], "response": f"{name} {row['id']}"} for row in ASKED),
        )
    make.server.replies = prefers("good")
    found = make(None, data__sources=[str(tmp_path / "good.jsonl"), str(tmp_path / "dull.jsonl")])
    assert [(p["chosen_from"], p["rejected_from"]) for p in found["pairs"]] == [
        (f"good.jsonl:q{i}", f"dull.jsonl:q{i}") for i in range(6)
    ]


def test_a_folder_of_collected_samples_is_a_source(make, tmp_path):
    record = Record(tmp_path / "drawn", {}, "")
    prompts = [Prompt(f"q{i}", f"What of {i}?", "", "open:x", f"{i}? <think>\n") for i in range(2)]
    jsonl.write(
        tmp_path / "drawn" / "questions.jsonl",
        ({"id": p.id, "question": p.question, "answer": "", "text": p.text} for p in prompts),
    )
    for prompt in prompts:
        for sample, text in enumerate(("a secret</think>good", "a secret</think>dull", "a secret that never ends")):
            record.keep_sample(Rollout.of_text(prompt, text, sample, tokens=3))
    make.server.replies = prefers("good")
    found = make(None, data__sources=[str(tmp_path / "drawn")])
    assert [(p["prompt"], p["chosen_from"], p["rejected_from"]) for p in found["pairs"]] == [
        (f"What of {i}?", f"drawn:q{i}:0", f"drawn:q{i}:1") for i in range(2)
    ]
    assert found["pairs"][0]["chosen"] == "<think>a secret</think>good"  # which is read without the prompt
    assert found["left_out"]["without a summary"] == 2  # the prompt opened a thought that never closed
    assert "secret" not in json.dumps([body for _, body in make.server.requests])


def test_what_cannot_be_compared_is_left_out_and_counted(make):
    make.server.replies = prefers("good")
    found = make(
        [
            *ASKED[:1],
            {"prompt": "alone?", "responses": ["good"]},
            {"prompt": "same?", "responses": ["<think> a </think> <answer> good </answer>", "good"]},
            {"prompt": "none?", "responses": ["<think> on and on", "good"]},
        ]
    )
    assert (
        found["left_out"]
        == {
            "bad lines": 0,
            "without a summary": 1,
            "of the same summary as another": 1,
            "alone": 3,
        }
        and len(found["pairs"]) == 1
    )
    with pytest.raises(ValueError, match=r"no prompt has two responses to compare; left out: .* 1 alone"):
        make([{"prompt": "alone?", "responses": ["good"]}])


def test_a_bad_line_is_told_by_file_and_line_or_counted(make):
    make.server.replies = prefers("good")
    for bad, told in (
        ({"prompt": "a"}, "neither 'response' nor 'responses'"),
        ({"response": "b"}, "'prompt' is None"),
        ({"prompt": "a", "responses": "b"}, "'responses' is 'b', should be a list of strings"),
        ({"prompt": "a", "responses": ["b", " "]}, r"'responses\[1\]' is ' '"),
    ):
        with pytest.raises(ValueError, match=rf"asked\.jsonl:7: {told}"):
            make([*ASKED, bad])
    assert make([*ASKED, {"prompt": "a"}], data__skip_bad_lines=True)["left_out"]["bad lines"] == 1


def test_trap33_killed_in_the_middle_it_asks_nothing_twice_and_ends_the_same(make, tmp_path, monkeypatch):
    make.server.replies = prefers("good")
    append, kept = jsonl.append, []

    def dies_after_ten(path, row):
        if len(kept) == 10:
            raise KeyboardInterrupt
        append(path, row)
        kept.append((row["pair"], row["round"]))

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(jsonl, "append", dies_after_ten)
        make()
    assert not (tmp_path / "out" / "pairs.jsonl").exists()
    with (tmp_path / "out" / "judgements.jsonl").open("a") as file:
        file.write('{"pair": "cut off by the k')
    before = len(make.server.requests)
    resumed = make()["judgements"]
    assert len(make.server.requests) - before == 24 - 10
    assert len({(row["pair"], row["round"]) for row in resumed}) == len(resumed) == 24
    pairs = (tmp_path / "out" / "pairs.jsonl").read_bytes()
    before = len(make.server.requests)
    make()
    assert len(make.server.requests) == before  # nothing is left to ask
    assert (tmp_path / "out" / "pairs.jsonl").read_bytes() == pairs
    (tmp_path / "out" / "judgements.jsonl").unlink()
    make()
    assert (tmp_path / "out" / "pairs.jsonl").read_bytes() == pairs


def test_what_failed_or_has_no_verdict_is_dropped_and_asked_again(make):
    make.server.replies = lambda number, a, b, nonce: (
        (500, RETRY) if "0" in a else "I cannot say." if "1" in a else prefers("good")(number, a, b, nonce)
    )
    found = make()
    assert found["dropped"]["unanswered"] == 2 and len(found["pairs"]) == 4
    assert sum(row["verdict"] is None for row in found["judgements"]) == 4  # said, paid for, and no verdict
    assert (found["replies"], found["prompt_tokens"], found["completion_tokens"]) == (20, 2000, 140)
    make.server.replies = prefers("good")
    before = len(make.server.requests)
    found = make()
    assert len(make.server.requests) - before == 8
    assert len(found["pairs"]) == 6 and found["prompt_tokens"] == 2800  # the cost of both


def test_another_judges_judgements_are_not_taken_for_this_ones(make):
    make.server.replies = prefers("good")
    make()
    found = make(temperature=0.5)
    assert len(make.server.requests) == 48 and found["replies"] == 24
    assert make.server.requests[-1][1]["temperature"] == 0.5


@pytest.mark.parametrize("status", [401, 404])
def test_a_judge_that_refuses_is_an_error_and_not_asked_on(make, status):
    make.server.replies = lambda number, a, b, nonce: (status, {})
    with pytest.raises(ValueError, match=rf"'m' at .*HTTP {status}"):
        make([{"prompt": f"What of {i}?", "responses": ["good", "dull"]} for i in range(50)])
    assert len(make.server.requests) < 60


def test_pairs_of_a_prompt_are_drawn_by_the_seed_and_do_not_change_with_its_neighbours(make):
    many = [{"prompt": f"What of {i}?", "responses": [f"good {j}" for j in range(6)]} for i in range(4)]
    make.server.replies = by(lambda a, b: "A>>B" if a > b else "B>>A")

    def pairs(asked, **settings) -> dict:
        found: dict = {}
        for pair in make(asked, **settings)["pairs"]:
            found.setdefault(pair["prompt"], []).append((pair["chosen"], pair["rejected"]))
        return found

    two = pairs(many, pairs_per_prompt=2)
    assert all(len(set(each)) == 2 for each in two.values()) and len(set(map(tuple, two.values()))) > 1
    assert pairs(many[2:], pairs_per_prompt=2) == {prompt: two[prompt] for prompt in list(two)[2:]}
    assert pairs(many, pairs_per_prompt=2, seed=1) != two
    assert all(len(set(each)) == 15 for each in pairs(many[:1], pairs_per_prompt=100).values())


def test_lengths_are_evened_out_by_dropping_what_differs_most(make):
    asked = [
        {"prompt": f"What of {i}?", "responses": ["good" + "!" * more, "dull"]}
        for i, more in enumerate((90, 60, 4, 0, 0))
    ]
    make.server.replies = prefers("good")
    found = make(asked)
    assert found["longer_wins"] == pytest.approx(0.8) and found["mean_lengths"] == [34.8, 4.0]
    found = make(asked, length_ratio=1.5)
    assert [len(p["chosen"]) for p in found["pairs"]] == [8, 4, 4]  # 16 to 12
    assert found["dropped"] == {"unanswered": 0, "within the margin": 0, "to even out lengths": 2}
    make.server.replies = prefers("dull")  # another judge would be asked anew; this one's word stands
    assert make(asked, length_ratio=1.0)["kept"] == 2


def test_a_helpfulness_model_reads_what_was_made(make, tmp_path, tokenizer):
    make.server.replies = prefers("good")
    make()
    cfg = PreferenceDataConfig(str(tmp_path / "out" / "pairs.jsonl"), held_out_share=0.0)
    data = Preferences(cfg, "pairwise", 0, reader(Reading("summary"), tokenizer, ""))
    assert data.size == 6 and sum(data.left_out.values()) == 0


def test_trap34_settings_without_a_meaning_are_refused(make, tmp_path):
    for settings, told in (
        ({"rounds": 3}, "rounds=3 must be even"),
        ({"margin": 2.0}, "keeps nothing"),
        ({"length_ratio": 0.5}, "length_ratio=0.5 must be at least 1"),
        ({"data__sources": []}, r"config\.data\.sources is empty"),
    ):
        with pytest.raises(config.ConfigError, match=told):
            make(**settings)
    with pytest.raises(config.ConfigError, match=r"set config\.judge\.base_url and config\.judge\.model"):
        judge_pairs.run(JudgePairsConfig("judge_pairs", ResponsesConfig(("x",))), tmp_path)
    with pytest.raises(FileNotFoundError, match=r"askd\.jsonl; nearest in .*: asked\.jsonl"):
        make(data__sources=[str(tmp_path / "askd.jsonl")])
