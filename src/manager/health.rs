//! What a process says of itself: `/livez`, `/readyz`, `/metrics`, `/debug`.
//!
//! A [`Health`] holds named checks, [collectors](Collect) of metrics and descriptions, and [answers](Health::respond)
//! requests. Nothing is computed before somebody asks. It needs no server of its own: with the feature `health-server`
//! there is one, without it any HTTP server can pass requests on.
//!
//! Names of metrics are those that client-go and controller-runtime use, so dashboards made for them work.
//!
//! # Trade-offs
//!
//! Checks and collectors run on the thread that asks, one after the other: they must not block.

mod checks;
mod collect;
mod describe;
mod encoder;
mod endpoint;
#[cfg(feature = "health-server")]
mod server;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, RwLock},
    time::Duration,
};

use informer_controller::{Handle as ControllerHandle, Key};
use informer_store::Object;
use serde_json::{Map, Value};

use self::checks::Checked;
#[cfg(feature = "health-server")]
pub use self::server::Server;
pub use self::{
    checks::{Outcome, Reasons},
    collect::{Resource, controller, election, informer, lifecycle, work_queue},
    encoder::{Collect, Encoder},
    endpoint::{Request, Response},
};
use super::{ComponentStatus, Handle, Phase};
use crate::Informer;

/// Who may see `/debug`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Access {
    /// Nobody.
    #[default]
    Off,
    /// Who asks from this machine, or from inside the pod, as a port-forward does.
    Loopback,
    /// Everybody who reaches the port.
    Anywhere,
}

/// The checks, metrics and descriptions of a process. A cheap handle; clones share everything.
///
/// # Ordering & consistency
///
/// A name that is given again replaces what it named. Names are shown in alphabetical order, after the check `ping`,
/// which always passes. A check, collector or description that panics fails, or says nothing, and harms nobody else.
///
/// # Examples
///
/// ```
/// use informer::manager::health::{Access, Health, Request};
///
/// let health = Health::new().debug(Access::Loopback);
/// health.live("disk", || Ok(()));
/// health.describe("version", || serde_json::json!({ "commit": "abc" }));
/// let here = std::net::Ipv4Addr::LOCALHOST.into();
/// let answer = health.respond(&Request::get("/debug/version").from(here));
/// assert_eq!(answer.body, "{\n  \"commit\": \"abc\"\n}\n");
/// ```
#[derive(Clone, Default)]
pub struct Health {
    options: Options,
    shared: Arc<RwLock<Registry>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Options {
    debug: Access,
    reasons: Reasons,
}

type Check = Arc<dyn Fn(&mut Vec<(String, Outcome)>) + Send + Sync>;
type Describe = Arc<dyn Fn() -> Value + Send + Sync>;

#[derive(Default)]
struct Registry {
    live: Named<Check>,
    ready: Named<Check>,
    collect: Named<Arc<dyn Collect>>,
    describe: Named<Describe>,
}

type Named<T> = std::collections::BTreeMap<String, T>;

impl Health {
    /// With nothing but the check `ping`, `/debug` off and reasons withheld.
    pub fn new() -> Self {
        Self::default()
    }

    /// Who may see `/debug`. Default: [`Access::Off`]. Set it before the handle is cloned.
    #[must_use]
    pub const fn debug(mut self, access: Access) -> Self {
        self.options.debug = access;
        self
    }

    /// Whether probes tell why a check failed. Default: [`Reasons::Withheld`]. Set it before the handle is cloned.
    #[must_use]
    pub const fn reasons(mut self, reasons: Reasons) -> Self {
        self.options.reasons = reasons;
        self
    }

    /// Adds a check of `/livez`: when it fails, the process should be restarted.
    pub fn live(&self, name: impl Into<String>, check: impl Fn() -> Outcome + Send + Sync + 'static) {
        let name = name.into();
        let check = single(name.clone(), check);
        self.change(|registry| registry.live.insert(name, check));
    }

    /// Adds a check of `/readyz`: while it fails, the process should get no requests.
    pub fn ready(&self, name: impl Into<String>, check: impl Fn() -> Outcome + Send + Sync + 'static) {
        let name = name.into();
        let check = single(name.clone(), check);
        self.change(|registry| registry.ready.insert(name, check));
    }

    /// Adds metrics.
    pub fn collect(&self, name: impl Into<String>, collector: impl Collect) {
        self.change(|registry| registry.collect.insert(name.into(), Arc::new(collector)));
    }

    /// Adds a part of `/debug`. It is for states, counts and keys; never for what objects contain.
    pub fn describe(&self, name: impl Into<String>, describe: impl Fn() -> Value + Send + Sync + 'static) {
        self.change(|registry| registry.describe.insert(name.into(), Arc::new(describe)));
    }

    /// Takes out whatever was added under a name.
    pub fn remove(&self, name: &str) {
        self.change(|registry| {
            registry.live.remove(name);
            registry.ready.remove(name);
            registry.collect.remove(name);
            registry.describe.remove(name);
        });
    }

    /// Shows a manager: each required component as a check of `/readyz`, the election as one of `/livez`, the states
    /// and counts of components as metrics, its status under `/debug/manager`. While the manager stops, `/readyz`
    /// fails at `manager`.
    pub fn manager(&self, handle: &Handle) {
        let ready = handle.clone();
        let check: Check = Arc::new(move |outcomes| {
            let status = ready.status();
            let running = match status.phase {
                Phase::Starting | Phase::Running => Ok(()),
                phase => Err(format!("{phase:?}").to_lowercase()),
            };
            outcomes.push(("manager".to_owned(), running));
            let required = status.components.iter().filter(|component| component.required);
            outcomes.extend(required.map(|component| (component.name.clone(), outcome(component))));
        });
        self.change(|registry| registry.ready.insert("manager".to_owned(), check));
        if let Some(observer) = handle.election() {
            let observer = observer.clone();
            let tolerance = observer.timing().request_timeout;
            self.live("leader-election", {
                let observer = observer.clone();
                move || observer.check(tolerance).map_err(|stuck| stuck.to_string())
            });
            self.collect("leader-election", election(&observer));
        }
        self.collect("manager", lifecycle(handle));
        let status = handle.clone();
        self.describe("manager", move || {
            serde_json::to_value(status.status()).unwrap_or_default()
        });
    }

    /// Shows an informer: a check of `/readyz` that passes once it is synced, its metrics, its state under
    /// `/debug/NAME`.
    pub fn informer<K: Object>(&self, resource: &Resource, informer: &Informer<K>) {
        let name = resource.name();
        let ready = informer.clone();
        self.ready(name, move || {
            if ready.is_synced() {
                Ok(())
            } else {
                Err(describe::sync_state(&ready))
            }
        });
        self.collect(name, collect::informer(resource, informer));
        let state = informer.clone();
        self.describe(name, move || describe::informer(&state));
    }

    /// Shows a controller: the metrics of it and of its queue, and what it does under `/debug/NAME`.
    pub fn controller<T: Key>(&self, handle: &ControllerHandle<T>) {
        let name = handle.status().name;
        self.collect(name, collect::controller(handle));
        let handle = handle.clone();
        self.describe(name, move || describe::controller(&handle));
    }

    /// Adds a check of `/livez` that fails while a controller makes no progress: keys wait, and every worker has been at
    /// its key for longer than `limit`. Choose a limit that no sound reconcile takes; a restart ends them all.
    pub fn progress<T: Key>(&self, handle: &ControllerHandle<T>, limit: Duration) {
        let handle = handle.clone();
        let name = format!("{}-progress", handle.status().name);
        self.live(name, move || {
            let running = handle.status().running;
            let late = running.iter().filter(|run| run.age > limit).count();
            let waiting = handle.queue().stats().depth;
            if waiting > 0 && late > 0 && late == handle.stats().workers {
                return Err(format!(
                    "{waiting} keys wait, all {late} workers are at their key for over {limit:?}"
                ));
            }
            Ok(())
        });
    }

    /// The answer to `/metrics`.
    pub fn metrics(&self) -> String {
        let collectors: Vec<_> = self.look(|registry| registry.collect.values().cloned().collect());
        let mut encoder = Encoder::default();
        for collector in collectors {
            // What it added before a panic is whole samples.
            if catch_unwind(AssertUnwindSafe(|| collector.collect(&mut encoder))).is_err() {
                tracing::error!("a collector of metrics panicked");
            }
        }
        encoder.finish()
    }

    fn options(&self) -> Options {
        self.options
    }

    fn check_live(&self) -> Checked {
        self.check(|registry| registry.live.values().cloned().collect())
    }

    fn check_ready(&self) -> Checked {
        self.check(|registry| registry.ready.values().cloned().collect())
    }

    fn check(&self, of: impl FnOnce(&Registry) -> Vec<Check>) -> Checked {
        let checks = self.look(of);
        let mut outcomes = vec![("ping".to_owned(), Ok(()))];
        for check in checks {
            check(&mut outcomes);
        }
        Checked { outcomes }
    }

    fn describe_all(&self) -> Value {
        let parts: Vec<_> = self.look(|registry| {
            registry
                .describe
                .iter()
                .map(|(name, part)| (name.clone(), part.clone()))
                .collect()
        });
        parts
            .into_iter()
            .map(|(name, part)| (name, described(&part)))
            .collect::<Map<_, _>>()
            .into()
    }

    fn describe_one(&self, name: &str) -> Option<Value> {
        let part = self.look(|registry| registry.describe.get(name).cloned());
        part.map(|part| described(&part))
    }

    fn look<R>(&self, look: impl FnOnce(&Registry) -> R) -> R {
        look(
            &self
                .shared
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }

    fn change<R>(&self, change: impl FnOnce(&mut Registry) -> R) {
        // What was replaced is dropped after the lock: its drop may be anybody's code.
        let _replaced = change(
            &mut self
                .shared
                .write()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

fn single(name: String, check: impl Fn() -> Outcome + Send + Sync + 'static) -> Check {
    Arc::new(move |outcomes| {
        let outcome =
            catch_unwind(AssertUnwindSafe(&check)).unwrap_or_else(|_| Err("the check panicked".to_owned()));
        outcomes.push((name.clone(), outcome));
    })
}

fn described(part: &Describe) -> Value {
    catch_unwind(AssertUnwindSafe(|| part())).unwrap_or_else(|_| Value::from("the description panicked"))
}

fn outcome(component: &ComponentStatus) -> Outcome {
    if component.is_healthy() {
        Ok(())
    } else {
        Err(component.reason())
    }
}
