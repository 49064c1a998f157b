//! Where the record of an election is kept: a Lease object on the API server, or anything a user puts in its place.

use std::{error::Error as StdError, fmt, future::pending, time::Duration};

use async_trait::async_trait;
use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube_client::{
    Api, Client, Error as KubeError,
    api::{PostParams, WatchEvent, WatchParams},
};

use super::record;

/// The place of the record: three requests, of which the writes are compare-and-swap.
///
/// [`LeaseLock`] keeps it on the API server. An implementation of one's own makes sense in tests, or to elect a leader
/// over another store.
///
/// # Guarantee
///
/// `create` fails with [`LockError::Conflict`] if there is a record; `replace` does if the record's
/// `metadata.resourceVersion` is not the one passed in. `get` is never older than the last write that was acknowledged
/// to anybody.
#[async_trait]
pub trait Lock: Send + Sync + 'static {
    /// The name of the election in logs and metrics: `<namespace>/<name>`.
    fn name(&self) -> String;

    /// Reads the record; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`LockError::Other`] if it is not known whether there is one.
    async fn get(&self) -> Result<Option<Lease>, LockError>;

    /// Stores a first record; gives it back as stored.
    ///
    /// # Errors
    ///
    /// [`LockError::Conflict`] if there is one.
    async fn create(&self, lease: Lease) -> Result<Lease, LockError>;

    /// Replaces the record if it still has the version in `lease`; gives it back as stored.
    ///
    /// # Errors
    ///
    /// [`LockError::Conflict`] if it has another version, [`LockError::Missing`] if it is gone.
    async fn replace(&self, lease: Lease) -> Result<Lease, LockError>;

    /// Waits until the lease seems to be free. A hint that makes a contender look sooner: it may come late, wrongly or
    /// never. The default never comes.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses at most a hint.
    async fn freed(&self) {
        pending().await
    }
}

/// Why a request about the record failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else wrote first; nothing was changed.
    Conflict,
    /// There is no record to replace; nothing was changed.
    Missing,
    /// Anything else. The request may have been carried out.
    Other(Box<dyn StdError + Send + Sync>),
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict => f.write_str("somebody else wrote the lease first"),
            Self::Missing => f.write_str("the lease does not exist"),
            Self::Other(error) => error.fmt(f),
        }
    }
}

impl StdError for LockError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Other(error) => error.source(),
            _ => None,
        }
    }
}

/// The record as a `coordination.k8s.io/v1` Lease, in the form that client-go reads and writes: contenders in Go and in
/// Rust can share one.
///
/// Needs the verbs `get`, `create`, `update` on `leases` in the namespace; with `list` and `watch` as well, a lease that
/// was released is taken at once instead of at the next look.
///
/// # Source
///
/// client-go `tools/leaderelection/resourcelock/leaselock.go` `LeaseLock`; differs: a watch as a hint.
#[derive(Clone)]
pub struct LeaseLock {
    api: Api<Lease>,
    namespace: String,
    name: String,
}

impl LeaseLock {
    /// The lease `name` in `namespace`, reached through `client`.
    pub fn new(client: Client, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        let namespace = namespace.into();
        Self {
            api: Api::namespaced(client, &namespace),
            namespace,
            name: name.into(),
        }
    }

    /// Turns a failed request into a cause, with advice where somebody has to act.
    fn failed(&self, verb: &'static str, error: KubeError) -> LockError {
        match &error {
            KubeError::Api(status) if status.code == 409 => LockError::Conflict,
            KubeError::Api(status) if status.code == 404 && verb == "update" => LockError::Missing,
            KubeError::Api(status) if status.code == 404 => LockError::Other(
                format!("cannot {verb} lease {}: there is no namespace {:?}", self.name(), self.namespace).into(),
            ),
            KubeError::Api(status) if status.code == 403 => LockError::Other(
                format!(
                    "cannot {verb} lease {}: forbidden; allow get, create and update on leases.coordination.k8s.io there",
                    self.name()
                )
                .into(),
            ),
            _ => LockError::Other(Box::new(error)),
        }
    }
}

#[async_trait]
impl Lock for LeaseLock {
    fn name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    async fn get(&self) -> Result<Option<Lease>, LockError> {
        self.api
            .get_opt(&self.name)
            .await
            .map_err(|error| self.failed("get", error))
    }

    async fn create(&self, mut lease: Lease) -> Result<Lease, LockError> {
        lease.metadata.name = Some(self.name.clone());
        lease.metadata.namespace = Some(self.namespace.clone());
        self.api
            .create(&PostParams::default(), &lease)
            .await
            .map_err(|error| self.failed("create", error))
    }

    async fn replace(&self, lease: Lease) -> Result<Lease, LockError> {
        // Without a version the server would overwrite whatever is there.
        if lease
            .metadata
            .resource_version
            .as_deref()
            .unwrap_or_default()
            .is_empty()
        {
            return Err(LockError::Conflict);
        }
        self.api
            .replace(&self.name, &PostParams::default(), &lease)
            .await
            .map_err(|error| self.failed("update", error))
    }

    async fn freed(&self) {
        let params = WatchParams::default().fields(&format!("metadata.name={}", self.name));
        loop {
            if let Ok(events) = self.api.watch(&params, "0").await {
                let mut events = Box::pin(events);
                while let Some(Ok(event)) = events.next().await {
                    match event {
                        WatchEvent::Deleted(_) => return,
                        WatchEvent::Added(lease) | WatchEvent::Modified(lease)
                            if record::holder(&lease).is_empty() =>
                        {
                            return;
                        }
                        WatchEvent::Error(_) => break,
                        _ => {}
                    }
                }
            }
            tokio::time::sleep(REOPEN).await;
        }
    }
}

impl fmt::Debug for LeaseLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseLock")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .finish()
    }
}

/// How long to wait before a watch that ended or was refused is opened again. The looks go on meanwhile.
const REOPEN: Duration = Duration::from_secs(10);
