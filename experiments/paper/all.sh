#!/usr/bin/env bash
# The experiments on the paper's findings, one after the other: each writes its page and its picture beside this file.
#
#   ./launch_local.sh experiments/paper/all.sh [FOLDER]     FOLDER gets a folder of runs for each; default: runs/paper
#
#   SEEDS    default: "1 2 3"
#   ONLY     names of experiments, "aha choices"; default: all
#
# Killed anywhere and started again it goes on: runs that are done are left as they are, others resume.
set -euo pipefail
[[ ${1:-} != -* ]] || { sed -n '2,/^set -/s/^# \{0,1\}//p' "$0"; exit; }  # --help
cd "$(dirname "$0")/../.."
runs=${1:-runs/paper} minutes=0
read -ra seeds <<<"${SEEDS:-1 2 3}"
all="aha difficulty thinking language_reward preference_reward process_reward tree_search ppo choices distillation"
all+=" ladder"
read -ra names <<<"${ONLY:-$all}"

for name in "${names[@]}"; do
  [[ -f experiments/paper/$name.py ]] || { echo "no experiment $name in experiments/paper" >&2; exit 2; }
  ((minutes += $(python "experiments/paper/$name.py" --minutes --seeds "${seeds[@]}"))) || true
done
echo "${#names[@]} experiments, seeds ${seeds[*]}: about $((minutes / 60)) h $((minutes % 60)) min on 2 CPU cores"
for name in "${names[@]}"; do
  python "experiments/paper/$name.py" --runs "$runs/$name" --seeds "${seeds[@]}"
done
