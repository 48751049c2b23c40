"""Judged responses: what files may hold, what is said of bad lines, and an order that is a function of the position."""

import json
import pathlib

import pytest

from r1jax import config
from r1jax.data.preference_pairs import Input, PreferenceDataConfig, Preferences
from r1jax.data.tasks import is_held_out
from r1jax.inference.reward_scoring import Reading, ids_of
from r1jax.io import jsonl
from r1jax.stages.reward_model_training import reader

SHARED = pathlib.Path(__file__).resolve().parent.parent.parent / "shared" / "data"
PAIRS = [{"prompt": f"What is {i}?", "chosen": f"It is {i}.", "rejected": "No idea."} for i in range(40)]
LABELS = [{"prompt": f"Say {i}.", "response": str(i), "safe": i % 3 > 0} for i in range(40)]


def letters(prompt: str, response: str) -> Input:
    return Input(list(map(ord, prompt + response)), False, len(response))


def preferences(tmp_path, rows, kind="pairwise", seed=0, read=letters, **settings) -> Preferences:
    path = tmp_path / "judged.jsonl"
    if not isinstance(rows, str):
        jsonl.write(path, rows)
    else:
        path.write_text(rows)
    return Preferences(PreferenceDataConfig(str(path), **{"held_out_share": 0.3} | settings), kind, seed, read)


def text(example) -> list[str]:
    return ["".join(map(chr, each.ids)) for each in example.inputs]


def test_a_pairs_inputs_are_the_chosen_and_the_rejected_response_in_this_order(tmp_path):
    [example] = preferences(tmp_path, PAIRS[:1], held_out_share=0.0).take(0, 1)
    assert text(example) == ["What is 0?It is 0.", "What is 0?No idea."]
    assert (example.id, example.prompt, example.safe) == ("judged-1", "What is 0?", None)


def test_a_labels_input_is_its_response(tmp_path):
    found = preferences(tmp_path, LABELS, "pointwise", held_out_share=0.0)
    by_text = {text(example)[0]: example.safe for example in found.take(0, 40)}
    assert by_text == {f"Say {i}.{i}": i % 3 > 0 for i in range(40)}


def test_a_pair_is_two_labels_where_that_is_asked_for_and_an_error_where_it_is_not(tmp_path):
    found = preferences(tmp_path, PAIRS[:1], "pointwise", pairs_as_labels=True, held_out_share=0.0)
    assert {(e.id, text(e)[0], e.safe) for e in found.take(0, 2)} == {
        ("judged-1-chosen", "What is 0?It is 0.", True),
        ("judged-1-rejected", "What is 0?No idea.", False),
    }
    with pytest.raises(ValueError, match=r"judged\.jsonl:1: a pair, where .* data\.pairs_as_labels=true"):
        preferences(tmp_path, PAIRS, "pointwise")
    with pytest.raises(ValueError, match=r"judged\.jsonl:1: a response with a label, where pairs are called for"):
        preferences(tmp_path, LABELS)


def test_trap41_keys_that_change_what_is_judged_are_refused_and_others_counted(tmp_path):
    found = preferences(tmp_path, [{**PAIRS[0], "source": "x", "system": None, "safe": None}], held_out_share=0.0)
    assert found.unread == {"source": 1}
    for key in ("system", "tools"):
        with pytest.raises(ValueError, match=rf"judged\.jsonl:2: '{key}' is not given to the model"):
            preferences(tmp_path, [PAIRS[0], {**PAIRS[1], key: ["x"]}])


def test_held_out_prompts_are_those_of_is_held_out_and_are_never_trained_on(tmp_path):
    found = preferences(tmp_path, PAIRS)
    prompts = {row["prompt"] for row in PAIRS}
    held = {prompt for prompt in prompts if is_held_out(prompt, 0.3)}
    assert {example.prompt for example in found.held_out} == held and held
    assert {example.prompt for example in found.take(0, 500)} == prompts - held
    assert found.size == len(prompts - held)
    assert not preferences(tmp_path, PAIRS, held_out_share=0.0).held_out


def test_trap33_the_stream_is_a_function_of_seed_and_position(tmp_path):
    found, again, other = (preferences(tmp_path, PAIRS, seed=seed) for seed in (1, 1, 2))
    whole = [example.id for example in found.take(0, 90)]
    assert [e.id for start in range(0, 90, 7) for e in again.take(start, 7)][:90] == whole
    assert sorted(whole[: found.size]) == sorted(whole[found.size : 2 * found.size])  # each epoch is a permutation
    assert whole[: found.size] != whole[found.size : 2 * found.size]
    assert [e.id for e in other.take(0, 90)] != whole


@pytest.mark.parametrize(
    "line, kind, says",
    [
        (
            '{"prompt": "a", "chosen": "b"}',
            "pairwise",
            "neither 'chosen' and 'rejected' nor 'response' and 'safe'; it has",
        ),
        ('{"prompt": "a", "response": "b"}', "pointwise", "neither .* it has: prompt, response"),
        ('{"prompt": "a", "chosen": "b", "rejected": " "}', "pairwise", "'rejected' is ' ', should be a string"),
        ('{"chosen": "b", "rejected": "c"}', "pairwise", "'prompt' is None"),
        ('{"prompt": "a", "response": "b", "safe": "yes"}', "pointwise", "'safe' is 'yes', should be true or false"),
        ('{"prompt": "a", "response": "b", "safe": 1}', "pointwise", "'safe' is 1, should be true or false"),
        ("[1]", "pairwise", "a list, should be an object"),
        ("{", "pairwise", "not JSON"),
    ],
)
def test_a_bad_line_is_told_by_file_and_line_or_counted(tmp_path, line, kind, says):
    good = [json.dumps(row) for row in (PAIRS if kind == "pairwise" else LABELS)]
    content = "\n".join([*good[:2], line, *good[2:]]) + "\n"
    with pytest.raises(ValueError, match=rf"judged\.jsonl:3: {says}.*skip_bad_lines=true"):
        preferences(tmp_path, content, kind)
    assert preferences(tmp_path, content, kind, skip_bad_lines=True).left_out["bad lines"] == 1


def test_pairs_that_read_the_same_are_left_out_and_counted(tmp_path, tokenizer):
    """Two responses whose thoughts alone differ are one to a model that sees the summary."""
    same = {
        "prompt": "What is 2?",
        "chosen": "<think> a </think> <answer> 2 </answer>",
        "rejected": "<think> b </think> <answer> 2 </answer>",
    }
    for sees, left_out in (("summary", 1), ("response", 0)):
        found = preferences(tmp_path, [*PAIRS, same], read=reader(Reading(sees), tokenizer, ""))
        assert found.left_out["pairs that read the same"] == left_out


def test_a_file_that_leaves_nothing_to_train_or_to_evaluate_on_says_what_it_has(tmp_path):
    one_prompt = [{"prompt": "a", "chosen": "b", "rejected": "c"}]
    assert not is_held_out("a", 0.3)
    with pytest.raises(ValueError, match=r"has 1 examples to train on and 0 held out by data\.held_out_share=0\.3"):
        preferences(tmp_path, one_prompt)
    with pytest.raises(ValueError, match=r"0 examples to train on and 0 held out.*1 pairs that read the same"):
        preferences(tmp_path, [{"prompt": "a", "chosen": "b", "rejected": "b"}])
    with pytest.raises(config.ConfigError, match=r"config\.data\.path is empty"):
        Preferences(PreferenceDataConfig(""), "pairwise", 0, letters)
    with pytest.raises(FileNotFoundError, match=r"judge\.jsonl; nearest in .*: judged\.jsonl"):
        Preferences(PreferenceDataConfig(str(tmp_path / "judge.jsonl")), "pairwise", 0, letters)


def test_inputs_are_those_of_ids_of_in_the_cold_starts_form_too(tmp_path, tokenizer):
    row = {"prompt": "2 + 2?", "chosen": "|s|2 and 2|s|It is 4.", "rejected": "|s|so much thought|s|5, I say."}
    reading = Reading("summary", "dialogue", max_tokens=16)
    read = reader(reading, tokenizer, "|s|")
    found = preferences(tmp_path, [row], read=read, held_out_share=0.0)
    [example] = found.take(0, 1)
    for each, key in zip(example.inputs, ("chosen", "rejected"), strict=True):
        ids, cut = ids_of(reading, tokenizer, row["prompt"], row[key], "|s|")
        assert list(each.ids) == ids and each.cut == cut
    assert example.inputs[0].length == len("It is 4.")
    assert found.cut == sum(each.cut for each in example.inputs) > 0


@pytest.mark.parametrize(
    "name, rows",
    [
        ("pref_hh_harmless/test_sample", 1500),
        ("pref_mtbench/test", 200),
        ("pref_pandalm/test", 836),
        ("pref_dpo_en_demo/train", 300),
    ],
)
def test_every_public_set_reads_as_it_is(name, rows):
    path = SHARED / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    for kind, inputs in (("pairwise", 2), ("pointwise", 1)):
        cfg = PreferenceDataConfig(str(path), pairs_as_labels=kind == "pointwise", held_out_share=0.1)
        found = Preferences(cfg, kind, 0, letters)
        same = found.left_out["pairs that read the same"]
        assert found.size + len(found.held_out) + same == rows * 2 // inputs and found.left_out["bad lines"] == 0
        assert same <= 1 and {len(e.inputs) for e in found.held_out} == {inputs}
