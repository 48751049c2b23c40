#!/usr/bin/env bash
# DeepSeek-R1, top to bottom (arXiv 2501.12948, section 2), in the mini world: every stage, then one report.
#
#   experiments/r1.sh mini [FOLDER]              one seed, on 2 CPU cores; the report is FOLDER/recipe.html
#   SEEDS="0 1 2" experiments/r1.sh mini         three of them: the tables then are means with their deviation
#   experiments/r1.sh harder [FOLDER]            the same in the harder form of the mini world (experiments/paper/ladder.md)
#   STAGES="zero eval-zero" experiments/r1.sh mini         these stages alone, in their order, and no report
#   experiments/r1.sh --manifest SEEDFOLDER...   only the manifest.json of folders that are there, which the report reads
#
# Killed anywhere and started again it goes on: a stage that is done is left as it is, one that was under way resumes.
# Each line below is one stage, which hands over files; any of them runs alone, with your files in these ones' place.
set -euo pipefail
[[ ${1:-} == --manifest && $# -gt 1 || ${1:-} != -* ]] || { sed -n '2,/^set -/s/^# \{0,1\}//p' "$0"; exit; }  # --help
[[ ${1:-} == @(mini|harder|--manifest) ]] || { echo "usage: experiments/r1.sh mini|harder [FOLDER]" >&2; exit 2; }
[[ $1 != --manifest ]] || folders=("${@:2}")
[[ -z ${folders:-} ]] || for i in "${!folders[@]}"; do folders[i]=$(realpath -e "${folders[i]}"); done
cd "$(dirname "$0")/.."
[[ -n ${folders:-} || -n ${VIRTUAL_ENV:-} ]] || exec ./launch_local.sh experiments/r1.sh "$@"
root=${2:-runs/r1} last=all_scenario:mini asked=evaluate:world world_options=()
if [[ $1 == harder ]]; then
  root=${2:-runs/r1_harder} last=all_scenario:mini_harder asked=evaluate:world_harder world_options=(--harder)
fi
# One cache of compiled programs for all seeds.
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$(realpath -m "$root")/xla_cache}

# list NAME KIND LABEL FOLDER CONFIG START: a run for the manifest, see r1jax/report/recipe_manifest.py.
list() {
  local format='{"name": "%s", "kind": "%s", "label": "%s", "folder": "%s", "config": "%s", "starts_from": "%s"}'
  # shellcheck disable=SC2059 # the format is the line above
  entries+=("$(printf "$format" "$@")")
}
# write_manifest FOLDER: lists the recipe's runs without running them, and writes them to FOLDER/manifest.json.
write_manifest() {
  local R=$1 seed=0 listing=yes entries=() separator=
  recipe
  mkdir -p "$R"
  {
    printf '{"runs": ['
    for entry in "${entries[@]}"; do printf '%s\n %s' "$separator" "$entry"; separator=,; done
    printf '\n]}\n'
  } >"$R/manifest.json.part"
  mv "$R/manifest.json.part" "$R/manifest.json"
}

# stage NAME COMMAND...: runs the command unless it was run to its end before, or STAGES leaves it out; notes the
# seconds, of all attempts that were not killed outright (-9).
stage() {
  [[ -z ${listing:-} ]] || return 0
  local name=$1
  [[ -z ${STAGES:-} || " $STAGES " == *" $name "* ]] || return 0
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
# train NAME KIND LABEL CONFIG START [settings]: a stage whose workdir has its name, from the model of the run START.
train() {
  local name=$1 kind=$2 label=$3 config=$4 start=$5
  shift 5
  list "$name" "$kind" "$label" "$name" "$config" "$start"
  stage "$name" r1jax train --config="$config" --workdir="$R/$name" --config.seed="$seed" "$@"
}
# measure NAME LABEL MODEL [settings]: the model of the run NAME on the held-out problems and requests.
measure() {
  local name=$1 label=$2 model=$3
  shift 3
  list "eval-$name" evaluation "$label" "eval/$name" "$asked" "$name"
  stage "eval-$name" r1jax train --config="$asked" --workdir="$R/eval/$name" \
    --config.label="$name" --config.model="$model" --config.data="$R/world" --config.seed="$seed" "$@"
}
as_zero=(--config.template=r1_zero --config.marker=)

recipe() {
  local base=configs/base.py:world qwen2=configs/base.py:student_qwen2 llama=configs/base.py:student_llama
  local samples="$R/rejection/samples.jsonl" general="$R/world/sft_general.jsonl" student
  list base base "The mini world's base" "" "$base" ""
  list student_qwen2 student "Qwen2's architecture" "" "$qwen2" ""
  list student_llama student "Llama's architecture" "" "$llama" ""
  stage world r1jax write-miniworld "$R/world" --seed "$seed" --marker "==" "${world_options[@]}"

  # R1-Zero: RL from the base, by rules alone.
  train zero rl "R1-Zero: RL from the base" zero:world base --config.base="$base" \
    --config.data.path="$R/world/reasoning.jsonl"
  # And, for comparison, with the language reward.
  train zero_language rl "Control: R1-Zero with the language reward" zero:world base --config.base="$base" \
    --config.data.path="$R/world/reasoning.jsonl" --config.rewards.language=1

  # Cold start: readable thoughts collected in four ways, and the base fine-tuned on them.
  train coldstart cold_start "Cold start: thoughts collected" coldstart:mini base --config.model="$base" \
    --config.zero.record="$R/zero" --config.questions.path="$R/world/reasoning.jsonl"
  train coldstart_sft sft "Cold start: fine-tuning" sft:coldstart base --config.base="$base" \
    --config.data.path="$R/coldstart/samples.jsonl"

  # Reasoning RL, with the language reward; and without it, for comparison.
  train reasoning rl "Reasoning RL" reasoning:mini coldstart_sft --config.base="$R/coldstart_sft/model" \
    --config.data.path="$R/world/reasoning.jsonl"
  train reasoning_free rl "Control: reasoning RL without the language reward" reasoning:mini coldstart_sft \
    --config.base="$R/coldstart_sft/model" --config.data.path="$R/world/reasoning.jsonl" --config.rewards.language=0

  # Rejection sampling from it, and SFT of the base on what was kept and on general data.
  train rejection rejection "Rejection sampling" rejection:mini reasoning --config.model="$R/reasoning/model" \
    --config.data.path="$R/world/reasoning.jsonl"
  train sft sft "SFT of the base" sft:recipe base --config.base="$base" \
    --config.data.paths="('$samples', '$general', '$general', '$general')"

  # Reward models, and RL for all scenarios.
  train helpfulness reward_model "Reward model: helpfulness" preference:mini_helpfulness base \
    --config.base="$base" --config.data.path="$R/world/helpfulness.jsonl"
  train harmlessness reward_model "Reward model: harmlessness" preference:mini_harmlessness base \
    --config.base="$base" --config.data.path="$R/world/harmlessness.jsonl"
  train r1 all_scenario_rl "RL for all scenarios" "$last" sft --config.base="$R/sft/model" \
    --config.data.path="$R/world/mixed.jsonl" --config.rewards.models.0.path="$R/helpfulness/model" \
    --config.rewards.models.1.path="$R/harmlessness/model"

  # Distillation into two students, and the same students by RL alone.
  for student in qwen2 llama; do
    local architecture="Qwen2's architecture"
    [[ $student == qwen2 ]] || architecture="Llama's architecture"
    train distill_$student distillation "Distillation into $architecture" distill:mini_$student student_$student \
      --config.base="${!student}" --config.data.paths="('$samples', '$general')"
    train rl_$student student_rl "The same student by RL alone" zero:world student_$student \
      --config.base="${!student}" --config.data.path="$R/world/reasoning.jsonl" --config.num_steps=20
  done

  # Every model on the held-out problems and requests.
  measure base "base" "$base" "${as_zero[@]}"
  measure zero "R1-Zero" "$R/zero/model" "${as_zero[@]}"
  measure zero_language "R1-Zero, language reward" "$R/zero_language/model" "${as_zero[@]}"
  measure coldstart_sft "cold start" "$R/coldstart_sft/model"
  measure reasoning "reasoning RL" "$R/reasoning/model"
  measure reasoning_free "reasoning RL, no language reward" "$R/reasoning_free/model"
  measure sft "SFT" "$R/sft/model"
  measure r1 "R1" "$R/r1/model"
  measure student_qwen2 "Qwen2 student" "$qwen2" "${as_zero[@]}"
  measure rl_qwen2 "Qwen2 student, RL" "$R/rl_qwen2/model" "${as_zero[@]}"
  measure distill_qwen2 "Qwen2 student, distilled" "$R/distill_qwen2/model"
  measure student_llama "Llama student" "$llama" "${as_zero[@]}"
  measure rl_llama "Llama student, RL" "$R/rl_llama/model" "${as_zero[@]}"
  measure distill_llama "Llama student, distilled" "$R/distill_llama/model"
}

if [[ -n ${folders:-} ]]; then
  for R in "${folders[@]}"; do write_manifest "$R"; done
  exit
fi
for seed in ${SEEDS:-0}; do
  R=$root/seed$seed
  write_manifest "$R"
  recipe
done

[[ -z ${STAGES:-} ]] || exit 0
# shellcheck disable=SC2086 # one folder a seed
r1jax report $(printf "$root/seed%s " ${SEEDS:-0}) --out "$root"
