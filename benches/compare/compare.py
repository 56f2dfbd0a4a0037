"""Runs telemetron-sync side by side with what people use instead, and prints tables in Markdown.

Usage: compare.py PROGRAM QSV [speed] [trouble]    (compare.sh builds and installs both)

The API is server.py, which shares no code with telemetron-sync; only the speed without latency is
measured against telemetron-sync's sandbox, because server.py would be what limits it. Every tool gets
the same list and the same number of lookups in flight. One qsv sends one request at a time, so speed
is also measured with as many qsv processes, each with a part of the list.

ROUNDS=n measures each speed n times (3; of 100,000 emails once). A round runs every tool once, one after the other; ratios
are those within a round, so that a machine that is busy for a while slows all of them.
"""

import atexit
import csv
import json
import os
import re
import shlex
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from server import Api

HERE = Path(__file__).parent
IN_FLIGHT = 64
ROUNDS = int(os.environ.get("ROUNDS", "3"))
# What takes longer than this many seconds by arithmetic alone is measured on the emails that fit.
PATIENCE = 60
# What takes longer than this many seconds all the same is stopped.
TIME_LIMIT = 900


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
        return [self.program, "sync", str(emails), "--resume", "--store", str(store), "--api-url", url,
                "--concurrency", str(IN_FLIGHT), "--quiet"]

    def customers(self, store):
        return query(store, "select id from current_customers")


class Qsv(Tool):
    """One process. It counts each 404 as an error, so errors must not end it (--max-errors 0)."""

    in_flight = 1

    def with_url(self, emails, store, url):
        """The list with a column for the URL: as an argument, a URL must not contain a hyphen."""
        path = Path(f"{store}.list.csv")
        lines = Path(emails).read_text().splitlines()[1:]
        target = f"{url}/customer/queryCustomer"
        path.write_text("email,url\n" + "".join(f"{line},{target}\n" for line in lines))
        return path

    def fetch(self, source, output):
        return [self.program, "fetchpost", "url", "--payload-tpl", str(HERE / "payload.json"),
                "--http-header", f"x-api-key:{os.environ['TELEMETRON_API_KEY']}", "--new-column",
                "customer", "--store-error", "--max-errors", "0", "--disk-cache", "--disk-cache-dir",
                f"{output}.cache", "--output", str(output), str(source)]

    def command(self, emails, store, url):
        return self.fetch(self.with_url(emails, store, url), store)

    def customers(self, store):
        found = set()
        if Path(store).exists():
            with open(store, newline="") as file:
                for row in csv.DictReader(file):
                    match = re.search(r'"id":\s*"([^"]+)"', row.get("customer") or "")
                    if match:
                        found.add(match.group(1))
        return found


class QsvProcesses(Qsv):
    """As many processes as lookups in flight. Their peak memory is that of the largest one."""

    in_flight = IN_FLIGHT

    def command(self, emails, store, url):
        program = shlex.quote(self.program)
        parts, answers = f"{store}.parts", Path(f"{store}.answers")
        answers.mkdir()
        one = shlex.join(self.fetch(f"{parts}/{{}}", answers / "{}"))
        return ["sh", "-c", f"{program} split --chunks {IN_FLIGHT} {parts} {self.with_url(emails, store, url)}; "
                f"ls {parts} | xargs -P {IN_FLIGHT} -I '{{}}' {one}; "
                f"{program} cat rows --output {store}.csv {answers}/*.csv; mv {store}.csv {store}"]


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
            child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder,
                                     start_new_session=True)
            if kill_when is not None:
                while child.poll() is None and not kill_when():
                    time.sleep(0.01)
                if child.poll() is None:
                    child.send_signal(signal.SIGKILL)
            self.is_late = False
            try:
                child.wait(timeout=TIME_LIMIT)
            except subprocess.TimeoutExpired:
                self.is_late = True
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            output.seek(0)
            self.output = output.read()
        self.seconds = time.monotonic() - began
        self.exit = child.returncode
        if kill_when is None and not self.is_late:
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


class Process:
    """A server, and where it is."""

    def stop(self):
        self.child.kill()
        self.child.wait()


class Sandbox(Process):
    key = "sandbox"

    def __init__(self, program):
        self.child = subprocess.Popen([program, "sandbox", "--listen", "127.0.0.1:0", "--latency", "0ms",
                                       "--jitter", "0ms"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      text=True)
        atexit.register(self.child.kill)
        line = next(line for line in self.child.stdout if "http://" in line)
        self.url = re.search(r"http://\S*", line).group(0)


class Measured(list):
    """The runs of one tool."""

    def median(self, value):
        return statistics.median(map(value, self))


def measure(tool, server, count):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        store = folder / "store.db"
        os.environ["TELEMETRON_API_KEY"] = server.key
        ended = Finished(tool.command(write_list(folder, count), store, server.url), folder)
        ended.found, ended.per_second = len(tool.customers(store)), count / ended.seconds
    if ended.is_late:
        return ended
    if ended.exit != 0 or ended.found < count * 0.8:
        print(ended.output[-2000:], file=sys.stderr)
        raise SystemExit(f"{tool.name}: exit {ended.exit}, {ended.found:,} customers of {count:,} emails")
    return ended


def speed(program, tools):
    tools = [*tools, *(QsvProcesses(f"qsv, {IN_FLIGHT} processes", tool.program)
                       for tool in tools if isinstance(tool, Qsv))]
    for count, rounds in ((10_000, ROUNDS), (100_000, 1)):
        for latency in (0, 50):
            server = Server(8992) if latency else Sandbox(program)
            if latency:
                server.begin()
            compare_speed(tools, server, count, rounds, latency)
            server.stop()


def compare_speed(tools, server, count, rounds, latency):
    # At least 0.2 ms for a request without latency; qsv asks 6 times about a 404.
    counts = {tool: min(count, int(PATIENCE * tool.in_flight / (1.5 * max(latency, 0.2) / 1000)))
              for tool in tools}
    runs = {tool: Measured() for tool in tools}
    for _ in range(rounds):
        for tool in tools:
            runs[tool].append(measure(tool, server, counts[tool]))
    rows, ours = [], runs[tools[0]]
    for tool, own in runs.items():
        if any(run.is_late for run in own):
            rows.append([tool.name, f"(stopped after {TIME_LIMIT} s)", "", "", ""])
            continue
        ratio = statistics.median(a.per_second / b.per_second for a, b in zip(own, ours))
        on = "" if counts[tool] == count else f" (on {counts[tool]:,} emails)"
        rows.append([tool.name + on, f"{own.median(lambda run: run.per_second):,.0f}", f"{ratio:.2f}",
                     f"{own.median(lambda run: run.cpu) / counts[tool] * 1e6:,.0f}",
                     f"{own.median(lambda run: run.mib):,.0f}"])
    table(f"{count:,} emails, latency {latency} ms, medians of {rounds} rounds" if rounds > 1 else
          f"{count:,} emails, latency {latency} ms",
          ["tool", "emails/s", "of telemetron-sync's", "CPU µs per email", "peak MiB"], rows)


# Trouble


class Server(Process):
    key = "key"

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"
        self.child = subprocess.Popen([sys.executable, str(HERE / "server.py"), str(port)])
        atexit.register(self.child.kill)
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
    server = Server(8991)
    os.environ["TELEMETRON_API_KEY"] = server.key
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
    if not parts or "trouble" in parts:
        trouble(tools)
    if not parts or "speed" in parts:
        speed(program, tools)


if __name__ == "__main__":
    main(*sys.argv[1:])
