#!/usr/bin/env bash
# Measures whole runs against the sandbox, beside a writer of the same rows that uses SQLite alone.
#
# Usage: benches/whole.sh           the short table, about three minutes
#        benches/whole.sh --full    everything, about ten minutes and 2 GB of disk
#        benches/whole.sh EMAILS [LATENCY [IN_FLIGHT]]    one part, such as 30000 50ms 64
#
# Needs /usr/bin/time (Debian: time). If wrk is installed (Debian: wrk), the first line says how many
# requests per second the sandbox alone can answer. CPU and memory are those of the program, client
# and store together; the sandbox, which runs beside it, is not counted. "Little" is the share of the
# most that any program can reach, (in flight / latency). "of raw" is the share of the raw writer's
# emails per second, measured right after the first run (benches/raw.rs explains its passes). The
# number of emails is chosen so that a run takes some seconds.
set -euo pipefail
cd "$(dirname "$0")/.."

full=false seconds=5 many=1000000
if [ "${1:-}" = --full ]; then
  full=true seconds=20 many=5000000
  shift
fi

raw=$(cargo bench --bench raw --no-run 2>&1 | tee /dev/stderr | grep -o '[^( ]*raw-[0-9a-f]*' | tail -n 1)
cargo build --release --quiet
program=$(realpath "${CARGO_TARGET_DIR:-target}")/release/telemetron-sync
folder=$(mktemp -d)
declare -A urls=()
sandboxes=()
trap '[ ${#sandboxes[@]} = 0 ] || kill "${sandboxes[@]}"; rm -rf "$folder"' EXIT
export TELEMETRON_API_KEY=sandbox

# serve LATENCY_MS REVISION: sets $url to that of a sandbox that behaves so.
serve() {
  local log=$folder/sandbox-$1-$2
  if [ -z "${urls[$1-$2]:-}" ]; then
    "$program" sandbox --latency "$1ms" --jitter 0ms --revision "$2" --listen 127.0.0.1:0 >"$log" &
    sandboxes+=($!)
    until grep -qs http "$log"; do sleep 0.1; done
    urls[$1-$2]=$(grep -o 'http://[^ ]*' "$log" | head -n 1)
  fi
  url=${urls[$1-$2]}
}

# list EMAILS: sets $list to a file of that many.
list() {
  list=$folder/$1.csv
  [ -e "$list" ] || { echo email; seq -f 'user%.0f@example.com' "$1"; } >"$list"
}

# timed COMMAND...: writes seconds, user and system time and peak KiB to $folder/time. Exit 4 says
# that --limit was reached.
timed() {
  local exit=0
  /usr/bin/time -o "$folder/time" -f '%e %U %S %M' "$@" >"$folder/out" 2>&1 || exit=$?
  [ "$exit" = 0 ] || [ "$exit" = 4 ] || { cat "$folder/out" >&2; return "$exit"; }
}

columns='%-16s %9s %8s %9s %10s %7s %9s %9s %7s\n'
head_line() {
  # shellcheck disable=SC2059
  printf "$columns" run emails 'ms' 'in flight' emails/s Little 'CPU µs' 'peak MiB' 'of raw'
}

# line RUN EMAILS LATENCY_MS IN_FLIGHT [RAW]: prints what `timed` measured.
line() {
  tail -n 1 "$folder/time" | awk -v run="$1" -v n="$2" -v ms="$3" -v c="$4" -v raw="${5:-0}" '{
    rate = n / $1
    little = ms > 0 ? sprintf("%.2f", rate * ms / 1000 / c) : "-"
    share = raw > 0 ? sprintf("%.2f", rate / raw) : "-"
    cpu = sprintf("%.0f", ($2 + $3) * 1e6 / n)
    printf "%-16s %9d %8d %9d %10.0f %7s %8s %9.1f %7s\n", \
      run, n, ms, c, rate, little, cpu, $4 / 1024, share
  }'
}

# look RUN EMAILS LATENCY_MS IN_FLIGHT REVISION: a run over the list, into $store.
look() {
  list "$2"
  serve "$3" "$5"
  timed "$program" sync "$list" --store "$store" --api-url "$url" --concurrency "$4" --quiet \
    --progress none
}

# runs EMAILS LATENCY_MS IN_FLIGHT: new customers, the same again, and about 10 % changed.
runs() {
  local raw_new=0 raw_unchanged=0
  store=$folder/store.db
  look new "$@" 0
  cp "$folder/time" "$folder/time-new"
  if [ "$2" = 0 ]; then
    "$raw" "$store" >"$folder/raw"
    raw_new=$(awk '$1 == "new" { print $2 }' "$folder/raw")
    raw_unchanged=$(awk '$1 == "unchanged" { print $2 }' "$folder/raw")
  fi
  cp "$folder/time-new" "$folder/time"
  line new "$@" "$raw_new"
  look unchanged "$@" 0
  line unchanged "$@" "$raw_unchanged"
  look changed "$@" 2
  line '10 % changed' "$@"
  [ "$2" != 0 ] || awk -v n="$1" 'NR > 1 {
    printf "%-16s %9d %8s %9s %10d %7s %8.0f\n", "raw, " $1, n, "", "", $2, "", $3
  }' "$folder/raw"
  rm -f "$store"*
}

# in_time EMAILS LATENCY_MS IN_FLIGHT: no more emails than go through in $seconds.
in_time() {
  local most=$((seconds * $3 * 1000 / $2))
  echo $(($1 < most ? $1 : most))
}

# told WHAT [EMAILS]: prints what `timed` measured of something that is no run.
told() {
  tail -n 1 "$folder/time" | awk -v what="$1" -v n="${2:-0}" '{
    rate = n > 0 ? sprintf("%.0f", n / $1) : "-"
    printf "%-50s %9.2f s %10s /s %8.1f MiB\n", what, $1, rate, $4 / 1024
  }'
}

plans() {
  list 1000000
  store=$folder/plans.db
  timed "$program" sync "$list" --dry-run --store "$store" --quiet
  told 'plan 1,000,000 rows, all new (--dry-run)' 1000000
  serve 0 0
  timed "$program" sync "$list" --limit 1 --store "$store" --api-url "$url" --quiet
  told 'plan 1,000,000 rows and look up one (--limit 1)' 1000000
  timed "$program" sync "$list" --dry-run --store "$store" --quiet
  told 'plan 1,000,000 rows, all known (--dry-run)' 1000000
  [ "$many" != 1000000 ] || many_lookups
  rm -f "$store"*
  if $full; then
    list "$many"
    timed "$program" sync "$list" --dry-run --store "$store" --quiet
    told "plan $many rows, all new (--dry-run)" "$many"
    timed "$program" sync "$list" --limit 20000 --store "$store" --api-url "$url" --quiet
    told "plan $many rows and look up 20,000 (--limit)"
    many_lookups
    rm -f "$store"*
  fi
}

# Opening a store that knows $many emails.
many_lookups() {
  timed "$program" report --store "$store"
  told "report, in a store of $many lookups"
  timed "$program" sync --resume --limit 1 --store "$store" --api-url "$url" --quiet
  told "sync --resume --limit 1, in a store of $many lookups"
}

# How fast the sandbox is by itself.
sandbox_alone() {
  command -v wrk >/dev/null || return 0
  serve 0 0
  cat >"$folder/lookups.lua" <<'LUA'
local n = 0
request = function()
  n = n + 1
  local headers = { ["x-api-key"] = "sandbox", ["content-type"] = "application/json" }
  local body = '{"email":"user' .. n .. '@example.com"}'
  return wrk.format("POST", wrk.path, headers, body)
end
LUA
  wrk -t 1 -c 64 -d 3s -s "$folder/lookups.lua" "$url/customer/queryCustomer" \
    | awk '/Requests\/sec/ { printf "the sandbox alone: %d answers a second\n", $2 }'
}

help_time() {
  local began=$EPOCHREALTIME
  for _ in {1..20}; do "$program" --help >/dev/null; done
  awk -v began="$began" -v ended="$EPOCHREALTIME" 'BEGIN {
    printf "%-50s %9.1f ms, mean of 20\n", "--help", (ended - began) * 1000 / 20
  }'
}

grep -m 1 'model name' /proc/cpuinfo | sed 's/.*: //' || true
echo "$(nproc) cores, $(uname -sr), load $(cut -d ' ' -f 1 /proc/loadavg), $(git describe --always --dirty)"
sandbox_alone
echo
head_line
if [ $# -gt 0 ]; then
  latency=${2:-0}
  runs "$1" "${latency%ms}" "${3:-64}"
  exit
fi
if $full; then
  for in_flight in 16 64 256; do runs 100000 0 $in_flight; done
else
  runs 100000 0 64
fi
for latency in 20 50; do
  for in_flight in 16 64 256; do
    emails=$(in_time 100000 $latency $in_flight)
    if $full; then
      runs "$emails" $latency $in_flight
    else
      store=$folder/store.db
      look new "$emails" $latency $in_flight 0
      line new "$emails" $latency $in_flight
      rm -f "$store"*
    fi
  done
done
echo
plans
help_time
