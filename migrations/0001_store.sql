-- The store. Public names and columns are the contract for reporting (see the README); tables and
-- columns that the README does not name may change with any version.
--
-- Customers and emails have integer keys, and what hangs on a customer is clustered by that key:
-- measured with 4 devices and 6 orders a customer, this takes new customers 2.4 times as fast as
-- text keys do, because only the text indexes are written out of order.

PRAGMA application_id = 1414353753; -- "TMSY": tells a store from any other database

-- What the store is: one row.
CREATE TABLE store_info (
    only_row        INTEGER PRIMARY KEY CHECK (only_row = 1),
    program_version TEXT NOT NULL,      -- of the program that migrated it last
    organization_id TEXT,               -- the first seen, or --organization
    processes       INTEGER NOT NULL    -- that wrote here so far: the high part of request numbers
) STRICT;

CREATE TABLE runs (
    id             INTEGER PRIMARY KEY,
    started_at     TEXT NOT NULL,
    finished_at    TEXT,
    status         TEXT NOT NULL
                   CHECK (status IN ('running', 'complete', 'partial', 'stopped', 'failed')),
    stop_reason    TEXT,
    source         TEXT NOT NULL,
    rows           INTEGER NOT NULL,
    invalid        INTEGER NOT NULL,
    duplicate      INTEGER NOT NULL,
    fresh          INTEGER NOT NULL,
    planned        INTEGER NOT NULL,
    found          INTEGER NOT NULL DEFAULT 0,
    not_found      INTEGER NOT NULL DEFAULT 0,
    rejected       INTEGER NOT NULL DEFAULT 0,
    failed         INTEGER NOT NULL DEFAULT 0,
    pending        INTEGER NOT NULL,
    requests       INTEGER NOT NULL DEFAULT 0,
    retries        INTEGER NOT NULL DEFAULT 0,
    seconds        REAL NOT NULL DEFAULT 0,
    report         TEXT
) STRICT;

-- What a resumed run has to go on with, besides its report.
CREATE TABLE run_states (
    run_id         INTEGER PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    latencies      BLOB NOT NULL,       -- histogram
    known_answered INTEGER NOT NULL     -- emails that led to a customer before, answered since
                                        -- the run last ended cleanly
) STRICT;

CREATE INDEX runs_by_source ON runs (source);

CREATE TABLE customers (
    id                TEXT NOT NULL UNIQUE,
    organization_id   TEXT,
    email             TEXT,
    name              TEXT,
    phone             TEXT,
    address           TEXT,
    metadata          TEXT,
    created_at        TEXT,
    extra             TEXT,
    first_seen_at     TEXT NOT NULL,
    changed_at        TEXT NOT NULL,
    synced_at         TEXT NOT NULL,
    missing_since     TEXT,
    key               INTEGER PRIMARY KEY,
    request           INTEGER NOT NULL,     -- the number of the request whose answer holds
    devices_listed_at TEXT,                 -- last answer that held a list of devices
    orders_listed_at  TEXT                  -- last answer that held a list of orders
) STRICT;

CREATE INDEX customers_by_email ON customers (email);

-- An interval is [assigned_at, unassigned_at). n counts a customer's intervals from 0.
CREATE TABLE device_intervals (
    customer_key   INTEGER NOT NULL REFERENCES customers (key) ON DELETE CASCADE,
    n              INTEGER NOT NULL,
    device_id      TEXT NOT NULL,
    assigned_after TEXT,
    assigned_at    TEXT NOT NULL,
    unassigned_at  TEXT,
    PRIMARY KEY (customer_key, n)
) STRICT, WITHOUT ROWID;

CREATE INDEX device_intervals_by_device ON device_intervals (device_id);

CREATE TABLE order_intervals (
    customer_key  INTEGER NOT NULL REFERENCES customers (key) ON DELETE CASCADE,
    n             INTEGER NOT NULL,
    order_id      TEXT NOT NULL,
    seen_after    TEXT,
    first_seen_at TEXT NOT NULL,
    removed_at    TEXT,
    PRIMARY KEY (customer_key, n)
) STRICT, WITHOUT ROWID;

CREATE INDEX order_intervals_by_order ON order_intervals (order_id);

-- Every email ever planned. An email outlives its customer: it is the input's, not the customer's.
CREATE TABLE emails (
    key          INTEGER PRIMARY KEY,
    email        TEXT NOT NULL UNIQUE,
    outcome      TEXT CHECK (outcome IN ('found', 'not_found', 'rejected', 'failed')),
    status       INTEGER,
    error        TEXT,
    attempts     INTEGER NOT NULL DEFAULT 0,
    run_id       INTEGER,
    looked_up_at TEXT,
    customer_key INTEGER REFERENCES customers (key) ON DELETE SET NULL,
    answered_at  TEXT
) STRICT;

CREATE INDEX emails_by_customer ON emails (customer_key) WHERE customer_key IS NOT NULL;

-- The plans of runs that are not finished, in the order of asking. outcome NULL: pending.
CREATE TABLE plan_items (
    run_id    INTEGER NOT NULL,
    position  INTEGER NOT NULL,
    email_key INTEGER NOT NULL,
    row       INTEGER NOT NULL,
    input     TEXT,                     -- as it was read; NULL: the email itself
    outcome   TEXT,
    PRIMARY KEY (run_id, position)
) STRICT, WITHOUT ROWID;

-- What `emails` said before answers that may have to be taken back: kept until the run that
-- brought them has ended and was judged.
CREATE TABLE earlier_lookups (
    email_key      INTEGER PRIMARY KEY,
    run_id         INTEGER NOT NULL,
    position       INTEGER NOT NULL,
    doubt          TEXT NOT NULL CHECK (doubt IN ('key', 'outage')),    -- what would take it back
    outcome        TEXT,
    status         INTEGER,
    error          TEXT,
    attempts       INTEGER NOT NULL,
    earlier_run_id INTEGER,
    looked_up_at   TEXT,
    customer_key   INTEGER,
    answered_at    TEXT
) STRICT;

CREATE TABLE change_rows (
    id           INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice: readers remember the last
    run_id       INTEGER NOT NULL,
    at           TEXT NOT NULL,
    customer_key INTEGER NOT NULL REFERENCES customers (key) ON DELETE CASCADE,
    kind         TEXT NOT NULL,
    field        TEXT,
    old          TEXT,
    new          TEXT
) STRICT;

CREATE INDEX change_rows_by_customer ON change_rows (customer_key);

CREATE TABLE rejects (
    run_id   INTEGER NOT NULL,
    row      INTEGER NOT NULL,
    input    TEXT NOT NULL,
    code     TEXT NOT NULL,
    reason   TEXT NOT NULL,
    status   INTEGER,
    attempts INTEGER NOT NULL,
    PRIMARY KEY (run_id, row)
) STRICT, WITHOUT ROWID;

CREATE VIEW device_assignments AS
SELECT c.id AS customer_id, d.device_id, d.assigned_after, d.assigned_at, d.unassigned_at
FROM device_intervals AS d
JOIN customers AS c ON c.key = d.customer_key;

CREATE VIEW orders AS
SELECT c.id AS customer_id, o.order_id, o.seen_after, o.first_seen_at, o.removed_at
FROM order_intervals AS o
JOIN customers AS c ON c.key = o.customer_key;

CREATE VIEW current_devices AS
SELECT c.id AS customer_id, c.email, d.device_id, d.assigned_after, d.assigned_at, c.synced_at
FROM device_intervals AS d
JOIN customers AS c ON c.key = d.customer_key
WHERE d.unassigned_at IS NULL;

CREATE VIEW current_orders AS
SELECT c.id AS customer_id, c.email, o.order_id, o.seen_after, o.first_seen_at, c.synced_at
FROM order_intervals AS o
JOIN customers AS c ON c.key = o.customer_key
WHERE o.removed_at IS NULL;

CREATE VIEW lookups AS
SELECT
    e.email, e.outcome, e.status, e.error, e.attempts, e.run_id, e.looked_up_at,
    c.id AS customer_id, e.answered_at
FROM emails AS e
LEFT JOIN customers AS c ON c.key = e.customer_key;

CREATE VIEW changes AS
SELECT h.id, h.run_id, h.at, c.id AS customer_id, h.kind, h.field, h.old, h.new
FROM change_rows AS h
JOIN customers AS c ON c.key = h.customer_key;
