#!/usr/bin/env bash
# A quick part of the tests with the oldest and with the newest versions of the dependencies that setup.py allows.
#
#   experiments/dependency_bounds.sh lowest [FOLDER]     8 minutes of CPU time; 23 minutes on two busy cores
#   experiments/dependency_bounds.sh newest [FOLDER]     the same with the newest
#
#   FOLDER    where the environment is made, anew each time; default: one that is removed in the end
#   PYTHON    the interpreter; default: python3. jax 0.11 and later need Python 3.12
#
# pip has no resolver for the oldest versions: uv, in an environment of its own, has one. Oldest are the dependencies that
# setup.py names; what these need in turn is as new as they allow. The extra `parity` is pinned, and is left out.
set -euo pipefail
[[ ${1:-} != -* ]] || { sed -n '2,/^set -/s/^# \{0,1\}//p' "$0"; exit; }  # --help
case ${1:-} in
  lowest) resolution=lowest-direct ;;
  newest) resolution=highest ;;
  *) echo "usage: experiments/dependency_bounds.sh lowest|newest [FOLDER]" >&2; exit 2 ;;
esac
which=$1 folder=${2:-}
[[ -n $folder ]] || { folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; }
mkdir -p "$folder"
folder=$(cd "$folder" && pwd -P)
cd "$(dirname "$0")/.."

"${PYTHON:-python3}" -m venv --clear "$folder/uv"
"$folder/uv/bin/python" -m pip install --quiet --disable-pip-version-check uv
rm -rf "${folder:?}/$which"
"${PYTHON:-python3}" -m venv --without-pip "$folder/$which"
"$folder/uv/bin/uv" pip install --quiet --python "$folder/$which/bin/python" --resolution "$resolution" \
  -r setup.py --extra dev --extra parquet
"$folder/uv/bin/uv" pip freeze --python "$folder/$which/bin/python" | tee "$folder/$which.txt"

# What each dependency does, and a run of each kind.
tests=(
  config layers                                     # ml-collections
  step state decode checkpoint hf                   # jax, optax, orbax, numpy
  tokenizer hf_tokenizer gguf gguf_tokenizer        # sentencepiece, tokenizers, gguf
  chat_template reflection_and_scripts language ifeval  # jinja2, regex, py3langid
  maths maths_properties                            # mpmath, hypothesis
  tasks logic functional                            # reasoning-gym, sortedcontainers
  estimators agreement drop judging                 # scipy
  adapters endpoint judge                           # pyarrow
  metrics report results_report                     # rich, matplotlib
  tracking                                          # tensorboard; wandb with -m slow
  site                                              # mkdocs
  serve serve_refusals serve_command demo_routes    # fastapi, uvicorn, prometheus-client, openai, httpx
  terminal_chat                                     # pexpect
  notebooks                                         # nbclient, nbformat, ipykernel
  train
)
tests=("${tests[@]/#/tests/}")
status=0
JAX_PLATFORMS=cpu PYTHONPATH=$PWD "$folder/$which/bin/python" -m pytest -q -p no:cacheprovider \
  "${tests[@]/%/_test.py}" || status=$?
echo "$which versions: $([[ $status == 0 ]] && echo passed || echo "failed with exit status $status")"
exit "$status"
