"""Decoding in narrower types and with drafts, beside decoding in the compute type: gap, steps and seconds.

    python experiments/decoding.py MODEL [--tokens 64] [--samples 8]

MODEL is a model folder or a GGUF file. Each line of JSON is one setting: the absolute difference between the trainer's
log-probs and the sampler's, the share of tokens whose probabilities differ by more than a factor of 2, tokens a decode
step of a sequence brought, and seconds of a second draw, which compiles nothing.
"""

import argparse
import json
import pathlib
import time

import jax
import numpy as np

from r1jax.core.sharding import MeshConfig, make_mesh
from r1jax.data.batching import pad_rollouts, to_device
from r1jax.data.types import Prompt
from r1jax.inference.engine import Engine, SamplingConfig
from r1jax.inference.session import Session
from r1jax.losses.logprobs import batch_logprobs
from r1jax.models.config import ComputeConfig, Truncation
from r1jax.models.io import load_model

QUESTIONS = (
    "What is 12 + 35?",
    "Name three fruits.",
    "What is the greatest common divisor of 24 and 18?",
    "Write a sentence about a dog.",
)
SETTINGS = {
    "compute type": {},
    "bfloat16": {"weight_type": "bfloat16", "cache_type": "bfloat16"},
    "int8 weights": {"weight_type": "int8"},
    "int8 cache": {"cache_type": "int8"},
    "int8": {"weight_type": "int8", "cache_type": "int8"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--samples", type=int, default=8)
    args = parser.parse_args()
    mesh = make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    params, model, tokenizer = load_model(args.model, mesh, ComputeConfig(dtype="float32", remat=False), dtype=None)
    prompts = [
        Prompt(str(i), text, "", "maths", ids=tuple(tokenizer.encode(f"Question: {text}\nAnswer:")))
        for i, text in enumerate(QUESTIONS)
    ]
    score = jax.jit(lambda params, batch: batch_logprobs(params, model, batch, Truncation(), 32)[0])
    settings = SETTINGS | ({"drafts": {"speculative": True}} if model.mtp_depth else {})
    for name, changes in settings.items():
        cfg = SamplingConfig(args.tokens, slots=len(prompts) * args.samples, prefill_rows=4, bucket=128, **changes)
        engine = Engine(model, cfg, tokenizer, mesh)
        engine.generate(params, prompts, args.samples, (0,))
        steps = count_steps(drafts="speculative" in changes)
        began = time.monotonic()
        rollouts = engine.generate(params, prompts, args.samples, (1,))
        seconds = time.monotonic() - began
        batch = pad_rollouts(rollouts, np.zeros(len(rollouts)), 128)
        with jax.set_mesh(mesh):
            of_trainer = np.asarray(score(params, to_device(batch, mesh)))
        gap = np.abs(of_trainer - batch.sampler_logprobs)[batch.weights > 0]
        row = {
            "setting": name,
            "tokens": len(gap),
            "mean gap": float(gap.mean()),
            "largest gap": float(gap.max()),
            "beyond a factor of 2": float((gap > np.log(2)).mean()),
            "tokens a step": round(len(gap) / steps(), 3),
            "seconds": round(seconds, 2),
        }
        print(json.dumps(row), flush=True)


def count_steps(drafts: bool):
    """Counts, from now on, the decode steps of busy slots; returns the function that says how many there were."""
    read, windows = Session._read, []

    def spy(session, owners, sampled):
        active = np.asarray(sampled.active)
        windows.append(active[:: 2 if drafts else 1].sum())
        return read(session, owners, sampled)

    Session._read = spy

    def total() -> int:
        Session._read = read
        return int(sum(windows))

    return total


if __name__ == "__main__":
    main()
