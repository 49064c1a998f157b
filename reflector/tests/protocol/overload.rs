//! More objects than may be held.

use informer_reflector::RelistReason;

use crate::support::*;

fn abc() -> Answer {
    Answer::list("10", &[object("a", 3), object("b", 5)])
}

#[tokio::test(start_paused = true)]
async fn a_list_of_too_many_objects_is_overload_and_changes_nothing() {
    let many: Vec<_> = (0..50).map(|n| object(&format!("n{n:02}"), 20 + n)).collect();
    let server = Server::script(
        vec![abc(), Answer::list("100", &many), Answer::list("110", &many[..3])],
        vec![
            Answer::ok([event(
                "ERROR",
                &failure(410, "Expired", "too old resource version"),
            )]),
            Answer::watch([]),
        ],
    );
    let rig = Rig::with(
        server,
        |source| source.no_streaming_lists(),
        |builder| builder.max_objects(3),
    );
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
        let rig = Rig::with(
            server,
            |source| source.no_streaming_lists(),
            |builder| builder.max_objects(3),
        );
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
