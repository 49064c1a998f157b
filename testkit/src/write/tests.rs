use super::*;
use crate::kind::Registry;

fn kind(group: &str, plural: &str) -> Kind {
    Kind::clone(
        Registry::builtin()
            .lookup(group, "v1", plural)
            .expect("a built-in kind"),
    )
}

fn foos() -> Kind {
    Kind::new("example.com", "v1", "Foo", "foos").with_status()
}

fn with<T>(work: impl FnOnce(&mut WriteContext<'_>) -> T) -> T {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut ctx = WriteContext {
        now: "2026-11-23T03:43:50Z".parse().expect("a time"),
        rng: &mut rng,
        manager: "rec".to_owned(),
        validation: FieldValidation::Warn,
        track_updates: false,
        warnings: Vec::new(),
    };
    work(&mut ctx)
}

fn made(kind: &Kind, body: Value) -> Value {
    let mut object = with(|ctx| create(kind, Some("default"), body, ctx)).expect("a good object");
    object["metadata"]["resourceVersion"] = json!("7");
    object
}

fn updated(kind: &Kind, target: Target, current: &Value, body: Value) -> Result<Updated, ApiError> {
    let name = current["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    with(|ctx| update(kind, target, &name, current, body, ctx))
}

fn changed(kind: &Kind, target: Target, current: &Value, body: Value) -> Value {
    match updated(kind, target, current, body).expect("a good update") {
        Updated::Changed(object) => object,
        other => panic!("expected a change, got {other:?}"),
    }
}

#[test]
fn bodies_that_are_no_object_of_the_kind_are_refused_with_the_recorded_words() {
    for (body, message) in [
        (
            "{bad json",
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: invalid character 'b' looking for beginning of object key string ({bad json)",
        ),
        (
            r#"{"kind":"Secret","apiVersion":"v1"}"#,
            "Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion",
        ),
        (
            r#"{"kind":"Foo","apiVersion":"v1"}"#,
            "Foo in version \"v1\" cannot be handled as a ConfigMap: no kind \"Foo\" is registered for version \"v1\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
        ),
        (
            r#"{"data":{"k":1}}"#,
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
        ),
        (
            r#"{"data":5}"#,
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ConfigMap.data of type map[string]string",
        ),
        (
            r#"{"binaryData":{"k":"*"}}"#,
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: illegal base64 data at input byte 0",
        ),
        (
            r#"{"metadata":{"labels":{"a":1}}}"#,
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
    ] {
        let error = with(|ctx| decode(&kind("", "configmaps"), "application/json", body.as_bytes(), ctx));
        let error = error.expect_err(body);
        assert_eq!((error.code(), error.message()), (400, message));
    }
    let error = with(|ctx| decode(&kind("", "configmaps"), "text/plain", b"k: v", ctx)).expect_err("no JSON");
    assert_eq!(error.code(), 415);
    let yaml = with(|ctx| {
        decode(
            &kind("", "configmaps"),
            "application/yaml",
            b"data:\n  k: v\n",
            ctx,
        )
    });
    assert_eq!(
        yaml.expect("YAML is read"),
        json!({"metadata": {}, "data": {"k": "v"}})
    );
}

#[test]
fn unknown_fields_are_dropped_told_or_refused() {
    let decoded = |validation| {
        with(|ctx| {
            ctx.validation = validation;
            let object = decode(
                &kind("", "configmaps"),
                "",
                br#"{"dataa":{"k":"v"},"data":{}}"#,
                ctx,
            );
            (object, std::mem::take(&mut ctx.warnings))
        })
    };
    for (validation, warnings) in [
        (FieldValidation::Ignore, vec![]),
        (FieldValidation::Warn, vec!["unknown field \"dataa\"".to_owned()]),
    ] {
        let (object, told) = decoded(validation);
        // An empty map is not written either.
        assert_eq!(
            (object.expect("dropped"), told),
            (json!({"metadata": {}}), warnings)
        );
    }
    let refused = decoded(FieldValidation::Strict).0.expect_err("strict");
    assert_eq!(
        refused.message(),
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"dataa\""
    );
    assert!(FieldValidation::parse("Loose").is_err());
}

#[test]
fn creation_sets_identity_and_wipes_what_clients_may_not_set() {
    let body = json!({"metadata": {"name": "x", "uid": "mine", "generation": 9, "selfLink": "/", "deletionTimestamp": "2026-01-01T00:00:00Z",
        "creationTimestamp": "2020-01-01T00:00:00Z"}, "status": {"phase": "Running"}, "spec": {}});
    let object = made(&foos(), body);
    let meta = &object["metadata"];
    assert_eq!(object["kind"], "Foo");
    assert_eq!(
        (&meta["namespace"], &meta["generation"]),
        (&json!("default"), &json!(1))
    );
    assert_eq!(meta["creationTimestamp"], "2026-11-23T03:43:50Z");
    assert_ne!(meta["uid"], "mine");
    assert!(meta.get("deletionTimestamp").is_none() && meta.get("selfLink").is_none());
    assert!(object.get("status").is_none());
    let generated = made(
        &kind("", "configmaps"),
        json!({"metadata": {"generateName": "g-"}}),
    );
    let name = generated["metadata"]["name"].as_str().expect("a name");
    assert!(name.starts_with("g-") && name.len() == 7);
    assert!(generated["metadata"].get("generation").is_none());
}

#[test]
fn creation_refuses_bad_names_namespaces_and_versions() {
    let refused =
        |kind: &Kind, body: Value| with(|ctx| create(kind, Some("default"), body, ctx)).expect_err("refused");
    let cms = kind("", "configmaps");
    for (body, code) in [
        (json!({}), 422),
        (json!({"metadata": {"name": "Bad_Name"}}), 422),
        (json!({"metadata": {"name": "x".repeat(254)}}), 422),
        (json!({"metadata": {"name": "x", "namespace": "other"}}), 400),
        (json!({"metadata": {"name": "x", "resourceVersion": "5"}}), 500),
        (json!({"metadata": {"name": "x", "labels": {"a b": "c"}}}), 422),
        (json!({"metadata": {"name": "x", "labels": {"a": "-"}}}), 422),
        (json!({"metadata": {"name": "x", "finalizers": ["a b"]}}), 422),
        (
            json!({"metadata": {"name": "x", "annotations": {"a": "x".repeat(300_000)}}}),
            422,
        ),
        (json!({"metadata": {"name": "x", "ownerReferences": [{}]}}), 422),
    ] {
        assert_eq!(refused(&cms, body.clone()).code(), code, "{body}");
    }
    assert_eq!(
        refused(&kind("", "services"), json!({"metadata": {"name": "1a"}})).code(),
        422
    );
    assert_eq!(
        refused(&kind("", "pods"), json!({"metadata": {"name": "a"}, "spec": {}})).code(),
        422
    );
    // Roles may be named almost anything.
    made(
        &kind("rbac.authorization.k8s.io", "roles"),
        json!({"metadata": {"name": "system:a:b"}}),
    );
}

#[test]
fn updates_check_identity_and_version() {
    let cms = kind("", "configmaps");
    let current = made(&cms, json!({"metadata": {"name": "x"}, "data": {"k": "v"}}));
    let body = |meta: Value| json!({"metadata": meta, "data": {"k": "w"}});
    for (meta, code) in [
        (json!({"name": "y"}), 400),
        (json!({"namespace": "other"}), 400),
        (json!({"uid": "11111111-1111-1111-1111-111111111111"}), 422),
        (json!({"resourceVersion": "6"}), 409),
        (json!({"resourceVersion": "abc"}), 500),
    ] {
        let error = updated(&cms, Target::Main, &current, body(meta.clone())).expect_err("refused");
        assert_eq!(error.code(), code, "{meta}");
    }
    for meta in [
        json!({}),
        json!({"name": "x"}),
        json!({"resourceVersion": "7"}),
        json!({"resourceVersion": ""}),
    ] {
        assert_eq!(
            changed(&cms, Target::Main, &current, body(meta))["data"]["k"],
            "w"
        );
    }
    // A custom kind insists on the version.
    let foo = made(&foos(), json!({"metadata": {"name": "x"}}));
    let error = updated(&foos(), Target::Main, &foo, json!({"spec": {}})).expect_err("no version");
    assert_eq!(
        error.message(),
        "foos.example.com \"x\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
    );
    // A replacement names the object it is meant for by its uid, too.
    let error = check_uid(
        &cms,
        "default",
        "x",
        "mine",
        &json!({"metadata": {"uid": "other"}}),
    )
    .expect_err("another");
    assert_eq!(error.code(), 409);
}

#[test]
fn an_update_that_changes_nothing_is_known_as_such() {
    for (kind, body) in [
        (
            kind("", "configmaps"),
            json!({"metadata": {"name": "x", "labels": {"a": "b"}}, "data": {"k": "v"}}),
        ),
        (
            kind("", "pods"),
            json!({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}),
        ),
        (
            kind("", "services"),
            json!({"metadata": {"name": "x"}, "spec": {"ports": [{"port": 80}]}}),
        ),
        (
            kind("", "secrets"),
            json!({"metadata": {"name": "x"}, "stringData": {"a": "b"}}),
        ),
        (
            kind("batch", "jobs"),
            json!({"metadata": {"name": "x"}, "spec": {"template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "c", "image": "i"}]}}}}),
        ),
        (foos(), json!({"metadata": {"name": "x"}, "spec": {"a": 1}})),
    ] {
        let current = made(&kind, body);
        let same = updated(&kind, Target::Main, &current, current.clone()).expect("a good update");
        assert_eq!(same, Updated::Unchanged, "{}", kind.kind);
    }
    // Empty metadata counts as none.
    let cms = kind("", "configmaps");
    let current = made(&cms, json!({"metadata": {"name": "x"}}));
    let mut body = current.clone();
    body["metadata"]["labels"] = json!({});
    body["metadata"]["finalizers"] = Value::Null;
    assert_eq!(
        updated(&cms, Target::Main, &current, body).expect("a good update"),
        Updated::Unchanged
    );
}

#[test]
fn status_and_spec_are_written_apart() {
    let mut current = made(&foos(), json!({"metadata": {"name": "x"}, "spec": {"a": 1}}));
    let body = json!({"metadata": {"resourceVersion": "7", "labels": {"l": "m"}}, "spec": {"a": 2}, "status": {"ready": true}});
    let status = changed(&foos(), Target::Status, &current, body.clone());
    assert_eq!(
        (
            &status["spec"],
            &status["status"],
            &status["metadata"]["generation"]
        ),
        (&json!({"a": 1}), &json!({"ready": true}), &json!(1))
    );
    assert!(status["metadata"].get("labels").is_none());
    current["status"] = json!({"ready": false});
    let main = changed(&foos(), Target::Main, &current, body);
    assert_eq!(
        (&main["spec"], &main["status"], &main["metadata"]["generation"]),
        (&json!({"a": 2}), &json!({"ready": false}), &json!(2))
    );
}

#[test]
fn generations_rise_as_each_kind_rules() {
    let spec = |n: i64| {
        json!({"replicas": n, "selector": {"matchLabels": {"a": "b"}}, "template": {
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}})
    };
    let deployments = kind("apps", "deployments");
    let current = made(&deployments, json!({"metadata": {"name": "x"}, "spec": spec(1)}));
    let generation = |patch: &dyn Fn(&mut Value)| {
        let mut body = current.clone();
        patch(&mut body);
        changed(&deployments, Target::Main, &current, body)["metadata"]["generation"].clone()
    };
    assert_eq!(generation(&|o| o["metadata"]["labels"] = json!({"a": "b"})), 1);
    assert_eq!(
        generation(&|o| o["metadata"]["annotations"] = json!({"a": "b"})),
        2
    );
    assert_eq!(generation(&|o| o["spec"]["replicas"] = json!(2)), 2);
    // Without the status subresource a custom kind counts every change but metadata's.
    let plain = Kind::new("example.com", "v1", "Bar", "bars");
    let current = made(&plain, json!({"metadata": {"name": "x"}, "status": {"a": 1}}));
    let mut body = current.clone();
    body["status"]["a"] = json!(2);
    assert_eq!(
        changed(&plain, Target::Main, &current, body)["metadata"]["generation"],
        2
    );
}

#[test]
fn a_deleted_object_waits_for_its_finalizers_and_takes_no_new_ones() {
    let cms = kind("", "configmaps");
    let current = made(&cms, json!({"metadata": {"name": "x", "finalizers": ["a.b/c"]}}));
    let options = DeleteOptions::default();
    let Deletion::Marked(waiting) = with(|ctx| delete(&cms, &current, &options, ctx)).expect("deletes")
    else {
        panic!("it has a finalizer")
    };
    assert_eq!(waiting["metadata"]["deletionTimestamp"], "2026-11-23T03:43:50Z");
    assert_eq!(waiting["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(
        with(|ctx| delete(&cms, &waiting, &options, ctx)).expect("again"),
        Deletion::Unchanged
    );
    let mut more = waiting.clone();
    more["metadata"]["finalizers"] = json!(["a.b/c", "d.e/f"]);
    let error = updated(&cms, Target::Main, &waiting, more).expect_err("too late");
    assert!(
        error
            .message()
            .ends_with("found new finalizers []string{\"d.e/f\"}"),
        "{}",
        error.message()
    );
    let mut free = waiting.clone();
    free["metadata"]["finalizers"] = Value::Null;
    assert!(matches!(
        updated(&cms, Target::Main, &waiting, free),
        Ok(Updated::Removed(_))
    ));
}

#[test]
fn only_a_running_pod_is_given_time_and_the_time_only_shrinks() {
    let pods = kind("", "pods");
    let body = json!({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let loose = made(&pods, body);
    let delete_with = |object: &Value, grace: Option<i64>| {
        let options = DeleteOptions {
            grace_period_seconds: grace,
            ..DeleteOptions::default()
        };
        with(|ctx| delete(&pods, object, &options, ctx)).expect("deletes")
    };
    assert!(matches!(delete_with(&loose, None), Deletion::Removed(_)));
    let mut running = loose;
    running["spec"]["nodeName"] = json!("n");
    let Deletion::Marked(ending) = delete_with(&running, None) else {
        panic!("it runs")
    };
    assert_eq!(ending["metadata"]["deletionTimestamp"], "2026-11-23T03:44:20Z");
    assert_eq!(
        (
            &ending["metadata"]["deletionGracePeriodSeconds"],
            &ending["metadata"]["generation"]
        ),
        (&json!(30), &json!(2))
    );
    assert_eq!(delete_with(&ending, Some(60)), Deletion::Unchanged);
    let Deletion::Marked(sooner) = delete_with(&ending, Some(5)) else {
        panic!("still time left")
    };
    assert_eq!(sooner["metadata"]["deletionGracePeriodSeconds"], 5);
    assert!(matches!(delete_with(&sooner, Some(0)), Deletion::Removed(_)));
}

#[test]
fn delete_options_are_read_from_body_and_query() {
    let read = |body: &str, query: &[(&'static str, &'static str)]| {
        DeleteOptions::parse("", body.as_bytes(), query.iter().copied())
    };
    assert_eq!(read("", &[]).expect("nothing asked"), DeleteOptions::default());
    let both = read(
        r#"{"gracePeriodSeconds":5,"preconditions":{"uid":"u"},"propagationPolicy":"Orphan"}"#,
        // Where there is a body, the query is not looked at.
        &[("propagationPolicy", "Background")],
    );
    let both = both.expect("good options");
    assert_eq!(
        (both.grace_period_seconds, both.uid.as_deref()),
        (Some(5), Some("u"))
    );
    assert_eq!(both.propagation, Some(Propagation::Orphan));
    for (body, query, code) in [
        ("{bad", vec![], 400),
        ("[]", vec![], 400),
        (r#"{"kind":"ConfigMap","apiVersion":"v1"}"#, vec![], 400),
        (r#"{"gracePeriodSeconds":"5"}"#, vec![], 400),
        ("", vec![("propagationPolicy", "Foo")], 422),
        ("", vec![("dryRun", "Some")], 422),
        ("", vec![("gracePeriodSeconds", "soon")], 400),
        (
            r#"{"orphanDependents":true,"propagationPolicy":"Background"}"#,
            vec![],
            422,
        ),
    ] {
        assert_eq!(
            read(body, &query).expect_err("refused").code(),
            code,
            "{body} {query:?}"
        );
    }
}

#[test]
fn frozen_fields_stay() {
    let cms = kind("", "configmaps");
    let current = made(
        &cms,
        json!({"metadata": {"name": "x"}, "data": {"k": "v"}, "immutable": true}),
    );
    let error = updated(
        &cms,
        Target::Main,
        &current,
        json!({"data": {"k": "w"}, "immutable": true}),
    );
    assert!(
        error
            .expect_err("frozen")
            .message()
            .contains("field is immutable when `immutable` is set")
    );
    let secrets = kind("", "secrets");
    let current = made(&secrets, json!({"metadata": {"name": "x"}}));
    let error = updated(&secrets, Target::Main, &current, json!({"type": "other"})).expect_err("frozen");
    assert!(
        error
            .message()
            .contains("type: Invalid value: \"other\": field is immutable")
    );
}

#[test]
fn scales_are_read_and_written() {
    let sets = kind("apps", "replicasets");
    let body = json!({"metadata": {"name": "x"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let current = made(&sets, body);
    let scale = scale_of(&sets, &current).expect("it has one");
    assert_eq!(
        (&scale["spec"], &scale["status"]),
        (
            &json!({"replicas": 2}),
            &json!({"replicas": 0, "selector": "a=b"})
        )
    );
    let written = scale_to_object(&sets, &current, &json!({"spec": {"replicas": 5}})).expect("a good scale");
    assert_eq!(
        changed(&sets, Target::Scale, &current, written)["spec"]["replicas"],
        5
    );
    for body in [
        r#"{"spec":{"replicas":"x"}}"#,
        r#"{"kind":"Pod","apiVersion":"v1"}"#,
        "{bad",
    ] {
        let error = with(|ctx| decode_scale("", body.as_bytes(), ctx)).expect_err(body);
        assert_eq!(error.code(), 400, "{body}");
    }
    for (scale, code) in [
        (json!({"spec": {"replicas": -1}}), 422),
        (json!({"spec": {"replicas": "x"}}), 422),
    ] {
        assert_eq!(
            scale_to_object(&sets, &current, &scale)
                .expect_err("refused")
                .code(),
            code
        );
    }
    assert!(scale_of(&kind("", "pods"), &current).is_none());
}

proptest::proptest! {
    /// Whatever a body holds, the server answers; nothing it stores makes a later write panic.
    #[test]
    fn odd_bodies_are_stored_or_refused(seed in 0_u64..5_000) {
        let mut rng = fastrand::Rng::with_seed(seed);
        for kind in [kind("", "pods"), kind("", "namespaces"), kind("apps", "deployments"), kind("", "services"),
            kind("apiextensions.k8s.io", "customresourcedefinitions"), kind("", "events"), kind("batch", "jobs"), foos()] {
            let mut body = odd(&mut rng, 0);
            if let Some(fields) = body.as_object_mut() {
                fields.insert("metadata".to_owned(), json!({"name": "x"}));
            }
            let text = body.to_string();
            let Ok(object) = with(|ctx| decode(&kind, "", text.as_bytes(), ctx)) else { continue };
            let Ok(mut object) = with(|ctx| create(&kind, Some("default"), object, ctx)) else { continue };
            object["metadata"]["resourceVersion"] = json!("7");
            let patch = odd(&mut rng, 0).to_string();
            let patch = with(|ctx| {
                crate::patch::apply(&kind, crate::patch::PatchType::Merge, &object, patch.as_bytes(), ctx)
            });
            if let Ok(patched) = patch {
                let _ = updated(&kind, Target::Main, &object, patched.clone());
                let _ = updated(&kind, Target::Status, &object, patched);
            }
            let _ = with(|ctx| delete(&kind, &object, &DeleteOptions::default(), ctx));
            let _ = scale_of(&kind, &object);
        }
    }
}

/// A value made of names the server looks for, in places where they may not belong.
fn odd(rng: &mut fastrand::Rng, depth: usize) -> Value {
    const NAMES: [&str; 14] = [
        "spec",
        "status",
        "template",
        "metadata",
        "containers",
        "ports",
        "labels",
        "names",
        "versions",
        "selector",
        "replicas",
        "finalizers",
        "data",
        "strategy",
    ];
    match rng.u8(..if depth > 4 { 4 } else { 9 }) {
        0 => json!(rng.i8(..)),
        1 => json!("text"),
        2 => Value::Null,
        3 => json!(rng.bool()),
        4 => (0..rng.usize(..3)).map(|_| odd(rng, depth + 1)).collect(),
        _ => {
            let fields = (0..rng.usize(1..5))
                .map(|_| (NAMES[rng.usize(..NAMES.len())].to_owned(), odd(rng, depth + 1)));
            Value::Object(fields.collect())
        }
    }
}
