"""Deviations from `transformers` on random small models of every family; writes the table in docs/models.md.

./launch_local.sh python experiments/parity.py          10 draws a family, 7 minutes on 2 CPU cores
"""

import collections
import pathlib
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "models.md"
sys.path.insert(0, str(ROOT / "tests"))  # the random models are the tests'

import reference  # noqa: E402

from r1jax.conversion import transformers_comparison as comparison  # noqa: E402
from r1jax.io.files import write_text  # noqa: E402

WAYS = ("full", "cached", "right-padded", "left-padded", "packed")


def measure(family: str, draws: int) -> dict:
    """The largest deviations over a family's draws, and the options that they met."""
    row, options = collections.defaultdict(float), collections.Counter()
    row["greedy"] = 1.0
    for seed in range(draws):
        drawn = reference.draw(family, seed)
        options.update(drawn.options)
        ids = np.random.default_rng(seed).integers(0, 61, (3, 20)).astype(np.int32)
        with tempfile.TemporaryDirectory() as folder:
            loaded = reference.load(drawn, pathlib.Path(folder))
        deviations = comparison.compare(loaded, drawn.theirs, ids, np.array([20, 13, 4]))
        for depth, (ahead, expected) in enumerate(
            zip(loaded.ahead(ids), reference.their_ahead(drawn, ids), strict=True), 1
        ):
            deviation = comparison.relative(ahead[:, :-depth], expected[:, :-depth])
            deviations["mtp"] = max(deviations.get("mtp", 0.0), deviation)
        if not family.startswith("deepseek"):
            deviations["gradient"] = comparison.compare_gradients(loaded, drawn.theirs, ids)
        for name, deviation in deviations.items():
            row[name] = max(row[name], deviation)
        row["greedy"] = min(row["greedy"], comparison.compare_greedy(loaded, drawn.theirs, ids[:, :8], 12))
        print(f"{family} {seed}: {max(deviations.values()):.1e}  {', '.join(drawn.options)}", flush=True)
    return {**row, "options": options}


def main() -> None:
    draws = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    import torch
    import transformers

    columns = (*WAYS, "gradient", "mtp")
    lines = [
        f"Made by `./launch_local.sh python experiments/parity.py {draws}`: {draws} random small models a family, read "
        f"from files that transformers {transformers.__version__} (torch {torch.__version__}) saved, computed by both "
        "in float32 on the CPU, twenty positions where stretched models were pretrained at sixteen. The largest max "
        "|r1jax - transformers| / max |transformers| over all draws; the tests hold it below 1e-4. Gradients: of every "
        "weight, each by its own largest entry. Greedy: tokens generated alike.",
        "",
        "| family | " + " | ".join(columns) + " | greedy |",
        "|---" * (len(columns) + 2) + "|",
    ]
    met_options = []
    for family in reference.FAMILIES:
        row = measure(family, draws)
        cells = [f"{row[name]:.1e}" if name in row else "–" for name in columns]
        lines.append(f"| {family} | " + " | ".join(cells) + f" | {row['greedy']:.0%} |")
        options = ", ".join(f"{name} ({count})" for name, count in sorted(row["options"].items()))
        met_options.append(f"- {family}: {options}.")
    lines += ["", "Options met, and in how many draws:", *met_options]
    head, _, rest = PAGE.read_text().partition("<!-- parity -->\n")
    tail = rest.partition("<!-- /parity -->")[2]
    write_text(PAGE, f"{head}<!-- parity -->\n" + "\n".join(lines) + f"\n<!-- /parity -->{tail}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
