#![doc = include_str!("../README.md")]
#![expect(dead_code, reason = "sizes are for the memory accounting, which comes next")]

mod apply;
mod cache;
mod catch_up;
mod change;
mod delta;
mod index;
mod key;
mod lister;
mod log;
mod object;
mod persist;
mod publish;
mod query;
mod seam;
mod snapshot;
mod state;
mod stats;
mod store;
mod subscribe;
mod sync;
mod version;
mod wait;

pub use crate::{
    apply::{RelistOrder, UidChange, Unchanged},
    cache::{Cache, CacheBuilder, TimedOut},
    change::Change,
    delta::{Batch, Cause, Delta, Entry, Replacement, ResyncPart, Tombstone},
    index::{Index, IndexHandle, Lookup, OrderedIndex},
    key::{KeyRef, ObjectKey, ParseKeyError},
    lister::{Lister, NamespaceLister},
    object::{KeyError, Object, OwnerRef, Unkeyed},
    query::{Query, QueryIter},
    seam::{Apply, Closed, ReflectorStore},
    snapshot::Snapshot,
    stats::Stats,
    store::{Direct, IndexExists, Indexer, NoIndex, Store, TextValues},
    subscribe::{Departure, EventHandler, Handled, HandlerPanic, Subscription, SubscriptionHandle},
    version::ResourceVersion,
};
