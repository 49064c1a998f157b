//! One entry per key: its state and where it is linked.

use smallvec::SmallVec;

use crate::delay::{Timer, Token};
use crate::options::Priority;
use crate::rate_limit::Ticket;

/// No slot, flow, group or extra.
pub(super) const NONE: u32 = u32::MAX;

/// The flow of keys that name none. It has no limit, and one key per turn.
pub(super) const UNNAMED: u32 = u32::MAX - 1;

/// No start remembered.
pub(super) const NEVER: u64 = u64::MAX;

/// What a key is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody asked for it; kept only for its gate or its minimum interval.
    Idle,
    /// Asked for, not before `deadline`.
    Delayed,
    /// In the line of its lane and flow.
    Ready,
    /// Next in its line, but its group runs as many keys as it may: waits in the group's own list.
    Blocked,
    /// Asked for, held back by [`park`](crate::WorkQueue::park).
    Parked,
    /// Leased to a worker.
    Running,
}

/// What was asked of a key while it was running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    No,
    /// Once more as soon as it is finished.
    Now,
    /// Once more at `deadline`.
    At,
}

/// What every key has. Small, since a queue of a million keys pays for each cache line and page of it; flows and groups
/// are kept beside it, where there are any.
#[derive(Debug)]
pub(super) struct Slot<T> {
    /// `None` in a free slot.
    pub(super) key: Option<T>,
    /// Of a key that is wanted now: since when it has been. Of one with a timer, or wanted [`Again::At`]: until when it
    /// is put off. Never both.
    pub(super) at: u64,
    /// When the present or the last run started.
    pub(super) started: u64,
    /// Place in line of the run that is wanted next.
    pub(super) seq: u64,
    pub(super) tag: u32,
    /// The armed timer, 0 = none.
    pub(super) timer: Token,
    /// Number of the present run, 0 = not running.
    pub(super) run: u32,
    pub(super) prev: u32,
    /// Also links free slots.
    pub(super) next: u32,
    pub(super) extra: u32,
    /// Bit set of those who asked for the wanted run.
    pub(super) sources: u32,
    pub(super) state: State,
    pub(super) again: Again,
    /// Priority of the wanted run.
    pub(super) priority: Priority,
    /// Priority of the present run.
    pub(super) run_priority: Priority,
}

impl<T> Slot<T> {
    pub(super) fn new(key: T, tag: u32) -> Self {
        Self {
            key: Some(key),
            at: 0,
            started: NEVER,
            seq: 0,
            tag,
            timer: 0,
            run: 0,
            prev: NONE,
            next: NONE,
            extra: NONE,
            sources: 0,
            state: State::Idle,
            again: Again::No,
            priority: Priority::default(),
            run_priority: Priority::default(),
        }
    }
}

/// Flow and group of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class {
    /// [`UNNAMED`] where it names none.
    pub(super) flow: u32,
    /// [`NONE`] where it names none.
    pub(super) group: u32,
}

impl Class {
    pub(super) const PLAIN: Self = Self {
        flow: UNNAMED,
        group: NONE,
    };
}

/// The classes of the slots, by slot; empty until the first key has one.
#[derive(Debug, Default)]
pub(super) struct Classes {
    classes: Vec<Class>,
}

impl Classes {
    #[inline]
    pub(super) fn of(&self, index: u32) -> Class {
        self.classes.get(index as usize).copied().unwrap_or(Class::PLAIN)
    }

    #[inline]
    pub(super) fn set(&mut self, index: u32, class: Class) {
        if class != Class::PLAIN || !self.classes.is_empty() {
            self.put(index as usize, class);
        }
    }

    #[cold]
    fn put(&mut self, index: usize, class: Class) {
        if index >= self.classes.len() {
            self.classes.resize(index + 1, Class::PLAIN);
        }
        self.classes[index] = class;
    }

    /// Whether no key ever had a flow or a group.
    #[inline]
    pub(super) fn are_plain(&self) -> bool {
        self.classes.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.classes = Vec::new();
    }
}

/// What most keys never need.
#[derive(Debug)]
pub(super) struct Extra {
    /// Failures whose delay was served.
    pub(super) failures: u32,
    /// A failure whose delay is being served.
    pub(super) backing_off: bool,
    /// A limiter was asked about the key since its last success.
    pub(super) limited: bool,
    pub(super) tickets: SmallVec<[Ticket; 1]>,
    /// The gate is shut until then; 0 = open.
    pub(super) gate: u64,
    pub(super) gate_timer: Token,
    pub(super) gate_reason: &'static str,
    /// When the burst that is being debounced began; `None` = the delay is not a debounce.
    pub(super) burst: Option<u64>,
}

impl Extra {
    /// Whether a timer that is due is the gate's.
    pub(super) fn is_gate(&self, timer: &Timer) -> bool {
        self.gate_timer == timer.token && self.gate <= timer.deadline
    }
}

impl Default for Extra {
    fn default() -> Self {
        Self {
            failures: 0,
            backing_off: false,
            limited: false,
            tickets: SmallVec::new(),
            gate: 0,
            gate_timer: 0,
            gate_reason: "",
            burst: None,
        }
    }
}
