"""Instructions: the loss is on what the assistant says and nothing else, after the very ids that a sampler is given."""

import dataclasses
import json
import math
import pathlib
import random
import re

import pytest

from r1jax.config import ConfigError, parse
from r1jax.data.batching import pack
from r1jax.data.miniworld import documents
from r1jax.data.sft import InstructionConfig, Instructions, digest
from r1jax.data.tasks import DataConfig, Questions, is_held_out
from r1jax.io import jsonl
from r1jax.text.chat import split_response

SPECIAL = {"<bos>": 1, "<end>": 2, "<user>": 3, "<bot>": 4, "<stop>": 5}
BOS, END, USER, BOT, STOP = SPECIAL.values()
NEWLINE = ord("\n")


class Chatty:
    """Code points and a few special tokens, with a chat template that puts a newline after each turn, as many do."""

    eos_ids = (END, STOP)

    def encode(self, text: str) -> list[int]:
        pieces = re.split("(<[a-z]+>)", text.removeprefix("<bos>"))
        return [BOS, *(i for piece in pieces for i in ([SPECIAL[piece]] if piece in SPECIAL else map(ord, piece)))]

    def render_chat(self, messages, add_generation_prompt=True, now=None) -> str:
        if any(message["role"] not in ("user", "assistant") for message in messages):
            raise ValueError("the template knows no such role")
        return "<bos>" + "".join(map(self.turn, messages)) + "<bot>" * add_generation_prompt

    def turn(self, message) -> str:
        return ("<user>" if message["role"] == "user" else "<bot>") + message["content"] + "<end>\n"


class Forgetful(Chatty):
    """As reasoning models' templates are: earlier answers are shown without their thoughts."""

    def turn(self, message) -> str:
        return super().turn(message | {"content": message["content"].split("</think>")[-1]})


class Prompting(Chatty):
    """Opens the thought for the sampler, and not in a conversation that has been held."""

    def render_chat(self, messages, add_generation_prompt=True, now=None) -> str:
        return super().render_chat(messages, add_generation_prompt) + "<think>" * add_generation_prompt


class Dated(Chatty):
    """Tells the model the date, as Llama 3's template does."""

    def render_chat(self, messages, add_generation_prompt=True, now=None) -> str:
        date = now.date() if now else "the clock's"
        return super().render_chat(messages, add_generation_prompt).replace("<bos>", f"<bos>{date} ")


class Open(Chatty):
    """Ends no turn."""

    def turn(self, message) -> str:
        return super().turn(message).replace("<end>", "")


def said(*turns: str) -> dict:
    """A conversation, the user first."""
    roles = ("user", "assistant") * len(turns)
    return {"messages": [{"role": role, "content": turn} for role, turn in zip(roles, turns, strict=False)]}


def instructions(tmp_path, *rows, tokenizer=None, seq_len=1000, seed=0, **settings) -> Instructions:
    path = tmp_path / "data.jsonl"
    jsonl.write(path, rows)
    settings = {"template": "plain", "chat": True, "held_out_share": 0.0} | settings
    return Instructions(InstructionConfig(path=str(path), **settings), seed, tokenizer or Chatty(), seq_len)


def only(tmp_path, row, **settings) -> tuple[list[int], list[int]]:
    """The ids and the mask of one row."""
    [(ids, mask)] = instructions(tmp_path, row, **settings).take(0, 1)
    return list(ids), list(mask)


a, b, c, d = map(ord, "abcd")


def test_trap04_the_response_and_its_end_are_trained_on_and_the_prompt_is_not(tmp_path):
    row = {"prompt": "ab", "response": "cd"}
    assert only(tmp_path, row, chat=False) == ([BOS, a, b, c, d, END], [0, 0, 0, 1, 1, 1])
    assert only(tmp_path, row) == ([BOS, USER, a, b, END, NEWLINE, BOT, c, d, END], [0] * 7 + [1] * 3)


def test_trap04_every_turn_of_the_assistant_is_trained_on_with_its_end_and_nothing_between(tmp_path):
    ids, mask = only(tmp_path, said("a", "bb", "c", " d\n"))
    first, second = [BOS, USER, a, END, NEWLINE, BOT], [NEWLINE, USER, c, END, NEWLINE, BOT]
    assert ids == [*first, b, b, END, *second, d, END]
    assert mask == [0] * 6 + [1] * 3 + [0] * 6 + [1] * 2
    # What the sampler would be given before the last turn is what stands before it here.
    assert ids[:-2] == Chatty().encode(Chatty().render_chat(said("a", "bb", "c")["messages"]))


def test_the_weights_of_a_batch_are_on_the_targets_that_the_mask_names(tmp_path):
    batch, left_over = pack(instructions(tmp_path, {"prompt": "ab", "response": "cd"}).take(0, 1), 1, 12)
    assert left_over == 0
    assert batch.targets[0][batch.weights[0] > 0].tolist() == [c, d, END]


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("template", ["plain", "r1_zero"])
def test_trap06_what_is_taught_follows_the_very_prompt_that_is_sampled_from(tmp_path, template, chat):
    rows = [{"prompt": f"{i} + {i}?", "answer": str(2 * i), "response": f"it is {2 * i}"} for i in range(30)]
    taught = instructions(tmp_path, *rows, template=template, chat=chat)
    cfg = DataConfig(path=str(tmp_path / "data.jsonl"), template=template, chat=chat, held_out_share=0.0)
    asked = Questions(cfg, 0, Chatty(), examine=lambda row: "maths")
    for prompt, (ids, mask) in zip(asked.take(0, 40), taught.take(0, 40), strict=True):  # one seed, one order
        n = len(prompt.ids)
        assert tuple(ids[:n]) == prompt.ids and prompt.ids.count(BOS) == 1
        assert list(mask) == [0] * n + [1] * (len(ids) - n)
        assert list(ids[n:]) == [*map(ord, f"it is {prompt.answer}"), END]


def test_trap33_a_prompt_does_not_change_with_the_day_on_which_it_is_made(tmp_path):
    rows = [{"prompt": "a", "answer": "1", "response": "b"}, said("a", "b", "c", "d")]
    texts = ["".join(map(chr, ids)) for ids, _ in instructions(tmp_path, *rows, tokenizer=Dated()).take(0, 2)]
    jsonl.write(tmp_path / "data.jsonl", rows[:1])
    cfg = DataConfig(path=str(tmp_path / "data.jsonl"), template="plain", chat=True, held_out_share=0.0)
    texts += [prompt.text for prompt in Questions(cfg, 0, Dated(), examine=lambda row: "maths").take(0, 1)]
    assert len(texts) == 3 and all("2024-07-26 " in text for text in texts)


def test_with_a_real_tokenizer_the_response_is_spelled_as_if_it_followed(tokenizer):
    for ids, mask in Instructions(InstructionConfig(), 0, tokenizer, 512).take(0, 20):
        prompt = [i for i, trained in zip(ids, mask, strict=True) if not trained]
        response = tokenizer.decode(ids[len(prompt) :])
        assert tokenizer.encode(tokenizer.decode(prompt)) == prompt and ids[-1] == tokenizer.eos_ids[0]
        assert tokenizer.decode(ids) == f"{tokenizer.decode(prompt)} {response}"
        assert split_response(response).well_formed


def sources(tmp_path, **settings):
    yield lambda seed: Instructions(InstructionConfig(chat=True), seed, Chatty(), 1000)
    rows = [{"prompt": str(i), "response": str(-i)} for i in range(7)]
    yield lambda seed: instructions(tmp_path, *rows, seed=seed)


def test_trap33_the_example_at_a_position_does_not_depend_on_where_reading_began(tmp_path):
    for make in sources(tmp_path):
        whole = make(0).take(0, 20)
        resumed = make(0)
        assert resumed.take(5, 15) == whole[5:] and resumed.take(0, 5) == whole[:5] and resumed.take(3, 0) == []
        assert make(1).take(0, 20) != whole


def test_a_file_shows_every_example_once_an_epoch(tmp_path):
    rows = [{"prompt": "a", "response": str(i)} for i in range(8)]
    epoch = instructions(tmp_path, *rows).take(8, 8)
    assert sorted(chr(ids[-2]) for ids, _ in epoch) == list("01234567")


def test_a_worked_solution_is_right_and_asks_nothing_held_out():
    rng, kinds, checked = random.Random(0), set(), 0
    for _ in range(600):
        question, response = documents.careful_solution(rng, 0.3)
        assert not is_held_out(question, 0.3)
        numbers = [int(n) for n in re.findall(r"\d+", question)]
        final = int(split_response(response).final)
        checked += "not" in response
        if "arithmetic" in question:
            kinds.add("sum")
            assert final == eval(question.split(":")[1].rstrip(" ="))
        elif "GCD" in question:
            kinds.add("gcd")
            assert final == math.gcd(*numbers)
        else:
            kinds.add("relatives")
            assert final - 1 in numbers
    assert len(kinds) == 3
    assert checked > 10  # some err first, see it and mend it


@pytest.mark.parametrize("row", [{"prompt": "{}?", "response": "x"}, said("morning", "hi", "{}?", "x")])
def test_an_example_that_asks_a_held_out_question_is_left_out_and_counted(tmp_path, row):
    rows = [json.loads(json.dumps(row).replace("{}", f"what is {i}")) for i in range(100)]
    hidden = {f"what is {i}?" for i in range(100) if is_held_out(f"what is {i}?", 0.2)}
    source = instructions(tmp_path, *rows, held_out_share=0.2)
    texts = {"".join(map(chr, ids)) for ids, _ in source.take(0, 200)}
    assert not is_held_out("morning", 0.2) and len(hidden) > 5
    assert source.left_out["held-out questions"] == len(hidden)
    assert len(texts) == 100 - len(hidden) and not any(question in text for text in texts for question in hidden)


def test_an_example_too_long_for_a_row_is_left_out_whole_and_counted(tmp_path):
    fits, too_long = {"prompt": "ab", "response": "c" * 6}, {"prompt": "ab", "response": "c" * 7}
    source = instructions(tmp_path, fits, too_long, fits, chat=False, seq_len=9)  # BOS, a, b, six c; END is a target
    assert source.left_out == {"bad": 0, "held-out questions": 0, "longer than seq_len=9": 1}
    assert [len(ids) for ids, _ in source.take(0, 2)] == [10, 10]
    with pytest.raises(ValueError, match=r"no example of .*data.jsonl is left to train on: .* 1 longer than seq_len=9"):
        instructions(tmp_path, too_long, chat=False, seq_len=9)


def test_several_files_are_read_as_one_and_told_apart_in_errors(tmp_path):
    for name, texts in (("one", "abc"), ("two", "defgh")):
        jsonl.write(tmp_path / f"{name}.jsonl", [{"prompt": "?", "response": text} for text in texts])
    paths = tuple(str(tmp_path / f"{name}.jsonl") for name in ("one", "two"))
    cfg = InstructionConfig(paths=paths, template="plain", held_out_share=0.0)
    source = Instructions(cfg, 0, Chatty(), 1000)
    epochs = ["".join(chr(ids[-2]) for ids, _ in source.take(start, 8)) for start in (0, 8)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list("abcdefgh") and epochs[0] != epochs[1]
    assert sorted(epochs[0][:3]) != list("abc")  # mixed, not one after the other
    assert len({digest(cfg, 0), digest(dataclasses.replace(cfg, paths=paths[::-1]), 0)}) == 2
    before = digest(cfg, 0)
    with open(paths[1], "a") as file:
        file.write('{"prompt": "?"}\n')
    assert digest(cfg, 0) != before
    with pytest.raises(ValueError, match=r"two\.jsonl:6: neither 'prompt' and 'response'"):
        Instructions(cfg, 0, Chatty(), 1000)
    lenient = Instructions(dataclasses.replace(cfg, skip_bad_lines=True), 0, Chatty(), 1000)
    assert lenient.left_out["bad"] == 1 and len(lenient.examples) == 8
    assert lenient.notice == f"examples left out of {paths[0]}, {paths[1]}: 1 bad"


def test_solutions_that_fit_are_found_and_a_row_too_short_for_any_says_so():
    lengths = [len(ids) - 1 for ids, _ in Instructions(InstructionConfig(), 0, Chatty(), 1000).take(0, 50)]
    middle = sorted(lengths)[25]
    assert all(len(ids) - 1 <= middle for ids, _ in Instructions(InstructionConfig(), 0, Chatty(), middle).take(0, 50))
    with pytest.raises(ValueError, match=r"fits seq_len=100; the last takes \d+ tokens"):
        Instructions(InstructionConfig(), 0, Chatty(), 100).take(0, 1)


BAD = {
    "no assistant": ({"messages": [{"role": "user", "content": "a"}]}, "end with one of its own"),
    "it begins": ({"messages": [{"role": "assistant", "content": "a"}]}, "begin with a message to the assistant"),
    "no content": ({"messages": [{"role": "user"}]}, "message 0 is {'role': 'user'}"),
    "no messages": ({"messages": "hello"}, "'messages' is 'hello', should be a list"),
    "silent": (said("a", " "), "'messages[1].content' is ' '"),
    "a part": (said("a", ["b"]), "'messages[1].content' is ['b']"),
    "unknown role": ({"messages": [{"role": "wizard", "content": "a"}, *said("a", "b")["messages"]]}, "no such role"),
    "empty response": ({"prompt": "a", "response": ""}, "'response' is ''"),
    "neither": ({"prompt": "a", "answer": "b", "mesages": []}, "has: prompt, answer, mesages"),
    "its own end": ({"prompt": "a", "response": "b<stop>"}, "holds an end-of-turn token itself"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_line_is_named_by_file_and_line_and_can_be_skipped(tmp_path, case):
    row, complaint = BAD[case]
    good = {"prompt": "a", "response": "b"}
    with pytest.raises(ValueError) as caught:
        instructions(tmp_path, good, row)
    assert re.match(r".*data\.jsonl:2: ", str(caught.value)) and complaint in str(caught.value)
    assert "data.skip_bad_lines=true" in str(caught.value)
    assert instructions(tmp_path, good, row, skip_bad_lines=True).left_out["bad"] == 1


def test_turns_that_no_sampler_would_be_shown_so_are_refused_and_can_be_given_one_by_one(tmp_path):
    thoughtful = said("a", "<think>b</think>c", "d", "<think>b</think>c")
    with pytest.raises(ValueError, match=r"word for word what comes before message 3.*a line of its own"):
        instructions(tmp_path, thoughtful, tokenizer=Forgetful())
    ids, mask = only(tmp_path, said("a", "<think>b</think>c"), tokenizer=Forgetful())
    assert ids[-sum(mask) :] == [*map(ord, "<think>b</think>c"), END]
    with pytest.raises(ValueError, match=r"one way for the sampler.*'prompt' and 'response'"):
        instructions(tmp_path, said("a", "b"), tokenizer=Prompting())
    assert only(tmp_path, {"prompt": "a", "response": "b"}, tokenizer=Prompting())[1][-2:] == [1, 1]
    with pytest.raises(ValueError, match="closes an assistant's turn with no end-of-turn token"):
        instructions(tmp_path, said("a", "b", "c", "d"), tokenizer=Open())


def test_messages_without_the_chat_template_say_what_to_set(tmp_path):
    with pytest.raises(ValueError, match=r"data\.jsonl:1: .*set config\.data\.chat=true"):
        instructions(tmp_path, said("a", "b"), chat=False)


@pytest.mark.parametrize(
    "tree, words",
    [
        ({"template": "r1_zeroo"}, ["config.data", "r1_zero"]),
        ({"held_out_share": 1.0}, ["held_out_share=1.0 must be at least 0 and below 1"]),
        ({"path": "a.jsonl", "paths": ["b.jsonl"]}, ["path='a.jsonl'", "are both given", "set path to ''"]),
    ],
)
def test_trap34_a_config_that_makes_no_sense_is_an_error(tree, words):
    with pytest.raises(ConfigError) as caught:
        parse(InstructionConfig, tree, "config.data")
    assert all(word in str(caught.value) for word in words), caught.value


def test_what_made_a_model_is_told_by_the_files_content_and_by_what_the_code_writes(tmp_path, monkeypatch):
    path = pathlib.Path(tmp_path / "data.jsonl")
    cfg = InstructionConfig(path=str(path))
    path.write_text("one\n")
    before = digest(cfg, 0)
    path.write_text("two\n")
    assert digest(cfg, 0) != before
    before = digest(InstructionConfig(), 0)
    assert digest(InstructionConfig(), 1) != before == digest(InstructionConfig(), 0)
    monkeypatch.setattr(documents, "careful_solution", lambda rng, share: ("q", "a"))
    assert digest(InstructionConfig(), 0) != before
