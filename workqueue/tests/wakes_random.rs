//! W2, W4: random histories of waiters that come, look, are dropped, or never look again.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use informer_workqueue::{InFlight, WorkQueue};
use tokio::time::{Instant, sleep};
use tokio_test::task::{Spawn, spawn};

type Waiting<'a> = Spawn<Pin<Box<dyn Future<Output = Vec<InFlight<u32>>> + 'a>>>;

const KEYS: u32 = 60;

fn waiter<'a>(queue: &'a WorkQueue<u32>, rng: &mut fastrand::Rng) -> Waiting<'a> {
    let max = if rng.bool() { 1 } else { rng.usize(1..5) };
    spawn(Box::pin(queue.next_batch(max)))
}

/// Polls whoever was woken until nobody is.
fn look(waiters: &mut Vec<Waiting<'_>>, leases: &mut Vec<InFlight<u32>>, rng: &mut fastrand::Rng) {
    loop {
        let woken: Vec<_> = (0..waiters.len()).filter(|at| waiters[*at].is_woken()).collect();
        let Some(at) = rng.choice(woken) else {
            return;
        };
        if let Poll::Ready(items) = waiters[at].poll() {
            leases.extend(items);
            drop(waiters.swap_remove(at));
        }
    }
}

async fn history(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let stuck_ones = rng.u32(0..3) == 0;
    let queue = WorkQueue::builder().jitter(false).durations(rng.bool());
    let queue = if rng.bool() {
        queue.min_interval(Duration::from_millis(7)).build()
    } else {
        queue.build()
    };
    let (mut waiters, mut stuck, mut leases) = (Vec::new(), Vec::new(), Vec::new());
    for step in 0..400 {
        let key = rng.u32(0..KEYS);
        // Whole ticks of tokio's clock, so that what is due is what was driven.
        let delay = Duration::from_millis(rng.u64(0..20));
        match rng.u32(0..16) {
            0 | 1 => drop(queue.add(key)),
            2 => drop(queue.add_many((0..rng.u32(0..KEYS)).map(|n| (key + n) % KEYS))),
            3 | 4 => drop(queue.add_after(key, delay)),
            5 => drop(queue.cancel(&key)),
            6 => queue.park(&key, Instant::now() + delay),
            7 => drop(queue.unpark(&key)),
            8 | 9 => {
                let mut new = waiter(&queue, &mut rng);
                match new.poll() {
                    Poll::Ready(items) => leases.extend(items),
                    Poll::Pending => waiters.push(new),
                }
            }
            10 if !waiters.is_empty() => {
                let at = rng.usize(0..waiters.len());
                let gone = waiters.swap_remove(at);
                if stuck_ones && stuck.len() < 3 {
                    stuck.push(gone);
                }
            }
            11 => leases.extend(queue.try_next()),
            12 | 13 if !leases.is_empty() => {
                let lease = leases.swap_remove(rng.usize(0..leases.len()));
                match rng.u32(0..5) {
                    0 | 1 => lease.done(),
                    2 => lease.retry(),
                    3 => lease.requeue_after(delay),
                    _ => lease.forget(),
                }
            }
            14 => {
                look(&mut waiters, &mut leases, &mut rng);
                sleep(delay).await;
            }
            _ => look(&mut waiters, &mut leases, &mut rng),
        }
        if rng.u32(0..8) == 0 {
            sleep(Duration::from_millis(3)).await;
            look(&mut waiters, &mut leases, &mut rng);
            // Each that is stuck may drive the timer in vain, then be woken in vain; it is passed over when time has passed
            // and something happens.
            let at_most = if stuck.is_empty() { 0 } else { 2 * stuck.len() + 1 };
            let mut in_vain = 0;
            while !waiters.is_empty() && queue.stats().ready.iter().sum::<usize>() > 0 {
                in_vain += 1;
                assert!(
                    in_vain <= at_most,
                    "seed {seed}, step {step}: keys and waiters wait"
                );
                sleep(Duration::from_millis(3)).await;
                look(&mut waiters, &mut leases, &mut rng);
                // The clock is not read in every operation.
                (0..8).for_each(|_| assert!(!queue.is_closed()));
            }
        }
    }
    queue.close();
    look(&mut waiters, &mut leases, &mut rng);
    // Some are wanted again.
    while !leases.is_empty() {
        leases.drain(..).for_each(InFlight::done);
        look(&mut waiters, &mut leases, &mut rng);
    }
    assert!(
        waiters.is_empty(),
        "seed {seed}: a closed queue lets everybody go"
    );
}

#[tokio::test(start_paused = true)]
async fn w2_nobody_sleeps_while_keys_are_ready_in_any_history() {
    for seed in 0..300 {
        history(seed).await;
    }
}
