//! A small HTTP/1.1 server for the answers of a [`Health`].

use std::{convert::Infallible, future::Future, io, net::SocketAddr, pin::pin, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use http_body_util::Full;
use hyper::{
    Method, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream, ToSocketAddrs},
    sync::watch,
    time::{sleep, timeout},
};

use super::{Health, Request};
use crate::manager::{Component, Context, Group};

/// Serves `/livez`, `/readyz`, `/metrics` and, where allowed, `/debug` over plain HTTP/1.1.
///
/// # Memory
///
/// At most 64 connections at a time; more wait. One that sends no request for 10 s, or lasts for 5 min, is closed.
///
/// # Examples
///
/// ```
/// use informer::manager::{Manager, health::{Health, Server}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let health = Health::new();
/// let server = Server::bind("127.0.0.1:0", health.clone()).await?;
/// println!("http://{}/readyz", server.local_addr());
/// let manager = Manager::builder().component(server.into_component("health")).build()?;
/// health.manager(&manager.handle());
/// # let handle = manager.handle();
/// # manager.run_until(async move { handle.ready().await; }).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    local: SocketAddr,
    health: Health,
}

impl Server {
    /// Takes the address; connections wait until the server runs. Port 0 takes a free one.
    ///
    /// Probes of a kubelet need an address that it reaches, such as `0.0.0.0:8080`.
    ///
    /// # Errors
    ///
    /// As the system says, such as that the address is in use.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the address free.
    pub async fn bind(address: impl ToSocketAddrs, health: Health) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        Ok(Self {
            listener,
            local,
            health,
        })
    }

    /// The address that it listens on.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The server as a component of [`Group::Servers`]: up before all others, down after them.
    pub fn into_component(self, name: impl Into<String>) -> Component {
        let server = std::sync::Arc::new(self);
        Component::new(name, move |context: Context| {
            let server = std::sync::Arc::clone(&server);
            async move {
                server.run(context.stopping()).await;
                Ok::<_, Infallible>(())
            }
        })
        .group(Group::Servers)
    }

    /// Serves until `shutdown`, then ends each connection after the answer under way, within 5 s.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes all connections; it may be run again.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let stop = watch::Sender::new(false);
        let mut connections = FuturesUnordered::new();
        tracing::info!(address = %self.local, "health server started");
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(()) = connections.next() => {}
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                    Ok((stream, peer)) => connections.push(self.serve(stream, peer, stop.subscribe())),
                    // Out of file descriptors, or the peer is gone already: neither ends the server.
                    Err(error) => {
                        tracing::debug!(%error, "cannot accept a connection");
                        sleep(ACCEPT_AGAIN).await;
                    }
                },
            }
        }
        stop.send_replace(true);
        let _ = timeout(LAST_ANSWERS, async {
            while connections.next().await.is_some() {}
        })
        .await;
        tracing::info!(address = %self.local, "health server stopped");
    }

    async fn serve(&self, stream: TcpStream, peer: SocketAddr, mut stop: watch::Receiver<bool>) {
        let service =
            service_fn(|request| std::future::ready(Ok::<_, Infallible>(self.answer(&request, peer))));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .max_buf_size(HEAD)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let served = async {
            tokio::select! {
                ended = &mut connection => return ended,
                _ = stop.wait_for(|stop| *stop) => {}
            }
            connection.as_mut().graceful_shutdown();
            connection.await
        };
        if let Ok(Err(error)) = timeout(WHOLE, served).await {
            tracing::debug!(%peer, %error, "connection failed");
        }
    }

    fn answer(&self, request: &hyper::Request<Incoming>, peer: SocketAddr) -> hyper::Response<Full<Bytes>> {
        let answer = self.health.respond(&Request {
            method: request.method().as_str(),
            path: request.uri().path(),
            query: request.uri().query().unwrap_or_default(),
            peer: Some(peer.ip()),
            host: request
                .headers()
                .get(HOST)
                .map(|host| host.to_str().unwrap_or("?"))
                .or_else(|| request.uri().host()),
        });
        let body = if request.method() == Method::HEAD {
            Bytes::new()
        } else {
            Bytes::from(answer.body)
        };
        let mut response = hyper::Response::new(Full::new(body));
        *response.status_mut() =
            StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        if answer.status == 405 {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

/// How many connections are served at a time: kubelet and a few scrapers need a handful.
const CONNECTIONS: usize = 64;
/// How long a connection may be silent before its next request has arrived.
const IDLE: Duration = Duration::from_secs(10);
/// How long a connection may last altogether; a client that wants more connects again.
const WHOLE: Duration = Duration::from_secs(300);
/// The most bytes of a request's head.
const HEAD: usize = 16 * 1024;
/// How long to wait after a failed accept, so that a lasting failure does not spin.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How long answers under way may take at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
