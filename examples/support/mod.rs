//! What the examples share: a server to talk to. The embedded one by default, a real cluster with `--cluster`.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each example takes what it needs of this file"
)]

use std::error::Error;

use informer::reflector::SyncState;
use informer_testkit::{ApiServer, Listener, generate};
use kube_client::{Client, Config};
use tokio::sync::watch;

/// What the examples fail with.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A server, and a client of it.
pub struct Stage {
    /// Talks HTTP to the server. It retries nothing by itself: that is the reflector's job.
    pub client: Client,
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
                // One line: what follows quotes the file, which may hold credentials.
                let error = error.to_string();
                let error = error.lines().next().unwrap_or_default();
                format!("no cluster to connect to ({error}); check $KUBECONFIG, or leave out --cluster")
            })?;
            let client = Client::try_from(Self::plain(config))?;
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
        let client = Client::try_from(Self::plain(Config::new(listener.url().parse()?)))?;
        Ok(Self {
            client,
            server: Some(server),
            _listener: Some(listener),
        })
    }

    /// Says on standard error why nothing comes from the server, once per reason, for as long as the runtime lives.
    #[expect(clippy::print_stderr, reason = "an example talks to whoever runs it")]
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
                    eprintln!(
                        "{server} does not answer as it should ({reason}); trying again. Check that it runs, its address and your rights."
                    );
                }
                told = reason.or(told);
            }
        });
    }

    fn plain(mut config: Config) -> Config {
        config.default_retry = false;
        config
    }
}
