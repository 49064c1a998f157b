//! One leader at a time, whatever sleeps or dies.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use informer::manager::leader::{EndReason, LostReason};
use tokio::time::{Instant, sleep};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn crashed_leader_is_followed_after_its_lease_and_not_before() {
    let ring = Ring::new();
    let blue = ring.contend("blue");
    blue.observer.leading().await;
    let green = ring.contend("green");
    sleep(20 * SECOND).await;
    blue.crash();
    let took = within(20 * SECOND, "green leads", || green.observer.is_leading()).await;
    assert!(
        took >= 10 * SECOND,
        "green waited {took:?} of the lease's 15 s after a renewal at most 5 s old"
    );
}

#[tokio::test(start_paused = true)]
async fn machine_that_wakes_from_a_long_sleep_does_not_believe_in_its_lease() {
    let ring = Ring::new();
    let slept = Arc::new(AtomicU64::new(5_000));
    let read = Arc::clone(&slept);
    // Its work would go on for ever.
    let blue = ring.contend_with("blue", Duration::from_secs(3600), move |builder| {
        builder.suspended(move || Duration::from_millis(read.load(Ordering::SeqCst)))
    });
    blue.observer.leading().await;
    sleep(10 * SECOND).await;
    let term = ring.watchman.working.lock().unwrap()[0].1.clone();
    assert!(term.check().is_ok() && term.valid_for() <= 15 * SECOND);

    // An hour passes for everybody else; meanwhile another leads.
    slept.fetch_add(3_600_000, Ordering::SeqCst);
    ring.server.edit(|lease| {
        let spec = lease.spec.as_mut().unwrap();
        spec.holder_identity = Some("red".to_owned());
        spec.lease_transitions = Some(1);
    });
    assert!(term.check().is_err(), "before anything has had the time to run");
    assert!(!blue.observer.is_leading());
    within(3 * SECOND, "work is dropped", || {
        ring.watchman.working.lock().unwrap().is_empty()
    })
    .await;
    sleep(10 * SECOND).await;
    assert_eq!(ring.server.holder(), "red", "and the lease is not taken back");
}

#[tokio::test(start_paused = true)]
async fn short_sleep_of_the_machine_is_survived() {
    let ring = Ring::new();
    let slept = Arc::new(AtomicU64::new(0));
    let read = Arc::clone(&slept);
    let blue = ring.contend_with("blue", Duration::ZERO, move |builder| {
        builder.suspended(move || Duration::from_millis(read.load(Ordering::SeqCst)))
    });
    let first = blue.observer.leading().await;
    for _ in 0..20 {
        sleep(5 * SECOND).await;
        slept.fetch_add(6_000, Ordering::SeqCst);
        assert!(blue.observer.is_leading());
    }
    sleep(5 * SECOND).await;
    assert_eq!(
        blue.observer.status().token,
        first,
        "each time it was renewed in time"
    );
    let until = blue.observer.status().valid_until.unwrap();
    assert!(until > Instant::now() && until <= Instant::now() + 15 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn leader_whose_lease_names_another_holder_stops_at_once() {
    let ring = Ring::new();
    let blue = ring.contend_with("blue", Duration::from_secs(3600), |builder| builder);
    blue.observer.leading().await;
    let term = ring.watchman.working.lock().unwrap()[0].1.clone();
    ring.server
        .edit(|lease| lease.spec.as_mut().unwrap().holder_identity = Some("red".to_owned()));
    let reason = term.ended().await;
    assert_eq!(
        reason,
        EndReason::Lost(LostReason::TakenOver {
            holder: "red".to_owned()
        })
    );
    assert!(term.check().is_err());
    within(SECOND, "work is dropped", || {
        ring.watchman.working.lock().unwrap().is_empty()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn process_restarted_under_its_old_name_waits_for_its_former_lease() {
    let ring = Ring::new();
    let blue = ring.contend("blue");
    blue.observer.leading().await;
    blue.crash();
    let start = Instant::now();
    let again = ring.contend("blue");
    again.observer.leading().await;
    assert!(
        start.elapsed() >= 15 * SECOND,
        "its former self might still run: waited {:?}",
        start.elapsed()
    );
    let tokens = ring.watchman.terms.lock().unwrap().clone();
    assert_eq!(
        tokens[1].is_newer_than(&tokens[0]),
        Some(true),
        "the same name, but a newer term"
    );
}
