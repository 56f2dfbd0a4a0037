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
    /// Every byte, while the head has promised more of them.
    Short,
    /// Pieces of this many bytes, with a pause before each but the first.
    Pieces(usize, Duration),
    /// All that is there, then the connection breaks.
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

/// The time that what was sent before a reset has to arrive: the reset would overtake it.
const BEFORE_RESET: Duration = Duration::from_millis(5);

impl ReplyBody {
    /// All of `bytes`.
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self { rest: bytes, course: Course::Whole, waiting: None }
    }

    /// All of `bytes`, where more are promised.
    pub(super) fn short(bytes: Bytes) -> Self {
        Self { rest: bytes, course: Course::Short, waiting: None }
    }

    /// All of `bytes` in about `pieces` pieces.
    pub(super) fn slow(bytes: Bytes, pieces: u32, pause: Duration) -> Self {
        let size = bytes.len().div_ceil(pieces.max(1) as usize).max(1);
        Self { rest: bytes, course: Course::Pieces(size, pause), waiting: None }
    }

    /// The first half of `bytes`, then an error.
    pub(super) fn broken(mut bytes: Bytes) -> Self {
        bytes.truncate(bytes.len() / 2);
        Self { rest: bytes, course: Course::Broken, waiting: None }
    }

    /// Whether nothing follows but the break of the connection.
    fn ends_badly(&self) -> bool {
        matches!(self.course, Course::Short | Course::Broken)
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
            return Poll::Ready(None);
        }
        let piece = match self.course {
            Course::Whole | Course::Short => std::mem::take(&mut self.rest),
            Course::Pieces(size, pause) => {
                let size = size.min(self.rest.len());
                let piece = self.rest.split_to(size);
                self.waiting = (!self.rest.is_empty()).then(|| Box::pin(sleep(pause)));
                piece
            }
            Course::Broken => {
                self.waiting = Some(Box::pin(sleep(BEFORE_RESET)));
                std::mem::take(&mut self.rest)
            }
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && !self.ends_badly()
    }

    fn size_hint(&self) -> SizeHint {
        if self.ends_badly() {
            SizeHint::default()
        } else {
            SizeHint::with_exact(self.rest.len() as u64)
        }
    }
}
