//! A system that follows a script: for tests without descriptors, threads or waiting.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::driver::Driver;
use crate::selector::Token;
use crate::{AlarmId, Event, Selector, SelectorOptions, Source, SourceId};

/// What a simulated loop has done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ran the handlers of a source.
    Source(SourceId, Event),
    /// Rang an alarm.
    Alarm(AlarmId),
    /// Ran a posted, deferred or idle task, a step of a future or a signal's handler.
    Task,
    /// Let time pass.
    Sleep(Duration),
}

#[derive(Clone, Copy, Debug, Default)]
struct Watched {
    mask: Event,
    edge: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ready {
    event: Event,
    /// Not yet told to a loop that watches for edges.
    fresh: Event,
}

struct Inner {
    now: Instant,
    seed: u64,
    watched: BTreeMap<u64, Watched>,
    ready: BTreeMap<SourceId, Ready>,
    script: BTreeMap<(Instant, u64), (SourceId, Event)>,
    scripted: u64,
    trace: Vec<Step>,
}

/// A clock and a system for one [`Selector`] that only a test moves.
///
/// Nothing is ready unless the test says so, and time passes only when the loop would sleep: it then
/// jumps to the next alarm or the next scripted event at once. A loop that would sleep for ever gets
/// [`Deadlock`](io::ErrorKind::Deadlock) instead. Of several sources that are ready at once the seed
/// decides the order, so that a test can be run under many orders, and a failing one again.
///
/// # Examples
///
/// ```
/// use ipc_dispatch::{Event, Scripted, Simulation};
/// use std::time::Duration;
///
/// let simulation = Simulation::new(1);
/// let mut selector = simulation.selector::<Vec<&str>>();
/// selector.alarm(Duration::from_secs(3600), |ctx| ctx.state.push("an hour later"));
/// let key = selector.add(Scripted);
/// selector.on_readable(key, |_, ctx| {
///     ctx.state.push("read");
///     false
/// })?;
/// simulation.ready_after(Duration::from_secs(60), key, Event::READ);
///
/// let mut log = Vec::new();
/// selector.run(&mut log)?;
/// assert_eq!(log, ["read", "an hour later"]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Simulation(Rc<RefCell<Inner>>);

/// A source without a descriptor, which is ready when a [`Simulation`] says so.
#[derive(Debug)]
pub struct Scripted;

impl Source for Scripted {
    const IN_KERNEL: bool = true;

    fn inbound(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn outbound(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation").finish_non_exhaustive()
    }
}

impl Simulation {
    /// A system where nothing is ready. `seed` decides orders.
    pub fn new(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            now: Instant::now(),
            seed,
            watched: BTreeMap::new(),
            ready: BTreeMap::new(),
            script: BTreeMap::new(),
            scripted: 0,
            trace: Vec::new(),
        })))
    }

    /// A selector that lives in this system.
    pub fn selector<S: 'static>(&self) -> Selector<S> {
        self.selector_with(SelectorOptions::new())
    }

    /// Like [`selector`](Self::selector), with options.
    pub fn selector_with<S: 'static>(&self, options: SelectorOptions) -> Selector<S> {
        let origin = self.now();
        let spare = File::open("/dev/null").ok().map(OwnedFd::from);
        Selector::with_driver(options, Driver::Simulated(self.clone(), spare), origin)
    }

    /// What the time is.
    pub fn now(&self) -> Instant {
        self.0.borrow().now
    }

    /// Lets time pass without the loop's doing.
    pub fn advance(&self, time: Duration) {
        self.0.borrow_mut().now += time;
    }

    /// Makes a source ready from now on, until [`clear`](Self::clear). For a source that is watched
    /// for edges this is one.
    pub fn ready(&self, id: impl Into<SourceId>, event: Event) {
        self.0.borrow_mut().make_ready(id.into(), event);
    }

    /// Makes a source ready after a while.
    pub fn ready_after(&self, delay: Duration, id: impl Into<SourceId>, event: Event) {
        let mut inner = self.0.borrow_mut();
        let when = (inner.now + delay, inner.scripted);
        inner.scripted += 1;
        inner.script.insert(when, (id.into(), event));
    }

    /// Ends a source's readiness.
    pub fn clear(&self, id: impl Into<SourceId>, event: Event) {
        if let Some(ready) = self.0.borrow_mut().ready.get_mut(&id.into()) {
            ready.event = ready.event.without(event);
            ready.fresh = ready.fresh.without(event);
        }
    }

    /// What a source is ready for now, whether anybody waits for it or not.
    pub fn readiness(&self, id: impl Into<SourceId>) -> Event {
        let inner = self.0.borrow();
        inner
            .ready
            .get(&id.into())
            .copied()
            .unwrap_or_default()
            .event
    }

    /// What the loop asks the system about a source.
    pub fn interest(&self, id: impl Into<SourceId>) -> Event {
        let id = id.into();
        let inner = self.0.borrow();
        let mut mask = Event::NONE;
        for (bits, watched) in &inner.watched {
            if Token::from_bits(*bits).id == id {
                mask |= watched.mask;
            }
        }
        mask
    }

    /// What the loop has done since the last call.
    pub fn take_trace(&self) -> Vec<Step> {
        std::mem::take(&mut self.0.borrow_mut().trace)
    }

    pub(crate) fn record(&self, step: Step) {
        self.0.borrow_mut().trace.push(step);
    }

    pub(crate) fn change(&self, token: Token, new: Event, edge: bool) {
        let mut inner = self.0.borrow_mut();
        if new.is_none() {
            inner.watched.remove(&token.to_bits());
            return;
        }
        let watched = Watched { mask: new, edge };
        inner.watched.insert(token.to_bits(), watched);
        // As with the system, a change of interest is a new edge.
        if let Some(ready) = inner.ready.get_mut(&token.id) {
            ready.fresh |= ready.event;
        }
    }

    pub(crate) fn forget_all(&self) {
        self.0.borrow_mut().watched.clear();
    }

    pub(crate) fn wait(
        &self,
        timeout: Option<Duration>,
        sink: &mut dyn FnMut(Token, Event),
    ) -> io::Result<()> {
        let mut events = self.0.borrow_mut().events();
        if events.is_empty() {
            self.0.borrow_mut().sleep(timeout)?;
            events = self.0.borrow_mut().events();
        }
        for (token, event) in events {
            sink(token, event);
        }
        Ok(())
    }
}

impl Inner {
    fn make_ready(&mut self, id: SourceId, event: Event) {
        let ready = self.ready.entry(id).or_default();
        ready.event |= event;
        ready.fresh |= event;
    }

    /// What is ready now, in an order that the seed decides.
    fn events(&mut self) -> Vec<(Token, Event)> {
        let mut events = Vec::new();
        for (bits, watched) in &self.watched {
            let token = Token::from_bits(*bits);
            let Some(ready) = self.ready.get_mut(&token.id) else {
                continue;
            };
            let mask = watched.mask | Event::HANGUP | Event::ERROR;
            let event = if watched.edge {
                let event = ready.fresh & mask;
                ready.fresh = ready.fresh.without(event);
                event
            } else {
                ready.event & mask
            };
            if !event.is_none() {
                events.push((token, event));
            }
        }
        for index in (1..events.len()).rev() {
            let other = self.random() % (index as u64 + 1);
            events.swap(index, other as usize);
        }
        events
    }

    fn sleep(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let wake = timeout.and_then(|timeout| self.now.checked_add(timeout));
        let event = self.script.first_key_value().map(|((when, _), _)| *when);
        let until = match (wake, event) {
            (Some(wake), Some(event)) => wake.min(event),
            (Some(wake), None) => wake,
            (None, Some(event)) => event,
            (None, None) => {
                return Err(io::Error::new(
                    io::ErrorKind::Deadlock,
                    "the loop would sleep for ever",
                ));
            }
        };
        let slept = until.saturating_duration_since(self.now);
        if !slept.is_zero() {
            self.trace.push(Step::Sleep(slept));
            self.now = until;
        }
        while let Some(entry) = self.script.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (id, event) = entry.remove();
            self.make_ready(id, event);
        }
        Ok(())
    }

    fn random(&mut self) -> u64 {
        // splitmix64: every seed gives another sequence, with no dependency.
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.seed;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }
}
