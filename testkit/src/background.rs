//! What a cluster's controllers do on their own: collect the dependents of deleted objects, empty namespaces that go
//! away, and, if asked, run deployments.
//!
//! Definitions that go away take their objects with them, whatever is asked.
//!
//! Each write notes what may have to follow; the work is done before the lock is released, in order, until nothing is
//! left. A watcher sees every step as an event of its own. There is no kubelet, so pods that are deleted on the way get
//! no time to end.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::write::{as_served, commit, delete_object};
use crate::crd;
use crate::kind::Kind;
use crate::patch::{self, PatchType};
use crate::state::{State, storage_id};
use crate::storage::{Key, key_of};
use crate::write::{self, DeleteOptions, FieldValidation, Target, WriteContext};

mod workloads;

/// Which controllers run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Switches {
    /// Dependents of deleted objects are deleted, orphaned or waited for.
    pub(crate) garbage: bool,
    /// Namespaces that are deleted lose their content, then go.
    pub(crate) namespaces: bool,
    /// Deployments and replica sets have running pods.
    pub(crate) workloads: bool,
}

/// What is known and what is to do.
#[derive(Debug)]
pub(crate) struct Background {
    switches: Switches,
    /// By the uid of an owner: the objects that name it.
    dependents: HashMap<Box<str>, BTreeSet<Place>>,
    terminating: BTreeSet<Box<str>>,
    /// The tables of custom kinds whose definitions wait for them to be empty.
    definitions: BTreeSet<Box<str>>,
    queue: VecDeque<Task>,
    busy: bool,
}

/// The table and key of an object.
type Place = (Arc<str>, Key);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Task {
    /// The owner with this uid is gone.
    Gone(Box<str>),
    /// The object waits for what it owns.
    Waiting(Place),
    /// The namespace is going away.
    Empty(Box<str>),
    /// The definition of this name waits for its objects to go.
    Definition(Box<str>),
    /// A deployment, replica set or pod has changed.
    Workload(Place),
}

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// Volumes and claims have one of these from the start, and keep it while they are in use. Nothing is mounted here, so
/// they lose it as soon as they are deleted.
const PROTECTION: [&str; 3] = [
    "kubernetes.io/pvc-protection",
    "kubernetes.io/pv-protection",
    "kubernetes.io/vac-protection",
];

/// More steps than this after one write would be two rules that undo each other.
const STEPS_MAX: usize = 1_000_000;

impl Background {
    pub(crate) fn new(switches: Switches) -> Self {
        Self {
            switches,
            dependents: HashMap::new(),
            terminating: BTreeSet::new(),
            definitions: BTreeSet::new(),
            queue: VecDeque::new(),
            busy: false,
        }
    }

    fn later(&mut self, task: Task) {
        if !self.queue.contains(&task) {
            self.queue.push_back(task);
        }
    }

    /// Notes that an object was stored.
    pub(crate) fn stored(&mut self, kind: &Kind, id: &Arc<str>, object: &Value) {
        let place = || (Arc::clone(id), key_of(object));
        if self.switches.garbage {
            for uid in owners(object) {
                self.dependents.entry(uid.into()).or_default().insert(place());
            }
            if is_deleting(object) && (waits(object) || protection(object).is_some()) {
                self.later(Task::Waiting(place()));
            }
        }
        if self.switches.namespaces && kind.is_core("Namespace") && is_deleting(object) {
            let (_, name) = key_of(object);
            self.terminating.insert(name.clone());
            self.later(Task::Empty(name));
        }
        if kind.is_crd() && crd::awaits_cleanup(object) {
            let (_, name) = key_of(object);
            // Its name is that of the table its objects are in.
            if self.definitions.insert(name.clone()) {
                self.later(Task::Definition(name));
            }
        }
        if self.switches.workloads && workloads::concerns(kind) {
            self.later(Task::Workload(place()));
        }
    }

    /// Whether the definition of the objects in a table is on its way out.
    pub(crate) fn awaits(&self, table: &str) -> bool {
        self.definitions.contains(table)
    }

    /// Notes that an object is gone.
    pub(crate) fn removed(&mut self, kind: &Kind, id: &Arc<str>, last: &Value) {
        let key = key_of(last);
        let place: Place = (Arc::clone(id), key.clone());
        if self.switches.garbage {
            for uid in owners(last) {
                if let Some(all) = self.dependents.get_mut(uid) {
                    all.remove(&place);
                    if all.is_empty() {
                        self.dependents.remove(uid);
                    }
                }
            }
            let uid = text(last, "/metadata/uid");
            if self.dependents.contains_key(uid) {
                self.later(Task::Gone(uid.into()));
            }
            self.later_for_owners(last, Task::Waiting);
        }
        if kind.is_crd() {
            self.definitions.remove(&key.1);
        } else if kind.custom && self.definitions.contains(&**id) {
            self.later(Task::Definition((&**id).into()));
        }
        if kind.is_core("Namespace") {
            self.terminating.remove(&key.1);
        } else if self.terminating.contains(&key.0) {
            self.later(Task::Empty(key.0.clone()));
        }
        if self.switches.workloads && workloads::concerns(kind) {
            self.later_for_owners(last, Task::Workload);
        }
    }

    fn later_for_owners(&mut self, object: &Value, task: fn(Place) -> Task) {
        let namespace = text(object, "/metadata/namespace");
        for owner in references(object) {
            let group = text(owner, "/apiVersion")
                .rsplit_once('/')
                .map_or("", |(group, _)| group);
            // Owners are found by table; built-in plurals need no registry to be told.
            let plural = plural_of(text(owner, "/kind"));
            let id = if group.is_empty() {
                plural
            } else {
                format!("{plural}.{group}")
            };
            for namespace in [namespace, ""] {
                self.later(task((
                    Arc::from(id.as_str()),
                    (namespace.into(), text(owner, "/name").into()),
                )));
            }
        }
    }
}

fn plural_of(kind: &str) -> String {
    let lower = kind.to_lowercase();
    match lower.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if lower.ends_with('s') => format!("{lower}es"),
        None => format!("{lower}s"),
    }
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn references(object: &Value) -> impl Iterator<Item = &Value> {
    object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn owners(object: &Value) -> impl Iterator<Item = &str> {
    references(object).filter_map(|owner| owner.get("uid").and_then(Value::as_str))
}

fn is_deleting(object: &Value) -> bool {
    object
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(Value::is_string)
}

fn has_finalizer(object: &Value, name: &str) -> bool {
    let all = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    all.into_iter().flatten().any(|finalizer| finalizer == name)
}

/// Whether an object that is deleted waits for its dependents.
fn waits(object: &Value) -> bool {
    has_finalizer(object, FOREGROUND) || has_finalizer(object, ORPHAN)
}

fn protection(object: &Value) -> Option<&'static str> {
    PROTECTION
        .into_iter()
        .find(|finalizer| has_finalizer(object, finalizer))
}

impl State {
    /// Does what the latest writes call for.
    pub(crate) fn follow_up(&mut self) {
        if self.background.busy || self.background.queue.is_empty() {
            return;
        }
        self.background.busy = true;
        for _ in 0..STEPS_MAX {
            let Some(task) = self.background.queue.pop_front() else {
                break;
            };
            match task {
                Task::Gone(uid) => self.collect_dependents(&uid),
                Task::Waiting(place) => self.advance_deletion(&place),
                Task::Empty(namespace) => self.empty_namespace(&namespace),
                Task::Definition(name) => self.clean_up(&name),
                Task::Workload(place) => self.reconcile_workload(&place),
            }
        }
        self.background.busy = false;
    }

    /// Forgets what was noted about objects and looks again: the state has been replaced as a whole.
    pub(crate) fn look_again(&mut self) {
        self.background = Background::new(self.background.switches);
        let mut seen = BTreeSet::new();
        let kinds: Vec<Arc<Kind>> = self.registry.kinds().to_vec();
        for kind in kinds {
            if seen.insert(kind.storage.clone()) {
                for (place, object) in self.all_of(&kind, None) {
                    self.background.stored(&kind, &place.0, &object);
                }
            }
        }
    }

    /// Runs a write as a controller would make it.
    pub(crate) fn as_controller<T>(&mut self, work: impl FnOnce(&mut Self, &mut WriteContext<'_>) -> T) -> T {
        let mut rng = self.rng.fork();
        let mut ctx = WriteContext {
            now: self.timestamp(),
            rng: &mut rng,
            manager: "kube-controller-manager".to_owned(),
            validation: FieldValidation::Ignore,
            track_updates: false,
            warnings: Vec::new(),
        };
        work(self, &mut ctx)
    }

    fn all_of(&self, kind: &Arc<Kind>, namespace: Option<&str>) -> Vec<(Place, Value)> {
        let id = storage_id(kind);
        let page = self
            .storage
            .page(&id, self.storage.revision(), namespace, None, None, |_| true);
        let items = page.map(|page| page.items).unwrap_or_default();
        items
            .iter()
            .map(|stored| ((Arc::clone(&id), stored.key()), as_served(kind, stored.value())))
            .collect()
    }

    fn kind_at(&self, id: &str) -> Option<Arc<Kind>> {
        let stored_here = |kind: &&Arc<Kind>| kind.storage == id && kind.resource() == id;
        self.registry.kinds().iter().find(stored_here).cloned()
    }

    fn read(&self, place: &Place) -> Option<(Arc<Kind>, Value)> {
        let kind = self.kind_at(&place.0)?;
        let stored = self.storage.get(&place.0, &place.1)?;
        let object = as_served(&kind, stored.value());
        Some((kind, object))
    }

    fn delete_at(&mut self, kind: &Arc<Kind>, key: &Key, options: &DeleteOptions) {
        let options = DeleteOptions {
            grace_period_seconds: Some(0),
            ..options.clone()
        };
        // It may be gone already; that is what was wanted.
        let _ = self.as_controller(|state, ctx| delete_object(state, kind, key, &options, ctx));
    }

    /// Merges a patch into an object, or into its status.
    fn merge_at(&mut self, kind: &Arc<Kind>, key: &Key, target: Target, patch: &Value) {
        let Some(stored) = self.storage.get(&kind.storage, key) else {
            return;
        };
        let current = as_served(kind, stored.value());
        let patched = patch::apply_plain(kind, PatchType::Merge, &current, patch.to_string().as_bytes());
        let Ok(object) = patched else {
            return;
        };
        self.as_controller(|state, ctx| {
            if let Ok(updated) = write::update(kind, target, &key.1, &current, object, ctx) {
                commit(state, kind, key, updated, false);
            }
        });
    }

    fn dependents_of(&self, uid: &str) -> Vec<(Place, Arc<Kind>, Value)> {
        let places = self.background.dependents.get(uid).into_iter().flatten();
        places
            .filter_map(|place| {
                let (kind, object) = self.read(place)?;
                // The note may be older than the object.
                let holds = owners(&object).any(|owner| owner == uid);
                holds.then(|| (place.clone(), kind, object))
            })
            .collect()
    }

    /// The owner is gone: whoever has no other owner goes too, the others lose the reference.
    fn collect_dependents(&mut self, uid: &str) {
        for (place, kind, object) in self.dependents_of(uid) {
            let others: Vec<Value> = references(&object)
                .filter(|owner| text(owner, "/uid") != uid)
                .cloned()
                .collect();
            if others.iter().any(|owner| self.exists(owner, &place.1.0)) {
                let patch = json!({"metadata": {"ownerReferences": others}});
                self.merge_at(&kind, &place.1, Target::Main, &patch);
            } else {
                self.delete_at(&kind, &place.1, &DeleteOptions::default());
            }
        }
        self.background.dependents.remove(uid);
    }

    /// Whether the object an owner reference names is there, and is the same one.
    fn exists(&self, owner: &Value, namespace: &str) -> bool {
        let Some(kind) = self
            .registry
            .by_kind(text(owner, "/apiVersion"), text(owner, "/kind"))
        else {
            return false;
        };
        let namespace = if kind.namespaced { namespace } else { "" };
        let key: Key = (namespace.into(), text(owner, "/name").into());
        self.storage
            .get(&kind.storage, &key)
            .is_some_and(|stored| *stored.uid == *text(owner, "/uid"))
    }

    /// An object waits for its dependents: they go first, or they are let go.
    fn advance_deletion(&mut self, place: &Place) {
        let Some((kind, object)) = self.read(place) else {
            return;
        };
        if !is_deleting(&object) {
            return;
        }
        let uid = text(&object, "/metadata/uid").to_owned();
        let finalizer = if has_finalizer(&object, ORPHAN) {
            for (dependent, kind, object) in self.dependents_of(&uid) {
                let others: Vec<Value> = references(&object)
                    .filter(|owner| text(owner, "/uid") != uid)
                    .cloned()
                    .collect();
                let patch = json!({"metadata": {"ownerReferences": others}});
                self.merge_at(&kind, &dependent.1, Target::Main, &patch);
            }
            self.background.dependents.remove(uid.as_str());
            ORPHAN
        } else if has_finalizer(&object, FOREGROUND) {
            let blocks = |object: &Value| {
                let mut own = references(object).filter(|owner| text(owner, "/uid") == uid);
                own.any(|owner| owner.get("blockOwnerDeletion") == Some(&Value::Bool(true)))
            };
            let options = DeleteOptions {
                propagation: Some(write::Propagation::Foreground),
                ..DeleteOptions::default()
            };
            for (dependent, kind, object) in self.dependents_of(&uid) {
                if is_deleting(&object) {
                    continue;
                }
                let others = references(&object).filter(|owner| text(owner, "/uid") != uid);
                let others: Vec<Value> = others.cloned().collect();
                if others.iter().any(|owner| self.exists(owner, &dependent.1.0)) {
                    // Another owner holds it: it is let go, not deleted.
                    let patch = json!({"metadata": {"ownerReferences": others}});
                    self.merge_at(&kind, &dependent.1, Target::Main, &patch);
                } else {
                    self.delete_at(&kind, &dependent.1, &options);
                }
            }
            if self
                .dependents_of(&uid)
                .iter()
                .any(|(_, _, object)| blocks(object))
            {
                return;
            }
            FOREGROUND
        } else if let Some(protection) = protection(&object) {
            protection
        } else {
            return;
        };
        let Some((_, object)) = self.read(place) else {
            return;
        };
        let kept = object
            .pointer("/metadata/finalizers")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let kept: Vec<&Value> = kept.filter(|name| *name != finalizer).collect();
        self.merge_at(
            &kind,
            &place.1,
            Target::Main,
            &json!({"metadata": {"finalizers": kept}}),
        );
    }

    /// A definition goes away: its objects are deleted, and when none is left, the definition.
    fn clean_up(&mut self, name: &str) {
        let Some(kind) = self.registry.kinds().iter().find(|kind| kind.is_crd()).cloned() else {
            return;
        };
        let place: Place = (storage_id(&kind), ("".into(), name.into()));
        let Some((_, mut definition)) = self.read(&place) else {
            return;
        };
        if !crd::awaits_cleanup(&definition) {
            return;
        }
        let now = serde_json::Value::String(write::stamp(self.timestamp()));
        let before = definition.clone();
        crd::cleanup_started(&mut definition, &now);
        if definition != before {
            self.put(&kind, definition.clone());
        }
        let own = |other: &&Arc<Kind>| other.custom && other.storage == name;
        if let Some(own) = self.registry.kinds().iter().find(own).cloned() {
            for (place, object) in self.all_of(&own, None) {
                if !is_deleting(&object) {
                    self.delete_at(&own, &place.1, &DeleteOptions::default());
                }
            }
            if !self.all_of(&own, None).is_empty() {
                return;
            }
        }
        let Some((_, mut definition)) = self.read(&place) else {
            return;
        };
        crd::cleanup_done(&mut definition, &now);
        let waits = definition
            .pointer("/metadata/finalizers")
            .and_then(Value::as_array)
            .is_some_and(|list| !list.is_empty());
        if waits {
            self.put(&kind, definition);
        } else {
            self.remove(&kind, definition);
        }
    }

    /// A namespace goes away: everything in it is deleted, and when nothing is left, the namespace.
    fn empty_namespace(&mut self, namespace: &str) {
        let kinds: Vec<Arc<Kind>> = self
            .registry
            .kinds()
            .iter()
            .filter(|kind| kind.namespaced && kind.allows("delete"))
            .cloned()
            .collect();
        let mut left = false;
        for kind in &kinds {
            for (place, object) in self.all_of(kind, Some(namespace)) {
                if !is_deleting(&object)
                    || !object
                        .pointer("/metadata/finalizers")
                        .is_some_and(Value::is_array)
                {
                    self.delete_at(kind, &place.1, &DeleteOptions::default());
                }
            }
            left |= !self.all_of(kind, Some(namespace)).is_empty();
        }
        if left {
            return;
        }
        let Some(kind) = self.registry.lookup("", "v1", "namespaces").cloned() else {
            return;
        };
        let key: Key = ("".into(), namespace.into());
        self.merge_at(
            &kind,
            &key,
            Target::Finalize,
            &json!({"spec": {"finalizers": null}}),
        );
    }
}

#[cfg(test)]
mod tests;
