#!/usr/bin/env bash
# Times r1jax, TRL and Tunix on the same GRPO steps, in turn, and SmolLM2's shape beside torch; prints tables.
#
#   experiments/bench/run.sh PEERS [FOLDER]
#
#   PEERS    what setup.sh made
#   FOLDER   gets results.jsonl, a line for each run as soon as it is there, and table.md; default: results/bench
#   ROUNDS   how often all of them run; default: 3
#   PARTS    default: fixed long_tail decode sft
#   TINY=1   sizes for a rehearsal
#   PYTHON   r1jax's interpreter; default: .venv/bin/python where there is one, else python3
#
# The machine must do nothing else: rows of runs that had company are marked, and the tables leave them out.
set -euo pipefail
[[ ${1:-} != -* ]] || { sed -n '2,/^set -/s/^# \{0,1\}//p' "$0"; exit; }  # --help
here=$(cd "$(dirname "$0")" && pwd -P) root=$(cd "$(dirname "$0")/../.." && pwd -P)
peers=$(cd "${1:?"PEERS is missing: experiments/bench/run.sh PEERS"}" && pwd -P)
folder=${2:-results/bench}
mkdir -p "$folder" && folder=$(cd "$folder" && pwd -P)
python=${PYTHON:-$([[ -x $root/.venv/bin/python ]] && echo "$root/.venv/bin/python" || echo python3)}
export JAX_PLATFORMS=cpu PYTHONPATH=$root
# Compiling is no part of a step: rounds after the first find the programs there.
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$(mktemp -d)}
parts=${PARTS:-fixed long_tail decode sft}
size=(--prompts=8 --samples=8 --prompt-tokens=32)
micro=8 tail=(--long-tail --new-tokens=1024) full=(--new-tokens=128) tiny=()
if [[ -n ${TINY:-} ]]; then
  micro=2 size=(--prompts=2 --samples=2 --prompt-tokens=8) tail=(--long-tail --new-tokens=16) full=(--new-tokens=8) tiny=(--tiny)
fi

record() {  # round, work, trainer, command ...
  "$python" "$here/record.py" "$folder/results.jsonl" "$1" "$2" "$3" -- "${@:4}" 2>>"$folder/log.txt"
}
devices() { echo "--xla_force_host_platform_device_count=$1"; }

step() {  # round, work, steps, microbatches, the options of the work's lengths ...
  local round=$1 work=$2 count=$3 micro=$4 lengths=$folder/$2_lengths.json each
  shift 4
  "$python" -m r1jax bench "${size[@]}" "$@" --print-lengths >"$lengths"
  for each in "2 devices" "1 device"; do
    XLA_FLAGS=$(devices "${each%% *}") record "$round" "$work" "r1jax, $each" "$python" -m r1jax bench \
      "${size[@]}" "$@" --microbatches="$micro" --warmup=1 --steps="$count"
  done
  for each in trl tunix; do
    record "$round" "$work" "$each" "$peers/$each/bin/python" "$here/${each}_step.py" "${size[@]}" \
      --lengths="$lengths" --microbatches="$micro" --warmup=1 --steps="$count"
  done
}
smollm2() {  # round, work
  XLA_FLAGS=$(devices 1) record "$1" "$2" r1jax "$python" "$here/smollm2_speed.py" "$2" r1jax "${tiny[@]}"
  record "$1" "$2" torch "$peers/trl/bin/python" "$here/smollm2_speed.py" "$2" torch "${tiny[@]}"
}

for ((round = 1; round <= ${ROUNDS:-3}; round++)); do
  for part in $parts; do
    case $part in
      fixed) step "$round" fixed 3 1 "${full[@]}" ;;
      long_tail) step "$round" long_tail 1 "$micro" "${tail[@]}" ;;
      decode | sft) smollm2 "$round" "$part" ;;
      *) echo "no part $part: fixed long_tail decode sft" >&2; exit 2 ;;
    esac
  done
done
"$python" "$here/table.py" "$folder/results.jsonl" | tee "$folder/table.md"
