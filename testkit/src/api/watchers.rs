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

use crate::{requests::Request, storage::KindId};

/// All open watches of a server.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    open: Mutex<BTreeMap<KindId, Opened>>,
    next: AtomicU64,
    /// Told whenever a watch made progress or ended.
    pub(crate) progress: Notify,
}

/// The open watches of one kind, in the order they were opened: they are woken in this order, so that runs are the same.
type Opened = BTreeMap<u64, Arc<Watcher>>;

/// One open watch.
#[derive(Debug)]
pub(crate) struct Watcher {
    id: u64,
    pub(crate) request: Request,
    pub(crate) kind: KindId,
    pub(crate) replica: usize,
    /// Everything up to this revision has been handed to the client.
    pub(crate) sent: AtomicU64,
    pub(crate) events: AtomicU64,
    commands: Mutex<Vec<Command>>,
    /// Told of commands, and of writes to the kind.
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
    pub(crate) fn open(&self, request: Request, kind: &KindId, replica: usize, sent: u64) -> Arc<Watcher> {
        let id = self.next.fetch_add(1, SeqCst);
        let watcher = Arc::new(Watcher {
            id,
            request,
            kind: Arc::clone(kind),
            replica,
            sent: AtomicU64::new(sent),
            events: AtomicU64::new(0),
            commands: Mutex::default(),
            wake: Notify::new(),
        });
        self.lock()
            .entry(Arc::clone(kind))
            .or_default()
            .insert(id, Arc::clone(&watcher));
        watcher
    }

    pub(crate) fn close(&self, watcher: &Watcher) {
        let mut open = self.lock();
        if let Some(of_kind) = open.get_mut(&watcher.kind) {
            of_kind.remove(&watcher.id);
            if of_kind.is_empty() {
                open.remove(&watcher.kind);
            }
        }
        drop(open);
        self.progress.notify_waiters();
    }

    /// Every open watch, in the order they were opened.
    pub(crate) fn all(&self) -> Vec<Arc<Watcher>> {
        let mut all: Vec<Arc<Watcher>> = self.lock().values().flat_map(Opened::values).cloned().collect();
        all.sort_by_key(|watcher| watcher.id);
        all
    }

    /// Wakes whoever watches a kind.
    pub(crate) fn wake(&self, kind: &str) {
        if let Some(of_kind) = self.lock().get(kind) {
            of_kind.values().for_each(|watcher| watcher.wake.notify_one());
        }
    }

    /// Wakes every watch.
    pub(crate) fn wake_all(&self) {
        self.all().iter().for_each(|watcher| watcher.wake.notify_one());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<KindId, Opened>> {
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
