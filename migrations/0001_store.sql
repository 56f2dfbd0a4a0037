-- The store. Names without a leading underscore are the contract for reports: views over private
-- tables, and `data_dictionary`, which says what each of their columns means. Names with one are
-- private and may change with any version.
--
-- What keeps it fast, each measured:
-- - Customers and emails have integer keys, and what belongs to a customer is clustered by that key:
--   with 4 devices and 6 orders a customer, this takes new customers 2.4 times as fast as text keys.
-- - A customer keeps a digest of its last answer, so that the same answer is recognized by one look at
--   the row: 6.4 in place of 14.6 us for an unchanged customer, for 17 bytes.
-- - A check compares with one value after the other: a list after IN is made a tree for each row.
-- - Times that every lookup rewrites (`synced_at`, `looked_up_at`, `answered_at`) have no index.
--
-- Columns of times are declared TIMESTAMP, which reporting tools recognize, and checked by typeof:
-- STRICT would allow no such type, and shuts out readers with SQLite before 3.37.
--
-- A table that is a view's only one has rowids: DuckDB runs the views itself, and counts by rowid.

PRAGMA application_id = 1414353753; -- "TMSY": tells a store from any other database

-- What the store is: one row.
CREATE TABLE _store (
    only_row        INTEGER PRIMARY KEY CHECK (only_row = 1),
    id              TEXT NOT NULL,      -- random, and stays with the store and its copies
    salt            BLOB NOT NULL,      -- random; salts the digests in _tombstones
    program_version TEXT NOT NULL,      -- of the program that migrated it last
    organization_id TEXT,               -- the first in a run that ended well, or --organization
    processes       INTEGER NOT NULL,   -- that wrote here so far: the high part of request numbers
    holder_pid      INTEGER,            -- the process that took the lock last
    holder_since    TIMESTAMP
);

CREATE TABLE _runs (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    started_at  TIMESTAMP NOT NULL CHECK (typeof(started_at) = 'text'),
    finished_at TIMESTAMP CHECK (finished_at IS NULL OR typeof(finished_at) = 'text'),
    updated_at  TIMESTAMP NOT NULL CHECK (typeof(updated_at) = 'text'),
    status      TEXT NOT NULL CHECK (status = 'running' OR status = 'complete' OR status = 'partial'
                                     OR status = 'stopped' OR status = 'failed'),
    stop_reason TEXT,
    source      TEXT NOT NULL,
    rows        INTEGER NOT NULL DEFAULT 0,
    invalid     INTEGER NOT NULL DEFAULT 0,
    duplicate   INTEGER NOT NULL DEFAULT 0,
    fresh       INTEGER NOT NULL DEFAULT 0,
    planned     INTEGER NOT NULL DEFAULT 0,
    found       INTEGER NOT NULL DEFAULT 0,
    not_found   INTEGER NOT NULL DEFAULT 0,
    rejected    INTEGER NOT NULL DEFAULT 0,
    failed      INTEGER NOT NULL DEFAULT 0,
    pending     INTEGER NOT NULL DEFAULT 0,
    requests    INTEGER NOT NULL DEFAULT 0,
    retries     INTEGER NOT NULL DEFAULT 0,
    seconds     REAL NOT NULL DEFAULT 0,
    report      TEXT,
    settings    TEXT                    -- JSON: the settings that a resume keeps
);

CREATE INDEX _runs_by_source ON _runs (source);

-- What a resumed run continues with, besides its report.
CREATE TABLE _run_states (
    run_id          INTEGER PRIMARY KEY REFERENCES _runs (id) ON DELETE CASCADE,
    latencies       BLOB NOT NULL,      -- histogram
    ended           INTEGER NOT NULL DEFAULT 0, -- 0: a process works on it, or was killed
    known_answered  INTEGER NOT NULL,   -- emails that resolved to a customer before, answered
    known_lost      INTEGER NOT NULL,   -- of these, that no longer resolve to it
    organization_id TEXT                -- the first that an answer of the run named
);

CREATE TABLE _run_failures (
    run_id      INTEGER NOT NULL REFERENCES _runs (id) ON DELETE CASCADE,
    code        TEXT NOT NULL,
    count       INTEGER NOT NULL,
    last_reason TEXT NOT NULL,
    PRIMARY KEY (run_id, code)
);

-- The course of a run: a few hundred points.
CREATE TABLE _run_series (
    run_id      INTEGER NOT NULL REFERENCES _runs (id) ON DELETE CASCADE,
    second      INTEGER NOT NULL,       -- of working time, over all processes of the run
    settled     INTEGER NOT NULL,       -- emails settled by then
    failed      INTEGER NOT NULL,       -- of these, rejected or failed
    concurrency INTEGER,                -- the limit at that time
    rate        REAL,                   -- the limit at that time, a second; NULL: none
    PRIMARY KEY (run_id, second)
) WITHOUT ROWID;

-- The limits that the last run against an API found, for the next one to start from.
CREATE TABLE _learned_limits (
    api_url     TEXT PRIMARY KEY NOT NULL,
    concurrency INTEGER,
    rate        REAL,
    at          TIMESTAMP NOT NULL CHECK (typeof(at) = 'text')
) WITHOUT ROWID;

-- A key is never used twice, so nothing that still names an erased customer can mean another.
CREATE TABLE _customers (
    id                TEXT NOT NULL UNIQUE,
    organization_id   TEXT,
    email             TEXT,
    name              TEXT,
    phone             TEXT,
    address           TEXT,
    metadata          TEXT,
    created_at        TEXT,
    extra             TEXT,
    first_seen_at     TIMESTAMP NOT NULL CHECK (typeof(first_seen_at) = 'text'),
    changed_at        TIMESTAMP NOT NULL CHECK (typeof(changed_at) = 'text'),
    synced_at         TIMESTAMP NOT NULL CHECK (typeof(synced_at) = 'text'),
    missing_since     TIMESTAMP CHECK (missing_since IS NULL OR typeof(missing_since) = 'text'),
    key               INTEGER PRIMARY KEY AUTOINCREMENT,
    request           INTEGER NOT NULL, -- the number of the request whose answer holds
    devices_listed_at TEXT,             -- when the list was last known: an answer, or missing_since
    orders_listed_at  TEXT,
    answer_digest     BLOB,             -- NULL: no answer is known to be the one stored
    erased_at         TEXT              -- not NULL: only the id is left, for the feed
);

CREATE INDEX _customers_by_email ON _customers (email);
CREATE INDEX _customers_by_changed_at ON _customers (changed_at);
CREATE INDEX _customers_by_missing_since ON _customers (missing_since)
    WHERE missing_since IS NOT NULL;
CREATE INDEX _customers_erased ON _customers (erased_at) WHERE erased_at IS NOT NULL;

-- An interval is [assigned_at, unassigned_at). n counts a customer's intervals from 0.
CREATE TABLE _device_intervals (
    customer_key   INTEGER NOT NULL REFERENCES _customers (key) ON DELETE CASCADE,
    n              INTEGER NOT NULL,
    device_id      TEXT NOT NULL,
    assigned_after TIMESTAMP CHECK (assigned_after IS NULL OR typeof(assigned_after) = 'text'),
    assigned_at    TIMESTAMP NOT NULL CHECK (typeof(assigned_at) = 'text'),
    unassigned_at  TIMESTAMP CHECK (unassigned_at IS NULL OR typeof(unassigned_at) = 'text'),
    PRIMARY KEY (customer_key, n)
) WITHOUT ROWID;

-- Who has a device now is answered by its index alone: twice as fast over all devices.
-- The times are indexed where they tell of a change: a backfill's rows are in neither index.
CREATE INDEX _device_intervals_by_device ON _device_intervals (device_id, unassigned_at);
CREATE INDEX _device_intervals_by_start ON _device_intervals (assigned_at)
    WHERE assigned_after IS NOT NULL;
CREATE INDEX _device_intervals_by_end ON _device_intervals (unassigned_at)
    WHERE unassigned_at IS NOT NULL;

CREATE TABLE _order_intervals (
    customer_key  INTEGER NOT NULL REFERENCES _customers (key) ON DELETE CASCADE,
    n             INTEGER NOT NULL,
    order_id      TEXT NOT NULL,
    seen_after    TIMESTAMP CHECK (seen_after IS NULL OR typeof(seen_after) = 'text'),
    first_seen_at TIMESTAMP NOT NULL CHECK (typeof(first_seen_at) = 'text'),
    removed_at    TIMESTAMP CHECK (removed_at IS NULL OR typeof(removed_at) = 'text'),
    PRIMARY KEY (customer_key, n)
) WITHOUT ROWID;

CREATE INDEX _order_intervals_by_order ON _order_intervals (order_id);
CREATE INDEX _order_intervals_by_start ON _order_intervals (first_seen_at)
    WHERE seen_after IS NOT NULL;
CREATE INDEX _order_intervals_by_end ON _order_intervals (removed_at)
    WHERE removed_at IS NOT NULL;

-- Every email ever planned. An email outlives its customer: it is the source's, not the customer's.
CREATE TABLE _emails (
    key          INTEGER PRIMARY KEY,
    email        TEXT NOT NULL UNIQUE,
    outcome      TEXT CHECK (outcome = 'found' OR outcome = 'not_found' OR outcome = 'rejected'
                             OR outcome = 'failed'),
    status       INTEGER,
    error        TEXT,
    attempts     INTEGER NOT NULL DEFAULT 0,
    run_id       INTEGER,
    looked_up_at TIMESTAMP CHECK (looked_up_at IS NULL OR typeof(looked_up_at) = 'text'),
    customer_key INTEGER REFERENCES _customers (key) ON DELETE SET NULL,
    answered_at  TIMESTAMP CHECK (answered_at IS NULL OR typeof(answered_at) = 'text')
);

CREATE INDEX _emails_by_customer ON _emails (customer_key) WHERE customer_key IS NOT NULL;

-- The plans of unfinished runs, in the order of their lookups. `first_lookup` takes no room whatever it
-- is, so a row is settled in place.
CREATE TABLE _plan_items (
    run_id       INTEGER NOT NULL,
    position     INTEGER NOT NULL,
    email_key    INTEGER NOT NULL,
    row          INTEGER NOT NULL,
    input        TEXT,                  -- as it was read; NULL: the email itself
    first_lookup INTEGER CHECK (first_lookup IS NULL OR first_lookup = 0 OR first_lookup = 1),
                                        -- NULL: pending; settled: 1 if nothing was known of the
                                        -- email before, else 0
    PRIMARY KEY (run_id, position)
) WITHOUT ROWID;

-- What `_emails` said before lookups that may yet be undone, unless nothing was known. Kept until the
-- run is complete.
CREATE TABLE _lookup_undo_log (
    run_id         INTEGER NOT NULL,
    email_key      INTEGER NOT NULL,
    position       INTEGER NOT NULL,
    reason         TEXT NOT NULL CHECK (reason = 'untrusted' OR reason = 'outage'),
    outcome        TEXT,
    status         INTEGER,
    error          TEXT,
    attempts       INTEGER NOT NULL,
    earlier_run_id INTEGER,
    looked_up_at   TIMESTAMP,
    customer_key   INTEGER,
    answered_at    TIMESTAMP,
    PRIMARY KEY (run_id, email_key)
) WITHOUT ROWID;

-- The feed. An id is never used twice: readers remember the last one they saw.
CREATE TABLE _changes (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id       INTEGER,               -- NULL: `forget`
    at           TIMESTAMP NOT NULL CHECK (typeof(at) = 'text'),
    customer_key INTEGER NOT NULL REFERENCES _customers (key) ON DELETE CASCADE,
    kind         TEXT NOT NULL,
    field        TEXT,
    old          TEXT,
    new          TEXT
);

CREATE INDEX _changes_by_customer ON _changes (customer_key);
CREATE INDEX _changes_by_at ON _changes (at);

CREATE TABLE _rejects (
    run_id   INTEGER NOT NULL,
    row      INTEGER NOT NULL,
    input    TEXT NOT NULL,
    code     TEXT NOT NULL,
    reason   TEXT NOT NULL,
    status   INTEGER,
    attempts INTEGER NOT NULL,
    PRIMARY KEY (run_id, row)
);

-- Emails whose people were erased. The digest is salted: only who has the email can ask for it.
CREATE TABLE _tombstones (
    digest       BLOB PRIMARY KEY NOT NULL,
    customer_key INTEGER REFERENCES _customers (key),   -- NULL: the email resolved to nobody
    at           TIMESTAMP NOT NULL CHECK (typeof(at) = 'text')
) WITHOUT ROWID;

CREATE INDEX _tombstones_by_customer ON _tombstones (customer_key) WHERE customer_key IS NOT NULL;

-- Which rows were written, in the order of the commits, so that a publication finds what is new since the
-- one before. It keeps keys and no data; the rows of a finished past are removed, all at its beginning, and
-- a publication that needs them compares everything instead. The first publication creates the triggers
-- that write it: they cost 11 % of the CPU time of new customers and 4 % of unchanged ones.
--
-- The freshness of a customer is not logged: it changes with an email that resolves to it.
CREATE TABLE _publish_log (
    n            INTEGER PRIMARY KEY,   -- above all that any process gave out before, as in _changes
    email_key    INTEGER,
    customer_key INTEGER,               -- the customer or its intervals
    run_id       INTEGER,               -- the run or its failures; with reject_row, that reject
    reject_row   INTEGER
);

-- The numbers that each process gave out: they differ between a store and a copy that went its own way.
CREATE TABLE _publish_log_processes (
    first INTEGER PRIMARY KEY,
    last  INTEGER                       -- NULL: the newest process
);

CREATE VIEW customers AS
SELECT
    c.id, c.organization_id, c.email, c.name, c.phone, c.address, c.metadata, c.created_at, c.extra,
    c.first_seen_at, c.changed_at, c.synced_at, c.missing_since
FROM _customers AS c
WHERE c.erased_at IS NULL;

CREATE VIEW current_customers AS
SELECT
    c.id, c.organization_id, c.email, c.name, c.phone, c.address, c.metadata, c.created_at, c.extra,
    c.first_seen_at, c.changed_at, c.synced_at,
    CAST((SELECT count(*) FROM _device_intervals AS d
          WHERE d.customer_key = c.key AND d.unassigned_at IS NULL) AS INTEGER) AS devices,
    CAST((SELECT count(*) FROM _order_intervals AS o
          WHERE o.customer_key = c.key AND o.removed_at IS NULL) AS INTEGER) AS orders
FROM _customers AS c
WHERE c.erased_at IS NULL AND c.missing_since IS NULL;

CREATE VIEW device_assignments AS
SELECT c.id AS customer_id, d.device_id, d.assigned_after, d.assigned_at, d.unassigned_at
FROM _device_intervals AS d
JOIN _customers AS c ON c.key = d.customer_key;

CREATE VIEW orders AS
SELECT c.id AS customer_id, o.order_id, o.seen_after, o.first_seen_at, o.removed_at
FROM _order_intervals AS o
JOIN _customers AS c ON c.key = o.customer_key;

-- Every interval has a customer. A left join lets SQLite leave the customers out of a query that does
-- not name them, which halves the time of finding shared devices.
CREATE VIEW current_devices AS
SELECT c.id AS customer_id, c.email, d.device_id, d.assigned_after, d.assigned_at, c.synced_at
FROM _device_intervals AS d
LEFT JOIN _customers AS c ON c.key = d.customer_key
WHERE d.unassigned_at IS NULL;

CREATE VIEW current_orders AS
SELECT c.id AS customer_id, c.email, o.order_id, o.seen_after, o.first_seen_at, c.synced_at
FROM _order_intervals AS o
JOIN _customers AS c ON c.key = o.customer_key
WHERE o.removed_at IS NULL;

CREATE VIEW lookups AS
SELECT
    e.email, e.outcome, e.status, e.error, e.attempts, e.run_id, e.looked_up_at,
    c.id AS customer_id, e.answered_at
FROM _emails AS e
LEFT JOIN _customers AS c ON c.key = e.customer_key;

CREATE VIEW changes AS
SELECT h.id, h.run_id, h.at, c.id AS customer_id, h.kind, h.field, h.old, h.new
FROM _changes AS h
JOIN _customers AS c ON c.key = h.customer_key;

CREATE VIEW rejects AS
SELECT r.run_id, r.row, r.input, r.code, r.reason, r.status, r.attempts FROM _rejects AS r;

CREATE VIEW run_failures AS
SELECT f.run_id, f.code, f.count, f.last_reason FROM _run_failures AS f;

CREATE VIEW runs AS
SELECT
    r.id, r.started_at, r.finished_at, r.updated_at, r.status, r.stop_reason, r.source, r.rows, r.invalid,
    r.duplicate, r.fresh, r.planned, r.found, r.not_found, r.rejected, r.failed, r.pending,
    r.requests, r.retries, r.seconds, r.report
FROM _runs AS r;

CREATE TABLE data_dictionary (
    table_name  TEXT NOT NULL,
    column_name TEXT NOT NULL,
    type        TEXT NOT NULL,
    meaning     TEXT NOT NULL,
    PRIMARY KEY (table_name, column_name)
);

INSERT INTO data_dictionary (table_name, column_name, type, meaning) VALUES
('customers', 'id', 'TEXT', 'The identifier that Telemetron gave the customer; it never changes.'),
('customers', 'organization_id', 'TEXT', 'The identifier of the organization that the customer belongs to.'),
('customers', 'email', 'TEXT', 'The customer''s own email address, which may differ from the one that was looked up.'),
('customers', 'name', 'TEXT', 'The customer''s full name.'),
('customers', 'phone', 'TEXT', 'The phone number; empty if Telemetron does not give one.'),
('customers', 'address', 'TEXT', 'The postal address; empty if Telemetron does not give one.'),
('customers', 'metadata', 'TEXT', 'Additional data about the customer, as a JSON object exactly as Telemetron sent it.'),
('customers', 'created_at', 'TEXT', 'When the customer was created at Telemetron, in UTC; as it was sent if it is not a time.'),
('customers', 'extra', 'TEXT', 'Further fields that Telemetron sent and that have no column here, as a JSON object; empty if there are none.'),
('customers', 'first_seen_at', 'TIMESTAMP', 'When Telemetron first answered with this customer.'),
('customers', 'changed_at', 'TIMESTAMP', 'When a change of the customer, its devices or its orders was last seen.'),
('customers', 'synced_at', 'TIMESTAMP', 'When Telemetron last answered with this customer.'),
('customers', 'missing_since', 'TIMESTAMP', 'Since when none of your email addresses finds the customer any more; empty if one does.'),
('current_customers', 'id', 'TEXT', 'The identifier that Telemetron gave the customer; it never changes.'),
('current_customers', 'organization_id', 'TEXT', 'The identifier of the organization that the customer belongs to.'),
('current_customers', 'email', 'TEXT', 'The customer''s own email address, which may differ from the one that was looked up.'),
('current_customers', 'name', 'TEXT', 'The customer''s full name.'),
('current_customers', 'phone', 'TEXT', 'The phone number; empty if Telemetron does not give one.'),
('current_customers', 'address', 'TEXT', 'The postal address; empty if Telemetron does not give one.'),
('current_customers', 'metadata', 'TEXT', 'Additional data about the customer, as a JSON object exactly as Telemetron sent it.'),
('current_customers', 'created_at', 'TEXT', 'When the customer was created at Telemetron, in UTC; as it was sent if it is not a time.'),
('current_customers', 'extra', 'TEXT', 'Further fields that Telemetron sent and that have no column here, as a JSON object; empty if there are none.'),
('current_customers', 'first_seen_at', 'TIMESTAMP', 'When Telemetron first answered with this customer.'),
('current_customers', 'changed_at', 'TIMESTAMP', 'When a change of the customer, its devices or its orders was last seen.'),
('current_customers', 'synced_at', 'TIMESTAMP', 'When Telemetron last answered with this customer.'),
('current_customers', 'devices', 'INTEGER', 'The number of devices assigned to the customer now.'),
('current_customers', 'orders', 'INTEGER', 'The number of orders listed for the customer now.'),
('device_assignments', 'customer_id', 'TEXT', 'The customer to whom the device was assigned.'),
('device_assignments', 'device_id', 'TEXT', 'The identifier of the device, such as a serial number.'),
('device_assignments', 'assigned_after', 'TIMESTAMP', 'When the device was last seen not to be assigned yet: it was assigned between this time and assigned_at; empty if the customer had it from the first answer on.'),
('device_assignments', 'assigned_at', 'TIMESTAMP', 'When the device was first seen with the customer.'),
('device_assignments', 'unassigned_at', 'TIMESTAMP', 'When the customer was first seen without the device again; empty if the device is assigned now.'),
('orders', 'customer_id', 'TEXT', 'The customer who placed the order.'),
('orders', 'order_id', 'TEXT', 'The identifier of the order.'),
('orders', 'seen_after', 'TIMESTAMP', 'When the order was last seen not to be listed yet: it was placed between this time and first_seen_at; empty if the customer had it from the first answer on.'),
('orders', 'first_seen_at', 'TIMESTAMP', 'When the order was first seen.'),
('orders', 'removed_at', 'TIMESTAMP', 'When the order was first seen to be gone from the customer''s orders; empty if it is listed now.'),
('current_devices', 'customer_id', 'TEXT', 'The customer to whom the device is assigned now.'),
('current_devices', 'email', 'TEXT', 'The customer''s own email address.'),
('current_devices', 'device_id', 'TEXT', 'The identifier of the device, such as a serial number.'),
('current_devices', 'assigned_after', 'TIMESTAMP', 'When the device was last seen not to be assigned yet: it was assigned between this time and assigned_at; empty if the customer had it from the first answer on.'),
('current_devices', 'assigned_at', 'TIMESTAMP', 'When the device was first seen with the customer.'),
('current_devices', 'synced_at', 'TIMESTAMP', 'When Telemetron last answered with this customer.'),
('current_orders', 'customer_id', 'TEXT', 'The customer whose orders list this one now.'),
('current_orders', 'email', 'TEXT', 'The customer''s own email address.'),
('current_orders', 'order_id', 'TEXT', 'The identifier of the order.'),
('current_orders', 'seen_after', 'TIMESTAMP', 'When the order was last seen not to be listed yet: it was placed between this time and first_seen_at; empty if the customer had it from the first answer on.'),
('current_orders', 'first_seen_at', 'TIMESTAMP', 'When the order was first seen.'),
('current_orders', 'synced_at', 'TIMESTAMP', 'When Telemetron last answered with this customer.'),
('lookups', 'email', 'TEXT', 'An email address from your list or database, with the letters A to Z in lower case and without stray characters.'),
('lookups', 'outcome', 'TEXT', 'The result of the last lookup: found, not_found, rejected or failed; empty before the first.'),
('lookups', 'status', 'INTEGER', 'The HTTP status of the last response, such as 200 for found and 404 for not found; empty if there was no response.'),
('lookups', 'error', 'TEXT', 'Why the last lookup brought no answer; empty if it brought one.'),
('lookups', 'attempts', 'INTEGER', 'How many requests the last lookup took, repeated ones included.'),
('lookups', 'run_id', 'INTEGER', 'The number of the run that did the last lookup.'),
('lookups', 'looked_up_at', 'TIMESTAMP', 'When the email was last looked up, whatever the result.'),
('lookups', 'customer_id', 'TEXT', 'The customer that the last answer found under this email address; empty if there is none.'),
('lookups', 'answered_at', 'TIMESTAMP', 'When Telemetron last answered, with a customer or that there is none; a failed lookup does not change it.'),
('changes', 'id', 'INTEGER', 'The number of the change: later changes have greater numbers, so remember the last one you saw to ask for what is new.'),
('changes', 'run_id', 'INTEGER', 'The number of the run that saw the change; empty if the customer was erased on request.'),
('changes', 'at', 'TIMESTAMP', 'When the change was seen.'),
('changes', 'customer_id', 'TEXT', 'The customer that changed.'),
('changes', 'kind', 'TEXT', 'What happened: created, updated, device_assigned, device_unassigned, order_added, order_removed, missing, returned or erased.'),
('changes', 'field', 'TEXT', 'Which column of customers changed, if the kind is updated; otherwise empty.'),
('changes', 'old', 'TEXT', 'What was there before: the old value of the field, or the device or order that the customer no longer has.'),
('changes', 'new', 'TEXT', 'What is there now: the new value of the field, or the device or order that the customer got; for created, all devices and orders as JSON.'),
('rejects', 'run_id', 'INTEGER', 'The number of the run that could not use the row.'),
('rejects', 'row', 'INTEGER', 'The line of the source on which the row starts.'),
('rejects', 'input', 'TEXT', 'The text that was found there instead of, or as, an email address; kept until the next run of the same source has a plan.'),
('rejects', 'code', 'TEXT', 'The kind of problem, as a short name that stays the same.'),
('rejects', 'reason', 'TEXT', 'What is wrong, in words.'),
('rejects', 'status', 'INTEGER', 'The HTTP status of the last response; empty if there was none.'),
('rejects', 'attempts', 'INTEGER', 'How many requests were made; 0 if the row holds no valid email address.'),
('run_failures', 'run_id', 'INTEGER', 'The number of the run in which email addresses failed or were rejected.'),
('run_failures', 'code', 'TEXT', 'The kind of failure, as a short name that stays the same.'),
('run_failures', 'count', 'INTEGER', 'How many email addresses of the run ended that way.'),
('run_failures', 'last_reason', 'TEXT', 'What went wrong with the last of them, in words.'),
('runs', 'id', 'INTEGER', 'The number of the run.'),
('runs', 'started_at', 'TIMESTAMP', 'When the run started.'),
('runs', 'finished_at', 'TIMESTAMP', 'When the run ended; empty while it runs, or if it was killed.'),
('runs', 'updated_at', 'TIMESTAMP', 'When the run was last written by the process that worked on it, every few seconds: if the status is running and this is more than a minute ago, the process was killed, and the run can be resumed.'),
('runs', 'status', 'TEXT', 'The state of the run: running, complete, partial (done, but some email addresses failed), stopped (it can be resumed) or failed.'),
('runs', 'stop_reason', 'TEXT', 'Why the run ended early; empty if it did not.'),
('runs', 'source', 'TEXT', 'Where the email addresses came from.'),
('runs', 'rows', 'INTEGER', 'How many rows were read from the source.'),
('runs', 'invalid', 'INTEGER', 'How many rows hold no valid email address.'),
('runs', 'duplicate', 'INTEGER', 'How many rows repeat the email address of an earlier row.'),
('runs', 'fresh', 'INTEGER', 'How many rows were skipped because the answer is recent enough, or because the person was erased.'),
('runs', 'planned', 'INTEGER', 'How many email addresses were to be looked up: the rows that are not invalid, duplicate or fresh.'),
('runs', 'found', 'INTEGER', 'How many of the planned email addresses found a customer.'),
('runs', 'not_found', 'INTEGER', 'How many of the planned email addresses Telemetron has no customer for.'),
('runs', 'rejected', 'INTEGER', 'How many of the planned email addresses Telemetron refused as not valid.'),
('runs', 'failed', 'INTEGER', 'How many of the planned email addresses got no usable answer, even after retries.'),
('runs', 'pending', 'INTEGER', 'How many of the planned email addresses are still to be looked up.'),
('runs', 'requests', 'INTEGER', 'How many requests were sent to Telemetron.'),
('runs', 'retries', 'INTEGER', 'How many of the requests repeated an earlier one for the same email address.'),
('runs', 'seconds', 'REAL', 'How long the run worked, in seconds; the time between a stop and a resume does not count.'),
('runs', 'report', 'TEXT', 'The whole report of the run, as JSON.'),
('data_dictionary', 'table_name', 'TEXT', 'The name of a table or view for reports.'),
('data_dictionary', 'column_name', 'TEXT', 'The name of one of its columns.'),
('data_dictionary', 'type', 'TEXT', 'The type of the column: TEXT, INTEGER, REAL (a number with decimals) or TIMESTAMP (a time in UTC).'),
('data_dictionary', 'meaning', 'TEXT', 'What the column contains, in a sentence.');
