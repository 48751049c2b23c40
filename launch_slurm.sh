#!/usr/bin/env bash
# Submits one command to SLURM: the same on every node, one process each with all GPUs that it was given there.
#
#   ./launch_slurm.sh [OPTIONS] COMMAND...
#   ./launch_slurm.sh --nodes=2 --gpus=8 --time=12:00:00 r1jax train --config=zero:mini --workdir=/shared/run
#
#   --nodes N             how many nodes (1)
#   --gpus N              how many GPUs on each (8)
#   --cpus N              how many CPU cores on each; default: the whole node, to itself
#   --time TIME           the limit of one start, as sbatch reads it (12:00:00)
#   --notice SECONDS      how long before the limit the command is told to stop (300); it saves after the step under way,
#                         for which it has 10 s less (R1JAX_GRACE_S), unless COMMAND sets checkpoint.grace_s
#   --restarts N          how often the job is queued again after a notice, a preemption or a failed node (20)
#   --name NAME           of the job and its log, NAME-JOB.log in the current folder (r1jax)
#   --partition P, --account A, --qos Q    the same as sbatch's
#   --sbatch-flag FLAG    one more flag of sbatch (--sbatch-flag=--constraint=h100); may be repeated
#   --setup LINE          a line of bash for each node before the command: load modules, say
#   --dry-run             prints the command that would submit the job, with its script, and submits nothing
#
# The repository and the workdir lie where all nodes see them. The job makes the environment by ./launch_local.sh on one
# node, then runs COMMAND with R1JAX_DISTRIBUTED=1: JAX reads SLURM's variables. Exit status 75 of COMMAND, stopped on
# notice, queues the job again. docs/slurm.md says more.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=r1jax/launch/command_line.sh
source "$root/r1jax/launch/command_line.sh"
usage() { sed -n '4,19s/^# *//p' "${BASH_SOURCE[0]}"; }

nodes=1 gpus=8 cpus='' time=12:00:00 notice=300 restarts=20 name=r1jax partition='' account='' qos='' setup=true
dry_run='' flags=()
while [[ $# -gt 0 ]]; do
  case $1 in
    -h | --help) usage; exit ;;
    --dry-run) dry_run=yes ;;
    --sbatch-flag=?*) flags+=("${1#*=}") ;;
    --nodes=?* | --gpus=?* | --cpus=?* | --time=?* | --notice=?* | --restarts=?* | --name=?* | --partition=?* | \
      --account=?* | --qos=?* | --setup=?*)
      option=${1%%=*}
      declare "${option#--}=${1#*=}" ;;
    --nodes | --gpus | --cpus | --time | --notice | --restarts | --name | --partition | --account | --qos | --setup | \
      --sbatch-flag)
      [[ -n ${2:-} && $2 != -* ]] || misused "$1 needs a value"
      option=$1 value=$2
      shift 2
      set -- "$option=$value" "$@"
      continue ;;
    --) shift; break ;;
    -*) misused "no option $1; options of COMMAND follow its first word" ;;
    *) break ;;
  esac
  shift
done
for option in nodes gpus notice; do
  [[ ${!option} =~ ^[1-9][0-9]{0,5}$ ]] || misused "--$option is a whole number above 0, not '${!option}'"
done
[[ -z $cpus || $cpus =~ ^[1-9][0-9]{0,5}$ ]] || misused "--cpus is a whole number above 0, not '$cpus'"
[[ $restarts =~ ^[0-9]{1,6}$ ]] || misused "--restarts is a whole number, not '$restarts'"
[[ $name =~ ^[[:alnum:]._-]+$ ]] || misused "--name is a word of letters, digits, '.', '_' and '-', not '$name'"
[[ $# -gt 0 ]] || misused "COMMAND is needed"

# The notice goes to all processes of a task, graders too, so it is a signal that kills none; the task's own shell turns
# it into SIGTERM for COMMAND.
submit=(sbatch --parsable "--job-name=$name" "--output=$name-%j.log" --open-mode=append
  "--nodes=$nodes" --ntasks-per-node=1 "--gpus-per-node=$gpus" "--time=$time" "--signal=URG@$notice" --requeue
  ${partition:+"--partition=$partition"} ${account:+"--account=$account"} ${qos:+"--qos=$qos"})
if [[ -n $cpus ]]; then submit+=("--cpus-per-task=$cpus"); else submit+=(--exclusive --mem=0); fi
submit+=(${flags[@]+"${flags[@]}"})

# A trainer that is told to stop knows no other grace than its config's, 25 s.
grace=''
((notice <= 20)) || [[ $* == *checkpoint.grace_s* ]] || grace=" R1JAX_GRACE_S=$((notice - 10))"

devices=0
for ((i = 1; i < gpus; i++)); do devices+=,$i; done

# shellcheck disable=SC2016  # expands in the job
task='
./launch_local.sh "$@" &
trap "kill -TERM $!" URG
while :; do
  wait $! && exit
  status=$?
  kill -0 $! 2>/dev/null && continue  # the notice came
  exit $status
done'

# srun takes one core a task unless told; JAX would take one GPU a process under SLURM, JAX_LOCAL_DEVICE_IDS names all.
job() {
  cat <<END
#!/usr/bin/env bash
set -uo pipefail
cd $(quote "$root") || exit
export R1JAX_PLATFORM=\${R1JAX_PLATFORM:-cuda} PYTHONUNBUFFERED=1
restarts=\${SLURM_RESTART_COUNT:-0}
if ((restarts > $restarts)); then
  echo "job \$SLURM_JOB_ID was queued again $restarts times (--restarts), and ends" >&2
  exit 75
fi
step=(srun --ntasks-per-node=1 "--cpus-per-task=\$SLURM_CPUS_ON_NODE")
"\${step[@]}" --nodes=1 --ntasks=1 bash -euc $(quote "$setup
./launch_local.sh true") || exit
export R1JAX_DISTRIBUTED=1 JAX_LOCAL_DEVICE_IDS=$devices$grace
"\${step[@]}" --nodes=$nodes --ntasks=$nodes --kill-on-bad-exit=0 bash -euc $(quote "$setup$task") task $(quote "$@")
status=\$?
if ((status == 75 && restarts < $restarts)); then
  echo "stopped on notice; job \$SLURM_JOB_ID is queued again" >&2
  scontrol requeue "\$SLURM_JOB_ID" || echo "it could not be: submit the same command again, which goes on" >&2
fi
exit "\$status"
END
}

if [[ -n $dry_run ]]; then
  echo "$(quote "${submit[@]}") <<'END_OF_JOB'"
  job "$@"
  echo END_OF_JOB
  exit
fi
command -v sbatch >/dev/null || fail "sbatch is not on the PATH: run this on a machine that submits to SLURM"
answer=$(job "$@" | "${submit[@]}") || fail "the job was not submitted (sbatch's message is above)"
id=${answer%%;*}  # of several clusters, theirs follows
say "submitted job $id"
echo "  to watch it:   squeue -j $id; tail -F $name-$id.log" >&2
echo "  to stop it after the step under way:  scancel --signal=TERM $id" >&2
echo "  to end it at once:  scancel $id" >&2
echo "$id"
