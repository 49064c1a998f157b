#![doc = include_str!("../README.md")]

mod apply;
mod cache;
mod catch_up;
mod change;
mod delta;
mod expiring;
mod index;
mod key;
mod lister;
mod log;
mod memory;
mod object;
mod overlay;
mod persist;
mod publish;
mod query;
mod seam;
mod slots;
mod snapshot;
mod stamp;
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
    expiring::ExpiringStore,
    index::{Index, IndexHandle, Lookup, OrderedIndex},
    key::{KeyRef, ObjectKey, ParseKeyError},
    lister::{Lister, NamespaceLister},
    memory::{IndexMemory, Memory},
    object::{KeyError, Object, OwnerRef, Unkeyed},
    overlay::Overlay,
    query::{Query, QueryIter},
    seam::{Apply, Closed, ReflectorStore},
    snapshot::Snapshot,
    stamp::{Stamp, Stamped},
    stats::Stats,
    store::{Direct, IndexExists, Indexer, NoIndex, Store, TextValues},
    subscribe::{Departure, EventHandler, Handled, HandlerPanic, Subscription, SubscriptionHandle},
    version::ResourceVersion,
};
