//! Closing and draining (W7).

use std::time::Duration;

use informer_workqueue::{Added, Drain, WorkQueue};
use tokio::time::{Instant, sleep, timeout};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Works until the queue has no more, a second per key.
async fn work(queue: &WorkQueue<&'static str>) -> usize {
    let mut runs = 0;
    while let Some(item) = queue.next().await {
        sleep(secs(1)).await;
        item.done();
        runs += 1;
    }
    runs
}

#[tokio::test(start_paused = true)]
async fn every_drain_returns_when_the_queue_is_empty_and_says_what_was_done() {
    let queue = WorkQueue::new();
    queue.add_many(["a", "b", "c"]);
    let (first, second, third, runs) = tokio::join!(
        queue.drain(secs(60)),
        queue.drain(Drain::within(secs(90))),
        queue.drain(secs(10)),
        work(&queue)
    );
    assert_eq!([first.done, second.done, third.done, runs as u64], [3; 4]);
    assert!(first.is_complete());
    let again = queue.drain(secs(0)).await;
    assert_eq!((again.done, again.pending, again.abandoned), (0, vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_a_key_that_is_wanted_again_and_runs_it() {
    let queue = WorkQueue::new();
    queue.add("a");
    let item = queue.next().await.unwrap();
    queue.add("a");
    let finish = async {
        sleep(secs(5)).await;
        item.done();
    };
    // The worker came before the key was free: it has to wait, not leave.
    let (report, runs, ()) = tokio::join!(queue.drain(secs(60)), work(&queue), finish);
    assert_eq!((report.done, runs), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn queued_keys_can_be_left_alone() {
    let queue = WorkQueue::new();
    queue.add_many(["running", "queued"]);
    queue.add_after("delayed", secs(1));
    let item = queue.next().await.unwrap();
    let finish = async {
        sleep(secs(5)).await;
        assert!(queue.next().await.is_none());
        item.done();
    };
    let (mut report, ()) = tokio::join!(queue.drain(Drain::within(secs(60)).run_queued(false)), finish);
    report.pending.sort_unstable();
    assert_eq!((report.done, report.pending), (1, vec!["delayed", "queued"]));
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_drains_return_runs_are_told_and_nothing_more_is_handed_out() {
    let queue = WorkQueue::new();
    queue.add_many(["slow", "queued"]);
    let slow = queue.next().await.unwrap();
    let start = Instant::now();
    let (short, long) = tokio::join!(queue.drain(secs(3)), queue.drain(secs(300)));
    assert_eq!(start.elapsed(), secs(3), "the earliest deadline counts");
    for report in [short, long] {
        assert_eq!((report.abandoned, report.pending), (vec!["slow"], vec!["queued"]));
    }
    assert!(slow.is_stopped());
    slow.stopped().await;
    assert!(queue.next().await.is_none());
    assert!(queue.try_next().is_none());
    slow.done();
}

#[tokio::test(start_paused = true)]
async fn closing_tells_running_work_nothing() {
    let queue = WorkQueue::new();
    queue.add("a");
    let item = queue.next().await.unwrap();
    queue.close();
    assert!(!item.is_stopped());
    assert!(timeout(secs(3600), item.stopped()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_closed_queue_takes_nothing_and_a_retry_is_reported_as_pending() {
    let queue = WorkQueue::new();
    queue.add("a");
    let item = queue.next().await.unwrap();
    queue.close();
    assert_eq!(queue.add("b"), Added::Closed);
    assert_eq!(queue.add_after("b", secs(1)), Added::Closed);
    assert_eq!(queue.add_rate_limited("b"), Added::Closed);
    assert_eq!(queue.add_many(["b", "c"]), 0);
    assert_eq!(queue.try_add("b"), Ok(Added::Closed));
    assert_eq!(queue.add_wait("b").await, Added::Closed);
    item.retry();
    assert!(queue.next().await.is_none(), "a retry is not waited for");
    assert_eq!(queue.drain(secs(1)).await.pending, ["a"]);
    assert!(queue.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_drain_leaves_the_queue_closed_and_running_work_alone() {
    let queue = WorkQueue::new();
    queue.add("a");
    let item = queue.next().await.unwrap();
    assert!(timeout(secs(1), queue.drain(secs(60))).await.is_err());
    sleep(secs(120)).await;
    assert!(queue.is_closed() && !item.is_stopped());
    item.done();
    assert_eq!(queue.drain(secs(1)).await.done, 0);
}

#[tokio::test(start_paused = true)]
async fn many_workers_and_shutdowns_never_hang() {
    for workers in [1, 5, 20] {
        for wait in [0, 1, 7] {
            let queue = WorkQueue::<u32>::new();
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..workers {
                let queue = queue.clone();
                tasks.spawn(async move {
                    while let Some(item) = queue.next().await {
                        sleep(Duration::from_millis(u64::from(*item % 3))).await;
                        item.done();
                    }
                });
            }
            for key in 0..200 {
                queue.add(key);
                queue.add_after(key + 1000, Duration::from_millis(u64::from(key % 10)));
            }
            sleep(Duration::from_millis(wait)).await;
            let report = queue.drain(secs(3600)).await;
            assert!(report.is_complete());
            timeout(secs(1), tasks.join_all())
                .await
                .expect("every worker was woken");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn producers_of_a_bounded_queue_wait_for_room() {
    let queue = WorkQueue::builder().capacity(2).build();
    assert_eq!(queue.try_add("a"), Ok(Added::New));
    assert_eq!(queue.try_add("b"), Ok(Added::New));
    assert_eq!(queue.try_add("c").unwrap_err().0, "c");
    assert_eq!(
        queue.try_add("a"),
        Ok(Added::Merged),
        "a key it holds needs no room"
    );
    let produce = async {
        for key in ["c", "d", "e"] {
            queue.add_wait(key).await;
        }
        queue.close();
    };
    let (runs, ()) = tokio::join!(work(&queue), produce);
    assert_eq!(runs, 5);
}

#[tokio::test(start_paused = true)]
async fn a_producer_that_gives_up_waiting_passes_its_turn_on() {
    let queue = WorkQueue::builder().capacity(1).build();
    queue.add("a");
    let mut first = tokio_test::task::spawn(queue.add_wait("b"));
    let mut second = tokio_test::task::spawn(queue.add_wait("c"));
    tokio_test::assert_pending!(first.poll());
    tokio_test::assert_pending!(second.poll());
    queue.try_next().unwrap().done();
    assert!(first.is_woken() && !second.is_woken());
    drop(first);
    assert!(second.is_woken());
    tokio_test::assert_ready!(second.poll());
}

#[tokio::test(start_paused = true)]
async fn batches_take_what_is_ready_and_wait_only_for_the_first() {
    let queue = WorkQueue::new();
    queue.add_many(["a", "b", "c"]);
    let batch = queue.next_batch(2).await;
    assert_eq!(
        batch.iter().map(|item| *item.key()).collect::<Vec<_>>(),
        ["a", "b"]
    );
    let rest = queue.next_batch(100).await;
    assert_eq!(rest.len(), 1);
    batch.into_iter().chain(rest).for_each(|item| item.done());
    queue.close();
    assert!(queue.next_batch(2).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn w7_a_key_whose_delay_was_over_when_the_queue_was_closed_still_runs() {
    for drain in [false, true] {
        let queue = WorkQueue::new();
        queue.add_after("due", Duration::from_millis(10));
        queue.add_after("not due", Duration::from_millis(30));
        tokio::time::advance(Duration::from_millis(20)).await;
        let worker = async {
            let mut seen = Vec::new();
            while let Some(item) = queue.next().await {
                seen.push(*item);
                item.done();
            }
            seen
        };
        if drain {
            let (report, seen) = tokio::join!(queue.drain(Duration::from_secs(1)), worker);
            assert_eq!((seen, report.pending), (vec!["due"], vec!["not due"]));
        } else {
            queue.close();
            assert_eq!(worker.await, ["due"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_bounded_queue_has_room_again_once_remembered_keys_are_forgotten() {
    let second = Duration::from_secs(1);
    let queue = WorkQueue::builder().capacity(1).min_interval(second).build();
    queue.add("a");
    queue.try_next().expect("just added").done();
    assert!(queue.try_add("b").is_err(), "remembered for its interval");
    tokio::time::advance(second).await;
    assert_eq!(queue.try_add("b"), Ok(Added::New));
}
