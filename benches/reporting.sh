#!/usr/bin/env bash
# Makes a store with nine weeks of history and times the questions of docs/REPORTING.md on it.
#
# Usage: benches/reporting.sh STORE [EMAILS]    makes STORE if it is not there, then times the questions
#
# 222,000 emails, the default, lead to 200,000 customers. The store is made by the program itself, with
# nine runs against the sandbox at one revision after the other over a list that grows by 1 % each
# time; in the third run some requests fail, and a few rows are no addresses. Afterwards the times of
# each run are moved into the past, one week from run to run, because nobody wants to wait.
#
# Each question is timed with the sqlite3 program and its default settings, in a process of its own
# with the file in the operating system's cache: the best of three, the start of the process included.
set -euo pipefail
cd "$(dirname "$0")/.."
store=$(realpath -m "${1:?Usage: benches/reporting.sh STORE [EMAILS]}")
emails=${2:-222000}
weeks=9

program=${PROGRAM:-}
if [ -z "$program" ] && [ ! -e "$store" ]; then
  cargo build --release --quiet
  program=$(realpath "${CARGO_TARGET_DIR:-target}")/release/telemetron-sync
fi
folder=$(mktemp -d)
sandbox=
trap '[ -z "$sandbox" ] || kill "$sandbox"; rm -rf "$folder"' EXIT

# run WEEK: the list as it is in that week, looked up as the customers are then.
run() {
  local list=$folder/customers.csv faults=()
  {
    echo email
    # One in ten shares a household with another, which is how devices come to be shared.
    seq -f 'user%.0f@example.com' $((emails * (100 + $1) / 110))
    printf '%s\n' 'nobody' 'two@at@example.com' ''
  } >"$list"
  [ "$1" != 3 ] || faults=(--fail-rate 0.2% --permanent-fault 403=0.1% --permanent-fault not-json=0.1%)
  "$program" sandbox --latency 0ms --jitter 0ms --revision "$1" --listen 127.0.0.1:0 \
    ${faults[@]+"${faults[@]}"} >"$folder/log" &
  sandbox=$!
  until grep -qs http "$folder/log"; do sleep 0.1; done
  local exit=0
  TELEMETRON_API_KEY=sandbox "$program" sync "$list" --store "$store" --quiet --progress none \
    --concurrency 64 --api-url "$(grep -o 'http://[^ ]*' "$folder/log" | head -n 1)" || exit=$?
  # 2: some emails failed for good.
  [ "$exit" = 0 ] || [ "$exit" = 2 ] || return "$exit"
  kill "$sandbox"
  wait "$sandbox" || true
  sandbox=
}

# The oldest run first, so that what was moved never comes to lie among what was not.
move_into_the_past() {
  local columns='_runs.started_at _runs.finished_at _run_series.at _customers.first_seen_at
    _customers.changed_at _customers.synced_at _customers.missing_since
    _customers.devices_listed_at _customers.orders_listed_at _device_intervals.assigned_after
    _device_intervals.assigned_at _device_intervals.unassigned_at _order_intervals.seen_after
    _order_intervals.first_seen_at _order_intervals.removed_at _emails.looked_up_at
    _emails.answered_at _changes.at'
  local starts ends
  mapfile -t starts < <(sqlite3 "$store" 'select started_at from _runs order by id')
  {
    echo 'begin;'
    for week in $(seq 0 $((weeks - 2))); do
      ends=${starts[week + 1]}
      for column in $columns; do
        echo "update ${column%.*} set ${column#*.} =
                strftime('%Y-%m-%dT%H:%M:%fZ', ${column#*.}, '-$(((weeks - 1 - week) * 7)) days')
              where ${column#*.} >= '${starts[week]}' and ${column#*.} < '$ends';"
      done
    done
    echo 'commit;'
  } | sqlite3 "$store"
}

if [ ! -e "$store" ]; then
  for week in $(seq 1 $weeks); do run "$week"; done
  move_into_the_past
fi

sqlite3 "$store" "select printf('%,d customers, %,d device intervals, %,d order intervals, %,d changes',
  (select count(*) from customers), (select count(*) from device_assignments),
  (select count(*) from orders), (select count(*) from changes))"
grep -m 1 'model name' /proc/cpuinfo | sed 's/.*: //' || true
echo "$(nproc) cores, $(uname -sr), load $(cut -d ' ' -f 1 /proc/loadavg), SQLite $(sqlite3 --version | cut -d ' ' -f 1), $(du -h "$store" | cut -f 1)"
