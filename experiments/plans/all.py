"""Plans of the configs that are not mini, each as a page in experiments/plans/, and the table of all of them.

    pip install libtpu
    ./launch_local.sh python experiments/plans/all.py                # those that have no page yet, compiled
    ./launch_local.sh python experiments/plans/all.py qwen7b_v5p     # some, by name, again
    ./launch_local.sh python experiments/plans/all.py --reckon       # without compiling, those that have no page yet
    ./launch_local.sh python experiments/plans/all.py --table        # the table alone

A page is what `r1jax plan` prints. Small models take minutes on 2 CPU cores, DeepSeek-V3 much longer.
"""

import argparse
import contextlib
import io
import json
import pathlib
import shlex

from r1jax.planning import command

FOLDER = pathlib.Path(__file__).parent
GiB = 2**30
V3 = "--model=deepseek_v3"
# Name -> the options of `r1jax plan`.
PLANS = {
    "qwen1_5b_distill_v5e": "--config=distill:qwen2_5_1_5b --topology=v5e:2x4 --config.mesh.fsdp=4 "
    "--config.mesh.context=2 --config.microbatches=16",
    "qwen7b_distill_v5p": "--config=distill:qwen2_5_7b --topology=v5p:2x2x2",
    "qwen7b_distill_v6e": "--config=distill:qwen2_5_7b --topology=v6e:4x4 --config.mesh.fsdp=4 "
    "--config.mesh.context=4 --config.microbatches=16",
    "qwen7b_zero_v5p": "--config=zero:hf --model=qwen2_5_7b --topology=v5p:2x2x2",
    "qwen7b_zero_v6e": "--config=zero:hf --model=qwen2_5_7b --topology=v6e:4x4 --config.mesh.fsdp=8 "
    "--config.mesh.tensor=2 --config.microbatches=16",
    "qwen7b_zero_v7x": "--config=zero:hf --model=qwen2_5_7b --topology=v7x:2x2x1",
    "qwen7b_zero_v5e": "--config=zero:hf --model=qwen2_5_7b --topology=v5e:4x8 --config.mesh.fsdp=4 "
    "--config.mesh.context=2 --config.mesh.tensor=4 --config.microbatches=32",
    "qwen7b_reasoning_v5p": "--config=reasoning:hf --model=qwen2_5_7b --topology=v5p:2x2x2",
    "qwen14b_distill_v5p": "--config=distill:qwen2_5_14b --topology=v5p:2x2x2 --config.mesh.fsdp=4 "
    "--config.mesh.context=2 --config.microbatches=16",
    "llama8b_distill_v5p": "--config=distill:llama3_1_8b --topology=v5p:2x2x2",
    "qwen32b_distill_v5p": "--config=distill:qwen2_5_32b --topology=v5p:2x2x4 --config.mesh.fsdp=4 "
    "--config.mesh.context=4 --config.microbatches=16",
    "llama70b_distill_v5p": "--config=distill:llama3_3_70b --topology=v5p:4x4x4",
    "llama70b_distill_v5p_tensor": "--config=distill:llama3_3_70b --topology=v5p:4x4x4 --config.mesh.fsdp=8 "
    "--config.mesh.context=2 --config.mesh.tensor=4 --config.microbatches=8",
    "v3_reasoning_fsdp_alone_v5p": "--config=reasoning:deepseek_v3 --topology=v5p:8x8x8 --config.mesh.fsdp=512 "
    "--config.mesh.expert=1 --config.mesh.context=1 --config.mesh.tensor=1 --config.microbatches=1",
    "v3_reasoning_v5p": "--config=reasoning:deepseek_v3 --topology=v5p:8x16x16",
    "v3_reasoning_v7x": "--config=reasoning:deepseek_v3 --topology=v7x:8x8x16",
    "v3_zero_v5p": f"--config=zero:paper {V3} --topology=v5p:8x16x16",
    "v3_all_scenario_v5p": f"--config=all_scenario:paper {V3} --topology=v5p:8x16x16",
    "v3_rejection_v5p": f"--config=rejection:paper {V3} --topology=v5p:8x8x8 --config.mesh.data=1 "
    "--config.mesh.fsdp=8 --config.mesh.expert=32 --config.mesh.tensor=2",
    "v3_sft_v5p": f"--config=sft:paper {V3} --topology=v5p:8x16x16 --config.mesh.fsdp=8 --config.mesh.expert=16 "
    "--config.mesh.tensor=16",
    "v3_helpfulness_v5p": f"--config=preference:paper_helpfulness {V3} --topology=v5p:8x8x16 --config.mesh.data=1 "
    "--config.mesh.fsdp=16 --config.mesh.expert=16 --config.mesh.tensor=4",
}
HEADER = """\
| plan | config | slice | mesh | by | fits | GiB a device | largest while | a step, s | chip-hours a step |
|---|---|---|---|---|---|---|---|---|---|"""


def write_page(name: str, options: list[str]) -> None:
    """Writes a plan's page and its figures; an error, such as rows that do not divide, is a page too."""
    printed, errors, figures = io.StringIO(), io.StringIO(), FOLDER / f"{name}.json"
    figures.unlink(missing_ok=True)
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        command.main([*options, f"--json={figures}"])
    text = printed.getvalue() + "".join(line for line in errors.getvalue().splitlines(True) if "error:" in line)
    page = f"# {name}\n\n```\nr1jax plan {shlex.join(options)}\n```\n\n{text.strip()}\n"
    (FOLDER / f"{name}.md").write_text(page, "utf-8")
    print(f"{name}: {next((x for x in text.splitlines() if 'FIT' in x or 'error:' in x), 'nothing')}", flush=True)


def table_row(name: str) -> str:
    """A plan's line of the table."""
    path = FOLDER / f"{name}.json"
    if not path.exists():
        return f"| [{name}]({name}.md) | {' | '.join(['see there'] + ['-'] * 8)} |"
    plan = json.loads(path.read_text("utf-8"))
    by = "compiled" if plan["compiled"] else "reckoned"
    fits = "yes" if plan["fits"] else "**no**"
    size = f"{plan['bytes'] / GiB:.1f} of {plan['limit'] / GiB:.2f}"
    # A program that the compiler refuses has no time, and a step with it has none.
    is_whole = not any(program["refused"] for program in plan["programs"])
    cost = f"{plan['step_s']:,.4g} | {plan['chip_hours']:,.3g}" if is_whole else "– | –"
    cells = [f"[{name}]({name}.md)", plan["config"], plan["topology"], plan["mesh"], by, fits, size, plan["largest"]]
    return f"| {' | '.join(cells)} | {cost} |"


def write_table() -> None:
    """Puts the table of all plans into README.md, between its marks."""
    path = FOLDER / "README.md"
    before, _, rest = path.read_text("utf-8").partition("<!-- plans -->\n")
    _, _, after = rest.partition("<!-- /plans -->")
    rows = "\n".join(table_row(name) for name in PLANS if (FOLDER / f"{name}.md").exists())
    path.write_text(f"{before}<!-- plans -->\n{HEADER}\n{rows}\n<!-- /plans -->{after}", "utf-8")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=", ".join(PLANS))
    parser.add_argument("--reckon", action="store_true", help="compile nothing")
    parser.add_argument("--table", action="store_true", help="write the table alone")
    args = parser.parse_args(argv)
    if unknown := set(args.names) - set(PLANS):
        parser.error(f"no plan {', '.join(sorted(unknown))}; there are {', '.join(PLANS)}")
    names = args.names or [name for name in PLANS if not (FOLDER / f"{name}.md").exists()]
    for name in () if args.table else names:
        write_page(name, [*shlex.split(PLANS[name]), *(["--reckon"] if args.reckon else [])])
        write_table()
    write_table()


if __name__ == "__main__":
    main()
