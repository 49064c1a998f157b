//! The store next to kube-runtime's on the same objects: apply, get, list, lookups, relist, and update latency under
//! readers.
//!
//! Two kinds of pod: *slim* (metadata, node name and phase; 100,000 of them fit a small machine) for what does not
//! look into objects, and *real* (9 KB of JSON) for what kube-runtime clones.

#![expect(
    clippy::disallowed_methods,
    reason = "how long a reader waits is a matter of real time"
)]

use std::{
    collections::{HashMap, HashSet},
    hint::black_box,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use criterion::{BatchSize, Criterion, criterion_group};
use informer::store::{Batch, Cache, Delta, Entry, Index, ObjectKey, Replacement};
use informer_benches::{
    cpu::{ThreadTime, side_by_side, thread_time},
    table,
};
use k8s_openapi::api::core::v1::Pod;
use kube_core::{Expression, Selector, SelectorExt};
use kube_runtime::{
    reflector::{self, ObjectRef},
    watcher::Event,
};

const MANY: usize = 100_000;
const NODES: usize = 3_000;

fn slim(index: usize, version: u64) -> Pod {
    let json = serde_json::json!({
        "metadata": {
            "name": format!("deployment-{:05}-7d9f8b6c5d-{:05}", index / 20, index),
            "namespace": format!("namespace-{:03}", index % 50),
            "uid": format!("00000000-0000-4000-8000-{index:012}"),
            "resourceVersion": version.to_string(),
            "labels": {"app": format!("app-{}", index % 1000), "tier": if index.is_multiple_of(2) { "web" } else { "db" }},
        },
        "spec": {"nodeName": format!("node-{:04}", index % NODES), "containers": []},
        "status": {"phase": "Running"},
    });
    serde_json::from_value(json).expect("a pod")
}

fn real(index: usize) -> Pod {
    let mut rng = fastrand::Rng::with_seed(index as u64);
    let mut pod: Pod =
        serde_json::from_value(informer_testkit::generate::pod(index, &mut rng)).expect("a generated pod");
    pod.metadata.uid = Some(format!("00000000-0000-4000-8000-{index:012}"));
    pod.metadata.resource_version = Some((index + 1).to_string());
    pod
}

fn by_node() -> Index<Pod, String> {
    Index::hash("node", |pod: &Pod| pod.spec.as_ref()?.node_name.clone())
}

/// The same objects in a cache and in kube-runtime's store.
struct Pair {
    objects: Vec<Arc<Pod>>,
    cache: Cache<Pod>,
    reader: reflector::Store<Pod>,
    writer: reflector::store::Writer<Pod>,
    by_node: Index<Pod, String>,
}

fn pair(objects: Vec<Arc<Pod>>, indexes: bool) -> Pair {
    let by_node = by_node();
    let mut builder = Cache::builder();
    if indexes {
        builder = builder.index(&by_node).index(&Index::by_label("app"));
    }
    let cache = builder.build();
    cache.apply(replacement(&objects, 1));
    let mut writer = reflector::store::Writer::<Pod>::new(());
    writer.apply_watcher_event(&Event::Init);
    for object in &objects {
        writer.apply_watcher_event(&Event::InitApply((**object).clone()));
    }
    writer.apply_watcher_event(&Event::InitDone);
    Pair {
        objects,
        cache,
        reader: writer.as_reader(),
        writer,
        by_node,
    }
}

fn slim_pair(indexes: bool) -> Pair {
    pair((0..MANY).map(|index| Arc::new(slim(index, 1))).collect(), indexes)
}

fn replacement(objects: &[Arc<Pod>], version: u64) -> Batch<Pod> {
    let entries = objects
        .iter()
        .map(|object| Entry::new(Arc::clone(object)).expect("named"));
    let replacement = Replacement::new(entries.collect(), version.into());
    Batch::new(vec![Delta::Replaced(replacement)], Some(version.into()))
}

fn name(pod: &Pod) -> (&str, &str) {
    let metadata = &pod.metadata;
    (
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

/// Updates applied between two looks at the clock: few, so that what is applied is as warm as decoding leaves it.
const CHUNK: usize = 32;

/// Applies updates of random keys, each just made (as decoding leaves it, warm) and newer than all before; counts the
/// calls alone. What is replaced is kept until the clock has stopped.
fn time_applies(
    cache: &Cache<Pod>,
    iterations: u64,
    pin: bool,
    batched: bool,
    rng: &mut fastrand::Rng,
) -> Duration {
    static VERSION: AtomicU64 = AtomicU64::new(1_000);
    let mut spent = Duration::ZERO;
    let mut left = usize::try_from(iterations).expect("few");
    while left > 0 {
        let count = left.min(CHUNK);
        let mut replaced = Vec::with_capacity(count);
        let updates: Vec<_> = (0..count)
            .map(|_| {
                let version = VERSION.fetch_add(1, Ordering::Relaxed);
                let entry = Entry::new(slim(rng.usize(..MANY), version)).expect("named");
                replaced.push(cache.get_by_key(&entry.key));
                (Delta::Updated(entry), Some(version.into()))
            })
            .collect();
        if batched {
            let batch = |(delta, version)| Batch::new(vec![delta], version);
            let batches: Vec<_> = updates.into_iter().map(batch).collect();
            let start = thread_time();
            batches.into_iter().for_each(|batch| cache.apply(batch));
            spent += thread_time().saturating_sub(start);
        } else {
            let start = thread_time();
            for (delta, version) in updates {
                // Pinning is part of what is measured: a reader looks once per update.
                let pinned = pin.then(|| cache.snapshot());
                cache.apply_one(delta, version);
                drop(pinned);
            }
            spent += thread_time().saturating_sub(start);
        }
        left -= count;
    }
    spent
}

fn apply(criterion: &mut Criterion<ThreadTime>) {
    let mut group = criterion.benchmark_group("store/apply/100000");
    for (id, pin, batched, indexes) in [
        ("ours", false, false, false),
        ("ours-in-a-batch", false, true, false),
        ("ours-pinned", true, false, false),
        ("ours-2-indexes", false, false, true),
    ] {
        let Pair { cache, .. } = slim_pair(indexes);
        let mut rng = fastrand::Rng::with_seed(1);
        group.bench_function(id, |bencher| {
            bencher.iter_custom(|iterations| time_applies(&cache, iterations, pin, batched, &mut rng));
        });
    }
    let Pair {
        mut writer, reader, ..
    } = slim_pair(false);
    let mut rng = fastrand::Rng::with_seed(1);
    group.bench_function("kube-runtime", |bencher| {
        bencher.iter_custom(|iterations| {
            let make = || slim(rng.usize(..MANY), 5);
            time_kube_applies(&mut writer, &reader, iterations, make)
        });
    });
    group.finish();
}

fn apply_real(criterion: &mut Criterion<ThreadTime>) {
    let mut group = criterion.benchmark_group("store/apply-real/2000");
    let objects: Vec<_> = (0..2_000).map(|index| Arc::new(real(index))).collect();
    let Pair {
        cache,
        reader,
        mut writer,
        ..
    } = pair(objects, false);
    let made: Vec<Pod> = (0..2_000).map(real).collect();
    let (mut at, mut version) = (0, 10_000_000u64);
    let mut next = || {
        at = (at + 1) % made.len();
        version += 1;
        let mut pod = made[at].clone();
        pod.metadata.resource_version = Some(version.to_string());
        pod
    };
    group.bench_function("ours", |bencher| {
        bencher.iter_custom(|iterations| {
            let (mut spent, mut left) = (Duration::ZERO, usize::try_from(iterations).expect("few"));
            while left > 0 {
                let count = left.min(CHUNK);
                let entries: Vec<_> = (0..count).map(|_| Entry::new(next()).expect("named")).collect();
                let replaced: Vec<_> = entries.iter().map(|entry| cache.get_by_key(&entry.key)).collect();
                let batch = |entry| Batch::new(vec![Delta::Updated(entry)], None);
                let batches: Vec<_> = entries.into_iter().map(batch).collect();
                let start = thread_time();
                batches.into_iter().for_each(|batch| cache.apply(batch));
                spent += thread_time().saturating_sub(start);
                drop(replaced);
                left -= count;
            }
            spent
        });
    });
    group.bench_function("kube-runtime", |bencher| {
        bencher.iter_custom(|iterations| time_kube_applies(&mut writer, &reader, iterations, &mut next));
    });
    group.finish();
}

/// The same of kube-runtime's store: what is replaced is kept until the clock has stopped.
fn time_kube_applies(
    writer: &mut reflector::store::Writer<Pod>,
    reader: &reflector::Store<Pod>,
    iterations: u64,
    mut make: impl FnMut() -> Pod,
) -> Duration {
    let (mut spent, mut left) = (Duration::ZERO, usize::try_from(iterations).expect("few"));
    while left > 0 {
        let count = left.min(CHUNK);
        let pods: Vec<_> = (0..count).map(|_| make()).collect();
        let replaced: Vec<_> = pods
            .iter()
            .map(|pod| reader.get(&ObjectRef::from_obj(pod)))
            .collect();
        let events: Vec<_> = pods.into_iter().map(Event::Apply).collect();
        let start = thread_time();
        events.iter().for_each(|event| writer.apply_watcher_event(event));
        spent += thread_time().saturating_sub(start);
        drop(replaced);
        left -= count;
    }
    spent
}

fn get(criterion: &mut Criterion<ThreadTime>) {
    let pair = slim_pair(false);
    let mut rng = fastrand::Rng::with_seed(2);
    let keys: Vec<(String, String)> = (0..8192)
        .map(|_| {
            let (namespace, name) = name(&pair.objects[rng.usize(..MANY)]);
            (namespace.to_owned(), name.to_owned())
        })
        .collect();
    let mut group = criterion.benchmark_group("store/get/100000");
    let mut at = 0;
    let mut next = || {
        at = (at + 1) % keys.len();
        &keys[at]
    };
    group.bench_function("ours", |bencher| {
        bencher.iter(|| {
            let (namespace, name) = next();
            pair.cache.get(namespace, name)
        });
    });
    let snapshot = pair.cache.snapshot();
    group.bench_function("ours-snapshot", |bencher| {
        bencher.iter(|| {
            let (namespace, name) = next();
            snapshot.get(namespace, name).cloned()
        });
    });
    group.bench_function("ours-miss", |bencher| {
        bencher.iter(|| pair.cache.get(&next().0, "not-there"));
    });
    group.bench_function("kube-runtime", |bencher| {
        bencher.iter(|| {
            let (namespace, name) = next();
            pair.reader.get(&ObjectRef::new(name).within(namespace))
        });
    });
    group.finish();
}

fn list(criterion: &mut Criterion<ThreadTime>) {
    let pair = slim_pair(false);
    let mut group = criterion.benchmark_group("store/list/100000");
    group.sample_size(20);
    let snapshot = pair.cache.snapshot();
    group.bench_function("ours", |bencher| {
        bencher.iter(|| informer::store::Store::list(&pair.cache).len());
    });
    group.bench_function("ours-iterate", |bencher| {
        bencher.iter(|| snapshot.list().filter(|pod| Arc::strong_count(pod) == 0).count());
    });
    group.bench_function("vec-clone", |bencher| bencher.iter(|| pair.objects.clone().len()));
    group.bench_function("kube-runtime", |bencher| {
        bencher.iter(|| pair.reader.state().len())
    });
    group.finish();
}

/// An index as client-go has it: value → set of keys, key → object, under one lock.
struct GoShaped {
    by_value: HashMap<String, HashSet<String>>,
    by_key: HashMap<String, Arc<Pod>>,
}

impl GoShaped {
    fn by_index(&self, value: &str) -> Vec<Arc<Pod>> {
        let keys = self.by_value.get(value).into_iter().flatten();
        keys.filter_map(|key| self.by_key.get(key).cloned()).collect()
    }
}

fn lookups(criterion: &mut Criterion<ThreadTime>) {
    let pair = slim_pair(true);
    let node = |pod: &Pod| {
        pod.spec
            .as_ref()
            .and_then(|spec| spec.node_name.clone())
            .unwrap_or_default()
    };
    let mut go_shaped = GoShaped {
        by_value: HashMap::new(),
        by_key: HashMap::new(),
    };
    for object in &pair.objects {
        let (namespace, name) = name(object);
        let key = format!("{namespace}/{name}");
        go_shaped
            .by_value
            .entry(node(object))
            .or_default()
            .insert(key.clone());
        go_shaped.by_key.insert(key, Arc::clone(object));
    }
    let go_shaped = RwLock::new(go_shaped);
    let values: Vec<String> = (0..NODES).map(|at| format!("node-{at:04}")).collect();
    let mut at = 0;
    let mut next = || {
        at = (at + 7) % values.len();
        &values[at]
    };
    let mut group = criterion.benchmark_group("store/by-index/33-of-100000");
    group.bench_function("ours", |bencher| {
        bencher.iter(|| {
            let snapshot = pair.cache.snapshot();
            snapshot
                .by_index(&pair.by_node, next())
                .cloned()
                .collect::<Vec<_>>()
        });
    });
    group.bench_function("ours-borrowed", |bencher| {
        let snapshot = pair.cache.snapshot();
        bencher.iter(|| {
            snapshot
                .by_index(&pair.by_node, next())
                .map(Arc::as_ptr)
                .fold(0, |a, b| a ^ b as usize)
        });
    });
    group.bench_function("go-shaped", |bencher| {
        bencher.iter(|| go_shaped.read().expect("not poisoned").by_index(next()));
    });
    group.sample_size(10);
    group.bench_function("kube-runtime-scan", |bencher| {
        bencher.iter(|| {
            let value = next();
            let is_there =
                |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(value);
            pair.reader
                .state()
                .into_iter()
                .filter(|pod| is_there(pod))
                .collect::<Vec<_>>()
        });
    });
    group.finish();

    let selector: Selector = Expression::Equal("app".into(), "app-77".into()).into();
    let mut group = criterion.benchmark_group("store/selector/100-of-100000");
    group.bench_function("ours", |bencher| {
        bencher.iter(|| pair.cache.snapshot().query().labels(&selector).to_vec());
    });
    group.sample_size(10);
    group.bench_function("kube-runtime-scan", |bencher| {
        bencher.iter(|| {
            let matches = |pod: &Pod| {
                pod.metadata
                    .labels
                    .as_ref()
                    .is_some_and(|labels| selector.matches(labels))
            };
            pair.reader
                .state()
                .into_iter()
                .filter(|pod| matches(pod))
                .collect::<Vec<_>>()
        });
    });
    group.finish();
}

fn relist(criterion: &mut Criterion<ThreadTime>) {
    let mut pair = slim_pair(false);
    let mut group = criterion.benchmark_group("store/relist-unchanged/100000");
    group.sample_size(10);
    let mut version = 10;
    let fresh: Vec<Arc<Pod>> = pair
        .objects
        .iter()
        .map(|object| Arc::new((**object).clone()))
        .collect();
    group.bench_function("ours", |bencher| {
        bencher.iter_batched(
            || {
                version += 1;
                replacement(&fresh, version)
            },
            |batch| pair.cache.apply(batch),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("kube-runtime", |bencher| {
        bencher.iter(|| {
            pair.writer.apply_watcher_event(&Event::Init);
            for object in &fresh {
                // The watcher owns what it decoded; the store clones it once more, which is what is measured.
                let event = Event::InitApply(Pod::clone(object));
                pair.writer.apply_watcher_event(&event);
            }
            pair.writer.apply_watcher_event(&Event::InitDone);
        });
    });
    group.finish();
}

/// Latency of an update while readers list everything, again and again.
fn readers_report() {
    const OBJECTS: usize = 80_000;
    const SAMPLES: usize = 4_000;
    let objects: Vec<_> = (0..OBJECTS).map(|index| Arc::new(slim(index, 1))).collect();
    table::head(&[
        "readers listing 80,000",
        "update p50 ns",
        "mean CPU ns",
        "p99 us",
        "lists/s",
    ]);
    for readers in [0usize, 1, 10, 80] {
        let cache = Cache::new();
        cache.apply(replacement(&objects, 1));
        let stop = Arc::new(AtomicBool::new(false));
        let lists = Arc::new(AtomicU64::new(0));
        let threads: Vec<_> = (0..readers)
            .map(|_| {
                let (cache, stop, lists) = (cache.clone(), Arc::clone(&stop), Arc::clone(&lists));
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        black_box(informer::store::Store::list(&cache).len());
                        lists.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let mut rng = fastrand::Rng::with_seed(3);
        let mut samples = Vec::with_capacity(SAMPLES);
        let begun = Instant::now();
        let mut cpu = Duration::ZERO;
        for at in 0..SAMPLES {
            let version = 1_000 + at as u64;
            let entry = Entry::new(slim(rng.usize(..OBJECTS), version)).expect("named");
            let batch = Batch::new(vec![Delta::Updated(entry)], Some(version.into()));
            let (start, start_cpu) = (Instant::now(), thread_time());
            cache.apply(batch);
            cpu += thread_time().saturating_sub(start_cpu);
            samples.push(start.elapsed());
        }
        let elapsed = begun.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        threads
            .into_iter()
            .for_each(|thread| thread.join().expect("no panic"));
        samples.sort_unstable();
        table::row(&[
            &readers,
            &samples[SAMPLES / 2].as_nanos(),
            &(cpu / u32::try_from(SAMPLES).expect("few")).as_nanos(),
            &(samples[SAMPLES * 99 / 100].as_nanos() as f64 / 1000.0),
            &((lists.load(Ordering::Relaxed) as f64 / elapsed).round()),
        ]);
    }
}

/// How long readers wait while 100,000 objects are replaced, next to how long they wait while nothing is.
///
/// On a busy machine the very longest are preemptions of a thread, whatever the store does: hence the row without a relist.
fn relist_report() {
    let objects: Vec<_> = (0..MANY).map(|index| Arc::new(slim(index, 1))).collect();
    table::head(&[
        "relist of 100,000",
        "takes ms",
        "get 99.99 % us",
        "snapshot 99.99 % us",
        "longest ms",
        "over 1 ms",
        "reads",
    ]);
    for (what, changed) in [
        ("nothing", None),
        ("unchanged", Some(false)),
        ("all changed", Some(true)),
    ] {
        let cache = Cache::new();
        cache.apply(replacement(&objects, 1));
        let next: Vec<_> = match changed {
            Some(true) => (0..MANY).map(|index| Arc::new(slim(index, 5))).collect(),
            _ => objects.clone(),
        };
        let batch = replacement(&next, 9);
        let done = Arc::new(AtomicBool::new(false));
        let reading = {
            let (cache, done) = (cache.clone(), Arc::clone(&done));
            let key: ObjectKey = Entry::<Pod>::new(Arc::clone(&objects[500])).expect("named").key;
            std::thread::spawn(move || read_until(&cache, &key, &done))
        };
        let start = Instant::now();
        match changed {
            Some(_) => cache.apply(batch),
            // Some work of this thread that has nothing to do with the cache.
            None => (0..20).for_each(|_| drop(black_box(replacement(&next, 9)))),
        }
        let took = start.elapsed();
        done.store(true, Ordering::Relaxed);
        let (get, snapshot) = reading.join().expect("no panic");
        let high = |samples: &[Duration]| {
            let high = samples.get(samples.len() * 9_999 / 10_000).copied();
            high.unwrap_or_default().as_nanos() as f64 / 1000.0
        };
        let longest = get.last().max(snapshot.last()).copied().unwrap_or_default();
        let is_long = |waited: &&Duration| **waited > Duration::from_millis(1);
        table::row(&[
            &what,
            &took.as_millis(),
            &high(&get),
            &high(&snapshot),
            &(longest.as_micros() as f64 / 1000.0),
            &get.iter().chain(&snapshot).filter(is_long).count(),
            &get.len(),
        ]);
    }
}

/// How long each of many gets and snapshots took, sorted.
fn read_until(cache: &Cache<Pod>, key: &ObjectKey, done: &AtomicBool) -> (Vec<Duration>, Vec<Duration>) {
    let (mut get, mut snapshot) = (Vec::with_capacity(1 << 22), Vec::with_capacity(1 << 22));
    while !done.load(Ordering::Relaxed) {
        let start = Instant::now();
        black_box(cache.get_by_key(key));
        get.push(start.elapsed());
        let start = Instant::now();
        black_box(cache.snapshot().len());
        snapshot.push(start.elapsed());
    }
    get.sort_unstable();
    snapshot.sort_unstable();
    (get, snapshot)
}

/// A list of everything next to a clone of a `Vec` of the same handles in the same order, in turn, as both depend on how
/// fast memory is just then: of objects that lie in memory in that order, as a first list leaves them, and of objects that
/// lie in any order, as updates leave them.
fn list_report() {
    table::head(&[
        "list of 100,000",
        "ours us",
        "Vec clone us",
        "ratio",
        "kube-runtime us",
    ]);
    for (what, shuffled) in [("as first listed", false), ("all updated since", true)] {
        let mut order: Vec<usize> = (0..MANY).collect();
        if shuffled {
            fastrand::Rng::with_seed(7).shuffle(&mut order);
        }
        let mut made: Vec<_> = order.into_iter().map(|at| (at, Arc::new(slim(at, 1)))).collect();
        made.sort_unstable_by_key(|(at, _)| *at);
        let pair = pair(made.into_iter().map(|(_, object)| object).collect(), false);
        let times = side_by_side(
            51,
            &mut [
                &mut || _ = black_box(informer::store::Store::list(&pair.cache)),
                &mut || _ = black_box(pair.objects.clone()),
            ],
        );
        // Apart, as it lists objects of its own: whoever came after it would find others in the core's cache.
        let kube = side_by_side(21, &mut [&mut || _ = black_box(pair.reader.state())]);
        let ratio = times[0].as_secs_f64() / times[1].as_secs_f64();
        table::row(&[
            &what,
            &times[0].as_micros(),
            &times[1].as_micros(),
            &format!("{ratio:.2}"),
            &kube[0].as_micros(),
        ]);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .with_measurement(ThreadTime)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .sample_size(20);
    targets = apply, apply_real, get, list, lookups, relist
}

fn main() {
    // `cargo bench -- readers`, `-- list-in-turn` and `-- relist-wait` run these alone; a plain run does all.
    let only: Option<String> = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let wants = |name: &str| only.as_deref().is_none_or(|only| name.contains(only));
    if wants("readers") {
        readers_report();
    }
    if wants("list-in-turn") {
        list_report();
    }
    if wants("relist-wait") {
        relist_report();
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
