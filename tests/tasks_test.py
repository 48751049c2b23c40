"""Questions: a pure function of the seed, split by their own text, and every fault in the data told at the start."""

import collections
import dataclasses
import json
import os
import pathlib
import pickle
import subprocess
import sys
import unicodedata

import pytest

from r1jax.config import ConfigError, parse
from r1jax.data.tasks import DataConfig, Questions, TaskConfig, is_held_out
from r1jax.io import jsonl
from r1jax.text import chat

DATA = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
CHAIN_SUM = TaskConfig("chain_sum", options={"min_terms": 2, "max_terms": 4, "min_digits": 1, "max_digits": 2})
MIXTURE = DataConfig(tasks=(CHAIN_SUM, TaskConfig("gcd", 3.0), TaskConfig("leg_counting", 0.5)))


class Letters:
    """A tokenizer of code points, with a beginning of sequence."""

    def encode(self, text: str) -> list[int]:
        return [1, *map(ord, text)]


def digits_only(row: jsonl.Row) -> str:
    if not row["answer"].isdecimal():
        raise ValueError(f"the answer {row['answer']!r} is no number")
    return row.get("grader", "digits")


def questions(cfg: DataConfig, seed: int = 0) -> Questions:
    return Questions(cfg, seed, Letters(), examine=digits_only)


def from_file(tmp_path, count: int = 200, **settings) -> DataConfig:
    path = tmp_path / "sums.jsonl"
    jsonl.write(path, [{"prompt": f"{i} + {i}?", "answer": str(2 * i)} for i in range(count)])
    return DataConfig(path=str(path), **settings)


@pytest.fixture(params=["tasks", "file"])
def cfg(request, tmp_path):
    return MIXTURE if request.param == "tasks" else from_file(tmp_path)


@pytest.mark.parametrize("held_out", [False, True])
def test_trap33_the_question_at_a_position_does_not_depend_on_where_reading_began(cfg, held_out):
    whole = questions(cfg).take(0, 10, held_out)
    resumed = questions(cfg)
    assert resumed.take(0, 5, held_out) + resumed.take(5, 5, held_out) == whole
    assert resumed.take(7, 1, held_out) == whole[7:8]
    assert questions(cfg, seed=1).take(0, 10, held_out) != whole
    assert resumed.take(3, 0, held_out) == []


def test_another_process_asks_the_same_questions():
    code = (
        "from r1jax.data.tasks import *; from tests.tasks_test import MIXTURE, questions; import json;"
        "print(json.dumps([(p.id, p.question) for p in questions(MIXTURE).take(0, 20)]))"
    )
    here = pathlib.Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(here)}
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, cwd=here, check=True)
    assert json.loads(output.stdout) == [[p.id, p.question] for p in questions(MIXTURE).take(0, 20)]


def test_no_question_is_on_both_sides_whatever_the_seed(cfg):
    training = {p.question for seed in range(3) for p in questions(cfg, seed).take(0, 300)}
    held_out = {p.question for seed in range(3, 6) for p in questions(cfg, seed).take(0, 10, held_out=True)}
    assert not training & held_out
    assert not any(is_held_out(question, cfg.held_out_share) for question in training)
    assert all(is_held_out(question, cfg.held_out_share) for question in held_out)


def test_the_share_held_out_is_the_one_asked_for():
    texts = [f"{i} + 1 =" for i in range(4000)]
    for share in (0.0, 0.1, 0.5, 1.0):
        assert abs(sum(is_held_out(text, share) for text in texts) / len(texts) - share) < 0.02
    assert all(is_held_out(text, 0.5) for text in texts if is_held_out(text, 0.1))


def test_white_space_moves_no_question_across_the_split():
    for i in range(100):
        assert is_held_out(f"what is {i}?", 0.5) == is_held_out(f"  what\nis {i}?\n", 0.5)


def test_a_prompt_carries_its_template_its_ids_and_what_its_grader_needs():
    for prompt in questions(MIXTURE).take(0, 20):
        task, position, candidate = prompt.id.rsplit("-", 2)
        assert prompt.source == f"reasoning_gym:{task}"
        assert prompt.metadata["entry_metadata"]["source_dataset"] == task
        assert prompt.metadata["entry_metadata"]["source_index"] == int(candidate)
        assert prompt.text == chat.render("r1_zero", prompt.question)
        assert prompt.ids == (1, *map(ord, prompt.text))
        assert 0 <= int(position) < 20
        assert pickle.loads(pickle.dumps(prompt)) == prompt
        json.dumps(prompt.metadata)


def test_through_a_chat_template_the_rendered_template_is_the_users_message():
    class Chat(Letters):
        def render_chat(self, messages, now) -> str:
            return "".join(f"{message['role']}: {message['content']}|" for message in messages) + "assistant: "

    plain = questions(MIXTURE).take(0, 5)
    cfg = dataclasses.replace(MIXTURE, chat=True)
    for before, prompt in zip(plain, Questions(cfg, 0, Chat(), examine=digits_only).take(0, 5), strict=True):
        assert prompt.question == before.question  # and with it the split, which knows no template
        assert prompt.text == f"user: {before.text}|assistant: "
        assert prompt.ids == (1, *map(ord, prompt.text))


def test_the_chat_template_is_given_its_arguments():
    class Chat(Letters):
        def render_chat(self, messages, now, enable_thinking=True) -> str:
            return messages[0]["content"] + "!" * enable_thinking

    cfg = dataclasses.replace(MIXTURE, chat=True, template_arguments={"enable_thinking": False})
    [prompt] = Questions(cfg, 0, Chat(), examine=digits_only).take(0, 1)
    assert prompt.text == questions(MIXTURE).take(0, 1)[0].text
    with pytest.raises(ConfigError, match=r"template_arguments=.*set chat=true"):
        parse(DataConfig, {"path": "a", "chat": False, "template_arguments": {"enable_thinking": False}}, "config.data")


@pytest.mark.parametrize("held_out", [False, True])
def test_questions_with_too_long_a_prompt_are_left_out_and_counted(cfg, held_out):
    cfg = dataclasses.replace(cfg, tasks=(CHAIN_SUM,) if cfg.tasks else ())
    free = questions(cfg).take(0, 5, held_out)
    limit = max(len(prompt.ids) for prompt in free) - 1  # the beginning of sequence and the template are counted
    limited = questions(dataclasses.replace(cfg, max_prompt_tokens=limit))
    for source in (limited, Questions(cfg, 0, Letters(), examine=digits_only, prompt_limit=limit)):
        taken = source.take(0, 5, held_out)
        assert len(taken) == 5 and all(len(prompt.ids) <= limit for prompt in taken)
        assert source.too_long and source.left_out() == (
            f"{source.too_long} questions with a prompt of more than {limit} tokens left out"
        )
    assert limited.take(2, 3, held_out) == limited.take(0, 5, held_out)[2:]
    assert not questions(dataclasses.replace(cfg, max_prompt_tokens=10_000)).left_out()


def test_prompts_are_counted_whatever_the_template_and_the_tokenizer_make_of_their_characters(tmp_path):
    class Expanding(Letters):
        def render_chat(self, messages, now) -> str:
            return "".join(message["content"] * 3 for message in messages)

        def encode(self, text: str) -> list[int]:
            return super().encode(unicodedata.normalize("NFKC", text))

    rows = [{"prompt": mark * n, "answer": "1"} for mark in ("a", "\ufdfa") for n in range(1, 60)]
    jsonl.write(tmp_path / "rows.jsonl", rows)
    cfg = DataConfig(path=str(tmp_path / "rows.jsonl"), template="plain", chat=True, held_out_share=0.0)
    lengths = [len(p.ids) for p in Questions(cfg, 0, Expanding(), examine=digits_only).take(0, len(rows))]
    for limit in (20, 100, 1000):
        source = Questions(cfg, 0, Expanding(), examine=digits_only, prompt_limit=limit)
        assert source.too_long == sum(length > limit for length in lengths)


def test_a_limit_that_no_prompt_keeps_or_that_nobody_can_count_is_an_error(tmp_path):
    cfg = from_file(tmp_path, template="plain", max_prompt_tokens=3)
    with pytest.raises(ValueError, match=r"all 200 prompts have more than 3 tokens: raise data\.max_prompt_tokens"):
        questions(cfg)
    with pytest.raises(ValueError, match="tries gave no new one of 3 tokens at most"):
        questions(dataclasses.replace(MIXTURE, max_prompt_tokens=3)).take(0, 1)
    with pytest.raises(ConfigError, match=r"max_prompt_tokens=3 is counted by the model's own tokenizer.*set it to 0"):
        Questions(cfg, 0, None, examine=digits_only)


@pytest.mark.parametrize("key", ["system", "tools"])
def test_trap41_a_question_that_calls_for_more_than_its_prompt_is_refused(tmp_path, key):
    rows = [{"prompt": "1 + 1?", "answer": "2", key: None}, {"prompt": "2 + 2?", "answer": "4", key: ["a"]}]
    jsonl.write(tmp_path / "rows.jsonl", rows)
    cfg = DataConfig(path=str(tmp_path / "rows.jsonl"), skip_bad_lines=True)
    assert questions(cfg).skipped == 1
    with pytest.raises(ValueError, match=rf"rows\.jsonl:2: '{key}' is not given to the model"):
        questions(dataclasses.replace(cfg, skip_bad_lines=False))


def test_ids_are_unique_within_a_run_both_sides_together(cfg):
    source = questions(cfg)
    # More than an epoch of the file, so that questions come again.
    ids = [p.id for p in source.take(0, 400)] + [p.id for p in source.take(0, 10, held_out=True)]
    assert len(set(ids)) == len(ids)


def test_tasks_are_drawn_by_weight():
    drawn = collections.Counter(p.source for p in questions(MIXTURE).take(0, 3000))
    for task in MIXTURE.tasks:
        assert abs(drawn[f"reasoning_gym:{task.name}"] / 3000 - task.weight / 4.5) < 0.03


def test_neighbouring_seeds_do_not_share_their_questions():
    cfg = DataConfig(tasks=(TaskConfig("gcd"),))
    first, second = ({p.id.rsplit("-")[-1] for p in questions(cfg, seed).take(0, 500)} for seed in (0, 1))
    assert len(first) == 500 and not first & second


def test_held_out_questions_are_all_different_and_too_small_a_task_says_so():
    tiny = TaskConfig("chain_sum", options={"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1})
    source = questions(DataConfig(tasks=(tiny,), held_out_share=0.3))
    asked = [p.question for p in source.take(0, 40, held_out=True)]
    assert len(set(asked)) == 40
    # One digit and two terms make 200 questions.
    with pytest.raises(ValueError, match=r"chain_sum is too small.*held_out_share=0\.3"):
        source.take(0, 200, held_out=True)


def test_the_graders_of_the_library_take_every_task_back():
    import reasoning_gym

    names = ("chain_sum", "gcd", "simple_equations", "basic_arithmetic", "number_sorting", "spell_backward")
    cfg = DataConfig(tasks=tuple(TaskConfig(name) for name in (*names, "syllogism", "leg_counting")))
    for prompt in questions(cfg).take(0, 40):
        entry = {"question": prompt.question, "answer": prompt.answer, "metadata": prompt.metadata["entry_metadata"]}
        score = reasoning_gym.get_score_answer_fn(prompt.source.removeprefix("reasoning_gym:"))
        assert score(prompt.answer, entry) == 1.0


@pytest.mark.parametrize(
    "task, words",
    [
        (TaskConfig("chain_sums"), ["chain_sums", "nearest: chain_sum"]),
        (TaskConfig("gcd", options={"max_valu": 3}), ["'max_valu'", "nearest: max_value"]),
        (TaskConfig("gcd", options={"seed": 3}), ["no option 'seed'"]),
        (TaskConfig("gcd", options={"min_value": 9, "max_value": 3}), ["gcd refuses", "max_value"]),
        (TaskConfig("gcd", options={"max_value": "many"}), ["gcd refuses"]),
        (TaskConfig("composite"), ["composite refuses"]),
        (TaskConfig("word_ladder"), ["word_ladder", "in every process"]),
    ],
)
def test_a_task_that_cannot_be_made_is_told_by_name(task, words):
    with pytest.raises(ConfigError) as caught:
        questions(DataConfig(tasks=(task,)))
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("task", ["binary_matrix", "countdown", "n_queens", "puzzle24", "simple_integration"])
def test_a_task_whose_scorer_evaluates_answers_is_asked_too_for_its_grader_does_not(task):
    [prompt] = questions(DataConfig(tasks=(TaskConfig(task),))).take(0, 1)
    assert prompt.grader == "reasoning_gym" and prompt.answer


def test_a_task_that_lists_its_entries_ahead_is_made_at_once():
    [prompt] = questions(DataConfig(tasks=(TaskConfig("gsm_symbolic"),))).take(0, 1)
    assert prompt.source == "reasoning_gym:gsm_symbolic"


@pytest.mark.parametrize(
    "tree, words",
    [
        ({}, ["config.data: no questions", "tasks", "path"]),
        ({"path": "x", "template": "r1_zeroo"}, ["config.data", "r1_zero"]),
        ({"path": "x", "held_out_share": 1.5}, ["held_out_share=1.5 must be between 0 and 1"]),
        ({"tasks": ({"name": "gcd", "weight": 0},)}, ["config.data.tasks.0", "above 0"]),
    ],
)
def test_trap34_a_data_config_that_makes_no_sense_is_an_error(tree, words):
    with pytest.raises(ConfigError) as caught:
        parse(DataConfig, tree, "config.data")
    assert all(word in str(caught.value) for word in words), caught.value


def test_one_field_puts_a_file_in_the_tasks_place(tmp_path):
    path = from_file(tmp_path).path
    source = questions(DataConfig(tasks=MIXTURE.tasks, path=path))
    assert {p.source for p in source.take(0, 20)} == {"digits:sums.jsonl"}


@pytest.mark.parametrize("skip_bad_lines", [False, True])
def test_trap25_a_gold_answer_that_cannot_be_graded_is_an_error_at_load_time(tmp_path, skip_bad_lines):
    cfg = from_file(tmp_path, skip_bad_lines=skip_bad_lines)
    for answer in ("\\frac{", "about six"):
        jsonl.append(cfg.path, {"prompt": "a bad one", "answer": answer})
    if skip_bad_lines:
        source = questions(cfg)
        assert source.skipped == 2
        assert "a bad one" not in {p.question for p in source.take(0, 300)}
    else:
        with pytest.raises(ValueError, match=r"sums\.jsonl:201: the answer .* is no number"):
            questions(cfg)


def test_a_file_shows_every_training_question_once_an_epoch_and_its_held_out_ones_once(tmp_path):
    cfg = from_file(tmp_path)
    held_out = sum(is_held_out(f"{i} + {i}?", 0.1) for i in range(200))
    jsonl.append(
        cfg.path, {"prompt": next(f"{i} + {i}?" for i in range(200) if is_held_out(f"{i} + {i}?", 0.1)), "answer": "0"}
    )
    source = questions(cfg)
    assert len({p.question for p in source.take(0, 200 - held_out)}) == 200 - held_out
    assert len({p.question for p in source.take(0, held_out, held_out=True)}) == held_out
    with pytest.raises(ValueError, match=f"has {held_out} held-out questions, {held_out + 1} are asked for"):
        source.take(0, held_out + 1, held_out=True)


def test_training_questions_without_those_that_come_again(tmp_path):
    cfg = from_file(tmp_path)
    jsonl.append(cfg.path, {"prompt": "7 + 7?", "answer": "14"})
    ours = [f"{i} + {i}?" for i in range(200) if not is_held_out(f"{i} + {i}?", 0.1)]
    source = questions(cfg)
    for count in (0, 201, 10**6):
        assert sorted(p.question for p in source.training(count)) == sorted(ours)
    assert source.training(9) == source.take(0, 9)
    small = questions(
        DataConfig(tasks=(TaskConfig("chain_sum", options={"min_digits": 1, "max_digits": 1, "max_terms": 2}),))
    )
    assert len({p.question for p in small.training(300)}) == len(small.training(300)) < 300
    with pytest.raises(ValueError, match="tasks have no end"):
        small.training(0)
    with pytest.raises(ValueError, match="has 0 training questions"):
        questions(dataclasses.replace(cfg, held_out_share=1.0)).training(0)


def test_without_a_tokenizer_a_server_has_the_chat_template():
    cfg = dataclasses.replace(MIXTURE, chat=True)
    for plain, prompt in zip(
        questions(MIXTURE).take(0, 5), Questions(cfg, 0, None, examine=digits_only).take(0, 5), strict=True
    ):
        assert (prompt.text, prompt.ids) == (plain.text, ())


@pytest.mark.parametrize("share, held_out", [(0.0, True), (1.0, False)])
def test_an_empty_side_is_an_error(tmp_path, share, held_out):
    for cfg in (from_file(tmp_path, held_out_share=share), DataConfig(tasks=(CHAIN_SUM,), held_out_share=share)):
        with pytest.raises(ValueError, match="held_out_share="):
            questions(cfg).take(0, 1, held_out)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no data at {DATA}")
def test_a_real_file_takes_the_tasks_place():
    cfg = DataConfig(path=str(DATA / "gsm8k" / "test.jsonl"), held_out_share=0.2)
    source = Questions(cfg, 0, Letters(), examine=lambda row: "maths")
    prompts = source.take(0, 50) + source.take(0, 50, held_out=True)
    assert len({p.id for p in prompts}) == 100 and all(p.answer for p in prompts)
