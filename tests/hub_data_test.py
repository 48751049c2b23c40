"""Data sets of the Hugging Face hub, from a stand-in of it: the files of a split, as training data, and its commit."""

import json
import pathlib

import jax
import pytest
from huggingface_hub import constants
from tiny_run import BASE, SFT, merged, write_config

from r1jax.benchmarks import benchmark, reading
from r1jax.config import ConfigError
from r1jax.data.tasks import DataConfig, Questions
from r1jax.graders.grader_table import check_row
from r1jax.io import hub, row_files
from r1jax.io.hub import HubId
from r1jax.stages.hub_revisions import FILE, pin
from r1jax.stages.table import read_config
from r1jax.tools import audit, train

GSM8K = [{"question": f"{i} + 1?", "answer": f"It is {i + 1}.\n#### {i + 1}"} for i in range(12)]
CARD = """---
license: mit
configs:
- config_name: main
  data_files:
  - split: train
    path: main/train-*
  - split: test
    path: main/test-*
- config_name: socratic
  data_files:
  - split: train
    path: socratic/train-*
---
# A set
"""


def parquet(rows: list[dict], folder: pathlib.Path) -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), folder / "rows.parquet")
    return (folder / "rows.parquet").read_bytes()


def lines(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture
def gsm8k(hub_server, tmp_path) -> str:
    """A set with configs in its card, its training split in two files; the commit."""
    files = {
        "README.md": CARD.encode(),
        "main/train-00000-of-00002.parquet": parquet(GSM8K[:5], tmp_path),
        "main/train-00001-of-00002.parquet": parquet(GSM8K[5:10], tmp_path),
        "main/test-00000-of-00001.parquet": parquet(GSM8K[10:], tmp_path),
        "socratic/train-00000-of-00001.parquet": parquet(GSM8K[:1], tmp_path),
    }
    return hub_server.push("datasets", "someone/gsm8k", files)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("openai/gsm8k:main:train", HubId("dataset", "openai/gsm8k", config="main", split="train")),
        ("a/b:train_sft@v1", HubId("dataset", "a/b", split="train_sft", revision="v1")),
        ("https://huggingface.co/datasets/a/b:test", HubId("dataset", "a/b", split="test")),
        *((text, None) for text in ("data/train.jsonl", "openai/gsm8k", "zero:mini", "C:/a/b", "a/b/c:train")),
    ],
)
def test_a_split_of_the_hub_is_named_by_owner_name_config_and_split(text, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hub.data_id(text) == named
    assert not named or hub.data_id(str(named)) == named


def test_a_split_is_the_files_that_the_card_names(hub_server, gsm8k, monkeypatch):
    questions = Questions(
        DataConfig(path="someone/gsm8k:main:train", columns="gsm8k", held_out_share=0.0), 0, None, examine=check_row
    )
    asked = questions.take(0, 10)
    assert {prompt.question for prompt in asked} == {row["question"] for row in GSM8K[:10]}
    assert asked[0].answer == str(int(asked[0].question.split()[0]) + 1)
    assert {prompt.id.rpartition("-")[0] for prompt in asked} == {f"gsm8k-train-{i}" for i in range(1, 11)}
    assert not [request for request in hub_server.requests if "socratic" in request or "test-0" in request]
    hub._snapshot.cache_clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert len(row_files.read_records("someone/gsm8k:main:train", lambda row, _: row)[0]) == 10
    with pytest.raises(FileNotFoundError, match=r"`hf download someone/gsm8k --repo-type dataset --revision"):
        row_files.files_of("someone/gsm8k:main:test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("someone/gsm8k:train", "several configs; name one of: main, socratic"),
        ("someone/gsm8k:mian:train", "no config 'mian'; name one of: main, socratic"),
        ("someone/gsm8k:socratic:test", "no split 'test'; someone/gsm8k:socratic has train"),
        ("someone/gsm8k", r"no file someone/gsm8k.*named with its split, someone/gsm8k:train"),
        ("someone/none:train", "nor on the Hugging Face hub the data set someone/none"),
    ],
)
def test_what_a_set_does_not_have_is_said_with_what_it_has(gsm8k, text, message):
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        row_files.files_of(text)


def test_without_configs_in_the_card_a_split_is_found_by_the_files_names(hub_server, tmp_path):
    def found(split: str, *names: str) -> list[str]:
        hub_server.push("datasets", "a/plain", {name: lines(GSM8K[:1]) for name in names})
        hub._snapshot.cache_clear()
        files = map(str, row_files.files_of(f"a/plain:{split}"))
        return [file.partition("/snapshots/")[2].partition("/")[2] for file in files]

    names = ("data/train-0.jsonl", "data/train_sft-0.jsonl", "test.jsonl", "test.csv", "zh/test.jsonl", "latest.csv")
    assert found("train", *names) == ["data/train-0.jsonl"]
    assert found("train_sft", *names) == ["data/train_sft-0.jsonl"]
    assert found("zh:test", *names) == ["zh/test.jsonl"]
    assert found("test", *names) == ["test.jsonl", "zh/test.jsonl"]
    assert found("test", "a_test_set.csv", "attest.csv") == ["a_test_set.csv"]
    assert found("train", "problems.jsonl", "problems.csv", "notes.md") == ["problems.jsonl"]
    with pytest.raises(FileNotFoundError, match=r"no files of that split; it has data/train-0.*latest\.csv"):
        found("validation", *names)


@pytest.fixture
def original(hub_server, tmp_path) -> str:
    """The set under the name of GSM8K itself; the commit."""
    files = {"README.md": CARD.encode(), "main/test-00000-of-00001.parquet": parquet(GSM8K, tmp_path)}
    return hub_server.push("datasets", "openai/gsm8k", files)


def test_benchmarks_are_fetched_where_no_folder_of_data_is_named(original):
    assert [text for _, text in reading.questions("gsm8k", "")] == [row["question"] for row in GSM8K]
    name, rows = audit.read("gsm8k", 2)
    assert name == "openai/gsm8k:main:test" and [row["answer"] for row in rows] == ["1", "2"]
    assert audit.read("gsm8k=openai/gsm8k:main:test", 2)[1] == rows
    with pytest.raises(
        ConfigError, match=r"no data for ceval, which is not fetched .* name the folder that holds ceval/"
    ):
        benchmark.source("ceval", "")
    assert benchmark.source("gsm8k", "data") == "data/gsm8k/test.jsonl"


@pytest.mark.usefixtures("in_this_process")
def test_an_evaluation_asks_a_benchmark_from_the_hub_and_keeps_its_commit(hub_server, original, capsys):
    model = next((pathlib.Path(__file__).parents[1] / "r1jax/shipped_models").glob("base-*/model.json")).parent
    fields = {"model": model, "questions": 1, "samples": 1, "sampling.max_new_tokens": 4, "sampling.slots": 1}
    command = [
        "--config=evaluate:gsm8k",
        "--workdir=runs/e",
        *(f"--config.{key}={value}" for key, value in fields.items()),
    ]
    assert train.main(command) == 0, capsys.readouterr().err
    assert json.loads(pathlib.Path("runs/e", FILE).read_text()) == {"openai/gsm8k:main:test": original}
    result = json.loads(pathlib.Path("runs/e/gsm8k/result.json").read_text())
    assert result["stamp"]["data"]["path"] == "gsm8k-test"
    hub_server.push("datasets", "openai/gsm8k", {"test.jsonl": lines(GSM8K[:3])})
    hub._snapshot.cache_clear()
    assert train.main(command) == 0, capsys.readouterr().err


@pytest.mark.usefixtures("in_this_process")
def test_a_run_keeps_the_commit_of_its_data(hub_server, gsm8k, tmp_path, capsys):
    spec = write_config(
        tmp_path / "sft.py",
        merged(
            SFT,
            base=str(pathlib.Path(__file__).parents[1] / "configs/base.py:world"),
            data__path="someone/gsm8k:main:train",
            data__columns="gsm8k",
            data__held_out_share=0.0,
            num_steps=1,
            batch_size=2,
            documents_per_step=2,
            optimizer={"learning_rate": 1e-3},
        ),
    )
    assert train.main([f"--config={spec}", "--workdir=runs/a"]) == 0, capsys.readouterr().err
    assert json.loads(pathlib.Path("runs/a", FILE).read_text()) == {"someone/gsm8k:main:train": gsm8k}
    record = json.loads(pathlib.Path("runs/a/config.json").read_text())
    assert record["data"]["path"] == f"someone/gsm8k:main:train@{gsm8k}"
    hub_server.push("datasets", "someone/gsm8k", {"README.md": b"", "train.jsonl": lines(GSM8K)})
    hub._snapshot.cache_clear()
    assert train.main([f"--config={spec}", "--workdir=runs/a", "--config.num_steps=2"]) == 0
    assert train.main([f"--config={spec}", "--workdir=runs/a", "--config.data.columns=math"]) == 2
    assert "data.columns: 'gsm8k' -> 'math'" in capsys.readouterr().err


def test_benchmarks_while_training_keep_the_commit_that_process_0_found_first(
    hub_server, original, tmp_path, monkeypatch
):
    (tmp_path / "mine.jsonl").write_text(json.dumps({"prompt": "1 + 1?", "answer": "2"}) + "\n")
    names = ("gsm8k", f"math500={tmp_path}/mine.jsonl")
    tree = merged(BASE, num_steps=2, evaluation={"benchmarks": {"names": names}})
    cfg = read_config(write_config(tmp_path / "sft.py", tree), [])
    expected = (f"gsm8k=openai/gsm8k:main:test@{original}", names[1])
    assert pin(cfg, tmp_path).evaluation.benchmarks.names == expected
    hub_server.push("datasets", "openai/gsm8k", {"test.jsonl": lines(GSM8K[:3])})
    for process in (1, 0):  # another host, on the same workdir; a run that is resumed
        hub._snapshot.cache_clear()
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        assert pin(cfg, tmp_path).evaluation.benchmarks.names == expected
    assert len(list(row_files.rows(expected[0].partition("=")[2]))) == len(GSM8K)
