//! How a server is set up.

use std::time::Duration;

use crate::{
    background::Switches,
    clock::{Clock, EPOCH_SECONDS},
    kind::{Kind, Registry},
    server::ApiServer,
    state::{Config, Shared},
    storage::{Storage, Window},
};

/// Sets up an [`ApiServer`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until built"]
pub struct Builder {
    config: Config,
    window: Window,
    replicas: usize,
    seed: u64,
    start: jiff::Timestamp,
    kinds: Vec<Kind>,
    namespaces: Vec<String>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            config: Config {
                bookmark_every: Duration::from_secs(60),
                watch_list: true,
                watch_queue: usize::MAX,
                watch_gzip: false,
                version_wait: Duration::from_secs(3),
                managed_fields: false,
                sim: false,
                body_limit: 3 * 1024 * 1024,
                background: Switches {
                    garbage: true,
                    namespaces: true,
                    workloads: false,
                },
            },
            window: Window::default(),
            replicas: 1,
            seed: 0,
            start: jiff::Timestamp::from_second(EPOCH_SECONDS).expect("a date of our own choice"),
            kinds: Vec::new(),
            namespaces: ["default", "kube-node-lease", "kube-public", "kube-system"]
                .map(str::to_owned)
                .to_vec(),
        }
    }
}

impl Builder {
    /// Seeds everything random: uids, generated names, time-outs. Default: `0`; the same seed gives the same bytes.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How much history a kind keeps for watches: at most so many events, none older than `age`; the newest stays.
    /// Default: `10_000` events of any age, so that quiet tests never lose their place by accident.
    pub fn history(mut self, events: usize, age: Duration) -> Self {
        self.window = Window::new(events, age);
        self
    }

    /// How often an idle watch gets a bookmark, if it asked for them. Default: `60 s`, as the API server does.
    pub fn bookmark_every(mut self, every: Duration) -> Self {
        self.config.bookmark_every = every.max(Duration::from_millis(1));
        self
    }

    /// Whether the server can stream its lists (WatchList). Default: `true`; off, it refuses as old servers do.
    pub fn watch_list(mut self, on: bool) -> Self {
        self.config.watch_list = on;
        self
    }

    /// How many events a watcher may leave lying before it is cut off. Default: no limit but the history.
    pub fn watch_queue(mut self, events: usize) -> Self {
        self.config.watch_queue = events;
        self
    }

    /// Whether watches are compressed for clients that take gzip, a member per flush. Default: `false`; servers
    /// from 1.37 on do.
    pub fn watch_gzip(mut self, on: bool) -> Self {
        self.config.watch_gzip = on;
        self
    }

    /// How long a read waits for a version from the future. Default: `3 s`, as the API server does.
    pub fn version_wait(mut self, wait: Duration) -> Self {
        self.config.version_wait = wait;
        self
    }

    /// Whether creates and updates leave entries in `managedFields`. Default: `false`, for size and speed;
    /// server-side apply always does.
    pub fn managed_fields(mut self, on: bool) -> Self {
        self.config.managed_fields = on;
        self
    }

    /// How many replicas answer reads; each may lag on request. Default: `1`.
    pub fn replicas(mut self, count: usize) -> Self {
        self.replicas = count.max(1);
        self
    }

    /// Where the calendar starts. Default: the first of January 2026, so that runs can be compared.
    pub fn start_time(mut self, at: jiff::Timestamp) -> Self {
        self.start = at;
        self
    }

    /// Whether `/_sim/` offers the handle's powers over HTTP. Default: `false`.
    pub fn sim(mut self, on: bool) -> Self {
        self.config.sim = on;
        self
    }

    /// Adds a kind besides the built-in ones, or in place of one.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kinds.push(kind);
        self
    }

    /// Adds a namespace to those that exist from the start (`default` and the `kube-` ones).
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.namespaces.push(name.into());
        self
    }

    /// Whether what a deleted object owns is deleted with it, as a cluster's garbage collector does: after it, before it
    /// (`Foreground`), or not at all (`Orphan`). Default: `true`.
    pub fn garbage_collection(mut self, on: bool) -> Self {
        self.config.background.garbage = on;
        self
    }

    /// Whether a deleted namespace loses its content and then goes. Default: `true`; off, it stays `Terminating` until
    /// someone finalizes it.
    pub fn namespace_lifecycle(mut self, on: bool) -> Self {
        self.config.background.namespaces = on;
        self
    }

    /// Whether deployments and replica sets get pods, which run at once. Default: `false`.
    pub fn workloads(mut self, on: bool) -> Self {
        self.config.background.workloads = on;
        self
    }

    /// Builds the server. It needs no runtime until a client or a listener is made.
    pub fn build(self) -> ApiServer {
        let mut registry = Registry::builtin();
        for kind in self.kinds {
            registry.register(kind);
        }
        let storage = Storage::new(self.window, self.replicas);
        let clock = Clock::starting_at(self.start);
        let server = ApiServer::from_shared(Shared::new(self.config, clock, storage, registry, self.seed));
        for name in self.namespaces {
            server.ensure_namespace(&name);
        }
        server
    }
}
