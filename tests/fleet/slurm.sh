#!/usr/bin/env bash
# A fleet of four organizations on a real Slurm with three nodes, all on this machine: one node is lost while its
# task keeps running, the controller is restarted, one sync is killed. Three organizations are synced a second
# time, after their customers have changed. At the end, all that is published is what the API has, and no change
# is there twice. Usage, as root: tests/fleet/slurm.sh [PROGRAM]
set -euo pipefail
cd "$(dirname "$0")/../.."
program=$(realpath "${1:-target/debug/telemetron-sync}")
sample=$PWD/samples/slurm/fleet.sbatch
. tests/fleet/common.sh
mkdir "$dir/state"
# 78 seconds for organization 2: the lost node's task is still at work when another node takes over.
customers=800 of_2=1400 rate=18

step 'PostgreSQL'
start_postgres

step 'the API: four organizations'
# One machine keeps to its rate, and two with one key exceed the limit. The truth has no limit.
limit=(--rate-limit 25/s)
sandbox before "${limit[@]}"; before=$api
sandbox truth-before; truth_before=$api
sandbox after --revision 8 "${limit[@]}"; after=$api
sandbox truth-after --revision 8; truth_after=$api
list $((customers * 10 / 11)) >"$dir/list.csv"
list $((of_2 * 10 / 11)) >"$dir/list2.csv"
list 120 >"$dir/second.csv"
fleet "$before" list.csv list2.csv list.csv list.csv >"$dir/fleet.csv"
fleet "$after" second.csv second.csv second.csv second.csv >"$dir/second-fleet.csv"
keys

step 'Slurm: a controller and three nodes'
dd if=/dev/urandom of="$dir/munge.key" bs=1024 count=1 status=none
chmod 400 "$dir/munge.key"
# munged wants folders that others cannot write.
install -d -m 755 "$dir/munge"
background munge munged --foreground --key-file="$dir/munge.key" --socket="$dir/munge/socket" \
  --pid-file="$dir/munge/pid" --log-file="$dir/munge/log" --seed-file="$dir/munge/seed" --num-threads=2 --force
host=$(hostname -s)
export SLURM_CONF=$dir/slurm.conf
cat >"$SLURM_CONF" <<CONF
ClusterName=fleet
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(port)
SlurmUser=root
AuthInfo=socket=$dir/munge/socket,cred_expire=5
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool-%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd-%n.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SlurmdParameters=config_overrides
SlurmctldTimeout=10
SlurmdTimeout=10
ReturnToService=2
JobRequeue=1
MinJobAge=300
KillWait=20
MpiDefault=none
SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=2
Licenses=key1:1
NodeName=n1 NodeHostname=n1 NodeAddr=127.0.0.1 Port=$(port) CPUs=2 RealMemory=4000
NodeName=n2 NodeHostname=n2 NodeAddr=127.0.0.1 Port=$(port) CPUs=2 RealMemory=4000
NodeName=n3 NodeHostname=n3 NodeAddr=127.0.0.1 Port=$(port) CPUs=2 RealMemory=4000
PartitionName=all Nodes=n1,n2,n3 LLN=YES Default=YES MaxTime=INFINITE State=UP
CONF
controller() { background slurmctld slurmctld -D "$@"; }
# A node has a host name and a disk of its own.
node() {
  background "$1" unshare --mount --uts bash -c \
    "hostname $1 && mount -t tmpfs none '$dir/local' && echo \$\$ >'$dir/run/$1' && exec slurmd -D -N $1"
}
until_true 'munged starts' 20 test -S "$dir/munge/socket"
controller -c
for name in n1 n2 n3; do node "$name"; done
idle() { [ "$(sinfo -h -N -o %T | grep -c idle)" = 3 ]; }
until_true 'the nodes are idle' 60 idle

step 'the fleet'
submit() { # fleet file, array, output
  FLEET=$dir/$1 FLEET_TEST=$dir TELEMETRON_PUBLISH=$url PATH=$dir/bin:$PATH MAX_AGE=${MAX_AGE:-12h} \
    sbatch --parsable --array="$2" --chdir="$dir" --output="$dir/$3" "$sample"
}
job=$(submit fleet.csv 1-4 task-%a.log)
begun() { [ -n "$(of 'epoch FROM telemetron.publications' "$1")" ]; }
for n in 1 2 3 4; do until_true "organization $n has begun" 60 begun "$n"; done

sync_of() { # the id of the sync process of a task
  for environ in /proc/[0-9]*/environ; do
    id=${environ#/proc/} id=${id%/environ}
    if grep -qzFx "FLEET_TEST=$dir" "$environ" 2>/dev/null && grep -qzFx "SLURM_ARRAY_TASK_ID=$1" "$environ" &&
      [ "$(tr '\0' ' ' <"/proc/$id/cmdline" | cut -d' ' -f1,2)" = 'telemetron-sync sync' ]; then
      echo "$id"; return 0
    fi
  done 2>/dev/null
  return 1
}
node_of() { squeue -h -r -j "${job}_$1" -o %N; }
node=$(node_of 2)
step "node $node, where organization 2 is, is lost; its tasks keep running"
lost=$(sync_of 2)
elsewhere='' with_it=()
for n in 1 3 4; do if [ "$(node_of "$n")" = "$node" ]; then with_it+=("$n"); else elsewhere=${elsewhere:-$n}; fi; done
kill -KILL "$(cat "$dir/run/$node")"
rm "$dir/run/$node"
kill -0 "$lost"

step 'the controller is restarted'
controller_id=$(cat "$dir/slurmctld.pid")
kill -TERM "$controller_id"
until_true 'the controller ends' 30 bash -c "! kill -0 $controller_id"
controller

until_true "organization $elsewhere is published" 60 published "$elsewhere" 20
victim=$(sync_of "$elsewhere")
step "the sync of organization $elsewhere is killed"
kill -KILL "$victim"

fenced() { ! kill -0 "$lost"; }
taken() { [ "$(of 'epoch FROM telemetron.publications' 2)" -ge 2 ]; }
until_true 'another node takes organization 2 over' 120 taken
step 'another node has taken organization 2 over'
until_true 'the lost node is fenced off' 60 fenced
grep -q 'another store took organization org_sandbox_2 over' "$dir/task-2.log"
[ "$(of 'count(*) FROM telemetron.lookups' 2 'AND outcome IS NULL')" -gt 0 ]
step 'the lost node was fenced off before its run was over'

left() { squeue -h -r -j "$1" -t PENDING,RUNNING,COMPLETING -o %i; } # tasks of a job
# The second time, the newest answers are looked up again; organization 2 is still at work on the first.
for n in 1 3 4; do
  at_rest() { [ -z "$(left "${job}_$n")" ] && published "$n" "$(($(wc -l <"$dir/list.csv") - 1))"; }
  until_true "organization $n is done" 150 at_rest
done
step 'organizations 1, 3 and 4 are done; their customers change, and they are synced again'
second=$(MAX_AGE=1s submit second-fleet.csv 1,3,4 second-%a.log)
done_all() { [ -z "$(left "$job")$(left "$second")" ]; }
until_true 'every organization is done' 150 done_all
step 'every organization is done'

for n in 1 2 3 4; do
  runs=("$truth_before" "$dir/list.csv" "$truth_after" "$dir/second.csv")
  [ "$n" != 2 ] || runs=("$truth_before" "$dir/list2.csv")
  python3 tests/fleet/truth.py "$url" "org_sandbox_$n" "sandbox-$n" "${runs[@]}"
  # Only an organization that two machines worked on for a moment may have been over its limit.
  case " 2 ${with_it[*]-} " in *" $n "*) continue ;; esac
  throttled=$(of "count(*) FROM telemetron.runs" "$n" "AND report_json->'http'->'statuses' ? '429'")
  [ "$throttled" = 0 ] || { echo "organization $n was over its limit"; exit 1; }
done
check=$(submit fleet.csv 0 task-0.log)
until_true 'the final job is done' 30 grep -q 'Every organization is published' "$dir/task-0.log"
echo "final job $check: $(cat "$dir/task-0.log")"
step 'done'
