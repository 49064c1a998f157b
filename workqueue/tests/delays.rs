//! Delays: exact, earliest wins, movable (W4); debounce and minimum interval; parked keys.

use std::time::Duration;

use informer_workqueue::{AddOptions, Debounce, KeyState, Merge, Priority, WorkQueue};
use tokio::time::{Instant, advance, sleep};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The milliseconds at which the queue hands out keys within the next `for_ms`, each finished at once.
async fn runs(queue: &WorkQueue<&'static str>, for_ms: u64) -> Vec<(u64, &'static str)> {
    let start = Instant::now();
    let mut runs = Vec::new();
    let window = async {
        while let Some(item) = queue.next().await {
            runs.push((start.elapsed().as_millis() as u64, *item));
            item.done();
        }
    };
    let _ = tokio::time::timeout(ms(for_ms), window).await;
    runs
}

#[tokio::test(start_paused = true)]
async fn w4_a_delayed_key_is_taken_at_its_deadline_to_the_nanosecond() {
    let queue = WorkQueue::new();
    advance(Duration::from_nanos(1_234_567)).await;
    queue.add_after("a", Duration::from_nanos(50_000_001));
    advance(Duration::from_nanos(50_000_000)).await;
    assert!(queue.try_next().is_none(), "a nanosecond early");
    assert_eq!(queue.len(), 0);
    advance(Duration::from_nanos(1)).await;
    assert_eq!(queue.len(), 1);
    queue.try_next().unwrap().done();
}

#[tokio::test(start_paused = true)]
async fn w4_the_earlier_of_two_delays_counts_and_the_key_runs_once() {
    let queue = WorkQueue::new();
    queue.add_after("later", ms(50));
    queue.add_after("later", ms(70));
    queue.add_after("sooner", ms(50));
    queue.add_after("sooner", ms(30));
    assert_eq!(runs(&queue, 60_000).await, [(30, "sooner"), (50, "later")]);
}

#[tokio::test(start_paused = true)]
async fn delays_of_one_instant_keep_the_order_of_the_adds() {
    let queue = WorkQueue::new();
    for key in ["a", "b", "c", "d"] {
        queue.add_after(key, ms(10));
    }
    let order: Vec<_> = runs(&queue, 1000).await.into_iter().map(|(_, key)| key).collect();
    assert_eq!(order, ["a", "b", "c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn a_direct_add_takes_the_place_of_a_delay_and_leaves_nothing_behind() {
    let queue = WorkQueue::new();
    queue.add_after("a", Duration::from_secs(5 * 3600));
    queue.add("a");
    assert_eq!(runs(&queue, 24 * 3_600_000).await, [(0, "a")]);
    assert_eq!(queue.stats().keys, 0);
}

#[tokio::test(start_paused = true)]
async fn delays_can_be_cancelled_postponed_replaced_and_asked_for() {
    let queue = WorkQueue::new();
    let start = Instant::now();
    for key in ["cancelled", "postponed", "replaced"] {
        queue.add_after(key, ms(100));
    }
    assert!(queue.cancel(&"cancelled"));
    assert!(!queue.cancel(&"cancelled"));
    queue.add_with("postponed", AddOptions::new().after(ms(300)).merge(Merge::Latest));
    queue.add_with("postponed", AddOptions::new().after(ms(200)).merge(Merge::Latest));
    queue.add_with("replaced", AddOptions::new().after(ms(250)).merge(Merge::Replace));
    queue.add_with("replaced", AddOptions::new().after(ms(150)).merge(Merge::Replace));
    assert_eq!(
        queue.snapshot(&"postponed").unwrap().next_run,
        Some(start + ms(300))
    );
    assert_eq!(
        queue.snapshot(&"replaced").unwrap().next_run,
        Some(start + ms(150))
    );
    assert_eq!(runs(&queue, 1000).await, [(150, "replaced"), (300, "postponed")]);
}

#[tokio::test(start_paused = true)]
async fn a_ready_key_stays_ready_unless_told_to_wait() {
    let queue = WorkQueue::new();
    queue.add("a");
    queue.add_after("a", ms(500));
    assert_eq!(queue.len(), 1);
    queue.add_with("a", AddOptions::new().after(ms(500)).merge(Merge::Latest));
    assert_eq!(queue.len(), 0);
    assert_eq!(runs(&queue, 1000).await, [(500, "a")]);
}

#[tokio::test(start_paused = true)]
async fn a_delay_given_to_a_running_key_starts_at_its_time_or_when_the_run_ends() {
    let queue = WorkQueue::new();
    queue.add("a");
    let item = queue.next().await.unwrap();
    queue.add_after("a", ms(100));
    sleep(ms(40)).await;
    item.done();
    assert_eq!(queue.snapshot(&"a").unwrap().state, KeyState::Delayed);
    assert_eq!(runs(&queue, 1000).await, [(60, "a")]);

    queue.add("a");
    let item = queue.next().await.unwrap();
    queue.add_after("a", ms(100));
    sleep(ms(150)).await;
    assert_eq!(queue.snapshot(&"a").unwrap().state, KeyState::RunningAndWanted);
    item.done();
    assert_eq!(runs(&queue, 1000).await, [(0, "a")]);
}

#[tokio::test(start_paused = true)]
async fn absurd_delays_are_kept_and_harm_nothing() {
    let queue = WorkQueue::new();
    queue.add_after("never", Duration::MAX);
    queue.add_after("year", Duration::from_secs(365 * 24 * 3600));
    queue.add_after("soon", ms(5));
    assert_eq!(runs(&queue, 1000).await, [(5, "soon")]);
    assert_eq!(queue.stats().delayed, 2);
    assert!(queue.cancel(&"never"));
    advance(Duration::from_secs(365 * 24 * 3600)).await;
    queue.try_next().unwrap().done();
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_drove_the_timer_and_is_dropped_hands_it_on() {
    let queue = WorkQueue::new();
    queue.add_after("a", ms(100));
    let mut driver = tokio_test::task::spawn(queue.next());
    tokio_test::assert_pending!(driver.poll());
    let mut other = tokio_test::task::spawn(queue.next());
    tokio_test::assert_pending!(other.poll());
    drop(driver);
    assert!(other.is_woken(), "somebody has to watch the clock");
    tokio_test::assert_pending!(other.poll());
    sleep(ms(100)).await;
    assert!(other.is_woken());
    assert!(other.poll().is_ready());
}

#[tokio::test(start_paused = true)]
async fn an_earlier_delay_resets_the_timer_of_whoever_waits() {
    let queue = WorkQueue::new();
    queue.add_after("late", Duration::from_secs(3600));
    let start = Instant::now();
    let add = async {
        sleep(ms(10)).await;
        queue.add_after("early", ms(20));
    };
    let (item, ()) = tokio::join!(queue.next(), add);
    assert_eq!((*item.unwrap(), start.elapsed()), ("early", ms(30)));
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_debounced_into_one_run_but_not_forever() {
    let queue = WorkQueue::builder()
        .debounce(Debounce::new(ms(100), ms(300)))
        .build();
    let burst = async {
        for _ in 0..3 {
            queue.add("short");
            sleep(ms(50)).await;
        }
    };
    let (seen, ()) = tokio::join!(runs(&queue, 1000), burst);
    assert_eq!(seen, [(200, "short")], "100 ms after the last add");
    let flood = async {
        for _ in 0..12 {
            queue.add("flood");
            sleep(ms(50)).await;
        }
    };
    let (seen, ()) = tokio::join!(runs(&queue, 2000), flood);
    assert_eq!(
        seen,
        [(300, "flood"), (650, "flood")],
        "300 ms after the first add of a burst at the latest"
    );
}

#[tokio::test(start_paused = true)]
async fn a_burst_during_a_run_is_debounced_too() {
    let queue = WorkQueue::builder()
        .debounce(Debounce::new(ms(100), ms(1000)))
        .build();
    queue.add("a");
    let item = queue.next().await.unwrap();
    let start = Instant::now();
    queue.add("a");
    sleep(ms(80)).await;
    queue.add("a");
    sleep(ms(10)).await;
    item.done();
    let item = queue.next().await.unwrap();
    assert_eq!(start.elapsed(), ms(180));
    item.done();
}

#[tokio::test(start_paused = true)]
async fn debounce_can_be_chosen_or_skipped_per_add() {
    let queue = WorkQueue::builder()
        .debounce(Debounce::new(ms(100), ms(300)))
        .build();
    queue.add_with("now", AddOptions::new().at_once());
    queue.add_with("own", AddOptions::new().debounce(Debounce::new(ms(10), ms(10))));
    queue.add_after("delayed", ms(5));
    assert_eq!(
        runs(&queue, 1000).await,
        [(0, "now"), (5, "delayed"), (10, "own")]
    );
}

#[tokio::test(start_paused = true)]
async fn runs_of_a_key_start_at_least_the_minimum_interval_apart() {
    let queue = WorkQueue::builder().min_interval(ms(100)).build();
    let flood = async {
        for _ in 0..30 {
            queue.add("a");
            sleep(ms(10)).await;
        }
    };
    let (seen, ()) = tokio::join!(runs(&queue, 1000), flood);
    assert_eq!(seen, [(0, "a"), (100, "a"), (200, "a"), (300, "a")]);
    assert_eq!(queue.stats().keys, 0, "the start is forgotten with its interval");
}

#[tokio::test(start_paused = true)]
async fn a_minimum_interval_can_be_chosen_or_skipped_per_add() {
    let queue = WorkQueue::new();
    queue.add_with("a", AddOptions::new().min_interval(ms(100)));
    assert_eq!(runs(&queue, 10).await, [(0, "a")]);
    queue.add_with("a", AddOptions::new().min_interval(ms(100)));
    assert_eq!(runs(&queue, 95).await, [(90, "a")]);
    queue.add("a");
    assert_eq!(runs(&queue, 95).await, [(0, "a")], "a plain add has no interval");
    queue.add_with("a", AddOptions::new().min_interval(ms(100)).at_once());
    assert_eq!(runs(&queue, 1000).await, [(0, "a")]);
}

#[tokio::test(start_paused = true)]
async fn k3_a_parked_key_is_held_until_it_is_unparked() {
    let queue = WorkQueue::new();
    queue.add("a");
    queue.park_because(&"a", Instant::now() + ms(10_000), "own write");
    assert!(queue.try_next().is_none());
    let stats = queue.stats();
    assert_eq!((stats.depth, stats.parked), (1, vec![("own write", 1)]));
    assert_eq!(queue.snapshot(&"a").unwrap().state, KeyState::Parked);
    assert!(queue.unpark(&"a"));
    assert!(!queue.unpark(&"a"));
    queue.try_next().unwrap().done();
    assert_eq!(queue.stats().keys, 0);
}

#[tokio::test(start_paused = true)]
async fn a_parked_key_runs_anyway_when_its_time_is_over() {
    let queue = WorkQueue::new();
    queue.park(&"a", Instant::now() + ms(200));
    queue.add("a");
    queue.add("b");
    assert_eq!(runs(&queue, 1000).await, [(0, "b"), (200, "a")]);
    queue.park(&"unwanted", Instant::now() + ms(200));
    assert_eq!(runs(&queue, 1000).await, [], "parking asks for nothing");
    assert_eq!(queue.stats().keys, 0);
}

#[tokio::test(start_paused = true)]
async fn a_key_parked_while_it_runs_comes_back_only_after_the_gate_opens() {
    let queue = WorkQueue::new();
    queue.add("a");
    let item = queue.next().await.unwrap();
    queue.park(&"a", Instant::now() + ms(500));
    queue.add("a");
    item.done();
    assert!(queue.try_next().is_none());
    assert_eq!(runs(&queue, 1000).await, [(500, "a")]);

    queue.add("a");
    let item = queue.next().await.unwrap();
    queue.park(&"a", Instant::now() + ms(500));
    item.retry();
    queue.unpark(&"a");
    assert_eq!(
        runs(&queue, 1000).await.len(),
        1,
        "the backoff goes on as if it had not been parked"
    );
}

#[tokio::test(start_paused = true)]
async fn w4_a_thousand_keys_whose_delay_is_over_run_by_deadline_and_before_a_later_add() {
    let queue = WorkQueue::new();
    for key in (0..1_000u64).rev() {
        queue.add_after(key, Duration::from_micros(1 + key));
    }
    tokio::time::advance(Duration::from_millis(10)).await;
    let mut seen = Vec::new();
    let mut take = |n: usize| {
        for _ in 0..n {
            let item = queue.try_next().expect("it is due");
            seen.push(*item);
            item.done();
        }
    };
    take(100);
    queue.add(1_000);
    take(901);
    assert!(queue.try_next().is_none());
    assert!(seen.into_iter().eq(0..=1_000));
}

#[tokio::test(start_paused = true)]
async fn w4_an_urgent_key_whose_delay_is_over_is_not_left_behind_a_long_line() {
    let queue = WorkQueue::new();
    queue.add_many(0..1_000);
    let urgent = AddOptions::new()
        .priority(Priority::Urgent)
        .after(Duration::from_millis(1));
    queue.add_with(9_999, urgent);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(*queue.try_next().expect("they are ready"), 9_999);
}

#[tokio::test(start_paused = true)]
async fn w4_a_due_key_is_taken_although_many_delays_before_it_ask_for_nothing() {
    let queue = WorkQueue::builder().min_interval(ms(1_000)).build();
    queue.add_many(0..100u32);
    while let Some(item) = queue.try_next() {
        item.done();
    }
    queue.add_after(1_000, ms(1_001));
    advance(ms(2_000)).await;
    let item = queue.try_next().expect("its delay is over");
    assert_eq!(*item, 1_000);
    item.done();
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_gate_opens_has_the_place_in_line_of_its_add_however_long_the_line() {
    let queue = WorkQueue::new();
    queue.add(0u32);
    queue.park(&0, Instant::now() + ms(10));
    queue.add_many(1..100);
    advance(ms(10)).await;
    let item = queue.try_next().expect("a hundred keys are ready");
    assert_eq!(*item, 0, "the first that was added");
    item.done();
}

#[tokio::test(start_paused = true)]
async fn withdrawn_delays_outlive_neither_the_delays_nor_the_keys_of_a_queue() {
    let queue = WorkQueue::new();
    // Makes room that is given back when the queue is next empty.
    queue.add_many(0..10_000u32);
    while let Some(item) = queue.try_next() {
        item.done();
    }
    let withdraw = |times| {
        for _ in 0..times {
            queue.add_after(1, ms(3_600_000));
            assert!(queue.cancel(&1));
        }
    };
    queue.add_after(0, ms(1_000));
    withdraw(500);
    advance(ms(1_000)).await;
    queue.try_next().expect("its delay is over").done();
    queue.add_after(0, ms(1_000));
    withdraw(2_000);
    advance(ms(1_000)).await;
    queue.try_next().expect("its delay is over").done();
}

#[tokio::test(start_paused = true)]
async fn the_first_minimum_interval_counts_for_a_run_whose_start_was_not_measured() {
    for durations in [false, true] {
        let queue = WorkQueue::builder().durations(durations).build();
        advance(ms(60_000)).await;
        queue.add("a");
        let item = queue.try_next().expect("just added");
        queue.add_with("a", AddOptions::new().min_interval(ms(1_000)));
        item.done();
        assert_eq!(
            runs(&queue, 5_000).await,
            [(1_000, "a")],
            "durations: {durations}"
        );
    }
}
