#!/usr/bin/env bash
# Checks what the program says and does with tools that share no code with it, and prints the figures of
# docs/RELIABILITY.md. Needs Python 3.10, npm, Java and promtool; installs
# Prism and the W3C's validator of HTML (npm) and DuckDB (PyPI) into target/independent.
#
# Usage: tests/independent/independent.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
tools=$target/independent
mkdir -p "$tools"
[ -x "$tools/python/bin/python" ] || python3 -m venv "$tools/python"
"$tools/python/bin/pip" install --quiet 'duckdb==2.0.1' 'openapi-spec-validator==0.9.0'
[ -d "$tools/node_modules/vnu-jar" ] ||
  npm install --silent --no-audit --no-fund --prefix "$tools" '@stoplight/prism-cli@5.16.0' 'vnu-jar@26.9.27'
cargo build --locked --quiet
program=$target/debug/telemetron-sync

"$tools/python/bin/python" -m openapi_spec_validator docs/openapi.yaml
"$tools/python/bin/python" tests/independent/prism.py "$program" "$tools/node_modules/.bin/prism"
"$tools/python/bin/python" tests/independent/dialects.py "$program"

# The reports of a run with failures and of one with rows that would be markup.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
{ echo email; echo '<script>alert(1)</script>'; echo '"&amp;"'; seq -f 'user%.0f@example.com' 2000; } >"$folder/list.csv"
for faults in '--permanent-fault 500=2% --fault 503=3%' '--outage 500+2s --rate-limit 500/s'; do
  # shellcheck disable=SC2086
  "$program" sync "$folder/list.csv" --sandbox --store "$folder/s.db" --latency 5ms $faults --quiet \
    --report "$folder/r.html" --report "$folder/r.prom" || [ $? = 3 ]
  java -jar "$tools/node_modules/vnu-jar/build/dist/vnu.jar" --also-check-css "$folder/r.html"
  promtool check metrics <"$folder/r.prom"
done
echo 'figure: 2 HTML reports and 2 sets of metrics: the validators say nothing'

# The csv crate and Python's csv module on random files; promtool on the alerts.
cargo test --locked --quiet --test it -- csv_differential:: alerts::
