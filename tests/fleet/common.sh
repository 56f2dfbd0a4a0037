# What the tests of a fleet have in common: a folder, processes that end with the test, PostgreSQL, the sandbox.
# Sourced from the folder of the project; `program` is set.
dir=$(mktemp -d)
chmod 755 "$dir"
mkdir "$dir"/{bin,db,local,run}
ln -s "$program" "$dir/bin/telemetron-sync"

# Everything that was started, by id; run/ holds the ids of processes that left their session.
started=()
cleanup() {
  local code=$?
  [ "$code" = 0 ] || tail -n 20 "$dir"/*.log 2>/dev/null || true
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

# Sets `url`.
start_postgres() {
  local bin db as_postgres
  bin=$(dirname "$(ls /usr/lib/postgresql/*/bin/postgres | tail -n 1)")
  db=$(port)
  as_postgres=(setpriv --reuid postgres --regid postgres --clear-groups)
  chown postgres "$dir/db"
  (cd "$dir/db" && "${as_postgres[@]}" "$bin/initdb" -D "$dir/db" -U postgres --auth=trust --no-sync >/dev/null)
  background postgres "${as_postgres[@]}" \
    "$bin/postgres" -D "$dir/db" -p "$db" -k "$dir/db" -c listen_addresses=127.0.0.1 -c fsync=off
  url=postgres://postgres@127.0.0.1:$db/postgres
  until_true 'PostgreSQL starts' 30 sql 'SELECT 1'
}
sql() { psql -X -A -t -v ON_ERROR_STOP=1 "${2:-$url}" -c "$1"; }
of() { sql "SELECT $1 WHERE organization_id = 'org_sandbox_$2' ${3:-}"; } # select, organization, and …
published() { # at least this many emails of organization n
  [ "$(of 'count(*) FROM telemetron.lookups' "$1" 'AND outcome IS NOT NULL')" -ge "$2" ]
}

# Starts the sandbox with four organizations and sets `api`.
sandbox() { # name, option…
  local name=$1 port; shift
  port=$(port)
  background "$name" "$program" sandbox --listen "127.0.0.1:$port" --organizations 4 --latency 5ms --jitter 5ms "$@"
  until_true "the sandbox starts: $name" 30 grep -q org_sandbox_4 "$dir/$name.log"
  api=http://127.0.0.1:$port/api/ext-v1
}
# A source in which some customers have a second address.
list() { # people
  echo email
  for n in $(seq "$1"); do
    echo "person$n@example.com"
    [ $((n % 10)) != 0 ] || echo "person$n+shop@example.com"
  done
}
keys() {
  for n in 1 2 3 4; do
    install -m 600 /dev/null "$dir/key$n"
    echo "sandbox-$n" >"$dir/key$n"
  done
}
# At `rate` requests per second each.
fleet() { # API, list of organization 1, of organization 2, …
  local api=$1 n=0; shift
  echo name,source,store,api_url,key_file,rate
  for list; do
    n=$((n + 1))
    echo "org_sandbox_$n,$dir/$list,$dir/local/$n.db,$api,$dir/key$n,$rate/s"
  done
}
