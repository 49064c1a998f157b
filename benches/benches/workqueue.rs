//! The work queue next to a Go-shaped one, tokio-util's `DelayQueue` and kube-runtime's scheduler, on the same keys in the
//! same run. Prints Markdown: medians of process time per key, and ratios.
//!
//! `cargo bench -p informer-benches --bench workqueue`

#[path = "workqueue/go_shaped.rs"]
mod go_shaped;

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::hash::Hash;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::task::noop_waker_ref;
use futures::{Stream, StreamExt};
use go_shaped::GoShaped;
use informer::store::ObjectKey;
use informer::workqueue::WorkQueue;
use informer::workqueue::delay::Wheel;
use informer::workqueue::queue::{Config, Core, Request, Verdict};
use informer_benches::cpu::{median, side_by_side, timed};
use informer_benches::table;
use k8s_openapi::api::core::v1::ConfigMap;
use kube_runtime::controller::Action;
use kube_runtime::reflector::{self, ObjectRef};
use kube_runtime::scheduler::{ScheduleRequest, scheduler};
use kube_runtime::watcher;
use tokio::time::Instant;
use tokio_util::time::DelayQueue;

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
    delays();
    held_keys();
    workers(&runtime);
    applied();
    fairness();
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

    let now = Instant::now();
    let (mut core, go) = (Core::new(Config::default(), now), GoShaped::new());
    let cycle = &mut || cycle_core(&mut core, &objects, now);
    let times = side_by_side(ROUNDS, &mut [cycle, &mut || cycle_go(&go, &strings)]);
    report(
        "add_get_done/object_key/empty",
        "Core<ObjectKey>",
        "Go-shaped, strings",
        KEYS,
        (times[0], times[1]),
    );
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

/// A million delays within a second: adding them, and firing them once they are all due.
fn delays() {
    // Of one thread, so that the rivals' timers are driven where they are polled.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let runtime = runtime.expect("a runtime starts");
    let _entered = runtime.enter();
    let mut rng = fastrand::Rng::with_seed(1);
    let deadlines: Vec<u64> = (0..DELAYS).map(|_| rng.u64(0..1_000_000_000)).collect();
    let mut cx = std::task::Context::from_waker(noop_waker_ref());
    let (mut wheel_times, mut queue_times) = ((vec![], vec![]), (vec![], vec![]));
    let (mut delay_queue_times, mut scheduler_times) = ((vec![], vec![]), (vec![], vec![]));
    let mut keyed_times = (vec![], vec![]);
    for _ in 0..3 {
        let (mut wheel, add) = timed(|| {
            let mut wheel = Wheel::new();
            for (slot, deadline) in deadlines.iter().enumerate() {
                wheel.arm(*deadline, slot as u32, 0);
            }
            wheel
        });
        let (fired, fire) = timed(|| {
            std::iter::from_fn(|| wheel.pop_due(1_000_000_000))
                .map(black_box)
                .count()
        });
        assert_eq!(fired, DELAYS);
        wheel_times.0.push(add);
        wheel_times.1.push(fire);

        let start = Instant::now();
        let (mut queue, add) = timed(|| {
            let mut queue = DelayQueue::new();
            for (slot, deadline) in deadlines.iter().enumerate() {
                queue.insert_at(slot as u32, start + Duration::from_nanos(*deadline));
            }
            queue
        });
        wait(Duration::from_millis(1100).saturating_sub(start.elapsed()));
        let (fired, fire) = timed(|| {
            runtime.block_on(async {
                let mut fired = 0;
                while let Some(expired) = std::future::poll_fn(|cx| queue.poll_expired(cx)).await {
                    black_box(expired);
                    fired += 1;
                }
                fired
            })
        });
        assert_eq!(fired, DELAYS);
        delay_queue_times.0.push(add);
        delay_queue_times.1.push(fire);
        drop(queue);

        // What a user of it writes who wants every key once, and its delay to be moved or withdrawn.
        let start = Instant::now();
        let ((mut queue, mut keys), add) = timed(|| {
            let (mut queue, mut keys) = (DelayQueue::new(), HashMap::new());
            for (key, deadline) in deadlines.iter().enumerate() {
                let at = start + Duration::from_nanos(*deadline);
                keys.entry(key as u32)
                    .or_insert_with_key(|key| queue.insert_at(*key, at));
            }
            (queue, keys)
        });
        wait(Duration::from_millis(1100).saturating_sub(start.elapsed()));
        let (fired, fire) = timed(|| {
            runtime.block_on(async {
                let mut fired = 0;
                while let Some(expired) = std::future::poll_fn(|cx| queue.poll_expired(cx)).await {
                    black_box(keys.remove(expired.get_ref()));
                    fired += 1;
                }
                fired
            })
        });
        assert_eq!(fired, DELAYS);
        keyed_times.0.push(add);
        keyed_times.1.push(fire);
        drop((queue, keys));

        let now = Instant::now();
        let (mut core, add) = timed(|| {
            let mut core = Core::new(Config::default(), now);
            for (key, deadline) in deadlines.iter().enumerate() {
                let mut request = Request::default();
                request.after = Some(Duration::from_nanos(*deadline));
                core.add(key as u32, request, now);
            }
            core
        });
        let due = now + Duration::from_secs(1);
        let (fired, fire) = timed(|| {
            let mut fired = 0;
            while let Some(taken) = core.take(due) {
                core.finish(taken.lease, Verdict::Done, due);
                fired += 1;
            }
            fired
        });
        assert_eq!(fired, DELAYS);
        queue_times.0.push(add);
        queue_times.1.push(fire);

        let start = Instant::now();
        let requests = deadlines
            .iter()
            .enumerate()
            .map(|(key, deadline)| ScheduleRequest {
                message: key as u32,
                run_at: start + Duration::from_secs(1) + Duration::from_nanos(*deadline),
            });
        let requests = futures::stream::iter(requests.collect::<Vec<_>>()).chain(futures::stream::pending());
        let mut scheduler = pin!(scheduler(requests));
        let (pending, add) = timed(|| scheduler.as_mut().poll_next(&mut cx).is_pending());
        assert!(pending, "the first deadline lies a second ahead");
        wait(Duration::from_millis(2100).saturating_sub(start.elapsed()));
        let (fired, fire) = timed(|| {
            runtime.block_on(async {
                let mut fired = 0;
                while fired < DELAYS {
                    black_box(scheduler.next().await);
                    fired += 1;
                }
                fired
            })
        });
        assert_eq!(fired, DELAYS);
        scheduler_times.0.push(add);
        scheduler_times.1.push(fire);
    }
    let (wheel, queue) = (medians(wheel_times), medians(queue_times));
    let (delay_queue, scheduler) = (medians(delay_queue_times), medians(scheduler_times));
    let keyed = medians(keyed_times);
    let rivals = [
        ("Wheel", wheel, "DelayQueue", delay_queue),
        (
            "Core<u32>, with deduplication and hand-out",
            queue,
            "DelayQueue",
            delay_queue,
        ),
        (
            "Core<u32>, with deduplication and hand-out",
            queue,
            "DelayQueue and a HashMap, with deduplication",
            keyed,
        ),
        (
            "Core<u32>, with deduplication and hand-out",
            queue,
            "kube-runtime scheduler",
            scheduler,
        ),
    ];
    for (name, ours, rival_name, rival) in rivals {
        report("delay/add/1000000", name, rival_name, DELAYS, (ours.0, rival.0));
        report("delay/fire/1000000", name, rival_name, DELAYS, (ours.1, rival.1));
    }
}

fn medians(times: (Vec<Duration>, Vec<Duration>)) -> (Duration, Duration) {
    (median(times.0), median(times.1))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the deadlines of the rivals have to come on the real clock"
)]
fn wait(time: Duration) {
    std::thread::sleep(time);
}

/// Keys that run and are wanted again stand ahead of a cold one.
fn held_keys() {
    const GETS: usize = 2_000;
    for held in [0u64, 1_000, 5_000] {
        let queue = WorkQueue::new();
        queue.add_many(0..held);
        let leases: Vec<_> = std::iter::from_fn(|| queue.try_next()).collect();
        queue.add_many(0..held);
        let (sender, receiver) = futures::channel::mpsc::unbounded();
        let mut scheduler = pin!(scheduler(receiver));
        let mut cx = std::task::Context::from_waker(noop_waker_ref());
        let busy: HashSet<u64> = (0..held).collect();
        let (mut ours, mut kube) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            queue.add_many((0..GETS as u64).map(|key| 1_000_000 + key));
            let take = || (0..GETS).for_each(|_| queue.try_next().expect("a cold key").done());
            ours.push(timed(take).1);

            let run_at = Instant::now();
            for key in (0..held).chain(1_000_000..1_000_000 + GETS as u64) {
                let request = ScheduleRequest { message: key, run_at };
                sender.unbounded_send(request).expect("it is read");
            }
            // All are due, and wait because no worker is free; then workers come for the cold ones.
            for _ in 0..10 {
                let _ = scheduler.as_mut().hold().poll_next_unpin(&mut cx);
                wait(Duration::from_millis(5));
            }
            let take = || {
                for _ in 0..GETS {
                    let mut free = scheduler.as_mut().hold_unless(|key| !busy.contains(key));
                    assert!(free.poll_next_unpin(&mut cx).is_ready(), "a cold key is pending");
                }
            };
            kube.push(timed(take).1);
        }
        let times = [median(ours), median(kube)];
        let name = format!("get_past_held_keys/{held}");
        report(
            &name,
            "WorkQueue<u64>",
            "kube-runtime scheduler",
            GETS,
            (times[0], times[1]),
        );
        drop(leases);
    }
}

/// One producer, empty work: both as they come (ours measures durations, the rival does not), both without a name, and
/// both with one.
fn workers(runtime: &tokio::runtime::Runtime) {
    let (strings, objects) = (Arc::new(strings()), Arc::new(object_keys()));
    for workers in [1usize, 4, 16] {
        for (suffix, ours_timed, go_timed) in [
            ("timed", true, false),
            ("neither timed", false, false),
            ("both timed", true, true),
        ] {
            let ours = || {
                let queue = WorkQueue::builder().durations(ours_timed).build();
                let handle = queue.clone();
                let work = move || work(handle.clone());
                let (add, close) = (queue.clone(), queue);
                let add = move |key| _ = add.add(key);
                produce(runtime, workers, work, &objects, add, move || close.close());
            };
            let go = || {
                let queue = Arc::new(if go_timed {
                    GoShaped::with_metrics()
                } else {
                    GoShaped::new()
                });
                let handle = Arc::clone(&queue);
                let work = move || work_go(Arc::clone(&handle));
                let (add, close) = (Arc::clone(&queue), queue);
                let add = move |key| add.add(key);
                produce(runtime, workers, work, &strings, add, move || close.close());
            };
            let (left, right) = match suffix {
                "timed" => ("WorkQueue<ObjectKey>, timed", "Go-shaped, strings"),
                "both timed" => ("WorkQueue<ObjectKey>, timed", "Go-shaped, strings, timed"),
                _ => ("WorkQueue<ObjectKey>", "Go-shaped, strings"),
            };
            let times = side_by_side(5, &mut [&mut { &ours }, &mut { &go }]);
            let name = format!("one_producer/{workers}_workers");
            report(&name, left, right, ADDS, (times[0], times[1]));
            let times = wall_side_by_side(5, &mut [&mut { &ours }, &mut { &go }]);
            let name = format!("one_producer/{workers}_workers (wall)");
            report(&name, left, right, ADDS, (times[0], times[1]));
        }
    }
}

const ADDS: usize = 200_000;

/// Adds from one task, with a pause every 64 keys, to so many workers.
fn produce<T: Clone + Send + Sync + 'static, W: Future<Output = ()> + Send + 'static>(
    runtime: &tokio::runtime::Runtime,
    workers: usize,
    work: impl Fn() -> W,
    keys: &Arc<Vec<T>>,
    add: impl Fn(T) + Send + Sync + 'static,
    close: impl FnOnce() + Send + 'static,
) {
    let keys = Arc::clone(keys);
    runtime.block_on(async {
        let tasks: Vec<_> = (0..workers).map(|_| runtime.spawn(work())).collect();
        let producer = runtime.spawn(async move {
            for n in 0..ADDS {
                add(keys[n % KEYS].clone());
                if n % 64 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            close();
        });
        producer.await.expect("no panic");
        futures::future::join_all(tasks).await;
    });
}

/// kube-runtime's controller without HTTP: keys come from a stream, each is run once by one of four concurrent empty
/// reconciles. Its queue cannot be had apart from its look-up in the store, which therefore is in its time.
fn applied() {
    const OBJECTS: usize = 16_000;
    const CONCURRENT: usize = 4;
    let objects: Vec<_> = (0..OBJECTS)
        .map(|n| {
            let mut object = ConfigMap::default();
            object.metadata.namespace = Some(format!("namespace-{}", n % 97));
            object.metadata.name = Some(format!("config-{n}"));
            object
        })
        .collect();
    let keys: Vec<_> = objects
        .iter()
        .map(|object| {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            ObjectKey::new(object.metadata.namespace.as_deref(), name)
        })
        .collect();
    let refs: Vec<ObjectRef<ConfigMap>> = objects.iter().map(ObjectRef::from_obj).collect();
    let (store, mut writer) = reflector::store::<ConfigMap>();
    writer.apply_watcher_event(&watcher::Event::Init);
    for object in objects {
        writer.apply_watcher_event(&watcher::Event::InitApply(object));
    }
    writer.apply_watcher_event(&watcher::Event::InitDone);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let ours = || {
        let queue = WorkQueue::new();
        let mut keys = futures::stream::iter(keys.clone());
        let produce = async {
            while let Some(key) = keys.next().await {
                queue.add(key);
            }
            queue.close();
        };
        let work = futures::future::join_all((0..CONCURRENT).map(|_| work(queue.clone())));
        runtime.block_on(async { tokio::join!(produce, work) });
    };
    let kube = || {
        let applied = kube_runtime::applier(
            |object: Arc<ConfigMap>, _: Arc<()>| {
                black_box(object);
                futures::future::ready(Ok::<_, Infallible>(Action::await_change()))
            },
            |_, error: &Infallible, _| match *error {},
            Arc::new(()),
            store.clone(),
            futures::stream::iter(refs.clone())
                .chain(futures::stream::pending())
                .map(Ok::<_, Infallible>),
            kube_runtime::controller::Config::default().concurrency(CONCURRENT as u16),
        );
        let done = runtime.block_on(
            applied
                .take(OBJECTS)
                .filter(|run| futures::future::ready(run.is_ok()))
                .count(),
        );
        assert_eq!(done, OBJECTS);
    };
    let times = side_by_side(ROUNDS, &mut [&mut { ours }, &mut { kube }]);
    report(
        "hand_out/4_workers",
        "WorkQueue<ObjectKey>",
        "kube-runtime Controller (applier)",
        OBJECTS,
        (times[0], times[1]),
    );
}

fn wall_side_by_side(rounds: usize, sides: &mut [&mut dyn FnMut()]) -> Vec<Duration> {
    let mut samples = vec![Vec::new(); sides.len()];
    for _ in 0..rounds {
        for (side, samples) in sides.iter_mut().zip(&mut samples) {
            let start = Instant::now();
            side();
            samples.push(start.elapsed());
        }
    }
    samples.into_iter().map(median).collect()
}

async fn work(queue: WorkQueue<ObjectKey>) {
    while let Some(item) = queue.next().await {
        black_box(&item);
        item.done();
    }
}

async fn work_go(queue: Arc<GoShaped<String>>) {
    while let Some(key) = queue.get().await {
        queue.done(black_box(&key));
    }
}

/// Sixty hot keys that are added again as soon as they run, four workers, a hundred cold keys: how many other keys start
/// between the add of a cold key and its own start. First come, first served bounds it by the keys ahead: sixty.
fn fairness() {
    /// Long enough to wait for.
    const STARVED: usize = 1_000;
    let worst = AtomicUsize::new(0);
    let queue = WorkQueue::new();
    queue.add_many(0..60u64);
    let mut running = std::collections::VecDeque::new();
    let mut turn = |queue: &WorkQueue<u64>| {
        let item = queue.try_next().expect("there is always a hot key");
        let key = *item;
        running.push_back(item);
        if key < 60 {
            queue.add(key);
        }
        if running.len() == 4 {
            running
                .pop_front()
                .into_iter()
                .for_each(informer::workqueue::InFlight::done);
        }
        key
    };
    for cold in 1_000..1_100u64 {
        queue.add(cold);
        let waited = (0..).take_while(|_| turn(&queue) != cold).count();
        worst.fetch_max(waited, Ordering::Relaxed);
    }
    let ours = worst.into_inner();

    let (sender, receiver) = futures::channel::mpsc::unbounded();
    let mut scheduler = pin!(scheduler(receiver));
    let mut cx = std::task::Context::from_waker(noop_waker_ref());
    let add = |key: u64| {
        sender
            .unbounded_send(ScheduleRequest {
                message: key,
                run_at: Instant::now(),
            })
            .expect("it is read");
    };
    (0..60).for_each(add);
    let mut busy = std::collections::VecDeque::new();
    let mut worst = 0;
    for cold in 1_000..1_100u64 {
        add(cold);
        // Everything is due, and held while all workers are busy: the state in which the order is chosen.
        let mut waited = 0;
        loop {
            // Late by less than the timer's millisecond, the keys are due and wait for a free worker.
            let _ = scheduler.as_mut().hold().poll_next_unpin(&mut cx);
            wait(Duration::from_millis(2));
            let _ = scheduler.as_mut().hold().poll_next_unpin(&mut cx);
            let mut free = scheduler.as_mut().hold_unless(|key| !busy.contains(key));
            let std::task::Poll::Ready(Some(key)) = free.poll_next_unpin(&mut cx) else {
                continue;
            };
            if key == cold {
                break;
            }
            waited += 1;
            if waited >= STARVED {
                break;
            }
            busy.push_back(key);
            add(key);
            if busy.len() == 4 {
                busy.pop_front();
            }
        }
        worst = worst.max(waited);
    }
    let (left, right) = (
        format!("{ours} keys"),
        if worst >= STARVED {
            format!("{STARVED} keys or more")
        } else {
            format!("{worst} keys")
        },
    );
    table::row(&[
        &"fairness/worst_wait_of_a_cold_key (bound 60)",
        &"WorkQueue<u64>",
        &"kube-runtime scheduler",
        &left,
        &right,
        &"",
    ]);
}
