"""Tables of what run.sh measured: medians over the rounds, and each trainer's seconds as multiples of r1jax's.

    python experiments/bench/table.py results.jsonl

Rows that are not clean (see record.py) are left out and counted. A ratio is the median of the rounds' own ratios, with
the smallest and the largest; a round counts where both runs are clean.
"""

import collections
import json
import pathlib
import statistics
import sys

REFERENCE = "r1jax, 2 devices"
TITLES = {
    "fixed": "8 x 8 completions of 128 tokens",
    "long_tail": "8 x 8 completions, the longest 1,024 tokens and 8 times the median",
    "decode": "SmolLM2-135M's shape, 8 rows of 64 new tokens",
    "sft": "SmolLM2-135M's shape, an SFT step of 512 tokens",
}


def phases(result: dict) -> dict[str, float | None]:
    """Seconds of a step, and of its parts where it has any."""
    split = result.get("split_s", {})
    return {
        "step": result["step_s"],
        "sampling": result.get("sampling_s"),
        "log-probs": split.get("log-probs", result.get("log-probs_s")),
        "update": split.get("update", result.get("update_s")),
    }


def table(rows: list[dict]) -> list[str]:
    """The lines of one work's table in Markdown, and a line about the rows that were left out."""
    clean = [row for row in rows if row["clean"]]
    by_trainer = collections.defaultdict(dict)
    for row in clean:
        by_trainer[row["trainer"]][row["round"]] = phases(row["result"])
    reference = REFERENCE if any(row["trainer"] == REFERENCE for row in rows) else "r1jax"
    lines = ["| | rounds | step s | sampling | log-probs | update | times r1jax's |", "|---|---|---|---|---|---|---|"]
    for trainer in dict.fromkeys(row["trainer"] for row in rows):
        rounds = by_trainer[trainer]
        cells = [trainer, str(len(rounds))]
        for phase in ("step", "sampling", "log-probs", "update"):
            values = [each[phase] for each in rounds.values() if each[phase] is not None]
            cells.append(f"{statistics.median(values):.2f}" if values else "–")
        both = sorted(rounds.keys() & by_trainer[reference].keys())
        ratios = [rounds[i]["step"] / by_trainer[reference][i]["step"] for i in both]
        spread = f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
        cells.append(f"{statistics.median(ratios):.2f}{spread}" if ratios else "–")
        lines.append(f"| {' | '.join(cells)} |")
    if len(clean) < len(rows):
        lines += ["", f"Left out: {len(rows) - len(clean)} of {len(rows)} runs, which failed or had company."]
    return lines


def main() -> int:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    by_work = collections.defaultdict(list)
    for line in pathlib.Path(sys.argv[1]).read_text("utf-8").splitlines():
        row = json.loads(line)
        by_work[row["work"]].append(row)
    for work, rows in by_work.items():
        print("\n".join([f"**{TITLES[work]}**", "", *table(rows), ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
