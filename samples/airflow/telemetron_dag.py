"""A fleet of organizations in Airflow 3: a task for each row of FLEET, in the pool of its key.

FLEET names a CSV file with the header name,source,store,api_url,key_file,rate (`name` is the organization's id),
TELEMETRON_PUBLISH the database, with the password in PGPASSWORD or ~/.pgpass. `store` is on a local disk of the
worker: where it is missing, it is restored from PostgreSQL. Create a pool for each key, with one slot:
    airflow pools set org_1 1 "the key of org_1"
"""

import csv
import os
import signal
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowFailException

FLEET = os.environ.get("FLEET", "/etc/telemetron-sync/fleet.csv")

# A person has to look into these first: settings, source or store (1, 2), a refused key (5).
NEEDS_A_PERSON = {1, 2, 5}


def rows():
    with open(FLEET, newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def run(*command):
    """Runs a command, which gets SIGTERM if the task is ended, and time to publish; returns its exit code."""
    process = subprocess.Popen(["telemetron-sync", *command])

    def stop(*_):
        process.terminate()

    signal.signal(signal.SIGTERM, stop)
    return process.wait()


def is_superseded(store):
    """Whether another worker has taken the organization over, with a newer store."""
    report = subprocess.run(["telemetron-sync", "report", "--store", store], capture_output=True, text=True)
    return "Stop using this store" in report.stdout


def set_aside(store):
    for end in ("", "-wal", "-shm"):
        if Path(store + end).exists():
            Path(store + end).replace(f"{store}.superseded{end}")


@dag(
    schedule="7 * * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 10, "retry_delay": timedelta(seconds=30), "retry_exponential_backoff": True},
    tags=["telemetron"],
)
def telemetron_fleet():
    def sync(row):
        name, store = row["name"], row["store"]
        if not Path(store).exists():
            Path(store).parent.mkdir(parents=True, exist_ok=True)
            restore = ["telemetron-sync", "restore", "--organization", name, "--store", store]
            restored = subprocess.run(restore, capture_output=True, text=True)
            print(restored.stdout, restored.stderr)
            # What was never published has nothing to restore.
            if restored.returncode and f"organization {name} is not published" not in restored.stderr:
                raise RuntimeError("The store could not be restored.")
        code = run(
            "sync", row["source"], "--resume", "--store", store, "--organization", name, "--rate", row["rate"],
            "--api-url", row["api_url"], "--api-key-file", row["key_file"], "--max-age", "12h", "--progress", "plain",
        )  # fmt: skip
        if code == 3:
            # Some emails failed, or the last publication did: that can be made up for at once.
            code = run("publish", "--store", store)
            if code:
                raise RuntimeError("The store is right, but not published.")
        if code == 1 and is_superseded(store):
            set_aside(store)
            raise RuntimeError("Another worker took over: tried again with what it published.")
        if code in NEEDS_A_PERSON:
            raise AirflowFailException(f"Exit code {code}: see the log.")
        if code:
            raise RuntimeError(f"Exit code {code}: tried again.")

    # All indexes of a mapped task share a pool, so each organization has a task of its own.
    for row in rows() if Path(FLEET).exists() else []:
        task(task_id=f"sync_{row['name']}", pool=row["name"])(sync)(row)


telemetron_fleet()
