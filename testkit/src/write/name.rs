//! Names and uids: rules, generation, and the texts of refusals.

use serde_json::{Map, Value, json};

use crate::kind::Kind;
use crate::selector::is_dns_word;
use crate::status::Cause;

/// The letters of generated names: no vowels, so that no words appear.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const GENERATED: usize = 5;
/// Bases are cut so that base and suffix fit a DNS label.
const BASE_MAX: usize = 63 - GENERATED;

const SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' \
                              or '.', and must start and end with an alphanumeric character (e.g. 'example.com', \
                              regex used for validation is \
                              '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_RULE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
                          must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex \
                          used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035_RULE: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start \
                               with an alphabetic character, and end with an alphanumeric character (e.g. \
                               'my-name',  or 'abc-123', regex used for validation is \
                               '[a-z]([-a-z0-9]*[a-z0-9])?')";

/// Makes a name from a base: up to 58 bytes of it and five letters.
pub(crate) fn generate(base: &str, rng: &mut fastrand::Rng) -> String {
    let mut cut = base.len().min(BASE_MAX);
    while !base.is_char_boundary(cut) {
        cut -= 1;
    }
    let mut name = base[..cut].to_owned();
    for _ in 0..GENERATED {
        name.push(char::from(LETTERS[rng.usize(..LETTERS.len())]));
    }
    name
}

/// Makes a random (version 4) uid.
pub(crate) fn uid(rng: &mut fastrand::Rng) -> String {
    let bits = (rng.u128(..) & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// Gives an object without a name one made from its `generateName`.
pub(super) fn fill(meta: &mut Map<String, Value>, rng: &mut fastrand::Rng) {
    let text = |field: &str| meta.get(field).and_then(Value::as_str).unwrap_or_default();
    let base = text("generateName");
    if text("name").is_empty() && !base.is_empty() {
        let name = generate(base, rng);
        meta.insert("name".to_owned(), json!(name));
    }
}

/// Checks the name of an object about to be created.
pub(super) fn validate(kind: &Kind, object: &Value, causes: &mut Vec<Cause>) {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let (name, base) = (text("/metadata/name"), text("/metadata/generateName"));
    if name.is_empty() && base.is_empty() {
        causes.push(Cause::required(
            "metadata.name",
            "name or generateName is required",
        ));
        return;
    }
    if !base.is_empty() {
        // Something will stand behind it: a dash at the end does no harm.
        let masked = match base.strip_suffix('-') {
            Some(stem) if stem.chars().next_back().is_some() => {
                let mut stem = stem.to_owned();
                stem.pop();
                format!("{stem}a")
            }
            _ => base.to_owned(),
        };
        for why in errors(kind, &masked) {
            causes.push(Cause::invalid("metadata.generateName", &json!(base), &why));
        }
    }
    for why in errors(kind, name) {
        causes.push(Cause::invalid("metadata.name", &json!(name), &why));
    }
    if kind.is_crd() {
        let of = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let expected = format!("{}.{}", of("/spec/names/plural"), of("/spec/group"));
        if name != expected {
            let why = "must be spec.names.plural+\".\"+spec.group";
            causes.push(Cause::invalid("metadata.name", &json!(name), why));
        }
    }
}

/// What is wrong with a name for this kind, one sentence each.
pub(crate) fn errors(kind: &Kind, name: &str) -> Vec<String> {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("rbac.authorization.k8s.io", _) => path_segment_errors(name),
        ("", "Namespace") | ("apps", "StatefulSet") => label_errors(name),
        ("", "Service") => {
            let good = is_dns_word(name) && name.starts_with(|c: char| c.is_ascii_lowercase());
            let bad = (!good).then(|| LABEL_1035_RULE.to_owned());
            too_long(name, 63).into_iter().chain(bad).collect()
        }
        _ => {
            let bad = (!is_dotted(name)).then(|| SUBDOMAIN_RULE.to_owned());
            too_long(name, 253).into_iter().chain(bad).collect()
        }
    }
}

fn is_dotted(name: &str) -> bool {
    name.split('.').all(is_dns_word)
}

fn too_long(name: &str, most: usize) -> Option<String> {
    (name.len() > most).then(|| format!("must be no more than {most} characters"))
}

/// What is wrong with a DNS label, such as the name of a container.
pub(super) fn label_errors(name: &str) -> Vec<String> {
    let rule = if is_dotted(name) {
        "must not contain dots"
    } else {
        LABEL_RULE
    };
    let bad = (!is_dns_word(name)).then(|| rule.to_owned());
    too_long(name, 63).into_iter().chain(bad).collect()
}

fn path_segment_errors(name: &str) -> Vec<String> {
    if matches!(name, "." | "..") {
        return vec![format!("may not be '{name}'")];
    }
    ['/', '%']
        .iter()
        .filter(|c| name.contains(**c))
        .map(|c| format!("may not contain '{c}'"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_keep_58_bytes_and_repeat_with_the_seed() {
        let long = "x".repeat(80);
        let name = generate(&long, &mut fastrand::Rng::with_seed(1));
        assert_eq!(name.len(), 63);
        assert_eq!(name, generate(&long, &mut fastrand::Rng::with_seed(1)));
        assert!(name[58..].bytes().all(|b| LETTERS.contains(&b)));
        // A base of many-byte letters is cut between letters.
        assert!(generate(&"ü".repeat(40), &mut fastrand::Rng::with_seed(1)).starts_with('ü'));
    }

    #[test]
    fn uids_are_random_version_four() {
        let mut rng = fastrand::Rng::with_seed(7);
        let made = uid(&mut rng);
        assert_eq!(made.len(), 36);
        assert_eq!(made.as_bytes()[14], b'4');
        assert!(matches!(made.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        assert_ne!(made, uid(&mut rng));
    }
}
