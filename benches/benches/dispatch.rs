//! One event to 1, 4 and 16 subscriptions that keep up, next to a queue each, as client-go's listeners have.

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::{FutureExt, StreamExt};
use informer::store::{Batch, Cache, Change, Delta, Entry, Replacement, Subscription};
use informer_benches::cpu::{ThreadTime, thread_time};
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::mpsc;

const OBJECTS: usize = 1_000;
const CHUNK: usize = 64;

fn pod(index: usize, version: u64) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name = Some(format!("pod-{index:05}"));
    pod.metadata.namespace = Some("shop".into());
    pod.metadata.uid = Some(format!("uid-{index:05}"));
    pod.metadata.resource_version = Some(version.to_string());
    pod
}

fn filled() -> Cache<Pod> {
    let cache = Cache::new();
    let entries = (0..OBJECTS).map(|index| Entry::new(pod(index, 1)).expect("named"));
    let replacement = Replacement::new(entries.collect(), 1.into());
    cache.apply(Batch::new(vec![Delta::Replaced(replacement)], Some(1.into())));
    cache
}

fn take_all(subscription: &mut Subscription<Pod>) -> usize {
    let mut taken = 0;
    while let Some(Some(change)) = subscription.next().now_or_never() {
        black_box(change);
        taken += 1;
    }
    taken
}

/// Times `deliver` for freshly made updates, a chunk at a time.
fn timed(iterations: u64, version: &mut u64, mut deliver: impl FnMut(Entry<Pod>)) -> Duration {
    let (mut spent, mut left) = (Duration::ZERO, usize::try_from(iterations).expect("few"));
    while left > 0 {
        let count = left.min(CHUNK);
        let entries: Vec<_> = (0..count)
            .map(|_| {
                *version += 1;
                Entry::new(pod(*version as usize % OBJECTS, *version)).expect("named")
            })
            .collect();
        let start = thread_time();
        entries.into_iter().for_each(&mut deliver);
        spent += thread_time().saturating_sub(start);
        left -= count;
    }
    spent
}

fn dispatch(criterion: &mut Criterion<ThreadTime>) {
    for subscribers in [1usize, 4, 16] {
        let mut group = criterion.benchmark_group(format!("dispatch/event/{subscribers}"));
        group.throughput(Throughput::Elements(subscribers as u64));

        let cache = filled();
        let mut subscriptions: Vec<_> = (0..subscribers).map(|_| cache.subscribe()).collect();
        subscriptions
            .iter_mut()
            .for_each(|subscription| assert_eq!(take_all(subscription), OBJECTS));
        let mut version = 1_000;
        group.bench_function("ours", |bencher| {
            bencher.iter_custom(|iterations| {
                timed(iterations, &mut version, |entry| {
                    cache.apply(Batch::new(vec![Delta::Updated(entry)], None));
                    for subscription in &mut subscriptions {
                        assert_eq!(take_all(subscription), 1);
                    }
                })
            });
        });
        drop(subscriptions);

        // The same apply, then a queue each, unbounded, with the change in it.
        let cache = filled();
        let (senders, mut receivers): (Vec<_>, Vec<_>) = (0..subscribers)
            .map(|_| mpsc::unbounded_channel::<Change<Pod>>())
            .unzip();
        let mut version = 1_000;
        group.bench_function("queue-each", |bencher| {
            bencher.iter_custom(|iterations| {
                timed(iterations, &mut version, |entry| {
                    let old = cache.get_by_key(&entry.key).expect("held");
                    let change =
                        Change::updated(entry.key.clone(), old, Arc::clone(&entry.object), entry.cause);
                    cache.apply(Batch::new(vec![Delta::Updated(entry)], None));
                    for sender in &senders {
                        sender.send(change.clone()).expect("the receiver lives");
                    }
                    for receiver in &mut receivers {
                        black_box(receiver.try_recv().expect("just sent"));
                    }
                })
            });
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .with_measurement(ThreadTime)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(20);
    targets = dispatch
}
criterion_main!(benches);
