//! The door with sockets: HTTP/1.1 on TCP.

mod ending;

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinError, JoinHandle, JoinSet},
};

use self::ending::{End, Ending, Outgoing, Socket, reset};
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

    /// Where clients on this machine find it, as `http://127.0.0.1:8001`.
    pub fn url(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            // An address to listen on, not one to call.
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        format!("http://{address}")
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

    /// Stops accepting, ends open watches as a time-out does, lets other answers finish for up to a second, closes the
    /// connections and waits for that.
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
            Some(ended) = connections.join_next() => note_panic(&shared, &ended),
            accepted = socket.accept() => match accepted {
                Ok((stream, _)) if shared.faults.is_refusing() => {
                    connections.spawn(reset(stream));
                }
                Ok((stream, _)) => {
                    connections.spawn(serve(Arc::clone(&shared), stream, stopped.clone()));
                }
                // Out of file descriptors, most likely: give others a moment to close theirs.
                Err(error) => {
                    tracing::warn!(%error, "can't accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
    drop(socket);
    let ended = async {
        while let Some(ended) = connections.join_next().await {
            note_panic(&shared, &ended);
        }
    };
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        connections.shutdown().await;
    }
}

/// A panic while an answer is sent can't become a 500 any more, but it counts.
fn note_panic(shared: &Shared, ended: &Result<(), JoinError>) {
    if ended.as_ref().is_err_and(JoinError::is_panic) {
        shared.panics.fetch_add(1, Relaxed);
    }
}

/// Answers that are under way when the server stops have this long to end by themselves.
const GRACE: Duration = Duration::from_secs(1);

async fn serve(shared: Arc<Shared>, stream: TcpStream, stopped: watch::Receiver<bool>) {
    // Small events must not wait for an acknowledgement; a failure only costs time.
    let _ = stream.set_nodelay(true);
    let replicas = shared.lock().storage.replicas();
    let replica = shared.next_replica.fetch_add(1, Relaxed) % replicas;
    let ending = Ending::default();
    let socket = Socket {
        stream,
        ending: ending.clone(),
    };
    let answers = Answers {
        shared,
        replica,
        ending: ending.clone(),
        stopped: stopped.clone(),
    };
    let mut connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(
        TokioIo::new(socket),
        service_fn(move |request| answers.clone().answer(request)),
    );
    let served = tokio::select! {
        biased;
        served = &mut connection => served,
        () = told(stopped) => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection broke");
    }
    if ending.noted() == Some(End::Reset) {
        reset(connection.into_parts().io.into_inner().stream).await;
    }
}

/// Ready once the server is told to stop.
async fn told(mut stopped: watch::Receiver<bool>) {
    // An error means that the listener is gone, and so is the server.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// What answers the requests of one connection.
#[derive(Clone)]
struct Answers {
    shared: Arc<Shared>,
    replica: usize,
    ending: Ending,
    stopped: watch::Receiver<bool>,
}

impl Answers {
    async fn answer(self, request: Request<Incoming>) -> Result<Response<Outgoing>, Infallible> {
        let Self {
            shared,
            replica,
            ending,
            stopped,
        } = self;
        match api::handle(shared, request, replica).await {
            Ok(response) => Ok(response.map(|body| Outgoing::new(body, ending, Box::pin(told(stopped))))),
            Err(error) => {
                ending.note(error.kind());
                std::future::pending().await
            }
        }
    }
}
