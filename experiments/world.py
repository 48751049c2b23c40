"""A model's figures on the mini world's held-out problems and requests, by language and by kind.

    r1jax write-miniworld runs/world
    python experiments/world.py runs/world MODEL [--template r1_zero] [--marker MARK] [--samples 4] [--show 2]

Problems are asked 4 times each at temperature 1, as in training, so that a model's habits show and not its best guess.
Two minutes on 2 CPU cores that are idle.
"""

import argparse
import pathlib
from collections.abc import Callable, Sequence

import jax
import numpy as np
import rich.console
import rich.table

from r1jax.core.sharding import MeshConfig, make_mesh
from r1jax.data.tasks import DataConfig, Questions
from r1jax.data.types import Rollout
from r1jax.evaluation.rollouts import describe, sample_and_grade
from r1jax.graders.grader_table import check_row
from r1jax.inference.engine import Engine, SamplingConfig
from r1jax.models.io import load_model
from r1jax.models.logits import Truncation
from r1jax.rewards.config import RewardConfig
from r1jax.rewards.grader_pool import GraderPool

COLUMNS = {
    "right, %": "reward/accuracy",
    "well formed": "reward/format",
    "mixed thought": "language/mixed",
    "language reward": "reward/language",
    "reflecting": "reflection/share",
    "cut off": "length/truncated",
    "tokens": "length/mean",
}


def rows(rollouts: Sequence[Rollout], by: Callable[[Rollout], str]) -> list[list[str]]:
    """A row for each group and one for all: the number of samples, then the figures of `COLUMNS`."""
    groups: dict[str, list[Rollout]] = {"all": list(rollouts)}
    for rollout in rollouts:
        groups.setdefault(by(rollout), []).append(rollout)
    table = []
    for name, group in sorted(groups.items()):
        figures = describe(group)
        cells = [
            f"{figures[key] * (1 if key == 'length/mean' else 100):.1f}" if key in figures else "–"
            for key in COLUMNS.values()
        ]
        right_and = [r for r in group if r.parts.get("accuracy") == 1.0 and r.parts["format"] == 1.0]
        mixed = f"{100 * describe(right_and)['language/mixed']:.1f}" if right_and else "–"
        table.append([name, str(len(group)), *cells, mixed])
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", type=pathlib.Path, help="the folder that r1jax.tools.write_miniworld wrote")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--template", default="r1_zero")
    parser.add_argument("--marker", default="")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--show", type=int, default=2, help="responses of each kind to print")
    args = parser.parse_args()
    mesh = make_mesh(MeshConfig())
    console = rich.console.Console(width=160)
    with jax.set_mesh(mesh), GraderPool(RewardConfig(language=1.0), 0, 112) as graders:
        params, shape, tokenizer = load_model(args.model, mesh, dtype=None)
        sampling = SamplingConfig(max_new_tokens=112, bucket=272, truncation=Truncation(args.temperature))
        engine = Engine(shape, sampling, tokenizer, mesh)
        for name in ("reasoning_test", "general_test"):
            data = DataConfig(path=str(args.world / f"{name}.jsonl"), template=args.template, marker=args.marker)
            prompts = Questions(data, 0, tokenizer, examine=check_row).held_out(10**6)
            rollouts = sample_and_grade(engine, graders, params, prompts, args.samples, (0,))

            def kind(rollout: Rollout) -> str:
                return f"{rollout.prompt.metadata['kind']} {rollout.prompt.metadata['language']}"

            table = rich.table.Table("kind", "samples", *COLUMNS, "mixed, of right", title=name)
            by_language = rows(rollouts, lambda rollout: f"all {rollout.prompt.metadata['language']}")
            for row in [*by_language, *(row for row in rows(rollouts, kind) if row[0] != "all")]:
                table.add_row(*row)
            console.print(table)
            passes = [r.parts["accuracy"] for r in rollouts if r.parts.get("accuracy") is not None]
            means = np.array(passes).reshape(-1, args.samples).mean(1)
            console.print(f"pass@1 {100 * means.mean():.1f} ± {100 * means.std(ddof=1) / len(means) ** 0.5:.1f}%")
            printed_counts: dict[str, int] = {}
            for rollout in rollouts[:: args.samples]:
                printed_counts[kind(rollout)] = printed_counts.get(kind(rollout), 0) + 1
                if printed_counts[kind(rollout)] <= args.show:
                    console.print(f"{rollout.prompt.question!r} -> {rollout.text!r}", markup=False, highlight=False)


if __name__ == "__main__":
    main()
