//! Failures stay where they are.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use informer::manager::{Backoff, Component, ComponentState, Context, Group, ManagerError, OnFailure};
use tokio::time::sleep;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn failing_component_is_run_again_with_growing_delays_and_harms_nobody() {
    let log = Log::default();
    let runs = Arc::new(AtomicU32::new(0));
    let manager = builder()
        .component(failing("bad", &runs).on_failure(OnFailure::Restart(Backoff::new(SECOND, 60 * SECOND))))
        .component(slow(&log, "good", Group::Controllers))
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    sleep(10 * SECOND).await;
    let early = runs.load(Ordering::SeqCst);
    assert!(
        (3..=6).contains(&early),
        "delays of about 1, 2, 4 s, not {early} runs in 10 s"
    );
    sleep(600 * SECOND).await;
    let late = runs.load(Ordering::SeqCst) - early;
    assert!(
        (9..=23).contains(&late),
        "at most a minute, at least half of one, not {late} runs in 10 min"
    );
    let status = handle.status();
    let bad = status.component("bad").unwrap();
    assert_eq!(bad.last_error.as_deref(), Some("no luck"));
    assert_eq!(bad.failures, runs.load(Ordering::SeqCst));
    assert_eq!(status.component("good").unwrap().state, ComponentState::Ready);
    handle.stop();
    run.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn panic_is_contained_counted_and_followed_by_a_new_run() {
    let manager = builder()
        .component(Component::new("jumpy", |context: Context| async move {
            if context.run() == 1 {
                panic!("boo");
            }
            context.stopping().await;
            Ok::<_, io::Error>(())
        }))
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    sleep(10 * SECOND).await;
    let status = handle.status();
    let jumpy = status.component("jumpy").unwrap();
    assert_eq!(
        (jumpy.state, jumpy.runs, jumpy.panics, jumpy.failures),
        (ComponentState::Ready, 2, 1, 1)
    );
    assert_eq!(jumpy.last_error.as_deref(), Some("panicked: boo"));
    handle.stop();
    run.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn failure_can_be_left_alone_or_stop_everything() {
    let log = Log::default();
    let runs = Arc::new(AtomicU32::new(0));
    let manager = builder()
        .component(failing("bad", &runs).on_failure(OnFailure::Degrade))
        .component(slow(&log, "good", Group::Controllers))
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    sleep(600 * SECOND).await;
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert_eq!(
        handle.status().component("bad").unwrap().state,
        ComponentState::Failed
    );
    assert_eq!(
        handle.status().component("good").unwrap().state,
        ComponentState::Ready
    );
    handle.stop();
    run.await.unwrap().unwrap();

    let manager = builder()
        .component(failing("bad", &runs).on_failure(OnFailure::StopAll))
        .component(slow(&log, "good", Group::Caches))
        .build()
        .unwrap();
    let error = manager.run().await.unwrap_err();
    assert!(
        matches!(&error, ManagerError::Failed { component, .. } if component == "bad"),
        "{error}"
    );
    assert_eq!(error.to_string(), "component \"bad\" failed: no luck");
    assert_eq!(log.count("good down"), 2, "the others were stopped properly");
}

#[tokio::test(start_paused = true)]
async fn control_characters_of_an_error_do_not_reach_the_status() {
    let manager = builder()
        .component(Component::once("bad", |_| async {
            Err::<(), _>(io::Error::other(format!(
                "line\nforged \x1b[31m {}",
                "x".repeat(10_000)
            )))
        }))
        .component(Component::once("waits", |context: Context| async move {
            context.stopping().await;
            Ok::<_, io::Error>(())
        }))
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    state(&handle, "bad", ComponentState::Failed).await;
    let error = handle
        .status()
        .component("bad")
        .unwrap()
        .last_error
        .clone()
        .unwrap();
    assert!(error.starts_with("line forged  [31m xxx"), "{error}");
    assert!(error.len() < 1100 && !error.contains(char::is_control));
    handle.stop();
    run.await.unwrap().unwrap();
}
