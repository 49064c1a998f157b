//! Random runs of several sources whose every step is checked: what a reader sees of each namespace is what the server had
//! there at one moment, no older than the version claimed, and never goes back (I1, I2, I6).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use informer_reflector::{ApiListWatch, Reflector, StreamingLists};
use informer_store::{
    Cache, Closed, Delta, Entry, KeyRef, Object, ReflectorStore, Replacement, ResourceVersion, ResyncPart,
    Tombstone,
};
use informer_testkit::{ApiServer, Fault, On};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use tokio::time::sleep;

const KIND: &str = "configmaps";
const NAMESPACES: [&str; 3] = ["a", "b", "c"];

/// Name to version and value, for one namespace.
type Contents = BTreeMap<String, (String, String)>;

/// What the server had in a namespace from a version on.
struct Moment {
    from: u64,
    contents: Contents,
    /// How often the server had been restored.
    restored: u32,
}

/// All that each namespace has been, and which moment a reader last saw.
#[derive(Default)]
struct History {
    moments: BTreeMap<&'static str, Vec<Moment>>,
    seen: BTreeMap<&'static str, usize>,
    restored: u32,
    steps: u64,
}

impl History {
    fn note(&mut self, server: &ApiServer) {
        for namespace in NAMESPACES {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let objects = server.list(KIND, Some(namespace));
            let contents = objects.iter().map(|object| {
                let version = text(&object["metadata"]["resourceVersion"]);
                (
                    text(&object["metadata"]["name"]),
                    (version, text(&object["data"]["v"])),
                )
            });
            let contents: Contents = contents.collect();
            let moments = self.moments.entry(namespace).or_default();
            let is_known = moments
                .last()
                .is_some_and(|last| last.contents == contents && last.restored == self.restored);
            if !is_known {
                moments.push(Moment {
                    from: server.revision(),
                    contents,
                    restored: self.restored,
                });
            }
        }
    }

    /// Checks what a reader sees now.
    fn check(&mut self, cache: &Cache<ConfigMap>) {
        self.steps += 1;
        let snapshot = cache.snapshot();
        let claimed = snapshot.resource_version().as_u64().unwrap_or_default();
        for namespace in NAMESPACES {
            let held = snapshot
                .entries()
                .filter(|(key, _)| key.namespace() == Some(namespace));
            let held = held.map(|(key, object)| {
                let value = object.data.as_ref().and_then(|data| data.get("v"));
                let value = value.cloned().unwrap_or_default();
                (key.name().to_owned(), (object.version().to_string(), value))
            });
            let held: Contents = held.collect();
            let last = self.seen.get(namespace).copied().unwrap_or_default();
            let moments = &self.moments[namespace];
            let found = (last..moments.len()).find(|at| {
                // It may be where it was before and have come again: the later moment will do then.
                moments[*at].contents == held && {
                    let until = moments.get(*at + 1);
                    until.is_none_or(|next| next.from > claimed || next.restored > 0)
                }
            });
            let found = found.unwrap_or_else(|| {
                panic!(
                    "step {}: {namespace} at {claimed} is as it was at no moment since {last}: {held:?}, {:?}",
                    self.steps,
                    moments[last..].iter().map(|moment| (moment.from, &moment.contents)).collect::<Vec<_>>()
                )
            });
            self.seen.insert(namespace, found);
        }
    }
}

/// A cache whose every step is checked, and that takes its time now and then.
#[derive(Clone)]
struct Checked {
    cache: Cache<ConfigMap>,
    history: Arc<Mutex<History>>,
    rng: Arc<Mutex<fastrand::Rng>>,
}

impl Checked {
    async fn pause(&self) {
        let pause = {
            let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
            if rng.u8(0..8) == 0 { rng.u64(1..3000) } else { 0 }
        };
        if pause > 0 {
            sleep(Duration::from_millis(pause)).await;
        }
    }

    fn check(&self) -> Result<(), Closed> {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.check(&self.cache);
        Ok(())
    }
}

#[async_trait]
impl ReflectorStore<ConfigMap> for Checked {
    async fn replace(&self, replacement: Replacement<ConfigMap>) -> Result<(), Closed> {
        self.pause().await;
        self.cache.replace(replacement).await?;
        self.check()
    }

    async fn add(&self, _: Entry<ConfigMap>) -> Result<(), Closed> {
        unreachable!("several sources merge")
    }

    async fn update(&self, _: Entry<ConfigMap>) -> Result<(), Closed> {
        unreachable!("several sources merge")
    }

    async fn delete(&self, _: Tombstone<ConfigMap>) -> Result<(), Closed> {
        unreachable!("several sources merge")
    }

    async fn resync(&self, _: ResyncPart) -> Result<(), Closed> {
        Ok(())
    }

    async fn bookmark(&self, version: ResourceVersion) -> Result<(), Closed> {
        self.cache.bookmark(version).await?;
        self.check()
    }

    async fn merge(&self, delta: Delta<ConfigMap>, reached: Option<ResourceVersion>) -> Result<(), Closed> {
        self.pause().await;
        // What was removed under one uid comes again under another: one step of the server's, two of the store's.
        self.cache.merge(delta, reached).await?;
        self.check()
    }

    fn held(&self, key: KeyRef<'_>, uid: &str, version: &str) -> Option<Arc<ConfigMap>> {
        ReflectorStore::held(&self.cache, key, uid, version)
    }
}

struct Round {
    rng: fastrand::Rng,
    server: ApiServer,
    store: Checked,
}

impl Round {
    fn new(seed: u64) -> Self {
        let rng = fastrand::Rng::with_seed(seed);
        let server = ApiServer::builder()
            .seed(seed)
            .bookmark_every(Duration::from_secs(10))
            .build();
        let store = Checked {
            cache: Cache::new(),
            history: Arc::default(),
            rng: Arc::new(Mutex::new(fastrand::Rng::with_seed(seed + 1))),
        };
        Self { rng, server, store }
    }

    fn reflector(&self, seed: u64, streaming: StreamingLists) -> Reflector<ConfigMap> {
        let source = |namespace| ApiListWatch::<ConfigMap>::namespaced(self.server.client(), namespace);
        Reflector::builder(source("a"), self.store.clone())
            .also(source("b"))
            .also(source("c"))
            .seed(seed)
            .page_size(Some(3))
            .streaming_lists(streaming)
            .build()
    }

    fn note(&self) {
        let mut history = self.store.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.note(&self.server);
    }

    fn write(&mut self) {
        let namespace = NAMESPACES[self.rng.usize(..NAMESPACES.len())];
        let name = format!("m{}", self.rng.u8(0..8));
        let data = json!({"v": self.rng.u32(..).to_string()});
        let is_there = self.server.get(KIND, namespace, &name).is_some();
        let written = if !is_there {
            let metadata = json!({"name": name, "namespace": namespace});
            self.server
                .create(KIND, json!({"metadata": metadata, "data": data}))
                .map(drop)
        } else if self.rng.u8(0..3) == 0 {
            self.server.delete(KIND, namespace, &name).map(drop)
        } else {
            self.server
                .patch(KIND, namespace, &name, json!({"data": data}))
                .map(drop)
        };
        written.expect("the server takes it");
        self.note();
    }

    /// Something that makes a source list anew, ends its watch, or fails.
    fn strike(&mut self) {
        let rng = &mut self.rng;
        let mut on = if rng.bool() {
            On::watch(KIND)
        } else {
            On::list(KIND)
        };
        if rng.u8(0..3) > 0 {
            on = on.namespace(NAMESPACES[rng.usize(..NAMESPACES.len())]);
        }
        let byte = rng.u64(0..1500);
        let faults = [
            Fault::Gone,
            Fault::GoneEvent,
            Fault::GoneEvent,
            Fault::TooLargeVersion,
            Fault::status(500),
            Fault::status(403),
            Fault::Refuse,
            Fault::ResetAt { byte },
            Fault::CutAt { byte },
            Fault::EofAt { byte },
            Fault::TruncateLine,
            Fault::CloseBefore,
            Fault::Latency {
                delay: Duration::from_secs(20),
            },
        ];
        let fault = faults[rng.usize(..faults.len())].clone();
        self.server.faults().inject(on.times(rng.u64(1..4)), fault);
        if rng.bool() {
            // All of them list anew at once.
            self.server.compact();
            self.server.watches().of(KIND).reset();
        }
    }

    fn restore(&mut self, old: &informer_testkit::Snapshot) {
        self.server.restore(old);
        let mut history = self.store.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.restored += 1;
        history.note(&self.server);
    }

    async fn live(&mut self, restores: bool) {
        let mut old = self.server.snapshot();
        for _ in 0..self.rng.u64(150..400) {
            sleep(Duration::from_millis(self.rng.u64(1..3000))).await;
            match self.rng.u8(0..40) {
                0..3 => self.strike(),
                3 => old = self.server.snapshot(),
                4 if restores && self.rng.u8(0..3) == 0 => {
                    self.server.faults().clear();
                    self.restore(&old);
                    // Longer than any watch: what overtakes the version of one before anybody looks is seen by an audit only.
                    sleep(Duration::from_secs(1300)).await;
                    old = self.server.snapshot();
                }
                _ => self.write(),
            }
        }
        self.server.faults().clear();
        sleep(Duration::from_secs(200)).await;
    }

    fn judge(&self, told: &str) {
        let history = self.store.history.lock().unwrap_or_else(PoisonError::into_inner);
        for namespace in NAMESPACES {
            let (moments, seen) = (&history.moments[namespace], history.seen[namespace]);
            let last = moments.last().expect("there was something");
            assert_eq!(moments[seen].contents, last.contents, "{told}: I1 in the end");
        }
        let claimed = self.store.cache.resource_version().as_u64();
        assert!(claimed <= Some(self.server.revision()), "{told}: I2, {claimed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn i6_whatever_several_sources_list_anew_readers_see_no_mix() {
    for seed in 0..ROUNDS {
        let restores = seed % 3 == 2;
        let mut round = Round::new(seed);
        for _ in 0..30 {
            round.write();
        }
        let streaming = [StreamingLists::Off, StreamingLists::Auto][round.rng.usize(..2)];
        let reflector = round.reflector(seed, streaming);
        // Run twice, so that the first lists find a store that holds something.
        for _ in 0..2 {
            let run = reflector.run(round.live(restores));
            run.await.expect("nothing a server does ends a run");
            round.judge(&format!("seed {seed}: {:?}", reflector.stats()));
        }
    }
}

/// A few seconds' worth.
const ROUNDS: u64 = 12;
