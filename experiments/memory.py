"""Memory of a compiled update by the tokens of a row and by the vocabulary: a table and a picture.

    python experiments/memory.py docs/pictures/memory.png

Nothing is run: the sizes are those that XLA's CPU compiler allots to the GRPO update of a model of 4 layers, 128 wide,
in float32, 8 rows at a time. Its floor is what no program goes without: the gradient, and what each layer's block is
given, kept for the backward pass.
"""

import argparse
import dataclasses
import pathlib

import jax
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from r1jax.core import params as core
from r1jax.core.sharding import MeshConfig, make_mesh
from r1jax.data.batching import Batch
from r1jax.losses.auxiliary import AuxiliaryConfig
from r1jax.losses.grpo import GRPOConfig, grpo_loss
from r1jax.models.config import ModelConfig
from r1jax.models.logits import Truncation
from r1jax.models.transformer import param_specs
from r1jax.report.plots import STYLE
from r1jax.training import state
from r1jax.training.step import make_update

ROWS, CHUNK = 8, 64
MODEL = ModelConfig(512, embed_dim=128, num_layers=4, num_heads=8, num_kv_heads=2, head_dim=16, mlp_dim=384, remat=True)
TOKENS, VOCABULARIES = (256, 512, 1024, 2048, 4096, 8192), (512, 4096, 32_768, 131_072)


def temporaries(model: ModelConfig, tokens: int) -> int:
    """Bytes of an update besides its arguments and results."""
    mesh = make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    specs = param_specs(model)
    tx = state.make_optimizer(state.OptimizerConfig(), specs, 10)
    grpo = GRPOConfig(prompts_per_step=1, group_size=ROWS, minibatches=1)

    def loss(params, batch):
        return grpo_loss(params, model, batch, grpo, Truncation(), CHUNK, AuxiliaryConfig())

    ints, floats = (jax.ShapeDtypeStruct((ROWS, tokens), dtype) for dtype in (np.int32, np.float32))
    batch = Batch(ints, ints, ints, ints, floats, floats, floats, None, floats)
    with jax.set_mesh(mesh):
        update = make_update(loss, tx, specs, mesh)
        compiled = update.lower(state.abstract_state(specs, tx, mesh), batch).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def floor(model: ModelConfig, tokens: int) -> int:
    """Bytes of the gradient and of each block's input."""
    return 4 * (core.count(param_specs(model)) + model.num_layers * ROWS * tokens * model.embed_dim)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("picture", type=pathlib.Path)
    picture = parser.parse_args().picture
    with matplotlib.rc_context(STYLE):
        draw(picture)


def draw(picture: pathlib.Path) -> None:
    """Prints both tables and writes the picture."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots(1, 2)
    sweeps = (
        ("tokens of a row", TOKENS, [(MODEL, tokens) for tokens in TOKENS]),
        ("vocabulary", VOCABULARIES, [(dataclasses.replace(MODEL, vocab_size=V), 1024) for V in VOCABULARIES]),
    )
    for plot, (name, values, cases) in zip(axes, sweeps, strict=True):
        print(f"| {name} | update, MB | floor, MB | whole logits would take, MB |\n|---|---|---|---|")
        sizes = []
        for value, (model, tokens) in zip(values, cases, strict=True):
            logits = 4 * ROWS * tokens * model.vocab_size
            sizes.append((temporaries(model, tokens), floor(model, tokens), logits))
            print(f"| {value:,} | " + " | ".join(f"{each / 1e6:,.0f}" for each in sizes[-1]) + " |", flush=True)
        for series, label in zip(zip(*sizes, strict=True), ("update", "floor", "whole logits"), strict=True):
            plot.plot(values, np.array(series) / 1e6, marker="o", label=label)
        plot.set(xlabel=name, ylabel="MB", xscale="log", yscale="log")
        plot.set_xticks(values, [f"{value:,}" for value in values])
        plot.minorticks_off()
        plot.legend()
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=120)


if __name__ == "__main__":
    main()
