//! T10: credentials that expire, are refused, or do not allow it.

use std::time::Duration;

use crate::support::*;

fn abc() -> Answer {
    Answer::list("10", &[object("a", 3), object("b", 5)])
}

#[tokio::test(start_paused = true)]
async fn t10_credentials_that_expire_are_tried_once_more_at_once() {
    let server = Server::script(
        vec![abc()],
        vec![
            Answer::failure(401, "Unauthorized", "Unauthorized"),
            Answer::watch([modified("a", 11)]),
        ],
    );
    let rig = Rig::plain(server);
    rig.run(10).await;
    let watches = rig.server.watches();
    assert_eq!(watches[1].at - watches[0].at, Duration::ZERO);
    assert!(watches[1].fresh);
    assert_eq!(rig.store.contents(), ["a@11", "b@5"]);
    assert_eq!(rig.states(), ["listing", "synced"]);
}

/// A stream that is opened and then refused has brought nothing: it is no reason to try at once again.
#[tokio::test(start_paused = true)]
async fn t10_credentials_refused_within_streams_are_tried_once_more_and_then_waited_for() {
    let refused = event("ERROR", &failure(401, "Unauthorized", "Unauthorized"));
    let server = Server::script(vec![abc()], vec![Answer::ok([pause(1), refused])]);
    let rig = Rig::plain(server);
    rig.run(60).await;
    let watches = rig.server.watches();
    assert_eq!(
        watches[1].at - watches[0].at,
        Duration::from_secs(1),
        "once at once"
    );
    assert!(
        watches[3].at - watches[2].at >= Duration::from_millis(1800),
        "then with waits"
    );
    assert!(watches.len() <= 7, "{}", watches.len());
    assert_eq!(rig.states(), ["listing", "synced", "degraded unauthorized"]);
}

#[tokio::test(start_paused = true)]
async fn t10_credentials_that_stay_refused_are_not_hammered_with() {
    for (code, reason, state) in [
        (401, "Unauthorized", "degraded unauthorized"),
        (403, "Forbidden", "degraded forbidden"),
    ] {
        let server = Server::script(vec![abc()], vec![Answer::failure(code, reason, "no")]);
        let rig = Rig::plain(server);
        rig.run(600).await;
        assert_eq!(rig.store.contents(), ["a@3", "b@5"], "what is held stays");
        assert_eq!(rig.server.lists().len(), 1);
        assert!(rig.states().contains(&state.to_owned()), "{:?}", rig.states());
        assert!(rig.server.busiest_minute() <= 8);
        assert!(rig.reflector.is_stale());
    }
}

#[tokio::test(start_paused = true)]
async fn t10_credentials_that_take_a_while_to_rotate_cost_seconds() {
    let denied = || Answer::failure(401, "Unauthorized", "Unauthorized");
    let server = Server::script(vec![denied(), denied(), denied(), abc()], vec![Answer::watch([])]);
    let rig = Rig::plain(server);
    rig.run(5).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@5"]);
}

#[tokio::test(start_paused = true)]
async fn t10_what_is_not_allowed_waits_the_longest_from_the_first_time_on() {
    for (code, reason, state) in [
        (403, "Forbidden", "degraded forbidden"),
        (404, "NotFound", "degraded not-found"),
    ] {
        let server = Server::script(vec![Answer::failure(code, reason, "no")], vec![]);
        let rig = Rig::plain(server);
        rig.run(300).await;
        let times: Vec<_> = rig.server.seen().iter().map(|seen| seen.at).collect();
        for pair in times.windows(2) {
            let gap = pair[1] - pair[0];
            assert!(
                gap >= Duration::from_secs(15) && gap <= Duration::from_secs(45),
                "{gap:?}"
            );
        }
        assert_eq!(rig.states(), ["listing", state]);
        assert_eq!(
            rig.reflector.stats().retries,
            times.len() as u64,
            "each failure counts once"
        );
    }
}
