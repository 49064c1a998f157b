//! What the examples share: a server to talk to. The embedded one by default, a real cluster with `--cluster`.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each example takes what it needs of this file"
)]

pub mod output;
pub mod signals;

use std::{error::Error, fmt, time::Duration};

use informer::reflector::{ApiClient, SyncState};
use informer_testkit::{ApiServer, Listener, generate};
use kube_client::Config;
use tokio::sync::watch;

pub(crate) use self::output::say;
pub use self::{output::complain, signals::Signals};

/// What the examples return.
pub type Result<T> = std::result::Result<T, Failure>;

/// Any error. `main` shows it as one line: what follows the first may quote a file that holds credentials.
pub struct Failure(Box<dyn Error + Send + Sync>);

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        f.write_str(text.lines().next().unwrap_or_default())
    }
}

/// What `main` prints of the error it returns.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A time on the command line, in seconds.
pub fn seconds(text: &str) -> std::result::Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| String::from("not a number of seconds"))?;
    if !(seconds > 0.0 && seconds <= SECONDS_MAX) {
        return Err(format!("must be more than 0 and at most {SECONDS_MAX} seconds"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Thirty years; the clock may not reach further.
const SECONDS_MAX: f64 = 1e9;

/// A server, and a client of it.
pub struct Stage {
    /// Talks HTTP to the server. It retries nothing by itself: that is the reflector's job.
    pub client: ApiClient,
    /// The embedded server, unless there is a cluster.
    pub server: Option<ApiServer>,
    /// Keeps the embedded server's port open.
    _listener: Option<Listener>,
}

impl Stage {
    /// Connects to the cluster of the current kubeconfig, or starts a server on a free loopback port with `pods`
    /// realistic pods in it, and a tenth as many services.
    pub async fn set(cluster: bool, pods: usize) -> Result<Self> {
        if cluster {
            let config = Config::infer().await.map_err(|error| {
                let error = Failure::from(error);
                format!("no cluster to connect to ({error}); check $KUBECONFIG, or leave out --cluster")
            })?;
            let client = ApiClient::new(config)?;
            return Ok(Self {
                client,
                server: None,
                _listener: None,
            });
        }
        let server = ApiServer::builder().seed(1).build();
        let mut rng = fastrand::Rng::with_seed(1);
        for index in 0..pods {
            server.load([generate::pod(index, &mut rng)])?;
            if index % 10 == 0 {
                server.load([generate::service(index / 10, &mut rng)])?;
                // Whoever waits for Ctrl-C beside this is not kept waiting.
                tokio::task::yield_now().await;
            }
        }
        let listener = server.listen_on_loopback().await?;
        let client = ApiClient::new(Config::new(listener.url().parse()?))?;
        Ok(Self {
            client,
            server: Some(server),
            _listener: Some(listener),
        })
    }

    /// Says on standard error why nothing comes from the server, once per reason, for as long as the runtime lives.
    pub fn report(&self, mut state: watch::Receiver<SyncState>) {
        let server = if self.server.is_some() {
            "the embedded server"
        } else {
            "the cluster"
        };
        #[expect(clippy::disallowed_methods, reason = "an application decides what runs where")]
        tokio::spawn(async move {
            let mut told = None;
            while state.changed().await.is_ok() {
                let reason = state.borrow_and_update().reason();
                if let Some(reason) = reason.filter(|reason| told != Some(*reason)) {
                    complain(format_args!(
                        "{server} does not answer as it should ({reason}); trying again. Check that it runs, its address and your rights."
                    ));
                }
                told = reason.or(told);
            }
        });
    }
}
