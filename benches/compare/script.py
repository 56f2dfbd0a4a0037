"""What a good engineer writes in an afternoon: aiohttp, tenacity and sqlite-utils.

Usage: script.py LIST STORE URL IN_FLIGHT

Looks up each email of the CSV file LIST, IN_FLIGHT at a time, with five attempts each, exponential
backoff with jitter and Retry-After; a 401 or 403 ends it. Results are upserted in batches; a second
start skips the emails that have an answer.
"""

import asyncio
import csv
import os
import sys
from datetime import datetime, timezone

import aiohttp
import sqlite_utils
from tenacity import (AsyncRetrying, retry_if_exception_type, stop_after_attempt,
                      wait_random_exponential)

BATCH = 500


class Retryable(Exception):
    def __init__(self, status, retry_after=None):
        super().__init__(f"HTTP {status}")
        self.retry_after = retry_after


class Refused(Exception):
    pass


def wait(state):
    error = state.outcome.exception()
    backoff = wait_random_exponential(multiplier=0.5, max=30)(state)
    return max(backoff, float(getattr(error, "retry_after", None) or 0))


async def ask(session, email):
    async with session.post("customer/queryCustomer", json={"email": email}) as response:
        if response.status == 404:
            return None
        if response.status in (401, 403):
            raise Refused(f"HTTP {response.status}: check the key")
        if response.status == 429 or response.status >= 500:
            raise Retryable(response.status, response.headers.get("Retry-After"))
        response.raise_for_status()
        return await response.json()


async def look_up(session, email):
    errors = (Retryable, aiohttp.ClientConnectionError, asyncio.TimeoutError)
    attempts = AsyncRetrying(stop=stop_after_attempt(5), wait=wait, reraise=True,
                             retry=retry_if_exception_type(errors))
    try:
        customer = await attempts(ask, session, email)
    except (*errors, aiohttp.ClientError) as error:
        return email, "failed", str(error), None
    return email, "not_found" if customer is None else "found", None, customer


def write(store, results):
    now = datetime.now(timezone.utc).isoformat()
    customers = [customer for *_, customer in results if customer]
    rows = [{**{k: v for k, v in c.items() if k not in ("devices", "orders")}, "synced_at": now}
            for c in customers]
    with store.conn:
        store["customers"].upsert_all(rows, pk="id", alter=True)
        for table, column in (("devices", "device_id"), ("orders", "order_id")):
            store[table].upsert_all(({"customer_id": c["id"], column: it}
                                     for c in customers for it in c.get(table) or []),
                                    pk=("customer_id", column))
        store["lookups"].upsert_all(({"email": email, "outcome": outcome, "error": error, "at": now}
                                     for email, outcome, error, _ in results), pk="email")


async def main(path, store_path, url, in_flight):
    store = sqlite_utils.Database(store_path)
    store.enable_wal()
    done = set()
    if store["lookups"].exists():
        done = {row["email"] for row in store["lookups"].rows_where("outcome != 'failed'")}
    with open(path, newline="") as file:
        emails = dict.fromkeys(row["email"].strip().lower() for row in csv.DictReader(file))
    todo = iter([email for email in emails if email not in done])
    results = asyncio.Queue(maxsize=2 * BATCH)

    async def worker(session):
        for email in todo:
            await results.put(await look_up(session, email))

    async def writer():
        batch = []
        while (result := await results.get()) is not None:
            batch.append(result)
            if len(batch) == BATCH:
                write(store, batch)
                batch.clear()
        write(store, batch)

    headers = {"x-api-key": os.environ["TELEMETRON_API_KEY"]}
    connector = aiohttp.TCPConnector(limit=in_flight)
    timeout = aiohttp.ClientTimeout(total=30)
    writing = asyncio.create_task(writer())
    try:
        async with aiohttp.ClientSession(url.rstrip("/") + "/", headers=headers, timeout=timeout,
                                         connector=connector) as session:
            async with asyncio.TaskGroup() as group:
                for _ in range(in_flight):
                    group.create_task(worker(session))
    finally:
        await results.put(None)
        await writing


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
