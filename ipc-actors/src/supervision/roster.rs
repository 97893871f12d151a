//! The children of a supervisor, and what is so about which of them.
//!
//! Whatever happens concerns one child in most cases, and there may be very many. So nothing here looks
//! at all of them for the sake of one: every change of a child goes through [`Roster::change`], which
//! keeps the lists below in step.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::event::ChildKey;
use super::spec::ChildPolicy;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No process, thread or state exists.
    Down,
    /// `Start` was given out.
    Starting {
        deadline: Option<Instant>,
    },
    Up {
        since: Instant,
    },
    /// `Stop` was given out.
    Stopping {
        kill_at: Option<Instant>,
    },
    /// `Kill` was given out.
    Killing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// It shall run, from this instant on when it is down.
    Up {
        not_before: Instant,
    },
    Down,
    /// Its specification shall be forgotten as soon as it is down.
    Gone,
}

#[derive(Debug)]
pub(super) struct Child {
    pub(super) policy: ChildPolicy,
    pub(super) phase: Phase,
    pub(super) want: Want,
    /// The supervisor ends it, so that its exit is not a failure.
    pub(super) must_stop: bool,
    /// It was started by hand and has not come up yet: a failed start is reported, not retried. The
    /// flag inside says that the specification goes with it.
    pub(super) by_hand: Option<bool>,
    /// `Kill` was given out because its start took too long.
    pub(super) start_timed_out: bool,
    /// Failures since it last ran for `Backoff::stable`.
    pub(super) failures: u32,
    name: Arc<str>,
}

impl Child {
    pub(super) fn is_alive(&self) -> bool {
        self.phase != Phase::Down
    }

    /// Whether children behind this one must wait with their start.
    fn blocks(&self) -> bool {
        match self.phase {
            Phase::Down => matches!(self.want, Want::Up { .. }),
            _ => self.is_starting(),
        }
    }

    fn is_starting(&self) -> bool {
        match self.phase {
            Phase::Starting { .. } => true,
            Phase::Killing => self.start_timed_out,
            Phase::Down | Phase::Up { .. } | Phase::Stopping { .. } => false,
        }
    }

    fn marks(&self) -> Marks {
        Marks {
            limit: match self.phase {
                Phase::Starting { deadline } => deadline,
                Phase::Stopping { kill_at } => kill_at,
                Phase::Down | Phase::Up { .. } | Phase::Killing => None,
            },
            waits: match (self.phase, self.want) {
                (Phase::Down, Want::Up { not_before }) => Some(not_before),
                _ => None,
            },
            must_stop: self.must_stop,
            stops: matches!(self.phase, Phase::Stopping { .. } | Phase::Killing),
            starts: self.is_starting(),
            is_alive: self.is_alive(),
            blocks: self.blocks(),
            is_gone: self.want == Want::Gone && self.phase == Phase::Down,
        }
    }
}

/// What of a child is in a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Marks {
    limit: Option<Instant>,
    waits: Option<Instant>,
    must_stop: bool,
    stops: bool,
    starts: bool,
    is_alive: bool,
    blocks: bool,
    is_gone: bool,
}

/// The children of a supervisor, in the order in which they are started: that of their keys.
#[derive(Debug, Default)]
pub(super) struct Roster {
    children: BTreeMap<ChildKey, Child>,
    names: HashMap<Arc<str>, ChildKey>,
    next_key: u64,
    /// Until when a start or a stop may take.
    limits: BTreeSet<(Instant, ChildKey)>,
    /// Those that are down and shall come up, and when.
    waits: BTreeSet<(Instant, ChildKey)>,
    must_stop: BTreeSet<ChildKey>,
    /// Those that hold up the start of the ones behind them.
    blocks: BTreeSet<ChildKey>,
    /// Those that are to be forgotten.
    gone: BTreeSet<ChildKey>,
    stopping: usize,
    starting: usize,
    alive: usize,
}

impl Roster {
    /// Adds a child that is to be started; `None` if there is one of this name.
    pub(super) fn add(
        &mut self,
        name: &str,
        policy: ChildPolicy,
        by_hand: Option<bool>,
        not_before: Instant,
    ) -> Option<ChildKey> {
        if self.names.contains_key(name) {
            return None;
        }
        let (key, name) = (ChildKey(self.next_key), Arc::from(name));
        self.next_key += 1;
        self.names.insert(Arc::clone(&name), key);
        let child = Child {
            policy,
            phase: Phase::Down,
            want: Want::Up { not_before },
            must_stop: false,
            by_hand,
            start_timed_out: false,
            failures: 0,
            name,
        };
        self.list(key, Marks::default(), child.marks());
        self.children.insert(key, child);
        Some(key)
    }

    pub(super) fn find(&self, name: &str) -> Option<ChildKey> {
        self.names.get(name).copied()
    }

    pub(super) fn get(&self, key: ChildKey) -> Option<&Child> {
        self.children.get(&key)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = ChildKey> {
        self.children.keys().copied()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Child> {
        self.children.values()
    }

    /// Changes a child, if it is there.
    pub(super) fn change<R>(
        &mut self,
        key: ChildKey,
        change: impl FnOnce(&mut Child) -> R,
    ) -> Option<R> {
        let child = self.children.get_mut(&key)?;
        let before = child.marks();
        let result = change(child);
        let after = child.marks();
        self.list(key, before, after);
        Some(result)
    }

    /// Changes all children.
    pub(super) fn change_all(&mut self, mut change: impl FnMut(ChildKey, &mut Child)) {
        self.change_from(ChildKey(0), &mut change);
    }

    /// Changes this child and those behind it.
    pub(super) fn change_from(
        &mut self,
        first: ChildKey,
        mut change: impl FnMut(ChildKey, &mut Child),
    ) {
        let keys: Vec<_> = self.children.range(first..).map(|(&key, _)| key).collect();
        for key in keys {
            self.change(key, |child| change(key, child));
        }
    }

    /// Forgets a child. Answers whether it was there.
    pub(super) fn remove(&mut self, key: ChildKey) -> bool {
        let Some(child) = self.children.remove(&key) else {
            return false;
        };
        self.list(key, child.marks(), Marks::default());
        self.names.remove(&child.name);
        true
    }

    /// Forgets one of those that are to be forgotten, the first.
    pub(super) fn remove_gone(&mut self) -> Option<ChildKey> {
        let key = self.gone.first().copied()?;
        self.remove(key).then_some(key)
    }

    /// A child whose start or stop has taken too long.
    pub(super) fn expired(&self, now: Instant) -> Option<ChildKey> {
        let &(at, key) = self.limits.first()?;
        (at <= now).then_some(key)
    }

    /// When the first start or stop has taken too long.
    pub(super) fn next_limit(&self) -> Option<Instant> {
        self.limits.first().map(|&(at, _)| at)
    }

    /// When the first of those that are down shall come up.
    pub(super) fn next_wait(&self) -> Option<Instant> {
        self.waits.first().map(|&(at, _)| at)
    }

    /// Those that are down and shall come up by now, in order.
    pub(super) fn due(&self, now: Instant) -> Vec<ChildKey> {
        let due = self.waits.iter().take_while(|&&(at, _)| at <= now);
        let mut due: Vec<_> = due.map(|&(_, key)| key).collect();
        due.sort_unstable();
        due
    }

    /// The first that holds up those behind it.
    pub(super) fn first_block(&self) -> Option<ChildKey> {
        self.blocks.first().copied()
    }

    /// The last that must be stopped.
    pub(super) fn last_to_stop(&self) -> Option<ChildKey> {
        self.must_stop.last().copied()
    }

    /// Whether nobody may be started now: somebody is to be stopped first, or is starting, be it one
    /// further back that was added or restarted by hand.
    pub(super) fn holds_starts(&self) -> bool {
        !self.must_stop.is_empty() || self.starting > 0
    }

    pub(super) fn is_stopping_one(&self) -> bool {
        self.stopping > 0
    }

    pub(super) fn is_anybody_alive(&self) -> bool {
        self.alive > 0
    }

    fn list(&mut self, key: ChildKey, before: Marks, after: Marks) {
        if before == after {
            return;
        }
        for (times, was, is) in [
            (&mut self.limits, before.limit, after.limit),
            (&mut self.waits, before.waits, after.waits),
        ] {
            if was != is {
                was.map(|at| times.remove(&(at, key)));
                is.map(|at| times.insert((at, key)));
            }
        }
        for (keys, was, is) in [
            (&mut self.must_stop, before.must_stop, after.must_stop),
            (&mut self.blocks, before.blocks, after.blocks),
            (&mut self.gone, before.is_gone, after.is_gone),
        ] {
            match (was, is) {
                (false, true) => drop(keys.insert(key)),
                (true, false) => drop(keys.remove(&key)),
                _ => {}
            }
        }
        self.stopping = self.stopping + usize::from(after.stops) - usize::from(before.stops);
        self.starting = self.starting + usize::from(after.starts) - usize::from(before.starts);
        self.alive = self.alive + usize::from(after.is_alive) - usize::from(before.is_alive);
    }
}
