//! [`Core`]: who may ask when, by what became of what was asked.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::{
    BackoffConfig,
    backoff::{FOREVER, MINUTE},
};

#[derive(Debug)]
pub(super) struct Core {
    budget: usize,
    initial: Duration,
    places: Vec<Standing>,
    /// What was asked since a machine was last served, in order.
    asked: VecDeque<Asked>,
    /// When one of those that were being served last ceased to be, as far as that was told.
    lit: Option<Instant>,
    /// Attempts since a machine was last served, and when the next may be made.
    tries: u32,
    next: Option<Instant>,
    /// Since when one waits whose turn it is while others would go.
    passed_over: Option<Instant>,
}

/// How a machine fares.
#[derive(Debug, Default)]
struct Standing {
    /// Until when it counts as being served.
    served_until: Option<Instant>,
    /// It has failed since it was last served.
    failed: bool,
    /// It was told to wait.
    held: bool,
    /// It need not wait any longer.
    may_go: bool,
    /// When it was last let through.
    last: Option<Instant>,
}

#[derive(Debug)]
struct Asked {
    place: usize,
    /// When it was sent; `None` while it waits for something else, such as a permit.
    at: Option<Instant>,
    /// Whether nothing has become of it yet.
    outstanding: bool,
}

impl Asked {
    fn is_younger(&self, age: Duration, now: Instant) -> bool {
        self.at.is_none_or(|at| now.saturating_duration_since(at) < age)
    }
}

impl Core {
    pub(super) fn new(config: &BackoffConfig) -> Self {
        Self {
            budget: config.requests_per_minute.max(1),
            initial: config.initial,
            places: Vec::new(),
            asked: VecDeque::new(),
            lit: None,
            tries: 0,
            next: None,
            passed_over: None,
        }
    }

    pub(super) fn admit(&mut self) -> usize {
        self.places.push(Standing::default());
        self.places.len() - 1
    }

    pub(super) fn leave(&mut self, place: usize) {
        self.places[place] = Standing::default();
        self.ends(place);
    }

    pub(super) fn ask(&mut self, place: usize, now: Instant, rng: &mut fastrand::Rng) -> Result<(), Instant> {
        self.rests(place, now);
        self.asked
            .retain(|asked| asked.outstanding || asked.is_younger(MINUTE, now));
        let free = if self.is_lit(now) {
            // The budget must not be gone by the time that all have noticed that the server is.
            self.is_outstanding_below(self.budget, now)
        } else if self.is_failing() {
            self.is_in_budget(now).and_then(|()| self.is_turn_of(place, now))
        } else {
            // Something must be left of it if this fails.
            self.is_outstanding_below(self.budget.div_ceil(2), now)
        };
        let standing = &mut self.places[place];
        standing.may_go = false;
        standing.held = free.is_err();
        free?;
        standing.last = Some(now);
        self.passed_over = None;
        self.asks(place);
        if !self.is_lit(now) && self.is_failing() {
            self.next = Some(now + self.pace().mul_f64(0.5 + rng.f64()));
            self.tries = self.tries.saturating_add(1);
        }
        Ok(())
    }

    pub(super) fn follows(&mut self, place: usize, now: Instant) {
        self.ends(place);
        self.asks(place);
        // A server that has just been good is not gone.
        self.places[place].served_until = Some(now + FOLLOWING);
    }

    pub(super) fn sent(&mut self, place: usize, now: Instant) {
        let mut mine = self.asked.iter_mut().rev().filter(|asked| asked.place == place);
        if let Some(asked) = mine.next().filter(|asked| asked.at.is_none()) {
            asked.at = Some(now);
        }
    }

    pub(super) fn opened(&mut self, place: usize, now: Instant) -> bool {
        for asked in self.asked.iter_mut().filter(|asked| asked.place == place) {
            asked.outstanding = false;
        }
        // Where attempts fail an answer must first prove to be good.
        (self.is_lit(now) || !self.is_failing()) && self.let_go(place, |other| other.held)
    }

    pub(super) fn served(&mut self, place: usize, now: Instant) -> bool {
        let was_lit = self.is_lit(now);
        let standing = &mut self.places[place];
        standing.served_until = Some(now + FOREVER);
        standing.failed = false;
        self.asked.clear();
        self.tries = 0;
        self.next = None;
        self.passed_over = None;
        self.let_go(place, |other| other.held || (!was_lit && other.failed))
    }

    pub(super) fn rests(&mut self, place: usize, now: Instant) {
        if let Some(until) = self.places[place].served_until.take() {
            self.lit = self.lit.max(Some(until.min(now)));
        }
        self.ends(place);
    }

    pub(super) fn failed(&mut self, place: usize, now: Instant, not_before: Option<Instant>) {
        self.places[place].failed = true;
        if !self.is_lit(now) {
            self.next = self.next.max(not_before);
        }
    }

    pub(super) fn may_go(&mut self, place: usize) -> bool {
        std::mem::take(&mut self.places[place].may_go)
    }

    /// Whether it is news to anybody that a machine is served which was before.
    pub(super) fn is_awaited(&self) -> bool {
        !self.asked.is_empty() || self.places.iter().any(|standing| standing.held)
    }

    /// Whether any machine is being served.
    fn is_lit(&self, now: Instant) -> bool {
        let mut served = self.places.iter().filter_map(|standing| standing.served_until);
        served.any(|until| until > now)
    }

    fn is_failing(&self) -> bool {
        self.places.iter().any(|standing| standing.failed)
    }

    /// Whether fewer than so many requests wait for the server to say anything to anybody.
    fn is_outstanding_below(&self, limit: usize, now: Instant) -> Result<(), Instant> {
        if self.asked.iter().filter(|asked| asked.outstanding).count() < limit {
            Ok(())
        } else {
            Err(now + LOOK_AGAIN)
        }
    }

    /// While nobody is served and attempts fail: as often as one machine may ask alone, and not at once.
    fn is_in_budget(&self, now: Instant) -> Result<(), Instant> {
        let served = self.places.iter().filter_map(|standing| standing.served_until);
        let lit = served.max().max(self.lit);
        let after = |at: Instant| lit.is_none_or(|lit| lit.saturating_duration_since(at) < SHORTLY);
        let counted = self.asked.iter().filter(|asked| asked.is_younger(MINUTE, now));
        let counted = counted.filter(|asked| asked.outstanding || asked.at.is_none_or(after));
        let mut times: Vec<_> = counted.map(|asked| asked.at.unwrap_or(now)).collect();
        times.sort_unstable();
        let full_until = times
            .len()
            .checked_sub(self.budget)
            .map(|oldest| times[oldest] + MINUTE);
        match full_until.max(self.next).filter(|until| *until > now) {
            Some(until) => Err(until),
            None => Ok(()),
        }
    }

    /// Whether nobody else waits who has tried longer ago. That one should be awake by now; if it is not, it loses its
    /// turn.
    fn is_turn_of(&mut self, place: usize, now: Instant) -> Result<(), Instant> {
        let mine = (self.places[place].last, place);
        let held = self.places.iter().enumerate().filter(|(_, other)| other.held);
        if !held.map(|(at, other)| (other.last, at)).any(|other| other < mine) {
            return Ok(());
        }
        let since = *self.passed_over.get_or_insert(now);
        if now.saturating_duration_since(since) < TURN {
            Err(now + TURN / 10)
        } else {
            Ok(())
        }
    }

    /// How long to wait after the next attempt, before jitter: ever longer, but a budget that is there is used.
    fn pace(&self) -> Duration {
        let budget = u32::try_from(self.budget).unwrap_or(u32::MAX);
        self.initial
            .saturating_mul(1 << self.tries.min(31))
            .min(MINUTE / budget)
    }

    fn asks(&mut self, place: usize) {
        self.asked.push_back(Asked {
            place,
            at: None,
            outstanding: true,
        });
    }

    /// Nothing more becomes of what `place` has asked; what was not sent was not asked.
    fn ends(&mut self, place: usize) {
        self.asked
            .retain(|asked| asked.place != place || asked.at.is_some());
        for asked in self.asked.iter_mut().filter(|asked| asked.place == place) {
            asked.outstanding = false;
        }
    }

    /// Lets others go that are as asked for; whether there are any.
    fn let_go(&mut self, place: usize, which: impl Fn(&Standing) -> bool) -> bool {
        let mut any = false;
        for (at, other) in self.places.iter_mut().enumerate() {
            if at != place && which(other) {
                other.may_go = true;
                any = true;
            }
        }
        any
    }
}

/// What was asked so shortly before the last was served counts as asked of a server that serves nobody.
const SHORTLY: Duration = Duration::from_secs(5);
/// How long a request that follows a good answer may take to come to something, before the server counts as gone.
const FOLLOWING: Duration = Duration::from_secs(10);
/// How soon to look again whether what is on its way has come to something.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long a turn lasts before it goes to whoever is there.
const TURN: Duration = Duration::from_secs(1);
