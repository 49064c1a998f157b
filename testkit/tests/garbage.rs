//! Whatever a client sends is answered, and no handler panics: generated requests, and the corpus of the fuzz target.

use std::time::Duration;

use informer_testkit::{ApiServer, Body, Kind};
use proptest::{collection::vec, option, prelude::*, sample::select};
use tower::Service;

/// Sends a request and returns the status of its answer; a watch is followed for two minutes.
fn send(method: &str, uri: &str, media: &[u8], body: Vec<u8>) -> Option<u16> {
    send_with(method, uri, media, &[], body)
}

/// As [`send`], with more headers.
fn send_with(
    method: &str,
    uri: &str,
    media: &[u8],
    headers: &[(&str, Vec<u8>)],
    body: Vec<u8>,
) -> Option<u16> {
    let mut request = http::Request::builder()
        .method(method)
        .uri(uri)
        .header("content-type", media);
    for (name, value) in headers {
        request = request.header(*name, value.as_slice());
    }
    let request = request.body(Body::full(body)).ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.expect("a runtime").block_on(async {
        let server = ApiServer::builder()
            .kind(Kind::new("example.com", "v1", "Foo", "foos").with_status())
            .build();
        let map =
            serde_json::json!({"metadata": {"name": "a", "labels": {"app": "web"}}, "data": {"k": "v"}});
        server.create("configmaps", map).expect("created");
        let answer = async {
            let response = server
                .service()
                .call(request)
                .await
                .expect("no fault breaks the connection");
            let status = response.status().as_u16();
            let _ = http_body_util::BodyExt::collect(response.into_body()).await;
            status
        };
        let status = tokio::time::timeout(Duration::from_secs(120), answer).await;
        assert_eq!(server.panics(), 0, "{method} {uri}");
        status.ok()
    })
}

fn path() -> impl Strategy<Value = String> {
    let words = select(vec![
        "api",
        "apis",
        "v1",
        "apps",
        "example.com",
        "namespaces",
        "default",
        "configmaps",
        "deployments",
        "foos",
        "a",
        "status",
        "scale",
        "finalize",
        "watch",
        "openapi",
        "v3",
        "version",
        "_sim",
        "",
        "%00",
        "%ff",
        "..",
        "Ä",
    ]);
    let known = select(vec![
        "/api/v1/configmaps",
        "/api/v1/namespaces/default/configmaps",
        "/api/v1/namespaces/default/configmaps/a",
        "/api/v1/namespaces/default",
        "/api/v1/namespaces/default/finalize",
        "/apis/apps/v1/namespaces/default/deployments/d/scale",
        "/apis/example.com/v1/namespaces/default/foos",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    ]);
    prop_oneof![
        known.prop_map(str::to_owned),
        vec(words, 0..7).prop_map(|words| format!("/{}", words.join("/"))),
        "/[ -~]{0,30}",
    ]
}

fn selector() -> impl Strategy<Value = String> {
    let words = select(vec![
        "app",
        "web",
        "=",
        "==",
        "!=",
        "!",
        " in ",
        " notin ",
        "(",
        ")",
        ",",
        ">",
        "<",
        "1",
        "metadata.name",
        "a/b",
        "spec.nodeName",
        "shardRange(",
        "object.metadata.uid",
        "'0x0000000000000000'",
        "||",
        " ",
        "\\",
        "é",
    ]);
    prop_oneof![vec(words, 0..9).prop_map(|words| words.concat()), "\\PC{0,20}"]
}

fn query() -> impl Strategy<Value = String> {
    let name = select(vec![
        "labelSelector",
        "fieldSelector",
        "shardSelector",
        "limit",
        "continue",
        "resourceVersion",
        "resourceVersionMatch",
        "watch",
        "sendInitialEvents",
        "allowWatchBookmarks",
        "timeoutSeconds",
        "dryRun",
        "fieldManager",
        "force",
        "fieldValidation",
        "pretty",
        "propagationPolicy",
        "gracePeriodSeconds",
        "includeObject",
    ]);
    let value = prop_oneof![
        selector(),
        select(vec![
            "0",
            "1",
            "-1",
            "true",
            "Exact",
            "NotOlderThan",
            "All",
            "99999999999999999999",
            "eyJ2IjoiIn0",
            "é"
        ])
        .prop_map(str::to_owned),
        any::<u64>().prop_map(|number| number.to_string()),
    ];
    vec((name, value), 0..5).prop_map(|pairs| {
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish()
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let known = select(vec![
        r#"{"metadata":{"name":"b"},"data":{"k":"v"}}"#,
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","finalizers":["x/y"]}}"#,
        r#"[{"op":"replace","path":"/data/k","value":{}}]"#,
        r#"{"metadata":null,"data":[]}"#,
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: y}\n",
        r#"{"spec":{"group":"x.y","names":{"plural":"zs"},"versions":[{"name":"v1"}]},"metadata":{"name":"zs.x.y"}}"#,
        r#"{"preconditions":{"uid":"x"}}"#,
        r#"{"spec":{"replicas":-1}}"#,
    ]);
    prop_oneof![
        known.prop_map(|text| text.as_bytes().to_vec()),
        // A known body with a few bytes changed.
        (
            known_bytes(),
            vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
        )
            .prop_map(|(mut bytes, edits)| {
                for (at, byte) in edits {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
                bytes
            }),
        vec(any::<u8>(), 0..60),
    ]
}

fn known_bytes() -> impl Strategy<Value = Vec<u8>> {
    Just(br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","labels":{"a":"b"}},"data":{"k":"v"}}"#.to_vec())
}

/// 600 cases, or as many as `PROPTEST_CASES` says: the gate asks for a minute of them.
fn config() -> ProptestConfig {
    let told = std::env::var_os("PROPTEST_CASES").is_some();
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: if told { default.cases } else { 600 },
        failure_persistence: None,
        ..default
    }
}

fn header() -> impl Strategy<Value = &'static str> {
    select(vec![
        "accept",
        "accept-encoding",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "if-none-match",
        "user-agent",
        "authorization",
        "range",
    ])
}

fn header_value() -> impl Strategy<Value = Vec<u8>> {
    let words = select(vec![
        "application/json",
        ";as=Table;g=meta.k8s.io;v=v1",
        ";as=PartialObjectMetadataList",
        ",",
        ";q=",
        "*/*",
        "gzip",
        "kubectl/v1",
        "curl/8",
        "=",
        "\"",
        "-1",
    ]);
    prop_oneof![
        vec(words, 0..6).prop_map(|words| words.concat().into_bytes()),
        vec(any::<u8>(), 0..20),
    ]
}

/// A value no field asked for.
fn value() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        select(vec![
            "null",
            "true",
            "false",
            "0",
            "1",
            "2",
            "7",
            "-1",
            "1.5",
            "1e400",
            "300",
            "400",
            "599",
            "600",
            "65536",
            "268435457",
            "9223372036854775807",
            "18446744073709551615",
            "\"\"",
            "\"a\"",
            "\"default\"",
            "\"configmaps\"",
            "\"foos.example.com\"",
            "\"list\"",
            "\"watch\"",
            "\"Foo\"",
            "\"v1\"",
            "\"}{\\n\"",
            "\"\\u0000\"",
            "[]",
            "[\"x\"]",
            "{}",
            "{\"verb\":\"watch\"}",
            "{\"times\":1}",
            "{\"skip\":18446744073709551615,\"times\":18446744073709551615}",
        ])
        .prop_map(|text| serde_json::from_str(text).unwrap_or_default()),
        "\\PC{0,12}".prop_map(serde_json::Value::from),
        any::<u64>().prop_map(serde_json::Value::from),
    ]
}

/// A body for the control plane: known and unknown fields with any values, or anything else.
fn order() -> impl Strategy<Value = Vec<u8>> {
    let field = select(vec![
        "on",
        "fault",
        "code",
        "reason",
        "message",
        "retryAfter",
        "text",
        "byte",
        "bytes",
        "ms",
        "version",
        "inStream",
        "resource",
        "namespace",
        "name",
        "id",
        "frozen",
        "behind",
        "delayMs",
        "events",
        "ageMs",
        "timeoutMs",
        "snapshot",
        "group",
        "kind",
        "plural",
        "clusterScoped",
        "status",
        "shortNames",
        "selectableFields",
        "nosuch",
    ]);
    // A panic on request is the one fault that may count as one.
    let fault = select(vec![
        "status",
        "html",
        "gone",
        "tooLargeVersion",
        "latency",
        "hang",
        "refuse",
        "resetAt",
        "cutAt",
        "eofAt",
        "stallAt",
        "drip",
        "listVersion",
        "repeatContinue",
        "continueExpired",
        "staleList",
        "undecodable",
        "noBookmarks",
        "noInitialEventsEnd",
        "watchListRefused",
        "dropEvent",
        "duplicateEvent",
        "reorderEvent",
        "truncateLine",
        "rawLine",
        "unknownType",
        "oversizeLine",
        "eventVersion",
        "errorEvent",
        "goneEvent",
        "closeBefore",
        "resetBefore",
        "stallBefore",
        "bookmarkVersion",
        "nosuch",
    ]);
    let object = (option::of(fault), vec((field, value()), 0..4)).prop_map(|(fault, fields)| {
        let mut object: serde_json::Map<_, _> = fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        if let Some(fault) = fault {
            object.insert("fault".to_owned(), fault.into());
        } else {
            object.remove("fault");
        }
        serde_json::Value::Object(object).to_string().into_bytes()
    });
    prop_oneof![6 => object, 1 => body(), 1 => Just(Vec::new())]
}

/// A call of the control plane, most of them to operations that exist.
fn operation() -> impl Strategy<Value = (String, String, Vec<u8>)> {
    let segment = select(vec!["0", "1", "2", "99999999999999999999", "-1", "x", "%00", ""]);
    let known = (select(informer_testkit::sim::OPERATIONS.to_vec()), segment).prop_map(|(op, segment)| {
        let path = op.path.replace("{id}", segment).replace("{index}", segment);
        (op.method.to_owned(), path)
    });
    let odd = (select(vec!["GET", "POST", "DELETE", "PUT"]), "[a-zA-Z/{}%]{0,20}")
        .prop_map(|(method, path)| (method.to_owned(), path));
    let query = option::of(select(vec![
        "version=1",
        "resource=configmaps",
        "id=0",
        "verb=list",
        "%ff=",
        "a&b",
    ]));
    (prop_oneof![9 => known, 1 => odd], query, order()).prop_map(|((method, path), query, body)| {
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        (method, format!("/_sim/{path}{query}"), body)
    })
}

/// Follows an answer for ten minutes of the server's time.
async fn follow(server: &ApiServer, method: &str, uri: &str, body: Vec<u8>) -> Option<u16> {
    let request = http::Request::builder()
        .method(method)
        .uri(uri)
        .body(Body::full(body))
        .ok()?;
    let mut service = server.service();
    let answer = async {
        let response = service.call(request).await.ok()?;
        let status = response.status().as_u16();
        let _ = http_body_util::BodyExt::collect(response.into_body()).await;
        Some(status)
    };
    tokio::time::timeout(Duration::from_secs(600), answer)
        .await
        .ok()?
}

/// Gives orders one after the other while clients list, watch and write.
fn obey(orders: Vec<(String, String, Vec<u8>)>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.expect("a runtime").block_on(async {
        let server = ApiServer::builder().sim(true).replicas(2).build();
        let map = |name: &str| serde_json::json!({"metadata": {"name": name}, "data": {"k": "v"}});
        server.create("configmaps", map("a")).expect("created");
        let watch = "/api/v1/configmaps?watch=1&allowWatchBookmarks=1&timeoutSeconds=60";
        let first = follow(&server, "GET", watch, Vec::new());
        let work = async {
            for (method, uri, body) in orders {
                let shown = String::from_utf8_lossy(&body).into_owned();
                if let Some(status) = follow(&server, &method, &uri, body).await {
                    let fine = matches!(status, 200 | 400 | 404 | 405 | 409);
                    assert!(fine, "{method} {uri} {shown}: {status}");
                }
                // A restore may have taken either away, or brought it back.
                let _ = server.patch(
                    "configmaps",
                    "default",
                    "a",
                    serde_json::json!({"data": {"k": uri}}),
                );
                let _ = server.create("configmaps", map("b"));
                follow(&server, "GET", "/api/v1/configmaps?limit=1", Vec::new()).await;
                follow(&server, "GET", "/api/v1/configmaps?resourceVersion=0", Vec::new()).await;
            }
            follow(&server, "GET", watch, Vec::new()).await;
        };
        tokio::join!(first, work);
        assert_eq!(server.panics(), 0);
    });
}

proptest! {
    // Each case is a whole session.
    #![proptest_config(ProptestConfig { cases: config().cases.div_ceil(3), ..config() })]

    #[test]
    fn any_order_to_the_control_plane_is_carried_out_or_refused(orders in vec(operation(), 1..6)) {
        obey(orders);
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_request_is_answered(
        method in select(vec!["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW"]),
        path in path(),
        query in option::of(query()),
        media in select(vec![
            "application/json", "application/yaml", "application/merge-patch+json", "application/json-patch+json",
            "application/strategic-merge-patch+json", "application/apply-patch+yaml", "text/plain", "",
        ]),
        headers in vec((header(), header_value()), 0..3),
        body in body(),
    ) {
        let uri = query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
        if let Some(status) = send_with(method, &uri, media.as_bytes(), &headers, body) {
            prop_assert!((200..600).contains(&status), "{status}");
        }
    }

    #[test]
    fn any_selector_is_read_or_refused(labels in selector(), fields in selector(), shard in selector()) {
        for (name, value) in [("labelSelector", labels), ("fieldSelector", fields), ("shardSelector", shard)] {
            let query = form_urlencoded::Serializer::new(String::new()).append_pair(name, &value).finish();
            let status = send("GET", &format!("/api/v1/configmaps?{query}"), b"", Vec::new());
            prop_assert!(matches!(status, Some(200 | 400 | 500)), "{name}={value}: {status:?}");
        }
    }
}

#[test]
fn the_corpus_of_the_fuzz_target_is_answered() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/apiserver_request");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus").flatten() {
        let data = std::fs::read(entry.path()).expect("a file");
        let parts: Vec<&[u8]> = data.splitn(3, |byte| *byte == b'\n').collect();
        let line = std::str::from_utf8(parts[0]).expect("text");
        let (method, uri) = line.split_once(' ').expect("a method and a URI");
        let body = parts.get(2).copied().unwrap_or_default().to_vec();
        let status = send(method, uri, parts[1], body);
        // A version the server has not reached, such as a token's from another server, is waited for in vain.
        assert!(
            status.is_some_and(|status| status < 500 || status == 504),
            "{:?}: {status:?}",
            entry.path()
        );
        count += 1;
    }
    assert!(count >= 8);
}
