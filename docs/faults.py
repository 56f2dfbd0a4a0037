#!/usr/bin/env python3
"""Injects faults into runs, one after another, and prints as a table how each shows: the exit code, the alerts (the rules,
evaluated by promtool), the ping, cron's mail and the report.

usage: docs/faults.py [--update] [TEXT…]     faults whose name contains a TEXT; all without one

--update writes the table in docs/OPERATIONS.md. Needs target/debug/telemetron-sync, promtool, openssl, faketime, and
root for a file system of its own that is full.
"""

import http.server
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target/debug/telemetron-sync"
RULES = ROOT / "samples/prometheus/alerts.yml"
DOCUMENT = ROOT / "docs/OPERATIONS.md"

# A fault follows six good hourly runs; what fires is read before the next run but one would start.
HOUR = 60
FAULT_AT = 7 * HOUR
WATCHED = 80

FAULTS = []


def fault(name):
    """Registers a function that injects a fault into a world, as one row of the table."""

    def register(function):
        FAULTS.append((name, function))
        return function

    return register


class Server:
    """An HTTP server on this machine that hands each request to `answer(handler, body)`."""

    def __init__(self, answer, certificate=None):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                answer(self, body)

            def reply(self, status, body="", **headers):
                payload = body.encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("content-length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_):
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            request_queue_size = 128

            def handle_error(self, *_):
                pass

        self.server = Quiet(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            self.url = f"https://localhost:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class World:
    """A machine on which six hourly runs went well: a list, a key, a store, a monitor, a .prom file."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.processes = []
        self.connections = []
        self.pings = []
        self.mail = ""
        self.exit = None
        self.monitor = Server(self.hear)
        self.write_list(range(40))
        self.write_key("sandbox")
        self.environment = {
            "PATH": os.environ["PATH"],
            "TELEMETRON_STORE": self.path("telemetron.db"),
            "TELEMETRON_API_KEY_FILE": self.path("api-key"),
            "TELEMETRON_API_URL": self.sandbox(),
            "TELEMETRON_PING": f"{self.monitor.url}/secret-uuid",
            # Shorter than the defaults, so that nobody waits.
            "TELEMETRON_TIMEOUT": "2s",
            "TELEMETRON_CONNECT_TIMEOUT": "2s",
            "TELEMETRON_OUTAGE_WAIT": "6s",
            "TELEMETRON_MAX_RETRY_AFTER": "5s",
        }
        self.sync()
        assert self.exit == 0 and self.mail == "", (self.exit, self.mail)
        self.before = self.read("metrics.prom")
        self.pings.clear()
        self.exit, self.mail = None, ""

    def path(self, name):
        return str(self.folder / name)

    def read(self, name):
        file = self.folder / name
        return file.read_text() if file.exists() else ""

    def write_list(self, numbers, header="email", row="person{}@example.com"):
        rows = "\n".join(row.format(number) for number in numbers)
        (self.folder / "customers.csv").write_text(f"{header}\n{rows}\n")

    def write_key(self, key):
        (self.folder / "api-key").write_text(key)
        (self.folder / "api-key").chmod(0o600)

    def hear(self, request, body):
        self.pings.append((request.path.removeprefix("/secret-uuid") or "/", body.decode()))
        request.reply(200)

    def sandbox(self, *options):
        """Starts a sandbox as a process of its own, and returns its URL."""
        latency = () if "--latency" in options else ("--latency", "1ms")
        command = [PROGRAM, "sandbox", "--listen", "127.0.0.1:0", "--jitter", "1ms", *latency, *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.processes.append(process)
        greeting = process.stdout.readline()
        return re.search(r"http://\S+", greeting).group()

    def api(self, answer, certificate=None):
        """Puts a server of our own in place of the API."""
        self.environment["TELEMETRON_API_URL"] = Server(answer, certificate).url

    def start(self, *options, prefix=()):
        reports = ["--report", self.path("last-run.json"), "--report", self.path("metrics.prom")]
        command = [*prefix, PROGRAM, "sync", self.path("customers.csv"), "--quiet", *reports, *options]
        self.began = time.time()
        process = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.processes.append(process)
        return process

    def sync(self, *options, **more):
        self.finish(self.start(*options, **more))

    def finish(self, process):
        self.mail = process.communicate(timeout=120)[0]
        # As a shell shows it: 128 and the number of the signal.
        self.exit = process.returncode if process.returncode >= 0 else 128 - process.returncode

    def slow(self):
        """An API that needs a while for the list."""
        self.environment["TELEMETRON_API_URL"] = self.sandbox("--latency", "300ms")
        return "--concurrency", "1"

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        for connection in self.connections:
            connection.close()

    # How the fault shows.

    def alerts(self):
        """The alerts that fire after the fault, with the minutes that it took."""
        series = Series(self.before)
        if not self.wrote_nothing():
            series.add(self.read("metrics.prom"), self.began)
        return ", ".join(
            f"{name} ({minutes} min)" for name, minutes in series.firing()
            # That nothing follows the fault is no part of it.
            if name != "NotStarted" or self.wrote_nothing()) or "none"

    def wrote_nothing(self):
        return self.read("metrics.prom") == self.before

    def pinged(self):
        return ", ".join(path for path, _ in self.pings) or "nothing"

    def reported(self):
        if not self.read("last-run.json"):
            return "none"
        report = json.loads(self.read("last-run.json"))
        if self.wrote_nothing():
            return "that of the run before"
        parts = [report["status"], report["stop_reason"]]
        if report["counts"]["failed"] or report["counts"]["rejected"]:
            parts.append("; ".join(
                f"{entry['count']} {entry['code']} ({entry['last_reason']})" for entry in report["failures"]))
        parts.append("; ".join(report["warnings"]))
        return ": ".join(part for part in parts if part)


class Series:
    """The metrics over time: of six good runs, and of what came after them."""

    SAMPLE = re.compile(r"^(telemetron_sync_\w+)(\{.*\}) (\S+)$", re.MULTILINE)

    def __init__(self, good):
        self.values = {}
        self.good = self.parse(good)
        self.good_start = self.time_of(self.good, "start")
        self.good_end = self.time_of(self.good, "last_run")
        for run in range(1, 7):
            self.fill(run * HOUR, lambda at, run=run: at - self.good_start + run * HOUR * 60, self.good)

    def parse(self, text):
        return {(name, labels): float(value) for name, labels, value in self.SAMPLE.findall(text)}

    def time_of(self, samples, name):
        return next(value for (metric, _), value in samples.items() if metric.endswith(f"_{name}_timestamp_seconds"))

    def add(self, text, began):
        """A file written by a run that began at `began` by this machine's clock."""

        def moved(at):
            is_earlier = abs(at - self.good_start) < 60 and at <= self.good_end + 0.001
            return at - self.good_start + 6 * HOUR * 60 if is_earlier else at - began + FAULT_AT * 60

        self.fill(FAULT_AT, moved, self.parse(text))

    def fill(self, minute, moved, samples):
        for (name, labels), value in samples.items():
            if name.endswith("_timestamp_seconds") and "oldest" not in name:
                value = moved(value)
            values = self.values.setdefault((name, labels), [])
            values += [None] * (minute - len(values))
            values.append(value)
        for key, values in self.values.items():
            # A metric that a file lacks is gone; one that it has stays until the next file.
            missing = HOUR * 7 + WATCHED + 1 - minute if minute == FAULT_AT else HOUR
            last = samples.get(key) and values[-1]
            values += [None] * (minute - len(values))
            values += [last] * (minute + missing - len(values))

    def firing(self):
        """Each alert that fires after the fault, and after how many minutes."""
        end = FAULT_AT + WATCHED
        lines = [f"rule_files: [{RULES}]", "evaluation_interval: 1m", "tests:", "- interval: 1m", "  input_series:"]
        for (name, labels), values in self.values.items():
            values += [values[-1]] * (end + 1 - len(values))
            notation = " ".join("_" if value is None else repr(value) for value in values)
            lines += [f"  - series: '{name}{labels}'", f"    values: '{notation}'"]
        # Wrong on purpose: promtool's complaint holds what is there.
        minutes = f'sum by (alertname) (count_over_time(ALERTS{{alertstate="firing"}}[{WATCHED}m]))'
        lines += ["  promql_expr_test:", f"  - expr: '{minutes}'", f"    eval_time: {end}m", "    exp_samples:",
                  "    - labels: 'nothing{}'", "      value: -1"]
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as test:
            test.write("\n".join(lines) + "\n")
            test.flush()
            said = subprocess.run(["promtool", "test", "rules", test.name], capture_output=True, text=True)
        text = said.stdout + said.stderr
        got = next((line for line in text.splitlines() if line.strip().startswith("got:")), None)
        assert got is not None, text
        found = re.findall(r'alertname="(\w+)"[^}]*\}\s+([\d.E+]+)', got)
        return [(name.removeprefix("TelemetronSync"), max(0, WATCHED - int(float(count)))) for name, count in found]


# The faults. ----------------------------------------------------------------------------------------------


@fault("never started")
def never_started(world):
    pass


@fault("hangs midway (SIGSTOP)")
def hung(world):
    process = world.start(*world.slow())
    time.sleep(2)
    process.send_signal(signal.SIGSTOP)


@fault("killed midway (SIGKILL, out of memory, power cut)")
def killed(world):
    process = world.start(*world.slow())
    time.sleep(2)
    process.kill()
    world.finish(process)


@fault("the machine shuts down midway (SIGTERM)")
def terminated(world):
    process = world.start(*world.slow())
    time.sleep(2)
    process.terminate()
    world.finish(process)


@fault("the source is gone")
def source_gone(world):
    os.remove(world.path("customers.csv"))
    world.sync()


@fault("the source is empty (0 bytes)")
def source_empty(world):
    (world.folder / "customers.csv").write_text("")
    world.sync()


@fault("the source has a header and no rows")
def source_without_rows(world):
    world.write_list([])
    world.sync()


@fault("the source shrank to a quarter")
def source_shrank(world):
    world.write_list(range(10))
    world.sync()


@fault("the source shrank, with --min-rows 30")
def source_below_minimum(world):
    world.write_list(range(10))
    world.sync("--min-rows", "30")


@fault("the email column holds names")
def wrong_column(world):
    world.write_list(range(40), row="Person Number{}")
    world.sync()


@fault("the key file is missing")
def key_missing(world):
    os.remove(world.path("api-key"))
    world.sync()


@fault("the key file can be read by others")
def key_open(world):
    (world.folder / "api-key").chmod(0o644)
    world.sync()


@fault("wrong key")
def wrong_key(world):
    world.write_key("mistyped-key")
    world.sync()


@fault("the key is revoked midway")
def key_revoked(world):
    world.environment["TELEMETRON_API_URL"] = world.sandbox("--revoke-key", "10", "--latency", "50ms")
    world.sync("--concurrency", "2")


@fault("the key is rotated midway; the new one is in its file")
def key_rotated(world):
    world.environment["TELEMETRON_API_URL"] = world.sandbox("--rotate-key", "15", "--latency", "100ms")
    process = world.start("--concurrency", "1")
    time.sleep(0.7)
    world.write_key("sandbox-rotated")
    world.finish(process)


@fault("the key of another organization")
def other_organization(world):
    process_url = world.sandbox("--organizations", "2")
    world.environment["TELEMETRON_API_URL"] = process_url
    listing = world.processes[-1].stdout
    line = [listing.readline() for _ in range(3)][-1]
    world.write_key(line.split()[-1])
    world.sync()


@fault("the API is unreachable from the start")
def outage_at_start(world):
    world.environment["TELEMETRON_API_URL"] = "http://127.0.0.1:1"
    world.sync()


@fault("the API becomes unreachable midway, for long")
def outage_midway(world):
    world.environment["TELEMETRON_API_URL"] = world.sandbox("--outage", "15+60s", "--latency", "20ms")
    world.sync("--concurrency", "2")


@fault("the API is unreachable for 3 s")
def short_outage(world):
    world.environment["TELEMETRON_API_URL"] = world.sandbox("--outage", "15+3s", "--latency", "20ms")
    world.sync("--concurrency", "2")


@fault("the API accepts 10 requests a second (429)")
def quota(world):
    world.environment["TELEMETRON_API_URL"] = world.sandbox("--rate-limit", "10/s")
    world.sync()


@fault("the API answers nothing but 429")
def only_throttled(world):
    world.api(lambda request, _: request.reply(429, '{"error": "Too many requests"}', retry_after="1"))
    world.sync()


@fault("the API asks for a pause of an hour")
def long_pause(world):
    world.api(lambda request, _: request.reply(503, '{"error": "Maintenance"}', retry_after="3600"))
    world.sync()


@fault("the API answers 500 to everything")
def server_errors(world):
    world.api(lambda request, _: request.reply(500, '{"error": "Internal server error"}'))
    world.sync()


@fault("the server accepts connections and stays silent")
def silent(world):
    world.api(lambda request, _: time.sleep(60))
    world.sync()


@fault("wrong path: every lookup meets a 404 page")
def wrong_path(world):
    world.api(lambda request, _: request.reply(404, "<html><h1>404 Not Found</h1>", content_type="text/html"))
    world.sync()


@fault("a login page in place of the API (200, HTML)")
def login_page(world):
    world.api(lambda request, _: request.reply(200, "<html>Please log in", content_type="text/html"))
    world.sync()


@fault("customers without an id (200, wrong content)")
def malformed(world):
    world.api(lambda request, body: request.reply(200, json.dumps({"email": json.loads(body)["email"]})))
    world.sync()


@fault("redirects to another host")
def redirects(world):
    world.api(lambda request, _: request.reply(302, location="https://login.example.com/"))
    world.sync()


@fault("one email in ten always fails (500)")
def some_fail(world):
    world.environment["TELEMETRON_API_URL"] = world.sandbox("--permanent-fault", "500=10%")
    world.sync()


@fault("every customer is gone (404)")
def all_gone(world):
    world.api(lambda request, _: request.reply(404, '{"error": "Customer not found"}'))
    world.sync()


@fault("the host name is unknown")
def unknown_host(world):
    world.environment["TELEMETRON_API_URL"] = "https://api.telemetron.invalid"
    world.sync()


@fault("the proxy is down")
def proxy_down(world):
    world.environment["TELEMETRON_API_URL"] = "https://api.telemetron.invalid"
    world.environment["HTTPS_PROXY"] = "http://127.0.0.1:1"
    world.sync()


def certificate(world, days):
    """A certificate of a private authority that is valid for so many days, and the authority's own."""
    def openssl(*command):
        subprocess.run(["openssl", *command], cwd=world.folder, check=True, capture_output=True)

    authority = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "9",
            "-subj", "/CN=Private authority")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj",
            "/CN=localhost")
    (world.folder / "names").write_text("subjectAltName=DNS:localhost")
    openssl("x509", "-req", "-in", "server.csr", *authority, "-out", "server.crt", "-days", str(days), "-extfile",
            "names")
    (world.folder / "server.pem").write_text(world.read("server.crt") + world.read("server.key"))
    return world.path("server.pem")


@fault("the certificate's authority is unknown")
def untrusted(world):
    world.api(lambda request, _: request.reply(500), certificate(world, 9))
    world.sync()


@fault("the certificate has expired")
def expired(world):
    world.api(lambda request, _: request.reply(500), certificate(world, -1))
    world.environment["SSL_CERT_FILE"] = world.path("ca.pem")
    world.sync()


@fault("this machine's clock is a day behind")
def clock_behind(world):
    world.sync(prefix=("faketime", "-f", "-1d"))


@fault("the store's disk is full, but not that of the metrics")
def disk_full(world):
    full = world.folder / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=640k", "tmpfs", full], check=True)
    try:
        shutil.copy(world.path("telemetron.db"), full)
        world.environment["TELEMETRON_STORE"] = str(full / "telemetron.db")
        free = shutil.disk_usage(full).free
        (full / "others").write_bytes(b"x" * max(0, free - 48 * 1024))
        world.write_list(range(4000))
        world.sync()
    finally:
        subprocess.run(["umount", full], check=True)


@fault("another run holds the store")
def store_held(world):
    first = world.start(*world.slow())
    time.sleep(1)
    world.pings.clear()
    world.sync()
    pings = list(world.pings)
    first.wait(60)
    world.pings = pings


@fault("another program locks the store for writing")
def store_locked(world):
    connection = sqlite3.connect(world.path("telemetron.db"), isolation_level=None)
    world.connections.append(connection)
    connection.execute("BEGIN IMMEDIATE")
    world.sync()


@fault("a report reads the store all the time")
def reader(world):
    connection = sqlite3.connect(world.path("telemetron.db"), isolation_level=None)
    world.connections.append(connection)
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM customers").fetchone()
    world.sync()


@fault("a newer version made the store")
def store_newer(world):
    connection = sqlite3.connect(world.path("telemetron.db"))
    connection.execute("UPDATE _store SET program_version = '0.9.0'")
    connection.commit()
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    world.sync()


@fault("the store is corrupted")
def store_corrupt(world):
    size = os.path.getsize(world.path("telemetron.db"))
    with open(world.path("telemetron.db"), "r+b") as store:
        store.seek(4096)
        store.write(b"\xff" * (size - 8192))
    world.sync()


@fault("the deadline is too short")
def deadline(world):
    world.sync(*world.slow(), "--deadline", "1s")


@fault("a report's folder does not exist")
def unwritable(world):
    world.sync("--report", world.path("no/such/folder/report.html"))


@fault("a setting is mistyped (TELEMETRON_RATE=20)")
def mistyped_value(world):
    world.environment["TELEMETRON_RATE"] = "20"
    world.sync()


@fault("a setting's name is mistyped (TELEMETRON_RATTE)")
def mistyped_name(world):
    world.environment["TELEMETRON_RATTE"] = "20/s"
    world.sync()


@fault("the monitor is unreachable")
def monitor_gone(world):
    world.environment["TELEMETRON_PING"] = "http://127.0.0.1:1/secret-uuid"
    world.sync()


# The table. -----------------------------------------------------------------------------------------------


def cell(text, folder):
    text = re.sub(r"(?m)^\d{4}-\d\d-\d\dT\S+ ", "", text.strip())
    text = text.replace(str(folder), "/srv").replace(str(Path(folder).resolve()), "/srv")
    text = re.sub(r"(127\.0\.0\.1|localhost):\d{4,}", r"\1:8080", text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return "<br>".join(text.splitlines()) or "nothing"


def row(name, inject):
    with tempfile.TemporaryDirectory() as folder:
        world = World(folder)
        try:
            inject(world)
            exit_code = "–" if world.exit is None else str(world.exit)
            cells = [name, exit_code, world.alerts(), world.pinged(), world.mail, world.reported()]
        finally:
            world.close()
        return "| " + " | ".join(cell(text, folder) for text in cells) + " |"


def main():
    wanted = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    faults = [(name, inject) for name, inject in FAULTS if not wanted or any(text in name for text in wanted)]
    lines = ["| fault | exit | alerts (after) | pings | mail | report |", "| --- | ---: | --- | --- | --- | --- |"]
    for name, inject in faults:
        line = row(name, inject)
        lines.append(line)
        print(line, flush=True)
    if "--update" in sys.argv:
        begin, end = "<!-- generated: faults -->\n", "<!-- end -->"
        before, rest = DOCUMENT.read_text().split(begin)
        after = rest.split(end, 1)[1]
        DOCUMENT.write_text(before + begin + "\n".join(lines) + "\n" + end + after)


if __name__ == "__main__":
    main()
