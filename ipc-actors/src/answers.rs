//! Who reads what an actor in its own process answers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipc_core::Deadline;
use ipc_dispatch::{Context, Key};
use ipc_marshal::Receiver;

use crate::arbiter::Tree;
use crate::deferred::Help;
use crate::link::Link;
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

/// For how long a thread reads for its answer: beyond that a wake by the loop costs little in
/// comparison.
const READING_MAX: Duration = Duration::from_micros(200);

/// The answers' end while a thread that waits reads from it.
struct Reading {
    link: Arc<Link>,
    receiver: Option<End>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(receiver) = self.receiver.take() {
            let others = self.link.is_awaited();
            let duty = self.link.answers.put_back(receiver, others);
            self.link.see_to(duty);
        }
    }
}

impl Help for Link {
    fn help(self: Arc<Self>, is_done: &dyn Fn() -> bool, deadline: Deadline) {
        let receiver = self.answers.borrow();
        let mut reading = Reading {
            link: self,
            receiver,
        };
        let Some(receiver) = &mut reading.receiver else {
            return;
        };
        // An answer that takes longer is left to the loop, which hears of the process's end at once.
        let soon = Deadline::after(READING_MAX);
        let until = match (deadline, soon) {
            (Deadline::At(at), Deadline::At(soon)) => Deadline::At(at.min(soon)),
            (Deadline::Now, _) => Deadline::Now,
            _ => soon,
        };
        while !is_done() {
            let report = match until {
                Deadline::At(at) => receiver.recv_deadline(at),
                Deadline::Now | Deadline::Never => receiver.recv_timeout(Duration::ZERO),
            };
            match report {
                Ok(FromActor(report)) => reading.link.answered(report),
                Err(_) => break,
            }
        }
    }

    fn leave(self: Arc<Self>) {
        self.attend();
    }
}
