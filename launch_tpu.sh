#!/usr/bin/env bash
# Runs one command on every worker of an existing TPU VM, a single host or a pod, through gcloud.
#
#   ./launch_tpu.sh [--zone ZONE] [--project PROJECT] [--max-mb N] [--dry-run] NAME COMMAND...
#   ./launch_tpu.sh --zone us-east5-a my-pod r1jax train --config=zero:mini --workdir=/shared/run
#   ./launch_tpu.sh [--max-mb N] --pack FILE
#
#   ZONE, PROJECT   the same as the options, from the environment; without either, gcloud's own settings hold
#   --max-mb N      the size in MiB above which a file is not sent (16)
#   --dry-run       prints each command that would run, one a line, and runs none
#   --pack FILE     writes the archive that would be sent to FILE, and does nothing else
#   Options stand anywhere before COMMAND; what follows its first word belongs to it.
#
# 1. copies the working tree to ~/r1jax on all workers: tracked files and new ones, edits included, but not what git
#    ignores, results/, new files that look downloaded (*.gguf, *.whl, ...) or files above --max-mb; it says which;
# 2. installs it there with the extra [tpu], by ./launch_local.sh; Python 3.11 or newer has to be there;
# 3. starts COMMAND in that environment on all workers, with R1JAX_DISTRIBUTED=1. Worker 0's log comes to this terminal,
#    the others' go to their own ~/r1jax.log. Any worker's failure is reported with its number, and is a failure here.
#
# COMMAND does not see this machine's environment variables; `env NAME=VALUE python ...` passes some on. Stopping this
# script does not stop the workers. Not here yet: making slices, surviving preemption or a lost connection.
set -euo pipefail

fail() { echo "launch_tpu.sh: $*" >&2; exit 1; }
usage() { sed -n '4,12s/^# *//p' "${BASH_SOURCE[0]}"; }
misused() { usage >&2; fail "$1"; }

# Single quotes mean the same to every shell, which `printf %q` does not promise: the worker's shell may be any.
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

zone=${ZONE:-} project=${PROJECT:-} max_mb=16 dry_run= pack= name=
while [[ $# -gt 0 ]]; do
  case $1 in
    -h | --help) usage; exit ;;
    --dry-run) dry_run=yes ;;
    --zone=?* | --project=?* | --pack=?*) declare "${1#--}" ;;
    --max-mb=?*) max_mb=${1#*=} ;;
    --zone | --project | --max-mb | --pack)
      option=${1#--}
      [[ -n ${2:-} && $2 != -* ]] || misused "$1 needs a value"
      declare "${option//-/_}=$2"
      shift ;;
    --zone= | --project= | --max-mb= | --pack=) misused "${1%=} needs a value" ;;
    --) shift; break ;;
    -*) misused "no option $1; options of COMMAND follow its first word" ;;
    *) [[ -z $name ]] || break; name=$1 ;;
  esac
  shift
done
[[ $max_mb =~ ^[1-9][0-9]{0,8}$ ]] || misused "--max-mb is a whole number of MiB, not '$max_mb'"
if [[ -n $pack ]]; then
  [[ -z $name && $# -eq 0 && -z $dry_run ]] || misused "--pack stands alone, without NAME, COMMAND and --dry-run"
  [[ $pack == /* ]] || pack=$PWD/$pack
  [[ -d $(dirname "$pack") ]] || fail "--pack $pack: there is no such folder"
else
  # `launch_tpu.sh pod -- command` has its name before the dashes, `launch_tpu.sh -- pod command` after them.
  [[ -n $name || $# -eq 0 ]] || { name=$1; shift; }
  [[ -n $name && $# -gt 0 ]] || misused "NAME and COMMAND are both needed"
  [[ $name =~ ^[[:alnum:]@._-]+$ ]] || misused "NAME is a TPU VM's name, not '$name'"
  [[ -n $dry_run ]] || command -v gcloud >/dev/null ||
    fail "gcloud is not on the PATH: install the Google Cloud CLI, https://cloud.google.com/sdk/docs/install"
fi
cd "$(dirname "${BASH_SOURCE[0]}")"
for tool in git tar gzip; do
  command -v "$tool" >/dev/null || fail "$tool is not on the PATH, and packs what is sent: install it"
done
git rev-parse --is-inside-work-tree >/dev/null ||
  fail "$PWD is no git checkout, which tells what to send: clone the repository, or run \`git init\` here"

is_download() {
  case $1 in
    *.whl | *.gguf | *.safetensors | *.parquet | *.zip | *.tar | *.tar.* | *.tgz) return 0 ;;
    *) return 1 ;;
  esac
}

# Packs the working tree into the archive $1. Files are copied first and the copies are archived: tar would stop at a
# file that changes or goes while it is read.
pack_tree() {
  local archive=$1 kind file bytes reason files=0 total=0 left_out=0 lines=
  mkdir "$scratch/tree"
  for kind in --cached "--others --exclude-standard"; do
    # shellcheck disable=SC2086  # two options
    while IFS= read -rd "" file; do
      reason=
      if [[ ! -e $file && ! -L $file ]]; then
        continue  # deleted here and still in git's index
      elif [[ $file == results/* ]]; then
        reason="results stay here"
      elif [[ -L $file ]]; then
        bytes=0
      elif [[ ! -f $file ]]; then
        reason="a git repository of its own"
      elif [[ $kind != --cached ]] && is_download "$file"; then
        reason="looks downloaded; \`git add\` sends it"
      elif ! bytes=$(wc -c 2>/dev/null <"$file"); then
        reason="could not be read"
      elif ((bytes > max_mb << 20)); then
        reason="$(((bytes - 1 >> 20) + 1)) MiB; --max-mb $(((bytes - 1 >> 20) + 1)) sends it"
      fi
      if [[ -z $reason ]]; then
        [[ $file != */* ]] || mkdir -p "$scratch/tree/${file%/*}"
        if cp -Pp -- "$file" "$scratch/tree/$file" 2>/dev/null; then
          files=$((files + 1)) total=$((total + bytes))
          continue
        fi
        rm -f "$scratch/tree/$file"
        reason="could not be read"
      fi
      left_out=$((left_out + 1))
      ((left_out > 20)) || lines+="  $file ($reason)"$'\n'
    done < <(git ls-files -z $kind)
  done
  COPYFILE_DISABLE=1 tar -czf "$archive" -C "$scratch/tree" .
  ((left_out <= 20)) || lines+="  and $((left_out - 20)) more"$'\n'
  echo "launch_tpu.sh: packed $files files, $((total + 1023 >> 10)) KiB, without what git ignores${lines:+, and without}" >&2
  printf '%s' "$lines" >&2
}

if [[ -z $dry_run ]]; then
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
fi
[[ -z $pack ]] || { pack_tree "$pack"; exit; }

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

tarball=${scratch:-${TMPDIR:-/tmp}}/r1jax.tgz  # outside the tree, or it would be packed into itself
if [[ -n $dry_run ]]; then
  run "$PWD/launch_tpu.sh" --max-mb "$max_mb" --pack "$tarball"
else
  pack_tree "$tarball"
fi
run gcloud compute tpus tpu-vm scp "$tarball" "$name:r1jax.tgz" "${where[@]}"

# The package is replaced whole, so that no module deleted here lingers there; runs/ beside it stays.
on_all "rm -rf r1jax.log r1jax/r1jax && mkdir -p r1jax && tar -xzf r1jax.tgz -C r1jax && cd r1jax\
 && R1JAX_PLATFORM=tpu,cpu ./launch_local.sh true"

on_all "cd r1jax && export R1JAX_DISTRIBUTED=1 R1JAX_PLATFORM=tpu,cpu PYTHONUNBUFFERED=1\
 && { [ \$worker = 0 ] || exec >~/r1jax.log; } && ./launch_local.sh $(quote "$@") 2>&1"
