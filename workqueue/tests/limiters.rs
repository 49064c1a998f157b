//! Rate limiters: upstream's figures, jitter, reservations, and when a failure counts (W5).

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use informer_workqueue::{
    AddOptions, Attempt, Delay, Exponential, FastSlow, MaxOf, MaxWait, RateLimiter, Ticket, TokenBucket,
    WorkQueue, default_controller,
};
use tokio::time::{Instant, advance};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn delays(limiter: &mut dyn RateLimiter<u32>, failures: impl IntoIterator<Item = u32>) -> Vec<Duration> {
    let now = Instant::now();
    failures
        .into_iter()
        .map(|failures| limiter.next_delay(&0, &mut Attempt::new(failures, now)).after)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn exponential_doubles_from_base_to_max_without_overflow() {
    let first = delays(&mut Exponential::item_based(), 0..5);
    assert_eq!(first, [1, 2, 4, 8, 16].map(ms));
    let upstream = delays(
        &mut Exponential::default(),
        [0, 1, 7, 8, 13, 17, 18, 19, 1000, u32::MAX],
    );
    let expected = [
        5, 10, 640, 1280, 40_960, 655_360, 1_000_000, 1_000_000, 1_000_000, 1_000_000,
    ];
    assert_eq!(upstream, expected.map(ms));
    let hours = delays(
        &mut Exponential::new(Duration::from_secs(60), Duration::from_secs(3_600_000)),
        [999],
    );
    assert_eq!(hours, [Duration::from_secs(3_600_000)]);
    assert_eq!(
        delays(&mut Exponential::new(Duration::MAX, ms(1)), [3]),
        [Duration::from_nanos(u64::MAX)]
    );
}

#[tokio::test(start_paused = true)]
async fn fast_slow_is_fast_a_few_times() {
    let seen = delays(&mut FastSlow::new(ms(5), ms(10_000), 3), 0..6);
    assert_eq!(seen, [5, 5, 5, 10_000, 10_000, 10_000].map(ms));
}

#[tokio::test(start_paused = true)]
async fn the_bucket_gives_a_burst_and_then_a_steady_rate() {
    let mut bucket = TokenBucket::default();
    let seen = delays(&mut bucket, vec![0; 10_000]);
    assert!(seen[..100].iter().all(Duration::is_zero));
    assert_eq!((seen[100], seen[101]), (ms(100), ms(200)));
    assert_eq!(
        seen[9_999],
        Duration::from_secs(990),
        "upstream's sixteen and a half minutes"
    );
    let mut capped = TokenBucket::default().max_wait(Duration::from_secs(30));
    let seen = delays(&mut capped, vec![0; 10_000]);
    assert_eq!(seen[9_999], Duration::from_secs(30));
    advance(Duration::from_secs(30)).await;
    assert!(
        delays(&mut capped, [0])[0] <= ms(100),
        "no debt is piled up beyond the longest wait"
    );
}

#[tokio::test(start_paused = true)]
async fn the_bucket_refills_and_takes_reservations_back() {
    let mut bucket = TokenBucket::new(10.0, 1);
    let now = Instant::now();
    let ask = |bucket: &mut TokenBucket| {
        RateLimiter::<u32>::next_delay(bucket, &0, &mut Attempt::new(0, Instant::now()))
    };
    let reserved: Vec<Delay> = (0..4).map(|_| ask(&mut bucket)).collect();
    assert_eq!(
        reserved.iter().map(|delay| delay.after).collect::<Vec<_>>(),
        [0, 100, 200, 300].map(ms)
    );
    // One from the middle: the next key gets its place, the others keep theirs.
    RateLimiter::<u32>::give_back(&mut bucket, reserved[1].tickets[0], now);
    assert_eq!(ask(&mut bucket).after, ms(100));
    assert_eq!(ask(&mut bucket).after, ms(400));
    // A returned place that nobody took is a token once its time has come.
    RateLimiter::<u32>::give_back(&mut bucket, reserved[2].tickets[0], now);
    advance(ms(1_000)).await;
    assert_eq!(ask(&mut bucket).after, ms(0));
    assert_eq!(
        ask(&mut bucket).after,
        ms(100),
        "never more than the burst is saved up"
    );
}

#[tokio::test(start_paused = true)]
async fn bad_rates_do_no_harm() {
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, f64::MAX] {
        for burst in [0, 1, u32::MAX] {
            let mut bucket = TokenBucket::new(rate, burst);
            let seen = delays(&mut bucket, vec![0; 3]);
            assert!(seen[0].is_zero(), "{rate} {burst}: the first token is there");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn max_of_takes_the_longest_and_max_wait_caps() {
    let mut limiter = MaxOf::new()
        .and(FastSlow::new(ms(5), ms(5), 0))
        .and(Exponential::item_based());
    assert_eq!(delays(&mut limiter, 0..5), [5, 5, 5, 8, 16].map(ms));
    let mut capped = MaxWait::new(Exponential::item_based(), ms(6));
    assert_eq!(delays(&mut capped, 0..5), [1, 2, 4, 6, 6].map(ms));
    let mut upstream = default_controller();
    let seen = delays(&mut upstream, vec![0; 102]);
    assert_eq!(
        (seen[0], seen[99], seen[100], seen[101]),
        (ms(5), ms(5), ms(100), ms(200))
    );
}

#[tokio::test(start_paused = true)]
async fn a_reservation_finds_its_way_back_through_nested_limiters() {
    let inner = MaxOf::new()
        .and(Exponential::default())
        .and(TokenBucket::new(10.0, 1));
    let mut limiter: MaxOf<u32> = MaxOf::new()
        .and(FastSlow::new(ms(1), ms(1), 1))
        .and(MaxWait::new(inner, ms(150)));
    let now = Instant::now();
    let ask = |limiter: &mut MaxOf<u32>| limiter.next_delay(&0, &mut Attempt::new(0, now));
    let _ = ask(&mut limiter);
    let second = ask(&mut limiter);
    assert_eq!(second.after, ms(100));
    assert_eq!(
        ask(&mut limiter).after,
        ms(150),
        "200 ms, capped, and its reservation returned"
    );
    limiter.give_back(second.tickets[0], now);
    assert_eq!(ask(&mut limiter).after, ms(100));
}

#[tokio::test(start_paused = true)]
async fn w5_jitter_stays_between_half_the_delay_and_all_of_it_and_spreads() {
    let mut rng = fastrand::Rng::with_seed(3);
    let mut limiter = Exponential::default();
    let mut seen: Vec<Duration> = (0..1000)
        .map(|_| {
            let mut attempt = Attempt::new(10, Instant::now()).jitter(&mut rng);
            RateLimiter::<u32>::next_delay(&mut limiter, &0, &mut attempt).after
        })
        .collect();
    let full = limiter.delay(10);
    assert!(seen.iter().all(|delay| (full / 2..=full).contains(delay)));
    seen.sort();
    seen.dedup();
    assert!(
        seen.len() > 990,
        "a wave of failures does not come back as a wave"
    );
    let mut first = Attempt::new(0, Instant::now()).jitter(&mut rng);
    let first = RateLimiter::<u32>::next_delay(&mut limiter, &0, &mut first).after;
    assert_eq!(first, ms(5), "never less than the base");
}

#[tokio::test(start_paused = true)]
async fn w5_the_queue_backs_off_per_key_and_success_forgets() {
    let queue = WorkQueue::builder()
        .jitter(false)
        .limiter(Exponential::item_based())
        .build();
    queue.add("a");
    queue.next().await.unwrap().retry();
    for failures in 1..=5u32 {
        assert_eq!(queue.retries(&"a"), failures);
        let start = Instant::now();
        let item = queue.next().await.unwrap();
        assert_eq!(start.elapsed(), ms(1 << (failures - 1)));
        assert_eq!(item.attempt(), failures + 1);
        item.retry();
    }
    queue.add("b");
    let b = queue.next().await.unwrap();
    assert_eq!((*b, b.attempt()), ("b", 1), "each key has its own backoff");
    b.done();
    assert_eq!(queue.top_failing(10), [("a", 6)]);
    queue.forget(&"a");
    assert_eq!(queue.retries(&"a"), 0);
    queue.next().await.unwrap().done();
    assert_eq!(
        queue.stats().keys,
        0,
        "nothing is remembered of keys that succeeded"
    );
}

#[tokio::test(start_paused = true)]
async fn w5_a_failure_counts_only_if_its_delay_was_served() {
    let queue = WorkQueue::builder().jitter(false).build();
    queue.add("a");
    for _ in 0..30 {
        // An event comes long before the delay is over, each time.
        queue.next().await.unwrap().retry();
        queue.add("a");
    }
    assert_eq!(queue.retries(&"a"), 0);
    queue.next().await.unwrap().retry();
    let start = Instant::now();
    queue.next().await.unwrap().done();
    assert_eq!(start.elapsed(), ms(5), "upstream would wait a thousand seconds");
}

#[tokio::test(start_paused = true)]
async fn an_event_during_a_failed_run_overtakes_the_backoff() {
    let queue = WorkQueue::builder().jitter(false).build();
    queue.add("a");
    let item = queue.next().await.unwrap();
    queue.add("a");
    item.retry();
    assert_eq!(queue.retries(&"a"), 0);
    assert_eq!(queue.try_next().unwrap().attempt(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_hint_is_a_lower_bound() {
    let queue = WorkQueue::builder().jitter(false).build();
    queue.add("a");
    let start = Instant::now();
    queue.next().await.unwrap().retry_after(Duration::from_secs(7));
    let item = queue.next().await.unwrap();
    assert_eq!((start.elapsed(), item.attempt()), (Duration::from_secs(7), 2));
    item.retry_after(ms(1));
    let start = Instant::now();
    queue.next().await.unwrap().done();
    assert_eq!(start.elapsed(), ms(10), "the backoff is longer");
}

#[tokio::test(start_paused = true)]
async fn client_gos_idiom_of_adding_rate_limited_and_finishing_backs_off() {
    let queue = WorkQueue::builder()
        .jitter(false)
        .limiter(Exponential::item_based())
        .build();
    queue.add("a");
    for failures in 0..5u32 {
        let item = queue.next().await.unwrap();
        let start = Instant::now();
        queue.add_rate_limited("a");
        item.done();
        assert_eq!(queue.retries(&"a"), failures + 1);
        let again = queue.next().await.unwrap();
        assert_eq!(start.elapsed(), ms(1 << failures));
        queue.add("a");
        // Back in line, without a verdict on the failures.
        queue.add_rate_limited("a");
        drop(again);
    }
}

#[tokio::test(start_paused = true)]
async fn adding_rate_limited_from_outside_counts_once_per_delay() {
    let queue = WorkQueue::builder().jitter(false).build();
    queue.add_rate_limited("a");
    queue.add_rate_limited("a");
    assert_eq!(queue.retries(&"a"), 1);
    let start = Instant::now();
    let item = queue.next().await.unwrap();
    assert_eq!(start.elapsed(), ms(5));
    item.forget();
    queue.add_with("b", AddOptions::new().rate_limited().after(ms(1)));
    let start = Instant::now();
    queue.next().await.unwrap().done();
    assert_eq!(
        start.elapsed(),
        ms(1),
        "of a delay and a limit the shorter counts"
    );
}

#[tokio::test(start_paused = true)]
async fn superseded_reservations_go_back_to_the_bucket() {
    let limiter = MaxOf::new()
        .and(Exponential::new(ms(1000), ms(1000)))
        .and(TokenBucket::new(1.0, 1));
    let queue = WorkQueue::builder().jitter(false).limiter(limiter).build();
    // A hundred keys fail and are all run by events before their delay: none of them used a token.
    for key in 0..100 {
        queue.add_rate_limited(key);
        queue.add(key);
        queue.try_next().unwrap().done();
    }
    queue.add_rate_limited(1000);
    let start = Instant::now();
    queue.next().await.unwrap().done();
    assert_eq!(start.elapsed(), ms(1000), "upstream would wait 100 s");
}

#[tokio::test(start_paused = true)]
async fn after_the_last_attempt_a_key_is_a_dead_letter() {
    let letters = Arc::new(Mutex::new(Vec::new()));
    let box_ = Arc::clone(&letters);
    let queue = WorkQueue::builder()
        .max_attempts(3)
        .dead_letter(move |letter| box_.lock().unwrap().push((letter.key, letter.attempts)))
        .build();
    queue.add("a");
    for _ in 0..3 {
        queue.next().await.unwrap().retry();
    }
    assert_eq!(*letters.lock().unwrap(), [("a", 3)]);
    assert_eq!((queue.stats().dead_letters, queue.stats().keys), (1, 0));
    queue.add("b");
    queue.next().await.unwrap().give_up();
    assert_eq!(letters.lock().unwrap().last(), Some(&("b", 1)));
    queue.add("a");
    assert_eq!(
        queue.try_next().unwrap().attempt(),
        1,
        "a new event is a new start"
    );
}

/// Counts what it is told, and panics when asked to.
#[derive(Clone, Default)]
struct Stateful {
    seen: Arc<Mutex<Vec<String>>>,
    panics: bool,
}

impl RateLimiter<&'static str> for Stateful {
    fn next_delay(&mut self, key: &&'static str, _attempt: &mut Attempt<'_>) -> Delay {
        assert!(!self.panics, "limiter bug");
        self.seen.lock().unwrap().push(format!("delay {key}"));
        let mut delay = Delay::from(ms(10));
        delay.tickets.push(Ticket::new(7));
        delay
    }

    fn give_back(&mut self, ticket: Ticket, _now: Instant) {
        self.seen.lock().unwrap().push(format!("back {}", ticket.value()));
    }

    fn forget(&mut self, key: &&'static str) {
        self.seen.lock().unwrap().push(format!("forget {key}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_limiter_of_ones_own_is_told_of_successes_and_unused_reservations() {
    let limiter = Stateful::default();
    let queue = WorkQueue::builder().limiter(limiter.clone()).build();
    queue.add("quiet");
    queue.next().await.unwrap().done();
    queue.add("a");
    queue.next().await.unwrap().retry();
    queue.next().await.unwrap().retry();
    queue.add("a");
    queue.next().await.unwrap().done();
    assert_eq!(
        *limiter.seen.lock().unwrap(),
        ["delay a", "delay a", "back 7", "forget a"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_limiter_of_ones_own_is_told_of_a_withdrawn_key() {
    let limiter = Stateful::default();
    let queue = WorkQueue::builder().limiter(limiter.clone()).build();
    queue.add("a");
    queue.next().await.unwrap().retry();
    assert!(queue.cancel(&"a"));
    assert_eq!(*limiter.seen.lock().unwrap(), ["delay a", "back 7", "forget a"]);
}

#[tokio::test(start_paused = true)]
async fn panics_of_user_code_are_contained_and_lose_no_key() {
    let queue = WorkQueue::builder()
        .limiter(Stateful {
            panics: true,
            ..Stateful::default()
        })
        .flow(|_| panic!("flow bug"))
        .group(|_| panic!("group bug"))
        .max_attempts(2)
        .dead_letter(|_| panic!("hook bug"))
        .build();
    queue.add("a");
    let start = Instant::now();
    queue.next().await.unwrap().retry();
    let item = queue.next().await.unwrap();
    assert_eq!((*item, start.elapsed()), ("a", informer_workqueue::PANIC_DELAY));
    item.retry();
    let stats = queue.stats();
    assert_eq!(
        (stats.dead_letters, stats.contained_panics, stats.keys),
        (1, 4, 0)
    );
    queue.add("b");
    queue.next().await.unwrap().done();
}
