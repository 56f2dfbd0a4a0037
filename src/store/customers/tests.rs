use super::*;
use crate::domain::outcome::ChangeKind;
use crate::store::Store;

/// What a commit of this one answer brings.
fn upsert(store: &Connection, json: &str, request: i64, at: &str) -> (i64, Vec<Change>) {
    let body = CustomerBody::new(json.as_bytes()).unwrap();
    let mut customers = Customers::new(store, 1);
    let answered = Answered { request, at: &at.into() };
    let upserted = customers.upsert(&body.customer().unwrap(), body.digest(), answered);
    customers.finish().unwrap();
    stored(upserted.unwrap())
}

fn stored(upserted: Upserted) -> (i64, Vec<Change>) {
    match upserted {
        Upserted::Stored { key, changes } => (key, changes),
        Upserted::Erased { key } => panic!("customer {key} is erased"),
    }
}

fn mark_missing(store: &Connection, key: i64, at: &str) -> Vec<Change> {
    Customers::new(store, 1).mark_missing(key, &at.into()).unwrap()
}

fn kinds(changes: &[Change]) -> Vec<&'static str> {
    changes.iter().map(|change| change.kind.name()).collect()
}

fn confirm(store: &Connection, key: i64, json: &str, request: i64, at: &str) -> bool {
    let body = CustomerBody::new(json.as_bytes()).unwrap();
    let answered = Answered { request, at: &at.into() };
    Customers::new(store, 1).confirm(key, &body, answered).unwrap()
}

/// All that is stored, as text.
fn dump(store: &Connection) -> Vec<String> {
    let tables = ["_customers", "_device_intervals", "_order_intervals", "_changes"];
    let rows = tables.map(|table| {
        let mut select = store.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = select.column_count();
        let row = |row: &Row<'_>| {
            let cell = |n| row.get::<_, rusqlite::types::Value>(n).map(|cell| format!("{cell:?}"));
            (0..columns).map(cell).collect::<Result<String>>()
        };
        select.query_map([], row).unwrap().collect::<Result<Vec<_>>>().unwrap()
    });
    rows.concat()
}

#[test]
fn an_older_request_changes_nothing() {
    let store = Store::temporary().unwrap().connection;
    let (new, old) = (r#"{"id":"c","name":"new"}"#, r#"{"id":"c","name":"old"}"#);
    let (key, _) = upsert(&store, new, 7, "b");
    assert_eq!(upsert(&store, old, 6, "c"), (key, vec![]));
    let name = "SELECT name FROM customers";
    assert_eq!(store.query_row(name, [], |row| row.get::<_, String>(0)).unwrap(), "new");
    assert_eq!(upsert(&store, old, 8, "d").1.len(), 1);
}

#[test]
fn what_is_confirmed_is_what_an_upsert_would_have_written() {
    for json in [
        r#"{"id":"c","name":"A","devices":["d1","d2"],"orders":[],"x":1}"#,
        r#"{"id":"c","devices":["d1"]}"#,
        r#"{"id":"c","orders":["o1"]}"#,
        r#"{"id":"c"}"#,
    ] {
        for at in ["2026-02", "2025-12"] {
            let stores = [(); 2].map(|()| Store::temporary().unwrap().connection);
            let [confirmed, upserted] = stores.each_ref().map(|store| {
                upsert(store, r#"{"id":"c","name":"B","devices":[],"orders":[]}"#, 1, "2025-11");
                upsert(store, json, 2, "2026-01").0
            });
            assert!(confirm(&stores[0], confirmed, json, 3, at), "{json}");
            assert_eq!(upsert(&stores[1], json, 3, at), (upserted, vec![]));
            assert_eq!(dump(&stores[0]), dump(&stores[1]), "{json} at {at}");
        }
    }
}

#[test]
fn only_what_is_stored_is_confirmed() {
    let store = Store::temporary().unwrap().connection;
    let json = r#"{"id":"c","devices":["d1"]}"#;
    let (key, _) = upsert(&store, json, 5, "b");
    let before = dump(&store);
    assert!(!confirm(&store, key + 1, json, 6, "c"), "another customer's key");
    assert!(!confirm(&store, key, r#"{"id":"c","devices":["d2"]}"#, 6, "c"), "other devices");
    assert!(!confirm(&store, key, json, 4, "c"), "an older request");
    assert_eq!(dump(&store), before);
    mark_missing(&store, key, "d");
    assert!(!confirm(&store, key, json, 6, "e"), "it was missing");
    upsert(&store, r#"{"id":"c","devices":["d2"]}"#, 7, "f");
    assert!(!confirm(&store, key, json, 8, "g"), "another answer has come since");
}

#[test]
fn several_answers_for_one_customer_in_a_commit_are_written_one_by_one() {
    let store = Store::temporary().unwrap().connection;
    let bodies = [r#"["d2","d1"]"#, r#"["d1","d3"]"#, r#"["d1","d3"]"#].map(|devices| {
        let json = format!(r#"{{"id":"c","devices":{devices}}}"#);
        CustomerBody::new(json.as_bytes()).unwrap()
    });
    let mut customers = Customers::new(&store, 1);
    let at = Rc::from("a");
    let changes = (1..).zip(&bodies).map(|(request, body)| {
        let answered = Answered { request, at: &at };
        let answer = body.customer().unwrap();
        stored(customers.upsert(&answer, body.digest(), answered).unwrap()).1.len()
    });
    assert_eq!(changes.collect::<Vec<_>>(), [1, 2, 0]);
    customers.finish().unwrap();
    let open = load_by_key(&store, 1).unwrap().unwrap().devices.open.into_iter();
    let open: Vec<_> = open.map(|interval| (interval.n, interval.id)).collect();
    assert_eq!(open, [(1, "d1".to_owned()), (2, "d3".to_owned())]);
}

#[test]
fn missing_is_told_once_and_closes_all() {
    let store = Store::temporary().unwrap().connection;
    let one = r#"{"id":"c","devices":["d1","d2"],"orders":["o1"]}"#;
    let (key, _) = upsert(&store, one, 1, "a");
    let ended = ["missing", "device_unassigned", "device_unassigned", "order_removed"];
    assert_eq!(kinds(&mark_missing(&store, key, "b")), ended);
    assert_eq!(mark_missing(&store, key, "c"), []);
    let open = "SELECT (SELECT count(*) FROM current_devices)
                     + (SELECT count(*) FROM current_orders)";
    assert_eq!(store.query_row(open, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    let (_, changes) = upsert(&store, one, 2, "d");
    let begun = ["returned", "device_assigned", "device_assigned", "order_added"];
    assert_eq!(kinds(&changes), begun);
    assert_eq!(store.query_row(open, [], |row| row.get::<_, i64>(0)).unwrap(), 3);
}

#[test]
fn a_customer_that_was_not_missing_after_all_has_again_what_it_had() {
    // Times sort as text; the second ones are those of a clock that was set back.
    for [missing, returned] in [["n", "o"], ["b", "c"]] {
        let store = Store::temporary().unwrap().connection;
        upsert(&store, r#"{"id":"c","devices":["d0","d1"],"orders":["o1"]}"#, 1, "m");
        let (key, _) = upsert(&store, r#"{"id":"c","devices":["d1"]}"#, 2, missing);
        let mut customers = Customers::new(&store, 1);
        assert_eq!(customers.unmark_missing(key, &missing.into()).unwrap(), []);
        customers.mark_missing(key, &missing.into()).unwrap();
        let back = customers.unmark_missing(key, &returned.into()).unwrap();
        customers.finish().unwrap();
        assert_eq!(kinds(&back), ["returned", "device_assigned", "order_added"]);
        let now = "SELECT c.missing_since IS NULL AND d.device_id = 'd1' AND o.order_id = 'o1'
             FROM customers AS c JOIN current_devices AS d ON d.customer_id = c.id
             JOIN current_orders AS o ON o.customer_id = c.id";
        assert!(store.query_row(now, [], |row| row.get::<_, bool>(0)).unwrap());
        let elsewhere =
            "SELECT count(*) FROM changes AS c WHERE kind GLOB 'device_*' AND NOT EXISTS
             (SELECT 1 FROM device_assignments WHERE device_id = coalesce(c.old, c.new)
                 AND c.at = iif(c.kind = 'device_assigned', assigned_at, unassigned_at))";
        let elsewhere = store.query_row(elsewhere, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(elsewhere, 0, "the feed has the times of the intervals");
    }
}

#[test]
fn an_erased_customer_is_created_anew_unless_it_was_forgotten() {
    let store = Store::temporary().unwrap().connection;
    let json = r#"{"id":"c","name":"A","devices":["d1"]}"#;
    let (key, _) = upsert(&store, json, 1, "a");
    let erase = |at| {
        crate::store::erase::erase(&store, ChangeOf { customer: key, run_id: Some(1), at }).unwrap()
    };
    assert_eq!(erase("b"), [(ChangeKind::Created, 1)]);
    let seen =
        "SELECT (SELECT count(*) FROM customers) || (SELECT count(*) FROM device_assignments)
         || (SELECT group_concat(kind) FROM changes)";
    let seen = || store.query_row(seen, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(seen(), "00erased");
    assert!(!confirm(&store, key, json, 2, "c"));
    let (again, changes) = upsert(&store, json, 2, "c");
    assert_eq!((again, kinds(&changes)), (key, vec!["created"]));
    assert_eq!(seen(), "11erased,created");
    erase("d");
    store.execute("INSERT INTO _tombstones VALUES (x'00', ?1, 'd')", [key]).unwrap();
    let body = CustomerBody::new(json.as_bytes()).unwrap();
    let answered = Answered { request: 3, at: &"e".into() };
    let mut customers = Customers::new(&store, 1);
    let refused = customers.upsert(&body.customer().unwrap(), body.digest(), answered);
    assert_eq!(refused.unwrap(), Upserted::Erased { key });
    assert_eq!(seen(), "00erased");
}
