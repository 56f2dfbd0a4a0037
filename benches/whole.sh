#!/usr/bin/env bash
# Times whole runs against the sandbox: emails that are new, and the same again, unchanged.
# Usage: benches/whole.sh [EMAILS] [LATENCY] [CONCURRENCY]; needs /usr/bin/time (Debian: time).
# The sandbox runs on the same machine and takes about 7 µs of CPU an email.
set -euo pipefail
emails=${1:-100000} latency=${2:-0ms} concurrency=${3:-64}
cd "$(dirname "$0")/.."
cargo build --release --quiet
program=$PWD/target/release/telemetron-sync
folder=$(mktemp -d)
"$program" sandbox --latency "$latency" --jitter 0ms --listen 127.0.0.1:0 >"$folder/sandbox" &
sandbox=$!
trap 'kill $sandbox; rm -rf "$folder"' EXIT
until grep -q http "$folder/sandbox"; do sleep 0.1; done
url=$(grep -o 'http://[^ ]*' "$folder/sandbox" | head -n 1)
{ echo email; seq -f 'user%.0f@example.com' "$emails"; } >"$folder/emails.csv"

export TELEMETRON_API_KEY=sandbox
printf '%-10s %10s %12s %10s\n' run emails/s 'CPU µs/email' 'peak MiB'
for run in new unchanged; do
  /usr/bin/time -o "$folder/time" -f '%e %U %S %M' "$program" sync "$folder/emails.csv" \
    --store "$folder/store.db" --api-url "$url" --concurrency "$concurrency" --quiet
  awk -v run="$run" -v n="$emails" '{
    printf "%-10s %10.0f %12.1f %10.1f\n", run, n / $1, ($2 + $3) * 1e6 / n, $4 / 1024
  }' "$folder/time"
done
