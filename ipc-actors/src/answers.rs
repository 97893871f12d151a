//! Who reads what an actor in its own process answers.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ipc_dispatch::{Context, Key};
use ipc_marshal::Receiver;

use crate::arbiter::Tree;
use crate::wire::FromActor;

/// The receiving end.
pub(crate) type End = Box<Receiver<FromActor>>;

/// So many questions in a row, each asked when no other waited, end the loop's reading.
const ALONE_MIN: u32 = 64;

/// The receiving end of the answers of the present incarnation, which one thread reads at a time.
///
/// As long as questions come one at a time, each from a thread that then waits for its answer, that
/// thread reads: nobody else has to be woken for it, nor does anybody stand in its way. In all other
/// cases the loop reads. The end lies here between two readers, and whoever puts it down looks under
/// the same lock whether the loop has asked for it meanwhile (`wanted`); whoever has a question and
/// finds somebody reading asks for that. So a question never waits while nobody reads.
pub(crate) struct Answers {
    state: Mutex<State>,
}

struct State {
    place: Place,
    /// The loop shall have it as soon as it lies here, or has been asked to fetch it.
    wanted: bool,
    /// How many questions in a row came alone while the loop read.
    alone: u32,
    /// What the loop does when the thread that reads has put the end down.
    after: Option<After>,
}

/// Something for the loop to do.
pub(crate) type After = Box<dyn FnOnce(&mut Context<'_, Tree>) + Send>;

enum Place {
    /// There is no incarnation.
    Nowhere,
    Here(End),
    /// A thread that waits for its answer reads.
    Lent,
    /// The loop reads.
    Loop(Key<Receiver<FromActor>>),
}

/// What is to be done about a question.
pub(crate) enum Duty {
    Nothing,
    /// The loop waits for the end to be put down, to do this.
    Tell(After),
    /// The loop must be asked to fetch the end.
    Fetch,
    /// The loop may be asked to put it down.
    PutDown,
}

/// What the end of an incarnation leaves to be read.
pub(crate) enum Remains {
    Nothing,
    Here(End),
    Loop(Key<Receiver<FromActor>>),
    /// A thread still reads.
    Lent,
}

impl Answers {
    pub(crate) fn new() -> Self {
        let state = State {
            place: Place::Nowhere,
            wanted: false,
            alone: 0,
            after: None,
        };
        Self {
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An incarnation has come.
    pub(crate) fn connect(&self, receiver: End) {
        let mut state = self.lock();
        state.place = Place::Here(receiver);
        state.wanted = false;
    }

    /// A question was asked; `alone` if no other waits and its asker may read.
    pub(crate) fn asked(&self, alone: bool) -> Duty {
        let mut state = self.lock();
        if !alone {
            state.alone = 0;
            return state.want();
        }
        if let Place::Loop(_) = state.place {
            state.alone += 1;
            if state.alone >= ALONE_MIN {
                state.alone = 0;
                return Duty::PutDown;
            }
        }
        Duty::Nothing
    }

    /// The loop shall read.
    pub(crate) fn want(&self) -> Duty {
        self.lock().want()
    }

    /// Gives the end to a thread that waits, unless somebody reads already.
    pub(crate) fn borrow(&self) -> Option<End> {
        let mut state = self.lock();
        match std::mem::replace(&mut state.place, Place::Lent) {
            Place::Here(receiver) => Some(receiver),
            Place::Lent => {
                state.wanted = true;
                None
            }
            other => {
                state.place = other;
                None
            }
        }
    }

    /// Takes it back. `others` if questions of others wait. Answers whether the loop must fetch it.
    pub(crate) fn put_back(&self, receiver: End, others: bool) -> Duty {
        let mut state = self.lock();
        // Nobody else can have put one here: the loop waits for this one before it lets the next
        // incarnation begin.
        state.place = Place::Here(receiver);
        if let Some(after) = state.after.take() {
            return Duty::Tell(after);
        }
        if state.wanted || others {
            state.wanted = true;
            return Duty::Fetch;
        }
        Duty::Nothing
    }

    /// Gives it to the loop, if it lies here.
    pub(crate) fn fetch(&self) -> Option<End> {
        let mut state = self.lock();
        match std::mem::replace(&mut state.place, Place::Nowhere) {
            Place::Here(receiver) => {
                state.wanted = false;
                Some(receiver)
            }
            other => {
                state.place = other;
                None
            }
        }
    }

    /// The loop has taken it in.
    pub(crate) fn fetched(&self, key: Key<Receiver<FromActor>>) {
        self.lock().place = Place::Loop(key);
    }

    /// The loop's key, if it reads.
    pub(crate) fn key(&self) -> Option<Key<Receiver<FromActor>>> {
        match &self.lock().place {
            Place::Loop(key) => Some(*key),
            _ => None,
        }
    }

    /// The incarnation is gone. If a thread reads, `after` is done when it no longer does.
    pub(crate) fn disconnect(&self, after: After) -> Remains {
        let mut state = self.lock();
        match std::mem::replace(&mut state.place, Place::Nowhere) {
            Place::Nowhere => Remains::Nothing,
            Place::Here(receiver) => Remains::Here(receiver),
            Place::Loop(key) => Remains::Loop(key),
            Place::Lent => {
                state.place = Place::Lent;
                state.after = Some(after);
                Remains::Lent
            }
        }
    }
}

impl State {
    fn want(&mut self) -> Duty {
        match self.place {
            Place::Nowhere | Place::Loop(_) => Duty::Nothing,
            Place::Lent => {
                self.wanted = true;
                Duty::Nothing
            }
            Place::Here(_) if self.wanted => Duty::Nothing,
            Place::Here(_) => {
                self.wanted = true;
                Duty::Fetch
            }
        }
    }
}
