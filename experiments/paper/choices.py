"""The choices of GRPO's loss, one changed at a time: a run for each on one task, of equal samples.

    python experiments/paper/choices.py

Writes the table and picture of choices.md. Runs that are finished are left as they are, others resumed.
"""

import dataclasses
import pathlib
import statistics
from collections.abc import Mapping, Sequence

import rl_runs
import study
from matplotlib.figure import Figure

from r1jax.io.tables import markdown_table

PROMPTS, GROUP = 8, 8
MINUTES = 15.0  # of a seed
TASK = {
    **rl_runs.TASK,
    "grpo.group_size": GROUP,
}
CLIP = {"clip_low": 0.2, "clip_high": 0.2}


@dataclasses.dataclass(frozen=True)
class Choice:
    """A row of the table.

    Attributes:
        name: of the row and, with its spaces as underscores, of its runs' folders.
        grpo: fields of the config's section `grpo` in which it differs from the task's.
        updates: minibatches a step; with one, the policy that is updated is the one that sampled.
        share: of the prompts a step that are asked first; where more are asked later, so that the samples are equal.
    """

    name: str
    grpo: Mapping[str, object] = dataclasses.field(default_factory=dict)
    updates: int = 1
    share: float = 1.0

    @property
    def prompts(self) -> int:
        """Groups that a step trains on."""
        return int(PROMPTS * self.share)

    @property
    def fields(self) -> dict[str, object]:
        """All fields that its runs set."""
        rows = self.prompts * GROUP // self.updates
        chosen = {f"grpo.{name}": value for name, value in self.grpo.items()}
        split = {"grpo.prompts_per_step": self.prompts, "grpo.minibatches": self.updates, "microbatches": rows // 8}
        return {**TASK, **split, **chosen}


ON_POLICY = (
    Choice("as in the paper"),
    Choice("beta 0", {"beta": 0.0}),
    Choice("beta 0.04", {"beta": 0.04}),
    Choice("beta 0.04, reference every 10", {"beta": 0.04, "reference_every": 10}),
    Choice("no std", {"normalize_std": False}),
    Choice("leave-one-out, no std", {"normalize_std": False, "baseline": "leave_one_out"}),
    Choice("token mean", {"aggregation": "token"}),
    Choice("no std, no length", {"normalize_std": False, "aggregation": "dr_grpo"}),
    Choice("dynamic sampling", {"dynamic_sampling_rounds": 1}, share=0.5),
)
OFF_POLICY = (
    Choice("4 updates, clip 10", updates=4),
    Choice("4 updates, clip 0.2", CLIP, updates=4),
    Choice("4 updates, clip 0.2 and 0.28", {**CLIP, "clip_high": 0.28}, updates=4),
    Choice("4 updates, sequence ratio", {"ratio_level": "sequence", "clip_low": 3e-4, "clip_high": 4e-4}, updates=4),
    Choice("4 updates, CISPO", {"surrogate": "cispo", "clip_high": 0.2}, updates=4),
)
HEADER = ("choice", *rl_runs.evaluation_header(), "entropy", "KL", "clipped", "samples", "minutes")


def folder(options: study.Options, choice: Choice, seed: int) -> pathlib.Path:
    """Where a run lies."""
    name = choice.name.replace(",", "").replace(" ", "_")
    return options.runs / f"seed{seed}" / name


def samples_drawn(workdir: pathlib.Path, choice: Choice) -> int:
    """Samples of a run, those of groups that dynamic sampling replaced too.

    A step keeps every group with a signal, and its row has the share of groups without one among all that were drawn.
    """
    rounds, total = int(choice.grpo.get("dynamic_sampling_rounds", 0)), 0
    for row in study.rows(workdir / "metrics.jsonl"):
        groups = choice.prompts
        if rounds:
            rollouts = study.rows(workdir / "rollouts" / f"step_{row['step']:06d}.jsonl")
            rewards = [rollout["reward"] or 0.0 for rollout in rollouts]
            groups_drawn = (rewards[i : i + GROUP] for i in range(0, len(rewards), GROUP))
            with_signal = sum(map(rl_runs.has_signal, groups_drawn))
            share = row["groups/no_signal"]
            groups = round(with_signal / (1 - share)) if with_signal else choice.prompts * (1 + rounds)
        total += groups * GROUP
    return total


def cells(choice: Choice, runs: Sequence[pathlib.Path]) -> list[str]:
    """A row of the table, of a choice's runs over seeds."""
    ends = (("entropy", 1, 3), ("kl", 1, 4), ("clip/rate", 100, 2))
    of_end = [study.spread([rl_runs.at_end(run, key, factor) for run in runs], n) for key, factor, n in ends]
    samples = f"{statistics.mean(samples_drawn(run, choice) for run in runs):.0f}"
    minutes = study.spread([rl_runs.STEPS * rl_runs.seconds(run) / 60 for run in runs], 1)
    return [choice.name, *rl_runs.evaluation_cells(runs), *of_end, samples, minutes]


def write(options: study.Options, seeds: Sequence[int]) -> None:
    """The page of seeds that are whole."""
    runs = {choice.name: [folder(options, choice, seed) for seed in seeds] for choice in (*ON_POLICY, *OFF_POLICY)}
    before = [100 * study.rows(run / "evals.jsonl")[0]["pass@1"] for run in runs[ON_POLICY[0].name]]
    note = f"{rl_runs.seeds_note(seeds)} Accuracy before training: {study.spread(before)}."
    rows = [cells(choice, runs[choice.name]) for choice in (*ON_POLICY, *OFF_POLICY)]
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    panels = zip(
        figure.subplots(1, 2, sharey=True), (ON_POLICY, OFF_POLICY), ("one update a step", "four updates"), strict=True
    )
    for axes, group, title in panels:
        rl_runs.draw_curves(axes, {choice.name: runs[choice.name] for choice in group}, title)
    study.write_page("choices", "\n".join([note, "", *markdown_table(HEADER, rows)]), figure)


def main() -> None:
    options = study.options("choices", __doc__, MINUTES)
    choices = *ON_POLICY, *OFF_POLICY

    def run_seed(seed: int) -> None:
        questions = rl_runs.write_questions(options.runs)
        for choice in choices:
            fields = {"seed": seed, "data.path": questions, **choice.fields}
            study.train(rl_runs.CONFIG, folder(options, choice, seed), **fields)

    def is_whole(seed: int) -> bool:
        return all(study.is_finished(folder(options, choice, seed)) for choice in choices)

    write(options, study.finished_seeds(options, run_seed, is_whole))


if __name__ == "__main__":
    main()
