//! W2: who is woken. Few at a time, each waking the next, and nobody left asleep while keys are ready.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use informer_workqueue::{InFlight, WorkQueue};
use tokio_test::task::{Spawn, spawn};

type Waiting<'a> = Spawn<Pin<Box<dyn Future<Output = Option<InFlight<u32>>> + 'a>>>;

fn waiters(queue: &WorkQueue<u32>, n: usize) -> Vec<Waiting<'_>> {
    let waiter = |_| {
        let next: Pin<Box<dyn Future<Output = _>>> = Box::pin(queue.next());
        let mut waiter = spawn(next);
        assert!(waiter.poll().is_pending());
        waiter
    };
    (0..n).map(waiter).collect()
}

fn woken(waiters: &[Waiting<'_>]) -> usize {
    waiters.iter().filter(|waiter| waiter.is_woken()).count()
}

/// Some runs that take no time.
fn short_runs(queue: &WorkQueue<u32>) {
    for _ in 0..100 {
        queue.add(0);
        queue.try_next().expect("just added").done();
    }
}

/// Polls the woken until none is, and returns what they got.
fn run<'a>(waiters: &mut Vec<Waiting<'a>>) -> Vec<InFlight<u32>> {
    let mut leases = Vec::new();
    while let Some(next) = waiters.iter().position(|waiter| waiter.is_woken()) {
        let Poll::Ready(item) = waiters.remove(next).poll() else {
            panic!("a woken waiter finds a key");
        };
        // Still held: nobody is woken by the end of a run.
        leases.push(item.expect("the queue is open"));
    }
    leases
}

#[tokio::test(start_paused = true)]
async fn w2_woken_waiters_wake_the_others_before_they_work() {
    for short in [false, true] {
        let queue = WorkQueue::new();
        if short {
            short_runs(&queue);
        }
        let mut waiters = waiters(&queue, 64);
        queue.add_many(0..64);
        let most = if short { 1 } else { 7 };
        assert_eq!(woken(&waiters), most, "a burst wakes few, not one for each key");
        assert_eq!(run(&mut waiters).len(), 64);
    }
}

#[tokio::test(start_paused = true)]
async fn w2_one_add_wakes_one_waiter_at_once() {
    let queue = WorkQueue::new();
    let waiters = waiters(&queue, 3);
    queue.add(1);
    assert_eq!(woken(&waiters), 1);
    queue.add(2);
    assert_eq!(woken(&waiters), 2);
}

#[tokio::test(start_paused = true)]
async fn w2_woken_waiters_that_are_dropped_pass_the_word_on() {
    for short in [false, true] {
        let queue = WorkQueue::new();
        if short {
            short_runs(&queue);
        }
        let mut waiters = waiters(&queue, 64);
        queue.add_many(0..64);
        for left in (1..=64).rev() {
            let next = waiters.iter().position(|waiter| waiter.is_woken());
            let next = next.unwrap_or_else(|| panic!("{left} waiters asleep while keys are ready"));
            drop(waiters.remove(next));
        }
        assert_eq!(queue.len(), 64);
    }
}

#[tokio::test(start_paused = true)]
async fn w2_a_waiter_that_does_not_look_holds_up_nobody_but_itself() {
    let queue = WorkQueue::new();
    let mut waiters = waiters(&queue, 8);
    queue.add(0);
    let stuck = waiters.iter().position(|waiter| waiter.is_woken());
    let _stuck = waiters.remove(stuck.expect("one was woken"));
    queue.add_many(1..8);
    assert_eq!(run(&mut waiters).len(), 7);
}

#[tokio::test(start_paused = true)]
async fn w2_while_runs_are_short_a_waiter_that_does_not_look_is_passed_over_in_a_moment() {
    let queue = WorkQueue::new();
    short_runs(&queue);
    let mut waiters = waiters(&queue, 9);
    queue.add(0);
    let stuck = waiters.iter().position(|waiter| waiter.is_woken());
    let _stuck = waiters.remove(stuck.expect("one was woken"));
    let mut ran = Vec::new();
    for key in 1..8 {
        tokio::time::advance(Duration::from_millis(1)).await;
        queue.add(key);
        ran.extend(run(&mut waiters));
        assert_eq!(ran.len(), key as usize + 1, "no key is left to the stuck one");
    }
}

/// A waiter that was woken and is kept by a task that does something else.
fn stuck<'a>(queue: &WorkQueue<u32>, waiters: &mut Vec<Waiting<'a>>) -> Waiting<'a> {
    queue.add(0);
    let stuck = waiters.iter().position(|waiter| waiter.is_woken());
    waiters.remove(stuck.expect("one was woken"))
}

#[tokio::test(start_paused = true)]
async fn w2_one_key_at_a_time_does_not_wait_for_a_waiter_that_does_not_look() {
    for short in [false, true] {
        let queue = WorkQueue::new();
        if short {
            short_runs(&queue);
        }
        let mut waiters = waiters(&queue, 8);
        let _stuck = stuck(&queue, &mut waiters);
        queue.try_next().expect("nobody else took it").done();
        for key in 1..7 {
            tokio::time::advance(Duration::from_millis(1)).await;
            queue.add(key);
            let items = run(&mut waiters);
            assert_eq!(items.len(), 1, "key {key}, short runs: {short}");
            items.into_iter().for_each(InFlight::done);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn w2_a_long_line_does_not_wait_for_a_waiter_that_does_not_look() {
    let queue = WorkQueue::new();
    short_runs(&queue);
    let mut waiters = waiters(&queue, 8);
    let _stuck = stuck(&queue, &mut waiters);
    queue.add_many(0..45);
    tokio::time::advance(Duration::from_millis(1)).await;
    // As many keys as before, time and again.
    for _ in 0..10 {
        queue.add(0);
    }
    assert_eq!(run(&mut waiters).len(), 7);
}

#[tokio::test(start_paused = true)]
async fn w4_a_waiter_that_finds_the_timer_of_another_run_out_drives_one_of_its_own() {
    let second = Duration::from_secs(1);
    let queue = WorkQueue::new();
    queue.add_after(0, second);
    // The first drives the timer, and is never polled again.
    let _stuck = waiters(&queue, 1);
    tokio::time::sleep(2 * second).await;
    queue.try_next().expect("its delay is over").done();
    queue.add_after(1, second);
    let waiters = waiters(&queue, 1);
    tokio::time::sleep(2 * second).await;
    assert_eq!(woken(&waiters), 1);
}

#[tokio::test(start_paused = true)]
async fn w4_a_new_delay_does_not_depend_on_a_waiter_that_does_not_look() {
    let second = Duration::from_secs(1);
    let queue = WorkQueue::new();
    queue.add_after(0, second);
    let mut waiters = waiters(&queue, 2);
    tokio::time::sleep(second / 2).await;
    assert!(queue.cancel(&0));
    tokio::time::sleep(second).await;
    let stuck = waiters.iter().position(|waiter| waiter.is_woken());
    let _stuck = waiters.remove(stuck.expect("one drives the timer"));
    queue.add_after(1, second);
    assert_eq!(woken(&waiters), 1, "another takes the timer over");
    assert!(waiters[0].poll().is_pending());
    tokio::time::sleep(2 * second).await;
    assert_eq!(run(&mut waiters).len(), 1);
}

/// A key that cannot be hashed if it is 3.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Brittle(u8);

impl std::hash::Hash for Brittle {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        assert_ne!(self.0, 3, "a key that cannot be hashed");
        self.0.hash(state);
    }
}

#[tokio::test(start_paused = true)]
async fn w2_keys_before_one_that_panics_wake_their_waiters() {
    let queue = WorkQueue::new();
    let mut waiter = spawn(queue.next());
    assert!(waiter.poll().is_pending());
    let add = || queue.add_many((1..4).map(Brittle));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(add)).is_err());
    assert!(waiter.is_woken(), "two keys are ready");
}
