//! Signals to this process and the ends of its children.

use std::io;
use std::os::fd::BorrowedFd;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::unistd::getpid;

use crate::{Context, Control, Key, Outcome, Registry, Source, SourceId, sys};

/// Names one handler of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SignalId(u64);

type Handler<S> = Box<dyn FnMut(&mut Context<'_, S>) -> io::Result<Control>>;

struct Registered<S> {
    id: SignalId,
    signal: i32,
    /// `None` while it runs.
    handler: Option<Handler<S>>,
}

/// The signals that a selector handles.
pub(crate) struct Signals<S> {
    handlers: Vec<Registered<S>>,
    actions: Vec<(i32, sys::SignalAction)>,
    next: u64,
    /// The children that are waited for by asking after every SIGCHLD.
    children: Vec<SourceId>,
}

impl<S> Signals<S> {
    pub(crate) fn new() -> Self {
        Self {
            handlers: Vec::new(),
            actions: Vec::new(),
            next: 0,
            children: Vec::new(),
        }
    }

    /// Where the first handler stands that has this id or came later.
    fn first_from(&self, id: u64) -> Option<usize> {
        let index = self.handlers.partition_point(|known| known.id.0 < id);
        (index < self.handlers.len()).then_some(index)
    }
}

/// A child whose end a selector waits for.
struct Child(sys::ChildWatch);

impl Source for Child {
    const IN_KERNEL: bool = true;

    fn inbound(&self) -> Option<BorrowedFd<'_>> {
        self.0.descriptor()
    }

    fn outbound(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl<S: 'static> Registry<S> {
    /// Runs `handler` in the loop after the signal has come. Several that come at once count as one;
    /// none is lost. What the handler returns says whether it stays, and errors go to the error
    /// hook. A signal does not keep the loop running.
    ///
    /// The signal's default action is replaced for as long as the process lives, and the loop is
    /// woken whatever thread the signal hits; no signal is blocked, so children inherit nothing.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for signals that cannot be handled this way
    /// (KILL, STOP, ILL, FPE, SEGV) or do not exist.
    pub fn on_signal<O, F>(&mut self, signal: i32, mut handler: F) -> io::Result<SignalId>
    where
        O: Outcome,
        F: FnMut(&mut Context<'_, S>) -> O + 'static,
    {
        let unknown = || {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("there is no signal {signal}"),
            )
        };
        if !(1..=64).contains(&signal) {
            return Err(unknown());
        }
        if !self
            .signals
            .actions
            .iter()
            .any(|(known, _)| *known == signal)
        {
            let shared = Arc::clone(&self.shared);
            let action = sys::SignalAction::new(signal, move || {
                // A forked child shares the descriptor that wakes its parent's loop.
                if getpid().as_raw() == shared.owner.load(Ordering::Relaxed) {
                    // SeqCst: pairs with the loop's look before it sleeps.
                    shared.signals.fetch_or(1 << (signal - 1), Ordering::SeqCst);
                    shared.notify();
                }
            })?;
            self.signals.actions.push((signal, action));
        }
        let id = SignalId(self.signals.next);
        self.signals.next += 1;
        self.signals.handlers.push(Registered {
            id,
            signal,
            handler: Some(Box::new(move |ctx| handler(ctx).into_control())),
        });
        Ok(id)
    }

    /// Takes a signal's handler away. Answers whether it was there.
    pub fn cancel_signal(&mut self, id: SignalId) -> bool {
        let before = self.signals.handlers.len();
        self.signals.handlers.retain(|handler| handler.id != id);
        before != self.signals.handlers.len()
    }

    /// Reaps the child `pid` when it ends, and tells `handler` how: its exit code or the signal that
    /// ended it. No other child is touched. Closing the id ends the wait.
    ///
    /// The status is an error only if somebody else has reaped the child.
    ///
    /// # Errors
    ///
    /// What the system says: there is no such process, or no descriptor left.
    pub fn on_child<F>(&mut self, pid: u32, handler: F) -> io::Result<SourceId>
    where
        F: FnOnce(io::Result<ExitStatus>, &mut Context<'_, S>) + 'static,
    {
        self.watch_child(pid, |child| child.0.try_wait(), handler)
    }

    /// [`on_child`](Self::on_child) for a child that somebody else may reap too: when it may have
    /// ended `reap` is asked, which reaps it, or tells what became of it, or answers `None` while it
    /// runs. An owner that signals the child by its number can do that under a lock of its own,
    /// which it holds while it signals: once reaped, the number may be another process's.
    ///
    /// # Errors
    ///
    /// As `on_child`.
    pub fn on_child_reaped_by<T, R, F>(
        &mut self,
        pid: u32,
        mut reap: R,
        handler: F,
    ) -> io::Result<SourceId>
    where
        T: 'static,
        R: FnMut() -> io::Result<Option<T>> + 'static,
        F: FnOnce(io::Result<T>, &mut Context<'_, S>) + 'static,
    {
        self.watch_child(pid, move |_| reap(), handler)
    }

    fn watch_child<T, R, F>(&mut self, pid: u32, mut reap: R, handler: F) -> io::Result<SourceId>
    where
        T: 'static,
        R: FnMut(&mut Child) -> io::Result<Option<T>> + 'static,
        F: FnOnce(io::Result<T>, &mut Context<'_, S>) + 'static,
    {
        let watch = sys::ChildWatch::open(pid)?;
        let by_signal = watch.descriptor().is_none();
        let key = self.add(Child(watch));
        let mut handler = Some(handler);
        let result = self.on_readable(key, move |child: &mut Child, ctx: &mut Context<'_, S>| {
            let status = match reap(child) {
                Ok(None) => return Control::Keep,
                Ok(Some(status)) => Ok(status),
                Err(error) if error.raw_os_error() == Some(Errno::EINTR as i32) => {
                    return Control::Again;
                }
                Err(error) => Err(error),
            };
            if let Some(handler) = handler.take() {
                handler(status, ctx);
            }
            Control::Close
        });
        if let Err(error) = result.and_then(|()| self.watch_children(key, by_signal)) {
            self.close(key);
            return Err(error);
        }
        Ok(key.id())
    }

    /// Where a child has no descriptor: asks about all of them after every SIGCHLD, and now.
    fn watch_children(&mut self, key: Key<Child>, by_signal: bool) -> io::Result<()> {
        if !by_signal {
            return Ok(());
        }
        if self.signals.children.is_empty() {
            let signal = nix::sys::signal::Signal::SIGCHLD as i32;
            self.on_signal(signal, |ctx| ctx.ask_children())?;
        }
        self.signals.children.push(key.id());
        self.heat(key.id(), crate::Event::READ);
        Ok(())
    }

    fn ask_children(&mut self) -> bool {
        let mut children = std::mem::take(&mut self.signals.children);
        children.retain(|id| self.contains(*id));
        for id in &children {
            self.heat(*id, crate::Event::READ);
        }
        self.signals.children = children;
        !self.signals.children.is_empty()
    }

    /// Runs the handlers of the signals that have come.
    pub(crate) fn run_signals(&mut self, state: &mut S) {
        if self.shared.signals.load(Ordering::Relaxed) == 0 {
            return;
        }
        // SeqCst: pairs with the signal's action; taken before the handlers run, so that one that
        // comes meanwhile runs them again.
        let came = self.shared.signals.swap(0, Ordering::SeqCst);
        // Ids ascend, and those that are added meanwhile wait for the next signal.
        let last = self.signals.next;
        let mut next = 0;
        while let Some(index) = self.signals.first_from(next) {
            let registered = &mut self.signals.handlers[index];
            let id = registered.id;
            if id.0 >= last {
                break;
            }
            next = id.0 + 1;
            if came & (1 << (registered.signal - 1)) == 0 {
                continue;
            }
            let Some(mut handler) = registered.handler.take() else {
                continue;
            };
            let mut control = Control::Drop;
            self.run_task(state, |ctx| {
                control = match handler(ctx) {
                    Ok(control) => control,
                    Err(error) => {
                        ctx.report(None, error);
                        Control::Drop
                    }
                };
            });
            if control == Control::Stop {
                self.stop();
            }
            let index = self
                .signals
                .handlers
                .iter()
                .position(|known| known.id == id);
            match (index, control) {
                (None, _) => {}
                (Some(index), Control::Drop | Control::Close) => {
                    self.signals.handlers.remove(index);
                }
                (Some(index), _) => self.signals.handlers[index].handler = Some(handler),
            }
        }
    }
}
