#!/usr/bin/env bash
# A fleet of four organizations on a real Slurm with three nodes, all on this machine: one sync is killed, one
# node is lost while its task keeps running, the controller is restarted. At the end, PostgreSQL holds what the
# API has, and no change twice. Usage, as root: tests/fleet/slurm.sh [PROGRAM]
set -euo pipefail
cd "$(dirname "$0")/../.."
program=$(realpath "${1:-target/debug/telemetron-sync}")
sample=$PWD/samples/slurm/fleet.sbatch
dir=$(mktemp -d)
chmod 755 "$dir"
mkdir "$dir"/{bin,state,db,local,run}
ln -s "$program" "$dir/bin/telemetron-sync"
# 84 seconds: the lost node's task is still at work when another node takes over.
customers=1000 rate=12

# Everything that was started, by id: processes, and the sessions that the nodes are.
started=()
cleanup() {
  local code=$?
  [ "$code" = 0 ] || tail -n 20 "$dir"/*.log "$dir"/task-* 2>/dev/null || true
  for job in "$dir"/run/*; do [ ! -f "$job" ] || kill -KILL "$(cat "$job")" 2>/dev/null || true; done
  # PostgreSQL first, as it wants it: killed, it would leave its shared memory behind.
  [ ! -s "$dir/db/postmaster.pid" ] || kill -QUIT "$(head -n 1 "$dir/db/postmaster.pid")" 2>/dev/null || true
  sleep 0.5
  for id in "${started[@]}"; do kill -KILL -- "-$id" 2>/dev/null || kill -KILL "$id" 2>/dev/null || true; done
  # What the tasks started carries this folder in its environment.
  for environ in /proc/[0-9]*/environ; do
    id=${environ#/proc/} id=${id%/environ}
    [ "$id" = $$ ] || ! grep -qzF "FLEET_TEST=$dir" "$environ" 2>/dev/null || kill -KILL "$id" 2>/dev/null || true
  done
  sleep 0.5
  rm -rf "$dir"
  exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

step() { printf '%3ss  %s\n' "$SECONDS" "$1"; }
until_true() { # what, seconds, command…
  local what=$1 end=$((SECONDS + $2)); shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || { echo "waited in vain: $what"; exit 1; }
    sleep 0.3
  done
}
background() { # log, command…
  local log=$1; shift
  setsid "$@" >>"$dir/$log.log" 2>&1 &
  started+=($!)
  disown $!
}
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

step 'PostgreSQL'
bin=$(dirname "$(ls /usr/lib/postgresql/*/bin/postgres | tail -n 1)")
chown postgres "$dir/db"
as_postgres() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
(cd "$dir/db" && as_postgres "$bin/initdb" -D "$dir/db" -U postgres --auth=trust --no-sync >/dev/null)
db=$(port)
background postgres setpriv --reuid postgres --regid postgres --clear-groups \
  "$bin/postgres" -D "$dir/db" -p "$db" -k "$dir/db" -c listen_addresses=127.0.0.1 -c fsync=off
url=postgres://postgres@127.0.0.1:$db/postgres
sql() { psql -X -A -t -v ON_ERROR_STOP=1 "$url" -c "$1"; }
until_true 'PostgreSQL starts' 30 sql 'SELECT 1'

step 'the API: four organizations'
api=$(port)
quick=(--organizations 4 --latency 5ms --jitter 5ms)
# One machine keeps to its rate, and two with one key exceed the limit.
background sandbox "$program" sandbox --listen "127.0.0.1:$api" "${quick[@]}" --rate-limit 20/s
truth=$(port)
background truth "$program" sandbox --listen "127.0.0.1:$truth" "${quick[@]}"
until_true 'the sandbox starts' 30 grep -q org_sandbox_4 "$dir/sandbox.log"
until_true 'the other one starts' 30 grep -q org_sandbox_4 "$dir/truth.log"
{ echo email; for n in $(seq "$customers"); do echo "person$n@example.com"; done; } >"$dir/list.csv"
echo name,source,store,api_url,key_file,rate >"$dir/fleet.csv"
for n in 1 2 3 4; do
  install -m 600 /dev/null "$dir/key$n"
  echo "sandbox-$n" >"$dir/key$n"
  echo "org_sandbox_$n,$dir/list.csv,$dir/local/$n.db,http://127.0.0.1:$api/api/ext-v1,$dir/key$n,$rate/s" >>"$dir/fleet.csv"
done

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
PartitionName=all Nodes=n1,n2,n3 Default=YES MaxTime=INFINITE State=UP
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
submit() { # array
  FLEET=$dir/fleet.csv FLEET_TEST=$dir TELEMETRON_PUBLISH=$url TELEMETRON_PUBLISH_EVERY=2s \
    PATH=$dir/bin:$PATH sbatch --parsable --array="$1" --chdir="$dir" --output="$dir/task-%a.log" "$sample"
}
job=$(submit 1-4)
published() { # at least this many emails of organization n
  [ "$(sql "SELECT count(*) FROM telemetron.lookups
      WHERE organization_id = 'org_sandbox_$1' AND outcome IS NOT NULL")" -ge "$2" ]
}
for n in 1 2 3 4; do until_true "organization $n is published" 60 published "$n" 20; done

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
victim=$(sync_of 1)
step "the sync of organization 1 is killed"
kill -KILL "$victim"

node=$(squeue -h -r -j "${job}_2" -o %N)
step "node $node, where organization 2 is, is lost; its tasks keep running"
lost=$(sync_of 2)
kill -KILL "$(cat "$dir/run/$node")"
rm "$dir/run/$node"
kill -0 "$lost"

step 'the controller is restarted'
controller_id=$(cat "$dir/slurmctld.pid")
kill -TERM "$controller_id"
until_true 'the controller ends' 30 bash -c "! kill -0 $controller_id"
controller

fenced() { ! kill -0 "$lost"; }
taken() { [ "$(sql "SELECT epoch FROM telemetron.publications WHERE organization_id = 'org_sandbox_2'")" -ge 2 ]; }
until_true 'another node takes organization 2 over' 120 taken
step 'another node has taken organization 2 over'
until_true 'the lost node is fenced off' 60 fenced
grep -q 'another store took organization org_sandbox_2 over' "$dir/task-2.log"
[ "$(sql "SELECT count(*) FROM telemetron.lookups WHERE organization_id = 'org_sandbox_2' AND outcome IS NULL")" -gt 0 ]
step 'the lost node was fenced off before its run was over'

done_all() { [ "$(sql 'SELECT count(*) FROM telemetron.lookups WHERE outcome IS NOT NULL')" = $((4 * customers)) ] && [ -z "$(squeue -h -r -j "$job" -t PENDING,RUNNING -o %i)" ]; }
until_true 'every organization is done' 150 done_all
step 'every organization is done'

step 'PostgreSQL holds what the API has'
API=http://127.0.0.1:$truth/api/ext-v1 URL=$url CUSTOMERS=$customers python3 tests/fleet/truth.py
check=$(submit 0)
until_true 'the final job is done' 30 grep -q 'Every organization is published' "$dir/task-0.log"
echo "final job $check: $(cat "$dir/task-0.log")"
step 'done'
