"""lm-evaluation-harness against the server: its scores on a generation and a likelihood task are those of r1jax."""

import json
import pathlib

import jax
import numpy as np
import pytest
from engine_test import loud
from served_tiny import serve, tiny_model

from r1jax.data.types import Prompt
from r1jax.inference.engine import Engine, SamplingConfig
from r1jax.models.config import Truncation

lm_eval = pytest.importorskip("lm_eval", reason="lm-eval is of the extra parity")
QUESTIONS = [f"{a} + {b} =" for a, b in ((1, 2), (5, 7), (12, 30), (9, 9), (41, 3), (8, 0))]
CHOICES = [" yes", " no", " 12 and more"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer) -> pathlib.Path:
    """The tokenizer as a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("tokenizer")
    assert tokenizer.export(folder)
    return folder


@pytest.fixture(scope="module")
def running(tiny, tiny_params, tokenizer, mesh1):
    with serve([tiny_model(tiny, loud(tiny_params), tokenizer, mesh1)], mesh1) as running:
        yield running


def evaluate(monkeypatch, kind: str, url: str, folder: pathlib.Path, rows: list[dict], task: dict) -> dict:
    """The harness's results on rows of its own."""
    monkeypatch.setenv("HF_HOME", str(folder / "hf"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(folder / "hf" / "datasets"))
    data = folder / f"{task['task']}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = {"model": "tiny", "base_url": url, "num_concurrent": 2, "max_retries": 1, "tokenizer": str(folder)}
    if kind == "local-completions":
        arguments |= {"tokenizer_backend": "huggingface", "max_length": 256, "add_bos_token": True}
    common = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}}, "test_split": "test"}
    results = lm_eval.simple_evaluate(
        model=kind,
        model_args=arguments,
        tasks=[task | common],
        task_manager=lm_eval.tasks.TaskManager(include_defaults=False),
        bootstrap_iters=0,
        apply_chat_template=kind == "local-chat-completions",
    )
    return {**results["results"][task["task"]], "samples": results["samples"][task["task"]]}


def answers(running, tiny, tiny_params, tokenizer, mesh1) -> list[str]:
    """The greedy completions that r1jax draws itself."""
    cfg = SamplingConfig(max_new_tokens=8, truncation=Truncation(0.0), slots=4, window=4, prefill_rows=2, bucket=64)
    prompts = [Prompt(text, text, "", "exact", text, tuple(tokenizer.encode(text))) for text in QUESTIONS]
    with jax.set_mesh(mesh1):
        rollouts = Engine(tiny, cfg, tokenizer, mesh1).generate(loud(tiny_params), prompts, 1, (0,))
    return [rollout.text.strip() for rollout in rollouts]


def test_a_generation_task_has_the_score_of_r1jax(monkeypatch, running, folder, tiny, tiny_params, tokenizer, mesh1):
    own = answers(running, tiny, tiny_params, tokenizer, mesh1)
    references = [text if i % 3 else "something else" for i, text in enumerate(own)]
    rows = [{"question": q, "answer": a} for q, a in zip(QUESTIONS, references, strict=True)]
    task = {
        "task": "sums",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"max_gen_toks": 8, "temperature": 0, "until": ["never found"]},
        "metric_list": [{"metric": "exact_match"}],
        "filter_list": [
            {"name": "stripped", "filter": [{"function": "remove_whitespace"}, {"function": "take_first"}]}
        ],
    }
    found = evaluate(monkeypatch, "local-completions", running.url + "/completions", folder, rows, task)
    expected = np.mean([text == reference for text, reference in zip(own, references, strict=True)])
    assert [sample["filtered_resps"][0] for sample in found["samples"]] == own
    assert found["exact_match,stripped"] == expected == 4 / 6


def test_a_likelihood_task_has_the_score_of_r1jax(monkeypatch, running, folder, tokenizer, mesh1):
    with jax.set_mesh(mesh1):
        session = running.model.open_session()
        sums = []
        for question in QUESTIONS:
            context = tokenizer.encode(question)
            # The harness tokenises question and choice together, as one text.
            whole = [tuple(tokenizer.encode(question + choice)) for choice in CHOICES]
            scored = session.score(whole)
            sums.append([float(one.chosen[len(context) - 1 :].sum()) for one in scored])
    best = np.argmax(sums, axis=1)
    references = [int(b) if i % 2 else int(b + 1) % 3 for i, b in enumerate(best)]
    rows = [{"question": q, "gold": gold} for q, gold in zip(QUESTIONS, references, strict=True)]
    task = {
        "task": "choices",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_target": "gold",
        "doc_to_choice": [choice.strip() for choice in CHOICES],
        "metric_list": [{"metric": "acc"}],
    }
    found = evaluate(monkeypatch, "local-completions", running.url + "/completions", folder, rows, task)
    assert found["acc,none"] == 0.5
    likelihoods = [[float(response[0][0]) for response in sample["resps"]] for sample in found["samples"]]
    np.testing.assert_allclose(likelihoods, sums, atol=1e-3)


def test_a_chat_task_runs(monkeypatch, running, folder):
    rows = [{"question": q, "answer": "x"} for q in QUESTIONS[:2]]
    task = {
        "task": "chat",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"max_gen_toks": 8, "temperature": 0, "until": []},
        "metric_list": [{"metric": "exact_match"}],
    }
    found = evaluate(monkeypatch, "local-chat-completions", running.url + "/chat/completions", folder, rows, task)
    assert found["exact_match,none"] == 0.0
