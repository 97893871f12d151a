//! What a selector knows: sources and their handlers, alarms, tasks.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::alarms::Alarm;
use super::entry::{AnyEntry, Entry, Ephemeral, Farewell};
use super::handlers::{Call, Handler};
use super::polling::Patience;
use super::slots::{Slots, State};
use super::{Context, Event, Key, Metrics, PanicPolicy, SelectorOptions, SourceId};
use crate::driver::Driver;
use crate::executor::Executor;
use crate::poster::{Poster, Shared};
use crate::process::Signals;
use crate::scheduler::Scheduler;
use crate::{Control, Interest, Outcome, Source, Trigger};

/// A task that stays on the loop's thread.
pub(super) type Local<S> = Box<dyn FnOnce(&mut Context<'_, S>)>;

type ErrorHook<S> = Box<dyn FnMut(Option<SourceId>, io::Error, &mut S)>;
type PanicHook<S> = Box<dyn FnMut(Box<dyn Any + Send>, &mut S)>;

/// The sources, alarms and tasks of a [`Selector`](crate::Selector): everything that can be changed
/// at any time, from outside between turns and from any handler while it runs.
///
/// A selector and the [`Context`] of a handler both give access to it, so its methods are written
/// `selector.add(..)` and `ctx.add(..)`.
// Laid out by hand: what every turn touches stands together, on half as many cache lines.
#[repr(C)]
pub struct Registry<S> {
    pub(crate) shared: Arc<Shared<S>>,
    pub(super) slots: Slots<S>,
    pub(super) touched: Vec<SourceId>,
    pub(super) polled: Vec<SourceId>,
    /// What is ready without asking the system, for the next turn.
    pub(super) hot: Vec<SourceId>,
    /// What is ready and not yet run.
    pub(super) ready: VecDeque<SourceId>,
    pub(super) deferred: VecDeque<Local<S>>,
    pub(super) idle: VecDeque<Local<S>>,
    /// Handlers added to an entry while it was out.
    pub(super) additions: Vec<(SourceId, Box<dyn Any>)>,
    /// What the hooks are to be told when the state can be borrowed.
    pub(super) errors: Vec<(Option<SourceId>, io::Error)>,
    pub(super) panics: Vec<Box<dyn Any + Send>>,
    pub(super) now: Option<Instant>,
    pub(super) event: Event,
    /// Whether the source whose handlers are running is to go when they return.
    pub(super) condemned: bool,
    /// Whether another loop waits for this one between its turns.
    pub(super) embedded: bool,
    pub(super) persistent: bool,
    /// How many sources keep the loop running.
    pub(super) waiting: usize,
    pub(super) metrics: Metrics,
    pub(crate) background_alarms: usize,
    pub(crate) alarms: Scheduler<Alarm<S>>,
    pub(super) driver: Driver,
    pub(crate) options: SelectorOptions,
    pub(super) spinning: Patience,
    pub(crate) signals: Signals<S>,
    pub(crate) executor: Executor,
    pub(super) error_hook: Option<ErrorHook<S>>,
    pub(super) panic_hook: Option<PanicHook<S>>,
}

impl<S> fmt::Debug for Registry<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("sources", &self.slots.len())
            .field("alarms", &self.alarms.len())
            .field("metrics", &self.metrics)
            .finish_non_exhaustive()
    }
}

impl<S: 'static> Registry<S> {
    pub(super) fn new(options: SelectorOptions, driver: Driver, origin: Instant) -> Self {
        let shared = Arc::new(Shared::new(driver.waker(), options.posts_max));
        Self {
            options,
            driver,
            shared,
            slots: Slots::new(),
            additions: Vec::new(),
            touched: Vec::new(),
            polled: Vec::new(),
            spinning: Patience::new(),
            ready: VecDeque::new(),
            hot: Vec::new(),
            alarms: Scheduler::new(origin),
            background_alarms: 0,
            deferred: VecDeque::new(),
            idle: VecDeque::new(),
            waiting: 0,
            persistent: false,
            now: None,
            event: Event::NONE,
            condemned: false,
            embedded: false,
            metrics: Metrics::default(),
            signals: Signals::new(),
            executor: Executor::new(),
            error_hook: None,
            panic_hook: None,
            errors: Vec::new(),
            panics: Vec::new(),
        }
    }

    /// Takes a source in. It waits for nothing until it gets a handler.
    ///
    /// The selector owns it from now on, so that it can leave the system's list before its
    /// descriptor closes: that order is what keeps a reused number from waking a stranger. Handlers
    /// get it as an argument; [`get_mut`](Self::get_mut) and [`remove`](Self::remove) find it by key.
    pub fn add<C: Source>(&mut self, source: C) -> Key<C> {
        self.add_with(source, Trigger::Level)
    }

    /// Like [`add`](Self::add), choosing how the system reports readiness.
    pub fn add_with<C: Source>(&mut self, source: C, trigger: Trigger) -> Key<C> {
        Key::new(
            self.slots
                .insert(Box::new(Entry::<C, S, _>::new(source, trigger))),
        )
    }

    /// Runs `handler` while the source can be read.
    ///
    /// A source may have several handlers for the same thing; they run in the order in which they
    /// came. What one returns says whether it stays: see [`Outcome`]. A handler that is added while
    /// handlers of the same source run waits for the next turn.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) when the key names nothing; what the system says when
    /// it cannot wait for the source. From within the source's own handlers such an error goes to
    /// the error hook instead. A regular file is no error: it is always ready.
    pub fn on_readable<C, O, F>(&mut self, key: Key<C>, handler: F) -> io::Result<()>
    where
        C: Source,
        O: Outcome,
        F: FnMut(&mut C, &mut Context<'_, S>) -> O + 'static,
    {
        self.on(key, Interest::Read, handler)
    }

    /// Runs `handler` while the source has room to write; otherwise like
    /// [`on_readable`](Self::on_readable).
    ///
    /// # Errors
    ///
    /// As [`on_readable`](Self::on_readable).
    pub fn on_writable<C, O, F>(&mut self, key: Key<C>, handler: F) -> io::Result<()>
    where
        C: Source,
        O: Outcome,
        F: FnMut(&mut C, &mut Context<'_, S>) -> O + 'static,
    {
        self.on(key, Interest::Write, handler)
    }

    /// Runs `handler` when urgent data has come (`MSG_OOB`), and nothing else; a peer that hangs up
    /// runs it once. Otherwise like [`on_readable`](Self::on_readable).
    ///
    /// # Errors
    ///
    /// As [`on_readable`](Self::on_readable).
    pub fn on_exception<C, O, F>(&mut self, key: Key<C>, handler: F) -> io::Result<()>
    where
        C: Source,
        O: Outcome,
        F: FnMut(&mut C, &mut Context<'_, S>) -> O + 'static,
    {
        self.on(key, Interest::Exception, handler)
    }

    /// Runs `handler` when the source is ready for `interest`.
    ///
    /// # Errors
    ///
    /// As [`on_readable`](Self::on_readable).
    pub fn on<C, O, F>(&mut self, key: Key<C>, interest: Interest, mut handler: F) -> io::Result<()>
    where
        C: Source,
        O: Outcome,
        F: FnMut(&mut C, &mut Context<'_, S>) -> O + 'static,
    {
        self.attach(key, interest, move |source: &mut C, context: &mut _| {
            handler(source, context).into_control()
        })
    }

    fn attach<C, F>(&mut self, key: Key<C>, interest: Interest, call: F) -> io::Result<()>
    where
        C: Source,
        F: FnMut(&mut C, &mut Context<'_, S>) -> io::Result<Control> + 'static,
    {
        let slot = self.slots.live_mut(key.id).ok_or_else(missing)?;
        match &mut slot.state {
            State::Present(entry) => {
                if Entry::<C, S, _>::is_bare(&**entry) {
                    slot.make_first(Handler::new(interest, call));
                } else {
                    let call: Call<C, S> = Box::new(call);
                    entry.adopt(Box::new(Handler::new(interest, call)));
                }
                self.settle(key.id)
                    .inspect_err(|_| self.cancel_handlers(key, Some(interest)))
            }
            State::Running => {
                let call: Call<C, S> = Box::new(call);
                let handler = Handler::new(interest, call);
                self.additions.push((key.id, Box::new(handler)));
                Ok(())
            }
            State::Condemned | State::Vacant => Err(missing()),
        }
    }

    /// Takes handlers away: those for `interest`, or all. Not those that are being run right now;
    /// they answer for themselves.
    pub fn cancel_handlers<C: Source>(&mut self, key: Key<C>, interest: Option<Interest>) {
        self.additions.retain(|(id, addition)| {
            *id != key.id
                || interest.is_some_and(|interest| {
                    addition
                        .downcast_ref::<Handler<Call<C, S>>>()
                        .is_some_and(|handler| handler.interest != interest)
                })
        });
        if let Some(State::Present(entry)) = self.slots.live_mut(key.id).map(|slot| &mut slot.state)
        {
            entry.retain(interest);
            self.touch(key.id);
        }
    }

    /// The source itself, to write to it, say. `None` when it was removed, and while one of its own
    /// handlers runs (which has it as its argument).
    ///
    /// What is left to flush afterwards is flushed when there is room. The source's descriptor must
    /// stay the same: to exchange it, remove the source and add the new one.
    pub fn get_mut<C: Source>(&mut self, key: Key<C>) -> Option<&mut C> {
        let slot = self.slots.live_mut(key.id)?;
        if !matches!(slot.state, State::Present(_)) {
            return None;
        }
        if !slot.touched {
            slot.touched = true;
            self.touched.push(key.id);
        }
        match &mut slot.state {
            State::Present(entry) => entry.channel_mut().downcast_mut(),
            _ => None,
        }
    }

    /// How many bytes a source has accepted and not handed to the system. `None` when it was removed
    /// or is running.
    pub fn pending(&self, id: impl Into<SourceId>) -> Option<usize> {
        match self.slots.live(id.into()).map(|slot| &slot.state) {
            Some(State::Present(entry)) => Some(entry.pending()),
            _ => None,
        }
    }

    /// Whether the key still names a source.
    pub fn contains(&self, id: impl Into<SourceId>) -> bool {
        self.slots
            .live(id.into())
            .is_some_and(|slot| !matches!(slot.state, State::Condemned))
    }

    /// Takes the source out and gives it back; its handlers are gone and none of them runs again,
    /// not even one that is ready in the same pass. From within one of its own handlers the source
    /// cannot be given back: it is dropped when the handler returns, and the answer is `None`.
    pub fn remove<C: Source>(&mut self, key: Key<C>) -> Option<C> {
        let entry = self.take_out(key.id)?;
        entry.into_channel().downcast().ok().map(|channel| *channel)
    }

    /// Drops the source and its handlers. Answers whether it was there.
    pub fn close(&mut self, id: impl Into<SourceId>) -> bool {
        let id = id.into();
        let there = self.contains(id);
        drop(self.take_out(id));
        there
    }

    fn take_out(&mut self, id: SourceId) -> Option<Box<dyn AnyEntry<S>>> {
        let slot = self.slots.live_mut(id)?;
        match slot.state {
            State::Running => {
                slot.state = State::Condemned;
                self.condemned = true;
                None
            }
            State::Present(_) => {
                let mut entry = self.slots.take(id)?;
                self.bury(id, &mut *entry);
                Some(entry)
            }
            _ => None,
        }
    }

    /// Ends a registration whose entry is out.
    pub(super) fn bury(&mut self, id: SourceId, entry: &mut dyn AnyEntry<S>) {
        entry.forget(id, &mut self.driver);
        self.deferred.extend(entry.take_farewells());
        if self.slots.live(id).is_some_and(|slot| slot.counted) {
            self.waiting -= 1;
        }
        self.slots.release(id);
        if !self.additions.is_empty() {
            self.additions.retain(|(other, _)| *other != id);
        }
    }

    /// Runs `task` in the turn after the source has gone, in whatever way.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) when the key names nothing.
    pub fn on_close<F>(&mut self, id: impl Into<SourceId>, task: F) -> io::Result<()>
    where
        F: FnOnce(&mut Context<'_, S>) + 'static,
    {
        self.give(id.into(), Box::new(Farewell::<S>(Box::new(task))))
    }

    /// Lets the source close by itself when its last handler is gone and what is pending has been
    /// flushed. Call it after the first handler has been added.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) when the key names nothing.
    pub fn set_ephemeral(&mut self, id: impl Into<SourceId>) -> io::Result<()> {
        let id = id.into();
        self.touch(id);
        self.give(id, Box::new(Ephemeral))
    }

    fn give(&mut self, id: SourceId, addition: Box<dyn Any>) -> io::Result<()> {
        match self.slots.live_mut(id).map(|slot| &mut slot.state) {
            Some(State::Present(entry)) => entry.adopt(addition),
            Some(State::Running) => self.additions.push((id, addition)),
            _ => return Err(missing()),
        }
        Ok(())
    }

    /// Lets the handlers of a source wait, without giving them up, until they are resumed: for back
    /// pressure. What is pending is still flushed. Answers whether the source is there.
    pub fn pause(&mut self, id: impl Into<SourceId>) -> bool {
        self.set_paused(id.into(), true)
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&mut self, id: impl Into<SourceId>) -> bool {
        self.set_paused(id.into(), false)
    }

    fn set_paused(&mut self, id: SourceId, paused: bool) -> bool {
        let Some(slot) = self.slots.live_mut(id) else {
            return false;
        };
        slot.paused = paused;
        self.touch(id);
        true
    }

    /// Every source, in no particular order.
    pub fn sources(&self) -> Vec<SourceId> {
        let mut ids = self.slots.ids();
        ids.retain(|id| self.contains(*id));
        ids
    }

    /// Lets the loop end although this source has handlers, or not.
    pub fn set_background(&mut self, id: impl Into<SourceId>, background: bool) {
        let id = id.into();
        if let Some(slot) = self.slots.live_mut(id) {
            slot.background = background;
            self.touch(id);
        }
    }

    /// Keeps [`run`](crate::Selector::run) from ending with [`Exit::Idle`](crate::Exit::Idle), for a
    /// loop that lives on posts.
    pub fn set_persistent(&mut self, persistent: bool) {
        self.persistent = persistent;
    }

    /// What the system reported about the source whose handler is running.
    pub fn event(&self) -> Event {
        self.event
    }

    /// Runs `task` in the next turn. Tasks run in the order in which they came.
    pub fn defer<F>(&mut self, task: F)
    where
        F: FnOnce(&mut Context<'_, S>) + 'static,
    {
        self.deferred.push_back(Box::new(task));
    }

    /// Runs `task` when there is nothing else to do, one per turn.
    pub fn on_idle<F>(&mut self, task: F)
    where
        F: FnOnce(&mut Context<'_, S>) + 'static,
    {
        self.idle.push_back(Box::new(task));
    }

    /// A handle by which any thread can post tasks to this loop and stop it.
    pub fn poster(&self) -> Poster<S> {
        Poster::new(Arc::clone(&self.shared))
    }

    /// Ends [`run`](crate::Selector::run) after the present turn. A stop is kept until a run observes
    /// it: one that comes before the run ends it at once.
    pub fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }

    /// Is told the errors that drop a handler. Without a hook they are only counted.
    pub fn on_error<F>(&mut self, hook: F)
    where
        F: FnMut(Option<SourceId>, io::Error, &mut S) + 'static,
    {
        self.error_hook = Some(Box::new(hook));
    }

    /// Is told the panics that [`PanicPolicy::Contain`] caught.
    pub fn on_panic<F>(&mut self, hook: F)
    where
        F: FnMut(Box<dyn Any + Send>, &mut S) + 'static,
    {
        self.panic_hook = Some(Box::new(hook));
    }

    /// What the loop has done so far.
    pub fn metrics(&self) -> Metrics {
        self.metrics
    }

    /// The descriptors of the loop and of all sources: what a forked child should close.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let mut list = self.driver.descriptors();
        for id in self.slots.ids() {
            if let Some(State::Present(entry)) = self.slots.live(id).map(|slot| &slot.state) {
                entry.descriptors(&mut list);
            }
        }
        list.sort_unstable();
        list.dedup();
        list
    }

    /// Puts a source on the list of those that are brought in line before the loop sleeps.
    pub(super) fn touch(&mut self, id: SourceId) {
        if let Some(slot) = self.slots.live_mut(id)
            && !slot.touched
        {
            slot.touched = true;
            self.touched.push(id);
        }
    }

    /// Brings one source in line now.
    pub(super) fn settle(&mut self, id: SourceId) -> io::Result<()> {
        let Some(slot) = self.slots.live_mut(id) else {
            return Ok(());
        };
        slot.touched = false;
        let State::Present(entry) = &mut slot.state else {
            return Ok(());
        };
        let settled = entry.settle(id, slot.paused, &mut self.driver)?;
        if settled.finished {
            self.close(id);
            return Ok(());
        }
        let counts = settled.waits && !slot.background;
        if counts != slot.counted {
            slot.counted = counts;
            self.waiting = if counts {
                self.waiting + 1
            } else {
                self.waiting - 1
            };
        }
        // Whoever touched it may have read, which ends what arming began.
        slot.armed = false;
        if settled.polled != slot.polled {
            slot.polled = settled.polled;
            if settled.polled {
                self.polled.push(id);
            }
        }
        if !settled.hot.is_none() {
            self.heat(id, settled.hot);
        }
        Ok(())
    }

    /// Marks a source as ready without asking the system.
    pub(crate) fn heat(&mut self, id: SourceId, event: Event) {
        if let Some(slot) = self.slots.live_mut(id) {
            if slot.ready.is_none() {
                self.hot.push(id);
            }
            slot.ready |= event;
        }
    }

    pub(crate) fn report(&mut self, id: Option<SourceId>, error: io::Error) {
        self.metrics.errors += 1;
        if self.error_hook.is_some() {
            self.errors.push((id, error));
        }
    }

    pub(super) fn caught(&mut self, panic: Box<dyn Any + Send>) {
        self.metrics.panics += 1;
        if self.options.panics == PanicPolicy::Abort {
            std::process::abort();
        }
        self.panics.push(panic);
    }

    /// Tells the hooks, or lets a panic go on. Everything is in its place when this is called.
    pub(super) fn tell_hooks(&mut self, state: &mut S) {
        for (id, error) in std::mem::take(&mut self.errors) {
            if let Some(hook) = &mut self.error_hook {
                hook(id, error, state);
            }
        }
        if self.options.panics == PanicPolicy::Propagate {
            let mut panics = std::mem::take(&mut self.panics).into_iter();
            if let Some(panic) = panics.next() {
                // The caller may not come back for a while, and what was being drained is not empty.
                self.shared.parking.set_mark();
                self.shared.parking.park();
                resume_unwind(panic);
            }
            return;
        }
        for panic in std::mem::take(&mut self.panics) {
            if let Some(hook) = &mut self.panic_hook {
                hook(panic, state);
            }
        }
    }

    /// Whether nothing is left that could ever run a handler.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting == 0
            && !self.persistent
            && self.alarms.len() == self.background_alarms
            && self.ready.is_empty()
            && self.hot.is_empty()
            && self.executor.is_empty()
            && self.deferred.is_empty()
            && self.idle.is_empty()
            && self.shared.is_empty()
    }
}

fn missing() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the source was removed")
}

impl<S> Drop for Registry<S> {
    fn drop(&mut self) {
        self.executor.close(&self.shared);
        self.shared.close();
        // What was woken from elsewhere between the two.
        self.executor.close(&self.shared);
        // Sources leave the driver's list before their descriptors close: a duplicate of one in
        // another process would otherwise keep it there. The list itself goes now.
    }
}
