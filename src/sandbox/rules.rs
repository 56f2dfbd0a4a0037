//! The API's rules for a request: route, method, key, email.
//!
//! Pure: no clock, no I/O.

use std::borrow::Cow;

use serde::Deserialize;

use super::reply::{Reply, Request};

/// The path under which the vendor's API stands.
pub(super) const BASE_PATH: &str = "/api/ext-v1";

const ROUTE: &str = "/customer/queryCustomer";

/// The email that `request` may be answered for, or the refusal.
pub(super) fn check<'a>(request: &Request<'a>, key: &str) -> Result<&'a str, Reply> {
    if request.path.strip_prefix(BASE_PATH) != Some(ROUTE) {
        return Err(Reply::error(404, "Not found"));
    }
    if request.method != "POST" {
        return Err(Reply::error(405, "Method not allowed").header("allow", "POST"));
    }
    if request.key != Some(key) {
        return Err(key_refused());
    }
    match request.email.map(str::trim) {
        None | Some("") => Err(Reply::error(400, "Email is required")),
        Some(email) => Ok(email),
    }
}

/// The refusal of a key.
pub(super) fn key_refused() -> Reply {
    Reply::error(401, "Invalid or missing API key")
}

/// The answer when no customer has the email.
pub(super) fn not_found() -> Reply {
    Reply::error(404, "Customer not found")
}

/// The email that a body asks for, if it is a JSON object that has one.
pub(super) fn email_of(body: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Query<'a> {
        #[serde(borrow)]
        email: Cow<'a, str>,
    }
    // Serde would take a list for a struct's fields in their order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    serde_json::from_slice::<Query<'_>>(body).ok().map(|query| query.email)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn request() -> Request<'static> {
        Request {
            number: 1,
            at: Duration::ZERO,
            method: "POST",
            path: "/api/ext-v1/customer/queryCustomer",
            key: Some("right"),
            body: b"",
            email: Some("john@x.io"),
            attempt: 1,
        }
    }

    fn refusal(request: &Request<'_>) -> (u16, String) {
        let reply = check(request, "right").unwrap_err();
        (reply.status, String::from_utf8(reply.body.to_vec()).unwrap())
    }

    #[test]
    fn lets_a_good_request_through() {
        assert_eq!(check(&request(), "right").unwrap(), "john@x.io");
        let padded = Request { email: Some(" john@x.io\n"), ..request() };
        assert_eq!(check(&padded, "right").unwrap(), "john@x.io");
    }

    #[test]
    fn refuses_in_the_order_route_method_key_email() {
        let mut wrong = Request { path: "/api/ext-v1/customers", method: "GET", ..request() };
        wrong.key = None;
        wrong.email = None;
        assert_eq!(refusal(&wrong), (404, r#"{"error":"Not found"}"#.into()));
        wrong.path = request().path;
        assert_eq!(refusal(&wrong), (405, r#"{"error":"Method not allowed"}"#.into()));
        wrong.method = "POST";
        assert_eq!(refusal(&wrong), (401, r#"{"error":"Invalid or missing API key"}"#.into()));
        wrong.key = Some("Right");
        assert_eq!(refusal(&wrong).0, 401);
        wrong.key = Some("right");
        assert_eq!(refusal(&wrong), (400, r#"{"error":"Email is required"}"#.into()));
        wrong.email = Some(" \t");
        assert_eq!(refusal(&wrong).0, 400);
    }

    #[test]
    fn only_an_object_with_a_text_asks_for_an_email() {
        assert_eq!(email_of(br#" {"x":1,"email":"a@b"}"#).unwrap(), "a@b");
        assert_eq!(email_of(br#"{"email":"\u00e9@b"}"#).unwrap(), "é@b");
        for body in [
            &b""[..],
            b"null",
            b"[\"a@b\"]",
            b"{}",
            b"{\"email\":null}",
            b"{\"email\":7}",
            b"{\"email\":[\"a@b\"]}",
            b"{\"email\":\"a@b\"",
            b"{\"email\":\"\xff@b\"}",
            b"email=a@b",
        ] {
            assert_eq!(email_of(body), None, "{}", String::from_utf8_lossy(body));
        }
    }
}
