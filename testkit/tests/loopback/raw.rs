//! A client that hides nothing: what it sends and receives is bytes, and it tells how the connection ended.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// No answer needs this long; a longer wait hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As its head announced: all bytes of the length, or the last chunk.
    Whole,
    /// The server closed the connection before that.
    Closed,
    /// The server reset the connection before that.
    Reset,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    pub(super) end: End,
}

impl Received {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &&str| {
            line.split_once(':')
                .is_some_and(|(found, _)| found.eq_ignore_ascii_case(name))
        };
        let line = self.head.lines().find(named)?;
        Some(line.split_once(':')?.1.trim())
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection of its own.
pub(super) struct Client {
    stream: TcpStream,
    /// Received and not yet looked at.
    buffer: Vec<u8>,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            stream: TcpStream::connect(address).await?,
            buffer: Vec::new(),
        })
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("sent");
    }

    pub(super) async fn ask(&mut self, method: &str, path: &str) {
        self.send(format!("{method} {path} HTTP/1.1\r\nhost: server\r\n\r\n"))
            .await;
    }

    /// Sends all that will ever be sent. A server that has heard enough may hang up meanwhile.
    pub(super) async fn send_and_end(&mut self, bytes: &[u8]) {
        if self.stream.write_all(bytes).await.is_ok() {
            let _ = self.stream.shutdown().await;
        }
    }

    /// Reads any bytes; none at the end.
    pub(super) async fn receive_raw(&mut self) -> usize {
        let before = self.buffer.len();
        match self.more().await {
            Some(_) => 0,
            None => self.buffer.len() - before,
        }
    }

    /// Reads one answer to its end, whichever it is. `None`: the connection ended without one.
    pub(super) async fn receive(&mut self) -> Option<Received> {
        self.receive_up_to(usize::MAX).await
    }

    /// As [`receive`](Self::receive), but stops once so much of the body is there.
    pub(super) async fn receive_up_to(&mut self, length: usize) -> Option<Received> {
        tokio::time::timeout(PATIENCE, self.read_answer(length))
            .await
            .expect("an answer in time")
    }

    async fn read_answer(&mut self, enough: usize) -> Option<Received> {
        let head = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.buffer.split_off(at + 4);
                let head = std::mem::replace(&mut self.buffer, rest);
                break String::from_utf8(head).expect("a head in ASCII");
            }
            if self.more().await.is_some() {
                return None;
            }
        };
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut received = Received {
            status: status.expect("a status"),
            head,
            body: Vec::new(),
            end: End::Whole,
        };
        loop {
            let (body, whole) = self.parse(&received);
            if whole.is_some() || body.len() >= enough {
                received.body = body;
                self.buffer.drain(..whole.unwrap_or_default());
                return Some(received);
            }
            if let Some(end) = self.more().await {
                received.body = body;
                received.end = end;
                return Some(received);
            }
        }
    }

    /// The body as far as it has arrived, and how many bytes it took if it is whole.
    fn parse(&self, received: &Received) -> (Vec<u8>, Option<usize>) {
        if let Some(length) = received.header("content-length") {
            let length: usize = length.parse().expect("a length");
            if self.buffer.len() >= length {
                return (self.buffer[..length].to_vec(), Some(length));
            }
            return (self.buffer.clone(), None);
        }
        let mut body = Vec::new();
        if received.header("transfer-encoding") != Some("chunked") {
            return (body, Some(0));
        }
        let mut at = 0;
        while let Some(line) = self.buffer[at..].windows(2).position(|two| two == b"\r\n") {
            let text = std::str::from_utf8(&self.buffer[at..at + line]).expect("a chunk's size");
            let size = usize::from_str_radix(text, 16).expect("a chunk's size");
            let (from, to) = (at + line + 2, at + line + 2 + size);
            // A chunk that is not whole has still arrived as far as it has.
            body.extend_from_slice(&self.buffer[from..to.min(self.buffer.len())]);
            if self.buffer.len() < to + 2 {
                break;
            }
            at = to + 2;
            if size == 0 {
                return (body, Some(at));
            }
        }
        (body, None)
    }

    /// Whether the connection is open and nothing more has come than was received.
    pub(super) async fn is_silent(&mut self) -> bool {
        let mut chunk = [0; 1];
        futures::poll!(Box::pin(self.stream.read(&mut chunk))).is_pending()
    }

    /// Reads on. Returns the end, if that was it.
    async fn more(&mut self) -> Option<End> {
        let mut chunk = vec![0; 256 * 1024];
        match self.stream.read(&mut chunk).await {
            Ok(0) => Some(End::Closed),
            Ok(read) => {
                self.buffer.extend_from_slice(&chunk[..read]);
                None
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
                Some(End::Reset)
            }
        }
    }
}

/// Asks once on a connection of its own.
pub(super) async fn get(address: SocketAddr, path: &str) -> Option<Received> {
    let mut client = Client::connect(address).await.expect("a connection");
    client.ask("GET", path).await;
    client.receive().await
}
