use super::*;
use crate::kind::{PrinterColumn, Registry};

fn kind(group: &str, plural: &str) -> Kind {
    Kind::clone(
        Registry::builtin()
            .lookup(group, "v1", plural)
            .expect("a built-in kind"),
    )
}

fn now() -> Timestamp {
    "2026-11-23T03:50:16Z".parse().expect("a time")
}

fn options() -> TableOptions<'static> {
    TableOptions {
        api_version: "meta.k8s.io/v1",
        metadata: json!({"resourceVersion": "442"}),
        include: Include::Metadata,
        columns: true,
    }
}

fn cells(kind: &Kind, object: &Value) -> Value {
    render(kind, std::slice::from_ref(object), &options(), now())["rows"][0]["cells"].clone()
}

#[test]
fn every_kind_prints_a_cell_for_each_of_its_columns() {
    let meta = json!({"metadata": {"name": "x", "creationTimestamp": "2026-11-23T03:46:43Z"}});
    for kind in Registry::builtin().kinds() {
        let table = render(kind, std::slice::from_ref(&meta), &options(), now());
        let columns = table["columnDefinitions"].as_array().expect("columns").len();
        assert_eq!(
            table["rows"][0]["cells"].as_array().expect("cells").len(),
            columns,
            "{}",
            kind.group_kind()
        );
    }
}

/// Objects and cells as a real server was recorded to print them.
#[test]
fn cells_equal_the_recorded_ones() {
    let at = |name: &str| json!({"name": name, "creationTimestamp": "2026-11-23T03:46:43Z"});
    for (kind, object, expected) in [
        (
            kind("", "services"),
            json!({"metadata": at("svc1"), "spec": {"ports": [{"protocol": "TCP", "port": 80}], "clusterIP": "10.0.0.181",
                "type": "ClusterIP"}}),
            json!([
                "svc1",
                "ClusterIP",
                "10.0.0.181",
                "<none>",
                "80/TCP",
                "3m33s",
                "<none>"
            ]),
        ),
        (
            kind("", "secrets"),
            json!({"metadata": at("s1"), "data": {"a": "Yg=="}, "type": "Opaque"}),
            json!(["s1", "Opaque", 1, "3m33s"]),
        ),
        (
            kind("", "nodes"),
            json!({"metadata": at("n1"), "spec": {}, "status": {"nodeInfo": {"osImage": ""}}}),
            json!([
                "n1",
                "Unknown",
                "<none>",
                "3m33s",
                "",
                "<none>",
                "<none>",
                "<unknown>",
                "<unknown>",
                "<unknown>"
            ]),
        ),
        (
            kind("", "serviceaccounts"),
            json!({"metadata": at("sa1")}),
            json!(["sa1", "3m33s"]),
        ),
        (
            kind("apiextensions.k8s.io", "customresourcedefinitions"),
            json!({"metadata": at("foos.example.com")}),
            json!(["foos.example.com", "2026-11-23T03:46:43Z"]),
        ),
    ] {
        assert_eq!(cells(&kind, &object), expected);
    }
}

#[test]
fn a_pod_shows_the_state_that_matters_most() {
    let pods = kind("", "pods");
    let pod = |status: Value| {
        json!({"metadata": {"name": "p", "creationTimestamp": "2026-11-23T03:50:00Z"},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}, "status": status})
    };
    for (status, ready, word, restarts) in [
        (json!({"phase": "Pending"}), "0/2", "Pending", "0"),
        (
            json!({"phase": "Running", "containerStatuses": [
            {"ready": true, "restartCount": 0, "state": {"running": {}}},
            {"ready": true, "restartCount": 2, "state": {"running": {}},
             "lastState": {"terminated": {"finishedAt": "2026-11-23T03:49:16Z"}}}]}),
            "2/2",
            "Running",
            "2 (60s ago)",
        ),
        (
            json!({"phase": "Running", "containerStatuses": [
            {"ready": false, "restartCount": 5, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
            "0/2",
            "CrashLoopBackOff",
            "5",
        ),
        (
            json!({"phase": "Pending", "initContainerStatuses": [
            {"restartCount": 0, "state": {"running": {}}}]}),
            "0/2",
            "Init:0/1",
            "0",
        ),
        (
            json!({"phase": "Failed", "containerStatuses": [
            {"restartCount": 0, "state": {"terminated": {"exitCode": 3}}}]}),
            "0/2",
            "ExitCode:3",
            "0",
        ),
        (
            json!({"phase": "Failed", "reason": "Evicted"}),
            "0/2",
            "Evicted",
            "0",
        ),
    ] {
        let got = cells(&pods, &pod(status.clone()));
        assert_eq!(
            (&got[1], &got[2], &got[3]),
            (&json!(ready), &json!(word), &json!(restarts)),
            "{status}"
        );
    }
    let mut leaving = pod(json!({"phase": "Running"}));
    leaving["metadata"]["deletionTimestamp"] = json!("2026-11-23T03:50:10Z");
    assert_eq!(cells(&pods, &leaving)[2], "Terminating");
}

#[test]
fn custom_columns_follow_their_paths() {
    let mut foos = Kind::new("example.com", "v1", "Foo", "foos");
    let object = json!({
        "metadata": {"name": "f1", "creationTimestamp": "2026-11-23T03:46:45Z", "labels": {"a.b/c": "x"}},
        "spec": {"size": 2, "ok": true, "list": [{"n": "a"}, {"n": "b"}]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "when": "2026-11-23T03:50:00Z"},
    });
    assert_eq!(cells(&foos, &object), json!(["f1", "3m31s"]));
    for (name, kind, path) in [
        ("Size", "integer", ".spec.size"),
        ("Ok", "boolean", ".spec.ok"),
        (
            "Ready",
            "string",
            ".status.conditions[?(@.type==\"Ready\")].status",
        ),
        ("When", "date", ".status.when"),
        ("All", "string", ".spec.list[*].n"),
        ("First", "string", ".spec.list[0].n"),
        ("Label", "string", ".metadata.labels.a\\.b/c"),
        ("Wrong", "integer", ".spec.ok"),
        ("Absent", "string", ".spec.nothing"),
        ("Text", "string", ".spec.size"),
    ] {
        foos.columns.push(PrinterColumn {
            name: name.to_owned(),
            kind: kind.to_owned(),
            format: String::new(),
            description: String::new(),
            priority: 0,
            json_path: path.to_owned(),
        });
    }
    assert_eq!(
        cells(&foos, &object),
        json!(["f1", 2, true, "True", "16s", "a b", "a", "x", null, null, "2"])
    );
}

#[test]
fn rows_carry_what_the_client_asked_for() {
    let cms = kind("", "configmaps");
    let object =
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"k": "v"}});
    for (text, expected) in [
        (
            "",
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "a"}}),
        ),
        ("None", Value::Null),
        ("Object", object.clone()),
    ] {
        let options = TableOptions {
            include: Include::parse(text),
            ..options()
        };
        let table = render(&cms, std::slice::from_ref(&object), &options, now());
        assert_eq!(table["rows"][0]["object"], expected, "{text:?}");
    }
    let later = TableOptions {
        columns: false,
        ..options()
    };
    assert_eq!(render(&cms, &[], &later, now())["columnDefinitions"], Value::Null);
}

#[test]
fn ages_are_printed_in_the_units_that_matter() {
    for (seconds, text) in [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (213, "3m33s"),
        (600, "10m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 120, "3h2m"),
        (9 * 3600, "9h"),
        (48 * 3600, "2d"),
        (49 * 3600, "2d1h"),
        (9 * 86_400, "9d"),
        (731 * 86_400, "2y1d"),
        (3000 * 86_400, "8y"),
    ] {
        assert_eq!(span(seconds), text, "{seconds}");
    }
}

#[test]
fn rows_of_pods_that_have_ended_say_so() {
    let pod = |phase: &str| json!({"metadata": {"name": "p"}, "status": {"phase": phase}});
    let conditions = |phase: &str| {
        let table = render(&kind("", "pods"), &[pod(phase)], &options(), now());
        table["rows"][0].get("conditions").cloned()
    };
    assert_eq!(
        conditions("Failed"),
        Some(
            json!([{"type": "Completed", "status": "True", "reason": "Failed", "message": "The pod failed."}])
        )
    );
    assert_eq!(conditions("Running"), None);
}
