//! Lists in every form a server may send them.

use crate::support::*;

fn abc() -> Answer {
    Answer::list("10", &[object("a", 3), object("b", 5)])
}

#[tokio::test(start_paused = true)]
async fn a_list_without_a_version_is_refused() {
    for bad in ["", "0"] {
        let server = Server::script(
            vec![Answer::list(bad, &[object("a", 3)]), abc()],
            vec![Answer::watch([])],
        );
        let rig = Rig::plain(server);
        rig.run(30).await;
        assert_eq!(rig.store.log(), ["replace 2@10"]);
        assert!(
            rig.server
                .watches()
                .iter()
                .all(|w| w.param("resourceVersion").as_deref() == Some("10"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_is_read_whatever_the_order_of_its_members() {
    let bodies = [
        format!(
            r#"{{"items":[{},{}],"metadata":{{"resourceVersion":"10"}},"apiVersion":"v1","kind":"ConfigMapList"}}"#,
            object("a", 3),
            object("b", 5)
        ),
        format!(
            " {{ \"extra\" : [1,{{\"x\":\"]}}\"}}], \"items\" :\n [ {} ,\r\n {} ] , \"metadata\" : {{ \"resourceVersion\" : \"10\" }} }} \n",
            object("a", 3),
            object("b", 5)
        ),
    ];
    for body in bodies {
        for size in [1, 7, 100_000] {
            let pieces = body
                .as_bytes()
                .chunks(size)
                .map(|piece| Piece::Bytes(piece.to_vec().into()));
            let server = Server::script(vec![Answer::ok(pieces)], vec![Answer::watch([])]);
            let rig = Rig::plain(server);
            rig.run(5).await;
            assert_eq!(rig.store.contents(), ["a@3", "b@5"]);
        }
    }
    let null = r#"{"kind":"ConfigMapList","metadata":{"resourceVersion":"10"},"items":null}"#;
    let server = Server::script(vec![Answer::ok([text(null)])], vec![Answer::watch([])]);
    let rig = Rig::plain(server);
    rig.run(5).await;
    assert_eq!(rig.store.log(), ["replace 0@10"]);
}

#[tokio::test(start_paused = true)]
async fn an_object_listed_twice_is_taken_once_in_its_newest_state() {
    let server = Server::script(
        vec![Answer::list(
            "10",
            &[object("a", 8), object("b", 5), object("a", 3), object("b", 9)],
        )],
        vec![Answer::watch([])],
    );
    let rig = Rig::plain(server);
    rig.run(5).await;
    assert_eq!(rig.store.contents(), ["a@8", "b@9"]);
    assert_eq!(rig.reflector.stats().list_duplicates, 2);
}
