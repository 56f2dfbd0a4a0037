//! The bad replies: what each fault makes of a good one.

use std::io::{self, Write as _};
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use hyper::StatusCode;

use super::faults::Fault;
use super::incidents::RetryAfter;
use super::reply::{Delivery, Reply};

/// The size of a body that no client should hold, in MiB: above the 8 MiB that ours takes.
const HUGE_MIB: usize = 9;

/// What a small body inflates to, in MiB: enough that it is small on the wire by a factor of 500.
const BOMB_MIB: usize = 64;

/// Lists within lists: enough to use up the stack of a parser that does not count them.
const DEPTH: usize = 100_000;

/// A slow body comes in this many pieces, …
const PIECES: u32 = 20;

/// … with this pause between them.
const PAUSE: Duration = Duration::from_millis(100);

/// A host that cannot exist (RFC 2606), so that nothing leaves the machine.
const ELSEWHERE: &str = "https://elsewhere.invalid/api/ext-v1/customer/queryCustomer";

static MIB: [u8; 1 << 20] = [b'a'; 1 << 20];
const BEFORE: &str = "{\"id\":\"cust_0\",\"metadata\":{\"text\":\"";
const AFTER: &str = "\"}}";

/// `good` with `fault`.
pub(super) fn reply(good: Reply, fault: Fault, retry_after: RetryAfter) -> Reply {
    match fault {
        Fault::Status(status) => of_status(status),
        Fault::StatusRetryAfter(status) => with_retry_after(of_status(status), retry_after),
        Fault::MissingRoute => Reply::json(
            404,
            r#"{"timestamp":"2025-10-01T12:00:00Z","status":404,"error":"Not Found","path":"/"}"#,
        ),
        Fault::Timeout => good.deliver(Delivery::Never),
        Fault::Reset => good.deliver(Delivery::Reset),
        Fault::ResetMidway => good.deliver(Delivery::ResetMidway),
        Fault::Truncated => good.deliver(Delivery::Truncated),
        Fault::Slow => good.deliver(Delivery::Slowly { pieces: PIECES, pause: PAUSE }),
        Fault::NotJson => Reply::html(200, "Down for maintenance"),
        Fault::Null => Reply::json(200, "null"),
        Fault::CutJson => Reply::json(200, good.body.slice(..good.body.len() / 2)),
        Fault::WrongTypes => Reply::json(
            200,
            r#"{"id":12345,"email":null,"devices":"none","orders":[1,2],"metadata":[]}"#,
        ),
        Fault::Huge => Reply::json(200, HUGE.clone()),
        Fault::Deep => Reply::json(200, deep()),
        Fault::GzipBomb => Reply::json(200, BOMB.clone()).header("content-encoding", "gzip"),
    }
}

/// What a client gets that sends too many requests.
pub(super) fn too_many_requests(retry_after: RetryAfter) -> Reply {
    with_retry_after(of_status(429), retry_after)
}

/// As the API words its errors, or a page where one in front of it would answer.
fn of_status(status: u16) -> Reply {
    match status {
        400 => Reply::error(400, "Email is required"),
        401 => Reply::error(401, "Invalid or missing API key"),
        429 => Reply::error(429, "Too many requests"),
        500 => Reply::error(500, "Internal server error"),
        301..=308 => page(status).header("location", ELSEWHERE),
        _ => page(status),
    }
}

fn page(status: u16) -> Reply {
    let known = StatusCode::from_u16(status).ok();
    let reason = known.and_then(|status| status.canonical_reason()).unwrap_or("Unknown Error");
    Reply::html(status, &format!("{status} {reason}"))
}

fn with_retry_after(reply: Reply, retry_after: RetryAfter) -> Reply {
    match retry_after {
        RetryAfter::Seconds(seconds) => reply.header("retry-after", &seconds.to_string()),
        RetryAfter::None => reply,
    }
}

static HUGE: LazyLock<Bytes> =
    LazyLock::new(|| [BEFORE.as_bytes(), &MIB.repeat(HUGE_MIB), AFTER.as_bytes()].concat().into());

static BOMB: LazyLock<Bytes> = LazyLock::new(|| {
    let bomb = || -> io::Result<Vec<u8>> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(BEFORE.as_bytes())?;
        for _ in 0..BOMB_MIB {
            gzip.write_all(&MIB)?;
        }
        gzip.write_all(AFTER.as_bytes())?;
        gzip.finish()
    };
    bomb().expect("a Vec takes all that is written").into()
});

fn deep() -> String {
    let (open, close) = ("[".repeat(DEPTH), "]".repeat(DEPTH));
    format!("{{\"id\":\"cust_0\",\"metadata\":{{\"lists\":{open}{close}}}}}")
}
