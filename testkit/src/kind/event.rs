//! The two shapes of events: the core one, which is stored, and that of `events.k8s.io`, whose fields are named anew.

use serde_json::{Map, Value};

/// Names in the core group, and in `events.k8s.io`.
const RENAMED: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// The event in the core shape.
pub(crate) fn to_core(object: Value) -> Value {
    rename(object, |name| {
        RENAMED
            .iter()
            .find(|(_, new)| *new == name)
            .map(|(core, _)| *core)
    })
}

/// The event in the shape of `events.k8s.io`.
pub(crate) fn from_core(object: Value) -> Value {
    rename(object, |name| {
        RENAMED
            .iter()
            .find(|(core, _)| *core == name)
            .map(|(_, new)| *new)
    })
}

fn rename(object: Value, to: impl Fn(&str) -> Option<&'static str>) -> Value {
    let Value::Object(fields) = object else {
        return object;
    };
    let renamed = fields.into_iter().map(|(name, value)| match to(&name) {
        Some(new) => (new.to_owned(), value),
        None => (name, value),
    });
    Value::Object(renamed.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_shapes_hold_the_same() {
        let core = json!({"kind": "Event", "involvedObject": {"name": "p"}, "message": "m", "count": 2, "type": "Normal",
            "source": {"component": "c"}, "firstTimestamp": null, "lastTimestamp": null, "reportingComponent": "r"});
        let new = from_core(core.clone());
        assert_eq!(
            new,
            json!({"kind": "Event", "regarding": {"name": "p"}, "note": "m", "deprecatedCount": 2, "type": "Normal",
                "deprecatedSource": {"component": "c"}, "deprecatedFirstTimestamp": null,
                "deprecatedLastTimestamp": null, "reportingController": "r"})
        );
        assert_eq!(to_core(new), core);
    }
}
