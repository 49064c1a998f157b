//! Which key goes first: lanes, flows, groups.

use std::hash::{BuildHasher, Hash};
use std::sync::OnceLock;

use foldhash::quality::RandomState;

/// Which lane is served when several have keys. Within a lane flows take turns; within a flow the oldest key goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// One lane: the oldest key goes first, whatever its [`Priority`](crate::Priority). client-go's `workqueue`.
    Fifo,
    /// The most urgent lane that has keys goes first, always. A steady load on it starves the others, unless
    /// [`aging`](crate::Builder::aging) is set. controller-runtime's `priorityqueue`.
    Strict,
    /// Every lane that has keys gets at least its share of the runs.
    Lanes(Shares),
}

impl Default for Order {
    fn default() -> Self {
        Self::Lanes(Shares::default())
    }
}

/// How many of every `urgent + normal + resync` runs each lane is guaranteed; what a lane does not use goes to the
/// others. Default: 8, 4, 1, so the resync lane is never kept waiting longer than twelve other keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    pub(crate) weights: [u32; 3],
}

impl Shares {
    /// Shares of the three lanes. Zero counts as one: no lane can be starved.
    #[must_use]
    pub fn new(urgent: u16, normal: u16, resync: u16) -> Self {
        Self {
            weights: [urgent, normal, resync].map(|weight| u32::from(weight.max(1))),
        }
    }
}

impl Default for Shares {
    fn default() -> Self {
        Self::new(8, 4, 1)
    }
}

/// The flow a key belongs to: a namespace, a tenant, a source. Flows with waiting keys are served in turn, so one that
/// adds a lot delays only itself.
///
/// # Examples
/// ```
/// use informer_workqueue::{Flow, WorkQueue};
///
/// let queue = WorkQueue::<(String, String)>::builder()
///     .flow(|key| Flow::of(&key.0).weight(2).running_limit(4))
///     .build();
/// # drop(queue);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Flow {
    pub(crate) id: u64,
    pub(crate) weight: u32,
    pub(crate) limit: u32,
}

impl Flow {
    /// The flow named by `name`. Names are told apart by a 64-bit hash keyed at random per process.
    pub fn of(name: impl Hash) -> Self {
        Self {
            id: identity(name),
            weight: 1,
            limit: u32::MAX,
        }
    }

    /// Keys served per turn. Default: 1. Zero counts as one.
    pub fn weight(mut self, keys: u32) -> Self {
        self.weight = keys.max(1);
        self
    }

    /// Keys of this flow that may run at a time. Default: no limit. Zero counts as one.
    pub fn running_limit(mut self, keys: u32) -> Self {
        self.limit = keys.max(1);
        self
    }
}

/// Keys that must not run together: of one group, at most `limit` keys run at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Group {
    pub(crate) id: u64,
    pub(crate) limit: u32,
}

impl Group {
    /// The group named by `name`, one running key at a time.
    pub fn of(name: impl Hash) -> Self {
        Self {
            id: identity(name),
            limit: 1,
        }
    }

    /// Keys of this group that may run at a time. Default: 1. Zero counts as one.
    pub fn running_limit(mut self, keys: u32) -> Self {
        self.limit = keys.max(1);
        self
    }
}

fn identity(name: impl Hash) -> u64 {
    static SEED: OnceLock<RandomState> = OnceLock::new();
    SEED.get_or_init(RandomState::default).hash_one(name)
}
