//! The work queue next to a Go-shaped one, tokio-util's `DelayQueue` and kube-runtime's scheduler, on the same keys in the
//! same run. Prints Markdown: medians of process time per key, and ratios.
//!
//! `cargo bench -p informer-benches --bench workqueue`

#[path = "workqueue/delays.rs"]
mod delays;
#[path = "workqueue/go_shaped.rs"]
mod go_shaped;
#[path = "workqueue/order.rs"]
mod order;
#[path = "workqueue/workers.rs"]
mod workers;

use std::hash::Hash;
use std::hint::black_box;
use std::pin::pin;
use std::time::Duration;

use futures::task::noop_waker_ref;
use futures::{Stream, StreamExt};
use go_shaped::GoShaped;
use informer::store::ObjectKey;
use informer::workqueue::WorkQueue;
use informer::workqueue::queue::{Config, Core, Request, Verdict};
use informer_benches::cpu::side_by_side;
use informer_benches::table;
use kube_runtime::scheduler::{ScheduleRequest, scheduler};
use tokio::time::Instant;

const KEYS: usize = 100_000;
const ROUNDS: usize = 9;
const DELAYS: usize = 1_000_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime starts");
    let _entered = runtime.enter();
    table::head(&[
        "scenario",
        "ours",
        "rival",
        "ours, ns per key",
        "rival, ns per key",
        "ratio",
    ]);
    add_get_done();
    duplicate_add();
    delays::delays();
    order::held_keys();
    workers::workers(&runtime);
    workers::applied();
    order::fairness();
}

fn report(scenario: &str, ours: &str, rival: &str, per: usize, times: (Duration, Duration)) {
    let ns = |time: Duration| time.as_nanos() as f64 / per as f64;
    let (a, b) = (ns(times.0), ns(times.1));
    let (left, right, ratio) = (format!("{a:.0}"), format!("{b:.0}"), format!("{:.1}×", b / a));
    table::row(&[&scenario, &ours, &rival, &left, &right, &ratio]);
}

fn object_keys() -> Vec<ObjectKey> {
    (0..KEYS)
        .map(|n| ObjectKey::namespaced(&format!("namespace-{}", n % 97), &format!("deployment-{n}")))
        .collect()
}

fn strings() -> Vec<String> {
    object_keys().iter().map(ToString::to_string).collect()
}

/// One key after the other: add, get, done, in a queue that holds `backlog` other keys.
fn cycle<T: Clone + Eq + Hash + 'static>(queue: &WorkQueue<T>, keys: &[T]) {
    for key in keys {
        queue.add(key.clone());
        black_box(queue.try_next().expect("just added")).done();
    }
}

fn cycle_go<T: Clone + Eq + Hash>(queue: &GoShaped<T>, keys: &[T]) {
    for key in keys {
        queue.add(key.clone());
        let key = queue.try_get().expect("just added");
        queue.done(black_box(&key));
    }
}

fn cycle_core<T: Clone + Eq + Hash>(core: &mut Core<T>, keys: &[T], now: Instant) {
    for key in keys {
        core.add(key.clone(), Request::default(), now);
        let taken = core.take(now).expect("just added");
        core.finish(black_box(taken.lease), Verdict::Done, now);
    }
}

fn fill_and_drain<T: Clone + Eq + Hash + 'static>(queue: &WorkQueue<T>, keys: &[T]) {
    for key in keys {
        queue.add(key.clone());
    }
    while let Some(item) = queue.try_next() {
        item.done();
    }
}

fn fill_and_drain_go<T: Clone + Eq + Hash>(queue: &GoShaped<T>, keys: &[T]) {
    for key in keys {
        queue.add(key.clone());
    }
    while let Some(key) = queue.try_get() {
        queue.done(&key);
    }
}

/// A queue that always holds the same keys: get the first, finish it, add it again.
fn turn<T: Clone + Eq + Hash + 'static>(queue: &WorkQueue<T>, n: usize) {
    for _ in 0..n {
        let item = queue.try_next().expect("never empty");
        let key = item.key().clone();
        item.done();
        queue.add(key);
    }
}

fn turn_go<T: Clone + Eq + Hash>(queue: &GoShaped<T>, n: usize) {
    for _ in 0..n {
        let key = queue.try_get().expect("never empty");
        queue.done(&key);
        queue.add(key);
    }
}

/// One pair of rows: as client-go without a name (nothing is timed), and with one (three readings of the clock per run).
fn compare<T: Clone + Eq + Hash + 'static, G: Clone + Eq + Hash>(
    what: &str,
    keys: &[T],
    rival: &str,
    rival_keys: &[G],
) {
    let ours = type_name::<T>();
    for durations in [false, true] {
        let queue = WorkQueue::builder().durations(durations).build();
        let go = if durations {
            GoShaped::with_metrics()
        } else {
            GoShaped::new()
        };
        let suffix = if durations { ", timed" } else { "" };
        let (left, right) = (
            format!("WorkQueue<{ours}>{suffix}"),
            format!("Go-shaped, {rival}{suffix}"),
        );
        let times = side_by_side(
            ROUNDS,
            &mut [&mut || cycle(&queue, keys), &mut || cycle_go(&go, rival_keys)],
        );
        report(
            &format!("add_get_done/{what}/empty"),
            &left,
            &right,
            KEYS,
            (times[0], times[1]),
        );
        let fill = &mut || fill_and_drain(&queue, keys);
        let times = side_by_side(ROUNDS, &mut [fill, &mut || fill_and_drain_go(&go, rival_keys)]);
        report(
            &format!("fill_and_drain/{what}/{KEYS}"),
            &left,
            &right,
            KEYS,
            (times[0], times[1]),
        );
        keys.iter().for_each(|key| _ = queue.add(key.clone()));
        rival_keys.iter().for_each(|key| go.add(key.clone()));
        let times = side_by_side(
            ROUNDS,
            &mut [&mut || turn(&queue, KEYS), &mut || turn_go(&go, KEYS)],
        );
        report(
            &format!("add_get_done/{what}/{KEYS}"),
            &left,
            &right,
            KEYS,
            (times[0], times[1]),
        );
    }
}

fn type_name<T>() -> &'static str {
    std::any::type_name::<T>().rsplit("::").next().unwrap_or_default()
}

fn add_get_done() {
    let (strings, objects, ints) = (strings(), object_keys(), (0..KEYS as u64).collect::<Vec<_>>());
    compare("int", &ints, "strings", &strings);
    compare("object_key", &objects, "strings", &strings);
    compare("same_key_type", &objects, "ObjectKey", &objects);

    // What a program of one thread uses; it brings the time, so that the rival, if it is timed, pays for the clock as well.
    core_next_to_go("int", &ints, &strings);
    core_next_to_go("object_key", &objects, &strings);
    let queue = WorkQueue::new();
    let times = side_by_side(
        3,
        &mut [&mut || fill_and_drain(&queue, &objects), &mut || {
            fill_and_drain_kube(&objects)
        }],
    );
    report(
        "fill_and_drain/object_key/100000",
        "WorkQueue<ObjectKey>",
        "kube-runtime scheduler",
        KEYS,
        (times[0], times[1]),
    );

    let (queue, go) = (WorkQueue::builder().durations(false).build(), GoShaped::new());
    queue.add_many(0..1_000_000u64);
    (0..1_000_000).for_each(|n| go.add(format!("namespace-{}/deployment-{n}", n % 97)));
    let times = side_by_side(5, &mut [&mut || turn(&queue, KEYS), &mut || turn_go(&go, KEYS)]);
    report(
        "add_get_done/int/1000000",
        "WorkQueue<u64>",
        "Go-shaped, strings",
        KEYS,
        (times[0], times[1]),
    );

    for backlog in [0usize, 10_000, 1_000_000] {
        let queue = WorkQueue::new();
        queue.add_many((0..backlog as u64).map(|key| key + 1_000_000));
        let empty = WorkQueue::new();
        let step = |queue: &WorkQueue<u64>| {
            for key in 0..KEYS as u64 {
                queue.add(key);
                let item = queue.try_next().expect("not empty");
                let again = *item;
                item.done();
                queue.add(again);
                queue.cancel(&key);
            }
        };
        let times = side_by_side(5, &mut [&mut || step(&queue), &mut || step(&empty)]);
        let name = format!("add_get_done/backlog/{backlog}");
        report(
            &name,
            "WorkQueue<u64>",
            "the same, empty",
            KEYS,
            (times[0], times[1]),
        );
    }
}

fn core_next_to_go<T: Clone + Eq + Hash>(what: &str, keys: &[T], strings: &[String]) {
    let now = Instant::now();
    for timed in [false, true] {
        let mut config = Config::default();
        config.durations = timed;
        let mut core = Core::new(config, now);
        let go = if timed {
            GoShaped::with_metrics()
        } else {
            GoShaped::new()
        };
        let times = side_by_side(
            ROUNDS,
            &mut [&mut || cycle_core(&mut core, keys, now), &mut || {
                cycle_go(&go, strings)
            }],
        );
        let suffix = if timed { ", timed" } else { "" };
        report(
            &format!("add_get_done/{what}/empty"),
            &format!("Core<{}>{suffix}", type_name::<T>()),
            &format!("Go-shaped, strings{suffix}"),
            KEYS,
            (times[0], times[1]),
        );
    }
}

fn fill_and_drain_kube(keys: &[ObjectKey]) {
    let now = Instant::now();
    let requests = keys.iter().map(|key| ScheduleRequest {
        message: key.clone(),
        run_at: now,
    });
    let requests = futures::stream::iter(requests.collect::<Vec<_>>()).chain(futures::stream::pending());
    let mut scheduler = pin!(scheduler(requests));
    let mut cx = std::task::Context::from_waker(noop_waker_ref());
    let mut seen = 0;
    while seen < keys.len() {
        if let std::task::Poll::Ready(Some(key)) = scheduler.as_mut().poll_next(&mut cx) {
            black_box(key);
            seen += 1;
        }
    }
}

fn duplicate_add() {
    let (strings, objects) = (strings(), object_keys());
    let (queue, go) = (WorkQueue::new(), GoShaped::new());
    queue.add_many(objects.iter().cloned());
    strings.iter().for_each(|key| go.add(key.clone()));
    let times = side_by_side(
        ROUNDS,
        &mut [
            &mut || {
                objects
                    .iter()
                    .for_each(|key| _ = black_box(queue.add(key.clone())))
            },
            &mut || strings.iter().for_each(|key| go.add(black_box(key.clone()))),
        ],
    );
    report(
        "duplicate_add/object_key",
        "WorkQueue<ObjectKey>",
        "Go-shaped, strings",
        KEYS,
        (times[0], times[1]),
    );
    let one = objects[0].clone();
    let one_string = strings[0].clone();
    let times = side_by_side(
        ROUNDS,
        &mut [
            &mut || (0..KEYS).for_each(|_| _ = black_box(queue.add(one.clone()))),
            &mut || (0..KEYS).for_each(|_| go.add(black_box(one_string.clone()))),
        ],
    );
    report(
        "duplicate_add/same_key",
        "WorkQueue<ObjectKey>",
        "Go-shaped, strings",
        KEYS,
        (times[0], times[1]),
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "the deadlines of the rivals have to come on the real clock"
)]
fn wait(time: Duration) {
    std::thread::sleep(time);
}
