//! What the reflectors of one client share, and what a client refuses to do.

use std::time::Duration;

use http::{HeaderValue, header};
use informer_reflector::{ApiClient, ApiListWatch, ErrorKind, PlainHttp, Reflector, StreamingLists};
use informer_store::Cache;
use k8s_openapi::api::core::v1::ConfigMap;
use kube_client::{
    Config,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};

use crate::support::*;

fn abc() -> Answer {
    Answer::list("10", &[object("a", 3), object("b", 5)])
}

/// A server without streaming lists.
fn without_streaming() -> Server {
    Server::new(|seen| match (seen.is_watch(), asks_for_stream(seen)) {
        (_, true) => Answer::failure(422, "Invalid", "sendInitialEvents: Forbidden"),
        (true, false) => Answer::watch([]),
        (false, _) => abc(),
    })
}

fn asks_for_stream(seen: &Seen) -> bool {
    seen.param("sendInitialEvents").is_some()
}

fn streams_asked_for(server: &Server) -> usize {
    server.seen().iter().filter(|seen| asks_for_stream(seen)).count()
}

fn rig_of(client: &ApiClient, server: &Server) -> Rig {
    Rig::of(client, server.clone(), |source| source, |builder| builder)
}

#[tokio::test(start_paused = true)]
async fn p16_what_one_reflector_was_refused_no_other_of_its_client_asks_for_a_while() {
    let server = without_streaming();
    let client = ApiClient::from(server.client());
    rig_of(&client, &server).run(10).await;
    assert_eq!(streams_asked_for(&server), 1);

    let second = rig_of(&client, &server);
    second.run(10).await;
    assert_eq!(streams_asked_for(&server), 1, "the second knows");
    assert_eq!(second.reflector.stats().streaming_list_fallbacks, 0);
    assert_eq!(second.store.contents(), ["a@3", "b@5"]);

    let other_client = ApiClient::from(server.client());
    rig_of(&other_client, &server).run(10).await;
    assert_eq!(
        streams_asked_for(&server),
        2,
        "another client may have another server"
    );

    tokio::time::advance(Duration::from_secs(3600)).await;
    rig_of(&client, &server).run(10).await;
    assert_eq!(
        streams_asked_for(&server),
        3,
        "a refusal is not held against it for ever"
    );
}

#[tokio::test(start_paused = true)]
async fn p16_a_refusal_that_a_plain_list_meets_too_says_nothing_about_streaming() {
    let server = Server::new(|seen| match seen.param("labelSelector") {
        Some(_) => Answer::failure(400, "BadRequest", "unable to parse requirement"),
        None if asks_for_stream(seen) => Answer::watch([added("a", 3), initial_end("10")]),
        None => Answer::Never,
    });
    let client = ApiClient::from(server.client());
    let build = |builder| builder;
    let bad = Rig::of(&client, server.clone(), |source| source.labels("a=!"), build);
    bad.run(60).await;
    assert_eq!(bad.store.replaced(), 0);
    let good = rig_of(&client, &server);
    good.run(10).await;
    assert_eq!(good.store.contents(), ["a@3"]);
    assert_eq!(good.reflector.stats().streaming_lists, 1);
}

/// A kind of the group, with nothing in it.
async fn run_empty(client: &ApiClient, group: &str) {
    let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", "Thing"), "things");
    let source = ApiListWatch::<DynamicObject>::dynamic(client, &kind);
    let reflector = Reflector::builder(source, Cache::<DynamicObject>::new())
        .seed(1)
        .build();
    let ended = reflector.run(tokio::time::sleep(Duration::from_secs(10))).await;
    ended.expect("nothing a server does ends a run");
}

#[tokio::test(start_paused = true)]
async fn p16_an_extension_server_refuses_for_its_own_group_alone() {
    let empty = r#"{"kind":"ThingList","metadata":{"resourceVersion":"5"},"items":[]}"#;
    let server = Server::new(move |seen| match (seen.is_watch(), asks_for_stream(seen)) {
        (_, true) => Answer::failure(404, "NotFound", "not here"),
        (true, false) => Answer::watch([]),
        (false, _) => Answer::ok([text(empty)]),
    });
    let client = ApiClient::from(server.client());
    let mut asked = Vec::new();
    let groups = [
        "extension.example.com",
        "extension.example.com",
        "other.example.com",
        "batch",
        "storage.k8s.io",
        "third.example.com",
    ];
    for group in groups {
        run_empty(&client, group).await;
        asked.push(streams_asked_for(&server));
    }
    assert_eq!(
        asked,
        [1, 1, 2, 3, 3, 3],
        "what the API server itself refuses counts for everything"
    );
}

#[tokio::test(start_paused = true)]
async fn streaming_lists_can_be_asked_for_each_time_whatever_was_refused() {
    let mut expired = false;
    let server = Server::new(move |seen| match (seen.is_watch(), asks_for_stream(seen)) {
        (_, true) => Answer::failure(422, "Invalid", "sendInitialEvents: Forbidden"),
        (true, false) if !std::mem::replace(&mut expired, true) => Answer::ok([event(
            "ERROR",
            &failure(410, "Expired", "too old resource version"),
        )]),
        (true, false) => Answer::watch([]),
        (false, _) => abc(),
    });
    let rig = Rig::with(
        server,
        |source| source,
        |builder| builder.streaming_lists(StreamingLists::Always),
    );
    rig.run(30).await;
    assert_eq!(streams_asked_for(&rig.server), 2, "for the relist as well");
    assert_eq!(rig.reflector.stats().streaming_list_fallbacks, 2);
    assert_eq!(rig.store.contents(), ["a@3", "b@5"]);
}

#[tokio::test(start_paused = true)]
async fn l3_the_reflectors_of_one_client_share_a_limit_on_lists() {
    let slow = || {
        Server::script(
            vec![Answer::ok([pause(10), text(list("10", &[object("a", 3)]))])],
            vec![Answer::watch([])],
        )
    };
    let server = slow();
    let client = ApiClient::from(server.client()).lists_at_once(2);
    let rigs: Vec<_> = (0..6)
        .map(|_| {
            Rig::of(
                &client,
                server.clone(),
                ApiListWatch::no_streaming_lists,
                |builder| builder,
            )
        })
        .collect();
    let other = Rig::plain(slow());
    let all = futures::future::join_all(rigs.iter().map(|rig| rig.run(45)));
    futures::future::join(all, other.run(45)).await;
    let mut starts: Vec<_> = server.lists().iter().map(|list| list.at).collect();
    starts.sort();
    assert_eq!(starts.len(), 6);
    for pair in starts.windows(3) {
        assert!(
            pair[2] - pair[0] >= Duration::from_secs(10),
            "a third waits for the first"
        );
    }
    assert_eq!(
        other.server.lists()[0].at,
        starts[0],
        "another client does not wait"
    );
    assert!(rigs.iter().all(|rig| rig.store.replaced() == 1));
}

#[tokio::test(start_paused = true)]
async fn l3_the_sources_of_one_reflector_share_a_limit_whatever_their_clients() {
    let server = Server::script(
        vec![Answer::ok([pause(10), text(list("10", &[]))])],
        vec![Answer::watch([])],
    );
    let of = |namespace: &str| {
        ApiListWatch::<ConfigMap>::namespaced(server.client(), namespace).no_streaming_lists()
    };
    let mut builder = Reflector::builder(of("default"), Cache::<ConfigMap>::new()).seed(1);
    for other in ["b", "c", "d", "e", "f"] {
        builder = builder.also(of(other));
    }
    let ended = builder
        .build()
        .run(tokio::time::sleep(Duration::from_secs(15)))
        .await;
    ended.expect("nothing a server does ends a run");
    let lists = server.lists();
    let late = lists.iter().filter(|list| list.at > lists[0].at).count();
    assert_eq!((lists.len(), late), (6, 2), "four at a time");
}

fn config(url: &str) -> Config {
    Config::new(url.parse().expect("it is a URL"))
}

fn with_token(url: &str) -> Config {
    let mut config = config(url);
    config.auth_info.token = Some(String::from("canary-token").into());
    config
}

#[tokio::test]
async fn credentials_do_not_travel_in_the_clear() {
    let mut with_header = config("http://api.example.com");
    let mut secret = HeaderValue::from_static("Bearer canary-token");
    secret.set_sensitive(true);
    with_header.headers.push((header::AUTHORIZATION, secret));
    let mut with_file = config("http://10.0.0.1:8080");
    with_file.auth_info.token_file = Some(String::from("/nowhere"));
    for config in [
        with_token("http://api.example.com"),
        with_token("http://[2001:db8::1]:8080"),
        with_token("http://localhost.example.com"),
        with_header,
        with_file,
    ] {
        let error = ApiClient::new(config).expect_err("it is refused");
        assert_eq!(error.kind(), ErrorKind::Insecure);
        assert!(!error.is_retryable());
        let told = format!("{error} {error:?}");
        assert!(
            told.contains("plain http") && !told.contains("canary"),
            "it says why and not what: {told}"
        );
    }
}

#[tokio::test]
async fn plain_http_is_fine_without_credentials_on_this_machine_and_where_it_is_asked_for() {
    for config in [
        config("http://api.example.com"),
        with_token("http://127.0.0.1:8001"),
        with_token("http://[::1]:8001"),
        with_token("http://localhost:8001"),
    ] {
        ApiClient::new(config).expect("nothing is given away");
    }
    ApiClient::with(with_token("http://api.example.com"), PlainHttp::WithCredentials)
        .expect("it was asked for");
}

#[tokio::test]
async fn an_address_that_is_none_is_an_error_and_no_panic() {
    for address in ["localhost", "localhost:8080", "/api", "ftp://example.com"] {
        let error = ApiClient::new(config(address)).expect_err("it is refused");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{address}: {error}");
    }
}
