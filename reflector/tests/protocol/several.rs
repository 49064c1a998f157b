//! Several sources behind one store: what each of them lists comes in one step, beside what the others hold.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use informer_reflector::{ApiListWatch, PoisonPolicy, Reflector, ReflectorBuilder};
use informer_store::{
    Cache, Cause, Change, Closed, Delta, Entry, KeyRef, Object, ReflectorStore, Replacement, ResourceVersion,
    ResyncPart, Subscription, Tombstone,
};
use informer_testkit::ApiServer;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use tokio::time::sleep;

use crate::support::{
    Answer, Seen, Server, added, bookmark, deleted, event, expired_event, list, modified, object, object_of,
    pause, poison, text,
};

/// A cache that notes its contents and the version it claims after every step: all that a reader can ever see.
#[derive(Clone, Default)]
struct Steps {
    cache: Cache<ConfigMap>,
    seen: Arc<Mutex<Vec<String>>>,
    /// How long it takes to take a single change.
    slow: Duration,
    /// How long it takes to take a list.
    slow_lists: Duration,
}

impl Steps {
    fn note(&self) -> Result<(), Closed> {
        let snapshot = self.cache.snapshot();
        let mut held: Vec<_> = snapshot
            .entries()
            .map(|(key, object)| format!("{key}@{}", object.version()))
            .collect();
        held.sort();
        let text = format!("{} | {}", held.join(" "), snapshot.resource_version());
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text);
        Ok(())
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl ReflectorStore<ConfigMap> for Steps {
    async fn replace(&self, replacement: Replacement<ConfigMap>) -> Result<(), Closed> {
        sleep(self.slow_lists).await;
        self.cache.replace(replacement).await?;
        self.note()
    }

    async fn add(&self, entry: Entry<ConfigMap>) -> Result<(), Closed> {
        ReflectorStore::add(&self.cache, entry).await?;
        self.note()
    }

    async fn update(&self, entry: Entry<ConfigMap>) -> Result<(), Closed> {
        ReflectorStore::update(&self.cache, entry).await?;
        self.note()
    }

    async fn delete(&self, tombstone: Tombstone<ConfigMap>) -> Result<(), Closed> {
        ReflectorStore::delete(&self.cache, tombstone).await?;
        self.note()
    }

    async fn resync(&self, part: ResyncPart) -> Result<(), Closed> {
        ReflectorStore::resync(&self.cache, part).await
    }

    async fn bookmark(&self, version: ResourceVersion) -> Result<(), Closed> {
        self.cache.bookmark(version).await?;
        self.note()
    }

    async fn merge(&self, delta: Delta<ConfigMap>, reached: Option<ResourceVersion>) -> Result<(), Closed> {
        sleep(self.slow).await;
        self.cache.merge(delta, reached).await?;
        self.note()
    }

    fn held(&self, key: KeyRef<'_>, uid: &str, version: &str) -> Option<Arc<ConfigMap>> {
        ReflectorStore::held(&self.cache, key, uid, version)
    }
}

/// Which of the sources a request is from.
fn part_of(seen: &Seen) -> usize {
    const MARKS: [[&str; 2]; 3] = [
        ["/namespaces/a/", "of%3Da"],
        ["/namespaces/b/", "of%3Db"],
        ["/namespaces/c/", "of%3Dc"],
    ];
    let is_meant = |marks: &[&str; 2]| marks.iter().any(|mark| seen.uri.contains(mark));
    MARKS.iter().position(is_meant).expect("it is one of them")
}

/// A server that is asked by several sources: answers by source, whether it is a watch, the version asked for, and how
/// often the source has listed before.
fn server(mut answer: impl FnMut(usize, bool, Option<&str>, u32) -> Answer + Send + 'static) -> Server {
    let mut lists = [0; 3];
    Server::new(move |seen| {
        let part = part_of(seen);
        let before = lists[part];
        lists[part] += u32::from(!seen.is_watch());
        answer(
            part,
            seen.is_watch(),
            seen.param("resourceVersion").as_deref(),
            before,
        )
    })
}

/// Sources of the namespaces `a`, `b` and so on.
fn by_namespace(server: &Server, sources: usize, store: &Steps) -> ReflectorBuilder<ConfigMap> {
    let source = |name| ApiListWatch::namespaced(server.client(), name).no_streaming_lists();
    let others = ["b", "c"].into_iter().take(sources - 1);
    let builder = Reflector::builder(source("a"), store.clone()).seed(7);
    others.fold(builder, |builder, name| builder.also(source(name)))
}

/// Sources of one namespace and the labels `of=a`, `of=b`.
fn by_label(server: &Server, store: &Steps) -> ReflectorBuilder<ConfigMap> {
    Reflector::builder(source_of(server, "of=a"), store.clone())
        .also(source_of(server, "of=b"))
        .seed(7)
}

fn source_of(server: &Server, label: &str) -> ApiListWatch<ConfigMap> {
    ApiListWatch::namespaced(server.client(), "default")
        .labels(label)
        .no_streaming_lists()
}

async fn run(builder: ReflectorBuilder<ConfigMap>, seconds: u64) -> Reflector<ConfigMap> {
    let reflector = builder.build();
    let shutdown = sleep(Duration::from_secs(seconds));
    reflector.run(shutdown).await.expect("nothing ends the run");
    reflector
}

fn of(namespace: &str, name: &str, version: u64) -> String {
    object(name, version).replace("\"default\"", &format!("\"{namespace}\""))
}

fn expired_after(seconds: u64) -> Answer {
    Answer::ok([pause(seconds), expired_event()])
}

/// What was told since.
fn told(changes: &mut Subscription<ConfigMap>) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(Some(change)) = changes.next().now_or_never() {
        let what = match &change {
            Change::Added { .. } => "+",
            Change::Updated { .. } => "~",
            Change::Deleted { inferred: true, .. } => "-!",
            _ => "-",
        };
        let cause = match change.cause() {
            Cause::Live => "",
            _ => " relist",
        };
        told.push(format!(
            "{what}{}@{}{cause}",
            change.key(),
            change.object().version()
        ));
    }
    told
}

#[tokio::test(start_paused = true)]
async fn i6_a_relist_of_one_of_several_sources_comes_in_one_step() {
    let server = server(|part, is_watch, version, before| match (part, is_watch, before) {
        (0, false, 0) => Answer::list("10", &["z", "x", "same", "older"].map(|name| of("a", name, 3))),
        (0, false, _) => Answer::list(
            "30",
            &[
                of("a", "new", 21),
                of("a", "same", 3),
                of("a", "older", 22),
                of("a", "a-new", 23),
            ],
        ),
        (0, true, _) if version == Some("10") => expired_after(5),
        (1, false, _) => Answer::list("12", &[of("b", "x", 5), of("b", "new", 6)]),
        _ => Answer::watch([]),
    });
    let store = Steps::default();
    let mut changes = store.cache.subscribe();
    let reflector = run(by_namespace(&server, 2, &store), 20).await;
    assert_eq!(
        store.seen(),
        [
            "a/older@3 a/same@3 a/x@3 a/z@3 b/new@6 b/x@5 | 10",
            "a/a-new@23 a/new@21 a/older@22 a/same@3 b/new@6 b/x@5 | 12",
        ]
    );
    assert_eq!(
        told(&mut changes)[6..],
        [
            "-!a/x@3 relist",
            "-!a/z@3 relist",
            "+a/new@21 relist",
            "~a/older@22 relist",
            "+a/a-new@23 relist",
        ],
        "I7: deletions first in key order, then the list in its order"
    );
    assert_eq!((reflector.stats().held, reflector.stats().rewinds), (1, 0));
    assert_eq!(reflector.objects(), 6);
}

/// The source furthest behind says what the store claims; it does not say what is gone from another.
#[tokio::test(start_paused = true)]
async fn what_is_gone_from_one_source_goes_though_it_is_newer_than_the_store_may_claim() {
    let server = server(|part, is_watch, version, before| match (part, is_watch, before) {
        (0, false, 0) => Answer::list("100", &[of("a", "x", 90), of("a", "y", 91)]),
        (0, false, _) => Answer::list("120", &[of("a", "y", 91)]),
        (0, true, _) if version == Some("100") => expired_after(5),
        (1, false, _) => Answer::list("12", &[of("b", "x", 5)]),
        (1, true, _) => Answer::watch([pause(10), bookmark("110")]),
        _ => Answer::watch([]),
    });
    let store = Steps::default();
    run(by_namespace(&server, 2, &store), 20).await;
    assert_eq!(
        store.seen(),
        [
            "a/x@90 a/y@91 b/x@5 | 12",
            "a/y@91 b/x@5 | 12",
            "a/y@91 b/x@5 | 110"
        ]
    );
}

/// While the list of one source is read, an object leaves it for the other.
#[tokio::test(start_paused = true)]
async fn what_leaves_a_source_while_that_lists_stays() {
    let server = server(|part, is_watch, version, before| match (part, is_watch, before) {
        (0, false, 0) => Answer::list("50", &[object("leaves", 40), object("gone", 41)]),
        (0, false, _) => Answer::ok([
            text(list("100", &[object("leaves", 40)]).trim_end_matches('}')),
            pause(10),
            text("}"),
        ]),
        (0, true, _) if version == Some("50") => expired_after(5),
        (0, true, _) => Answer::watch([pause(10), deleted("leaves", 110)]),
        (1, false, _) => Answer::list("50", &[object("stays", 43)]),
        (1, true, _) => Answer::watch([pause(10), added("leaves", 110)]),
        _ => Answer::watch([]),
    });
    let store = Steps::default();
    let mut changes = store.cache.subscribe();
    run(by_label(&server, &store), 60).await;
    assert_eq!(
        told(&mut changes)[3..],
        ["~default/leaves@110", "-!default/gone@41 relist"],
        "it is never gone"
    );
    assert_eq!(store.cache.len(), 2);
}

/// Its watch has yet to say that an object has left; the list of the source that it came to, by its labels or made anew,
/// is already there.
#[tokio::test(start_paused = true)]
async fn what_came_to_the_source_that_lists_is_told_once_whatever_the_other_holds() {
    for (uid, expect) in [
        ("u-x", &["~default/x@20 relist"][..]),
        ("u-anew", &["-!default/x@3 relist", "+default/x@20 relist"]),
    ] {
        let server = server(
            move |part, is_watch, version, before| match (part, is_watch, before) {
                (0, false, 0) => Answer::list("10", &[]),
                (0, false, _) => Answer::list("30", &[object_of("x", uid, 20)]),
                (0, true, _) if version == Some("10") => expired_after(5),
                (1, false, _) => Answer::list("10", &[object("x", 3)]),
                (1, true, _) => Answer::watch([pause(15), deleted("x", 20)]),
                _ => Answer::watch([]),
            },
        );
        let store = Steps::default();
        let mut changes = store.cache.subscribe();
        run(by_label(&server, &store), 60).await;
        assert_eq!(told(&mut changes)[1..], *expect);
    }
}

/// Two sources list anew while the store is busy: whoever comes first must not tell half of what the other has.
#[tokio::test(start_paused = true)]
async fn i6_lists_that_wait_for_a_slow_store_come_whole() {
    let server = server(|part, is_watch, version, before| {
        let name = ["a", "b", "c"][part];
        match (part, is_watch, before) {
            (2, true, _) => Answer::watch([pause(4), event("MODIFIED", &of("c", "x", 15))]),
            (_, true, _) if version == Some("10") => expired_after(5),
            (_, false, 0) => Answer::list("10", &[of(name, "x", 3), of(name, "y", 4)]),
            (_, false, _) => Answer::list("30", &[of(name, "z", 22)]),
            _ => Answer::watch([]),
        }
    });
    let store = Steps {
        slow: Duration::from_secs(20),
        ..Steps::default()
    };
    run(by_namespace(&server, 3, &store), 60).await;
    let (old, new) = (["a/x@3 a/y@4", "b/x@3 b/y@4"], ["a/z@22", "b/z@22"]);
    for step in store.seen() {
        for part in 0..2 {
            let mine: Vec<_> = step
                .split(' ')
                .filter(|item| item.starts_with(["a/", "b/"][part]))
                .collect();
            let mine = mine.join(" ");
            assert!(mine == old[part] || mine == new[part], "{step}");
        }
    }
    let last = store.seen().pop().expect("there were steps");
    assert_eq!(last, "a/z@22 b/z@22 c/x@15 c/y@4 | 15");
}

/// A deletion that one source was told of waits for the store behind the list of another, and is told as what it is.
#[tokio::test(start_paused = true)]
async fn what_is_deleted_while_a_list_of_another_source_waits_is_not_gone_by_that_list() {
    let server = server(|part, is_watch, version, before| match (part, is_watch, before) {
        (0, true, _) if version == Some("10") => expired_after(5),
        (0, false, 0) => Answer::list("10", &[of("a", "x", 3)]),
        (0, false, _) => Answer::list("30", &[of("a", "y", 22)]),
        (1, false, _) => Answer::list("10", &[of("b", "x", 4), of("b", "y", 5)]),
        (1, true, _) => Answer::watch([pause(10), event("DELETED", &of("b", "x", 16))]),
        (2, false, _) => Answer::list("10", &[of("c", "x", 6)]),
        (2, true, _) => Answer::watch([pause(4), event("MODIFIED", &of("c", "x", 15))]),
        _ => Answer::watch([]),
    });
    let store = Steps {
        slow: Duration::from_secs(20),
        ..Steps::default()
    };
    let mut changes = store.cache.subscribe();
    run(by_namespace(&server, 3, &store), 60).await;
    assert_eq!(
        told(&mut changes)[4..],
        ["~c/x@15", "-!a/x@3 relist", "+a/y@22 relist", "-b/x@16"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_one_of_several_sources_cannot_decode_any_more_is_kept_or_removed_in_that_step() {
    for (policy, then) in [
        (PoisonPolicy::KeepLast, "a/bad@3 a/well@20 b/x@5 | 12"),
        (PoisonPolicy::Remove, "a/well@20 b/x@5 | 12"),
    ] {
        let server = server(|part, is_watch, version, before| match (part, is_watch, before) {
            (0, false, 0) => Answer::list("10", &[of("a", "bad", 3), of("a", "gone", 4)]),
            (0, false, _) => Answer::list(
                "30",
                &[
                    poison("bad", 21).replace("\"default\"", "\"a\""),
                    of("a", "well", 20),
                ],
            ),
            (0, true, _) if version == Some("10") => expired_after(5),
            (1, false, _) => Answer::list("12", &[of("b", "x", 5)]),
            _ => Answer::watch([]),
        });
        let store = Steps::default();
        let reflector = run(by_namespace(&server, 2, &store).poison(policy), 20).await;
        assert_eq!(store.seen(), ["a/bad@3 a/gone@4 b/x@5 | 10", then]);
        assert_eq!(reflector.quarantined().len(), 1);
    }
}

/// A source may list twice before the others have listed once.
#[tokio::test(start_paused = true)]
async fn what_is_listed_anew_before_all_have_listed_takes_the_place_of_what_was() {
    let server = server(|part, is_watch, version, before| match (part, is_watch, before) {
        (0, false, 0) => Answer::list("10", &[of("a", "x", 3), of("a", "y", 4)]),
        (0, false, _) => Answer::list("30", &[of("a", "y", 4), of("a", "z", 22)]),
        (0, true, _) if version == Some("10") => Answer::ok([
            pause(2),
            event("ADDED", &of("a", "w", 15)),
            pause(2),
            expired_event(),
        ]),
        (0, true, _) => Answer::watch([pause(2), event("DELETED", &of("a", "z", 35))]),
        (1, false, _) => Answer::ok([pause(20), text(list("40", &[of("b", "x", 5)]))]),
        _ => Answer::watch([]),
    });
    let store = Steps::default();
    let mut changes = store.cache.subscribe();
    run(by_namespace(&server, 2, &store), 40).await;
    assert_eq!(store.seen(), ["a/y@4 b/x@5 | 35"]);
    assert_eq!(told(&mut changes).len(), 2);
}

/// A run over a filled store, where one source lists twice before the other has listed once: an object that cannot be
/// decoded any more is to be kept, and is deleted then.
#[tokio::test(start_paused = true)]
async fn what_was_to_be_kept_and_is_deleted_before_all_have_listed_is_gone() {
    let server = server(|part, is_watch, version, before| match (part, is_watch, before) {
        (0, false, 0 | 1) => Answer::list("10", &[of("a", "bad", 3), of("a", "well", 4)]),
        (0, false, _) => {
            let bad = poison("bad", 21).replace("\"default\"", "\"a\"");
            Answer::list("30", &[bad, of("a", "well", 4)])
        }
        (0, true, 2) => expired_after(2),
        (0, true, _) if version == Some("30") => {
            Answer::watch([pause(5), event("DELETED", &of("a", "bad", 31))])
        }
        (1, false, 0) => Answer::list("10", &[of("b", "x", 5)]),
        (1, false, _) => Answer::ok([pause(20), text(list("40", &[of("b", "x", 5)]))]),
        _ => Answer::watch([]),
    });
    let store = Steps::default();
    let reflector = by_namespace(&server, 2, &store)
        .poison(PoisonPolicy::KeepLast)
        .build();
    for seconds in [5, 40] {
        let shutdown = sleep(Duration::from_secs(seconds));
        reflector.run(shutdown).await.expect("nothing ends the run");
    }
    assert_eq!(
        store.seen(),
        ["a/bad@3 a/well@4 b/x@5 | 10", "a/well@4 b/x@5 | 31"]
    );
    assert_eq!(reflector.objects(), store.cache.len());
}

/// While one source cannot list, another remembers what it has, not all that ever was.
#[tokio::test(start_paused = true)]
async fn what_comes_and_goes_before_all_have_listed_leaves_what_there_is() {
    let server = server(|part, is_watch, _, _| match (part, is_watch) {
        (0, false) => Answer::list("10", &[of("a", "x", 3), of("a", "y", 4)]),
        (0, true) => {
            let born_and_dead = (0..1000).flat_map(|number| {
                let (name, version) = (format!("n{number}"), 20 + 2 * number);
                [
                    event("ADDED", &of("a", &name, version)),
                    event("DELETED", &of("a", &name, version + 1)),
                ]
            });
            let more = [
                event("DELETED", &of("a", "x", 3000)),
                event("MODIFIED", &of("a", "y", 3001)),
                event("ADDED", &of("a", "n7", 3002)),
            ];
            Answer::watch(born_and_dead.chain(more))
        }
        (_, false) => Answer::ok([pause(20), text(list("4000", &[of("b", "x", 5)]))]),
        _ => Answer::watch([]),
    });
    let store = Steps::default();
    run(by_namespace(&server, 2, &store), 40).await;
    assert_eq!(store.seen(), ["a/n7@3002 a/y@3001 b/x@5 | 3002"]);
}

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
