#!/usr/bin/env bash
# Virtual environments of the trainers that `r1jax bench` is compared with: TRL on torch, and Tunix on JAX.
#
#   experiments/bench/setup.sh FOLDER      makes FOLDER/trl and FOLDER/tunix: some minutes, 4 GB
#
#   PYTHON   the interpreter, 3.11 or newer; default: python3
#
# Where pip would take torch with CUDA along (gigabytes more), tell it of PyTorch's own index of CPU builds beforehand.
set -euo pipefail
[[ ${1:-} != -* ]] || { sed -n '2,/^set -/s/^# \{0,1\}//p' "$0"; exit; }  # --help
folder=${1:?"FOLDER is missing: experiments/bench/setup.sh FOLDER"}

environment() {  # name, packages ...
  local name=$1
  shift
  [[ -x $folder/$name/bin/python ]] || "${PYTHON:-python3}" -m venv "$folder/$name"
  "$folder/$name/bin/python" -m pip install --quiet "$@"
}

environment trl trl==1.16.0 transformers==5.23.0 torch==2.13.0 datasets==5.2.0 accelerate==1.15.0 gguf==0.19.0
environment tunix google-tunix==0.1.7
