//! Programs as their owner sees them.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ipc_core::Deadline;
use ipc_dispatch::Poster;
use ipc_marshal::{Duct, Sender};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ProgramsOptions;
use super::state::{Shared, State};
use super::watch::Watch;
use crate::outcome::{lock, wait};
use crate::{Exit, Program, StartError};

/// Programs that talk to one owner, no more than a limit of them alive at a time: pprocess's exchange
/// of channels.
///
/// A thread of its own starts those that wait as soon as others end, and reads what they say, up to
/// 1024 messages each ahead of the owner, who takes them with [`store`](Self::store) or
/// [`finish`](Self::finish): nothing stands still because nobody calls these. Cloning gives another
/// reference to the same; with the last one, programs that have not ended are killed. For functions
/// with one result, or that only send, see [`Exchange`](crate::Exchange).
pub struct Programs<In: Send + 'static, Out: Send + 'static> {
    inner: Arc<Inner<In, Out>>,
}

struct Inner<In: Send + 'static, Out: Send + 'static> {
    shared: Arc<Shared<In, Out>>,
    poster: Poster<Watch<In, Out>>,
}

/// Why a program says no more.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It has ended, and not with code 0.
    #[error("the program ended: {0}")]
    Exited(Exit),
    /// Its turn came, and it could not be started.
    #[error("the program could not be started")]
    NotStarted(#[source] StartError),
}

impl<In, Out> Programs<In, Out>
where
    In: Serialize + Send + 'static,
    Out: DeserializeOwned + Send + 'static,
{
    /// For at most `limit` programs at a time, at least 1; see [`ProgramsOptions`] for the rest.
    ///
    /// # Errors
    ///
    /// As [`ProgramsOptions::open`].
    pub fn new(limit: usize) -> io::Result<Self> {
        ProgramsOptions::new().limit(limit).open()
    }

    pub(super) fn open(options: &ProgramsOptions) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(options));
        let poster = Watch::spawn(Arc::clone(&shared))?;
        Ok(Self {
            inner: Arc::new(Inner { shared, poster }),
        })
    }

    /// Starts a program, or if there are too many lets it wait for its turn. Answers its number, from
    /// 0.
    ///
    /// # Errors
    ///
    /// As [`Program::start`]; one that waits tells it in its turn, as [`ProgramError::NotStarted`].
    pub fn start<F, A>(&self, program: F, argument: A) -> Result<u64, StartError>
    where
        F: Fn(Duct<Out, In>, A) + Copy + Send + 'static,
        A: Serialize + DeserializeOwned + Send + 'static,
    {
        let id = {
            let mut state = lock(&self.inner.shared.state);
            let id = state.number();
            // One that comes later must not overtake those that wait.
            if state.is_busy() || !state.waiting.is_empty() {
                let start = move || Program::start(program, &argument);
                state.waiting.push_back((id, Box::new(start)));
                return Ok(id);
            }
            state.starting += 1;
            id
        };
        let started =
            Program::start(program, &argument).and_then(|program| Ok(self.take_in(id, program)?));
        lock(&self.inner.shared.state).starting -= 1;
        if let Err(error) = started {
            self.inner.shared.changed.notify_all();
            // Its place is another's.
            let _ = self.inner.poster.post(|ctx| ctx.state.fill(ctx.registry));
            return Err(error);
        }
        Ok(id)
    }

    /// Starts a program once fewer run than the limit allows, storing meanwhile as
    /// [`wait`](Self::wait) does. Answers its number.
    ///
    /// # Errors
    ///
    /// As [`Program::start`].
    pub fn create<F, A>(
        &self,
        program: F,
        argument: A,
        handler: impl FnMut(u64, Result<Out, ProgramError>, Option<&Sender<In>>),
    ) -> Result<u64, StartError>
    where
        F: Fn(Duct<Out, In>, A) + Copy + Send + 'static,
        A: Serialize + DeserializeOwned + Send + 'static,
    {
        self.wait(handler)?;
        self.start(program, argument)
    }

    /// A program of which every call runs here, when its turn comes.
    pub fn manage<F, A>(
        &self,
        program: F,
    ) -> impl Fn(A) -> Result<u64, StartError> + use<F, A, In, Out>
    where
        F: Fn(Duct<Out, In>, A) + Copy + Send + 'static,
        A: Serialize + DeserializeOwned + Send + 'static,
    {
        let programs = self.clone();
        move |argument| programs.start(program, argument)
    }

    /// Takes a program in that runs already, whatever the limit. Answers its number.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn add(&self, program: Program<In, Out>) -> io::Result<u64> {
        let id = lock(&self.inner.shared.state).number();
        self.take_in(id, program)?;
        Ok(id)
    }

    /// Takes a program in that runs already, once fewer run than the limit allows, storing meanwhile
    /// as [`wait`](Self::wait) does. Answers its number.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn add_wait(
        &self,
        program: Program<In, Out>,
        handler: impl FnMut(u64, Result<Out, ProgramError>, Option<&Sender<In>>),
    ) -> io::Result<u64> {
        self.wait(handler)?;
        self.add(program)
    }

    fn take_in(&self, id: u64, program: Program<In, Out>) -> io::Result<()> {
        let receiver = self.inner.shared.admit(id, program)?;
        let watched = self
            .inner
            .poster
            .post(move |ctx| ctx.state.watch(id, receiver, ctx.registry));
        watched.map_err(|_| {
            lock(&self.inner.shared.state).active.remove(&id);
            io::Error::other("the thread of the programs has ended")
        })
    }

    /// The numbers of the programs that run, or have said what was not stored.
    pub fn active(&self) -> Vec<u64> {
        let state = lock(&self.inner.shared.state);
        let active = state.active.iter().filter(|(_, active)| !active.is_over());
        active.map(|(id, _)| *id).collect()
    }

    /// Whether as many run as the limit allows.
    pub fn busy(&self) -> bool {
        lock(&self.inner.shared.state).is_busy()
    }

    /// Programs that run, wait for their turn, or have said what was not stored.
    pub fn unfinished(&self) -> usize {
        lock(&self.inner.shared.state).unfinished()
    }

    /// The way to talk to a program that was started and not removed.
    pub fn sender(&self, id: u64) -> Option<Sender<In>> {
        let state = lock(&self.inner.shared.state);
        Some(state.active.get(&id)?.sender.clone())
    }

    /// How a program ended, while it is known: until it was removed, which
    /// [`autoclose`](ProgramsOptions::autoclose) does by itself.
    pub fn exit(&self, id: u64) -> Option<Exit> {
        lock(&self.inner.shared.state).active.get(&id)?.exit
    }

    /// Lets go of a program: it is killed if it has not ended, and not started if it waits. What it
    /// said and was not stored is dropped. Answers whether it was there.
    pub fn remove(&self, id: u64) -> bool {
        let mut state = lock(&self.inner.shared.state);
        let waiting = state.waiting.len();
        state.waiting.retain(|(waits, _)| *waits != id);
        let waited = state.waiting.len() < waiting;
        let removed = state.active.remove(&id);
        if removed.is_some() {
            state.arrived.retain(|(from, _)| *from != id);
        }
        drop(state);
        self.inner.shared.changed.notify_all();
        let was_there = removed.is_some() || waited;
        // Kills it, before its place is given to another.
        drop(removed);
        if was_there {
            // A thread that is gone has nothing to tidy up.
            let _ = self
                .inner
                .poster
                .post(move |ctx| ctx.state.forget(id, ctx.registry));
        }
        was_there
    }

    /// Waits until programs have said something that was not stored, for no longer than `timeout` if
    /// there is one, and answers their numbers: none when the time is over, or nothing can come.
    pub fn ready(&self, timeout: Option<Duration>) -> Vec<u64> {
        let Some(state) = self.await_arrival(deadline(timeout)) else {
            return Vec::new();
        };
        let mut ready: Vec<u64> = Vec::new();
        for (id, _) in &state.arrived {
            if !ready.contains(id) {
                ready.push(*id);
            }
        }
        ready
    }

    /// Waits for messages, for no longer than `timeout` if there is one, and gives all that came to
    /// `handler`, with the number of the program and, if it was started, the way to answer it.
    /// Answers whether there were any.
    ///
    /// A program that does not end with code 0 gives an error after its last message.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn store(
        &self,
        timeout: Option<Duration>,
        mut handler: impl FnMut(u64, Result<Out, ProgramError>, Option<&Sender<In>>),
    ) -> io::Result<bool> {
        let came = match self.await_arrival(deadline(timeout)) {
            Some(state) => state.arrived.len(),
            None => 0,
        };
        // No more than came so far: one that never stops talking must not keep the owner here.
        for _ in 0..came {
            self.store_one(&mut handler);
        }
        match lock(&self.inner.shared.state).failed.take() {
            Some(error) => Err(error),
            None => Ok(came > 0),
        }
    }

    /// Stores until fewer programs run than the limit allows.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn wait(
        &self,
        mut handler: impl FnMut(u64, Result<Out, ProgramError>, Option<&Sender<In>>),
    ) -> io::Result<()> {
        loop {
            let mut state = lock(&self.inner.shared.state);
            while state.arrived.is_empty() {
                if let Some(error) = state.failed.take() {
                    return Err(error);
                }
                if !state.is_busy() && state.waiting.is_empty() {
                    return Ok(());
                }
                let woken = wait(&self.inner.shared.changed, state, Deadline::Never);
                state = woken.expect("a wait without a deadline ends by being woken");
            }
            drop(state);
            self.store_one(&mut handler);
        }
    }

    /// Stores until every program has ended.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn finish(
        &self,
        mut handler: impl FnMut(u64, Result<Out, ProgramError>, Option<&Sender<In>>),
    ) -> io::Result<()> {
        while self.unfinished() > 0 {
            self.store(None, &mut handler)?;
        }
        Ok(())
    }

    /// Waits until something has come, or nothing can any more.
    fn await_arrival(
        &self,
        deadline: Deadline,
    ) -> Option<std::sync::MutexGuard<'_, State<In, Out>>> {
        let mut state = lock(&self.inner.shared.state);
        while state.arrived.is_empty() {
            if state.unfinished() == 0 || state.failed.is_some() {
                return None;
            }
            state = wait(&self.inner.shared.changed, state, deadline)?;
        }
        Some(state)
    }

    /// Gives the oldest message to `handler`, which may do anything with these programs.
    fn store_one(
        &self,
        handler: &mut impl FnMut(u64, Result<Out, ProgramError>, Option<&Sender<In>>),
    ) {
        let mut state = lock(&self.inner.shared.state);
        let Some((id, message)) = state.arrived.pop_front() else {
            return;
        };
        let sender = state.active.get(&id).map(|active| active.sender.clone());
        drop(state);
        handler(id, message, sender.as_ref());
        if self.inner.shared.stored(id) {
            let _ = self
                .inner
                .poster
                .post(move |ctx| ctx.state.resume(id, ctx.registry));
        }
    }
}

fn deadline(timeout: Option<Duration>) -> Deadline {
    timeout.map_or(Deadline::Never, Deadline::after)
}

impl<In: Send + 'static, Out: Send + 'static> Clone for Programs<In, Out> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<In: Send + 'static, Out: Send + 'static> Drop for Inner<In, Out> {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.waiting.clear();
        let active = std::mem::take(&mut state.active);
        drop(state);
        drop(active);
        // One that has ended needs no telling.
        let _ = self.poster.post(|ctx| ctx.registry.stop());
    }
}

impl<In: Send + 'static, Out: Send + 'static> fmt::Debug for Programs<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.inner.shared.state);
        f.debug_struct("Programs")
            .field("active", &state.active.len())
            .field("waiting", &state.waiting.len())
            .finish_non_exhaustive()
    }
}
