//! The health server over real sockets, and the signals of the process.
#![cfg(feature = "health-server")]
#![expect(clippy::disallowed_methods, reason = "a test may run things side by side")]

use std::{net::SocketAddr, time::Duration};

use informer::manager::{
    Component, ComponentState, Context, Group, Manager, Phase, Signals,
    health::{Access, Health, Server},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
};

async fn send(address: SocketAddr, request: &str) -> String {
    try_send(address, request).await.unwrap()
}

async fn try_send(address: SocketAddr, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn get(address: SocketAddr, path: &str) -> String {
    send(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"),
    )
    .await
}

#[tokio::test]
async fn server_answers_and_stops() {
    let health = Health::new().debug(Access::Loopback);
    health.ready("late", || Err("not yet".to_owned()));
    let server = Server::bind("127.0.0.1:0", health.clone()).await.unwrap();
    let address = server.local_addr();
    let (stop, stopped) = oneshot::channel::<()>();
    let run = tokio::spawn(async move {
        server
            .run(async {
                let _ = stopped.await;
            })
            .await;
    });
    let answer = get(address, "/livez").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"),
        "{answer}"
    );
    let answer = get(address, "/readyz?exclude=late").await;
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 500"));
    let answer = get(address, "/metrics").await;
    assert!(
        answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{answer}"
    );
    assert!(get(address, "/debug").await.contains("application/json"));
    let rebound = send(
        address,
        "GET /debug HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(rebound.starts_with("HTTP/1.1 403"), "{rebound}");
    let none = send(
        address,
        "GET /debug HTTP/1.1\r\nHost: \u{fc}\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(!none.starts_with("HTTP/1.1 200"), "{none}");
    let head = send(
        address,
        "HEAD /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(
        head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    let post = send(
        address,
        "POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(
        post.starts_with("HTTP/1.1 405") && post.contains("allow: GET, HEAD"),
        "{post}"
    );
    assert!(
        send(address, "nonsense\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 400")
    );
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000));
    // The server closes on what it will not read, so the answer may be lost with the connection.
    if let Ok(answer) = try_send(address, &long).await {
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert!(
        get(address, "/livez").await.ends_with("ok"),
        "and others are served on"
    );

    // A connection that says nothing does not keep the server from stopping, nor do many.
    let mut silent = Vec::new();
    for _ in 0..80 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    drop(stop);
    tokio::time::timeout(Duration::from_secs(60), run)
        .await
        .expect("it stops")
        .unwrap();
    let taken = Server::bind("127.0.0.1:0", health.clone()).await.unwrap();
    assert!(
        Server::bind(taken.local_addr(), health).await.is_err(),
        "an address in use is said at once"
    );
}

#[cfg(unix)]
#[tokio::test]
async fn first_signal_stops_in_order_and_the_second_ends_at_once() {
    let kill = |signal: &str| {
        let status = std::process::Command::new("kill")
            .args([signal, &std::process::id().to_string()])
            .status();
        assert!(status.unwrap().success());
    };
    let health = Health::new();
    let server = Server::bind("127.0.0.1:0", health.clone()).await.unwrap();
    let address = server.local_addr();
    let patient = Component::new("patient", |context: Context| async move {
        context.stopping().await;
        Ok::<_, std::io::Error>(())
    });
    let manager = Manager::builder()
        .component(server.into_component("health"))
        .component(patient.group(Group::Controllers))
        .build()
        .unwrap();
    health.manager(&manager.handle());
    let handle = manager.handle();
    let run = tokio::spawn(manager.run());
    handle
        .wait_for("patient", |one| {
            one.is_some_and(|one| one.state == ComponentState::Ready)
        })
        .await;
    assert!(get(address, "/readyz").await.ends_with("ok"));
    kill("-TERM");
    assert_eq!(run.await.unwrap().unwrap().phase, Phase::Stopped);

    let deaf = Component::new("deaf", |_| std::future::pending::<Result<(), std::io::Error>>());
    let deaf = deaf.stop_timeout(Duration::from_secs(3600));
    let manager = Manager::builder()
        .signals(Signals::Listen)
        .stop_timeout(Duration::from_secs(3600))
        .component(deaf)
        .build()
        .unwrap();
    let handle = manager.handle();
    let run = tokio::spawn(manager.run());
    handle
        .wait_for("deaf", |one| {
            one.is_some_and(|one| one.state == ComponentState::Ready)
        })
        .await;
    kill("-INT");
    handle
        .wait_for("deaf", |one| {
            one.is_some_and(|one| one.state == ComponentState::Stopping)
        })
        .await;
    kill("-TERM");
    assert!(run.await.unwrap().is_err(), "what was dropped is named");
}
