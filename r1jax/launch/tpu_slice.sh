# shellcheck shell=bash disable=SC2034,SC2154  # variables of launch_tpu.sh
# The life of a TPU VM slice: found, created, waited for, watched, deleted. Sourced by launch_tpu.sh.
#
# Reads its options: name, zone, project, accelerator, version, spot, queued, valid_for, create_flags, restarts,
# dry_run; scratch is a folder for messages. Sets state, detail, tries, touched (the slice is or may be there) and
# creating (a request for it is under way). Functions that finish calls return with a number: in a trap, bash's plain
# `return` has the status of before the trap.

tpus=(gcloud compute tpus)
where=(--quiet ${zone:+"--zone=$zone"} ${project:+"--project=$project"})
child='' watcher='' tries=0 wait_s=30 began=0 touched='' creating=''

# ---- Commands: printed, or run so that Ctrl-C ends them.

kill_tree() {
  local children pid
  [[ -n $1 ]] || return 0
  children=$(pgrep -P "$1" 2>/dev/null || true)
  kill "$1" 2>/dev/null || true
  for pid in $children; do kill_tree "$pid"; done
}

# In the background and waited for: a trap runs at once then, not when the command is done. After the word `watched` the
# command is ended when the slice is gone, for a connection to a preempted host may hang. After `errors=FILE` its
# messages go there; redirecting `run` itself would take those of a trap along.
run() {
  local status=0 watched='' errors='' line
  [[ $1 != watched ]] || { watched=yes; shift; }
  [[ $1 != errors=* ]] || { errors=${1#*=}; shift; }
  if [[ -n $dry_run ]]; then
    line=$(quote "$@")
    # A line break between single quotes, in one line: close them, write it as bash does, open them again.
    echo "${line//$'\n'/"'\$'\\n''"}"
    return 0
  fi
  if [[ -n $errors ]]; then "$@" </dev/null 2>"$errors" & else "$@" </dev/null & fi
  child=$!
  [[ -z $watched ]] || { watch_slice "$child" & watcher=$!; }
  wait "$child" || status=$?
  kill_tree "$watcher"
  child='' watcher=''
  return "$status"
}
note() { [[ -z $dry_run ]] || echo "# $*"; }
pause() { [[ -n $dry_run ]] || run sleep "$1"; }

# Before another try: says why, waits, twice as long each time, and gives up after --restarts of them.
again() {
  ((SECONDS - began < 3600)) || wait_s=30  # it ran for an hour
  ((tries < restarts)) || { say "$1; given up after $tries tries (--restarts)"; exit 75; }
  tries=$((tries + 1))
  say "$1; trying again in $wait_s s ($tries of $restarts)"
  pause "$wait_s"
  wait_s=$((wait_s * 2 < 600 ? wait_s * 2 : 600))
  began=$SECONDS
}

# ---- Its state.

# Prints the state that gcloud has for it, as $1 (tpu-vm or queued-resources), nothing where there is none; fails where
# gcloud does not say.
ask_state() {
  "${tpus[@]}" "$1" describe "$name" "${where[@]}" "--format=value($2)" 2>"$scratch/error" </dev/null ||
    [[ $(<"$scratch/error") == *NOT_FOUND* ]]
}

# Sets state to none, coming, ready, stopped, failed (a request) or dead (preempted), and detail to gcloud's word.
read_state() {
  if [[ -n $queued ]]; then
    detail=$(ask_state queued-resources state.state) || return 1
    case $detail in
      '') state=none; return 0 ;;
      ACTIVE) ;;
      FAILED) state=failed; return 0 ;;
      SUSPENDING | SUSPENDED) state=dead; return 0 ;;
      *) state=coming; return 0 ;;
    esac
  fi
  detail=$(ask_state tpu-vm state) || return 1
  case $detail in
    '') state=${queued:+dead} state=${state:-none} ;;
    READY) state=ready ;;
    PREEMPTED | TERMINATED) state=dead ;;
    STOPPING | STOPPED | HIDING | HIDDEN) state=stopped ;;
    *) state=coming ;;
  esac
}

is_gone() { [[ $state == dead || $state == none ]]; }

watch_slice() {
  while sleep 45; do
    if read_state && is_gone; then kill_tree "$1"; return 0; fi
  done
}

# ---- Creating and deleting it.

create_slice() {
  local flags=(${spot:+--spot} ${create_flags[@]+"${create_flags[@]}"} "${where[@]}") status=0
  [[ -n $accelerator ]] || fail "there is no slice $name${zone:+ in $zone}: --accelerator TYPE creates one"
  touched=yes creating=yes
  if [[ -n $queued ]]; then
    set -- queued-resources create "$name" "--node-id=$name" "--accelerator-type=$accelerator" \
      "--runtime-version=$version" ${valid_for:+"--valid-until-duration=$valid_for"}
  else
    set -- tpu-vm create "$name" "--accelerator-type=$accelerator" "--version=$version"
  fi
  [[ -z $dry_run ]] || { run "${tpus[@]}" "$@" "${flags[@]}"; return 0; }
  say "creating $name: $accelerator${spot:+, spot}${queued:+, queued} ..."
  run "errors=$scratch/created" "${tpus[@]}" "$@" "${flags[@]}" || status=$?
  creating=''
  ((status != 0)) || return 0
  cat "$scratch/created" >&2
  case $(<"$scratch/created") in
    *"no more capacity"* | *"nternal error"* | *UNAVAILABLE* | *"in state PREEMPTED"*)
      again "$name could not be created" ;;
    *ALREADY_EXISTS*) again "$name is there, and was not a moment ago" ;;
    *) fail "$name could not be created, for a reason that waiting does not change (gcloud's message is above)" ;;
  esac
}

delete_command() {
  if [[ -n $queued ]]; then
    quote "${tpus[@]}" queued-resources delete "$name" --force "${where[@]}"
  else
    quote "${tpus[@]}" tpu-vm delete "$name" "${where[@]}"
  fi
}

# Deletes it, and says loudly where that fails. A request to create it that is under way may arrive after the first try.
delete_slice() {
  local pause_s status
  if [[ -n $queued ]]; then set -- queued-resources delete "$name" --force; else set -- tpu-vm delete "$name"; fi
  [[ -z $dry_run ]] || { run "${tpus[@]}" "$@" "${where[@]}"; return 0; }
  for pause_s in 10 20 40; do
    say "deleting $name ..."
    status=0
    run "errors=$scratch/deleted" "${tpus[@]}" "$@" "${where[@]}" || status=$?
    if ((status == 0)); then say "deleted $name"; return 0; fi
    if [[ $(<"$scratch/deleted") != *NOT_FOUND* ]]; then
      cat "$scratch/deleted" >&2
    elif [[ -z $creating ]]; then
      say "there is no slice $name: nothing is left that costs money"
      return 0
    fi
    pause "$pause_s"
  done
  say "COULD NOT DELETE $name, which may go on costing money; delete it by"
  echo "  $(delete_command)" >&2
  return 1
}

# Returns when it is ready, created if need be.
ensure_slice() {
  local last='' requested=''
  if [[ -n $dry_run ]]; then show_finding; return 0; fi
  while :; do
    read_state || { again "gcloud does not say how $name is: $(<"$scratch/error")"; continue; }
    [[ $state == none ]] || touched=yes
    case $state in
      ready)
        [[ -z $accelerator || -n $requested ]] || check_type
        return 0 ;;
      none) requested=yes; create_slice ;;
      failed)
        [[ -z $requested ]] || fail "the request for $name failed: ${tpus[*]} queued-resources describe $name says why"
        delete_slice ;;
      dead)
        [[ -n $accelerator ]] || fail "$name was preempted ($detail); with --accelerator TYPE it is created again"
        delete_slice ;;
      stopped) fail "$name is stopped ($detail): ${tpus[*]} tpu-vm start $name starts it" ;;
      coming)
        [[ $detail == "$last" ]] || say "$name: $detail ..."
        last=$detail
        pause 30 ;;
    esac
  done
}

check_type() {
  local type
  type=$(ask_state tpu-vm acceleratorType) || return 0
  [[ -z $type || $type == "$accelerator" ]] || fail "$name is there, and is a $type: --accelerator says $accelerator"
}

show_finding() {
  touched=yes
  [[ -z $queued ]] || run "${tpus[@]}" queued-resources describe "$name" "${where[@]}" "--format=value(state.state)"
  run "${tpus[@]}" tpu-vm describe "$name" "${where[@]}" "--format=value(state)"
  [[ -n $accelerator ]] || return 0
  note "where there is none, or after deleting a preempted one:"
  create_slice
  note "once it is READY:"
}

# What is still there and costs money.
say_what_remains() {
  read_state || state=unknown
  if [[ $state == none && -z $creating ]]; then
    say "there is no slice $name: nothing is left that costs money"
    return 0
  fi
  say "the slice $name${accelerator:+ ($accelerator${spot:+, spot})} STAYS, and costs money for as long as it is there"
  echo "  to delete it:  $(delete_command)" >&2
}
