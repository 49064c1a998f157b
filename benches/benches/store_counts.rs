//! Instructions and allocations per operation, which a busy machine does not disturb.
//!
//! Run by `benches/scripts/store-instructions`, under callgrind. Alone it prints allocations and bytes per object.

use std::{hint::black_box, sync::Arc};

use informer::store::{Batch, Cache, Delta, Entry, Index, Replacement, ResourceVersion};
use informer_benches::{
    heap::{INSTRUMENTED_SYSTEM, Region, StatsAlloc},
    table,
};
use k8s_openapi::api::core::v1::Pod;
use kube_runtime::{
    reflector::{self, ObjectRef},
    watcher::Event,
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

const OBJECTS: usize = 20_000;
const ROUNDS: usize = 10_000;

fn slim(index: usize, version: u64) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name = Some(format!("deployment-{:05}-7d9f8b6c5d-{:05}", index / 20, index));
    pod.metadata.namespace = Some(format!("namespace-{:03}", index % 50));
    pod.metadata.uid = Some(format!("00000000-0000-4000-8000-{index:012}"));
    pod.metadata.resource_version = Some(version.to_string());
    let spec = pod.spec.get_or_insert_default();
    spec.node_name = Some(format!("node-{:04}", index % (OBJECTS / 33)));
    pod
}

fn by_node() -> Index<Pod, String> {
    Index::hash("node", |pod: &Pod| pod.spec.as_ref()?.node_name.clone())
}

fn fill(cache: &Cache<Pod>, count: usize) {
    let entries = (0..count).map(|index| Entry::new(slim(index, 1)).expect("named"));
    let replacement = Replacement::new(entries.collect(), 1.into());
    cache.apply(Batch::new(vec![Delta::Replaced(replacement)], Some(1.into())));
}

fn names() -> Vec<(String, String)> {
    let mut rng = fastrand::Rng::with_seed(1);
    let name = |index: usize| {
        let metadata = slim(index, 1).metadata;
        (
            metadata.namespace.unwrap_or_default(),
            metadata.name.unwrap_or_default(),
        )
    };
    (0..ROUNDS).map(|_| name(rng.usize(..OBJECTS))).collect()
}

#[inline(never)]
fn measured_get(cache: &Cache<Pod>, names: &[(String, String)]) {
    for (namespace, name) in names {
        drop(black_box(cache.get(namespace, name)));
    }
}

#[inline(never)]
fn measured_miss(cache: &Cache<Pod>, names: &[(String, String)]) {
    for (_, name) in names {
        drop(black_box(cache.get("nowhere", name)));
    }
}

#[inline(never)]
fn measured_get_kube(store: &reflector::Store<Pod>, names: &[(String, String)]) {
    for (namespace, name) in names {
        drop(black_box(store.get(&ObjectRef::new(name).within(namespace))));
    }
}

#[inline(never)]
fn measured_apply(cache: &Cache<Pod>, batches: Vec<Batch<Pod>>) {
    for batch in batches {
        cache.apply(batch);
    }
}

#[inline(never)]
fn measured_apply_one(cache: &Cache<Pod>, updates: Vec<(Delta<Pod>, Option<ResourceVersion>)>) {
    for (delta, version) in updates {
        cache.apply_one(delta, version);
    }
}

#[inline(never)]
fn measured_apply_pinned(cache: &Cache<Pod>, batches: Vec<Batch<Pod>>) {
    for batch in batches {
        let snapshot = cache.snapshot();
        cache.apply(batch);
        drop(snapshot);
    }
}

#[inline(never)]
fn measured_apply_kube(writer: &mut reflector::store::Writer<Pod>, events: &[Event<Pod>]) {
    for event in events {
        writer.apply_watcher_event(event);
    }
}

#[inline(never)]
fn measured_by_index(cache: &Cache<Pod>, index: &Index<Pod, String>) {
    for at in 0..ROUNDS / 33 {
        let value = format!("node-{at:04}");
        black_box(cache.snapshot().by_index(index, value.as_str()).count());
    }
}

fn updates(seed: u64) -> Vec<Batch<Pod>> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let update = |version: usize| {
        let version = version as u64 + seed * 1_000_000;
        let entry = Entry::new(slim(rng.usize(..OBJECTS), version)).expect("named");
        Batch::new(vec![Delta::Updated(entry)], Some(version.into()))
    };
    (2..ROUNDS + 2).map(update).collect()
}

/// Updates of so many different keys, each once, so that what they replace is what the cache was filled with.
fn distinct() -> impl Iterator<Item = (usize, u64)> {
    let mut keys: Vec<usize> = (0..OBJECTS).collect();
    fastrand::Rng::with_seed(1).shuffle(&mut keys);
    keys.into_iter().zip(2..).take(ROUNDS)
}

/// Updates that replace what somebody keeps alive: dropping an object is the work of whoever drops it last, not of the
/// store.
fn apply_kept(cache: &Cache<Pod>) {
    let alive: Vec<_> = cache.snapshot().list().cloned().collect();
    let update = |(index, version): (usize, u64)| {
        let entry = Entry::new(slim(index, version)).expect("named");
        Batch::new(vec![Delta::Updated(entry)], Some(version.into()))
    };
    measured_apply(cache, distinct().map(update).collect());
    drop(alive);
}

/// The same, without a batch around each, and with the key kept alive too, as the queue of whoever is told of it does.
fn apply_one_kept(cache: &Cache<Pod>) {
    let alive: Vec<_> = cache.snapshot().list().cloned().collect();
    let mut keys = Vec::new();
    let update = |(index, version): (usize, u64)| {
        let entry = Entry::new(slim(index, version)).expect("named");
        keys.push(entry.key.clone());
        (Delta::Updated(entry), Some(version.into()))
    };
    measured_apply_one(cache, distinct().map(update).collect());
    drop((alive, keys));
}

/// The same of kube-runtime's store.
fn apply_kept_kube(writer: &mut reflector::store::Writer<Pod>) {
    let alive = writer.as_reader().state();
    let events: Vec<_> = distinct()
        .map(|(index, version)| Event::Apply(slim(index, version)))
        .collect();
    measured_apply_kube(writer, &events);
    drop(alive);
}

fn counted(work: impl FnOnce()) -> (f64, isize) {
    let region = Region::new(ALLOCATOR);
    work();
    let change = region.change();
    let allocations = change.allocations + change.reallocations;
    let live = change.bytes_allocated as isize - change.bytes_deallocated as isize;
    (allocations as f64 / ROUNDS as f64, live)
}

/// Bytes of heap per object beyond the objects themselves.
fn overhead(count: usize, index: bool) -> f64 {
    let objects: Vec<Arc<Pod>> = (0..count).map(|at| Arc::new(slim(at, 1))).collect();
    let region = Region::new(ALLOCATOR);
    let cache = if index {
        Cache::builder().index(&by_node()).build()
    } else {
        Cache::new()
    };
    let entries = objects
        .iter()
        .map(|object| Entry::new(Arc::clone(object)).expect("named"))
        .collect();
    cache.apply(Batch::new(
        vec![Delta::Replaced(Replacement::new(entries, 1.into()))],
        Some(1.into()),
    ));
    let change = region.change();
    let live = change.bytes_allocated as isize - change.bytes_deallocated as isize;
    drop(cache);
    live as f64 / count as f64
}

fn overhead_kube(count: usize) -> f64 {
    let mut writer = reflector::store::Writer::<Pod>::new(());
    let region = Region::new(ALLOCATOR);
    let sizes: isize = (0..count)
        .map(|at| {
            let before = Region::new(ALLOCATOR);
            let object = Arc::new(slim(at, 1));
            let change = before.change();
            drop(object);
            change.bytes_allocated as isize - change.bytes_deallocated as isize
        })
        .sum();
    for at in 0..count {
        writer.apply_watcher_event(&Event::Apply(slim(at, 1)));
    }
    let change = region.change();
    let live = change.bytes_allocated as isize - change.bytes_deallocated as isize;
    (live - sizes) as f64 / count as f64
}

fn main() {
    let what = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let by_node = by_node();
    let cache = if what.as_deref() == Some("by-index") {
        Cache::builder().index(&by_node).build()
    } else {
        Cache::new()
    };
    let mut writer = reflector::store::Writer::<Pod>::new(());
    if what.as_deref().is_some_and(|what| what.ends_with("kube")) {
        (0..OBJECTS).for_each(|index| writer.apply_watcher_event(&Event::Apply(slim(index, 1))));
    } else {
        fill(&cache, OBJECTS);
    }
    match what.as_deref() {
        Some("get") => measured_get(&cache, &names()),
        Some("get-miss") => measured_miss(&cache, &names()),
        Some("get-kube") => measured_get_kube(&writer.as_reader(), &names()),
        Some("apply") => measured_apply(&cache, updates(1)),
        Some("apply-pinned") => measured_apply_pinned(&cache, updates(1)),
        Some("apply-kept") => apply_kept(&cache),
        Some("apply-one-kept") => apply_one_kept(&cache),
        Some("apply-kept-kube") => apply_kept_kube(&mut writer),
        Some("by-index") => measured_by_index(&cache, &by_node),
        Some("apply-kube") => {
            let mut rng = fastrand::Rng::with_seed(1);
            let events: Vec<_> = (0..ROUNDS)
                .map(|_| Event::Apply(slim(rng.usize(..OBJECTS), 2)))
                .collect();
            measured_apply_kube(&mut writer, &events);
        }
        _ => report(&cache),
    }
}

fn report(cache: &Cache<Pod>) {
    let names = names();
    table::head(&["operation", "allocations each"]);
    table::row(&[&"get", &counted(|| measured_get(cache, &names)).0]);
    table::row(&[&"get, miss", &counted(|| measured_miss(cache, &names)).0]);
    let snapshot = cache.snapshot();
    let iterate = || {
        black_box(snapshot.list().filter(|pod| pod.metadata.uid.is_none()).count());
    };
    table::row(&[
        &"iterate a snapshot of 20,000",
        &(counted(iterate).0 * ROUNDS as f64),
    ]);
    drop(snapshot);
    let batches = updates(1);
    table::row(&[&"apply", &counted(|| measured_apply(cache, batches)).0]);
    table::head(&["overhead per object, bytes", "20,000", "60,000", "100,000"]);
    let row = |what: &str, overhead: &dyn Fn(usize) -> f64| {
        let cells = [20_000, 60_000, 100_000].map(|count| format!("{:.0}", overhead(count)));
        table::row(&[&what, &cells[0], &cells[1], &cells[2]]);
    };
    row("ours, by namespace", &|count| overhead(count, false));
    row("ours, by namespace and node", &|count| overhead(count, true));
    row("kube-runtime, no index", &overhead_kube);
    let relist: Vec<_> = (0..OBJECTS)
        .map(|index| Entry::new(slim(index, 1)).expect("named"))
        .collect();
    cache.apply(Batch::new(
        vec![Delta::Replaced(Replacement {
            rewound: true,
            ..Replacement::new(relist, 2.into())
        })],
        Some(2.into()),
    ));
    let again: Vec<_> = (0..OBJECTS)
        .map(|index| Entry::new(slim(index, 1)).expect("named"))
        .collect();
    let settled = Region::new(ALLOCATOR).initial();
    let live = settled.bytes_allocated - settled.bytes_deallocated;
    let batch = Batch::new(
        vec![Delta::Replaced(Replacement::new(again, 3.into()))],
        Some(3.into()),
    );
    let change = counted(|| cache.apply(batch)).1;
    table::head(&["relist of 20,000 unchanged", "bytes"]);
    table::row(&[&"live before", &live]);
    table::row(&[&"change, list dropped", &change]);
}
