//! The live view: client-go's metric values, exact under a paused clock, and what ours adds.

use std::time::Duration;

use informer_workqueue::{AddOptions, KeyState, Priority, WorkQueue};
use tokio::time::{Instant, advance};

const fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

#[tokio::test(start_paused = true)]
async fn upstream_values_are_exact() {
    let queue = WorkQueue::new();
    queue.add("a");
    advance(us(50)).await;
    let stats = queue.stats();
    assert_eq!((stats.depth, stats.adds), (1, 1));
    assert_eq!(stats.oldest_ready[Priority::Normal as usize], Some(us(50)));
    let item = queue.try_next().unwrap();
    let stats = queue.stats();
    assert_eq!(
        (
            stats.depth,
            stats.queue_duration.count(),
            stats.queue_duration.sum()
        ),
        (0, 1, us(50))
    );
    advance(us(25)).await;
    for _ in 0..5 {
        queue.add("a");
    }
    let stats = queue.stats();
    assert_eq!(
        (stats.depth, stats.adds),
        (1, 2),
        "five adds while it runs are one"
    );
    advance(us(25)).await;
    let stats = queue.stats();
    assert_eq!(
        (stats.unfinished_work, stats.longest_running, stats.running),
        (us(50), us(50), 1)
    );
    item.done();
    let stats = queue.stats();
    assert_eq!(
        (stats.work_duration.count(), stats.work_duration.sum()),
        (1, us(50))
    );
    assert_eq!(
        (stats.depth, stats.unfinished_work, stats.longest_running),
        (1, us(0), us(0))
    );
    advance(us(10)).await;
    queue.try_next().unwrap().done();
    let stats = queue.stats();
    assert_eq!(
        stats.queue_duration.sum(),
        us(50 + 35),
        "time spent waiting for its own run counts"
    );
    assert_eq!(stats.done, 2);
}

#[tokio::test(start_paused = true)]
async fn buckets_are_upstreams_powers_of_ten() {
    let queue = WorkQueue::new();
    for (key, nanos) in [
        (0u32, 0u64),
        (1, 10),
        (2, 11),
        (3, 1_000_000),
        (4, 20_000_000_000),
        (5, 2_000_000_000_000),
    ] {
        queue.add(key);
        advance(Duration::from_nanos(nanos)).await;
        queue.try_next().unwrap().done();
    }
    let histogram = queue.stats().queue_duration;
    let buckets: Vec<_> = histogram.buckets().collect();
    assert_eq!(buckets.len(), 12);
    assert_eq!(buckets[0].0, Duration::from_nanos(10));
    assert_eq!(buckets[9].0, Duration::from_secs(10));
    let counts: Vec<_> = buckets.iter().map(|(_, count)| *count).collect();
    assert_eq!(counts, [2, 3, 3, 3, 3, 4, 4, 4, 4, 4, 5, 5]);
    assert_eq!(histogram.count(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_key_is_no_depth_and_no_add_until_its_delay_is_over() {
    let queue = WorkQueue::new();
    queue.add_after("a", us(5_000));
    queue.add_after("a", us(9_000));
    let stats = queue.stats();
    assert_eq!(
        (stats.depth, stats.adds, stats.delayed, stats.retries),
        (0, 0, 1, 2)
    );
    advance(us(5_000)).await;
    let stats = queue.stats();
    assert_eq!(
        (stats.depth, stats.adds, stats.delayed, stats.retries),
        (1, 1, 0, 2)
    );
    advance(us(100)).await;
    let item = queue.try_next().unwrap();
    assert_eq!(
        queue.stats().queue_duration.sum(),
        us(100),
        "from the end of the delay"
    );
    item.retry();
    assert_eq!(queue.stats().retries, 3);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_asks_for_another_is_a_retry_also_if_an_event_asked_first() {
    let queue = WorkQueue::new();
    queue.add("a");
    for event in [false, true] {
        let item = queue.try_next().unwrap();
        if event {
            queue.add("a");
        }
        item.requeue_after(us(100));
        advance(us(100)).await;
    }
    assert_eq!(queue.stats().retries, 2);
}

#[tokio::test(start_paused = true)]
async fn unfinished_is_a_sum_and_longest_a_maximum() {
    let queue = WorkQueue::new();
    queue.add_many(0..3);
    let mut held = Vec::new();
    for _ in 0..3 {
        held.extend(queue.try_next());
        advance(us(10)).await;
    }
    let stats = queue.stats();
    assert_eq!((stats.unfinished_work, stats.longest_running), (us(60), us(30)));
    held.remove(0).done();
    assert_eq!(queue.stats().longest_running, us(20));
}

#[tokio::test(start_paused = true)]
async fn a_key_can_be_asked_about_at_any_time() {
    let queue = WorkQueue::builder().jitter(false).build();
    assert_eq!(queue.snapshot(&"a"), None);
    let start = Instant::now();
    queue.add_with(
        "a",
        AddOptions::new()
            .after(us(500))
            .source("pods")
            .priority(Priority::Urgent),
    );
    queue.add_with("a", AddOptions::new().after(us(700)).source("nodes"));
    let snapshot = queue.snapshot(&"a").unwrap();
    assert_eq!(
        (snapshot.state, snapshot.next_run),
        (KeyState::Delayed, Some(start + us(500)))
    );
    assert_eq!(
        (snapshot.sources, snapshot.priority),
        (vec!["pods", "nodes"], Priority::Urgent)
    );
    advance(us(600)).await;
    let snapshot = queue.snapshot(&"a").unwrap();
    assert_eq!((snapshot.state, snapshot.age), (KeyState::Ready, Some(us(100))));
    let item = queue.try_next().unwrap();
    assert_eq!(item.sources(), ["pods", "nodes"]);
    queue.add_with("a", AddOptions::new().source("resync"));
    let snapshot = queue.snapshot(&"a").unwrap();
    assert_eq!(
        (snapshot.state, snapshot.sources),
        (KeyState::RunningAndWanted, vec!["resync"])
    );
    item.done();
    let item = queue.try_next().unwrap();
    assert_eq!(item.sources(), ["resync"], "each run knows who asked for it");
    item.retry();
    let snapshot = queue.snapshot(&"a").unwrap();
    assert_eq!((snapshot.state, snapshot.retries), (KeyState::Delayed, 1));
    assert_eq!(snapshot.next_run, Some(Instant::now() + us(5_000)));
}

#[tokio::test(start_paused = true)]
async fn top_failing_is_bounded_and_the_worst_come_first() {
    let queue = WorkQueue::builder().jitter(false).build();
    for key in 0..20u32 {
        queue.add(key);
        for _ in 0..key {
            queue.next().await.unwrap().retry();
        }
        // Out of the way of the others.
        queue.park(&key, Instant::now() + Duration::from_secs(1_000_000));
    }
    assert_eq!(queue.top_failing(3), [(19, 19), (18, 18), (17, 17)]);
    assert_eq!((queue.top_failing(1000).len(), queue.stats().failing), (19, 19));
}

#[test]
fn more_sources_than_can_be_told_apart_are_summed_up() {
    let queue = WorkQueue::new();
    let names: Vec<&'static str> = (0..80)
        .map(|n| &*Box::leak(format!("source-{n}").into_boxed_str()))
        .collect();
    for name in &names {
        queue.add_with("a", AddOptions::new().source(name));
    }
    let sources = queue.try_next().unwrap().sources();
    assert_eq!(sources.len(), 32);
    assert_eq!(sources.last(), Some(&"other"));
}

#[tokio::test(start_paused = true)]
async fn an_idle_queue_holds_nothing() {
    let queue = WorkQueue::builder()
        .jitter(false)
        .flow(|key: &u32| informer_workqueue::Flow::of(key))
        .build();
    for round in 0..3 {
        for key in 0..5_000u32 {
            queue.add(key + round);
            queue.add_after(key + 10_000, us(100));
        }
        advance(us(100)).await;
        while let Some(item) = queue.try_next() {
            item.done();
        }
    }
    let stats = queue.stats();
    assert_eq!(
        (
            stats.keys,
            stats.depth,
            stats.delayed,
            stats.running,
            stats.failing
        ),
        (0, 0, 0, 0, 0)
    );
}

#[test]
fn debug_output_never_shows_other_keys_than_the_one_held() {
    let queue = WorkQueue::builder().name("secrets").build();
    queue.add("hunter2");
    assert!(!format!("{queue:?}").contains("hunter2"));
    assert!(format!("{queue:?}").contains("secrets"));
}

#[tokio::test(start_paused = true)]
async fn without_durations_everything_but_times_is_counted_and_delays_are_exact() {
    let queue = WorkQueue::builder().durations(false).jitter(false).build();
    queue.add("a");
    advance(us(100)).await;
    queue.try_next().unwrap().retry();
    queue.add_after("b", us(2_000));
    advance(us(2_000)).await;
    let b = queue.try_next().unwrap();
    assert_eq!((*b, queue.len()), ("b", 0));
    advance(us(3_000)).await;
    let a = queue.try_next().unwrap();
    assert_eq!((*a, a.attempt()), ("a", 2));
    let stats = queue.stats();
    assert_eq!((stats.adds, stats.running, stats.retries), (3, 2, 2));
    assert_eq!((stats.queue_duration.count(), stats.unfinished_work), (0, us(0)));
    a.done();
    b.done();
    assert_eq!(queue.stats().keys, 0);
}
