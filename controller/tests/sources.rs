//! Where triggers come from: sync before work, sources that end, panic, come and go (R2, H4).

mod common;

use std::{future::pending, time::Duration};

use common::{Probe, added, config, key, run_until, script};
use futures::{StreamExt as _, channel::mpsc, stream};
use informer_controller::{
    Action, Controller, Phase, Priority, RunPhase, Source, WhenUnsynced, predicate, trigger,
};
use informer_store::{Cache, Cause, Change, Delta, Entry, ObjectKey, Replacement};
use k8s_openapi::api::core::v1::ConfigMap;
use tokio::sync::oneshot;

type Configs = Source<ConfigMap, ObjectKey>;

/// A source that delivers these and then stays silent.
fn source_of(names: &[&str]) -> Configs {
    let changes: Vec<_> = names.iter().map(|name| added(name)).collect();
    Source::new(stream::iter(changes).chain(stream::pending()), trigger::itself())
}

#[tokio::test(start_paused = true)]
async fn workers_start_once_every_source_is_synced_and_its_first_changes_are_queued() {
    let probe = Probe::default();
    let (synced, when_synced) = oneshot::channel::<()>();
    let (sender, late) = mpsc::unbounded();
    let late = Source::new(late, trigger::itself()).synced(async move { drop(when_synced.await) });
    let controller = script(&probe, |_| Ok(Action::done()))
        .workers(1)
        .watch(source_of(&["early"]))
        .watch(late)
        .build();
    let handle = controller.handle();
    let driver = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(handle.status().phase, RunPhase::Syncing);
        assert!(probe.names().is_empty(), "no worker before the sync");
        assert_eq!(
            handle.queue().len(),
            1,
            "the source that is synced delivers already"
        );
        sender.unbounded_send(added("late")).unwrap();
        synced.send(()).unwrap();
        assert!(handle.started().await);
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    controller.run(driver).await.unwrap();
    assert_eq!(probe.sorted_names(), ["early", "late"]);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_ends_or_panics_stalls_nobody() {
    let probe = Probe::default();
    let ends = Source::<ConfigMap, _>::new(stream::iter([added("x")]), trigger::itself())
        .named("ends")
        .synced(pending());
    let panics = stream::poll_fn(|_| -> std::task::Poll<Option<Change<ConfigMap>>> { panic!("broken pipe") });
    let panics = Source::new(panics, trigger::itself())
        .named("panics")
        .synced(pending());
    let controller = script(&probe, |_| Ok(Action::done()))
        .watch(ends)
        .watch(panics)
        .watch(source_of(&["a", "b"]).named("fine"))
        .build();
    let handle = controller.handle();
    let shutdown = async {
        assert!(
            handle.started().await,
            "sources that are no more are not waited for"
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
        let phases: Vec<_> = handle
            .status()
            .sources
            .iter()
            .map(|source| source.phase)
            .collect();
        assert_eq!(phases, [Phase::Ended, Phase::Failed, Phase::Running]);
    };
    controller.run(shutdown).await.unwrap();
    assert_eq!(probe.sorted_names(), ["a", "b", "x"]);
    assert_eq!(handle.stats().source_panics, 1);
}

#[tokio::test(start_paused = true)]
async fn panics_in_trigger_predicate_and_lane_are_contained_and_the_source_goes_on() {
    let probe = Probe::default();
    let is = |name: &'static str| move |change: &Change<ConfigMap>| change.key().name() == name;
    let source = Source::new(
        stream::iter(["trigger", "predicate", "lane", "fine"].map(added)).chain(stream::pending()),
        |change: &Change<ConfigMap>, keys: &mut trigger::Keys<ObjectKey>| {
            keys.add(change.key().clone());
            assert_ne!(change.key().name(), "trigger");
        },
    )
    .predicate(move |change: &Change<ConfigMap>| {
        assert!(!is("predicate")(change));
        true
    })
    .lane(move |change| {
        assert!(!is("lane")(change));
        Priority::Urgent
    });
    let controller = script(&probe, |_| Ok(Action::done())).watch(source).build();
    let handle = controller.handle();
    run_until(controller, Duration::from_secs(1)).await;
    assert_eq!(
        probe.sorted_names(),
        ["fine", "lane", "predicate", "trigger"],
        "nothing is lost by it"
    );
    assert_eq!(handle.stats().source_panics, 3);
    assert_eq!(handle.stats().events, 4);
}

#[tokio::test(start_paused = true)]
async fn sources_come_and_go_while_the_controller_runs() {
    let probe = Probe::default();
    let controller = script(&probe, |_| Ok(Action::done())).build();
    let handle = controller.handle();
    let (sender, changes) = mpsc::unbounded();
    let shutdown = async {
        assert!(handle.started().await);
        let id = handle.add_source(Source::new(changes, trigger::itself()).named("late"));
        sender.unbounded_send(added("a")).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(handle.status().sources[0].name, "late");
        assert!(handle.remove_source(id));
        assert!(!handle.remove_source(id), "it is gone");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(sender.is_closed(), "its stream is dropped");
        assert!(handle.status().sources.is_empty());
        handle.queue().add(key("by-hand"));
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    controller.run(shutdown).await.unwrap();
    assert_eq!(probe.names(), ["a", "by-hand"]);
    assert_eq!(probe.runs()[0].triggers, ["late"]);
    assert!(probe.runs()[1].triggers.is_empty());
    assert_eq!(handle.stats().events, 1, "what a source counted is kept");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_removed_before_it_is_synced_no_longer_holds_up_the_start() {
    let probe = Probe::default();
    let controller = script(&probe, |_| Ok(Action::done())).build();
    let handle = controller.handle();
    let id = handle.add_source(source_of(&["a"]).synced(pending()));
    let shutdown = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(handle.status().phase, RunPhase::Syncing);
        handle.remove_source(id);
        assert!(handle.started().await);
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    controller.run(shutdown).await.unwrap();
    assert_eq!(probe.names(), ["a"], "what it triggered before stays queued");
}

#[tokio::test(start_paused = true)]
async fn sources_that_are_not_synced_in_time_are_an_error_a_warning_or_ignored() {
    let build = |probe: &Probe, then| {
        script(probe, |_| Ok(Action::done()))
            .watch(source_of(&["a"]).named("stuck").synced(pending()))
            .sync_timeout(Duration::from_secs(30), then)
            .build()
    };
    let minute = || tokio::time::sleep(Duration::from_secs(60));

    let probe = Probe::default();
    let controller = build(&probe, WhenUnsynced::Fail);
    let handle = controller.handle();
    let error = controller.run(minute()).await.unwrap_err();
    assert_eq!(error.sources, ["stuck"]);
    assert!(error.to_string().contains("stuck"), "{error}");
    assert_eq!(handle.status().phase, RunPhase::Stopped);
    assert!(!handle.started().await);

    let probe = Probe::default();
    let report = build(&probe, WhenUnsynced::Wait).run(minute()).await.unwrap();
    assert_eq!((probe.names().len(), report.pending.len()), (0, 1));

    let probe = Probe::default();
    build(&probe, WhenUnsynced::Start).run(minute()).await.unwrap();
    assert_eq!(probe.names(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_there_at_the_start_and_what_is_unchanged_waits_in_the_resync_lane() {
    let probe = Probe::default();
    let (old, new) = (config("o", 1), config("o", 2));
    let cases = [
        (
            Change::added(key("a"), config("a", 1), true, Cause::Relist),
            Priority::Resync,
        ),
        (
            Change::added(key("b"), config("b", 1), false, Cause::Live),
            Priority::Normal,
        ),
        (
            Change::updated(key("c"), old.clone(), old.clone(), Cause::Resync),
            Priority::Resync,
        ),
        (
            Change::updated(key("d"), old.clone(), new, Cause::Live),
            Priority::Normal,
        ),
        (
            Change::deleted(key("e"), old, true, Cause::Relist),
            Priority::Normal,
        ),
    ];
    let changes = cases.clone().map(|(change, _)| change);
    let controller = script(&probe, |_| Ok(Action::done()))
        .source(stream::iter(changes).chain(stream::pending()), trigger::itself())
        .watch(source_of(&[]).synced(pending()))
        .build();
    let handle = controller.handle();
    let shutdown = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        for (change, lane) in &cases {
            let snapshot = handle.queue().snapshot(change.key()).expect("it is queued");
            assert_eq!(snapshot.priority, *lane, "{change:?}");
        }
    };
    controller.run(shutdown).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_busy_source_leaves_time_for_others_on_the_task() {
    let probe = Probe::default();
    let mut next = 0;
    let endless = stream::poll_fn(move |_| {
        next += 1;
        std::task::Poll::Ready(Some(added(&format!("o{}", next % 10))))
    });
    let controller = script(&probe, |_| Ok(Action::done()))
        .source(endless, trigger::itself())
        .sync_timeout(Duration::from_millis(1), WhenUnsynced::Start)
        .build();
    let inner = probe.clone();
    let busy = async move {
        while inner.names().len() < 100 {
            tokio::task::yield_now().await;
            tokio::time::advance(Duration::from_millis(1)).await;
        }
    };
    controller.run(busy).await.unwrap();
    assert!(probe.names().len() >= 100);
}

#[tokio::test(start_paused = true)]
async fn a_cache_is_a_source_that_is_synced_when_it_is() {
    let probe = Probe::default();
    let cache = Cache::<ConfigMap>::new();
    let controller = script(&probe, |_| Ok(Action::done()))
        .cache(&cache, trigger::itself())
        .watch(
            Source::of(&cache, trigger::itself())
                .named("second")
                .predicate(predicate::deleted),
        )
        .build();
    let handle = controller.handle();
    let shutdown = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(handle.status().phase, RunPhase::Syncing);
        let entry = Entry::with_key(key("a"), config("a", 1));
        let list = Delta::Replaced(Replacement::new(vec![entry], 1_u64.into()));
        cache.apply(informer_store::Batch::new(vec![list], Some(1_u64.into())));
        assert!(handle.started().await);
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    controller.run(shutdown).await.unwrap();
    assert_eq!(probe.names(), ["a"]);
    assert_eq!(handle.stats().filtered, 1);
}

#[tokio::test(start_paused = true)]
async fn a_controller_without_sources_works_on_what_is_added_by_hand() {
    let probe = Probe::default();
    let controller: Controller<_> = script(&probe, |_| Ok(Action::done())).build();
    controller.handle().queue().add(key("a"));
    run_until(controller, Duration::from_secs(1)).await;
    assert_eq!(probe.names(), ["a"]);
}

/// A stream that says nothing and panics when it is dropped.
struct PanicsWhenDropped;

impl stream::Stream for PanicsWhenDropped {
    type Item = Change<ConfigMap>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Pending
    }
}

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "dropped badly");
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_when_dropped_takes_nothing_with_it() {
    let probe = Probe::default();
    let controller = script(&probe, |_| Ok(Action::done())).build();
    let handle = controller.handle();
    let bad = || Source::new(PanicsWhenDropped, trigger::itself());
    let (removed, _kept) = (handle.add_source(bad()), handle.add_source(bad()));
    let shutdown = async {
        assert!(handle.started().await);
        assert!(handle.remove_source(removed));
        tokio::time::sleep(Duration::from_secs(1)).await;
        handle.queue().add(key("a"));
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    controller.run(shutdown).await.unwrap();
    assert_eq!(probe.names(), ["a"]);
}
