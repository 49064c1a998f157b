//! Every fault of the catalogue against the embedded API server: a writer goes on writing while the fault strikes,
//! every step of the store is compared with what the server held (I1 to I5), requests are counted (I9), and once the
//! fault is over the store equals the server within 135 s.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use informer_reflector::{ApiListWatch, Reflector, ReflectorBuilder};
use informer_testkit::{ApiServer, Fault, On, Verb};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use tokio::time::sleep;

use crate::support::{Checked, Truth};

const KIND: &str = "configmaps";

struct World {
    server: ApiServer,
    truth: Truth,
    rng: Mutex<fastrand::Rng>,
}

type Build = fn(ReflectorBuilder<ConfigMap>) -> ReflectorBuilder<ConfigMap>;

/// How a row is played.
struct Play {
    /// Begin with a streaming list.
    streaming: bool,
    /// Compare at every step: not where the fault itself puts the order of events wrong.
    step_by_step: bool,
    /// How long the fault strikes.
    seconds: u64,
    /// Objects that may differ while they cannot be decoded.
    excused: &'static [&'static str],
    /// How many lists may be asked for in all, pages and probes included.
    lists_max: usize,
    build: Build,
}

impl Default for Play {
    fn default() -> Self {
        Self {
            streaming: false,
            step_by_step: true,
            seconds: 600,
            excused: &[],
            lists_max: 2,
            build: |builder| builder,
        }
    }
}

impl World {
    fn new(server: ApiServer) -> Self {
        let world = Self {
            server,
            truth: Arc::default(),
            rng: Mutex::new(fastrand::Rng::with_seed(3)),
        };
        for name in 0..20 {
            world.put(&format!("m{name:02}"));
        }
        world
    }

    fn contents(&self) -> Vec<String> {
        let sorted: BTreeMap<_, _> = self
            .server
            .list(KIND, Some("default"))
            .iter()
            .map(|object| {
                let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
                (text("name"), text("resourceVersion"))
            })
            .collect();
        sorted
            .iter()
            .map(|(name, version)| format!("{name}@{version}"))
            .collect()
    }

    fn note(&self) {
        self.truth
            .lock()
            .unwrap()
            .insert(self.server.revision(), self.contents());
    }

    fn put(&self, name: &str) {
        let value = self.rng.lock().unwrap().u32(..).to_string();
        let object = json!({"metadata": {"name": name, "namespace": "default"}, "data": {"v": value}});
        if self.server.get(KIND, "default", name).is_some() {
            let patch = json!({"data": {"v": value}});
            self.server
                .patch(KIND, "default", name, patch)
                .expect("the object is there");
        } else {
            self.server.create(KIND, object).expect("the object is new");
        }
        self.note();
    }

    fn step(&self) {
        let (dice, name) = {
            let mut rng = self.rng.lock().unwrap();
            (rng.u8(0..10), format!("m{:02}", rng.u8(0..30)))
        };
        if dice == 0 && self.server.get(KIND, "default", &name).is_some() {
            self.server
                .delete(KIND, "default", &name)
                .expect("the object is there");
            self.note();
        } else {
            self.put(&name);
        }
    }

    /// Runs a reflector from a quiet start through the fault into calm, and checks everything on the way.
    async fn play(self, play: Play, strike: impl FnOnce(&ApiServer) + Send) -> Reflector<ConfigMap> {
        let store = if play.step_by_step {
            Checked::against(Arc::clone(&self.truth), play.excused)
        } else {
            Checked::default()
        };
        let source = ApiListWatch::<ConfigMap>::namespaced(self.server.client(), "default");
        let source = if play.streaming {
            source
        } else {
            source.no_streaming_lists()
        };
        let reflector = (play.build)(Reflector::builder(source, store.clone()).seed(11)).build();
        let life = async {
            strike(&self.server);
            for _ in 0..play.seconds / 5 {
                sleep(Duration::from_secs(5)).await;
                self.step();
            }
            self.server.faults().clear();
            self.server.faults().refuse_connections(false);
            for name in play.excused {
                // A new version is what lets an object out of quarantine.
                self.put(name);
            }
            sleep(Duration::from_secs(135)).await;
        };
        reflector
            .run(life)
            .await
            .expect("nothing a server does ends a run");
        assert_eq!(store.contents(), self.contents(), "I1 in the end");
        let asked = self.server.requests();
        let lists = asked.count(|request| request.verb == Verb::List && request.resource == KIND);
        assert!(
            lists <= play.lists_max,
            "I9: {lists} lists, at most {}",
            play.lists_max
        );
        let times: Vec<_> = asked
            .matching(|request| {
                request.resource == KIND && request.user_agent.is_empty() && request.query_is_ours()
            })
            .iter()
            .map(|request| request.at)
            .collect();
        let busiest = times
            .iter()
            .map(|start| {
                times
                    .iter()
                    .filter(|at| **at >= *start && **at < *start + Duration::from_secs(60))
                    .count()
            })
            .max();
        assert!(busiest.unwrap_or(0) <= 9, "I9: {busiest:?} requests in a minute");
        reflector
    }
}

trait Ours {
    fn query_is_ours(&self) -> bool;
}

impl Ours for informer_testkit::Request {
    fn query_is_ours(&self) -> bool {
        matches!(self.verb, Verb::List | Verb::Watch | Verb::Get)
    }
}

fn world() -> World {
    World::new(ApiServer::new())
}

macro_rules! rows {
    ($($name:ident: $play:expr, $strike:expr;)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            world().play($play, $strike).await;
        }
    )*};
}

fn inject(on: On, fault: Fault) -> impl FnOnce(&ApiServer) + Send {
    move |server: &ApiServer| {
        server.faults().inject(on, fault);
    }
}

fn watch() -> On {
    On::watch(KIND)
}

fn list() -> On {
    On::list(KIND)
}

rows! {
    no_fault_at_all: Play { lists_max: 1, ..Play::default() }, |_| {};
    no_fault_at_all_streaming: Play { lists_max: 0, streaming: true, ..Play::default() }, |_| {};
    t2_connections_cut_in_lines: Play { lists_max: 1, ..Play::default() },
        inject(watch(), Fault::CutAt { byte: 5000 });
    t2_connections_reset: Play { lists_max: 1, ..Play::default() }, inject(watch(), Fault::ResetAt { byte: 3000 });
    t2_connections_reset_before_events: Play { lists_max: 1, ..Play::default() },
        inject(watch().skip(3).times(20), Fault::ResetBefore);
    t3_truncated_lines: Play { lists_max: 20, ..Play::default() },
        inject(watch().skip(5).times(3), Fault::TruncateLine);
    t3_garbage_lines: Play { lists_max: 20, ..Play::default() },
        inject(watch().skip(5).times(6), Fault::raw_line("{\"type\":\"ADDED\",\"obj\n"));
    t4_half_open_connections: Play { lists_max: 20, ..Play::default() },
        inject(watch().skip(12).times(2), Fault::StallBefore);
    t5_lists_never_answered: Play { lists_max: 3, ..Play::default() }, inject(list().times(2), Fault::Hang);
    t5_watches_never_answered: Play { lists_max: 1, ..Play::default() }, inject(watch().times(2), Fault::Hang);
    t6_a_drip: Play { lists_max: 3, ..Play::default() },
        inject(list().times(2), Fault::Drip { bytes: 1, every: Duration::from_secs(10) });
    t7_refused: Play { lists_max: 1, ..Play::default() }, |server: &ApiServer| {
        let server = server.clone();
        server.faults().inject(watch().skip(1).times(12), Fault::Refuse);
        server.faults().inject(watch().times(1), Fault::ResetBefore);
    };
    t8_html: Play { lists_max: 4, ..Play::default() }, |server: &ApiServer| {
        server.faults().inject(list().times(2), Fault::Html { code: 200 });
        server.faults().inject(watch().times(2), Fault::Html { code: 502 });
    };
    t10_unauthorized: Play { lists_max: 4, ..Play::default() }, |server: &ApiServer| {
        server.faults().inject(list().times(1), Fault::status(401));
        server.faults().inject(watch().times(3), Fault::status(401));
    };
    t10_forbidden: Play { lists_max: 3, ..Play::default() }, inject(list().times(2), Fault::status(403));
    t11_watches_close_at_once: Play { lists_max: 1, ..Play::default() }, inject(watch(), Fault::EofAt { byte: 0 });
    t11_watches_close_before_events: Play { lists_max: 1, ..Play::default() },
        inject(watch().times(30), Fault::CloseBefore);
    p1_gone_in_the_stream: Play { lists_max: 12, ..Play::default() }, inject(watch().skip(4).times(5), Fault::GoneEvent);
    p2_gone_as_status: Play { lists_max: 12, ..Play::default() }, inject(watch().times(5), Fault::Gone);
    p4_too_large: Play { lists_max: 4, ..Play::default() }, |server: &ApiServer| {
        server.faults().inject(watch().skip(3).times(1), Fault::GoneEvent);
        server.faults().inject(list().skip(1).times(1), Fault::TooLargeVersion);
    };
    p7_a_lost_event_and_an_audit: Play {
        lists_max: 40,
        step_by_step: false,
        build: |builder| builder.audit(Duration::from_secs(60)),
        ..Play::default()
    }, inject(watch().skip(6).times(3), Fault::DropEvent);
    p9_bookmarks_without_a_version: Play { lists_max: 30, ..Play::default() },
        inject(watch(), Fault::BookmarkVersion { version: String::new() });
    p9_bookmarks_with_garbage: Play { lists_max: 30, ..Play::default() },
        inject(watch(), Fault::BookmarkVersion { version: "soon".into() });
    p10_duplicates: Play { lists_max: 1, ..Play::default() }, inject(watch(), Fault::DuplicateEvent);
    p10_reordered: Play { lists_max: 30, step_by_step: false, ..Play::default() },
        inject(watch().skip(4).times(20), Fault::ReorderEvent);
    p15_unknown_types: Play { lists_max: 20, ..Play::default() }, inject(watch().skip(4).times(3), Fault::UnknownType);
    p15_errors_in_the_stream: Play { lists_max: 1, ..Play::default() },
        inject(watch().skip(4).times(4), Fault::ErrorEvent { code: 500, reason: None, message: None });
    p16_refused: Play { lists_max: 1, streaming: true, ..Play::default() },
        inject(watch(), Fault::WatchListRefused { in_stream: false });
    p16_refused_in_the_stream: Play { lists_max: 1, streaming: true, ..Play::default() },
        inject(watch(), Fault::WatchListRefused { in_stream: true });
    p17_no_end_of_initial_events: Play { lists_max: 1, streaming: true, ..Play::default() },
        inject(watch(), Fault::NoInitialEventsEnd);
    p20_the_kind_is_away: Play { lists_max: 60, ..Play::default() }, inject(On::any().resource(KIND), Fault::status(404));
    p20_the_webhook_is_down: Play { lists_max: 80, streaming: true, ..Play::default() },
        inject(On::any().resource(KIND), Fault::status(500));
    l1_throttled: Play { lists_max: 4, ..Play::default() }, |server: &ApiServer| {
        server.faults().inject(list().times(2), Fault::too_many_requests("5"));
        server.faults().inject(watch().times(2), Fault::too_many_requests("5"));
    };
    l2_throttled_for_days: Play { lists_max: 4, ..Play::default() },
        inject(list().times(2), Fault::too_many_requests("100000"));
    l5_oversize_lines: Play { lists_max: 20, excused: &["m03"], ..Play::default() },
        inject(watch().name("m03").times(4), Fault::OversizeLine { bytes: 20 << 20 });
    l6_one_token_again_and_again: Play {
        lists_max: 4,
        build: |builder| builder.page_size(Some(5)),
        ..Play::default()
    }, inject(list(), Fault::RepeatContinue);
    p3_expired_pages: Play {
        lists_max: 4,
        build: |builder| builder.page_size(Some(5)),
        ..Play::default()
    }, inject(list(), Fault::ContinueExpired);
    l7_and_l8_objects_nobody_can_decode: Play { lists_max: 1, excused: &["m03", "m07"], ..Play::default() },
        |server: &ApiServer| {
            server.faults().inject(On::any().name("m03"), Fault::Undecodable);
            server.faults().inject(On::any().name("m07"), Fault::Undecodable);
        };
    lists_with_no_version: Play { lists_max: 3, ..Play::default() },
        inject(list().times(2), Fault::ListVersion { version: String::new() });
    everything_cut_in_pieces: Play { lists_max: 12, streaming: true, ..Play::default() }, |server: &ApiServer| {
        server.faults().inject(watch().skip(7).times(9), Fault::ResetAt { byte: 1000 });
        server.faults().inject(watch().skip(20).times(2), Fault::TruncateLine);
        server.faults().inject(watch().skip(30).times(3), Fault::GoneEvent);
        server.faults().inject(watch().skip(40).times(5), Fault::DuplicateEvent);
    };
}

#[tokio::test(start_paused = true)]
async fn p5_a_server_restored_from_an_older_state() {
    rewound(ApiServer::restore, 650).await;
}

#[tokio::test(start_paused = true)]
async fn p5_a_server_restored_while_its_open_watches_hang() {
    // They go on sending the bookmark they know, so that only a probe after the next watch can show it.
    rewound(ApiServer::rewind, 1300).await;
}

async fn rewound(rewind: fn(&ApiServer, &informer_testkit::Snapshot), seconds: u64) {
    let world = world();
    let server = world.server.clone();
    let old = server.snapshot();
    for _ in 0..50 {
        world.step();
    }
    let store = Checked::default();
    let source = ApiListWatch::<ConfigMap>::namespaced(server.client(), "default");
    let reflector = Reflector::builder(source, store.clone()).seed(11).build();
    let life = async {
        sleep(Duration::from_secs(70)).await;
        rewind(&server, &old);
        sleep(Duration::from_secs(seconds)).await;
    };
    reflector.run(life).await.expect("a rewind ends nothing");
    assert_eq!(store.contents(), world.contents());
    assert_eq!(store.rewound(), 1);
}

/// Each source notices for itself; the store claims the older version with the first of them, and what another source
/// brought stays until its own list tells otherwise.
#[tokio::test(start_paused = true)]
async fn p5_several_namespaces_of_a_server_restored_from_an_older_state() {
    const NAMESPACES: [&str; 2] = ["default", "kube-system"];
    let server = ApiServer::new();
    let put = |namespace: &str, name: &str, value: u32| {
        let data = json!({"v": value.to_string()});
        if server.get(KIND, namespace, name).is_some() {
            server.patch(KIND, namespace, name, json!({"data": data}))
        } else {
            let metadata = json!({"name": name, "namespace": namespace});
            server.create(KIND, json!({"metadata": metadata, "data": data}))
        }
        .expect("the server takes it");
    };
    let held = |namespace: &str| {
        let text = |object: &serde_json::Value, field: &str| {
            object["metadata"][field].as_str().unwrap_or_default().to_owned()
        };
        let objects = server.list(KIND, Some(namespace));
        let items = objects
            .iter()
            .map(|object| (text(object, "name"), text(object, "resourceVersion")));
        items.collect::<BTreeMap<_, _>>()
    };
    for namespace in NAMESPACES {
        put(namespace, "stays", 0);
        put(namespace, "changes", 0);
    }
    let old = server.snapshot();
    for value in 1..30 {
        for namespace in NAMESPACES {
            put(namespace, "changes", value);
            put(namespace, "is-forgotten", value);
        }
    }
    let cache = informer_store::Cache::<ConfigMap>::new();
    let mut changes = cache.subscribe();
    let [first, second] =
        NAMESPACES.map(|namespace| ApiListWatch::<ConfigMap>::namespaced(server.client(), namespace));
    let reflector = Reflector::builder(first, cache.clone())
        .also(second)
        .seed(11)
        .build();
    let life = async {
        sleep(Duration::from_secs(70)).await;
        let before = cache.resource_version();
        assert_eq!(before.as_u64(), Some(server.revision()));
        server.restore(&old);
        for _ in 0..650 {
            sleep(Duration::from_secs(1)).await;
            let rewinds = reflector.stats().rewinds;
            let claimed = cache.resource_version();
            assert_eq!(claimed < before, rewinds > 0, "{claimed} after {rewinds} rewinds");
        }
    };
    reflector.run(life).await.expect("a rewind ends nothing");
    assert_eq!(reflector.stats().rewinds, 2, "both declare it");
    assert_eq!(cache.resource_version().as_u64(), Some(server.revision()));
    for namespace in NAMESPACES {
        let mine = cache.snapshot();
        let mine = mine
            .entries()
            .filter(|(key, _)| key.namespace() == Some(namespace));
        let mine: BTreeMap<_, _> = mine
            .map(|(key, object)| {
                let version = object.metadata.resource_version.clone();
                (key.name().to_owned(), version.unwrap_or_default())
            })
            .collect();
        assert_eq!(mine, held(namespace), "{namespace}");
    }
    let mut told = Vec::new();
    while let Some(Some(change)) = futures::FutureExt::now_or_never(futures::StreamExt::next(&mut changes)) {
        if matches!(change, informer_store::Change::Deleted { .. }) {
            told.push(change.key().to_string());
        }
    }
    told.sort();
    assert_eq!(told, ["default/is-forgotten", "kube-system/is-forgotten"], "I7");
}

#[tokio::test(start_paused = true)]
async fn p6_a_replica_that_lags_behind_never_takes_the_store_back() {
    let server = ApiServer::builder().replicas(2).build();
    let world = World::new(server.clone());
    let store = Checked::against(Arc::clone(&world.truth), &[]);
    let clients = [server.replica(0).client(), server.replica(1).client()];
    let turn = std::sync::atomic::AtomicUsize::new(0);
    let [first, second] = clients;
    let source = ApiListWatch::<ConfigMap>::namespaced(first, "default")
        .no_streaming_lists()
        .fresh_clients(move || {
            turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            second.clone()
        });
    let reflector = Reflector::builder(source, store.clone()).seed(11).build();
    let life = async {
        for round in 0..40 {
            sleep(Duration::from_secs(10)).await;
            if round % 8 == 2 {
                server.replica(0).freeze();
            }
            if round % 8 == 6 {
                server.replica(0).thaw();
            }
            world.step();
        }
        server.replica(0).thaw();
        sleep(Duration::from_secs(200)).await;
    };
    reflector.run(life).await.expect("a lagging replica ends nothing");
    assert_eq!(store.contents(), world.contents());
    assert_eq!(store.rewound(), 0);
}

#[tokio::test(start_paused = true)]
async fn p12_and_p13_objects_that_come_and_go_while_nobody_looks() {
    let world = world();
    let server = world.server.clone();
    let store = Checked::against(Arc::clone(&world.truth), &[]);
    let source = ApiListWatch::<ConfigMap>::namespaced(server.client(), "default");
    let reflector = Reflector::builder(source, store.clone()).seed(11).build();
    let life = async {
        sleep(Duration::from_secs(10)).await;
        server.faults().inject(watch(), Fault::Refuse);
        server.faults().inject(watch().times(1), Fault::ResetBefore);
        world.put("m00");
        sleep(Duration::from_secs(1)).await;
        server.delete(KIND, "default", "m01").expect("there");
        world.note();
        server.delete(KIND, "default", "m02").expect("there");
        world.note();
        world.put("m02");
        server.compact();
        sleep(Duration::from_secs(5)).await;
        server.faults().clear();
        sleep(Duration::from_secs(60)).await;
    };
    reflector.run(life).await.expect("a gap ends nothing");
    assert_eq!(store.contents(), world.contents());
    assert!(
        !store.contents().iter().any(|item| item.starts_with("m01@")),
        "I7"
    );
}

/// The same over sockets: a few rows, in real time, without a clock to wait for.
#[tokio::test]
async fn over_loopback_lists_watches_and_survives_resets() {
    let world = world();
    let server = world.server.clone();
    let listener = server.listen_on_loopback().await.expect("loopback is there");
    let store = Checked::against(Arc::clone(&world.truth), &[]);
    let client = listener.client().expect("a client of the listener");
    let source = ApiListWatch::<ConfigMap>::namespaced(client, "default");
    let mut backoff = informer_reflector::BackoffConfig::default();
    backoff.initial = Duration::from_millis(1);
    let reflector = Reflector::builder(source, store.clone()).backoff(backoff).build();
    server
        .faults()
        .inject(watch().skip(30).times(2), Fault::ResetBefore);
    server
        .faults()
        .inject(watch().skip(40).times(1), Fault::GoneEvent);
    let life = async {
        let mut state = reflector.state();
        let synced = |state: &informer_reflector::SyncState| state.as_str() == "synced";
        state.wait_for(synced).await.expect("the reflector runs");
        for _ in 0..60 {
            world.step();
            let at = server.revision();
            while reflector.resource_version().as_u64() < Some(at) {
                tokio::task::yield_now().await;
            }
        }
    };
    reflector.run(life).await.expect("resets end nothing");
    assert_eq!(store.contents(), world.contents());
    listener.shutdown().await;
}
