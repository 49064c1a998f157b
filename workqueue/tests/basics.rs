//! The queue's contract, without delays (W1–W3, W7, W8).

use std::time::Duration;

use futures::FutureExt as _;
use informer_workqueue::{Added, InFlight, WorkQueue};

#[tokio::test(start_paused = true)]
async fn a_key_added_often_while_it_waits_runs_once() {
    let queue = WorkQueue::new();
    assert_eq!(queue.add("a"), Added::New);
    assert_eq!(queue.add("a"), Added::Merged);
    queue.add("b");
    assert_eq!(queue.len(), 2);
    let item = queue.next().await.unwrap();
    assert_eq!(*item, "a");
    item.done();
    queue.next().await.unwrap().done();
    assert!(queue.try_next().is_none());
}

#[tokio::test(start_paused = true)]
async fn w3_a_key_added_while_it_runs_runs_once_more_and_never_twice_at_once() {
    let queue = WorkQueue::new();
    queue.add("a");
    let item = queue.next().await.unwrap();
    queue.add("a");
    queue.add("a");
    assert!(queue.try_next().is_none());
    item.done();
    queue.try_next().unwrap().done();
    assert!(queue.try_next().is_none());
}

#[tokio::test(start_paused = true)]
async fn w8_a_dropped_lease_is_a_retry() {
    let queue = WorkQueue::builder().jitter(false).build();
    queue.add("a");
    drop(queue.next().await.unwrap());
    assert_eq!(queue.retries(&"a"), 1);
    assert!(queue.try_next().is_none());
    let item = queue.next().await.unwrap();
    assert_eq!(item.attempt(), 2);
    item.done();
    assert_eq!(queue.retries(&"a"), 0);
    assert_eq!(queue.stats().keys, 0);
}

#[tokio::test(start_paused = true)]
async fn waiters_are_woken_by_an_add_by_a_due_delay_and_by_close() {
    let queue = WorkQueue::<u32>::new();
    let start = tokio::time::Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let queue = queue.clone();
        workers.spawn(async move {
            let mut seen = Vec::new();
            while let Some(item) = queue.next().await {
                seen.push((*item, start.elapsed().as_millis()));
                item.done();
            }
            seen
        });
    }
    tokio::task::yield_now().await;
    queue.add(1);
    queue.add_after(3, Duration::from_millis(30));
    queue.add_after(2, Duration::from_millis(20));
    tokio::time::sleep(Duration::from_millis(100)).await;
    queue.close();
    let mut seen: Vec<_> = workers.join_all().await.into_iter().flatten().collect();
    seen.sort();
    assert_eq!(seen, [(1, 0), (2, 20), (3, 30)]);
}

#[tokio::test(start_paused = true)]
async fn w7_drain_runs_what_is_ready_waits_for_what_runs_and_reports() {
    let queue = WorkQueue::new();
    queue.add_many(0..5);
    queue.add_after(99, Duration::from_secs(3600));
    let worker = async {
        while let Some(item) = queue.next().await {
            tokio::time::sleep(Duration::from_secs(1)).await;
            item.done();
        }
    };
    let (report, ()) = tokio::join!(queue.drain(Duration::from_secs(60)), worker);
    assert_eq!(
        (report.done, report.abandoned, report.pending),
        (5, vec![], vec![99])
    );
}

#[tokio::test(start_paused = true)]
async fn running_work_is_told_to_stop_only_at_the_deadline() {
    let queue = WorkQueue::new();
    queue.add("slow");
    let item = queue.next().await.unwrap();
    let start = tokio::time::Instant::now();
    let (report, stopped) = tokio::join!(queue.drain(Duration::from_secs(20)), async {
        item.stopped().await;
        start.elapsed()
    });
    assert_eq!(stopped, Duration::from_secs(20));
    assert_eq!(report.abandoned, ["slow"]);
}

thread_local! {
    static BREAKS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// A key of which the second cannot be cloned at times.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Brittle(u8);

impl Clone for Brittle {
    fn clone(&self) -> Self {
        assert!(!(BREAKS.get() && self.0 == 2), "it breaks");
        Self(self.0)
    }
}

#[tokio::test(start_paused = true)]
async fn w8_keys_of_a_batch_that_panics_halfway_are_not_lost() {
    let queue = WorkQueue::new();
    queue.add_many([Brittle(1), Brittle(2)]);
    BREAKS.set(true);
    let batch = std::panic::AssertUnwindSafe(|| queue.next_batch(2).now_or_never());
    assert!(std::panic::catch_unwind(batch).is_err());
    BREAKS.set(false);
    let stats = queue.stats();
    assert_eq!((stats.running, stats.delayed, queue.len()), (0, 1, 1));
    let batch = queue.next_batch(2).await;
    assert_eq!(*batch[0], Brittle(2));
    batch.into_iter().for_each(InFlight::done);
    let again = queue.next().await.expect("the queue is open");
    assert_eq!((&*again, again.attempt()), (&Brittle(1), 2));
    again.done();
}
