//! A server that serves none of several sources gets no more requests than from one; as soon as it serves one again the
//! others follow (I9).

use std::time::Duration;

use informer_reflector::{ApiListWatch, ListPermits, Reflector, ReflectorBuilder, StreamingLists};
use informer_store::Cache;
use informer_testkit::{ApiServer, Fault, On};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use tokio::time::{Instant, sleep};

const KIND: &str = "configmaps";

/// A server with so many namespaces, and a reflector of all of them.
struct World {
    server: ApiServer,
    namespaces: Vec<String>,
    cache: Cache<ConfigMap>,
    reflector: Reflector<ConfigMap>,
    begun: Instant,
}

impl World {
    fn new(namespaces: usize, seed: u64) -> Self {
        Self::with(namespaces, seed, |builder| builder)
    }

    fn with(
        namespaces: usize,
        seed: u64,
        configure: impl FnOnce(ReflectorBuilder<ConfigMap>) -> ReflectorBuilder<ConfigMap>,
    ) -> Self {
        let server = ApiServer::builder().seed(seed).build();
        let begun = Instant::now();
        let namespaces: Vec<_> = (0..namespaces).map(|at| format!("n{at:02}")).collect();
        let cache = Cache::new();
        let source = |namespace: &str| ApiListWatch::<ConfigMap>::namespaced(server.client(), namespace);
        let first = Reflector::builder(source(&namespaces[0]), cache.clone());
        let others = namespaces.iter().skip(1);
        let all = others.fold(first, |builder, namespace| builder.also(source(namespace)));
        let reflector = configure(all).seed(seed).build();
        Self {
            server,
            namespaces,
            cache,
            reflector,
            begun,
        }
    }

    /// One more object in every namespace.
    fn write(&self, name: &str) {
        for namespace in &self.namespaces {
            let metadata = json!({"name": name, "namespace": namespace});
            self.server
                .create(KIND, json!({"metadata": metadata}))
                .expect("it is new");
        }
    }

    fn has(&self, namespace: &str, name: &str) -> bool {
        self.cache.get(namespace, name).is_some()
    }

    /// How long it takes until every namespace has `name`.
    async fn waits_for(&self, name: &str) -> Duration {
        let begun = Instant::now();
        while !self.namespaces.iter().all(|namespace| self.has(namespace, name)) {
            assert!(begun.elapsed() < Duration::from_secs(600), "{name} never comes");
            sleep(Duration::from_millis(50)).await;
        }
        begun.elapsed()
    }

    /// When requests arrived, since the world began.
    fn requests(&self, from: Instant) -> Vec<Duration> {
        let all = self.server.requests().all();
        let times = all.into_iter().map(|request| request.at);
        times.filter(|at| *at >= from - self.begun).collect()
    }

    async fn run(&self, life: impl Future<Output = ()> + Send) {
        self.reflector.run(life).await.expect("an outage ends nothing");
    }
}

/// The most of them in any 60 s.
fn busiest_minute(times: &[Duration]) -> usize {
    let within = |start: Duration| {
        let end = start + Duration::from_secs(60);
        times.iter().filter(|at| **at >= start && **at < end).count()
    };
    times.iter().map(|start| within(*start)).max().unwrap_or(0)
}

/// How an outage begins, and what every request comes to while it lasts.
type Outage = (&'static str, fn(&ApiServer));

const OUTAGES: [Outage; 10] = [
    ("connections are reset and refused", |server| {
        server.faults().refuse_connections(true);
        server.watches().reset();
    }),
    ("watches end and connections are refused", |server| {
        server.faults().refuse_connections(true);
        server.watches().close();
    }),
    ("503", |server| {
        server.faults().inject(On::any(), Fault::status(503));
        server.watches().reset();
    }),
    ("401", |server| {
        server.faults().inject(On::any(), Fault::status(401));
        server.watches().close();
    }),
    ("403", |server| {
        server.faults().inject(On::any(), Fault::status(403));
        server.watches().close();
    }),
    ("410", |server| {
        server.faults().inject(On::any(), Fault::Gone);
        server.watches().close();
    }),
    ("pages for people", |server| {
        server.faults().inject(On::any(), Fault::Html { code: 200 });
        server.watches().reset();
    }),
    ("no answers", |server| {
        server.faults().inject(On::any(), Fault::Hang);
        server.watches().reset();
    }),
    ("silence", |server| {
        server.faults().inject(On::any(), Fault::Hang);
        server.watches().stall();
    }),
    ("watches that end at once", |server| {
        server.faults().inject(On::any(), Fault::EofAt { byte: 0 });
        server.watches().reset();
    }),
];

/// After the server is back: one is served at its next attempt, which the budget allows within 61 s, and the others half a
/// second later. An attempt that the server has left without an answer is given up first.
fn back_within(what: &str) -> Duration {
    Duration::from_secs(if matches!(what, "no answers" | "silence") {
        130
    } else {
        62
    })
}

#[tokio::test(start_paused = true)]
async fn i9_a_server_that_serves_no_source_gets_as_many_requests_as_from_one() {
    for (what, begins) in OUTAGES {
        for (namespaces, seed) in [(2, 1), (5, 2), (5, 3), (20, 4)] {
            let world = World::new(namespaces, seed);
            world.write("before");
            let life = async {
                world.waits_for("before").await;
                sleep(Duration::from_secs(200)).await;
                let down = Instant::now();
                begins(&world.server);
                sleep(Duration::from_secs(600)).await;
                let asked = world.requests(down);
                let busiest = busiest_minute(&asked);
                assert!(
                    busiest <= 8,
                    "{what}, {namespaces} sources: {busiest} in a minute"
                );
                assert!(
                    asked.len() >= 8,
                    "{what}, {namespaces} sources: it goes on trying"
                );
                world.write("after");
                world.server.faults().clear();
                let back = world.waits_for("after").await;
                assert!(
                    back <= back_within(what),
                    "{what}, {namespaces} sources: {back:?}"
                );
            };
            world.run(life).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn i9_a_server_that_is_not_there_yet_gets_as_many_requests_as_from_one() {
    for namespaces in [2, 5, 20] {
        let world = World::new(namespaces, 1);
        world.write("before");
        world.server.faults().refuse_connections(true);
        let life = async {
            let down = Instant::now();
            sleep(Duration::from_secs(600)).await;
            let busiest = busiest_minute(&world.requests(down));
            assert!(busiest <= 8, "{namespaces} sources: {busiest} in a minute");
            world.server.faults().refuse_connections(false);
            let back = world.waits_for("before").await;
            assert!(back <= back_within(""), "{namespaces} sources: {back:?}");
        };
        world.run(life).await;
    }
}

/// What waits for a place among the lists was let through while the server was well: it is asked again when it has one.
#[tokio::test(start_paused = true)]
async fn i9_a_server_that_goes_down_during_lists_in_pages_gets_as_many_requests_as_from_one() {
    for (what, begins) in OUTAGES {
        for (after, seed) in (120..1460).step_by(149).zip(1..) {
            // As many as there are permits may be on their way before anybody knows that no answer comes.
            let silent = back_within(what) > back_within("");
            let slower = if silent { 1 } else { 1 + seed % 2 * 2 };
            let world = World::with(20, seed, |builder| {
                let permits = ListPermits::new(4 * slower as usize);
                let builder = builder.streaming_lists(StreamingLists::Off).permits(&permits);
                builder.page_size(Some(2))
            });
            for at in 0..5 {
                world.write(&format!("m{at}"));
            }
            for (at, namespace) in (0..).zip(&world.namespaces) {
                let delay = Duration::from_millis((70 + 3 * at) * slower);
                let list = On::list(KIND).namespace(namespace);
                world.server.faults().inject(list, Fault::Latency { delay });
            }
            let life = async {
                sleep(Duration::from_millis(after)).await;
                let listed = world.reflector.stats().lists_taken;
                assert!(listed < 20, "all are listed within {after} ms");
                world.server.faults().clear();
                begins(&world.server);
                let down = Instant::now();
                sleep(Duration::from_secs(400)).await;
                let asked = world.requests(down);
                let busiest = busiest_minute(&asked);
                assert!(busiest <= 8, "{what} after {after} ms: {busiest} in a minute");
                assert!(asked.len() >= 8, "{what} after {after} ms: it goes on trying");
                let stats = world.reflector.stats();
                let counted = stats.pages + stats.watches;
                assert_eq!(
                    counted,
                    world.requests(world.begun).len() as u64,
                    "{what} {after}: what was put off was not sent"
                );
                world.server.faults().clear();
                let back = world.waits_for("m4").await;
                assert!(back <= back_within(what), "{what} after {after} ms: {back:?}");
            };
            world.run(life).await;
        }
    }
}

/// Twenty sources are served at once by a server that is well, whatever becomes of one of them.
#[tokio::test(start_paused = true)]
async fn a_source_that_fails_alone_keeps_no_other_waiting() {
    for fault in [Fault::status(403), Fault::status(500), Fault::Refuse, Fault::Hang] {
        let world = World::new(20, 1);
        world.write("before");
        let life = async {
            let begun = Instant::now();
            world.waits_for("before").await;
            assert!(begun.elapsed() < Duration::from_secs(1));
            world
                .server
                .faults()
                .inject(On::any().namespace("n00"), fault.clone());
            world.server.watches().of(KIND).reset();
            sleep(Duration::from_secs(10)).await;
            for round in 0..60 {
                let name = format!("m{round:02}");
                world.write(&name);
                sleep(Duration::from_secs(2)).await;
                for namespace in &world.namespaces[1..] {
                    assert!(world.has(namespace, &name), "{fault:?}: {namespace}/{name}");
                }
                assert!(!world.has("n00", &name));
                if round % 10 == 9 {
                    world.server.watches().of(KIND).close();
                }
            }
            world.server.faults().clear();
            let back = world.waits_for("m59").await;
            assert!(back < Duration::from_secs(120), "{back:?}");
        };
        world.run(life).await;
    }
}

/// Of a server that serves one source only, the others find out for themselves when it serves them.
#[tokio::test(start_paused = true)]
async fn a_server_that_serves_one_of_many_again_is_found_out() {
    let world = World::new(20, 1);
    world.write("before");
    let life = async {
        world.waits_for("before").await;
        let refused: Vec<_> = world
            .namespaces
            .iter()
            .map(|namespace| {
                world
                    .server
                    .faults()
                    .inject(On::any().namespace(namespace), Fault::status(403))
            })
            .collect();
        world.server.watches().close();
        sleep(Duration::from_secs(600)).await;
        world.write("after");
        refused[13].remove();
        let begun = Instant::now();
        while !world.has("n13", "after") {
            sleep(Duration::from_secs(1)).await;
        }
        // Each has its turn: eight a minute, and twenty of them.
        assert!(
            begun.elapsed() < Duration::from_secs(240),
            "{:?}",
            begun.elapsed()
        );
    };
    world.run(life).await;
}
