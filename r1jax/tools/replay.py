"""Replay of an RL update from saved rollouts, without sampling: to debug a loss or a reward on fixed data.

    r1jax replay runs/a --step 12                                     the same update once more
    r1jax replay runs/a --step 12 --regrade --out graded.jsonl        rewards by the present graders
    r1jax replay runs/a --step 12 --config.grpo.beta=0.1              another loss on the same rollouts

From the newest state that the run has kept of a step up to this one, else from its base, the updates of the steps in
between are computed again from the run's rollouts/. The table compares the metrics of the step with those that the run
recorded. Nothing is written into the run's folder. --config.KEY=VALUE sets a field for all of these updates.
Errors are one line; with R1JAX_DEBUG=1 in the environment they keep their traceback.
"""

import argparse
import contextlib
import dataclasses
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from r1jax.config import ConfigError, exit_status, parse, path_given
from r1jax.io import jsonl
from r1jax.io.files import read_json
from r1jax.overrides import override, overrides_from
from r1jax.stages.config import RLConfig


def parser() -> argparse.ArgumentParser:
    """The command line of `r1jax replay`."""
    parser = argparse.ArgumentParser(
        prog="r1jax replay",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", type=path_given, help="the workdir of an RL run")
    parser.add_argument("--step", type=int, required=True, help="the step to replay, from 0")
    parser.add_argument("--regrade", action="store_true", help="compute the rewards again; those of models are kept")
    parser.add_argument("--out", type=path_given, help="a file for the step's samples, with rewards and advantages")
    return parser


def read_run_config(run: pathlib.Path, overrides: Sequence[str]) -> RLConfig:
    """The config of a run, with fields set; its steps are kept and nothing is tracked.

    Raises:
        ConfigError: not the workdir of an RL run, or a field that cannot be set.
    """
    path = run / "config.json"
    if not path.exists():
        raise ConfigError(f"{run} has no config.json: give the --workdir of an RL run")
    tree = read_json(path)
    if tree.get("stage") != "rl":
        raise ConfigError(f"{run} is a run of the stage {tree.get('stage')}: rollouts are of RL alone")
    fields = {field.name for field in dataclasses.fields(RLConfig)}
    tree = {key: value for key, value in tree.items() if key in fields}  # without the base's key
    quiet = ["track.tensorboard=false", "track.wandb=off", "profile_at=-1"]
    return parse(RLConfig, override(RLConfig, tree, [*quiet, *overrides]), "config")


@contextlib.contextmanager
def workdir_at(run: pathlib.Path, step: int) -> Iterator[pathlib.Path]:
    """A workdir of its own for the replay, with the run's newest state of at most `step` finished steps."""
    states = [int(path.name) for path in (run / "checkpoints").glob("*") if path.name.isdecimal()]
    usable = [state for state in states if state <= step]
    with tempfile.TemporaryDirectory(prefix="r1jax-replay-") as scratch:
        if usable:
            state = str(max(usable))
            shutil.copytree(run / "checkpoints" / state, pathlib.Path(scratch) / "checkpoints" / state)
        yield pathlib.Path(scratch)


def replay(cfg: RLConfig, run: pathlib.Path, step: int, regrade: bool, out: pathlib.Path | None) -> dict[str, float]:
    """Computes the updates up to a step again. Returns the metrics of that step.

    Args:
        regrade: compute the rewards again, but for those of reward models.
        out: gets the step's samples with their rewards and advantages; None: no file.

    Raises:
        FileNotFoundError, ValueError: the run's base, data or rollouts are not those that it had.
    """
    import jax

    from r1jax.core.sharding import make_mesh, use_rules
    from r1jax.evaluation.rollout_files import read_rollouts
    from r1jax.evaluation.rollouts import describe, numbers_of
    from r1jax.io.console import say
    from r1jax.stages import rl
    from r1jax.stages.bases import starting_models
    from r1jax.stages.groups import advantages_by_group
    from r1jax.stages.rl_batch import make_batch, make_scorer, summarise, with_logprobs
    from r1jax.training import loop

    mesh = make_mesh(cfg.mesh)
    with jax.set_mesh(mesh), use_rules(cfg.mesh), workdir_at(run, step) as scratch, contextlib.ExitStack() as stack:
        base, teacher = starting_models(cfg, run.parent, mesh)
        start_from = loop.start_from_folder(base, mesh, cfg.compute)
        cfg, questions = rl.open_questions(cfg, base, start_from, rl.prompt_limit_of(cfg, base, teacher))
        training = rl.open_run(cfg, scratch, mesh, start_from)
        teach = rl.open_teacher(cfg, training, teacher)
        stack.callback(training.close_metrics)
        score = make_scorer(training.model, cfg, mesh)
        update = training.compile_update(rl.make_loss(cfg, training.model), cfg.microbatches, cfg.auxiliary.bias_rate)
        graders = stack.enter_context(rl.open_graders(cfg, questions)) if regrade else None
        row: dict[str, float] = {}
        drawn = cfg.grpo.prompts_per_step * (1 + cfg.grpo.dynamic_sampling_rounds)  # a step's block of questions
        for at in range(training.start, step + 1):
            # Of the blocks before it a step may train on groups that were carried over, of those after it on others.
            first = max(at - cfg.sampling.carry_over, 0)
            blocks = at + 1 + cfg.sampling.carry_over - first
            prompts = {prompt.id: prompt for prompt in questions.take(first * drawn, blocks * drawn)}
            rollouts = read_rollouts(run, at, prompts, training.tokenizer)
            if graders:
                model_parts = [reward.part for reward in cfg.rewards.models]
                scores = [{part: r.parts[part] for part in model_parts if part in r.parts} for r in rollouts]
                pending = [graders.submit(rollout) for rollout in rollouts]
                rollouts = [each.result(of_models) for each, of_models in zip(pending, scores, strict=True)]
            advantages = advantages_by_group(rollouts, cfg.grpo, cfg.rewards)
            batch = rl.with_teacher(make_batch(rollouts, advantages, cfg, at), teach)
            batch = with_logprobs(batch, cfg.grpo, score, training.state.params, training.reference)
            updates, _ = rl.update_on_minibatches(training, update, batch, cfg, at)
            learning_rate = float(training.learning_rate(int(training.state.step) - 1))
            numbers = [numbers_of(rollout) for rollout in rollouts]
            row = {**describe(numbers), **summarise(updates), "learning_rate": learning_rate}
            say(f"replayed step {at}")
    if out:
        jsonl.write(
            out,
            (
                {
                    "id": r.prompt.id,
                    "sample": r.sample,
                    "text": r.whole,
                    "reward": r.reward,
                    "parts": dict(r.parts),
                    "verdict": r.verdict,
                    "advantage": float(advantage),
                }
                for r, advantage in zip(rollouts, advantages.reshape(-1), strict=True)
            ),
        )
    return {name: float(f"{value:.6g}") for name, value in row.items()}


def print_comparison(row: Mapping[str, float], recorded: Mapping[str, Any]) -> None:
    """Prints the metrics of a replayed step beside those that the run recorded, and how many differ."""
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", "recorded", "replayed")
    different = [name for name, value in row.items() if name in recorded and recorded[name] != value]
    for name, value in row.items():
        style = "bold" if name in different else None
        table.add_row(name, f"{recorded.get(name, '')}", f"{value:.6g}", style=style)
    Console().print(table)
    print(f"{len(different)} of {len(row)} metrics differ from those of the run")


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Replays the step and prints the comparison.

    Raises:
        FileNotFoundError, ValueError: see `read_run_config` and `replay`; also a step that the run has not done.
    """
    cfg = read_run_config(args.run, overrides)
    rows = {row["step"]: row for row in jsonl.read_log(args.run / "metrics.jsonl")[0]}
    if args.step not in rows:
        done = f"0 to {max(rows)}" if rows else "none"
        raise ConfigError(f"--step={args.step} is not among the steps that {args.run} has done: {done}")
    print_comparison(replay(cfg, args.run, args.step, args.regrade, args.out), rows[args.step])


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status, see `config.exit_status`."""
    args, rest = parser().parse_known_args(argv)
    return exit_status(lambda: run(args, overrides_from(rest)), f"replaying step {args.step} of {args.run}")
