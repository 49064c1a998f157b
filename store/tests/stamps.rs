//! Stamps: what is known of an object without looking at it again, and what is not.

mod support;

use std::{cmp::Ordering, sync::Arc, time::Duration};

use informer_store::{
    Batch, Cache, Delta, Entry, Object, ObjectKey, Overlay, ResourceVersion, Stamp, Stamped, Tombstone,
};
use support::{Thing, at_hand, lines, thing};

fn key(text: &str) -> ObjectKey {
    text.parse().expect("well-formed")
}

/// As a type has it that is made by hand: always some text, empty where there is none.
struct Slim {
    uid: &'static str,
    version: &'static str,
}

impl Object for Slim {
    fn namespace(&self) -> Option<&str> {
        Some("a")
    }

    fn name(&self) -> Option<&str> {
        Some("x")
    }

    fn uid(&self) -> Option<&str> {
        Some(self.uid)
    }

    fn resource_version(&self) -> Option<&str> {
        Some(self.version)
    }
}

#[test]
fn an_empty_uid_is_none() {
    let slim = |uid, version| Slim { uid, version };
    let entry = |uid, version| Delta::Updated(Entry::new(slim(uid, version)).unwrap());
    let cache = Cache::new();
    let mut changes = cache.subscribe();
    for delta in [entry("u1", "1"), entry("", "2"), entry("u1", "3")] {
        cache.apply(Batch::new(vec![delta], None));
    }
    assert_eq!(lines(&at_hand(&mut changes)), ["+a/x@1", "~a/x@1>2", "~a/x@2>3"]);
    let tombstone = Tombstone::new(slim("", "4")).unwrap();
    assert_eq!(tombstone.uid, None);
    cache.apply(Batch::new(vec![Delta::Deleted(tombstone)], None));
    assert!(cache.is_empty(), "nothing says that it is of another object");
    assert_eq!(cache.stats().foreign_tombstones, 0);
    cache.apply(Batch::new(vec![entry("u1", "5")], None));
    let mut tombstone = Tombstone::of(key("a/x"));
    tombstone.uid = Some("".into());
    cache.apply(Batch::new(vec![Delta::Deleted(tombstone)], None));
    assert!(cache.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_deletion_noted_without_a_uid_hides_whatever_is_held() {
    let cache = Cache::new();
    let put = |uid, version| {
        let entry = Entry::new(Slim { uid, version }).unwrap();
        cache.apply(Batch::new(vec![Delta::Updated(entry)], None));
    };
    let overlay = Overlay::new(cache.clone(), Duration::from_secs(60));
    put("u1", "5");
    let slim = Slim {
        uid: "",
        version: "5",
    };
    overlay.deleted(slim, ResourceVersion::UNSET).unwrap();
    assert!(overlay.get("a", "x").is_none());
    tokio::time::advance(Duration::from_secs(61)).await;
    assert!(overlay.get("a", "x").is_some());
}

#[test]
fn an_entry_takes_an_object_with_or_without_a_stamp_and_shows_the_stamp_alone() {
    let shared = Arc::new(thing("a/x", 7));
    let entries: [Entry<Thing>; 3] = [
        Entry::with_key(key("a/x"), Arc::clone(&shared)),
        Entry::with_key(key("a/x"), Stamped::new(shared)),
        thing("a/x", 7).entry(),
    ];
    for entry in entries {
        assert_eq!(entry.object.version(), ResourceVersion::from(7));
        assert!(entry.object.stamp().is_same_uid(Stamp::of(&thing("a/x", 8))));
        assert_eq!(format!("{:?}", entry.object), "Stamp { version: 7, .. }");
    }
}

#[test]
fn a_stamp_says_nothing_rather_than_something_wrong() {
    let stamp = |uid, version| Stamp::of(&Slim { uid, version });
    let number = stamp("u1", "7");
    assert_eq!(number.compare(stamp("u1", "9")), Some(Ordering::Less));
    assert_eq!(stamp("u1", "18446744073709551615").version(), Some(u64::MAX));
    for other in ["0", "", "opaque", "007", "18446744073709551616"] {
        let other = stamp("u1", other);
        assert_eq!(
            (other.version(), other.compare(number), number.compare(other)),
            (None, None, None)
        );
        assert!(other.is_same_uid(number) && !other.is_other_uid(number));
    }
    let (unknown, another) = (stamp("", "7"), stamp("u2", "7"));
    assert!(another.is_other_uid(number) && another.is_not("u1") && !another.is_not("u2"));
    assert!(!unknown.is_other_uid(number) && !unknown.is_same_uid(number));
    assert!(!unknown.is_not("u1") && !number.is_not(""));
    assert_eq!(Stamp::default(), stamp("", ""));
}
