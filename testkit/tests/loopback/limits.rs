//! Clients that send too much, or read too little.

use std::time::Duration;

use informer_testkit::ApiServer;
use serde_json::json;

use super::raw::{Client, End};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_in_words_and_the_connection_lives_on() {
    let server = ApiServer::new();
    let listener = server.listen_on_loopback().await.expect("a port");
    let mut client = Client::connect(listener.address()).await.expect("a connection");
    let body = json!({"metadata": {"name": "big"}, "data": {"k": "x".repeat(10 << 20)}}).to_string();
    let head = format!(
        "POST {MAPS} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.send(head + &body).await;
    let refused = client.receive().await.expect("an answer");
    assert_eq!(refused.status, 413);
    assert!(refused.text().contains("RequestEntityTooLarge"));
    client.ask("GET", MAPS).await;
    assert_eq!(client.receive().await.expect("an answer").status, 200);
    assert_eq!(server.count("configmaps"), 0);
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_off_and_others_are_not() {
    let server = ApiServer::builder().watch_queue(3).build();
    let listener = server.listen_on_loopback().await.expect("a port");
    let mut slow = Client::connect(listener.address()).await.expect("a connection");
    let mut quick = Client::connect(listener.address()).await.expect("a connection");
    let path = format!("{MAPS}?watch=1&resourceVersion={}", server.revision());
    slow.ask("GET", &path).await;
    quick.ask("GET", &path).await;
    while server.watches().len() < 2 {
        tokio::task::yield_now().await;
    }
    let mut read = 0;
    let mut written = 0;
    // As much as the buffers between the two hold, and then more than the queue does.
    for index in 0..24 {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{index}")},
            "data": {"k": "v".repeat(1_000_000)},
        });
        server.load([map]).expect("loaded");
        written += 1_000_000;
        while read < written {
            read += quick.receive_raw().await;
        }
    }
    let cut = slow.receive().await.expect("a head");
    assert_eq!(cut.end, End::Whole, "without an error");
    let events = cut.text().lines().count();
    assert!(events < 24, "{events}");
    for line in cut.text().lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("whole lines");
    }
}

#[tokio::test]
async fn a_compressed_watch_is_readable_event_by_event() {
    use std::io::Read;
    let server = ApiServer::builder().watch_gzip(true).build();
    let listener = server.listen_on_loopback().await.expect("a port");
    let mut client = Client::connect(listener.address()).await.expect("a connection");
    let path = format!("{MAPS}?watch=1&resourceVersion={}", server.revision());
    client
        .send(format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n"
        ))
        .await;
    while server.watches().is_empty() {
        tokio::task::yield_now().await;
    }
    for name in ["a", "b"] {
        server
            .create("configmaps", json!({"metadata": {"name": name}}))
            .expect("created");
        server.settled().await;
    }
    server.watches().close();
    let received = client.receive().await.expect("a head");
    assert_eq!(received.header("content-encoding"), Some("gzip"));
    assert_eq!(
        received
            .body
            .windows(3)
            .filter(|three| *three == [0x1f, 0x8b, 8])
            .count(),
        2,
        "a member each"
    );
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(received.body.as_slice())
        .read_to_string(&mut text)
        .expect("gzip");
    assert_eq!(text.lines().count(), 2);
}

#[tokio::test]
async fn settled_means_handed_over_on_sockets_too() {
    let server = ApiServer::new();
    let listener = server.listen_on_loopback().await.expect("a port");
    let mut client = Client::connect(listener.address()).await.expect("a connection");
    client
        .ask(
            "GET",
            &format!("{MAPS}?watch=1&resourceVersion={}", server.revision()),
        )
        .await;
    while server.watches().is_empty() {
        tokio::task::yield_now().await;
    }
    for index in 0..100 {
        server
            .create("configmaps", json!({"metadata": {"name": format!("m{index}")}}))
            .expect("created");
    }
    tokio::time::timeout(Duration::from_secs(60), server.settled())
        .await
        .expect("settled");
    server.watches().close();
    let received = client.receive().await.expect("a head");
    assert_eq!(received.text().lines().count(), 100);
}
