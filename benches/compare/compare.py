"""Runs telemetron-sync side by side with what people use instead, and prints tables in Markdown.

Usage: compare.py PROGRAM QSV [speed|trouble]    (compare.sh builds and installs both)

Speed is measured against telemetron-sync's sandbox, which answers fastest; trouble comes from
server.py, which shares no code with it. Every tool gets the same list and the same number of lookups
in flight, except qsv, which sends one request at a time.
"""

import csv
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from server import Api

HERE = Path(__file__).parent
IN_FLIGHT = 64
# Slower than this many seconds by arithmetic alone, a measurement is left out.
PATIENCE = 120


class Tool:
    """A contender: its command line, and how to read what it stored."""

    in_flight = IN_FLIGHT

    def __init__(self, name, program):
        self.name, self.program = name, program

    def command(self, emails, store, url):
        return [sys.executable, str(HERE / self.program), str(emails), str(store), url, str(IN_FLIGHT)]

    def customers(self, store):
        """The ids of the customers in its store, as it would be queried for current ones."""
        return query(store, "select id from customers")


class Telemetron(Tool):
    def command(self, emails, store, url):
        return [self.program, "sync", str(emails), "--store", str(store), "--api-url", url,
                "--concurrency", str(IN_FLIGHT), "--quiet"]

    def customers(self, store):
        return query(store, "select id from current_customers")


class Qsv(Tool):
    in_flight = 1

    def command(self, emails, store, url):
        payload = HERE / "payload.json"
        return [self.program, "fetchpost", f"{url}/customer/queryCustomer", "--payload-tpl", str(payload),
                "--http-header", f"x-api-key:{os.environ['TELEMETRON_API_KEY']}", "--new-column",
                "customer", "--store-error", "--disk-cache", "--disk-cache-dir", f"{store}.cache",
                "--output", str(store), str(emails)]

    def customers(self, store):
        found = set()
        if Path(store).exists():
            with open(store, newline="") as file:
                for row in csv.DictReader(file):
                    match = re.search(r'"id":\s*"([^"]+)"', row.get("customer") or "")
                    if match:
                        found.add(match.group(1))
        return found


def query(store, sql):
    if not Path(store).exists():
        return set()
    with sqlite3.connect(store) as connection:
        try:
            return {row[0] for row in connection.execute(sql)}
        except sqlite3.OperationalError:
            return set()


class Finished:
    """How a process ended, and what it used."""

    def __init__(self, command, folder, kill_when=None):
        # Measured by a small parent: a child of this process would start with its peak memory.
        usage = folder / "usage"
        if kill_when is None:
            command = ["/usr/bin/time", "--quiet", "-o", str(usage), "-f", "%U %S %M", *command]
        began = time.monotonic()
        with open(folder / "output", "w+") as output:
            child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder)
            if kill_when is not None:
                while child.poll() is None and not kill_when():
                    time.sleep(0.01)
                if child.poll() is None:
                    child.send_signal(signal.SIGKILL)
            child.wait()
            output.seek(0)
            self.output = output.read()
        self.seconds = time.monotonic() - began
        self.exit = child.returncode
        if kill_when is None:
            user, system, kib = map(float, usage.read_text().split())
            self.cpu, self.mib = user + system, kib / 1024


def write_list(folder, count):
    path = folder / f"{count}.csv"
    path.write_text("email\n" + "".join(f"user{n}@example.com\n" for n in range(1, count + 1)))
    return path


def table(title, columns, rows):
    print(f"\n### {title}\n")
    print("| " + " | ".join(columns) + " |")
    print("|" + " --- |" * len(columns))
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


# Speed


def sandbox(program, latency):
    child = subprocess.Popen([program, "sandbox", "--listen", "127.0.0.1:0", "--latency", f"{latency}ms",
                              "--jitter", "0ms"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in child.stdout:
        if url := re.search(r"http://[^ ]*", line):
            return child, url.group(0).strip().rstrip("/.")
    raise SystemExit("the sandbox did not start")


def speed(program, tools):
    os.environ["TELEMETRON_API_KEY"] = "sandbox"
    rows = []
    for count in (10_000, 100_000):
        for latency in (0, 50):
            server, url = sandbox(program, latency)
            for tool in tools:
                # At least 0.2 ms for a request without latency.
                if count * max(latency, 0.2) / 1000 / tool.in_flight > PATIENCE:
                    rows.append([f"{count:,}", f"{latency} ms", tool.name, "(too slow)", "", ""])
                    continue
                with tempfile.TemporaryDirectory() as folder:
                    folder = Path(folder)
                    store = folder / "store.db"
                    ended = Finished(tool.command(write_list(folder, count), store, url), folder)
                    found = len(tool.customers(store))
                    if ended.exit != 0 or found < count * 0.8:
                        print(ended.output[-2000:], file=sys.stderr)
                        rows.append([f"{count:,}", f"{latency} ms", tool.name,
                                     f"exit {ended.exit}, {found:,} customers", "", ""])
                        continue
                    rows.append([f"{count:,}", f"{latency} ms", tool.name, f"{count / ended.seconds:,.0f}",
                                 f"{ended.cpu / count * 1e6:,.0f}", f"{ended.mib:,.0f}"])
            server.kill()
            server.wait()
    table("Speed", ["emails", "latency", "tool", "emails/s", "CPU µs per email", "peak MiB"], rows)


# Trouble


class Server:
    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"
        self.child = subprocess.Popen([sys.executable, str(HERE / "server.py"), str(port)])
        for _ in range(100):
            try:
                self.stats()
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit("server.py did not start")

    def begin(self, **settings):
        body = json.dumps({"delay": 0.05, **settings}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/begin", body, method="POST")).read()

    def stats(self):
        return json.load(urllib.request.urlopen(f"{self.url}/stats"))


def truth(count, organization="org_a"):
    api = Api()
    api.begin({"organization": organization})
    customers = (api.customer(f"user{n}@example.com") for n in range(1, count + 1))
    return {customer["id"] for customer in customers if customer}


def cause(output):
    """The first line that says what is wrong."""
    lines = [line.strip(" |") for line in output.splitlines()]
    said = next((line for line in lines if re.search(r"\b401\b|refused the key", line)), "(nothing)")
    return re.sub(r"^\S*Z ", "", said).replace("|", "\\|")[:90]


def trouble(tools, count=2_000):
    os.environ["TELEMETRON_API_KEY"] = "key"
    server = Server(8991)
    right, strangers = truth(count), truth(count, "org_b")

    def trial(tool, before=None, **settings):
        """Starts the tool in a folder of its own; `before` prepares its store."""
        folder = Path(tempfile.mkdtemp(dir=scratch))
        store, emails = folder / "store.db", write_list(folder, count)
        command = tool.command(emails, store, server.url)
        if before:
            before(command, folder)
        server.begin(**settings)
        return command, folder, store

    def stored(tool, store):
        ids = tool.customers(store)
        return f"{len(ids & right):,} of {len(right):,}"

    def is_halfway():
        return server.stats()["requests"] >= count // 2

    with tempfile.TemporaryDirectory() as scratch:
        rows = []
        for tool in tools:
            command, folder, store = trial(tool)
            Finished(command, folder, kill_when=is_halfway)
            kept = stored(tool, store)
            again = Finished(command, folder)
            stats = server.stats()
            rows.append([tool.name, kept, f"{stats['requests'] - stats['emails']:,}",
                         stored(tool, store), str(again.exit)])
        table("Killed (SIGKILL) after half of the requests, then started again",
              ["tool", "customers kept", "requests repeated", "customers in the end", "exit"], rows)

        rows = []
        for tool in tools:
            command, folder, store = trial(tool, revoke_after=500)
            ended = Finished(command, folder)
            stats = server.stats()
            rows.append([tool.name, f"{stats['statuses'].get('401', 0):,}", stored(tool, store),
                         str(ended.exit), cause(ended.output)])
        table("The key is revoked after 500 requests",
              ["tool", "requests with the revoked key", "customers kept", "exit", "what it says"], rows)

        rows = []
        for tool in tools:
            command, folder, store = trial(tool, limit=100)
            ended = Finished(command, folder)
            stats = server.stats()
            rows.append([tool.name, f"{ended.seconds:,.0f}", f"{stats['statuses'].get('429', 0):,}",
                         stored(tool, store), str(ended.exit)])
        table(f"A limit of 100 requests per second (at best {count / 100:.0f} s)",
              ["tool", "seconds", "refused requests (429)", "customers", "exit"], rows)

        rows = []
        for tool in tools:
            command, folder, store = trial(tool, outage=[500, 20])
            ended = Finished(command, folder)
            stats = server.stats()
            rows.append([tool.name, f"{ended.seconds:,.0f}", f"{stats['statuses'].get('closed', 0):,}",
                         stored(tool, store), str(ended.exit)])
        table("An outage of 20 seconds after 500 requests",
              ["tool", "seconds", "requests during it", "customers", "exit"], rows)

        rows = []
        for tool in tools:
            def sync_well(command, folder):
                server.begin()
                Finished(command, folder)
                clear_cache(folder)
            command, folder, store = trial(tool, before=sync_well, organization="org_b")
            ended = Finished(command, folder)
            ids = tool.customers(store)
            rows.append([tool.name, f"{server.stats()['requests']:,}",
                         f"{len(ids & right):,} of {len(right):,}", f"{len(ids & strangers):,}",
                         str(ended.exit)])
        table("A second sync with the key of another organization",
              ["tool", "requests", "own customers left", "strangers stored", "exit"], rows)
    server.child.kill()


def clear_cache(folder):
    """A second sync has to ask again: what only remembers answers starts without its memory."""
    subprocess.run(["rm", "-rf", str(folder / "store.db.cache")], check=True)
    # The script remembers which emails it has asked.
    for store in folder.glob("store.db"):
        with open(store, "rb") as file:
            is_sqlite = file.read(6) == b"SQLite"
        if is_sqlite:
            with sqlite3.connect(store) as connection:
                tables = {name for name, in connection.execute(
                    "select name from sqlite_master where type = 'table'")}
                if "lookups" in tables:
                    connection.execute("delete from lookups")


def main(program, qsv, *parts):
    tools = [Telemetron("telemetron-sync", program), Tool("asyncio script", "script.py"),
             Tool("dlt", "pipeline.py")]
    if qsv != "-":
        tools.append(Qsv("qsv fetchpost", qsv))
    if not parts or "speed" in parts:
        speed(program, tools)
    if not parts or "trouble" in parts:
        trouble(tools)


if __name__ == "__main__":
    main(*sys.argv[1:])
