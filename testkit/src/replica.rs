//! Replicas: several servers in front of one storage, each as far behind as a test wants.

use std::sync::Arc;

use crate::{clock, service::ApiService, state::Shared, storage::Lag};

/// One replica: [`ApiServer::replica`](crate::ApiServer::replica).
///
/// Writes and consistent reads always see the newest state. Reads that allow an older one (`resourceVersion=0` and
/// at-least-as-new reads) and watches are answered from what the replica shows. Connections are spread over the
/// replicas in turn; in-process clients choose.
#[derive(Clone, Debug)]
pub struct Replica {
    shared: Arc<Shared>,
    index: usize,
}

impl Replica {
    pub(crate) fn new(shared: Arc<Shared>, index: usize) -> Self {
        Self { shared, index }
    }

    /// A client in-process that always talks to this replica.
    ///
    /// # Panics
    /// Outside a tokio runtime: the client keeps its queue in a task.
    pub fn client(&self) -> kube_client::Client {
        kube_client::Client::new(self.service(), "default")
    }

    /// This replica as a tower service.
    pub fn service(&self) -> ApiService {
        ApiService::new(Arc::clone(&self.shared), self.index)
    }

    /// Stops at what it shows now. Returns that revision. History is kept from there on, so that it can still be shown.
    pub fn freeze(&self) -> u64 {
        self.shared.faults.count("replica.freeze");
        self.shared.lock().storage.freeze(self.index, clock::now())
    }

    /// Sets how far behind it is.
    pub fn lag(&self, lag: Lag) {
        if lag != Lag::None {
            self.shared.faults.count("replica.lag");
        }
        let mut state = self.shared.lock();
        state.storage.set_lag(self.index, lag);
        state.wake_all();
    }

    /// Catches up.
    pub fn thaw(&self) {
        self.lag(Lag::None);
    }

    /// The newest revision it shows.
    pub fn revision(&self) -> u64 {
        self.shared.lock().storage.visible(self.index, clock::now()).0
    }
}
