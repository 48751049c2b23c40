# shellcheck shell=bash
# Messages and quoting of the launch scripts, which source it and define `usage`.

say() { echo "${0##*/}: $*" >&2 || true; }  # a terminal that is gone is no reason to stop
fail() { say "$*"; exit 1; }
misused() { usage >&2; fail "$1"; }

# Single quotes mean the same to every shell, which `printf %q` does not promise: a worker's shell may be any.
quote() {
  local word end="'\\''" space=
  for word in "$@"; do
    [[ $word =~ ^[[:alnum:]_./:=,@%+-]+$ ]] || word="'${word//\'/$end}'"
    printf '%s' "$space$word"
    space=" "
  done
}
