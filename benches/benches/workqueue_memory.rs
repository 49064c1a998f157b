//! Heap of the work queue per key in each state, and allocations on its hot path. Prints Markdown.
//!
//! `cargo bench -p informer-benches --bench workqueue_memory`

#[path = "workqueue/go_shaped.rs"]
#[expect(dead_code, reason = "only part of it is measured here")]
mod go_shaped;

use std::alloc::System;
use std::pin::pin;
use std::time::Duration;

use futures::task::noop_waker_ref;
use futures::{Stream, StreamExt};
use go_shaped::GoShaped;
use informer::store::ObjectKey;
use informer::workqueue::{Group, WorkQueue};
use informer_benches::heap::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use informer_benches::table;
use kube_runtime::scheduler::{ScheduleRequest, scheduler};
use tokio::time::Instant;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const KEYS: usize = 100_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let _entered = runtime.enter();
    let keys: Vec<ObjectKey> = (0..KEYS)
        .map(|n| ObjectKey::namespaced(&format!("namespace-{}", n % 97), &format!("deployment-{n}")))
        .collect();
    table::head(&["what", "bytes per key"]);
    states(&keys);
    rivals(&keys);
    hot_path(&keys);
}

/// Live bytes per key after `fill`.
fn measure<R>(what: &str, fill: impl FnOnce() -> R) {
    let region = Region::new(ALLOCATOR);
    let filled = fill();
    let change = region.change();
    let live = change.bytes_allocated.saturating_sub(change.bytes_deallocated);
    table::row(&[&what, &format!("{}", live / KEYS)]);
    drop(filled);
}

fn states(keys: &[ObjectKey]) {
    let hour = Duration::from_secs(3600);
    measure("ready", || {
        let queue = WorkQueue::new();
        queue.add_many(keys.iter().cloned());
        queue
    });
    measure("delayed", || {
        let queue = WorkQueue::new();
        keys.iter().for_each(|key| _ = queue.add_after(key.clone(), hour));
        queue
    });
    measure("delayed by a backoff", || {
        let queue = WorkQueue::new();
        keys.iter()
            .for_each(|key| _ = queue.add_rate_limited(key.clone()));
        queue
    });
    measure("running, without the lease", || {
        let queue = WorkQueue::new();
        queue.add_many(keys.iter().cloned());
        let mut leases = Vec::with_capacity(KEYS);
        leases.extend(std::iter::from_fn(|| queue.try_next()));
        let size = leases.capacity() * size_of_val(&leases[0]);
        table::row(&[&"the lease", &format!("{}", size / KEYS)]);
        leases.into_iter().for_each(std::mem::forget);
        queue
    });
    measure("blocked by its group", || {
        let queue = WorkQueue::builder()
            .group(|_: &ObjectKey| Some(Group::of("one")))
            .build();
        queue.add(keys[0].clone());
        std::mem::forget(queue.try_next());
        queue.add_many(keys[1..].iter().cloned());
        queue
    });
    measure("parked", || {
        let queue = WorkQueue::new();
        queue.add_many(keys.iter().cloned());
        let until = Instant::now() + hour;
        keys.iter().for_each(|key| queue.park(key, until));
        queue
    });
    measure("after all keys are done", || {
        let queue = WorkQueue::new();
        queue.add_many(keys.iter().cloned());
        while let Some(item) = queue.try_next() {
            item.done();
        }
        // A small cycle later the burst is forgotten.
        queue.add(keys[0].clone());
        queue
            .try_next()
            .into_iter()
            .for_each(informer::workqueue::InFlight::done);
        queue
    });
    let region = Region::new(ALLOCATOR);
    let queue = WorkQueue::<ObjectKey>::new();
    let change = region.change();
    table::row(&[
        &"a queue without keys, in total",
        &format!("{}", change.bytes_allocated - change.bytes_deallocated),
    ]);
    drop(queue);
}

fn rivals(keys: &[ObjectKey]) {
    let strings: Vec<String> = keys.iter().map(ToString::to_string).collect();
    measure("Go-shaped, ready", || {
        let queue = GoShaped::new();
        strings.iter().for_each(|key| queue.add(key.clone()));
        queue
    });
    measure("Go-shaped, ObjectKey, ready", || {
        let queue = GoShaped::new();
        keys.iter().for_each(|key| queue.add(key.clone()));
        queue
    });
    let mut cx = std::task::Context::from_waker(noop_waker_ref());
    let run_at = Instant::now() + Duration::from_secs(3600);
    let requests: Vec<_> = keys
        .iter()
        .map(|key| ScheduleRequest {
            message: key.clone(),
            run_at,
        })
        .collect();
    let requests = futures::stream::iter(requests).chain(futures::stream::pending());
    let mut scheduler = pin!(scheduler(requests));
    measure("kube-runtime scheduler, delayed", || {
        assert!(scheduler.as_mut().poll_next(&mut cx).is_pending())
    });
}

fn hot_path(keys: &[ObjectKey]) {
    let queue = WorkQueue::new();
    let cycle = || {
        for key in keys {
            queue.add(key.clone());
            let item = queue.try_next().expect("just added");
            queue.add(key.clone());
            item.done();
            queue.try_next().expect("added while it ran").done();
        }
    };
    cycle();
    let region = Region::new(ALLOCATOR);
    cycle();
    let change = region.change();
    table::row(&[
        &"allocations in 200000 runs (add, get, add again, done)",
        &format!("{}", change.allocations + change.reallocations),
    ]);
}
