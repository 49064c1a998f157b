//! A store that forgets.

mod support;

use std::{sync::Arc, time::Duration};

use informer_store::{ExpiringStore, ObjectKey, Store};
use support::{Thing, thing};
use tokio::time::advance;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn an_object_vanishes_strictly_after_its_time_to_live_and_lives_on_when_put_again() {
    let store = ExpiringStore::new(MINUTE);
    store.add(Arc::new(thing("a/1", 1))).unwrap();
    store.add(Arc::new(thing("a/2", 2))).unwrap();
    advance(MINUTE).await;
    assert_eq!(
        store.list().len(),
        2,
        "exactly at its time to live it is still there"
    );
    store.update(Arc::new(thing("a/2", 3))).unwrap();
    advance(Duration::from_millis(1)).await;
    assert!(store.get("a", "1").is_none());
    assert_eq!(store.list_keys(), [ObjectKey::namespaced("a", "2")]);
    assert_eq!(store.get("a", "2").unwrap().version, "3");
    assert_eq!(store.purge(), 1);
    assert_eq!(store.purge(), 0);
}

#[tokio::test(start_paused = true)]
async fn no_time_to_live_means_for_ever() {
    let store = ExpiringStore::new(Duration::ZERO);
    store.add(Arc::new(thing("a/1", 1))).unwrap();
    advance(MINUTE * 1_000_000).await;
    assert_eq!(store.list().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn it_is_a_store_in_every_other_way() {
    let store = ExpiringStore::new(MINUTE);
    store
        .replace(
            vec![Arc::new(thing("a/1", 1)), Arc::new(thing("a/2", 2))],
            "9".into(),
        )
        .unwrap();
    assert_eq!(store.resource_version(), 9.into());
    store.delete(Arc::new(thing("a/1", 10))).unwrap();
    store.delete_key(&ObjectKey::namespaced("a", "2"));
    assert_eq!((store.list().len(), store.resource_version()), (0, 10.into()));
    store.bookmark("12".into());
    assert_eq!(store.resource_version(), 12.into());
    assert!(store.add(Arc::new(Thing::default())).is_err());
}

#[tokio::test(start_paused = true)]
async fn i2_the_version_does_not_go_back_with_an_object_that_is_older_than_others() {
    let store = ExpiringStore::new(MINUTE);
    let version = || store.resource_version();
    store.add(Arc::new(thing("a/1", 5))).unwrap();
    store.add(Arc::new(thing("a/2", 9))).unwrap();
    store.update(Arc::new(thing("a/3", 7))).unwrap();
    assert_eq!(version(), 9.into());
    store.delete(Arc::new(thing("a/1", 5))).unwrap();
    assert_eq!(version(), 9.into());
    store.bookmark(8.into());
    assert_eq!(version(), 9.into());
    store.replace(Vec::new(), 4.into()).unwrap();
    assert_eq!(version(), 4.into(), "a list is all there is");
}

#[tokio::test(start_paused = true)]
async fn writes_make_room_by_dropping_what_has_expired() {
    let store = ExpiringStore::new(MINUTE);
    let first = Arc::new(thing("a/first", 1));
    let gone = Arc::downgrade(&first);
    store.add(first).unwrap();
    advance(MINUTE * 2).await;
    for at in 0..100 {
        store.add(Arc::new(thing(&format!("a/{at}"), at + 2))).unwrap();
    }
    assert!(gone.upgrade().is_none());
}
