"""Decode windows of RL steps with carried-over groups and without, on the same completions with a long tail.

    python experiments/carry_over.py [--longest 256] [--steps 16]

Prints a table in Markdown, a row for each bound of steps. The lengths of each P groups of the stream are log-normal,
the longest eight times the median, as in `r1jax bench --long-tail`; the model is tiny, and its samples end where they
are told to. Windows are counts: they are the same on any machine, and a window costs an accelerator about the same
whatever the number of busy slots. "Middle" leaves out the first and the last quarter of the steps, in which slots fill
up and empty. Seconds, of a second go that compiles nothing, are this machine's, and count for less: on a CPU a window
costs what its busy slots cost.
"""

import argparse
import time
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES, MeshConfig, make_mesh
from r1jax.data.types import Rollout
from r1jax.inference.carry_over import CarriedGroups
from r1jax.inference.config import RolloutSamplingConfig
from r1jax.inference.engine import Engine
from r1jax.io.tables import markdown_table
from r1jax.models.config import ModelConfig
from r1jax.models.transformer import param_specs
from r1jax.performance.work import EndlessTokenizer, completion_lengths, draw_prompts

MODEL = ModelConfig(vocab_size=512, embed_dim=32, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=8, mlp_dim=64)
BOUNDS = (0, 1, 2, 4, 8)


class FixedLengths(Engine):
    """An engine whose completions have given lengths, by (prompt id, sample), and which keeps its latest session."""

    lengths: dict[tuple[str, int], int]

    def open(self, params, shrinks=False):
        self.session = super().open(params, shrinks)
        return self.session

    def request(self, prompt, sample, seed, limit=None, drawn=()):
        return super().request(prompt, sample, seed, self.lengths[prompt.id, sample], drawn)


class Step(NamedTuple):
    """What a step cost and brought."""

    windows: int
    seconds: float
    rollouts: list[Rollout]


def steps_of(args: argparse.Namespace, carry_over: int) -> Iterator[Step]:
    """The steps of a run that may carry completions over so many of them."""
    mesh = make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    params = core.init(param_specs(MODEL), TRAIN_RULES, mesh, 0)
    prompts = draw_prompts(MODEL.vocab_size, args.steps * args.prompts, 16, 0)
    rows = args.prompts * args.samples
    lengths = np.concatenate([completion_lengths(rows, args.longest, True, step) for step in range(args.steps)])
    cfg = RolloutSamplingConfig(
        args.longest,
        slots=args.slots or rows,
        window=args.window,
        prefill_rows=args.prompts,
        bucket=args.longest + 16,
        carry_over=carry_over,
    )
    engine = FixedLengths(MODEL, cfg, EndlessTokenizer(MODEL.vocab_size), mesh)
    keys = [(prompt.id, sample) for prompt in prompts for sample in range(args.samples)]
    engine.lengths = dict(zip(keys, lengths.tolist(), strict=True))
    for _ in range(2):  # the first go compiles
        carried = CarriedGroups(engine, cfg, prompts.__getitem__, args.prompts, args.samples, args.steps, seed=0)
        steps = []
        for step in range(args.steps):
            began = time.monotonic()
            if carry_over:
                rollouts = carried.draw(params, step, lambda rollout: None)
            else:
                own = prompts[step * args.prompts : (step + 1) * args.prompts]
                rollouts = engine.generate(params, own, args.samples, (0, step, 0))
            steps.append(Step(engine.session.windows, time.monotonic() - began, rollouts))
    yield from steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--longest", type=int, default=256, help="tokens")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--prompts", type=int, default=8, help="groups a step")
    parser.add_argument("--samples", type=int, default=8, help="of a group")
    parser.add_argument("--slots", type=int, default=0, help="0: as many as a step has completions")
    parser.add_argument("--window", type=int, default=8)
    args = parser.parse_args()
    middle = slice(args.steps // 4, -(args.steps // 4) or None)
    rows = []
    for bound in BOUNDS:
        steps = list(steps_of(args, bound))
        windows = np.array([step.windows for step in steps])
        if not bound:
            plain = windows
        behind = [[step - r.versions for r in each.rollouts] for step, each in enumerate(steps)] if bound else [[]]
        behind = np.concatenate([np.zeros(1), *(row for each in behind[middle] for row in each)])
        tokens = sum(len(r.ids) for step in steps[middle] for r in step.rollouts)
        slots = args.slots or args.prompts * args.samples
        rows.append(
            [
                str(bound),
                str(sum(len(r.ids) for step in steps for r in step.rollouts)),
                f"{windows.sum()} ({windows.sum() / plain.sum():.2f})",
                f"{windows[middle].mean():.1f} ({windows[middle].mean() / plain[middle].mean():.2f})",
                f"{tokens / (windows[middle].sum() * args.window * slots):.0%}",
                f"{(behind > 0).mean():.0%}",
                f"{behind.mean():.2f}",
                f"{behind.max():.0f}",
                f"{sum(step.seconds for step in steps):.1f}",
            ]
        )
    header = [
        "carry_over",
        "tokens trained on",
        "windows",
        "windows a step, middle",
        "slots in use",
        "stale tokens",
        "steps behind, mean",
        "most",
        "seconds",
    ]
    print("\n".join(markdown_table(header, rows)))


if __name__ == "__main__":
    main()
