//! The publish step under a model checker: every order of a writer and readers.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p informer-store --test loom --release`. The step is taken in by path:
//! it needs nothing of the crate but its own primitives.
#![cfg(loom)]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "the modules serve the crate; these tests use part of them"
)]

#[path = "../src/publish.rs"]
mod publish;
#[path = "../src/sync.rs"]
mod sync;

use std::sync::Arc;

use loom::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};
use publish::Publish;

/// Both halves are always equal in a state that existed.
type Pair = (usize, usize);

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

fn step(pair: &mut Pair) {
    pair.0 += 1;
    thread::yield_now();
    pair.1 += 1;
}

#[test]
fn readers_see_whole_states_and_never_go_back() {
    model(|| {
        let state = Arc::new(Publish::<Pair>::new((0, 0)));
        let reader = {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                let first = *state.pin();
                let second = state.read(|pair| *pair);
                let third = *state.pin();
                for pair in [first, second, third] {
                    assert_eq!(pair.0, pair.1, "I6: a mix of two states");
                }
                assert!(first <= second && second <= third, "I2: a reader went back");
            })
        };
        state.begin().write_short(step);
        state.begin().write_long(step);
        assert_eq!(*state.pin(), (2, 2), "a writer sees what it wrote");
        reader.join().unwrap();
        assert_eq!(state.read(|pair| *pair), (2, 2));
    });
}

#[test]
fn a_pin_never_changes_while_the_writer_goes_on() {
    model(|| {
        let state = Arc::new(Publish::<Pair>::new((0, 0)));
        let reader = {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                let pinned = state.pin();
                let before = *pinned;
                thread::yield_now();
                assert_eq!(*pinned, before);
            })
        };
        state.begin().write_short(step);
        state.begin().write_short(step);
        reader.join().unwrap();
    });
}

#[test]
fn two_readers_that_publish_at_once_agree_with_the_writer() {
    model(|| {
        let state = Arc::new(Publish::<Pair>::new((0, 0)));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let state = Arc::clone(&state);
                thread::spawn(move || {
                    let pinned = state.pin();
                    assert_eq!(pinned.0, pinned.1);
                    *pinned
                })
            })
            .collect();
        state.begin().write_short(step);
        let seen: Vec<Pair> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        assert!(seen.iter().all(|pair| *pair <= (1, 1)));
        assert_eq!(*state.pin(), (1, 1));
    });
}

/// H3: a writer that sees nobody listening writes no log; whoever joined meanwhile must then have that step in its pin.
#[test]
fn whoever_joins_has_the_step_in_its_pin_or_is_seen_by_the_writer() {
    model(|| {
        let state = Arc::new(Publish::<Pair>::new((0, 0)));
        let listening = Arc::new(AtomicUsize::new(0));
        let joiner = {
            let (state, listening) = (Arc::clone(&state), Arc::clone(&listening));
            thread::spawn(move || {
                listening.fetch_add(1, Ordering::SeqCst);
                state.pin_in_order().0
            })
        };
        let wanted = state.begin().write_short(|pair| {
            step(pair);
            listening.load(Ordering::SeqCst) > 0
        });
        let pinned = joiner.join().unwrap();
        assert!(wanted || pinned == 1, "a step that is neither logged nor pinned");
    });
}

/// A step that needs no right to write is never lost to one under way, however the two fall together.
#[test]
fn a_step_tried_beside_a_long_one_is_refused_or_kept() {
    model(|| {
        let state = Arc::new(Publish::<Pair>::new((0, 0)));
        let trier = {
            let state = Arc::clone(&state);
            thread::spawn(move || state.try_write(step).is_some())
        };
        let mut writing = state.begin();
        let before = *state.pin_in_order();
        let seen = writing.write_long(|pair| {
            let seen = *pair;
            step(pair);
            seen
        });
        assert_eq!(before, seen, "something was written under a right of another");
        drop(writing);
        let kept = usize::from(trier.join().unwrap());
        assert_eq!(*state.pin(), (1 + kept, 1 + kept));
    });
}

/// What a holder of the right to write notes beside the state is seen by whoever may write without it afterwards.
#[test]
fn a_step_tried_later_sees_what_was_noted_under_the_right_to_write() {
    model(|| {
        let state = Arc::new(Publish::<Pair>::new((0, 0)));
        let noted = Arc::new(AtomicUsize::new(0));
        let writer = {
            let (state, noted) = (Arc::clone(&state), Arc::clone(&noted));
            thread::spawn(move || {
                let mut writing = state.begin();
                writing.write_short(step);
                // As the counters are: one writer at a time, so a load and a store.
                noted.store(noted.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                drop(writing);
            })
        };
        state.try_write(|pair| {
            step(pair);
            noted.store(noted.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        });
        writer.join().unwrap();
        assert_eq!(noted.load(Ordering::Relaxed), state.pin().0);
    });
}
