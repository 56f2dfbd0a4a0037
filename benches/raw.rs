//! The yardstick: writes what a finished store holds once more, with nothing but SQLite.
//!
//! `cargo bench --bench raw -- STORE` copies the rows of STORE, made by one run over a list, into a
//! new store beside it: the program's schema, pragmas, commit size and indexes, but no request, no
//! JSON, no merging, and nothing read before it is written. It prints how many emails a second are
//! written so, and the CPU time of one:
//!
//! - `plan`: the emails and their places in the plan, in one transaction.
//! - `new`: all rows, customer by customer. `sorted` is the same with the devices and orders of a
//!   commit in the order of their indexes, as the program writes them.
//! - `upserted`: all rows once more, by statements that bear it that they are there, as a script that
//!   does not look before it writes has to.
//! - `unchanged`: only what differs when the same answer comes again, as if that were known.
//!   `looked-up` is the same after reading a customer's row and lists to find that out.
//!
//! Reading STORE is not timed; bringing the log into the database at the end is, as it is in a run.

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, Statement, ToSql, params, params_from_iter};
use std::env;
use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;
use telemetron_sync::store::Store;
use telemetron_sync::store::writer::BATCH_EMAILS;
use telemetron_sync::time;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Where the key stands among the columns of `customers`.
const KEY: usize = 13;

/// The run in the new store.
const RUN: i64 = 1;

/// The time of every answer in it.
const NEW: &str = "2026-01-01T00:00:00.000Z";

/// The time of every answer when the same emails are written again.
const AGAIN: &str = "2026-01-01T01:00:00.000Z";

fn main() -> Result<()> {
    // Cargo adds --bench.
    let Some(finished) = env::args().skip(1).find(|argument| !argument.starts_with('-')) else {
        println!("Nothing to copy. Usage: cargo bench --bench raw -- STORE");
        return Ok(());
    };
    let finished = PathBuf::from(finished);
    let folder = tempfile::tempdir_in(match finished.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    })?;
    let source = Source::open(&finished)?;
    println!("{:<10} {:>10} {:>12}", "raw", "emails/s", "CPU µs/email");
    let sorted = planned(&source, &folder.path().join("sorted.db"))?.0;
    report("sorted", write(&sorted, &source, Pass::Sorted)?, source.emails);
    drop(sorted);
    let (store, spent) = planned(&source, &folder.path().join("raw.db"))?;
    report("plan", spent, source.emails);
    report("new", write(&store, &source, Pass::New)?, source.emails);
    let again = [
        ("upserted", Pass::Upserted),
        ("unchanged", Pass::Unchanged),
        ("looked-up", Pass::LookedUp),
    ];
    for (what, pass) in again {
        store.connection.execute("UPDATE _plan_items SET first_lookup = NULL", [])?;
        store.checkpoint()?;
        report(what, write(&store, &source, pass)?, source.emails);
    }
    drop(store);
    fs::remove_dir_all(folder)?;
    Ok(())
}

/// A new store with the plan in it, and what that took.
fn planned(source: &Source, path: &Path) -> Result<(Store, Spent)> {
    let store = Store::open(path)?;
    let spent = plan(&store, source)?;
    store.checkpoint()?;
    Ok((store, spent))
}

fn report(what: &str, spent: Spent, emails: u64) {
    let rate = emails as f64 / spent.wall.as_secs_f64();
    let cpu = spent.cpu.as_secs_f64() * 1e6 / emails as f64;
    println!("{what:<10} {rate:>10.0} {cpu:>12.1}");
}

/// Time that was spent writing.
#[derive(Clone, Copy, Default)]
struct Spent {
    wall: Duration,
    cpu: Duration,
}

impl Spent {
    /// Adds what `work` takes.
    fn on(&mut self, work: impl FnOnce() -> rusqlite::Result<()>) -> Result<()> {
        let (began, cpu) = (time::instant(), cpu_time()?);
        work()?;
        self.cpu += cpu_time()? - cpu;
        self.wall += time::instant() - began;
        Ok(())
    }
}

/// What this thread, the only one, has run for so far. Zero where there is no such file.
fn cpu_time() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split(' ').next().unwrap_or_default();
    Ok(Duration::from_nanos(if nanoseconds.is_empty() { 0 } else { nanoseconds.parse()? }))
}

/// An email of the finished store, and the customer it leads to.
struct Looked {
    key: i64,
    email: String,
    customer: Option<Found>,
}

struct Found {
    /// `id` to `extra`, as in the schema.
    columns: Vec<Value>,
    devices: Vec<String>,
    orders: Vec<String>,
}

/// The store that is copied.
struct Source {
    connection: Connection,
    emails: u64,
}

impl Source {
    fn open(path: &Path) -> Result<Self> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let count = "SELECT count(*) FROM _emails WHERE looked_up_at IS NOT NULL";
        let emails: i64 = connection.query_row(count, [], |row| row.get(0))?;
        if emails == 0 {
            return Err(format!("{} holds no lookups", path.display()).into());
        }
        Ok(Self { connection, emails: emails.unsigned_abs() })
    }

    /// The next emails after `key`, in the order of the source.
    fn batch(&self, after: i64) -> Result<Vec<Looked>> {
        let mut select = self.connection.prepare_cached(
            "SELECT e.key, e.email, c.key, c.id, c.organization_id, c.email, c.name, c.phone,
                 c.address, c.metadata, c.created_at, c.extra
             FROM _emails AS e LEFT JOIN _customers AS c ON c.key = e.customer_key
             WHERE e.key > ?1 AND e.looked_up_at IS NOT NULL ORDER BY e.key LIMIT ?2",
        )?;
        let mut rows = select.query((after, BATCH_EMAILS as i64))?;
        let mut batch = Vec::new();
        while let Some(row) = rows.next()? {
            let customer = match row.get(2)? {
                None => None,
                Some(key) => Some(Found {
                    columns: (3..12).map(|n| row.get(n)).collect::<rusqlite::Result<_>>()?,
                    devices: self.list("device_id", "_device_intervals", key)?,
                    orders: self.list("order_id", "_order_intervals", key)?,
                }),
            };
            batch.push(Looked { key: row.get(0)?, email: row.get(1)?, customer });
        }
        Ok(batch)
    }

    fn list(&self, column: &str, table: &str, key: i64) -> rusqlite::Result<Vec<String>> {
        let select = format!("SELECT {column} FROM {table} WHERE customer_key = ?1 ORDER BY n");
        let mut select = self.connection.prepare_cached(&select)?;
        select.query_map([key], |row| row.get(0))?.collect()
    }

    /// Hands all emails over, batch by batch.
    fn each(&self, mut work: impl FnMut(&[Looked]) -> Result<()>) -> Result<()> {
        let mut after = 0;
        loop {
            let batch = self.batch(after)?;
            let Some(last) = batch.last() else {
                return Ok(());
            };
            after = last.key;
            work(&batch)?;
        }
    }
}

/// Writes the plan in one transaction.
fn plan(store: &Store, source: &Source) -> Result<Spent> {
    let mut spent = Spent::default();
    let transaction = store.connection.unchecked_transaction()?;
    let mut email = transaction.prepare("INSERT INTO _emails (key, email) VALUES (?1, ?2)")?;
    let mut item = transaction.prepare(
        "INSERT INTO _plan_items (run_id, position, email_key, row) VALUES (?1, ?2, ?3, ?3)",
    )?;
    source.each(|batch| {
        spent.on(|| {
            for one in batch {
                email.execute((one.key, &one.email))?;
                item.execute((RUN, position(one.key), one.key))?;
            }
            Ok(())
        })
    })?;
    drop((email, item));
    spent.on(|| transaction.commit())?;
    Ok(spent)
}

/// Emails never asked take the even positions.
fn position(key: i64) -> i64 {
    key * 2
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    New,
    Sorted,
    Upserted,
    Unchanged,
    LookedUp,
}

fn write(store: &Store, source: &Source, pass: Pass) -> Result<Spent> {
    let mut spent = Spent::default();
    let mut statements = Statements::new(&store.connection)?;
    source.each(|batch| {
        spent.on(|| {
            let transaction = store.connection.unchecked_transaction()?;
            if pass == Pass::Sorted {
                statements.waiting = Some(Waiting::default());
            }
            for one in batch {
                match pass {
                    Pass::New | Pass::Sorted => statements.new_email(&store.connection, one)?,
                    Pass::Upserted => statements.upserted_email(one)?,
                    Pass::Unchanged => statements.unchanged_email(one)?,
                    Pass::LookedUp => {
                        statements.look(one)?;
                        statements.unchanged_email(one)?;
                    }
                }
            }
            statements.write_waiting()?;
            transaction.commit()
        })
    })?;
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    spent.on(|| store.connection.query_row(checkpoint, [], |_| Ok(())))?;
    Ok(spent)
}

/// Devices and orders of a commit, which wait to be sorted: identifier, customer, number.
#[derive(Default)]
struct Waiting {
    devices: Vec<(String, i64, i64)>,
    orders: Vec<(String, i64, i64)>,
}

struct Statements<'a> {
    waiting: Option<Waiting>,
    upsert: Statement<'a>,
    same_device: Statement<'a>,
    same_order: Statement<'a>,
    customer: Statement<'a>,
    device: Statement<'a>,
    order: Statement<'a>,
    change: Statement<'a>,
    again: Statement<'a>,
    row: Statement<'a>,
    devices: Statement<'a>,
    orders: Statement<'a>,
    email: Statement<'a>,
    item: Statement<'a>,
}

impl<'a> Statements<'a> {
    fn new(store: &'a Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            waiting: None,
            upsert: store.prepare(
                "INSERT INTO _customers (
                     id, organization_id, email, name, phone, address, metadata, created_at, extra,
                     first_seen_at, changed_at, synced_at, request, devices_listed_at,
                     orders_listed_at
                 ) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?10, ?11, ?10, ?10)
                 ON CONFLICT (id) DO UPDATE SET organization_id = ?2, email = ?3, name = ?4,
                     phone = ?5, address = ?6, metadata = ?7, created_at = ?8, extra = ?9,
                     synced_at = ?10, request = ?11, devices_listed_at = ?10,
                     orders_listed_at = ?10
                 RETURNING key",
            )?,
            same_device: store.prepare(
                "INSERT INTO _device_intervals (customer_key, n, device_id, assigned_at)
                 VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            )?,
            same_order: store.prepare(
                "INSERT INTO _order_intervals (customer_key, n, order_id, first_seen_at)
                 VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            )?,
            customer: store.prepare(
                "INSERT INTO _customers (
                     id, organization_id, email, name, phone, address, metadata, created_at, extra,
                     first_seen_at, changed_at, synced_at, request, devices_listed_at,
                     orders_listed_at
                 ) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?10, ?11, ?10, ?10)",
            )?,
            device: store.prepare(
                "INSERT INTO _device_intervals (customer_key, n, device_id, assigned_at)
                 VALUES (?1, ?2, ?3, ?4)",
            )?,
            order: store.prepare(
                "INSERT INTO _order_intervals (customer_key, n, order_id, first_seen_at)
                 VALUES (?1, ?2, ?3, ?4)",
            )?,
            change: store.prepare(
                "INSERT INTO _changes (run_id, at, customer_key, kind)
                 VALUES (?1, ?2, ?3, 'created')",
            )?,
            again: store.prepare(
                "UPDATE _customers SET synced_at = ?2, request = ?3, devices_listed_at = ?2,
                     orders_listed_at = ?2
                 WHERE id = ?1 RETURNING key",
            )?,
            row: store.prepare("SELECT * FROM _customers WHERE id = ?1")?,
            devices: store.prepare(
                "SELECT n, device_id, unassigned_at FROM _device_intervals WHERE customer_key = ?1",
            )?,
            orders: store.prepare(
                "SELECT n, order_id, removed_at FROM _order_intervals WHERE customer_key = ?1",
            )?,
            email: store.prepare(
                "UPDATE _emails SET outcome = ?2, status = ?3, attempts = 1, run_id = ?4,
                     looked_up_at = ?5, customer_key = ?6, answered_at = ?5
                 WHERE key = ?1",
            )?,
            item: store.prepare(
                "UPDATE _plan_items SET first_lookup = 0 WHERE run_id = ?1 AND position = ?2",
            )?,
        })
    }

    fn new_email(&mut self, store: &Connection, one: &Looked) -> rusqlite::Result<()> {
        let mut leads_to = None;
        if let Some(found) = &one.customer {
            let columns = found.columns.iter().map(|column| column as &dyn ToSql);
            let rest: [&dyn ToSql; 2] = [&NEW, &one.key];
            self.customer.execute(params_from_iter(columns.chain(rest)))?;
            let key = store.last_insert_rowid();
            if let Some(waiting) = &mut self.waiting {
                waiting.devices.extend(rows(&found.devices).map(|(n, id)| (id.into(), key, n)));
                waiting.orders.extend(rows(&found.orders).map(|(n, id)| (id.into(), key, n)));
            } else {
                insert_list(&mut self.device, &found.devices, key)?;
                insert_list(&mut self.order, &found.orders, key)?;
            }
            self.change.execute((RUN, NEW, key))?;
            leads_to = Some(key);
        }
        self.settle(one, leads_to, NEW)
    }

    fn write_waiting(&mut self) -> rusqlite::Result<()> {
        let Some(Waiting { mut devices, mut orders }) = self.waiting.take() else {
            return Ok(());
        };
        for (list, insert) in [(&mut devices, &mut self.device), (&mut orders, &mut self.order)] {
            list.sort_unstable();
            for (id, key, n) in list {
                insert.execute((*key, *n, &*id, NEW))?;
            }
        }
        Ok(())
    }

    fn upserted_email(&mut self, one: &Looked) -> rusqlite::Result<()> {
        let mut leads_to = None;
        if let Some(found) = &one.customer {
            let columns = found.columns.iter().map(|column| column as &dyn ToSql);
            let rest: [&dyn ToSql; 2] = [&AGAIN, &one.key];
            let upsert = params_from_iter(columns.chain(rest));
            let key = self.upsert.query_row(upsert, |row| row.get(0))?;
            insert_list(&mut self.same_device, &found.devices, key)?;
            insert_list(&mut self.same_order, &found.orders, key)?;
            leads_to = Some(key);
        }
        self.settle(one, leads_to, AGAIN)
    }

    /// Reads what is stored of a customer, and does nothing with it.
    fn look(&mut self, one: &Looked) -> rusqlite::Result<()> {
        let Some(found) = &one.customer else {
            return Ok(());
        };
        let key: i64 = self.row.query_row([&found.columns[0]], |row| {
            let text = |n| row.get_ref(n).map(black_box);
            (0..KEY).try_for_each(|n| text(n).map(drop))?;
            row.get(KEY)
        })?;
        for list in [&mut self.devices, &mut self.orders] {
            let mut rows = list.query([key])?;
            while let Some(row) = rows.next()? {
                black_box((row.get_ref(0)?, row.get_ref(1)?, row.get_ref(2)?));
            }
        }
        Ok(())
    }

    fn unchanged_email(&mut self, one: &Looked) -> rusqlite::Result<()> {
        let mut leads_to = None;
        if let Some(found) = &one.customer {
            let request = one.key + (1 << 40);
            let again = params![found.columns[0], AGAIN, request];
            leads_to = Some(self.again.query_row(again, |row| row.get(0))?);
        }
        self.settle(one, leads_to, AGAIN)
    }

    fn settle(&mut self, one: &Looked, leads_to: Option<i64>, at: &str) -> rusqlite::Result<()> {
        let (outcome, status) =
            if leads_to.is_some() { ("found", 200) } else { ("not_found", 404) };
        self.email.execute(params![one.key, outcome, status, RUN, at, leads_to])?;
        self.item.execute((RUN, position(one.key)))?;
        Ok(())
    }
}

/// A list's rows: number and identifier.
fn rows(list: &[String]) -> impl Iterator<Item = (i64, &str)> {
    (0..).zip(list.iter().map(String::as_str))
}

fn insert_list(insert: &mut Statement<'_>, list: &[String], key: i64) -> rusqlite::Result<()> {
    for (n, id) in rows(list) {
        insert.execute((key, n, id, NEW))?;
    }
    Ok(())
}
