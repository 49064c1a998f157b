//! Sources of one store take turns, however much one of them has to tell; what one has begun to tell is told whole.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use informer_reflector::{ApiListWatch, Reflector};
use informer_store::{
    Cache, Closed, Delta, Entry, KeyRef, ReflectorStore, Replacement, ResourceVersion, ResyncPart, Tombstone,
};
use k8s_openapi::api::core::v1::ConfigMap;
use tokio::time::{Instant, sleep};

use crate::support::*;

/// A cache in which namespace `b` has as many objects after every step.
#[derive(Clone)]
struct Constant {
    cache: Cache<ConfigMap>,
    count: usize,
}

impl Constant {
    fn check(&self) {
        let held = self.cache.snapshot();
        let held = held.entries().filter(|(key, _)| key.namespace() == Some("b"));
        assert_eq!(
            held.count(),
            self.count,
            "I6: no mix of an old list and a new one"
        );
    }
}

#[async_trait]
impl ReflectorStore<ConfigMap> for Constant {
    async fn replace(&self, replacement: Replacement<ConfigMap>) -> Result<(), Closed> {
        self.cache.replace(replacement).await?;
        self.check();
        Ok(())
    }

    async fn add(&self, entry: Entry<ConfigMap>) -> Result<(), Closed> {
        self.cache.add(entry).await
    }

    async fn update(&self, entry: Entry<ConfigMap>) -> Result<(), Closed> {
        self.cache.update(entry).await
    }

    async fn delete(&self, tombstone: Tombstone<ConfigMap>) -> Result<(), Closed> {
        self.cache.delete(tombstone).await
    }

    async fn resync(&self, part: ResyncPart) -> Result<(), Closed> {
        self.cache.resync(part).await
    }

    async fn bookmark(&self, version: ResourceVersion) -> Result<(), Closed> {
        self.cache.bookmark(version).await
    }

    async fn merge(&self, delta: Delta<ConfigMap>, reached: Option<ResourceVersion>) -> Result<(), Closed> {
        self.cache.merge(delta, reached).await?;
        self.check();
        Ok(())
    }

    fn held(&self, key: KeyRef<'_>, uid: &str, version: &str) -> Option<Arc<ConfigMap>> {
        ReflectorStore::held(&self.cache, key, uid, version)
    }
}

/// Wherever among the parts of its list a source gives way to another, whose own list is there at the same moment.
#[tokio::test(start_paused = true)]
async fn a_source_gives_way_only_where_the_store_has_been_told_all_that_it_knows() {
    for count in 1..=128 {
        let start = Instant::now();
        let together = start + Duration::from_secs(20);
        let server = Server::new(move |seen| {
            let namespace = if seen.uri.contains("/namespaces/b/") {
                "b"
            } else {
                "a"
            };
            let again = seen.param("resourceVersion").is_some();
            if seen.is_watch() {
                let first = seen.param("resourceVersion").as_deref() == Some("10");
                return Answer::watch(first.then(expired_event));
            }
            let names = if namespace == "a" { 0..1 } else { 0..count };
            let name = |nth| format!("{}-{nth}", if again { "new" } else { "old" });
            let version = if again { 25 } else { 5 };
            let objects: Vec<_> = names
                .map(|nth| object_in(namespace, &name(nth), version))
                .collect();
            if !again {
                return Answer::list("10", &objects);
            }
            let wait = Piece::Pause(together.saturating_duration_since(seen.at));
            Answer::ok([wait, text(list("30", &objects))])
        });
        let store = Constant {
            cache: Cache::new(),
            count,
        };
        let source = |namespace: &str| {
            ApiListWatch::<ConfigMap>::namespaced(server.client(), namespace).no_streaming_lists()
        };
        let reflector = Reflector::builder(source("b"), store.clone())
            .also(source("a"))
            .seed(7)
            .build();
        let run = reflector.run(sleep(Duration::from_secs(25)));
        run.await.expect("nothing ends the run");
        assert_eq!(reflector.stats().lists, 4, "both have listed anew");
        assert!(store.cache.get("b", "new-0").is_some());
        assert!(store.cache.get("a", "new-0").is_some());
    }
}

/// Who looks at the state holds it up, and may ask the reflector for more meanwhile.
#[test]
fn statistics_can_be_had_while_the_state_is_looked_at() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let runtime = runtime.expect("a runtime can be built");
    let reflector = runtime.block_on(async {
        let server = Server::script(
            vec![Answer::list("10", &[object("a", 3)])],
            vec![Answer::watch([])],
        );
        let source = ApiListWatch::<ConfigMap>::all(server.client()).no_streaming_lists();
        Reflector::builder(source, Cache::new()).seed(7).build()
    });
    let state = reflector.state();
    let looked_at = state.borrow();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let run = reflector.run(async move { drop(stopped.await) });
            runtime.block_on(run).expect("nothing ends the run");
        });
        let asked = reflector.clone();
        std::thread::spawn(move || {
            // Often enough for the first state to be told, which waits, in between.
            for _ in 0..300_000 {
                let _ = asked.stats();
                std::thread::yield_now();
            }
            let _ = done.send(());
        });
        let answered = is_done.recv_timeout(Duration::from_secs(30));
        drop(looked_at);
        drop(stop);
        answered.expect("the one does not wait for the other");
    });
}
