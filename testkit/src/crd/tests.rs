use super::*;

pub(crate) fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "foos.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "shortNames": ["fo"], "categories": ["all"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                "selectableFields": [{"jsonPath": ".spec.color"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "size": {"type": "integer", "default": 1}, "color": {"type": "string"}}},
                    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}},
            }, {
                "name": "v2", "served": true, "storage": false, "deprecated": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }, {
                "name": "v3", "served": false, "storage": false,
                "schema": {"openAPIV3Schema": {"type": "object"}},
            }],
        },
    })
}

fn context(rng: &mut fastrand::Rng) -> WriteContext<'_> {
    WriteContext {
        now: "2026-11-23T03:46:43Z".parse().expect("a time"),
        rng,
        manager: "rec".to_owned(),
        validation: write::FieldValidation::Warn,
        track_updates: true,
        warnings: Vec::new(),
    }
}

/// An object as it comes out of the store.
fn stored(mut object: Value) -> Value {
    object["metadata"]["resourceVersion"] = json!("2");
    object
}

fn crd_kind(registry: &Registry) -> Arc<Kind> {
    let found = registry.lookup("apiextensions.k8s.io", "v1", "customresourcedefinitions");
    Arc::clone(found.expect("built in"))
}

#[test]
fn a_definition_brings_a_kind_for_each_served_version() {
    let made = kinds(&definition());
    let names: Vec<_> = made.iter().map(Kind::api_version).collect();
    assert_eq!(names, ["example.com/v1", "example.com/v2"]);
    let first = &made[0];
    assert_eq!(
        (first.kind(), first.plural(), first.list_kind.as_str()),
        ("Foo", "foos", "FooList")
    );
    assert!(first.status && first.scale.is_some() && first.schema.is_some());
    assert_eq!(
        first.columns[0].description,
        "Custom resource definition column (in JSONPath format): .spec.size"
    );
    assert_eq!(first.selectable_fields, ["spec.color"]);
    assert_eq!(
        made[1].deprecation_warning.as_deref(),
        Some("example.com/v2 Foo is deprecated")
    );
    // All versions are views of one store, kept in the storage version.
    assert!(
        made.iter()
            .all(|k| k.storage == "foos.example.com" && k.storage_version == "v1")
    );
}

#[test]
fn establishing_accepts_the_names_once_and_keeps_the_times() {
    let registry = Registry::builtin();
    let kind = crd_kind(&registry);
    let mut rng = fastrand::Rng::with_seed(1);
    let mut ctx = context(&mut rng);
    let created = stored(write::create(&kind, None, definition(), &mut ctx).expect("a good definition"));
    assert_eq!(
        created["status"],
        json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": ["v1"]})
    );
    assert!(!is_established(&created));
    let Updated::Changed(done) = establish(&kind, &registry, &created, &mut ctx).expect("establishes") else {
        panic!("nothing changed")
    };
    assert!(is_established(&done));
    assert_eq!(
        done["status"]["acceptedNames"],
        json!({"plural":"foos","singular":"foo","shortNames":["fo"],"kind":"Foo","listKind":"FooList","categories":["all"]})
    );
    assert_eq!(done["metadata"]["managedFields"][0]["manager"], "kube-apiserver");
    ctx.now = "2027-01-01T00:00:00Z".parse().expect("a time");
    assert_eq!(
        establish(&kind, &registry, &done, &mut ctx).expect("again"),
        Updated::Unchanged
    );
}

#[test]
fn a_name_that_is_taken_is_not_accepted() {
    let mut registry = Registry::builtin();
    registry.register(Kind::new("example.com", "v1", "Foo", "others"));
    let kind = crd_kind(&registry);
    let mut rng = fastrand::Rng::with_seed(1);
    let mut ctx = context(&mut rng);
    let created = stored(write::create(&kind, None, definition(), &mut ctx).expect("a good definition"));
    let Updated::Changed(done) = establish(&kind, &registry, &created, &mut ctx).expect("a status") else {
        panic!("nothing changed")
    };
    assert!(!is_established(&done));
    assert_eq!(done["status"]["conditions"][0]["reason"], "KindConflict");
}

#[test]
fn bad_definitions_are_refused() {
    let registry = Registry::builtin();
    let kind = crd_kind(&registry);
    let mut rng = fastrand::Rng::with_seed(1);
    let mut ctx = context(&mut rng);
    for (pointer, value, field) in [
        ("/metadata/name", json!("bars.example.com"), "metadata.name"),
        ("/spec/scope", json!("Everywhere"), "spec.scope"),
        ("/spec/versions/0/storage", json!(false), "spec.versions"),
        (
            "/spec/versions/0/schema",
            json!({}),
            "spec.versions[0].schema.openAPIV3Schema",
        ),
        (
            "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size",
            json!({}),
            "spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[size].type",
        ),
    ] {
        let mut bad = definition();
        *bad.pointer_mut(pointer).expect("a place in the definition") = value;
        let error = write::create(&kind, None, bad, &mut ctx).expect_err(pointer);
        assert_eq!(error.code(), 422);
        assert!(
            error.message().contains(&format!("{field}: ")),
            "{}",
            error.message()
        );
    }
}
