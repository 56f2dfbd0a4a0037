-- What `publish` writes. Names without a leading underscore are for reports: they have the names and the
-- columns of the store's public tables and views, with organization_id before each of them.
--
-- - Freshness, which every lookup rewrites, lies in narrow tables of its own behind the views `customers`
--   and `lookups`: an unchanged sync rewrites no wide row. No index is over what changes there, and pages
--   have room, so that PostgreSQL updates a row within its page (HOT).
-- - Text that has to come back exactly is text; where it is JSON or a time, it is so beside it, too.
-- - The program runs this in the schema that --schema names.

-- One row for each organization; whoever holds its lock publishes. `position` is where its store's log of
-- written rows was.
CREATE TABLE _publications (
    organization_id text PRIMARY KEY,
    store           text NOT NULL,
    epoch           bigint NOT NULL,    -- how many stores published for it, one after the other
    published_at    timestamptz NOT NULL,
    position        bigint NOT NULL,
    last_change     bigint NOT NULL,
    salt            bytea NOT NULL,     -- of the digests in _tombstones
    program_version text NOT NULL
);

-- The last `seq` given out. Its row is locked until the publication that raised it has committed, so a
-- reader who sees a seq has been able to see all smaller ones.
CREATE TABLE _feed (
    only_row integer PRIMARY KEY CHECK (only_row = 1),
    last_seq bigint NOT NULL
);
INSERT INTO _feed VALUES (1, 0);

CREATE TABLE _customers (
    organization_id text NOT NULL,
    id              text NOT NULL,
    email           text,
    name            text,
    phone           text,
    address         text,
    metadata        text,
    metadata_json   jsonb,
    created_at      text,
    created_at_time timestamptz,
    extra           text,
    extra_json      jsonb,
    first_seen_at   timestamptz NOT NULL,
    changed_at      timestamptz NOT NULL,
    missing_since   timestamptz,
    erased_at       timestamptz,
    PRIMARY KEY (organization_id, id)
);
CREATE INDEX _customers_by_email ON _customers (organization_id, email);
CREATE INDEX _customers_by_changed_at ON _customers (organization_id, changed_at);

CREATE TABLE _customers_synced (
    organization_id   text NOT NULL,
    id                text NOT NULL,
    synced_at         timestamptz NOT NULL,
    devices_listed_at timestamptz,
    orders_listed_at  timestamptz,
    PRIMARY KEY (organization_id, id)
) WITH (fillfactor = 75);

-- n counts a customer's intervals from 0.
CREATE TABLE device_assignments (
    organization_id text NOT NULL,
    customer_id     text NOT NULL,
    device_id       text NOT NULL,
    assigned_after  timestamptz,
    assigned_at     timestamptz NOT NULL,
    unassigned_at   timestamptz,
    n               bigint NOT NULL,
    PRIMARY KEY (organization_id, customer_id, n)
);
CREATE INDEX device_assignments_by_device ON device_assignments (organization_id, device_id);

CREATE TABLE orders (
    organization_id text NOT NULL,
    customer_id     text NOT NULL,
    order_id        text NOT NULL,
    seen_after      timestamptz,
    first_seen_at   timestamptz NOT NULL,
    removed_at      timestamptz,
    n               bigint NOT NULL,
    PRIMARY KEY (organization_id, customer_id, n)
);
CREATE INDEX orders_by_order ON orders (organization_id, order_id);

-- The key is the store's, by which an email is found that is no longer there.
CREATE TABLE _lookups (
    organization_id text NOT NULL,
    key             bigint NOT NULL,
    email           text NOT NULL,
    outcome         text,
    status          integer,
    error           text,
    customer_id     text,
    PRIMARY KEY (organization_id, key),
    UNIQUE (organization_id, email)
);

CREATE TABLE _lookups_answered (
    organization_id text NOT NULL,
    key             bigint NOT NULL,
    attempts        bigint NOT NULL,
    run_id          bigint,
    looked_up_at    timestamptz,
    answered_at     timestamptz,
    PRIMARY KEY (organization_id, key)
) WITH (fillfactor = 75);

CREATE TABLE changes (
    organization_id text NOT NULL,
    id              bigint NOT NULL,
    run_id          bigint,
    at              timestamptz NOT NULL,
    customer_id     text NOT NULL,
    kind            text NOT NULL,
    field           text,
    old             text,
    new             text,
    seq             bigint NOT NULL UNIQUE,
    PRIMARY KEY (organization_id, id)
);
CREATE INDEX changes_by_customer ON changes (organization_id, customer_id);
CREATE INDEX changes_by_at ON changes (organization_id, at);

CREATE TABLE rejects (
    organization_id text NOT NULL,
    run_id          bigint NOT NULL,
    "row"           bigint NOT NULL,
    input           text NOT NULL,
    code            text NOT NULL,
    reason          text NOT NULL,
    status          integer,
    attempts        bigint NOT NULL,
    PRIMARY KEY (organization_id, run_id, "row")
);

CREATE TABLE run_failures (
    organization_id text NOT NULL,
    run_id          bigint NOT NULL,
    code            text NOT NULL,
    count           bigint NOT NULL,
    last_reason     text NOT NULL,
    PRIMARY KEY (organization_id, run_id, code)
);

CREATE TABLE runs (
    organization_id text NOT NULL,
    id              bigint NOT NULL,
    started_at      timestamptz NOT NULL,
    finished_at     timestamptz,
    updated_at      timestamptz NOT NULL,
    status          text NOT NULL,
    stop_reason     text,
    source          text NOT NULL,
    rows            bigint NOT NULL,
    invalid         bigint NOT NULL,
    duplicate       bigint NOT NULL,
    fresh           bigint NOT NULL,
    planned         bigint NOT NULL,
    found           bigint NOT NULL,
    not_found       bigint NOT NULL,
    rejected        bigint NOT NULL,
    failed          bigint NOT NULL,
    pending         bigint NOT NULL,
    requests        bigint NOT NULL,
    retries         bigint NOT NULL,
    seconds         double precision NOT NULL,
    report          text,
    report_json     jsonb,
    PRIMARY KEY (organization_id, id)
);

CREATE TABLE _tombstones (
    organization_id text NOT NULL,
    digest          bytea NOT NULL,
    customer_id     text,
    at              timestamptz NOT NULL,
    PRIMARY KEY (organization_id, digest)
);

CREATE TABLE data_dictionary (
    table_name  text NOT NULL,
    column_name text NOT NULL,
    type        text NOT NULL,
    meaning     text NOT NULL,
    PRIMARY KEY (table_name, column_name)
);

CREATE VIEW publications AS
SELECT p.organization_id, p.store, p.epoch, p.published_at FROM _publications AS p;

CREATE VIEW customers AS
SELECT
    c.organization_id, c.id, c.email, c.name, c.phone, c.address, c.metadata, c.metadata_json,
    c.created_at, c.created_at_time, c.extra, c.extra_json, c.first_seen_at, c.changed_at,
    s.synced_at, c.missing_since
FROM _customers AS c
JOIN _customers_synced AS s ON s.organization_id = c.organization_id AND s.id = c.id
WHERE c.erased_at IS NULL;

CREATE VIEW current_customers AS
SELECT
    c.organization_id, c.id, c.email, c.name, c.phone, c.address, c.metadata, c.metadata_json,
    c.created_at, c.created_at_time, c.extra, c.extra_json, c.first_seen_at, c.changed_at,
    s.synced_at,
    (SELECT count(*) FROM device_assignments AS d
     WHERE d.organization_id = c.organization_id AND d.customer_id = c.id
         AND d.unassigned_at IS NULL) AS devices,
    (SELECT count(*) FROM orders AS o
     WHERE o.organization_id = c.organization_id AND o.customer_id = c.id
         AND o.removed_at IS NULL) AS orders
FROM _customers AS c
JOIN _customers_synced AS s ON s.organization_id = c.organization_id AND s.id = c.id
WHERE c.erased_at IS NULL AND c.missing_since IS NULL;

CREATE VIEW current_devices AS
SELECT
    d.organization_id, d.customer_id, c.email, d.device_id, d.assigned_after, d.assigned_at,
    s.synced_at
FROM device_assignments AS d
JOIN _customers AS c ON c.organization_id = d.organization_id AND c.id = d.customer_id
JOIN _customers_synced AS s ON s.organization_id = d.organization_id AND s.id = d.customer_id
WHERE d.unassigned_at IS NULL;

CREATE VIEW current_orders AS
SELECT
    o.organization_id, o.customer_id, c.email, o.order_id, o.seen_after, o.first_seen_at,
    s.synced_at
FROM orders AS o
JOIN _customers AS c ON c.organization_id = o.organization_id AND c.id = o.customer_id
JOIN _customers_synced AS s ON s.organization_id = o.organization_id AND s.id = o.customer_id
WHERE o.removed_at IS NULL;

CREATE VIEW lookups AS
SELECT
    l.organization_id, l.email, l.outcome, l.status, l.error, a.attempts, a.run_id, a.looked_up_at,
    l.customer_id, a.answered_at
FROM _lookups AS l
JOIN _lookups_answered AS a ON a.organization_id = l.organization_id AND a.key = l.key;
