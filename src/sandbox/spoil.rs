//! What each fault makes of a good reply.
//!
//! Pure: no clock, no I/O.

use std::io::{self, Write as _};
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::faults::Fault;
use super::reply::{Delivery, Reply};

/// The time that a Retry-After asks to wait, in seconds: short, since people look on.
pub(super) const RETRY_AFTER_SECONDS: &str = "1";

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
pub(super) fn spoil(good: Reply, fault: Fault) -> Reply {
    match fault {
        Fault::ServerError => Reply::error(500, "Internal server error"),
        Fault::BadGateway => Reply::html(502, "502 Bad Gateway"),
        Fault::Unavailable => Reply::html(503, "503 Service Unavailable"),
        Fault::UnavailableRetryAfter => {
            Reply::html(503, "503 Service Unavailable").header("retry-after", RETRY_AFTER_SECONDS)
        }
        Fault::TooMany => too_many(),
        Fault::Hang => good.deliver(Delivery::Never),
        Fault::Reset => good.deliver(Delivery::Reset),
        Fault::ResetMidway => good.deliver(Delivery::ResetMidway),
        Fault::Truncated => good.deliver(Delivery::Truncated),
        Fault::Slow => good.deliver(Delivery::Slowly { pieces: PIECES, pause: PAUSE }),
        Fault::Html => Reply::html(200, "Down for maintenance"),
        Fault::Null => Reply::json(200, "null"),
        Fault::CutJson => Reply::json(200, good.body.slice(..good.body.len() / 2)),
        Fault::WrongTypes => Reply::json(
            200,
            r#"{"id":12345,"email":null,"devices":"none","orders":[1,2],"metadata":[]}"#,
        ),
        Fault::Huge => Reply::json(200, HUGE.clone()),
        Fault::Deep => Reply::json(200, deep()),
        Fault::GzipBomb => Reply::json(200, BOMB.clone()).header("content-encoding", "gzip"),
        Fault::Found => Reply::html(302, "302 Found").header("location", ELSEWHERE),
        Fault::TemporaryRedirect => {
            Reply::html(307, "307 Temporary Redirect").header("location", ELSEWHERE)
        }
        Fault::LostRoute => Reply::html(404, "404 Not Found"),
    }
}

/// What a client hears that asks too often.
pub(super) fn too_many() -> Reply {
    Reply::error(429, "Too many requests").header("retry-after", RETRY_AFTER_SECONDS)
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
