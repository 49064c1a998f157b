//! The layers know what they feed, never what feeds them: the dependency graph of the workspace against the table.

use std::{collections::BTreeMap, process::Command};

use serde_json::{Value, json};

/// What a crate of the workspace may use.
struct Rule {
    name: &'static str,
    /// Crates of the workspace it may depend on.
    layers: &'static [&'static str],
    /// Crates of the workspace its tests may use besides.
    dev: &'static [&'static str],
    /// Other packages it must never depend on.
    never: &'static [&'static str],
    /// Features of tokio it must not switch on, outside tests.
    tokio_never: &'static [&'static str],
}

const NET: &[&str] = &[
    "hyper",
    "hyper-util",
    "http",
    "http-body",
    "kube-client",
    "kube-runtime",
    "tower",
];
const KUBERNETES: &[&str] = &[
    "hyper",
    "hyper-util",
    "http",
    "http-body",
    "tower",
    "kube-client",
    "kube-core",
    "kube-runtime",
    "k8s-openapi",
];
const TASKS: &[&str] = &["net", "rt", "rt-multi-thread", "full"];
const ALL_LAYERS: &[&str] = &[
    "informer-store",
    "informer-deltafifo",
    "informer-reflector",
    "informer-workqueue",
    "informer-controller",
];
const TESTKIT: &[&str] = &["informer-testkit"];

#[rustfmt::skip]
const TABLE: &[Rule] = &[
    Rule { name: "informer-store", layers: &[], dev: TESTKIT, never: NET, tokio_never: TASKS },
    Rule { name: "informer-workqueue", layers: &[], dev: &[], never: KUBERNETES, tokio_never: TASKS },
    Rule { name: "informer-deltafifo", layers: &["informer-store"], dev: TESTKIT, never: NET, tokio_never: TASKS },
    Rule { name: "informer-reflector", layers: &["informer-store"], dev: TESTKIT, never: &["hyper", "kube-runtime"], tokio_never: TASKS },
    Rule { name: "informer-controller", layers: &["informer-store", "informer-workqueue"], dev: TESTKIT, never: NET, tokio_never: TASKS },
    Rule { name: "informer", layers: ALL_LAYERS, dev: TESTKIT, never: &["kube-runtime"], tokio_never: &["full"] },
    Rule { name: "informer-testkit", layers: &[], dev: &[], never: &["kube-runtime"], tokio_never: &["full"] },
    Rule { name: "informer-benches", layers: &["informer", "informer-testkit"], dev: &[], never: &[], tokio_never: &[] },
];

/// Every edge of `metadata` that the table does not allow, one line each.
fn violations(metadata: &Value) -> Vec<String> {
    let rules: BTreeMap<&str, &Rule> = TABLE.iter().map(|rule| (rule.name, rule)).collect();
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(rule) = rules.get(name) else {
            found.push(format!("{name} has no row in the table"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            check(rule, dependency, &mut found);
        }
    }
    found
}

fn check(rule: &Rule, dependency: &Value, found: &mut Vec<String>) {
    let (name, target) = (rule.name, dependency["name"].as_str().unwrap_or_default());
    let test_only = dependency["kind"] == "dev";
    if target == "informer" || target.starts_with("informer-") {
        if !(rule.layers.contains(&target) || test_only && rule.dev.contains(&target)) {
            found.push(format!("{name} must not depend on {target}"));
        }
        if test_only && dependency["req"] != "*" {
            found.push(format!("{name}: the dev-dependency {target} must be a bare path"));
        }
        return;
    }
    if test_only {
        return;
    }
    if rule.never.contains(&target) {
        found.push(format!("{name} must never depend on {target}"));
    }
    if target == "tokio" {
        let features = dependency["features"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        for feature in features.filter(|feature| rule.tokio_never.contains(feature)) {
            found.push(format!("{name} must not switch on tokio's `{feature}`"));
        }
    }
}

#[test]
fn the_workspace_keeps_to_the_table() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    assert_eq!(violations(&metadata), Vec::<String>::new());

    let packages = metadata["packages"]
        .as_array()
        .expect("cargo metadata lists packages");
    let mut members: Vec<&str> = packages
        .iter()
        .filter_map(|package| package["name"].as_str())
        .collect();
    let mut rows: Vec<&str> = TABLE.iter().map(|rule| rule.name).collect();
    members.sort_unstable();
    rows.sort_unstable();
    assert_eq!(members, rows, "every crate has a row, every row a crate");
}

#[test]
fn a_graph_with_wrong_edges_is_refused() {
    let edge = |name: &str, kind: Value, features: &[&str]| json!({ "name": name, "kind": kind, "req": "^0.1", "features": features });
    let graph = json!({ "packages": [
        { "name": "informer-store", "dependencies": [
            edge("informer-deltafifo", Value::Null, &[]),
            edge("kube-client", Value::Null, &[]),
            edge("tokio", Value::Null, &["sync", "rt"]),
        ]},
        { "name": "informer-deltafifo", "dependencies": [
            edge("informer-store", Value::Null, &[]),
            edge("informer-reflector", json!("dev"), &[]),
        ]},
        { "name": "informer-workqueue", "dependencies": [edge("k8s-openapi", Value::Null, &[])] },
        { "name": "informer-reflector", "dependencies": [edge("informer-testkit", Value::Null, &[])] },
        { "name": "informer-testkit", "dependencies": [edge("informer-store", Value::Null, &[])] },
        { "name": "informer-extra", "dependencies": [] },
    ]});
    assert_eq!(
        violations(&graph),
        [
            "informer-store must not depend on informer-deltafifo",
            "informer-store must never depend on kube-client",
            "informer-store must not switch on tokio's `rt`",
            "informer-deltafifo must not depend on informer-reflector",
            "informer-deltafifo: the dev-dependency informer-reflector must be a bare path",
            "informer-workqueue must never depend on k8s-openapi",
            "informer-reflector must not depend on informer-testkit",
            "informer-testkit must not depend on informer-store",
            "informer-extra has no row in the table",
        ]
    );
}
