//! What goes into a machine and what comes out of it: [`Input`], [`Effect`], [`Request`].

use std::time::Duration;

use informer_store::Delta;

use crate::{
    Error, Event, GetRequest, Got, ListRequest, Listed, SyncState, WatchRequest, quarantine::QuarantineEvent,
};

/// What happens to a [`Machine`](crate::Machine).
#[derive(Debug)]
#[non_exhaustive]
pub enum Input<K> {
    /// Begin.
    Start,
    /// The request is handed to the transport. [`Effect::Abort`] in return means that it must not leave: it was put off
    /// because the server has gone meanwhile, and its other inputs are not given.
    Sent,
    /// The answer has begun.
    Opened,
    /// A part of a list.
    Listed(Listed<K>),
    /// A part of a watch.
    Event(Event<K>),
    /// The answer to a single read.
    Got(Option<Got<K>>),
    /// The answer has ended without an error.
    Closed,
    /// The request failed, before or during its answer.
    Failed(Error),
    /// Delivering took so long that nothing could be read meanwhile: not the server's fault.
    Blocked(Duration),
    /// Another source of the same store found that the server's history went back: everything is to be listed anew, even
    /// what is being listed, and taken as it is.
    Doubt,
    /// The server was seen to serve another machine of the same [`Gate`](crate::Gate): what waits for that need not wait any
    /// longer.
    Recovered,
    /// A deadline may have passed.
    Tick,
    /// Stop.
    Shutdown,
}

/// What a [`Machine`](crate::Machine) wants done.
#[derive(Debug)]
#[non_exhaustive]
pub enum Effect<K> {
    /// Send this, and drop whatever request there is.
    Send(Request),
    /// Drop the request there is.
    Abort,
    /// Hand this to the store.
    Deliver(Delta<K>),
    /// Give [`Input::Recovered`] to the other machines of the same [`Gate`](crate::Gate).
    Recovered,
    /// The state changed.
    State(SyncState),
    /// The quarantine changed.
    Quarantine(QuarantineEvent),
}

/// A request to the source.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request {
    /// A list or a page of one.
    List(ListRequest),
    /// A watch.
    Watch(WatchRequest),
    /// A single read.
    Get(GetRequest),
}
