//! One request of arbitrary bytes to the embedded API server: the first line is the method and the URI, the second the
//! content type, the rest the body. It must be answered, and no handler may panic.
#![no_main]

use std::time::Duration;

use informer_testkit::{ApiServer, Body};
use tower_service::Service;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let mut next = || parts.next().unwrap_or_default();
    let (line, media, body) = (next(), next(), next());
    let Ok(line) = std::str::from_utf8(line) else {
        return;
    };
    let (method, uri) = line.split_once(' ').unwrap_or(("GET", line));
    let request = http::Request::builder()
        .method(method)
        .uri(uri)
        .header("content-type", media);
    let Ok(request) = request.body(Body::full(body.to_vec())) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.expect("a runtime").block_on(async {
        let server = ApiServer::new();
        // A watch may go on for hours; what it starts with is enough.
        let answer = async {
            let response = server
                .service()
                .call(request)
                .await
                .expect("no fault breaks the connection");
            let _ = http_body_util::BodyExt::collect(response.into_body()).await;
        };
        let _ = tokio::time::timeout(Duration::from_secs(120), answer).await;
        assert_eq!(server.panics(), 0);
    });
});
