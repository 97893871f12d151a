//! The table of registrations.

use std::any::Any;
use std::io;

use super::entry::{AnyEntry, Entry};
use super::handlers::{Handler, Unset};
use super::key::SLOT_MAX;
use super::{Context, Event, SourceId};
use crate::{Control, Source};

/// Where an entry is.
pub(super) enum State<S> {
    /// Nowhere: the slot is free.
    Vacant,
    /// Here.
    Present(Box<dyn AnyEntry<S>>),
    /// Out, being run.
    Running,
    /// Out, being run, and to be dropped when it comes back.
    Condemned,
}

pub(super) struct Slot<S> {
    pub(super) generation: u32,
    pub(super) state: State<S>,
    /// Whether it is on the list of those to settle.
    pub(super) touched: bool,
    /// Whether it is on the list of those in shared memory, and whether it will ring its doorbell.
    pub(super) polled: bool,
    pub(super) armed: bool,
    /// Whether it keeps the loop running, and whether it may.
    pub(super) counted: bool,
    pub(super) background: bool,
    /// Whether its handlers are to wait.
    pub(super) paused: bool,
    /// What is waiting in the ready list, so that it stands there once.
    pub(super) ready: Event,
}

impl<S: 'static> Slot<S> {
    /// Exchanges an entry that [is bare](Entry::is_bare) for one that knows the type of its handler.
    pub(super) fn make_first<C, F>(&mut self, handler: Handler<F>)
    where
        C: Source,
        F: FnMut(&mut C, &mut Context<'_, S>) -> io::Result<Control> + 'static,
    {
        match std::mem::replace(&mut self.state, State::Running) {
            State::Present(entry) => {
                let entry: Box<dyn Any> = entry;
                let bare = entry.downcast::<Entry<C, S, Unset<C, S>>>();
                let bare = bare.expect("the caller has asked whether the entry is bare");
                self.state = State::Present(Box::new(bare.with_first(handler)));
            }
            other => self.state = other,
        }
    }
}

pub(super) struct Slots<S> {
    slots: Vec<Slot<S>>,
    free: Vec<u32>,
    /// Freed in this turn. They are reused from the next one on.
    graves: Vec<u32>,
    live: usize,
}

impl<S> Slots<S> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            graves: Vec::new(),
            live: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.live
    }

    pub(super) fn insert(&mut self, entry: Box<dyn AnyEntry<S>>) -> SourceId {
        self.live += 1;
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.state = State::Present(entry);
            return SourceId {
                slot: index,
                generation: slot.generation,
            };
        }
        let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 sources");
        assert!(index < SLOT_MAX, "fewer than 2^30 sources at a time");
        self.slots.push(Slot {
            generation: 0,
            state: State::Present(entry),
            touched: false,
            polled: false,
            armed: false,
            counted: false,
            background: false,
            paused: false,
            ready: Event::NONE,
        });
        SourceId {
            slot: index,
            generation: 0,
        }
    }

    #[inline]
    pub(super) fn live_mut(&mut self, id: SourceId) -> Option<&mut Slot<S>> {
        self.slots
            .get_mut(id.slot as usize)
            .filter(|slot| slot.generation == id.generation)
            .filter(|slot| !matches!(slot.state, State::Vacant))
    }

    pub(super) fn live(&self, id: SourceId) -> Option<&Slot<S>> {
        self.slots
            .get(id.slot as usize)
            .filter(|slot| slot.generation == id.generation)
            .filter(|slot| !matches!(slot.state, State::Vacant))
    }

    /// Takes the entry out to run it. `None` when it is gone, or out already.
    pub(super) fn take(&mut self, id: SourceId) -> Option<Box<dyn AnyEntry<S>>> {
        let slot = self.live_mut(id)?;
        match std::mem::replace(&mut slot.state, State::Running) {
            State::Present(entry) => Some(entry),
            other => {
                slot.state = other;
                None
            }
        }
    }

    /// Frees a slot whose entry is out. It is used again after [`bury`](Self::bury).
    pub(super) fn release(&mut self, id: SourceId) {
        let slot = &mut self.slots[id.slot as usize];
        slot.state = State::Vacant;
        slot.touched = false;
        slot.polled = false;
        slot.armed = false;
        slot.counted = false;
        slot.background = false;
        slot.paused = false;
        slot.ready = Event::NONE;
        self.live -= 1;
        if let Some(generation) = slot.generation.checked_add(1) {
            slot.generation = generation;
            self.graves.push(id.slot);
        }
    }

    /// Lets the slots that were freed in the last turn be used again.
    pub(super) fn bury(&mut self) {
        if !self.graves.is_empty() {
            self.free.append(&mut self.graves);
        }
    }

    pub(super) fn ids(&self) -> Vec<SourceId> {
        (0..)
            .zip(&self.slots)
            .filter(|(_, slot)| !matches!(slot.state, State::Vacant))
            .map(|(index, slot)| SourceId {
                slot: index,
                generation: slot.generation,
            })
            .collect()
    }
}
