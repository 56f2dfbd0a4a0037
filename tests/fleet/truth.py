"""Compares all that is published of one organization with what the API answers.

    truth.py DATABASE ORGANIZATION KEY API LIST [API LIST]...

Each API and LIST (a file with one email a line, after a header) is a run over that list, in order. From the
answers it derives what the store must have become, and compares every public table of the schema `telemetron`;
it also replays the feed, which must yield each interval, and must hold each change once.
"""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from decimal import Decimal

database, organization, key, *rounds = sys.argv[1:]
rounds = list(zip(rounds[::2], rounds[1::2]))


def rows(table, order="1"):
    """The rows of the organization; their numbers are exact."""
    sql = f"SELECT * FROM telemetron.{table} WHERE organization_id = '{organization}' ORDER BY {order}"
    sql = f"SELECT coalesce(json_agg(q), '[]') FROM ({sql}) AS q"
    command = ["psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", database, "-c", sql]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, "PGTZ": "UTC"}).stdout
    return json.loads(out, parse_float=Decimal)


def same(what, found, expected):
    if found == expected:
        return
    if isinstance(found, Counter):
        found, expected = found - expected, expected - found
    elif isinstance(found, dict):
        differing = [name for name in {*found, *expected} if found.get(name) != expected.get(name)]
        found, expected = ({name: it.get(name) for name in differing[:3]} for it in (found, expected))
    sys.exit(f"{organization}, {what}: published {found}, the API's {expected}")


def check(what, condition):
    if not condition:
        sys.exit(f"{organization}: {what}")


class Answer:
    """A customer, as the API writes it."""

    def __init__(self, body):
        fields = json.loads(body, parse_float=Decimal)
        begin = body.index('"metadata":') + len('"metadata":')
        self.id = fields.pop("id")
        self.devices, self.orders = fields.pop("devices"), fields.pop("orders")
        metadata = fields.pop("metadata")
        # Their own names in the store, and the exact text of metadata.
        self.columns = {
            "organization_id": fields.pop("organizationId"),
            "email": fields.pop("email"),
            "name": fields.pop("name"),
            "phone": fields.pop("phone", None),
            "address": fields.pop("address", None),
            "metadata": body[begin : json.JSONDecoder().raw_decode(body, begin)[1]],
            "created_at": converted(fields.pop("createdAt")),
        }
        self.metadata_json = metadata
        self.extra = fields


def converted(text):
    try:
        at = datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(timezone.utc)
    except ValueError:
        return text
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z"


def ask(api, email):
    headers = {"x-api-key": key, "Content-Type": "application/json"}
    body = json.dumps({"email": email}).encode()
    request = urllib.request.Request(f"{api}/customer/queryCustomer", body, headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return Answer(answer.read().decode())
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise


class Model:
    """What a store becomes by these answers."""

    def __init__(self):
        self.lookups = {}  # email: customer id, or None
        self.customers = {}  # id: the last answer
        self.extra = {}
        self.changes = Counter()
        self.missing = set()

    def change(self, customer, kind, field=None, old=None, new=None):
        self.changes[customer, kind, field, old, new] += 1

    def run(self, answers):
        held = {id for id in self.lookups.values() if id}
        for email, answer in answers.items():
            self.lookups[email] = answer and answer.id
        # Several emails may resolve to one customer, which is answered alike within a run.
        for answer in {answer.id: answer for answer in answers.values() if answer}.values():
            self.take(answer)
        for id in held - {id for id in self.lookups.values() if id}:
            self.missing.add(id)
            self.change(id, "missing")
            self.lists(id, self.customers[id], None)

    def take(self, answer):
        id, old = answer.id, self.customers.get(answer.id)
        if old is None:
            new = json.dumps({"devices": answer.devices, "orders": answer.orders}, separators=(",", ":"))
            self.change(id, "created", new=new)
        else:
            for field, value in answer.columns.items():
                if field == "metadata" and old.metadata_json == answer.metadata_json:
                    continue
                if old.columns[field] != value:
                    self.change(id, "updated", field, old.columns[field], value)
            if id in self.missing:
                self.missing.remove(id)
                self.change(id, "returned")
                old = None
            self.lists(id, old, answer)
        self.customers[id] = answer
        self.extra[id] = {**self.extra.get(id, {}), **answer.extra}

    def lists(self, id, old, new):
        for name, ended, begun in (
            ("devices", "device_unassigned", "device_assigned"),
            ("orders", "order_removed", "order_added"),
        ):
            before, after = (set(getattr(it, name)) if it else set() for it in (old, new))
            for item in before - after:
                self.change(id, ended, old=item)
            for item in after - before:
                self.change(id, begun, new=item)


def lists_are_right(model, table, item, name, begin, after, end, begun, ended):
    """The open intervals are the API's lists, and the feed yields them all."""
    published = rows(table, "customer_id, n")
    found = {id: set() for id in model.customers}
    for row in published:
        check(f"{table} {row}: ends before it begins", row[end] is None or row[begin] <= row[end])
        check(f"{table} {row}: begins before it was not there", row[after] is None or row[after] <= row[begin])
        if row[end] is None:
            found[row["customer_id"]].add(row[item])
    lists = {id: set(getattr(answer, name)) for id, answer in model.customers.items()}
    same(table, found, {id: set() if id in model.missing else items for id, items in lists.items()})

    replayed, numbers = {}, Counter()
    for change in rows("changes", "seq"):
        id, at = change["customer_id"], change["at"]

        def opened(new, after_is_known):
            replayed[id, numbers[id]] = [new, at, None, after_is_known]
            numbers[id] += 1

        if change["kind"] == "created":
            for new in json.loads(change["new"])[name]:
                opened(new, False)
        elif change["kind"] == begun:
            opened(change["new"], True)
        elif change["kind"] == ended:
            (interval,) = (it for (of, _), it in replayed.items() if of == id and it[0] == change["old"] and not it[2])
            interval[2] = at
    intervals = {
        (row["customer_id"], row["n"]): [row[item], row[begin], row[end], row[after] is not None] for row in published
    }
    same(f"the feed and {table}", intervals, replayed)
    return len(published)


def customers_are_right(model):
    published = {row["id"]: row for row in rows("customers")}
    found = {
        id: {**{name: row[name] for name in answer.columns}, "json": row["metadata_json"], "extra": row["extra_json"]}
        for id, row in published.items()
        for answer in [model.customers.get(id)]
        if answer
    }
    expected = {
        id: {**answer.columns, "json": answer.metadata_json, "extra": model.extra[id] or None}
        for id, answer in model.customers.items()
    }
    same("the ids of customers", set(published), set(expected))
    same("customers", found, expected)
    same("missing customers", {id for id, row in published.items() if row["missing_since"]}, model.missing)
    for id, row in published.items():
        times = [row["first_seen_at"], row["changed_at"], row["missing_since"] or row["synced_at"]]
        check(f"{row}: times out of order", times == sorted(times))
        check(f"{row}: another text than JSON", (row["extra"] and json.loads(row["extra"], parse_float=Decimal)) == row["extra_json"])
        at = row["created_at_time"]
        check(f"{row}: another time", (at and converted(at)) == row["created_at"])
    return len(published)


def current_is_right(model):
    """The views of what holds now."""
    present = {id: answer for id, answer in model.customers.items() if id not in model.missing}
    found = {row["id"]: (row["devices"], row["orders"], row["name"]) for row in rows("current_customers")}
    counts = {
        id: (len(set(answer.devices)), len(set(answer.orders)), answer.columns["name"]) for id, answer in present.items()
    }
    same("current_customers", found, counts)
    for view, item, name in (("current_devices", "device_id", "devices"), ("current_orders", "order_id", "orders")):
        found = Counter((row["customer_id"], row["email"], row[item]) for row in rows(view))
        same(view, found, Counter(
            (id, answer.columns["email"], one) for id, answer in present.items() for one in set(getattr(answer, name))
        ))  # fmt: skip


def lookups_are_right(model, runs):
    found = {
        row["email"]: (row["outcome"], row["status"], row["error"], row["customer_id"]) for row in rows("lookups")
    }
    same("lookups", found, {
        email: ("found", 200, None, id) if id else ("not_found", 404, None, None)
        for email, id in model.lookups.items()
    })  # fmt: skip
    for row in rows("lookups"):
        check(f"{row}: no run, no attempt or no time", row["run_id"] in runs and row["attempts"] > 0 and row["answered_at"])
        check(f"{row}: a run that ended before", row["looked_up_at"] >= runs[row["run_id"]]["started_at"])
    return len(found)


def changes_are_right(model):
    published = rows("changes", "seq")
    found = Counter(tuple(row[name] for name in ("customer_id", "kind", "field", "old", "new")) for row in published)
    same("changes", found, model.changes)
    ids = [row["id"] for row in published]
    check("the feed is not in the order of the store", ids == sorted(set(ids)))
    return len(published)


def main():
    model = Model()
    for api, path in rounds:
        with open(path, encoding="utf-8") as file:
            emails = [line.strip() for line in file][1:]
        with ThreadPoolExecutor(16) as pool:
            model.run(dict(zip(emails, pool.map(lambda email: ask(api, email), emails))))
    runs = {row["id"]: row for row in rows("runs")}
    newest = runs[max(runs)]
    check(f"the last run is {newest}", newest["status"] == "complete" and newest["pending"] == 0)
    for table in ("rejects", "run_failures"):
        same(table, rows(table), [])
    lookups = lookups_are_right(model, runs)
    customers = customers_are_right(model)
    devices = lists_are_right(
        model, "device_assignments", "device_id", "devices", "assigned_at", "assigned_after", "unassigned_at",
        "device_assigned", "device_unassigned",
    )  # fmt: skip
    orders = lists_are_right(
        model, "orders", "order_id", "orders", "first_seen_at", "seen_after", "removed_at",
        "order_added", "order_removed",
    )  # fmt: skip
    current_is_right(model)
    changes = changes_are_right(model)
    print(
        f"{organization}: equal to the API in {lookups:,} lookups, {customers:,} customers, {devices:,} device "
        f"assignments, {orders:,} orders; {changes:,} changes, each once"
    )


main()
