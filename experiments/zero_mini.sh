#!/usr/bin/env bash
# R1-Zero at mini size over three seeds, and the control whose reward is a coin: the table in zero_mini.md.
#
#   ./launch_local.sh experiments/zero_mini.sh          about four times a mini run on 2 CPU cores
#
# A seed draws other questions, held-out ones too, and other samples; the base model is the same for all. Runs that are
# already there are resumed or left as they are.
set -euo pipefail
[[ ${1:-} != -* ]] || { sed -n '2,/^set -/s/^# \{0,1\}//p' "$0"; exit; }  # --help
cd "$(dirname "$0")/.."
runs=${1:-runs/zero_mini}

for seed in 0 1 2; do
  r1jax train --config=zero:mini --workdir="$runs/seed$seed" --config.seed="$seed"
done
r1jax train --config=zero:mini --workdir="$runs/random" \
  --config.rewards.accuracy=0 --config.rewards.format=0 --config.rewards.random=1
python experiments/seeds.py zero_mini "$runs"
