//! The API's rules for a request: route, method, key, email.

use std::borrow::Cow;

use serde::Deserialize;

use super::reply::{Reply, Request};

/// The path of the vendor's base URL.
pub(super) const BASE_PATH: &str = "/api/ext-v1";

const ROUTE: &str = "/customer/queryCustomer";

/// Refuses what is not the one call that the sandbox serves.
pub(super) fn check_route(request: &Request<'_>) -> Result<(), Reply> {
    if request.path.strip_prefix(BASE_PATH) != Some(ROUTE) {
        return Err(Reply::error(404, "Not found"));
    }
    if request.method != "POST" {
        return Err(Reply::error(405, "Method not allowed").header("allow", "POST"));
    }
    Ok(())
}

/// The email of `request`, or the refusal if there is none.
pub(super) fn email<'a>(request: &Request<'a>) -> Result<&'a str, Reply> {
    match request.email.map(str::trim) {
        None | Some("") => Err(Reply::error(400, "Email is required")),
        Some(email) => Ok(email),
    }
}

pub(super) fn key_refused() -> Reply {
    Reply::error(401, "Invalid or missing API key")
}

pub(super) fn not_found() -> Reply {
    Reply::error(404, "Customer not found")
}

/// The email in a body, if it is a JSON object that has one.
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
            key: Some("key"),
            body: b"",
            email: Some("john@x.io"),
            attempt: 1,
        }
    }

    fn refusal<T: std::fmt::Debug>(result: Result<T, Reply>) -> (u16, String) {
        let reply = result.unwrap_err();
        (reply.status, String::from_utf8(reply.body.to_vec()).unwrap())
    }

    #[test]
    fn a_good_request_passes() {
        check_route(&request()).unwrap();
        assert_eq!(email(&request()).unwrap(), "john@x.io");
        let padded = Request { email: Some(" john@x.io\n"), ..request() };
        assert_eq!(email(&padded).unwrap(), "john@x.io");
    }

    #[test]
    fn a_wrong_route_a_wrong_method_and_no_email_are_refused() {
        let mut wrong = Request { path: "/api/ext-v1/customers", method: "GET", ..request() };
        assert_eq!(refusal(check_route(&wrong)), (404, r#"{"error":"Not found"}"#.into()));
        wrong.path = request().path;
        assert_eq!(refusal(check_route(&wrong)), (405, r#"{"error":"Method not allowed"}"#.into()));
        for none in [None, Some(""), Some(" \t")] {
            wrong.email = none;
            assert_eq!(refusal(email(&wrong)), (400, r#"{"error":"Email is required"}"#.into()));
        }
    }

    #[test]
    fn only_an_object_with_a_text_has_an_email() {
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
