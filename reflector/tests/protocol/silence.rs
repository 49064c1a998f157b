//! Silence: connections, servers and answers that go on and bring nothing (T4 to T6).

use std::time::Duration;

use informer_reflector::{ApiListWatch, Reflector, RelistReason};
use informer_store::{Closed, Entry, ReflectorStore, Replacement, ResourceVersion, ResyncPart, Tombstone};
use k8s_openapi::api::core::v1::ConfigMap;

use crate::support::*;

fn abc() -> Answer {
    Answer::list("10", &[object("a", 3), object("b", 5)])
}

#[tokio::test(start_paused = true)]
async fn t4_a_connection_that_falls_silent_is_noticed_and_replaced() {
    let mut watches = 0;
    let server = Server::new(move |seen| {
        if !seen.is_watch() {
            return if seen.param("limit").as_deref() == Some("1") {
                Answer::list("30", &[object("a", 3)])
            } else {
                abc()
            };
        }
        watches += 1;
        match watches {
            1 => Answer::watch([pause(60), bookmark("20")]),
            _ => Answer::watch([
                modified("a", 25),
                pause(60),
                bookmark("30"),
                pause(60),
                bookmark("31"),
            ]),
        }
    });
    let rig = Rig::plain(server.clone());
    rig.run(60 + 75 + 10).await;
    assert_eq!(rig.store.contents(), ["a@25", "b@5"]);
    let seen = server.seen();
    let tripped = seen[2].at - seen[1].at;
    assert!(
        tripped <= Duration::from_secs(60 + 76),
        "noticed after {tripped:?}"
    );
    assert!(seen[2].fresh && seen[3].fresh, "asked on a new connection");
    assert_eq!(
        seen[3].param("resourceVersion").as_deref(),
        Some("20"),
        "nothing is skipped"
    );
    assert_eq!(rig.reflector.stats().watchdog_trips, 1);
    assert_eq!(rig.reflector.stats().relists_total(), 0);
}

#[tokio::test(start_paused = true)]
async fn t4_a_streaming_list_that_falls_silent_at_its_end_is_noticed_too() {
    let server = Server::new(|seen| match (seen.is_watch(), seen.param("sendInitialEvents")) {
        (false, _) => Answer::list("10", &[]),
        (true, Some(_)) => Answer::watch([added("a", 3), initial_end("10")]),
        (true, None) => Answer::watch([modified("a", 12)]),
    });
    let rig = Rig::new(server);
    rig.run(76).await;
    assert_eq!(rig.store.contents(), ["a@12"]);
    assert_eq!(rig.reflector.stats().watchdog_trips, 1);
}

/// What puts the watch down for a moment waits until the server was heard or the watchdog has tripped.
#[tokio::test(start_paused = true)]
async fn t4_audits_more_frequent_than_bookmarks_do_not_keep_the_watchdog_quiet() {
    let server = Server::new(
        |seen| match (seen.is_watch(), seen.param("resourceVersion").as_deref()) {
            (true, Some("10")) => Answer::watch([pause(1), bookmark("11")]),
            (true, _) => Answer::watch([]),
            (false, _) if seen.accept.contains("PartialObjectMetadataList") => {
                Answer::list("11", &[object("a", 3), object("b", 5)])
            }
            _ => abc(),
        },
    );
    let rig = Rig::with(
        server,
        |source| source.no_streaming_lists(),
        |builder| builder.audit(Duration::from_secs(40)),
    );
    rig.run(300).await;
    let stats = rig.reflector.stats();
    assert!(stats.watchdog_trips >= 1, "{stats:?}");
    assert!(stats.audits >= 2, "{stats:?}");
    assert_eq!(stats.relists_total(), 0);
}

#[tokio::test(start_paused = true)]
async fn t4_a_server_without_bookmarks_is_given_its_whole_watch() {
    let server = Server::script(
        vec![abc(), Answer::list("10", &[object("a", 3)])],
        vec![Answer::watch([])],
    );
    let rig = Rig::plain(server.clone());
    rig.run(299).await;
    assert_eq!(server.seen().len(), 2, "silence alone is no fault");
    assert!(rig.reflector.is_stale(), "I10: silence proves nothing");
}

#[tokio::test(start_paused = true)]
async fn t5_a_list_never_answered_is_given_up_and_tried_again() {
    let server = Server::script(vec![Answer::Never, abc()], vec![Answer::watch([])]);
    let rig = Rig::plain(server);
    rig.run(75).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@5"]);
    assert_eq!(rig.reflector.stats().timeouts, 1);
    assert!(rig.states().contains(&"degraded timeout".to_owned()));
    let fresh: Vec<_> = rig.server.lists().iter().map(|list| list.fresh).collect();
    assert_eq!(fresh, [false, true], "there may be more connections like it");
}

#[tokio::test(start_paused = true)]
async fn t5_a_list_that_stops_in_the_middle_is_given_up() {
    let body = list("10", &[object("a", 3), object("b", 5)]);
    let (begin, _) = body.split_at(body.len() / 2);
    let server = Server::script(
        vec![Answer::ok([text(begin), Piece::Hang]), abc()],
        vec![Answer::watch([])],
    );
    let rig = Rig::plain(server);
    rig.run(35).await;
    assert_eq!(
        rig.store.log(),
        ["replace 2@10"],
        "half a list is never delivered"
    );
}

#[tokio::test(start_paused = true)]
async fn t6_a_drip_is_no_progress() {
    let body = list("10", &[object("a", 3), object("b", 5)]);
    let drip = body
        .bytes()
        .flat_map(|byte| [Piece::Bytes(vec![byte].into()), pause(10)]);
    let server = Server::script(vec![Answer::ok(drip), abc()], vec![Answer::watch([])]);
    let rig = Rig::plain(server);
    rig.run(40).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@5"]);
    assert_eq!(rig.reflector.stats().timeouts, 1);
}

#[tokio::test(start_paused = true)]
async fn t6_a_drip_within_an_event_is_no_progress() {
    let whole = format!(r#"{{"type":"MODIFIED","object":{}}}"#, object("b", 12));
    let drip = whole
        .bytes()
        .flat_map(|byte| [Piece::Bytes(vec![byte].into()), pause(10)]);
    let server = Server::script(
        vec![abc()],
        vec![Answer::watch(drip), Answer::watch([modified("b", 12)])],
    );
    let rig = Rig::plain(server);
    rig.run(45).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@12"]);
    assert_eq!(rig.server.lists().len(), 1);
}

/// However many bytes arrive: what never completes an object is no progress.
#[tokio::test(start_paused = true)]
async fn t6_bytes_without_end_are_no_progress() {
    let item = format!("{},", object("a", 3));
    let flood = |begin: String, more: String| {
        let more = (0..2_000).flat_map(move |_| [pause(1), text(more.clone())]);
        Answer::ok([text(begin)].into_iter().chain(more))
    };
    for endless in [
        flood("{".into(), " ".repeat(2000)),
        flood("{\"junk\":\"".into(), "x".repeat(2000)),
        flood("{\"items\":[".into(), item.repeat(10)),
        flood("{\"items\":[{\"metadata\":{\"name\":\"".into(), "x".repeat(2000)),
    ] {
        let server = Server::script(vec![endless, abc()], vec![Answer::watch([])]);
        let rig = Rig::plain(server);
        rig.run(310).await;
        assert_eq!(rig.store.contents(), ["a@3", "b@5"]);
        assert_eq!(rig.reflector.stats().timeouts, 1);
    }
    let junk = flood(
        "{\"type\":\"MODIFIED\",\"object\":{\"junk\":\"".into(),
        "x".repeat(2000),
    );
    let server = Server::script(vec![abc()], vec![junk, Answer::watch([modified("a", 11)])]);
    let rig = Rig::plain(server);
    rig.run(310).await;
    assert_eq!(rig.store.contents(), ["a@11", "b@5"]);
}

/// A store that takes its time with additions.
#[derive(Clone, Default)]
struct Slow(Checked);

#[async_trait::async_trait]
impl ReflectorStore<ConfigMap> for Slow {
    async fn replace(&self, replacement: Replacement<ConfigMap>) -> Result<(), Closed> {
        self.0.replace(replacement).await
    }
    async fn add(&self, entry: Entry<ConfigMap>) -> Result<(), Closed> {
        tokio::time::sleep(Duration::from_secs(200)).await;
        self.0.add(entry).await
    }
    async fn update(&self, entry: Entry<ConfigMap>) -> Result<(), Closed> {
        self.0.update(entry).await
    }
    async fn delete(&self, tombstone: Tombstone<ConfigMap>) -> Result<(), Closed> {
        self.0.delete(tombstone).await
    }
    async fn resync(&self, part: ResyncPart) -> Result<(), Closed> {
        self.0.resync(part).await
    }
    async fn bookmark(&self, version: ResourceVersion) -> Result<(), Closed> {
        self.0.bookmark(version).await
    }
}

#[tokio::test(start_paused = true)]
async fn t4_time_spent_on_the_store_is_no_silence_of_the_server() {
    let server = Server::script(
        vec![Answer::list("10", &[])],
        vec![Answer::watch([
            bookmark("11"),
            added("d", 12),
            pause(60),
            bookmark("13"),
        ])],
    );
    let store = Slow::default();
    let source = ApiListWatch::<ConfigMap>::namespaced(server.client(), "default").no_streaming_lists();
    let reflector = Reflector::builder(source, store.clone()).seed(7).build();
    let end = tokio::time::sleep(Duration::from_secs(300));
    reflector
        .run(end)
        .await
        .expect("nothing a server does ends a run");
    assert_eq!(store.0.contents(), ["d@12"]);
    assert_eq!(reflector.stats().watchdog_trips, 0);
    assert_eq!(server.seen().len(), 2);
}

/// A replica that lists but is deaf to what changes: two watches in a row that tell nothing of what a probe knows.
#[tokio::test(start_paused = true)]
async fn t4_a_server_that_moves_on_and_never_says_so_is_listed_anew() {
    let mut lists = 0;
    let mut first = Some([bookmark("11")]);
    let server = Server::new(move |seen| {
        if seen.is_watch() {
            return Answer::watch(first.take().into_iter().flatten());
        }
        lists += 1;
        if lists == 1 {
            return abc();
        }
        Answer::list(&(20 + lists).to_string(), &[object("a", 20), object("b", 5)])
    });
    let rig = Rig::plain(server);
    let early = async {
        tokio::time::sleep(Duration::from_secs(160)).await;
        assert_eq!(rig.store.log(), ["replace 2@10", "bookmark @11", "replace 2@24"]);
        let stats = rig.reflector.stats();
        assert_eq!((stats.watchdog_trips, stats.probes), (2, 2));
        assert_eq!(stats.relists(RelistReason::Silent), 1);
    };
    tokio::join!(rig.run(3600), early);
    // Where nothing was missed the dog learns to be patient.
    let relists = rig.reflector.stats().relists(RelistReason::Silent);
    assert!((2..=8).contains(&relists), "{relists}");
}

#[tokio::test(start_paused = true)]
async fn t5_a_watch_never_answered_is_taken_up_on_another_connection() {
    let cut = r#"{"type":"MODIFIED","object":{"kind""#;
    for leads_nowhere in [Answer::Never, Answer::ok([text(cut), Piece::Hang])] {
        let server = Server::script(
            vec![abc()],
            vec![leads_nowhere, Answer::watch([modified("a", 11)])],
        );
        let rig = Rig::plain(server);
        rig.run(75).await;
        assert_eq!(rig.store.contents(), ["a@11", "b@5"]);
        let watches = rig.server.watches();
        let told: Vec<_> = watches
            .iter()
            .map(|watch| (watch.fresh, watch.param("resourceVersion")))
            .collect();
        assert_eq!(told, [(false, Some("10".into())), (true, Some("10".into()))]);
        assert_eq!((rig.reflector.stats().timeouts, rig.server.lists().len()), (1, 1));
    }
}

/// I10: what was there before, and what makes no sense, is no sign of life.
#[tokio::test(start_paused = true)]
async fn t4_a_server_that_only_repeats_itself_is_as_good_as_silent() {
    for nothing_new in [modified("a", 3), bookmark(""), bookmark("soon")] {
        let again = (0..30).flat_map(move |_| [nothing_new.clone(), pause(10)]);
        let server = Server::script(
            vec![abc()],
            vec![
                Answer::watch([bookmark("10")].into_iter().chain(again)),
                Answer::watch([bookmark("10")]),
            ],
        );
        let rig = Rig::plain(server);
        let early = async {
            tokio::time::sleep(Duration::from_secs(74)).await;
            assert!(rig.reflector.age() >= Some(Duration::from_secs(73)));
            assert_eq!(rig.reflector.stats().watchdog_trips, 0);
        };
        tokio::join!(rig.run(80), early);
        assert_eq!(rig.reflector.stats().watchdog_trips, 1);
        assert_eq!(rig.server.watches().len(), 2);
    }
}
