//! What every part of a server shares.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize},
    },
    time::Duration,
};

use serde_json::Value;

use crate::{
    api::{
        encode::{is_as_stored, opening},
        watchers::Watchers,
    },
    background::{Background, Switches},
    clock::{self, Clock},
    crd, faults,
    kind::{Kind, Registry, event},
    requests::Requests,
    selector::field_value,
    storage::{KindId, Snapshot, Storage, Stored},
    write::{FieldValidation, Updated, WriteContext},
};

/// Options of a server; [`Builder`](crate::Builder) sets them.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) bookmark_every: Duration,
    pub(crate) watch_list: bool,
    /// Events a watcher may fall behind before it is cut off.
    pub(crate) watch_queue: usize,
    pub(crate) watch_gzip: bool,
    pub(crate) version_wait: Duration,
    pub(crate) managed_fields: bool,
    pub(crate) sim: bool,
    pub(crate) body_limit: usize,
    pub(crate) background: Switches,
}

/// The server behind its handles.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) faults: Arc<faults::Table>,
    pub(crate) requests: Requests,
    pub(crate) watchers: Arc<Watchers>,
    pub(crate) panics: AtomicU64,
    pub(crate) next_replica: AtomicUsize,
    state: Mutex<State>,
    snapshots: Mutex<Snapshots>,
}

/// Snapshots held for clients of `/_sim/`, which can't hold them themselves.
pub(crate) type Snapshots = BTreeMap<u64, Snapshot>;

/// What changes, under one lock that is never held across an await.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) storage: Storage,
    pub(crate) registry: Registry,
    pub(crate) rng: fastrand::Rng,
    pub(crate) background: Background,
    clock: Clock,
    watchers: Arc<Watchers>,
}

impl Shared {
    pub(crate) fn new(config: Config, clock: Clock, storage: Storage, registry: Registry, seed: u64) -> Self {
        let rng = fastrand::Rng::with_seed(seed);
        let background = Background::new(config.background);
        let watchers = Arc::<Watchers>::default();
        Self {
            config,
            clock,
            faults: Arc::default(),
            requests: Requests::default(),
            watchers: Arc::clone(&watchers),
            panics: AtomicU64::new(0),
            next_replica: AtomicUsize::new(0),
            snapshots: Mutex::default(),
            state: Mutex::new(State {
                background,
                clock,
                storage,
                registry,
                rng,
                watchers,
            }),
        }
    }

    /// A panic in a handler is reported as a 500; the state it left is whole, since writes commit in one step.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn snapshots(&self) -> MutexGuard<'_, Snapshots> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Writes an object of a kind and wakes its watchers.
    pub(crate) fn put(&mut self, kind: &Kind, object: Value) -> Arc<Stored> {
        let id = storage_id(kind);
        let (object, fields) = self.to_stored_version(kind, object);
        let opening = opening(self.storage_kind(kind).as_deref().unwrap_or(kind));
        self.background.stored(kind, &id, &object);
        let stored = self.storage.put(&id, &opening, object, fields, clock::now());
        self.wake(&id);
        if kind.is_crd() {
            self.settle_definition(kind, &stored);
        }
        self.follow_up();
        stored
    }

    /// Removes an object of a kind, `last` being its final state, and wakes its watchers.
    pub(crate) fn remove(&mut self, kind: &Kind, last: Value) -> Option<Arc<Stored>> {
        let id = storage_id(kind);
        let (last, fields) = self.to_stored_version(kind, last);
        let opening = opening(self.storage_kind(kind).as_deref().unwrap_or(kind));
        self.background.removed(kind, &id, &last);
        let removed = self.storage.remove(&id, &opening, last, fields, clock::now())?;
        self.wake(&id);
        if kind.is_crd() {
            self.drop_definition(&removed.value());
        }
        self.follow_up();
        Some(removed)
    }

    /// Serves what a definition defines, and writes into its status that it does.
    fn settle_definition(&mut self, kind: &Kind, stored: &Stored) {
        let mut definition = stored.value();
        // One that is on its way out keeps the status it has.
        if crd::is_deleting(&definition) {
            return;
        }
        let mut rng = self.rng.fork();
        let mut ctx = WriteContext {
            now: self.clock.timestamp(),
            rng: &mut rng,
            manager: "kube-apiserver".to_owned(),
            validation: FieldValidation::Ignore,
            track_updates: false,
            warnings: Vec::new(),
        };
        if let Ok(Updated::Changed(established)) = crd::establish(kind, &self.registry, &definition, &mut ctx)
        {
            let id = storage_id(kind);
            let stored = self
                .storage
                .put(&id, &opening(kind), established, BTreeMap::new(), clock::now());
            self.wake(&id);
            definition = stored.value();
        }
        if !crd::is_established(&definition) {
            return;
        }
        let (group, plural) = crd::resource(&definition);
        self.registry.unregister(group, plural);
        for served in crd::kinds(&definition) {
            let served = self.registry.register(served);
            self.storage.set_closed(&storage_id(&served), false);
        }
    }

    /// Goes back to a snapshot, with the kinds that were defined then.
    pub(crate) fn restore(&mut self, snapshot: &Snapshot, end_streams: bool) {
        for definition in self.definitions() {
            let (group, plural) = crd::resource(&definition);
            for kind in self.registry.unregister(group, plural) {
                self.storage.set_closed(&storage_id(&kind), true);
            }
        }
        self.storage.restore(snapshot, end_streams);
        for definition in self
            .definitions()
            .iter()
            .filter(|definition| crd::is_established(definition))
        {
            for served in crd::kinds(definition) {
                let served = self.registry.register(served);
                self.storage.set_closed(&storage_id(&served), false);
            }
        }
        self.look_again();
    }

    fn definitions(&self) -> Vec<Value> {
        let Some(kind) = self.registry.kinds().iter().find(|kind| kind.is_crd()) else {
            return Vec::new();
        };
        let head = self.storage.revision();
        let page = self.storage.page(&kind.storage, head, None, None, None, |_| true);
        page.map(|page| page.items.iter().map(|stored| stored.value()).collect())
            .unwrap_or_default()
    }

    /// Deletes the objects of a definition that is gone, and ends the watches on them.
    fn drop_definition(&mut self, definition: &Value) {
        let (group, plural) = crd::resource(definition);
        let Some(kind) = self.registry.unregister(group, plural).into_iter().next() else {
            return;
        };
        let id = storage_id(&kind);
        let head = self.storage.revision();
        let Ok(page) = self.storage.page(&id, head, None, None, None, |_| true) else {
            return;
        };
        let opening = opening(&kind);
        for stored in page.items {
            self.storage
                .remove(&id, &opening, stored.value(), stored.fields.clone(), clock::now());
        }
        self.storage.set_closed(&id, true);
        self.wake(&id);
    }

    /// Whether the definition of a custom kind is on its way out.
    pub(crate) fn is_terminating(&self, kind: &Kind) -> bool {
        kind.custom && self.background.awaits(&kind.storage)
    }

    /// The calendar time to stamp.
    pub(crate) fn timestamp(&self) -> jiff::Timestamp {
        self.clock.timestamp()
    }

    /// The kind in the version its objects are stored in; `None` where that is this one.
    fn storage_kind(&self, kind: &Kind) -> Option<Arc<Kind>> {
        if is_as_stored(kind) {
            return None;
        }
        let stored = |other: &&Arc<Kind>| other.storage == kind.storage && is_as_stored(other);
        self.registry.kinds().iter().find(stored).cloned()
    }

    fn to_stored_version(&self, kind: &Kind, mut object: Value) -> (Value, BTreeMap<String, String>) {
        let other = self.storage_kind(kind);
        let stored_as = other.as_deref().unwrap_or(kind);
        if kind.is_new_event() {
            object = event::to_core(object);
        }
        object["apiVersion"] = stored_as.api_version().into();
        object["kind"] = stored_as.kind.clone().into();
        let mut fields = BTreeMap::new();
        let mut note = |view: &Kind| {
            for field in selectable_fields(view) {
                fields.insert(field.to_owned(), field_value(view, &object, field).into_owned());
            }
        };
        note(kind);
        if kind.storage == "events" {
            // The two groups of events name their fields differently.
            self.registry
                .kinds()
                .iter()
                .filter(|view| view.storage == "events")
                .for_each(|view| note(view));
        }
        (object, fields)
    }

    /// Wakes whoever watches this kind.
    pub(crate) fn wake(&self, id: &str) {
        self.watchers.wake(id);
    }

    /// Wakes every watcher.
    pub(crate) fn wake_all(&self) {
        self.watchers.wake_all();
    }
}

/// The storage's name for a kind's objects.
pub(crate) fn storage_id(kind: &Kind) -> KindId {
    Arc::from(kind.storage.as_str())
}

fn selectable_fields(kind: &Kind) -> impl Iterator<Item = &str> {
    let beyond = |field: &&str| !matches!(*field, "metadata.name" | "metadata.namespace");
    kind.selectable_fields.iter().map(String::as_str).filter(beyond)
}
