//! The `Store` and `Indexer` traits, and listers, as `Cache` implements them.

mod support;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use informer_store::{
    Cache, Direct, Index, IndexExists, Indexer, KeyError, Lister, NoIndex, ObjectKey, OrderedIndex,
    ReflectorStore, Replacement, ResourceVersion, Store,
};
use kube_core::{Expression, Selector};
use support::{Thing, thing};

fn keys(list: &[Arc<Thing>]) -> Vec<String> {
    let mut keys: Vec<_> = list
        .iter()
        .map(|held| format!("{}/{}", held.namespace, held.name))
        .collect();
    keys.sort_unstable();
    keys
}

#[test]
fn a_store_adds_updates_gets_lists_and_deletes() {
    let store: Box<dyn Store<Thing>> = Box::new(Cache::new());
    store.add(Arc::new(thing("a/one", 1))).unwrap();
    store.add(Arc::new(thing("a/two", 2))).unwrap();
    store.update(Arc::new(thing("a/one", 3))).unwrap();
    assert_eq!(store.get("a", "one").unwrap().version, "3");
    assert_eq!(keys(&store.list()), ["a/one", "a/two"]);
    let mut listed = store.list_keys();
    listed.sort_unstable();
    assert_eq!(
        listed,
        [
            ObjectKey::namespaced("a", "one"),
            ObjectKey::namespaced("a", "two")
        ]
    );
    store.delete(Arc::new(thing("a/one", 1))).unwrap();
    assert!(store.get_by_key(&ObjectKey::namespaced("a", "one")).is_none());
    store.delete_key(&ObjectKey::namespaced("a", "two"));
    assert!(store.list().is_empty());
}

#[test]
fn the_version_follows_each_way_of_changing_the_store() {
    let store = Cache::new();
    let version = |store: &Cache<Thing>| store.resource_version().to_string();
    Store::replace(&store, vec![Arc::new(thing("a/one", 3))], "10".into()).unwrap();
    assert_eq!(version(&store), "10");
    Store::add(&store, Arc::new(thing("a/two", 11))).unwrap();
    assert_eq!(version(&store), "11");
    Store::update(&store, Arc::new(thing("a/two", 12))).unwrap();
    assert_eq!(version(&store), "12");
    Store::delete(&store, Arc::new(thing("a/two", 13))).unwrap();
    assert_eq!(version(&store), "13");
    store.delete_key(&ObjectKey::namespaced("a", "one"));
    assert_eq!(version(&store), "13", "a key says nothing of a version");
    Store::bookmark(&store, "20".into());
    assert_eq!(version(&store), "20");
    Store::bookmark(&store, "15".into());
    assert_eq!(version(&store), "20", "I2: never back");
    assert_eq!(store.stats().stale_versions, 1);
    Store::bookmark(&store, ResourceVersion::UNSET);
    assert_eq!(version(&store), "20");
}

#[test]
fn an_object_without_a_key_is_handed_back() {
    let store = Cache::new();
    let nameless = Arc::new(Thing::default());
    let refused = Store::add(&store, Arc::clone(&nameless)).unwrap_err();
    assert!(Arc::ptr_eq(&refused.object, &nameless));
    assert_eq!(refused.error, KeyError::NoName);
    let list = vec![Arc::new(thing("a/one", 1)), nameless];
    assert!(Store::replace(&store, list, "1".into()).is_err());
    assert!(store.is_empty(), "all or nothing");
}

#[test]
fn indexes_go_by_name() {
    let cache = Cache::builder()
        .index(&Index::<Thing, _>::by_label("app"))
        .build();
    let store: &dyn Indexer<Thing> = &cache;
    store
        .add(Arc::new(thing("a/one", 1).label("app", "web")))
        .unwrap();
    store
        .add(Arc::new(thing("b/two", 2).label("app", "web")))
        .unwrap();
    store
        .add(Arc::new(thing("a/three", 3).label("app", "db")))
        .unwrap();
    assert_eq!(store.list_indexes(), ["namespace", "label:app"]);
    assert_eq!(
        keys(&store.by_index("label:app", "web").unwrap()),
        ["a/one", "b/two"]
    );
    assert_eq!(
        keys(&store.by_index("namespace", "a").unwrap()),
        ["a/one", "a/three"]
    );
    assert_eq!(
        store.index_keys("label:app", "web").unwrap(),
        [
            ObjectKey::namespaced("a", "one"),
            ObjectKey::namespaced("b", "two")
        ]
    );
    assert_eq!(store.list_index_values("label:app").unwrap(), ["db", "web"]);
    assert_eq!(store.list_index_values("namespace").unwrap(), ["a", "b"]);
    let probe = thing("a/probe", 1).label("app", "web");
    assert_eq!(
        keys(&store.index("label:app", &probe).unwrap()),
        ["a/one", "b/two"]
    );
    assert_eq!(
        keys(&store.index("namespace", &probe).unwrap()),
        ["a/one", "a/three"]
    );
    assert_eq!(store.by_index("none", "x").unwrap_err(), NoIndex("none".into()));
}

#[test]
fn an_index_added_at_run_time_is_complete_and_can_be_dropped() {
    let cache = Cache::new();
    for at in 0..500 {
        Store::add(&cache, Arc::new(thing(&format!("a/{at}"), at + 1).body(at % 10))).unwrap();
    }
    let store: &dyn Indexer<Thing> = &cache;
    let by_body = |held: &Thing| vec![held.body.to_string()];
    store.add_index("body", Box::new(by_body)).unwrap();
    assert_eq!(store.by_index("body", "3").unwrap().len(), 50);
    let again = store.add_index("body", Box::new(by_body));
    assert_eq!(again.unwrap_err(), IndexExists("body".into()));
    assert_eq!(
        store.add_index("namespace", Box::new(by_body)),
        Err(IndexExists("namespace".into()))
    );
    store.update(Arc::new(thing("a/3", 1_000).body(4))).unwrap();
    assert_eq!(store.by_index("body", "3").unwrap().len(), 49);
    assert!(store.drop_index("body"));
    assert!(!store.drop_index("body"));
    assert!(store.by_index("body", "3").is_err());
}

#[test]
fn an_ordered_index_of_text_goes_by_name_too_but_numbers_do_not() {
    let by_uid = OrderedIndex::new("uid", |held: &Thing| Some(held.uid.clone()));
    let by_body = Index::hash("body", |held: &Thing| Some(held.body));
    let cache = Cache::builder().index(&by_uid).index(&by_body).build();
    Store::add(&cache, Arc::new(thing("a/one", 1))).unwrap();
    assert_eq!(cache.list_index_values("uid").unwrap(), ["a/one"]);
    assert!(Indexer::by_index(&cache, "body", "1").is_err());
    assert_eq!(cache.snapshot().by_index(&by_body, &1).count(), 1);
}

#[test]
fn listers_match_every_kind_of_requirement_with_and_without_an_index() {
    let (plain, indexed) = (
        Cache::new(),
        Cache::builder()
            .index(&Index::<Thing, _>::by_label("app"))
            .build(),
    );
    for (at, namespace) in ["a", "b"].into_iter().enumerate() {
        for (name, app, tier) in [
            ("1", "web", "x"),
            ("2", "web", ""),
            ("3", "db", "y"),
            ("4", "", "x"),
        ] {
            let version = at as u64 * 10 + name.parse::<u64>().unwrap();
            let mut held = thing(&format!("{namespace}/{name}"), version);
            for (label, value) in [("app", app), ("tier", tier)] {
                if !value.is_empty() {
                    held = held.label(label, value);
                }
            }
            Store::add(&plain, Arc::new(held.clone())).unwrap();
            Store::add(&indexed, Arc::new(held)).unwrap();
        }
    }
    let app = || "app".to_owned();
    let values = |values: &[&str]| values.iter().map(ToString::to_string).collect();
    let check = |expressions: Vec<Expression>, expect: &[&str]| {
        let selector: Selector = expressions.into_iter().collect();
        for lister in [&plain as &dyn Lister<Thing>, &indexed] {
            let found: Vec<_> = lister
                .list_namespace("a", &selector)
                .iter()
                .map(|held| held.name.clone())
                .collect();
            assert_eq!(found, expect, "{selector}");
            assert_eq!(lister.list_all(&selector).len(), expect.len() * 2, "{selector}");
        }
    };
    check(vec![], &["1", "2", "3", "4"]);
    check(vec![Expression::Equal(app(), "web".into())], &["1", "2"]);
    check(vec![Expression::NotEqual(app(), "web".into())], &["3", "4"]);
    check(
        vec![Expression::In(app(), values(&["web", "db"]))],
        &["1", "2", "3"],
    );
    check(vec![Expression::In(app(), values(&["web"]))], &["1", "2"]);
    check(vec![Expression::In(app(), values(&[]))], &[]);
    check(vec![Expression::NotIn(app(), values(&["web", "db"]))], &["4"]);
    check(vec![Expression::Exists(app())], &["1", "2", "3"]);
    check(vec![Expression::DoesNotExist(app())], &["4"]);
    check(
        vec![
            Expression::Equal(app(), "web".into()),
            Expression::Equal("tier".into(), "x".into()),
        ],
        &["1"],
    );
    check(vec![Expression::Equal(app(), "none".into())], &[]);
    let namespaced = Lister::namespace(&indexed, "b");
    assert_eq!(namespaced.list(&Selector::default()).len(), 4);
    assert!(namespaced.get("1").is_some() && namespaced.get("9").is_none());
}

#[test]
fn a_cache_keyed_by_uid_finds_its_objects_from_tombstones_without_objects() {
    use informer_store::{Batch, Delta, Tombstone};
    let cache = Cache::<Thing>::builder().key_by_uid().build();
    let apply = |delta| cache.apply(Batch::new(vec![delta], None));
    apply(Delta::Added(thing("a/one", 1).uid("u1").entry()));
    apply(Delta::Added(thing("a/two", 2).uid("u2").entry()));
    apply(Delta::Updated(thing("a/one", 3).uid("u1").entry()));
    assert_eq!(cache.get_by_key(&ObjectKey::cluster("u1")).unwrap().version, "3");
    assert_eq!(cache.snapshot().namespace("a").count(), 2);
    assert!(
        cache
            .held(ObjectKey::namespaced("a", "one").as_ref(), "u1", "3")
            .is_some()
    );
    apply(Delta::Deleted(Tombstone::of(ObjectKey::namespaced("a", "one"))));
    assert!(cache.get_by_key(&ObjectKey::cluster("u1")).is_none());
    apply(Delta::Deleted(thing("a/two", 4).uid("u2").tombstone()));
    assert!(cache.is_empty());
    assert_eq!(cache.snapshot().namespace("a").count(), 0);
    let refused = Store::add(&cache, Arc::new(thing("a/three", 5).uid(""))).unwrap_err();
    assert!(matches!(refused.error, KeyError::Refused(_)));
}

#[tokio::test]
async fn a_plain_store_can_stand_behind_a_reflector() {
    let direct = Direct(Cache::new());
    let feed: &dyn ReflectorStore<Thing> = &direct;
    let listed = vec![thing("a/one", 1).entry(), thing("a/two", 2).entry()];
    let list = informer_store::Replacement::new(listed, "5".into());
    feed.replace(list).await.unwrap();
    assert_eq!(direct.0.len(), 2);
    let mut next = informer_store::Replacement::new(vec![], "6".into());
    next.kept.push(ObjectKey::namespaced("a", "two"));
    feed.replace(next).await.unwrap();
    assert_eq!(
        keys(&Store::list(&direct.0)),
        ["a/two"],
        "what could not be decoded stays"
    );
    feed.update(thing("a/two", 7).entry()).await.unwrap();
    assert!(
        feed.held(ObjectKey::namespaced("a", "two").as_ref(), "a/two", "7")
            .is_some()
    );
    feed.delete(informer_store::Tombstone::of(ObjectKey::namespaced("a", "two")))
        .await
        .unwrap();
    assert!(direct.0.is_empty());
}

#[test]
fn an_empty_namespace_is_none_however_a_key_is_made() {
    let key = ObjectKey::namespaced("", "node");
    assert_eq!(key, ObjectKey::cluster("node"));
    assert_eq!((key.namespace(), key.as_str()), (None, "node"));
    assert_eq!(key.as_ref().hash(), key.precomputed_hash());
    assert_eq!(key.to_string().parse(), Ok(key));
}

#[tokio::test]
async fn an_object_that_a_plain_store_refuses_does_not_keep_the_list_from_it() {
    let cache = Cache::<Thing>::builder().key_by_uid().build();
    let store = Direct(cache.clone());
    store.add(thing("a/gone", 1).uid("u1").entry()).await.unwrap();
    store.add(thing("a/stays", 2).uid("u2").entry()).await.unwrap();
    let listed = [
        thing("a/stays", 4).uid("u2"),
        thing("a/refused", 5).uid(""),
        thing("a/new", 6).uid("u3"),
    ];
    let list = Replacement::new(listed.map(Thing::entry).into(), 9.into());
    store.replace(list).await.unwrap();
    assert_eq!(keys(&cache.list()), ["a/new", "a/stays"]);
    assert_eq!(cache.get_by_key(&ObjectKey::cluster("u2")).unwrap().version, "4");
    assert!(cache.is_synced() && cache.resource_version() == 9.into());
    // Kept by the metadata's key, whatever the store goes by.
    let mut next = Replacement::new(Vec::new(), 10.into());
    next.kept.push(ObjectKey::namespaced("a", "new"));
    store.replace(next).await.unwrap();
    assert_eq!(keys(&cache.list()), ["a/new"]);
}

#[test]
fn a_key_function_that_panics_refuses() {
    let key = |held: &Thing| {
        assert!(held.body != 13, "a bug in a key function");
        informer_store::Object::key(held)
    };
    let cache = Cache::builder().key_function(key).build();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let refused = catch_unwind(AssertUnwindSafe(|| {
        Store::add(&cache, Arc::new(thing("a/1", 13)))
    }));
    std::panic::set_hook(hook);
    let refused = refused.expect("no panic").unwrap_err();
    assert!(matches!(refused.error, KeyError::Refused(_)));
    assert_eq!(refused.object.body, 13, "it comes back");
    Store::add(&cache, Arc::new(thing("a/1", 14))).unwrap();
}

#[test]
fn an_index_given_twice_is_one() {
    let by_body = Index::hash("body", |held: &Thing| Some(held.body));
    let cache = Cache::builder().index(&by_body).index(&by_body).build();
    assert_eq!(Indexer::list_indexes(&cache), ["namespace", "body"]);
    assert!(cache.drop_index(&by_body) && !cache.drop_index(&by_body));
}

#[test]
fn the_weight_of_all_is_estimated_from_a_sample_of_any_size() {
    let cache = Cache::new();
    for at in 0..10 {
        Store::add(&cache, Arc::new(thing(&format!("a/{at}"), at + 1))).unwrap();
    }
    let body = |held: &Thing| usize::try_from(held.body).unwrap();
    assert_eq!(cache.weigh(usize::MAX, body), 55);
    assert_eq!(cache.weigh(10, body), 55);
    assert_eq!(cache.weigh(0, |_| 7), 70);
    assert_eq!(cache.weigh(10, |_| usize::MAX), usize::MAX);
    assert_eq!(Cache::<Thing>::new().weigh(10, body), 0);
}
