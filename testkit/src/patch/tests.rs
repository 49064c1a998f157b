use serde_json::json;

use super::*;
use crate::kind::Registry;
use crate::write::{self, FieldValidation, Target, Updated, WriteContext};

fn kind(group: &str, plural: &str) -> Kind {
    Kind::clone(
        Registry::builtin()
            .lookup(group, "v1", plural)
            .expect("a built-in kind"),
    )
}

/// A server with one object.
struct Bench {
    kind: Kind,
    rng: fastrand::Rng,
    object: Option<Value>,
    version: u64,
    now: i64,
}

impl Bench {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            rng: fastrand::Rng::with_seed(1),
            object: None,
            version: 1,
            now: 1_763_869_430,
        }
    }

    fn with<T>(
        &mut self,
        manager: &str,
        work: impl FnOnce(&Kind, Option<&Value>, &mut WriteContext<'_>) -> T,
    ) -> T {
        let mut ctx = WriteContext {
            now: jiff::Timestamp::from_second(self.now).expect("a time"),
            rng: &mut self.rng,
            manager: manager.to_owned(),
            validation: FieldValidation::Warn,
            track_updates: true,
            warnings: Vec::new(),
        };
        work(&self.kind, self.object.as_ref(), &mut ctx)
    }

    fn store(&mut self, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.object = Some(object);
    }

    fn create(&mut self, manager: &str, body: Value) {
        let made = self.with(manager, |kind, _, ctx| {
            write::create(kind, Some("default"), body, ctx)
        });
        self.store(made.expect("a good object"));
    }

    /// Writes what a patch made of the object; tells whether anything changed.
    fn commit(&mut self, manager: &str, target: Target, object: Value) -> bool {
        let updated = self.with(manager, |kind, current, ctx| {
            let current = current.expect("stored");
            write::update(kind, target, "x", current, object, ctx)
        });
        match updated.expect("a good update") {
            Updated::Unchanged => false,
            Updated::Changed(object) => {
                self.store(object);
                true
            }
            Updated::Removed(_) => panic!("nothing is being deleted"),
        }
    }

    fn patch(&mut self, manager: &str, patch_type: PatchType, body: &Value) -> Result<bool, ApiError> {
        let current = self.object.clone().expect("stored");
        let object = self.with(manager, |kind, _, ctx| {
            apply(kind, patch_type, &current, body.to_string().as_bytes(), ctx)
        })?;
        Ok(self.commit(manager, Target::Main, object))
    }

    fn apply(&mut self, manager: &str, force: bool, config: Value) -> Result<bool, ApiError> {
        let target = Target::Main;
        let (object, create) = self.with(manager, |kind, current, ctx| {
            server_side(
                kind,
                current,
                &Apply {
                    config: &config,
                    target,
                    force,
                },
                ctx,
            )
            .map(|o| (o, current.is_none()))
        })?;
        if create {
            // The manager is on record already.
            let made = self.with("", |kind, _, ctx| {
                write::create(kind, Some("default"), object, ctx)
            })?;
            self.store(made);
            return Ok(true);
        }
        Ok(self.commit("", target, object))
    }

    fn get(&self, pointer: &str) -> Value {
        self.object
            .as_ref()
            .and_then(|o| o.pointer(pointer))
            .cloned()
            .unwrap_or(Value::Null)
    }

    /// Who owns what: `manager/operation` and the fields.
    fn owners(&self) -> Value {
        let list = self.get("/metadata/managedFields");
        let row = |e: &Value| json!([e["manager"], e["operation"], e["fieldsV1"]]);
        list.as_array().into_iter().flatten().map(row).collect()
    }
}

fn cm(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": data})
}

/// The exchange of two managers, as recorded from a real server.
#[test]
fn applies_share_take_and_drop_fields_as_recorded() {
    let mut bench = Bench::new(kind("", "configmaps"));
    assert!(bench.apply("me", false, cm(json!({"x": "1"}))).expect("creates"));
    assert_eq!(bench.owners(), json!([["me", "Apply", {"f:data": {"f:x": {}}}]]));
    let refused = bench
        .apply("you", false, cm(json!({"x": "2"})))
        .expect_err("me owns it");
    assert_eq!(
        (refused.code(), refused.message()),
        (409, "Apply failed with 1 conflict: conflict with \"me\": .data.x")
    );
    assert!(bench.apply("you", true, cm(json!({"x": "2"}))).expect("takes it"));
    assert_eq!(bench.owners(), json!([["you", "Apply", {"f:data": {"f:x": {}}}]]));
    let none = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}});
    assert!(!bench.apply("me", false, none).expect("me has nothing to drop"));
    assert_eq!(bench.get("/data/x"), "2");
    // The same value may be owned twice; it goes when both have dropped it.
    assert!(
        bench
            .apply("me", false, cm(json!({"x": "2"})))
            .expect("shares it")
    );
    assert!(
        bench
            .apply("you", false, cm(json!({"y": "3"})))
            .expect("drops x, states y")
    );
    assert_eq!(bench.get("/data"), json!({"x": "2", "y": "3"}));
    assert!(
        bench
            .apply("me", false, cm(json!({"z": "4"})))
            .expect("drops x too")
    );
    assert_eq!(bench.get("/data"), json!({"y": "3", "z": "4"}));
}

#[test]
fn applying_the_same_again_changes_nothing_even_later() {
    let mut bench = Bench::new(kind("apps", "deployments"));
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "x:1", "ports": [{"containerPort": 80}]}]}}},
    });
    assert!(bench.apply("me", false, deployment.clone()).expect("creates"));
    let first = bench.object.clone();
    assert_eq!(
        bench.owners(),
        json!([["me", "Apply", {"f:spec": {"f:replicas": {}, "f:selector": {}, "f:template": {
            "f:metadata": {"f:labels": {"f:a": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}, "f:ports": {
                "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}}}}]])
    );
    bench.now += 60;
    assert!(!bench.apply("me", false, deployment).expect("again"));
    assert_eq!(bench.object, first);
}

#[test]
fn items_of_keyed_lists_are_owned_one_by_one() {
    let mut bench = Bench::new(kind("", "pods"));
    let pod = |containers: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": containers}});
    bench
        .apply("me", false, pod(json!([{"name": "a", "image": "a:1"}])))
        .expect("creates");
    bench
        .apply("you", false, pod(json!([{"name": "b", "image": "b:1"}])))
        .expect("adds b");
    let names = |bench: &Bench| -> Vec<Value> {
        bench
            .get("/spec/containers")
            .as_array()
            .into_iter()
            .flatten()
            .map(|c| c["name"].clone())
            .collect()
    };
    assert_eq!(names(&bench), ["a", "b"]);
    bench
        .apply("you", false, pod(json!([{"name": "c", "image": "c:1"}])))
        .expect("swaps b for c");
    assert_eq!(names(&bench), ["a", "c"]);
    let refused = bench
        .apply("you", false, pod(json!([{"name": "a", "image": "a:2"}])))
        .expect_err("me owns a");
    assert_eq!(
        refused.message(),
        "Apply failed with 1 conflict: conflict with \"me\": .spec.containers[name=\"a\"].image"
    );
}

#[test]
fn an_update_takes_fields_from_whoever_applied_them() {
    let mut bench = Bench::new(kind("", "configmaps"));
    bench
        .apply("me", false, cm(json!({"x": "1", "y": "1"})))
        .expect("creates");
    bench.now += 60;
    assert!(
        bench
            .patch("rec", PatchType::Merge, &json!({"data": {"x": "2"}}))
            .expect("merges")
    );
    assert_eq!(
        bench.owners(),
        json!([["me", "Apply", {"f:data": {"f:y": {}}}], ["rec", "Update", {"f:data": {"f:x": {}}}]])
    );
    let refused = bench
        .apply("me", false, cm(json!({"x": "1", "y": "1"})))
        .expect_err("rec owns x");
    let time = write::stamp(jiff::Timestamp::from_second(bench.now).expect("a time"));
    assert_eq!(
        refused.message(),
        format!("Apply failed with 1 conflict: conflict with \"rec\" using v1 at {time}: .data.x")
    );
}

/// Entries as recorded from a real server.
#[test]
fn updates_leave_the_recorded_entries() {
    let mut bench = Bench::new(kind("", "configmaps"));
    bench.create("rec", json!({"metadata": {"name": "x"}, "data": {"k": "v"}}));
    assert_eq!(
        bench.owners(),
        json!([["rec", "Update", {"f:data": {".": {}, "f:k": {}}}]])
    );
    bench
        .patch(
            "rec",
            PatchType::Merge,
            &json!({"metadata": {"finalizers": ["x.io/f"]}}),
        )
        .expect("merges");
    assert_eq!(
        bench.owners(),
        json!([["rec", "Update", {"f:data": {".": {}, "f:k": {}},
            "f:metadata": {"f:finalizers": {".": {}, "v:\"x.io/f\"": {}}}}]])
    );
    bench
        .patch(
            "rec",
            PatchType::Merge,
            &json!({"metadata": {"finalizers": null}}),
        )
        .expect("merges");
    assert_eq!(
        bench.owners(),
        json!([["rec", "Update", {"f:data": {".": {}, "f:k": {}}}]])
    );
    assert!(
        !bench
            .patch("other", PatchType::Merge, &json!({"data": {"k": "v"}}))
            .expect("nothing new")
    );
}

#[test]
fn strategic_patches_merge_lists_by_key_and_obey_directives() {
    let deployments = kind("apps", "deployments");
    let current = json!({
        "metadata": {"name": "x", "finalizers": ["a.b/c"]},
        "spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
            "template": {"spec": {
                "containers": [{"name": "a", "image": "a:1", "args": ["x"], "env": [{"name": "K", "value": "1"}]},
                    {"name": "b", "image": "b:1"}],
                "tolerations": [{"key": "t"}]}}},
    });
    let spec = |patch: Value| json!({"spec": {"template": {"spec": patch}}});
    let done = |patch: &Value| {
        apply_plain(
            &deployments,
            PatchType::Strategic,
            &current,
            patch.to_string().as_bytes(),
        )
        .expect("applies")
    };
    let containers = |patch: Value| done(&spec(patch))["spec"]["template"]["spec"]["containers"].clone();
    let (a, b) = (
        current["spec"]["template"]["spec"]["containers"][0].clone(),
        json!({"name": "b", "image": "b:1"}),
    );
    // One field of one item.
    assert_eq!(
        containers(json!({"containers": [{"name": "b", "image": "b:2"}]})),
        json!([a, {"name": "b", "image": "b:2"}])
    );
    // A new item, and a deleted one.
    assert_eq!(
        containers(json!({"containers": [{"name": "c"}, {"name": "a", "$patch": "delete"}]})),
        json!([b, {"name": "c"}])
    );
    // The list as a whole.
    assert_eq!(
        containers(json!({"containers": [{"$patch": "replace"}, {"name": "z"}]})),
        json!([{"name": "z"}])
    );
    // The order the client asks for.
    assert_eq!(
        containers(
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b"}]})
        ),
        json!([b, a])
    );
    // Nested keyed lists, and lists without a key.
    let env = json!({"containers": [{"name": "a", "args": ["y"], "env": [{"name": "L", "value": "2"}]}]});
    let merged = containers(env);
    assert_eq!(merged[0]["args"], json!(["y"]));
    assert_eq!(
        merged[0]["env"],
        json!([{"name": "K", "value": "1"}, {"name": "L", "value": "2"}])
    );
    assert_eq!(
        done(&spec(json!({"tolerations": [{"key": "u"}]})))["spec"]["template"]["spec"]["tolerations"],
        json!([{"key": "u"}])
    );
    // Sets of plain values, and what is to leave them.
    let finalizers = |patch: Value| done(&json!({"metadata": patch}))["metadata"]["finalizers"].clone();
    assert_eq!(
        finalizers(json!({"finalizers": ["d.e/f", "a.b/c"]})),
        json!(["a.b/c", "d.e/f"])
    );
    assert_eq!(
        finalizers(json!({"$deleteFromPrimitiveList/finalizers": ["a.b/c"]})),
        json!([])
    );
    // Fields that may stay, and a map as a whole.
    assert_eq!(
        done(&json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}))["spec"]["strategy"],
        json!({"type": "Recreate"})
    );
    assert_eq!(
        done(&json!({"spec": {"strategy": {"$patch": "replace", "type": "Recreate"}}}))["spec"]["strategy"],
        json!({"type": "Recreate"})
    );
    assert_eq!(
        done(&json!({"spec": {"strategy": null}}))["spec"]["strategy"],
        Value::Null
    );
}

#[test]
fn patches_that_cannot_be_read_or_applied_are_refused_as_recorded() {
    let cms = kind("", "configmaps");
    let current = cm(json!({"k": "v"}));
    let mut bench = Bench::new(kind("", "configmaps"));
    for (patch_type, body, code, message) in [
        (
            PatchType::Json,
            r#"[{"op":"remove","path":"/data/nope"}]"#,
            422,
            "the server rejected our request due to an error in our request",
        ),
        (
            PatchType::Json,
            r#"[{"op":"test","path":"/data/k","value":"w"}]"#,
            422,
            "the server rejected our request due to an error in our request",
        ),
        (
            PatchType::Json,
            r#"[{"op":"nonsense","path":"/data/k"}]"#,
            422,
            "the server rejected our request due to an error in our request",
        ),
        (
            PatchType::Json,
            r#"[{"op":"replace","path":"","value":1}]"#,
            422,
            "the server rejected our request due to an error in our request",
        ),
        (
            PatchType::Json,
            "{}",
            400,
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
        ),
        (
            PatchType::Merge,
            "{bad",
            400,
            "error decoding patch: invalid character 'b' looking for beginning of object key string",
        ),
        (
            PatchType::Merge,
            "[]",
            400,
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (
            PatchType::Strategic,
            r#"{"data":{"$patch":"burn"}}"#,
            500,
            "unknown patch type: burn in map: map[$patch:burn]",
        ),
    ] {
        let error = bench.with("me", |kind, _, ctx| {
            apply(kind, patch_type, &current, body.as_bytes(), ctx)
        });
        let error = error.expect_err(body);
        assert_eq!((error.code(), error.message()), (code, message), "{body}");
    }
    let many = format!(
        "[{}]",
        vec![r#"{"op":"test","path":"/kind","value":"ConfigMap"}"#; 10_001].join(",")
    );
    assert_eq!(
        apply_plain(&cms, PatchType::Json, &current, many.as_bytes())
            .expect_err("too many")
            .code(),
        413
    );
    let custom = Kind::new("example.com", "v1", "Foo", "foos");
    for (kind, content_type, message) in [
        (&cms, "application/json", "415: Unsupported Media Type"),
        (
            &custom,
            "application/strategic-merge-patch+json",
            "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        ),
    ] {
        let error = PatchType::parse(kind, content_type).expect_err(content_type);
        assert_eq!((error.code(), error.message()), (415, message));
    }
}

proptest::proptest! {
    /// Whatever an apply states is there afterwards, and applying it again is no change.
    #[test]
    fn applies_converge(keys in proptest::collection::btree_map("[a-c]", "[0-2]", 0..3),
                        more in proptest::collection::btree_map("[a-c]", "[0-2]", 0..3)) {
        let mut bench = Bench::new(kind("", "configmaps"));
        bench.apply("me", true, cm(json!(keys))).expect("creates");
        bench.apply("you", true, cm(json!(more))).expect("applies");
        bench.apply("me", true, cm(json!(keys))).expect("applies");
        for (key, value) in &keys {
            proptest::prop_assert_eq!(bench.get(&format!("/data/{key}")), json!(value));
        }
        proptest::prop_assert!(!bench.apply("me", true, cm(json!(keys))).expect("again"));
    }
}
