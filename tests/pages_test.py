"""The shipped pages: every size parses, its tasks exist, and one that cannot ship its base asks for it."""

import pathlib

import pytest

from r1jax import config, train
from r1jax.data.tasks import Questions
from r1jax.losses.grpo import GRPOConfig
from r1jax.stages.rl import RLConfig

ROOT = pathlib.Path(__file__).resolve().parent.parent
THE_USERS = ["zero.py:smollm2", "zero.py:hf", "zero.py:paper", "sft.py:smollm2"]


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


@pytest.mark.parametrize("name", ["zero.py:smolm2", "sft.py:smolm2"])
def test_a_size_that_does_not_exist_is_told_with_those_that_do(name):
    with pytest.raises(config.ConfigError, match=r"no size named 'smolm2'; there are: mini, smollm2"):
        page(name)
