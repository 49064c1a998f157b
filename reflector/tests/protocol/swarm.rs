//! Faults drawn at random, several at a time, against reflectors of several namespaces, labels or shards: whatever struck, once
//! it is calm the store is the server again, and the handlers were told all of it.

use std::{collections::BTreeMap, time::Duration};

use futures::{FutureExt, StreamExt};
use informer_reflector::{ApiListWatch, Compression, PoisonPolicy, Reflector, Shard, StreamingLists};
use informer_store::{Cache, Change, Subscription};
use informer_testkit::{ApiServer, Fault, On};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use tokio::time::sleep;

const KIND: &str = "configmaps";
const NAMESPACES: [&str; 3] = ["default", "kube-system", "kube-public"];

/// `namespace/name` to version.
type Contents = BTreeMap<String, String>;

fn contents(server: &ApiServer) -> Contents {
    let text = |object: &serde_json::Value, field: &str| {
        object["metadata"][field].as_str().unwrap_or_default().to_owned()
    };
    let objects = server.list(KIND, None);
    objects
        .iter()
        .map(|object| {
            let key = format!("{}/{}", text(object, "namespace"), text(object, "name"));
            (key, text(object, "resourceVersion"))
        })
        .collect()
}

fn write(server: &ApiServer, rng: &mut fastrand::Rng) {
    let namespace = NAMESPACES[rng.usize(..NAMESPACES.len())];
    let name = format!("m{:02}", rng.u8(0..12));
    let data = json!({"v": rng.u32(..).to_string()});
    let labels = json!({"of": rng.u8(0..3).to_string()});
    if server.get(KIND, namespace, &name).is_none() {
        let metadata = json!({"name": name, "namespace": namespace, "labels": labels});
        server
            .create(KIND, json!({"metadata": metadata, "data": data}))
            .expect("it is new");
    } else if rng.u8(0..4) == 0 {
        server.delete(KIND, namespace, &name).expect("it is there");
    } else if rng.u8(0..3) == 0 {
        // It moves, where sources are told apart by labels.
        server
            .patch(
                KIND,
                namespace,
                &name,
                json!({"data": data, "metadata": {"labels": labels}}),
            )
            .expect("it is there");
    } else {
        server
            .patch(KIND, namespace, &name, json!({"data": data}))
            .expect("it is there");
    }
}

/// A fault that strikes a few times.
fn strike(server: &ApiServer, rng: &mut fastrand::Rng, audited: bool) -> String {
    let list = rng.bool();
    let mut on = if list { On::list(KIND) } else { On::watch(KIND) };
    if rng.bool() {
        on = on.namespace(NAMESPACES[rng.usize(..NAMESPACES.len())]);
    }
    let byte = rng.u64(0..3000);
    let any = [
        Fault::status(500),
        Fault::status(429).retry_after("3"),
        Fault::status(401),
        Fault::status(403),
        Fault::status(404),
        Fault::Html { code: 200 },
        Fault::Html { code: 502 },
        Fault::Gone,
        Fault::TooLargeVersion,
        Fault::Latency {
            delay: Duration::from_secs(40),
        },
        Fault::Hang,
        Fault::Refuse,
        Fault::ResetAt { byte },
        Fault::CutAt { byte },
        Fault::EofAt { byte },
        Fault::StallAt { byte },
        Fault::Drip {
            bytes: 7,
            every: Duration::from_secs(1),
        },
        Fault::Undecodable,
    ];
    let lists = [
        Fault::ListVersion {
            version: String::new(),
        },
        Fault::RepeatContinue,
        Fault::ContinueExpired,
    ];
    let watches = [
        Fault::NoBookmarks,
        Fault::NoInitialEventsEnd,
        Fault::WatchListRefused {
            in_stream: rng.bool(),
        },
        Fault::DuplicateEvent,
        Fault::TruncateLine,
        Fault::raw_line("{\"type\":\"ADDED\",\"obj\n"),
        Fault::UnknownType,
        Fault::OversizeLine { bytes: 20 << 20 },
        Fault::EventVersion {
            version: String::new(),
        },
        Fault::ErrorEvent {
            code: [500, 429, 410, 401, 504][rng.usize(..5)],
            reason: None,
            message: None,
        },
        Fault::GoneEvent,
        Fault::CloseBefore,
        Fault::ResetBefore,
        Fault::StallBefore,
        Fault::BookmarkVersion {
            version: ["", "soon", "0"][rng.usize(..3)].into(),
        },
    ];
    let lossy = [Fault::DropEvent, Fault::ReorderEvent];
    let mut from: Vec<&Fault> = any
        .iter()
        .chain(if list { &lists[..] } else { &watches[..] })
        .collect();
    if audited && !list {
        from.extend(&lossy);
    }
    let fault = from[rng.usize(..from.len())].clone();
    let text = format!("{fault:?} on {on:?}");
    server
        .faults()
        .inject(on.skip(rng.u64(0..4)).times(rng.u64(1..6)), fault);
    text
}

/// A server, what its reflector is like, and what struck them.
struct Round {
    seed: u64,
    rng: fastrand::Rng,
    server: ApiServer,
    cache: Cache<ConfigMap>,
    reflector: Reflector<ConfigMap>,
    audited: bool,
    log: Vec<String>,
}

impl Round {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let server = ApiServer::builder()
            .seed(seed)
            .watch_list(rng.u8(0..4) != 0)
            .watch_gzip(rng.bool())
            .bookmark_every(Duration::from_secs([10, 60][rng.usize(..2)]))
            .build();
        for _ in 0..60 {
            write(&server, &mut rng);
        }
        let cache = Cache::new();
        let compression = [Compression::Off, Compression::Lists, Compression::All][rng.usize(..3)];
        let source = |namespace: Option<&str>| {
            ApiListWatch::<ConfigMap>::with(server.client(), namespace, &()).compression(compression)
        };
        let [first, second, third] = match rng.u8(0..3) {
            0 => [0, 1, 2].map(|index| source(None).shard(Shard::nth(index, 3))),
            1 => ["of=0", "of=1", "of=2"].map(|labels| source(None).labels(labels)),
            _ => NAMESPACES.map(|namespace| source(Some(namespace))),
        };
        let audited = rng.bool();
        let mut builder = Reflector::builder(first, cache.clone())
            .also(second)
            .also(third)
            .seed(seed)
            .page_size([None, Some(3), Some(500)][rng.usize(..3)])
            .streaming_lists(
                [StreamingLists::Auto, StreamingLists::Always, StreamingLists::Off][rng.usize(..3)],
            )
            .poison([PoisonPolicy::KeepLast, PoisonPolicy::Remove][rng.usize(..2)])
            .max_objects(100);
        if audited {
            builder = builder.audit(Duration::from_secs(60));
        }
        Self {
            seed,
            reflector: builder.build(),
            rng,
            server,
            cache,
            audited,
            log: Vec::new(),
        }
    }

    /// Writes and strikes for some minutes, then a while of calm.
    async fn live(&mut self) {
        let Self { rng, server, .. } = self;
        let mut old = server.snapshot();
        for _ in 0..rng.u64(100..300) {
            sleep(Duration::from_millis(rng.u64(10..9000))).await;
            match rng.u8(0..40) {
                0..4 => self.log.push(strike(server, rng, self.audited)),
                4 => server.compact(),
                5 => old = server.snapshot(),
                // One that is overtaken before anybody looks can only be seen by an audit.
                6 if self.audited && rng.u8(0..4) == 0 => {
                    self.log.push(format!("restored at {}", server.revision()));
                    server.restore(&old);
                }
                _ => write(server, rng),
            }
        }
        server.faults().clear();
        // What was set apart is let out by a new version.
        for key in contents(server).keys() {
            let (namespace, name) = key.split_once('/').expect("it has both");
            let data = json!({"data": {"v": rng.u32(..).to_string()}});
            server.patch(KIND, namespace, name, data).expect("it is there");
        }
        sleep(Duration::from_secs(900)).await;
    }

    /// Compares everything with everything.
    fn judge(&self, changes: &mut Subscription<ConfigMap>) {
        let told = format!("seed {}: {:#?} {:?}", self.seed, self.log, self.reflector.stats());
        let snapshot = self.cache.snapshot();
        let held: Contents = snapshot
            .entries()
            .map(|(key, object)| (key.to_string(), version_of(object)))
            .collect();
        assert_eq!(held, contents(&self.server), "I1 in the end; {told}");
        let claimed = snapshot.resource_version().as_u64();
        assert!(claimed <= Some(self.server.revision()), "I2: {claimed:?}; {told}");
        let mut replayed = Contents::new();
        while let Some(Some(change)) = changes.next().now_or_never() {
            let key = change.key().to_string();
            let before = match &change {
                Change::Deleted { .. } => replayed.remove(&key),
                _ => replayed.insert(key, version_of(change.object())),
            };
            let is_new = matches!(change, Change::Added { .. });
            assert_eq!(before.is_none(), is_new, "H1: {change:?}; {told}");
        }
        assert_eq!(replayed, held, "H2; {told}");
        assert!(self.reflector.quarantined().is_empty(), "{told}");
        assert_eq!(self.reflector.objects(), held.len(), "{told}");
    }
}

fn version_of(object: &ConfigMap) -> String {
    object.metadata.resource_version.clone().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn several_sources_under_faults_drawn_at_random() {
    for seed in 0..ROUNDS {
        let mut round = Round::new(seed);
        let mut changes = round.cache.subscribe();
        let reflector = round.reflector.clone();
        let run = reflector.run(round.live());
        run.await.expect("nothing a server does ends a run");
        round.judge(&mut changes);
    }
}

/// A few seconds' worth.
const ROUNDS: u64 = 24;
