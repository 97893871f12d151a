//! The arbiter's loop, on the caller's thread or one of its own.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ipc_dispatch::{Context, Selector, SelectorOptions};

use super::handle::{Arbiter, Shared};
use super::shelter::{OnArbiterDeath, Shelter};
use super::time::Clock;
use super::tree::Tree;
use crate::local::set_arbiter;
use crate::{Deferred, ExitReason, SupervisorOptions};

/// How an arbiter is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArbiterOptions {
    /// How it supervises the actors that are spawned under it.
    pub supervisor: SupervisorOptions,
    /// What becomes of actors in processes if it is killed.
    pub on_death: OnArbiterDeath,
}

impl Default for ArbiterOptions {
    /// One for one, ten restarts in ten seconds: more than OTP's one in five, as everything in the
    /// program hangs on this supervisor.
    fn default() -> Self {
        let supervisor = SupervisorOptions {
            intensity: 10,
            period: Duration::from_secs(10),
            ..SupervisorOptions::default()
        };
        Self {
            supervisor,
            on_death: OnArbiterDeath::default(),
        }
    }
}

/// An arbiter whose loop the caller turns.
///
/// Dropping it kills what is left of its actors; end it by [`Arbiter::stop`] and
/// [`run`](ArbiterLoop::run) to let them finish.
pub struct ArbiterLoop {
    pub(super) selector: Selector<Tree>,
    pub(super) tree: Tree,
    arbiter: Arbiter,
}

/// How many posts the selector does in one turn.
const TASKS_PER_TURN: usize = 1024;

impl ArbiterLoop {
    /// An arbiter without actors, whose loop belongs to the calling thread.
    ///
    /// # Errors
    ///
    /// What the system says when it gives no descriptors; for
    /// [`OnArbiterDeath::Wait`] also that the folder is another's, or that another arbiter has it
    /// ([`PermissionDenied`](io::ErrorKind::PermissionDenied), [`AddrInUse`](io::ErrorKind::AddrInUse)).
    pub fn new(options: ArbiterOptions) -> io::Result<Self> {
        let mut selector = Self::selector_options(SelectorOptions::new()).open()?;
        let shelter = match &options.on_death {
            OnArbiterDeath::End => None,
            OnArbiterDeath::Wait { folder, at_most } => {
                let shelter = Shelter::open(folder, *at_most, &selector.poster())?;
                if shelter.has_strays() {
                    selector.alarm(Shelter::patience(*at_most), Tree::end_strays);
                }
                Some(Arc::new(shelter))
            }
        };
        Ok(Self::of(selector, options, Clock::system(), shelter))
    }

    pub(super) fn selector_options(options: SelectorOptions) -> SelectorOptions {
        options.tasks_max(TASKS_PER_TURN)
    }

    pub(super) fn of(
        selector: Selector<Tree>,
        options: ArbiterOptions,
        clock: Clock,
        shelter: Option<Arc<Shelter>>,
    ) -> Self {
        let shared = Arc::new(Shared::new(selector.poster(), clock, shelter));
        let tree = Tree::new(Arc::clone(&shared), options.supervisor);
        shared.be_found();
        let arbiter = Arbiter::new(shared);
        arbiter.shared.home.enter();
        set_arbiter(Some(arbiter.clone()));
        Self {
            selector,
            tree,
            arbiter,
        }
    }

    /// A handle for spawning and stopping, from any thread.
    #[must_use]
    pub fn arbiter(&self) -> Arbiter {
        self.arbiter.clone()
    }

    /// Turns the loop until the arbiter has ended, and answers the exit status for the program: zero
    /// after a stop, one when the supervisor gave up. Blocks while nothing happens.
    ///
    /// # Errors
    ///
    /// What the system says when it cannot wait.
    pub fn run(&mut self) -> io::Result<i32> {
        loop {
            if let Some(status) = self.tree.exit_status() {
                return Ok(status);
            }
            self.turn(None)?;
        }
    }

    /// Turns the loop once, waiting for at most `timeout`, or as long as it takes.
    ///
    /// # Errors
    ///
    /// As [`run`](ArbiterLoop::run).
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let more = self.run_ready()?;
        let timeout = if more { Some(Duration::ZERO) } else { timeout };
        if self.tree.ended().is_none() {
            self.turn_selector(timeout)?;
        }
        Ok(())
    }

    /// Turns the loop until the result is there.
    ///
    /// # Errors
    ///
    /// The result's own, or the loop's.
    pub fn wait<T, E>(&mut self, mut deferred: Deferred<T, E>) -> io::Result<Result<T, E>> {
        let waker = Waker::from(Arc::clone(&self.arbiter.shared.home));
        loop {
            while !deferred.is_ready() && self.run_ready()? {}
            // Leaves the waker behind, so that another thread's answer ends the sleep.
            let polled =
                std::pin::Pin::new(&mut deferred).poll(&mut TaskContext::from_waker(&waker));
            match polled {
                Poll::Ready(result) => return Ok(result),
                Poll::Pending => self.turn(None)?,
            }
        }
    }

    /// Lets actors on the loop handle their mail. What was asked of the arbiter before that mail was
    /// sent is done first, so that a watch is there when the message that it waits for kills: the mail
    /// is taken, then what is posted by then is done, then the mail is handled. Whoever posts and then
    /// sends has posted by the time that the mail is taken.
    fn run_ready(&mut self) -> io::Result<bool> {
        if !self.tree.take_ready() {
            return Ok(false);
        }
        // What is posted meanwhile is behind the mail, and a flood of it must not starve the actors.
        let mut posted = self.arbiter.shared.poster.len();
        while posted > 0 && !self.arbiter.shared.poster.is_empty() {
            self.turn_selector(Some(Duration::ZERO))?;
            posted = posted.saturating_sub(TASKS_PER_TURN);
        }
        let Self { selector, tree, .. } = self;
        Ok(Tree::run_ready(&mut Context {
            state: tree,
            registry: &mut *selector,
        }))
    }

    fn turn_selector(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let home = &self.arbiter.shared.home;
        home.set_turning(true);
        let turned = self.selector.turn(&mut self.tree, timeout);
        home.set_turning(false);
        if self.arbiter.shared.clock.is_simulated() {
            self.arbiter.shared.clock.set(self.selector.now());
        }
        turned.map(drop)
    }
}

impl Drop for ArbiterLoop {
    fn drop(&mut self) {
        if self.tree.ended().is_none() {
            let Self { selector, tree, .. } = self;
            let mut ctx = Context {
                state: tree,
                registry: &mut *selector,
            };
            Tree::stop(&mut ctx, 0);
            Tree::stop(&mut ctx, 0);
        }
        self.arbiter.shared.leave_shelter();
        self.arbiter.shared.home.leave();
        set_arbiter(None);
    }
}

impl fmt::Debug for ArbiterLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArbiterLoop")
            .field("arbiter", &self.arbiter)
            .finish_non_exhaustive()
    }
}

/// An arbiter with a thread of its own for its loop.
///
/// Dropping it stops the actors, as their policies say, and waits for that; use
/// [`finish`](ArbiterThread::finish) to learn the exit status.
#[derive(Debug)]
pub struct ArbiterThread {
    arbiter: Arbiter,
    thread: Option<JoinHandle<io::Result<i32>>>,
}

impl ArbiterThread {
    /// Starts an arbiter in a thread of its own.
    ///
    /// # Errors
    ///
    /// What the system says when it gives no thread or descriptors.
    pub fn start(options: ArbiterOptions) -> io::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name("arbiter".to_owned())
            .spawn(move || {
                let mut root = match ArbiterLoop::new(options) {
                    Ok(root) => root,
                    Err(error) => {
                        // The starter waits for one of the two.
                        drop(sender.send(Err(error)));
                        return Ok(1);
                    }
                };
                drop(sender.send(Ok(root.arbiter())));
                root.run()
            })?;
        let arbiter = receiver.recv().map_err(|_| io::ErrorKind::BrokenPipe)??;
        Ok(Self {
            arbiter,
            thread: Some(thread),
        })
    }

    /// A handle for spawning and stopping, from any thread.
    #[must_use]
    pub fn arbiter(&self) -> Arbiter {
        self.arbiter.clone()
    }

    /// Waits until the arbiter has ended, which [`Arbiter::stop`] or its supervisor giving up brings
    /// about, and answers the exit status for the program.
    ///
    /// # Errors
    ///
    /// What the system said when the loop could not wait.
    pub fn join(mut self) -> io::Result<i32> {
        self.end()
    }

    /// Stops the actors and waits for that.
    ///
    /// # Errors
    ///
    /// As [`join`](ArbiterThread::join).
    pub fn finish(mut self) -> io::Result<i32> {
        self.arbiter.stop();
        self.end()
    }

    fn end(&mut self) -> io::Result<i32> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(status)) => status,
            Some(Err(_)) => Err(io::Error::other("the arbiter's thread panicked")),
            None => Ok(0),
        }
    }
}

impl Drop for ArbiterThread {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.arbiter.stop();
            // Its own end is all that matters here.
            drop(self.end());
        }
    }
}

/// Why the root supervisor ended, for those who run the loop themselves.
impl ArbiterLoop {
    /// Why the arbiter has ended; `None` while it runs.
    #[must_use]
    pub fn exit_reason(&self) -> Option<&ExitReason> {
        self.tree.ended()
    }
}
