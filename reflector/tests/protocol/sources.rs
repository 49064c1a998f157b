//! Several sources of one store.

use std::time::Duration;

use informer_store::Cache;
use k8s_openapi::api::core::v1::ConfigMap;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn several_namespaces_make_one_store() {
    let of = |namespace: &str, version: &str, names: &[&str]| {
        let objects: Vec<_> = names.iter().map(|name| object_in(namespace, name, 3)).collect();
        Answer::list(version, &objects)
    };
    let server = Server::new(move |seen| {
        let a = seen.uri.contains("/namespaces/a/");
        if !seen.is_watch() {
            let again = seen.param("resourceVersion").is_some();
            return match (a, again) {
                (true, false) => of("a", "10", &["x", "y"]),
                (true, true) => of("a", "30", &["y", "z"]),
                (false, _) => of("b", "12", &["x"]),
            };
        }
        if a && seen.param("resourceVersion").as_deref() == Some("10") {
            Answer::ok([expired_event()])
        } else {
            Answer::watch([])
        }
    });
    let store = Checked::default();
    let reflector = two_namespaces(&server, store.clone()).build();
    let mut state = reflector.state();
    let shutdown = async {
        let synced = |state: &informer_reflector::SyncState| state.as_str() == "synced";
        state.wait_for(synced).await.expect("the reflector runs");
        tokio::time::sleep(Duration::from_secs(5)).await;
    };
    reflector.run(shutdown).await.expect("nothing ends the run");
    assert_eq!(store.log(), ["replace 3@10", "replace 3@12"]);
    assert_eq!(
        store.contents(),
        ["y@3", "z@3", "x@3"],
        "the other namespace is left alone"
    );
    assert_eq!(reflector.objects(), 3);
    assert_eq!(reflector.stats().lists, 3);
}

/// What one source has seen says nothing of the others: the store claims what all of them have reached.
#[tokio::test(start_paused = true)]
async fn a_store_of_several_namespaces_claims_no_more_than_all_have_reached() {
    let server = Server::new(move |seen| {
        let a = seen.uri.contains("/namespaces/a/");
        match (a, seen.is_watch()) {
            (true, false) => Answer::list("10", &[object_in("a", "x", 3)]),
            (false, false) => Answer::list("12", &[object_in("b", "y", 4)]),
            (true, true) => Answer::watch([pause(5), event("MODIFIED", &object_in("a", "x", 20))]),
            (false, true) => Answer::watch([
                pause(10),
                event("MODIFIED", &object_in("b", "y", 15)),
                pause(5),
                bookmark("30"),
            ]),
        }
    });
    let cache = Cache::<ConfigMap>::new();
    let reflector = two_namespaces(&server, cache.clone()).build();
    let claims = async {
        for (seconds, claimed) in [(7, 12), (5, 15), (5, 20)] {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            assert_eq!(cache.resource_version().as_u64(), Some(claimed));
        }
    };
    reflector.run(claims).await.expect("nothing ends the run");
}

/// A run after another is held against what that one had seen; a history that went back since is declared by all.
#[tokio::test(start_paused = true)]
async fn several_namespaces_whose_history_went_back_between_runs_are_taken_whole() {
    let listed = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(50));
    let version = std::sync::Arc::clone(&listed);
    let server = Server::new(move |seen| {
        if seen.is_watch() {
            return Answer::watch([]);
        }
        let version = version.load(std::sync::atomic::Ordering::Relaxed);
        let a = seen.uri.contains("/namespaces/a/");
        let (namespace, name) = if a { ("a", "x") } else { ("b", "y") };
        Answer::list(&version.to_string(), &[object_in(namespace, name, version - 5)])
    });
    let cache = Cache::<ConfigMap>::new();
    let reflector = two_namespaces(&server, cache.clone()).build();
    run_for(&reflector, 5).await;
    assert_eq!(cache.resource_version().as_u64(), Some(50));
    listed.store(20, std::sync::atomic::Ordering::Relaxed);
    run_for(&reflector, 200).await;
    assert_eq!(cache.resource_version().as_u64(), Some(20));
    assert_eq!(contents(&cache), ["a/x@15", "b/y@15"]);
}

/// An object whose labels lead it from one source to another is told of by both, in any order.
#[tokio::test(start_paused = true)]
async fn an_object_that_moves_between_sources_stays_whoever_tells_first() {
    let labelled = |version| event("ADDED", &object("moves", version));
    for (left_after, came_after) in [(5, 10), (10, 5)] {
        let server = Server::new(move |seen| {
            let first = seen.param("labelSelector").as_deref() == Some("app%3Da");
            match (seen.is_watch(), first) {
                (false, true) => Answer::list("10", &[object("moves", 3), object("a", 4)]),
                (false, false) => Answer::list("10", &[object("b", 5)]),
                (true, true) => Answer::watch([pause(left_after), event("DELETED", &object("moves", 20))]),
                (true, false) => Answer::watch([pause(came_after), labelled(20)]),
            }
        });
        let store = Cache::<ConfigMap>::new();
        let reflector = two_selectors(&server, store.clone()).build();
        run_for(&reflector, 20).await;
        let held = contents(&store);
        assert_eq!(
            held,
            ["default/a@4", "default/b@5", "default/moves@20"],
            "it only moved"
        );
        assert_eq!(store.resource_version().as_u64(), Some(20));
    }
}

/// In shards a name may be in one first and, made anew, in another: what the one concludes is not about the other's.
#[tokio::test(start_paused = true)]
async fn an_object_made_anew_in_another_source_survives_what_is_concluded_of_the_old_one() {
    let server = Server::new(move |seen| {
        let first = seen.param("labelSelector").as_deref() == Some("app%3Da");
        let anew = || object_of("x", "u-anew", 20);
        match (seen.is_watch(), first, seen.param("resourceVersion").as_deref()) {
            (false, true, None) => Answer::list("10", &[object("x", 3)]),
            (false, true, Some(_)) => Answer::list("30", &[]),
            (false, false, _) => Answer::list("10", &[]),
            (true, true, Some("10")) => Answer::ok([pause(10), expired_event()]),
            (true, true, _) => Answer::watch([]),
            (true, false, _) => Answer::watch([pause(5), event("ADDED", &anew())]),
        }
    });
    let store = Cache::<ConfigMap>::new();
    let reflector = two_selectors(&server, store.clone()).build();
    run_for(&reflector, 20).await;
    let held = store.get("default", "x").expect("it is another object");
    assert_eq!(held.metadata.uid.as_deref(), Some("u-anew"));
}
