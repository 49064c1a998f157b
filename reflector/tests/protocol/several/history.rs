//! What one source finds out about the history, and what the others have to do with it.

use super::*;

/// An object that one of two histories gave out, at the same version.
fn of_history(object: &str, history: &str) -> String {
    object.replace(
        "\"managedFields\"",
        &format!("\"labels\":{{\"history\":\"{history}\"}},\"managedFields\""),
    )
}

fn history_of(cache: &Cache<ConfigMap>, namespace: &str, name: &str) -> Option<String> {
    let held = cache.get(namespace, name)?;
    held.metadata.labels.clone()?.remove("history")
}

/// The history of one source is seen to have gone back when it is run again; that of the other has got past what was
/// seen, whichever of them lists first, and gave out a version twice.
#[tokio::test(start_paused = true)]
async fn p5_a_rewind_that_one_source_finds_in_its_first_list_the_others_look_into() {
    for slow in [None, Some(0), Some(1)] {
        let second = Arc::new(AtomicBool::new(false));
        let is_second = Arc::clone(&second);
        let server = server(move |part, is_watch, _, _| {
            let history = if is_second.load(Ordering::Relaxed) {
                "second"
            } else {
                "first"
            };
            let answer = |version: &str, objects: &[String]| {
                let delay = if slow == Some(part) && history == "second" {
                    12
                } else {
                    0
                };
                Answer::ok([pause(delay), text(list(version, objects))])
            };
            match (history, part, is_watch) {
                (_, _, true) => Answer::watch([]),
                ("first", 0, _) => answer("1000", &[of("a", "x", 500)]),
                ("first", _, _) => answer("1000", &[of_history(&of("b", "x", 900), "first")]),
                (_, 0, _) => answer("950", &[of("a", "x", 500)]),
                _ => answer("1003", &[of_history(&of("b", "x", 900), "second")]),
            }
        });
        let store = Steps::default();
        let reflector = by_namespace(&server, 2, &store).build();
        let run = |seconds| reflector.run(sleep(Duration::from_secs(seconds)));
        run(5).await.expect("nothing ends the run");
        assert_eq!(history_of(&store.cache, "b", "x").as_deref(), Some("first"));
        second.store(true, Ordering::Relaxed);
        run(200).await.expect("nothing ends the run");
        assert_eq!(
            history_of(&store.cache, "b", "x").as_deref(),
            Some("second"),
            "I1: what the server has; slow: {slow:?}"
        );
        assert_eq!(reflector.stats().rewinds, 2, "both declare it; slow: {slow:?}");
        assert_eq!(store.cache.resource_version().as_u64(), Some(950));
    }
}

/// The first list of one source is still being read when another finds that the history went back: it may be of the lost
/// one.
#[tokio::test(start_paused = true)]
async fn p5_a_list_that_was_begun_before_the_history_went_back_is_begun_anew() {
    let server = server(|part, is_watch, version, before| match (part, is_watch, before) {
        (0, false, 0) => Answer::list("1000", &[of("a", "x", 500)]),
        (0, false, _) => Answer::list("100", &[of("a", "x", 90)]),
        (0, true, _) if version == Some("1000") => Answer::watch([pause(1), bookmark("100")]),
        (1, false, 0) => Answer::ok([
            text(list("900", &[of("b", "lost", 800)]).trim_end_matches('}')),
            pause(25),
            text("}"),
        ]),
        (1, false, _) => Answer::list("101", &[of("b", "x", 91)]),
        _ => Answer::watch([]),
    });
    let store = Steps::default();
    run(by_namespace(&server, 2, &store), 120).await;
    assert_eq!(
        store.seen().pop().as_deref(),
        Some("a/x@90 b/x@91 | 100"),
        "{:?}",
        store.seen()
    );
    let lost = store.seen().iter().any(|step| step.contains("lost"));
    assert!(!lost, "what was being listed is not taken");
}

/// One source has found that the history went back; until the other has, what that one says of an object that the first
/// holds is of the lost history.
#[tokio::test(start_paused = true)]
async fn p5_a_source_that_has_yet_to_look_anew_takes_nothing_from_one_that_has() {
    let server = server(|part, is_watch, version, before| match (part, is_watch, before) {
        (0, false, 0) => Answer::list("1000", &[object("a", 500)]),
        (0, false, _) => Answer::list("100", &[object("a", 50), object("x", 90)]),
        (0, true, _) if version == Some("1000") => Answer::watch([pause(1), bookmark("100")]),
        (1, false, 0) => Answer::list("1000", &[object("x", 900)]),
        (1, false, _) => Answer::list("101", &[object("b", 80)]),
        // Comes while the store takes what the other has found.
        (1, true, _) if version == Some("1000") => {
            Answer::watch([pause(20), event("MODIFIED", &object("x", 1010))])
        }
        _ => Answer::watch([]),
    });
    let store = Steps {
        slow_lists: Duration::from_secs(30),
        ..Steps::default()
    };
    run(by_label(&server, &store), 200).await;
    assert_eq!(
        store.seen(),
        [
            "default/a@500 default/x@900 | 1000",
            "default/a@50 default/x@90 | 100",
            "default/a@50 default/b@80 default/x@90 | 100",
        ]
    );
}

/// A history that went back and was overtaken before anybody looked: an audit of one source finds the object that it has
/// again, while the store holds the state in which it had gone to the other.
#[tokio::test(start_paused = true)]
async fn what_an_audit_of_one_source_finds_the_others_look_into() {
    let server = ApiServer::new();
    let put = |name: &str, of: &str| {
        let metadata = json!({"name": name, "namespace": "default", "labels": {"of": of}});
        let put = match server.get("configmaps", "default", name) {
            Some(_) => server.patch("configmaps", "default", name, json!({"metadata": metadata})),
            None => server.create("configmaps", json!({"metadata": metadata})),
        };
        put.expect("the server takes it");
    };
    put("x", "a");
    let old = server.snapshot();
    put("x", "b");
    let store = Steps::default();
    let source = |labels: &str| ApiListWatch::namespaced(server.client(), "default").labels(labels);
    let reflector = Reflector::builder(source("of=a"), store.clone())
        .also(source("of=b"))
        .audit(Duration::from_secs(60))
        .seed(7)
        .build();
    let life = async {
        sleep(Duration::from_secs(10)).await;
        server.restore(&old);
        for name in ["u", "v", "w"] {
            put(name, "a");
        }
        sleep(Duration::from_secs(300)).await;
    };
    reflector.run(life).await.expect("nothing ends the run");
    let held = store.cache.get("default", "x").expect("it is there");
    let labels = held.metadata.labels.clone().unwrap_or_default();
    assert_eq!(labels["of"], "a", "{:?}", store.seen());
    assert_eq!(store.cache.len(), 4);
}

/// An audit of one source finds an object that the other has nothing to do with.
#[tokio::test(start_paused = true)]
async fn what_an_audit_of_one_source_repairs_is_no_matter_of_the_others() {
    let server = server(|part, is_watch, _, before| match (part, is_watch, before) {
        (0, false, 0) => Answer::list("10", &[object("x", 3)]),
        (0, false, _) => Answer::list("10", &[object("x", 3), object("missed", 4)]),
        (_, false, _) => Answer::list("10", &[object("z", 5)]),
        _ => Answer::watch([]),
    });
    let store = Steps::default();
    let builder = by_label(&server, &store).audit(Duration::from_secs(60));
    let reflector = run(builder, 100).await;
    assert_eq!(
        store.seen(),
        [
            "default/x@3 default/z@5 | 10",
            "default/missed@4 default/x@3 default/z@5 | 10"
        ]
    );
    let stats = reflector.stats();
    assert_eq!(
        (stats.lists_taken, stats.rewinds),
        (3, 0),
        "it is repaired, and that is all"
    );
}
