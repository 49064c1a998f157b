//! The default decoder reads what `serde_json` reads, and refuses what it refuses, whatever the type asks for.
#![cfg(not(feature = "simd-json"))]
#![allow(dead_code, reason = "values are compared by what `Debug` shows of them")]

use std::{collections::BTreeMap, fmt::Debug};

use informer_reflector::{Decode, Json};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::value::RawValue;

/// Reads `text` as a `T` in both ways, and compares.
#[track_caller]
fn same<T: DeserializeOwned + Debug>(text: &str) {
    let known = serde_json::from_str::<T>(text);
    for json in [Json::<T>::whole(), Json::new(), Json::whole().hide(["a", "b"])] {
        let read = json.decode(text.as_bytes());
        match (&read, &known) {
            (Ok(read), Ok(known)) => assert_eq!(format!("{read:?}"), format!("{known:?}"), "{text}"),
            (Err(_), Err(_)) => {}
            _ => panic!("{text}: {read:?} where serde_json has {known:?}"),
        }
    }
}

/// A value that does not fit counts as none, as users write it.
fn lenient<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(inner: D) -> Result<T, D::Error> {
    Ok(T::deserialize(inner).unwrap_or_default())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Lenient {
    #[serde(deserialize_with = "lenient")]
    number: u32,
    #[serde(deserialize_with = "lenient")]
    text: String,
    #[serde(deserialize_with = "lenient")]
    flag: bool,
    #[serde(deserialize_with = "lenient")]
    phase: Option<Phase>,
    #[serde(deserialize_with = "lenient")]
    list: Vec<u8>,
    #[serde(deserialize_with = "lenient")]
    inner: Inner,
    last: Option<u8>,
}

#[derive(Debug, Default, Deserialize)]
struct Inner {
    a: u8,
}

#[derive(Debug, Deserialize)]
enum Phase {
    Ready,
    Failed(String),
    Pair(u8, u8),
    Named { a: u8 },
}

#[test]
fn values_that_do_not_fit_can_be_passed_over() {
    for value in [
        "1",
        "-1",
        "1.5",
        "\"x\"",
        "\"\\u0041\"",
        "true",
        "false",
        "null",
        "{}",
        "[]",
        "[1]",
        "[1,\"x\"]",
        "[\"x\",1]",
        "{\"a\":\"x\"}",
        "{\"a\":1}",
        "{\"b\":2}",
        "{\"a\":{\"b\":1}}",
        "\"Ready\"",
        "\"Gone\"",
        "{\"Failed\":1}",
        "{\"Gone\":1}",
        "{\"Pair\":[1,2]}",
        "{\"Pair\":[1]}",
        "{\"Named\":{\"a\":1}}",
        "{\"Named\":{}}",
        "tru",
        "-",
        "1e400",
        "01",
        "300",
    ] {
        for field in ["number", "text", "flag", "phase", "list", "inner"] {
            same::<Lenient>(&format!("{{\"{field}\":{value},\"last\":3}}"));
            same::<Lenient>(&format!("{{\"last\":3,\"{field}\":{value}}}"));
        }
    }
}

#[test]
fn numbers_of_every_size_are_read() {
    for number in [
        "0",
        "-0",
        "1",
        "-1",
        "01",
        "1.0",
        "1e2",
        "1E+2",
        "-1e-2",
        "1e400",
        "-1e400",
        "1.",
        ".5",
        "+1",
        "1e",
        "--1",
        "127",
        "128",
        "-128",
        "-129",
        "255",
        "256",
        "65536",
        "2147483648",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "18446744073709551616",
        "170141183460469231731687303715884105727",
        "170141183460469231731687303715884105728",
        "-170141183460469231731687303715884105728",
        "340282366920938463463374607431768211455",
        "340282366920938463463374607431768211456",
        "0.1",
        "123456789012345678.9",
        "1-2",
        "1 2",
        "NaN",
    ] {
        same::<i8>(number);
        same::<u8>(number);
        same::<i32>(number);
        same::<u32>(number);
        same::<i64>(number);
        same::<u64>(number);
        same::<i128>(number);
        same::<u128>(number);
        same::<f32>(number);
        same::<f64>(number);
        same::<serde_json::Value>(number);
        same::<Vec<i128>>(&format!("[{number}, {number}]"));
    }
}

#[derive(Debug, Deserialize)]
#[serde(bound = "N: Deserialize<'de> + Ord")]
struct Mapped<N> {
    map: BTreeMap<N, u8>,
}

#[test]
fn member_names_are_read_as_whatever_the_map_wants() {
    for name in [
        "1",
        "-1",
        "01",
        " 1",
        "1 ",
        "1.5",
        "1e3",
        "true",
        "false",
        "tru",
        "",
        "x",
        "null",
        "Ready",
        "300",
        "18446744073709551616",
        "\\u0031",
        "-",
        "NaN",
    ] {
        let text = format!("{{\"map\": {{\"{name}\": 1}}}}");
        same::<Mapped<u8>>(&text);
        same::<Mapped<i64>>(&text);
        same::<Mapped<i128>>(&text);
        same::<Mapped<u128>>(&text);
        same::<Mapped<bool>>(&text);
        same::<Mapped<char>>(&text);
        same::<Mapped<String>>(&text);
        same::<Mapped<Option<u8>>>(&text);
    }
}

#[derive(Debug, Deserialize)]
struct Slim {
    metadata: BTreeMap<String, String>,
    spec: Option<Box<RawValue>>,
    #[serde(flatten)]
    rest: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Raw {
    spec: Box<RawValue>,
    list: Option<Vec<Box<RawValue>>>,
}

#[test]
fn parts_can_be_kept_as_they_are() {
    for spec in [
        "1",
        "-1.50",
        "\"a\\u0041\"",
        "\"\u{1}\"",
        "null",
        "true",
        "nul",
        "{ \"a\" : [1, 2.0, {}] }",
        "[1,]",
        "{\"a\"}",
        "[}",
        "\"\\ud800\"",
        "[\"]\"]",
        "1e400",
    ] {
        same::<Raw>(&format!("{{\"spec\":{spec}}}"));
        same::<Raw>(&format!("{{\"spec\": {spec} , \"list\":[{spec}, {spec} ]}}"));
    }
    same::<Box<RawValue>>(" {\"a\": 1} ");
    same::<Slim>("{\"metadata\":{\"name\":\"a\"},\"status\":{\"b\":[1,null]}}");
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(i64),
    Text(String),
    Many(Vec<Self>),
    Named { name: String },
    Any(serde_json::Value),
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum Tagged {
    One { a: u8 },
    Two(BTreeMap<String, u8>),
    Three,
}

#[derive(Debug, Deserialize)]
struct Bytes(#[serde(deserialize_with = "bytes")] Vec<u8>);

fn bytes<'de, D: Deserializer<'de>>(inner: D) -> Result<Vec<u8>, D::Error> {
    struct Only;
    impl<'de> serde::de::Visitor<'de> for Only {
        type Value = Vec<u8>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("bytes")
        }
        fn visit_bytes<E>(self, value: &[u8]) -> Result<Vec<u8>, E> {
            Ok(value.to_vec())
        }
    }
    inner.deserialize_bytes(Only)
}

#[test]
fn types_of_every_shape_are_read() {
    let long = "x".repeat(61);
    for text in [
        "1",
        "1.5",
        "\"x\"",
        "[1,[2,\"x\"]]",
        "{\"name\":\"x\"}",
        "{\"name\":1,\"b\":[]}",
        "null",
        "[1,2",
        "[1 2]",
        "[,1]",
        "{\"type\":\"One\",\"a\":1}",
        "{\"a\":1,\"type\":\"One\"}",
        "{\"type\":\"Two\",\"x\":2}",
        "{\"type\":\"Three\"}",
        "{\"type\":\"Four\"}",
        "{\"type\":\"Three\",\"type\":\"One\"}",
        "{}",
        "{\"a\":1,\"a\":2}",
        "\"Ready\"",
        "{\"Ready\":null}",
        "{\"Ready\":1}",
        "{\"Failed\":\"x\"}",
        "{\"Pair\":[1,2,3]}",
        "{\"Ready\":null,\"Failed\":\"\"}",
        "\"\\ud83d\\ude00\"",
        "\"\\ud83d\"",
        "\"\\ude00\\ud83d\"",
        "\"a\tb\"",
        "\"\\x\"",
        "\"\\\"\"",
        "\u{feff}1",
        "",
        &format!("\"{long}\\\"{long}\\\\\""),
        &format!("\"{long}\\\\{long}\\\\\\\"\""),
        &format!("\"{long}"),
        &format!("[\"{long}\\\\\",\"]\"]"),
        "[1]]",
        "[1}",
        "{\"a\":1]",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{a:1}",
        "{\"a\":1 \"b\":2}",
        "[true,false,null]",
        "[1,]",
        " [ ] ",
        "[[[]]]",
        "{\"spec\":1}",
    ] {
        same::<Untagged>(text);
        same::<Tagged>(text);
        same::<Phase>(text);
        same::<Option<Phase>>(text);
        same::<serde_json::Value>(text);
        same::<String>(text);
        same::<char>(text);
        same::<()>(text);
        same::<(u8, u8, u8)>(text);
        same::<[u8; 1]>(text);
        same::<Inner>(text);
        same::<BTreeMap<String, Option<u8>>>(text);
        same::<Bytes>(text);
        same::<Option<Vec<bool>>>(text);
    }
}

#[test]
fn nesting_ends_where_it_does_elsewhere() {
    for depth in [1, 126, 127, 128, 129, 5000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let inside = if open == "[" { "" } else { "1" };
            same::<serde_json::Value>(&format!("{}{inside}{}", open.repeat(depth), close.repeat(depth)));
        }
    }
}

#[test]
fn hidden_paths_hide_what_they_name_and_nothing_beside_it() {
    let text = r#"{"a":{"b":{"c":1,"d":2},"e":[{"c":3,"d":4},{"d":5}]},"b":{"c":6},"\u0061x":7,"c":null}"#;
    for (paths, rest) in [
        (&[&["a"][..]][..], r#"{"ax":7,"b":{"c":6},"c":null}"#),
        (
            &[&["a", "b"]],
            r#"{"a":{"e":[{"c":3,"d":4},{"d":5}]},"ax":7,"b":{"c":6},"c":null}"#,
        ),
        // Lists are stepped through.
        (
            &[&["a", "e", "d"]],
            r#"{"a":{"b":{"c":1,"d":2},"e":[{"c":3},{}]},"ax":7,"b":{"c":6},"c":null}"#,
        ),
        // One path within another, in either order, and two of one beginning.
        (&[&["a"], &["a", "b"]], r#"{"ax":7,"b":{"c":6},"c":null}"#),
        (&[&["a", "b"], &["a"]], r#"{"ax":7,"b":{"c":6},"c":null}"#),
        (
            &[&["a", "b", "c"], &["a", "b", "d"], &["b", "c"]],
            r#"{"a":{"b":{},"e":[{"c":3,"d":4},{"d":5}]},"ax":7,"b":{},"c":null}"#,
        ),
        // A name is what it stands for; what is not there, or is no object, can be hidden as well; an empty path hides
        // nothing.
        (
            &[&["ax"], &["c", "d"], &["x", "y"], &[], &["a"], &["b"]],
            r#"{"c":null}"#,
        ),
    ] {
        let json = paths
            .iter()
            .fold(Json::<serde_json::Value>::whole(), |json, path| {
                json.hide(path.iter().copied())
            });
        let read = json.decode(text.as_bytes()).expect("it is JSON");
        assert_eq!(read.to_string(), rest, "without {paths:?}");
    }
}

#[derive(Debug, Deserialize)]
struct Few {
    last: u8,
}

/// Objects in which a member that nobody reads has this value, by the type or because it is hidden.
#[track_caller]
fn reads_over(value: &str) -> bool {
    let object = format!("{{\"skip\":{value},\"last\":3}}");
    let few = Json::<Few>::new().decode(object.as_bytes());
    let hidden = Json::<BTreeMap<String, u8>>::whole()
        .hide(["skip"])
        .decode(object.as_bytes());
    assert_eq!(few.is_ok(), hidden.is_ok(), "{object}");
    few.is_ok()
}

#[test]
fn what_nobody_reads_is_refused_where_it_would_hide_what_follows() {
    let deep = |depth| "[".repeat(depth) + &"]".repeat(depth);
    for value in [
        "[}",
        "{]",
        "[{]}",
        "[[}]",
        "{\"a\":[}}",
        "{\"a\":{]]",
        "[{}",
        "[\"]",
        "[[]",
        "}",
        "]",
        "",
        ",",
        ":",
        "tru",
        "nulll",
        "01",
        "-",
        "1.",
        "+1",
        "'a'",
        "\"a",
        "\"a\u{1}\"",
        "\"\\x\"",
        "\"\\u12\"",
        "1 2",
        "{} {}",
        "[]]",
        "\"a\"\"b\"",
    ] {
        same::<Few>(&format!("{{\"skip\":{value},\"last\":3}}"));
        assert!(!reads_over(value), "{value}");
    }
    for depth in [2, 62, 63, 64, 65, 200] {
        assert!(reads_over(&deep(depth)), "{depth}");
        let mismatched = deep(depth).replace("[]", "[}");
        assert!(!reads_over(&mismatched), "{depth}");
        let blank = "{\"a\": ".repeat(depth) + "{ }" + &" }".repeat(depth);
        assert!(reads_over(&blank), "{depth}");
        assert!(!reads_over(&blank.replacen('}', "]", 1)), "{depth}");
    }
}

/// The limit of what is checked: as documented, no less and no more.
#[test]
fn what_is_within_the_brackets_of_what_nobody_reads_is_not_looked_at() {
    for value in [
        "[1,,2]",
        "[tru]",
        "{\"a\"}",
        "{1:2}",
        "[\"\\x\"]",
        "[\"\u{1}\"]",
        "[1 2]",
        "[,]",
        "[:]",
    ] {
        assert!(reads_over(value), "{value}");
        assert!(
            serde_json::from_str::<serde_json::Value>(value).is_err(),
            "{value}"
        );
    }
}
