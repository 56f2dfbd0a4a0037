"""Runs the whole system for hours on one machine and requires that nothing grows and nothing is wrong.

Usage: soak.py PROGRAM [--hours H] [--emails N] [--rate N] [--seed N]    (soak.sh builds and runs it)

Two stores are filled at the same time from two sandboxes, each with readers attached, and their runs
publish them to a throwaway PostgreSQL:

hourly    one run after the other over the same list, while the customers change and the API fails in
          changing ways; runs are killed, terminated and resumed, images of the store as after a power
          cut are checked, people are forgotten, a wrong key is used, and single publications are killed
backfill  one process for the whole time, at a fixed rate, that publishes every 30 seconds

At the end each store has to equal what the API says, be intact, be what its feed replays to and what
PostgreSQL has; and memory, file descriptors and file sizes must not have grown.
"""

import argparse
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from pathlib import Path

import checks
from world import Postgres, Reader, Samples, Sandbox, size

FAULTS = [
    ["--fault", "429=0.2%"], ["--fault", "429-retry-after=0.2%"], ["--fault", "503=10%"], ["--fault", "503-retry-after=1%"], ["--fault", "reset=5%"],
    ["--fault", "truncated=3%", "--fault", "reset-midway=2%"], ["--fault", "missing-route=5%"],
    ["--fault", "not-json=3%", "--fault", "wrong-types=2%"], ["--fault", "null=2%", "--fault", "cut-json=2%"],
    ["--fault", "slow=1%"], ["--fault", "timeout=0.2%"], ["--fault", "huge=0.2%", "--fault", "gzip-bomb=0.2%"],
    ["--permanent-fault", "500=1%"], ["--permanent-fault", "403=2%"], ["--outage", "1000+3s"],
    ["--outage", "500+8s"], ["--revoke-key", "1500"], ["--rate-limit", "400/s"],
]
# A run publishes every 30 seconds, and the first publication has all planned emails.
LATE = 90
ENDS = {0, 3, 4, 5, 6, 143, -signal.SIGKILL}


class Actor(threading.Thread):
    """One store, its API, its readers, and what went wrong."""

    def __init__(self, name, args, folder, postgres, seed):
        super().__init__(daemon=True)
        self.name, self.args, self.postgres = name, args, postgres
        self.folder = folder / name
        self.folder.mkdir()
        self.store, self.list = self.folder / "store.db", self.folder / "list.csv"
        self.random = random.Random(seed)
        self.wrong, self.counts = [], Counter()
        self.until = time.monotonic() + args.hours * 3600
        self.organization, self.key = "org_sandbox_1", "sandbox-1"
        self.sandbox = Sandbox(args.program, self.folder, self.key)
        self.readers = [Reader(self.store, seed + n, checks.sums(self.organization)) for n in range(2)]
        self.environment = {**os.environ, "TELEMETRON_API_KEY": self.key,
                            "TELEMETRON_PUBLISH": postgres.url, "TELEMETRON_STORE": str(self.store)}

    def write_list(self, count):
        """With a row in a hundred that is invalid, and one that is there twice."""
        self.emails = [f"{self.name}{n}@example.com" for n in range(count)]
        rows = [row for n, email in enumerate(self.emails)
                for row in [email, *(["not an email", email.upper()] if n % 100 == 0 else [])]]
        self.list.write_text("\n".join(["email", *rows, ""]))

    def serve(self, *options, latency="5ms", jitter="10ms"):
        self.sandbox.start("--organizations", "2", "--latency", latency, "--jitter", jitter, *options)

    def start_program(self, *command, key=None):
        environment = {**self.environment, **({"TELEMETRON_API_KEY": key} if key else {})}
        if command[0] == "sync":
            environment.pop("TELEMETRON_PUBLISH")
        log = open(self.folder / "log", "a")
        print(f"--- {time.strftime('%H:%M:%S')}", *command, file=log, flush=True)
        return subprocess.Popen([self.args.program, *map(str, command)], stdin=subprocess.DEVNULL, stdout=log,
                                stderr=log, env=environment, cwd=self.folder)

    def run_program(self, *command, allowed=(0,), key=None):
        code = self.start_program(*command, key=key).wait()
        if code not in allowed:
            self.fail(f"exit {code}", *command)
        return code

    def fail(self, *what):
        self.wrong.append(" ".join(map(str, what)))
        print(f"wrong in {self.name}:", *what, file=sys.stderr, flush=True)

    def run(self):
        try:
            for reader in self.readers:
                reader.start()
            self.work()
            self.finish()
        except BaseException as error:  # reported at the end, after the other actor
            self.fail(repr(error))
            raise

    def sync_options(self, timeout="30s", outage_wait="60s"):
        return ["--api-url", self.sandbox.url, "--timeout", timeout, "--outage-wait", outage_wait, "-q"]

    def publish_options(self, every):
        return ["--publish", self.postgres.url, "--schema", self.name, "--publish-every", every]

    def publish(self, allowed=(0,)):
        return self.run_program("publish", "--schema", self.name, allowed=allowed)

    def compare_with_postgres(self):
        wrong, rows = checks.equals_postgres(self.store, self.postgres, self.name, self.organization)
        self.counts["published rows compared"] += rows
        for what in wrong[:5]:
            self.fail(what)

    def finish(self):
        """The store has to be right after one undisturbed run."""
        self.serve(*self.last_revision(), latency="0ms", jitter="0ms")
        self.run_program("sync", self.list, "--resume", *self.sync_options(), "--rate", "100000/s",
                         allowed=(0, 3))
        self.run_program("sync", self.list, *self.sync_options())
        self.publish()
        for reader in self.readers:
            reader.stop()
            self.wrong += reader.wrong
            self.counts["looks of readers"] += reader.looks
        expected = [email for email in self.emails if email not in self.forgotten()]
        for wrong in (checks.intact(self.store, self.organization),
                      checks.equals_truth(self.store, self.sandbox.truth(expected)),
                      *(checks.replays(self.store, reader.feed) for reader in self.readers)):
            for what in wrong[:5]:
                self.fail(what)
        self.counts["changes followed"] = len(self.readers[0].feed)
        self.compare_with_postgres()
        self.sandbox.stop()

    def last_revision(self):
        return []

    def forgotten(self):
        return set()


class Hourly(Actor):
    """One run after the other."""

    def work(self):
        self.write_list(self.args.emails)
        self.revision, self.gone, self.runs = 0, {}, []
        self.sizes = []
        while time.monotonic() < self.until:
            self.counts["rounds"] += 1
            self.revision += self.random.randint(0, 1)
            faults = [part for fault in self.random.sample(FAULTS, self.random.randint(0, 3)) for part in fault]
            self.serve(*self.last_revision(), *faults)
            if self.sync() == 0:
                # All that the run has brought is published when it ends.
                self.counts["runs published"] += 1
                self.compare_with_postgres()
            chance = self.random.random()
            if self.counts["exit 0"] + self.counts["exit 3"] == 0:
                # The store does not know its organization before a run has ended well.
                continue
            if chance < 0.25:
                self.publish_or_die()
            elif chance < 0.33:
                self.forget()
            elif chance < 0.36:
                self.undo_forget()
            elif chance < 0.42:
                self.use_wrong_key()
            self.sizes.append((size(self.store), self.rows()))

    def sync(self):
        """A run, in up to four processes. Returns how it ended, if it did."""
        for attempt in range(4):
            if attempt == 3:
                self.serve(*self.last_revision())
            process = self.start_program("sync", self.list, "--resume",
                                         *self.sync_options(timeout="2s", outage_wait="6s"),
                                         *self.publish_options("3s"))
            samples = Samples(process.pid, self.store)
            fate = self.random.choices(["end", "kill", "terminate", "cut"], [50, 25, 10, 15])[0]
            instant = time.monotonic() + self.random.uniform(0.05, 6)
            while process.poll() is None:
                samples.take()
                if fate != "end" and time.monotonic() > instant:
                    self.disturb(process, fate)
                    fate = "end"
                time.sleep(0.1)
            self.counts[f"exit {process.returncode}"] += 1
            if process.returncode not in ENDS:
                self.fail("exit", process.returncode, "of a sync")
            self.runs.append(samples)
            if process.returncode in (0, 3):
                return process.returncode

    def disturb(self, process, fate):
        if fate == "cut":
            self.check_power_cut(process)
        else:
            process.send_signal(signal.SIGKILL if fate == "kill" else signal.SIGTERM)

    def check_power_cut(self, process):
        if not self.store.exists():
            return
        image = self.folder / "image.db"
        process.send_signal(signal.SIGSTOP)
        try:
            for suffix in ("", "-wal"):
                if Path(f"{self.store}{suffix}").exists():
                    shutil.copy(f"{self.store}{suffix}", f"{image}{suffix}")
        finally:
            process.send_signal(signal.SIGCONT)
        if size(image):
            checks.cut_power(image, self.random.random())
            for what in checks.intact(image, self.organization):
                self.fail("after a power cut:", what)
            self.counts["power cuts"] += 1
        for path in self.folder.glob("image.db*"):
            path.unlink()

    def publish_or_die(self):
        if self.random.random() < 0.4:
            process = self.start_program("publish", "--schema", self.name)
            time.sleep(self.random.uniform(0, 0.8))
            process.kill()
            process.wait()
            self.counts["publications killed"] += 1
        self.publish()
        self.counts["publications"] += 1
        self.compare_with_postgres()

    def forget(self):
        email = self.random.choice(self.emails)
        connection = checks.connect(self.store)
        emails = {row[0] for row in connection.execute(
            "SELECT email FROM lookups WHERE email = ?1 OR customer_id IN "
            "(SELECT customer_id FROM lookups WHERE email = ?1)", [email])}
        connection.close()
        if not emails:
            return
        self.run_program("forget", email)
        self.gone.update({each: emails for each in emails})
        self.counts["people forgotten"] += 1

    def undo_forget(self):
        if self.gone:
            email = self.random.choice(sorted(self.gone))
            self.run_program("forget", email, "--undo")
            for each in self.gone.pop(email):
                self.gone.pop(each, None)

    def use_wrong_key(self):
        self.serve(*self.last_revision())
        before = checks.connect(self.store).execute("SELECT max(id) FROM changes").fetchone()
        self.run_program("sync", self.list, *self.sync_options(), allowed=(5,), key="sandbox-2")
        after = checks.connect(self.store).execute("SELECT max(id) FROM changes").fetchone()
        if before != after:
            self.fail("a wrong key left changes")
        self.counts["wrong keys"] += 1

    def rows(self):
        connection = checks.connect(self.store)
        tables = ("customers", "device_assignments", "orders", "lookups", "changes")
        total = sum(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)
        connection.close()
        return total

    def last_revision(self):
        return ["--revision", str(self.revision)]

    def forgotten(self):
        return set(self.gone)

    def growth(self):
        """Medians of the first and the last third of the runs."""
        ran = [samples for samples in self.runs if len(samples.rows) > 3]
        yield "hourly: peak memory of a run, MiB", thirds([run.most("mib") for run in ran]), 1.25, 3
        yield "hourly: file descriptors of a run", thirds([run.most("files") for run in ran]), 1.1, 4
        yield "hourly: threads of a run", thirds([run.most("threads") for run in ran]), 1.1, 2
        yield ("hourly: store, bytes per public row", thirds([a / b for a, b in self.sizes if b]), 1.15, 5)


class Backfill(Actor):
    """One process for hours."""

    def work(self):
        self.write_list(int(self.args.hours * 3600 * self.args.rate * 1.2))
        hours = self.args.hours * 3600
        outages = [option for part in (0.15, 0.4, 0.65)
                   for option in ("--outage", f"{int(hours * part)}s+4s")]
        self.serve("--fault", "503=1%", "--fault", "reset=0.5%", *outages)
        process = self.start_program("sync", self.list, *self.sync_options(), "--rate", f"{self.args.rate}/s",
                                     "--organization", self.organization, *self.publish_options("30s"))
        self.samples = Samples(process.pid, self.store)
        looked_up = deque()
        while time.monotonic() < self.until and process.poll() is None:
            self.samples.take()
            looked_up.append((time.monotonic(), self.looked_up()))
            if time.monotonic() - looked_up[0][0] > LATE:
                self.check_published(looked_up.popleft()[1])
            time.sleep(2)
        if process.poll() is not None:
            self.fail(f"ended by itself with exit {process.returncode}")
        process.send_signal(signal.SIGTERM)
        if process.wait() != 143:
            self.fail(f"exit {process.returncode} after SIGTERM")

    def looked_up(self):
        if not self.store.exists():
            return 0
        connection = checks.connect(self.store)
        try:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'lookups'").fetchone():
                return 0
            return connection.execute("SELECT count(*) FROM lookups WHERE looked_up_at IS NOT NULL").fetchone()[0]
        finally:
            connection.close()

    def check_published(self, least):
        """What was looked up so long ago is published."""
        published = int(self.postgres.psql(f"SELECT count(*) FROM {self.name}.lookups WHERE looked_up_at IS NOT NULL"))
        self.counts["looks at what is published"] += 1
        self.counts["lookups published by the run"] = published
        if published < least:
            self.fail(f"{published} of {least} lookups are published after {LATE} s")

    def growth(self):
        rows = self.samples.rows[len(self.samples.rows) // 4:]
        yield "backfill: memory, MiB", thirds([row["mib"] for row in rows]), 1.1, 1
        yield "backfill: file descriptors", thirds([row["files"] for row in rows]), 1.0, 2
        yield "backfill: threads", thirds([row["threads"] for row in rows]), 1.0, 1
        yield "backfill: WAL, MiB", thirds([row["wal"] / 2**20 for row in rows]), 1.25, 8


def thirds(values):
    if not values:
        return 0, 0, 0
    third = max(1, len(values) // 3)
    return statistics.median(values[:third]), statistics.median(values[-third:]), max(values)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--hours", type=float, default=1)
    parser.add_argument("--emails", type=int, default=5_000)
    parser.add_argument("--rate", type=int, default=25)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    args = parser.parse_args()
    args.program = os.path.abspath(args.program)
    print(f"seed {args.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    folder.chmod(0o755)
    postgres = Postgres(folder)
    try:
        actors = [Hourly("hourly", args, folder, postgres, args.seed),
                  Backfill("backfill", args, folder, postgres, args.seed + 1000)]
        for actor in actors:
            actor.start()
        for actor in actors:
            actor.join()
    finally:
        postgres.stop()
    wrong = report(actors)
    if wrong:
        print(f"{len(wrong)} faults; the stores and logs are in {folder}")
        print("\n".join(wrong[:40]))
        sys.exit(1)
    shutil.rmtree(folder)
    print("nothing wrong, nothing grew")


def report(actors):
    wrong = [f"{actor.name}: {what}" for actor in actors for what in actor.wrong]
    for actor in actors:
        counts = ", ".join(f"{count:,} {what}" for what, count in sorted(actor.counts.items()))
        print(f"figure: {actor.name}: {counts}")
        for what, (first, last, most), factor, slack in actor.growth():
            print(f"figure: {what}: {first:,.1f} in the first third, {last:,.1f} in the last, {most:,.1f} at most")
            if last > first * factor + slack:
                wrong.append(f"{what} grew from {first:,.1f} to {last:,.1f}")
    return wrong


if __name__ == "__main__":
    main()
