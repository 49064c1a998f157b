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

    /// Reads one answer to its end, whichever it is. `None`: the connection ended without one.
    pub(super) async fn receive(&mut self) -> Option<Received> {
        tokio::time::timeout(PATIENCE, self.read_answer())
            .await
            .expect("an answer in time")
    }

    async fn read_answer(&mut self) -> Option<Received> {
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
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .expect("a status");
        let mut received = Received {
            status,
            head,
            body: Vec::new(),
            end: End::Whole,
        };
        match received.header("content-length").map(str::parse::<usize>) {
            Some(length) => self.read_length(length.expect("a length"), &mut received).await,
            None if received.header("transfer-encoding") == Some("chunked") => {
                self.read_chunks(&mut received).await;
            }
            None => {}
        }
        Some(received)
    }

    async fn read_length(&mut self, length: usize, received: &mut Received) {
        while self.buffer.len() < length {
            if let Some(end) = self.more().await {
                received.end = end;
                received.body = std::mem::take(&mut self.buffer);
                return;
            }
        }
        let rest = self.buffer.split_off(length);
        received.body = std::mem::replace(&mut self.buffer, rest);
    }

    async fn read_chunks(&mut self, received: &mut Received) {
        loop {
            let line = self.buffer.windows(2).position(|two| two == b"\r\n");
            let size = line.and_then(|at| {
                let text = std::str::from_utf8(&self.buffer[..at]).expect("a chunk's size");
                Some((at + 2, usize::from_str_radix(text, 16).ok()?))
            });
            if let Some((from, size)) = size
                && self.buffer.len() >= from + size + 2
            {
                received.body.extend_from_slice(&self.buffer[from..from + size]);
                self.buffer.drain(..from + size + 2);
                if size == 0 {
                    return;
                }
                continue;
            }
            if let Some(end) = self.more().await {
                // A chunk that is not whole has still arrived as far as it has.
                if let Some((from, size)) = size {
                    let to = self.buffer.len().min(from + size);
                    received.body.extend_from_slice(&self.buffer[from.min(to)..to]);
                }
                received.end = end;
                return;
            }
        }
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
