//! Runs what a controller process consists of: ordered start and stop, signals, leader election, health, metrics.
//!
//! A [`Manager`] runs [`Component`]s. Each is a task of its own, in a [`Group`] that says when it starts; the order of
//! stop is the reverse. One that fails or panics degrades only itself. With an [`Elector`](leader::Elector) the group
//! of controllers runs only while this process leads. A [`Health`](health::Health) tells probes, Prometheus and people
//! what goes on.
//!
//! This is the one module that spawns tasks and listens to signals; every layer below gives futures.
//!
//! # Examples
//!
//! A whole process: a cache that is warm on every replica, a controller that runs on the leader, probes and metrics.
//!
//! ```
//! use informer::{
//!     Informer, Manager,
//!     controller::{Action, Context as Run, Controller, Failure, reconcile_fn, trigger},
//!     manager::{Component, Context, health::{Health, Request, Resource}, leader::{Elector, LeaseLock}},
//!     reflector::ApiListWatch,
//! };
//! use k8s_openapi::api::core::v1::ConfigMap;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = informer_testkit::ApiServer::new().client(); // or kube_client::Client::try_default().await?
//!
//! let maps = Informer::new(ApiListWatch::<ConfigMap>::all(client.clone()));
//! let changes = maps.clone();
//! let keeper = move |context: &Context| {
//!     let term = context.term().cloned();
//!     let reconcile = reconcile_fn(move |run: Run| {
//!         let term = term.clone();
//!         async move {
//!             // Before a write: is the lease still ours?
//!             if let Some(term) = &term {
//!                 term.check().map_err(Failure::retry)?;
//!             }
//!             println!("{} needs nothing", run.key());
//!             Ok(Action::done())
//!         }
//!     });
//!     Controller::builder("keeper", reconcile).source(changes.subscribe(), trigger::itself()).build()
//! };
//!
//! let manager = Manager::builder()
//!     .leader_election(Elector::builder(LeaseLock::new(client, "default", "keeper")).build()?)
//!     .component(Component::informer("maps", &maps))
//!     .component(Component::controller("keeper", keeper))
//!     .build()?;
//!
//! let health = Health::new();
//! health.manager(&manager.handle());
//! health.informer(&Resource::of::<ConfigMap>(), &maps);
//!
//! let handle = manager.handle();
//! manager
//!     .run_until(async {
//!         handle.election().unwrap().leading().await;
//!         assert_eq!(health.respond(&Request::get("/readyz")).body, "ok");
//!         assert!(health.metrics().contains("leader_election_master_status{name=\"keeper\"} 1"));
//!     })
//!     .await?;
//! # Ok(())
//! # }
//! ```

mod backoff;
mod board;
mod component;
mod context;
pub mod health;
pub mod leader;
mod ready_made;
mod run;
mod signal;
mod status;
mod supervise;
mod text;

pub use self::{
    backoff::Backoff,
    board::AddError,
    component::{BoxError, Component, Group, OnFailure, Readiness, Runnable},
    context::Context,
    run::{Handle, Manager, ManagerBuilder, ManagerError},
    signal::Signals,
    status::{ComponentState, ComponentStatus, ElectionStatus, Phase, Status},
};
