//! The delta FIFO against one shaped like client-go's: a map from key text to a list of deltas, and a queue of key texts.
//!
//! Both get the same events in the same order, each with an object of its own, as a decoder hands them over. The key of an
//! event is part of what ours is given, since it is made once for all layers; the rival makes the text itself, as
//! client-go's does. The cases named "with key" make ours pay for the key too.

use std::{
    collections::VecDeque,
    hint::black_box,
    sync::{Arc, Mutex},
};

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use informer::{
    deltafifo::{Config, DeltaFifo, Discipline, channel},
    store::{Delta, Entry, Object, Replacement},
};
use informer_benches::{
    cpu::{median, timed},
    heap::{PeakAlloc, heap_of},
    table,
};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const KEYS: usize = 50_000;
const EVENTS: usize = 500_000;
const ROUNDS: usize = 5;

struct Pod {
    namespace: String,
    name: String,
    uid: String,
    version: String,
}

impl Object for Pod {
    fn namespace(&self) -> Option<&str> {
        Some(&self.namespace)
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

/// What client-go's `DeltaFIFO` keeps: every delta, per key text.
#[derive(Default)]
struct GoShaped {
    items: HashMap<String, Vec<(bool, Arc<Pod>)>, RandomState>,
    queue: VecDeque<String>,
}

impl GoShaped {
    fn add(&mut self, pod: &Arc<Pod>) {
        let key = format!("{}/{}", pod.namespace, pod.name);
        if let Some(deltas) = self.items.get_mut(&key) {
            deltas.push((true, Arc::clone(pod)));
            return;
        }
        self.queue.push_back(key.clone());
        self.items.insert(key, vec![(true, Arc::clone(pod))]);
    }

    fn pop(&mut self) -> Option<Vec<(bool, Arc<Pod>)>> {
        let key = self.queue.pop_front()?;
        self.items.remove(&key)
    }

    /// Every listed object, then a deletion for each queued key that is not listed.
    fn replace(&mut self, pods: &[Arc<Pod>]) {
        let listed: HashSet<String, RandomState> = pods
            .iter()
            .map(|pod| format!("{}/{}", pod.namespace, pod.name))
            .collect();
        for pod in pods {
            self.add(pod);
        }
        for (key, deltas) in &mut self.items {
            if !listed.contains(key) {
                let last = Arc::clone(&deltas[deltas.len() - 1].1);
                deltas.push((false, last));
            }
        }
    }
}

fn pod(index: usize, version: usize) -> Arc<Pod> {
    Arc::new(Pod {
        namespace: format!("namespace-{}", index % 100),
        name: format!("deployment-{:04}-7d4b9c6f5-{index:05x}", index % 1000),
        uid: format!("{index:08x}-aaaa-bbbb-cccc-{index:012x}"),
        version: (1_000_000 + version).to_string(),
    })
}

type Alive = Vec<Arc<Pod>>;

/// Updates of random keys.
fn events() -> (Vec<Arc<Pod>>, Alive) {
    let events: Vec<_> = Events::default().collect();
    (events.clone(), events)
}

fn updated(pod: Arc<Pod>) -> Delta<Pod> {
    Delta::Updated(Entry::new(pod).expect("it has a name"))
}

fn deltas() -> (Vec<Delta<Pod>>, Alive) {
    let (events, alive) = events();
    (events.into_iter().map(updated).collect(), alive)
}

fn config(discipline: Discipline) -> Config {
    Config::default().discipline(discipline).capacity(2 * EVENTS)
}

/// Runs both sides in turn on inputs made beforehand, and prints the medians per unit of work. The second half of an input
/// keeps its objects alive, so that freeing them is not counted: that is their cost, not the queue's.
fn compare<A, B>(
    id: &str,
    work: usize,
    (make_ours, ours): (impl Fn() -> (A, Alive), impl Fn(A)),
    (make_rival, rival): (impl Fn() -> (B, Alive), impl Fn(B)),
) {
    let (mut our_times, mut rival_times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (input, alive) = make_ours();
        our_times.push(timed(|| ours(input)).1);
        drop(alive);
        let (input, alive) = make_rival();
        rival_times.push(timed(|| rival(input)).1);
        drop(alive);
    }
    let per = |times| median(times).as_nanos() as f64 / work as f64;
    let (ours, rival) = (per(our_times), per(rival_times));
    table::row(&[
        &id,
        &format_args!("{ours:.0} ns"),
        &format_args!("{rival:.0} ns"),
        &format_args!("{:.1}×", rival / ours),
    ]);
}

fn main() {
    table::head(&["case, per event", "ours", "Go-shaped", "ratio"]);
    steady();
    through_a_lock();
    backlog();
    replace();
    memory();
}

/// One in, one out, behind a backlog of `behind`.
fn add_pop_ours(deltas: impl Iterator<Item = Delta<Pod>>, behind: usize) {
    let mut fifo = DeltaFifo::new(config(Discipline::Compressed));
    for (index, delta) in deltas.enumerate() {
        drop(fifo.push(delta));
        if index >= behind {
            black_box(fifo.pop(1));
        }
    }
}

fn add_pop_rival(events: Vec<Arc<Pod>>, behind: usize) {
    let mut fifo = GoShaped::default();
    for (index, pod) in events.into_iter().enumerate() {
        fifo.add(&pod);
        if index >= behind {
            black_box(fifo.pop());
        }
    }
}

fn steady() {
    for (behind, id) in [
        (0, "deltafifo/add_pop/1"),
        (EVENTS / 4, "deltafifo/add_pop/45000 waiting"),
    ] {
        compare(
            id,
            EVENTS,
            (deltas, |deltas| add_pop_ours(deltas.into_iter(), behind)),
            (events, |events| add_pop_rival(events, behind)),
        );
    }
    compare(
        "deltafifo/add_pop with key/1",
        EVENTS,
        (events, |events| add_pop_ours(events.into_iter().map(updated), 0)),
        (events, |events| add_pop_rival(events, 0)),
    );
}

/// The same through both ends, a hundred at a time, against the rival under a mutex.
fn through_a_lock() {
    compare(
        "deltafifo/channel/100",
        EVENTS,
        (deltas, |deltas| {
            let (producer, mut consumer) = channel(config(Discipline::Compressed));
            for (index, delta) in deltas.into_iter().enumerate() {
                let _ = producer.try_push(delta);
                if index % 100 == 99 {
                    let _ = black_box(consumer.try_pop_batch(usize::MAX));
                }
            }
        }),
        (events, |events| {
            let fifo = Mutex::new(GoShaped::default());
            let lock = || fifo.lock().expect("nobody panics");
            for (index, pod) in events.into_iter().enumerate() {
                lock().add(&pod);
                if index % 100 == 99 {
                    while let Some(deltas) = lock().pop() {
                        black_box(deltas);
                    }
                }
            }
        }),
    );
}

/// Half a million updates of fifty thousand keys, then everything out.
fn backlog() {
    for (discipline, id) in [
        (Discipline::Compressed, "deltafifo/backlog/500000"),
        (Discipline::Ordered, "deltafifo/backlog ordered/500000"),
    ] {
        compare(
            id,
            EVENTS,
            (deltas, |deltas| {
                let mut fifo = DeltaFifo::new(config(discipline));
                for delta in deltas {
                    drop(fifo.push(delta));
                }
                black_box(fifo.pop(usize::MAX));
            }),
            (events, |events| {
                let mut fifo = GoShaped::default();
                for pod in events {
                    fifo.add(&pod);
                }
                while let Some(deltas) = fifo.pop() {
                    black_box(deltas);
                }
            }),
        );
    }
}

/// A list of all keys while half of them wait.
fn replace() {
    let list = || (0..KEYS).map(|index| pod(index, EVENTS)).collect::<Vec<_>>();
    let half = || (0..KEYS / 2).map(|index| pod(index, index)).collect::<Vec<_>>();
    let entries = |pods: Vec<Arc<Pod>>| {
        let entries = pods
            .into_iter()
            .map(|pod| Entry::new(pod).expect("it has a name"));
        entries.collect::<Vec<_>>()
    };
    compare(
        "deltafifo/replace/50000",
        KEYS,
        (
            || {
                let (half, list) = (half(), list());
                let alive = half.iter().chain(&list).cloned().collect();
                let waiting: Vec<_> = half.into_iter().map(updated).collect();
                ((waiting, entries(list)), alive)
            },
            |(waiting, entries)| {
                let mut fifo = DeltaFifo::new(config(Discipline::Compressed));
                for delta in waiting {
                    drop(fifo.push(delta));
                }
                drop(fifo.push(Delta::Replaced(Replacement::new(entries, "9".into()))));
                black_box(fifo.pop(usize::MAX));
            },
        ),
        (
            || {
                let (half, list) = (half(), list());
                let alive = half.iter().chain(&list).cloned().collect();
                ((half, list), alive)
            },
            |(waiting, list)| {
                let mut fifo = GoShaped::default();
                for pod in &waiting {
                    fifo.add(pod);
                }
                fifo.replace(&list);
                while let Some(deltas) = fifo.pop() {
                    black_box(deltas);
                }
            },
        ),
    );
}

/// Bytes per waiting key after the backlog, objects included: superseded ones are let go.
fn memory() {
    let (fifo, ours) = heap_of(HEAP, || {
        let mut fifo = DeltaFifo::new(config(Discipline::Compressed));
        for pod in Events::default() {
            drop(fifo.push(updated(pod)));
        }
        fifo
    });
    let keys = fifo.len();
    drop(fifo);
    let (fifo, rival) = heap_of(HEAP, || {
        let mut fifo = GoShaped::default();
        for pod in Events::default() {
            fifo.add(&pod);
        }
        fifo
    });
    drop(fifo);
    let object = heap_of(HEAP, || pod(1, 1)).1.live;
    table::row(&[
        &format_args!("deltafifo/bytes per key/{EVENTS} updates of {keys} keys, objects of {object} bytes"),
        &(ours.live / keys),
        &(rival.live / keys),
        &format_args!("{:.1}×", rival.live as f64 / ours.live as f64),
    ]);
}

/// The same updates, made one by one.
struct Events {
    rng: fastrand::Rng,
    version: usize,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            rng: fastrand::Rng::with_seed(7),
            version: 0,
        }
    }
}

impl Iterator for Events {
    type Item = Arc<Pod>;

    fn next(&mut self) -> Option<Arc<Pod>> {
        self.version += 1;
        (self.version <= EVENTS).then(|| pod(self.rng.usize(..KEYS), self.version))
    }
}
