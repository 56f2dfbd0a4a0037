use super::*;
use proptest::prelude::*;

const T0: &str = "2026-01-01T00:00:00.000Z";
const T1: &str = "2026-01-01T01:00:00.000Z";
const T2: &str = "2026-01-01T02:00:00.000Z";

fn answer(fields: &str) -> Customer<'static> {
    let rest = if fields.is_empty() { String::new() } else { format!(",{fields}") };
    Customer::from_json(format!(r#"{{"id":"c1"{rest}}}"#).leak().as_bytes()).unwrap()
}

fn first(answer: &Customer<'static>, at: &str) -> Merged<'static> {
    super::first(answer, &at.into())
}

fn merge(stored: &StoredCustomer, answer: &Customer<'static>, at: &str) -> Merged<'static> {
    super::merge(stored, answer, &at.into())
}

/// The customer as it is stored once `merged` was written.
fn stored(before: Option<&StoredCustomer>, merged: &Merged<'static>) -> StoredCustomer {
    let list = |before: Option<&StoredList>, merged: &MergedList<'_>| {
        let mut list = before.cloned().unwrap_or_default();
        for ended in &merged.close {
            list.open.retain(|interval| interval.n != ended.n);
            list.ended.insert(ended.id.clone(), ended.end.clone());
        }
        list.next += merged.open.len() as i64;
        list.open.extend(merged.open.iter().map(|new| OpenInterval {
            n: new.n,
            id: new.id.to_string(),
            begin: new.begin.clone(),
        }));
        list.listed_at = merged.listed_at.clone();
        list
    };
    let row = merged.row.clone().or(before.map(|stored| stored.row.clone()));
    let is_missing = merged.changes.first().is_some_and(|change| change.kind == Missing);
    StoredCustomer {
        key: 1,
        request: 1,
        row: row.unwrap_or_default(),
        missing_since: is_missing.then(|| merged.at.clone()),
        devices: list(before.map(|stored| &stored.devices), &merged.devices),
        orders: list(before.map(|stored| &stored.orders), &merged.orders),
    }
}

fn lose(stored: &StoredCustomer, at: &str) -> StoredCustomer {
    self::stored(Some(stored), &missing(stored, &at.into()))
}

/// What an end of intervals takes away.
fn lost(merged: &Merged<'_>) -> Lost {
    let ids = |list: &MergedList<'_>| list.close.iter().map(|one| one.id.clone()).collect();
    Lost { devices: ids(&merged.devices), orders: ids(&merged.orders) }
}

fn seen(fields: &str) -> StoredCustomer {
    stored(None, &first(&answer(fields), T0))
}

fn changes<'a>(merged: &'a Merged<'_>) -> Vec<(&'static str, Option<&'a str>, Option<&'a str>)> {
    let of = |change: &Change| change.field.unwrap_or(change.kind.name());
    let changes = merged.changes.iter();
    changes.map(|one| (of(one), one.old.as_deref(), one.new.as_deref())).collect()
}

#[test]
fn a_new_customer_is_one_change_and_was_there_at_first_sight() {
    let merged = first(&answer(r#""devices":["d1","d2"],"orders":["o1"]"#), T0);
    let lists = r#"{"devices":["d1","d2"],"orders":["o1"]}"#;
    assert_eq!(changes(&merged), [("created", None, Some(lists))]);
    assert!(merged.devices.open.iter().all(|one| one.after.is_none()));
    assert_eq!(merged.devices.open[1].n, 1);
    assert_eq!(merged.orders.open.len(), 1);
}

#[test]
fn the_same_answer_changes_nothing() {
    let fields = r#""name":"A","phone":"1","devices":["d1","d2"],"metadata":{"a":1,"b":2}"#;
    let again = r#""name":"A","phone":"1","devices":["d2","d1"],"metadata":{"b": 2,"a": 1}"#;
    let merged = merge(&seen(fields), &answer(again), T1);
    assert_eq!(merged.row, None);
    assert_eq!(merged.changes, []);
    assert_eq!((merged.devices.open, merged.devices.close), (vec![], vec![]));
}

#[test]
fn a_device_that_goes_and_comes_back_is_a_new_interval() {
    let first = seen(r#""devices":["d1","d2"]"#);
    let gone = merge(&first, &answer(r#""devices":["d2"]"#), T1);
    assert_eq!(changes(&gone), [("device_unassigned", Some("d1"), None)]);
    let ended = EndedInterval { n: 0, id: "d1".into(), end: T1.into() };
    assert_eq!(gone.devices.close, [ended]);
    let back = merge(&stored(Some(&first), &gone), &answer(r#""devices":["d1","d2"]"#), T2);
    assert_eq!(changes(&back), [("device_assigned", None, Some("d1"))]);
    let again = NewInterval { n: 2, id: "d1".into(), after: Some(T1.into()), begin: T2.into() };
    assert_eq!(back.devices.open, [again]);
}

#[test]
fn an_absent_list_says_nothing_and_an_empty_one_closes_all() {
    let first = seen(r#""devices":["d1"],"orders":["o1"]"#);
    let absent = merge(&first, &answer(r#""devices":null"#), T1);
    assert_eq!(absent.changes, []);
    assert_eq!(absent.devices.listed_at.as_deref(), Some(T0));
    let empty = merge(&first, &answer(r#""devices":[],"orders":[]"#), T1);
    assert_eq!(
        changes(&empty),
        [("device_unassigned", Some("d1"), None), ("order_removed", Some("o1"), None)]
    );
}

#[test]
fn the_first_list_is_first_sight_even_if_the_customer_is_known() {
    let first = seen("");
    let listed = merge(&first, &answer(r#""orders":["o1"]"#), T1);
    assert_eq!(changes(&listed), [("order_added", None, Some("o1"))]);
    assert_eq!(listed.orders.open[0].after, None);
    let unlisted = merge(&stored(Some(&first), &listed), &answer(""), T2);
    let more = stored(Some(&stored(Some(&first), &listed)), &unlisted);
    let more = merge(&more, &answer(r#""orders":["o1","o2"]"#), T2);
    assert_eq!(changes(&more), [("order_added", None, Some("o2"))]);
    assert_eq!(more.orders.open[0].after.as_deref(), Some(T1), "T2's answer held no list");
}

#[test]
fn each_field_that_differs_is_recorded() {
    let first = seen(r#""name":"A","email":"a@x","phone":"1","metadata":{"a":1.0}"#);
    let merged = merge(&first, &answer(r#""name":"B","metadata":{"a":1.00}"#), T1);
    assert_eq!(
        changes(&merged),
        [
            ("name", Some("A"), Some("B")),
            ("phone", Some("1"), None),
            ("metadata", Some(r#"{"a":1.0}"#), Some(r#"{"a":1.00}"#)),
        ]
    );
    assert_eq!(merged.row.unwrap().email.as_deref(), Some("a@x"), "left out says nothing");
}

#[test]
fn extra_is_kept_but_no_news() {
    let first = seen(r#""updatedAt":"x""#);
    let merged = merge(&first, &answer(r#""updatedAt":"y","tier":1"#), T1);
    assert_eq!(merged.changes, []);
    assert_eq!(merged.row.unwrap().extra.as_deref(), Some(r#"{"updatedAt":"y","tier":1}"#));
    assert_eq!(merge(&first, &answer(""), T1).row, None);
}

#[test]
fn a_missing_customer_returns_with_new_intervals() {
    let lost = lose(&seen(r#""name":"A","devices":["d1"],"orders":[]"#), T1);
    let merged = merge(&lost, &answer(r#""name":"A","devices":["d1","d2"]"#), T2);
    assert_eq!(
        changes(&merged),
        [
            ("returned", None, None),
            ("device_assigned", None, Some("d1")),
            ("device_assigned", None, Some("d2")),
        ]
    );
    assert!(merged.devices.open.iter().all(|one| one.after.as_deref() == Some(T1)));
}

#[test]
fn a_list_was_last_known_with_the_last_answer_that_held_it() {
    let first = seen(r#""devices":["d1"],"orders":["o1"]"#);
    let same = merge(&first, &answer(r#""devices":["d1"],"orders":["o1","o2"]"#), T1);
    assert_eq!(same.devices, MergedList { listed_at: Some(T1.into()), ..MergedList::default() });
    assert_eq!(same.orders.listed_at.as_deref(), Some(T1));
    assert_eq!(same.orders.open[0].after.as_deref(), Some(T0));
}

#[test]
fn metadata_that_is_written_in_another_way_stays_as_it_was() {
    let first = seen(r#""name":"A","metadata":{"a":1,"b":2}"#);
    let merged = merge(&first, &answer(r#""name":"B","metadata":{"b": 2, "a": 1}"#), T1);
    assert_eq!(changes(&merged), [("name", Some("A"), Some("B"))]);
    assert_eq!(merged.row.unwrap().metadata.as_deref(), Some(r#"{"a":1,"b":2}"#));
}

#[test]
fn what_a_missing_customer_had_ends() {
    let merged = missing(&seen(r#""devices":["d1"],"orders":["o1"]"#), &T1.into());
    assert_eq!(
        changes(&merged),
        [
            ("missing", None, None),
            ("device_unassigned", Some("d1"), None),
            ("order_removed", Some("o1"), None),
        ]
    );
    assert_eq!(merged.devices.listed_at.as_deref(), Some(T1));
    let never_listed = missing(&seen(r#""orders":["o1"]"#), &T1.into());
    assert_eq!(never_listed.devices.listed_at, None);
}

#[test]
fn a_customer_that_was_not_missing_after_all_has_again_what_it_had() {
    let before = seen(r#""devices":["d1","d2"],"orders":["o1"]"#);
    let before = stored(Some(&before), &merge(&before, &answer(r#""devices":["d2"]"#), T1));
    let gone = missing(&before, &T2.into());
    let missing = stored(Some(&before), &gone);
    let back = not_missing(&missing, lost(&gone), &"2026-01-01T03:00:00.000Z".into());
    assert_eq!(
        changes(&back),
        [
            ("returned", None, None),
            ("device_assigned", None, Some("d2")),
            ("order_added", None, Some("o1")),
        ]
    );
    assert_eq!(back.devices.open[0].after.as_deref(), Some(T2));
}

#[test]
fn a_list_that_comes_after_a_return_begins_after_the_last_interval_ended() {
    let lost = lose(&seen(r#""devices":["d1"]"#), T1);
    let returned = stored(Some(&lost), &merge(&lost, &answer(""), T1));
    let listed = merge(&returned, &answer(r#""devices":["d1"]"#), T2);
    assert_eq!(listed.devices.open[0].after.as_deref(), Some(T1));
}

#[test]
fn a_clock_that_jumps_makes_no_interval_end_before_it_begins() {
    let early = "2025-01-01T00:00:00.000Z";
    let before = seen(r#""devices":["d1","d2"]"#);
    let merged = merge(&before, &answer(r#""devices":["d3"]"#), early);
    assert_eq!(&*merged.at, early, "the time is that of the answer");
    assert!(merged.devices.close.iter().all(|one| &*one.end == T0));
    let opened = &merged.devices.open[0];
    assert_eq!((opened.after.as_deref(), &*opened.begin), (Some(early), early));
    let back = merge(&stored(Some(&before), &merged), &answer(r#""devices":["d1"]"#), early);
    let opened = &back.devices.open[0];
    assert_eq!((opened.after.as_deref(), &*opened.begin), (Some(T0), T0), "it had ended then");
}

#[test]
fn created_at_is_compared_in_the_stores_form() {
    let first = seen(r#""createdAt":"2025-10-01T12:00:00Z""#);
    assert_eq!(first.row.created_at.as_deref(), Some("2025-10-01T12:00:00.000Z"));
    assert_eq!(merge(&first, &answer(r#""createdAt":"2025-10-01T12:00:00.000Z""#), T1).row, None);
}

proptest! {
    #[test]
    fn the_feed_tells_of_every_interval_and_they_never_overlap(
        steps in proptest::collection::vec(
            (proptest::option::of(proptest::collection::hash_set("[a-d]", 0..4)), 0..9_u8, 0..4_u8),
            1..12,
        ),
    ) {
        let mut now: Option<StoredCustomer> = None;
        let mut lost_then = Lost::default();
        let mut replayed: HashSet<String> = HashSet::new();
        let mut ends: HashMap<String, String> = HashMap::new();
        for (list, hour, kind) in steps {
            let at = format!("2026-01-01T0{hour}:00:00.000Z");
            let devices = list.as_ref().map(|list| format!(r#""devices":{}"#, serde_json::json!(list)));
            let given = answer(&devices.unwrap_or_default());
            let merged = match &now {
                None => first(&given, &at),
                Some(stored) if kind == 0 && stored.missing_since.is_none() => {
                    let missing = missing(stored, &at.as_str().into());
                    lost_then = lost(&missing);
                    missing
                }
                Some(stored) if kind == 1 && stored.missing_since.is_some() => {
                    not_missing(stored, lost_then.clone(), &at.as_str().into())
                }
                Some(stored) => merge(stored, &given, &at),
            };
            let lists = [&merged.devices, &merged.orders];
            let ends_and_begins = lists.into_iter().flat_map(|list| {
                let ends = list.close.iter().map(|one| &one.end);
                ends.chain(list.open.iter().map(|one| &one.begin))
            });
            let times = merged.changes.iter().filter_map(|change| change.at.as_ref());
            prop_assert!(merged.changes[..].first().is_some_and(|it| it.kind == Created)
                || times.eq(ends_and_begins), "the feed has the times of the intervals");
            for change in &merged.changes {
                match (change.kind, &change.old, &change.new) {
                    (Created, _, Some(lists)) => {
                        let lists: Value = serde_json::from_str(lists).unwrap();
                        let ids = lists["devices"].as_array().unwrap().iter();
                        replayed = ids.map(|id| id.as_str().unwrap().to_owned()).collect();
                    }
                    (DeviceAssigned, _, Some(id)) => prop_assert!(replayed.insert(id.clone())),
                    (DeviceUnassigned, Some(id), _) => prop_assert!(replayed.remove(id)),
                    _ => {}
                }
            }
            for new in &merged.devices.open {
                let end = ends.get(&*new.id).map_or("", String::as_str);
                prop_assert!(new.after.as_deref().is_none_or(|after| end <= after && after <= &*new.begin));
                prop_assert!(end <= &*new.begin);
            }
            let begins = now.iter().flat_map(|stored| &stored.devices.open);
            let begins: HashMap<i64, Rc<str>> = begins.map(|one| (one.n, one.begin.clone())).collect();
            for ended in &merged.devices.close {
                prop_assert!(begins[&ended.n] <= ended.end);
                ends.insert(ended.id.clone(), ended.end.to_string());
            }
            now = Some(stored(now.as_ref(), &merged));
            let open = now.iter().flat_map(|stored| &stored.devices.open);
            let open: HashSet<String> = open.map(|interval| interval.id.clone()).collect();
            prop_assert_eq!(&open, &replayed);
            if let (Some(list), 2..) = (&list, kind) {
                prop_assert_eq!(&open, list, "the last list");
            }
        }
    }
}
