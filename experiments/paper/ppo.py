"""GRPO against PPO with a critic, at lambda 1 and 0.95: accuracy, memory and time on the same task and samples.

    python experiments/paper/ppo.py

Writes the table and picture of ppo.md. Runs that are finished are left as they are, others resumed.
"""

import dataclasses
import pathlib
import statistics
import sys
from collections.abc import Mapping, Sequence

import rl_runs
import study
from matplotlib.figure import Figure

from r1jax.io.files import read_json
from r1jax.io.tables import markdown_table

MINUTES = 6.0  # of a seed
UPDATES = 4
TASK = {
    **rl_runs.TASK,
    "grpo.prompts_per_step": 8,
    "grpo.group_size": 8,
    "grpo.minibatches": UPDATES,
    "grpo.clip_low": 0.2,
    "grpo.clip_high": 0.2,
    "microbatches": 2,
}
BETA = 0.001
GRPO = study.R1JAX_TRAIN
PPO = (sys.executable, str(study.HERE / "ppo_training.py"))
WITH_CRITIC = {"grpo.beta": 0.0, "grpo.aggregation": "token", "kl_in_reward": BETA, "critic.learning_rate": 1e-3}


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """A row of the table: its name, its folder's name, its program, and the fields in which it differs."""

    name: str
    folder: str
    program: Sequence[str]
    fields: Mapping[str, object]


ALGORITHMS = (
    Algorithm("GRPO", "grpo", GRPO, {"grpo.beta": BETA}),
    Algorithm("PPO, lambda 1", "ppo_1", PPO, {**WITH_CRITIC, "gae_lambda": 1.0}),
    Algorithm("PPO, lambda 0.95", "ppo_0.95", PPO, {**WITH_CRITIC, "gae_lambda": 0.95}),
)
QUALITY = ("algorithm", *rl_runs.evaluation_header(), "entropy", "KL", "explained variance")
COST = (
    "algorithm",
    "parameters trained",
    "state, MB",
    "sampling, s",
    "log-probs, s",
    "policy's updates, s",
    "critic, s",
    "a step, s",
    "minutes",
)


def folder(options: study.Options, algorithm: Algorithm, seed: int) -> pathlib.Path:
    """Where a run lies."""
    return options.runs / f"seed{seed}" / algorithm.folder


def quality(algorithm: Algorithm, runs: Sequence[pathlib.Path]) -> list[str]:
    """A row of the table of accuracy."""
    ends = (("entropy", 3), ("kl", 4), ("value/explained_variance", 2))
    of_end = [study.spread([rl_runs.at_end(run, key) for run in runs], digits) for key, digits in ends]
    return [algorithm.name, *rl_runs.evaluation_cells(runs), *of_end]


def cost(algorithm: Algorithm, runs: Sequence[pathlib.Path], state: Mapping[str, int]) -> list[str]:
    """A row of the table of memory and time.

    Args:
        state: `ppo_training.state_bytes` of a run with a critic; of GRPO's it is the same without the critic.
    """
    has_critic = algorithm.program is PPO
    parameters = state["policy_parameters"] + has_critic * state["critic_parameters"]
    state_size = state["policy"] + state["reference"] + has_critic * state["critic"]
    phases = (("sample",), ("score",), ("update",), ("value", "critic"), rl_runs.PHASES)
    times = [[rl_runs.seconds(run, each) for run in runs] for each in phases]
    cells = [study.spread(each, 2) for each in times]
    if not has_critic:
        cells[3] = "–"
    minutes = study.spread([rl_runs.STEPS * each / 60 for each in times[-1]], 1)
    return [algorithm.name, f"{parameters:,}", f"{state_size / 1e6:.1f}", *cells, minutes]


def write(options: study.Options, seeds: Sequence[int]) -> None:
    """The page of seeds that are whole."""
    runs = {each.name: [folder(options, each, seed) for seed in seeds] for each in ALGORITHMS}
    state = read_json(runs[ALGORITHMS[1].name][0] / "state_bytes.json")
    before = statistics.mean(100 * study.rows(run / "evals.jsonl")[0]["pass@1"] for run in runs[ALGORITHMS[0].name])
    note = f"{rl_runs.seeds_note(seeds)} Accuracy before training: {before:.1f}."
    quality_table = markdown_table(QUALITY, [quality(each, runs[each.name]) for each in ALGORITHMS])
    cost_table = markdown_table(COST, [cost(each, runs[each.name], state) for each in ALGORITHMS])
    figure = Figure(figsize=(6.5, 4), layout="constrained")
    rl_runs.draw_curves(figure.subplots(), runs, f"{rl_runs.CONFIG}, {rl_runs.STEPS} steps")
    study.write_page("ppo", "\n".join([note, "", *quality_table, "", *cost_table]), figure)


def main() -> None:
    options = study.options("ppo", __doc__, MINUTES)

    def run_seed(seed: int) -> None:
        questions = rl_runs.write_questions(options.runs)
        for algorithm in ALGORITHMS:
            fields = {**TASK, **algorithm.fields, "seed": seed, "data.path": questions}
            study.train(rl_runs.CONFIG, folder(options, algorithm, seed), program=algorithm.program, **fields)

    def is_whole(seed: int) -> bool:
        return all(study.is_finished(folder(options, algorithm, seed)) for algorithm in ALGORITHMS)

    write(options, study.finished_seeds(options, run_seed, is_whole))


if __name__ == "__main__":
    main()
