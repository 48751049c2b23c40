#!/usr/bin/env bash
# DeepSeek-R1, top to bottom (arXiv 2501.12948, section 2), in the mini world: every stage, then one report.
#
#   experiments/r1.sh mini [FOLDER]              one seed, on 2 CPU cores; the report is FOLDER/recipe.html
#   SEEDS="0 1 2" experiments/r1.sh mini         three of them: the tables then are means with their deviation
#
# Killed anywhere and started again it goes on: a stage that is done is left as it is, one that was under way resumes.
# Each line below is one stage, which hands over files; any of them runs alone, with your files in these ones' place.
set -euo pipefail
[[ ${1:-} != -* ]] || { sed -n '2,/^set -/s/^# \{0,1\}//p' "$0"; exit; }  # --help
[[ ${1:-} == mini ]] || { echo "usage: experiments/r1.sh mini [FOLDER]" >&2; exit 2; }
cd "$(dirname "$0")/.."
[[ -n ${VIRTUAL_ENV:-} ]] || exec ./launch_local.sh experiments/r1.sh "$@"
root=${2:-runs/r1}
# One cache of compiled programs for all seeds.
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$PWD/$root/xla_cache}

# stage NAME COMMAND...: runs the command unless it was run to its end before; notes the seconds, of all attempts that
# were not killed outright (-9).
stage() {
  local name=$1
  shift
  file=$R/done/$name began=$SECONDS  # not local: the trap runs when this function is gone
  [[ -f $file ]] && return
  mkdir -p "$R/done"
  trap note_seconds EXIT
  echo "== $name (seed $seed)"
  "$@"
  trap - EXIT
  note_seconds
  mv "$file.part" "$file"
}
note_seconds() { echo $(($(cat "$file.part" 2>/dev/null || echo 0) + SECONDS - began)) >"$file.part"; }
# train NAME PAGE [settings]: a stage whose workdir has its name.
train() {
  local name=$1 page=$2
  shift 2
  stage "$name" python -m r1jax.train --config="configs/$page" --workdir="$R/$name" --config.seed="$seed" "$@"
}
# measure NAME MODEL [settings]: the held-out problems and requests, asked as the model was taught.
measure() {
  local name=$1 model=$2
  shift 2
  stage "eval-$name" python -m r1jax.train --config=configs/evaluate.py:world --workdir="$R/eval/$name" \
    --config.label="$name" --config.model="$model" --config.data="$R/world" --config.seed="$seed" "$@"
}
as_zero=(--config.template=r1_zero --config.marker=)

for seed in ${SEEDS:-0}; do
  R=$root/seed$seed
  stage world python -m r1jax.tools.write_miniworld "$R/world" --seed "$seed" --marker "=="
  base=configs/base.py:world qwen2=configs/base.py:student_qwen2 llama=configs/base.py:student_llama

  # R1-Zero: RL from the base, by rules alone.
  train zero zero.py:world --config.base="$base" --config.data.path="$R/world/reasoning.jsonl"
  # And, for comparison, with the language reward.
  train zero_language zero.py:world --config.base="$base" --config.data.path="$R/world/reasoning.jsonl" \
    --config.rewards.language=1

  # Cold start: readable thoughts collected in four ways, and the base fine-tuned on them.
  train coldstart coldstart.py:mini --config.model="$base" --config.zero.record="$R/zero" \
    --config.questions.path="$R/world/reasoning.jsonl"
  train coldstart_sft sft.py:coldstart --config.base="$base" --config.data.path="$R/coldstart/samples.jsonl"

  # Reasoning RL, with the language reward; and without it, for comparison.
  train reasoning reasoning.py:mini --config.base="$R/coldstart_sft/model" \
    --config.data.path="$R/world/reasoning.jsonl"
  train reasoning_free reasoning.py:mini --config.base="$R/coldstart_sft/model" \
    --config.data.path="$R/world/reasoning.jsonl" --config.rewards.language=0

  # Rejection sampling from it, and SFT of the base on what was kept and on general data.
  train rejection rejection.py:mini --config.model="$R/reasoning/model" --config.data.path="$R/world/reasoning.jsonl"
  samples="$R/rejection/samples.jsonl" general="$R/world/sft_general.jsonl"
  train sft sft.py:recipe --config.base="$base" --config.data.paths="('$samples', '$general', '$general', '$general')"

  # Reward models, and RL for all scenarios.
  train helpfulness preference.py:mini_helpfulness --config.base="$base" --config.data.path="$R/world/helpfulness.jsonl"
  train harmlessness preference.py:mini_harmlessness --config.base="$base" \
    --config.data.path="$R/world/harmlessness.jsonl"
  train r1 all_scenario.py:mini --config.base="$R/sft/model" --config.data.path="$R/world/mixed.jsonl" \
    --config.rewards.models.0.path="$R/helpfulness/model" --config.rewards.models.1.path="$R/harmlessness/model"

  # Distillation into two students, and the same students by RL alone.
  for student in qwen2 llama; do
    train distill_$student distill.py:mini_$student --config.base="${!student}" \
      --config.data.paths="('$samples', '$general')"
    train rl_$student zero.py:world --config.base="${!student}" --config.data.path="$R/world/reasoning.jsonl" \
      --config.num_steps=20
    measure student_$student "${!student}" "${as_zero[@]}"
    measure rl_$student "$R/rl_$student/model" "${as_zero[@]}"
    measure distill_$student "$R/distill_$student/model"
  done

  measure base "$base" "${as_zero[@]}"
  measure zero "$R/zero/model" "${as_zero[@]}"
  measure zero_language "$R/zero_language/model" "${as_zero[@]}"
  for model in coldstart_sft reasoning reasoning_free sft r1; do
    measure $model "$R/$model/model"
  done
done

# shellcheck disable=SC2086 # one folder a seed
python -m r1jax.report.recipe $(printf "$root/seed%s " ${SEEDS:-0}) --out "$root"
