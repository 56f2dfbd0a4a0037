#!/usr/bin/env bash
# A fleet of three organizations in a real Airflow: its tasks are run by LocalExecutor. One sync is killed, and the
# process of another task; Airflow tries both again. At the end, all that is published is what the API has, and no
# change is there twice. Usage, as root: tests/fleet/airflow.sh [PROGRAM]
#
# Airflow is installed from PyPI into target/airflow, unless it is there. Its constraints are not on PyPI, so pip
# chooses the versions of what it needs.
set -euo pipefail
cd "$(dirname "$0")/../.."
program=$(realpath "${1:-target/debug/telemetron-sync}")
airflow=$PWD/target/airflow/bin
version=3.3.2
. tests/fleet/common.sh

[ "$("$airflow/airflow" version 2>/dev/null)" = "$version" ] || {
  step "Airflow $version is installed"
  python3 -m venv target/airflow
  "$airflow/pip" install --quiet "apache-airflow[postgres]==$version"
}

step 'PostgreSQL'
start_postgres
sql 'CREATE DATABASE airflow' >/dev/null
meta=${url%/*}/airflow

step 'the API: four organizations, three of which are in the fleet'
rate=18
sandbox before --rate-limit 25/s; before=$api
sandbox truth; truth=$api
list 700 >"$dir/list.csv"
keys
fleet "$before" list.csv list.csv list.csv >"$dir/fleet.csv"

step 'Airflow'
listen=$(port)
mkdir -p "$dir/airflow/dags"
cp samples/airflow/telemetron_dag.py "$dir/airflow/dags"
export AIRFLOW_HOME=$dir/airflow PATH=$dir/bin:$airflow:$PATH
export AIRFLOW__CORE__EXECUTOR=LocalExecutor AIRFLOW__CORE__LOAD_EXAMPLES=False AIRFLOW__CORE__PARALLELISM=4
export AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS=True
export AIRFLOW__CORE__EXECUTION_API_SERVER_URL=http://127.0.0.1:$listen/execution/
export AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=${meta/postgres:/postgresql+psycopg2:}
AIRFLOW__API_AUTH__JWT_SECRET=$(head -c 48 /dev/urandom | base64 -w 0)
export AIRFLOW__API_AUTH__JWT_SECRET
# What the tasks see, as their workers' administrator sets it.
export FLEET=$dir/fleet.csv FLEET_TEST=$dir TELEMETRON_PUBLISH=$url
airflow db migrate >"$dir/migrate.log" 2>&1
for n in 1 2 3; do airflow pools set "org_sandbox_$n" 1 "the key of org_sandbox_$n" >/dev/null 2>&1; done
background api-server airflow api-server --host 127.0.0.1 --port "$listen" --workers 1
background scheduler airflow scheduler
background dag-processor airflow dag-processor
until_true 'Airflow answers' 300 python3 -c \
  "import urllib.request; urllib.request.urlopen('http://127.0.0.1:$listen/api/v2/monitor/health')"
known() { [ "$(sql "SELECT count(*) FROM serialized_dag WHERE dag_id = 'telemetron_fleet'" "$meta")" -ge 1 ]; }
until_true 'the DAG is known' 300 known

step 'the fleet'
# Airflow starts the run of the last full hour by itself.
airflow dags unpause telemetron_fleet >/dev/null 2>&1
first_run() { run=$(sql 'SELECT run_id FROM dag_run ORDER BY id LIMIT 1' "$meta"); [ -n "$run" ]; }
until_true 'the DAG runs' 120 first_run
for n in 1 2 3; do until_true "organization $n is published" 180 published "$n" 20; done

sync_of() { # the id of the sync process of an organization
  for cmdline in /proc/[0-9]*/cmdline; do
    id=${cmdline#/proc/} id=${id%/cmdline}
    if grep -qzFx "$dir/local/$1.db" "$cmdline" && grep -qzFx "FLEET_TEST=$dir" "/proc/$id/environ"; then
      echo "$id"; return 0
    fi
  done 2>/dev/null
  return 1
}
step 'the sync of organization 1 is killed'
kill -KILL "$(sync_of 1)"
task=$(sed -n 's/^PPid:\t//p' "/proc/$(sync_of 2)/status")
step "the process of organization 2's task is killed; its sync keeps running"
kill -KILL "$task"

tasks() { sql "SELECT task_id, state, try_number FROM task_instance WHERE run_id = '$run' ORDER BY 1" "$meta"; }
tried_again() { tasks | grep -q "sync_org_sandbox_$1|[a-z_]*|[2-9]"; }
for n in 1 2; do until_true "the task of organization $n is tried again" 240 tried_again "$n"; done
step 'both tasks are tried again'
is_over() { sql "SELECT state FROM dag_run WHERE run_id = '$run'" "$meta" | grep -qx "success\|failed"; }
until_true 'the run of the DAG is over' 600 is_over
step 'the run of the DAG is over: task, state, tries'
tasks
wrong() { # what
  echo "$1"
  find "$AIRFLOW_HOME/logs" -path '*task_id=*' -name '*.log' -exec tail -n 30 {} +
  exit 1
}
[ "$(tasks | grep -c '|success|')" = 3 ] || wrong 'not every task succeeded'
tasks | grep -qx 'sync_org_sandbox_3|success|1' || wrong 'a task that nobody killed was tried again'
for n in 1 2 3; do
  python3 tests/fleet/truth.py "$url" "org_sandbox_$n" "sandbox-$n" "$truth" "$dir/list.csv"
done
step 'done'
