//! The door with sockets: HTTP/1.1 on TCP.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::TryStreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::{api, state::Shared};

/// A server that listens: [`ApiServer::listen`](crate::ApiServer::listen). Dropping it closes the port and every
/// connection.
#[derive(Debug)]
#[must_use = "dropping it closes the port"]
pub struct Listener {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl Listener {
    pub(crate) async fn bind(shared: Arc<Shared>, address: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        #[expect(
            clippy::disallowed_methods,
            reason = "a listening socket is served in the background"
        )]
        let task = tokio::spawn(accept(shared, socket, stopped));
        Ok(Self {
            address,
            stop,
            task: Some(task),
        })
    }

    /// The address it is bound to, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where clients find it, as `http://127.0.0.1:8001`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig for this server, as YAML.
    pub fn kubeconfig(&self) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: testkit\nclusters:\n- name: testkit\n  cluster:\n    \
             server: {url}\ncontexts:\n- name: testkit\n  context:\n    cluster: testkit\n    namespace: default\n    \
             user: testkit\nusers:\n- name: testkit\n  user: {{}}\n",
            url = self.url()
        )
    }

    /// A client that goes through the socket. It retries nothing by itself.
    ///
    /// # Errors
    /// None known: the address is our own.
    pub fn client(&self) -> Result<kube_client::Client, kube_client::Error> {
        let url = self.url().parse().expect("a socket address makes a valid URL");
        let mut config = kube_client::Config::new(url);
        config.default_retry = false;
        kube_client::Client::try_from(config)
    }

    /// Stops accepting, closes the connections and waits for that.
    ///
    /// # Cancel safety
    /// Dropping the future drops the listener, which closes everything too.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take() {
            // The only error is that of a task that was stopped already.
            let _ = task.await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn accept(shared: Arc<Shared>, socket: TcpListener, mut stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = stopped.changed() => break,
            Some(_) = connections.join_next() => {}
            accepted = socket.accept() => match accepted {
                Ok((stream, _)) if shared.faults.is_refusing() => reset(&stream),
                Ok((stream, _)) => {
                    connections.spawn(serve(Arc::clone(&shared), stream));
                }
                // Out of file descriptors, most likely: give others a moment to close theirs.
                Err(error) => {
                    tracing::warn!(%error, "can't accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
    connections.shutdown().await;
}

async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    // Small events must not wait for an acknowledgement; a failure only costs time.
    let _ = stream.set_nodelay(true);
    let broken = Arc::new(AtomicBool::new(false));
    let replicas = shared.lock().storage.replicas();
    let replica = shared.next_replica.fetch_add(1, Relaxed) % replicas;
    let io = TokioIo::new(Connection {
        stream,
        broken: Arc::clone(&broken),
    });
    let service = service_fn(move |request| {
        let (shared, broken) = (Arc::clone(&shared), Arc::clone(&broken));
        async move {
            let response = api::handle(shared, request, replica).await.inspect_err(|_| {
                broken.store(true, Relaxed);
            })?;
            let known = response.body().known_len().is_some();
            io::Result::Ok(response.map(|body| {
                if known {
                    return body.boxed_unsync();
                }
                let frames = body.into_data_stream().map_ok(hyper::body::Frame::data);
                let frames = frames.inspect_err(move |error| {
                    broken.store(error.kind() == io::ErrorKind::ConnectionReset, Relaxed);
                });
                StreamBody::new(frames).boxed_unsync()
            }))
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(io, service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection broke");
    }
}

/// Makes closing the socket a reset.
fn reset(stream: &TcpStream) {
    // If the socket is gone already there is nothing to reset.
    let _ = stream.set_zero_linger();
}

/// A socket that closes with a reset if a fault asked for one.
struct Connection {
    stream: TcpStream,
    broken: Arc<AtomicBool>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.broken.load(Relaxed) {
            reset(&self.stream);
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
