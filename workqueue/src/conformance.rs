//! Tests of the [`Queue`] contract, for any implementation.
//!
//! [`workqueue_conformance!`](crate::workqueue_conformance) makes a test of each of these functions. They panic where the
//! contract is broken; time must be paused, and no delay between a retry and its run may be longer than
//! [`LONGEST_RETRY`].

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use crate::contract::{Queue, QueueItem};

/// The longest a first retry may be delayed.
pub const LONGEST_RETRY: Duration = Duration::from_secs(60);

const MOMENT: Duration = Duration::from_millis(1);

async fn next<Q: Queue>(queue: &Q) -> Q::Item {
    let next = timeout(LONGEST_RETRY, queue.next()).await;
    next.expect("a key is ready, so a waiter gets it")
        .expect("an open queue, or one with keys, hands keys out")
}

async fn none_ready<Q: Queue>(queue: &Q) {
    assert!(
        timeout(MOMENT, queue.next()).await.is_err(),
        "no key is ready, so nothing is handed out"
    );
}

/// W2: keys run in the order they were added.
pub async fn keys_run_in_the_order_they_were_added(queue: impl Queue<Key = u32>) {
    for key in 0..100 {
        queue.add(key);
    }
    assert_eq!(queue.len(), 100);
    for key in 0..100 {
        let item = next(&queue).await;
        assert_eq!(*item, key);
        item.done();
    }
    assert!(queue.is_empty());
}

/// A key added again while it waits runs once.
pub async fn a_key_added_while_it_waits_runs_once(queue: impl Queue<Key = u32>) {
    for _ in 0..3 {
        queue.add(1);
    }
    assert_eq!(queue.len(), 1);
    next(&queue).await.done();
    none_ready(&queue).await;
}

/// W1, W3: a key added again while it runs is not handed out until the run ends, and then once.
pub async fn a_key_added_while_it_runs_runs_once_more_afterwards(queue: impl Queue<Key = u32>) {
    queue.add(1);
    let item = next(&queue).await;
    queue.add(1);
    queue.add(1);
    queue.add(2);
    let other = next(&queue).await;
    assert_eq!(*other, 2, "a held key does not hold up the others");
    none_ready(&queue).await;
    item.done();
    let again = next(&queue).await;
    assert_eq!(*again, 1);
    again.done();
    other.done();
    none_ready(&queue).await;
}

/// W4: a delayed key is not handed out early, and is handed out in time.
pub async fn a_delayed_key_runs_at_its_time(queue: impl Queue<Key = u32>) {
    let start = Instant::now();
    for (key, ms) in [(3, 30), (1, 10), (2, 20)] {
        queue.add_after(key, Duration::from_millis(ms));
    }
    assert!(queue.is_empty(), "a delayed key does not count as ready");
    for (key, ms) in [(1, 10), (2, 20), (3, 30)] {
        let item = next(&queue).await;
        assert_eq!(*item, key);
        let late = start
            .elapsed()
            .checked_sub(Duration::from_millis(ms))
            .expect("never early");
        assert!(late <= Duration::from_millis(10), "{key} came {late:?} late");
        item.done();
    }
}

/// W4: of two delays of one key the earlier counts, and the key runs once.
pub async fn the_earlier_of_two_delays_counts(queue: impl Queue<Key = u32>) {
    let start = Instant::now();
    queue.add_after(1, Duration::from_millis(70));
    queue.add_after(1, Duration::from_millis(30));
    queue.add_after(1, Duration::from_millis(50));
    next(&queue).await.done();
    assert!(start.elapsed() < Duration::from_millis(50));
    assert!(
        timeout(Duration::from_secs(1), queue.next()).await.is_err(),
        "once"
    );
}

/// A delay is superseded by a plain add: the key runs at once and only once.
pub async fn a_plain_add_supersedes_a_delay(queue: impl Queue<Key = u32>) {
    queue.add_after(1, Duration::from_secs(30));
    queue.add(1);
    next(&queue).await.done();
    assert!(
        timeout(Duration::from_secs(120), queue.next()).await.is_err(),
        "no stale wake-up"
    );
}

/// W8: a lease that ends in a retry, or is dropped, brings the key back.
pub async fn a_failed_or_dropped_run_comes_back(queue: impl Queue<Key = u32>) {
    queue.add(1);
    next(&queue).await.retry();
    drop(next(&queue).await);
    next(&queue).await.done();
    assert!(
        timeout(LONGEST_RETRY, queue.next()).await.is_err(),
        "a key that succeeded does not come back"
    );
}

/// A waiter that is dropped loses nothing, even if it was just woken.
pub async fn a_dropped_waiter_loses_no_key(queue: impl Queue<Key = u32>) {
    for key in 0..20 {
        let mut first = Box::pin(queue.next());
        let mut second = pin!(queue.next());
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        queue.add(key);
        drop(first);
        let item = timeout(LONGEST_RETRY, second)
            .await
            .expect("the other waiter was woken")
            .expect("open");
        assert_eq!(*item, key);
        item.done();
    }
}

/// W7: a closed queue hands out what is ready, takes nothing new, and wakes everybody.
pub async fn a_closed_queue_empties_and_wakes_all_waiters(queue: impl Queue<Key = u32>) {
    queue.add(1);
    queue.close();
    queue.close();
    queue.add(2);
    next(&queue).await.done();
    assert!(queue.next().await.is_none());
    assert!(queue.next().await.is_none());
}

/// W7: waiters that wait while the queue is closed return.
pub async fn waiters_return_when_the_queue_is_closed(queue: impl Queue<Key = u32>) {
    let waiters = join_all((0..20).map(|_| queue.next()));
    let close = async {
        sleep(MOMENT).await;
        queue.close();
    };
    let (left, ()) = futures::join!(timeout(LONGEST_RETRY, waiters), close);
    assert!(left.expect("every waiter returns").iter().all(Option::is_none));
}

/// W1–W3 under load: many producers and workers, every key seen after its last add, never by two workers at once.
pub async fn many_producers_and_workers_lose_nothing(queue: impl Queue<Key = u32>) {
    let running = RefCell::new(BTreeSet::new());
    let runs = RefCell::new(BTreeMap::<u32, u32>::new());
    let produce = join_all((0..50u32).map(|producer| {
        let queue = &queue;
        async move {
            for add in 0..50u32 {
                queue.add((producer * 7 + add) % 100);
                sleep(Duration::from_micros(u64::from(add % 7) * 300)).await;
            }
        }
    }));
    let finish = async {
        produce.await;
        sleep(Duration::from_secs(1)).await;
        queue.close();
    };
    let work = join_all((0..10).map(|_| async {
        while let Some(item) = queue.next().await {
            assert!(
                running.borrow_mut().insert(*item),
                "{} runs twice at a time",
                *item
            );
            // Some so slow that they are wanted again, and reached in line, while they run.
            sleep(Duration::from_millis(if *item % 40 == 0 { 25 } else { 1 })).await;
            running.borrow_mut().remove(&*item);
            *runs.borrow_mut().entry(*item).or_default() += 1;
            item.done();
        }
    }));
    futures::join!(finish, work);
    assert_eq!(runs.borrow().len(), 100, "every key ran");
    assert!(
        runs.borrow().values().sum::<u32>() <= 2_500,
        "no key ran without an add"
    );
    assert!(queue.is_empty());
}

/// Every worker adds the key it holds once more: each key runs exactly twice.
pub async fn a_key_added_by_its_own_worker_runs_exactly_twice(queue: impl Queue<Key = u32>) {
    let runs = RefCell::new(BTreeMap::<u32, u32>::new());
    for key in 0..50 {
        queue.add(key);
    }
    let work = join_all((0..5).map(|_| async {
        while let Some(item) = queue.next().await {
            let run = {
                let mut runs = runs.borrow_mut();
                let run = runs.entry(*item).or_default();
                *run += 1;
                *run
            };
            if run == 1 {
                queue.add(*item);
            }
            sleep(MOMENT).await;
            item.done();
        }
    }));
    let close = async {
        sleep(Duration::from_secs(10)).await;
        queue.close();
    };
    futures::join!(work, close);
    assert_eq!(runs.borrow().len(), 50);
    assert!(runs.borrow().values().all(|runs| *runs == 2));
}

/// Makes a module of tests that check the [`Queue`](crate::Queue) contract on an implementation with `u32` keys. The
/// crate that uses it needs tokio with `macros`, `rt` and `test-util`.
///
/// # Examples
/// ```
/// mod conformance {
///     informer_workqueue::workqueue_conformance!(informer_workqueue::WorkQueue::<u32>::new());
/// }
/// ```
#[macro_export]
macro_rules! workqueue_conformance {
    ($make:expr) => {
        $crate::workqueue_conformance!(@tests $make;
            keys_run_in_the_order_they_were_added
            a_key_added_while_it_waits_runs_once
            a_key_added_while_it_runs_runs_once_more_afterwards
            a_delayed_key_runs_at_its_time
            the_earlier_of_two_delays_counts
            a_plain_add_supersedes_a_delay
            a_failed_or_dropped_run_comes_back
            a_dropped_waiter_loses_no_key
            a_closed_queue_empties_and_wakes_all_waiters
            waiters_return_when_the_queue_is_closed
            many_producers_and_workers_lose_nothing
            a_key_added_by_its_own_worker_runs_exactly_twice
        );
    };
    (@tests $make:expr; $($test:ident)*) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $test() {
                $crate::conformance::$test($make).await;
            }
        )*
    };
}
