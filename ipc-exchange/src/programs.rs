//! Many programs, a limited number at a time.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use ipc_dispatch::{Control, Selector};
use ipc_marshal::{Duct, Receiver, Sender, TryRecvError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Exit, Process, Program, StartError};

type Start<In, Out> = Box<dyn FnOnce() -> Result<Program<In, Out>, StartError>>;

/// Programs that talk to one owner, no more than a limit of them alive at a time: pprocess's exchange
/// of channels.
///
/// It runs on its owner's thread, in [`store`](Self::store) and [`finish`](Self::finish): programs that
/// wait for their turn are started there, and those that run go on by themselves. For functions with
/// one result, or that only send, see [`Exchange`](crate::Exchange), which needs nobody to wait.
pub struct Programs<In, Out> {
    selector: Selector<State<In, Out>>,
    state: State<In, Out>,
}

struct State<In, Out> {
    limit: usize,
    next: u64,
    waiting: VecDeque<(u64, Start<In, Out>)>,
    active: BTreeMap<u64, Active<In>>,
    arrived: VecDeque<(u64, Result<Out, Exit>)>,
}

struct Active<In> {
    sender: Sender<In>,
    /// Held so that it ends with its entry.
    _process: Process,
    is_silent: bool,
    exit: Option<Exit>,
}

impl<In, Out> Programs<In, Out>
where
    In: Serialize + 'static,
    Out: DeserializeOwned + 'static,
{
    /// For at most `limit` programs at a time, at least 1.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn new(limit: usize) -> io::Result<Self> {
        Ok(Self {
            selector: Selector::new()?,
            state: State {
                limit: limit.max(1),
                next: 0,
                waiting: VecDeque::new(),
                active: BTreeMap::new(),
                arrived: VecDeque::new(),
            },
        })
    }

    /// Starts a program, or if there are too many lets it wait for its turn. Answers its number, from
    /// 0.
    ///
    /// # Errors
    ///
    /// As [`Program::start`]; one that waits tells it in its turn, as [`Exit::Unknown`].
    pub fn start<F, A>(&mut self, program: F, argument: A) -> Result<u64, StartError>
    where
        F: Fn(Duct<Out, In>, A) + Copy + 'static,
        A: Serialize + DeserializeOwned + 'static,
    {
        if self.busy() {
            let id = self.number();
            let start = move || Program::start(program, &argument);
            self.state.waiting.push_back((id, Box::new(start)));
            return Ok(id);
        }
        let program = Program::start(program, &argument)?;
        Ok(self.add(program)?)
    }

    /// Takes a program in that runs already, whatever the limit. Answers its number.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn add(&mut self, program: Program<In, Out>) -> io::Result<u64> {
        let id = self.number();
        self.register(id, program)?;
        Ok(id)
    }

    /// The numbers of the programs that run, or have said what was not stored.
    pub fn active(&self) -> Vec<u64> {
        self.state.active.keys().copied().collect()
    }

    /// Whether as many run as the limit allows.
    pub fn busy(&self) -> bool {
        self.state.active.len() >= self.state.limit
    }

    /// Programs that run or wait for their turn.
    pub fn unfinished(&self) -> usize {
        self.state.active.len() + self.state.waiting.len()
    }

    /// Lets go of a program: it is killed if it has not ended. What it said and was not stored is
    /// dropped.
    pub fn remove(&mut self, id: u64) -> bool {
        self.state.arrived.retain(|(from, _)| *from != id);
        self.state.active.remove(&id).is_some()
    }

    /// Waits for messages, for no longer than `timeout` if there is one, and gives all that came to
    /// `handler`, with the number of the program and the way to answer it. Answers whether there were
    /// any.
    ///
    /// A program that does not end with code 0 gives its exit after its last message.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn store(
        &mut self,
        timeout: Option<Duration>,
        mut handler: impl FnMut(u64, Result<Out, Exit>, &Sender<In>),
    ) -> io::Result<bool> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.refill();
        while self.state.arrived.is_empty() && self.unfinished() > 0 {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(false);
            }
            self.selector.turn(&mut self.state, left)?;
            self.refill();
        }
        let stored = !self.state.arrived.is_empty();
        while let Some((id, message)) = self.state.arrived.pop_front() {
            if let Some(active) = self.state.active.get(&id) {
                handler(id, message, &active.sender);
            }
        }
        self.refill();
        Ok(stored)
    }

    /// Stores until every program has ended.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn finish(
        &mut self,
        mut handler: impl FnMut(u64, Result<Out, Exit>, &Sender<In>),
    ) -> io::Result<()> {
        while self.unfinished() > 0 {
            self.store(None, &mut handler)?;
        }
        Ok(())
    }

    fn number(&mut self) -> u64 {
        self.state.next += 1;
        self.state.next - 1
    }

    /// Lets programs go that have ended and whose messages were stored, and starts those whose turn
    /// has come.
    fn refill(&mut self) {
        let arrived = &self.state.arrived;
        self.state.active.retain(|id, active| {
            let is_over = active.is_silent && active.exit.is_some();
            !is_over || arrived.iter().any(|(from, _)| from == id)
        });
        while !self.busy() {
            let Some((id, start)) = self.state.waiting.pop_front() else {
                return;
            };
            let started = start().and_then(|program| Ok(self.register(id, program)?));
            if started.is_err() {
                self.state.arrived.push_back((id, Err(Exit::Unknown)));
            }
        }
    }

    fn register(&mut self, id: u64, program: Program<In, Out>) -> io::Result<()> {
        let (duct, process) = program.into_parts();
        let (sender, receiver) = duct.split()?;
        let key = self.selector.add(receiver);
        self.selector
            .on_message(key, move |_: &mut Receiver<Out>, message, ctx| {
                ctx.state.message(id, message)
            })?;
        process.on_exit(&mut self.selector, move |exit, ctx| {
            if let Some(active) = ctx.state.active.get_mut(&id) {
                active.exit = Some(exit);
            }
            ctx.state.ended(id);
        })?;
        self.state.active.insert(
            id,
            Active {
                sender,
                _process: process,
                is_silent: false,
                exit: None,
            },
        );
        Ok(())
    }
}

impl<In, Out> State<In, Out> {
    fn message(&mut self, id: u64, message: Result<Out, TryRecvError>) -> Control {
        let Some(active) = self.active.get_mut(&id) else {
            return Control::Close;
        };
        match message {
            Ok(message) => {
                self.arrived.push_back((id, Ok(message)));
                Control::Keep
            }
            Err(_) => {
                active.is_silent = true;
                self.ended(id);
                Control::Close
            }
        }
    }

    /// Tells of a program that is over and has failed.
    fn ended(&mut self, id: u64) {
        let Some(active) = self.active.get(&id) else {
            return;
        };
        if let (true, Some(exit)) = (active.is_silent, active.exit)
            && !exit.is_success()
        {
            self.arrived.push_back((id, Err(exit)));
        }
    }
}

impl<In, Out> fmt::Debug for Programs<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Programs")
            .field("active", &self.state.active.len())
            .field("waiting", &self.state.waiting.len())
            .finish_non_exhaustive()
    }
}
