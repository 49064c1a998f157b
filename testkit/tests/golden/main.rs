//! Replays the recorded exchanges of a real kube-apiserver 1.36 and compares status, headers and bodies.
//!
//! The recording is a part of a longer session: [`prepare`] makes up for the writes that are not in it. Revisions are
//! kept in step ([`align`]), so that versions are compared as they are. What is not compared as it is:
//!
//! | normalised | why |
//! |--|--|
//! | uids | chance; each recorded one must stand for one of ours throughout |
//! | times and ages | the recording's day is over |
//! | cluster IPs, `resourceVersion` of lists over all namespaces of kinds the real server fills by itself | chance, and other components' writes |
//! | number of plain bookmarks, and their version | driven by timers of the real server and by others' writes |
//! | the oldest version in `too old resource version: 2 (398)` | the real server's cache keeps another window than its storage |
//! | discovery and tables of shared kinds: entries of kinds and objects that only one side has | this server has fewer kinds, and no components that make objects |
//! | the definition's own version | it is established in three writes there, in one here |
//! | what the recording cut off | only what is there is compared |
//! | `/version`, `/readyz?verbose`, `/openapi/v3` | names what a server is made of; compared by shape |

mod exchange;

use std::collections::{BTreeMap, BTreeSet};

use exchange::{Row, Uids, differences, rows};
use informer_testkit::{ApiServer, Body};
use serde_json::{Value, json};
use tower::Service;

/// The headers whose values are part of the protocol.
const HEADERS: [&str; 7] = [
    "content-type",
    "cache-control",
    "retry-after",
    "warning",
    "vary",
    "x-content-type-options",
    "content-encoding",
];

/// Rows that can't pass, by position, with the reason.
const EXCUSED: [(usize, &str); 0] = [];

async fn send(server: &ApiServer, row: &Row, uids: &Uids) -> (u16, BTreeMap<String, String>, String) {
    let mut request = http::Request::builder()
        .method(row.method.as_str())
        .uri(row.path.as_str());
    for (name, value) in &row.req_headers {
        request = request.header(name, value);
    }
    let body = uids.to_ours(row.req_body.as_deref().unwrap_or_default());
    let request = request
        .header("host", "127.0.0.1:16443")
        .body(Body::full(body))
        .expect("a recorded request");
    let response = server.service().call(request).await.expect("an answer");
    let status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
        .collect();
    let body = http_body_util::BodyExt::collect(response.into_body())
        .await
        .expect("a whole body")
        .to_bytes();
    (status, headers, String::from_utf8(body.to_vec()).expect("text"))
}

/// Brings the server's revision to where the real one's was when it answered.
fn align(server: &ApiServer, row: &Row) {
    let Some(version) = row.version_before() else {
        return;
    };
    while server.revision() < version {
        server.bump_revision();
    }
}

/// Writes the recording leaves out.
async fn prepare(server: &ApiServer, all: &[Row], at: usize, uids: &mut Uids) {
    let load = |object: &Value| {
        let mut object = object.clone();
        let version: u64 = object["metadata"]["resourceVersion"]
            .as_str()
            .and_then(|text| text.parse().ok())
            .expect("a version");
        while server.revision() + 1 < version {
            server.bump_revision();
        }
        object["kind"] = json!("ConfigMap");
        object["apiVersion"] = json!("v1");
        server.load([object]).expect("loaded");
    };
    match at {
        0 => {
            let service = json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "kubernetes", "namespace": "default"},
                "spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1", "ports": [{"port": 443, "protocol": "TCP"}]},
            });
            server.load([service]).expect("loaded");
        }
        // Five config maps, with the uids that decide which shard they are in.
        43 => {
            tokio::time::advance(std::time::Duration::from_secs(44)).await;
            all[48].json()["items"].as_array().expect("items")[..5]
                .iter()
                .for_each(load);
        }
        // One of them changed three times and was deleted.
        76 => {
            let events: Vec<Value> = all[76].recorded_lines();
            events[..3].iter().for_each(|event| load(&event["object"]));
            server.delete("configmaps", "default", "w1").expect("deleted");
        }
        101 => {
            let patch = r#"{"metadata":{"finalizers":["a.b/c"]}}"#;
            let row = Row::made("PATCH", "/apis/example.com/v1/namespaces/default/foos/f1", patch);
            send(server, &row, uids).await;
        }
        105 | 106 => {
            let name = if at == 105 { "f3" } else { "f4" };
            let body = json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": name}});
            let row = Row::made(
                "POST",
                "/apis/example.com/v1/namespaces/default/foos",
                &body.to_string(),
            );
            let (status, _, answer) = send(server, &row, uids).await;
            assert_eq!(status, 201, "{answer}");
        }
        // The storage of the real server was compacted twice.
        117 => server.compact_to(398),
        120 => {
            let row = all[123].json()["items"][0].clone();
            let mut object = row;
            object["data"] = json!({"k": "v", "t": "1"});
            load(&object);
            server.compact();
        }
        _ => {}
    }
}

#[tokio::test(start_paused = true)]
async fn recorded_requests_get_the_recorded_answers() {
    let all = rows();
    assert_eq!(all.len(), 149);
    let start = "2026-11-23T03:43:50Z".parse().expect("a time");
    // The recorded server was alone: nothing collected garbage or emptied namespaces.
    let server = ApiServer::builder()
        .managed_fields(true)
        .garbage_collection(false)
        .namespace_lifecycle(false)
        .seed(SEED)
        .start_time(start)
        .build();
    let mut uids = Uids::default();
    let mut failed = BTreeMap::new();
    for (at, row) in all.iter().enumerate() {
        prepare(&server, &all, at, &mut uids).await;
        align(&server, row);
        let (status, headers, body) = send(&server, row, &uids).await;
        let mut wrong = Vec::new();
        if status != row.status {
            wrong.push(format!("status {status}, recorded {}", row.status));
        }
        for name in HEADERS {
            let recorded = row.header(name);
            let ours = headers.get(name).map(String::as_str);
            if recorded != ours {
                wrong.push(format!("{name}: {ours:?}, recorded {recorded:?}"));
            }
        }
        wrong.extend(differences(row, &body, &mut uids));
        if !wrong.is_empty() {
            failed.insert(at, wrong);
        }
    }
    let excused: BTreeSet<usize> = EXCUSED.iter().map(|(at, _)| *at).collect();
    let mut report = String::new();
    for (at, wrong) in failed.iter().filter(|(at, _)| !excused.contains(at)) {
        report.push_str(&format!(
            "\nrow {at} ({}): {} {}\n",
            all[*at].name, all[*at].method, all[*at].path
        ));
        wrong
            .iter()
            .take(6)
            .for_each(|line| report.push_str(&format!("    {line}\n")));
    }
    let unneeded: Vec<_> = excused.iter().filter(|at| !failed.contains_key(at)).collect();
    assert!(unneeded.is_empty(), "rows that pass need no excuse: {unneeded:?}");
    assert!(report.is_empty(), "{} rows differ:\n{report}", failed.len());
    assert_eq!(server.panics(), 0);
}

/// Puts the config map `warn` into the shard it was recorded in.
const SEED: u64 = 5;
