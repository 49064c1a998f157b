//! The record of an election: the fields of a `coordination.k8s.io/v1` Lease that client-go reads and writes.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};

/// What tells one term of leadership from every other, for those who guard a resource against leaders of the past.
///
/// A term has the uid of its lease, the count of transitions at its start, and the identity of its holder. Each time
/// the lease is taken the count goes up, also when the same process takes it again. Two tokens of one lease can be put
/// in order ([`is_newer_than`](Self::is_newer_than)); a store that remembers the newest token it has seen can refuse
/// the writes of an older one.
///
/// # Examples
///
/// ```
/// use informer::manager::leader::FencingToken;
/// use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
///
/// let mut lease = Lease::default();
/// lease.metadata.uid = Some("6f1c".to_owned());
/// lease.spec = Some(LeaseSpec {
///     holder_identity: Some("blue".to_owned()),
///     lease_transitions: Some(3),
///     ..LeaseSpec::default()
/// });
/// let token = FencingToken::of(&lease);
/// assert_eq!(token.to_string(), "6f1c/3/blue");
/// assert!(token.matches(&lease));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FencingToken {
    lease_uid: String,
    transitions: u32,
    holder: String,
}

impl FencingToken {
    /// The token of the term that a lease read from the server describes.
    pub fn of(lease: &Lease) -> Self {
        Self {
            lease_uid: lease.metadata.uid.clone().unwrap_or_default(),
            transitions: transitions(lease),
            holder: holder(lease).to_owned(),
        }
    }

    /// The uid of the lease: another one means that the lease was deleted and made anew.
    pub fn lease_uid(&self) -> &str {
        &self.lease_uid
    }

    /// How often the lease changed hands up to this term.
    pub const fn transitions(&self) -> u32 {
        self.transitions
    }

    /// The identity of the holder.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Whether a lease read from the server is still in this term: the check before a write that must not be done by
    /// a leader of the past.
    pub fn matches(&self, lease: &Lease) -> bool {
        lease.metadata.uid.as_deref().unwrap_or_default() == self.lease_uid
            && transitions(lease) == self.transitions
            && holder(lease) == self.holder
    }

    /// Whether this term began after `other`; `None` if they are of different leases and have no order.
    pub fn is_newer_than(&self, other: &Self) -> Option<bool> {
        (self.lease_uid == other.lease_uid).then_some(self.transitions > other.transitions)
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.lease_uid, self.transitions, self.holder)
    }
}

/// Who holds the lease; empty if nobody does. A released lease has an empty holder, or none.
pub(super) fn holder(lease: &Lease) -> &str {
    lease
        .spec
        .as_ref()
        .and_then(|spec| spec.holder_identity.as_deref())
        .unwrap_or_default()
}

/// The count of transitions; a missing or negative one, which no contender writes, reads as 0.
pub(super) fn transitions(lease: &Lease) -> u32 {
    let count = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.lease_transitions)
        .unwrap_or_default();
    u32::try_from(count).unwrap_or_default()
}

/// How long the holder asks others to wait. `None` if the record does not say.
pub(super) fn duration(lease: &Lease) -> Option<Duration> {
    let seconds = lease.spec.as_ref()?.lease_duration_seconds?;
    u64::try_from(seconds)
        .ok()
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
}

/// When the holder says it took the lease: with its identity, the mark by which a process knows its own takings.
pub(super) fn acquired(lease: &Lease) -> Option<Timestamp> {
    Some(lease.spec.as_ref()?.acquire_time.as_ref()?.0)
}

/// Whether the two say the same about the election. Labels and other metadata do not count: editing them must not
/// keep a dead leader alive.
pub(super) fn same_record(one: &Lease, other: &Lease) -> bool {
    one.spec == other.spec && one.metadata.uid == other.metadata.uid
}

/// Writes a new term into `lease`: the next transition, or number 0 on a lease that does not exist yet.
pub(super) fn take(lease: &mut Lease, identity: &str, lease_duration: Duration, wall: Timestamp) {
    let wall = after_last(lease, wall);
    let next = match &lease.spec {
        Some(_) => transitions(lease).saturating_add(1),
        None => 0,
    };
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(identity.to_owned());
    spec.lease_duration_seconds = Some(seconds(lease_duration));
    spec.lease_transitions = Some(i32::try_from(next).unwrap_or(i32::MAX));
    spec.acquire_time = Some(MicroTime(wall));
    spec.renew_time = Some(MicroTime(wall));
}

/// Writes a renewal into `lease`: the same term, a later time.
pub(super) fn renew(lease: &mut Lease, lease_duration: Duration, wall: Timestamp) {
    let wall = after_last(lease, wall);
    let spec = lease.spec.get_or_insert_default();
    spec.lease_duration_seconds = Some(seconds(lease_duration));
    spec.renew_time = Some(MicroTime(wall));
}

/// Writes a release into `lease`: nobody holds it, others need not wait, the count of transitions stays.
pub(super) fn release(lease: &mut Lease, wall: Timestamp) {
    let wall = after_last(lease, wall);
    let spec: &mut LeaseSpec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(String::new());
    spec.lease_duration_seconds = Some(1);
    spec.acquire_time = Some(MicroTime(wall));
    spec.renew_time = Some(MicroTime(wall));
}

/// The time to write: whole microseconds, and never the one that is there, so that each write changes the record even
/// if this machine's wall clock stands still or was set back.
fn after_last(lease: &Lease, wall: Timestamp) -> Timestamp {
    let wall = Timestamp::from_microsecond(wall.as_microsecond()).unwrap_or(wall);
    let last = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.renew_time.as_ref())
        .map(|time| time.0);
    if last == Some(wall) {
        wall.checked_add(Duration::from_micros(1)).unwrap_or(wall)
    } else {
        wall
    }
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}
