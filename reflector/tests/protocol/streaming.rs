//! Contents as the initial events of a watch.

use crate::support::*;

fn abc() -> Answer {
    Answer::list("10", &[object("a", 3), object("b", 5)])
}

#[tokio::test(start_paused = true)]
async fn p16_a_refused_streaming_list_falls_back_and_is_remembered() {
    let refusals = [
        Answer::failure(
            422,
            "Invalid",
            "sendInitialEvents: Forbidden: unless the WatchList feature gate is enabled",
        ),
        Answer::failure(400, "BadRequest", "unknown parameter"),
        Answer::ok([event(
            "ERROR",
            &failure(
                500,
                "InternalError",
                "a required storage feature RequestWatchProgress is disabled",
            ),
        )]),
    ];
    for refusal in refusals {
        let mut plain = 0;
        let server = Server::new(move |seen| {
            if !seen.is_watch() {
                return abc();
            }
            if seen.param("sendInitialEvents").is_some() {
                return refusal.clone();
            }
            plain += 1;
            if plain == 1 {
                Answer::ok([expired_event()])
            } else {
                Answer::watch([])
            }
        });
        let rig = Rig::new(server);
        rig.run(30).await;
        assert_eq!(rig.store.contents(), ["a@3", "b@5"]);
        let asked = rig
            .server
            .watches()
            .iter()
            .filter(|w| w.param("sendInitialEvents").is_some())
            .count();
        assert_eq!(asked, 1, "remembered over a relist");
        assert_eq!(rig.reflector.stats().streaming_list_fallbacks, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn p17_initial_events_without_an_end_fall_back() {
    let server = Server::new(|seen| {
        if !seen.is_watch() {
            return abc();
        }
        if seen.param("sendInitialEvents").is_some() {
            return Answer::watch([added("a", 3), added("b", 5)]);
        }
        Answer::watch([modified("a", 11)])
    });
    let rig = Rig::new(server);
    rig.run(35).await;
    assert_eq!(rig.store.log(), ["replace 2@10", "update a@11"]);
}

#[tokio::test(start_paused = true)]
async fn p17_changes_and_bookmarks_without_an_end_are_no_progress() {
    let server = Server::new(|seen| {
        if !seen.is_watch() {
            return abc();
        }
        if seen.param("sendInitialEvents").is_some() {
            let changes = (11..100)
                .flat_map(|version| [pause(5), modified("a", version), bookmark(&version.to_string())]);
            return Answer::watch([added("a", 3), added("b", 5)].into_iter().chain(changes));
        }
        Answer::watch([])
    });
    let rig = Rig::new(server);
    rig.run(40).await;
    assert_eq!(rig.store.log(), ["replace 2@10"]);
}

#[tokio::test(start_paused = true)]
async fn p17_changes_during_the_initial_events_count() {
    let server = Server::script(
        vec![],
        vec![Answer::watch([
            added("a", 3),
            added("b", 5),
            modified("a", 8),
            deleted("b", 9),
            bookmark("9"),
            initial_end("10"),
        ])],
    );
    let rig = Rig::new(server);
    rig.run(10).await;
    assert_eq!(rig.store.log(), ["replace 1@10"]);
    assert_eq!(rig.store.contents(), ["a@8"]);
}

#[tokio::test(start_paused = true)]
async fn p18_the_mark_counts_only_where_it_was_asked_for() {
    let server = Server::script(
        vec![abc()],
        vec![Answer::watch([initial_end("12"), modified("a", 13)])],
    );
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(rig.store.log(), ["replace 2@10", "bookmark @12", "update a@13"]);
}

/// A server that knows nothing of initial events sends what it has and then whatever happens.
#[tokio::test(start_paused = true)]
async fn p17_a_live_watch_that_was_to_begin_with_the_contents_is_given_up_however_busy() {
    let busy = (0..600).flat_map(|n| [pause(1), modified("a", 100 + n)]);
    let marked = (0..600).flat_map(|n| [pause(1), bookmark(&(100 + n).to_string())]);
    for live in [busy.collect::<Vec<_>>(), marked.collect()] {
        let pieces: Vec<_> = [added("a", 3), added("b", 5)].into_iter().chain(live).collect();
        let rig = Rig::new(Server::script(
            vec![abc()],
            vec![Answer::watch(pieces), Answer::watch([])],
        ));
        rig.run(60).await;
        assert_eq!(rig.server.lists().len(), 1, "it is listed instead");
        assert_eq!(rig.store.replaced(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn p9_an_initial_event_without_a_version_is_set_apart_and_read_again() {
    for version in ["", "0"] {
        let bare = object("b", 5).replace(
            r#""resourceVersion":"5""#,
            &format!(r#""resourceVersion":"{version}""#),
        );
        let initial = [added("a", 3), event("ADDED", &bare), initial_end("10")];
        let bookmarks = (11..20_u64).flat_map(|version| [pause(60), bookmark(&version.to_string())]);
        let mut watches = vec![
            Answer::watch(initial.into_iter().chain(bookmarks)),
            Answer::watch([]),
        ];
        let server = Server::new(move |seen| match seen.is_watch() {
            true => watches.remove(0),
            false => Answer::ok([text(object("b", 5))]),
        });
        let rig = Rig::new(server);
        rig.run(320).await;
        assert_eq!(rig.store.log()[0], "replace 1@10", "{version:?}");
        assert_eq!(rig.store.contents(), ["a@3", "b@5"], "{version:?}");
        assert_eq!(rig.reflector.stats().bad_versions, 1);
    }
}

/// By the reflector that met it: others find out for themselves.
#[tokio::test(start_paused = true)]
async fn p17_silence_in_place_of_initial_events_is_remembered() {
    let mut expires = Some([pause(5), expired_event()]);
    let server = Server::new(
        move |seen| match (seen.is_watch(), seen.param("sendInitialEvents")) {
            (true, Some(_)) => Answer::watch([]),
            (true, None) => match expires.take() {
                Some(expires) => Answer::ok(expires),
                None => Answer::watch([]),
            },
            (false, _) => abc(),
        },
    );
    let rig = Rig::new(server);
    rig.run(60).await;
    let stats = rig.reflector.stats();
    assert_eq!(
        (stats.streaming_lists, stats.streaming_list_fallbacks, stats.lists),
        (1, 1, 3)
    );
    assert_eq!(rig.store.replaced(), 2);
}
