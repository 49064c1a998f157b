//! List, watch and relist, the plain way.

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn first_lists_then_watches_from_the_lists_version() {
    let server = Server::script(
        vec![Answer::list("10", &[object("a", 3), object("b", 5)])],
        vec![Answer::watch([
            modified("a", 11),
            added("c", 12),
            deleted("b", 13),
            bookmark("20"),
        ])],
    );
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(rig.store.contents(), ["a@11", "c@12"]);
    assert_eq!(
        rig.store.log(),
        [
            "replace 2@10",
            "update a@11",
            "add c@12",
            "delete b@13",
            "bookmark @20"
        ]
    );
    let seen = rig.server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[1].param("resourceVersion").as_deref(), Some("10"));
    assert_eq!(rig.states(), ["listing", "synced"]);
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_becomes_the_watch() {
    let server = Server::script(
        vec![],
        vec![Answer::watch([
            added("a", 3),
            added("b", 5),
            initial_end("10"),
            modified("a", 11),
        ])],
    );
    let rig = Rig::new(server);
    rig.run(10).await;
    assert_eq!(rig.store.contents(), ["a@11", "b@5"]);
    assert_eq!(rig.server.seen().len(), 1);
    assert_eq!(rig.reflector.stats().relists_total(), 0);
}
