//! What an owner's threads and the programs' thread share.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Condvar, Mutex};

use ipc_marshal::{Receiver, Sender};

use super::{ProgramError, ProgramsOptions};
use crate::outcome::lock;
use crate::{Exit, Process, Program, StartError};

/// Messages of one program that are read ahead of the owner.
const AHEAD: usize = 1024;

pub(super) type Start<In, Out> = Box<dyn FnOnce() -> Result<Program<In, Out>, StartError> + Send>;

pub(super) struct Shared<In, Out> {
    pub(super) state: Mutex<State<In, Out>>,
    pub(super) changed: Condvar,
    continuous: bool,
    autoclose: bool,
}

pub(super) struct State<In, Out> {
    limit: usize,
    next: u64,
    pub(super) waiting: VecDeque<(u64, Start<In, Out>)>,
    /// Programs whose processes are being started just now.
    pub(super) starting: usize,
    pub(super) active: BTreeMap<u64, Active<In>>,
    pub(super) arrived: VecDeque<(u64, Result<Out, ProgramError>)>,
    /// Why the thread has ended, if it has.
    pub(super) failed: Option<io::Error>,
}

pub(super) struct Active<In> {
    pub(super) sender: Sender<In>,
    pub(super) process: Process,
    /// Whether its duct has ended.
    is_silent: bool,
    pub(super) exit: Option<Exit>,
    /// Messages of it in `arrived`.
    unstored: usize,
    is_paused: bool,
}

impl<In> Active<In> {
    /// Whether it has ended and all that it said was stored.
    pub(super) fn is_over(&self) -> bool {
        self.is_silent && self.exit.is_some() && self.unstored == 0
    }
}

impl<In, Out> State<In, Out> {
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// By the table of processes, not a counter: a death cannot lose a place.
    pub(super) fn is_busy(&self) -> bool {
        let running = self.active.values().filter(|active| active.exit.is_none());
        running.count() + self.starting >= self.limit
    }

    pub(super) fn unfinished(&self) -> usize {
        let active = self.active.values().filter(|active| !active.is_over());
        // Also what could not be started and was not told.
        let told = usize::from(!self.arrived.is_empty());
        (active.count() + self.waiting.len() + self.starting).max(told)
    }

    /// The next program to start, if there is a place for it.
    pub(super) fn next_start(&mut self) -> Option<(u64, Start<In, Out>)> {
        if self.is_busy() {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.starting += 1;
        Some(next)
    }
}

/// What a message means for the reading of the next.
pub(super) enum Reading {
    Goes,
    Pauses,
    Ends,
}

impl<In, Out> Shared<In, Out> {
    pub(super) fn new(options: &ProgramsOptions) -> Self {
        Self {
            state: Mutex::new(State {
                limit: options.limit,
                next: 0,
                waiting: VecDeque::new(),
                starting: 0,
                active: BTreeMap::new(),
                arrived: VecDeque::new(),
                failed: None,
            }),
            changed: Condvar::new(),
            continuous: options.continuous,
            autoclose: options.autoclose,
        }
    }

    /// Writes a program down as active; what it says is still to be read.
    pub(super) fn admit(&self, id: u64, program: Program<In, Out>) -> io::Result<Receiver<Out>> {
        let (duct, process) = program.into_parts();
        let (sender, receiver) = duct.split()?;
        let active = Active {
            sender,
            process,
            is_silent: false,
            exit: None,
            unstored: 0,
            is_paused: false,
        };
        lock(&self.state).active.insert(id, active);
        Ok(receiver)
    }

    /// A program has said something.
    pub(super) fn said(&self, id: u64, message: Out) -> Reading {
        let mut state = lock(&self.state);
        let State {
            active, arrived, ..
        } = &mut *state;
        let Some(active) = active.get_mut(&id) else {
            return Reading::Ends;
        };
        active.unstored += 1;
        arrived.push_back((id, Ok(message)));
        let reading = if !self.continuous {
            active.is_silent = true;
            Reading::Ends
        } else if active.unstored >= AHEAD {
            active.is_paused = true;
            Reading::Pauses
        } else {
            Reading::Goes
        };
        self.settle(&mut state, id);
        reading
    }

    /// A program's duct has ended.
    pub(super) fn silent(&self, id: u64) {
        let mut state = lock(&self.state);
        if let Some(active) = state.active.get_mut(&id) {
            active.is_silent = true;
        }
        self.tell_failure(&mut state, id);
    }

    /// A program's process has ended.
    pub(super) fn exited(&self, id: u64, exit: Exit) {
        let mut state = lock(&self.state);
        if let Some(active) = state.active.get_mut(&id) {
            active.exit = Some(exit);
        }
        self.tell_failure(&mut state, id);
    }

    /// A program could not be started in its turn.
    pub(super) fn not_started(&self, id: u64, error: StartError) {
        let mut state = lock(&self.state);
        let arrived = (id, Err(ProgramError::NotStarted(error)));
        state.arrived.push_back(arrived);
        self.changed.notify_all();
    }

    /// A message was stored; answers whether its program may be read on now.
    pub(super) fn stored(&self, id: u64) -> bool {
        let mut state = lock(&self.state);
        let Some(active) = state.active.get_mut(&id) else {
            return false;
        };
        active.unstored = active.unstored.saturating_sub(1);
        let resumes = active.is_paused && active.unstored <= AHEAD / 2;
        active.is_paused &= !resumes;
        self.settle(&mut state, id);
        resumes
    }

    /// Tells of a program that is over and has failed, after its last message.
    fn tell_failure(&self, state: &mut State<In, Out>, id: u64) {
        if let Some(active) = state.active.get_mut(&id)
            && active.is_silent
            && let Some(exit) = active.exit
            && !exit.is_success()
        {
            active.unstored += 1;
            let arrived = (id, Err(ProgramError::Exited(exit)));
            state.arrived.push_back(arrived);
        }
        self.settle(state, id);
    }

    fn settle(&self, state: &mut State<In, Out>, id: u64) {
        if self.autoclose && state.active.get(&id).is_some_and(Active::is_over) {
            // It has ended: this waits for nothing and kills nobody.
            state.active.remove(&id);
        }
        self.changed.notify_all();
    }
}
