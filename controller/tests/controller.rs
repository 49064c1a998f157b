//! A controller at work: results, retries, stop. Through the public API, under paused time.

mod common;

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use common::{Probe, key, run_until, script};
use informer_controller::{Action, Context, Controller, Failure, RunPhase, reconcile_fn};
use informer_store::ObjectKey;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_key_that_succeeds_runs_once_and_is_forgotten() {
    let probe = Probe::default();
    let controller = script(&probe, |_| Ok(Action::done())).build();
    let handle = controller.handle();
    handle.queue().add(key("a"));
    run_until(controller, Duration::from_secs(5)).await;
    assert_eq!(probe.names(), ["a"]);
    let stats = handle.stats();
    assert_eq!((stats.succeeded, stats.errors, stats.reconciles()), (1, 0, 1));
    assert_eq!(stats.reconcile_time.count(), 1);
    assert_eq!(handle.status().phase, RunPhase::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_tried_again_with_a_growing_delay_until_it_succeeds() {
    let probe = Probe::default();
    let controller = script(&probe, |attempt| match attempt {
        5 => Ok(Action::done()),
        _ => Err(Failure::retry("not yet")),
    });
    let controller = controller.queue(|queue| queue.jitter(false)).build();
    let handle = controller.handle();
    handle.queue().add(key("a"));
    run_until(controller, Duration::from_secs(5)).await;
    let times = probe.times();
    let gaps: Vec<_> = times
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_millis())
        .collect();
    assert_eq!(gaps, [5, 10, 20, 40], "W5: twice as long after each failure");
    assert_eq!(probe.attempts(), [1, 2, 3, 4, 5]);
    let stats = handle.stats();
    assert_eq!((stats.succeeded, stats.errors, stats.terminal_errors), (1, 4, 0));
    assert_eq!(handle.queue().retries(&key("a")), 0, "forgotten on success");
}

#[tokio::test(start_paused = true)]
async fn a_terminal_failure_is_neither_tried_again_nor_remembered() {
    let probe = Probe::default();
    let controller = script(&probe, |_| Err(Failure::terminal("never"))).build();
    let handle = controller.handle();
    handle.queue().add(key("a"));
    run_until(controller, Duration::from_secs(3600)).await;
    assert_eq!(probe.names(), ["a"]);
    let stats = handle.stats();
    assert_eq!((stats.errors, stats.terminal_errors), (1, 1));
    assert_eq!(handle.queue().retries(&key("a")), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failure_may_say_how_long_to_wait() {
    let probe = Probe::default();
    let controller = script(&probe, |attempt| match attempt {
        1 => Err(Failure::RetryAfter(
            Failure::retry("busy").into_error(),
            Duration::from_secs(60),
        )),
        _ => Ok(Action::done()),
    })
    .build();
    controller.handle().queue().add(key("a"));
    run_until(controller, Duration::from_secs(100)).await;
    let times = probe.times();
    assert_eq!((times[1] - times[0]).as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn an_action_asks_for_another_run_later() {
    let probe = Probe::default();
    let controller = script(&probe, |_| Ok(Action::requeue_after(Duration::from_secs(10)))).build();
    let handle = controller.handle();
    handle.queue().add(key("a"));
    run_until(controller, Duration::from_secs(35)).await;
    assert_eq!(probe.times().len(), 4, "at 0, 10, 20 and 30 s");
    assert_eq!(handle.stats().requeued_after, 4);
    assert_eq!(probe.attempts(), [1, 1, 1, 1], "asking for more is no failure");
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_contained_counted_and_tried_again() {
    let probe = Probe::default();
    let controller = script(&probe, |attempt| {
        assert!(attempt > 2, "boom");
        Ok(Action::done())
    })
    .build();
    let handle = controller.handle();
    handle.queue().add(key("a"));
    handle.queue().add(key("b"));
    run_until(controller, Duration::from_secs(5)).await;
    let stats = handle.stats();
    assert_eq!((stats.panics, stats.errors, stats.succeeded), (4, 4, 2), "R2");
}

#[tokio::test(start_paused = true)]
async fn a_reconcile_that_takes_too_long_is_dropped_and_tried_again() {
    let dropped = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&dropped);
    let reconciler = reconcile_fn(move |cx: Context| {
        let guard = common::OnDrop(Arc::clone(&counter));
        async move {
            let _guard = guard;
            if cx.attempt() == 1 {
                std::future::pending::<()>().await;
            }
            Ok(Action::done())
        }
    });
    let controller = Controller::builder("slow", reconciler)
        .timeout(Duration::from_secs(3))
        .build();
    let handle = controller.handle();
    handle.queue().add(key("a"));
    let start = Instant::now();
    run_until(controller, Duration::from_secs(60)).await;
    let stats = handle.stats();
    assert_eq!((stats.timeouts, stats.errors, stats.succeeded), (1, 1, 1));
    assert_eq!(dropped.load(SeqCst), 2, "R1: both futures are gone");
    assert!(stats.reconcile_time.sum() >= Duration::from_secs(3));
    assert!(start.elapsed() >= Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn no_more_keys_run_at_once_than_there_are_workers_and_never_one_key_twice() {
    let probe = Probe::default();
    let inner = probe.clone();
    let reconciler = reconcile_fn(move |cx: Context| {
        let probe = inner.clone();
        async move {
            let _running = probe.enter(&cx);
            tokio::time::sleep(Duration::from_secs(1)).await;
            // Asks for its own key while it runs: one more run afterwards (W3).
            if cx.run() <= 20 {
                cx.queue().add(cx.key().clone());
            }
            Ok(Action::done())
        }
    });
    let controller = Controller::builder("wide", reconciler).workers(3).build();
    let handle = controller.handle();
    for index in 0..20 {
        handle.queue().add(key(&format!("o{index}")));
    }
    run_until(controller, Duration::from_secs(100)).await;
    assert_eq!(probe.most_at_once(), 3);
    assert!(!probe.overlapped(), "W1");
    assert_eq!(probe.names().len(), 40);
}

#[tokio::test(start_paused = true)]
async fn stop_lets_running_reconciles_finish_and_starts_no_more() {
    let probe = Probe::default();
    let inner = probe.clone();
    let reconciler = reconcile_fn(move |cx: Context| {
        let probe = inner.clone();
        async move {
            let _running = probe.enter(&cx);
            tokio::time::sleep(Duration::from_secs(10)).await;
            Ok(Action::done())
        }
    });
    let controller = Controller::builder("graceful", reconciler).workers(2).build();
    let handle = controller.handle();
    for name in ["a", "b", "c"] {
        handle.queue().add(key(name));
    }
    handle.queue().add_after(key("d"), Duration::from_secs(1000));
    let start = Instant::now();
    let report = controller
        .run(tokio::time::sleep(Duration::from_secs(1)))
        .await
        .unwrap();
    assert_eq!(start.elapsed().as_secs(), 10);
    assert_eq!((report.finished, report.is_complete()), (2, true));
    let mut pending: Vec<_> = report.pending.iter().map(ObjectKey::name).collect();
    pending.sort_unstable();
    assert_eq!(pending, ["c", "d"]);
    assert_eq!(handle.stats().succeeded, 2);
}

#[tokio::test(start_paused = true)]
async fn stop_drops_at_the_deadline_what_does_not_finish() {
    let dropped = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&dropped);
    let reconciler = reconcile_fn(move |cx: Context| {
        let guard = common::OnDrop(Arc::clone(&counter));
        async move {
            let _guard = guard;
            assert!(!cx.is_stopping());
            cx.stopping().await;
            std::future::pending().await
        }
    });
    let controller = Controller::builder("forced", reconciler)
        .grace(Duration::from_secs(7))
        .build();
    let handle = controller.handle();
    handle.queue().add(key("a"));
    let start = Instant::now();
    let report = controller
        .run(tokio::time::sleep(Duration::from_secs(1)))
        .await
        .unwrap();
    assert_eq!(start.elapsed().as_secs(), 8);
    assert_eq!(report.abandoned, [key("a")]);
    assert_eq!(dropped.load(SeqCst), 1);
    assert_eq!(handle.stats().abandoned, 1);
    assert!(handle.status().running.is_empty());
}
