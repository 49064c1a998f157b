//! The front under every interleaving loom finds: no lost wake-up, no key twice, no key lost.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p informer-workqueue --release --test loom`
#![cfg(loom)]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use informer_workqueue::WorkQueue;
use loom::future::block_on;
use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

fn check(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(test);
}

fn queue() -> WorkQueue<u8> {
    WorkQueue::builder()
        .jitter(false)
        .rng(fastrand::Rng::with_seed(1))
        .build()
}

#[test]
fn w2_an_add_wakes_a_waiter_whatever_the_order() {
    check(|| {
        let queue = queue();
        let producer = {
            let queue = queue.clone();
            thread::spawn(move || {
                queue.add(1);
            })
        };
        block_on(queue.next()).expect("the queue is open").done();
        producer.join().unwrap();
    });
}

/// A queue whose runs have been short so far, so that one waiter is woken for many keys and wakes the next.
fn queue_of_short_runs() -> WorkQueue<u8> {
    let queue = queue();
    queue.add(0);
    queue.try_next().expect("just added").done();
    queue
}

#[test]
fn w2_a_woken_waiter_wakes_the_next_before_it_works() {
    check(|| {
        let queue = queue_of_short_runs();
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let queue = queue.clone();
                thread::spawn(move || block_on(queue.next()).expect("the queue is open"))
            })
            .collect();
        queue.add(1);
        queue.add(2);
        // Held until both have theirs: the end of a run wakes nobody here.
        let leases: Vec<_> = waiters.into_iter().map(|waiter| waiter.join().unwrap()).collect();
        leases.into_iter().for_each(|item| item.done());
        assert!(queue.is_empty());
    });
}

#[test]
fn w2_the_only_woken_waiter_of_many_keys_passes_the_word_on_when_it_is_dropped() {
    check(|| {
        let queue = queue_of_short_runs();
        let quitter = {
            let queue = queue.clone();
            thread::spawn(move || {
                let mut next = pin!(queue.next());
                let mut cx = Context::from_waker(Waker::noop());
                match next.as_mut().poll(&mut cx) {
                    Poll::Ready(item) => item,
                    Poll::Pending => None,
                }
            })
        };
        let worker = {
            let queue = queue.clone();
            thread::spawn(move || block_on(queue.next()).expect("the queue is open"))
        };
        queue.add_many([1, 2]);
        let item = worker.join().unwrap();
        let other = quitter.join().unwrap();
        item.done();
        if let Some(other) = other {
            other.done();
        }
    });
}

#[test]
fn w1_two_workers_and_two_adds_of_one_key_never_overlap_and_lose_nothing() {
    check(|| {
        let queue = queue();
        let running = Arc::new(AtomicUsize::new(0));
        let runs = Arc::new(AtomicUsize::new(0));
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let (queue, running, runs) = (queue.clone(), Arc::clone(&running), Arc::clone(&runs));
                thread::spawn(move || {
                    while let Some(item) = block_on(queue.next()) {
                        assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "one holder per key");
                        runs.fetch_add(1, Ordering::SeqCst);
                        running.fetch_sub(1, Ordering::SeqCst);
                        item.done();
                    }
                })
            })
            .collect();
        queue.add(1);
        queue.add(1);
        queue.close();
        for worker in workers {
            worker.join().unwrap();
        }
        let runs = runs.load(Ordering::SeqCst);
        assert!((1..=2).contains(&runs), "{runs} runs for two adds");
        assert!(queue.is_empty());
    });
}

#[test]
fn a_notified_waiter_that_is_dropped_passes_the_word_on() {
    check(|| {
        let queue = queue();
        let quitter = {
            let queue = queue.clone();
            thread::spawn(move || {
                let mut next = pin!(queue.next());
                let mut cx = Context::from_waker(Waker::noop());
                if let Poll::Ready(item) = next.as_mut().poll(&mut cx) {
                    // Got it after all: back it goes.
                    let item = item.expect("the queue is open");
                    queue.add(*item);
                    item.done();
                }
            })
        };
        let producer = {
            let queue = queue.clone();
            thread::spawn(move || {
                queue.add(1);
            })
        };
        block_on(queue.next()).expect("the queue is open").done();
        quitter.join().unwrap();
        producer.join().unwrap();
    });
}

#[test]
fn w7_close_wakes_every_waiter() {
    check(|| {
        let queue = queue();
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let queue = queue.clone();
                thread::spawn(move || assert!(block_on(queue.next()).is_none()))
            })
            .collect();
        queue.close();
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

#[test]
fn w7_drain_returns_when_the_last_run_ends() {
    check(|| {
        let queue = queue();
        queue.add(1);
        let item = queue.try_next().expect("it was added");
        let worker = thread::spawn(move || item.done());
        // No deadline that could come: loom's time stands still.
        let report = block_on(queue.drain(Duration::from_secs(3600)));
        assert_eq!(report.abandoned, Vec::<u8>::new());
        worker.join().unwrap();
    });
}

#[test]
fn room_in_a_bounded_queue_reaches_the_producer_that_waits() {
    check(|| {
        let queue: WorkQueue<u8> = WorkQueue::builder().jitter(false).capacity(1).build();
        queue.add(1);
        let producer = {
            let queue = queue.clone();
            thread::spawn(move || {
                block_on(queue.add_wait(2));
            })
        };
        queue.try_next().expect("it was added").done();
        producer.join().unwrap();
        queue.try_next().expect("there was room").done();
    });
}
