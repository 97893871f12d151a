//! What the outside can see of an actor without asking it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
use std::time::Instant;

use crate::State;

/// Shared between an actor and those who watch it. Every field is a hint or a counter on its own:
/// nothing else is ordered by them, so all accesses are relaxed.
#[derive(Debug)]
pub(crate) struct Status {
    epoch: Instant,
    state: AtomicU8,
    incarnation: AtomicU32,
    /// Something is in the control lane: look at it before the next message.
    control: AtomicBool,
    /// Something has come since the owner of the mailbox saw it empty, so that an owner that looks
    /// before it sleeps takes neither the lock nor its cache line from the senders.
    mail: AtomicBool,
    /// Messages handled by this and earlier incarnations.
    handled: AtomicU64,
    /// Messages that were told and never begun, as far as that is known.
    lost: AtomicU64,
    /// When the message at hand was begun or progress was reported, in microseconds since `epoch`
    /// plus one; zero when the actor is idle.
    busy_since: AtomicU64,
    /// Changes with every message begun and every sign of progress. Written by the actor alone.
    steps: AtomicU64,
    /// Messages that wait in the actor's own process, as it last said; in the process that has the
    /// mailbox this is not used.
    waiting_there: AtomicU64,
}

impl Status {
    pub(crate) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            state: AtomicU8::new(State::Initial as u8),
            incarnation: AtomicU32::new(0),
            control: AtomicBool::new(false),
            mail: AtomicBool::new(false),
            handled: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            busy_since: AtomicU64::new(0),
            steps: AtomicU64::new(0),
            waiting_there: AtomicU64::new(0),
        }
    }

    pub(crate) fn state(&self) -> State {
        State::from_u8(self.state.load(Ordering::Relaxed))
    }

    pub(crate) fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    pub(crate) fn incarnation(&self) -> u32 {
        self.incarnation.load(Ordering::Relaxed)
    }

    pub(crate) fn set_incarnation(&self, number: u32) {
        self.incarnation.store(number, Ordering::Relaxed);
    }

    pub(crate) fn has_control(&self) -> bool {
        self.control.load(Ordering::Relaxed)
    }

    /// Whether this incarnation must look up from its messages.
    #[inline]
    pub(crate) fn interrupts(&self, incarnation: u32) -> bool {
        self.has_control() || self.incarnation() != incarnation
    }

    pub(crate) fn set_control(&self, waiting: bool) {
        self.control.store(waiting, Ordering::Relaxed);
    }

    pub(crate) fn has_mail(&self) -> bool {
        self.mail.load(Ordering::Relaxed)
    }

    pub(crate) fn set_mail(&self, waiting: bool) {
        self.mail.store(waiting, Ordering::Relaxed);
    }

    pub(crate) fn add_handled(&self, count: u64) {
        self.handled.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn handled(&self) -> u64 {
        self.handled.load(Ordering::Relaxed)
    }

    pub(crate) fn add_lost(&self, count: u64) {
        self.lost.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(crate) fn set_busy(&self) {
        let micros = self.epoch.elapsed().as_micros() as u64;
        self.busy_since.store(micros + 1, Ordering::Relaxed);
        // Pairs with the fence in `Mailbox::ask_info`: the look at the control lane comes after this.
        fence(Ordering::SeqCst);
    }

    #[inline]
    pub(crate) fn step(&self) {
        // One writer, so that no locked operation is needed.
        let steps = self.steps.load(Ordering::Relaxed);
        self.steps.store(steps.wrapping_add(1), Ordering::Relaxed);
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    pub(crate) fn set_idle(&self) {
        self.busy_since.store(0, Ordering::Relaxed);
    }

    /// For how many microseconds the actor has worked without a sign of progress.
    pub(crate) fn busy_us(&self) -> Option<u64> {
        match self.busy_since.load(Ordering::Relaxed) {
            0 => None,
            since => Some((self.epoch.elapsed().as_micros() as u64).saturating_sub(since - 1)),
        }
    }

    /// Takes in what an actor in another process says about its present incarnation.
    pub(crate) fn observe(&self, handled: u64, waiting: u64, busy_us: Option<u64>) {
        self.handled.store(handled, Ordering::Relaxed);
        self.waiting_there.store(waiting, Ordering::Relaxed);
        let now = self.epoch.elapsed().as_micros() as u64;
        let since = busy_us.map_or(0, |busy| now.saturating_sub(busy) + 1);
        self.busy_since.store(since, Ordering::Relaxed);
    }

    pub(crate) fn waiting_there(&self) -> u64 {
        self.waiting_there.load(Ordering::Relaxed)
    }

    pub(crate) fn uptime_ms(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }
}
