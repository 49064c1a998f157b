//! A listener that stops ends what is open in a way clients know.

use informer_testkit::{ApiServer, Fault, On};

use super::raw::{Client, End, get};

const WATCH: &str = "/api/v1/namespaces?watch=1&resourceVersion=0";

#[tokio::test]
async fn open_watches_end_whole_and_unanswered_requests_are_dropped() {
    let server = ApiServer::new();
    let listener = server.listen_on_loopback().await.expect("a port");
    let address = listener.address();
    server.faults().inject(On::list("pods"), Fault::Hang);
    let mut hanging = Client::connect(address).await.expect("a connection");
    hanging.ask("GET", "/api/v1/pods").await;
    let mut idle = Client::connect(address).await.expect("a connection");
    idle.ask("GET", "/version").await;
    assert_eq!(idle.receive().await.expect("an answer").status, 200);
    let mut watching = Client::connect(address).await.expect("a connection");
    watching.ask("GET", WATCH).await;
    while server.watches().is_empty() || server.requests().lists("pods") < 1 {
        tokio::task::yield_now().await;
    }
    let (watched, ()) = tokio::join!(watching.receive(), listener.shutdown());
    let watched = watched.expect("an answer");
    assert_eq!((watched.end, watched.text().lines().count()), (End::Whole, 4));
    assert!(hanging.receive().await.is_none());
    assert!(idle.receive().await.is_none());
    assert!(Client::connect(address).await.is_err(), "nobody listens");
    assert!(server.watches().is_empty());
}

#[tokio::test]
async fn a_dropped_listener_closes_its_port_and_the_server_lives_on() {
    let server = ApiServer::new();
    let listener = server.listen_on_loopback().await.expect("a port");
    let address = listener.address();
    assert_eq!(get(address, "/version").await.expect("an answer").status, 200);
    drop(listener);
    while Client::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let again = server.listen(address).await.expect("the port is free");
    assert_eq!(
        get(again.address(), "/version").await.expect("an answer").status,
        200
    );
}
