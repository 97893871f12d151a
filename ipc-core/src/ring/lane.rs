//! One direction of a ring: what its producer and its consumer have in common.
//!
//! Each side announces how it waits in its own state word, which the other reads after every
//! publication:
//!
//! - `FENCED` (where every lane starts): awake, and the other side must put a full fence between its
//!   publication and a second look at this word.
//! - `AWAKE`: awake, and no fence is needed: before this side sleeps it issues a barrier on all threads
//!   of both processes (`membarrier`), which does the same from afar. That makes a publication to a
//!   running peer a plain store and a plain load.
//! - `FUTEX`: asleep on this very word. `BELL`: asleep until a packet arrives on the socket. `WOKEN`:
//!   was asleep and has been woken, nobody needs to do it again.
//! - `CLOSED`: this side is done for good.
//!
//! The proof that no wake is lost: the sleeper stores `FUTEX` or `BELL`, passes a barrier, and looks at
//! the positions once more before it sleeps; the publisher stores its position, passes a barrier (its
//! own fence, or the sleeper's `membarrier` on its behalf), and then loads the state. Whichever barrier
//! comes second, its side sees the other's store. Only a word that says `AWAKE` excuses a publisher from
//! its fence: any other state may be an old one. A lane leaves `FENCED` for `AWAKE` only, and never
//! returns. `tests/model` checks this in every interleaving.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering, compiler_fence, fence};
use std::time::{Duration, Instant};

use super::Wait;
use super::budget::SpinBudget;
use crate::sys::{self, Interest, SharedMemory};
use crate::{Deadline, Readiness, wait};

pub(super) const FENCED: u32 = 0;
const AWAKE: u32 = 1;
const FUTEX: u32 = 2;
const BELL: u32 = 3;
const WOKEN: u32 = 4;
const CLOSED: u32 = 5;

/// How long a blocked side sleeps on its word before it looks at the lifeline and then sleeps on the
/// socket: a killed peer is noticed at most this late, an idle side wakes once for it.
const FUTEX_SLICE: Duration = Duration::from_millis(10);
/// So many sleeps on the word may end early and for nothing before the lifeline is looked at all the
/// same: signals and a hostile peer can end them.
const FUTEX_SLEEPS_MAX: u32 = 16;
/// So many wakes in a row that bring nothing mean a hostile peer.
const IDLE_WAKES_MAX: u32 = 10_000;
/// How often a side that spins without a budget looks at the lifeline.
const LIFELINE_EVERY: Duration = Duration::from_millis(1);
/// Packets taken from the socket in one go.
const DRAIN_MAX: usize = 64;
/// Descriptors that a reader keeps for bytes that were not read yet.
const ATTACHED_MAX: usize = 1024;

/// Which side of a lane this process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Consumer,
    Producer,
}

/// Counters of one half of a [`Ring`](crate::Ring), for tests and diagnostics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RingStats {
    /// Times this side slept or was about to.
    pub parks: u64,
    /// Waits that ended while spinning.
    pub spins_won: u64,
    /// Spins whose budget ran out.
    pub spins_lost: u64,
    /// System calls of any kind, those in `parks` and `wakes` included.
    pub system_calls: u64,
    /// Times this side woke the other.
    pub wakes: u64,
}

/// Descriptors that came for the byte at a position.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) position: u64,
    pub(super) fds: Vec<OwnedFd>,
}

/// One direction of a ring, seen from one side.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) memory: SharedMemory,
    pub(super) socket: OwnedFd,
    pub(super) stats: RingStats,
    /// Descriptors that arrived and were not read yet; a consumer's only.
    pub(super) attached: VecDeque<Attached>,
    side: Side,
    wait: Wait,
    budget: SpinBudget,
    /// Whether the state word was ever `AWAKE`: then only `membarrier` orders going to sleep.
    unfenced: bool,
    /// Whether this process takes no part in barriers and has to fence after every publication.
    fence_always: bool,
    /// Whether the word says `BELL` because an event loop sleeps.
    armed: bool,
    /// Whether the socket has ended: the other process closed or died.
    gone: bool,
    closed: bool,
    /// Wakes in a row that brought nothing.
    idle_wakes: u32,
    /// The process that made this value: in a forked child, dropping it must not end the channel.
    owner: u32,
}

impl Lane {
    pub(super) fn new(memory: SharedMemory, socket: OwnedFd, side: Side, wait: Wait) -> Self {
        let mut lane = Self {
            memory,
            socket,
            stats: RingStats::default(),
            attached: VecDeque::new(),
            side,
            wait: Wait::Park,
            budget: SpinBudget::new(),
            unfenced: false,
            fence_always: !sys::joins_barriers(),
            armed: false,
            gone: false,
            closed: false,
            idle_wakes: 0,
            owner: std::process::id(),
        };
        lane.set_wait(wait);
        lane
    }

    pub(super) fn set_wait(&mut self, wait: Wait) {
        let alone = sys::processors() == 1;
        self.wait = if wait == Wait::Adaptive && alone {
            Wait::Park
        } else {
            wait
        };
        if self.wait != Wait::Park && !self.fence_always {
            self.unfenced = true;
        }
        self.set_state(self.awake());
    }

    fn own_state(&self) -> &AtomicU32 {
        match self.side {
            Side::Consumer => self.memory.consumer_state(),
            Side::Producer => self.memory.producer_state(),
        }
    }

    #[inline]
    fn peer_state(&self) -> &AtomicU32 {
        match self.side {
            Side::Consumer => self.memory.producer_state(),
            Side::Producer => self.memory.consumer_state(),
        }
    }

    /// What the state word says while this side is not asleep.
    fn awake(&self) -> u32 {
        if self.unfenced { AWAKE } else { FENCED }
    }

    fn set_state(&self, state: u32) {
        if !self.closed {
            // Relaxed: the word guards no memory; `before_sleep` orders it where order matters.
            self.own_state().store(state, Ordering::Relaxed);
        }
    }

    /// Whether the other side said that it is done. What it published before is visible after this.
    #[inline]
    pub(super) fn peer_closed(&self) -> bool {
        // Acquire pairs with the release in `close`.
        self.peer_state().load(Ordering::Acquire) == CLOSED
    }

    /// Whether the other side is done, or its process gone.
    #[inline]
    pub(super) fn peer_gone(&self) -> bool {
        self.gone || self.peer_closed()
    }

    /// Wakes the other side if it sleeps; called after every publication. `worthwhile` is asked before
    /// a wake, so that a consumer need not wake a producer for every byte.
    #[inline]
    pub(super) fn publish(&mut self, worthwhile: impl FnOnce(&Self) -> bool) {
        // The load below must not move before the publication: the compiler is held here, the
        // processor by the sleeper's barrier.
        compiler_fence(Ordering::SeqCst);
        if self.fence_always {
            fence(Ordering::SeqCst);
        }
        // Relaxed: see the proof above.
        let state = self.peer_state().load(Ordering::Relaxed);
        if state != AWAKE {
            self.wake(worthwhile);
        }
    }

    #[cold]
    #[inline(never)]
    fn wake(&mut self, worthwhile: impl FnOnce(&Self) -> bool) {
        // Whatever was seen without a fence may be old: a side that was `WOKEN`, say, may be about to
        // sleep again. Pairs with the sleeper's fence in `before_sleep`.
        fence(Ordering::SeqCst);
        let state = self.peer_state().load(Ordering::Relaxed);
        if (state != FUTEX && state != BELL) || !worthwhile(self) {
            return;
        }
        // Relaxed: only the exchange's atomicity counts, so that one sleep gets one wake.
        let word = self.peer_state();
        if word
            .compare_exchange(state, WOKEN, Ordering::Relaxed, Ordering::Relaxed)
            .is_err()
        {
            return;
        }
        self.stats.wakes += 1;
        self.stats.system_calls += 1;
        if state == FUTEX {
            // For the sleeper's budget. A side that never spins has a peer that is usually alike.
            if self.wait == Wait::Adaptive {
                self.memory
                    .wake_stamp()
                    .store(sys::monotonic_ns(), Ordering::Relaxed);
            }
            sys::futex_wake(self.peer_state());
        } else {
            self.ring_bell();
        }
    }

    /// Sends the packet that makes the other side's descriptor readable. A full queue means that there
    /// are packets it did not read, which do the same; other failures mean that it is gone.
    fn ring_bell(&mut self) {
        match sys::send_packet(self.socket.as_fd(), &[0], &[]) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.gone = true,
        }
    }

    /// Says that this side is done, and wakes the other to see it.
    pub(super) fn close(&mut self) {
        if self.closed {
            return;
        }
        self.closed = true;
        // Release: what was published before is visible to whoever reads this.
        self.own_state().store(CLOSED, Ordering::Release);
        self.wake(|_| true);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Something moved: the peer is no nuisance.
    #[inline]
    pub(super) fn progress(&mut self) {
        self.idle_wakes = 0;
    }

    /// Waits until `ready`, or the other side is gone. A side that spins waits on for `enough`, for as
    /// long as it may spin, so that the two do not trip over each other byte by byte.
    ///
    /// # Errors
    ///
    /// `WouldBlock` at once for [`Deadline::Now`]; `TimedOut`; `InvalidData` when the peer keeps waking
    /// this side for nothing.
    #[cold]
    #[inline(never)]
    pub(super) fn wait(
        &mut self,
        deadline: Deadline,
        enough: impl Fn(&SharedMemory) -> bool,
        ready: impl Fn(&SharedMemory) -> bool,
    ) -> io::Result<()> {
        self.disarm();
        if self.peer_gone() {
            return Ok(());
        }
        if deadline == Deadline::Now {
            // The one look at the lifeline that a caller who never waits gets.
            if !ready(&self.memory) {
                self.drain()?;
            }
            if ready(&self.memory) || self.peer_gone() {
                return Ok(());
            }
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match self.wait {
            Wait::Spin => return self.spin_until(deadline, &enough, &ready),
            Wait::Park => {}
            Wait::Adaptive => {
                let budget = self.budget.next();
                if !budget.is_zero() {
                    if self.spin(budget, deadline, &enough) {
                        self.budget.won();
                        return Ok(());
                    }
                    self.budget.lost();
                }
            }
        }
        if ready(&self.memory) || self.peer_gone() {
            return Ok(());
        }
        self.park(deadline, &ready)
    }

    /// Spins for at most `budget`; answers whether that was enough.
    fn spin(
        &mut self,
        budget: Duration,
        deadline: Deadline,
        enough: &impl Fn(&SharedMemory) -> bool,
    ) -> bool {
        let mut ends = None;
        loop {
            for _ in 0..32 {
                if enough(&self.memory) {
                    self.stats.spins_won += 1;
                    return true;
                }
                std::hint::spin_loop();
            }
            if self.peer_closed() {
                return true;
            }
            // The clock is not worth reading for the first round, which most waits end in.
            let ends = *ends.get_or_insert_with(|| {
                let budget = deadline.remaining().map_or(budget, |left| left.min(budget));
                Instant::now() + budget
            });
            if Instant::now() >= ends {
                self.stats.spins_lost += 1;
                return false;
            }
        }
    }

    fn spin_until(
        &mut self,
        deadline: Deadline,
        enough: &impl Fn(&SharedMemory) -> bool,
        ready: &impl Fn(&SharedMemory) -> bool,
    ) -> io::Result<()> {
        while !self.spin(LIFELINE_EVERY, deadline, enough) {
            self.drain()?;
            if ready(&self.memory) || self.peer_gone() {
                return Ok(());
            }
            if deadline.is_expired() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // The peer may be waiting for this very processor.
            self.stats.system_calls += 1;
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Sleeps until `ready`: first on the state word, which is the cheaper sleep and wake, then on the
    /// socket, which sees the peer's death at once.
    fn park(
        &mut self,
        deadline: Deadline,
        ready: &impl Fn(&SharedMemory) -> bool,
    ) -> io::Result<()> {
        let mut sleeps_on_word = FUTEX_SLEEPS_MAX;
        loop {
            let on_word = sleeps_on_word > 0;
            self.before_sleep(if on_word { FUTEX } else { BELL });
            let mut slept = Ok(());
            if !ready(&self.memory) && !self.peer_gone() {
                self.stats.parks += 1;
                self.stats.system_calls += 1;
                if on_word {
                    let limit = deadline
                        .remaining()
                        .map_or(FUTEX_SLICE, |l| l.min(FUTEX_SLICE));
                    let woken = sys::futex_wait(self.own_state(), FUTEX, limit)?;
                    sleeps_on_word = if woken { sleeps_on_word - 1 } else { 0 };
                } else {
                    slept = wait::ready(self.socket.as_fd(), Interest::Read, deadline);
                }
            }
            self.after_sleep();
            if ready(&self.memory) || self.peer_gone() {
                return Ok(());
            }
            match slept {
                // The deadline is looked at below, after the lifeline and the ring.
                Err(error) if error.kind() != io::ErrorKind::TimedOut => return Err(error),
                _ => {}
            }
            let mut bells = 0;
            if sleeps_on_word == 0 {
                bells = self.drain()?;
                if ready(&self.memory) || self.peer_gone() {
                    return Ok(());
                }
            }
            if deadline.is_expired() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.idle_wakes(bells.max(1))?;
        }
    }

    /// Announces a sleep, so that the next look at the ring is the decisive one.
    fn before_sleep(&mut self, state: u32) {
        self.set_state(state);
        if self.unfenced {
            self.stats.system_calls += 1;
            if sys::barrier() {
                return;
            }
            // Refused although it worked before, by a filter put in place since. The peer may miss
            // this sleep; the slices of `park` and the caller's own deadline bound the harm.
        }
        // Pairs with the fence in `wake`.
        fence(Ordering::SeqCst);
    }

    fn after_sleep(&mut self) {
        // Relaxed: see `set_state`.
        let woken = self.own_state().load(Ordering::Relaxed) == WOKEN;
        self.set_state(self.awake());
        if woken && self.wait == Wait::Adaptive {
            let stamp = self.memory.wake_stamp().swap(0, Ordering::Relaxed);
            if stamp != 0 {
                let took = sys::monotonic_ns().saturating_sub(stamp);
                self.budget.measured(Duration::from_nanos(took));
            }
        }
    }

    /// Counts wakes that brought nothing. A peer rings once for each sleep that this side announced, so
    /// that every packet counts as one: a flood is told from bad luck by its size, not by its speed.
    fn idle_wakes(&mut self, count: usize) -> io::Result<()> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.idle_wakes = self.idle_wakes.saturating_add(count);
        if self.idle_wakes > IDLE_WAKES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the peer woke this side {IDLE_WAKES_MAX} times for nothing"),
            ));
        }
        Ok(())
    }

    /// An event loop is about to sleep on the socket.
    pub(super) fn arm(&mut self, ready: impl Fn(&SharedMemory) -> bool) -> io::Result<Readiness> {
        if ready(&self.memory) || self.peer_gone() {
            return Ok(Readiness::Ready);
        }
        // Takes the packets that would wake the loop again for nothing, and looks at the lifeline.
        let bells = self.drain()?;
        self.idle_wakes(bells)?;
        self.stats.parks += 1;
        self.before_sleep(BELL);
        self.armed = true;
        if ready(&self.memory) || self.peer_gone() {
            self.disarm();
            return Ok(Readiness::Ready);
        }
        Ok(Readiness::Armed)
    }

    /// The event loop is awake again.
    #[inline]
    pub(super) fn disarm(&mut self) {
        if self.armed {
            self.armed = false;
            self.set_state(self.awake());
        }
    }

    /// Reads what is on the socket: bells, descriptors, the end. Answers how many packets.
    pub(super) fn drain(&mut self) -> io::Result<usize> {
        if self.gone {
            return Ok(0);
        }
        for count in 0..DRAIN_MAX {
            self.stats.system_calls += 1;
            let mut fds = Vec::new();
            let mut packet = [0; 16];
            match sys::receive_packet(self.socket.as_fd(), &mut packet, &mut fds) {
                Ok(0) => {
                    self.gone = true;
                    return Ok(count);
                }
                Ok(len) => self.take_packet(&packet[..len.min(packet.len())], fds)?,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(count),
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                        self.gone = true;
                        return Ok(count);
                    }
                    _ => return Err(error),
                },
            }
        }
        Ok(DRAIN_MAX)
    }

    fn take_packet(&mut self, packet: &[u8], fds: Vec<OwnedFd>) -> io::Result<()> {
        if fds.is_empty() {
            return Ok(());
        }
        let invalid = |text: &str| Err(io::Error::new(io::ErrorKind::InvalidData, text));
        let Ok(position) = <[u8; 8]>::try_from(packet) else {
            return invalid("descriptors came with a packet of another format");
        };
        let position = u64::from_le_bytes(position);
        let held: usize = self
            .attached
            .iter()
            .map(|attached| attached.fds.len())
            .sum();
        if self.side == Side::Producer || held + fds.len() > ATTACHED_MAX {
            return invalid("more descriptors came than are accepted for unread bytes");
        }
        if self
            .attached
            .back()
            .is_some_and(|last| last.position > position)
        {
            return invalid("descriptors came for bytes before those of earlier ones");
        }
        self.attached.push_back(Attached { position, fds });
        Ok(())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // A forked child has a copy of this value, but the channel is its parent's.
        if self.owner == std::process::id() {
            self.close();
        }
    }
}
