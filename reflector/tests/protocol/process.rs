//! Faults of the process: R1, R5, R7, R8; and what must never be written down.

use std::{
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, StreamExt};
use informer_reflector::{
    ApiClient, ApiListWatch, Error, ErrorKind, Event, EventStream, Held, Item, ListRequest, ListStream,
    ListWatch, Reflector, StreamingLists, SyncState, WatchRequest, listed,
};
use informer_store::{Cache, Change};
use k8s_openapi::api::core::v1::ConfigMap;

use crate::support::*;

/// Ends a future after so many polls.
struct AbortAt<F> {
    future: F,
    polls: usize,
}

impl<F: Future + Unpin> Future for AbortAt<F> {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        if self.polls == 0 {
            return Poll::Ready(false);
        }
        self.polls -= 1;
        Pin::new(&mut self.future).poll(cx).map(|_| true)
    }
}

fn script() -> Server {
    Server::new(|seen| {
        if seen.is_watch() {
            return match seen.param("resourceVersion").as_deref() {
                Some("10") => Answer::ok([
                    pause(1),
                    modified("a", 11),
                    pause(1),
                    deleted("b", 12),
                    Piece::Reset,
                ]),
                _ => Answer::watch([pause(1), added("c", 13), bookmark("20")]),
            };
        }
        if seen.param("resourceVersion").is_some() {
            return Answer::ok([pause(1), text(list("20", &[object("a", 11), object("c", 13)]))]);
        }
        match seen.param("continue") {
            None if seen.param("limit").is_some() => {
                Answer::ok([pause(1), text(page("10", "t", &[object("a", 3)]))])
            }
            _ => Answer::ok([pause(1), text(list("10", &[object("b", 5)]))]),
        }
    })
}

#[tokio::test(start_paused = true)]
async fn r1_a_run_dropped_at_any_await_leaves_a_store_that_the_next_run_completes() {
    for polls in 1..60 {
        let rig = Rig::plain(script());
        {
            let run = Box::pin(rig.reflector.run(std::future::pending()));
            let ended = tokio::time::timeout(Duration::from_secs(30), AbortAt { future: run, polls }).await;
            assert_ne!(ended, Ok(true), "nothing ends a run");
        }
        assert_eq!(*rig.reflector.state().borrow(), SyncState::Stopped);
        let log = rig.store.log();
        assert!(
            log.is_empty() || log[0].starts_with("replace"),
            "the first call is replace"
        );
        rig.run(30).await;
        assert_eq!(rig.store.contents(), ["a@11", "c@13"], "after {polls} polls");
    }
}

/// Gives way before each call is carried out, and after.
#[derive(Clone)]
struct Hesitant(Cache<ConfigMap>);

#[async_trait::async_trait]
impl informer_store::ReflectorStore<ConfigMap> for Hesitant {
    async fn replace(
        &self,
        it: informer_store::Replacement<ConfigMap>,
    ) -> Result<(), informer_store::Closed> {
        tokio::task::yield_now().await;
        self.0.replace(it).await?;
        tokio::task::yield_now().await;
        Ok(())
    }
    async fn add(&self, it: informer_store::Entry<ConfigMap>) -> Result<(), informer_store::Closed> {
        tokio::task::yield_now().await;
        self.0.add(it).await?;
        tokio::task::yield_now().await;
        Ok(())
    }
    async fn update(&self, it: informer_store::Entry<ConfigMap>) -> Result<(), informer_store::Closed> {
        tokio::task::yield_now().await;
        self.0.update(it).await?;
        tokio::task::yield_now().await;
        Ok(())
    }
    async fn delete(&self, it: informer_store::Tombstone<ConfigMap>) -> Result<(), informer_store::Closed> {
        tokio::task::yield_now().await;
        self.0.delete(it).await?;
        tokio::task::yield_now().await;
        Ok(())
    }
    async fn resync(&self, it: informer_store::ResyncPart) -> Result<(), informer_store::Closed> {
        tokio::task::yield_now().await;
        self.0.resync(it).await
    }
    async fn bookmark(&self, it: informer_store::ResourceVersion) -> Result<(), informer_store::Closed> {
        tokio::task::yield_now().await;
        self.0.bookmark(it).await
    }
    async fn merge(
        &self,
        it: informer_store::Delta<ConfigMap>,
        reached: Option<informer_store::ResourceVersion>,
    ) -> Result<(), informer_store::Closed> {
        tokio::task::yield_now().await;
        self.0.merge(it, reached).await?;
        tokio::task::yield_now().await;
        Ok(())
    }
    fn held(&self, key: informer_store::KeyRef<'_>, uid: &str, version: &str) -> Option<Arc<ConfigMap>> {
        self.0.held(key, uid, version)
    }
}

/// Within the store's own waits as well, of one source and of two, with lists of either kind: what a handler is told
/// over both runs fits together.
#[tokio::test(start_paused = true)]
async fn r1_a_run_dropped_while_the_store_hesitates_tells_handlers_nothing_twice() {
    for (streaming, several) in [(false, false), (true, false), (false, true), (true, true)] {
        for polls in 1..90 {
            let server = Server::new(move |seen| {
                let (from, other) = (seen.param("resourceVersion"), seen.uri.contains("/other/"));
                let here = |name: &str, version| {
                    let object = object(name, version);
                    if other {
                        object.replace("\"default\"", "\"other\"")
                    } else {
                        object
                    }
                };
                let (a, b) = (here("a", 3), here("b", 5));
                let news = [
                    event("MODIFIED", &here("a", 11)),
                    event("DELETED", &here("b", 12)),
                    event("ADDED", &here("c", 13)),
                    pause(1),
                    bookmark("14"),
                ];
                match (seen.is_watch(), from.as_deref()) {
                    (true, None) => {
                        let initial = [event("ADDED", &a), event("ADDED", &b), initial_end("10")];
                        Answer::watch(initial.into_iter().chain(news))
                    }
                    (true, _) if seen.param("sendInitialEvents").is_some() => {
                        let all = [event("ADDED", &here("a", 11)), event("ADDED", &here("c", 13))];
                        Answer::watch(all.into_iter().chain([initial_end("14")]))
                    }
                    (true, Some("10")) => Answer::watch(news),
                    (true, _) => Answer::watch([]),
                    (false, None) => Answer::list("10", &[a, b]),
                    (false, Some(_)) => Answer::list("14", &[here("a", 11), here("c", 13)]),
                }
            });
            let cache = Cache::<ConfigMap>::new();
            let mut changes = cache.subscribe();
            let client = ApiClient::from(server.client());
            let source = |namespace: &str| ApiListWatch::<ConfigMap>::namespaced(&client, namespace);
            let mut builder = Reflector::builder(source("default"), Hesitant(cache.clone()));
            if several {
                builder = builder.also(source("other"));
            }
            let lists = if streaming {
                StreamingLists::Auto
            } else {
                StreamingLists::Off
            };
            let reflector = builder.streaming_lists(lists).build();
            {
                let run = Box::pin(reflector.run(std::future::pending()));
                let ended =
                    tokio::time::timeout(Duration::from_secs(3), AbortAt { future: run, polls }).await;
                assert_ne!(ended, Ok(true), "nothing ends a run");
            }
            reflector
                .run(tokio::time::sleep(Duration::from_secs(20)))
                .await
                .expect("nothing ends a run");
            let told = format!("after {polls} polls, streaming: {streaming}, several: {several}");
            let mut mine = std::collections::BTreeMap::new();
            while let Some(Some(change)) = changes.next().now_or_never() {
                let key = change.key().to_string();
                let before = match &change {
                    Change::Deleted { .. } => mine.remove(&key),
                    _ => mine.insert(key.clone(), change.object().metadata.resource_version.clone()),
                };
                assert_eq!(
                    before.is_none(),
                    matches!(change, Change::Added { .. }),
                    "H1: {key}, {told}"
                );
            }
            let namespaces = if several {
                &["default", "other"][..]
            } else {
                &["default"]
            };
            let all = namespaces.iter().flat_map(|namespace| {
                [("a", "11"), ("c", "13")]
                    .map(|(name, version)| (format!("{namespace}/{name}"), Some(version.to_owned())))
            });
            assert_eq!(mine, all.collect(), "H2, {told}");
            assert_eq!(cache.resource_version().to_string(), "14", "{told}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn r1_a_second_run_begins_with_a_list_and_decodes_nothing_twice() {
    let server = Server::script(
        vec![Answer::list("10", &[object("a", 3)])],
        vec![Answer::watch([])],
    );
    let rig = Rig::plain(server);
    rig.run(5).await;
    rig.run(5).await;
    assert_eq!(rig.store.log(), ["replace 1@10", "replace 1@10"]);
    assert_eq!(rig.reflector.stats().held, 1);
    assert_eq!(rig.reflector.stats().lists, 2, "counts go on");
}

#[tokio::test(start_paused = true)]
async fn a_reflector_runs_once_at_a_time() {
    let rig = Rig::plain(Server::script(vec![Answer::Never], vec![]));
    let mut first = pin!(rig.reflector.run(std::future::pending()));
    assert!(futures::poll!(first.as_mut()).is_pending());
    let second = rig.reflector.run(std::future::pending()).await;
    assert_eq!(
        second.map_err(|error| error.kind()),
        Err(ErrorKind::AlreadyRunning)
    );
}

#[tokio::test(start_paused = true)]
async fn r5_an_hour_asleep_costs_at_most_one_relist() {
    let server = Server::new(|seen| {
        if seen.is_watch() {
            return match seen.param("resourceVersion").as_deref() {
                Some("10") => Answer::watch([bookmark("20")]),
                Some("20") => Answer::failure(410, "Expired", "old"),
                _ => Answer::watch([pause(1), bookmark("51")]),
            };
        }
        if seen.param("resourceVersion").is_some() {
            Answer::list("50", &[object("a", 40)])
        } else {
            Answer::list(
                if seen.param("limit").as_deref() == Some("1") {
                    "50"
                } else {
                    "10"
                },
                &[object("a", 3)],
            )
        }
    });
    let rig = Rig::with(
        server,
        |source| source.no_streaming_lists(),
        |builder| builder.resync(Duration::from_secs(60)),
    );
    let life = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        tokio::time::advance(Duration::from_secs(3600)).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
    };
    rig.reflector.run(life).await.expect("sleep ends nothing");
    assert_eq!(rig.store.contents(), ["a@40"]);
    assert!(rig.reflector.stats().relists_total() <= 1);
    assert!(rig.server.seen().len() <= 8, "{}", rig.server.seen().len());
    let resyncs = rig
        .store
        .log()
        .iter()
        .filter(|entry| entry.starts_with("resync"))
        .count();
    assert!(
        resyncs <= 45,
        "what was slept through is not made up for: {resyncs}"
    );
}

#[tokio::test(start_paused = true)]
async fn r7_a_shutdown_at_any_moment_ends_the_run() {
    for tenths in 0..80 {
        let rig = Rig::plain(script());
        let shutdown = tokio::time::sleep(Duration::from_millis(tenths * 100));
        let ended = tokio::time::timeout(Duration::from_secs(60), rig.reflector.run(shutdown)).await;
        assert!(matches!(ended, Ok(Ok(()))), "after {tenths}/10 s");
        assert_eq!(*rig.reflector.state().borrow(), SyncState::Stopped);
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_store_ends_the_run() {
    struct Full;

    #[async_trait::async_trait]
    impl informer_store::ReflectorStore<ConfigMap> for Full {
        async fn replace(
            &self,
            _: informer_store::Replacement<ConfigMap>,
        ) -> Result<(), informer_store::Closed> {
            Err(informer_store::Closed)
        }
        async fn add(&self, _: informer_store::Entry<ConfigMap>) -> Result<(), informer_store::Closed> {
            Ok(())
        }
        async fn update(&self, _: informer_store::Entry<ConfigMap>) -> Result<(), informer_store::Closed> {
            Ok(())
        }
        async fn delete(
            &self,
            _: informer_store::Tombstone<ConfigMap>,
        ) -> Result<(), informer_store::Closed> {
            Ok(())
        }
        async fn resync(&self, _: informer_store::ResyncPart) -> Result<(), informer_store::Closed> {
            Ok(())
        }
        async fn bookmark(&self, _: informer_store::ResourceVersion) -> Result<(), informer_store::Closed> {
            Ok(())
        }
    }

    let server = Server::script(vec![Answer::list("10", &[])], vec![Answer::watch([])]);
    let source = ApiListWatch::<ConfigMap>::all(server.client()).no_streaming_lists();
    let reflector = Reflector::builder(source, Full).build();
    let ended = reflector.run(std::future::pending()).await;
    assert_eq!(ended.map_err(|error| error.kind()), Err(ErrorKind::StoreClosed));
}

#[tokio::test(start_paused = true)]
async fn r8_a_subscriber_that_comes_during_a_list_misses_nothing() {
    for late in [0, 500, 1500, 2500, 3500, 4500] {
        let server = script();
        let cache = Cache::<ConfigMap>::new();
        let source = ApiListWatch::<ConfigMap>::namespaced(server.client(), "default").no_streaming_lists();
        let reflector = Reflector::builder(source, cache.clone()).seed(7).build();
        let follower = async {
            tokio::time::sleep(Duration::from_millis(late)).await;
            let mut changes = cache.subscribe();
            let mut mine = std::collections::BTreeMap::new();
            while let Ok(Some(change)) = tokio::time::timeout(Duration::from_secs(15), changes.next()).await {
                match change {
                    Change::Added { key, new, .. } => assert!(mine.insert(key, new).is_none(), "H1"),
                    Change::Updated { key, new, .. } => assert!(mine.insert(key, new).is_some(), "H1"),
                    Change::Deleted { key, .. } => assert!(mine.remove(&key).is_some(), "H1"),
                    _ => unreachable!("there is no fourth"),
                }
            }
            assert_eq!(mine.len(), 2, "H2, H3: joined after {late} ms");
        };
        tokio::select! {
            _ = reflector.run(std::future::pending()) => unreachable!("nothing ends the run"),
            () = follower => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_is_not_the_servers_fault() {
    let cache = Cache::<ConfigMap>::new();

    struct Slow(Cache<ConfigMap>);

    #[async_trait::async_trait]
    impl informer_store::ReflectorStore<ConfigMap> for Slow {
        async fn replace(
            &self,
            it: informer_store::Replacement<ConfigMap>,
        ) -> Result<(), informer_store::Closed> {
            tokio::time::sleep(Duration::from_secs(1000)).await;
            self.0.replace(it).await
        }
        async fn add(&self, it: informer_store::Entry<ConfigMap>) -> Result<(), informer_store::Closed> {
            tokio::time::sleep(Duration::from_secs(1000)).await;
            self.0.add(it).await
        }
        async fn update(&self, it: informer_store::Entry<ConfigMap>) -> Result<(), informer_store::Closed> {
            tokio::time::sleep(Duration::from_secs(1000)).await;
            self.0.update(it).await
        }
        async fn delete(
            &self,
            it: informer_store::Tombstone<ConfigMap>,
        ) -> Result<(), informer_store::Closed> {
            self.0.delete(it).await
        }
        async fn resync(&self, it: informer_store::ResyncPart) -> Result<(), informer_store::Closed> {
            self.0.resync(it).await
        }
        async fn bookmark(&self, it: informer_store::ResourceVersion) -> Result<(), informer_store::Closed> {
            self.0.bookmark(it).await
        }
    }

    let server = Server::script(
        vec![],
        vec![Answer::watch([
            added("a", 3),
            initial_end("10"),
            modified("a", 11),
            modified("a", 12),
            bookmark("13"),
        ])],
    );
    let source = ApiListWatch::<ConfigMap>::namespaced(server.client(), "default");
    let reflector = Reflector::builder(source, Slow(cache.clone())).build();
    let shutdown = tokio::time::sleep(Duration::from_secs(3010));
    reflector.run(shutdown).await.expect("slowness ends nothing");
    assert_eq!(cache.resource_version().to_string(), "13");
    assert_eq!(server.seen().len(), 1, "no request more");
}

/// I10: what the store has not taken yet says nothing of how old it is, and what arrived before it did is no news.
#[tokio::test(start_paused = true)]
async fn i10_the_age_counts_from_when_the_bytes_came_however_slow_the_store() {
    struct Slow(Cache<ConfigMap>);

    #[async_trait::async_trait]
    impl informer_store::ReflectorStore<ConfigMap> for Slow {
        async fn replace(
            &self,
            it: informer_store::Replacement<ConfigMap>,
        ) -> Result<(), informer_store::Closed> {
            self.0.replace(it).await
        }
        async fn add(&self, it: informer_store::Entry<ConfigMap>) -> Result<(), informer_store::Closed> {
            self.0.add(it).await
        }
        async fn update(&self, it: informer_store::Entry<ConfigMap>) -> Result<(), informer_store::Closed> {
            tokio::time::sleep(Duration::from_secs(60)).await;
            self.0.update(it).await
        }
        async fn delete(
            &self,
            it: informer_store::Tombstone<ConfigMap>,
        ) -> Result<(), informer_store::Closed> {
            self.0.delete(it).await
        }
        async fn resync(&self, it: informer_store::ResyncPart) -> Result<(), informer_store::Closed> {
            self.0.resync(it).await
        }
        async fn bookmark(&self, it: informer_store::ResourceVersion) -> Result<(), informer_store::Closed> {
            self.0.bookmark(it).await
        }
    }

    let events: Vec<_> = (11..31).map(|version| modified("a", version)).collect();
    let at_once = events.iter().fold(Vec::new(), |mut all, piece| {
        if let Piece::Bytes(bytes) = piece {
            all.extend_from_slice(bytes);
        }
        all
    });
    let start = [added("a", 3), initial_end("10"), pause(10)];
    let server = Server::script(
        vec![],
        vec![Answer::watch(
            start.into_iter().chain([Piece::Bytes(at_once.into())]),
        )],
    );
    let source = ApiListWatch::<ConfigMap>::namespaced(server.client(), "default");
    let reflector = Reflector::builder(source, Slow(Cache::new())).build();
    let life = async {
        tokio::time::sleep(Duration::from_secs(11)).await;
        for seconds in (0..19).map(|n| n * 60) {
            let age = reflector.age().expect("it has listed").as_secs();
            assert!(age >= seconds, "{age} after {seconds}");
            assert_eq!(reflector.is_stale(), seconds > 75, "after {seconds}");
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    };
    reflector.run(life).await.expect("slowness ends nothing");
}

/// A source that has something at any time, and says when it has been asked often enough.
struct Talker {
    enough: Arc<tokio::sync::Notify>,
    asked: Arc<std::sync::atomic::AtomicU64>,
}

#[async_trait::async_trait]
impl ListWatch<ConfigMap> for Talker {
    async fn list(&self, _: &ListRequest, _: &Held<ConfigMap>) -> Result<ListStream<ConfigMap>, Error> {
        Ok(listed([], "1"))
    }

    async fn watch(&self, _: &WatchRequest, _: &Held<ConfigMap>) -> Result<EventStream<ConfigMap>, Error> {
        let (enough, asked) = (Arc::clone(&self.enough), Arc::clone(&self.asked));
        let events = (2..1_000_000_u64).map(move |version| {
            if asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 10 {
                enough.notify_one();
            }
            let mut object = ConfigMap::default();
            object.metadata.name = Some(String::from("a"));
            object.metadata.resource_version = Some(version.to_string());
            Item::new(object)
                .map(Event::Modified)
                .map_err(|_| unreachable!("it has a name"))
        });
        Ok(Box::pin(futures::stream::iter(events)))
    }
}

#[tokio::test(start_paused = true)]
async fn r7_a_source_that_never_pauses_does_not_keep_a_shutdown_from_being_heard() {
    let enough = Arc::new(tokio::sync::Notify::new());
    let asked = Arc::default();
    let talker = Talker {
        enough: Arc::clone(&enough),
        asked: Arc::clone(&asked),
    };
    let reflector = Reflector::builder(talker, Cache::new()).build();
    reflector.run(enough.notified()).await.expect("it was shut down");
    let asked = asked.load(std::sync::atomic::Ordering::Relaxed);
    assert!(asked < 1000, "{asked} events later");
}

/// Everything that is logged on one thread, as one text. It hears of the whole process: whether an event is listened
/// to at all is settled once, by whichever test comes to it first.
#[derive(Clone)]
struct Log {
    text: Arc<Mutex<String>>,
    thread: std::thread::ThreadId,
}

impl Log {
    fn of_this_thread() -> Self {
        Self {
            text: Arc::default(),
            thread: std::thread::current().id(),
        }
    }

    fn write(&self, record: impl FnOnce(&mut Fields<'_>)) {
        if std::thread::current().id() == self.thread {
            record(&mut Fields(&mut self.text.lock().unwrap()));
        }
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        self.write(|fields| span.record(fields));
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        self.write(|fields| values.record(fields));
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        self.write(|fields| event.record(fields));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

struct Fields<'a>(&'a mut String);

impl tracing::field::Visit for Fields<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!(" {}={value:?}", field.name()));
    }
}

#[tokio::test(start_paused = true)]
async fn no_object_is_ever_written_down_and_no_server_writes_control_characters() {
    let log = Log::of_this_thread();
    tracing::subscriber::set_global_default(log.clone()).expect("no other test listens");
    let secret = "CANARY-5f2c";
    let bad = poison("a", 11).replace("17", &format!(r#""{secret}""#));
    let cut = format!(r#"{{"type":"MODIFIED","object":{{"metadata":{{"name":"b"}},"data":{{"k":"{secret}"#);
    let rude = failure(
        500,
        "InternalError",
        &format!(r"{}\r\nERROR forged line \u001b[31m", "x".repeat(5000)),
    );
    let server = Server::script(
        vec![
            Answer::status(500, [text(rude)]),
            Answer::ok([text(format!("<html>{secret}</html>"))]).header("content-type", "text/html"),
            Answer::status(502, [text(format!("<html>{secret}</html>"))]).header("content-type", "text/html"),
            Answer::list(
                "10",
                &[
                    bad.replace("\"11\"", "\"9\""),
                    object("b", 5).replace("\"5\"}", &format!("\"{secret}\"}}")),
                ],
            ),
        ],
        vec![
            Answer::watch([event("MODIFIED", &bad), line(cut.clone())]),
            Answer::watch([line(cut)]),
            Answer::watch([event("SHINY", &bad)]),
            Answer::watch([]),
        ],
    );
    let rig = Rig::plain(server);
    rig.run(120).await;
    let mut written = log.text.lock().unwrap().clone();
    assert!(written.contains("request failed"), "something was logged");
    written.push_str(&format!("{:?} {:?}", rig.reflector.quarantined(), rig.reflector));
    for object in rig.reflector.quarantined() {
        written.push_str(&format!(
            "{object} {:?}",
            std::error::Error::source(&*object.error)
        ));
    }
    assert!(!written.contains(secret), "an object's body is never shown");
    assert!(
        !written.contains("xxxx".repeat(300).as_str()),
        "a server's words are cut"
    );
    assert!(!written.chars().any(char::is_control), "no control characters");
}

/// I10: a source that pauses for longer than another says nothing for it.
#[tokio::test(start_paused = true)]
async fn i10_each_source_is_stale_by_its_own_pauses() {
    let server = Server::new(|seen| {
        let slow = seen.uri.contains("/slow/");
        if !seen.is_watch() {
            // Whoever is asked whether the server is sane gets no answer.
            return match seen.param("limit").as_deref() {
                Some("1") => Answer::Never,
                _ => Answer::list("10", &[]),
            };
        }
        if slow {
            let event = |version: u64| {
                let object = object("a", version).replace("\"default\"", "\"slow\"");
                [pause(50), event("MODIFIED", &object)]
            };
            let busy = (11..50).flat_map(event);
            let first = [bookmark("10")].into_iter().chain(busy.clone().take(12));
            return Answer::watch(first.chain([bookmark("16")]).chain(busy.skip(12)));
        }
        let often = (10..16_u64).flat_map(|version| [bookmark(&version.to_string()), pause(60)]);
        Answer::watch(often)
    });
    let client = ApiClient::from(server.client());
    let source = |namespace| ApiListWatch::<ConfigMap>::namespaced(&client, namespace).no_streaming_lists();
    let reflector = Reflector::builder(source("slow"), Cache::new())
        .also(source("often"))
        .build();
    let life = async {
        tokio::time::sleep(Duration::from_secs(370)).await;
        assert!(!reflector.is_stale());
        // The last bookmark of the one came at 300 s; the other has learned to wait for more than six minutes.
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert!(reflector.is_stale());
    };
    reflector.run(life).await.expect("nothing ends a run");
}
