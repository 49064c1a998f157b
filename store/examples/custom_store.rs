//! A store of one's own at the end of the pipeline: objects in a `BTreeMap`, always listed in key order.
//!
//! Run with `cargo run -p informer-store --example custom_store`.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use informer_store::{
    Direct, Entry, Object, ObjectKey, ReflectorStore, Replacement, ResourceVersion, Store, Unkeyed,
};
use k8s_openapi::api::core::v1::ConfigMap;

struct Sorted<K>(RwLock<BTreeMap<ObjectKey, Arc<K>>>);

impl<K: Object> Sorted<K> {
    fn write<R>(&self, step: impl FnOnce(&mut BTreeMap<ObjectKey, Arc<K>>) -> R) -> R {
        step(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn read<R>(&self, look: impl FnOnce(&BTreeMap<ObjectKey, Arc<K>>) -> R) -> R {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<K: Object> Store<K> for Sorted<K> {
    fn add(&self, object: Arc<K>) -> Result<(), Unkeyed<Arc<K>>> {
        let Entry { key, object, .. } = Entry::new(object)?;
        self.write(|map| map.insert(key, object.into_inner()));
        Ok(())
    }

    fn update(&self, object: Arc<K>) -> Result<(), Unkeyed<Arc<K>>> {
        self.add(object)
    }

    fn delete(&self, object: Arc<K>) -> Result<(), Unkeyed<Arc<K>>> {
        self.delete_key(&Entry::new(object)?.key);
        Ok(())
    }

    fn delete_key(&self, key: &ObjectKey) {
        self.write(|map| map.remove(key));
    }

    fn replace(&self, objects: Vec<Arc<K>>, _version: ResourceVersion) -> Result<(), Unkeyed<Arc<K>>> {
        let entries = objects
            .into_iter()
            .map(|object| Entry::<K>::new(object).map(|entry| (entry.key, entry.object.into_inner())));
        let map: BTreeMap<_, _> = entries.collect::<Result<_, _>>()?;
        self.write(|held| *held = map);
        Ok(())
    }

    fn list(&self) -> Vec<Arc<K>> {
        self.read(|map| map.values().cloned().collect())
    }

    fn list_keys(&self) -> Vec<ObjectKey> {
        self.read(|map| map.keys().cloned().collect())
    }

    fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.get_by_key(&ObjectKey::new(Some(namespace), name))
    }

    fn get_by_key(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.read(|map| map.get(key).cloned())
    }
}

/// What a reflector would do: it knows the store only as a `ReflectorStore`.
async fn feed(store: &impl ReflectorStore<ConfigMap>) -> Result<(), Box<dyn std::error::Error>> {
    let named = |name: &str| -> Result<ConfigMap, serde_json::Error> {
        let json = format!(r#"{{"metadata": {{"namespace": "shop", "name": "{name}"}}}}"#);
        serde_json::from_str(&json)
    };
    let listed = vec![Entry::new(named("prices")?)?, Entry::new(named("banner")?)?];
    store.replace(Replacement::new(listed, "10".into())).await?;
    store.add(Entry::new(named("colours")?)?).await?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Direct(Sorted(RwLock::default()));
    feed(&store).await?;
    let keys: Vec<_> = store.0.list_keys().iter().map(ToString::to_string).collect();
    assert_eq!(keys, ["shop/banner", "shop/colours", "shop/prices"]);
    Ok(())
}
