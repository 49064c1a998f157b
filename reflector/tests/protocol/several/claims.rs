//! What the store claims while something is on its way to it.

use super::*;

/// What an object was in one source waits for the store when the other, to which it came later, reads that it did: the
/// one must not be passed over for what the store has yet to get.
#[tokio::test(start_paused = true)]
async fn no_version_is_claimed_for_a_state_that_is_still_on_its_way() {
    for (before, kind, then) in [
        (
            Some(8),
            "MODIFIED",
            "default/c@200 default/e@140 default/x@90 | 90",
        ),
        (None, "ADDED", "default/c@200 default/e@140 default/x@90 | 90"),
        (Some(8), "DELETED", "default/c@200 default/e@140 | 90"),
    ] {
        let server = server(move |part, is_watch, _, _| match (part, is_watch) {
            (0, false) => {
                let objects: Vec<_> = before.map(|version| object("x", version)).into_iter().collect();
                Answer::list("10", &objects)
            }
            (0, true) => Answer::watch([pause(30), event(kind, &object("x", 90))]),
            (1, false) => Answer::list("10", &[object("e", 9)]),
            (1, true) => Answer::watch([pause(5), modified("e", 140), pause(7), added("x", 150)]),
            (_, false) => Answer::list("10", &[object("c", 7)]),
            (_, true) => Answer::watch([pause(10), modified("c", 200)]),
        });
        let store = Steps {
            slow: Duration::from_secs(20),
            ..Steps::default()
        };
        let third = source_of(&server, "of=c");
        run(by_label(&server, &store).also(third), 100).await;
        assert_eq!(
            store.seen()[3..],
            [then, "default/c@200 default/e@140 default/x@150 | 90"],
            "I2: nothing is claimed that the store has not got"
        );
    }
}

/// The same, but that the other has listed what came to it, and that list is on its way.
#[tokio::test(start_paused = true)]
async fn no_version_is_claimed_for_what_a_list_on_its_way_brings() {
    let server = server(|part, is_watch, version, before| match (part, is_watch, before) {
        (0, false, _) => Answer::list("10", &[object("x", 8)]),
        (0, true, _) => Answer::watch([pause(30), modified("x", 90)]),
        (1, false, 0) => Answer::list("10", &[object("e", 9)]),
        (1, false, _) => Answer::ok([
            pause(10),
            text(list("160", &[object("e", 140), object("x", 150)])),
        ]),
        (1, true, _) if version == Some("10") => Answer::ok([pause(5), modified("e", 140), expired_event()]),
        (2, false, _) => Answer::list("10", &[object("c", 7)]),
        (2, true, _) => Answer::watch([pause(10), modified("c", 200)]),
        _ => Answer::watch([]),
    });
    let store = Steps {
        slow: Duration::from_secs(20),
        ..Steps::default()
    };
    let third = source_of(&server, "of=c");
    run(by_label(&server, &store).also(third), 100).await;
    assert_eq!(
        store.seen()[1..],
        [
            "default/c@7 default/e@140 default/x@8 | 10",
            "default/c@200 default/e@140 default/x@8 | 10",
            "default/c@200 default/e@140 default/x@150 | 90",
        ]
    );
}
