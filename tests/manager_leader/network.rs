//! Partitions, slow networks and lost answers.

use std::{sync::atomic::Ordering, time::Duration};

use informer::manager::leader::{EndReason, Ended, LostReason};
use tokio::time::{Instant, sleep};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn partitioned_leader_stops_before_the_other_side_takes_over() {
    let ring = Ring::new();
    // Its work never stops by itself: it has to be dropped.
    let blue = ring.contend_with("blue", Duration::from_secs(3600), |builder| builder);
    blue.observer.leading().await;
    let green = ring.contend("green");
    sleep(20 * SECOND).await;
    let term = ring.watchman.working.lock().unwrap()[0].1.clone();

    blue.network.down.store(true, Ordering::SeqCst);
    let patrol = tokio::spawn(ring.watchman.clone().patrol(120 * SECOND));
    assert_eq!(term.ended().await, EndReason::Lost(LostReason::RenewDeadline));
    assert!(term.check().is_ok(), "there is time left to stop in");
    assert!(
        term.valid_for() > 3 * SECOND,
        "from the renew deadline to the lease's end less the margin"
    );
    term.expired().await;
    assert!(term.check().is_err());
    assert_eq!(ring.server.holder(), "blue", "nobody has taken over yet");
    within(10 * SECOND, "green leads", || green.observer.is_leading()).await;

    // The old leader comes back as a follower.
    blue.network.down.store(false, Ordering::SeqCst);
    sleep(30 * SECOND).await;
    assert!(green.observer.is_leading() && !blue.observer.is_leading());
    patrol.await.expect("never two");
    let tokens = ring.watchman.terms.lock().unwrap().clone();
    assert_eq!(tokens[1].is_newer_than(&tokens[0]), Some(true));
}

#[tokio::test(start_paused = true)]
async fn renewal_committed_early_and_answered_late_makes_no_second_leader() {
    // The answer comes so late that a lease counted from the answer would outlive the one on the server.
    for back in [0, 1_000, 3_000, 4_500, 4_900, 6_000, 9_000] {
        let ring = Ring::new();
        // Work that uses its lease up to the end.
        let blue = ring.contend_with("blue", Duration::from_secs(3600), |builder| builder);
        blue.observer.leading().await;
        let green = ring.contend("green");
        sleep(10 * SECOND).await;
        blue.network.back.store(back, Ordering::SeqCst);
        sleep(5 * SECOND).await;
        blue.network.down.store(true, Ordering::SeqCst);
        ring.watchman.clone().patrol(60 * SECOND).await;
        assert!(green.observer.is_leading(), "with answers after {back} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn request_that_arrives_after_its_sender_gave_up_does_no_harm() {
    let ring = Ring::new();
    let blue = ring.contend("blue");
    blue.observer.leading().await;
    let green = ring.contend("green");
    sleep(10 * SECOND).await;
    // Longer than the lease: renewals arrive when another may lead.
    blue.network.there.store(25_000, Ordering::SeqCst);
    ring.watchman.clone().patrol(120 * SECOND).await;
    assert!(green.observer.is_leading());
    assert_eq!(
        ring.server.terms(),
        [("blue".to_owned(), 0), ("green".to_owned(), 1)]
    );
}

#[tokio::test(start_paused = true)]
async fn slow_network_keeps_the_leader_as_long_as_renewals_arrive_in_time() {
    let ring = Ring::new();
    let blue = ring.contend("blue");
    blue.observer.leading().await;
    blue.network.there.store(1_500, Ordering::SeqCst);
    blue.network.back.store(1_500, Ordering::SeqCst);
    let green = ring.contend("green");
    ring.watchman.clone().patrol(120 * SECOND).await;
    assert!(blue.observer.is_leading() && !green.observer.is_leading());
    assert_eq!(ring.server.terms(), [("blue".to_owned(), 0)]);
}

#[tokio::test(start_paused = true)]
async fn answer_lost_on_taking_is_recognised_as_ones_own() {
    let ring = Ring::new();
    let blue = ring.contend_with("blue", Duration::ZERO, |builder| builder);
    blue.network.answers_lost.store(true, Ordering::SeqCst);
    // The create is carried out, then every answer is lost for a while.
    sleep(12 * SECOND).await;
    assert!(!blue.observer.is_leading());
    blue.network.answers_lost.store(false, Ordering::SeqCst);
    within(10 * SECOND, "blue leads", || blue.observer.is_leading()).await;
}

#[tokio::test(start_paused = true)]
async fn stop_ends_in_bounded_time_when_the_server_is_gone() {
    let ring = Ring::new();
    let blue = ring.contend("blue");
    blue.observer.leading().await;
    blue.network.down.store(true, Ordering::SeqCst);
    let start = Instant::now();
    assert_eq!(blue.stop().await, Ended::Shutdown);
    assert!(start.elapsed() <= 15 * SECOND, "took {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn conflict_with_an_edit_of_metadata_is_overcome_by_a_second_look() {
    let ring = Ring::new();
    let blue = ring.contend("blue");
    let first = blue.observer.leading().await;
    ring.server.edit(|lease| {
        lease.metadata.annotations = Some([("seen".to_owned(), "yes".to_owned())].into());
    });
    sleep(5 * SECOND).await;
    let status = blue.observer.status();
    assert_eq!(status.token, first, "the same term goes on");
    assert_eq!(status.slow_renewals, 1);
    assert_eq!(status.terms, 1);
}

#[tokio::test(start_paused = true)]
async fn hours_of_random_faults_never_makes_two_leaders_and_always_makes_one_again() {
    for seed in 0..6 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let ring = Ring::new();
        let stopping = Duration::from_secs(if seed % 2 == 0 { 3600 } else { 1 });
        let names = ["blue", "green", "grey"];
        let mut contenders: Vec<_> = names
            .iter()
            .map(|name| Some(ring.contend_with(name, stopping, |builder| builder)))
            .collect();
        let patrol = tokio::spawn(ring.watchman.clone().patrol(Duration::from_secs(4 * 3600)));
        for _ in 0..100 {
            let at = rng.usize(..names.len());
            match (&contenders[at], rng.u8(..9)) {
                (Some(one), 0 | 8) => one.network.down.store(true, Ordering::SeqCst),
                (Some(one), 1) => one.network.answers_lost.store(true, Ordering::SeqCst),
                (Some(one), 2) => one.network.there.store(rng.u64(..30_000), Ordering::SeqCst),
                (Some(one), 3) => one.network.back.store(rng.u64(..8_000), Ordering::SeqCst),
                (Some(_), 4) => contenders[at].take().unwrap().crash(),
                (Some(_), 5) => {
                    contenders[at].take().unwrap().stop().await;
                }
                (Some(one), _) => {
                    one.network.down.store(false, Ordering::SeqCst);
                    one.network.answers_lost.store(false, Ordering::SeqCst);
                    one.network.there.store(rng.u64(..200), Ordering::SeqCst);
                    one.network.back.store(rng.u64(..200), Ordering::SeqCst);
                }
                (None, _) => {
                    tokio::task::yield_now().await;
                    contenders[at] = Some(ring.contend_with(names[at], stopping, |builder| builder));
                }
            }
            sleep(Duration::from_millis(rng.u64(..50_000))).await;
        }
        for (at, name) in names.iter().enumerate() {
            if let Some(old) = contenders[at].take() {
                old.crash();
            }
            tokio::task::yield_now().await;
            contenders[at] = Some(ring.contend_with(name, stopping, |builder| builder));
        }
        within(60 * SECOND, "one leads in the end", || {
            contenders.iter().flatten().any(|one| one.observer.is_leading())
        })
        .await;
        patrol.abort();
        if let Err(error) = patrol.await {
            assert!(error.is_cancelled(), "seed {seed}: {error}");
        }
        assert!(
            ring.watchman.terms.lock().unwrap().len() > 5,
            "the faults changed leaders"
        );
    }
}
