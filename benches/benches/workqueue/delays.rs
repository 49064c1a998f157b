//! A million delays, next to `DelayQueue` and the scheduler.

use std::collections::HashMap;
use std::hint::black_box;
use std::pin::pin;
use std::time::Duration;

use futures::task::noop_waker_ref;
use futures::{Stream, StreamExt};
use informer::workqueue::delay::Wheel;
use informer::workqueue::queue::{Config, Core, Request, Verdict};
use informer_benches::cpu::{median, timed};
use kube_runtime::scheduler::{ScheduleRequest, scheduler};
use tokio::time::Instant;
use tokio_util::time::DelayQueue;

use crate::{DELAYS, report, wait};

/// A million delays within a second: adding them, and firing them once they are all due.
pub(crate) fn delays() {
    // Of one thread, so that the rivals' timers are driven where they are polled.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let runtime = runtime.expect("a runtime starts");
    let _entered = runtime.enter();
    let mut rng = fastrand::Rng::with_seed(1);
    let deadlines: Vec<u64> = (0..DELAYS).map(|_| rng.u64(0..1_000_000_000)).collect();
    let mut cx = std::task::Context::from_waker(noop_waker_ref());
    let (mut wheel_times, mut queue_times) = ((vec![], vec![]), (vec![], vec![]));
    let (mut delay_queue_times, mut scheduler_times) = ((vec![], vec![]), (vec![], vec![]));
    let mut keyed_times = (vec![], vec![]);
    for _ in 0..3 {
        let (mut wheel, add) = timed(|| {
            let mut wheel = Wheel::new();
            for (slot, deadline) in deadlines.iter().enumerate() {
                wheel.arm(*deadline, slot as u32, 0);
            }
            wheel
        });
        let (fired, fire) = timed(|| {
            std::iter::from_fn(|| wheel.pop_due(1_000_000_000))
                .map(black_box)
                .count()
        });
        assert_eq!(fired, DELAYS);
        wheel_times.0.push(add);
        wheel_times.1.push(fire);

        let start = Instant::now();
        let (mut queue, add) = timed(|| {
            let mut queue = DelayQueue::new();
            for (slot, deadline) in deadlines.iter().enumerate() {
                queue.insert_at(slot as u32, start + Duration::from_nanos(*deadline));
            }
            queue
        });
        wait(Duration::from_millis(1100).saturating_sub(start.elapsed()));
        let (fired, fire) = timed(|| {
            runtime.block_on(async {
                let mut fired = 0;
                while let Some(expired) = std::future::poll_fn(|cx| queue.poll_expired(cx)).await {
                    black_box(expired);
                    fired += 1;
                }
                fired
            })
        });
        assert_eq!(fired, DELAYS);
        delay_queue_times.0.push(add);
        delay_queue_times.1.push(fire);
        drop(queue);

        // What a user of it writes who wants every key once, and its delay to be moved or withdrawn.
        let start = Instant::now();
        let ((mut queue, mut keys), add) = timed(|| {
            let (mut queue, mut keys) = (DelayQueue::new(), HashMap::new());
            for (key, deadline) in deadlines.iter().enumerate() {
                let at = start + Duration::from_nanos(*deadline);
                keys.entry(key as u32)
                    .or_insert_with_key(|key| queue.insert_at(*key, at));
            }
            (queue, keys)
        });
        wait(Duration::from_millis(1100).saturating_sub(start.elapsed()));
        let (fired, fire) = timed(|| {
            runtime.block_on(async {
                let mut fired = 0;
                while let Some(expired) = std::future::poll_fn(|cx| queue.poll_expired(cx)).await {
                    black_box(keys.remove(expired.get_ref()));
                    fired += 1;
                }
                fired
            })
        });
        assert_eq!(fired, DELAYS);
        keyed_times.0.push(add);
        keyed_times.1.push(fire);
        drop((queue, keys));

        let now = Instant::now();
        let (mut core, add) = timed(|| {
            let mut core = Core::new(Config::default(), now);
            for (key, deadline) in deadlines.iter().enumerate() {
                let mut request = Request::default();
                request.after = Some(Duration::from_nanos(*deadline));
                core.add(key as u32, request, now);
            }
            core
        });
        let due = now + Duration::from_secs(1);
        let (fired, fire) = timed(|| {
            let mut fired = 0;
            while let Some(taken) = core.take(due) {
                core.finish(taken.lease, Verdict::Done, due);
                fired += 1;
            }
            fired
        });
        assert_eq!(fired, DELAYS);
        queue_times.0.push(add);
        queue_times.1.push(fire);

        let start = Instant::now();
        let requests = deadlines
            .iter()
            .enumerate()
            .map(|(key, deadline)| ScheduleRequest {
                message: key as u32,
                run_at: start + Duration::from_secs(1) + Duration::from_nanos(*deadline),
            });
        let requests = futures::stream::iter(requests.collect::<Vec<_>>()).chain(futures::stream::pending());
        let mut scheduler = pin!(scheduler(requests));
        let (pending, add) = timed(|| scheduler.as_mut().poll_next(&mut cx).is_pending());
        assert!(pending, "the first deadline lies a second ahead");
        wait(Duration::from_millis(2100).saturating_sub(start.elapsed()));
        let (fired, fire) = timed(|| {
            runtime.block_on(async {
                let mut fired = 0;
                while fired < DELAYS {
                    black_box(scheduler.next().await);
                    fired += 1;
                }
                fired
            })
        });
        assert_eq!(fired, DELAYS);
        scheduler_times.0.push(add);
        scheduler_times.1.push(fire);
    }
    let (wheel, queue) = (medians(wheel_times), medians(queue_times));
    let (delay_queue, scheduler) = (medians(delay_queue_times), medians(scheduler_times));
    let keyed = medians(keyed_times);
    let rivals = [
        ("Wheel", wheel, "DelayQueue", delay_queue),
        (
            "Core<u32>, with deduplication and hand-out",
            queue,
            "DelayQueue",
            delay_queue,
        ),
        (
            "Core<u32>, with deduplication and hand-out",
            queue,
            "DelayQueue and a HashMap, with deduplication",
            keyed,
        ),
        (
            "Core<u32>, with deduplication and hand-out",
            queue,
            "kube-runtime scheduler",
            scheduler,
        ),
    ];
    for (name, ours, rival_name, rival) in rivals {
        report("delay/add/1000000", name, rival_name, DELAYS, (ours.0, rival.0));
        report("delay/fire/1000000", name, rival_name, DELAYS, (ours.1, rival.1));
    }
}

fn medians(times: (Vec<Duration>, Vec<Duration>)) -> (Duration, Duration) {
    (median(times.0), median(times.1))
}
