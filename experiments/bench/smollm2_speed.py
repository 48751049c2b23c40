"""SmolLM2-135M in float32, timed: 8 rows of 64 new tokens, or one SFT step of 512 tokens; in r1jax or in torch.

    python experiments/bench/smollm2_speed.py decode|sft r1jax|torch --json=results.jsonl

Weights are random in the model's shape: no time depends on them. Each side runs in its own environment; torch's needs
no r1jax. Prefill of the prompts (32 tokens) counts. The SFT step is one row, cross-entropy of every token, AdamW with
the norm of the gradient clipped at 1, without rematerialisation.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable

VOCAB, WIDTH, LAYERS, HEADS, KV_HEADS, HEAD_DIM, MLP, THETA = 49_152, 576, 30, 9, 3, 64, 1536, 100_000.0
ROWS, PROMPT, NEW, TOKENS = 8, 32, 64, 512


def decode_r1jax(tiny: bool) -> Callable[[], object]:
    """A call that samples from the model on all devices that JAX has."""
    import jax

    from r1jax.core import params as core
    from r1jax.core.sharding import TRAIN_RULES, MeshConfig, make_mesh
    from r1jax.inference.config import SamplingConfig
    from r1jax.inference.engine import Engine
    from r1jax.models.config import PRESETS
    from r1jax.models.transformer import param_specs
    from r1jax.performance.work import EndlessTokenizer, draw_prompts
    from r1jax.tools.bench import SHAPES

    model, mesh = SHAPES["bench"] if tiny else PRESETS["smollm2_135m"], make_mesh(MeshConfig(data=-1))
    with jax.set_mesh(mesh):
        params = core.init(param_specs(model), TRAIN_RULES, mesh, 0)
    sampling = SamplingConfig(NEW, slots=ROWS, prefill_rows=ROWS, bucket=PROMPT + NEW, prompt_bucket=PROMPT)
    engine = Engine(model, sampling, EndlessTokenizer(model.vocab_size), mesh)
    prompts = draw_prompts(model.vocab_size, ROWS, PROMPT, 0)

    def run():
        with jax.set_mesh(mesh):
            rollouts = engine.generate(params, prompts, 1, (0,))
        assert all(len(rollout.ids) == NEW for rollout in rollouts)

    return run


def sft_r1jax(tiny: bool) -> Callable[[], object]:
    """A call that makes one update."""
    import jax
    import numpy as np

    from r1jax.core import params as core
    from r1jax.core.sharding import TRAIN_RULES, MeshConfig, make_mesh
    from r1jax.data.batching import pack, to_device
    from r1jax.losses.config import AuxiliaryConfig
    from r1jax.losses.supervised import cross_entropy_loss
    from r1jax.models.config import PRESETS
    from r1jax.models.transformer import param_specs
    from r1jax.tools.bench import SHAPES
    from r1jax.training import state
    from r1jax.training.config import OptimizerConfig
    from r1jax.training.step import make_update

    model = SHAPES["bench"] if tiny else PRESETS["smollm2_135m"]
    mesh, specs = make_mesh(MeshConfig(data=1, tensor=-1)), param_specs(model)  # one row does not divide over devices
    tx = state.make_optimizer(OptimizerConfig(learning_rate=1e-5, clip_norm=1.0), specs, 1000)
    ids = np.random.default_rng(0).integers(2, model.vocab_size, TOKENS + 1).tolist()
    with jax.set_mesh(mesh):
        train_state = state.create(core.init(specs, TRAIN_RULES, mesh, 0), specs, tx, mesh)
        batch = to_device(pack([(ids, [1] * len(ids))], 1, TOKENS)[0], mesh)

    def loss(params, batch):
        return cross_entropy_loss(params, model, batch, 128, AuxiliaryConfig())

    update = make_update(loss, tx, specs, mesh)

    def run():
        nonlocal train_state
        with jax.set_mesh(mesh):
            train_state, metrics = jax.block_until_ready(update(train_state, batch))
        assert np.isfinite(float(metrics["loss"]))

    return run


def torch_model(tiny: bool):
    """The model in transformers, with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    width, layers = (144, 2) if tiny else (WIDTH, LAYERS)
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB,
            hidden_size=width,
            intermediate_size=MLP,
            num_hidden_layers=layers,
            num_attention_heads=HEADS,
            num_key_value_heads=KV_HEADS,
            head_dim=HEAD_DIM,
            max_position_embeddings=8192,
            rope_parameters={"rope_type": "default", "rope_theta": THETA},
            tie_word_embeddings=True,
            eos_token_id=None,
            bos_token_id=None,
            pad_token_id=0,
        )
    ).float()


def decode_torch(tiny: bool) -> Callable[[], object]:
    """A call of transformers' `generate`, which draws from the whole distribution."""
    import torch

    model = torch_model(tiny).eval()
    ids = torch.randint(2, VOCAB, (ROWS, PROMPT))

    def run():
        with torch.inference_mode():
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=NEW,
                do_sample=True,
                top_k=0,
                top_p=1.0,
                eos_token_id=None,
                pad_token_id=0,
            )
        assert out.shape == (ROWS, PROMPT + NEW)

    return run


def sft_torch(tiny: bool) -> Callable[[], object]:
    """A call that makes one update."""
    import torch

    model = torch_model(tiny).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.0, fused=True)
    ids = torch.randint(2, VOCAB, (1, TOKENS + 1))

    def run():
        logits = model(ids[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits[0], ids[0, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        assert torch.isfinite(loss)

    return run


RUNS = {
    ("decode", "r1jax"): decode_r1jax,
    ("decode", "torch"): decode_torch,
    ("sft", "r1jax"): sft_r1jax,
    ("sft", "torch"): sft_torch,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", choices=("decode", "sft"))
    parser.add_argument("side", choices=("r1jax", "torch"))
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="a rehearsal on a small model")
    parser.add_argument("--json", type=pathlib.Path, required=True, help="append the result to this file")
    args = parser.parse_args()
    run = RUNS[args.work, args.side](args.tiny)
    seconds = []
    for _ in range(1 + args.steps):  # the first compiles, or fills torch's pools
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    step_s = statistics.median(seconds[1:])
    tokens = ROWS * NEW if args.work == "decode" else TOKENS
    result = {"step_s": step_s, "step_s_all": seconds[1:], "tokens_per_s": tokens / step_s}
    with args.json.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
