//! [`Gate`]: what several machines may ask together of a server that serves none of them.

mod core;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::time::Instant;

use self::core::Core;
use crate::BackoffConfig;

/// What machines of one server share: while it serves none of them they ask no more often together than one may alone.
/// Clones are the same gate.
///
/// While any of them is served, each waits by its own failures only. Once none is, and attempts fail, they share the
/// budget of requests: one after another tries, with growing waits between them, whoever has not for the longest time
/// first; as soon as one is served, the others follow.
///
/// # Memory
/// About 50 bytes a machine, and as much for each request of the last minute that did no good.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    core: Mutex<Core>,
    /// Whether it is news to anybody that a machine is served again. Only a hint, written under the lock: whoever reads an
    /// old value is told by the next event.
    awaited: AtomicBool,
}

impl Gate {
    /// A gate with the budget of `config`.
    #[must_use]
    pub fn new(config: &BackoffConfig) -> Self {
        Self(Arc::new(Shared {
            core: Mutex::new(Core::new(config)),
            awaited: AtomicBool::new(false),
        }))
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.0.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A machine's place at a gate, given up when dropped. Without a gate nothing is ever held.
#[derive(Debug, Default)]
pub(super) struct Place {
    gate: Option<(Gate, usize)>,
    /// Whether the machine is being served, as the gate knows.
    served: bool,
}

impl Place {
    pub(super) fn at(gate: &Gate) -> Self {
        let place = gate.core().admit();
        Self {
            gate: Some((gate.clone(), place)),
            served: false,
        }
    }

    /// Asks to send a request at `now`.
    ///
    /// # Errors
    /// If it must wait: the time at which it should ask again.
    pub(super) fn ask(&mut self, now: Instant, rng: &mut fastrand::Rng) -> Result<(), Instant> {
        self.served = false;
        self.with(Ok(()), |core, place| core.ask(place, now, rng))
    }

    /// Notes a request that follows a good answer at once.
    pub(super) fn follows(&mut self, now: Instant) {
        self.served = false;
        self.with((), |core, place| core.follows(place, now));
    }

    /// Notes that more is to be asked for of a good answer.
    pub(super) fn goes_on(&mut self, now: Instant) {
        self.served = false;
        self.with((), |core, place| core.goes_on(place, now));
    }

    /// Notes that the request is handed to the transport. If it `can_wait` it is looked at again: the server may have gone
    /// while it waited for a permit.
    ///
    /// # Errors
    /// If it must not be sent: the time at which to ask again.
    pub(super) fn sent(&mut self, now: Instant, can_wait: bool) -> Result<(), Instant> {
        self.with(Ok(()), |core, place| core.sent(place, now, can_wait))
    }

    /// Notes that the answer has begun. Whether others need not wait any longer.
    pub(super) fn opened(&mut self, now: Instant) -> bool {
        self.with(false, |core, place| core.opened(place, now))
    }

    /// Notes that the answer is good. Whether others need not wait any longer.
    pub(super) fn is_served(&mut self, now: Instant) -> bool {
        let is_awaited = |(gate, _): &(Gate, usize)| gate.0.awaited.load(Ordering::Relaxed);
        if self.served && !self.gate.as_ref().is_some_and(is_awaited) {
            return false;
        }
        self.served = true;
        self.with(false, |core, place| core.served(place, now))
    }

    /// Notes that the request has ended, for whatever reason.
    pub(super) fn rests(&mut self, now: Instant) {
        self.served = false;
        self.with((), |core, place| core.rests(place, now));
    }

    /// Notes that an attempt failed; the server may have said before when it wants no other.
    pub(super) fn failed(&mut self, now: Instant, not_before: Option<Instant>) {
        self.with((), |core, place| core.failed(place, now, not_before));
    }

    /// Whether it need not wait any longer; said once.
    pub(super) fn may_go(&mut self) -> bool {
        self.with(false, Core::may_go)
    }

    fn with<R>(&mut self, without: R, take: impl FnOnce(&mut Core, usize) -> R) -> R {
        let Some((gate, place)) = &self.gate else {
            return without;
        };
        let mut core = gate.core();
        let result = take(&mut core, *place);
        gate.0.awaited.store(core.is_awaited(), Ordering::Relaxed);
        result
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.with((), Core::leave);
    }
}
