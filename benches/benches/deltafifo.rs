//! The delta FIFO against one shaped like client-go's: a map from key text to a list of deltas, and a queue of key texts.
//!
//! Both get the same objects in the same order and compute each event's key themselves, as both do in earnest.

use std::{
    collections::VecDeque,
    hint::black_box,
    sync::{Arc, Mutex},
    time::Duration,
};

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use informer::{
    deltafifo::{Config, DeltaFifo, Discipline, channel},
    store::{Delta, Entry, Object, Replacement},
};
use informer_benches::{
    cpu::side_by_side,
    heap::{PeakAlloc, heap_of},
    table,
};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const KEYS: usize = 100_000;
const EVENTS: usize = 1_000_000;
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

fn pods() -> Vec<Arc<Pod>> {
    let pod = |index: usize| Pod {
        namespace: format!("namespace-{}", index % 100),
        name: format!("deployment-{:04}-7d4b9c6f5-{index:05x}", index % 1000),
        uid: format!("{index:08x}-aaaa-bbbb-cccc-{index:012x}"),
        version: (1_000_000 + index).to_string(),
    };
    (0..KEYS).map(|index| Arc::new(pod(index))).collect()
}

fn updated(pod: &Arc<Pod>) -> Delta<Pod> {
    Delta::Updated(Entry::new(Arc::clone(pod)).expect("it has a name"))
}

fn config(discipline: Discipline) -> Config {
    Config::default().discipline(discipline).capacity(2 * EVENTS)
}

fn report(id: &str, work: usize, times: &[Duration]) {
    let per = |time: Duration| time.as_nanos() as f64 / work as f64;
    let (ours, rival) = (per(times[0]), per(times[1]));
    table::row(&[
        &id,
        &format_args!("{ours:.0} ns"),
        &format_args!("{rival:.0} ns"),
        &format_args!("{:.1}×", rival / ours),
    ]);
}

fn main() {
    let pods = pods();
    let mut rng = fastrand::Rng::with_seed(7);
    let events: Vec<Arc<Pod>> = (0..EVENTS)
        .map(|_| Arc::clone(&pods[rng.usize(..KEYS)]))
        .collect();
    table::head(&["case", "ours", "Go-shaped", "ratio"]);
    steady(&events);
    through_a_lock(&events);
    backlog(&events);
    replace(&pods);
    memory(&events);
}

/// One in, one out.
fn steady(events: &[Arc<Pod>]) {
    let mut ours = || {
        let mut fifo = DeltaFifo::new(config(Discipline::Compressed));
        for pod in events {
            drop(fifo.push(updated(pod)));
            black_box(fifo.pop(1));
        }
    };
    let mut rival = || {
        let mut fifo = GoShaped::default();
        for pod in events {
            fifo.add(pod);
            black_box(fifo.pop());
        }
    };
    report(
        "deltafifo/add_pop/1",
        EVENTS,
        &side_by_side(ROUNDS, &mut [&mut ours, &mut rival]),
    );

    // With a hundred thousand keys waiting, as after a stall.
    let mut ours = || {
        let mut fifo = DeltaFifo::new(config(Discipline::Compressed));
        for (index, pod) in events.iter().enumerate() {
            drop(fifo.push(updated(pod)));
            if index > EVENTS / 4 {
                black_box(fifo.pop(1));
            }
        }
    };
    let mut rival = || {
        let mut fifo = GoShaped::default();
        for (index, pod) in events.iter().enumerate() {
            fifo.add(pod);
            if index > EVENTS / 4 {
                black_box(fifo.pop());
            }
        }
    };
    report(
        "deltafifo/add_pop/100000 waiting",
        EVENTS,
        &side_by_side(ROUNDS, &mut [&mut ours, &mut rival]),
    );
}

/// The same through both ends, a thousand at a time, against the rival under a mutex.
fn through_a_lock(events: &[Arc<Pod>]) {
    let mut ours = || {
        let (producer, mut consumer) = channel(config(Discipline::Compressed));
        for batch in events.chunks(1000) {
            for pod in batch {
                let _ = producer.try_push(updated(pod));
            }
            let _ = black_box(consumer.try_pop_batch(usize::MAX));
        }
    };
    let mut rival = || {
        let fifo = Mutex::new(GoShaped::default());
        let lock = || fifo.lock().expect("nobody panics");
        for batch in events.chunks(1000) {
            for pod in batch {
                lock().add(pod);
            }
            while let Some(deltas) = lock().pop() {
                black_box(deltas);
            }
        }
    };
    report(
        "deltafifo/channel/1000",
        EVENTS,
        &side_by_side(ROUNDS, &mut [&mut ours, &mut rival]),
    );
}

/// A million updates of a hundred thousand keys, then everything out.
fn backlog(events: &[Arc<Pod>]) {
    let mut ours = || {
        let mut fifo = DeltaFifo::new(config(Discipline::Compressed));
        for pod in events {
            drop(fifo.push(updated(pod)));
        }
        black_box(fifo.pop(usize::MAX));
    };
    let mut ordered = || {
        let mut fifo = DeltaFifo::new(config(Discipline::Ordered));
        for pod in events {
            drop(fifo.push(updated(pod)));
        }
        black_box(fifo.pop(usize::MAX));
    };
    let mut rival = || {
        let mut fifo = GoShaped::default();
        for pod in events {
            fifo.add(pod);
        }
        while let Some(deltas) = fifo.pop() {
            black_box(deltas);
        }
    };
    let times = side_by_side(ROUNDS, &mut [&mut ours, &mut rival, &mut ordered]);
    report("deltafifo/backlog/1000000", EVENTS, &times);
    report("deltafifo/backlog ordered/1000000", EVENTS, &[times[2], times[1]]);
}

/// A list of all keys while half of them wait.
fn replace(pods: &[Arc<Pod>]) {
    let mut ours = || {
        let mut fifo = DeltaFifo::new(config(Discipline::Compressed));
        for pod in &pods[..KEYS / 2] {
            drop(fifo.push(updated(pod)));
        }
        let entries = pods
            .iter()
            .map(|pod| Entry::new(Arc::clone(pod)).expect("it has a name"));
        drop(fifo.push(Delta::Replaced(Replacement::new(entries.collect(), "9".into()))));
        black_box(fifo.pop(usize::MAX));
    };
    let mut rival = || {
        let mut fifo = GoShaped::default();
        for pod in &pods[..KEYS / 2] {
            fifo.add(pod);
        }
        fifo.replace(pods);
        while let Some(deltas) = fifo.pop() {
            black_box(deltas);
        }
    };
    report(
        "deltafifo/replace/100000",
        KEYS,
        &side_by_side(ROUNDS, &mut [&mut ours, &mut rival]),
    );
}

/// Bytes per waiting key after a million updates, objects aside.
fn memory(events: &[Arc<Pod>]) {
    let (fifo, ours) = heap_of(HEAP, || {
        let mut fifo = DeltaFifo::new(config(Discipline::Compressed));
        for pod in events {
            drop(fifo.push(updated(pod)));
        }
        fifo
    });
    let keys = fifo.len();
    drop(fifo);
    let (rival_fifo, rival) = heap_of(HEAP, || {
        let mut fifo = GoShaped::default();
        for pod in events {
            fifo.add(pod);
        }
        fifo
    });
    drop(rival_fifo);
    table::row(&[
        &"deltafifo/bytes per key/1000000 updates of 100000 keys",
        &(ours.live / keys),
        &(rival.live / keys),
        &format_args!("{:.1}×", rival.live as f64 / ours.live as f64),
    ]);
}
