//! Where many keys are in line or due at once, the core leaves some of the due ones for later. Nobody can tell: a core that
//! makes everything ready at once hands out the same keys in the same order.

use std::time::Duration;

use informer_workqueue::queue::{Config, Core, Lease, Request, Verdict};
use informer_workqueue::{Debounce, Delay, Merge, Priority};
use tokio::time::Instant;

const KEYS: u32 = 150;

fn request(rng: &mut fastrand::Rng, lanes: bool, ms: Duration) -> Request {
    let mut request = Request::default();
    match rng.u32(0..10) {
        0..3 => request.after = Some(ms),
        3 => request.limited = Some(Delay::from(ms)),
        4 => request.at_once = true,
        _ => {}
    }
    request.merge = match rng.u32(0..8) {
        0 => Merge::Latest,
        1 => Merge::Replace,
        _ => Merge::Earliest,
    };
    if lanes && rng.u32(0..6) == 0 {
        request.priority = rng.choice(Priority::ALL).expect("there are three");
    }
    request
}

fn history(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut config = Config::default();
    config.durations = rng.bool();
    if rng.u32(0..4) == 0 {
        config.min_interval = Some(Duration::from_millis(30));
    }
    if rng.u32(0..4) == 0 {
        config.debounce = Some(Debounce::new(Duration::from_millis(3), Duration::from_millis(9)));
    }
    let lanes = rng.u32(0..4) == 0;
    let parks = rng.bool();
    let mut now = Instant::now();
    let mut lazy = Core::new(config.clone(), now);
    let mut eager = Core::new(config, now);
    let mut leases: Vec<(Lease, Lease)> = Vec::new();
    for step in 0..1_000 {
        while eager.advance(now) {}
        let key = rng.u32(0..KEYS);
        let time = Duration::from_millis(rng.u64(0..40));
        match rng.u32(0..20) {
            0..8 => {
                let request = request(&mut rng, lanes, time);
                assert_eq!(
                    lazy.add(key, request.clone(), now),
                    eager.add(key, request, now),
                    "seed {seed}, step {step}"
                );
            }
            8..13 => match (lazy.take(now), eager.take(now)) {
                (None, None) => {}
                (Some(one), Some(other)) => {
                    assert_eq!(
                        (one.key, one.failures, one.priority),
                        (other.key, other.failures, other.priority),
                        "seed {seed}, step {step}"
                    );
                    leases.push((one.lease, other.lease));
                }
                (one, other) => panic!("seed {seed}, step {step}: {one:?} is not {other:?}"),
            },
            13..16 if !leases.is_empty() => {
                let (one, other) = leases.swap_remove(rng.usize(0..leases.len()));
                let verdict = match rng.u32(0..8) {
                    0 => Verdict::Again(time),
                    1 => Verdict::Retry(time.into()),
                    2 => Verdict::Forget,
                    _ => Verdict::Done,
                };
                assert_eq!(
                    lazy.finish(one, verdict.clone(), now),
                    eager.finish(other, verdict, now)
                );
            }
            16 if parks => {
                lazy.park(key, now + time, "test", (None, None), now);
                eager.park(key, now + time, "test", (None, None), now);
            }
            17 if parks => assert_eq!(lazy.unpark(&key, now), eager.unpark(&key, now)),
            18 => assert_eq!(lazy.cancel(&key, now), eager.cancel(&key, now)),
            19 => now += Duration::from_millis(rng.u64(0..10)),
            _ => {}
        }
        if rng.u32(0..200) == 0 {
            assert_eq!(lazy.stats(now), eager.stats(now), "seed {seed}, step {step}");
        }
    }
}

#[test]
fn due_keys_that_are_left_for_later_run_as_if_they_had_not_been() {
    for seed in 0..300 {
        history(seed);
    }
}
