//! The open watches, to count and to interfere with.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use bytes::Bytes;

use crate::{
    api::{
        encode::error_line,
        watchers::{Command, Watcher},
    },
    faults::is_resource,
    requests::Request,
    state::Shared,
    status::ApiError,
};

/// The open watches of a server: [`ApiServer::watches`](crate::ApiServer::watches), or those of one resource.
///
/// What is sent here goes out after what the stream already has at hand, and before any later event.
#[derive(Clone, Debug)]
pub struct Watches {
    shared: Arc<Shared>,
    resource: Option<String>,
    sequence: Option<u64>,
}

impl Watches {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            resource: None,
            sequence: None,
        }
    }

    /// Narrows to the watches of a resource, by its plural name, with or without its group.
    #[must_use]
    pub fn of(mut self, resource: impl Into<String>) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// Narrows to the watch that one request opened, by [`Request::sequence`].
    #[must_use]
    pub fn opened_by(mut self, sequence: u64) -> Self {
        self.sequence = Some(sequence);
        self
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open().len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The requests they were opened with.
    pub fn requests(&self) -> Vec<Request> {
        self.open()
            .iter()
            .map(|watcher| watcher.request.clone())
            .collect()
    }

    /// How many events they sent so far, all together.
    pub fn events(&self) -> u64 {
        self.open()
            .iter()
            .map(|watcher| watcher.events.load(SeqCst))
            .sum()
    }

    /// Ends them as a time-out does. Returns how many.
    pub fn close(&self) -> usize {
        self.command("watches.close", &Command::Close)
    }

    /// Breaks their connections. Returns how many.
    pub fn reset(&self) -> usize {
        self.command("watches.reset", &Command::Reset)
    }

    /// Makes them silent for ever, bookmarks included, and leaves them open. Returns how many.
    pub fn stall(&self) -> usize {
        self.command("watches.stall", &Command::Stall)
    }

    /// Sends raw bytes; a line needs its own line end. Returns to how many.
    pub fn raw(&self, bytes: impl Into<Bytes>) -> usize {
        self.command("watches.raw", &Command::Raw(bytes.into()))
    }

    /// Sends a bookmark with any version, empty or not a number if you like. Returns to how many.
    pub fn bookmark(&self, version: impl Into<String>) -> usize {
        self.command("watches.bookmark", &Command::Bookmark(version.into()))
    }

    /// Sends an ERROR event and ends them. Returns how many.
    pub fn fail(&self, error: &ApiError) -> usize {
        let line = error_line(error);
        let open = self.open();
        for watcher in &open {
            watcher.command(Command::Raw(line.clone()));
            watcher.command(Command::Close);
        }
        self.count("watches.fail", open.len())
    }

    /// Sends 410, the version being too old, and ends them. Returns how many.
    pub fn expire(&self) -> usize {
        self.fail(&ApiError::expired("too old resource version"))
    }

    pub(crate) fn open(&self) -> Vec<Arc<Watcher>> {
        let all = self.shared.watchers.all().into_iter();
        let wanted = |watcher: &Arc<Watcher>| {
            self.resource
                .as_deref()
                .is_none_or(|resource| is_resource(resource, &watcher.request))
                && self
                    .sequence
                    .is_none_or(|sequence| watcher.request.sequence == sequence)
        };
        all.filter(wanted).collect()
    }

    fn command(&self, name: &'static str, command: &Command) -> usize {
        let open = self.open();
        open.iter().for_each(|watcher| watcher.command(command.clone()));
        self.count(name, open.len())
    }

    fn count(&self, name: &'static str, times: usize) -> usize {
        (0..times).for_each(|_| self.shared.faults.count(name));
        times
    }
}
