//! A store that checks what it is given.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use informer_store::{
    Closed, Entry, KeyRef, Object, ObjectKey, ReflectorStore, Replacement, ResourceVersion, ResyncPart,
    Tombstone,
};
use k8s_openapi::api::core::v1::ConfigMap;

/// What a store was told, and what it holds.
#[derive(Default)]
pub struct Book {
    pub log: Vec<String>,
    pub objects: BTreeMap<ObjectKey, Arc<ConfigMap>>,
    pub version: ResourceVersion,
    pub replaced: u32,
    pub rewound: u32,
    /// What the server held at each of its versions, where every step is checked against it.
    pub truth: Option<Truth>,
    /// Objects that may differ, since they cannot be decoded.
    pub excused: Vec<String>,
}

/// `name@version` of every object, by the server's version.
pub type Truth = Arc<Mutex<BTreeMap<u64, Vec<String>>>>;

impl Book {
    /// I1: the contents are what the server held at the version claimed.
    fn verify(&self) {
        let Some(truth) = &self.truth else { return };
        let version = self.version.as_u64().expect("the version is a number");
        let truth = truth.lock().unwrap();
        let Some((_, then)) = truth.range(..=version).next_back() else {
            return;
        };
        let counts = |item: &&String| {
            !self
                .excused
                .iter()
                .any(|name| item.starts_with(&format!("{name}@")))
        };
        let mine = self.contents();
        assert_eq!(
            mine.iter().filter(counts).collect::<Vec<_>>(),
            then.iter().filter(counts).collect::<Vec<_>>(),
            "I1 at version {version}, after {:?}",
            self.log.last()
        );
    }

    /// `name@version` of every object.
    pub fn contents(&self) -> Vec<String> {
        self.objects
            .iter()
            .map(|(key, object)| format!("{}@{}", key.name(), object.version()))
            .collect()
    }
}

/// A store that checks the contract of its caller at every step.
#[derive(Clone, Default)]
pub struct Checked(Arc<Mutex<Book>>);

impl Checked {
    /// A store that compares itself with the server at every step.
    pub fn against(truth: Truth, excused: &[&str]) -> Self {
        let store = Self::default();
        {
            let mut book = store.0.lock().unwrap();
            book.truth = Some(truth);
            book.excused = excused.iter().map(|name| (*name).to_owned()).collect();
        }
        store
    }

    pub fn contents(&self) -> Vec<String> {
        self.0.lock().unwrap().contents()
    }

    pub fn log(&self) -> Vec<String> {
        self.0.lock().unwrap().log.clone()
    }

    pub fn replaced(&self) -> u32 {
        self.0.lock().unwrap().replaced
    }

    pub fn rewound(&self) -> u32 {
        self.0.lock().unwrap().rewound
    }

    fn upsert(&self, what: &str, entry: Entry<ConfigMap>) {
        let mut book = self.0.lock().unwrap();
        assert!(book.replaced > 0, "the first call is replace");
        let version = entry.object.version();
        let old = book.objects.insert(entry.key.clone(), Arc::clone(&entry.object));
        assert_eq!(
            old.is_some(),
            what == "update",
            "I4: {what} of {} fits what is held",
            entry.key
        );
        if let Some(old) = old {
            assert_eq!(old.uid(), entry.object.uid(), "P13: another uid is no update");
            assert!(old.version() < version, "I4: {} goes forward", entry.key);
        }
        assert!(
            entry.object.metadata.managed_fields.is_none(),
            "managedFields are left out"
        );
        if version > book.version {
            book.version = version.clone();
        }
        book.log.push(format!("{what} {}@{version}", entry.key.name()));
        book.verify();
    }
}

#[async_trait]
impl ReflectorStore<ConfigMap> for Checked {
    async fn replace(&self, replacement: Replacement<ConfigMap>) -> Result<(), Closed> {
        let mut book = self.0.lock().unwrap();
        if replacement.rewound {
            book.rewound += 1;
        } else {
            let order = replacement.version.partial_cmp(&book.version);
            assert!(
                order.is_none_or(std::cmp::Ordering::is_ge),
                "I2: {:?} after {:?}",
                replacement.version,
                book.version
            );
        }
        let mut objects = BTreeMap::new();
        for entry in replacement.entries {
            assert!(
                objects
                    .insert(entry.key.clone(), entry.object.into_inner())
                    .is_none(),
                "{} is listed once",
                entry.key
            );
        }
        for key in replacement.kept {
            if let Some(kept) = book.objects.get(&key) {
                objects.entry(key).or_insert_with(|| Arc::clone(kept));
            }
        }
        book.log
            .push(format!("replace {}@{}", objects.len(), replacement.version));
        book.objects = objects;
        book.version = replacement.version;
        book.replaced += 1;
        book.verify();
        Ok(())
    }

    async fn add(&self, entry: Entry<ConfigMap>) -> Result<(), Closed> {
        self.upsert("add", entry);
        Ok(())
    }

    async fn update(&self, entry: Entry<ConfigMap>) -> Result<(), Closed> {
        self.upsert("update", entry);
        Ok(())
    }

    async fn delete(&self, tombstone: Tombstone<ConfigMap>) -> Result<(), Closed> {
        let mut book = self.0.lock().unwrap();
        let old = book.objects.remove(&tombstone.key);
        let old = old.expect("only what is held is deleted");
        if let Some(uid) = &tombstone.uid {
            assert_eq!(old.uid(), Some(&**uid), "a tombstone names the uid held");
        }
        let mark = if tombstone.inferred { " inferred" } else { "" };
        if tombstone.version > book.version {
            book.version = tombstone.version.clone();
        }
        book.log.push(format!(
            "delete {}@{}{mark}",
            tombstone.key.name(),
            tombstone.version
        ));
        Ok(())
    }

    async fn resync(&self, part: ResyncPart) -> Result<(), Closed> {
        self.0
            .lock()
            .unwrap()
            .log
            .push(format!("resync {}/{}", part.part, part.of));
        Ok(())
    }

    async fn bookmark(&self, version: ResourceVersion) -> Result<(), Closed> {
        let mut book = self.0.lock().unwrap();
        assert!(version > book.version, "I5: a bookmark goes forward");
        book.log.push(format!("bookmark @{version}"));
        book.version = version;
        book.verify();
        Ok(())
    }

    fn held(&self, key: KeyRef<'_>, uid: &str, version: &str) -> Option<Arc<ConfigMap>> {
        let book = self.0.lock().unwrap();
        let object = book.objects.get(&key.to_key())?;
        (object.uid() == Some(uid) && object.resource_version() == Some(version)).then(|| Arc::clone(object))
    }
}
