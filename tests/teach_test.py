"""A teacher reads files, killed and resumed, and a student learns from what it wrote: through the entry."""

import json
import pathlib
import random

import jax
import numpy as np
import pytest
from tiny_run import BASE, SFT, merged, rows, timeless, write_config

from r1jax import config
from r1jax.data import teacher_logits
from r1jax.data.miniworld.documents import careful_solution
from r1jax.data.sft import Instructions
from r1jax.data.teacher_logits import SoftTargets
from r1jax.models.io import load_model, open_model
from r1jax.models.transformer import forward, unembed_table
from r1jax.stages import teacher_scoring
from r1jax.stages.teacher_scoring import TeachConfig
from r1jax.tools import train
from r1jax.training import loop

pytestmark = pytest.mark.usefixtures("in_this_process")
K = 8


@pytest.fixture(scope="module")
def small_shards():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teacher_logits, "SHARD", 16)
        patch.setattr(teacher_scoring, "SHARD", 16)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory, small_shards) -> pathlib.Path:
    """Pages of a base, of its teaching, and the file that it reads."""
    folder, rng = tmp_path_factory.mktemp("teach"), random.Random(0)
    with (folder / "examples.jsonl").open("w") as file:
        for _ in range(40):
            question, response = careful_solution(rng, 0.3)
            file.write(json.dumps({"prompt": question, "response": response}) + "\n")
    base = write_config(folder / "base.py", merged(BASE, num_steps=30, optimizer__learning_rate=1e-2))
    data = {"path": str(folder / "examples.jsonl"), "template": "plain", "held_out_share": 0.3}
    page = {
        "stage": "teach",
        "base": base,
        "data": data,
        "batch_size": 4,
        "seq_len": 160,
        "top_k": K,
        "logprob_chunk": 32,
    }
    write_config(folder / "teach.py", page)
    student = merged(SFT, base=base, data=data, epochs=2.0, num_steps=0, documents_per_step=0)
    write_config(folder / "student.py", student)
    return folder


def main(folder: pathlib.Path, page: str, workdir: str, *overrides: str) -> int:
    options = [f"--config.{each}" for each in overrides]
    return train.main([f"--config={folder / page}.py", f"--workdir={folder / 'runs' / workdir}", *options])


def page_of(folder: pathlib.Path) -> TeachConfig:
    return train.read_config(str(folder / "teach.py"), [])


@pytest.fixture(scope="module")
def taught(folder) -> pathlib.Path:
    assert main(folder, "teach", "taught") == 0
    return folder / "runs" / "taught"


def shards(workdir: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in workdir.glob("*.npy")}


@pytest.fixture(scope="module")
def teacher(taught) -> pathlib.Path:
    [model] = taught.parent.glob("base-*/model")
    return model


def test_what_is_stored_is_the_teachers_own_distribution(taught, teacher, mesh1):
    params, model, tokenizer = load_model(teacher, mesh1)
    examples = Instructions(page_of(taught.parent.parent).data, 0, tokenizer, 160).examples
    soft = SoftTargets(taught, tokenizer, examples)
    assert 16 < len(examples) == json.loads((taught / "setup.json").read_text())["examples"]

    @jax.jit
    def likeliest(ids):
        hidden = forward(params, model, ids[None], np.arange(len(ids))[None]).hidden
        return jax.lax.top_k(jax.nn.log_softmax(hidden @ unembed_table(params).T)[0], K)

    for example in (examples[0], examples[17], examples[-1]):  # of both shards
        ids, mask = (np.asarray(part) for part in example)
        inputs = np.pad(ids[:-1], (0, 161 - len(ids)))  # all of one length: what follows a token does not reach it
        top, named = (np.asarray(found)[: len(ids) - 1][mask[1:] > 0] for found in likeliest(inputs))
        [(stored_ids, stored)] = soft.of([example])
        assert (stored_ids == named).mean() > 0.99  # two as likely may change places
        np.testing.assert_allclose(np.float32(stored[:, :K]), top, rtol=2e-3, atol=1e-4)
        np.testing.assert_allclose(np.exp(np.float32(stored)).sum(axis=-1), 1.0, atol=2e-3)


def test_trap33_stopped_between_and_resumed_it_writes_the_same(taught, folder, monkeypatch, capsys):
    write = teacher_logits.write_shard

    def stop_at_1(workdir, index, words):
        if index == 1:
            raise ValueError("stopped")
        write(workdir, index, words)

    with monkeypatch.context() as patch:
        patch.setattr(teacher_logits, "write_shard", stop_at_1)
        assert main(folder, "teach", "resumed") == 2
    stopped = shards(folder / "runs" / "resumed")
    assert stopped.keys() == {"examples.npy", "00000.npy"}
    assert main(folder, "teach", "resumed") == 0
    assert shards(folder / "runs" / "resumed") == shards(taught)
    capsys.readouterr()
    assert main(folder, "teach", "resumed") == 0 and "examples are read" in capsys.readouterr().out


def test_another_setting_in_the_same_workdir_is_refused(taught, folder, capsys):
    assert main(folder, "teach", "taught", "temperature=2.0") == 2
    assert "temperature: 1.0 -> 2.0" in capsys.readouterr().err
    assert main(folder, "teach", "many", "top_k=1000") == 2
    assert "config.top_k=1000 is more than the 512 tokens" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"data": {"path": ""}}, "the teacher reads files"),
        ({"temperature": 0.0}, "temperature=0.0 must be above 0"),
        ({"top_k": 0}, "top_k=0 must be at least 1"),
    ],
)
def test_trap34_a_config_that_makes_no_sense_is_an_error(changes, words):
    tree = {"stage": "teach", "data": {"path": "x.jsonl"}, "batch_size": 1, "seq_len": 8} | changes
    with pytest.raises(config.ConfigError, match=words):
        config.parse(TeachConfig, tree)


@pytest.mark.slow
def test_trap33_a_student_that_learns_from_it_resumes_too(taught, folder, monkeypatch):
    options = f"soft_targets={taught}", "epochs=4", "checkpoint.every=2"
    assert main(folder, "student", "whole", *options) == 0
    write = loop.MetricsWriter.write

    def stop_at_3(self, step, row):
        if step == 3:
            raise ValueError("stopped")
        write(self, step, row)

    with monkeypatch.context() as patch:
        patch.setattr(loop.MetricsWriter, "write", stop_at_3)
        assert main(folder, "student", "killed", *options) == 2
    assert main(folder, "student", "killed", *options) == 0
    whole, killed = (
        [timeless(row) for row in rows(folder / "runs" / name / "metrics.jsonl")] for name in ("whole", "killed")
    )
    assert whole == killed and len(whole) > 4
    assert whole[0]["loss"] == pytest.approx(0.5 * whole[0]["cross_entropy"] + 0.5 * whole[0]["kl"], rel=1e-5)
    assert whole[0]["kl"] < 1e-3 < whole[-1]["kl"]  # it began as its teacher, and went on by the texts


@pytest.mark.slow
@pytest.mark.parametrize("kl", ["forward", "reverse"])
def test_a_student_from_nothing_takes_its_teachers_vocabulary_and_comes_close_to_it(taught, folder, teacher, kl):
    """Of another family, taught by logits alone."""
    page = {
        "stage": "supervised",
        "model": merged(BASE["model"], num_layers=1, attention_bias=True),
        "tokenizer": str(folder / "base.py"),
        "data": config.to_dict(page_of(folder).data),
        "epochs": 40.0,
        "batch_size": 8,
        "seq_len": 160,
        "documents_per_step": 0,
        "soft_targets": str(taught),
        "distillation": {"weight": 1.0, "kl": kl},
        "optimizer": {"learning_rate": 1e-2, "warmup_steps": 3},
        "corpus": {"held_out_share": 0.3},
    }
    write_config(folder / "learn.py", page)
    workdir = folder / "runs" / f"learnt-{kl}"
    assert main(folder, "learn", workdir.name) == 0
    divergences = [row["kl"] for row in rows(workdir / "metrics.jsonl")]
    assert np.mean(divergences[-5:]) < 0.5 * np.mean(divergences[:5])
    assert open_model(workdir / "model").cfg.attention_bias
    assert (workdir / "model/tokenizer.model").read_bytes() == (teacher / "tokenizer.model").read_bytes()


def test_a_student_of_another_vocabulary_or_another_template_is_told_at_the_start(taught, folder, capsys):
    assert main(folder, "student", "told", f"soft_targets={taught}", "data.template=dialogue") == 2
    assert "has no word on" in capsys.readouterr().err
    assert main(folder, "student", "nowhere", f"soft_targets={folder / 'runs' / 'nothing'}") == 2
    assert "holds no soft targets" in capsys.readouterr().err
