#!/usr/bin/env bash
# What the accelerator of this machine does with r1jax: parity, kernels, benchmarks, a profile, ten steps of RL.
#
#   experiments/accelerator.sh [FOLDER]      9 minutes at most on one GPU or TPU
#
#   FOLDER      gets PART.jsonl for each part, a line for each result as soon as it is there, and log.txt; default:
#               results/accelerator. Started again with the same FOLDER, it goes on: a part that has ended well is not
#               run again, one that was cut off, failed or found no time left begins anew
#   PARTS       which parts, in their order; default: all of them, those that matter most first
#   LIMIT_S     of all of them together; default: 530. A part that fails, or outlasts its own limit, stops no other
#   TINY=1      sizes for a rehearsal on a CPU
#   PYTHON      the interpreter; default: .venv/bin/python where there is one, else python3
set -uo pipefail
[[ ${1:-} != -* ]] || { sed -n '2,/^set -/s/^# \{0,1\}//p' "$0"; exit; }  # --help
here=$(cd "$(dirname "$0")/.." && pwd -P)
folder=${1:-results/accelerator}
mkdir -p "$folder" && folder=$(cd "$folder" && pwd -P) || exit
cd "$here" || exit
log=$folder/log.txt
python=${PYTHON:-$([[ -x .venv/bin/python ]] && echo "$PWD/.venv/bin/python" || echo python3)}
export PYTHONPATH=$here${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$(mktemp -d)}
end=$((SECONDS + ${LIMIT_S:-530}))
export XLA_PYTHON_CLIENT_MEM_FRACTION=${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.9}
tiny=${TINY:+--tiny}

part() {  # name, its own limit in seconds, command ...
  local name=$1 limit=$2 left=$((end - SECONDS)) begin=$SECONDS status=0 results=$folder/$1.jsonl
  shift 2
  [[ " ${PARTS:-$all} " == *" $name "* ]] || return 0
  if [[ -e $results ]] && tail -n 1 "$results" | grep -q '"name": "exit", "status": 0,'; then
    echo "$name: measured already"
    return 0
  fi
  if ((left <= 5)); then  # what an earlier start left of it stays
    [[ -s $results ]] || echo "{\"part\": \"$name\", \"error\": \"no time left\"}" >"$results"
    return 0
  fi
  rm -f "$results"
  [[ -z $tiny ]] && ((limit < left)) || limit=$left  # a rehearsal may have a slow machine, or share one
  echo "=== $name: $*" >>"$log"
  timeout -k 5 "$limit" "$python" "${@//RESULTS/$results}" >>"$log" 2>&1 || status=$?
  printf '\n{"part": "%s", "name": "exit", "status": %s, "seconds": %s}\n' "$name" "$status" $((SECONDS - begin)) >>"$results"
  echo "$name: $((SECONDS - begin)) s, status $status"
}
bench() {  # name, limit, options ...
  local name=$1 limit=$2
  shift 2
  if [[ -n $tiny ]]; then
    set -- "$@" --model=bench --layers=1 --new-tokens=24 --steps=1 --warmup=1 --context=64 --devices=1
    [[ $* != *--decode* ]] || set -- "$@" --decode=1,2
    [[ $* != *--prompts=16* ]] || set -- "$@" --prompts=2 --samples=4 --microbatches=2
  fi
  part "$name" "$limit" -m r1jax bench "$@" --json=RESULTS
}

all="kernels decode update_16k step parity train update_1_5b update_64k profile decode_1_5b"
own="experiments/accelerator.py"
update="--dtype=bfloat16 --remat --prompts=1 --samples=2 --no-sampling --beta=0 --prompt-tokens=1 --chunk=512"
part kernels 150 $own kernels RESULTS $tiny
bench decode 120 --model=qwen3_0_6b --dtype=bfloat16 --decode=1,8,64,256 --context=1024
bench update_16k 90 --model=qwen3_0_6b $update --new-tokens=16384 --steps=3 --warmup=1
bench step 120 --model=smollm2_135m --dtype=bfloat16 --prompts=16 --samples=16 --new-tokens=512 --prompt-tokens=64 \
  --window=16 --microbatches=8 --chunk=128 --steps=2 --warmup=1
# Only the numbers count here, and to choose the fastest float32 products took minutes.
XLA_FLAGS="${XLA_FLAGS:-} --xla_gpu_autotune_level=0" part parity 100 $own parity RESULTS $tiny
part train 150 $own train RESULTS $tiny
bench update_1_5b 90 --model=qwen2_5_1_5b $update --new-tokens=16384 --steps=3 --warmup=1
bench update_64k 120 --model=qwen3_0_6b $update --new-tokens=65536 --microbatches=2 --steps=2 --warmup=1
part profile 120 $own profile RESULTS $tiny
bench decode_1_5b 90 --model=qwen2_5_1_5b --dtype=bfloat16 --decode=1,8,64,256 --context=1024
