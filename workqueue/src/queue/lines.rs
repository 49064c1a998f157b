//! The lines ready keys stand in: per lane a ring of flows, per flow a list of keys, oldest first.
//!
//! Lists are linked through the slots, so moving a key allocates nothing and taking one out of the middle is O(1). A key
//! that comes back with an old place in line (released by its group, or wanted again while it ran) stands in the small
//! ordered map `early` of its line; a line is served by age across both.
//!
//! Keys that name no flow share one that is always there, is never at a limit, and takes turns with the others if there
//! are any.

use std::collections::BTreeMap;
use std::collections::HashMap;

use slab::Slab;

use super::slot::{NONE, Slot, UNNAMED};
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

    /// Puts a key at the end, or, with an older place in line, among the early ones.
    #[inline]
    fn append<T>(&mut self, index: u32, slots: &mut [Slot<T>]) {
        let (slot, tail) = (&mut slots[index as usize], self.tail);
        let seq = slot.seq;
        (slot.prev, slot.next) = (tail, NONE);
        if tail == NONE {
            (self.head, self.tail) = (index, index);
        } else {
            let last = &mut slots[tail as usize];
            if last.seq > seq {
                self.push_early(seq, index);
            } else {
                last.next = index;
                self.tail = index;
            }
        }
        self.len += 1;
    }

    #[cold]
    fn push_early(&mut self, seq: u64, index: u32) {
        self.early.insert(seq, index);
    }

    #[cold]
    fn remove_early(&mut self, seq: u64) -> bool {
        self.early.remove(&seq).is_some()
    }
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
    /// Bit set of the lanes whose ring has flows.
    open: u8,
    lanes: [Lane; LANES],
    /// The lines of the flow of keys that name none.
    unnamed: [Line; LANES],
    flows: Slab<FlowState>,
    by_id: HashMap<u64, u32, foldhash::fast::RandomState>,
    /// Ready keys whose flow may not run one more.
    held: usize,
}

/// A key that may run, and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct First {
    pub(super) index: u32,
    pub(super) flow: u32,
    lane: usize,
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
            unnamed: [Line::EMPTY; LANES],
            flows: Slab::new(),
            by_id: HashMap::default(),
            held: 0,
            open: 0,
        }
    }

    /// Adds a member to a flow and returns the flow's index.
    #[inline]
    pub(super) fn join(&mut self, flow: Option<Flow>) -> u32 {
        flow.map_or(UNNAMED, |flow| self.join_named(flow))
    }

    #[inline(never)]
    fn join_named(&mut self, flow: Flow) -> u32 {
        if let Some(&index) = self.by_id.get(&flow.id) {
            let state = &mut self.flows[index as usize];
            state.members += 1;
            // The latest word on a flow counts; a changed limit takes effect with the next start or finish.
            (state.weight, state.limit) = (flow.weight, flow.limit);
            return index;
        }
        let index = self.flows.insert(FlowState {
            id: flow.id,
            weight: flow.weight,
            limit: flow.limit,
            running: 0,
            members: 1,
            lines: [Line::EMPTY; LANES],
        }) as u32;
        self.by_id.insert(flow.id, index);
        index
    }

    /// Takes a member out of a flow. It ends with its last key.
    #[inline]
    pub(super) fn leave(&mut self, flow: u32) {
        if flow != UNNAMED {
            self.leave_named(flow);
        }
    }

    #[inline(never)]
    fn leave_named(&mut self, flow: u32) {
        let state = &mut self.flows[flow as usize];
        state.members -= 1;
        if state.members == 0 {
            self.by_id.remove(&state.id);
            self.flows.remove(flow as usize);
        }
    }

    /// So many fit without more memory.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.flows.capacity() + self.by_id.capacity()
    }

    /// Gives the memory of flows back that have ended, if all have.
    pub(super) fn shrink(&mut self) {
        if self.flows.is_empty() {
            (self.flows, self.by_id) = (Slab::new(), HashMap::default());
        }
    }

    #[inline]
    fn line(&self, flow: u32, lane: usize) -> &Line {
        if flow == UNNAMED {
            &self.unnamed[lane]
        } else {
            &self.flows[flow as usize].lines[lane]
        }
    }

    #[inline]
    fn line_mut(&mut self, flow: u32, lane: usize) -> &mut Line {
        if flow == UNNAMED {
            &mut self.unnamed[lane]
        } else {
            &mut self.flows[flow as usize].lines[lane]
        }
    }

    /// Whether a flow runs as many keys as it may.
    fn is_full(&self, flow: u32) -> bool {
        flow != UNNAMED && {
            let state = &self.flows[flow as usize];
            state.running >= state.limit
        }
    }

    fn weight(&self, flow: u32) -> u32 {
        if flow == UNNAMED {
            1
        } else {
            self.flows[flow as usize].weight
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
        let named = self.flows.iter().map(|(_, flow)| &flow.lines[lane]);
        let heads = named
            .chain([&self.unnamed[lane]])
            .filter_map(|line| first(line, slots));
        heads.map(|slot| slots[slot as usize].at).min()
    }

    #[inline]
    fn lane_of(&self, priority: Priority) -> usize {
        match self.order {
            Order::Fifo => Priority::Normal.index(),
            Order::Strict | Order::Lanes(_) => priority.index(),
        }
    }

    /// Puts a key of a flow in line by its `seq`.
    #[inline]
    pub(super) fn push<T>(&mut self, index: u32, flow: u32, slots: &mut [Slot<T>]) {
        if flow == UNNAMED {
            self.push_unnamed(index, slots);
        } else {
            self.push_named(index, flow, slots);
        }
    }

    /// Of the flow without a name, which is never held: it is in its ring whenever it has keys.
    #[inline]
    pub(super) fn push_unnamed<T>(&mut self, index: u32, slots: &mut [Slot<T>]) {
        let lane = self.lane_of(slots[index as usize].priority);
        let line = &mut self.unnamed[lane];
        line.append(index, slots);
        let linked = line.linked;
        self.lanes[lane].len += 1;
        if !linked {
            self.link(UNNAMED, lane);
        }
    }

    #[inline(never)]
    fn push_named<T>(&mut self, index: u32, flow: u32, slots: &mut [Slot<T>]) {
        let lane = self.lane_of(slots[index as usize].priority);
        let line = self.line_mut(flow, lane);
        line.append(index, slots);
        let (linked, others) = (line.linked, line.len - 1);
        self.lanes[lane].len += 1;
        if linked {
            return;
        }
        if self.is_full(flow) {
            self.held += 1;
        } else {
            self.held -= others as usize;
            self.link(flow, lane);
        }
    }

    /// Takes a key of a flow out of line.
    pub(super) fn remove<T>(&mut self, index: u32, flow: u32, slots: &mut [Slot<T>]) {
        let lane = self.lane_of(slots[index as usize].priority);
        self.take_out(First { index, flow, lane }, slots);
    }

    fn take_out<T>(&mut self, First { index, flow, lane }: First, slots: &mut [Slot<T>]) {
        let slot = &slots[index as usize];
        let (seq, prev, next) = (slot.seq, slot.prev, slot.next);
        let line = self.line_mut(flow, lane);
        if line.early.is_empty() || !line.remove_early(seq) {
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
        let (linked, left) = (line.linked, line.len);
        self.lanes[lane].len -= 1;
        if !linked {
            self.held -= 1;
        } else if left == 0 {
            self.unlink(flow, lane);
        }
    }

    /// The key to run next; it stays in line.
    #[inline]
    pub(super) fn next<T>(&mut self, now: u64, slots: &[Slot<T>]) -> Option<First> {
        let lane = self.next_lane(now, slots)?;
        let flow = self.lanes[lane].head;
        let index = first(self.line(flow, lane), slots)?;
        Some(First { index, flow, lane })
    }

    /// Accounts for the run of a key that [`next`](Self::next) named, and takes it out of line.
    #[inline]
    pub(super) fn start<T>(&mut self, key: First, slots: &mut [Slot<T>]) {
        if self.open.count_ones() > 1 {
            self.charge(key.lane);
        }
        // Alone in the ring, a flow that has no limit takes no turns.
        if key.flow == UNNAMED && self.lanes[key.lane].tail == UNNAMED {
            self.pop_plain(key, slots);
        } else {
            self.take_out(key, slots);
            self.end_turn(key);
        }
    }

    #[inline]
    fn pop_plain<T>(&mut self, key: First, slots: &mut [Slot<T>]) {
        let (line, lane) = (&mut self.unnamed[key.lane], &mut self.lanes[key.lane]);
        if !line.early.is_empty() {
            self.take_out(key, slots);
            return;
        }
        line.len -= 1;
        lane.len -= 1;
        line.head = slots[key.index as usize].next;
        if let Some(next) = slots.get_mut(line.head as usize) {
            next.prev = NONE;
            return;
        }
        (line.tail, line.linked) = (NONE, false);
        (lane.head, lane.tail, lane.credit) = (NONE, NONE, 0);
        self.open &= !(1 << key.lane);
    }

    #[inline(never)]
    fn end_turn(&mut self, First { flow, lane, .. }: First) {
        if flow != UNNAMED {
            self.flows[flow as usize].running += 1;
        }
        let (full, weight) = (self.is_full(flow), self.weight(flow));
        let line = self.line_mut(flow, lane);
        line.turns = line.turns.saturating_sub(1);
        let (linked, turns) = (line.linked, line.turns);
        if full {
            for lane in 0..LANES {
                let line = self.line(flow, lane);
                if line.linked {
                    self.held += line.len as usize;
                    self.unlink(flow, lane);
                }
            }
        } else if linked && turns == 0 && self.lanes[lane].head != self.lanes[lane].tail {
            self.unlink(flow, lane);
            self.link(flow, lane);
        } else if linked && turns == 0 {
            self.line_mut(flow, lane).turns = weight;
        }
    }

    /// Accounts for the end of a run.
    #[inline]
    pub(super) fn finish(&mut self, flow: u32) {
        if flow != UNNAMED {
            self.finish_named(flow);
        }
    }

    #[inline(never)]
    fn finish_named(&mut self, flow: u32) {
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

    #[inline]
    fn next_lane<T>(&self, now: u64, slots: &[Slot<T>]) -> Option<usize> {
        match self.open.count_ones() {
            0 => None,
            1 => Some(self.open.trailing_zeros() as usize),
            _ => Some(self.choose_lane(now, slots)),
        }
    }

    #[inline(never)]
    fn choose_lane<T>(&self, now: u64, slots: &[Slot<T>]) -> usize {
        let first = self.open.trailing_zeros() as usize;
        if let Some(lane) = self.overdue_lane(now, slots) {
            return lane;
        }
        let Order::Lanes(shares) = self.order else {
            return first;
        };
        // Smooth weighted round robin: the lane that is owed most goes first.
        let owed = |lane: usize| self.lanes[lane].credit + i64::from(shares.weights[lane]);
        self.open_lanes()
            .max_by_key(|lane| (owed(*lane), std::cmp::Reverse(*lane)))
            .unwrap_or(first)
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
            if flow == NONE {
                return None;
            }
            let head = first(self.line(flow, lane), slots)?;
            let since = slots[head as usize].at;
            Some(since.saturating_add(aging.saturating_mul(lane as u64)))
        };
        if !(1..LANES).any(|lane| aged(lane).is_some_and(|due| due <= now)) {
            return None;
        }
        self.open_lanes()
            .filter_map(|lane| Some((aged(lane)?, lane)))
            .min()
            .map(|(_, lane)| lane)
    }

    #[inline(never)]
    fn charge(&mut self, served: usize) {
        let Order::Lanes(shares) = self.order else {
            return;
        };
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

    #[inline]
    fn link(&mut self, flow: u32, lane: usize) {
        let tail = self.lanes[lane].tail;
        let weight = self.weight(flow);
        let line = self.line_mut(flow, lane);
        if line.linked {
            return;
        }
        (line.linked, line.turns, line.prev, line.next) = (true, weight, tail, NONE);
        match tail {
            NONE => self.lanes[lane].head = flow,
            tail => self.line_mut(tail, lane).next = flow,
        }
        self.lanes[lane].tail = flow;
        self.open |= 1 << lane;
    }

    #[inline]
    fn unlink(&mut self, flow: u32, lane: usize) {
        let line = self.line_mut(flow, lane);
        line.linked = false;
        let (prev, next) = (line.prev, line.next);
        match prev {
            NONE => self.lanes[lane].head = next,
            prev => self.line_mut(prev, lane).next = next,
        }
        match next {
            NONE => self.lanes[lane].tail = prev,
            next => self.line_mut(next, lane).prev = prev,
        }
        if self.lanes[lane].head == NONE {
            self.lanes[lane].credit = 0;
            self.open &= !(1 << lane);
        }
    }
}

/// The oldest key of a line.
#[inline]
fn first<T>(line: &Line, slots: &[Slot<T>]) -> Option<u32> {
    let head = (line.head != NONE).then_some(line.head);
    if line.early.is_empty() {
        return head;
    }
    first_early(line, head, slots)
}

#[cold]
fn first_early<T>(line: &Line, head: Option<u32>, slots: &[Slot<T>]) -> Option<u32> {
    let (seq, early) = line.early.first_key_value()?;
    head.filter(|head| slots[*head as usize].seq < *seq)
        .or(Some(*early))
}
