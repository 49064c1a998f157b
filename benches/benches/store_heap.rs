//! Heap at the peak of a relist of 100,000 unchanged objects, next to the settled heap, for the store and kube-runtime's.

use std::sync::Arc;

use informer::store::{Batch, Cache, Delta, Entry, KeyRef, Object, ObjectKey, ReflectorStore, Replacement};
use informer_benches::{
    heap::{PeakAlloc, heap_of},
    table,
};
use k8s_openapi::api::core::v1::Pod;
use kube_runtime::{reflector, watcher::Event};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const OBJECTS: usize = 100_000;

/// An almost empty pod: the smaller the object, the more what the store adds weighs.
fn slim(index: usize) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name = Some(format!("deployment-{:05}-7d9f8b6c5d-{:05}", index / 20, index));
    pod.metadata.namespace = Some(format!("namespace-{:03}", index % 50));
    pod.metadata.uid = Some(format!("00000000-0000-4000-8000-{index:012}"));
    pod.metadata.resource_version = Some("1".to_owned());
    let spec = pod.spec.get_or_insert_default();
    spec.node_name = Some(format!("node-{:04}", index % 3_000));
    pod
}

fn replaced(entries: Vec<Entry<Pod>>, kept: Vec<ObjectKey>, version: u64) -> Batch<Pod> {
    let mut replacement = Replacement::new(entries, version.into());
    replacement.kept = kept;
    Batch::new(vec![Delta::Replaced(replacement)], Some(version.into()))
}

fn key(index: usize) -> (String, String, String) {
    let metadata = slim(index).metadata;
    (
        metadata.namespace.unwrap_or_default(),
        metadata.name.unwrap_or_default(),
        metadata.uid.unwrap_or_default(),
    )
}

/// The list as a reflector makes it of items it need not decode: what the store says it holds, under a key of its own.
fn recognised(cache: &Cache<Pod>) -> Vec<Entry<Pod>> {
    let mut entries = Vec::with_capacity(OBJECTS);
    for index in 0..OBJECTS {
        let (namespace, name, uid) = key(index);
        let key = KeyRef::new(Some(&namespace), &name);
        let object = cache.held(key, &uid, "1").expect("it is held");
        entries.push(Entry::with_key(key.to_key(), object));
    }
    entries
}

fn row(what: &str, settled: usize, peak: usize) {
    let share = format!("{:.2} %", peak as f64 / settled as f64 * 100.0);
    table::row(&[&what, &(settled / OBJECTS), &(peak / OBJECTS), &share]);
}

fn main() {
    table::head(&[
        "relist of 100,000 unchanged",
        "settled B/object",
        "extra at the peak B/object",
        "share",
    ]);
    let (cache, filled) = heap_of(ALLOCATOR, || {
        let cache = Cache::<Pod>::new();
        let entries = (0..OBJECTS).map(|index| Entry::new(slim(index)).expect("named"));
        cache.apply(replaced(entries.collect(), Vec::new(), 1));
        cache
    });
    let settled = filled.live;

    let ((), usage) = heap_of(ALLOCATOR, || {
        cache.apply(replaced(recognised(&cache), Vec::new(), 2));
    });
    row(
        "recognised by the reflector, its list included",
        settled,
        usage.peak,
    );
    assert_eq!(cache.stats().unchanged, OBJECTS as u64);

    let batch = replaced(recognised(&cache), Vec::new(), 3);
    let ((), usage) = heap_of(ALLOCATOR, || cache.apply(batch));
    row("the same, the store alone", settled, usage.peak);

    let ((), usage) = heap_of(ALLOCATOR, || {
        let keys = cache.snapshot().entries().map(|(key, _)| key.clone()).collect();
        cache.apply(replaced(Vec::new(), keys, 4));
    });
    row("kept by key, the list of keys included", settled, usage.peak);
    assert_eq!(cache.len(), OBJECTS);

    let entries: Vec<_> = cache
        .snapshot()
        .list()
        .map(|object| Entry::new(Arc::new(Pod::clone(object))).expect("named"))
        .collect();
    let batch = replaced(entries, Vec::new(), 5);
    let ((), usage) = heap_of(ALLOCATOR, || cache.apply(batch));
    row("decoded anew by the caller, the store alone", settled, usage.peak);
    assert!(cache.snapshot().list().all(|object| object.uid().is_some()));
    drop(cache);

    let (mut writer, filled) = heap_of(ALLOCATOR, || {
        let mut writer = reflector::store::Writer::<Pod>::new(());
        relist(&mut writer);
        writer
    });
    let ((), usage) = heap_of(ALLOCATOR, || relist(&mut writer));
    row("kube-runtime", filled.live, usage.peak);
}

/// The events of a list, each object dropped once it has been handed over.
fn relist(writer: &mut reflector::store::Writer<Pod>) {
    writer.apply_watcher_event(&Event::Init);
    for index in 0..OBJECTS {
        writer.apply_watcher_event(&Event::InitApply(slim(index)));
    }
    writer.apply_watcher_event(&Event::InitDone);
}
