//! L7 and L8: objects that cannot be decoded, in lists and in watches.

use std::{sync::Arc, time::Duration};

use informer_reflector::{ApiListWatch, PoisonPolicy, Reflector};
use informer_store::{Cache, Object};
use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};

use crate::support::*;

fn abc() -> Answer {
    Answer::list("10", &[object("a", 3), object("b", 5)])
}

/// A type one of whose objects cannot bear to be asked for its name.
#[derive(serde::Deserialize)]
struct Touchy {
    metadata: ObjectMeta,
}

impl Object for Touchy {
    fn namespace(&self) -> Option<&str> {
        self.metadata.namespace.as_deref()
    }

    fn name(&self) -> Option<&str> {
        let name = self.metadata.name.as_deref();
        assert_ne!(name, Some("b"), "a fault of the user's");
        name
    }

    fn uid(&self) -> Option<&str> {
        self.metadata.uid.as_deref()
    }

    fn resource_version(&self) -> Option<&str> {
        self.metadata.resource_version.as_deref()
    }
}

#[tokio::test(start_paused = true)]
async fn l7_an_object_whose_own_methods_panic_is_set_apart() {
    let watch = Answer::watch([modified("b", 11), modified("a", 12)]);
    let server = Server::script(vec![abc()], vec![watch]);
    let source = ApiListWatch::<Touchy>::of::<ConfigMap>(server.client(), None, &()).no_streaming_lists();
    let cache = Cache::new();
    let reflector = Reflector::builder(source, cache.clone()).seed(7).build();
    let run = reflector.run(tokio::time::sleep(Duration::from_secs(5)));
    run.await.expect("a panic of an object ends no run");
    let held = cache.get("default", "a").expect("the others flow");
    assert_eq!(held.metadata.resource_version.as_deref(), Some("12"));
    assert_eq!(cache.len(), 1);
    assert_eq!(reflector.quarantined().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn l7_one_bad_object_of_a_list_does_not_stop_the_others() {
    let events = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = Arc::clone(&events);
    let server = Server::script(
        vec![Answer::list(
            "10",
            &[object("a", 3), poison("b", 5), object("c", 7)],
        )],
        vec![Answer::watch([event("MODIFIED", &object("b", 12))])],
    );
    let rig = Rig::plain_with(server, |builder| {
        builder.on_quarantine(move |event| {
            noted.lock().unwrap().push(match event {
                informer_reflector::QuarantineEvent::In(object) => format!("in {object}"),
                informer_reflector::QuarantineEvent::Out(key) => format!("out {key}"),
                _ => unreachable!("there is no third"),
            });
        })
    });
    rig.run(10).await;
    assert_eq!(
        rig.store.log(),
        ["replace 2@10", "add b@12"],
        "retried when its version changes"
    );
    let events = events.lock().unwrap();
    assert!(
        events[0].starts_with("in default/b at version 5: list failed (decode)"),
        "{events:?}"
    );
    assert_eq!(events[1], "out default/b");
    assert!(rig.reflector.quarantined().is_empty());
    assert_eq!(rig.server.lists().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn l8_one_bad_object_of_a_watch_is_set_apart_and_the_rest_flows() {
    for (policy, contents) in [
        (PoisonPolicy::KeepLast, vec!["a@3", "b@12"]),
        (PoisonPolicy::Remove, vec!["b@12"]),
    ] {
        let server = Server::script(
            vec![abc()],
            vec![Answer::watch([
                event("MODIFIED", &poison("a", 11)),
                modified("b", 12),
            ])],
        );
        let rig = Rig::plain_with(server, |builder| builder.poison(policy));
        rig.run(10).await;
        assert_eq!(rig.store.contents(), contents);
        assert_eq!(rig.reflector.quarantined()[0].version.to_string(), "11");
        assert_eq!(rig.reflector.resource_version().to_string(), "12");
        assert_eq!(rig.server.seen().len(), 2, "no request more");
    }
}

#[tokio::test(start_paused = true)]
async fn l8_what_is_kept_of_a_bad_object_outlives_a_relist_and_dies_with_it() {
    let gone = event("ERROR", &failure(410, "Expired", "old"));
    let server = Server::script(
        vec![
            abc(),
            Answer::list("20", &[poison("a", 11), object("b", 5)]),
            Answer::list("30", &[object("b", 5)]),
        ],
        vec![
            Answer::ok([event("MODIFIED", &poison("a", 11)), pause(30), gone.clone()]),
            Answer::ok([pause(60), bookmark("25"), gone]),
            Answer::watch([]),
        ],
    );
    let rig = Rig::plain(server);
    rig.run(60).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@5"]);
    let rig = {
        rig.run(0).await;
        rig
    };
    assert_eq!(rig.reflector.quarantined().len(), 0, "a new run begins anew");
}

#[tokio::test(start_paused = true)]
async fn l8_a_bad_object_is_read_again_in_time() {
    let server = Server::new(|seen| {
        if seen.is_watch() {
            return match seen.param("resourceVersion").as_deref() {
                Some("10") => Answer::watch([
                    event("MODIFIED", &poison("a", 11)),
                    bookmark("12"),
                    pause(60),
                    bookmark("13"),
                    pause(60),
                    bookmark("14"),
                    pause(60),
                    bookmark("15"),
                    pause(60),
                    bookmark("16"),
                    pause(60),
                    bookmark("17"),
                ]),
                _ => Answer::watch([pause(60), bookmark("20")]),
            };
        }
        if seen.uri.ends_with("/namespaces/default/configmaps/a") {
            return Answer::ok([text(object("a", 11))]);
        }
        abc()
    });
    let rig = Rig::plain(server);
    rig.run(310).await;
    assert_eq!(rig.store.contents(), ["a@11", "b@5"]);
    assert_eq!(rig.reflector.stats().gets, 1);
    assert!(rig.reflector.quarantined().is_empty());
}

/// A server whose watch brings a state of `a` that cannot be decoded, and which answers reads of `a` like this.
fn server_with_a_bad_object(mut read: impl FnMut() -> Answer + Send + 'static) -> Server {
    Server::new(move |seen| {
        let version = seen.param("resourceVersion");
        match (seen.is_watch(), version.as_deref()) {
            (true, Some("10")) => Answer::watch([event("MODIFIED", &poison("a", 11))]),
            (true, _) => Answer::watch([]),
            (false, _) if seen.uri.ends_with("/configmaps/a") => read(),
            (false, _) if seen.param("limit").as_deref() == Some("1") => {
                Answer::list("11", &[object("b", 5)])
            }
            _ => abc(),
        }
    })
}

fn not_found() -> Answer {
    Answer::failure(404, "NotFound", "there is none")
}

/// The server lost the deletion, or sent it before the state that could not be decoded.
#[tokio::test(start_paused = true)]
async fn l8_a_bad_object_that_is_not_there_twice_is_gone() {
    let rig = Rig::plain(server_with_a_bad_object(not_found));
    rig.run(400).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@5"], "the watch may tell yet");
    let rig = Rig::plain(rig.server);
    rig.run(700).await;
    assert_eq!(
        rig.store.log(),
        ["replace 2@10", "delete a@ inferred"],
        "it has not, and never will"
    );
    assert!(rig.reflector.quarantined().is_empty());
    assert_eq!(rig.reflector.stats().gets, 2);
}

/// It was there in between: that is not twice in a row.
#[tokio::test(start_paused = true)]
async fn l8_a_bad_object_that_is_there_in_between_is_not_gone() {
    let mut reads = 0;
    let rig = Rig::plain(server_with_a_bad_object(move || {
        reads += 1;
        if reads == 2 {
            // The watch has yet to tell of it.
            Answer::ok([text(object("a", 99))])
        } else {
            not_found()
        }
    }));
    rig.run(2000).await;
    assert_eq!(rig.reflector.stats().gets, 3);
    assert_eq!(rig.store.contents(), ["a@3", "b@5"]);
}

#[tokio::test(start_paused = true)]
async fn oddities_of_json_set_the_object_apart_and_nothing_else() {
    let deep = format!(r#""x":{}{}"#, "[".repeat(5000), "]".repeat(5000));
    let odd = [
        ("surrogate", r#""data":{"v":"\ud800"}"#.to_owned()),
        ("number", r#""data":{"v":1e999}"#.to_owned()),
        ("nan", r#""immutable":17"#.to_owned()),
        ("deep", deep),
        ("twice", r#""data":{"a":"b"},"data":{"a":"b"}"#.to_owned()),
    ];
    for (name, member) in odd {
        let bad = object("a", 11).replace(r#""data":{"v":"11"}"#, &member);
        let server = Server::script(
            vec![Answer::list(
                "10",
                &[bad.replace("\"11\"", "\"9\""), object("b", 5)],
            )],
            vec![Answer::watch([event("MODIFIED", &bad), modified("b", 12)])],
        );
        let rig = Rig::plain(server);
        rig.run(30).await;
        let contents = rig.store.contents();
        assert!(contents.contains(&"b@12".to_owned()), "{name}: {contents:?}");
        assert!(
            rig.server.seen().len() <= 3,
            "{name}: {}",
            rig.server.seen().len()
        );
    }
}

/// The version of one and the contents of the other would make the store claim what never was.
#[tokio::test(start_paused = true)]
async fn an_object_with_two_versions_or_names_is_set_apart() {
    for twice in [r#""resourceVersion":"99""#, r#""name":"c""#, r#""uid":"u-c""#] {
        let bad = object("a", 11).replace(r#""managedFields""#, &format!(r#"{twice},"managedFields""#));
        let server = Server::script(
            vec![abc()],
            vec![Answer::watch([event("MODIFIED", &bad), modified("b", 12)])],
        );
        let rig = Rig::plain(server);
        rig.run(10).await;
        assert_eq!(rig.store.contents(), ["a@3", "b@12"], "{twice}");
        assert_eq!(rig.reflector.resource_version().to_string(), "12");
        assert_eq!(rig.reflector.quarantined().len(), 1);
    }
}

/// A name that is there twice and says the same both times hides nothing of what follows it.
#[tokio::test(start_paused = true)]
async fn an_object_that_names_itself_twice_alike_keeps_its_key() {
    let metadata = |after: &str| {
        format!(
            r#"{{"metadata":{{"name":"a","name":"a","uid":"u","resourceVersion":"3","namespace":"default"{after}}}}}"#
        )
    };
    for (object, contents, apart) in [
        (metadata(""), vec!["a@3"], vec![]),
        (metadata(r#","labels":5"#), vec![], vec!["default/a"]),
    ] {
        let server = Server::script(vec![Answer::list("10", &[object])], vec![Answer::watch([])]);
        let rig = Rig::plain(server);
        rig.run(10).await;
        assert_eq!(rig.store.contents(), contents);
        let quarantined = rig.reflector.quarantined();
        let keys: Vec<_> = quarantined
            .iter()
            .map(|object| object.key.as_ref().unwrap().to_string())
            .collect();
        assert_eq!(keys, apart);
    }
}

/// Two bytes each: what is told and kept of them must not be a hundred times as much.
#[tokio::test(start_paused = true)]
async fn garbage_in_place_of_objects_is_counted_and_not_kept() {
    let told = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let mut garbage = vec!["1".to_owned(); 5000];
    garbage.push(object("a", 3));
    let server = Server::script(vec![Answer::list("10", &garbage)], vec![Answer::watch([])]);
    let rig = Rig::plain_with(server, |builder| {
        builder.on_quarantine(move |_| {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        })
    });
    rig.run(10).await;
    assert_eq!(rig.store.contents(), ["a@3"]);
    assert_eq!(rig.reflector.stats().quarantined, 5000);
    assert_eq!(told.load(std::sync::atomic::Ordering::Relaxed), 64);
}

/// Which of them is meant nobody knows; one must not be taken for the other.
#[tokio::test(start_paused = true)]
async fn an_event_with_two_objects_is_set_apart() {
    let twice = format!(
        r#"{{"type":"MODIFIED","object":{},"object":{}}}"#,
        object("a", 11),
        object("b", 12)
    );
    let server = Server::script(vec![abc()], vec![Answer::watch([line(twice), modified("b", 13)])]);
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@13"]);
    assert_eq!(rig.reflector.quarantined().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_text_set_the_object_apart() {
    let mut bad = format!(r#"{{"type":"MODIFIED","object":{}}}"#, object("a", 11)).into_bytes();
    let at = bad.len() - 6;
    bad[at] = 0xff;
    bad.push(b'\n');
    let server = Server::script(
        vec![abc()],
        vec![Answer::watch([Piece::Bytes(bad.into()), modified("b", 12)])],
    );
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@12"]);
    assert_eq!(rig.reflector.quarantined().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_object_of_another_namespace_is_set_apart() {
    let foreign = object("x", 6).replace("\"default\"", "\"other\"");
    let server = Server::script(
        vec![Answer::list("10", &[object("a", 3), foreign])],
        vec![Answer::watch([])],
    );
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(rig.store.contents(), ["a@3"]);
    assert_eq!(rig.reflector.quarantined().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_transform_runs_once_per_object_and_a_panic_sets_it_apart() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let server = Server::script(
        vec![],
        vec![Answer::watch([
            added("a", 3),
            added("b", 5),
            added("c", 7),
            initial_end("10"),
            modified("a", 11),
        ])],
    );
    let store = Checked::default();
    let source = ApiListWatch::namespaced(server.client(), "default").transform(
        move |object: &mut k8s_openapi::api::core::v1::ConfigMap| {
            counted.fetch_add(1, Ordering::Relaxed);
            assert_ne!(
                object.metadata.name.as_deref(),
                Some("b"),
                "a bug in the transform"
            );
            object.data = None;
        },
    );
    let reflector = Reflector::builder(source, store.clone()).build();
    let run = reflector.run(tokio::time::sleep(Duration::from_secs(5)));
    run.await.expect("a transform's panic ends nothing");
    assert_eq!(runs.load(Ordering::Relaxed), 4);
    assert_eq!(store.contents(), ["a@11", "c@7"]);
    assert_eq!(reflector.quarantined().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn l7_a_list_of_nothing_but_bad_objects_is_no_more_work_than_another() {
    let bad: Vec<_> = (0..20_000).map(|n| poison(&format!("bad-{n}"), 1 + n)).collect();
    let server = Server::script(
        vec![Answer::list("30000", &bad)],
        vec![Answer::watch(
            (0..2_000).map(|n| added(&format!("n{n}"), 30_001 + n)),
        )],
    );
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(rig.reflector.quarantined().len(), 20_000);
    assert_eq!(rig.store.contents().len(), 2_000);
}

#[tokio::test(start_paused = true)]
async fn l8_how_often_a_bad_object_was_read_again_is_told() {
    let server = Server::new(|seen| {
        if seen.uri.ends_with("/configmaps/a") {
            return Answer::failure(403, "Forbidden", "no");
        }
        if !seen.is_watch() {
            return abc();
        }
        let from: u64 = seen
            .param("resourceVersion")
            .expect("it has one")
            .parse()
            .expect("a number");
        let bookmarks = (1..100).flat_map(move |n| [bookmark(&(from + n + 1).to_string()), pause(60)]);
        let first = (from == 10).then(|| event("MODIFIED", &poison("a", 11)));
        Answer::watch(first.into_iter().chain(bookmarks))
    });
    let rig = Rig::plain(server);
    rig.run(1000).await;
    assert_eq!(rig.reflector.stats().gets, 2);
    assert_eq!(rig.reflector.quarantined()[0].attempts, 2);
    assert_eq!(rig.store.contents(), ["a@3", "b@5"]);
}

/// As when everything there is awaits a conversion that is broken.
#[tokio::test(start_paused = true)]
async fn l7_however_many_objects_are_bad_the_others_flow() {
    let mut objects: Vec<_> = (1..=1000).map(|n| poison(&format!("p{n}"), n)).collect();
    objects.push(object("a", 1500));
    let server = Server::new(move |seen| {
        if seen.is_watch() {
            let from: u64 = seen
                .param("resourceVersion")
                .expect("it has one")
                .parse()
                .expect("a number");
            return Answer::watch(
                (from + 1..from + 600).flat_map(|version| [pause(1), modified("a", version)]),
            );
        }
        match seen.uri.split_once("/configmaps/p") {
            Some((_, n)) => Answer::ok([text(poison(&format!("p{n}"), n.parse().expect("a number")))]),
            None => Answer::list("2000", &objects),
        }
    });
    let rig = Rig::plain(server);
    rig.run(3600).await;
    let stats = rig.reflector.stats();
    assert!(stats.gets >= 100, "they are read again: {stats:?}");
    assert!(stats.events >= 3500, "one a second: {stats:?}");
    let idle = Duration::from_secs(3600) - stats.watch_time;
    assert!(
        idle <= Duration::from_secs(600),
        "the last watch is not in it: {stats:?}"
    );
    assert!(rig.server.busiest_minute() <= 8);
}

/// A watch at bookmarks that go on from where it begins, after `first`.
fn bookmarks_after(seen: &Seen, first: Vec<Piece>) -> Answer {
    let from = seen.param("resourceVersion").expect("it has one");
    let from: u64 = from.parse().expect("a number");
    let first = if from == 10 { first } else { Vec::new() };
    let bookmarks = (1..100).flat_map(move |n| [bookmark(&(from.max(12) + n).to_string()), pause(60)]);
    Answer::watch(first.into_iter().chain(bookmarks))
}

/// It is one connection's word on one object: what the watch knows better, or has yet to come to, it does not touch.
#[tokio::test(start_paused = true)]
async fn l8_what_a_single_read_brings_counts_only_where_it_fits() {
    let html = || Answer::ok([text("<html>")]).header("content-type", "text/html");
    for (read, held, apart) in [
        (Answer::ok([text(object("a", 12))]), "a@12", 0),
        (Answer::ok([text(object("a", 5000))]), "a@3", 1),
        (Answer::ok([text(object("a", 4))]), "a@3", 1),
        (Answer::ok([text(object_of("a", "u-other", 11))]), "a@3", 1),
        (Answer::ok([text(object_of("a", "u-other", 12))]), "a@12", 0),
        (Answer::ok([text(object("b", 12))]), "a@3", 1),
        (Answer::ok([text(poison("a", 12))]), "a@3", 1),
        (abc(), "a@3", 1),
        (html(), "a@3", 1),
        (Answer::failure(403, "Forbidden", "no"), "a@3", 1),
        (Answer::failure(410, "Gone", "no"), "a@3", 1),
        (
            Answer::failure(429, "TooManyRequests", "no").header("retry-after", "-1"),
            "a@3",
            1,
        ),
        (Answer::Never, "a@3", 1),
    ] {
        let told = format!("{read:?}");
        let server = Server::new(move |seen| {
            if seen.is_watch() {
                return bookmarks_after(seen, vec![event("MODIFIED", &poison("a", 12))]);
            }
            if seen.uri.ends_with("/configmaps/a") {
                read.clone()
            } else {
                abc()
            }
        });
        let rig = Rig::plain(server);
        rig.run(500).await;
        assert_eq!(rig.store.contents(), [held, "b@5"], "{told}");
        assert_eq!(rig.reflector.quarantined().len(), apart, "{told}");
        let stats = rig.reflector.stats();
        assert_eq!((stats.gets, stats.lists, stats.watches), (1, 1, 2), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn l8_what_a_single_read_brings_is_not_taken_where_there_is_no_room() {
    let server = Server::new(|seen| {
        if seen.is_watch() {
            return bookmarks_after(seen, vec![added("d", 12)]);
        }
        if seen.uri.ends_with("/configmaps/c") {
            return Answer::ok([text(object("c", 6))]);
        }
        Answer::list("10", &[object("a", 3), object("b", 5), poison("c", 6)])
    });
    let rig = Rig::with(
        server,
        |source| source.no_streaming_lists(),
        |builder| builder.max_objects(3),
    );
    rig.run(500).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@5", "d@12"]);
    assert_eq!(
        (rig.reflector.quarantined().len(), rig.reflector.stats().gets),
        (1, 1)
    );
}
