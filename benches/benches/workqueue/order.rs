//! Who comes first: a cold key behind keys that run, and among hot ones.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::task::noop_waker_ref;
use informer::workqueue::WorkQueue;
use informer_benches::cpu::{median, timed};
use informer_benches::table;
use kube_runtime::scheduler::{ScheduleRequest, scheduler};
use tokio::time::Instant;

use crate::{report, wait};

/// Keys that run and are wanted again stand ahead of a cold one.
pub(crate) fn held_keys() {
    const GETS: usize = 2_000;
    for held in [0u64, 1_000, 5_000] {
        let queue = WorkQueue::new();
        queue.add_many(0..held);
        let leases: Vec<_> = std::iter::from_fn(|| queue.try_next()).collect();
        queue.add_many(0..held);
        let (sender, receiver) = futures::channel::mpsc::unbounded();
        let mut scheduler = pin!(scheduler(receiver));
        let mut cx = std::task::Context::from_waker(noop_waker_ref());
        let busy: HashSet<u64> = (0..held).collect();
        let (mut ours, mut kube) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            queue.add_many((0..GETS as u64).map(|key| 1_000_000 + key));
            let take = || (0..GETS).for_each(|_| queue.try_next().expect("a cold key").done());
            ours.push(timed(take).1);

            let run_at = Instant::now();
            for key in (0..held).chain(1_000_000..1_000_000 + GETS as u64) {
                let request = ScheduleRequest { message: key, run_at };
                sender.unbounded_send(request).expect("it is read");
            }
            // All are due, and wait because no worker is free; then workers come for the cold ones.
            for _ in 0..10 {
                let _ = scheduler.as_mut().hold().poll_next_unpin(&mut cx);
                wait(Duration::from_millis(5));
            }
            let take = || {
                for _ in 0..GETS {
                    let mut free = scheduler.as_mut().hold_unless(|key| !busy.contains(key));
                    assert!(free.poll_next_unpin(&mut cx).is_ready(), "a cold key is pending");
                }
            };
            kube.push(timed(take).1);
        }
        let times = [median(ours), median(kube)];
        let name = format!("get_past_held_keys/{held}");
        report(
            &name,
            "WorkQueue<u64>",
            "kube-runtime scheduler",
            GETS,
            (times[0], times[1]),
        );
        drop(leases);
    }
}

/// Sixty hot keys that are added again as soon as they run, four workers, a hundred cold keys: how many other keys start
/// between the add of a cold key and its own start. First come, first served bounds it by the keys ahead: sixty.
pub(crate) fn fairness() {
    /// Long enough to wait for.
    const STARVED: usize = 1_000;
    let worst = AtomicUsize::new(0);
    let queue = WorkQueue::new();
    queue.add_many(0..60u64);
    let mut running = std::collections::VecDeque::new();
    let mut turn = |queue: &WorkQueue<u64>| {
        let item = queue.try_next().expect("there is always a hot key");
        let key = *item;
        running.push_back(item);
        if key < 60 {
            queue.add(key);
        }
        if running.len() == 4 {
            running
                .pop_front()
                .into_iter()
                .for_each(informer::workqueue::InFlight::done);
        }
        key
    };
    for cold in 1_000..1_100u64 {
        queue.add(cold);
        let waited = (0..).take_while(|_| turn(&queue) != cold).count();
        worst.fetch_max(waited, Ordering::Relaxed);
    }
    let ours = worst.into_inner();

    let (sender, receiver) = futures::channel::mpsc::unbounded();
    let mut scheduler = pin!(scheduler(receiver));
    let mut cx = std::task::Context::from_waker(noop_waker_ref());
    let add = |key: u64| {
        sender
            .unbounded_send(ScheduleRequest {
                message: key,
                run_at: Instant::now(),
            })
            .expect("it is read");
    };
    (0..60).for_each(add);
    let mut busy = std::collections::VecDeque::new();
    let mut worst = 0;
    for cold in 1_000..1_100u64 {
        add(cold);
        // Everything is due, and held while all workers are busy: the state in which the order is chosen.
        let mut waited = 0;
        loop {
            // Late by less than the timer's millisecond, the keys are due and wait for a free worker.
            let _ = scheduler.as_mut().hold().poll_next_unpin(&mut cx);
            wait(Duration::from_millis(2));
            let _ = scheduler.as_mut().hold().poll_next_unpin(&mut cx);
            let mut free = scheduler.as_mut().hold_unless(|key| !busy.contains(key));
            let std::task::Poll::Ready(Some(key)) = free.poll_next_unpin(&mut cx) else {
                continue;
            };
            if key == cold {
                break;
            }
            waited += 1;
            if waited >= STARVED {
                break;
            }
            busy.push_back(key);
            add(key);
            if busy.len() == 4 {
                busy.pop_front();
            }
        }
        worst = worst.max(waited);
    }
    let (left, right) = (
        format!("{ours} keys"),
        if worst >= STARVED {
            format!("{STARVED} keys or more")
        } else {
            format!("{worst} keys")
        },
    );
    table::row(&[
        &"fairness/worst_wait_of_a_cold_key (bound 60)",
        &"WorkQueue<u64>",
        &"kube-runtime scheduler",
        &left,
        &right,
        &"",
    ]);
}
