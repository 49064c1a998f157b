//! What may cross threads.

mod common;

use common::Obj;
use informer_deltafifo::{Config, Consumer, DeltaFifo, Lease, Monitor, Producer, Stats, TryPushError};

fn sendable<T: Send + Sync + Unpin>() {}

#[test]
fn every_end_may_be_sent_and_shared() {
    sendable::<DeltaFifo<Obj>>();
    sendable::<Producer<Obj>>();
    sendable::<Consumer<Obj>>();
    sendable::<Monitor<Obj>>();
    sendable::<Lease<'_, Obj>>();
    sendable::<TryPushError<Obj>>();
    sendable::<(Config, Stats)>();
}
