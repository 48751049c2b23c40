"""Model folders that would cost memory or time, or give away other files: refused at once, by the file's name."""

import json
import os
import pathlib
import struct

import gguf
import pytest
import tiny_bpe
from gguf_test import write as write_gguf
from handmade import DEEPSEEK, QWEN2, tensors, write_folder
from steps import steps

from r1jax.core import checksums
from r1jax.io import files, gguf_reader
from r1jax.models import gguf as gguf_models
from r1jax.models import hf, safetensors
from r1jax.models.io import is_model, load_model, open_model, save_model
from r1jax.text import chat_template
from r1jax.text import tokenizer as text
from r1jax.tools import convert

HANG = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"


def refused(function, *arguments, match: str) -> None:
    """Asserts one line that names what was found, within few steps of Python."""

    def attempt() -> None:
        with pytest.raises(ValueError, match=match) as error:
            function(*arguments)
        assert "\n" not in str(error.value)

    assert steps(attempt) < 300_000


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    """A good model folder with a tokenizer and a chat template."""
    write_folder(tmp_path / "model", QWEN2, tensors(QWEN2))
    config = tiny_bpe.CONFIG | {"chat_template": tiny_bpe.TEMPLATE}
    return tiny_bpe.write_folder(tmp_path / "model", tiny_bpe.train(), tokenizer_config=config)


@pytest.fixture
def secret(tmp_path) -> pathlib.Path:
    (tmp_path / "id_rsa").write_text("PRIVATE KEY")
    return tmp_path / "id_rsa"


LINKED = (
    "chat_template.jinja",
    "generation_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "config.json",
    "additional_chat_templates/x.jinja",
)


@pytest.mark.parametrize("name", LINKED)
def test_trap35_a_link_out_of_the_folder_is_not_followed(folder, secret, name, tmp_path, capsys):
    (folder / name).unlink(missing_ok=True)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to(secret)
    assert convert.main([str(folder), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert f"{folder / name} leads out of its folder, to {secret}" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_trap35_a_folder_of_templates_that_is_a_link_is_not_followed(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/x.jinja").write_text("PRIVATE KEY")
    (folder / "additional_chat_templates").symlink_to(tmp_path / "elsewhere")
    refused(text.load, folder, match="leads out of its folder, to .*elsewhere/x.jinja")


@pytest.mark.parametrize("name", ["../../other.safetensors", "/etc/passwd", "sub/../../other.safetensors"])
def test_trap35_an_index_entry_that_leaves_the_folder_is_not_followed(folder, name):
    index = json.loads((folder / safetensors.INDEX).read_text())
    index["weight_map"]["model.norm.weight"] = name
    (folder / safetensors.INDEX).write_text(json.dumps(index))
    refused(hf.open_folder, folder, match="leads out of its folder, to ")


def test_links_within_a_folder_and_to_the_hubs_blobs_are_followed(folder, tmp_path, mesh1):
    (folder / "tokenizer.json").rename(folder / "real.json")
    (folder / "tokenizer.json").symlink_to("real.json")
    load_model(folder, mesh1)
    snapshot, blobs = tmp_path / "models--a--b/snapshots/0a1b", tmp_path / "models--a--b/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for i, path in enumerate(folder.iterdir()):
        (blobs / str(i)).write_bytes(path.read_bytes())
        (snapshot / path.name).symlink_to(f"../../blobs/{i}")
    load_model(snapshot, mesh1)


def test_trap35_a_link_out_of_our_own_folder_is_not_followed(tmp_path, tiny, tiny_params, tokenizer, mesh1, secret):
    save_model(tmp_path / "ours", tiny_params, tiny, tokenizer)
    (tmp_path / "ours/params/link").symlink_to(secret)
    with pytest.raises(ValueError, match="ours/params/link leads out of its folder"):
        load_model(tmp_path / "ours", mesh1)


FIFOS = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    safetensors.INDEX,
    "model-00002-of-00003.safetensors",
    "model.safetensors",
    "model.json",
    "adapter_config.json",
)


@pytest.mark.parametrize("name", FIFOS)
def test_trap35_a_fifo_is_not_waited_for(folder, name, mesh1):
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    if name == "adapter_config.json":
        (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=f"{name} is no regular file but 'p' of `ls -l`"):
        load_model(folder, mesh1)


def test_trap35_a_fifo_named_as_a_gguf_file_or_a_sentencepiece_model_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "m.gguf")
    for read in (open_model, text.load, is_model):
        refused(read, tmp_path / "m.gguf", match="m.gguf is no regular file")
    os.mkfifo(tmp_path / "tokenizer.model")
    refused(text.load, tmp_path, match="tokenizer.model is no regular file")


@pytest.mark.parametrize(
    "config, key",
    [
        (QWEN2, "num_hidden_layers"),
        (DEEPSEEK, "num_hidden_layers"),
        (DEEPSEEK, "n_routed_experts"),
        (DEEPSEEK, "num_nextn_predict_layers"),
    ],
)
def test_trap35_a_config_of_a_billion_layers_or_experts_is_refused_before_they_are_listed(tmp_path, config, key):
    write_folder(tmp_path, config | {key: 10**9, "max_window_layers": 10**9}, tensors(config))
    refused(hf.open_folder, tmp_path, match=r"holds \d+ tensors, and its config describes \d{1,3}(,\d{3}){3}")


def test_trap35_a_gguf_file_of_a_billion_layers_is_refused(tmp_path):
    path = write_gguf(tmp_path / "m.gguf", block_count=10**9)
    refused(gguf_models.open_file, path, match=r"m\.gguf holds 20 tensors, and its config describes 9,000,000,000")


def test_trap35_a_model_json_of_a_billion_layers_is_refused(tmp_path, tiny, tiny_params, tokenizer, mesh1):
    save_model(tmp_path, tiny_params, tiny, tokenizer)
    (tmp_path / checksums.FILE).unlink()  # a stranger's would be right
    content = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(content | {"num_layers": 10**9}))
    with pytest.raises(ValueError, match=r"params does not hold the weights that model\.json describes"):
        load_model(tmp_path, mesh1)


def sparse(path: pathlib.Path, size: int, begins: bytes = b"") -> None:
    path.write_bytes(begins)
    os.truncate(path, size)


@pytest.mark.parametrize(
    "name, limit",
    [
        ("config.json", files.MAX_JSON),
        ("tokenizer.json", files.MAX_TOKENIZER),
        ("chat_template.jinja", files.MAX_TOKENIZER),
        (safetensors.INDEX, files.MAX_JSON),
    ],
)
def test_trap35_a_file_of_gigabytes_is_refused_unread(folder, name, limit, mesh1):
    sparse(folder / name, 2**33)
    with pytest.raises(ValueError, match=f"{name} has 8,589,934,592 bytes, more than the {limit:,} that"):
        load_model(folder, mesh1)


def test_trap35_a_header_of_gigabytes_is_refused_unread(folder):
    shard = folder / "model-00001-of-00003.safetensors"
    sparse(shard, 2**33, struct.pack("<Q", 2**32))
    refused(hf.open_folder, folder, match=r"00001-of-00003\.safetensors is no safetensors file: its header would have")


def gguf_of(path: pathlib.Path, fields: bytes, count: int) -> pathlib.Path:
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, count) + fields)
    return path


def test_trap35_gguf_metadata_that_promise_more_than_there_is_are_refused(tmp_path):
    key = struct.pack("<Q1sI", 1, b"a", gguf.GGUFValueType.ARRAY)
    path = gguf_of(tmp_path / "m.gguf", key + struct.pack("<IQ", gguf.GGUFValueType.UINT8, 2**60), 1)
    for read in (open_model, text.load):
        refused(read, path, match=r"m\.gguf is no GGUF file, or was cut short \(it ends at byte")
    path = gguf_of(tmp_path / "m.gguf", b"", 2**60)
    refused(open_model, path, match=r"m\.gguf is no GGUF file, or was cut short \(it ends at byte")
    deep = key + struct.pack("<IQ", gguf.GGUFValueType.ARRAY, 1) * 10_000
    refused(open_model, gguf_of(path, deep, 1), match=r"m\.gguf is no GGUF file")


def test_trap35_gguf_metadata_of_millions_of_values_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(gguf_reader, "MAX_VALUES", 1000)
    key = struct.pack("<Q1sI", 1, b"a", gguf.GGUFValueType.ARRAY)
    path = gguf_of(tmp_path / "m.gguf", key + struct.pack("<IQ", gguf.GGUFValueType.UINT8, 2000) + bytes(2000), 1)
    refused(open_model, path, match=r"its metadata have more than 1,000 values")


@pytest.fixture
def impatient(monkeypatch):
    """Templates get a tenth of a second and a renderer of the test's own."""
    monkeypatch.setattr(chat_template, "SECONDS", 0.1)
    chat_template._renderer.cache_clear()
    yield
    chat_template._renderer.cache_clear()


ENDLESS = (
    HANG,
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(50) }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "{{ lipsum(n=10**8) }}",
)
LARGE = (
    '{{ "a".center(3000000000) | length }}',
    "{{ '%999999999d' % 1 }}",
    "{{ '{:>3000000000}'.format(1) }}",
    "{{ ('a' * 1000000) | replace('a', 'b' * 1000) }}",
    "{{ 'x\ny' | indent(3000000000) }}",
    "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
)


@pytest.mark.parametrize("source", ENDLESS)
def test_trap35_a_template_without_an_end_is_ended(source, impatient):
    with pytest.raises(chat_template.TemplateLimitError, match=r"the chat template takes more than 0\.1 s"):
        chat_template.render_template(source, {})
    assert chat_template.render_template("{{ 1 + 1 }}", {}) == "2"


@pytest.mark.parametrize("source", LARGE)
def test_trap35_a_template_of_gigabytes_is_refused(source):
    with pytest.raises(chat_template.TemplateLimitError, match="the chat template takes more than 512 MiB of memory"):
        chat_template.render_template(source, {})
    assert chat_template.render_template("{{ 1 + 1 }}", {}) == "2"


def test_trap35_a_template_that_makes_too_long_a_text_is_refused():
    with pytest.raises(chat_template.TemplateLimitError, match="makes a text of 100,000,000 characters, more"):
        chat_template.render_template("{{ 'a'.center(10**8) }}", {})


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer_config.json"])
def test_trap35_a_template_that_hangs_is_refused_with_its_model_by_the_files_name(folder, name, impatient):
    if name.endswith("jinja"):
        (folder / name).write_text(HANG)
    else:
        (folder / name).write_text(json.dumps(tiny_bpe.CONFIG | {"chat_template": HANG}))
    with pytest.raises(ValueError, match=rf"tokenizer in .*/{name}: the chat template takes more than"):
        text.load(folder)


def test_a_template_that_refuses_its_messages_is_named(folder):
    (folder / "chat_template.jinja").write_text("{{ raise_exception('Roles must alternate') }}")
    with pytest.raises(ValueError, match=r"model/chat_template\.jinja: the chat template failed: Roles must alternate"):
        text.load(folder).render_chat([{"role": "user", "content": "?"}])


def test_an_answer_that_was_not_waited_for_is_not_taken_for_the_next(monkeypatch):
    assert chat_template.render_template("first", {}) == "first"
    renderer = chat_template._renderer(os.getpid())

    class Interrupted:
        def __getattr__(self, name):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(renderer._process, "stdout", Interrupted())
        chat_template.render_template("second", {})
    assert chat_template.render_template("third", {}) == "third"


def test_trap35_a_missing_part_of_our_own_folder_is_named(tmp_path, tiny, tiny_params, tokenizer, mesh1):
    save_model(tmp_path / "ours", tiny_params, tiny, tokenizer)
    (tmp_path / "ours/params/_METADATA").rename(tmp_path / "METADATA")
    with pytest.raises(ValueError, match=r"ours is damaged: params/_METADATA is missing; copy it again"):
        load_model(tmp_path / "ours", mesh1)
    (tmp_path / "ours" / checksums.FILE).unlink()  # as in a folder of an earlier version
    with pytest.raises(ValueError, match=r"ours/params cannot be read, copy it again"):
        load_model(tmp_path / "ours", mesh1)
    (tmp_path / "ours/params").rename(tmp_path / "params")
    with pytest.raises(FileNotFoundError, match=r"ours is a part of a model folder: .* no params/"):
        load_model(tmp_path / "ours", mesh1)
    (tmp_path / "params").rename(tmp_path / "ours/params")
    (tmp_path / "METADATA").rename(tmp_path / "ours/params/_METADATA")
    load_model(tmp_path / "ours", mesh1)
    (tmp_path / "ours/tokenizer.model").unlink()
    with pytest.raises(FileNotFoundError, match=r"no tokenizer in .*ours"):
        load_model(tmp_path / "ours", mesh1)


@pytest.mark.parametrize(
    "base, key, value, message",
    [
        (QWEN2, "num_hidden_layers", 2.5, "num_hidden_layers=2.5 should be a whole number"),
        (QWEN2, "num_hidden_layers", 10**10, "should be a whole number of at most 2,147,483,647"),
        (QWEN2, "vocab_size", "512", 'vocab_size="512" should be a number'),
        (QWEN2, "num_key_value_heads", "2", 'num_key_value_heads="2" should be a number'),
        (QWEN2, "head_dim", "8", 'head_dim="8" should be a number'),
        (QWEN2, "hidden_size", -32, "must be at least 1"),
        (QWEN2, "hidden_size", float("nan"), "hidden_size=NaN should be a number"),
        (QWEN2, "hidden_size", float("inf"), "hidden_size=Infinity should be a number"),
        (QWEN2, "hidden_size", [32], r"hidden_size=\[32\] should be a number"),
        (QWEN2, "rms_norm_eps", "1e-6", 'rms_norm_eps="1e-6" should be a number'),
        (QWEN2, "rms_norm_eps", -1e-6, "norm_eps=-1e-06 must be above 0"),
        (QWEN2, "rope_theta", "1e6", 'rope_theta="1e6" should be a number'),
        (QWEN2, "rope_theta", 0, "rope_theta=0.0 must be above 0"),
        (QWEN2, "tie_word_embeddings", "false", 'tie_word_embeddings="false" should be true or false'),
        (QWEN2, "use_sliding_window", "false", 'use_sliding_window="false" should be true or false'),
        (QWEN2, "layer_types", 7, "layer_types=7"),
        (QWEN2, "quantization_config", ["fp8"], r"quantization_config=\[.fp8.\] should be an object"),
        (
            QWEN2,
            "rope_scaling",
            {"type": "yarn", "factor": 4.0, "beta_fast": "32"},
            'beta_fast="32" should be a number',
        ),
        (QWEN2, "rope_scaling", {"type": "yarn", "factor": -4.0}, "factor=-4.0 must be above 0"),
        (QWEN2, "model_type", ["qwen2"], r"model_type=\['qwen2'\] is not supported"),
        (DEEPSEEK, "routed_scaling_factor", "2.5", 'routed_scaling_factor="2.5" should be a number'),
        (DEEPSEEK, "norm_topk_prob", "true", 'norm_topk_prob="true" should be true or false'),
        (DEEPSEEK, "n_shared_experts", "1", 'n_shared_experts="1" should be a number'),
        (DEEPSEEK, "q_lora_rank", "16", 'q_lora_rank="16" should be a number'),
        (DEEPSEEK, "num_nextn_predict_layers", -1, "mtp_depth=-1 must be at least 0"),
    ],
)
def test_trap42_numbers_given_as_text_or_out_of_range_are_refused_by_key_and_file(tmp_path, base, key, value, message):
    (tmp_path / "config.json").write_text(json.dumps(base | {key: value}))
    with pytest.raises(ValueError, match=message) as error:
        hf.open_folder(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'config.json'}: ")


@pytest.mark.parametrize("block", [7, [128], [128, 0], ["128", "128"], [[1], [2]]])
def test_trap42_an_fp8_block_that_is_none_is_refused(tmp_path, block):
    config = {"quant_method": "fp8", "weight_block_size": block}
    write_folder(tmp_path, QWEN2 | {"quantization_config": config}, tensors(QWEN2))
    with pytest.raises(ValueError, match=r"config\.json: quantization_config\.weight_block_size=.* should be two"):
        hf.open_folder(tmp_path)


@pytest.mark.parametrize("ids", ["2", [2, "3"], -1, 2.5, True, 2**40, {"id": 2}])
@pytest.mark.parametrize("name", ["generation_config", "config"])
def test_trap42_an_end_that_is_no_id_is_refused(tmp_path, ids, name):
    files_ = {"tokenizer_config": tiny_bpe.CONFIG, name: {"eos_token_id": ids}}
    folder = tiny_bpe.write_folder(tmp_path, tiny_bpe.train(), **files_)
    with pytest.raises(ValueError, match=rf"tokenizer in .*: {name}\.json: eos_token_id=.* should be an id or a list"):
        text.load(folder)
