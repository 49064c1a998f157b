//! Stops, deadlines, and what is dropped.

use std::{future::pending, io, time::Duration};

use informer::manager::{Component, ComponentState, Group, ManagerError, Phase};
use tokio::time::{Instant, sleep};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn component_that_does_not_stop_is_dropped_at_its_deadline_and_named() {
    let log = Log::default();
    let stubborn =
        Component::new("stubborn", |_| pending::<Result<(), io::Error>>()).stop_timeout(5 * SECOND);
    let manager = builder()
        .component(stubborn)
        .component(slow(&log, "pods", Group::Caches))
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    state(&handle, "stubborn", ComponentState::Ready).await;
    let begin = Instant::now();
    handle.stop();
    let error = run.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, ManagerError::NotStopped { components } if *components == ["stubborn"]),
        "{error}"
    );
    assert_eq!(
        begin.elapsed(),
        6 * SECOND,
        "its own five, then one for the cache"
    );
    assert_eq!(log.count("pods down"), 1, "the others were stopped properly");
}

#[tokio::test(start_paused = true)]
async fn whole_stop_has_a_deadline_too() {
    let stubborn = |name: &str, group| {
        Component::new(name, |_| pending::<Result<(), io::Error>>())
            .group(group)
            .stop_timeout(20 * SECOND)
    };
    let manager = builder()
        .component(stubborn("a", Group::Caches))
        .component(stubborn("b", Group::Services))
        .component(stubborn("c", Group::Controllers))
        .stop_timeout(28 * SECOND)
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    state(&handle, "c", ComponentState::Ready).await;
    let begin = Instant::now();
    handle.stop();
    assert!(
        matches!(run.await.unwrap(), Err(ManagerError::NotStopped { components }) if components.len() == 3)
    );
    assert_eq!(begin.elapsed(), 28 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn force_drops_everything_at_once() {
    let log = Log::default();
    let manager = builder()
        .component(slow(&log, "pods", Group::Caches))
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    state(&handle, "pods", ComponentState::Ready).await;
    let begin = Instant::now();
    handle.stop();
    handle.stop();
    tokio::task::yield_now().await;
    handle.force();
    assert!(matches!(run.await.unwrap(), Err(ManagerError::NotStopped { .. })));
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn manager_ends_when_all_work_is_done() {
    let done = || Component::once("job", |_| async { Ok::<_, io::Error>(()) });
    let report = builder().component(done()).build().unwrap().run().await.unwrap();
    assert_eq!(report.component("job").unwrap().state, ComponentState::Finished);

    let bad = Component::once("bad", |_| async { Err::<(), _>(io::Error::other("no luck")) });
    let error = builder()
        .component(done())
        .component(bad)
        .build()
        .unwrap()
        .run()
        .await
        .unwrap_err();
    assert!(matches!(error, ManagerError::Failed { component, .. } if component == "bad"));

    builder()
        .build()
        .unwrap()
        .run()
        .await
        .expect("nothing to do is done at once");
}

#[tokio::test(start_paused = true)]
async fn stop_before_the_turn_of_a_component_never_starts_it() {
    let log = Log::default();
    let manager = builder()
        .component(slow(&log, "pods", Group::Caches))
        .component(slow(&log, "controller", Group::Controllers))
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    state(&handle, "pods", ComponentState::Starting).await;
    handle.stop();
    run.await.unwrap().unwrap();
    assert_eq!(log.count("controller up"), 0);
}

#[tokio::test(start_paused = true)]
async fn stop_before_the_run_starts_nothing() {
    let log = Log::default();
    let manager = builder()
        .component(slow(&log, "pods", Group::Caches))
        .build()
        .unwrap();
    manager.handle().stop();
    assert_eq!(manager.run().await.unwrap().phase, Phase::Stopped);
    assert!(log.all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_run_drops_every_component() {
    let tasks = tokio::runtime::Handle::current().metrics();
    let before = tasks.num_alive_tasks();
    let log = Log::default();
    let manager = builder()
        .leader_election(Memory::default().elector("blue"))
        .component(slow(&log, "pods", Group::Caches))
        .component(Component::new("deaf", |_| pending::<Result<(), io::Error>>()))
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    state(&handle, "deaf", ComponentState::Ready).await;
    run.abort();
    sleep(SECOND).await;
    assert_eq!(tasks.num_alive_tasks(), before);
    assert!(!handle.election().unwrap().is_leading());
}
