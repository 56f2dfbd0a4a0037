"""What the soak test runs beside telemetron-sync: the sandbox, PostgreSQL, and readers of the store."""

import atexit
import http.client
import json
import os
import pwd
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from pathlib import Path


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Sandbox:
    """The API at one address; what it answers changes when it is started again."""

    def __init__(self, program, folder, key="sandbox"):
        self.program, self.folder, self.key = program, folder, key
        self.port = free_port()
        self.base = "/api/ext-v1"
        self.url = f"http://127.0.0.1:{self.port}{self.base}"
        self.process = None
        atexit.register(self.stop)

    def start(self, *options):
        self.stop()
        log = open(self.folder / f"sandbox-{self.port}.log", "w")
        self.process = subprocess.Popen([self.program, "sandbox", "--listen", f"127.0.0.1:{self.port}",
                                         *options], stdout=log, stderr=subprocess.STDOUT)
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"the sandbox did not start: {options}")

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()

    def truth(self, emails, port=None):
        """What the API says of each email, asked without telemetron-sync."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port)
        headers = {"x-api-key": self.key, "content-type": "application/json"}
        answers = {}
        for email in emails:
            body = json.dumps({"email": email})
            connection.request("POST", f"{self.base if port is None else ''}/customer/queryCustomer", body,
                               headers)
            response = connection.getresponse()
            answer = json.load(response)
            assert response.status in (200, 404), (email, response.status, answer)
            answers[email] = answer if response.status == 200 else None
        return answers


class Postgres:
    """A throwaway server."""

    def __init__(self, folder):
        self.folder = folder / "postgres"
        self.folder.mkdir()
        self.port = free_port()
        self.url = f"postgres://postgres@127.0.0.1:{self.port}/postgres?sslmode=disable"
        as_user = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        data = str(self.folder / "data")
        with open(folder / "postgres.log", "w") as log:
            more = {"cwd": self.folder, "stdout": log, "stderr": log, **as_user}
            subprocess.run([self.binary("initdb"), "-U", "postgres", "--auth=trust", "--encoding=UTF8",
                            "--locale=C.UTF-8", "--no-sync", "-D", data], check=True, **more)
            self.process = subprocess.Popen(
                [self.binary("postgres"), "-D", data, "-p", str(self.port), "-k", str(self.folder),
                 "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"], **more)
        for _ in range(300):
            try:
                self.psql("SELECT 1")
                return
            except subprocess.CalledProcessError:
                time.sleep(0.2)
        raise SystemExit(f"PostgreSQL did not start: see {folder}/postgres.log")

    @staticmethod
    def binary(name):
        places = [*os.environ["PATH"].split(":"), *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]
        found = shutil.which(name, path=":".join(places))
        if not found:
            raise SystemExit(f"{name} is not installed")
        return found

    def psql(self, sql):
        command = [self.binary("psql"), self.url, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait()


class Samples:
    """What a process used, and how large its store was."""

    def __init__(self, pid, store):
        self.pid, self.store = pid, store
        self.rows = []

    def take(self):
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
            memory = re.search(r"VmRSS:\s+(\d+)", status)
            if memory is None:
                return
            self.rows.append({
                "at": time.monotonic(),
                "mib": int(memory.group(1)) / 1024,
                "files": len(os.listdir(f"/proc/{self.pid}/fd")),
                "threads": int(re.search(r"Threads:\s+(\d+)", status).group(1)),
                "wal": size(f"{self.store}-wal"),
            })
        except OSError:
            pass

    def most(self, what):
        return max((row[what] for row in self.rows), default=0)


def size(path):
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def connect(store):
    connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=30, isolation_level=None)
    connection.execute("PRAGMA query_only = on")
    return connection


class Reader(threading.Thread):
    """Copies the feed as a report would: it remembers the last id. Now and then it keeps its view of
    the store open for some seconds, so that a run has to work around it."""

    def __init__(self, store, seed, check):
        super().__init__(daemon=True)
        self.store, self.check = store, check
        self.random = random.Random(seed)
        self.feed, self.last = [], 0
        self.wrong, self.looks = [], 0
        self.going = True

    def run(self):
        while self.going:
            try:
                self.look(pause=self.random.uniform(2, 12) if self.random.random() < 0.05 else 0)
            except Exception as error:  # whatever it is, the test reports it
                self.wrong.append(f"reader: {error!r}")
            time.sleep(self.random.uniform(0.2, 2))

    def look(self, pause=0):
        if not Path(self.store).exists():
            return
        connection = connect(self.store)
        try:
            connection.execute("BEGIN")
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'changes'").fetchone():
                return
            columns = "id, at, customer_id, kind, field, old, new"
            new = connection.execute(f"SELECT {columns} FROM changes WHERE id > ? ORDER BY id",
                                     [self.last]).fetchall()
            self.feed += new
            if new:
                self.last = new[-1][0]
            self.wrong += self.check(connection)
            self.looks += 1
            time.sleep(pause)
        finally:
            connection.close()

    def stop(self):
        self.going = False
        self.join()
        self.look()
