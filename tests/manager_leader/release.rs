//! The end of a term: release, stop, and what work does with it.

use std::{
    future::pending,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use informer::manager::leader::{EndReason, Ended, LostReason, OnLost, Release};
use tokio::time::sleep;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn two_contenders_never_work_at_once_and_the_second_follows_a_release_soon() {
    let ring = Ring::new();
    let blue = ring.contend("blue");
    blue.observer.leading().await;
    let green = ring.contend("green");
    ring.watchman.clone().patrol(60 * SECOND).await;
    assert!(blue.observer.is_leading() && !green.observer.is_leading());
    assert_eq!(green.observer.status().holder.as_deref(), Some("blue"));

    assert_eq!(blue.stop().await, Ended::Shutdown);
    let lease = ring.server.lease().spec.unwrap();
    assert_eq!(lease.holder_identity.as_deref(), Some(""), "released");
    assert_eq!(lease.lease_duration_seconds, Some(1));
    assert_eq!(lease.lease_transitions, Some(0), "a release is no transition");
    // A look comes every 2 to 4.4 s.
    within(Duration::from_millis(4_500), "green leads", || {
        green.observer.is_leading()
    })
    .await;
    assert_eq!(
        ring.server.terms(),
        [("blue".to_owned(), 0), ("green".to_owned(), 1)]
    );
}

#[tokio::test(start_paused = true)]
async fn release_never_erases_the_lease_of_the_next_leader() {
    let ring = Ring::new();
    let blue = ring.contend("blue");
    blue.observer.leading().await;
    sleep(5 * SECOND).await;
    // Somebody takes the lease while the release is on its way.
    let network = Arc::clone(&blue.network);
    let server = Arc::clone(&ring.server);
    network.there.store(2_000, Ordering::SeqCst);
    let stop = tokio::spawn(blue.stop());
    sleep(SECOND).await;
    server.edit(|lease| {
        let spec = lease.spec.as_mut().unwrap();
        spec.holder_identity = Some("red".to_owned());
        spec.lease_transitions = Some(7);
    });
    assert_eq!(stop.await.unwrap(), Ended::Shutdown);
    assert_eq!(ring.server.holder(), "red");
}

#[tokio::test(start_paused = true)]
async fn release_is_repeated_on_conflict_with_an_edit_that_keeps_the_term() {
    let ring = Ring::new();
    let blue = ring.contend("blue");
    blue.observer.leading().await;
    sleep(SECOND).await;
    ring.server.edit(|lease| {
        lease.metadata.labels = Some([("team".to_owned(), "a".to_owned())].into());
    });
    assert_eq!(blue.stop().await, Ended::Shutdown);
    assert_eq!(ring.server.holder(), "");
    assert!(
        ring.server.lease().metadata.labels.is_some(),
        "labels of others stay"
    );
}

#[tokio::test(start_paused = true)]
async fn release_can_be_switched_off() {
    let ring = Ring::new();
    let blue = ring.contend_with("blue", Duration::ZERO, |builder| builder.release(Release::Never));
    blue.observer.leading().await;
    assert_eq!(blue.stop().await, Ended::Shutdown);
    assert_eq!(ring.server.holder(), "blue");
}

#[tokio::test(start_paused = true)]
async fn stop_in_the_middle_of_a_taking_waits_for_its_answer_and_gives_the_lease_back() {
    let ring = Ring::new();
    let blue = ring.contend("blue");
    blue.network.back.store(1_000, Ordering::SeqCst);
    within(5 * SECOND, "the server has stored the taking", || {
        ring.server.lease.lock().unwrap().is_some()
    })
    .await;
    assert!(!blue.observer.is_leading());
    assert_eq!(blue.stop().await, Ended::Shutdown);
    assert_eq!(ring.server.holder(), "");
    assert!(
        ring.watchman.terms.lock().unwrap().is_empty(),
        "no work was begun"
    );
}

#[tokio::test(start_paused = true)]
async fn deleted_lease_ends_the_term_and_a_new_one_has_another_token() {
    let ring = Ring::new();
    let blue = ring.contend("blue");
    let first = blue.observer.leading().await.unwrap();
    let term = ring.watchman.working.lock().unwrap()[0].1.clone();
    *ring.server.lease.lock().unwrap() = None;
    assert_eq!(term.ended().await, EndReason::Lost(LostReason::Deleted));
    within(10 * SECOND, "blue leads again", || {
        ring.watchman.terms.lock().unwrap().len() == 2
    })
    .await;
    let second = ring.watchman.terms.lock().unwrap()[1].clone();
    assert_ne!(first.lease_uid(), second.lease_uid());
    assert_eq!(
        second.is_newer_than(&first),
        None,
        "tokens of different leases have no order"
    );
}

#[tokio::test(start_paused = true)]
async fn lost_term_can_end_the_election() {
    let ring = Ring::new();
    let blue = ring.contend_with("blue", Duration::ZERO, |builder| builder.on_lost(OnLost::Stop));
    blue.observer.leading().await;
    blue.network.down.store(true, Ordering::SeqCst);
    let ended = tokio::time::timeout(60 * SECOND, blue.run)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ended, Ended::Lost(LostReason::RenewDeadline));
}

#[tokio::test(start_paused = true)]
async fn work_that_finishes_gives_the_lease_back_and_ends_the_election() {
    let ring = Ring::new();
    let elector = ring.builder("blue", &Arc::default()).build().unwrap();
    let ended = elector
        .run(pending(), |term| async move { assert!(term.check().is_ok()) })
        .await;
    assert_eq!(ended, Ended::WorkFinished);
    assert_eq!(ring.server.holder(), "");
}

#[tokio::test(start_paused = true)]
async fn work_that_panics_gives_the_lease_back_before_the_panic_goes_on() {
    let ring = Ring::new();
    let elector = ring.builder("blue", &Arc::default()).build().unwrap();
    let run = tokio::spawn(elector.run(pending(), |_| async { panic!("no luck") }));
    assert!(run.await.unwrap_err().is_panic());
    assert_eq!(ring.server.holder(), "");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_run_ends_the_term_at_once() {
    let ring = Ring::new();
    let blue = ring.contend("blue");
    blue.observer.leading().await;
    let term = ring.watchman.working.lock().unwrap()[0].1.clone();
    let observer = blue.observer.clone();
    blue.crash();
    tokio::task::yield_now().await;
    assert!(term.check().is_err() && term.is_ended());
    assert!(!observer.is_leading() && observer.status().stopped);
}
