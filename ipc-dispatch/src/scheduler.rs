//! Alarms: what is due when, in exact order. Pure: the time is always an argument.

use std::hint::select_unpredictable;
use std::time::{Duration, Instant};

/// Names one alarm of one [`Scheduler`]. It stays valid while the alarm repeats and never names
/// another one afterwards: 32 bits of generation per slot, and a slot that has used them all up is
/// retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AlarmId {
    slot: u32,
    generation: u32,
}

/// Names a lane: alarms that share one duration. See [`Scheduler::lane`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lane(u32);

/// An alarm that has come due, as [`Scheduler::awaken`] hands it out.
#[derive(Debug)]
pub struct Fired<T> {
    /// The alarm; pass it to [`Scheduler::rearm`] or [`Scheduler::finish`].
    pub id: AlarmId,
    /// When it was due. A period counts from here, so that it does not drift.
    pub due: Instant,
    /// What was armed.
    pub value: T,
}

/// No position, no neighbour.
const NONE: u32 = u32::MAX;
/// The alarm has been handed out and not yet been rearmed or finished.
const FIRED: u32 = u32::MAX - 1;
/// The alarm waits in a lane behind its head.
const LANED: u32 = u32::MAX - 2;

/// One node of the heap, from the high bits down: nanoseconds since the scheduler's origin (64), the
/// order of arming, which breaks ties (32), and the slot (32).
///
/// 16 bytes, so that the four children of a node fill one cache line; one number, so that the least of
/// them is found without a branch, which would be mispredicted every other time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Node(u128);

impl Node {
    fn new(due: u64, sequence: u32, slot: u32) -> Self {
        Self(u128::from(due) << 64 | u128::from(sequence) << 32 | u128::from(slot))
    }

    fn due(self) -> u64 {
        (self.0 >> 64) as u64
    }

    fn sequence(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn slot(self) -> u32 {
        self.0 as u32
    }
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Where an alarm of a lane stands. Kept apart from the slots, which most alarms use alone.
#[derive(Clone, Copy, Debug)]
struct Link {
    due: u64,
    sequence: u32,
    lane: u32,
    previous: u32,
    next: u32,
}

#[derive(Debug)]
struct LaneEnds {
    /// The duration in nanoseconds.
    nanos: u64,
    head: u32,
    tail: u32,
}

/// Alarms ordered by deadline, those with equal deadlines in the order of arming.
///
/// An indexed 4-ary heap: arming and cancelling touch a few neighbouring cache lines even among a
/// million alarms, cancelling really removes, and the next deadline is exact. Alarms that share a
/// duration (time-outs of connections, say) do better in a [lane](Scheduler::lane): only the first
/// of each lane is in the heap, so that arming and cancelling the others costs the same at any
/// number.
///
/// It reads no clock: every call that needs the time takes it.
///
/// # Examples
///
/// ```
/// use ipc_dispatch::Scheduler;
/// use std::time::{Duration, Instant};
///
/// let start = Instant::now();
/// let mut scheduler = Scheduler::new(start);
/// let late = scheduler.arm(start + Duration::from_secs(2), "late");
/// scheduler.arm(start + Duration::from_secs(1), "soon");
/// assert_eq!(scheduler.poll(start), Some(Duration::from_secs(1)));
/// assert_eq!(scheduler.cancel(late), Some("late"));
///
/// let fired = scheduler.awaken(start + Duration::from_secs(1)).expect("one is due");
/// assert_eq!(fired.value, "soon");
/// scheduler.finish(fired.id);
/// assert!(scheduler.is_empty());
/// ```
#[derive(Debug)]
pub struct Scheduler<T> {
    origin: Instant,
    sequence: u32,
    heap: Vec<Node>,
    /// By slot: the position in the heap, or one of the marks above.
    positions: Vec<u32>,
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    /// By slot, as far as lanes are used.
    links: Vec<Link>,
    lanes: Vec<LaneEnds>,
    armed: usize,
}

impl<T> Scheduler<T> {
    /// A scheduler with no alarms. Deadlines before `origin` count as `origin`.
    pub fn new(origin: Instant) -> Self {
        Self {
            origin,
            sequence: 0,
            heap: Vec::new(),
            positions: Vec::new(),
            slots: Vec::new(),
            free: Vec::new(),
            links: Vec::new(),
            lanes: Vec::new(),
            armed: 0,
        }
    }

    /// How many alarms are armed; one that has fired and is not rearmed yet does not count.
    pub fn len(&self) -> usize {
        self.armed
    }

    /// Whether no alarm is armed.
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    /// Arms an alarm for `due`.
    pub fn arm(&mut self, due: Instant, value: T) -> AlarmId {
        let slot = self.occupy(value);
        let node = Node::new(self.nanos(due), self.next_sequence(), slot);
        self.insert(node);
        self.armed += 1;
        self.id(slot)
    }

    /// Makes a lane for alarms that all wait for `duration`.
    pub fn lane(&mut self, duration: Duration) -> Lane {
        let index = u32::try_from(self.lanes.len()).expect("fewer than 2^32 lanes");
        self.lanes.push(LaneEnds {
            nanos: to_nanos(duration),
            head: NONE,
            tail: NONE,
        });
        Lane(index)
    }

    /// Arms an alarm for `now` plus the lane's duration.
    ///
    /// # Panics
    ///
    /// If `lane` is of another scheduler, unless that one has as many lanes.
    pub fn arm_in(&mut self, lane: Lane, now: Instant, value: T) -> AlarmId {
        let ends = &self.lanes[lane.0 as usize];
        let (nanos, tail) = (ends.nanos, ends.tail);
        let due = self.nanos(now).saturating_add(nanos);
        if tail != NONE && self.links[tail as usize].due > due {
            // The clock went back: the order within the lane would break, the heap's does not.
            return self.arm(self.instant(due), value);
        }
        let slot = self.occupy(value);
        let sequence = self.next_sequence();
        self.links.resize(
            self.slots.len().max(self.links.len()),
            Link {
                due: 0,
                sequence: 0,
                lane: NONE,
                previous: NONE,
                next: NONE,
            },
        );
        self.links[slot as usize] = Link {
            due,
            sequence,
            lane: lane.0,
            previous: tail,
            next: NONE,
        };
        self.lanes[lane.0 as usize].tail = slot;
        if tail == NONE {
            self.lanes[lane.0 as usize].head = slot;
            self.insert(Node::new(due, sequence, slot));
        } else {
            self.links[tail as usize].next = slot;
            self.positions[slot as usize] = LANED;
        }
        self.armed += 1;
        self.id(slot)
    }

    /// Removes an alarm and gives back what was armed. `None` when it is gone already; one that has
    /// fired and is being handled will not be rearmed.
    pub fn cancel(&mut self, id: AlarmId) -> Option<T> {
        let slot = self.slot_of(id)?;
        if self.positions[slot as usize] == FIRED {
            self.release(slot);
            return None;
        }
        self.unlink(slot);
        self.armed -= 1;
        let value = self.slots[slot as usize].value.take();
        self.release(slot);
        value
    }

    /// Whether the alarm is armed, or has fired and may still be rearmed.
    pub fn contains(&self, id: AlarmId) -> bool {
        self.slot_of(id).is_some()
    }

    /// What was armed, unless it has fired.
    pub fn value_mut(&mut self, id: AlarmId) -> Option<&mut T> {
        let slot = self.slot_of(id)?;
        self.slots[slot as usize].value.as_mut()
    }

    /// Moves an armed alarm to another deadline; it then counts as armed last among equals. Answers
    /// whether it was armed.
    pub fn move_to(&mut self, id: AlarmId, due: Instant) -> bool {
        let Some(slot) = self.slot_of(id) else {
            return false;
        };
        if self.positions[slot as usize] == FIRED {
            return false;
        }
        self.unlink(slot);
        let node = Node::new(self.nanos(due), self.next_sequence(), slot);
        self.insert(node);
        true
    }

    /// When the next alarm is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.heap.first().map(|node| self.instant(node.due()))
    }

    /// How long until the next alarm is due: zero when one is, `None` when none is armed.
    pub fn poll(&self, now: Instant) -> Option<Duration> {
        let node = self.heap.first()?;
        Some(Duration::from_nanos(
            node.due().saturating_sub(self.nanos(now)),
        ))
    }

    /// A mark that separates the alarms armed before it from those armed after it. See
    /// [`awaken_before`](Self::awaken_before).
    pub fn mark(&self) -> u32 {
        self.sequence
    }

    /// Hands out the first alarm that is due at `now`, if one is.
    ///
    /// One at a time on purpose: an alarm that an earlier one cancels never runs. Each must be
    /// answered by [`rearm`](Self::rearm) or [`finish`](Self::finish).
    pub fn awaken(&mut self, now: Instant) -> Option<Fired<T>> {
        let node = *self.heap.first()?;
        if node.due() > self.nanos(now) {
            return None;
        }
        self.fire(node)
    }

    /// Like [`awaken`](Self::awaken), but leaves alarms that were armed after `mark` for the next
    /// pass, so that one that rearms itself for now cannot hold the loop.
    pub fn awaken_before(&mut self, now: Instant, mark: u32) -> Option<Fired<T>> {
        let node = *self.heap.first()?;
        // Sequence numbers wrap only in `next_sequence`, which renumbers; the difference tells.
        if node.due() > self.nanos(now) || node.sequence() >= mark {
            return None;
        }
        self.fire(node)
    }

    /// Arms a fired alarm again, under the same id. When it was cancelled meanwhile, gives the value
    /// back.
    ///
    /// # Errors
    ///
    /// The value, when `id` is not an alarm that has fired.
    pub fn rearm(&mut self, id: AlarmId, due: Instant, value: T) -> Result<(), T> {
        match self.slot_of(id) {
            Some(slot) if self.positions[slot as usize] == FIRED => {
                self.slots[slot as usize].value = Some(value);
                let node = Node::new(self.nanos(due), self.next_sequence(), slot);
                self.insert(node);
                self.armed += 1;
                Ok(())
            }
            _ => Err(value),
        }
    }

    /// Ends a fired alarm. Does nothing when it was cancelled meanwhile.
    pub fn finish(&mut self, id: AlarmId) {
        if let Some(slot) = self.slot_of(id)
            && self.positions[slot as usize] == FIRED
        {
            self.release(slot);
        }
    }

    fn fire(&mut self, node: Node) -> Option<Fired<T>> {
        self.unlink(node.slot());
        self.armed -= 1;
        self.positions[node.slot() as usize] = FIRED;
        let value = self.slots[node.slot() as usize].value.take()?;
        Some(Fired {
            id: self.id(node.slot()),
            due: self.instant(node.due()),
            value,
        })
    }

    fn nanos(&self, instant: Instant) -> u64 {
        to_nanos(instant.saturating_duration_since(self.origin))
    }

    fn instant(&self, nanos: u64) -> Instant {
        self.origin + Duration::from_nanos(nanos)
    }

    fn id(&self, slot: u32) -> AlarmId {
        AlarmId {
            slot,
            generation: self.slots[slot as usize].generation,
        }
    }

    fn slot_of(&self, id: AlarmId) -> Option<u32> {
        let slot = self.slots.get(id.slot as usize)?;
        let live = slot.generation == id.generation && self.positions[id.slot as usize] != NONE;
        live.then_some(id.slot)
    }

    fn occupy(&mut self, value: T) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize].value = Some(value);
            return slot;
        }
        let slot = u32::try_from(self.slots.len()).expect("fewer than 2^32 alarms");
        assert!(slot < LANED, "fewer than 2^32 - 3 alarms at a time");
        self.slots.push(Slot {
            generation: 0,
            value: Some(value),
        });
        self.positions.push(NONE);
        slot
    }

    fn release(&mut self, slot: u32) {
        self.positions[slot as usize] = NONE;
        let entry = &mut self.slots[slot as usize];
        entry.value = None;
        if let Some(generation) = entry.generation.checked_add(1) {
            entry.generation = generation;
            self.free.push(slot);
        }
    }

    /// Takes an armed alarm out of the heap or its lane, promoting the next of its lane.
    fn unlink(&mut self, slot: u32) {
        let position = self.positions[slot as usize];
        let link = self
            .links
            .get(slot as usize)
            .copied()
            .filter(|link| link.lane != NONE);
        if position != LANED {
            self.remove(position as usize);
        }
        self.positions[slot as usize] = NONE;
        let Some(link) = link else { return };
        self.links[slot as usize].lane = NONE;
        if link.next != NONE {
            self.links[link.next as usize].previous = link.previous;
        } else {
            self.lanes[link.lane as usize].tail = link.previous;
        }
        if link.previous != NONE {
            self.links[link.previous as usize].next = link.next;
            return;
        }
        self.lanes[link.lane as usize].head = link.next;
        if link.next != NONE {
            let next = self.links[link.next as usize];
            self.insert(Node::new(next.due, next.sequence, link.next));
        }
    }

    fn next_sequence(&mut self) -> u32 {
        if self.sequence == u32::MAX {
            self.renumber();
        }
        let sequence = self.sequence;
        self.sequence += 1;
        sequence
    }

    /// After four billion arms: numbers the live alarms from zero again, in their order.
    fn renumber(&mut self) {
        let mut order: Vec<(u32, u32)> = self
            .heap
            .iter()
            .map(|node| (node.sequence(), node.slot()))
            .collect();
        let laned = (0..).zip(&self.positions).zip(&self.links);
        order.extend(
            laned
                .filter(|((_, position), _)| **position == LANED)
                .map(|((slot, _), link)| (link.sequence, slot)),
        );
        order.sort_unstable();
        for (sequence, (_, slot)) in (0..).zip(&order) {
            let position = self.positions[*slot as usize];
            if position < LANED {
                let node = &mut self.heap[position as usize];
                *node = Node::new(node.due(), sequence, node.slot());
            }
            if let Some(link) = self.links.get_mut(*slot as usize) {
                link.sequence = sequence;
            }
        }
        self.sequence = u32::try_from(order.len()).expect("fewer than 2^32 alarms");
    }

    fn insert(&mut self, node: Node) {
        let hole = self.heap.len();
        self.heap.push(node);
        self.sift_up(hole, node);
    }

    fn remove(&mut self, position: usize) {
        let last = self.heap.pop().expect("the position is in the heap");
        if position == self.heap.len() {
            return;
        }
        let removed = self.heap[position];
        // Three out of four nodes have none below them, and need no comparison with what was there.
        if 4 * position + 1 >= self.heap.len() || last < removed {
            self.sift_up(position, last);
        } else {
            self.sift_down(position, last);
        }
    }

    fn put(&mut self, position: usize, node: Node) {
        self.heap[position] = node;
        // Positions fit: there are fewer than 2^32 slots.
        self.positions[node.slot() as usize] = position as u32;
    }

    fn sift_up(&mut self, mut hole: usize, node: Node) {
        while hole > 0 {
            let parent = (hole - 1) / 4;
            let above = self.heap[parent];
            if node >= above {
                break;
            }
            self.put(hole, above);
            hole = parent;
        }
        self.put(hole, node);
    }

    fn sift_down(&mut self, mut hole: usize, node: Node) {
        loop {
            let first = 4 * hole + 1;
            let Some((offset, below)) = least(&self.heap, first) else {
                break;
            };
            if below >= node {
                break;
            }
            self.put(hole, below);
            hole = first + offset;
        }
        self.put(hole, node);
    }
}

/// The least of the up to four nodes from `first` on, and which of them it is.
#[inline]
fn least(heap: &[Node], first: usize) -> Option<(usize, Node)> {
    let lesser = |left: (usize, Node), right: (usize, Node)| {
        select_unpredictable(right.1 < left.1, right, left)
    };
    match *heap.get(first..)? {
        [a, b, c, d, ..] => Some(lesser(lesser((0, a), (1, b)), lesser((2, c), (3, d)))),
        [a, b, c] => Some(lesser(lesser((0, a), (1, b)), (2, c))),
        [a, b] => Some(lesser((0, a), (1, b))),
        [a] => Some((0, a)),
        [] => None,
    }
}

/// Saturates after 584 years.
fn to_nanos(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(u64::from(duration.subsec_nanos()))
}
