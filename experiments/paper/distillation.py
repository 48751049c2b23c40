"""Distillation against RL: students by RL alone, by samples, by logits, on-policy, and by RL afterwards.

    python experiments/paper/distillation.py

The teacher is the R1-Zero that ships, the students are base:student_qwen2_longer and base:student_llama_longer, which
are pretrained once, before the first seed. All arms have R1-Zero's prompts and the same training questions, and are
evaluated on the same held-out problems. Runs that are finished are left as they are, others resumed.
"""

import dataclasses
import pathlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence

import rl_runs
import study
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from r1jax.core import checksums
from r1jax.io import jsonl
from r1jax.io.files import read_json
from r1jax.io.tables import markdown_table
from r1jax.stages.base_keys import base_name
from r1jax.stages.bases import SHIPPED

NAME, MINUTES = "distillation", 12.0  # of a seed, once the students are there
TEACHER = SHIPPED / "mini-r1-zero"
FAMILIES = {"Qwen2's architecture": "qwen2", "Llama's architecture": "llama"}
STUDENTS = {"qwen2": "configs/base.py:student_qwen2_longer", "llama": "configs/base.py:student_llama_longer"}
PROMPTS = {"template": "r1_zero", "marker": ""}
PROMPTED = {f"data.{name}": value for name, value in PROMPTS.items()}
RL_STEPS, SHORT_STEPS = 40, 20  # of RL alone; of RL afterwards, and of on-policy distillation
CURVE = {"evaluation.questions": 48, "evaluation.samples": 4, "evaluation.samples_during": 4, "evaluation.every": 10}
QUESTIONS, SAMPLES = 100, 8  # of the evaluations that the tables are of
LENGTHS = {"sampling.max_new_tokens": 112, "sampling.bucket": 272}  # as in zero:world
TEACHER_SAMPLES = {"num_prompts": 800, "samples": 4, "filters.keep_per_prompt": 2, "filters.language": 0.0, **LENGTHS}
ROW = 272  # tokens: the longest prompt and completion
# The rate is the best of four on seed 0; RL and on-policy distillation have the same, from their configs.
FINE_TUNING = {"seq_len": ROW, "optimizer.learning_rate": 1e-4}
START = "as it starts"
# The arms, each with the work that it consists of: steps shared by both families, and its family's own runs.
ARMS = {
    "RL alone": ("rl",),
    "distilled by samples": ("teacher_samples", "samples"),
    "distilled by logits": ("teacher_samples", "teacher_logits", "logits"),
    "distilled on-policy": ("on_policy",),
    "by samples, then RL": ("teacher_samples", "samples", "samples_rl"),
}
SHARED = ("teacher_samples", "teacher_logits")
OF_TEACHER = "teacher_samples"  # whose tokens the teacher samples
ROLLOUTS = ("rl", "on_policy", "samples_rl")  # in which the student samples
# Differences in pass@1 of two arms at the same seed.
COMPARED = (
    ("distilled by samples", "RL alone"),
    ("distilled by logits", "distilled by samples"),
    ("distilled on-policy", "distilled by samples"),
    ("distilled on-policy", "RL alone"),
    ("by samples, then RL", "distilled by samples"),
    ("by samples, then RL", "RL alone"),
)


@dataclasses.dataclass(frozen=True)
class Result:
    """An arm, or a model that is only evaluated, at one seed.

    Attributes:
        pass_at_1, consensus, well_formed: percent of the held-out problems' samples; consensus is of problems.
        tokens: mean length of a response.
        seconds: of all work that led to it, evaluations apart; None: it was only evaluated.
        student_tokens, teacher_tokens: sampled for it in training.
    """

    pass_at_1: float
    consensus: float
    well_formed: float
    tokens: float
    seconds: float | None = None
    student_tokens: int = 0
    teacher_tokens: int = 0


def folder(options: study.Options, seed: int, *names: str) -> pathlib.Path:
    """The workdir of a run; all lie side by side, so that they find the same students."""
    return options.runs / "_".join([f"seed{seed}", *names])


def is_done(workdir: pathlib.Path) -> bool:
    """Whether a run has ended: then its seconds are noted."""
    return (workdir / "seconds.jsonl").exists()


def run(config: str, workdir: pathlib.Path, **fields: object) -> pathlib.Path:
    """Runs a stage unless it has ended before, and notes its seconds. Returns the workdir.

    The seconds are from the start of the process to the last state that it saves, and where it saves none, to its end.
    So that they do not depend on what ran before, each run compiles all its programs, and one that was killed begins
    anew.
    """
    if not is_done(workdir):
        shutil.rmtree(workdir, ignore_errors=True)
        began = time.time()
        with tempfile.TemporaryDirectory() as cache:
            study.train(config, workdir, {"JAX_COMPILATION_CACHE_DIR": cache}, **fields)
        states = [path.stat().st_mtime for path in workdir.glob(f"checkpoints/*/{checksums.FILE}")]
        jsonl.append(workdir / "seconds.jsonl", {"seconds": max(states, default=time.time()) - began})
    return workdir


def make_students(options: study.Options) -> None:
    """Pretrains the students that are not there yet; the runs below look for them where this puts them."""
    for config in STUDENTS.values():
        study.train(config, options.runs / base_name(config))


def distil(options: study.Options, seed: int) -> tuple[pathlib.Path, pathlib.Path, pathlib.Path]:
    """The work of the teacher: the world, its samples and its logits on them, which both families learn from."""
    world = study.write_world(folder(options, seed, "world"), seed)
    common = {**PROMPTED, "data.path": world / "reasoning.jsonl", "seed": seed}
    collected = run("rejection:mini", folder(options, seed, OF_TEACHER), model=TEACHER, **TEACHER_SAMPLES, **common)
    samples = collected / "samples.jsonl"
    logits = run(
        "distill:mini_teach",
        folder(options, seed, "teacher_logits"),
        base=TEACHER,
        seq_len=ROW,
        **{**PROMPTED, "data.paths": (str(samples),)},
    )
    return world, samples, logits


def train_family(
    options: study.Options, seed: int, family: str, world: pathlib.Path, samples: pathlib.Path, logits: pathlib.Path
) -> None:
    """The runs of all arms of a family."""

    def at(name: str) -> pathlib.Path:
        return folder(options, seed, family, name)

    questions = {"seed": seed, "data.path": world / "reasoning.jsonl", **CURVE}
    supervised = {"base": STUDENTS[family], "seed": seed, **FINE_TUNING, **PROMPTED, "data.paths": (str(samples),)}
    run("zero:world", at("rl"), base=STUDENTS[family], num_steps=RL_STEPS, **questions)
    distilled = run(f"distill:mini_{family}", at("samples"), **supervised)
    run(f"distill:mini_{family}", at("logits"), soft_targets=logits, **supervised)
    on_policy = {"base": STUDENTS[family], "teacher": TEACHER, "num_steps": SHORT_STEPS}
    run("distill:mini_on_policy", at("on_policy"), **on_policy, **questions)
    run("zero:world", at("samples_rl"), base=distilled / "model", num_steps=SHORT_STEPS, **questions)


def evaluate(options: study.Options, seed: int, name: str, model: object) -> pathlib.Path:
    """The workdir of a model's evaluation on the held-out problems."""
    return run(
        "evaluate:world",
        folder(options, seed, "evaluation", name),
        model=model,
        label=name,
        data=folder(options, seed, "world"),
        seed=seed,
        samples=SAMPLES,
        benchmarks=({"name": "world_reasoning", "questions": QUESTIONS},),
        **{**PROMPTS, "sampling.bucket": LENGTHS["sampling.bucket"]},
    )


def run_seed(options: study.Options, seed: int) -> None:
    """All that is measured of a seed."""
    world, samples, logits = distil(options, seed)
    evaluate(options, seed, "teacher", TEACHER)
    for family in FAMILIES.values():
        train_family(options, seed, family, world, samples, logits)
        evaluate(options, seed, f"{family}_start", STUDENTS[family])
        for work in ARMS.values():
            evaluate(options, seed, f"{family}_{work[-1]}", folder(options, seed, family, work[-1]) / "model")


def is_whole(options: study.Options, seed: int) -> bool:
    """Whether the last evaluation of a seed is there."""
    family, work = [*FAMILIES.values()][-1], [*ARMS.values()][-1]
    return is_done(folder(options, seed, "evaluation", f"{family}_{work[-1]}"))


def seconds_of(workdir: pathlib.Path) -> float:
    """The seconds that a run's process took, less those of the evaluations between its steps."""
    evaluations = sum(row.get("time/eval", 0.0) for row in study.rows(workdir / "metrics.jsonl"))
    return study.rows(workdir / "seconds.jsonl")[-1]["seconds"] - evaluations


def sampled_tokens(workdir: pathlib.Path) -> int:
    """The tokens that a run sampled to train on: an RL run's, or a record's of rejection sampling."""
    if (workdir / "record").exists():
        return sum(row["tokens"] for row in study.rows(workdir / "record" / "samples.jsonl"))
    cfg = read_json(workdir / "config.json")["grpo"]
    each = cfg["prompts_per_step"] * cfg["group_size"]
    return round(sum(row["length/mean"] * each for row in study.rows(workdir / "metrics.jsonl")))


def evaluated(options: study.Options, seed: int, name: str) -> Result:
    """The figures of an evaluation."""
    row = read_json(folder(options, seed, "evaluation", name) / "world_reasoning" / "result.json")
    figures = [100 * row["figures"][key]["value"] for key in ("pass@1", f"cons@{SAMPLES}")]
    return Result(*figures, 100 * row["rates"]["well_formed"], row["length"]["mean"])


def arm_result(options: study.Options, seed: int, family: str, arm: str) -> Result:
    """The figures of an arm, with all that it cost."""
    work = ARMS[arm]
    runs = {name: folder(options, seed, *(() if name in SHARED else (family,)), name) for name in work}
    return dataclasses.replace(
        evaluated(options, seed, f"{family}_{work[-1]}"),
        seconds=sum(seconds_of(workdir) for workdir in runs.values()),
        student_tokens=sum(sampled_tokens(runs[name]) for name in work if name in ROLLOUTS),
        teacher_tokens=sampled_tokens(runs[OF_TEACHER]) if OF_TEACHER in work else 0,
    )


def results_of(options: study.Options, seeds: Sequence[int], family: str) -> dict[str, list[Result]]:
    """The results of a family's rows of the table, over seeds."""
    results = {START: [evaluated(options, seed, f"{family}_start") for seed in seeds]}
    return results | {arm: [arm_result(options, seed, family, arm) for seed in seeds] for arm in ARMS}


HEADER = (
    "model",
    "pass@1",
    f"cons@{SAMPLES}",
    "well formed",
    "tokens",
    "seconds",
    "student's tokens",
    "teacher's tokens",
)


def cells(name: str, results: Sequence[Result]) -> list[str]:
    """A row of the table; tokens that were sampled in thousands."""
    quality = [
        study.spread([getattr(each, field) for each in results])
        for field in ("pass_at_1", "consensus", "well_formed", "tokens")
    ]
    if results[0].seconds is None:
        return [name, *quality, "–", "–", "–"]
    sampled = [
        f"{study.spread([getattr(each, field) / 1000 for each in results], 0)}k" if getattr(results[0], field) else "–"
        for field in ("student_tokens", "teacher_tokens")
    ]
    return [name, *quality, study.spread([each.seconds for each in results], 0), *sampled]


def differences(results: Mapping[str, Mapping[str, Sequence[Result]]], seeds: Sequence[int]) -> list[list[str]]:
    """The rows of the table of differences in pass@1, seed by seed, in percentage points."""
    lines = []
    for (arm, other), (title, of_arm) in ((pair, family) for pair in COMPARED for family in results.items()):
        values = [a.pass_at_1 - b.pass_at_1 for a, b in zip(of_arm[arm], of_arm[other], strict=True)]
        lines.append([f"{arm}, less {other}", title, *(f"{each:+.1f}" for each in values), study.spread(values)])
    assert all(len(line) == len(seeds) + 3 for line in lines)
    return lines


def draw(axes: Axes, title: str, results: Mapping[str, Sequence[Result]], runs: Sequence[pathlib.Path]) -> None:
    """Accuracy by the seconds that it took: a point for each arm, and RL alone on its way there.

    Args:
        runs: of RL alone, which was evaluated on fewer questions as it went; a step is taken to last as any other.
    """
    for number, (name, of_seeds) in enumerate(results.items()):
        accuracy = [each.pass_at_1 for each in of_seeds]
        spread = statistics.stdev(accuracy) if len(accuracy) > 1 else 0.0
        seconds = statistics.mean(each.seconds or 0.0 for each in of_seeds)
        axes.errorbar(seconds, statistics.mean(accuracy), spread, fmt="o", color=f"C{number}", capsize=3, label=name)
    steps, curve = rl_runs.curve(runs)
    whole = statistics.mean(each.seconds for each in results["RL alone"])
    axes.plot([whole * step / steps[-1] for step in steps], curve, color="C1", linewidth=0.8, linestyle="--")
    axes.set(title=title, xlabel="seconds of training", ylabel="pass@1 on held-out problems, %", ylim=(0, 100))
    axes.grid(alpha=0.3)


def write(options: study.Options, seeds: Sequence[int]) -> None:
    """The page of seeds that are whole."""
    results = {title: results_of(options, seeds, family) for title, family in FAMILIES.items()}
    teacher = [evaluated(options, seed, "teacher") for seed in seeds]
    parts = [
        f"{rl_runs.seeds_note(seeds)} {QUESTIONS} held-out problems, {SAMPLES} samples each, percent; seconds from the "
        "start of each process to its last state, evaluations apart."
    ]
    for title, of_arms in results.items():
        lines = [cells("teacher", teacher), *(cells(name, of_seeds) for name, of_seeds in of_arms.items())]
        parts += [f"### {title}", "\n".join(markdown_table(HEADER, lines))]
    header = ["pass@1", "student", *(f"seed {seed}" for seed in seeds), "all"]
    parts += ["### Differences, percentage points", "\n".join(markdown_table(header, differences(results, seeds)))]
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, (title, family) in zip(figure.subplots(1, len(FAMILIES)), FAMILIES.items(), strict=True):
        draw(axes, title, results[title], [folder(options, seed, family, "rl") for seed in seeds])
    axes.legend(fontsize="small")
    study.write_page(NAME, "\n\n".join(parts), figure)


def main() -> None:
    options = study.options(NAME, __doc__, MINUTES)
    if not options.page_only:
        make_students(options)
    seeds = study.finished_seeds(options, lambda seed: run_seed(options, seed), lambda seed: is_whole(options, seed))
    write(options, seeds)


if __name__ == "__main__":
    main()
