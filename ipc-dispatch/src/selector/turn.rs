//! The loop itself.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use nix::unistd::getpid;

use super::alarms::Alarm;
use super::entry::AnyEntry;
use super::slots::State;
use super::{Context, Event, Registry, SelectorOptions, SourceId};
use crate::driver::Driver;
use crate::scheduler::Fired;
use crate::simulation::Step;
use crate::sys;

/// Why [`Selector::run`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Nothing is left that could run a handler: no source with handlers, no alarm, no task, but
    /// for those in the background.
    Idle,
    /// Somebody called `stop`.
    Stopped,
    /// The deadline has passed.
    Deadline,
}

/// How many events about registrations that are gone are put up with before the registrations are
/// purged: each is a descriptor that somebody else keeps open.
const STALE_MAX: u32 = 16;

/// After how many handlers a turn looks at the clock, when anything else waits.
const CLOCK_EVERY: usize = 8;

/// Waits for sources, alarms and posts, and runs their handlers, one at a time, on one thread.
///
/// A turn of the loop always has this order: posted and deferred tasks that were there when it
/// began; alarms that are due and were armed before it began; the wait, which is none if anything is
/// left to do; then the sources that are ready, each with its handlers for exceptions, reading and
/// writing.
///
/// What can be registered, and changed at any time, is the [`Registry`], which a selector
/// dereferences to.
pub struct Selector<S> {
    registry: Registry<S>,
    stale: u32,
}

impl<S> Deref for Selector<S> {
    type Target = Registry<S>;

    fn deref(&self) -> &Registry<S> {
        &self.registry
    }
}

impl<S> DerefMut for Selector<S> {
    fn deref_mut(&mut self) -> &mut Registry<S> {
        &mut self.registry
    }
}

impl<S> fmt::Debug for Selector<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selector")
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

/// Readable when some source of the selector is: to sit inside another loop, which then calls
/// [`turn`](Selector::turn) with a time-out of zero. After [`embed`](Selector::embed) it covers alarms
/// and posts as well. It is not for reading from, nor for changing what it waits for.
impl<S> AsFd for Selector<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.registry.driver.as_fd()
    }
}

impl<S: 'static> Selector<S> {
    /// A selector with the default [options](SelectorOptions).
    ///
    /// # Errors
    ///
    /// What the system says when it gives no descriptors.
    pub fn new() -> io::Result<Self> {
        SelectorOptions::new().open()
    }

    pub(super) fn with_options(options: SelectorOptions, origin: Instant) -> io::Result<Self> {
        let driver = Driver::System(sys::Poller::open(options.events_max)?);
        Ok(Self::with_driver(options, driver, origin))
    }

    pub(crate) fn with_driver(options: SelectorOptions, driver: Driver, origin: Instant) -> Self {
        Self {
            registry: Registry::new(options, driver, origin),
            stale: 0,
        }
    }

    /// Makes the selector's descriptor tell everything: alarms, posts, signals and what is left to
    /// do from the last turn, so that another loop can sleep on it alone and call
    /// [`turn`](Self::turn) with a time-out of zero whenever it is readable. Call it before the other
    /// loop waits for the first time.
    ///
    /// # Errors
    ///
    /// What the system says; [`Unsupported`](io::ErrorKind::Unsupported) other than on Linux.
    pub fn embed(&mut self) -> io::Result<()> {
        self.registry.driver.embed()?;
        self.registry.embedded = true;
        self.registry.leave();
        Ok(())
    }

    /// Turns until nothing is left to wait for or somebody stops it. Blocks while nothing happens;
    /// sources, alarms, posts, signals and `stop` wake it.
    ///
    /// # Errors
    ///
    /// What the system says when it cannot wait.
    pub fn run(&mut self, state: &mut S) -> io::Result<Exit> {
        self.run_until(state, None)
    }

    /// Like [`run`](Self::run), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn run_timeout(&mut self, state: &mut S, timeout: Duration) -> io::Result<Exit> {
        let deadline = self.registry.driver.now().checked_add(timeout);
        self.run_until(state, deadline)
    }

    /// Like [`run`](Self::run), until `deadline` at the latest.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn run_deadline(&mut self, state: &mut S, deadline: Instant) -> io::Result<Exit> {
        self.run_until(state, Some(deadline))
    }

    fn run_until(&mut self, state: &mut S, deadline: Option<Instant>) -> io::Result<Exit> {
        self.registry.shared.parking.unpark();
        let exit = self.run_awake(state, deadline);
        if self.registry.embedded {
            self.registry.leave();
        }
        exit
    }

    fn run_awake(&mut self, state: &mut S, deadline: Option<Instant>) -> io::Result<Exit> {
        loop {
            if self.registry.shared.stop.swap(false, Ordering::SeqCst) {
                return Ok(Exit::Stopped);
            }
            self.registry.reconcile();
            if self.registry.is_idle() {
                return Ok(Exit::Idle);
            }
            let timeout = match deadline {
                None => None,
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(self.registry.driver.now());
                    if left.is_zero() {
                        return Ok(Exit::Deadline);
                    }
                    Some(left)
                }
            };
            self.turn_once(state, timeout, true)?;
        }
    }

    /// Turns once, waiting for at most `timeout`, or for as long as it takes if there is none.
    /// Answers how many handlers, alarms and tasks ran. A turn that has rung an alarm or run a task
    /// looks at the sources without waiting, so that its caller learns of it at once. A signal ends
    /// the wait, and a stop that no run has observed yet prevents it.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn turn(&mut self, state: &mut S, timeout: Option<Duration>) -> io::Result<u64> {
        self.registry.shared.parking.unpark();
        let result = self.turn_once(state, timeout, false);
        if self.registry.embedded {
            self.registry.leave();
        }
        result
    }

    fn turn_once(
        &mut self,
        state: &mut S,
        timeout: Option<Duration>,
        ends_idle: bool,
    ) -> io::Result<u64> {
        let registry = &mut self.registry;
        let before = registry.metrics.ran();
        registry.metrics.turns += 1;
        registry.now = None;
        registry.slots.bury();
        registry.run_signals(state);
        registry.run_tasks(state);
        registry.run_alarms(state);
        registry.reconcile();
        registry.poll_shared();
        let ran = registry.metrics.ran() - before;
        if ends_idle && registry.is_idle() {
            // The last task or alarm has just run: nothing could ever end the wait.
            return Ok(ran);
        }
        // Whoever turns the loop by hand waits for what the tasks have done.
        let returns = !ends_idle && ran > 0;
        self.wait(if returns {
            Some(Duration::ZERO)
        } else {
            timeout
        })?;
        let registry = &mut self.registry;
        let quiet = registry.ready.is_empty();
        registry.run_ready(state);
        if quiet {
            registry.run_idle(state);
        }
        registry.event = Event::NONE;
        Ok(registry.metrics.ran() - before)
    }

    /// Calls `task` now, with what a handler gets: for setting up with functions that are written for
    /// handlers.
    pub fn with<T>(&mut self, state: &mut S, task: impl FnOnce(&mut Context<'_, S>) -> T) -> T {
        self.registry.now = None;
        task(&mut Context {
            state,
            registry: &mut self.registry,
        })
    }

    /// Makes the selector this process's own in a child that was forked without exec: the child gets
    /// an epoll and a waker of its own, under the numbers of the parent's, with all sources
    /// registered anew; signals to the child reach the child's handlers. What had been posted before the
    /// fork is in both, and runs in both. Without this call the child must not touch the selector at all; what it
    /// should close then is listed by [`descriptors`](Registry::descriptors).
    ///
    /// # Errors
    ///
    /// What the system says; [`Unsupported`](io::ErrorKind::Unsupported) other than on Linux.
    pub fn after_fork(&mut self) -> io::Result<()> {
        self.registry.driver.renew_waker()?;
        let shared = &self.registry.shared;
        shared.signals.store(0, Ordering::SeqCst);
        shared.owner.store(getpid().as_raw(), Ordering::SeqCst);
        self.registry.driver.lose();
        self.registry.reconcile();
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let registry = &mut self.registry;
        let mut timeout = registry.patience(timeout);
        let mut sleeps = timeout != Some(Duration::ZERO);
        if sleeps && !registry.settle_shared(timeout) {
            timeout = Some(Duration::ZERO);
            sleeps = false;
        }
        // Without a poster or a signal nobody else could wake it: the only reference is ours.
        let parks = sleeps && Arc::strong_count(&registry.shared) > 1;
        // Acquire: pairs with the release by which the last poster went, after its last push.
        fence(Ordering::Acquire);
        if sleeps {
            let shared = &registry.shared;
            if parks {
                shared.parking.park();
            }
            // The second look, without which a post between the first and the sleep would be lost.
            if shared.parking.is_marked() || shared.stop.load(Ordering::SeqCst) {
                timeout = Some(Duration::ZERO);
            } else {
                registry.metrics.sleeps += 1;
            }
        }
        registry.metrics.waits += 1;
        let mut stale = 0;
        let result = {
            let Registry {
                driver,
                slots,
                ready,
                metrics,
                ..
            } = registry;
            driver.wait(timeout, |token, event| {
                metrics.events += 1;
                match slots.live_mut(token.id) {
                    Some(slot) => {
                        if slot.ready.is_none() {
                            ready.push_back(token.id);
                        }
                        slot.ready |= event;
                        if let State::Present(entry) = &slot.state {
                            sys::prefetch(&**entry);
                        }
                    }
                    None => stale += 1,
                }
            })
        };
        if parks {
            registry.shared.parking.unpark();
        }
        registry.now = None;
        if !registry.hot.is_empty() {
            registry.ready.extend(registry.hot.drain(..));
        }
        registry.metrics.stale += u64::from(stale);
        if stale == 0 {
            self.stale = 0;
        } else {
            self.stale += stale;
            if self.stale > STALE_MAX {
                self.stale = 0;
                self.registry.driver.lose();
            }
        }
        result
    }
}

impl super::Metrics {
    fn ran(&self) -> u64 {
        self.handlers + self.alarms + self.tasks
    }
}

impl<S: 'static> Registry<S> {
    /// How long the loop may sleep.
    fn patience(&mut self, timeout: Option<Duration>) -> Option<Duration> {
        let busy = !self.hot.is_empty()
            || !self.deferred.is_empty()
            || !self.idle.is_empty()
            || !self.ready.is_empty()
            || self.shared.parking.is_marked();
        if busy {
            return Some(Duration::ZERO);
        }
        if self.alarms.is_empty() {
            return timeout;
        }
        // Not the cached time: tasks and alarms have run since.
        let now = self.driver.now();
        match (self.alarms.poll(now), timeout) {
            (Some(due), Some(timeout)) => Some(due.min(timeout)),
            (due, timeout) => due.or(timeout),
        }
    }

    /// Brings everything in line that was touched.
    fn reconcile(&mut self) {
        if self.driver.has_lost() {
            self.rebuild();
        }
        let mut index = 0;
        while let Some(id) = self.touched.get(index).copied() {
            index += 1;
            if let Err(error) = self.settle(id) {
                self.report(Some(id), error);
                self.close(id);
            }
        }
        self.touched.clear();
    }

    fn rebuild(&mut self) {
        if let Err(error) = self.driver.rebuild() {
            self.report(None, error);
            return;
        }
        for id in self.slots.ids() {
            if let Some(slot) = self.slots.live_mut(id)
                && let State::Present(entry) = &mut slot.state
            {
                entry.reset();
            }
            self.touch(id);
        }
    }

    fn run_tasks(&mut self, state: &mut S) {
        let marked = self.shared.parking.take_mark();
        // Only those that are there now: a task that posts itself waits for the next turn.
        if marked {
            for _ in 0..self.shared.tasks.len().min(self.options.tasks_max) {
                let Some(task) = self.shared.tasks.pop() else {
                    break;
                };
                self.run_task(state, task);
            }
        }
        for _ in 0..self.deferred.len().min(self.options.tasks_max) {
            let Some(task) = self.deferred.pop_front() else {
                break;
            };
            self.run_task(state, task);
        }
        if marked {
            self.run_futures(state);
            if !self.shared.is_empty() {
                // More than a turn takes, or come meanwhile.
                self.shared.parking.set_mark();
            }
        }
    }

    fn run_idle(&mut self, state: &mut S) {
        if self.deferred.is_empty()
            && self.hot.is_empty()
            && self.shared.is_empty()
            && let Some(task) = self.idle.pop_front()
        {
            self.run_task(state, task);
        }
    }

    pub(crate) fn run_task(&mut self, state: &mut S, task: impl FnOnce(&mut Context<'_, S>)) {
        self.metrics.tasks += 1;
        self.driver.record(Step::Task);
        let result = catch_unwind(AssertUnwindSafe(|| {
            task(&mut Context {
                state: &mut *state,
                registry: &mut *self,
            });
        }));
        if let Err(panic) = result {
            self.caught(panic);
        }
        if !self.panics.is_empty() {
            self.tell_hooks(state);
        }
    }

    fn run_alarms(&mut self, state: &mut S) {
        if self.alarms.is_empty() {
            return;
        }
        let mark = self.alarms.mark();
        let now = self.now();
        for _ in 0..self.options.alarms_max {
            let Some(fired) = self.alarms.awaken_before(now, mark) else {
                break;
            };
            self.ring(state, now, fired);
        }
        self.now = None;
    }

    fn ring(&mut self, state: &mut S, now: Instant, fired: Fired<Alarm<S>>) {
        self.metrics.alarms += 1;
        self.driver.record(Step::Alarm(fired.id));
        let Fired { id, due, mut value } = fired;
        let result = catch_unwind(AssertUnwindSafe(|| {
            (value.ring)(&mut Context {
                state: &mut *state,
                registry: &mut *self,
            })
        }));
        let next = match result {
            Ok(next) => next.deadline(due, now),
            Err(panic) => {
                self.caught(panic);
                None
            }
        };
        let background = value.background;
        let gone = match next {
            Some(next) => self.alarms.rearm(id, next, value).is_err(),
            None => {
                self.alarms.finish(id);
                true
            }
        };
        if gone && background {
            self.background_alarms -= 1;
        }
        if !self.panics.is_empty() {
            self.tell_hooks(state);
        }
    }

    fn run_ready(&mut self, state: &mut S) {
        let many = self.ready.len() >= CLOCK_EVERY;
        let begun = many.then(|| self.driver.now());
        for count in 1..=self.ready.len() {
            let Some(id) = self.ready.pop_front() else {
                break;
            };
            self.run_source(state, id);
            if !self.errors.is_empty() || !self.panics.is_empty() {
                self.tell_hooks(state);
            }
            if let Some(begun) = begun
                && count.is_multiple_of(CLOCK_EVERY)
                && self.is_awaited()
                && self.driver.now().saturating_duration_since(begun) > self.options.busy_max
            {
                break;
            }
        }
    }

    /// Whether something else than sources waits for its turn.
    fn is_awaited(&self) -> bool {
        !self.alarms.is_empty()
            || !self.deferred.is_empty()
            || self.shared.parking.is_marked()
            || self.shared.stop.load(Ordering::Relaxed)
    }

    fn run_source(&mut self, state: &mut S, id: SourceId) {
        let Some(slot) = self.slots.live_mut(id) else {
            return;
        };
        let event = std::mem::take(&mut slot.ready);
        let mut entry = match std::mem::replace(&mut slot.state, State::Running) {
            State::Present(entry) => entry,
            other => {
                slot.state = other;
                return;
            }
        };
        self.condemned = false;
        self.driver.record(Step::Source(id, event));
        let done = entry.dispatch(id, event, self, state);
        if !self.additions.is_empty() {
            self.take_additions(id, &mut *entry);
        }
        if done.close || self.condemned {
            self.bury(id, &mut *entry);
            return;
        }
        if let Some(slot) = self.slots.live_mut(id) {
            slot.state = State::Present(entry);
        }
        if !done.again.is_none() {
            self.heat(id, done.again);
        }
        if done.unsettled {
            self.touch(id);
        }
    }

    /// Gives an entry the handlers that were added while it was out.
    fn take_additions(&mut self, id: SourceId, entry: &mut dyn AnyEntry<S>) {
        let mut index = 0;
        while index < self.additions.len() {
            if self.additions[index].0 == id {
                let (_, handler) = self.additions.remove(index);
                entry.adopt(handler);
                self.touch(id);
            } else {
                index += 1;
            }
        }
    }

    /// The caller goes to wait elsewhere: every post must wake it, and what is left to do as well.
    fn leave(&mut self) {
        self.reconcile();
        self.settle_shared(Some(Duration::ZERO));
        let now = self.driver.now();
        if let Err(error) = self.driver.set_timer(self.alarms.poll(now)) {
            self.report(None, error);
        }
        self.shared.parking.park();
        let busy = !self.hot.is_empty()
            || !self.ready.is_empty()
            || !self.deferred.is_empty()
            || !self.idle.is_empty()
            || self.shared.parking.is_marked();
        if busy {
            self.shared.waker.wake();
        }
    }
}
