#![doc = include_str!("../README.md")]

pub mod informer;
pub mod manager;

#[doc(inline)]
pub use {
    informer_controller as controller, informer_deltafifo as deltafifo, informer_reflector as reflector,
    informer_store as store, informer_workqueue as workqueue,
};

pub use crate::{
    controller::{Action, Controller, Reconciler},
    informer::Informer,
    manager::Manager,
    store::{Cache, Change, ObjectKey},
    workqueue::WorkQueue,
};
