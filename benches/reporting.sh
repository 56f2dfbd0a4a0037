#!/usr/bin/env bash
# Makes a store with weeks of history, and times every question of docs/REPORTING.md on it.
#
# Usage: benches/reporting.sh STORE [CUSTOMERS [WEEKS]]   make it; 200,000 customers, nine weeks
#        benches/reporting.sh --time STORE [SQLITE...]    time the questions
#
# The program itself does the work: one run a week against the next revision of the sandbox, in which
# one customer in twenty changes, moves, is gone or is back, and one lookup in a hundred fails for good.
# The first list lacks a tenth of the customers, who join bit by bit. Only the times are made up: the
# runs follow each other at once, and afterwards SQL moves the times of each run to its own Monday.
#
# Times are seconds of CPU, the least of three, so that other work on the machine does not count.
# Each SQLITE is a program that takes a file and SQL, as sqlite3 does. PROGRAM is the program to use.
set -euo pipefail
cd "$(dirname "$0")/.."

times() {
  local store=$1
  shift
  [ $# -gt 0 ] || set -- sqlite3
  # What the questions are asked about.
  local sql="select 'device', max(device_id) from device_assignments where unassigned_at is not null
    union all select 'customer', customer_id from changes where id = (select max(id) from changes)
    union all select 'value', 'pro'
    union all select 'last_seen', max(id) - 5000 from changes
    union all select 'time', started_at from runs where id = (select max(id) - 1 from runs)
    union all select 'from', started_at from runs where id = (select max(id) - 2 from runs)
    union all select 'to', started_at from runs where id = (select max(id) - 1 from runs)"
  python3 - "$store" "$sql" "$@" <<'PY'
import re, resource, sqlite3, subprocess, sys
store, values, programs = sys.argv[1], sys.argv[2], sys.argv[3:]
values = dict(sqlite3.connect(f"file:{store}?mode=ro", uri=True).execute(values))
text = open("docs/REPORTING.md").read()
questions = re.findall(r"^### (\d+)\. (.*?)$.*?```sql\n(.*?)```", text, re.S | re.M)
print("question".ljust(70), *(name.rsplit("/", 1)[-1].rjust(14) for name in programs))
slow = 0

def used():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime

for number, title, sql in questions:
    def value(match):
        found = values[match[1]]
        return str(found) if isinstance(found, int) else "'" + found + "'"
    sql = re.sub(r"(?<!:):([a-z_]+)", value, sql)
    best = []
    for program in programs:
        took = []
        for _ in range(3):
            before = used()
            subprocess.run([program, store, sql], check=True, stdout=subprocess.DEVNULL)
            took.append(used() - before)
        best.append(min(took))
    slow += max(best) >= 1
    print(f"{number:>2}. {title}".ljust(70), *(f"{seconds:12.3f} s" for seconds in best))
print("none takes a second" if not slow else f"{slow} take a second or more")
sys.exit(slow > 0)
PY
}

if [ "${1:-}" = --time ]; then
  shift
  times "$@"
  exit
fi

store=${1:?which store?} customers=${2:-200000} weeks=${3:-9}
[ ! -e "$store" ] || { echo "$store exists"; exit 1; }
program=${PROGRAM:-target/release/telemetron-sync}
[ -x "$program" ] || cargo build --release --quiet
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

for ((week = 0; week < weeks; week++)); do
  # Nine in ten from the start, all of them from the fifth week on.
  listed=$((customers * (90 + (week < 5 ? week * 5 / 2 : 10)) / 100))
  { echo email; seq -f 'user%.0f@example.com' "$listed"; } >"$folder/customers.csv"
  exit=0
  "$program" sync "$folder/customers.csv" --store "$store" --sandbox --revision "$week" \
    --latency 0ms --jitter 0ms --permanent-fault 403=0.5% --permanent-fault truncated=0.5% \
    --max-attempts 2 --fixed-concurrency --quiet --progress none >"$folder/out" 2>&1 || exit=$?
  # 3: some emails failed, as they should.
  [ "$exit" = 0 ] || [ "$exit" = 3 ] || { cat "$folder/out" >&2; exit "$exit"; }
  echo "week $((week + 1)) of $weeks: $listed emails, $SECONDS s"
done

# The newest run stays where it is, the one before moves back by a week, and so on.
{
  echo "begin; create temp table eras as
    select started_at as begins, lead(started_at, 1, 'none') over (order by id) as ends,
      '-' || (7 * (max(id) over () - id)) || ' days' as back
    from runs;"
  sqlite3 "$store" "select 'update ' || m.name || ' set ' || group_concat(c.name || ' = case when '
      || c.name || ' is null then null else (select strftime(''%Y-%m-%dT%H:%M:%fZ'', ' || c.name
      || ', back) from eras where ' || c.name || ' >= begins and ' || c.name || ' < ends) end') || ';'
    from sqlite_schema as m join pragma_table_info(m.name) as c
    where m.type = 'table' and m.name like '\\_%' escape '\\' and m.name not in ('_store', '_learned_limits')
      and (c.type = 'TIMESTAMP' or c.name like '%\\_listed\\_at' escape '\\') group by m.name"
  echo 'analyze; commit;'
} >"$folder/move.sql"
sqlite3 -bail "$store" <"$folder/move.sql"
sqlite3 -box "$store" "select count(*) as customers, count(missing_since) as missing,
    (select count(*) from device_assignments) as device_intervals,
    (select count(*) from orders) as order_intervals, (select count(*) from changes) as changes,
    (select page_count * page_size / 1000000 from pragma_page_count, pragma_page_size) as megabytes
  from customers"
echo "made in $SECONDS s"
