//! Which keys a change concerns, and which changes matter.

mod common;

use std::sync::Arc;

use common::key;
use informer_controller::{
    predicate::{self, Predicate},
    trigger::{self, Keys, Trigger},
};
use informer_store::{Cause, Change, ObjectKey};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        core::v1::{Node, Pod},
    },
    apimachinery::pkg::apis::meta::v1::{OwnerReference, Time},
};

fn pod(edit: impl FnOnce(&mut Pod)) -> Arc<Pod> {
    let mut pod = Pod::default();
    pod.metadata.namespace = Some("ns".into());
    pod.metadata.name = Some("p".into());
    pod.metadata.uid = Some("u1".into());
    edit(&mut pod);
    Arc::new(pod)
}

fn owned_by(owners: &[(&str, &str, &str, bool)]) -> Arc<Pod> {
    pod(|pod| {
        let owners = owners
            .iter()
            .map(|(api_version, kind, name, controller)| OwnerReference {
                api_version: (*api_version).into(),
                kind: (*kind).into(),
                name: (*name).into(),
                uid: format!("uid-{name}"),
                controller: controller.then_some(true),
                ..OwnerReference::default()
            });
        pod.metadata.owner_references = Some(owners.collect());
    })
}

fn added(new: &Arc<Pod>) -> Change<Pod> {
    Change::added(key("p"), Arc::clone(new), false, Cause::Live)
}

fn updated(old: &Arc<Pod>, new: &Arc<Pod>) -> Change<Pod> {
    Change::updated(key("p"), Arc::clone(old), Arc::clone(new), Cause::Live)
}

fn deleted(last: &Arc<Pod>) -> Change<Pod> {
    Change::deleted(key("p"), Arc::clone(last), false, Cause::Live)
}

/// What a trigger names, gathered through a source of a controller.
fn keys(trigger: impl Trigger<Pod, ObjectKey> + 'static, change: &Change<Pod>) -> Vec<String> {
    let probe = common::Probe::default();
    let controller = common::script(&probe, |_| Ok(informer_controller::Action::done()))
        .source(futures::stream::iter([change.clone()]), trigger)
        .workers(1)
        .build();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime
        .unwrap()
        .block_on(common::run_until(controller, std::time::Duration::from_secs(1)));
    probe.runs().iter().map(|run| run.key.to_string()).collect()
}

#[test]
fn itself_is_the_key_of_what_changed() {
    let pod = pod(|_| {});
    assert_eq!(keys(trigger::itself(), &added(&pod)), ["ns/p"]);
    assert_eq!(keys(trigger::itself(), &deleted(&pod)), ["ns/p"]);
}

#[test]
fn owner_is_the_controlling_owner_of_the_kind_in_any_version_of_its_group() {
    let pod = owned_by(&[
        ("apps/v1", "ReplicaSet", "web", true),
        ("apps/v1beta9", "ReplicaSet", "other", false),
        ("v1", "ReplicaSet", "wrong-group", true),
        ("apps/v1", "StatefulSet", "wrong-kind", true),
    ]);
    assert_eq!(
        keys(trigger::owner("apps/v1", "ReplicaSet"), &added(&pod)),
        ["ns/web"]
    );
    assert_eq!(
        keys(trigger::owner("apps/v2", "ReplicaSet"), &added(&pod)),
        ["ns/web"]
    );
    assert_eq!(keys(trigger::owner_of::<ReplicaSet>(), &added(&pod)), ["ns/web"]);
    assert_eq!(
        keys(trigger::owner_of::<ReplicaSet>().any_owner(), &added(&pod)),
        ["ns/web", "ns/other"]
    );
    assert!(keys(trigger::owner_of::<Deployment>(), &added(&pod)).is_empty());
}

#[test]
fn owners_without_a_namespace_are_named_without_one() {
    let pod = owned_by(&[("v1", "Node", "n1", true)]);
    assert_eq!(keys(trigger::owner_of::<Node>(), &added(&pod)), ["n1"]);
    assert_eq!(
        keys(trigger::owner("v1", "Node").cluster_scoped(), &added(&pod)),
        ["n1"]
    );
    assert_eq!(keys(trigger::owner("v1", "Node"), &added(&pod)), ["ns/n1"]);
}

#[test]
fn both_the_old_and_the_new_owner_are_triggered_and_one_and_the_same_once() {
    let old = owned_by(&[("apps/v1", "ReplicaSet", "old", true)]);
    let new = owned_by(&[("apps/v1", "ReplicaSet", "new", true)]);
    let owner = || trigger::owner_of::<ReplicaSet>();
    assert_eq!(keys(owner(), &updated(&old, &new)), ["ns/old", "ns/new"]);
    assert_eq!(keys(owner(), &updated(&new, &new)), ["ns/new"]);
    assert_eq!(keys(owner(), &deleted(&old)), ["ns/old"]);
}

#[test]
fn map_names_any_number_of_keys_for_the_old_and_the_new_object() {
    let by_label = || {
        trigger::map(|pod: &Pod| {
            let apps = pod.metadata.labels.iter().flatten();
            let keys = apps.map(|(_, app)| ObjectKey::namespaced("apps", app));
            keys.collect::<Vec<_>>()
        })
    };
    let labelled = |apps: &[&str]| {
        pod(|pod| {
            let labels = apps
                .iter()
                .enumerate()
                .map(|(n, app)| (format!("app{n}"), (*app).to_owned()));
            pod.metadata.labels = Some(labels.collect());
        })
    };
    let (one, two) = (labelled(&["x", "y"]), labelled(&["y", "z"]));
    assert_eq!(keys(by_label(), &added(&one)), ["apps/x", "apps/y"]);
    assert_eq!(
        keys(by_label(), &updated(&one, &two)),
        ["apps/x", "apps/y", "apps/z"]
    );
    let deletions =
        trigger::map_change(|change: &Change<Pod>| change.current().is_none().then(|| key("gone")));
    assert_eq!(keys(deletions, &deleted(&one)), ["ns/gone"]);
}

#[test]
fn keys_of_one_change_are_kept_once() {
    let many = |_: &Change<Pod>, keys: &mut Keys<ObjectKey>| {
        keys.extend((0..100).map(|n| key(&format!("o{}", n % 10))));
        assert_eq!((keys.len(), keys.is_empty()), (10, false));
    };
    assert_eq!(keys(many, &added(&pod(|_| {}))).len(), 10);
}

fn check(predicate: impl Predicate<Pod>, expected: &[(&Change<Pod>, bool)]) {
    for (change, expected) in expected {
        assert_eq!(predicate.test(change), *expected, "{change:?}");
    }
}

#[test]
fn predicates_on_the_kind_of_change() {
    let pod = pod(|_| {});
    let (a, u, d) = (added(&pod), updated(&pod, &pod), deleted(&pod));
    check(predicate::added, &[(&a, true), (&u, false), (&d, false)]);
    check(predicate::updated, &[(&a, false), (&u, true), (&d, false)]);
    check(predicate::deleted, &[(&a, false), (&u, false), (&d, true)]);
    let initial = Change::added(key("p"), Arc::clone(&pod), true, Cause::Relist);
    check(
        predicate::not_initial,
        &[(&initial, false), (&a, true), (&u, true), (&d, true)],
    );
    let resync = Change::updated(key("p"), Arc::clone(&pod), Arc::clone(&pod), Cause::Resync);
    check(
        predicate::not_resync,
        &[(&resync, false), (&a, true), (&u, true), (&d, true)],
    );
}

#[test]
fn predicates_on_what_differs() {
    type Differs = fn(&Change<Pod>) -> bool;
    type Edit = fn(&mut Pod);
    let table: [(Differs, Edit); 4] = [
        (predicate::resource_version_changed, |pod| {
            pod.metadata.resource_version = Some("2".into())
        }),
        (predicate::generation_changed, |pod| {
            pod.metadata.generation = Some(2)
        }),
        (predicate::labels_changed, |pod| {
            pod.metadata.labels = Some([("a".into(), "b".into())].into())
        }),
        (predicate::annotations_changed, |pod| {
            pod.metadata.annotations = Some([("a".into(), "b".into())].into())
        }),
    ];
    let base = |edit: &dyn Fn(&mut Pod)| {
        pod(|pod| {
            pod.metadata.resource_version = Some("1".into());
            pod.metadata.generation = Some(1);
            edit(pod);
        })
    };
    let old = base(&|_| {});
    for (row, (differs, _)) in table.iter().enumerate() {
        for (other, (_, edit)) in table.iter().enumerate() {
            let change = updated(&old, &base(edit));
            assert_eq!(differs(&change), row == other, "predicate {row}, edit {other}");
        }
        assert!(
            differs(&added(&old)) && differs(&deleted(&old)),
            "predicate {row}"
        );
        assert!(!differs(&updated(&old, &old)), "predicate {row}: delivered again");
        let anew = base(&|pod| pod.metadata.uid = Some("u2".into()));
        assert!(
            differs(&updated(&old, &anew)),
            "predicate {row}: made anew, all else equal"
        );
    }
    let (one, two) = (
        pod(|_| {}),
        pod(|pod| pod.metadata.resource_version = Some("2".into())),
    );
    assert!(
        predicate::generation_changed(&updated(&one, &two)),
        "a kind without generations"
    );
}

#[test]
fn a_predicate_on_what_an_object_is_delivers_the_change_by_which_it_stops_being_that() {
    let (plain, web) = (
        pod(|_| {}),
        pod(|pod| pod.metadata.labels = Some([("app".into(), "web".into())].into())),
    );
    let expected = [
        (&added(&plain), false),
        (&added(&web), true),
        (&updated(&plain, &web), true),
        (&updated(&web, &plain), true),
        (&updated(&plain, &plain), false),
        (&deleted(&web), true),
        (&deleted(&plain), false),
    ];
    check(predicate::label("app", Some("web")), &expected);
    check(predicate::label("app", None), &expected);
    check(
        predicate::matches(|pod: &Pod| pod.metadata.labels.is_some()),
        &expected,
    );
    check(
        predicate::label("app", Some("db")),
        &expected.map(|(change, _)| (change, false)),
    );
}

#[test]
fn predicates_on_namespace_and_deletion() {
    let pod_of = pod(|_| {});
    check(predicate::namespace("ns"), &[(&added(&pod_of), true)]);
    check(predicate::namespace("other"), &[(&added(&pod_of), false)]);
    let now = Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH);
    let leaving = pod(|pod| pod.metadata.deletion_timestamp = Some(now));
    check(
        predicate::deletion_requested,
        &[
            (&added(&pod_of), false),
            (&updated(&pod_of, &leaving), true),
            (&deleted(&pod_of), true),
        ],
    );
}

#[test]
fn combinators_have_their_truth_tables() {
    let change = added(&pod(|_| {}));
    for (a, b) in [(false, false), (false, true), (true, false), (true, true)] {
        let (left, right) = (move |_: &Change<Pod>| a, move |_: &Change<Pod>| b);
        check(left.and(right), &[(&change, a && b)]);
        check(left.or(right), &[(&change, a || b)]);
        check(predicate::Predicate::<Pod>::not(left), &[(&change, !a)]);
    }
}
