//! Controllers run on the leader only.

use std::{future::pending, io, sync::atomic::Ordering};

use informer::manager::{
    Component, ComponentState, Context, Group, ManagerError, Phase,
    leader::{Elector, OnLost},
};
use tokio::time::{Instant, sleep};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn controllers_run_on_the_leader_only_and_the_lease_is_released_after_them() {
    let lease = Memory::default();
    let log = Log::default();
    let manager = |who| {
        let caches = Component::new("pods", |context: Context| async move {
            context.stopping().await;
            Ok::<_, io::Error>(())
        });
        builder()
            .leader_election(lease.elector(who))
            .component(caches.group(Group::Caches))
            .component(led(&log, who))
            .build()
            .unwrap()
    };
    let (blue, blue_run) = start(manager("blue"));
    state(&blue, "controller", ComponentState::Ready).await;
    let (green, green_run) = start(manager("green"));
    state(&green, "controller", ComponentState::Standby).await;
    assert!(green.ready().await, "standing by is being ready");
    assert_eq!(
        green.status().component("pods").unwrap().state,
        ComponentState::Ready,
        "caches are warm"
    );
    sleep(60 * SECOND).await;
    assert_eq!(
        green.status().component("controller").unwrap().state,
        ComponentState::Standby
    );
    let election = green.status().election.unwrap();
    assert_eq!(
        (election.leading, election.holder.as_deref()),
        (false, Some("blue"))
    );

    blue.stop();
    let report = blue_run.await.unwrap().unwrap();
    assert_eq!(report.phase, Phase::Stopped);
    assert_eq!(log.all(), ["blue works", "blue rests"]);
    assert_eq!(lease.holder().as_deref(), Some(""));
    state(&green, "controller", ComponentState::Ready).await;
    green.stop();
    green_run.await.unwrap().unwrap();
    assert_eq!(
        log.all(),
        ["blue works", "blue rests", "green works", "green rests"]
    );
}

#[tokio::test(start_paused = true)]
async fn lost_lease_stops_the_controllers_alone_and_a_new_term_runs_them_again() {
    let lease = Memory::default();
    let log = Log::default();
    let manager = builder()
        .leader_election(lease.elector("blue"))
        .component(slow(&log, "pods", Group::Caches))
        .component(led(&log, "blue"))
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    state(&handle, "controller", ComponentState::Ready).await;
    lease.down.store(1, Ordering::SeqCst);
    state(&handle, "controller", ComponentState::Standby).await;
    assert_eq!(log.count("blue rests"), 1);
    assert_eq!(
        handle.status().component("pods").unwrap().state,
        ComponentState::Ready
    );
    assert_eq!(
        handle.status().election.unwrap().last_error.as_deref(),
        Some("refused")
    );
    lease.down.store(0, Ordering::SeqCst);
    state(&handle, "controller", ComponentState::Ready).await;
    assert_eq!(log.count("blue works"), 2);
    assert_eq!(handle.status().component("controller").unwrap().failures, 0);
    handle.stop();
    run.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn controller_that_does_not_stop_is_dropped_before_its_lease_can_be_in_other_hands() {
    let lease = Memory::default();
    let deaf = Component::new("deaf", |_| pending::<Result<(), io::Error>>()).stop_timeout(3600 * SECOND);
    let manager = builder()
        .leader_election(lease.elector("blue"))
        .component(deaf)
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    state(&handle, "deaf", ComponentState::Ready).await;
    sleep(10 * SECOND).await;
    lease.down.store(1, Ordering::SeqCst);
    let begin = Instant::now();
    state(&handle, "deaf", ComponentState::Standby).await;
    assert!(begin.elapsed() < 15 * SECOND, "after {:?}", begin.elapsed());
    assert!(handle.status().component("deaf").unwrap().dropped);
    lease.down.store(0, Ordering::SeqCst);
    state(&handle, "deaf", ComponentState::Ready).await;
    handle.force();
    let _ = run.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn work_that_cannot_be_repeated_ends_the_process_when_the_lease_is_lost() {
    let lease = Memory::default();
    let log = Log::default();
    let once = Component::once("once", |context: Context| async move {
        context.stopping().await;
        Ok::<_, io::Error>(())
    });
    let manager = builder()
        .leader_election(lease.elector("blue"))
        .component(slow(&log, "pods", Group::Caches))
        .component(once)
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    state(&handle, "once", ComponentState::Ready).await;
    lease.down.store(1, Ordering::SeqCst);
    let mut error = None;
    eventually("the manager ends", async { error = run.await.unwrap().err() }).await;
    assert!(matches!(error, Some(ManagerError::LeadershipLost { component }) if component == "once"));
    assert_eq!(log.count("pods down"), 1);
}

#[tokio::test(start_paused = true)]
async fn election_that_ends_with_its_term_ends_the_process() {
    let lease = Memory::default();
    let log = Log::default();
    let elector = Elector::builder(lease.clone())
        .identity("blue")
        .on_lost(OnLost::Stop)
        .build()
        .unwrap();
    let manager = builder()
        .leader_election(elector)
        .component(slow(&log, "pods", Group::Caches))
        .component(led(&log, "blue"))
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    state(&handle, "controller", ComponentState::Ready).await;
    lease.down.store(1, Ordering::SeqCst);
    let mut error = None;
    eventually("the manager ends", async { error = run.await.unwrap().err() }).await;
    assert!(
        matches!(error, Some(ManagerError::LeadershipLost { component }) if component == "leader-election")
    );
    assert_eq!((log.count("blue rests"), log.count("pods down")), (1, 1));
}
