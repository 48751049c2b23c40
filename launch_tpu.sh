#!/usr/bin/env bash
# Runs one command on every worker of an existing TPU VM, a single host or a pod, through gcloud.
#
#   ./launch_tpu.sh [--zone ZONE] [--project PROJECT] [--dry-run] NAME COMMAND...
#   ./launch_tpu.sh --zone us-east5-a my-pod python -m r1jax.train --config=configs/zero.py:mini --workdir=/shared/run
#
#   ZONE, PROJECT   the same as the flags, from the environment; without either, gcloud's own settings hold
#   --dry-run       prints each command that would run, one a line, and runs none
#
# 1. copies the working tree (what git does not ignore, edits included) to ~/r1jax on all workers;
# 2. installs it there with the extra [tpu], by ./launch_local.sh; Python 3.11 or newer has to be there;
# 3. starts COMMAND in that environment on all workers, with R1JAX_DISTRIBUTED=1. Worker 0's log comes to this terminal,
#    the others' go to their own ~/r1jax.log. Any worker's failure is reported with its number, and is a failure here.
#
# COMMAND does not see this machine's environment variables; `env NAME=VALUE python ...` passes some on. Stopping this
# script does not stop the workers. Not here yet: making slices, surviving preemption or a lost connection.
set -euo pipefail

fail() { echo "launch_tpu.sh: $*" >&2; exit 1; }
usage() { sed -n '4,8s/^# *//p' "${BASH_SOURCE[0]}" >&2; fail "$1"; }

# Single quotes mean the same to every shell, which `printf %q` does not promise: the worker's shell is not ours.
quote() {
  local word end="'\\''" space=
  for word in "$@"; do
    [[ $word =~ ^[[:alnum:]_./:=,@%+-]+$ ]] || word="'${word//\'/$end}'"
    printf '%s' "$space$word"
    space=" "
  done
}

run() {
  [[ -n $dry_run ]] || { "$@" </dev/null; return; }
  local line
  line=$(quote "$@")
  # A line break between single quotes, in one line: close them, write it as bash does, open them again.
  echo "${line//$'\n'/"'\$'\\n''"}"
}

zone=${ZONE:-} project=${PROJECT:-} dry_run=
while [[ ${1:-} == -* ]]; do
  case $1 in
    --dry-run) dry_run=yes ;;
    --zone=* | --project=*) declare "${1#--}" ;;
    --zone | --project) [[ $# -ge 2 ]] || usage "$1 needs a value"; declare "${1#--}=$2"; shift ;;
    *) usage "no option $1; options come before NAME" ;;
  esac
  shift
done
[[ $# -ge 2 ]] || usage "NAME and COMMAND are both needed"
name=$1; shift
[[ -n $dry_run ]] || command -v gcloud >/dev/null ||
  fail "gcloud is not on the PATH: install the Google Cloud CLI, https://cloud.google.com/sdk/docs/install"

where=(--worker=all ${zone:+"--zone=$zone"} ${project:+"--project=$project"})
metadata=http://metadata.google.internal/computeMetadata/v1/instance/attributes/agent-worker-number

# Runs a line of shell on every worker; one that fails says who it is and shows the end of its log. gcloud takes exit
# status 255 for a lost connection and would run the line again, so no worker may end with it.
on_all() {
  local number="worker=\$(curl -sf -H Metadata-Flavor:Google $metadata)"
  local report='status=$?; echo "worker ${worker:-without a number} failed with exit status $status" >&2'
  report+='; [ ! -f ~/r1jax.log ] || tail -n 20 ~/r1jax.log >&2; [ $status -ne 255 ] || status=1; exit $status'
  run gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --command="$number && { $1; } || { $report; }"
}

cd "$(dirname "${BASH_SOURCE[0]}")"
tarball=${TMPDIR:-/tmp}/r1jax.tgz  # outside the tree, or it would be packed into itself
[[ -n $dry_run ]] || { scratch=$(mktemp -d); trap 'rm -rf "$scratch"' EXIT; tarball=$scratch/r1jax.tgz; }
# tar would stop at a file that is deleted here and still in git's index.
run bash -c 'set -o pipefail; git ls-files -z --cached --others --exclude-standard | while IFS= read -rd "" file; do
[[ ! -e $file ]] || printf "%s\0" "$file"; done | tar -czf "$0" --null -T -' "$tarball"
run gcloud compute tpus tpu-vm scp "$tarball" "$name:r1jax.tgz" "${where[@]}"

# The package is replaced whole, so that no module deleted here lingers there; runs/ beside it stays.
on_all "rm -rf r1jax.log r1jax/r1jax && mkdir -p r1jax && tar -xzf r1jax.tgz -C r1jax && cd r1jax\
 && R1JAX_PLATFORM=tpu,cpu ./launch_local.sh true"

on_all "cd r1jax && export R1JAX_DISTRIBUTED=1 R1JAX_PLATFORM=tpu,cpu PYTHONUNBUFFERED=1\
 && { [ \$worker = 0 ] || exec >~/r1jax.log; } && ./launch_local.sh $(quote "$@") 2>&1"
