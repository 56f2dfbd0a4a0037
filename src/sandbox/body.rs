//! A reply's body on its way: whole, in pieces, or broken off.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// The body that the connection writes.
pub(super) struct ReplyBody {
    rest: Bytes,
    course: Course,
    waiting: Option<Pin<Box<Sleep>>>,
}

/// How a body goes out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Course {
    Whole,
    /// Pieces of this many bytes, with a pause before each but the first.
    Pieces(usize, Duration),
    /// All that is there, while the head has promised more. Then the connection breaks.
    Broken,
}

/// The connection breaks because the reply says so.
#[derive(Debug)]
pub(super) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reply cuts the connection")
    }
}

impl std::error::Error for Cut {}

/// The time that what was sent before a break has to leave and to arrive: a reset overtakes it.
const BEFORE_BREAK: Duration = Duration::from_millis(5);

impl ReplyBody {
    /// All of `bytes`.
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self { rest: bytes, course: Course::Whole, waiting: None }
    }

    /// All of `bytes` in about `pieces` pieces.
    pub(super) fn slow(bytes: Bytes, pieces: u32, pause: Duration) -> Self {
        let size = bytes.len().div_ceil(pieces.max(1) as usize).max(1);
        Self { rest: bytes, course: Course::Pieces(size, pause), waiting: None }
    }

    /// All of `bytes`, then an error.
    pub(super) fn broken(bytes: Bytes) -> Self {
        Self { rest: bytes, course: Course::Broken, waiting: None }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Some(waiting) = &mut self.waiting {
            std::task::ready!(waiting.as_mut().poll(context));
            self.waiting = None;
            if self.rest.is_empty() {
                return Poll::Ready(Some(Err(Cut)));
            }
        }
        if self.rest.is_empty() {
            return Poll::Ready((self.course == Course::Broken).then_some(Err(Cut)));
        }
        let piece = match self.course {
            Course::Whole => std::mem::take(&mut self.rest),
            Course::Pieces(size, pause) => {
                let size = size.min(self.rest.len());
                let piece = self.rest.split_to(size);
                self.waiting = (!self.rest.is_empty()).then(|| Box::pin(sleep(pause)));
                piece
            }
            Course::Broken => {
                self.waiting = Some(Box::pin(sleep(BEFORE_BREAK)));
                std::mem::take(&mut self.rest)
            }
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.course != Course::Broken
    }

    fn size_hint(&self) -> SizeHint {
        if self.course == Course::Broken {
            SizeHint::default()
        } else {
            SizeHint::with_exact(self.rest.len() as u64)
        }
    }
}
