//! [`Commons`]: what the sources of one client have in common.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::ListPermits;

/// What all reflectors of one client share: a limit on the lists in flight, and what the server has refused. Not the
/// budget of requests while the server fails: that is each reflector's own.
///
/// Clones share it. [`ApiClient`](crate::ApiClient) has one; a hand-written source hands out its own by
/// [`ListWatch::commons`](crate::ListWatch::commons).
///
/// # Memory
/// At most 64 API groups are remembered, each until its refusal is old.
#[derive(Clone, Debug, Default)]
pub struct Commons {
    permits: ListPermits,
    refusals: Arc<Mutex<Refusals>>,
    /// The API group this handle speaks for.
    group: Arc<str>,
}

/// Until when streaming lists are not asked for.
#[derive(Debug, Default)]
struct Refusals {
    everywhere: Option<Instant>,
    groups: Vec<(Arc<str>, Instant)>,
}

impl Commons {
    /// Nothing refused yet, and at most `lists` lists in flight at a time.
    #[must_use]
    pub fn new(lists: usize) -> Self {
        Self {
            permits: ListPermits::new(lists),
            ..Self::default()
        }
    }

    /// The same, for a source of the API group `group`. An extension server answers for its own group alone; what
    /// the API server itself refuses (the core group, groups without a dot, and those of `k8s.io`) counts for every
    /// group.
    #[must_use]
    pub fn of_group(&self, group: &str) -> Self {
        Self {
            group: group.into(),
            ..self.clone()
        }
    }

    /// The limit on lists in flight.
    #[must_use]
    pub fn permits(&self) -> &ListPermits {
        &self.permits
    }

    /// Whether a streaming list was refused not long ago.
    pub(crate) fn refuses_streaming(&self, now: Instant) -> bool {
        let refusals = self.refusals();
        let group = refusals.groups.iter().find(|(group, _)| *group == self.group);
        [refusals.everywhere, group.map(|(_, until)| *until)]
            .into_iter()
            .flatten()
            .any(|until| now < until)
    }

    /// Remembers that a streaming list was refused.
    pub(crate) fn refuse_streaming(&self, now: Instant, until: Instant) {
        let mut refusals = self.refusals();
        if is_builtin(&self.group) {
            refusals.everywhere = refusals.everywhere.max(Some(until));
            return;
        }
        refusals
            .groups
            .retain(|(group, until)| now < *until && *group != self.group);
        if refusals.groups.len() >= GROUPS_MAX {
            refusals.groups.remove(0);
        }
        refusals.groups.push((Arc::clone(&self.group), until));
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the API server itself serves `group`, as far as the name tells.
fn is_builtin(group: &str) -> bool {
    !group.contains('.') || (group.ends_with(".k8s.io") && !group.ends_with("metrics.k8s.io"))
}

/// More extension servers than any cluster has.
const GROUPS_MAX: usize = 64;
