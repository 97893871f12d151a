//! The supervisor as a state machine.

use std::collections::VecDeque;
use std::time::Instant;

use super::event::{Action, ChildKey, Event, SuperviseError};
use super::roster::{Child, Phase, Roster, Want};
use super::spec::{AutoShutdown, ChildPolicy, Restart, Shutdown, Strategy, SupervisorOptions};
use super::{ExitReason, Intensity};

#[derive(Debug, PartialEq, Eq)]
enum Mode {
    Idle,
    Booting,
    Running,
    Ending(ExitReason),
    Ended,
}

/// A supervisor: tells what to do with its children as they start and end.
///
/// Feed it [`Event`]s and the time, carry out what [`poll_action`](Self::poll_action) gives, and send
/// [`Event::Tick`] at [`poll_timeout`](Self::poll_timeout).
#[derive(Debug)]
pub struct Supervisor {
    options: SupervisorOptions,
    intensity: Intensity,
    mode: Mode,
    roster: Roster,
    actions: VecDeque<Action>,
    /// Failures during the boot, which are looked at when it is over: OTP's supervisor does not read
    /// its mailbox before.
    early: Vec<(ChildKey, ExitReason)>,
    random: u32,
}

impl Supervisor {
    /// A supervisor without children. `seed` feeds the random part of the backoff.
    #[must_use]
    pub fn new(options: SupervisorOptions, seed: u32) -> Self {
        Self {
            options,
            intensity: Intensity::new(options.intensity, options.period),
            mode: Mode::Idle,
            roster: Roster::default(),
            actions: VecDeque::new(),
            early: Vec::new(),
            random: seed | 1,
        }
    }

    /// Adds a child after those that are there. Before [`Event::Boot`] it waits for it; later it is
    /// started at once, and a failure is answered by [`Action::Rejected`] and [`Action::Removed`].
    ///
    /// # Errors
    ///
    /// `AlreadyPresent`, `Significant`, `Ending`.
    pub fn add(
        &mut self,
        name: &str,
        policy: ChildPolicy,
        now: Instant,
    ) -> Result<ChildKey, SuperviseError> {
        if matches!(self.mode, Mode::Ending(_) | Mode::Ended) {
            return Err(SuperviseError::Ending);
        }
        let never = self.options.auto_shutdown == AutoShutdown::Never;
        let significant = policy.significant && (never || policy.restart == Restart::Permanent);
        if significant && self.roster.find(name).is_none() {
            return Err(SuperviseError::Significant);
        }
        let by_hand = (self.mode == Mode::Running).then_some(true);
        let key = self.roster.add(name, policy, by_hand, now);
        let key = key.ok_or(SuperviseError::AlreadyPresent)?;
        self.advance(now);
        Ok(key)
    }

    /// Stops a child and leaves its specification, or forgets that of a temporary one. Does not count
    /// as a failure.
    ///
    /// # Errors
    ///
    /// `NotFound`.
    pub fn terminate(&mut self, key: ChildKey, now: Instant) -> Result<(), SuperviseError> {
        let found = self.roster.change(key, |child| {
            child.want = end_of(child);
            child.must_stop = child.is_alive();
        });
        found.ok_or(SuperviseError::NotFound)?;
        self.sweep();
        self.advance(now);
        Ok(())
    }

    /// Starts a child that is down.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Running`, `Restarting`, `Ending`.
    pub fn restart(&mut self, key: ChildKey, now: Instant) -> Result<(), SuperviseError> {
        self.expect_down(key)?;
        if self.mode != Mode::Running {
            return Err(SuperviseError::Ending);
        }
        let found = self.roster.change(key, |child| {
            child.want = Want::Up { not_before: now };
            child.by_hand = Some(false);
        });
        found.ok_or(SuperviseError::NotFound)?;
        self.advance(now);
        Ok(())
    }

    /// Forgets a child that is down.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Running`, `Restarting`.
    pub fn delete(&mut self, key: ChildKey, now: Instant) -> Result<(), SuperviseError> {
        self.expect_down(key)?;
        self.roster.remove(key);
        self.actions.push_back(Action::Removed(key));
        self.advance(now);
        Ok(())
    }

    /// Takes in what happened at `now`.
    pub fn handle(&mut self, event: Event, now: Instant) {
        if self.mode == Mode::Ended {
            return;
        }
        match event {
            Event::Boot => {
                if self.mode == Mode::Idle {
                    self.mode = Mode::Booting;
                }
            }
            Event::Started(key) => self.started(key, now),
            Event::Ignored(key) => self.ignored(key),
            Event::StartFailed(key, reason) | Event::Exited(key, reason) => {
                self.exited(key, reason, now);
            }
            Event::Tick => {}
            Event::Stop(reason) => self.end(reason),
            Event::Kill(reason) => {
                self.end(reason);
                let actions = &mut self.actions;
                self.roster.change_all(|key, child| {
                    if child.is_alive() && child.phase != Phase::Killing {
                        child.phase = Phase::Killing;
                        actions.push_back(Action::Kill(key));
                    }
                });
            }
        }
        self.expire(now);
        self.advance(now);
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to send [`Event::Tick`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let limit = self.roster.next_limit();
        limit.into_iter().chain(self.next_start()).min()
    }

    /// The keys of the children, in start order.
    pub fn children(&self) -> impl Iterator<Item = ChildKey> {
        self.roster.keys()
    }

    /// The child of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<ChildKey> {
        self.roster.find(name)
    }

    /// Whether the child is up.
    #[must_use]
    pub fn is_up(&self, key: ChildKey) -> bool {
        let child = self.roster.get(key);
        child.is_some_and(|child| matches!(child.phase, Phase::Up { .. }))
    }

    /// Whether the supervisor is stopping its children for good, or has ended.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        matches!(self.mode, Mode::Ending(_) | Mode::Ended)
    }

    fn expect_down(&self, key: ChildKey) -> Result<(), SuperviseError> {
        let child = self.roster.get(key).ok_or(SuperviseError::NotFound)?;
        match (child.phase, child.want) {
            (Phase::Down, Want::Up { .. }) => Err(SuperviseError::Restarting),
            (Phase::Down, _) => Ok(()),
            _ => Err(SuperviseError::Running),
        }
    }

    fn started(&mut self, key: ChildKey, now: Instant) {
        self.roster.change(key, |child| {
            if matches!(child.phase, Phase::Starting { .. }) {
                child.phase = Phase::Up { since: now };
                child.by_hand = None;
            }
        });
    }

    fn ignored(&mut self, key: ChildKey) {
        self.roster.change(key, |child| {
            child.phase = Phase::Down;
            child.must_stop = false;
            child.by_hand = None;
            child.want = end_of(child);
        });
        self.sweep();
    }

    fn exited(&mut self, key: ChildKey, reason: ExitReason, now: Instant) {
        let ending = self.is_ending();
        let booting = self.mode == Mode::Booting;
        let stable = self.options.backoff.stable;
        let was = self.roster.change(key, |child| {
            let phase = std::mem::replace(&mut child.phase, Phase::Down);
            let asked = std::mem::take(&mut child.must_stop);
            let timed_out = std::mem::take(&mut child.start_timed_out);
            if let Phase::Up { since } = phase
                && now.saturating_duration_since(since) >= stable
            {
                child.failures = 0;
            }
            (phase, asked, timed_out)
        });
        let Some((phase, asked, timed_out)) = was else {
            return;
        };
        if asked || ending || phase == Phase::Down {
            self.sweep();
            return;
        }
        let starting = timed_out || matches!(phase, Phase::Starting { .. });
        match starting {
            true => {
                let reason = if timed_out {
                    ExitReason::StartTimeout
                } else {
                    reason
                };
                self.start_failed(key, reason, now);
            }
            false if booting => {
                // It stays out of the boot's way until then.
                self.roster.change(key, |child| child.want = Want::Down);
                self.early.push((key, reason));
            }
            false => self.failed(key, &reason, now),
        }
    }

    fn start_failed(&mut self, key: ChildKey, reason: ExitReason, now: Instant) {
        let booting = self.mode == Mode::Booting;
        let by_hand = self.roster.change(key, |child| {
            let by_hand = child.by_hand.take();
            match by_hand {
                Some(forget) => {
                    let forget = forget || child.policy.restart == Restart::Temporary;
                    child.want = if forget { Want::Gone } else { Want::Down };
                }
                None if booting => child.want = Want::Down,
                None => {}
            }
            by_hand
        });
        match by_hand {
            None => {}
            Some(Some(_)) => {
                self.actions.push_back(Action::Rejected(key, reason));
                self.sweep();
            }
            Some(None) if booting => self.end(ExitReason::StartFailed(reason.to_string())),
            // A restart that fails is tried again whatever the reason, and counted.
            Some(None) => self.bring_back(key, now),
        }
    }

    /// A child that was up ended by itself.
    fn failed(&mut self, key: ChildKey, reason: &ExitReason, now: Instant) {
        let Some(policy) = self.roster.get(key).map(|child| child.policy) else {
            return;
        };
        let restart = match policy.restart {
            Restart::Permanent => true,
            Restart::Transient => !reason.is_clean(),
            Restart::Temporary => false,
        };
        if restart {
            self.bring_back(key, now);
            return;
        }
        self.roster.change(key, |child| child.want = end_of(child));
        let end = policy.significant
            && match self.options.auto_shutdown {
                AutoShutdown::Never => false,
                AutoShutdown::AnySignificant => true,
                AutoShutdown::AllSignificant => !self.roster.values().any(|child| {
                    let runs = child.is_alive() || matches!(child.want, Want::Up { .. });
                    child.policy.significant && runs
                }),
            };
        self.sweep();
        if end {
            self.end(ExitReason::Shutdown);
        }
    }

    /// Counts a failure, then restarts the child and whom the strategy names, or gives up.
    fn bring_back(&mut self, key: ChildKey, now: Instant) {
        if !self.intensity.record(now) {
            self.actions.push_back(Action::GaveUp(key));
            self.end(ExitReason::Shutdown);
            return;
        }
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        let (backoff, random) = (self.options.backoff, self.random);
        let not_before = self.roster.change(key, |failed| {
            failed.failures = failed.failures.saturating_add(1);
            let delay = backoff.delay(failed.failures, random);
            let not_before = now.checked_add(delay).unwrap_or(now);
            failed.want = Want::Up { not_before };
            not_before
        });
        let Some(not_before) = not_before else {
            return;
        };
        let with_it = |_: ChildKey, child: &mut Child| {
            child.must_stop = child.is_alive();
            child.want = match child.policy.restart {
                Restart::Temporary => Want::Gone,
                // Also those that had ended or been stopped by hand: OTP starts the whole list.
                Restart::Permanent | Restart::Transient => Want::Up { not_before },
            };
        };
        match self.options.strategy {
            Strategy::OneForOne => {}
            Strategy::OneForAll => self.roster.change_all(with_it),
            Strategy::RestForOne => self.roster.change_from(ChildKey(key.0 + 1), with_it),
        }
        self.sweep();
    }

    /// Begins to stop everything, once.
    fn end(&mut self, reason: ExitReason) {
        if self.is_ending() {
            return;
        }
        self.mode = Mode::Ending(reason);
        self.roster.change_all(|_, child| {
            child.must_stop = child.is_alive();
            if child.want != Want::Gone {
                child.want = Want::Down;
            }
        });
        self.sweep();
    }

    /// Forgets children that are down and not wanted any more.
    fn sweep(&mut self) {
        while let Some(key) = self.roster.remove_gone() {
            self.actions.push_back(Action::Removed(key));
        }
    }

    /// Kills what took too long to start or to stop.
    fn expire(&mut self, now: Instant) {
        let mut late = Vec::new();
        while let Some(key) = self.roster.expired(now) {
            self.roster.change(key, |child| {
                child.start_timed_out |= matches!(child.phase, Phase::Starting { .. });
                child.phase = Phase::Killing;
            });
            late.push(key);
        }
        late.sort_unstable();
        self.actions.extend(late.into_iter().map(Action::Kill));
    }

    /// Gives out the starts and stops that are possible now: stops in reverse order, one after the
    /// other; then starts in order, one after the other. Only the restarts of a one-for-one
    /// supervisor, which have nothing to do with each other, go on side by side.
    fn advance(&mut self, now: Instant) {
        if !self.roster.is_stopping_one()
            && let Some(key) = self.roster.last_to_stop()
        {
            let kill = self.roster.change(key, |child| {
                child.phase = match child.policy.shutdown {
                    Shutdown::Kill => Phase::Killing,
                    Shutdown::After(limit) => Phase::Stopping {
                        kill_at: now.checked_add(limit),
                    },
                    Shutdown::Unlimited => Phase::Stopping { kill_at: None },
                };
                child.phase == Phase::Killing
            });
            self.actions.push_back(match kill {
                Some(true) => Action::Kill(key),
                _ => Action::Stop(key),
            });
        }
        match &self.mode {
            Mode::Idle | Mode::Ended => {}
            Mode::Booting | Mode::Running => self.start_due(now),
            Mode::Ending(reason) => {
                if !self.roster.is_anybody_alive() {
                    let reason = reason.clone();
                    self.mode = Mode::Ended;
                    self.actions.push_back(Action::Ended(reason));
                }
            }
        }
    }

    /// Whether restarts have nothing to do with each other now.
    fn is_side_by_side(&self) -> bool {
        self.mode == Mode::Running && self.options.strategy == Strategy::OneForOne
    }

    /// When the next start becomes possible by the passing of time alone.
    fn next_start(&self) -> Option<Instant> {
        if self.is_side_by_side() {
            return self.roster.next_wait();
        }
        if self.roster.holds_starts() || !matches!(self.mode, Mode::Booting | Mode::Running) {
            return None;
        }
        let first = self.roster.get(self.roster.first_block()?)?;
        match (first.phase, first.want) {
            (Phase::Down, Want::Up { not_before }) => Some(not_before),
            _ => None,
        }
    }

    fn start(&mut self, key: ChildKey, now: Instant) {
        self.roster.change(key, |child| {
            let limit = child.policy.start_timeout;
            let deadline = limit.and_then(|limit| now.checked_add(limit));
            child.phase = Phase::Starting { deadline };
        });
        self.actions.push_back(Action::Start(key));
    }

    fn start_due(&mut self, now: Instant) {
        if self.is_side_by_side() {
            for key in self.roster.due(now) {
                self.start(key, now);
            }
            return;
        }
        if self.roster.holds_starts() {
            return;
        }
        if let Some(key) = self.roster.first_block() {
            let child = self.roster.get(key);
            let due = child.is_some_and(|child| {
                child.phase == Phase::Down
                    && matches!(child.want, Want::Up { not_before } if not_before <= now)
            });
            if due {
                self.start(key, now);
            }
            return;
        }
        if self.mode == Mode::Booting {
            self.mode = Mode::Running;
            self.actions.push_back(Action::Ready);
            for (key, reason) in std::mem::take(&mut self.early) {
                self.failed(key, &reason, now);
            }
            self.advance(now);
        }
    }
}

/// What is wanted of a child that does not come back.
fn end_of(child: &Child) -> Want {
    match child.policy.restart {
        Restart::Temporary => Want::Gone,
        Restart::Permanent | Restart::Transient => Want::Down,
    }
}
