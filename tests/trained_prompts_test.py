"""The prompt format that a model folder records fills in unset config keys; differences cause a warning."""

import dataclasses

import pytest
import tiny_bpe
from handmade import QWEN2, tensors, write_folder

from r1jax.config import ConfigError
from r1jax.data.sft import InstructionConfig
from r1jax.data.tasks import DataConfig, Questions
from r1jax.inference.trained_prompts import check_chat, fill_prompt_format, warn_of_other_format
from r1jax.text import prompt_format
from r1jax.text import tokenizer as text
from r1jax.text.prompt_format import R1_ZERO, PromptFormat
from r1jax.tools import convert

CHAT = PromptFormat("plain", True, "|special_token|", {"enable_thinking": False})
OPEN = DataConfig(path="questions.jsonl")


@pytest.fixture
def policy(tmp_path):
    """A folder that says how its policy was trained."""
    (tmp_path / prompt_format.FILE).write_bytes(CHAT.content())
    return tmp_path


def test_what_a_config_leaves_open_is_as_the_policy_was_trained_and_told(policy, capsys):
    assert prompt_format.read(policy) == CHAT
    filled = fill_prompt_format(OPEN, policy, None, R1_ZERO, "config.data")
    assert PromptFormat.of(filled) == CHAT
    assert capsys.readouterr().out == (
        f"{policy} uses the prompt format that its folder records: "
        "template='plain', chat=True, marker='|special_token|'\n"
    )


def test_a_config_that_asks_otherwise_is_warned_with_both_and_the_keys(policy, capsys):
    cfg = dataclasses.replace(OPEN, template="r1_zero", chat=False, marker="")
    assert fill_prompt_format(cfg, policy, None, R1_ZERO, "config.data") == cfg
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and said.startswith(f"warning: {policy} was trained with template='plain', chat=True")
    assert "this run uses config.data.template='r1_zero', config.data.chat=False, config.data.marker=''" in said
    partly = dataclasses.replace(OPEN, marker="==")
    assert fill_prompt_format(partly, policy, None, R1_ZERO).template == "plain"
    said = capsys.readouterr().out
    assert "warning" in said and "config.marker='=='" in said and "config.chat" not in said
    taught = InstructionConfig(template="plain", chat=True, template_arguments={"enable_thinking": False})
    warn_of_other_format(taught, policy)
    assert not capsys.readouterr().out  # an unknown marker is no other one


def test_a_folder_that_says_nothing_is_asked_by_the_stages_own_form_and_told_by_the_keys(tmp_path, capsys):
    filled = fill_prompt_format(OPEN, tmp_path, None, R1_ZERO, "config.data")
    assert PromptFormat.of(filled) == R1_ZERO
    assert "records no prompt format: the run uses config.data.template='r1_zero'" in capsys.readouterr().out
    said = dataclasses.replace(OPEN, template="plain", chat=False, marker="==")
    assert (
        fill_prompt_format(said, tmp_path, None, R1_ZERO) == said
        and fill_prompt_format(OPEN, "", None, R1_ZERO) == filled
    )
    assert not capsys.readouterr().out


def test_questions_without_a_form_are_asked_in_that_of_r1_zero(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"prompt": "1 + 1 = ?", "answer": "2"}\n')
    cfg = DataConfig(path=str(tmp_path / "q.jsonl"), held_out_share=0.0)
    [prompt] = Questions(cfg, 0, None, examine=lambda row: "maths").take(0, 1)
    assert "A conversation between User and Assistant" in prompt.text and prompt.marker == ""


@pytest.mark.parametrize("key", ["config.chat", "config.data.chat"])
def test_a_missing_chat_template_names_the_key_that_asked_for_it(key, tokenizer, tmp_path):
    with pytest.raises(ConfigError, match=rf"^{key}=true, and the model has no chat template: set {key}=false"):
        fill_prompt_format(
            dataclasses.replace(OPEN, chat=True), tmp_path, tokenizer, R1_ZERO, key.removesuffix(".chat")
        )
    check_chat(tokenizer, False, key)
    tiny_bpe.write_folder(tmp_path, tiny_bpe.train(), tokenizer_config=tiny_bpe.CONFIG | {"chat_template": "plain"})
    check_chat(text.load(tmp_path), True, key)
    with pytest.raises(ValueError, match="the model has no chat template") as error:
        tokenizer.render_chat([])
    assert "data.chat" not in str(error.value)  # a tokenizer does not know who asks


def test_a_form_that_is_broken_is_named(policy):
    (policy / prompt_format.FILE).write_text('{"template": "plain", "chatt": true}')
    with pytest.raises(ValueError, match=r"prompt_form\.json\.chatt; nearest: chat"):
        prompt_format.read(policy)


def test_a_form_goes_along_with_a_converted_model_both_ways(tmp_path, tokenizer):
    write_folder(tmp_path / "theirs", QWEN2, tensors(QWEN2))
    tokenizer.save(tmp_path / "theirs")
    (tmp_path / "theirs" / prompt_format.FILE).write_bytes(CHAT.content())
    for source, target in ("theirs", "ours"), ("ours", "back"):
        assert convert.main([str(tmp_path / source), str(tmp_path / target)]) == 0
        assert prompt_format.read(tmp_path / target) == CHAT
