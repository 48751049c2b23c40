"""From a downloaded model to R1-Zero, SFT and back, one command each: a Hugging Face folder, and SmolLM2 itself."""

import pathlib

import fetched
import numpy as np
import pytest
import tiny_bpe
from tiny_run import SFT, ZERO, merged, rows, write_config

from r1jax.models.io import read_hf_config
from r1jax.tools import convert, train

pytestmark = pytest.mark.usefixtures("in_this_process")
ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory) -> pathlib.Path:
    """A small Qwen2 with a byte-level tokenizer and a chat template, as its authors would publish it."""
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[dev,parity]'")
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install -e '.[dev,parity]'")
    folder = tmp_path_factory.mktemp("qwen")
    tokenizer = tiny_bpe.train()
    torch.manual_seed(0)
    config = transformers.Qwen2Config(
        vocab_size=tokenizer.get_vocab_size() + 3,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
    )
    transformers.Qwen2ForCausalLM(config).save_pretrained(folder, max_shard_size="20KB")
    return tiny_bpe.write_folder(
        folder, tokenizer, tokenizer_config=tiny_bpe.CONFIG | {"chat_template": tiny_bpe.TEMPLATE}
    )


def test_r1_zero_runs_on_a_downloaded_folder_and_its_export_gives_transformers_the_same_logits(downloaded, tmp_path):
    import torch
    import transformers

    from r1jax.conversion.transformers_comparison import R1jaxModel, relative, their_logits

    spec = write_config(tmp_path / "zero.py", merged(ZERO, base="", num_steps=1, data__chat=True, evaluation__every=0))
    assert train.main([f"--config={spec}", f"--workdir={tmp_path / 'run'}", f"--config.base={downloaded}"]) == 0
    model, export = tmp_path / "run" / "model", tmp_path / "export"
    assert read_hf_config(model) == read_hf_config(downloaded)
    assert convert.main([str(model), str(export), "--max-shard-size", "20KB"]) == 0
    assert len(list(export.glob("model-*.safetensors"))) > 1
    theirs = transformers.AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32).eval()
    before = transformers.AutoModelForCausalLM.from_pretrained(downloaded, dtype=torch.float32).eval()
    ids = np.random.default_rng(0).integers(0, 500, (2, 16)).astype(np.int32)
    positions = np.broadcast_to(np.arange(16, dtype=np.int32), ids.shape)
    ours = R1jaxModel.load(export).logits(ids, positions, np.ones_like(ids))
    assert relative(ours, their_logits(theirs, ids)) < 1e-4
    assert relative(ours, their_logits(before, ids)) > 1e-4, "training changed nothing"
    tokenizer = transformers.AutoTokenizer.from_pretrained(export)
    chat = [{"role": "user", "content": "1 + 1?"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False).startswith("<|bos|><|im_start|>user\n1 + 1?<|im_end|>")


def test_fine_tuning_runs_on_a_downloaded_folder(downloaded, tmp_path):
    spec = write_config(tmp_path / "sft.py", merged(SFT, base=str(downloaded), data__chat=True))
    assert train.main([f"--config={spec}", f"--workdir={tmp_path / 'run'}"]) == 0
    losses = [row["loss"] for row in rows(tmp_path / "run" / "metrics.jsonl")]
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_sft_and_then_r1_zero_of_smollm2_run_a_few_steps(tmp_path):
    """The pages as they are, but for sizes: 135M parameters, fine-tuned, then asked and trained."""
    base = fetched.smollm2_gguf()
    page, sft = f"--config={ROOT / 'configs' / 'sft.py'}:smollm2", tmp_path / "sft"
    sizes = ("num_steps=4", "batch_size=4", "documents_per_step=6", "optimizer.warmup_steps=1")
    overrides = [f"--config.{each}" for each in sizes]
    assert train.main([page, f"--workdir={sft}", f"--config.base={base}", *overrides]) == 0
    losses = [row["loss"] for row in rows(sft / "metrics.jsonl")]
    assert losses[-1] < losses[0]

    page, zero = f"--config={ROOT / 'configs' / 'zero.py'}:smollm2", tmp_path / "zero"
    sizes = (
        "num_steps=2",
        "grpo.prompts_per_step=4",
        "grpo.group_size=4",
        "sampling.slots=16",
        "microbatches=1",
        "sampling.max_new_tokens=48",
        "evaluation.questions=4",
        "evaluation.samples=2",
        "evaluation.every=0",
    )
    overrides = [f"--config.{each}" for each in sizes]
    assert train.main([page, f"--workdir={zero}", f"--config.base={sft / 'model'}", *overrides]) == 0
    steps = rows(zero / "metrics.jsonl")
    assert len(steps) == 2 and all(step["skipped"] == 0 for step in steps)
    assert max(step["sampler_gap/max"] for step in steps) < 1e-3


@pytest.mark.slow
def test_smollm2_goes_to_r1jax_and_to_a_sharded_folder_and_around_again_unchanged(tmp_path):
    """The real weights: every file of the second export is that of the first."""
    steps = ((fetched.smollm2_gguf(), "a"), (tmp_path / "a", "b"), (tmp_path / "b", "c"), (tmp_path / "c", "d"))
    for source, target in steps:
        options = ["--dtype", "bfloat16", "--max-shard-size", "120MB"] if target == "b" else []
        options += ["--max-shard-size", "120MB"] if target == "d" else []
        assert convert.main([str(source), str(tmp_path / target), *options]) == 0
    first, second = tmp_path / "b", tmp_path / "d"
    assert len(list(first.glob("model-*-of-00003.safetensors"))) == 3
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name
