"""What has to hold of a store, without the program's own code."""

import csv
import io
import json
import random
import struct
from collections import defaultdict
from datetime import datetime
from pathlib import Path

from world import connect

# Queries that find nothing in a store that keeps its contract.
NOWHERE = {
    "sums that do not hold": """
        SELECT id, rows, invalid, duplicate, fresh, planned, found, not_found, rejected, failed, pending
        FROM runs WHERE rows <> invalid + duplicate + fresh + planned
            OR planned <> found + not_found + rejected + failed + pending""",
    "complete runs with pending emails": "SELECT id FROM runs WHERE status = 'complete' AND pending > 0",
    "missing customers that have something": """
        SELECT id FROM customers WHERE missing_since IS NOT NULL
            AND (id IN (SELECT customer_id FROM current_devices)
                OR id IN (SELECT customer_id FROM current_orders))""",
    "strangers": "SELECT id FROM customers WHERE organization_id IS NOT {organization}",
}

INTERVALS = {
    "devices": "SELECT customer_id, device_id, assigned_at, unassigned_at FROM device_assignments",
    "orders": "SELECT customer_id, order_id, first_seen_at, removed_at FROM orders",
}


def sums(organization):
    """The check of a reader: quick, in its own view of the store."""
    def check(connection):
        wrong = []
        for what, sql in NOWHERE.items():
            found = connection.execute(sql.format(organization=repr(organization))).fetchmany(3)
            if found:
                wrong.append(f"{what}: {found}")
        return wrong
    return check


def intact(store, organization):
    """Slow, for a store at rest or a copy."""
    connection = connect(store)
    try:
        wrong = sums(organization)(connection)
        for pragma in ("integrity_check", "foreign_key_check"):
            found = [row for row in connection.execute(f"PRAGMA {pragma}") if row != ("ok",)]
            if found:
                wrong.append(f"{pragma}: {found[:3]}")
        return wrong
    finally:
        connection.close()


def equals_truth(store, answers, besides=()):
    """The store has what the API says of each email, and nobody else is current. Emails in `besides` have
    no answer."""
    connection = connect(store)
    columns = "id, email, name, phone, address, metadata, created_at"
    customers = {row[0]: row for row in connection.execute(f"SELECT {columns} FROM current_customers")}
    listed = {"devices": defaultdict(set), "orders": defaultdict(set)}
    for name, column in (("devices", "device_id"), ("orders", "order_id")):
        for customer, item in connection.execute(f"SELECT customer_id, {column} FROM current_{name}"):
            listed[name][customer].add(item)
    lookups = {email: rest for email, *rest in
               connection.execute("SELECT email, outcome, customer_id FROM lookups")}
    connection.close()

    wrong, told = [], {answer["id"]: answer for answer in answers.values() if answer}
    for email, answer in answers.items():
        expected = ["found", answer["id"]] if answer else ["not_found", None]
        if lookups.get(email) != expected:
            wrong.append(f"{email}: {lookups.get(email)}, not {expected}")
    for email in lookups.keys() - answers.keys() - set(besides):
        wrong.append(f"{email} was never to be looked up")
    for customer in customers.keys() ^ told.keys():
        wrong.append(f"{customer}: {'stored, not told' if customer in customers else 'not stored'}")
    for customer in customers.keys() & told.keys():
        answer = told[customer]
        stored = dict(zip(columns.split(", "), customers[customer]))
        stored["metadata"] = json.loads(stored["metadata"])
        stored["created_at"] = datetime.fromisoformat(stored["created_at"])
        expected = {name: answer.get(name) for name in ("id", "email", "name", "phone", "address")}
        expected["metadata"] = answer.get("metadata") or {}
        expected["created_at"] = datetime.fromisoformat(answer["createdAt"])
        if stored != expected:
            wrong.append(f"{customer}: {stored}, not {expected}")
        for name, sets in listed.items():
            if answer.get(name) is not None and sets[customer] != set(answer[name]):
                wrong.append(f"{customer}: {name} {sets[customer]}, not {answer[name]}")
    return wrong


def replays(store, feed):
    """The copied feed, from the beginning, yields the intervals."""
    told, wrong = defaultdict(list), []
    for change, at, customer, kind, _field, old, new in feed:
        if kind == "created":
            for name, items in json.loads(new).items():
                for item in items:
                    told[name, customer, item].append([at, None])
        elif kind in ("device_assigned", "order_added"):
            told["devices" if kind == "device_assigned" else "orders", customer, new].append([at, None])
        elif kind in ("device_unassigned", "order_removed"):
            intervals = told["devices" if kind == "device_unassigned" else "orders", customer, old]
            if not intervals or intervals[-1][1] is not None:
                wrong.append(f"change {change} ends what has not begun")
            else:
                intervals[-1][1] = at
        elif kind == "erased":
            for key in [key for key in told if key[1] == customer]:
                del told[key]
    stored = defaultdict(list)
    connection = connect(store)
    for name, sql in INTERVALS.items():
        for customer, item, begin, end in connection.execute(f"{sql} ORDER BY 3, 4 NULLS LAST"):
            stored[name, customer, item].append([begin, end])
    connection.close()
    keys = [key for key in stored.keys() | told.keys() if stored.get(key) != told.get(key)]
    return wrong + [f"{key}: stored {stored.get(key)}, told {told.get(key)}" for key in keys]


def equals_postgres(store, postgres, schema, organization):
    """Every row of every public table is published as the store has it."""
    connection, wrong, rows = connect(store), [], 0
    tables = defaultdict(list)
    for table, column, kind in connection.execute(
            "SELECT table_name, column_name, type FROM data_dictionary ORDER BY rowid"):
        tables[table].append((column, kind))
    tables.pop("data_dictionary", None)
    for table, columns in tables.items():
        stored = connection.execute(
            f"SELECT {', '.join(name(column) for column, _ in columns)} FROM {table}")
        ours = [comparable(row, columns) for row in stored]
        select = ", ".join(
            f"to_char({name(column)} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
            if kind == "TIMESTAMP" else name(column) for column, kind in columns)
        copied = postgres.psql(f"COPY (SELECT {select} FROM {schema}.{table} "
                               f"WHERE organization_id = '{organization}') "
                               "TO STDOUT (FORMAT csv, NULL '\\N', FORCE_QUOTE *)")
        theirs = [comparable(row, columns) for row in csv.reader(io.StringIO(copied, newline=""))]
        rows += len(ours)
        if sorted(ours) != sorted(theirs):
            only = set(ours) ^ set(theirs)
            wrong.append(f"{schema}.{table}: {len(ours)} rows stored, {len(theirs)} published, "
                         f"such as {list(only)[:2]}")
    connection.close()
    return wrong, rows


def name(column):
    return f'"{column}"'


def comparable(row, columns):
    """Numbers are written alike on both sides; NULL differs from an empty text."""
    return tuple("\\N" if value in (None, "\\N") else
                 repr(float(value)) if kind in ("INTEGER", "REAL") else value
                 for value, (_, kind) in zip(row, columns))


def cut_power(image, seed):
    """Loses parts of what the log holds after its last commit, sector by sector: none of that was
    promised to be on the disk. Commits stay: at any instant, all but the last have been synced, and the
    last one may have been."""
    wal = Path(f"{image}-wal")
    if not wal.exists() or wal.stat().st_size < 32:
        return
    content = bytearray(wal.read_bytes())
    page_size, = struct.unpack(">I", content[8:12])
    salts, end, kept = content[16:24], 32, 32
    while end + 24 + page_size <= len(content) and content[end + 8:end + 16] == salts:
        is_commit = content[end + 4:end + 8] != bytes(4)
        end += 24 + page_size
        if is_commit:
            kept = end
    chance = random.Random(seed)
    for sector in range(-(-kept // 512) * 512, len(content), 512):
        if chance.random() < 0.5:
            content[sector:sector + 512] = bytes(len(content[sector:sector + 512]))
    wal.write_bytes(content)
