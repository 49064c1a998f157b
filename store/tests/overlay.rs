//! One's own writes, until the cache has caught up with them.

mod support;

use std::{sync::Arc, time::Duration};

use informer_store::{Batch, Cache, Delta, Index, Overlay, Replacement, ResourceVersion};
use support::{Thing, thing};

const EXPIRY: Duration = Duration::from_secs(60);

fn put(cache: &Cache<Thing>, thing: Thing) {
    let version = thing.version.as_str().into();
    cache.apply(Batch::new(vec![Delta::Updated(thing.entry())], Some(version)));
}

fn remove(cache: &Cache<Thing>, thing: Thing) {
    let version = thing.version.as_str().into();
    cache.apply(Batch::new(vec![Delta::Deleted(thing.tombstone())], Some(version)));
}

fn bookmark(cache: &Cache<Thing>, version: u64) {
    cache.apply(Batch::new(
        vec![Delta::Bookmark(version.into())],
        Some(version.into()),
    ));
}

fn overlay() -> (Cache<Thing>, Overlay<Thing>) {
    let cache = Cache::new();
    cache.apply(Batch::new(
        vec![Delta::Replaced(Replacement::new(vec![], 1.into()))],
        Some(1.into()),
    ));
    (cache.clone(), Overlay::new(cache, EXPIRY))
}

/// The version seen under `a/1`, 0 for none.
fn seen(overlay: &Overlay<Thing>) -> u64 {
    overlay
        .get("a", "1")
        .map_or(0, |held| held.version.parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_created_object_is_seen_at_once_and_until_the_cache_has_it() {
    let (cache, overlay) = overlay();
    assert!(overlay.wrote(thing("a/1", 5)).unwrap());
    assert_eq!(seen(&overlay), 5);
    assert_eq!(overlay.list().len(), 1);
    put(&cache, thing("a/1", 5));
    assert_eq!((seen(&overlay), overlay.len()), (5, 0));
    assert_eq!(overlay.list().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_update_wins_over_what_is_older_and_loses_to_what_is_newer() {
    let (cache, overlay) = overlay();
    put(&cache, thing("a/1", 5));
    assert!(overlay.wrote(thing("a/1", 8)).unwrap());
    assert_eq!(seen(&overlay), 8);
    put(&cache, thing("a/1", 7));
    assert_eq!(seen(&overlay), 8);
    put(&cache, thing("a/1", 9));
    assert_eq!(seen(&overlay), 9);
    assert!(
        !overlay.wrote(thing("a/1", 9)).unwrap(),
        "the cache has it already"
    );
    assert!(!overlay.wrote(thing("a/1", 6)).unwrap());
    assert_eq!((seen(&overlay), overlay.len()), (9, 0));
}

#[tokio::test(start_paused = true)]
async fn answers_that_arrive_out_of_order_leave_the_newest() {
    let (_, overlay) = overlay();
    assert!(overlay.wrote(thing("a/1", 8)).unwrap());
    assert!(!overlay.wrote(thing("a/1", 6)).unwrap());
    assert_eq!(seen(&overlay), 8);
}

#[tokio::test(start_paused = true)]
async fn a_note_is_spent_once_the_version_passes_it_even_if_the_object_is_gone_by_then() {
    let (cache, overlay) = overlay();
    overlay.wrote(thing("a/1", 5)).unwrap();
    bookmark(&cache, 4);
    assert_eq!(seen(&overlay), 5);
    bookmark(&cache, 6);
    assert_eq!(seen(&overlay), 0);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_object_is_hidden_until_the_cache_drops_it_and_late_answers_do_not_bring_it_back() {
    let (cache, overlay) = overlay();
    put(&cache, thing("a/1", 5));
    overlay.deleted(thing("a/1", 5), ResourceVersion::UNSET).unwrap();
    assert_eq!(seen(&overlay), 0);
    assert!(overlay.list().is_empty());
    put(&cache, thing("a/1", 6));
    assert_eq!(
        seen(&overlay),
        0,
        "an update on its way when the deletion was asked for"
    );
    assert!(!overlay.wrote(thing("a/1", 7)).unwrap());
    remove(&cache, thing("a/1", 8));
    assert_eq!(seen(&overlay), 0);
    assert!(!overlay.wrote(thing("a/1", 7)).unwrap());
    assert!(
        overlay.wrote(thing("a/1", 9).uid("another")).unwrap(),
        "created again"
    );
    assert_eq!(seen(&overlay), 9);
}

#[tokio::test(start_paused = true)]
async fn another_object_of_that_name_ends_the_note_of_a_deletion() {
    let (cache, overlay) = overlay();
    put(&cache, thing("a/1", 5));
    overlay.deleted(thing("a/1", 5), 6.into()).unwrap();
    put(&cache, thing("a/1", 9).uid("another"));
    assert_eq!((seen(&overlay), overlay.len()), (9, 0));
}

#[tokio::test(start_paused = true)]
async fn the_newer_of_two_objects_of_one_name_is_shown() {
    let (cache, overlay) = overlay();
    put(&cache, thing("a/1", 5).uid("old"));
    overlay.wrote(thing("a/1", 9).uid("new")).unwrap();
    assert_eq!(seen(&overlay), 9);
    put(&cache, thing("a/1", 12).uid("newest"));
    assert_eq!(seen(&overlay), 12);
}

#[tokio::test(start_paused = true)]
async fn notes_expire() {
    let (cache, overlay) = overlay();
    put(&cache, thing("a/1", 5));
    overlay.wrote(thing("a/1", 8)).unwrap();
    overlay.wrote(thing("a/2", 9)).unwrap();
    overlay.deleted(thing("a/3", 2), ResourceVersion::UNSET).unwrap();
    tokio::time::advance(EXPIRY).await;
    assert_eq!(seen(&overlay), 5);
    assert_eq!(overlay.list().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn opaque_versions_are_no_panic() {
    let (cache, overlay) = overlay();
    let at = |version: &str| {
        let mut made = thing("a/1", 1);
        made.version = version.into();
        made
    };
    put(&cache, at("abc"));
    assert!(overlay.wrote(at("xyz")).unwrap());
    assert_eq!(overlay.get("a", "1").unwrap().version, "xyz");
    put(&cache, at("xyz"));
    assert_eq!(
        (overlay.get("a", "1").unwrap().version.as_str(), overlay.len()),
        ("xyz", 0)
    );
}

#[tokio::test(start_paused = true)]
async fn lookups_by_index_see_own_writes_where_they_belong() {
    let by_body = Index::hash("body", |held: &Thing| Some(held.body));
    let cache = Cache::builder().index(&by_body).build();
    put(&cache, thing("a/1", 1).body(7));
    put(&cache, thing("a/2", 2).body(7));
    put(&cache, thing("a/3", 3).body(8));
    let overlay = Overlay::new(cache, EXPIRY);
    overlay.wrote(thing("a/1", 11).body(8)).unwrap();
    overlay.wrote(thing("a/4", 12).body(7)).unwrap();
    overlay.deleted(thing("a/2", 2), ResourceVersion::UNSET).unwrap();
    let names = |found: Vec<Arc<Thing>>| found.iter().map(|held| held.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(overlay.by_index(&by_body, &7)), ["4"]);
    assert_eq!(names(overlay.by_index(&by_body, &8)), ["3", "1"]);
    assert_eq!(names(overlay.list()), ["3", "1", "4"]);
}

#[tokio::test(start_paused = true)]
async fn many_notes_are_kept_and_spent_ones_make_room() {
    let (cache, overlay) = overlay();
    for at in 0..1_000u64 {
        assert!(overlay.wrote(thing(&format!("a/{at}"), at + 10)).unwrap());
    }
    assert_eq!(overlay.list().len(), 1_000);
    bookmark(&cache, 2_000);
    for at in 0..3_000u64 {
        overlay.wrote(thing(&format!("b/{at}"), at + 3_000)).unwrap();
    }
    assert_eq!(overlay.len(), 3_000);
}
