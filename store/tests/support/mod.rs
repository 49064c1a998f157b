//! A small object, and helpers the tests share.
#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]

use std::{collections::BTreeMap, sync::Arc};

use futures::{FutureExt, Stream, StreamExt};
use informer_store::{Change, Entry, Object, ObjectKey, OwnerRef, Tombstone};

/// An object with what the store looks at, and a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thing {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub version: String,
    pub labels: BTreeMap<String, String>,
    pub owner: Option<String>,
    pub body: u64,
}

impl Object for Thing {
    fn namespace(&self) -> Option<&str> {
        Some(&self.namespace)
    }

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn uid(&self) -> Option<&str> {
        Some(&*self.uid).filter(|uid| !uid.is_empty())
    }

    fn resource_version(&self) -> Option<&str> {
        Some(&*self.version).filter(|version| !version.is_empty())
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    fn each_label(&self, visit: &mut dyn FnMut(&str, &str)) {
        self.labels.iter().for_each(|(key, value)| visit(key, value));
    }

    fn each_owner(&self, visit: &mut dyn FnMut(OwnerRef<'_>)) {
        if let Some(uid) = &self.owner {
            visit(OwnerRef {
                api_version: "v1",
                kind: "Owner",
                name: "owner",
                uid,
                controller: true,
            });
        }
    }
}

/// `thing("ns/name", 7)` is at version 7, of uid `ns/name`.
pub fn thing(key: &str, version: u64) -> Thing {
    let key: ObjectKey = key.parse().expect("a well-formed key");
    Thing {
        namespace: key.namespace().unwrap_or_default().into(),
        name: key.name().into(),
        uid: key.to_string(),
        version: version.to_string(),
        body: version,
        ..Thing::default()
    }
}

impl Thing {
    pub fn uid(mut self, uid: &str) -> Self {
        self.uid = uid.into();
        self
    }

    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    pub fn body(mut self, body: u64) -> Self {
        self.body = body;
        self
    }

    pub fn entry(self) -> Entry<Self> {
        Entry::new(self).expect("things have names")
    }

    pub fn tombstone(self) -> Tombstone<Self> {
        Tombstone::new(self).expect("things have names")
    }
}

/// Everything a stream has at hand, without waiting.
pub fn at_hand<S: Stream + Unpin>(stream: &mut S) -> Vec<S::Item> {
    std::iter::from_fn(|| stream.next().now_or_never().flatten()).collect()
}

/// A change in one line: `+ns/name@3` added, `~ns/name@3>4` updated, `-ns/name@4` deleted; `!` marks initial and
/// inferred ones.
pub fn line<K: Object>(change: &Change<K>) -> String {
    match change {
        Change::Added {
            key, new, initial, ..
        } => {
            format!("+{key}@{}{}", new.version(), if *initial { "!" } else { "" })
        }
        Change::Updated { key, old, new, .. } => format!("~{key}@{}>{}", old.version(), new.version()),
        Change::Deleted {
            key, last, inferred, ..
        } => {
            format!("-{key}@{}{}", last.version(), if *inferred { "!" } else { "" })
        }
        _ => unreachable!("there are three kinds of change"),
    }
}

pub fn lines<K: Object>(changes: &[Change<K>]) -> Vec<String> {
    changes.iter().map(line).collect()
}

/// A handler's view, built from nothing but its changes; panics where they break `(Added Updated* Deleted)*` or where
/// `old` is not what was seen last (H1, H2).
#[derive(Debug)]
pub struct Replay<K> {
    pub held: BTreeMap<ObjectKey, Arc<K>>,
    pub check_last: bool,
}

impl<K> Default for Replay<K> {
    fn default() -> Self {
        Self {
            held: BTreeMap::new(),
            check_last: true,
        }
    }
}

impl<K> Replay<K> {
    pub fn take(&mut self, change: &Change<K>) {
        match change {
            Change::Added { key, new, .. } => {
                let before = self.held.insert(key.clone(), Arc::clone(new));
                assert!(before.is_none(), "H1: {key} added while held");
            }
            Change::Updated { key, old, new, .. } => {
                let before = self.held.insert(key.clone(), Arc::clone(new));
                let before = before.unwrap_or_else(|| panic!("H1: {key} updated while not held"));
                assert!(
                    Arc::ptr_eq(&before, old),
                    "H2: old of {key} is what was seen last"
                );
            }
            Change::Deleted { key, .. } => {
                assert!(
                    self.held.remove(key).is_some(),
                    "H1: {key} deleted while not held"
                );
            }
            _ => unreachable!("there are three kinds of change"),
        }
    }
}
