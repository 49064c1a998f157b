//! The same seed gives the same run: every byte, every chunk, every header and every moment of a whole scenario.

use std::{cell::RefCell, rc::Rc, time::Duration};

use futures::StreamExt;
use http_body_util::BodyExt;
use informer_testkit::{ApiServer, ApiService, Body, Fault, Lag, On, Verb, generate::Churn};
use k8s_openapi::api::core::v1::ConfigMap;
use kube_client::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::{
    task::LocalSet,
    time::{Instant, sleep},
};
use tower::Service;

/// What a run's clients saw, in the order they saw it.
#[derive(Clone)]
struct Transcript {
    start: Instant,
    lines: Rc<RefCell<Vec<String>>>,
}

impl Transcript {
    fn note(&self, who: &str, what: impl std::fmt::Display) {
        let at = self.start.elapsed().as_nanos();
        self.lines.borrow_mut().push(format!("{at} {who} {what}"));
    }

    /// Sends a request and notes its head and each chunk of its body.
    async fn follow(self, who: String, mut service: ApiService, path: String) {
        let request = http::Request::get(&path).body(Body::empty()).expect("a request");
        let response = match service.call(request).await {
            Ok(response) => response,
            Err(error) => return self.note(&who, error.kind()),
        };
        let (parts, body) = response.into_parts();
        self.note(&who, format!("{} {:?}", parts.status, parts.headers));
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(chunk) => self.note(&who, String::from_utf8_lossy(&chunk)),
                Err(error) => self.note(&who, error.kind()),
            }
        }
        self.note(&who, "end");
    }

    /// Follows a collection for five minutes, from now again whenever the stream ends.
    async fn watch_on(self, who: String, service: ApiService, path: String) {
        while self.start.elapsed() < Duration::from_secs(300) {
            self.clone()
                .follow(who.clone(), service.clone(), path.clone())
                .await;
            sleep(Duration::from_secs(1)).await;
        }
    }
}

fn definition() -> serde_json::Value {
    json!({
        "metadata": {"name": "foos.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "foos", "singular": "foo", "kind": "Foo"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            }}}],
        },
    })
}

/// Five minutes of churn, background work, faults, lag and a restore, watched by seven clients.
async fn scenario(seed: u64) -> Vec<String> {
    let server = ApiServer::builder()
        .seed(seed)
        .replicas(2)
        .workloads(true)
        .managed_fields(true)
        .watch_gzip(true)
        .bookmark_every(Duration::from_secs(7))
        .history(200, Duration::from_secs(75))
        .watch_queue(50)
        .build();
    let transcript = Transcript {
        start: Instant::now(),
        lines: Rc::default(),
    };
    let faults = server.faults();
    faults.inject(
        On::watch("pods").skip(3).times(2),
        Fault::Drip {
            bytes: 900,
            every: Duration::from_millis(30),
        },
    );
    faults.inject(On::watch("pods").skip(50).times(5), Fault::ReorderEvent);
    faults.inject(
        On::list("configmaps").skip(1).times(3),
        Fault::too_many_requests("1"),
    );
    faults.inject(
        On::watch("configmaps").skip(1).times(1),
        Fault::ResetAt { byte: 4000 },
    );
    faults.inject(On::verb(Verb::Patch).skip(2).times(1), Fault::status(500));
    let local = LocalSet::new();
    for (who, path, replica) in [
        (
            "all",
            "/api/v1/pods?watch=1&allowWatchBookmarks=1&timeoutSeconds=60",
            0,
        ),
        ("late", "/api/v1/pods?watch=1&resourceVersion=0", 1),
        (
            "shard",
            "/api/v1/pods?watch=1&allowWatchBookmarks=1&timeoutSeconds=45&shardSelector=shardRange(object.metadata.uid,'0x0000000000000000','0x8000000000000000')",
            0,
        ),
        (
            "running",
            "/api/v1/pods?watch=1&fieldSelector=status.phase%3DRunning",
            1,
        ),
        (
            "maps",
            "/api/v1/configmaps?watch=1&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&allowWatchBookmarks=1",
            0,
        ),
        ("sets", "/apis/apps/v1/replicasets?watch=1", 1),
        (
            "foos",
            "/apis/example.com/v1/foos?watch=1&allowWatchBookmarks=true",
            0,
        ),
    ] {
        let service = server.replica(replica).service();
        local.spawn_local(
            transcript
                .clone()
                .watch_on(who.to_owned(), service, path.to_owned()),
        );
    }
    let (lister, service) = (transcript.clone(), server.service());
    local.spawn_local(async move {
        for _ in 0..20 {
            lister
                .clone()
                .follow(
                    "list".to_owned(),
                    service.clone(),
                    "/api/v1/configmaps?limit=3".to_owned(),
                )
                .await;
            sleep(Duration::from_secs(15)).await;
        }
    });
    let work = {
        let (server, transcript) = (server.clone(), transcript.clone());
        async move {
            let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
            let mut churn = Churn::new(&server, seed);
            let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 3,
                "selector": {"matchLabels": {"app": "d"}}, "template": {"metadata": {"labels": {"app": "d"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
            server.create("deployments", deployment).expect("created");
            let mut backup = None;
            for step in 0..300 {
                let stepped = churn.step();
                assert!(
                    stepped.is_ok() || step == 176,
                    "only a restore takes pods away: {stepped:?}"
                );
                let map: ConfigMap =
                    serde_json::from_value(json!({"metadata": {"generateName": "m-"}})).expect("a map");
                if step % 10 == 0 {
                    let made = maps.create(&PostParams::default(), &map).await.expect("created");
                    let name = made.metadata.name.expect("a name");
                    let patch = Patch::Merge(json!({"data": {"step": step.to_string()}}));
                    let patched = maps.patch(&name, &PatchParams::default(), &patch).await;
                    transcript.note(
                        "work",
                        format!("{name} {:?}", patched.map(|map| map.metadata.resource_version)),
                    );
                }
                match step {
                    50 => drop(
                        server
                            .create("customresourcedefinitions", definition())
                            .expect("created"),
                    ),
                    51 => drop(
                        server
                            .create("foos", json!({"metadata": {"generateName": "f-"}}))
                            .expect("created"),
                    ),
                    75 => server.replica(1).lag(Lag::Delay(Duration::from_millis(2500))),
                    100 => drop(server.delete("deployments", "default", "d").expect("deleted")),
                    125 => backup = Some(server.snapshot()),
                    150 => server.compact(),
                    175 => server.restore(backup.as_ref().expect("a backup")),
                    176 => churn = Churn::new(&server, seed + 1),
                    200 => drop(server.watches().of("pods").raw("}{\n")),
                    225 => drop(
                        server
                            .delete("customresourcedefinitions", "", "foos.example.com")
                            .expect("deleted"),
                    ),
                    250 => drop(server.bump_revision()),
                    _ => {}
                }
                sleep(Duration::from_secs(1)).await;
            }
            server.settled().await;
            transcript.note("state", format!("{:?}", server.faults().counts()));
            for resource in ["pods", "configmaps", "namespaces", "replicasets"] {
                for object in server.list(resource, None) {
                    transcript.note("state", object);
                }
            }
        }
    };
    local.run_until(work).await;
    assert_eq!(server.panics(), 0);
    for request in server.requests().all() {
        transcript.note("log", format!("{request:?}"));
    }
    drop(local);
    transcript.lines.take()
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_run_to_the_byte() {
    let first = scenario(7).await;
    let second = scenario(7).await;
    assert!(first.len() > 2000, "{}", first.len());
    let differs = first.iter().zip(&second).find(|(one, other)| one != other);
    assert_eq!(differs, None);
    assert_eq!(first.len(), second.len());
    for who in [
        "all", "late", "shard", "running", "maps", "sets", "foos", "list", "work", "log", "state",
    ] {
        let lines = first
            .iter()
            .filter(|line| line.split(' ').nth(1) == Some(who))
            .count();
        assert!(lines > 2, "{who} saw {lines}");
    }
    assert_ne!(first, scenario(8).await);
}
