"""The manifest of a recipe: its runs in order, and for each its kind, config file, folder and starting point.

`experiments/r1.sh` writes it as manifest.json into each seed's folder: `{"runs": [{"name", "label", "kind", "folder",
"config", "starts_from"}, ...]}`.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from r1jax import config
from r1jax.config import ConfigError
from r1jax.io.files import read_json

FILE = "manifest.json"
Kind = Literal[
    "base",
    "student",
    "rl",
    "all_scenario_rl",
    "student_rl",
    "cold_start",
    "sft",
    "rejection",
    "reward_model",
    "distillation",
    "evaluation",
]
BASES = ("base", "student")  # nothing is run for these


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a recipe.

    Attributes:
        name: unique in the manifest.
        label: what tables call it; of an evaluation: what they call the model.
        kind: what it is, which decides the tables that it is in.
        folder: its workdir below the seed's folder; "" for a base.
        config: the config file with its size.
        starts_from: name of the run whose model it starts from, samples from or evaluates; "": of none.
    """

    name: str
    label: str
    kind: Kind
    folder: str
    config: str
    starts_from: str = ""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The runs of a recipe, in order.

    Raises:
        ValueError: two runs of one name, or a run that starts from none of the runs.
    """

    runs: tuple[Run, ...]

    def __post_init__(self) -> None:
        names = [run.name for run in self.runs]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two runs are named {', '.join(twice)}")
        for run in self.runs:
            if run.starts_from and run.starts_from not in names:
                raise ValueError(f"{run.name} starts from {run.starts_from!r}, which is none of the runs")

    def of_kind(self, *kinds: Kind) -> list[Run]:
        return [run for run in self.runs if run.kind in kinds]

    @property
    def stages(self) -> list[Run]:
        """The runs that are neither bases nor evaluations."""
        return [run for run in self.runs if run.kind not in (*BASES, "evaluation")]

    def evaluation_of(self, model: str) -> Run | None:
        """The evaluation of a run's model, None where there is none."""
        return next((run for run in self.of_kind("evaluation") if run.starts_from == model), None)


def read(folders: Sequence[Path]) -> Manifest:
    """The manifest of a recipe's seeds, which must all have the same.

    Raises:
        FileNotFoundError: a folder without a manifest; names the command that writes it.
        ValueError: a manifest that cannot be read, or seeds whose manifests differ.
    """
    manifests = []
    for folder in folders:
        path = folder / FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{folder} has no {FILE}, the list of the recipe's runs: for a folder made by experiments/r1.sh, "
                f"`experiments/r1.sh --manifest {folder}` writes it"
            )
        try:
            manifests.append(config.parse(Manifest, read_json(path), where="manifest"))
        except ConfigError as error:
            raise ValueError(f"{path}: {error}; its kinds are {', '.join(get_args(Kind))}") from error
    for folder, manifest in zip(folders, manifests, strict=True):
        if manifest != manifests[0]:
            raise ValueError(f"{folder / FILE} and {folders[0] / FILE} differ: these seeds are not of one recipe")
    return manifests[0]
