"""Whatever stands in a model's files: the model opens, or the error is one line that names the file."""

import copy
import gzip
import json
import os
import pathlib
import re
import tempfile
from typing import Any

import pytest
import tiny_bpe
from gguf_test import write as write_gguf
from handmade import DEEPSEEK, QWEN2, tensors, write_folder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from r1jax.benchmarks import benchmark, reading
from r1jax.models import safetensors
from r1jax.models.io import is_model, open_model, save_model
from r1jax.text import tokenizer as text

# The same ones each time, and few, as an example opens a folder; R1JAX_EXAMPLES=1000 draws others.
EXAMPLES = int(os.environ.get("R1JAX_EXAMPLES", "40"))
bounded = settings(
    max_examples=EXAMPLES, derandomize=EXAMPLES == 40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

DEEP: Any = json.loads("[" * 300 + "]" * 300)
VALUES = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        -1,
        1,
        2**31,
        2**63,
        -(2**70),
        10**400,
        0.5,
        float("inf"),
        float("-inf"),
        float("nan"),
        1e308,
        "",
        "2",
        "x",
        "\n",
        "\ud800",
        "\x00",
        "..",
        "../..",
        "/etc/passwd",
        [],
        [1],
        [[]],
        [None],
        ["x", 2],
        {},
        {"a": 1},
        {"content": 7},
        {"type": "yarn"},
        DEEP,
    ]
)


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """The path of every value in a JSON tree, of long lists only the beginning."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(each for key, child in list(below)[:40] for each in places(child, (*path, key)))]


def replaced(tree: Any, path: tuple, value: Any) -> Any:
    if not path:
        return value
    tree = copy.copy(tree)
    tree[path[0]] = replaced(tree[path[0]], path[1:], value)
    return tree


@st.composite
def changed_trees(draw, tree):
    """The tree with one to three values replaced, removed or added."""
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(tree)))
        tree = replaced(tree, path, draw(VALUES))
        if isinstance(tree, dict) and draw(st.booleans()):
            tree = {key: value for key, value in tree.items() if key != draw(st.sampled_from([*tree, "no"]))}
    return tree


@st.composite
def changed_bytes(draw, content: bytes):
    """The content cut short, or with some of its first bytes changed: there stands what says where the rest is."""
    if draw(st.integers(0, 4)) == 0:
        return content[: draw(st.integers(0, len(content) - 1))]
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, min(len(content), draw(st.sampled_from([8, 64, 4096, 2**20]))) - 1))
        content[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, ord("["), ord('"')]) | st.integers(0, 255))
    return bytes(content)


def check(folder: pathlib.Path, *functions) -> None:
    """Calls the functions with the folder: no error, or one line that names it."""
    for function in functions:
        try:
            function(folder)
        except (ValueError, FileNotFoundError) as error:
            # The tensors that do not fit are listed, a line a kind.
            line = str(error).split("\n  ")[0]
            assert line.startswith(
                (str(folder), f"tokenizer in {folder}", f"no tokenizer in {folder}", f"no weights in {folder}")
            ), error
            assert "\n" not in line


def use(path: pathlib.Path) -> None:
    """Does with a tokenizer what a run does."""
    tokenizer = text.load(path)
    tokenizer.decode(tokenizer.encode("a b<|im_end|>1"))
    with tempfile.TemporaryDirectory() as saved:
        tokenizer.save(pathlib.Path(saved))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("model")
    write_folder(
        folder,
        DEEPSEEK | {"quantization_config": {"quant_method": "fp8", "weight_block_size": [16, 16]}},
        tensors(DEEPSEEK),
    )
    template = [{"name": "default", "template": tiny_bpe.TEMPLATE}]
    tokens = {"500": {"content": "<tool>", "special": True}}
    config = tiny_bpe.CONFIG | {
        "chat_template": template,
        "added_tokens_decoder": tokens,
        "add_bos_token": True,
        "auto_map": {"AutoTokenizer": ["a.B", None]},
    }
    others = {"generation_config": {"eos_token_id": [0, 2]}, "special_tokens_map": {"pad_token": "<|bos|>"}}
    return tiny_bpe.write_folder(folder, tiny_bpe.train(adds_bos=True), tokenizer_config=config, **others)


NAMES = (
    "config.json",
    safetensors.INDEX,
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "special_tokens_map.json",
)


class Changed:
    """A file with other contents, for as long as the block lasts."""

    def __init__(self, path: pathlib.Path, content: bytes):
        self._path, self._content, self._before = path, content, path.read_bytes()

    def __enter__(self):
        self._path.write_bytes(self._content)

    def __exit__(self, *_):
        self._path.write_bytes(self._before)


@pytest.mark.parametrize("name", NAMES)
@bounded
@given(data=st.data())
def test_trap35_any_value_anywhere_in_a_json_file_is_read_or_named(folder, name, data):
    tree = data.draw(changed_trees(json.loads((folder / name).read_text())))
    with Changed(folder / name, json.dumps(tree).encode()):
        check(folder, is_model, open_model, use)


@pytest.mark.parametrize("name", [*NAMES, "model-00001-of-00003.safetensors"])
@bounded
@given(data=st.data())
def test_trap35_any_bytes_in_a_file_are_read_or_named(folder, name, data):
    content = data.draw(changed_bytes((folder / name).read_bytes()))
    with Changed(folder / name, content):
        check(folder, is_model, open_model, use)


@bounded
@given(data=st.data())
def test_trap35_any_value_in_a_safetensors_header_is_read_or_named(folder, data):
    path = folder / "model-00001-of-00003.safetensors"
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = json.dumps(data.draw(changed_trees(json.loads(whole[8 : 8 + length])))).encode()
    with Changed(path, len(header).to_bytes(8, "little") + header + whole[8 + length :]):
        check(folder, open_model)


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory) -> pathlib.Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "m.gguf", rope__scaling__type="yarn", rope__scaling__factor=2.0)


@pytest.fixture(scope="module")
def gguf_vocabulary(tmp_path_factory) -> pathlib.Path:
    return tiny_bpe.write_gguf(tmp_path_factory.mktemp("gguf") / "t.gguf", tiny_bpe.train())


@bounded
@given(data=st.data())
def test_trap35_any_bytes_in_a_gguf_file_are_read_or_named(gguf_file, gguf_vocabulary, data):
    for path, read in (gguf_file, open_model), (gguf_vocabulary, use):
        with Changed(path, data.draw(changed_bytes(path.read_bytes()))):
            check(path, read)


@bounded
@given(data=st.data())
def test_trap35_any_bytes_in_a_sentencepiece_model_are_read_or_named(tmp_path, tokenizer, data):
    tokenizer.save(tmp_path)
    path = tmp_path / "tokenizer.model"
    with Changed(path, data.draw(changed_bytes(path.read_bytes()))):
        check(tmp_path, use)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "content, words",
    [
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"a": "\xff"}', "can't decode byte 0xff"),
        (b'{"a": 1', "Expecting ',' delimiter: line 1 column 8"),
        (b'{"a": ' + b"1" * 5000 + b"}", "Exceeds the limit"),
        (b"", "Expecting value: line 1 column 1"),
        (b"[]", "holds list, should be an object"),
    ],
)
def test_trap35_a_broken_json_file_is_named_with_its_place(folder, name, content, words):
    words = f"tokenizer.json cannot be read|{re.escape(words)}"  # tokenizer.json is read by another package
    with Changed(folder / name, content), pytest.raises(ValueError, match=words) as error:
        open_model(folder)
        text.load(folder)
    assert name in str(error.value) and str(folder) in str(error.value) and "\n" not in str(error.value)


SHAPES = ("[Infinity]", "[1e999]", "[NaN]", "[[1]]", '["1"]', "[1.5]", "[true]", "[-1]", "7", "{}")


@pytest.mark.parametrize("shape", SHAPES)
def test_trap35_a_shape_that_is_none_is_refused_by_tensor_and_file(tmp_path, shape):
    header = f'{{"x": {{"dtype": "F32", "shape": {shape}, "data_offsets": [0, 4]}}}}'.encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(ValueError, match=r"model\.safetensors.* x"):
        safetensors.SafetensorsFolder(tmp_path)


@pytest.fixture(scope="module")
def own_folder(tmp_path_factory, tiny, tiny_params, tokenizer) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("own")
    save_model(folder, tiny_params, tiny, tokenizer, QWEN2)
    return folder


@bounded
@given(data=st.data())
def test_trap35_any_value_in_our_own_json_files_is_read_or_named(own_folder, data):
    for name in "model.json", "hf_config.json":
        tree = data.draw(changed_trees(json.loads((own_folder / name).read_text())))
        with Changed(own_folder / name, json.dumps(tree).encode()):
            check(own_folder, is_model, open_model)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # what Orbax leaves of a broken read
def test_trap35_our_own_weights_cut_short_are_named(own_folder, mesh1):
    for path in sorted((own_folder / "params").rglob("*")):
        if path.is_file() and path.stat().st_size:
            with Changed(path, path.read_bytes()[: path.stat().st_size // 2]):
                check(own_folder, lambda folder: open_model(folder).read(mesh1))


@pytest.mark.parametrize("kind", ["jsonl.gz", "json", "csv", "parquet"])
def test_trap35_a_cut_file_of_questions_is_named(tmp_path, kind):
    path, row = tmp_path / f"questions.{kind}", {"question": "1 + 1?", "answer": "#### 2"}
    if kind == "jsonl.gz":
        content = gzip.compress(json.dumps(row).encode() * 1000)[:-20]
    elif kind == "parquet":
        pytest.importorskip("pyarrow")
        content = b"PAR1 and no more"
    else:
        content = {"json": json.dumps([row]).encode()[:-9], "csv": b"question,answer\n\xff,2"}[kind]
    path.write_bytes(content)
    bench = benchmark.find("gsm8k")
    with pytest.raises(ValueError, match=rf"questions\.{re.escape(kind)} (is not JSON|cannot be read, or was cut)"):
        reading.read(bench, path, bench.grader, {})
