"""Models of the Hugging Face hub, from a stand-in of it: ids, files fetched, commits kept, offline, what is refused."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tiny_bpe
from free_port import free_port
from handmade import QWEN2, tensors, write_folder
from huggingface_hub import constants
from tiny_run import SFT, merged, rows, write_config

from r1jax.inference.model_identity import model_hash
from r1jax.io import hub
from r1jax.io.hub import HubId
from r1jax.models.io import load_model
from r1jax.stages.hub_revisions import FILE
from r1jax.tools import convert, train

NAME = "Someone/Tiny-0.1B"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """A Qwen2 of two layers with its tokenizer."""
    folder = tmp_path_factory.mktemp("hub") / "model"
    write_folder(folder, QWEN2, tensors(QWEN2))
    return tiny_bpe.write_folder(folder, tiny_bpe.train(), tokenizer_config=tiny_bpe.CONFIG)


def files_of(folder: pathlib.Path, **more: bytes) -> dict[str, bytes]:
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    return content | more


def in_a_new_process(monkeypatch, *, offline: bool = False) -> None:
    hub._snapshot.cache_clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Qwen/Qwen2.5-0.5B", HubId("model", "Qwen/Qwen2.5-0.5B")),
        ("Qwen/Qwen2.5-0.5B@v1.0", HubId("model", "Qwen/Qwen2.5-0.5B", revision="v1.0")),
        ("hf://Qwen/Qwen2.5-0.5B@refs/pr/3", HubId("model", "Qwen/Qwen2.5-0.5B", revision="refs/pr/3")),
        ("https://huggingface.co/Qwen/Qwen2.5-0.5B", HubId("model", "Qwen/Qwen2.5-0.5B")),
        ("hf.co/a/b/q4.gguf", HubId("model", "a/b", "q4.gguf")),
        *((text, None) for text in ("configs/base.py", "models/a.gguf", "base:mini", "zero", "a/b/c", "/a/b", "./a/b")),
    ],
)
def test_a_model_of_the_hub_is_named_by_owner_and_name(text, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hub.model_id(text) == named
    assert not named or hub.model_id(str(named)) == named


def test_a_path_that_is_here_or_whose_folder_is_here_is_never_an_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hub.model_id("runs/zero")
    (tmp_path / "runs").mkdir()
    assert hub.model_id("runs/zero") is None and hub.model_path("runs/zero") == pathlib.Path("runs/zero")
    assert hub.model_id("hf://runs/zero") == HubId("model", "runs/zero")
    assert hub.model_id(f"runs/zero@{'0' * 40}")  # the commit of a run's record


def test_a_model_is_fetched_once_without_files_that_nothing_reads(hub_server, folder, mesh1, monkeypatch):
    others = {"pytorch_model.bin": b"0", "consolidated.safetensors": b"1", "original/model.safetensors": b"2"}
    commit = hub_server.push("models", NAME, files_of(folder, **others))
    path = hub.model_path(NAME)
    assert path.name == commit and {file.name for file in path.rglob("*")} == {file.name for file in folder.iterdir()}
    params, cfg, _ = load_model(path, mesh1)
    assert np.array_equal(params["embed"], load_model(folder, mesh1)[0]["embed"]) and cfg.num_layers == 2
    in_a_new_process(monkeypatch, offline=True)
    hub_server.requests.clear()
    assert hub.model_path(NAME) == path and hub.model_path(f"{NAME}@{commit}") == path
    assert not hub_server.requests
    identity = model_hash(path)
    (path / "README.md").write_text("fetched by another program")
    assert model_hash(path) == identity


def test_a_gguf_file_of_the_hub_is_named_by_its_path(hub_server, folder):
    hub_server.push("models", "a/b-GGUF", {"q4.gguf": b"GGUF", "q8.gguf": b"GGUF", "README.md": b""})
    path = hub.model_path("a/b-GGUF/q4.gguf")
    assert path.name == "q4.gguf" and path.read_bytes() == b"GGUF" and not (path.parent / "q8.gguf").exists()
    with pytest.raises(FileNotFoundError, match=r"no model with a config\.json; name one of its files: a/b-GGUF/q4"):
        hub.model_path("a/b-GGUF")
    with pytest.raises(FileNotFoundError, match=r"holds no q5\.gguf; name one of its files: a/b-GGUF/q4\.gguf"):
        hub.model_path("a/b-GGUF/q5.gguf")


def test_what_cannot_be_fetched_is_one_line_with_the_remedy(hub_server, folder, monkeypatch):
    hub_server.push("models", NAME, folder)
    hub_server.push("models", "a/closed", folder)
    hub_server.gated.add("a/closed")
    for text, message in {
        "runs/zero": "there is no path runs/zero here, nor on the Hugging Face hub the model runs/zero",
        "a/closed": "the model a/closed is open to those alone who accept its terms, .* `hf auth login`",
        f"{NAME}@v2": f"the model {NAME} has no revision 'v2'",
    }.items():
        with pytest.raises(FileNotFoundError, match=message):
            hub.model_path(text)
    in_a_new_process(monkeypatch, offline=True)
    with pytest.raises(FileNotFoundError, match=rf"HF_HUB_OFFLINE is set.*`hf download {NAME} --revision main`"):
        hub.model_path(f"{NAME}@main")
    in_a_new_process(monkeypatch)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # where nothing listens
    with pytest.raises(
        FileNotFoundError, match=rf"the hub cannot be reached \(.*refused.*`hf download {NAME}`"
    ) as error:
        hub.model_path(NAME)
    assert "\n" not in str(error.value)


def test_r1jaxs_own_folders_come_from_the_hub_as_well(hub_server, folder, tmp_path, mesh1):
    assert convert.main([str(folder), str(tmp_path / "own")]) == 0
    hub_server.push("models", "a/own", tmp_path / "own")
    params, _, _ = load_model(hub.model_path("a/own"), mesh1)
    assert np.array_equal(params["embed"], load_model(folder, mesh1)[0]["embed"])
    assert convert.main(["a/own", str(tmp_path / "back")]) == 0
    assert json.loads((tmp_path / "back/config.json").read_text())["model_type"] == "qwen2"


@pytest.mark.usefixtures("in_this_process")
def test_a_run_keeps_the_commit_that_it_began_with(hub_server, folder, tmp_path, capsys):
    commit = hub_server.push("models", NAME, folder)
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"{i} + 1?", "response": str(i + 1)}) + "\n" for i in range(8)))
    small = merged(SFT, data__path=str(data), data__held_out_share=0.0, num_steps=2, batch_size=2, seq_len=64)
    spec = write_config(tmp_path / "sft.py", merged(small, documents_per_step=2, optimizer={"learning_rate": 1e-3}))

    def run(workdir: str, *overrides: str) -> int:
        return train.main([f"--config={spec}", f"--workdir=runs/{workdir}", f"--config.base={NAME}", *overrides])

    assert run("a") == 0 and f"from the Hugging Face hub: {NAME}@{commit}" in capsys.readouterr().out
    assert json.loads(pathlib.Path("runs/a", FILE).read_text()) == {NAME: commit}
    record = json.loads(pathlib.Path("runs/a/config.json").read_text())
    assert record["base"] == record["base_key"] == f"{NAME}@{commit}"
    newer = hub_server.push("models", NAME, files_of(folder, **{"new.txt": b""}))
    hub._snapshot.cache_clear()
    assert run("a", "--config.num_steps=3") == 0 and len(rows(pathlib.Path("runs/a/metrics.jsonl"))) == 3
    assert run("a", "--config.num_steps=3", f"--config.base={NAME}@{newer}") == 2
    assert f"base: '{NAME}@{commit}' -> '{NAME}@{newer}'" in capsys.readouterr().err
    assert run("b") == 0
    assert json.loads(pathlib.Path("runs/b/config.json").read_text())["base"] == f"{NAME}@{newer}"


@pytest.mark.usefixtures("in_this_process")
def test_a_run_without_a_network_ends_with_one_line(hub_server, tmp_path, capsys, monkeypatch):
    in_a_new_process(monkeypatch, offline=True)
    spec = write_config(tmp_path / "sft.py", merged(SFT, base=NAME, data__path="none.jsonl"))
    assert train.main([f"--config={spec}", "--workdir=runs/a"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"`hf download {NAME}`" in error and error.startswith("error: ")


PIN = """
import dataclasses, pathlib, sys
from r1jax.core import processes
processes.join(sys.argv[1], 2, int(sys.argv[2]))
from r1jax.stages.hub_revisions import pin

@dataclasses.dataclass(frozen=True)
class Config:
    base: str

pinned = pin(Config(sys.argv[3]), pathlib.Path("runs"))
print("pinned", pinned.base, flush=True)
processes.finish()
"""


def test_two_processes_with_a_cache_each_fetch_the_same_commit(hub_server, folder, tmp_path):
    commit = hub_server.push("models", NAME, folder)
    (tmp_path / "runs").mkdir()
    address = f"localhost:{free_port()}"
    root = str(pathlib.Path(__file__).resolve().parents[1])
    processes = []
    for i in range(2):
        own = {"HF_ENDPOINT": hub_server.url, "HF_HOME": str(tmp_path / f"home{i}"), "PYTHONPATH": root}
        command = [sys.executable, "-c", PIN, address, str(i), NAME]
        processes.append(subprocess.Popen(command, env=os.environ | own, stdout=subprocess.PIPE, text=True))
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [f"pinned {NAME}@{commit}\n" in output for output in outputs] == [True, True], outputs
    assert ["from the Hugging Face hub" in output for output in outputs] == [True, False]  # process 0 alone prints
    for i in range(2):
        assert list((tmp_path / f"home{i}").rglob(f"snapshots/{commit}/config.json"))
