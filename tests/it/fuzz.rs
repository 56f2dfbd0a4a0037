//! Whatever bytes come, no parser panics, and what it says holds together.
//!
//! `FUZZ` says how many inputs each parser gets, `SEED` which. They are good ones with a few bytes
//! changed, joined and cut, beside mere noise.

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use telemetron_sync::api::classify::{Received, classify};
use telemetron_sync::api::key::ApiKey;
use telemetron_sync::api::retry_after;
use telemetron_sync::domain::customer::{BrokenCustomer, Customer, is_json_object};
use telemetron_sync::domain::json::same_json;
use telemetron_sync::domain::outcome::Answer;
use telemetron_sync::source::{self, Location, SourceSettings};

use crate::support::random::count;

const ANSWERS: [&[u8]; 7] = [
    br#"{"id":"c1","organizationId":"o","name":"N","email":"a@x.io","devices":["d1","d2"],"orders":["o1"],"metadata":{"a":1},"createdAt":"2025-10-01T12:00:00Z"}"#,
    br#"{"id":"c","phone":null,"address":"x","metadata":null,"devices":null,"orders":[]}"#,
    br#"{"id":"\ud83d\ude00\u0000","extra":{"n":123456789012345678901234567890.5e-400},"x":[[[]]]}"#,
    br#"{"error":"Customer not found"}"#,
    br#"[{"id":"c"}]"#,
    b"<html><body>502</body></html>",
    b"null",
];

const LISTS: [&[u8]; 8] = [
    b"id,email,name\n1,a@x.io,\"A, B\"\n2,\"b@x.io\",\"say \"\"x\"\"\"\n",
    b"E-Mail;Name\r\na@x.io;\xe9\r\n;\r\n",
    b"\xef\xbb\xbfemail\ta\nx@y.z\t1\n",
    b"\xff\xfee\0m\0a\0i\0l\0\n\0a\0@\0x\0\n\0",
    b"a@x.io\nb@x.io\n\"two\nlines\"@x.io\n",
    b"sep=;\nemail;x\na@x.io;1\n",
    b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x4b\xcd\x4d\xcc\xcc\xe1\x02\0",
    b"\x28\xb5\x2f\xfd\x04\0\x31\0\0email\n",
];

const WAITS: [&[u8]; 6] = [
    b"120",
    b"Sun, 06 Nov 1994 08:49:37 GMT",
    b"Sunday, 06-Nov-94 08:49:37 GMT",
    b"Sun Nov  6 08:49:37 1994",
    b"18446744073709551615",
    b"-1.5e9",
];

/// A change of some bytes.
#[derive(Clone, Debug)]
enum Edit {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Cut(Index, Index),
    Repeat(Index, Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let telling = select(b"\"'{}[],:;\\\0\n\r\t@=\x80\xff09eE+-. ".to_vec());
    let byte = prop_oneof![telling, any::<u8>()];
    prop_oneof![
        (any::<Index>(), byte.clone()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (any::<Index>(), prop::collection::vec(byte, 1..5))
            .prop_map(|(at, it)| Edit::Insert(at, it)),
        any::<(Index, Index)>().prop_map(|(from, to)| Edit::Cut(from, to)),
        any::<(Index, Index)>().prop_map(|(from, to)| Edit::Repeat(from, to)),
    ]
}

fn edited(mut bytes: Vec<u8>, edits: Vec<Edit>) -> Vec<u8> {
    for edit in edits {
        let size = bytes.len() + 1;
        let span = |one: Index, other: Index| {
            let (one, other) = (one.index(size), other.index(size));
            one.min(other)..one.max(other)
        };
        match edit {
            Edit::Set(at, byte) => {
                if let Some(held) = bytes.get_mut(at.index(size)) {
                    *held = byte;
                }
            }
            Edit::Insert(at, more) => drop(bytes.splice(at.index(size)..at.index(size), more)),
            Edit::Cut(from, to) => drop(bytes.drain(span(from, to))),
            Edit::Repeat(from, to) => bytes.extend_from_within(span(from, to)),
        }
    }
    bytes
}

/// Bytes near `good` ones, and noise.
fn bytes_near(good: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    let near = (select(good), prop::collection::vec(edit(), 0..6));
    prop_oneof![
        9 => near.prop_map(|(good, edits)| edited(good.to_vec(), edits)),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

/// Runs `holds` on this many inputs, the same for the same seed.
fn fuzz(
    name: &str,
    usual: u64,
    good: &'static [&'static [u8]],
    holds: impl Fn(Vec<u8>) -> Result<(), TestCaseError>,
) {
    let cases = u32::try_from(count("FUZZ", usual)).expect("a number of inputs");
    let seed = RngSeed::Fixed(count("SEED", 7));
    let config = Config { cases, rng_seed: seed, failure_persistence: None, ..Config::default() };
    let tried = TestRunner::new(config).run(&bytes_near(good), holds);
    println!("figure: {name}: {cases} inputs");
    if let Err(error) = tried {
        panic!("{name}: {error}");
    }
}

#[test]
fn answers_of_any_bytes() {
    fuzz("answer parser", 20_000, &ANSWERS, |body| {
        let parsed = Customer::from_json(&body);
        let no_object = matches!(parsed, Err(BrokenCustomer::NoObject(_)));
        prop_assert_eq!(is_json_object(&body), !no_object);
        if let Ok(customer) = &parsed {
            prop_assert!(!customer.id.is_empty());
            for json in [customer.metadata.given().copied(), customer.extra.as_deref()]
                .into_iter()
                .flatten()
            {
                prop_assert!(is_json_object(json.as_bytes()), "{}", json);
                prop_assert!(same_json(json, json));
            }
        }
        let key = ApiKey::parse("key").expect("a key");
        let classify = |status| {
            let content_type = Some("application/json");
            classify(
                Received { email: "a@x.io", status, content_type, retry_after: None, body: &body },
                &key,
            )
        };
        if !body.starts_with(b"\xef\xbb\xbf") {
            prop_assert_eq!(matches!(classify(200), Answer::Found(_)), parsed.is_ok());
        }
        for status in [400, 401, 404, 429, 500, 302, 418] {
            let found = matches!(classify(status), Answer::Found(_));
            prop_assert!(!found, "HTTP {} is taken for a customer", status);
        }
        Ok(())
    });
}

#[test]
fn lists_of_any_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("list.csv");
    fuzz("CSV reader", 4_000, &LISTS, |bytes| {
        std::fs::write(&path, &bytes).expect("a file");
        let Ok(rows) = source::open(&SourceSettings::new(Location::File(path.clone()))) else {
            return Ok(());
        };
        let (mut last, mut seen) = (0, 0);
        for row in rows {
            let Ok(row) = row else { break };
            prop_assert!(row.row > last, "row {} after row {}", row.row, last);
            last = row.row;
            seen += 1;
        }
        // What was packed may hold more lines than it has bytes.
        let is_packed = bytes.starts_with(b"\x1f\x8b") || bytes.starts_with(b"\x28\xb5");
        prop_assert!(is_packed || seen <= bytes.len() + 1, "{} rows", seen);
        Ok(())
    });
}

#[test]
fn waits_of_any_bytes() {
    let now = Timestamp::from_second(784_111_770).expect("a time");
    fuzz("Retry-After parser", 20_000, &WAITS, |value| {
        let wait = retry_after::parse(&value, now);
        let text = String::from_utf8_lossy(&value);
        let digits = text.trim_matches([' ', '\t']);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_number {
            prop_assert_eq!(wait, digits.parse().ok().map(Duration::from_secs));
        } else {
            prop_assert!(wait.is_none() || digits.contains("GMT") || digits.contains(':'));
        }
        Ok(())
    });
}
