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
    let mut waiters = waiters(&queue, 8);
    queue.add(0);
    let stuck = waiters.iter().position(|waiter| waiter.is_woken());
    let _stuck = waiters.remove(stuck.expect("one was woken"));
    for key in 1..8 {
        tokio::time::advance(Duration::from_millis(1)).await;
        queue.add(key);
        assert_eq!(run(&mut waiters).len(), 1, "key {key}");
    }
}
