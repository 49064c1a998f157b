//! The controller: pods, ConfigMaps and namespaces come in, one ConfigMap per namespace comes out.

use informer::{
    Cache, Informer, ObjectKey,
    controller::{
        Action, Context, Controller, Failure, Handle, Reconciler, Source, async_trait, predicate, trigger,
    },
    reflector::{ApiClient, ApiListWatch},
    store::Index,
};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube_client::{
    Api, Client,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle};

/// The name of the ConfigMap.
pub const NAME: &str = "running-pods";
/// Its label: the informer asks for no other ConfigMaps.
const LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "informer-quickstart");

/// Selects the ConfigMaps that are ours.
pub fn selector() -> String {
    format!("{}={}", LABEL.0, LABEL.1)
}

/// Whether the controller may write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Write,
    ReadOnly,
}

/// Three informers and the controller on top of them.
pub struct Counts {
    pub pods: Informer<Pod>,
    pub config_maps: Informer<ConfigMap>,
    pub namespaces: Informer<Namespace>,
    pub controller: Handle<ObjectKey>,
    pub mode: Mode,
    conflict: watch::Sender<Option<String>>,
    running: std::sync::Mutex<Option<Controller<Reconcile>>>,
    stop: watch::Sender<bool>,
}

impl Counts {
    pub fn new(client: &ApiClient, mode: Mode) -> Self {
        let running = Index::hash("running", |pod: &Pod| {
            is_running(pod).then(|| pod.metadata.namespace.clone()).flatten()
        });
        // Three sources of one client: they share its limit on lists that are read at the same time.
        let pods = Informer::builder(ApiListWatch::<Pod>::all(client))
            .cache(Cache::builder().index(&running).build())
            .build();
        let config_maps = Informer::new(ApiListWatch::<ConfigMap>::all(client).labels(selector()));
        let namespaces = Informer::new(ApiListWatch::<Namespace>::all(client));
        let (conflict, _) = watch::channel(None);
        let reconcile = Reconcile {
            client: client.client().clone(),
            conflict: conflict.clone(),
            mode,
            running,
            pods: pods.cache().clone(),
            config_maps: config_maps.cache().clone(),
            namespaces: namespaces.cache().clone(),
        };
        let controller = Controller::builder("running-pods", reconcile)
            .watch(source("namespaces", &namespaces, trigger::itself()))
            .watch(source(
                "pods",
                &pods,
                trigger::map(|pod: &Pod| namespace(&pod.metadata)),
            ))
            .watch(
                source(
                    "config maps",
                    &config_maps,
                    trigger::map(|map: &ConfigMap| namespace(&map.metadata)),
                )
                .predicate(predicate::not_resync),
            )
            .workers(4)
            .build();
        Self {
            pods,
            config_maps,
            namespaces,
            controller: controller.handle(),
            mode,
            conflict,
            running: std::sync::Mutex::new(Some(controller)),
            stop: watch::Sender::new(false),
        }
    }

    /// Starts everything; the task is the controller's.
    pub fn start(&self) -> Option<JoinHandle<()>> {
        self.pods.start();
        self.config_maps.start();
        self.namespaces.start();
        let controller = self
            .running
            .lock()
            .expect("nobody panics under this lock")
            .take()?;
        let mut stop = self.stop.subscribe();
        #[expect(clippy::disallowed_methods, reason = "an application decides what runs where")]
        let task = tokio::spawn(async move {
            let shutdown = async move { drop(stop.wait_for(|stop| *stop).await) };
            if let Err(error) = controller.run(shutdown).await {
                tracing::error!(%error, "controller stopped");
            }
        });
        Some(task)
    }

    /// Waits until something stands in the way that only a person can remove, and says what.
    pub async fn conflict(&self) -> String {
        let mut conflict = self.conflict.subscribe();
        match conflict.wait_for(Option::is_some).await {
            Ok(told) => told.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// The controller takes no more keys and lets the running ones finish.
    pub fn stop_controller(&self) {
        self.stop.send_replace(true);
    }

    pub fn stop_informers(&self) {
        self.pods.stop();
        self.config_maps.stop();
        self.namespaces.stop();
    }
}

fn source<K: informer::store::Object>(
    name: &'static str,
    informer: &Informer<K>,
    trigger: impl trigger::Trigger<K, ObjectKey> + 'static,
) -> Source<K, ObjectKey> {
    let cache = informer.cache().clone();
    Source::new(informer.subscribe(), trigger)
        .named(name)
        .synced(async move { cache.synced().await })
}

fn namespace(metadata: &ObjectMeta) -> Option<ObjectKey> {
    metadata.namespace.as_deref().map(ObjectKey::cluster)
}

pub fn is_running(pod: &Pod) -> bool {
    pod.status
        .as_ref()
        .is_some_and(|status| status.phase.as_deref() == Some("Running"))
}

/// What the ConfigMap of a namespace with so many running pods says.
pub fn is_right(map: &ConfigMap, running: usize) -> bool {
    let data = map.data.as_ref();
    data.is_some_and(|data| {
        data.len() == 1
            && data
                .get("running")
                .is_some_and(|said| *said == running.to_string())
    })
}

/// Makes the ConfigMap of one namespace right.
struct Reconcile {
    client: Client,
    conflict: watch::Sender<Option<String>>,
    mode: Mode,
    running: Index<Pod, String>,
    pods: Cache<Pod>,
    config_maps: Cache<ConfigMap>,
    namespaces: Cache<Namespace>,
}

#[async_trait]
impl Reconciler for Reconcile {
    type Key = ObjectKey;
    type Error = kube_client::Error;

    async fn reconcile(&self, cx: Context) -> Result<Action, Failure<Self::Error>> {
        let name = cx.key().name();
        let lives = self
            .namespaces
            .get_by_key(cx.key())
            .is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_none());
        let running = self.pods.snapshot().by_index(&self.running, name).count();
        let held = self.config_maps.get(name, NAME);
        if self.mode == Mode::ReadOnly {
            return Ok(Action::done());
        }
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), name);
        let written = match (lives, held) {
            (true, None) => api.create(&PostParams::default(), &config_map(running)).await,
            (true, Some(held)) if !is_right(&held, running) => {
                let patch = Patch::Merge(json!({ "data": config_map(running).data }));
                // What somebody added is taken out again: a merge patch deletes what it sets to null.
                let patch = extra(&held).fold(patch, without);
                api.patch(NAME, &PatchParams::default(), &patch).await
            }
            (false, Some(_)) => match api.delete(NAME, &DeleteParams::default()).await {
                Ok(_) => return Ok(Action::done()),
                Err(error) => Err(error),
            },
            _ => return Ok(Action::done()),
        };
        match written {
            Ok(map) => {
                // This key runs again only once the cache shows what was written.
                cx.wrote(
                    &self.config_maps,
                    map.metadata.resource_version.as_deref().unwrap_or_default(),
                );
                Ok(Action::done())
            }
            // Gone with its namespace, or the namespace is going: nothing to keep right.
            Err(kube_client::Error::Api(status)) if status.code == 404 || status.code == 403 && !lives => {
                Ok(Action::done())
            }
            Err(kube_client::Error::Api(status)) if status.code == 409 && self.is_foreign(&api).await => {
                let told = format!(
                    "the ConfigMap {name}/{NAME} is there and not ours: it lacks the label {}; remove or rename it",
                    selector()
                );
                self.conflict.send_replace(Some(told));
                Err(Failure::Terminal(kube_client::Error::Api(status)))
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Reconcile {
    /// Whether somebody else made the ConfigMap that is there.
    async fn is_foreign(&self, api: &Api<ConfigMap>) -> bool {
        let Ok(there) = api.get_metadata(NAME).await else {
            return false;
        };
        there
            .metadata
            .labels
            .is_none_or(|labels| labels.get(LABEL.0).map(String::as_str) != Some(LABEL.1))
    }
}

fn config_map(running: usize) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            labels: Some([(LABEL.0.to_owned(), LABEL.1.to_owned())].into()),
            ..ObjectMeta::default()
        },
        data: Some([("running".to_owned(), running.to_string())].into()),
        ..ConfigMap::default()
    }
}

fn extra(map: &ConfigMap) -> impl Iterator<Item = &String> {
    map.data
        .iter()
        .flatten()
        .map(|(key, _)| key)
        .filter(|key| *key != "running")
}

fn without(patch: Patch<serde_json::Value>, key: &String) -> Patch<serde_json::Value> {
    match patch {
        Patch::Merge(mut patch) => {
            patch["data"][key] = serde_json::Value::Null;
            Patch::Merge(patch)
        }
        other => other,
    }
}
