//! More objects than may be held.

use std::time::Duration;

use informer_reflector::RelistReason;
use informer_store::Cache;
use k8s_openapi::api::core::v1::ConfigMap;

use crate::support::*;

fn abc() -> Answer {
    Answer::list("10", &[object("a", 3), object("b", 5)])
}

#[tokio::test(start_paused = true)]
async fn a_list_of_too_many_objects_is_overload_and_changes_nothing() {
    let many: Vec<_> = (0..50).map(|n| object(&format!("n{n:02}"), 20 + n)).collect();
    let server = Server::script(
        vec![abc(), Answer::list("100", &many), Answer::list("110", &many[..3])],
        vec![Answer::ok([expired_event()]), Answer::watch([])],
    );
    let rig = Rig::plain_with(server, |builder| builder.max_objects(3));
    rig.run(10).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@5"], "what is held stays");
    assert_eq!(rig.reflector.resource_version().to_string(), "10");
    assert_eq!(
        rig.reflector.stats().items,
        2 + 4,
        "no more is read than tells that it is too much"
    );
    rig.run(60).await;
    assert!(
        rig.states().contains(&"degraded overloaded".to_owned()),
        "{:?}",
        rig.states()
    );
    assert_eq!(rig.store.contents().len(), 3, "it syncs once there are fewer");
    assert_eq!(rig.states().last().map(String::as_str), Some("synced"));
}

#[tokio::test(start_paused = true)]
async fn one_object_too_many_in_a_watch_is_not_taken_and_lists_anew_later() {
    let bad = poison("d", 13);
    for third in [added("d", 13), event("ADDED", &bad)] {
        let server = Server::script(
            vec![
                abc(),
                Answer::list("20", &[object("b", 5), object("c", 12), object("e", 15)]),
            ],
            vec![
                Answer::watch([added("c", 12), third, deleted("a", 14), added("e", 15)]),
                Answer::watch([]),
            ],
        );
        let rig = Rig::plain_with(server, |builder| builder.max_objects(3));
        rig.run(10).await;
        assert_eq!(rig.store.contents(), ["a@3", "b@5", "c@12"]);
        assert_eq!(
            rig.reflector.resource_version().to_string(),
            "12",
            "I3: nothing is passed over"
        );
        assert_eq!(
            rig.states().last().map(String::as_str),
            Some("degraded overloaded")
        );
        assert_eq!(rig.server.seen().len(), 2, "after the longest wait, not at once");
        rig.run(60).await;
        assert_eq!(rig.store.contents(), ["b@5", "c@12", "e@15"]);
        assert_eq!(rig.reflector.stats().relists(RelistReason::Overloaded), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn initial_events_of_too_many_objects_are_overload() {
    let many = (0..50).map(|n| added(&format!("n{n:02}"), 20 + n));
    let server = Server::script(vec![Answer::Never], vec![Answer::watch(many)]);
    let rig = Rig::with(server, |source| source, |builder| builder.max_objects(10));
    rig.run(10).await;
    assert_eq!(rig.store.replaced(), 0);
    assert_eq!(rig.states(), ["streaming", "degraded overloaded"]);
    assert_eq!(rig.reflector.stats().items, 11);
}

/// What is held of a bad object and what is known to be wrong with it are one object.
#[tokio::test(start_paused = true)]
async fn an_object_set_apart_whose_last_state_is_kept_counts_once() {
    let server = Server::script(
        vec![abc()],
        vec![Answer::watch([
            event("MODIFIED", &poison("a", 11)),
            event("ADDED", &poison("c", 12)),
            event("ADDED", &poison("d", 13)),
        ])],
    );
    let rig = Rig::plain_with(server, |builder| builder.max_objects(4));
    rig.run(20).await;
    assert_eq!(rig.reflector.quarantined().len(), 3);
    assert_eq!(rig.reflector.stats().relists(RelistReason::Overloaded), 0);
    assert_eq!(rig.server.lists().len(), 1);
}

/// The limit is on what one reflector makes its process hold, from however many namespaces.
#[tokio::test(start_paused = true)]
async fn the_objects_of_all_sources_count_together() {
    let server = Server::new(move |seen| {
        let a = seen.uri.contains("/namespaces/a/");
        let again = seen.param("resourceVersion").is_some();
        match (a, seen.is_watch(), again) {
            (true, false, _) => Answer::list("10", &[object_in("a", "x", 3), object_in("a", "y", 4)]),
            (false, false, false) => Answer::list("10", &[object_in("b", "x", 5)]),
            (false, false, true) => Answer::list("30", &[object_in("b", "x", 5), object_in("b", "z", 22)]),
            // Makes room after a while.
            (true, true, _) => Answer::watch([
                pause(5),
                event("MODIFIED", &object_in("a", "x", 15)),
                pause(20),
                event("DELETED", &object_in("a", "y", 25)),
            ]),
            (false, true, true) if seen.param("resourceVersion").as_deref() == Some("10") => {
                Answer::watch([pause(10), event("ADDED", &object_in("b", "z", 22))])
            }
            (false, true, _) => Answer::watch([]),
        }
    });
    let store = Cache::<ConfigMap>::new();
    let reflector = two_namespaces(&server, store.clone()).max_objects(3).build();
    let life = async {
        tokio::time::sleep(Duration::from_secs(12)).await;
        assert_eq!(store.len(), 3, "one of the second source is one too many");
        assert_eq!(
            reflector.state().borrow().reason().map(|reason| reason.as_str()),
            Some("overloaded")
        );
        assert!(
            contents(&store).contains(&"a/x@15".to_owned()),
            "the others go on"
        );
        tokio::time::sleep(Duration::from_secs(80)).await;
        assert!(store.get("b", "z").is_some(), "it syncs once there is room");
        assert_eq!(store.len(), 3);
        assert_eq!(reflector.state().borrow().as_str(), "synced");
    };
    reflector.run(life).await.expect("overload ends nothing");
    assert_eq!(reflector.stats().relists(RelistReason::Overloaded), 1);
}

/// A list that is read anew takes no more room than it did.
#[tokio::test(start_paused = true)]
async fn a_relist_of_one_source_counts_once() {
    let server = Server::new(move |seen| {
        let a = seen.uri.contains("/namespaces/a/");
        match (a, seen.is_watch(), seen.param("resourceVersion").as_deref()) {
            (true, false, None) => Answer::list("10", &[object_in("a", "x", 3), object_in("a", "y", 4)]),
            (true, false, _) => Answer::list("30", &[object_in("a", "y", 4), object_in("a", "z", 22)]),
            (true, true, Some("10")) => Answer::ok([pause(5), expired_event()]),
            (false, false, _) => Answer::list("10", &[object_in("b", "x", 5)]),
            _ => Answer::watch([]),
        }
    });
    let store = Checked::default();
    let reflector = two_namespaces(&server, store.clone()).max_objects(3).build();
    run_for(&reflector, 20).await;
    assert_eq!(store.contents(), ["y@4", "z@22", "x@5"]);
    assert_eq!(server.lists().len(), 3);
}

/// The source that has listed already hears what makes room for the one that has not.
#[tokio::test(start_paused = true)]
async fn a_source_that_waits_for_others_to_list_still_makes_room_for_them() {
    let server = Server::new(move |seen| {
        let a = seen.uri.contains("/namespaces/a/");
        match (a, seen.is_watch(), seen.param("resourceVersion").as_deref()) {
            (true, false, _) => Answer::ok([
                pause(2),
                text(list("40", &[object_in("a", "x", 3), object_in("a", "y", 4)])),
            ]),
            (false, false, _) => Answer::list("10", &[object_in("b", "v", 5), object_in("b", "w", 6)]),
            (false, true, Some("10")) => Answer::watch([
                pause(10),
                event("MODIFIED", &object_in("b", "v", 15)),
                event("ADDED", &object_in("b", "z", 16)),
                event("DELETED", &object_in("b", "z", 17)),
                event("DELETED", &object_in("b", "w", 18)),
                pause(60),
                event("MODIFIED", &object_in("b", "v", 50)),
            ]),
            _ => Answer::watch([]),
        }
    });
    let store = Cache::<ConfigMap>::new();
    let reflector = two_namespaces(&server, store.clone()).max_objects(3).build();
    let life = async {
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert_eq!(
            reflector.state().borrow().reason().map(|reason| reason.as_str()),
            Some("overloaded")
        );
        assert!(!store.is_synced(), "one of two sources is not all there is");
        tokio::time::sleep(Duration::from_secs(52)).await;
        assert_eq!(contents(&store), ["a/x@3", "a/y@4", "b/v@15"]);
        assert_eq!(reflector.resource_version().to_string(), "18");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(contents(&store), ["a/x@3", "a/y@4", "b/v@50"]);
    };
    reflector.run(life).await.expect("overload ends nothing");
    assert_eq!(server.watches().len(), 2, "the watch went on meanwhile");
}
