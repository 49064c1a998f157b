//! Instructions per add + get + done, which a busy machine does not disturb.
//!
//! Run by `benches/scripts/workqueue-instructions`, under callgrind.

use std::hash::Hash;
use std::hint::black_box;

use informer::store::ObjectKey;
use informer::workqueue::WorkQueue;
use informer::workqueue::queue::{Config, Core, Request, Verdict};
use tokio::time::Instant;

#[path = "workqueue/go_shaped.rs"]
mod go_shaped;

use go_shaped::GoShaped;

const KEYS: usize = 10_000;

fn object_keys() -> Vec<ObjectKey> {
    (0..KEYS)
        .map(|n| ObjectKey::namespaced(&format!("namespace-{}", n % 97), &format!("deployment-{n}")))
        .collect()
}

#[inline(never)]
fn measured<T: Clone + Eq + Hash + 'static>(queue: &WorkQueue<T>, keys: &[T]) {
    for key in keys {
        queue.add(key.clone());
        black_box(queue.try_next().expect("just added")).done();
    }
}

#[inline(never)]
fn measured_core<T: Clone + Eq + Hash>(core: &mut Core<T>, keys: &[T], now: Instant) {
    for key in keys {
        core.add(key.clone(), Request::default(), now);
        let taken = core.take(now).expect("just added");
        core.finish(black_box(taken.lease), Verdict::Done, now);
    }
}

#[inline(never)]
fn measured_go(queue: &GoShaped<String>, keys: &[String]) {
    for key in keys {
        queue.add(key.clone());
        let key = queue.try_get().expect("just added");
        queue.done(black_box(&key));
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let _entered = runtime.as_ref().expect("a runtime starts").enter();
    let durations = std::env::args().any(|argument| argument == "timed");
    let queue = |durations| WorkQueue::<u64>::builder().durations(durations).build();
    let ints: Vec<u64> = (0..KEYS as u64).collect();
    match std::env::args().nth(1).unwrap_or_default().as_str() {
        "int" => measured(&queue(durations), &ints),
        "object-key" => {
            let queue = WorkQueue::builder().durations(durations).build();
            measured(&queue, &object_keys());
        }
        "core-int" => {
            let now = Instant::now();
            measured_core(&mut Core::new(Config::default(), now), &ints, now);
        }
        "core" => {
            let now = Instant::now();
            measured_core(&mut Core::new(Config::default(), now), &object_keys(), now);
        }
        "go" => {
            let strings: Vec<_> = object_keys().iter().map(ToString::to_string).collect();
            let queue = if durations {
                GoShaped::with_metrics()
            } else {
                GoShaped::new()
            };
            measured_go(&queue, &strings);
            queue.close();
            drop(queue.get());
        }
        _ => {}
    }
}
