//! Futures that wait for a key, in the order they came.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use slab::Slab;

#[derive(Debug)]
struct Waiter {
    waker: Waker,
    notified: bool,
    /// Tells two tenants of one slab entry apart in `order`.
    stamp: u64,
}

/// Registered wakers. Everything is O(1) amortised; nothing is allocated while nobody waits.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    waiters: Slab<Waiter>,
    /// Those not notified yet, oldest first; entries that moved on are skipped.
    order: VecDeque<(usize, u64)>,
    notified: usize,
    next_stamp: u64,
}

impl Waiters {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Waiters that were woken and did not look yet.
    pub(crate) fn notified(&self) -> usize {
        self.notified
    }

    /// (Re-)registers a waiter that found nothing.
    pub(crate) fn register(&mut self, id: &mut Option<usize>, cx: &Context<'_>) {
        if let Some(id) = *id {
            let waiter = &mut self.waiters[id];
            waiter.waker.clone_from(cx.waker());
            if std::mem::take(&mut waiter.notified) {
                self.notified -= 1;
                // It came first and found nothing: it stays first.
                self.order.push_front((id, waiter.stamp));
            }
            return;
        }
        self.next_stamp += 1;
        let stamp = self.next_stamp;
        let new = self.waiters.insert(Waiter {
            waker: cx.waker().clone(),
            notified: false,
            stamp,
        });
        self.order.push_back((new, stamp));
        if self.order.len() > 2 * self.waiters.len() + 16 {
            let waiters = &self.waiters;
            self.order.retain(|(id, stamp)| waits(waiters, *id, *stamp));
        }
        *id = Some(new);
    }

    /// Takes a waiter out: it got what it wanted, or was dropped.
    pub(crate) fn remove(&mut self, id: &mut Option<usize>) {
        if let Some(id) = id.take() {
            self.notified -= usize::from(self.waiters.remove(id).notified);
            if self.waiters.is_empty() {
                self.order.clear();
            }
        }
    }

    /// The waker of the waiter that has waited longest, `last` only if there is no other.
    pub(crate) fn notify_one(&mut self, last: Option<usize>) -> Option<Waker> {
        let mut spared = None;
        while let Some((id, stamp)) = self.order.pop_front() {
            if !waits(&self.waiters, id, stamp) {
                continue;
            }
            if Some(id) == last {
                spared = Some((id, stamp));
                continue;
            }
            if let Some(spared) = spared {
                self.order.push_front(spared);
            }
            return Some(self.mark(id));
        }
        spared.map(|(id, _)| self.mark(id))
    }

    /// Wakes one certain waiter.
    pub(crate) fn notify(&mut self, id: usize) -> Option<Waker> {
        (!self.waiters.get(id)?.notified).then(|| self.mark(id))
    }

    /// The wakers of everybody.
    pub(crate) fn notify_all(&mut self) -> Vec<Waker> {
        self.order.clear();
        self.notified = self.waiters.len();
        self.waiters
            .iter_mut()
            .map(|(_, waiter)| {
                waiter.notified = true;
                std::mem::replace(&mut waiter.waker, Waker::noop().clone())
            })
            .collect()
    }

    fn mark(&mut self, id: usize) -> Waker {
        let waiter = &mut self.waiters[id];
        waiter.notified = true;
        self.notified += 1;
        // It needs none until it registers again.
        std::mem::replace(&mut waiter.waker, Waker::noop().clone())
    }
}

fn waits(waiters: &Slab<Waiter>, id: usize, stamp: u64) -> bool {
    waiters
        .get(id)
        .is_some_and(|waiter| waiter.stamp == stamp && !waiter.notified)
}
