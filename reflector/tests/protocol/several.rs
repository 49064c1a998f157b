//! Several sources behind one store: what each of them lists comes in one step, beside what the others hold.

mod claims;
mod history;

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
