//! Answers in gzip: lists, watches, and failures in place of either.

use std::{io::Write, time::Duration};

use flate2::write::GzEncoder;
use futures::StreamExt;
use informer_reflector::{
    ApiListWatch, Compression, Event, Held, ListRequest, ListWatch, Listed, ReadAt, RelistReason,
    WatchRequest,
};
use informer_store::ResourceVersion;
use k8s_openapi::api::core::v1::ConfigMap;

use crate::support::*;

/// A rig whose answers may all be compressed.
fn compressed(server: Server) -> Rig {
    Rig::with(
        server,
        |source| source.no_streaming_lists().compression(Compression::All),
        |builder| builder,
    )
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// An answer in gzip, which arrives in pieces of this size.
fn zipped(status: u16, text: &str, size: usize) -> Answer {
    let bytes = gzip(text);
    let pieces = bytes
        .chunks(size)
        .map(|piece| Piece::Bytes(piece.to_vec().into()));
    Answer::status(status, pieces).header("content-encoding", "gzip")
}

fn abc() -> Answer {
    zipped(200, &list("10", &[object("a", 3), object("b", 5)]), 1000)
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_gzip_of_many_members_is_read() {
    let event_text = |object: &str| format!("{{\"type\":\"MODIFIED\",\"object\":{object}}}\n");
    let body = list("10", &[object("a", 3), object("b", 5)]);
    for size in [1, 10, 10_000] {
        let cut = |bytes: Vec<u8>| {
            bytes
                .chunks(size)
                .map(|piece| Piece::Bytes(piece.to_vec().into()))
                .collect::<Vec<_>>()
        };
        let halves = [gzip(&body[..50]), gzip(&body[50..])].concat();
        let events = [
            gzip(&event_text(&object("a", 11))),
            gzip(&event_text(&object("b", 12))),
        ]
        .concat();
        let server = Server::script(
            vec![Answer::ok(cut(halves)).header("content-encoding", "gzip")],
            vec![Answer::watch(cut(events)).header("content-encoding", "gzip")],
        );
        let rig = compressed(server);
        rig.run(5).await;
        assert_eq!(rig.store.log(), ["replace 2@10", "update a@11", "update b@12"]);
    }
}

/// However much the few bytes of one piece open to, it is looked at before there is more of it: the caps hold.
#[tokio::test(start_paused = true)]
async fn what_a_compressed_answer_opens_to_is_read_a_little_at_a_time() {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(b"{\"items\":[\"").expect("memory takes it");
    let much = vec![b'x'; 1 << 20];
    for _ in 0..40 {
        encoder.write_all(&much).expect("memory takes it");
    }
    let bomb = encoder.finish().expect("memory takes it");
    assert!(bomb.len() < 64 * 1024, "it fits in one read of a socket");
    let answer = Answer::ok([Piece::Bytes(bomb.into())]).header("content-encoding", "gzip");
    let server = Server::new(move |_| answer.clone());
    let source = ApiListWatch::<ConfigMap>::all(server.client());

    let (held, list) = (Held::nothing(), ListRequest::new(ReadAt::Latest));
    let list = source.list(&list, &held).await;
    let parts: Vec<_> = list.expect("it begins well").collect().await;
    for part in &parts {
        if let Ok(Listed::Progress(bytes)) = part {
            assert!(*bytes < 8 << 20, "{bytes}");
        }
    }
    assert!(matches!(parts.last(), Some(Err(_))), "it never ends");

    let watch = WatchRequest::new(ResourceVersion::new("1"), Duration::from_secs(300));
    let watch = source.watch(&watch, &held).await;
    let events: Vec<_> = watch.expect("it begins well").collect().await;
    let mut all = 0;
    for event in &events {
        if let Ok(Event::Progress { bytes, .. }) = event {
            all += bytes;
        }
    }
    assert!(matches!(events.last(), Some(Ok(Event::Unreadable(_)))));
    assert!(
        all < (16 + 8) << 20,
        "no more is opened than shows that the line is too long"
    );
}

/// Whether its status says so or not, and however it arrives: a failure is told by its own words.
#[tokio::test(start_paused = true)]
async fn a_failure_in_place_of_a_compressed_list_is_told_by_its_own_words() {
    let overloaded = failure(429, "TooManyRequests", "later")
        .replace(r#""code""#, r#""details":{"retryAfterSeconds":20},"code""#);
    for (status, size) in [(200, 1), (200, 7), (200, 1000), (429, 1), (429, 7), (429, 1000)] {
        let server = Server::script(
            vec![zipped(status, &overloaded, size), abc()],
            vec![Answer::watch([])],
        );
        let rig = compressed(server);
        rig.run(40).await;
        assert_eq!(rig.store.contents(), ["a@3", "b@5"], "{status} by {size}");
        assert_eq!(
            rig.states(),
            ["listing", "degraded throttled", "synced"],
            "{status} by {size}"
        );
        let lists = rig.server.lists();
        assert_eq!(lists.len(), 2);
        let waited = lists[1].at - lists[0].at;
        assert!(
            waited >= Duration::from_secs(20),
            "{status} by {size}: {waited:?}"
        );
    }
}

/// A token that has expired leads to one whole list, and a server's own trouble to the same page again.
#[tokio::test(start_paused = true)]
async fn a_failure_in_place_of_a_compressed_page_is_told_by_its_own_words() {
    for status in [200, 410] {
        let first = zipped(200, &page("10", "t", &[object("a", 3)]), 100);
        let gone = zipped(status, &failure(410, "Expired", "the token is too old"), 100);
        let server = Server::script(vec![first, gone, abc()], vec![Answer::watch([])]);
        let rig = compressed(server);
        rig.run(20).await;
        assert_eq!(rig.store.log(), ["replace 2@10"], "{status}");
        let tokens: Vec<_> = rig
            .server
            .lists()
            .iter()
            .map(|seen| seen.param("continue"))
            .collect();
        assert_eq!(tokens, [None, Some("t".into()), None], "{status}");
    }
    for status in [200, 500] {
        let first = zipped(200, &page("10", "t", &[object("a", 3)]), 100);
        let broken = zipped(status, &failure(500, "InternalError", "etcd is away"), 100);
        let second = zipped(200, &list("10", &[object("b", 5)]), 100);
        let server = Server::script(vec![first, broken, second], vec![Answer::watch([])]);
        let rig = compressed(server);
        rig.run(20).await;
        assert_eq!(rig.store.log(), ["replace 2@10"], "{status}");
        assert!(
            rig.states().contains(&"degraded server-error".to_owned()),
            "{status}: {:?}",
            rig.states()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_in_place_of_a_compressed_watch_is_told_by_its_own_words() {
    for size in [1, 1000] {
        let server = Server::script(
            vec![abc(), zipped(200, &list("20", &[object("a", 3)]), 50)],
            vec![
                zipped(410, &failure(410, "Expired", "too old resource version"), size),
                Answer::watch([]),
            ],
        );
        let rig = compressed(server);
        rig.run(20).await;
        assert_eq!(rig.reflector.stats().relists(RelistReason::Expired), 1);
        assert_eq!(rig.store.contents(), ["a@3"]);
    }
}

/// What a failure says of itself may be lost; what its status says is not.
#[tokio::test(start_paused = true)]
async fn a_failure_that_cannot_be_read_is_told_by_its_status() {
    let text = failure(429, "TooManyRequests", "later");
    let cut = |bytes: &[u8]| Answer::status(429, [Piece::Bytes(bytes.to_vec().into())]);
    let whole = gzip(&text);
    for (name, answer) in [
        (
            "cut",
            cut(&whole[..whole.len() / 2]).header("content-encoding", "gzip"),
        ),
        ("plain", cut(text.as_bytes()).header("content-encoding", "gzip")),
        ("empty", cut(b"").header("content-encoding", "gzip")),
        ("unknown", cut(b"\x0b\x02\x80").header("content-encoding", "br")),
    ] {
        let answer = answer.header("retry-after", "20");
        let rig = compressed(Server::script(vec![answer, abc()], vec![Answer::watch([])]));
        rig.run(40).await;
        assert_eq!(
            rig.states(),
            ["listing", "degraded throttled", "synced"],
            "{name}"
        );
        let lists = rig.server.lists();
        assert!(lists[1].at - lists[0].at >= Duration::from_secs(20), "{name}");
    }
}

/// The long story of a failure takes nothing from what it is.
#[tokio::test(start_paused = true)]
async fn a_long_failure_in_place_of_a_list_is_told_by_its_own_words() {
    let text = failure(410, "Expired", &"too old ".repeat(2000));
    let server = Server::script(
        vec![
            zipped(200, &page("10", "t", &[object("a", 3)]), 100),
            zipped(200, &text, 500),
            abc(),
        ],
        vec![Answer::watch([])],
    );
    let rig = compressed(server);
    rig.run(20).await;
    assert_eq!(rig.store.log(), ["replace 2@10"]);
    let tokens: Vec<_> = rig
        .server
        .lists()
        .iter()
        .map(|seen| seen.param("continue"))
        .collect();
    assert_eq!(tokens, [None, Some("t".into()), None]);
}

/// Names of encodings mean the same in capitals.
#[tokio::test(start_paused = true)]
async fn an_encoding_may_be_named_in_capitals() {
    let server = Server::script(
        vec![abc().header("content-encoding", "GZIP")],
        vec![Answer::watch([]).header("content-encoding", "Identity")],
    );
    let rig = compressed(server);
    rig.run(5).await;
    assert_eq!(rig.store.log(), ["replace 2@10"]);
    assert_eq!(rig.states(), ["listing", "synced"]);
}
