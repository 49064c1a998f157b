//! A reconciler that takes notes, and shorthands.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use informer_controller::{Action, Builder, Context, Controller, Failure, Reconciler, Report, reconcile_fn};
use informer_store::{Cause, Change, ObjectKey};
use k8s_openapi::api::core::v1::ConfigMap;
use tokio::time::Instant;

pub(crate) fn key(name: &str) -> ObjectKey {
    ObjectKey::namespaced("ns", name)
}

/// What reconciles did.
#[derive(Clone, Default)]
pub(crate) struct Probe(Arc<Mutex<Notes>>);

#[derive(Default)]
struct Notes {
    runs: Vec<Run>,
    active: Vec<ObjectKey>,
    most: usize,
    overlapped: bool,
}

#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) key: ObjectKey,
    pub(crate) attempt: u32,
    pub(crate) triggers: Vec<&'static str>,
    pub(crate) at: Instant,
}

impl Probe {
    pub(crate) fn enter(&self, cx: &Context) -> Running {
        let mut notes = self.0.lock().unwrap();
        notes.overlapped |= notes.active.contains(cx.key());
        notes.active.push(cx.key().clone());
        notes.most = notes.most.max(notes.active.len());
        notes.runs.push(Run {
            key: cx.key().clone(),
            attempt: cx.attempt(),
            triggers: cx.triggers().to_vec(),
            at: Instant::now(),
        });
        Running(self.clone(), cx.key().clone())
    }

    pub(crate) fn runs(&self) -> Vec<Run> {
        self.0.lock().unwrap().runs.clone()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.runs().iter().map(|run| run.key.name().to_owned()).collect()
    }

    pub(crate) fn sorted_names(&self) -> Vec<String> {
        let mut names = self.names();
        names.sort_unstable();
        names
    }

    pub(crate) fn times(&self) -> Vec<Instant> {
        self.runs().iter().map(|run| run.at).collect()
    }

    pub(crate) fn attempts(&self) -> Vec<u32> {
        self.runs().iter().map(|run| run.attempt).collect()
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.0.lock().unwrap().most
    }

    pub(crate) fn overlapped(&self) -> bool {
        self.0.lock().unwrap().overlapped
    }
}

pub(crate) struct Running(Probe, ObjectKey);

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(mut notes) = self.0.0.lock() {
            notes.active.retain(|key| *key != self.1);
        }
    }
}

pub(crate) struct OnDrop(pub(crate) Arc<AtomicUsize>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A controller whose reconciler takes notes and answers by the number of the attempt.
pub(crate) fn script<F>(probe: &Probe, answer: F) -> Builder<impl Reconciler<Key = ObjectKey> + use<F>>
where
    F: Fn(u32) -> Result<Action, Failure> + Send + Sync + 'static,
{
    let (probe, answer) = (probe.clone(), Arc::new(answer));
    let reconciler = reconcile_fn(move |cx: Context| {
        let (probe, answer) = (probe.clone(), Arc::clone(&answer));
        async move {
            let _running = probe.enter(&cx);
            answer(cx.attempt())
        }
    });
    Controller::builder("test", reconciler)
}

pub(crate) async fn run_until<R: Reconciler>(controller: Controller<R>, time: Duration) -> Report<R::Key> {
    controller
        .run(tokio::time::sleep(time))
        .await
        .expect("its sources are synced")
}

/// A ConfigMap with a version, and a uid made of its name.
pub(crate) fn config(name: &str, version: u64) -> Arc<ConfigMap> {
    let mut config = ConfigMap::default();
    config.metadata.namespace = Some("ns".into());
    config.metadata.name = Some(name.into());
    config.metadata.uid = Some(format!("uid-{name}"));
    config.metadata.resource_version = Some(version.to_string());
    Arc::new(config)
}

pub(crate) fn added(name: &str) -> Change<ConfigMap> {
    Change::added(key(name), config(name, 1), false, Cause::Live)
}

/// Pending once, and ready to be polled again at once, whether or not a runtime drives the task.
pub(crate) async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
