"""The shipped pages: every size parses, its tasks exist, and one that cannot ship its base asks for it."""

import dataclasses
import json
import pathlib

import pytest
from handmade import read_folder, shapes

from r1jax import config
from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES
from r1jax.data.tasks import Questions
from r1jax.losses.grpo import GRPOConfig
from r1jax.models.io import save_model
from r1jax.models.transformer import param_specs
from r1jax.stages import base_keys
from r1jax.stages.rl import RLConfig
from r1jax.tools import convert, train

ROOT = pathlib.Path(__file__).resolve().parent.parent
STUDENTS = {  # the paper's learning rates
    "qwen2_5_1_5b": 1e-4,
    "qwen2_5_7b": 8e-5,
    "qwen2_5_14b": 7e-5,
    "qwen2_5_32b": 6e-5,
    "llama3_1_8b": 5e-5,
    "llama3_3_70b": 2e-5,
}
THE_USERS = [
    "zero.py:smollm2",
    "zero.py:hf",
    "zero.py:paper",
    "sft.py:smollm2",
    "sft.py:paper",
    "distill.py:mini_teach",
    "reasoning.py:hf",
    "reasoning.py:paper",
    "reasoning.py:deepseek_v3",
    "reasoning.py:smollm2",
    "all_scenario.py:paper",
    "preference.py:smollm2",
    *(f"distill.py:{size}" for size in STUDENTS),
]


class Letters:
    """Code points are ids."""

    def encode(self, text: str) -> list[int]:
        return list(map(ord, text))

    def render_chat(self, messages, now) -> str:
        return f"[{messages[-1]['content']}]"


def page(name: str, *overrides: str):
    return train.read_config(str(ROOT / "configs" / name), list(overrides))


@pytest.mark.parametrize("name", THE_USERS)
def test_a_page_without_a_base_asks_for_it_and_one_field_is_all_it_needs(name):
    with pytest.raises(config.ConfigError, match=r"config\.base is empty.*--config\.base="):
        page(name)
    assert page(name, "base=/models/some").base == "/models/some"


@pytest.mark.parametrize("name", [name for name in THE_USERS if name.startswith("zero")])
def test_the_tasks_of_a_page_can_be_asked_and_held_out(name):
    cfg = page(name, "base=/models/some")
    source = Questions(cfg.data, cfg.seed, Letters(), examine=lambda row: "maths")
    prompts = source.take(0, 50) + source.held_out(cfg.evaluation.questions)
    assert len(prompts) == 50 + cfg.evaluation.questions
    assert {prompt.source.split(":")[1] for prompt in prompts} == {task.name for task in cfg.data.tasks}
    assert all(prompt.text.startswith("[") == cfg.data.chat for prompt in prompts)


def test_fine_tuning_asks_as_the_rl_after_it_does():
    taught, asked = page("sft.py:smollm2", "base=x").data, page("zero.py:smollm2", "base=x").data
    shared = ("template", "chat", "held_out_share")
    assert [getattr(taught, name) for name in shared] == [getattr(asked, name) for name in shared]


def test_the_papers_page_has_the_papers_figures():
    cfg: RLConfig = page("zero.py:paper", "base=/models/DeepSeek-V3-Base")
    assert cfg.grpo == GRPOConfig()  # whose defaults are the paper's
    assert (cfg.optimizer.learning_rate, cfg.optimizer.schedule) == (3e-6, "constant")
    assert (cfg.sampling.max_new_tokens, cfg.sampling.truncation.temperature) == (32_768, 1.0)
    assert cfg.num_steps * cfg.grpo.minibatches == 10_400
    assert (cfg.rewards.accuracy, cfg.rewards.format) == (1.0, 1.0)
    assert (cfg.evaluation.truncation.temperature, cfg.evaluation.truncation.top_p) == (0.6, 0.95)


def test_the_papers_fine_tuning_and_distillation_have_its_figures():
    students = {size: page(f"distill.py:{size}", "base=x") for size in STUDENTS}
    assert {size: cfg.optimizer.learning_rate for size, cfg in students.items()} == STUDENTS
    sft = page("sft.py:paper", "base=x")
    assert (sft.optimizer.learning_rate, sft.batch_size) == (5e-5, 128)
    for cfg in (sft, *students.values()):
        assert (cfg.optimizer.schedule, cfg.optimizer.final_share, cfg.optimizer.warmup_steps) == ("cosine", 0.1, 0)
        assert (cfg.epochs, cfg.seq_len, cfg.documents_per_step) == (2.0, 32_768, 0)
    assert {cfg.batch_size for cfg in students.values()} == {64}


def test_students_read_what_the_recipes_fine_tuning_does_and_what_their_teacher_did(monkeypatch):
    monkeypatch.chdir(ROOT)
    sft, teach = page("sft.py:recipe"), page("distill.py:mini_teach", "base=x")
    for name in ("mini_qwen2", "mini_llama"):
        cfg = page(f"distill.py:{name}")
        # Fine-tuning is given one of the two files more than once.
        assert dataclasses.replace(sft.data, paths=cfg.data.paths) == cfg.data == teach.data
        assert set(sft.data.files) == set(cfg.data.files) and len(cfg.data.files) == 2
        assert cfg.data.template == "dialogue"
        assert cfg.seq_len == sft.seq_len == teach.seq_len
        student, teacher = base_keys.read_supervised(cfg.base), base_keys.read_supervised(sft.base)
        assert student.tokenizer == sft.base and student.held_out_share == teacher.held_out_share


@pytest.mark.parametrize("name, family, tied", [("student_qwen2", "qwen2", True), ("student_llama", "llama", False)])
def test_a_student_goes_out_as_a_model_of_its_family(name, family, tied, tmp_path, mesh1, tokenizer):
    """Names, shapes and keys; `parity_test.py` holds both families' numbers to transformers."""
    cfg = page(f"base.py:{name}")
    model = dataclasses.replace(cfg.model, vocab_size=tokenizer.vocab_size)
    params = core.init(param_specs(model), TRAIN_RULES, mesh1, seed=0)
    with_mini = dataclasses.replace(model, vocab_size=640)
    assert 290_000 < core.count(param_specs(with_mini)) < 330_000
    save_model(tmp_path / "ours", params, model, tokenizer)
    assert convert.main([str(tmp_path / "ours"), str(tmp_path / "out")]) == 0
    theirs = json.loads((tmp_path / "out/config.json").read_text())
    assert (theirs["model_type"], theirs["tie_word_embeddings"]) == (family, tied)
    found = {name: value.shape for name, value in read_folder(tmp_path / "out").items()}
    biases = {name for name in found if name.endswith(".bias")}
    assert ("lm_head.weight" in found) != tied and len(biases) == (3 * model.num_layers if family == "qwen2" else 0)
    if family == "qwen2":
        assert found == shapes(theirs)


@pytest.mark.parametrize("name", ["zero.py:smolm2", "sft.py:smolm2"])
def test_a_size_that_does_not_exist_is_told_with_those_that_do(name):
    with pytest.raises(config.ConfigError, match=r"no size named 'smolm2'; there are: mini, .*smollm2"):
        page(name)
