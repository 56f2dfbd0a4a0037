#!/usr/bin/env bash
# Installs the package on a bare Debian in a container that boots systemd, schedules it, watches it run
# against the sandbox, upgrades, removes and purges it, and prints each command with its output. Checks what it
# prints. Needs root, debootstrap, systemd-nspawn, and the network for Debian's packages.
# usage: packaging/bare-machine.sh PACKAGE.deb FOLDER      FOLDER gets the bare Debian, once
set -euo pipefail
package=$(realpath "$1") folder=$2
name=$(basename "$package")
release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)

[ -d "$folder/root" ] || debootstrap --variant=minbase \
  --include=systemd,systemd-sysv,dbus,cron,ca-certificates,curl,prometheus-node-exporter \
  "$release" "$folder" http://deb.debian.org/debian >"$folder.log"
cp "$package" "$folder/root/"
# The same package as a newer version.
unpacked=$(mktemp -d)
dpkg-deb --raw-extract "$package" "$unpacked"
sed -i 's/^Version: .*/&+next/' "$unpacked/DEBIAN/control"
dpkg-deb --root-owner-group --build "$unpacked" "$folder/root/next.deb" >/dev/null
rm -r "$unpacked"

# What happens in the container stays in its memory.
env SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet --directory="$folder" --boot \
  --volatile=overlay --machine=bare --register=no --keep-unit >"$folder.boot.log" 2>&1 &
nspawn=$!
trap 'kill -TERM "$nspawn" 2>/dev/null; wait "$nspawn" || true' EXIT
leader() { pgrep --parent "$nspawn" --oldest; }
inside() {
  nsenter --target "$(leader)" --all env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
    LANG=C.UTF-8 TERM=dumb DEBIAN_FRONTEND=noninteractive bash -c "cd /root; $1" 2>&1
}
for _ in $(seq 60); do
  [ "$(inside 'systemctl is-system-running' || true)" != running ] || break
  sleep 1
done

failed=0
# run COMMAND [EXPECTED]: prints both the command and its output, which must hold the expected text.
run() {
  local output
  printf '# %s\n' "$1"
  output=$(inside "$1" | sed '/^(Reading database/d; /^debconf: delaying/d; s/\r//g' || true)
  [ -z "$output" ] || printf '%s\n' "$output"
  case $output in
    *"${2:-}"*) ;;
    *) failed=1; printf 'FAILED: the output lacks: %s\n' "$2" ;;
  esac
}
as_sync="runuser -u telemetron-sync -- sh -c"

# A sandbox as a process of its own takes the place of the API.
run "apt-get install -qq ./$name" 'Creating user'
run 'systemd-run --quiet --unit=sandbox telemetron-sync sandbox'
run "sed -i '\$a TELEMETRON_API_URL=http://127.0.0.1:8080/api/ext-v1' /etc/telemetron-sync/settings.env"
run 'echo sandbox | install -m 600 -o telemetron-sync -g telemetron-sync /dev/stdin /etc/telemetron-sync/api-key'
run 'install -m 640 -g telemetron-sync /usr/share/doc/telemetron-sync/examples/customers.csv /var/lib/telemetron-sync/'
run "$as_sync 'set -a; . /etc/telemetron-sync/settings.env; telemetron-sync doctor /var/lib/telemetron-sync/customers.csv'" 'accepts the key'
run 'systemctl enable --now telemetron-sync.timer'
run 'systemctl list-timers telemetron-sync.timer --no-pager' telemetron-sync.service
run 'systemctl start telemetron-sync.service'
run 'journalctl -u telemetron-sync -o cat --no-pager' Finished
run "$as_sync 'telemetron-sync runs --store /var/lib/telemetron-sync/telemetron.db'" complete
run 'ls -l /var/lib/telemetron-sync' last-run.html
run 'usermod --append --groups telemetron-sync prometheus'
run 'ln -s /var/lib/telemetron-sync/metrics/telemetron-sync.prom /var/lib/prometheus/node-exporter/'
run 'systemctl restart prometheus-node-exporter; sleep 2'
run 'curl -s localhost:9100/metrics | grep ^telemetron_sync_exit_code' '} 0'

# An upgrade leaves a run alone.
run 'sed -i s/^TELEMETRON_MAX_AGE/#\&/ /etc/telemetron-sync/settings.env'
run 'systemctl start --no-block telemetron-sync; sleep 2; systemctl is-active telemetron-sync' activating
run 'apt-get install -qq ./next.deb' 'over (0.1'
run 'systemctl is-active telemetron-sync telemetron-sync.timer' active
run 'while systemctl is-active -q telemetron-sync || [ "$(systemctl is-active telemetron-sync)" = activating ]; do sleep 1; done'
run 'journalctl -u telemetron-sync -o cat -n 1 --no-pager' Finished

# cron in the timer's place.
run 'systemctl disable --now telemetron-sync.timer'
run 'cp /usr/share/doc/telemetron-sync/examples/telemetron-sync.cron /etc/cron.d/telemetron-sync'
run "sed -i 's/^7 /* /' /etc/cron.d/telemetron-sync; sleep 100"
run "$as_sync 'telemetron-sync runs --limit 1 --store /var/lib/telemetron-sync/telemetron.db'" complete
run 'rm /etc/cron.d/telemetron-sync; systemctl enable --now telemetron-sync.timer'

run 'apt-get remove -qq telemetron-sync'
run 'systemctl list-timers --no-pager | grep -c telemetron-sync' 0
run 'apt-get purge -qq telemetron-sync' 'hold personal data'
run 'ls /etc/telemetron-sync' 'No such file'
run 'ls /var/lib/telemetron-sync/telemetron.db' telemetron.db
run 'systemctl --failed --no-legend --no-pager'
exit "$failed"
