//! Response bodies: bytes in one piece, slices spliced together, or a stream.

use std::{
    collections::VecDeque,
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures::Stream;
use http_body::{Frame, SizeHint};

/// The body of the server's answers.
///
/// Its data comes in the same pieces for the same seed and requests. An error means that the connection broke, as a
/// client on a socket would see it.
pub struct Body {
    content: Content,
}

enum Content {
    Pieces { pieces: VecDeque<Bytes>, left: u64 },
    Stream(Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>),
}

impl Body {
    /// A body without content.
    pub fn empty() -> Self {
        Self::pieces(VecDeque::new())
    }

    /// A body in one piece.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self::pieces(VecDeque::from([bytes.into()]))
    }

    pub(crate) fn pieces(pieces: VecDeque<Bytes>) -> Self {
        let left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self {
            content: Content::Pieces { pieces, left },
        }
    }

    pub(crate) fn stream(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self {
            content: Content::Stream(Box::pin(stream)),
        }
    }

    /// Length in bytes, unless it is a stream.
    pub(crate) fn known_len(&self) -> Option<u64> {
        match &self.content {
            Content::Pieces { left, .. } => Some(*left),
            Content::Stream(_) => None,
        }
    }

    /// All bytes, unless it is a stream.
    pub(crate) fn into_bytes(self) -> Result<Bytes, Self> {
        match self.content {
            Content::Pieces { mut pieces, left } => {
                if pieces.len() <= 1 {
                    return Ok(pieces.pop_front().unwrap_or_default());
                }
                let mut out = BytesMut::with_capacity(usize::try_from(left).unwrap_or_default());
                pieces.iter().for_each(|piece| out.extend_from_slice(piece));
                Ok(out.freeze())
            }
            content @ Content::Stream(_) => Err(Self { content }),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("len", &self.known_len())
            .finish_non_exhaustive()
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut self.get_mut().content {
            Content::Pieces { pieces, left } => {
                let chunk = coalesce(pieces);
                *left -= chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
                Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
            }
            Content::Stream(stream) => stream
                .as_mut()
                .poll_next(cx)
                .map(|item| item.map(|chunk| chunk.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.content, Content::Pieces { left: 0, .. })
    }

    fn size_hint(&self) -> SizeHint {
        self.known_len()
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Pieces of this size and more travel as they are; copying smaller ones together is cheaper than sending them alone.
const WHOLE: usize = 4096;
/// Small pieces are gathered up to about this size.
const GATHER: usize = 16 * 1024;

/// Takes the next piece, or several small ones copied together.
pub(crate) fn coalesce(pieces: &mut VecDeque<Bytes>) -> Option<Bytes> {
    let first = loop {
        match pieces.pop_front() {
            Some(piece) if piece.is_empty() => {}
            other => break other?,
        }
    };
    let next_is_small = |pieces: &VecDeque<Bytes>| pieces.front().is_some_and(|piece| piece.len() < WHOLE);
    if first.len() >= WHOLE || !next_is_small(pieces) {
        return Some(first);
    }
    let mut out = BytesMut::with_capacity(GATHER + WHOLE);
    out.extend_from_slice(&first);
    while out.len() < GATHER && next_is_small(pieces) {
        if let Some(piece) = pieces.pop_front() {
            out.extend_from_slice(&piece);
        }
    }
    Some(out.freeze())
}
