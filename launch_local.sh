#!/usr/bin/env bash
# Runs r1jax on this machine, in an environment of its own that is made on first use and kept up to date.
#
#   ./launch_local.sh                    R1-Zero at mini size on the CPU, from nothing to runs/zero-mini/report.html
#   ./launch_local.sh --config.seed=1    the same with options of `r1jax train`; --config and --workdir replace the defaults
#   ./launch_local.sh r1jax --help       the commands of r1jax
#   ./launch_local.sh pytest -k grpo     any other command, in that environment and in the repository's root
#   ./launch_local.sh --help             prints this
#
#   R1JAX_VENV       where the environment lives; default: .venv in the repository
#   R1JAX_PLATFORM   what JAX runs on: cpu (default), cuda, tpu; the last two install the extra of that name.
#                    JAX_PLATFORMS does the same where it is set.
set -euo pipefail

say() { echo "launch_local.sh: $*" >&2; }
fail() { say "$*"; exit 1; }

has_option() {
  local name=$1 word
  shift
  for word in "$@"; do [[ $word != "$name" && $word != "$name="* ]] || return 0; done
  return 1
}

case ${1:-} in
  -h | --help) sed -n '2,/^set -/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit ;;
  --) shift ;;
  --*)
    if ! has_option --config "$@"; then
      has_option --workdir "$@" || set -- --workdir=runs/zero-mini "$@"
      set -- --config=zero:mini "$@"
    fi
    set -- r1jax train "$@" ;;
  -*) fail "no option $1; options of r1jax train begin with --, and --help says more" ;;
esac
[[ $# -gt 0 ]] || set -- r1jax train --config=zero:mini --workdir=runs/zero-mini

venv=${R1JAX_VENV:-$(dirname "${BASH_SOURCE[0]}")/.venv}
mkdir -p "$(dirname "$venv")"
venv=$(cd "$(dirname "$venv")" && pwd -P)/$(basename "$venv")
cd "$(dirname "${BASH_SOURCE[0]}")"

lists_gpu() { command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; }
# A container may have the device and not the tool; /dev/kfd is AMD's.
has_gpu() { compgen -G '/dev/nvidia[0-9]*' >/dev/null || [[ -e /dev/kfd ]] || lists_gpu; }

if [[ -z ${R1JAX_PLATFORM:-${JAX_PLATFORMS:-}} ]] && lists_gpu; then
  say "this machine has a GPU, and this runs on the CPU: R1JAX_PLATFORM=cuda in the environment installs JAX for the" \
    "GPU and runs there; R1JAX_PLATFORM=cpu leaves out this message"
fi
export JAX_PLATFORMS=${R1JAX_PLATFORM:-${JAX_PLATFORMS:-cpu}}
case $JAX_PLATFORMS in
  *cuda* | *gpu*)
    has_gpu || fail "JAX is asked to run on $JAX_PLATFORMS (R1JAX_PLATFORM or JAX_PLATFORMS), and this machine has no GPU" \
      "that nvidia-smi lists; without these variables it runs on the CPU"
    extras=serve,cuda ;;
  *tpu*) extras=serve,tpu ;;
  *) extras=serve ;;
esac
# Developers' tools are too much to install for a run, and what the tests compare with, transformers and torch, for lint.
command=${1:-} runs_tests=no
case "${command##*/} ${2:-} ${3:-} " in
  pytest\ * | python*" -m pytest ") runs_tests=yes extras+=,dev,parity ;;
  ruff\ * | mkdocs\ *) extras+=,dev ;;
esac

if [[ $runs_tests == yes ]] && ! command -v bwrap >/dev/null; then
  say "no bubblewrap: the tests that run programs will skip; on Debian or Ubuntu, 'apt install bubblewrap' brings it"
fi

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  local name without_venv=
  # Each is run, not looked up: version managers leave shims on the PATH for versions that are not there.
  for name in python3.13 python3.12 python3.11 python3; do
    is_new_enough "$name" || continue
    "$name" -c 'import ensurepip, venv' 2>/dev/null && { python=$name; return; }
    without_venv=${without_venv:-python$("$name" -c 'import sys; print("%d.%d" % sys.version_info[:2])')}
  done
  [[ -z $without_venv ]] || fail "$without_venv lacks venv: on Debian or Ubuntu, 'apt install $without_venv-venv'"
  fail "no Python 3.11 or newer among python3.13, python3.12, python3.11 and python3: install one, then run again"
}

# What the environment was installed from; its path too, as the scripts of a moved one run the python of the old place.
stamp=$venv/.r1jax-installed-$extras
key() { echo "$venv $("$venv/bin/python" -V 2>&1) $(cat setup.py pyproject.toml | cksum)"; }
has() { [[ -f $1 && $(<"$1") == "$(key)" ]]; }
is_current() {
  local more
  for more in '' ,dev ,parity ,dev,parity; do ! has "$stamp$more" || return 0; done
  return 1
}

# uv does in seconds what takes pip a minute or two, and does not read pip's settings: where those choose an index, or it
# cannot be had, pip installs.
installs_by_uv() {
  local python=$venv/bin/python
  ! "$python" -m pip config list 2>/dev/null | grep -qE '(index|find-links|constraint)' &&
    "$python" -m pip install --quiet --disable-pip-version-check 'uv>=0.8,<1' </dev/null 2>/dev/null &&
    "$python" -m uv pip install --quiet --python "$python" -e ".[$extras]" </dev/null 2>/dev/null
}

install() {
  local stamps
  stamps=$(cat "$venv"/.r1jax-installed-* 2>/dev/null || true)
  if ! is_new_enough "$venv/bin/python" || [[ -n $stamps && $stamps != "$venv "* ]]; then
    [[ ! -e $venv || -f $venv/pyvenv.cfg || -z $(ls -A "$venv") ]] ||
      fail "$venv is there and is not a Python environment: move it away, or set R1JAX_VENV to another path"
    find_python
    say "making $venv with $("$python" -V) ..."
    "$python" -m venv --clear "$venv"
  fi
  rm -f "$venv"/.r1jax-installed-*  # from here to the end an interrupted install is seen as such, and is done again
  "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip >/dev/null
  say "installing r1jax[$extras] (a minute or two the first time, less with uv) ..."
  installs_by_uv ||
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e ".[$extras]" </dev/null ||
    fail "the install failed (pip's message is above); run again to go on from here"
  key >"$stamp"
}

if ! is_current; then
  exec 9>"$venv.lock"
  if command -v flock >/dev/null; then flock 9; fi
  is_current || install  # another run may have installed while this one waited
  exec 9>&-  # or the command below would hold the lock for as long as it runs
fi

# On a CPU, one device a core, as r1jax/cpu_devices.py says; here for commands that are not of r1jax. The tests choose
# their own number.
chooses_devices=$runs_tests
[[ ${XLA_FLAGS:-} != *xla_force_host_platform_device_count* ]] || chooses_devices=yes
if [[ $JAX_PLATFORMS == cpu && $chooses_devices == no ]]; then
  cores=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN) devices=1
  while ((devices * 2 <= cores && devices < 8)); do devices=$((devices * 2)); done
  export XLA_FLAGS="${XLA_FLAGS:+$XLA_FLAGS }--xla_force_host_platform_device_count=$devices"
fi

unset PYTHONHOME
export VIRTUAL_ENV=$venv PATH=$venv/bin:$PATH
# An environment that several clones share imports the one that installed it last; the one that asks comes first.
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
exec "$@"
