//! A client gets exactly the bytes up to a fault's offset, and then the end the fault names.

use informer_testkit::{ApiServer, Fault, Listener, On};
use serde_json::json;

use super::raw::{Client, End, get};

const LIST: &str = "/api/v1/namespaces/default/configmaps";
/// A stream that has an error to tell, and ends.
const WATCH: &str = "/api/v1/namespaces/default/configmaps?watch=1&resourceVersion=1";

async fn listening() -> (ApiServer, Listener) {
    let server = ApiServer::new();
    for name in ["a", "b", "c"] {
        let map = json!({"metadata": {"name": name}, "data": {"k": "v"}});
        server.create("configmaps", map).expect("created");
    }
    let listener = server.listen_on_loopback().await.expect("a port");
    (server, listener)
}

/// Every offset around the edges of a body, its end and what lies beyond it.
fn offsets(whole: usize) -> Vec<usize> {
    let mut all = vec![0, 1, 2, 100, whole / 2, whole - 1, whole, whole + 1, whole * 2];
    all.dedup();
    all
}

#[tokio::test]
async fn an_answer_that_is_ready_at_once_arrives_up_to_the_offset() {
    let (server, listener) = listening().await;
    server.compact();
    let address = listener.address();
    for path in [LIST, WATCH] {
        let whole = get(address, path).await.expect("an answer");
        assert_eq!(whole.end, End::Whole);
        for byte in offsets(whole.body.len()) {
            let expected = &whole.body[..byte.min(whole.body.len())];
            let offset = byte as u64;
            for (fault, end) in [
                (Fault::CutAt { byte: offset }, End::Closed),
                (Fault::ResetAt { byte: offset }, End::Reset),
                (Fault::EofAt { byte: offset }, End::Whole),
            ] {
                let name = fault.name();
                let injected = server.faults().inject(On::any().times(1), fault);
                let got = get(address, path).await.expect("a head");
                assert_eq!(injected.count(), 1);
                assert_eq!(
                    (got.status, got.text()),
                    (200, String::from_utf8_lossy(expected).into_owned()),
                    "{name} {byte} {path}"
                );
                // A list is over once its last byte is there: a break behind it hits nobody.
                let over = path == LIST && byte >= whole.body.len();
                assert_eq!(
                    got.end,
                    if over { End::Whole } else { end },
                    "{name} {byte} {path}"
                );
            }
        }
    }
}

#[tokio::test]
async fn an_end_that_looks_whole_has_a_length_that_fits_and_leaves_the_connection_open() {
    let (server, listener) = listening().await;
    let mut client = Client::connect(listener.address()).await.expect("a connection");
    server
        .faults()
        .inject(On::any().times(1), Fault::EofAt { byte: 42 });
    client.ask("GET", LIST).await;
    let short = client.receive().await.expect("an answer");
    assert_eq!(
        (short.header("content-length"), short.body.len()),
        (Some("42"), 42)
    );
    client.ask("GET", LIST).await;
    let whole = client
        .receive()
        .await
        .expect("a second answer on the same connection");
    assert!(whole.body.len() > 42);
    assert_eq!(whole.end, End::Whole);
}

#[tokio::test]
async fn a_client_that_reads_late_still_gets_every_byte_before_a_reset() {
    let server = ApiServer::new();
    for index in 0..13 {
        let map = json!({"metadata": {"name": format!("m{index}")}, "data": {"k": "v".repeat(1_000_000)}});
        server.create("configmaps", map).expect("created");
    }
    let listener = server.listen_on_loopback().await.expect("a port");
    let whole = get(listener.address(), LIST).await.expect("an answer").body;
    // More than the buffers of two sockets hold.
    let byte = 12_000_000;
    assert!(whole.len() > byte, "{}", whole.len());
    for (fault, end) in [
        (Fault::ResetAt { byte: byte as u64 }, End::Reset),
        (Fault::CutAt { byte: byte as u64 }, End::Closed),
    ] {
        let injected = server.faults().inject(On::any().times(1), fault);
        let mut client = Client::connect(listener.address()).await.expect("a connection");
        client.ask("GET", LIST).await;
        while injected.count() == 0 {
            tokio::task::yield_now().await;
        }
        // The server is done with it long before the client has read it.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let got = client.receive().await.expect("a head");
        assert_eq!((got.body.len(), got.end), (byte, end));
        assert!(got.body == whole[..byte]);
    }
}

#[tokio::test]
async fn an_answer_before_a_refused_request_on_the_same_connection_arrives() {
    let (server, listener) = listening().await;
    server
        .faults()
        .inject(On::list("configmaps").nth(2), Fault::Refuse);
    let mut client = Client::connect(listener.address()).await.expect("a connection");
    let request = format!("GET {LIST} HTTP/1.1\r\nhost: server\r\n\r\n");
    client.send(request.repeat(2)).await;
    let first = client.receive().await.expect("the first answer");
    assert_eq!((first.status, first.end), (200, End::Whole));
    assert!(client.receive().await.is_none(), "no second answer");
}
