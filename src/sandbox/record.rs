//! A customer's JSON.
//!
//! Pure: no clock, no I/O.

use std::fmt::Write as _;

use super::customers::{self, Customer, Given};
use super::hash::{below, mix, pick};
use super::names;

/// The year in which revision 0 stands. Orders of later revisions belong to the next one.
pub(super) const THIS_YEAR: u64 = 2025;

/// The first year in which customers were created.
const FIRST_YEAR: u64 = 2019;

/// The bytes that nearly every customer's JSON fits in.
const USUAL_LENGTH: usize = 1024;

/// The text of a 200's body.
pub(super) fn write(customer: &Customer<'_>, organization: &str) -> String {
    let mut out = String::with_capacity(USUAL_LENGTH);
    out.push_str("{\"id\":\"cust_");
    push(&mut out, format_args!("{:012x}\"", customer.id >> 16));
    field(&mut out, "organizationId", organization);
    let (first, last) = customers::name(customer);
    out.push_str(",\"name\":\"");
    escaped(&mut out, &first);
    out.push(' ');
    escaped(&mut out, &last);
    out.push('"');
    field(&mut out, "email", &customer.email);
    optional(&mut out, "phone", customer.phone, phone);
    optional(&mut out, "address", customer.address, address);
    list(&mut out, "devices", &customer.devices, |out, hash| device(out, *hash));
    list(&mut out, "orders", &customer.orders, |out, order| {
        push(out, format_args!("ORD-{}-{:08}", order.year, below(order.number, 100_000_000)));
    });
    metadata(&mut out, customer);
    created_at(&mut out, customer.id);
    if below(mix(customer.id, 20), 100) < 3 {
        // Some deployments send it.
        push(&mut out, format_args!(",\"updatedAt\":\"{THIS_YEAR}-10-01T08:30:00Z\""));
    }
    out.push('}');
    out
}

/// The year in which the customer was created.
pub(super) fn created_year(id: u64) -> u64 {
    FIRST_YEAR + mix(id, 21) % (THIS_YEAR - FIRST_YEAR + 1)
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    let _ = out.write_fmt(text);
}

fn field(out: &mut String, name: &str, value: &str) {
    push(out, format_args!(",\"{name}\":\""));
    escaped(out, value);
    out.push('"');
}

fn optional(out: &mut String, name: &str, value: Given, text: fn(&mut String, u64)) {
    match value {
        Given::Absent => {}
        Given::Null => push(out, format_args!(",\"{name}\":null")),
        Given::Text(hash) => {
            push(out, format_args!(",\"{name}\":\""));
            text(out, hash);
            out.push('"');
        }
    }
}

fn list<T>(out: &mut String, name: &str, items: &[T], item: impl Fn(&mut String, &T)) {
    push(out, format_args!(",\"{name}\":["));
    for (n, one) in items.iter().enumerate() {
        out.push_str(if n == 0 { "\"" } else { ",\"" });
        item(out, one);
        out.push('"');
    }
    out.push(']');
}

fn phone(out: &mut String, hash: u64) {
    let area = pick(mix(hash, 1), &names::AREAS);
    push(out, format_args!("+1-{area}-555-01{:02}", below(hash, 100)));
}

fn address(out: &mut String, hash: u64) {
    let (city, state, zip) = pick(mix(hash, 1), &names::CITIES);
    let street = pick(mix(hash, 2), &names::STREETS);
    let number = 1 + below(mix(hash, 3), 1999);
    let rest = below(mix(hash, 4), 100);
    push(out, format_args!("{number} {street}, {city}, {state} {zip}{rest:02}"));
}

/// A serial number, or for two devices in five a MAC address.
fn device(out: &mut String, hash: u64) {
    if below(mix(hash, 1), 5) < 3 {
        push(out, format_args!("TM-{:04X}-{:04}", hash >> 48, hash % 10_000));
    } else {
        let maker = pick(mix(hash, 2), &names::MAKERS);
        let [a, b, c, ..] = hash.to_be_bytes();
        push(out, format_args!("{maker}:{a:02X}:{b:02X}:{c:02X}"));
    }
}

/// Free-form, so now and then with what is easily lost: depth, numbers beyond 64 bits or with an
/// unusual spelling, escapes.
fn metadata(out: &mut String, customer: &Customer<'_>) {
    let hash = mix(customer.id, 22);
    let plan = pick(mix(hash, 1), &names::PLANS);
    let language = pick(mix(hash, 2), &names::LANGUAGES);
    out.push_str(",\"metadata\":{");
    let start = out.len();
    match below(hash, 100) {
        0..30 => {}
        30..65 => push(out, format_args!("\"plan\":\"{plan}\",\"tags\":[\"{language}\"]")),
        65..88 => push(
            out,
            format_args!(
                "\"plan\":\"{plan}\",\"preferences\":{{\"language\":\"{language}\",\
                 \"newsletter\":{},\"contact\":{{\"channel\":\"sms\",\"hours\":[8,18]}}}}",
                hash & 1 == 0
            ),
        ),
        88..95 => out
            .push_str("\"loyaltyPoints\":12345678901234567890,\"balance\":1.50,\"discount\":1e-2"),
        _ => out.push_str("\"note\":\"asks for \\\"Zo\\u00eb\\\"\\nin the evening\",\"vip\":null"),
    }
    if customer.contacts > 0 {
        out.push_str(if out.len() == start { "" } else { "," });
        push(out, format_args!("\"contacts\":{}", customer.contacts));
    }
    out.push('}');
}

/// ISO 8601, in one of three spellings.
fn created_at(out: &mut String, id: u64) {
    let hash = mix(id, 23);
    let part = |n, len| below(mix(hash, n), len);
    let zone = match part(6, 10) {
        0 => ".482Z",
        1 => "+02:00",
        _ => "Z",
    };
    push(
        out,
        format_args!(
            ",\"createdAt\":\"{}-{:02}-{:02}T{:02}:{:02}:{:02}{zone}\"",
            created_year(id),
            1 + part(1, 12),
            1 + part(2, 28),
            part(3, 24),
            part(4, 60),
            part(5, 60),
        ),
    );
}

/// The text as it stands between the quotes of a JSON string.
fn escaped(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => push(out, format_args!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
}
