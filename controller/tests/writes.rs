//! Read-your-writes (K3): a key does not run before the cache has seen what its last run wrote.

mod common;

use std::{sync::Arc, time::Duration};

use common::{Probe, config, key};
use informer_controller::{Action, Context, Controller, reconcile_fn};
use informer_store::{Batch, Cache, Delta, Entry, Replacement, ResourceVersion};
use k8s_openapi::api::core::v1::ConfigMap;

fn synced_cache(version: u64) -> Cache<ConfigMap> {
    let cache = Cache::new();
    let list = Delta::Replaced(Replacement::new(Vec::new(), version.into()));
    cache.apply(Batch::new(vec![list], Some(version.into())));
    cache
}

fn bookmark(cache: &Cache<ConfigMap>, version: u64) {
    let delta = Delta::Updated(Entry::with_key(key("written"), config("written", version)));
    cache.apply(Batch::new(vec![delta], Some(version.into())));
}

/// Each run sees the version of the cache at its start, and says that it wrote the version `writes` gives.
fn writer(
    probe: &Probe,
    caches: Vec<Cache<ConfigMap>>,
    writes: impl Fn(u64) -> Vec<ResourceVersion> + Send + Sync + 'static,
) -> (
    Controller<impl informer_controller::Reconciler<Key = informer_store::ObjectKey>>,
    Arc<std::sync::Mutex<Vec<ResourceVersion>>>,
) {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (probe, notes, writes) = (probe.clone(), Arc::clone(&seen), Arc::new(writes));
    let reconciler = reconcile_fn(move |cx: Context| {
        let (probe, notes, writes, caches) = (probe.clone(), notes.clone(), writes.clone(), caches.clone());
        async move {
            let _running = probe.enter(&cx);
            notes.lock().unwrap().push(caches[0].resource_version());
            for (cache, version) in caches.iter().zip(writes(cx.run())) {
                cx.wrote(cache, version);
            }
            Ok(Action::done())
        }
    });
    let controller = Controller::builder("writer", reconciler)
        .write_deadline(Duration::from_secs(10))
        .build();
    (controller, seen)
}

#[tokio::test(start_paused = true)]
async fn k3_a_key_waits_until_its_cache_has_seen_its_write_and_others_do_not() {
    let probe = Probe::default();
    let cache = synced_cache(5);
    let (controller, seen) = writer(&probe, vec![cache.clone()], |run| match run {
        1 => vec![8_u64.into()],
        _ => vec![],
    });
    let handle = controller.handle();
    let shutdown = async {
        handle.queue().add(key("a"));
        tokio::time::sleep(Duration::from_secs(1)).await;
        handle.queue().add(key("a"));
        handle.queue().add(key("b"));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(probe.names(), ["a", "b"], "a is parked");
        bookmark(&cache, 7);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(probe.names().len(), 2, "not far enough");
        bookmark(&cache, 9);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(probe.names(), ["a", "b", "a"], "at once, not at the deadline");
    };
    controller.run(shutdown).await.unwrap();
    assert_eq!(seen.lock().unwrap()[2], 9_u64.into());
    let stats = handle.stats();
    assert_eq!((stats.writes_awaited, stats.writes_unseen), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn k3_a_write_that_the_cache_never_sees_holds_the_key_until_the_deadline() {
    let probe = Probe::default();
    let cache = synced_cache(5);
    let (controller, _) = writer(&probe, vec![cache], |run| match run {
        1 => vec![8_u64.into()],
        _ => vec![],
    });
    let handle = controller.handle();
    let shutdown = async {
        handle.queue().add(key("a"));
        tokio::time::sleep(Duration::from_secs(1)).await;
        handle.queue().add(key("a"));
        tokio::time::sleep(Duration::from_secs(20)).await;
    };
    controller.run(shutdown).await.unwrap();
    let times = probe.times();
    assert_eq!((times[1] - times[0]).as_secs(), 10);
    assert_eq!(handle.stats().writes_unseen, 1);
}

#[tokio::test(start_paused = true)]
async fn k3_a_key_waits_for_all_of_several_writes() {
    let probe = Probe::default();
    let (one, two) = (synced_cache(5), synced_cache(5));
    let (controller, _) = writer(&probe, vec![one.clone(), two.clone()], |run| match run {
        1 => vec![8_u64.into(), 9_u64.into()],
        _ => vec![],
    });
    let handle = controller.handle();
    let shutdown = async {
        handle.queue().add(key("a"));
        tokio::time::sleep(Duration::from_secs(1)).await;
        handle.queue().add(key("a"));
        bookmark(&one, 8);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(probe.names().len(), 1);
        bookmark(&two, 9);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(probe.names().len(), 2);
    };
    controller.run(shutdown).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_seen_already_or_has_no_version_to_compare_parks_nothing() {
    let probe = Probe::default();
    let cache = synced_cache(5);
    let (controller, _) = writer(&probe, vec![cache; 3], |_| {
        vec![5_u64.into(), "".into(), "opaque".into()]
    });
    let handle = controller.handle();
    let shutdown = async {
        for _ in 0..3 {
            handle.queue().add(key("a"));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    controller.run(shutdown).await.unwrap();
    assert_eq!(probe.names().len(), 3);
    assert_eq!(handle.stats().writes_awaited, 0);
}
