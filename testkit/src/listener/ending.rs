//! How a connection ends when a fault, or the end of the server, cuts its answer short.
//!
//! hyper forgets what it has buffered as soon as a body or a handler fails. A client would then get fewer bytes than the
//! fault promised. So a failure is not told to hyper: it is noted here, the answer stays silent, hyper flushes what it
//! has, and the socket fails once that is done.

use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body::{Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::body::Body;

/// How a connection ends before its answer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Closed, as by a server that stops.
    Closed,
    /// Reset.
    Reset,
}

impl From<io::ErrorKind> for End {
    fn from(kind: io::ErrorKind) -> Self {
        match kind {
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused => Self::Reset,
            _ => Self::Closed,
        }
    }
}

/// The end of a connection, noted by an answer and carried out by the socket.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending(Arc<OnceLock<End>>);

impl Ending {
    /// Notes the end; the first note counts.
    pub(super) fn note(&self, kind: io::ErrorKind) {
        self.0.get_or_init(|| kind.into());
    }

    pub(super) fn noted(&self) -> Option<End> {
        self.0.get().copied()
    }
}

/// An answer's body on its way to a socket.
pub(super) struct Outgoing {
    body: Body,
    ending: Ending,
    /// Ready when the server stops: streams end then.
    stopped: Option<BoxFuture<'static, ()>>,
}

impl Outgoing {
    pub(super) fn new(body: Body, ending: Ending, stopped: BoxFuture<'static, ()>) -> Self {
        // What has a length is all there and ends by itself.
        let stopped = body.known_len().is_none().then_some(stopped);
        Self {
            body,
            ending,
            stopped,
        }
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.ending.noted().is_some() {
            return Poll::Pending;
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Err(error))) => {
                this.ending.note(error.kind());
                Poll::Pending
            }
            Poll::Pending => match &mut this.stopped {
                Some(stopped) => stopped.as_mut().poll(cx).map(|()| None),
                None => Poll::Pending,
            },
            ready => ready,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A socket that fails once everything is out and an end was noted.
pub(super) struct Socket {
    pub(super) stream: TcpStream,
    pub(super) ending: Ending,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    /// hyper asks for this when it has written all it had.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ending.noted().is_some() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Closes a socket with a reset, once all that was written to it is on its way.
///
/// A reset throws away what still waits for the client to read on, so this waits for the client to do so, or to go.
pub(super) async fn reset(stream: TcpStream) {
    let stream = match sent(stream).await {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(%error, "a connection broke before its reset"),
    };
    // If the socket is gone already there is nothing to reset.
    let _ = stream.set_zero_linger();
}

#[cfg(target_os = "linux")]
async fn sent(stream: TcpStream) -> io::Result<TcpStream> {
    // With this mark a socket counts as writable only while nothing waits. What tokio knows of it is from before, so
    // the socket is registered anew.
    socket2::SockRef::from(&stream).set_tcp_notsent_lowat(1)?;
    let stream = TcpStream::from_std(stream.into_std()?)?;
    stream.writable().await?;
    Ok(stream)
}

#[cfg(not(target_os = "linux"))]
async fn sent(stream: TcpStream) -> io::Result<TcpStream> {
    Ok(stream)
}
