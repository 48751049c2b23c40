#!/usr/bin/env bash
# Runs one command on every worker of a Cloud TPU VM slice, which it finds or creates, until the command is done.
#
#   ./launch_tpu.sh [OPTIONS] NAME COMMAND...      runs COMMAND on the slice NAME
#   ./launch_tpu.sh [OPTIONS] --delete NAME        deletes the slice
#   ./launch_tpu.sh [--max-mb N] --pack FILE       writes the archive that would be sent to FILE
#
#   --zone ZONE, --project PROJECT   of the slice; default: ZONE and PROJECT of the environment, then gcloud's settings
#   --accelerator TYPE    creates NAME where there is none, or a preempted one: v5litepod-16, v6e-64, v4-32, ...
#   --version VERSION     the software of a new slice; default: the one that Google lists for the generation of TYPE
#   --spot                a new slice is a spot one: cheaper, and taken back without asking
#   --queued              asks for a new slice by a queued resource of the same name, which waits for free capacity
#   --valid-for TIME      how long that request may wait (24h, 7d; default: without end)
#   --create-flag FLAG    one more flag of gcloud for a new slice (--create-flag=--network=other); may be repeated
#   --setup LINE          a line of shell for every worker before each start: mount a disk, install Python
#   --restarts N          how often to try again after a preemption, a stop on notice or missing capacity (20)
#   --fetch FOLDER        copies FOLDER of worker 0 (below ~/r1jax, or absolute) into the current folder at the end
#   --delete              deletes the slice at the end, whichever it is: success, failure, Ctrl-C
#   --attach              sends and starts nothing, watches what was started before; COMMAND is for restarts
#   --max-mb N            the size in MiB above which a file is not sent (16)
#   --dry-run             prints each command that would run, one a line, and runs none
#
# COMMAND runs in the environment that ./launch_local.sh makes there, with R1JAX_DISTRIBUTED=1, detached from the
# connection: it outlives a lost one, which is made again. docs/tpu.md says more. Exit status: COMMAND's; 75: given up
# after --restarts tries, the same command goes on; 130, 143, 129: interrupted.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=r1jax/launch/command_line.sh
source "$root/r1jax/launch/command_line.sh"
usage() { sed -n '4,24s/^# *//p' "${BASH_SOURCE[0]}"; }

# ---- Options.

zone=${ZONE:-} project=${PROJECT:-} max_mb=16 dry_run='' pack='' name='' accelerator='' version='' spot='' queued=''
valid_for='' setup=true restarts=20 fetch='' delete='' attach='' create_flags=()
watch_again=$(quote "$0" --attach "$@")
while [[ $# -gt 0 ]]; do
  case $1 in
    -h | --help) usage; exit ;;
    --dry-run | --spot | --queued | --delete | --attach) option=${1#--}; declare "${option//-/_}=yes" ;;
    --create-flag=?*) create_flags+=("${1#*=}") ;;
    --zone=* | --project=* | --pack=* | --max-mb=* | --accelerator=* | --version=* | --valid-for=* | \
      --setup=* | --restarts=* | --fetch=*)
      option=${1%%=*} option=${option#--}
      [[ -n ${1#*=} ]] || misused "${1%=} needs a value"
      declare "${option//-/_}=${1#*=}" ;;
    --zone | --project | --pack | --max-mb | --accelerator | --version | --valid-for | --setup | --restarts | \
      --fetch | --create-flag)
      [[ -n ${2:-} && $2 != -* ]] || misused "$1 needs a value"
      option=$1 value=$2
      shift 2
      set -- "$option=$value" "$@"
      continue ;;
    --) shift; break ;;
    -*) misused "no option $1; options of COMMAND follow its first word" ;;
    *) [[ -z $name ]] || break; name=$1 ;;
  esac
  shift
done
[[ $max_mb =~ ^[1-9][0-9]{0,8}$ ]] || misused "--max-mb is a whole number of MiB, not '$max_mb'"
[[ $restarts =~ ^[0-9]{1,6}$ ]] || misused "--restarts is a whole number, not '$restarts'"
if [[ -n $pack ]]; then
  [[ -z $name && $# -eq 0 && -z $dry_run ]] || misused "--pack stands alone, without NAME, COMMAND and --dry-run"
  [[ $pack == /* ]] || pack=$PWD/$pack
  [[ -d $(dirname "$pack") ]] || fail "--pack $pack: there is no such folder"
else
  # `launch_tpu.sh pod -- command` has its name before the dashes, `launch_tpu.sh -- pod command` after them.
  [[ -n $name || $# -eq 0 ]] || { name=$1; shift; }
  [[ -n $name && ($# -gt 0 || -n $delete) ]] || misused "NAME and COMMAND are both needed"
  [[ $name =~ ^[[:alnum:]@._-]+$ ]] || misused "NAME is a TPU VM's name, not '$name'"
  if [[ -z $accelerator && $# -gt 0 ]]; then
    [[ -z $version$spot$valid_for && ${#create_flags[@]} -eq 0 ]] ||
      misused "--version, --spot, --valid-for and --create-flag are of a new slice: --accelerator says of which type"
  fi
  [[ -z $valid_for || -n $queued ]] || misused "--valid-for is of a request that waits: add --queued"
  case $version,$accelerator in
    ?*,* | ,) ;;
    ,v6e-*) version=v2-alpha-tpuv6e ;;
    ,v5p-*) version=v2-alpha-tpuv5 ;;
    ,v5litepod-*) version=v2-alpha-tpuv5-lite ;;
    ,v[234]-*) version=tpu-ubuntu2204-base ;;
    *) misused "--accelerator $accelerator needs --version: \`gcloud compute tpus tpu-vm versions list\` has them" ;;
  esac
  [[ -n $dry_run ]] || command -v gcloud >/dev/null ||
    fail "gcloud is not on the PATH: install the Google Cloud CLI, https://cloud.google.com/sdk/docs/install"
fi
for tool in git tar gzip; do
  command -v "$tool" >/dev/null || fail "$tool is not on the PATH, and packs what is sent: install it"
done
git -C "$root" rev-parse --is-inside-work-tree >/dev/null ||
  fail "$root is no git checkout, which tells what to send: clone the repository, or run \`git init\` there"

# ---- What is sent.

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
  cd "$root"
  rm -rf "$scratch/tree"
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
  COPYFILE_DISABLE=1 tar -czf "$archive" -C "$scratch/tree" . || fail "the tree could not be packed"
  ((left_out <= 20)) || lines+="  and $((left_out - 20)) more"$'\n'
  say "packed $files files, $((total + 1023 >> 10)) KiB, without what git ignores${lines:+, and without}"
  printf '%s' "$lines" >&2
}

[[ -n $dry_run ]] || scratch=$(mktemp -d)
[[ -z $pack ]] || { trap 'rm -rf "$scratch"' EXIT; pack_tree "$pack"; exit; }

# shellcheck source=r1jax/launch/tpu_slice.sh
source "$root/r1jax/launch/tpu_slice.sh"

# ---- The command.

on_all() { run ${2:+"$2"} "${tpus[@]}" tpu-vm ssh "$name" --worker=all "${where[@]}" --command="$1"; }

# Once, so that a restart goes on with the code that it began with.
pack_once() {
  archive=$scratch/r1jax.tgz  # outside the tree, or it would be packed into itself
  if [[ -n $dry_run ]]; then
    run "$0" --max-mb "$max_mb" --pack "$archive"
  elif [[ ! -f $archive ]]; then
    (pack_tree "$archive")
  fi
}

install_on_all() {
  run "${tpus[@]}" tpu-vm scp "$archive" "$name:r1jax.tgz" --worker=all "${where[@]}" &&
    on_all "rm -rf r1jax-new && mkdir r1jax-new && tar -xzf r1jax.tgz -C r1jax-new\
 && r1jax-new/r1jax/launch/tpu_worker.sh install $(quote "$setup")"
}

# Sets outcome to the command's exit status, to lost where a worker has none, or to running; fails without an answer.
ask_workers() {
  local answers
  answers=$("${tpus[@]}" tpu-vm ssh "$name" --worker=all "${where[@]}" \
    --command="./r1jax/r1jax/launch/tpu_worker.sh report" </dev/null 2>/dev/null) || return 1
  case $answers in
    *running*) outcome=running ;;
    *lost*) outcome=lost ;;
    *"ended 75"*) outcome=75 ;;
    *ended*)
      outcome=0
      [[ ! $answers =~ ended\ ([1-9][0-9]*) ]] || outcome=${BASH_REMATCH[1]} ;;
    *) return 1 ;;
  esac
}

# Watches the command until it has ended on all workers or the slice is gone; sets outcome as above, or to gone.
follow() {
  local verb=$1 status misses=0 since
  shift
  while :; do
    since=$SECONDS status=0 running=yes
    on_all "./r1jax/r1jax/launch/tpu_worker.sh $verb $(quote "$@")" watched || status=$?
    outcome=running
    if ((status == 0)); then
      outcome=0
    elif read_state; then
      if is_gone; then outcome=gone; elif [[ $state == ready ]]; then ask_workers || outcome=running; fi
    fi
    if [[ $outcome != running ]]; then running=''; return 0; fi
    ((SECONDS - since < 600)) || misses=0
    ((misses < restarts)) || { say "$name cannot be reached, after $misses tries (--restarts)"; exit 75; }
    misses=$((misses + 1))
    say "lost the connection to $name; the command goes on there, connecting again in 30 s"
    pause 30
  done
}

fetch_results() {
  local folder=$fetch pause_s
  [[ $folder == /* ]] || folder=r1jax/$folder
  for pause_s in 10 20 0; do
    run "${tpus[@]}" tpu-vm scp --recurse "$name:$folder" . --worker=0 "${where[@]}" && return 0
    pause "$pause_s"
  done
  say "COULD NOT FETCH $fetch from $name"
  return 1
}

# Fetches and deletes as asked, or says what still costs money. Nothing interrupts it. A slice whose command succeeded
# stays where its results cannot be fetched.
finish() {
  local status=$?
  trap '' INT TERM HUP
  if [[ -n $fetch && -n $started && (-z $interrupted || -n $delete) ]]; then
    fetch_results || { ((status != 0)) || { status=1 delete=''; }; }
  fi
  if [[ -n $delete && -n $touched ]]; then
    delete_slice || ((status != 0)) || status=1
  elif [[ -n $touched && -z $dry_run ]]; then
    say_what_remains
    [[ -z $running ]] || say_how_to_go_on
  fi
  [[ -n $dry_run ]] || rm -rf "$scratch"
  exit "$status"
}

say_how_to_go_on() {
  # shellcheck disable=SC2016  # expands on the workers
  local stop='pkill -INT -P "$(cat r1jax.pid)"'
  echo "  COMMAND goes on there; to watch it:  $watch_again" >&2
  echo "  to stop it after the step under way:  $(quote "${tpus[@]}" tpu-vm ssh "$name" --worker=all "${where[@]}" \
    --command="$stop")" >&2
}

interrupt() {
  interrupted=yes
  say "interrupted"
  kill_tree "$child"
  kill_tree "$watcher"
  exit "$1"
}

scratch=${scratch:-${TMPDIR:-/tmp}} running='' started='' interrupted='' failures=0
trap finish EXIT
trap 'interrupt 130' INT
trap 'interrupt 143' TERM
trap 'interrupt 129' HUP
if [[ $# -eq 0 ]]; then
  touched=yes  # and finish deletes it
  exit
fi
while :; do
  [[ -n $attach ]] || pack_once
  ensure_slice
  began=$SECONDS
  if [[ -z $attach ]]; then
    status=0
    install_on_all || status=$?
    if ((status != 0)); then
      ((status != 69)) || exit 69
      read_state || state=unknown
      is_gone || failures=$((failures + 1))
      ((failures < 3)) || { say "$name could not be set up, in three tries (messages above)"; exit "$status"; }
      again "$name could not be set up"
      continue
    fi
  fi
  failures=0 started=yes
  if [[ -n $attach ]]; then follow attach; else follow start "$@"; fi
  attach=''
  case $outcome in
    gone) again "$name was preempted or deleted${detail:+ ($detail)}" ;;
    lost) again "a worker of $name has lost its command" ;;
    75) again "the command was stopped on notice (exit status 75) and goes on from what it saved" ;;
    *) exit "$outcome" ;;
  esac
done
