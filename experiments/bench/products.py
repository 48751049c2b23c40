"""Rates of the matrix products of SmolLM2-135M's SFT step and decoding, in JAX or in torch, as lines of JSON.

    python experiments/bench/products.py jax|torch

Each shape in three forms: forward X[M, K] W[K, N], and its gradients, dX = dY W^T and dW = X^T dY; float32, all cores,
the best of ten after two. Each side runs in its own environment; torch's needs no r1jax.
"""

import json
import sys
import time
from collections.abc import Callable

# name -> (M rows, K inputs, N outputs): 512 tokens of a training row, 8 rows of a decode step
SHAPES = {
    "queries, 512 tokens": (512, 576, 576),
    "gate and up, 512": (512, 576, 1536),
    "down, 512": (512, 1536, 576),
    "logits, 128": (128, 576, 49_152),
    "gate and up, 8": (8, 576, 1536),
    "down, 8": (8, 1536, 576),
    "logits, 8": (8, 576, 49_152),
}


def products_jax(m: int, k: int, n: int) -> dict[str, Callable[[], object]]:
    """Calls that make a shape's three products and wait for them."""
    import jax
    import jax.numpy as jnp

    keys = jax.random.split(jax.random.key(0), 3)
    x, w, dy = (jax.random.normal(key, shape) for key, shape in zip(keys, ((m, k), (k, n), (m, n)), strict=True))
    contractions = {"forward": (x, w, "mk,kn->mn"), "dX": (dy, w, "mn,kn->mk"), "dW": (x, dy, "mk,mn->kn")}

    def call(a, b, contraction):
        run = jax.jit(lambda a, b: jnp.einsum(contraction, a, b))
        return lambda: jax.block_until_ready(run(a, b))

    return {name: call(*arguments) for name, arguments in contractions.items()}


def products_torch(m: int, k: int, n: int) -> dict[str, Callable[[], object]]:
    """The same in torch, whose linear layers keep the weights as [N, K]."""
    import torch

    torch.manual_seed(0)
    x, w, dy = torch.randn(m, k), torch.randn(n, k), torch.randn(m, n)
    return {"forward": lambda: x @ w.T, "dX": lambda: dy @ w, "dW": lambda: dy.T @ x}


def best_seconds(call: Callable[[], object]) -> float:
    """The least seconds of ten calls, after two."""
    times = []
    for _ in range(12):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times[2:])


def main() -> None:
    if sys.argv[1:] not in (["jax"], ["torch"]):
        raise SystemExit(__doc__)
    make = products_jax if sys.argv[1] == "jax" else products_torch
    for name, (m, k, n) in SHAPES.items():
        rates = {form: 2 * m * k * n / best_seconds(call) / 1e9 for form, call in make(m, k, n).items()}
        print(json.dumps({"shape": name, **{form: round(rate, 1) for form, rate in rates.items()}}), flush=True)


if __name__ == "__main__":
    main()
