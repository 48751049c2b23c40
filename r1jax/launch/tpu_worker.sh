#!/usr/bin/env bash
# One worker's part of launch_tpu.sh, which runs it on every worker of a slice by ssh.
#
#   tpu_worker.sh install LINE       takes over the tree it lies in as ~/r1jax, runs LINE of shell, installs
#   tpu_worker.sh start COMMAND...   starts COMMAND unless it was, shows worker 0's log, ends with its exit status
#   tpu_worker.sh attach             the same for what was started before
#   tpu_worker.sh report             prints `r1jax-worker NUMBER ended STATUS`, `... running` or `... lost`
#
# In the home folder: r1jax.log, r1jax.pid and, once the command has ended, r1jax.status. Exit status 69 of install: a
# command runs here already. gcloud takes 255 for a lost connection and would run all again, so 255 becomes 1.
set -euo pipefail

case ${1:-} in
  install | start | attach | report) ;;
  *) sed -n '2,/^set -/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit ;;
esac

fail() { echo "tpu_worker.sh: $*" >&2; exit 1; }
is_running() { [[ -f ~/r1jax.pid && ! -f ~/r1jax.status ]] && kill -0 "$(<~/r1jax.pid)" 2>/dev/null; }

at_exit() {
  local status=$?
  ((status == 0)) || echo "worker ${worker:-without a number} failed with exit status $status" >&2
  ((status != 255)) || exit 1
}

install() {
  local new_tree=$1 line=$2
  if is_running; then
    echo "worker $worker runs a command already: launch_tpu.sh --attach watches it" >&2
    exit 69
  fi
  rm -rf ~/r1jax/r1jax ~/r1jax.log ~/r1jax.pid ~/r1jax.status  # the package whole: no module deleted at home lingers
  mkdir -p ~/r1jax
  cp -a "$new_tree/." ~/r1jax
  cd ~/r1jax
  bash -euc "$line"
  R1JAX_PLATFORM=tpu,cpu ./launch_local.sh true
}

# In a session of its own and as a child of nobody, so that it outlives the connection.
start() (
  cd ~/r1jax
  : >~/r1jax.log
  # shellcheck disable=SC2016  # expands in the inner shell
  setsid bash -c '"$@" >~/r1jax.log 2>&1; echo $? >~/r1jax.ended; mv ~/r1jax.ended ~/r1jax.status' - \
    env R1JAX_DISTRIBUTED=1 R1JAX_PLATFORM=tpu,cpu PYTHONUNBUFFERED=1 ./launch_local.sh "$@" \
    </dev/null >/dev/null 2>&1 &
  echo $! >~/r1jax.pid
)

# Shows worker 0's log from its line $1 on, or its last lines, until the command has ended, and ends with its status.
follow() {
  local from=$1 status
  if [[ $worker == 0 ]]; then
    tail -s 0.2 --pid="$(<~/r1jax.pid)" -n "$from" -f ~/r1jax.log
  else
    tail -s 0.2 --pid="$(<~/r1jax.pid)" -n 0 -f ~/r1jax.log >/dev/null
  fi
  [[ -f ~/r1jax.status ]] || fail "the command is gone and left no exit status: was the host restarted?"
  status=$(<~/r1jax.status)
  [[ $status == 0 || $worker == 0 ]] || tail -n 20 ~/r1jax.log >&2
  exit "$status"
}

report() {
  if [[ -f ~/r1jax.status ]]; then
    echo "r1jax-worker $worker ended $(<~/r1jax.status)"
  elif is_running; then
    echo "r1jax-worker $worker running"
  else
    echo "r1jax-worker $worker lost"
  fi
}

trap at_exit EXIT
worker=$(curl -sf -H Metadata-Flavor:Google \
  http://metadata.google.internal/computeMetadata/v1/instance/attributes/agent-worker-number)
case $1 in
  install) install "$(dirname "${BASH_SOURCE[0]}")/../.." "$2" ;;
  start)
    [[ ! -f ~/r1jax.pid ]] || follow 20
    start "${@:2}"
    follow +1 ;;
  attach)
    [[ -f ~/r1jax.pid ]] || fail "nothing has been started here: leave out --attach"
    follow 20 ;;
  report) report ;;
esac
