//! The parts of the path, one by one.
//!
//! `cargo bench --bench parts` times all; a word after `--`, as in `-- store`, those whose name
//! holds it. Where a bench names items, their number a second is what to compare.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use std::rc::Rc;
use telemetron_sync::domain::customer::{Customer, CustomerBody};

fn main() {
    divan::main();
}

/// A customer as the API sends it: 4 devices, 6 orders, the sandbox's usual fields.
fn body(n: usize, first_device: usize) -> String {
    let list = |from: usize, upto: usize, prefix: &str| {
        let ids = (from..upto).map(|i| format!("\"{prefix}-{:08}\"", scattered(n * 16 + i)));
        ids.collect::<Vec<_>>().join(",")
    };
    format!(
        r#"{{"id":"cust_{:012x}","organizationId":"org_bench","name":"Carla Lindqvist",
            "email":"{}","address":"999 Sunset Dr, Ithaca, NY 14810",
            "devices":[{}],"orders":[{}],"metadata":{{"plan":"premium","tags":["de"]}},
            "createdAt":"2020-07-07T05:36:33.482Z"}}"#,
        scattered(n),
        email(n),
        list(first_device, first_device + 4, "TM"),
        list(8, 14, "ORD-2025"),
    )
}

/// Identifiers come in no order, which is what the text indexes have to bear.
fn scattered(n: usize) -> usize {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24
}

fn email(n: usize) -> String {
    format!("user{n}@example.com")
}

/// One that borrows from its body for as long as the process lasts.
fn customer(n: usize, first_device: usize) -> Customer<'static> {
    Customer::from_json(body(n, first_device).leak().as_bytes()).expect("a customer")
}

mod emails {
    use super::*;
    use telemetron_sync::domain::email::Email;

    #[divan::bench(args = ["ann@example.com", "  Ann.Lee+news@Example.COM ", "ann at example.com"])]
    fn normalise(text: &str) -> bool {
        Email::parse(black_box(text)).is_ok()
    }
}

mod plan {
    use super::*;
    use rusqlite::Connection;
    use std::convert::Infallible;
    use telemetron_sync::plan::build::{PlanSettings, PlanSummary, build};
    use telemetron_sync::source::InputRow;
    use telemetron_sync::stop_switch::StopSwitch;
    use telemetron_sync::store::{Store, runs};
    use telemetron_sync::time;

    const ROWS: u64 = 10_000;

    fn planned(store: &Connection) -> PlanSummary {
        let now = time::now();
        let run_id = runs::begin(store, "list.csv", &time::text(now)).expect("a run");
        let settings = PlanSettings { run_id, source: "list.csv".into(), max_age: None, now };
        let rows = (1..=ROWS)
            .map(|row| Ok::<_, Infallible>(InputRow::new(row, email(scattered(row as usize)))));
        let transaction = store.unchecked_transaction().expect("a transaction");
        let summary = build(&transaction, rows, &settings, &StopSwitch::default());
        transaction.commit().expect("a commit");
        summary.expect("a plan")
    }

    #[divan::bench(sample_count = 20)]
    fn new(bencher: Bencher<'_, '_>) {
        bencher
            .counter(ItemsCount::new(ROWS))
            .with_inputs(|| Store::temporary().expect("a store"))
            .bench_local_values(|store| (planned(&store.connection), store));
    }

    #[divan::bench(sample_count = 20)]
    fn known(bencher: Bencher<'_, '_>) {
        let store = Store::temporary().expect("a store");
        planned(&store.connection);
        bencher.counter(ItemsCount::new(ROWS)).bench_local(|| planned(&store.connection));
    }
}

mod answer {
    use super::*;
    use telemetron_sync::api::classify::{Received, classify};
    use telemetron_sync::api::key::ApiKey;
    use telemetron_sync::domain::json::same_json;
    use telemetron_sync::domain::outcome::Answer;

    #[divan::bench]
    fn from_json(bencher: Bencher<'_, '_>) {
        let body = body(1, 0);
        bencher
            .counter(BytesCount::of_str(&body))
            .bench(|| Customer::from_json(black_box(body.as_bytes())));
    }

    /// Read once to know that it is good, and its digest taken.
    #[divan::bench]
    fn checked(bencher: Bencher<'_, '_>) {
        let body = body(1, 0);
        bencher
            .counter(BytesCount::of_str(&body))
            .bench(|| CustomerBody::new(black_box(body.as_bytes())));
    }

    #[divan::bench(args = [200, 404, 503])]
    fn classified(bencher: Bencher<'_, '_>, status: u16) {
        let body = if status == 200 { body(1, 0) } else { r#"{"error":"not found"}"#.to_owned() };
        let key = ApiKey::parse("sandbox").unwrap();
        let content_type = Some("application/json");
        bencher.bench(|| -> Answer {
            let body = black_box(body.as_bytes());
            let status = black_box(status);
            classify(
                Received { email: "a@x.io", status, content_type, retry_after: None, body },
                &key,
            )
        });
    }

    #[divan::bench]
    fn same_metadata(bencher: Bencher<'_, '_>) {
        let (one, other) = (r#"{"plan":"pro","tags":["de"]}"#, r#"{"tags":["de"], "plan":"pro"}"#);
        bencher.bench(|| same_json(black_box(one), black_box(other)));
    }
}

mod merging {
    use super::*;
    use std::collections::HashMap;
    use telemetron_sync::store::merge::{
        Merged, MergedList, OpenInterval, StoredCustomer, StoredList,
    };
    use telemetron_sync::store::merge::{first, merge};

    fn at() -> Rc<str> {
        "2026-01-01T00:00:00.000Z".into()
    }

    fn later() -> Rc<str> {
        "2026-01-01T01:00:00.000Z".into()
    }

    /// The customer as it is stored after its first answer.
    fn stored(first: Merged<'static>) -> StoredCustomer {
        let list = |list: MergedList<'_>| StoredList {
            listed_at: list.listed_at,
            next: list.open.len() as i64,
            open: list
                .open
                .into_iter()
                .map(|one| OpenInterval { n: one.n, id: one.id.into_owned(), begin: one.begin })
                .collect(),
            ended: HashMap::new(),
        };
        StoredCustomer {
            key: 1,
            request: 1,
            row: first.row.unwrap_or_default(),
            missing_since: None,
            devices: list(first.devices),
            orders: list(first.orders),
        }
    }

    #[divan::bench]
    fn new(bencher: Bencher<'_, '_>) {
        let (answer, at) = (customer(1, 0), at());
        bencher.bench_local(|| first(black_box(&answer), &at));
    }

    #[divan::bench]
    fn unchanged(bencher: Bencher<'_, '_>) {
        let (answer, later) = (customer(1, 0), later());
        let stored = stored(first(&answer, &at()));
        bencher.bench_local(|| merge(black_box(&stored), black_box(&answer), &later));
    }

    #[divan::bench]
    fn one_device_changed(bencher: Bencher<'_, '_>) {
        let stored = stored(first(&customer(1, 0), &at()));
        let (answer, later) = (customer(1, 1), later());
        bencher.bench_local(|| merge(black_box(&stored), black_box(&answer), &later));
    }
}

mod store {
    use super::*;
    use telemetron_sync::domain::outcome::{Outcome, PlannedEmail, Settled};
    use telemetron_sync::store::Store;
    use telemetron_sync::store::customers::{Answered, Customers, Upserted};
    use telemetron_sync::store::lookups::{self, FinishedLookup};
    use telemetron_sync::time;

    const CUSTOMERS: usize = 1000;

    /// A store in which the emails of all customers are planned.
    struct PlannedStore {
        store: Store,
        requests: i64,
        _folder: tempfile::TempDir,
    }

    impl PlannedStore {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let store = Store::open(&folder.path().join("store.db")).expect("a store");
            let plan = store.connection.unchecked_transaction().expect("a transaction");
            for n in 0..CUSTOMERS {
                let key = n as i64 + 1;
                plan.execute("INSERT INTO _emails (key, email) VALUES (?1, ?2)", (key, email(n)))
                    .expect("an email");
                plan.execute("INSERT INTO _plan_items VALUES (1, ?1, ?1, ?1, NULL, NULL)", [key])
                    .expect("a planned email");
            }
            plan.commit().expect("a commit");
            Self { store, requests: 0, _folder: folder }
        }

        /// What the writer does with a batch.
        fn write(&mut self, answers: &[Settled]) {
            let batch = self.store.connection.unchecked_transaction().expect("a transaction");
            let mut customers = Customers::new(&batch, 1);
            for settled in answers {
                self.requests += 1;
                let at = Rc::from(time::text(settled.at));
                let Outcome::Found(body) = &settled.outcome else {
                    continue;
                };
                let answered = Answered { request: self.requests, at: &at };
                let known = settled.planned.key;
                let key = if customers.confirm(known, body, answered).expect("a look") {
                    known
                } else {
                    let customer = body.customer().expect("a customer");
                    let upserted = customers.upsert(&customer, body.digest(), answered);
                    match upserted.expect("a customer") {
                        Upserted::Stored { key, .. } | Upserted::Erased { key } => key,
                    }
                };
                let lookup = FinishedLookup { settled, resolves_to: Some(key), at: &at };
                lookups::settle(&batch, 1, lookup).expect("an outcome");
            }
            customers.finish().expect("what hangs on them");
            drop(customers);
            batch.commit().expect("a commit");
        }
    }

    fn found(n: usize, first_device: usize) -> CustomerBody {
        CustomerBody::new(body(n, first_device).as_bytes()).expect("a customer")
    }

    fn answers(first_device: usize) -> Vec<Settled> {
        let settled = |n: usize| Settled {
            planned: PlannedEmail {
                position: n as i64 + 1,
                key: n as i64 + 1,
                email: email(n),
                resolved_to: Some(n as i64 + 1),
            },
            outcome: Outcome::Found(Box::new(found(n, first_device))),
            status: Some(200),
            attempts: 1,
            request: 0,
            at: time::now(),
        };
        (0..CUSTOMERS).map(settled).collect()
    }

    #[divan::bench(sample_count = 20)]
    fn new(bencher: Bencher<'_, '_>) {
        let answers = answers(0);
        bencher
            .counter(ItemsCount::new(CUSTOMERS))
            .with_inputs(PlannedStore::new)
            .bench_local_values(|mut store| {
                store.write(&answers);
                store
            });
    }

    #[divan::bench(sample_count = 20)]
    fn unchanged(bencher: Bencher<'_, '_>) {
        let answers = answers(0);
        let mut store = PlannedStore::new();
        store.write(&answers);
        bencher.counter(ItemsCount::new(CUSTOMERS)).bench_local(|| store.write(&answers));
    }

    /// One device goes and another comes, forth and back.
    #[divan::bench(sample_count = 20)]
    fn one_device_changed(bencher: Bencher<'_, '_>) {
        let mut store = PlannedStore::new();
        store.write(&answers(0));
        let lists = [answers(1), answers(0)];
        let mut turns = lists.iter().cycle();
        bencher.counter(ItemsCount::new(CUSTOMERS)).bench_local(|| {
            store.write(turns.next().expect("no end"));
        });
    }
}

mod report {
    use super::*;
    use telemetron_sync::domain::counts::Counts;
    use telemetron_sync::domain::outcome::{ChangeKind, OutcomeKind};
    use telemetron_sync::domain::report_data::ReportData;
    use telemetron_sync::domain::run::RunReport;
    use telemetron_sync::report::Format;

    fn run() -> RunReport {
        let (source, at) = ("/data/list.csv".to_owned(), "2026-01-01T00:00:00.000Z".to_owned());
        let counts = Counts { rows: 100, planned: 100, pending: 100, ..Counts::default() };
        let mut run = RunReport::planned(1, source, at, counts);
        for kind in ChangeKind::ALL {
            run.changes.add(kind, 12_345);
        }
        run.warnings = vec!["mind | the <gap>".to_owned(); 3];
        run
    }

    #[divan::bench(args = [Format::Text, Format::Json, Format::Markdown, Format::Html, Format::Prom])]
    fn rendered(bencher: Bencher<'_, '_>, format: &Format) {
        let run = run();
        bencher.bench(|| format.render(black_box(&run), &ReportData::default()));
    }

    /// What the report's sums cost an email.
    #[divan::bench]
    fn summed(bencher: Bencher<'_, '_>) {
        bencher.with_inputs(run).bench_local_refs(|run| {
            run.counts.settle(black_box(OutcomeKind::Found));
            run.changes.add(black_box(ChangeKind::Created), 1);
        });
    }
}
