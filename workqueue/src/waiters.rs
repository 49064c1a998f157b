//! Futures that wait for a key, in the order they came.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use slab::Slab;

#[derive(Debug)]
struct Waiter {
    waker: Waker,
    notified: bool,
    /// In which round it was notified, see [`Waiters::pass_over`].
    round: u64,
    /// Stands in `order`.
    queued: bool,
    /// Tells two tenants of one slab entry apart in `order`.
    stamp: u64,
}

/// Registered wakers. Everything is O(1) amortised; nothing is allocated while nobody waits.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    waiters: Slab<Waiter>,
    /// Those not notified yet, oldest first; entries that moved on are skipped.
    order: VecDeque<(usize, u64)>,
    /// Notified ones, and how many of them in the present round.
    notified: usize,
    coming: usize,
    round: u64,
    next_stamp: u64,
}

impl Waiters {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Waiters that were not woken.
    pub(crate) fn asleep(&self) -> usize {
        self.waiters.len() - self.notified
    }

    /// Waiters that were woken and did not look yet, those that were passed over left out.
    pub(crate) fn coming(&self) -> usize {
        self.coming
    }

    /// Those that were woken so far and did not look are not relied on any more.
    pub(crate) fn pass_over(&mut self) {
        self.round += 1;
        self.coming = 0;
    }

    /// (Re-)registers a waiter that found nothing.
    pub(crate) fn register(&mut self, id: &mut Option<usize>, cx: &Context<'_>) {
        if let Some(id) = *id {
            let waiter = &mut self.waiters[id];
            waiter.waker.clone_from(cx.waker());
            if std::mem::take(&mut waiter.notified) {
                self.notified -= 1;
                self.coming -= usize::from(waiter.round == self.round);
                // It came first and found nothing: it stays first.
                if !std::mem::replace(&mut waiter.queued, true) {
                    self.order.push_front((id, waiter.stamp));
                }
            }
            return;
        }
        self.next_stamp += 1;
        let stamp = self.next_stamp;
        let new = self.waiters.insert(Waiter {
            waker: cx.waker().clone(),
            notified: false,
            round: 0,
            queued: true,
            stamp,
        });
        self.order.push_back((new, stamp));
        if self.order.len() > 2 * self.waiters.len() + 16 {
            let waiters = &self.waiters;
            self.order
                .retain(|(id, stamp)| waiters.get(*id).is_some_and(|waiter| waiter.stamp == *stamp));
        }
        *id = Some(new);
    }

    /// Takes a waiter out: it got what it wanted, or was dropped.
    pub(crate) fn remove(&mut self, id: &mut Option<usize>) {
        if let Some(id) = id.take() {
            let waiter = self.waiters.remove(id);
            self.notified -= usize::from(waiter.notified);
            self.coming -= usize::from(waiter.notified && waiter.round == self.round);
            if self.waiters.is_empty() {
                self.order.clear();
            }
        }
    }

    /// The waker of the waiter that has waited longest, `last` only if there is no other.
    pub(crate) fn notify_one(&mut self, last: Option<usize>) -> Option<Waker> {
        let mut spared = None;
        while let Some((id, stamp)) = self.order.pop_front() {
            let Some(waiter) = self.waiters.get_mut(id).filter(|waiter| waiter.stamp == stamp) else {
                continue;
            };
            waiter.queued = false;
            if waiter.notified {
                continue;
            }
            if Some(id) == last {
                spared = Some((id, stamp));
                continue;
            }
            if let Some(spared) = spared {
                self.queue_first(spared);
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
        (self.notified, self.coming) = (self.waiters.len(), self.waiters.len());
        let round = self.round;
        self.waiters
            .iter_mut()
            .map(|(_, waiter)| {
                (waiter.notified, waiter.round, waiter.queued) = (true, round, false);
                std::mem::replace(&mut waiter.waker, Waker::noop().clone())
            })
            .collect()
    }

    fn queue_first(&mut self, (id, stamp): (usize, u64)) {
        self.waiters[id].queued = true;
        self.order.push_front((id, stamp));
    }

    fn mark(&mut self, id: usize) -> Waker {
        let waiter = &mut self.waiters[id];
        (waiter.notified, waiter.round) = (true, self.round);
        self.notified += 1;
        self.coming += 1;
        // It needs none until it registers again.
        std::mem::replace(&mut waiter.waker, Waker::noop().clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_that_is_woken_by_name_again_and_again_stands_in_line_once() {
        let cx = Context::from_waker(Waker::noop());
        let mut waiters = Waiters::default();
        let mut id = None;
        waiters.register(&mut id, &cx);
        for _ in 0..1_000 {
            assert!(waiters.notify(id.expect("it is registered")).is_some());
            waiters.register(&mut id, &cx);
        }
        assert_eq!((waiters.order.len(), waiters.asleep()), (1, 1));
        assert!(waiters.notify_one(None).is_some());
        assert!(waiters.notify_one(None).is_none());
        waiters.remove(&mut id);
        assert_eq!((waiters.coming(), waiters.len()), (0, 0));
    }
}
