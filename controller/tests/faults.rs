//! Dropped futures, spawners, stuck runs: nothing is lost and nobody is left behind (R1, R2, R7).

mod common;

use std::{
    future::Future as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use common::{OnDrop, Probe, added, key, run_until, script};
use futures::{StreamExt as _, future::BoxFuture, stream};
use informer_controller::{Action, Context, Controller, RunPhase, reconcile_fn, trigger};
use tokio_test::task;

#[tokio::test(start_paused = true)]
async fn r1_dropping_the_run_after_any_number_of_polls_loses_no_key() {
    let mut completed = 0;
    for polls in 0..40 {
        let done = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&done);
        let reconciler = reconcile_fn(move |cx: Context| {
            let notes = Arc::clone(&notes);
            async move {
                common::yield_once().await;
                common::yield_once().await;
                notes.lock().unwrap().push(cx.key().clone());
                Ok(Action::done())
            }
        });
        let changes = stream::iter(["a", "b", "c", "d", "e"].map(added)).chain(stream::pending());
        let controller = Controller::builder("dropped", reconciler)
            .workers(2)
            .source(changes, trigger::itself())
            .build();
        let handle = controller.handle();
        let mut run = task::spawn(controller.run(std::future::pending()));
        for _ in 0..polls {
            assert!(run.poll().is_pending());
        }
        drop(run);
        let done = done.lock().unwrap().clone();
        // Before the first poll nothing was read from the source.
        let triggered = handle.stats().triggered as usize;
        let kept = ["a", "b", "c", "d", "e"].map(key);
        let kept = kept
            .iter()
            .filter(|key| handle.queue().snapshot(key).is_some())
            .count();
        assert_eq!(done.len() + kept, triggered, "after {polls} polls");
        assert_eq!(
            handle.status().phase,
            if polls == 0 {
                RunPhase::Idle
            } else {
                RunPhase::Stopped
            }
        );
        assert!(handle.status().running.is_empty(), "after {polls} polls");
        completed = completed.max(done.len());
    }
    assert_eq!(completed, 5, "the last ones were polled to the end");
}

#[tokio::test(start_paused = true)]
async fn r7_whoever_waits_is_told_when_the_run_is_dropped() {
    let controller = script(&Probe::default(), |_| Ok(Action::done())).build();
    let handle = controller.handle();
    let waiting = handle.clone();
    let mut started = task::spawn(waiting.started());
    let source = informer_controller::Source::new(
        stream::pending::<informer_store::Change<k8s_openapi::api::core::v1::ConfigMap>>(),
        trigger::itself(),
    );
    handle.add_source(source.synced(std::future::pending()));
    let mut run = task::spawn(controller.run(std::future::pending()));
    assert!(run.poll().is_pending());
    assert!(started.poll().is_pending());
    drop(run);
    assert!(started.is_woken());
    tokio_test::assert_ready_eq!(started.poll(), false);
    assert!(handle.queue().is_closed());
}

/// Spawns onto the test's runtime and counts.
#[expect(clippy::disallowed_methods, reason = "a spawner is there to spawn")]
fn spawner(spawned: &Arc<AtomicUsize>) -> impl informer_controller::Spawner {
    let spawned = Arc::clone(spawned);
    move |worker: BoxFuture<'static, ()>| {
        spawned.fetch_add(1, SeqCst);
        tokio::spawn(worker);
    }
}

#[tokio::test(start_paused = true)]
async fn workers_on_tasks_of_their_own_do_the_same_work() {
    let (probe, spawned) = (Probe::default(), Arc::new(AtomicUsize::new(0)));
    let inner = probe.clone();
    let reconciler = reconcile_fn(move |cx: Context| {
        let probe = inner.clone();
        async move {
            let _running = probe.enter(&cx);
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(cx.attempt() > 1 || cx.key().name() != "o7", "boom");
            Ok(Action::done())
        }
    });
    let controller = Controller::builder("spread", reconciler)
        .workers(4)
        .spawner(spawner(&spawned))
        .build();
    let handle = controller.handle();
    for index in 0..20 {
        handle.queue().add(key(&format!("o{index}")));
    }
    let report = run_until(controller, Duration::from_secs(60)).await;
    assert!(report.is_complete() && report.pending.is_empty());
    assert_eq!((spawned.load(SeqCst), probe.most_at_once()), (4, 4));
    assert!(!probe.overlapped(), "W1");
    let stats = handle.stats();
    assert_eq!((stats.succeeded, stats.panics), (20, 1));
}

#[tokio::test(start_paused = true)]
async fn r7_workers_on_tasks_of_their_own_stop_at_the_deadline_and_when_the_run_is_dropped() {
    for drop_run in [false, true] {
        let (dropped, spawned) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&dropped);
        let reconciler = reconcile_fn(move |_: Context| {
            let guard = OnDrop(Arc::clone(&counter));
            async move {
                let _guard = guard;
                std::future::pending().await
            }
        });
        let controller = Controller::builder("spread", reconciler)
            .workers(2)
            .grace(Duration::from_secs(5))
            .spawner(spawner(&spawned))
            .build();
        let handle = controller.handle();
        handle.queue().add(key("a"));
        let run = controller.run(tokio::time::sleep(Duration::from_secs(60)));
        if drop_run {
            let _ = tokio::time::timeout(Duration::from_secs(1), run).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        } else {
            let report = run.await.unwrap();
            assert_eq!(report.abandoned, [key("a")]);
        }
        assert_eq!((spawned.load(SeqCst), dropped.load(SeqCst)), (2, 1));
        assert!(handle.status().running.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_spawner_that_drops_its_workers_does_not_hang_the_stop() {
    let controller = script(&Probe::default(), |_| Ok(Action::done()))
        .spawner(drop)
        .build();
    controller.handle().queue().add(key("a"));
    let report = run_until(controller, Duration::from_secs(1)).await;
    assert_eq!(report.pending, [key("a")]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_takes_too_long_shows_as_stuck_and_is_counted_once() {
    let reconciler = reconcile_fn(|cx: Context| async move {
        let time = if cx.key().name() == "slow" { 1000 } else { 1 };
        tokio::time::sleep(Duration::from_secs(time)).await;
        Ok(Action::done())
    });
    let controller = Controller::builder("stuck", reconciler)
        .stuck_after(Duration::from_secs(60))
        .build();
    let handle = controller.handle();
    handle.queue().add(key("slow"));
    let shutdown = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert!(!handle.status().running[0].stuck);
        handle.queue().add(key("quick"));
        tokio::time::sleep(Duration::from_secs(300)).await;
        let status = handle.status();
        assert_eq!(status.running.len(), 1);
        assert!(status.running[0].stuck && status.running[0].age.as_secs() == 330);
        assert_eq!(status.running[0].key, key("slow"));
        tokio::time::sleep(Duration::from_secs(1000)).await;
    };
    controller.run(shutdown).await.unwrap();
    assert_eq!((handle.stats().stuck, handle.stats().succeeded), (1, 2));
}

struct PanicOnDrop;

impl Drop for PanicOnDrop {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("dropped badly");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn r2_a_reconcile_that_panics_when_dropped_takes_nothing_with_it() {
    let reconciler = reconcile_fn(|cx: Context| async move {
        if cx.attempt() == 1 {
            let _guard = PanicOnDrop;
            std::future::pending::<()>().await;
        }
        Ok(Action::done())
    });
    let controller = Controller::builder("bad", reconciler)
        .workers(1)
        .timeout(Duration::from_secs(1))
        .build();
    let handle = controller.handle();
    handle.queue().add(key("a"));
    handle.queue().add(key("b"));
    run_until(controller, Duration::from_secs(60)).await;
    let stats = handle.stats();
    assert_eq!(
        stats.succeeded, 2,
        "the worker goes on, and the keys are tried again"
    );
    assert_eq!(stats.panics, 2);
}

#[tokio::test(start_paused = true)]
async fn the_worker_that_is_woken_is_the_only_one_polled() {
    // O(1) per reconcile: with 1,000 workers asleep in their reconciles, one more key costs a handful of polls.
    let polls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&polls);
    let reconciler = reconcile_fn(move |cx: Context| {
        let counter = Arc::clone(&counter);
        async move {
            let mut wait = Box::pin(tokio::time::sleep(match cx.key().name() {
                "quick" => Duration::from_millis(1),
                _ => Duration::from_secs(3600),
            }));
            std::future::poll_fn(|context| {
                counter.fetch_add(1, SeqCst);
                wait.as_mut().poll(context)
            })
            .await;
            Ok(Action::done())
        }
    });
    let controller = Controller::builder("wide", reconciler)
        .workers(1001)
        .grace(Duration::ZERO)
        .build();
    let handle = controller.handle();
    for index in 0..1000 {
        handle.queue().add(key(&format!("slow{index}")));
    }
    let shutdown = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = polls.swap(0, SeqCst);
        assert_eq!(before, 1000);
        for _ in 0..10 {
            handle.queue().add(key("quick"));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(
            polls.load(SeqCst),
            20,
            "two polls for each of the ten runs, none for the others"
        );
    };
    controller.run(shutdown).await.unwrap();
}
