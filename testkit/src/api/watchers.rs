//! The open watches: what they have sent, and a way to interfere with them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::requests::Request;

/// All open watches of a server.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    open: Mutex<BTreeMap<u64, Arc<Watcher>>>,
    next: AtomicU64,
    /// Told whenever a watch made progress or ended.
    pub(crate) progress: Notify,
}

/// One open watch.
#[derive(Debug)]
pub(crate) struct Watcher {
    id: u64,
    pub(crate) request: Request,
    pub(crate) kind: String,
    pub(crate) replica: usize,
    /// Everything up to this revision has been handed to the client.
    pub(crate) sent: AtomicU64,
    pub(crate) events: AtomicU64,
    commands: Mutex<Vec<Command>>,
    pub(crate) wake: Notify,
}

/// What a test may do to an open watch.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Raw(Bytes),
    Bookmark(String),
    Close,
    Reset,
    Stall,
}

impl Watchers {
    pub(crate) fn open(&self, request: Request, kind: &str, replica: usize, sent: u64) -> Arc<Watcher> {
        let id = self.next.fetch_add(1, SeqCst);
        let watcher = Arc::new(Watcher {
            id,
            request,
            kind: kind.to_owned(),
            replica,
            sent: AtomicU64::new(sent),
            events: AtomicU64::new(0),
            commands: Mutex::default(),
            wake: Notify::new(),
        });
        self.lock().insert(id, Arc::clone(&watcher));
        watcher
    }

    pub(crate) fn close(&self, watcher: &Watcher) {
        self.lock().remove(&watcher.id);
        self.progress.notify_waiters();
    }

    pub(crate) fn all(&self) -> Vec<Arc<Watcher>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Watcher>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher {
    pub(crate) fn command(&self, command: Command) {
        self.commands
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(command);
        self.wake.notify_one();
    }

    pub(crate) fn take_commands(&self) -> Vec<Command> {
        std::mem::take(&mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
