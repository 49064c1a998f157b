//! The lines ready keys stand in: per lane a ring of flows, per flow a list of keys, oldest first.
//!
//! Lists are linked through the slots, so moving a key allocates nothing and taking one out of the middle is O(1). A key
//! that comes back with an old place in line (released by its group, or wanted again while it ran) stands in the small
//! ordered map `early` of its line; a line is served by age across both.

use std::collections::BTreeMap;
use std::collections::HashMap;

use slab::Slab;

use super::slot::{NONE, Slot};
use crate::options::Priority;
use crate::order::{Flow, Order};

const LANES: usize = Priority::COUNT;

/// The keys of one flow that wait in one lane.
#[derive(Debug)]
struct Line {
    head: u32,
    tail: u32,
    len: u32,
    early: BTreeMap<u64, u32>,
    /// Neighbours in the lane's ring of flows that have keys and may run one more.
    prev: u32,
    next: u32,
    linked: bool,
    /// Keys this flow may still hand out before the next flow's turn.
    turns: u32,
}

impl Line {
    const EMPTY: Self = Self {
        head: NONE,
        tail: NONE,
        len: 0,
        early: BTreeMap::new(),
        prev: NONE,
        next: NONE,
        linked: false,
        turns: 0,
    };
}

#[derive(Debug)]
struct FlowState {
    id: u64,
    weight: u32,
    limit: u32,
    running: u32,
    /// Slots that belong to this flow.
    members: u32,
    lines: [Line; LANES],
}

#[derive(Clone, Copy, Debug)]
struct Lane {
    /// First and last flow of the ring.
    head: u32,
    tail: u32,
    len: usize,
    credit: i64,
}

/// All lines of a queue.
#[derive(Debug)]
pub(super) struct Lines {
    order: Order,
    /// Nanoseconds; a key counts as that much younger per lane below the first.
    aging: Option<u64>,
    lanes: [Lane; LANES],
    flows: Slab<FlowState>,
    by_id: HashMap<u64, u32, foldhash::fast::RandomState>,
    /// Ready keys whose flow may not run one more.
    held: usize,
    /// Bit set of the lanes whose ring has flows.
    open: u8,
    /// The flow of keys that name none.
    unnamed: u32,
}

impl Lines {
    pub(super) fn new(order: Order, aging: Option<u64>) -> Self {
        Self {
            order,
            aging,
            lanes: [Lane {
                head: NONE,
                tail: NONE,
                len: 0,
                credit: 0,
            }; LANES],
            flows: Slab::new(),
            by_id: HashMap::default(),
            held: 0,
            open: 0,
            unnamed: NONE,
        }
    }

    /// Adds a member to a flow and returns the flow's index.
    pub(super) fn join(&mut self, flow: Option<Flow>) -> u32 {
        let Some(flow) = flow else {
            if self.unnamed == NONE {
                self.unnamed = self.new_flow(0, 1, u32::MAX);
            }
            return self.unnamed;
        };
        if let Some(&index) = self.by_id.get(&flow.id) {
            let state = &mut self.flows[index as usize];
            state.members += 1;
            // The latest word on a flow counts; a changed limit takes effect with the next start or finish.
            (state.weight, state.limit) = (flow.weight, flow.limit);
            return index;
        }
        let index = self.new_flow(flow.id, flow.weight, flow.limit);
        self.by_id.insert(flow.id, index);
        index
    }

    fn new_flow(&mut self, id: u64, weight: u32, limit: u32) -> u32 {
        let lines = [Line::EMPTY; LANES];
        self.flows.insert(FlowState {
            id,
            weight,
            limit,
            running: 0,
            members: 1,
            lines,
        }) as u32
    }

    /// Takes a member out of a flow. It ends with its last key.
    pub(super) fn leave(&mut self, flow: u32) {
        if flow == self.unnamed {
            return;
        }
        let state = &mut self.flows[flow as usize];
        state.members -= 1;
        if state.members == 0 {
            self.by_id.remove(&state.id);
            self.flows.remove(flow as usize);
        }
    }

    /// Keys in line, the held back ones included.
    pub(super) fn len(&self) -> usize {
        self.lanes.iter().map(|lane| lane.len).sum()
    }

    pub(super) fn lane_len(&self, priority: Priority) -> usize {
        self.lanes[self.lane_of(priority)].len
    }

    /// Keys in line whose flow is at its limit.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// When the key that has waited longest in a lane became ready. O(flows).
    pub(super) fn oldest<T>(&self, lane: usize, slots: &[Slot<T>]) -> Option<u64> {
        let heads = self
            .flows
            .iter()
            .filter_map(|(_, flow)| first(&flow.lines[lane], slots));
        heads.map(|slot| slots[slot as usize].since).min()
    }

    fn lane_of(&self, priority: Priority) -> usize {
        match self.order {
            Order::Fifo => Priority::Normal.index(),
            Order::Strict | Order::Lanes(_) => priority.index(),
        }
    }

    /// Puts a key in line by its `seq`.
    pub(super) fn push<T>(&mut self, index: u32, slots: &mut [Slot<T>]) {
        let slot = &slots[index as usize];
        let (flow, lane, seq) = (slot.flow, self.lane_of(slot.priority), slot.seq);
        let line = &mut self.flows[flow as usize].lines[lane];
        if line.tail != NONE && slots[line.tail as usize].seq > seq {
            line.early.insert(seq, index);
        } else {
            (slots[index as usize].prev, slots[index as usize].next) = (line.tail, NONE);
            match line.tail {
                NONE => line.head = index,
                tail => slots[tail as usize].next = index,
            }
            line.tail = index;
        }
        line.len += 1;
        let (linked, others) = (line.linked, line.len - 1);
        self.lanes[lane].len += 1;
        if linked {
            return;
        }
        if self.flows[flow as usize].running >= self.flows[flow as usize].limit {
            self.held += 1;
        } else {
            self.held -= others as usize;
            self.link(flow, lane);
        }
    }

    /// Takes a key out of line.
    pub(super) fn remove<T>(&mut self, index: u32, slots: &mut [Slot<T>]) {
        let slot = &slots[index as usize];
        let (flow, lane, seq, prev, next) = (
            slot.flow,
            self.lane_of(slot.priority),
            slot.seq,
            slot.prev,
            slot.next,
        );
        let state = &mut self.flows[flow as usize];
        let line = &mut state.lines[lane];
        if line.early.is_empty() || line.early.remove(&seq).is_none() {
            match prev {
                NONE => line.head = next,
                prev => slots[prev as usize].next = next,
            }
            match next {
                NONE => line.tail = prev,
                next => slots[next as usize].prev = prev,
            }
        }
        line.len -= 1;
        self.lanes[lane].len -= 1;
        if line.linked {
            if line.len == 0 {
                self.unlink(flow, lane);
            }
        } else {
            self.held -= 1;
        }
    }

    /// The key to run next; it stays in line.
    pub(super) fn next<T>(&mut self, now: u64, slots: &[Slot<T>]) -> Option<u32> {
        let lane = self.next_lane(now, slots)?;
        let flow = self.lanes[lane].head;
        first(&self.flows[flow as usize].lines[lane], slots)
    }

    /// Accounts for the run of a key that [`next`](Self::next) named, and takes it out of line.
    pub(super) fn start<T>(&mut self, index: u32, slots: &mut [Slot<T>]) {
        let (flow, lane) = (
            slots[index as usize].flow,
            self.lane_of(slots[index as usize].priority),
        );
        self.charge(lane);
        self.remove(index, slots);
        let state = &mut self.flows[flow as usize];
        state.running += 1;
        let full = state.running >= state.limit;
        let line = &mut state.lines[lane];
        line.turns = line.turns.saturating_sub(1);
        if full {
            for lane in 0..LANES {
                if self.flows[flow as usize].lines[lane].linked {
                    self.held += self.flows[flow as usize].lines[lane].len as usize;
                    self.unlink(flow, lane);
                }
            }
        } else if line.linked && line.turns == 0 && self.lanes[lane].head != self.lanes[lane].tail {
            self.unlink(flow, lane);
            self.link(flow, lane);
        } else if line.linked && line.turns == 0 {
            line.turns = state.weight;
        }
    }

    /// Accounts for the end of a run.
    pub(super) fn finish(&mut self, flow: u32) {
        let state = &mut self.flows[flow as usize];
        state.running -= 1;
        if self.held == 0 || state.running >= state.limit {
            return;
        }
        for lane in 0..LANES {
            let line = &self.flows[flow as usize].lines[lane];
            if !line.linked && line.len > 0 {
                self.held -= line.len as usize;
                self.link(flow, lane);
            }
        }
    }

    fn next_lane<T>(&self, now: u64, slots: &[Slot<T>]) -> Option<usize> {
        let first = self.open.trailing_zeros() as usize;
        if self.open.count_ones() <= 1 {
            return (self.open != 0).then_some(first);
        }
        if let Some(lane) = self.overdue_lane(now, slots) {
            return Some(lane);
        }
        let Order::Lanes(shares) = self.order else {
            return Some(first);
        };
        // Smooth weighted round robin: the lane that is owed most goes first.
        let owed = |lane: usize| self.lanes[lane].credit + i64::from(shares.weights[lane]);
        self.open_lanes()
            .max_by_key(|lane| (owed(*lane), std::cmp::Reverse(*lane)))
    }

    fn open_lanes(&self) -> impl Iterator<Item = usize> + use<> {
        let open = self.open;
        (0..LANES).filter(move |lane| open >> lane & 1 == 1)
    }

    /// With aging, a key that has waited `aging` per lane it is down goes by age against every other.
    fn overdue_lane<T>(&self, now: u64, slots: &[Slot<T>]) -> Option<usize> {
        let aging = self.aging?;
        let aged = |lane: usize| {
            let flow = self.lanes[lane].head;
            let head = first(&self.flows.get(flow as usize)?.lines[lane], slots)?;
            Some(
                slots[head as usize]
                    .since
                    .saturating_add(aging.saturating_mul(lane as u64)),
            )
        };
        if !(1..LANES).any(|lane| aged(lane).is_some_and(|due| due <= now)) {
            return None;
        }
        self.open_lanes()
            .filter_map(|lane| Some((aged(lane)?, lane)))
            .min()
            .map(|(_, lane)| lane)
    }

    fn charge(&mut self, served: usize) {
        let Order::Lanes(shares) = self.order else {
            return;
        };
        if self.open.count_ones() <= 1 {
            return;
        }
        let total: i64 = self
            .open_lanes()
            .map(|lane| i64::from(shares.weights[lane]))
            .sum();
        for lane in self.open_lanes() {
            let credit = self.lanes[lane].credit + i64::from(shares.weights[lane]);
            self.lanes[lane].credit = credit.clamp(-4 * total, 4 * total);
        }
        self.lanes[served].credit -= total;
    }

    fn link(&mut self, flow: u32, lane: usize) {
        let state = &mut self.flows[flow as usize];
        let line = &mut state.lines[lane];
        if line.linked {
            return;
        }
        let tail = self.lanes[lane].tail;
        (line.linked, line.turns, line.prev, line.next) = (true, state.weight, tail, NONE);
        match tail {
            NONE => self.lanes[lane].head = flow,
            tail => self.flows[tail as usize].lines[lane].next = flow,
        }
        self.lanes[lane].tail = flow;
        self.open |= 1 << lane;
    }

    fn unlink(&mut self, flow: u32, lane: usize) {
        let line = &mut self.flows[flow as usize].lines[lane];
        line.linked = false;
        let (prev, next) = (line.prev, line.next);
        match prev {
            NONE => self.lanes[lane].head = next,
            prev => self.flows[prev as usize].lines[lane].next = next,
        }
        match next {
            NONE => self.lanes[lane].tail = prev,
            next => self.flows[next as usize].lines[lane].prev = prev,
        }
        if self.lanes[lane].head == NONE {
            self.lanes[lane].credit = 0;
            self.open &= !(1 << lane);
        }
    }
}

/// The oldest key of a line.
fn first<T>(line: &Line, slots: &[Slot<T>]) -> Option<u32> {
    let head = (line.head != NONE).then_some(line.head);
    if line.early.is_empty() {
        return head;
    }
    let (seq, early) = line.early.first_key_value()?;
    head.filter(|head| slots[*head as usize].seq < *seq)
        .or(Some(*early))
}
