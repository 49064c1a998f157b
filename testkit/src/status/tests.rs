use super::*;
use serde_json::json;

fn kind(group: &str, plural: &str, kind: &str) -> Kind {
    Kind::new(group, "v1", kind, plural)
}

fn body(error: &ApiError) -> String {
    String::from_utf8(error.to_body()).expect("UTF-8")
}

/// Each line is the body a real server was recorded to send.
#[test]
fn bodies_equal_the_recorded_ones() {
    let cm = kind("", "configmaps", "ConfigMap");
    let cases = [
        (ApiError::path_not_found(), "404 page not found\n".to_owned()),
        (
            ApiError::resource_not_found(),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"the server could not find the requested resource","reason":"NotFound","details":{},"code":404}"#.to_owned() + "\n",
        ),
        (
            ApiError::not_found(&cm, "nope"),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"configmaps \"nope\" not found","reason":"NotFound","details":{"name":"nope","kind":"configmaps"},"code":404}"#.to_owned() + "\n",
        ),
        (
            ApiError::already_exists(&cm, "ssa", true),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"object is being deleted: configmaps \"ssa\" already exists","reason":"AlreadyExists","details":{"name":"ssa","kind":"configmaps"},"code":409}"#.to_owned() + "\n",
        ),
        (
            ApiError::invalid(&cm, "", vec![Cause::required("metadata.name", "name or generateName is required")]),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required","reason":"Invalid","details":{"kind":"ConfigMap","causes":[{"reason":"FieldValueRequired","message":"Required value: name or generateName is required","field":"metadata.name"}]},"code":422}"#.to_owned() + "\n",
        ),
        (
            ApiError::too_large_resource_version(99_999_999, 123),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Timeout: Too large resource version: 99999999, current: 123","reason":"Timeout","details":{"causes":[{"reason":"ResourceVersionTooLarge","message":"Too large resource version"}],"retryAfterSeconds":1},"code":504}"#.to_owned() + "\n",
        ),
        (
            ApiError::invalid_options("CreateOptions", vec![Cause::not_supported("dryRun", &json!(["foo"]), &["All"])]),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"foo\"]: supported values: \"All\"","reason":"Invalid","details":{"group":"meta.k8s.io","kind":"CreateOptions","causes":[{"reason":"FieldValueNotSupported","message":"Unsupported value: [\"foo\"]: supported values: \"All\"","field":"dryRun"}]},"code":422}"#.to_owned() + "\n",
        ),
    ];
    for (error, expected) in cases {
        assert_eq!(body(&error), expected);
    }
}

#[test]
fn a_delete_answers_success_without_a_code() {
    let foos = kind("example.com", "foos", "Foo");
    let got: Value = serde_json::from_slice(&deleted(&foos, "f3", "u-1")).expect("JSON");
    let expected = json!({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success",
        "details":{"name":"f3","group":"example.com","kind":"foos","uid":"u-1"}});
    assert_eq!(got, expected);
}

#[test]
fn several_causes_are_listed_in_brackets() {
    let foos = kind("example.com", "foos", "Foo");
    let error = ApiError::invalid(
        &foos,
        "f",
        vec![Cause::required("spec.a", ""), Cause::forbidden("spec.b", "no")],
    );
    assert_eq!(
        error.message(),
        "Foo.example.com \"f\" is invalid: [spec.a: Required value, spec.b: Forbidden: no]"
    );
}

#[test]
fn a_wait_in_the_details_is_the_header_too() {
    assert_eq!(ApiError::too_large_resource_version(2, 1).retry_after(), Some(1));
    assert_eq!(
        ApiError::new(429, "TooManyRequests", "busy")
            .with_retry_after(7)
            .retry_after(),
        Some(7)
    );
    assert_eq!(ApiError::bad_request("x").retry_after(), None);
}

#[test]
fn apply_conflicts_are_counted_and_grouped_by_manager() {
    let cause = |manager: &str, field: &str| {
        Cause::new(
            "FieldManagerConflict",
            format!("conflict with \"{manager}\""),
            field,
        )
    };
    let one = ApiError::apply_conflict(vec![cause("me", ".data.x")]);
    assert_eq!(
        one.message(),
        "Apply failed with 1 conflict: conflict with \"me\": .data.x"
    );
    let two = ApiError::apply_conflict(vec![cause("me", ".data.x"), cause("me", ".data.y")]);
    assert_eq!(
        two.message(),
        "Apply failed with 2 conflicts: conflicts with \"me\":\n- .data.x\n- .data.y"
    );
}
