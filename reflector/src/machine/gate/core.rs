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
    /// Places that were given up.
    free: Vec<usize>,
    /// What was asked since a machine was last served, in order.
    asked: VecDeque<Asked>,
    /// When one of those that were being served last ceased to be, as far as that was told.
    lit: Option<Instant>,
    /// Attempts have failed since a machine was last served.
    bad_news: bool,
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
    /// What it asked for last has brought something good. What only follows a good answer proves nothing yet.
    proven: bool,
    /// An attempt of somebody has failed since it sent what it did last: an answer may be older news than that.
    outdated: bool,
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
    /// It was let through because somebody was being served: that is looked at again when it is sent.
    lit: bool,
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
            free: Vec::new(),
            asked: VecDeque::new(),
            lit: None,
            bad_news: false,
            tries: 0,
            next: None,
            passed_over: None,
        }
    }

    pub(super) fn admit(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.places.push(Standing::default());
            self.places.len() - 1
        })
    }

    pub(super) fn leave(&mut self, place: usize) {
        self.places[place] = Standing::default();
        self.ends(place);
        self.free.push(place);
    }

    pub(super) fn ask(&mut self, place: usize, now: Instant, rng: &mut fastrand::Rng) -> Result<(), Instant> {
        self.rests(place, now);
        self.asked
            .retain(|asked| asked.outstanding || asked.is_younger(MINUTE, now));
        let lit = self.is_lit(now);
        let free = if lit {
            // The budget must not be gone by the time that all have noticed that the server is.
            let few = self.is_outstanding_below(self.budget, now);
            few.and_then(|()| self.is_well_or_in_budget(now))
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
        self.asks(place, lit);
        if !lit && self.is_failing() {
            self.next = Some(now + self.pace().mul_f64(0.5 + rng.f64()));
            self.tries = self.tries.saturating_add(1);
        }
        Ok(())
    }

    pub(super) fn follows(&mut self, place: usize, now: Instant) {
        self.ends(place);
        self.goes_on(place, now);
        self.asks(place, true);
        // A server that has just been good is not gone.
        self.places[place].served_until = Some(now + FOLLOWING);
    }

    /// It asks for more of a good answer, and may have to wait for something else first.
    pub(super) fn goes_on(&mut self, place: usize, now: Instant) {
        if std::mem::take(&mut self.places[place].proven) {
            self.lit = self.lit.max(Some(now));
        }
    }

    pub(super) fn sent(&mut self, place: usize, now: Instant, can_wait: bool) -> Result<(), Instant> {
        let is_mine = |asked: &Asked| asked.place == place && asked.at.is_none();
        let mine = self.asked.iter().rposition(is_mine);
        let mine = mine.and_then(|at| self.asked.remove(at));
        if can_wait && mine.as_ref().is_none_or(|mine| mine.lit) {
            let free = self.is_well_or_in_budget(now);
            self.places[place].held = free.is_err();
            free?;
        }
        self.goes_on(place, now);
        self.places[place].outdated = false;
        self.asked.push_back(Asked {
            place,
            at: Some(now),
            outstanding: mine.is_some_and(|mine| mine.outstanding),
            lit: false,
        });
        Ok(())
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
        if std::mem::replace(&mut standing.proven, true) || !standing.outdated {
            self.bad_news = false;
            // What has yet to be sent may be sent to a server that is gone by then.
            self.asked.retain(|asked| asked.at.is_none());
            for asked in &mut self.asked {
                (asked.outstanding, asked.lit) = (false, true);
            }
            self.tries = 0;
            self.next = None;
            self.passed_over = None;
        }
        self.let_go(place, |other| other.held || (!was_lit && other.failed))
    }

    pub(super) fn rests(&mut self, place: usize, now: Instant) {
        self.goes_on(place, now);
        self.places[place].served_until = None;
        self.ends(place);
    }

    pub(super) fn failed(&mut self, place: usize, now: Instant, not_before: Option<Instant>) {
        self.places[place].failed = true;
        self.bad_news = true;
        for standing in &mut self.places {
            standing.outdated = true;
        }
        if !self.is_lit(now) {
            self.next = self.next.max(not_before);
        }
    }

    pub(super) fn may_go(&mut self, place: usize) -> bool {
        std::mem::take(&mut self.places[place].may_go)
    }

    /// Whether it is news to anybody that a machine is served which was before.
    pub(super) fn is_awaited(&self) -> bool {
        self.bad_news
            || self
                .asked
                .iter()
                .any(|asked| asked.outstanding || asked.at.is_some())
            || self.places.iter().any(|standing| standing.held)
    }

    /// Whether any machine is being served.
    fn is_lit(&self, now: Instant) -> bool {
        let mut served = self.places.iter().filter_map(|standing| standing.served_until);
        served.any(|until| until > now)
    }

    fn is_failing(&self) -> bool {
        self.places.iter().any(|standing| standing.failed)
    }

    /// Whether the last that was heard of the server is good, or somebody is being served beyond doubt. If not it may be gone
    /// though not all have noticed, and the budget counts.
    fn is_well_or_in_budget(&self, now: Instant) -> Result<(), Instant> {
        if !self.bad_news || self.places.iter().any(|standing| standing.proven) {
            return Ok(());
        }
        self.is_in_budget(now)
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
        let after = |at: Instant| {
            self.lit
                .is_none_or(|lit| lit.saturating_duration_since(at) < SHORTLY)
        };
        let counted = self.asked.iter().filter(|asked| asked.is_younger(MINUTE, now));
        let counted = counted.filter(|asked| match asked.at {
            Some(at) => asked.outstanding || after(at),
            None => !asked.lit,
        });
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

    fn asks(&mut self, place: usize, lit: bool) {
        self.asked.push_back(Asked {
            place,
            at: None,
            outstanding: true,
            lit,
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
