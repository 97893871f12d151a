//! The supervisor as a state machine.

use std::collections::VecDeque;
use std::time::Instant;

use super::event::{Action, ChildKey, Event, SuperviseError};
use super::spec::{AutoShutdown, ChildPolicy, Restart, Shutdown, Strategy, SupervisorOptions};
use super::{ExitReason, Intensity};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No process, thread or state exists.
    Down,
    /// `Start` was given out.
    Starting {
        deadline: Option<Instant>,
    },
    Up {
        since: Instant,
    },
    /// `Stop` was given out.
    Stopping {
        kill_at: Option<Instant>,
    },
    /// `Kill` was given out.
    Killing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// It shall run, from this instant on when it is down.
    Up {
        not_before: Instant,
    },
    Down,
    /// Its specification shall be forgotten as soon as it is down.
    Gone,
}

#[derive(Debug)]
struct Child {
    key: ChildKey,
    name: String,
    policy: ChildPolicy,
    phase: Phase,
    want: Want,
    /// The supervisor ends it, so that its exit is not a failure.
    must_stop: bool,
    /// It was started by hand and has not come up yet: a failed start is reported, not retried. The
    /// flag inside says that the specification goes with it.
    by_hand: Option<bool>,
    /// `Kill` was given out because its start took too long.
    start_timed_out: bool,
    /// Failures since it last ran for `Backoff::stable`.
    failures: u32,
}

impl Child {
    fn is_alive(&self) -> bool {
        self.phase != Phase::Down
    }
}

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
    /// In the order in which they are started.
    children: Vec<Child>,
    next_key: u64,
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
            children: Vec::new(),
            next_key: 0,
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
        if self.children.iter().any(|child| child.name == name) {
            return Err(SuperviseError::AlreadyPresent);
        }
        let never = self.options.auto_shutdown == AutoShutdown::Never;
        if policy.significant && (never || policy.restart == Restart::Permanent) {
            return Err(SuperviseError::Significant);
        }
        let key = ChildKey(self.next_key);
        self.next_key += 1;
        self.children.push(Child {
            key,
            name: name.to_owned(),
            policy,
            phase: Phase::Down,
            want: Want::Up { not_before: now },
            must_stop: false,
            by_hand: (self.mode == Mode::Running).then_some(true),
            start_timed_out: false,
            failures: 0,
        });
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
        let child = self.child_mut(key).ok_or(SuperviseError::NotFound)?;
        child.want = match child.policy.restart {
            Restart::Temporary => Want::Gone,
            Restart::Permanent | Restart::Transient => Want::Down,
        };
        child.must_stop = child.is_alive();
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
        let child = self.child_mut(key).ok_or(SuperviseError::NotFound)?;
        child.want = Want::Up { not_before: now };
        child.by_hand = Some(false);
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
        self.children.retain(|child| child.key != key);
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
                for child in &mut self.children {
                    if child.is_alive() && child.phase != Phase::Killing {
                        child.phase = Phase::Killing;
                        self.actions.push_back(Action::Kill(child.key));
                    }
                }
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
        let limits = self.children.iter().filter_map(|child| match child.phase {
            Phase::Starting { deadline } => deadline,
            Phase::Stopping { kill_at } => kill_at,
            Phase::Down | Phase::Up { .. } | Phase::Killing => None,
        });
        limits.chain(self.next_start()).min()
    }

    /// The keys of the children, in start order.
    pub fn children(&self) -> impl Iterator<Item = ChildKey> {
        self.children.iter().map(|child| child.key)
    }

    /// The child of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<ChildKey> {
        self.children
            .iter()
            .find(|child| child.name == name)
            .map(|child| child.key)
    }

    /// Whether the child is up.
    #[must_use]
    pub fn is_up(&self, key: ChildKey) -> bool {
        self.children
            .iter()
            .any(|child| child.key == key && matches!(child.phase, Phase::Up { .. }))
    }

    /// Whether the supervisor is stopping its children for good, or has ended.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        matches!(self.mode, Mode::Ending(_) | Mode::Ended)
    }

    fn child_mut(&mut self, key: ChildKey) -> Option<&mut Child> {
        self.children.iter_mut().find(|child| child.key == key)
    }

    fn expect_down(&self, key: ChildKey) -> Result<(), SuperviseError> {
        let child = self.children.iter().find(|child| child.key == key);
        let child = child.ok_or(SuperviseError::NotFound)?;
        match (child.phase, child.want) {
            (Phase::Down, Want::Up { .. }) => Err(SuperviseError::Restarting),
            (Phase::Down, _) => Ok(()),
            _ => Err(SuperviseError::Running),
        }
    }

    fn started(&mut self, key: ChildKey, now: Instant) {
        if let Some(child) = self.child_mut(key)
            && matches!(child.phase, Phase::Starting { .. })
        {
            child.phase = Phase::Up { since: now };
            child.by_hand = None;
        }
    }

    fn ignored(&mut self, key: ChildKey) {
        if let Some(child) = self.child_mut(key) {
            child.phase = Phase::Down;
            child.must_stop = false;
            child.by_hand = None;
            child.want = match child.policy.restart {
                Restart::Temporary => Want::Gone,
                Restart::Permanent | Restart::Transient => Want::Down,
            };
            self.sweep();
        }
    }

    fn exited(&mut self, key: ChildKey, reason: ExitReason, now: Instant) {
        let ending = self.is_ending();
        let booting = self.mode == Mode::Booting;
        let stable = self.options.backoff.stable;
        let Some(child) = self.child_mut(key) else {
            return;
        };
        let phase = std::mem::replace(&mut child.phase, Phase::Down);
        let asked = std::mem::take(&mut child.must_stop);
        let timed_out = std::mem::take(&mut child.start_timed_out);
        if let Phase::Up { since } = phase
            && now.saturating_duration_since(since) >= stable
        {
            child.failures = 0;
        }
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
                child.want = Want::Down;
                self.early.push((key, reason));
            }
            false => self.failed(key, &reason, now),
        }
    }

    fn start_failed(&mut self, key: ChildKey, reason: ExitReason, now: Instant) {
        let booting = self.mode == Mode::Booting;
        let Some(child) = self.child_mut(key) else {
            return;
        };
        match child.by_hand.take() {
            Some(forget) => {
                let forget = forget || child.policy.restart == Restart::Temporary;
                child.want = if forget { Want::Gone } else { Want::Down };
                self.actions.push_back(Action::Rejected(key, reason));
                self.sweep();
            }
            None if booting => {
                child.want = Want::Down;
                self.end(ExitReason::StartFailed(reason.to_string()));
            }
            // A restart that fails is tried again whatever the reason, and counted.
            None => self.bring_back(key, now),
        }
    }

    /// A child that was up ended by itself.
    fn failed(&mut self, key: ChildKey, reason: &ExitReason, now: Instant) {
        let auto = self.options.auto_shutdown;
        let Some(child) = self.child_mut(key) else {
            return;
        };
        let restart = match child.policy.restart {
            Restart::Permanent => true,
            Restart::Transient => !reason.is_clean(),
            Restart::Temporary => false,
        };
        if restart {
            self.bring_back(key, now);
            return;
        }
        let significant = child.policy.significant;
        child.want = match child.policy.restart {
            Restart::Temporary => Want::Gone,
            Restart::Permanent | Restart::Transient => Want::Down,
        };
        let any_left = self.children.iter().any(|child| {
            child.policy.significant && (child.is_alive() || matches!(child.want, Want::Up { .. }))
        });
        let end = significant
            && match auto {
                AutoShutdown::Never => false,
                AutoShutdown::AnySignificant => true,
                AutoShutdown::AllSignificant => !any_left,
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
        let Some(index) = self.children.iter().position(|child| child.key == key) else {
            return;
        };
        let failed = &mut self.children[index];
        failed.failures = failed.failures.saturating_add(1);
        let not_before = now
            .checked_add(backoff.delay(failed.failures, random))
            .unwrap_or(now);
        failed.want = Want::Up { not_before };
        let others = match self.options.strategy {
            Strategy::OneForOne => index..index,
            Strategy::OneForAll => 0..self.children.len(),
            Strategy::RestForOne => index + 1..self.children.len(),
        };
        for child in &mut self.children[others] {
            child.must_stop = child.is_alive();
            if child.policy.restart == Restart::Temporary {
                child.want = Want::Gone;
            } else {
                // Also those that had ended or been stopped by hand: OTP starts the whole list.
                child.want = Want::Up { not_before };
            }
        }
        self.sweep();
    }

    /// Begins to stop everything, once.
    fn end(&mut self, reason: ExitReason) {
        if self.is_ending() {
            return;
        }
        self.mode = Mode::Ending(reason);
        for child in &mut self.children {
            child.must_stop = child.is_alive();
            if child.want != Want::Gone {
                child.want = Want::Down;
            }
        }
        self.sweep();
    }

    /// Forgets children that are down and not wanted any more.
    fn sweep(&mut self) {
        let actions = &mut self.actions;
        self.children.retain(|child| {
            let gone = child.want == Want::Gone && child.phase == Phase::Down;
            if gone {
                actions.push_back(Action::Removed(child.key));
            }
            !gone
        });
    }

    /// Kills what took too long to start or to stop.
    fn expire(&mut self, now: Instant) {
        for child in &mut self.children {
            match child.phase {
                Phase::Starting { deadline: Some(at) } if at <= now => child.start_timed_out = true,
                Phase::Stopping { kill_at: Some(at) } if at <= now => {}
                _ => continue,
            }
            child.phase = Phase::Killing;
            self.actions.push_back(Action::Kill(child.key));
        }
    }

    /// Gives out the starts and stops that are possible now: stops in reverse order, one after the
    /// other; then starts in order, one after the other. Only the restarts of a one-for-one
    /// supervisor, which have nothing to do with each other, go on side by side.
    fn advance(&mut self, now: Instant) {
        let stopping = self
            .children
            .iter()
            .any(|child| matches!(child.phase, Phase::Stopping { .. } | Phase::Killing));
        if !stopping && let Some(child) = self.children.iter_mut().rev().find(|c| c.must_stop) {
            let action = match child.policy.shutdown {
                Shutdown::Kill => Action::Kill(child.key),
                Shutdown::After(_) | Shutdown::Unlimited => Action::Stop(child.key),
            };
            child.phase = match child.policy.shutdown {
                Shutdown::Kill => Phase::Killing,
                Shutdown::After(limit) => Phase::Stopping {
                    kill_at: now.checked_add(limit),
                },
                Shutdown::Unlimited => Phase::Stopping { kill_at: None },
            };
            self.actions.push_back(action);
        }
        match &self.mode {
            Mode::Idle | Mode::Ended => {}
            Mode::Booting | Mode::Running => self.start_due(now),
            Mode::Ending(reason) => {
                if self.children.iter().all(|child| !child.is_alive()) {
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

    /// Whether children behind this one must wait with their start.
    fn blocks(child: &Child) -> bool {
        match child.phase {
            Phase::Down => matches!(child.want, Want::Up { .. }),
            _ => Self::is_starting(child),
        }
    }

    fn is_starting(child: &Child) -> bool {
        match child.phase {
            Phase::Starting { .. } => true,
            Phase::Killing => child.start_timed_out,
            Phase::Down | Phase::Up { .. } | Phase::Stopping { .. } => false,
        }
    }

    /// Whether nobody may be started now: somebody is to be stopped first, or is starting, be it one
    /// further back that was added or restarted by hand.
    fn holds_starts(&self) -> bool {
        let busy = |child: &Child| child.must_stop || Self::is_starting(child);
        self.children.iter().any(busy)
    }

    /// When the next start becomes possible by the passing of time alone.
    fn next_start(&self) -> Option<Instant> {
        let waiting = |child: &Child| match (child.phase, child.want) {
            (Phase::Down, Want::Up { not_before }) => Some(not_before),
            _ => None,
        };
        if self.is_side_by_side() {
            return self.children.iter().filter_map(waiting).min();
        }
        if self.holds_starts() || !matches!(self.mode, Mode::Booting | Mode::Running) {
            return None;
        }
        self.children
            .iter()
            .find(|child| Self::blocks(child))
            .and_then(waiting)
    }

    fn start_due(&mut self, now: Instant) {
        let side_by_side = self.is_side_by_side();
        if !side_by_side && self.holds_starts() {
            return;
        }
        for child in &mut self.children {
            if let (Phase::Down, Want::Up { not_before }) = (child.phase, child.want)
                && not_before <= now
            {
                let deadline = child
                    .policy
                    .start_timeout
                    .and_then(|limit| now.checked_add(limit));
                child.phase = Phase::Starting { deadline };
                self.actions.push_back(Action::Start(child.key));
            }
            if !side_by_side && Self::blocks(child) {
                return;
            }
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
