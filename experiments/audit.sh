#!/usr/bin/env bash
# Every grader over public datasets: the tables in docs/rewards.md.
#
#   ./launch_local.sh experiments/audit.sh DATA     11 minutes on 2 CPU cores, 10 of them for programs
#
# DATA holds a folder a dataset, with JSONL files of {"id", "prompt", "answer"} and what else the grader needs.
# Of each reference program one gross and one subtle mutant is run.
set -euo pipefail
[[ ${1:-} != -* ]] || { sed -n '2,/^set -/s/^# \{0,1\}//p' "$0"; exit; }  # --help
data=$(realpath "${1:?the folder of the datasets}")
cd "$(dirname "$0")/.."

answers=(math500/test math/test math/train aime2024/test aime_1983_2023/train amc23/test gsm8k/test gsm8k/train
  asdiv/test mawps/test cnmo2024/test cn_middle_school/test cmath/validation cmath/test mgsm_zh/test math3k_cot/train
  countdown/test math_cot_100/test gsm8k_model_solutions/test mmlu/val mmlu/test ceval/val cluewsc2020/dev)
programs=(humaneval/test mbpp/all leetcode/train codeforces/test code_contests/test livecodebench_v5/test)

answers=("${answers[@]/#/$data/}")
programs=("${programs[@]/#/$data/}")
r1jax audit --workdir runs/audit/answers --data "${answers[@]/%/.jsonl}"
r1jax audit --workdir runs/audit/programs --data "${programs[@]/%/.jsonl}" --mutants 1 --timeout 6

# Both tables go between the page's markers.
cat runs/audit/answers/table.md <(echo) runs/audit/programs/table.md > runs/audit/tables.md
sed -i -e '/<!-- audit -->/,/<!-- \/audit -->/{//!d}' -e '/<!-- audit -->/r runs/audit/tables.md' docs/rewards.md
