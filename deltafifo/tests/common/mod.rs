//! A small object, a naive store, and shorthands.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use informer_deltafifo::KnownObjects;
use informer_store::{
    Apply, Batch, Delta, Entry, Object, ObjectKey, Replacement, ResourceVersion, Tombstone,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Obj {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) version: String,
}

impl Object for Obj {
    fn namespace(&self) -> Option<&str> {
        Some("ns")
    }
    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }
    fn uid(&self) -> Option<&str> {
        Some(&self.uid)
    }
    fn resource_version(&self) -> Option<&str> {
        Some(&self.version)
    }
}

pub(crate) fn obj(name: &str, uid: &str, version: u64) -> Arc<Obj> {
    Arc::new(Obj {
        name: name.into(),
        uid: uid.into(),
        version: version.to_string(),
    })
}

pub(crate) fn key(name: &str) -> ObjectKey {
    ObjectKey::namespaced("ns", name)
}

pub(crate) fn entry(name: &str, uid: &str, version: u64) -> Entry<Obj> {
    Entry::new(obj(name, uid, version)).expect("it has a name")
}

pub(crate) fn added(name: &str, uid: &str, version: u64) -> Delta<Obj> {
    Delta::Added(entry(name, uid, version))
}

pub(crate) fn updated(name: &str, uid: &str, version: u64) -> Delta<Obj> {
    Delta::Updated(entry(name, uid, version))
}

pub(crate) fn deleted(name: &str, uid: &str, version: u64) -> Delta<Obj> {
    Delta::Deleted(Tombstone::new(obj(name, uid, version)).expect("it has a name"))
}

pub(crate) fn inferred(name: &str) -> Delta<Obj> {
    Delta::Deleted(Tombstone::of(key(name)))
}

pub(crate) fn replaced(entries: &[(&str, &str, u64)], version: u64) -> Delta<Obj> {
    let entries = entries.iter().map(|(name, uid, at)| entry(name, uid, *at));
    Delta::Replaced(Replacement::new(entries.collect(), version.into()))
}

/// `kind name/uid@version`, or the like.
pub(crate) fn show(delta: &Delta<Obj>) -> String {
    let kind = delta.kind();
    match delta {
        Delta::Added(entry) | Delta::Updated(entry) | Delta::Sync(entry) => {
            let Obj { name, uid, version } = &**entry.object;
            format!("{kind} {name}/{uid}@{version}")
        }
        Delta::Deleted(tombstone) => {
            let mark = if tombstone.inferred { "?" } else { "" };
            let uid = tombstone.uid.as_deref().unwrap_or("*");
            let at = tombstone.object.as_ref().map_or("-", |object| &object.version);
            format!("{kind}{mark} {}/{uid}@{at}", tombstone.key.name())
        }
        Delta::Replaced(replacement) => {
            let names: Vec<_> = replacement.entries.iter().map(|entry| entry.key.name()).collect();
            format!("{kind} [{}] @{}", names.join(" "), replacement.version)
        }
        Delta::Resync(part) => format!("{kind} {}/{}", part.part, part.of),
        Delta::Bookmark(version) => format!("{kind} @{version}"),
        other => format!("{other:?}"),
    }
}

pub(crate) fn shown(batch: &Batch<Obj>) -> Vec<String> {
    batch.deltas.iter().map(show).collect()
}

/// Name to (uid, version).
pub(crate) type Contents = BTreeMap<String, (String, String)>;

/// What every store does with a delta, in the plainest way.
pub(crate) fn apply(contents: &mut Contents, delta: &Delta<Obj>) {
    match delta {
        Delta::Added(entry) | Delta::Updated(entry) | Delta::Sync(entry) => {
            let Obj { name, uid, version } = (**entry.object).clone();
            contents.insert(name, (uid, version));
        }
        Delta::Deleted(tombstone) => {
            let name = tombstone.key.name();
            let is_of_held = tombstone.uid.is_none()
                || contents.get(name).map(|(uid, _)| uid.as_str()) == tombstone.uid.as_deref();
            if is_of_held {
                contents.remove(name);
            }
        }
        Delta::Replaced(replacement) => {
            let kept = |name: &String| replacement.kept.iter().any(|key| key.name() == name);
            contents.retain(|name, _| kept(name));
            for entry in &replacement.entries {
                let Obj { name, uid, version } = (**entry.object).clone();
                contents.insert(name, (uid, version));
            }
        }
        _ => {}
    }
}

#[derive(Default)]
pub(crate) struct NaiveStore(pub(crate) Mutex<(Contents, ResourceVersion)>);

impl NaiveStore {
    pub(crate) fn contents(&self) -> Contents {
        self.0.lock().unwrap().0.clone()
    }
    pub(crate) fn version(&self) -> ResourceVersion {
        self.0.lock().unwrap().1.clone()
    }
}

impl Apply<Obj> for NaiveStore {
    fn apply(&self, batch: Batch<Obj>) {
        let mut state = self.0.lock().unwrap();
        for delta in &batch.deltas {
            apply(&mut state.0, delta);
        }
        if let Some(version) = batch.version {
            state.1 = version;
        }
    }
}

/// Known objects of a classic queue: a map that a test fills itself.
#[derive(Clone, Default)]
pub(crate) struct KnownMap(pub(crate) Arc<Mutex<BTreeMap<String, Arc<Obj>>>>);

impl KnownMap {
    pub(crate) fn of(objects: &[(&str, &str, u64)]) -> Self {
        let map = objects
            .iter()
            .map(|(name, uid, at)| ((*name).into(), obj(name, uid, *at)));
        Self(Arc::new(Mutex::new(map.collect())))
    }

    pub(crate) fn apply(&self, batch: &Batch<Obj>) {
        let mut map = self.0.lock().unwrap();
        for delta in &batch.deltas {
            match delta {
                Delta::Added(entry) | Delta::Updated(entry) | Delta::Sync(entry) => {
                    map.insert(entry.key.name().into(), Arc::clone(&entry.object));
                }
                Delta::Deleted(tombstone) => {
                    map.remove(tombstone.key.name());
                }
                _ => {}
            }
        }
    }

    pub(crate) fn contents(&self) -> Contents {
        let map = self.0.lock().unwrap();
        let entries = map
            .iter()
            .map(|(name, o)| (name.clone(), (o.uid.clone(), o.version.clone())));
        entries.collect()
    }
}

impl KnownObjects<Obj> for KnownMap {
    fn keys(&self) -> Vec<ObjectKey> {
        self.0.lock().unwrap().keys().map(|name| key(name)).collect()
    }
    fn get(&self, key: &ObjectKey) -> Option<Arc<Obj>> {
        self.0.lock().unwrap().get(key.name()).cloned()
    }
}
