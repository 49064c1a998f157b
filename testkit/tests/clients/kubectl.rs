//! kubectl: the commands people type.

use std::time::Duration;

use informer_testkit::{ApiServer, Builder};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::outside::{Outside, all_text, run, with};

/// A shell in front of the server.
struct Shell(Outside);

impl Shell {
    async fn open(builder: Builder) -> Option<Self> {
        // kubectl shows ages, so the server's calendar is the wall's.
        let now = jiff::Timestamp::now();
        with("kubectl", builder.start_time(now)).await.map(Self)
    }

    fn command(&self, line: &str) -> tokio::process::Command {
        let mut command = self.0.command("kubectl");
        command
            .args(["--server", &self.0.listener.url()])
            .args(line.split(' '));
        command
    }

    async fn try_run(&self, line: &str) -> (bool, String) {
        let output = run(self.command(line)).await;
        (output.status.success(), all_text(&output))
    }

    /// Runs a command that must succeed; gives what it printed.
    async fn run(&self, line: &str) -> String {
        let (well, text) = self.try_run(line).await;
        assert!(well, "kubectl {line}:\n{text}");
        text
    }

    /// Writes a manifest to a file and gives its path.
    fn file(&self, name: &str, object: &Value) -> String {
        let path = self.0.scratch().join(name);
        std::fs::write(&path, object.to_string()).expect("the target folder can be written");
        path.display().to_string()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.0.server.panics(), 0, "a handler panicked");
        }
    }
}

fn config_map() -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}})
}

fn deployment(image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_created_shown_changed_and_deleted() {
    let Some(shell) = Shell::open(ApiServer::builder()).await else {
        return;
    };
    let file = shell.file("cm.json", &config_map());
    assert!(shell.run("version").await.contains("Server Version: v1.36"));
    assert_eq!(
        shell.run(&format!("create -f {file}")).await.trim(),
        "configmap/a created"
    );
    let (well, text) = shell.try_run(&format!("create -f {file}")).await;
    assert!(
        !well
            && text.contains("Error from server (AlreadyExists)")
            && text.contains("configmaps \"a\" already exists"),
        "{text}"
    );
    let table = shell.run("get configmaps").await;
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["NAME", "DATA", "AGE"]);
    assert_eq!(rows[1][..2], ["a", "1"]);
    let read: Value = serde_json::from_str(&shell.run("get cm a -o json").await).expect("JSON");
    assert_eq!(read["data"], json!({"k": "v"}));
    shell.run("label cm a tier=front").await;
    shell.run("annotate cm a note=x").await;
    assert_eq!(
        shell.run("get cm -l tier=front -o name").await.trim(),
        "configmap/a"
    );
    assert_eq!(shell.run("get cm -l tier!=front -o name").await.trim(), "");
    assert_eq!(
        shell
            .run("get cm --field-selector metadata.name=a -o name")
            .await
            .trim(),
        "configmap/a"
    );
    shell
        .run(r#"patch cm a --type=merge -p {"data":{"k":"w"}}"#)
        .await;
    shell
        .run(r#"patch cm a --type=json -p [{"op":"replace","path":"/data/k","value":"x"}]"#)
        .await;
    shell.run(r#"patch cm a -p {"data":{"l":"yy"}}"#).await;
    assert_eq!(
        shell.run("get cm a -o jsonpath={.data}").await,
        r#"{"k":"x","l":"yy"}"#
    );
    let mut edit = shell.command("edit cm a");
    edit.env("EDITOR", "sed -i s/yy/edited/");
    let edited = run(edit).await;
    assert!(edited.status.success(), "{}", all_text(&edited));
    assert_eq!(shell.run("get cm a -o jsonpath={.data.l}").await, "edited");
    assert_eq!(
        shell.run(&format!("replace -f {file}")).await.trim(),
        "configmap/a replaced"
    );
    assert!(
        shell
            .run("delete cm a")
            .await
            .starts_with("configmap \"a\" deleted")
    );
    let (well, text) = shell.try_run("get cm a").await;
    assert!(
        !well && text.contains("Error from server (NotFound): configmaps \"a\" not found"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ways_to_apply_work_and_an_unchanged_object_stays_so() {
    let Some(shell) = Shell::open(ApiServer::builder()).await else {
        return;
    };
    let (one, two) = (
        shell.file("one.json", &deployment("x:1")),
        shell.file("two.json", &deployment("x:2")),
    );
    assert_eq!(
        shell.run(&format!("apply -f {one}")).await.trim(),
        "deployment.apps/web created"
    );
    assert_eq!(
        shell.run(&format!("apply -f {one}")).await.trim(),
        "deployment.apps/web unchanged"
    );
    assert_eq!(
        shell.run(&format!("apply -f {two}")).await.trim(),
        "deployment.apps/web configured"
    );
    assert_eq!(
        shell
            .run("get deploy web -o jsonpath={.spec.template.spec.containers[*].image}")
            .await,
        "x:2"
    );
    let file = shell.file("cm.json", &config_map());
    assert_eq!(
        shell.run(&format!("apply --server-side -f {file}")).await.trim(),
        "configmap/a serverside-applied"
    );
    let (well, text) = shell
        .try_run(&format!("apply --server-side --field-manager=other -f {file}"))
        .await;
    assert!(well, "the same value may have two owners: {text}");
    let mut other = config_map();
    other["data"]["k"] = json!("w");
    let other = shell.file("other.json", &other);
    let (well, text) = shell
        .try_run(&format!("apply --server-side --field-manager=third -f {other}"))
        .await;
    assert!(
        !well && text.contains("Apply failed with") && text.contains(".data.k"),
        "{text}"
    );
    shell
        .run(&format!(
            "apply --server-side --field-manager=third --force-conflicts -f {other}"
        ))
        .await;
    assert_eq!(shell.run("get cm a -o jsonpath={.data.k}").await, "w");
    // The dry run of a diff stores nothing.
    let version = shell
        .run("get deploy web -o jsonpath={.metadata.resourceVersion}")
        .await;
    let (_, text) = shell.try_run(&format!("diff -f {one}")).await;
    assert!(text.contains("x:1") && text.contains("x:2"), "{text}");
    assert_eq!(
        shell
            .run("get deploy web -o jsonpath={.metadata.resourceVersion}")
            .await,
        version
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_prints_every_change() {
    let Some(shell) = Shell::open(ApiServer::builder()).await else {
        return;
    };
    shell
        .0
        .server
        .create("configmaps", config_map())
        .expect("a good object");
    let mut watch = shell
        .command("get configmaps --watch -o name")
        .spawn()
        .expect("kubectl starts");
    let mut lines = BufReader::new(watch.stdout.take().expect("piped")).lines();
    let mut next = async || {
        let line = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await;
        line.expect("kubectl prints in time")
            .expect("readable")
            .expect("the watch is open")
    };
    assert_eq!(next().await, "configmap/a");
    let server = shell.0.server.clone();
    // The list is out; what comes now comes over the watch.
    server
        .create("configmaps", json!({"metadata": {"name": "b"}}))
        .expect("a good object");
    assert_eq!(next().await, "configmap/b");
    server
        .patch("configmaps", "default", "a", json!({"data": {"k": "w"}}))
        .expect("there");
    assert_eq!(next().await, "configmap/a");
    watch.kill().await.expect("kubectl runs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollouts_are_waited_for_scaled_and_explained() {
    let Some(shell) = Shell::open(ApiServer::builder().workloads(true)).await else {
        return;
    };
    let (one, two) = (
        shell.file("one.json", &deployment("x:1")),
        shell.file("two.json", &deployment("x:2")),
    );
    shell.run(&format!("apply -f {one}")).await;
    assert!(
        shell
            .run("rollout status deploy/web --timeout=20s")
            .await
            .contains("successfully rolled out")
    );
    shell
        .run("wait --for=condition=available deploy/web --timeout=20s")
        .await;
    assert!(
        shell
            .run("scale deploy/web --replicas=3")
            .await
            .contains("scaled")
    );
    shell.run(&format!("apply -f {two}")).await;
    assert!(
        shell
            .run("rollout status deploy/web --timeout=20s")
            .await
            .contains("successfully rolled out")
    );
    let pods = shell.run("get pods").await;
    assert_eq!(
        pods.matches("1/1     Running").count(),
        2,
        "apply set the count back to two:\n{pods}"
    );
    assert!(shell.run("rollout history deploy/web").await.contains("REVISION"));
    assert!(shell.run("get all").await.contains("deployment.apps/web"));
    assert!(
        shell
            .run("describe deploy web")
            .await
            .contains("2 desired | 2 updated | 2 total | 2 available")
    );
    shell.run("delete deploy web").await;
    shell.run("wait --for=delete pod -l app=web --timeout=20s").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_is_discovered_and_explained() {
    let Some(shell) = Shell::open(ApiServer::builder()).await else {
        return;
    };
    let resources = shell.run("api-resources").await;
    for (plural, kind) in [
        ("configmaps", "ConfigMap"),
        ("deployments", "Deployment"),
        ("leases", "Lease"),
    ] {
        let row = resources
            .lines()
            .find(|line| line.starts_with(plural))
            .expect(plural);
        assert!(row.ends_with(kind), "{row}");
    }
    assert!(
        shell
            .run("api-versions")
            .await
            .lines()
            .any(|line| line == "apps/v1")
    );
    assert!(shell.run("explain configmap").await.contains("binaryData"));
    assert!(
        shell
            .run("explain deployment")
            .await
            .contains("KIND:       Deployment")
    );
    assert!(shell.run("get --raw /api").await.contains("APIVersions"));
    assert_eq!(shell.run("get --raw /healthz").await, "ok");
    assert!(shell.run("cluster-info").await.contains("is running at"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_brings_a_kind_with_all_its_features() {
    let Some(shell) = Shell::open(ApiServer::builder()).await else {
        return;
    };
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "foos.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "shortNames": ["fo"], "categories": ["all"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                "selectableFields": [{"jsonPath": ".spec.color"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "size": {"type": "integer", "default": 1, "description": "How large it is."},
                        "color": {"type": "string", "enum": ["red", "blue"]}}},
                    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}},
            }],
        },
    });
    let definition = shell.file("crd.json", &definition);
    shell.run(&format!("apply -f {definition}")).await;
    shell
        .run("wait --for=condition=established crd/foos.example.com --timeout=20s")
        .await;
    let foo = |name: &str, color: &str| {
        let object = json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": name}, "spec": {"color": color}});
        shell.file(&format!("{name}.json"), &object)
    };
    shell.run(&format!("apply -f {}", foo("f", "red"))).await;
    shell.run(&format!("create -f {}", foo("g", "blue"))).await;
    let (well, text) = shell.try_run(&format!("create -f {}", foo("h", "green"))).await;
    assert!(
        !well && text.contains("spec.color: Unsupported value: \"green\""),
        "{text}"
    );
    assert_eq!(
        shell
            .run("get fo --field-selector spec.color=red -o name")
            .await
            .trim(),
        "foo.example.com/f"
    );
    shell.run("scale foo f --replicas=4").await;
    let table = shell.run("get foos f").await;
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows, [vec!["NAME", "SIZE"], vec!["f", "4"]]);
    assert!(
        shell
            .run("explain foo.spec.size")
            .await
            .contains("How large it is.")
    );
    shell
        .run(r#"patch foo f --subresource=status --type=merge -p {"status":{"ready":true}}"#)
        .await;
    assert_eq!(
        shell
            .run("get foo f -o jsonpath={.status.ready}/{.metadata.generation}")
            .await,
        "true/2"
    );
    assert!(shell.run("get all").await.contains("foo.example.com/f"));
    // The end of the definition is the end of its objects and of their watches.
    let watch = run(shell.command("get foos --watch -o name"));
    let server = shell.0.server.clone();
    let end = async {
        while server.watches().of("foos").is_empty() {
            tokio::task::yield_now().await;
        }
        server.delete("customresourcedefinitions", "", "foos.example.com")
    };
    let (watch, gone) = tokio::join!(watch, end);
    gone.expect("the definition is there");
    assert!(watch.status.success(), "{}", all_text(&watch));
    let (well, text) = shell.try_run("get foos").await;
    assert!(
        !well && text.contains("doesn't have a resource type") || text.contains("could not find"),
        "{text}"
    );
}
