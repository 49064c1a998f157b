//! Which types go between threads and into streams.

use informer_store::*;
use k8s_openapi::api::core::v1::Pod;

fn send_sync<T: Send + Sync>() {}
fn unpin<T: Unpin>() {}
fn cheap<T: Clone>() {}

#[test]
fn handles_and_values_go_between_threads() {
    send_sync::<Cache<Pod>>();
    send_sync::<CacheBuilder<Pod>>();
    send_sync::<Snapshot<Pod>>();
    send_sync::<Subscription<Pod>>();
    send_sync::<SubscriptionHandle<Pod>>();
    send_sync::<Index<Pod, String>>();
    send_sync::<OrderedIndex<Pod, u64>>();
    send_sync::<Overlay<Pod>>();
    send_sync::<ExpiringStore<Pod>>();
    send_sync::<Batch<Pod>>();
    send_sync::<Change<Pod>>();
    send_sync::<ObjectKey>();
    send_sync::<ResourceVersion>();
    send_sync::<Box<dyn Store<Pod>>>();
    send_sync::<Box<dyn Indexer<Pod>>>();
    send_sync::<Box<dyn Lister<Pod>>>();
    send_sync::<Box<dyn ReflectorStore<Pod>>>();
    send_sync::<Box<dyn Apply<Pod>>>();
}

#[test]
fn subscriptions_are_polled_where_they_are() {
    unpin::<Subscription<Pod>>();
}

#[test]
fn handles_are_shared_by_cloning() {
    cheap::<Cache<Pod>>();
    cheap::<Snapshot<Pod>>();
    cheap::<SubscriptionHandle<Pod>>();
    cheap::<Index<Pod, String>>();
    cheap::<OrderedIndex<Pod, String>>();
}

#[test]
fn futures_of_the_cache_can_be_spawned() {
    fn send<T: Send>(_: T) {}
    let cache = Cache::<Pod>::new();
    send(cache.synced());
    send(cache.wait_for(&ResourceVersion::UNSET, tokio::time::Instant::now()));
    send(cache.subscribe().run(|_: Change<Pod>| {}));
    send(cache.subscribe().handle().leave(tokio::time::Instant::now()));
}
