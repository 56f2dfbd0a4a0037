#!/usr/bin/env bash
# Reruns the tests behind docs/RELIABILITY.md with large numbers and prints the figures of its
# table. Takes about an hour on two cores, half of it for the days. SEED=n tries other instants, schedules and inputs.
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# try NAME=VALUE... -- FILTER...: the tests of the target $of that match, whose figures are printed.
of=(--test it)
try() {
  local settings=(RUST_BACKTRACE=0)
  while [ "$1" != -- ]; do settings+=("$1"); shift; done
  shift
  local began=$SECONDS
  if ! env "${settings[@]}" cargo test --locked "${of[@]}" "$@" -- --nocapture >"$log" 2>&1; then
    tail -n 60 "$log"
    echo "failed: ${settings[*]} cargo test ${of[*]} $*"
    exit 1
  fi
  grep -o 'figure: .*' "$log" || true
  grep -o 'skipped: .*' "$log" || true
  grep -Eo '[0-9]+ passed' "$log" | sed "s|^|$*: |; s|\$| in $((SECONDS - began)) s|"
}

# Built once, so that it does not count.
cargo test --locked --lib --test it --test integrity --no-run --quiet

try KILLS="${KILLS:-1000}" -- kills::
of=(--test integrity)
try POWER_CUTS="${POWER_CUTS:-100000}" -- power::
try HISTORIES="${HISTORIES:-10000}" -- model::
of=(--lib)
try NIGHTS="${NIGHTS:-200}" -- hourly_job::after_a_night
try DAYS="${DAYS:-100}" EMAILS="${EMAILS:-10000}" -- hourly_job::after_each_hour
of=(--test it)
try SCHEDULES="${SCHEDULES:-500}" -- schedules::
try FUZZ="${FUZZ:-1000000}" -- fuzz::answers
try FUZZ="${FUZZ:-1000000}" -- fuzz::waits
try FUZZ="$((${FUZZ:-1000000} / 5))" -- fuzz::lists
for promise in disk:: hostile:: key_secrecy:: plan:: signals:: bad_input:: wrong_key:: doubts:: refused_key:: \
  on_the_wire:: pace:: answers::; do
  try -- "$promise"
done
echo "all hold, on $(nproc) cores, with $(cargo --version)"
