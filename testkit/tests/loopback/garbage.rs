//! Bytes that are no request, or not quite one: each is answered or hung up on, and the next client is served.

use informer_testkit::ApiServer;
use proptest::{collection::vec, prelude::*, sample::select};

use super::raw::{Client, get};

/// Sends bytes on a connection of their own, ends it, and reads what comes back; then asks as anybody would.
fn check(garbage: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let server = ApiServer::builder().sim(true).build();
        let listener = server.listen_on_loopback().await.expect("a port");
        let mut client = Client::connect(listener.address()).await.expect("a connection");
        client.send_and_end(garbage).await;
        while client.receive_raw().await > 0 {}
        let answer = get(listener.address(), "/version").await.expect("an answer");
        assert_eq!(answer.status, 200);
        listener.shutdown().await;
        assert_eq!(server.panics(), 0, "{:?}", String::from_utf8_lossy(garbage));
    });
}

#[test]
fn what_clients_have_been_seen_to_send_does_no_harm() {
    let long = "x".repeat(1 << 20);
    for garbage in [
        String::new(),
        "\r\n\r\n\r\n".to_owned(),
        "GET".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "GET / HTTP/1.0\r\n\r\n".to_owned(),
        "GET /\r\n\r\n".to_owned(),
        "get /version http/1.1\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        "CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        "GET http://elsewhere/api/v1/pods HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        "GET //api//v1//pods HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        "GET /%2e%2e/%00 HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        "GET /api/v1/pods HTTP/1.1\r\nhost: \r\nhost: b\r\n\r\n".to_owned(),
        format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(1000)),
        "POST /api/v1/namespaces HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551616\r\n\r\n".to_owned(),
        "POST /api/v1/namespaces HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n".to_owned(),
        "POST /api/v1/namespaces HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n{}".to_owned(),
        "POST /api/v1/namespaces HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}".to_owned(),
        "POST /_sim/compact HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n".to_owned(),
        "POST /_sim/load HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n{}".to_owned(),
        "POST /_sim/load HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 9999999999\r\n\r\n".to_owned(),
        "GET /api/v1/pods?watch=1&timeoutSeconds=1 HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n".to_owned(),
        "HEAD /api/v1/pods?watch=1 HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
    ] {
        check(garbage.as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_do_no_harm(
        pieces in vec(
            prop_oneof![
                select(vec![
                    "GET ", "POST ", "/api/v1/pods", "/_sim/compact", "?watch=1&timeoutSeconds=1", " HTTP/1.1", "\r\n", "\r\n\r\n",
                    "host: a", "content-length: 2", "transfer-encoding: chunked", "2\r\n{}\r\n", "0\r\n\r\n", "{}",
                ])
                .prop_map(|text| text.as_bytes().to_vec()),
                vec(any::<u8>(), 0..12),
            ],
            0..12,
        ),
    ) {
        check(&pieces.concat());
    }
}
