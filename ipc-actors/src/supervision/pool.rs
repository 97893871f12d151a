//! A pool of equal workers as a state machine.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Backoff, ExitReason, Intensity, Shutdown};

/// Names a worker of one pool; never used twice. Smaller is older.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerKey(pub u64);

/// What a pool is told about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// How many workers there shall be.
    pub size: usize,
    /// How many failures are allowed within `period`, and before all are up for the first time; one more and
    /// the pool gives up. It also does if then a worker says why it cannot start
    /// ([`StartFailed`](ExitReason::StartFailed)).
    pub intensity: u32,
    /// The length of the sliding window in which failures are counted.
    pub period: Duration,
    /// How long new workers are put off after failures in a row.
    pub backoff: Backoff,
    /// How long a worker's stop may take.
    pub shutdown: Shutdown,
    /// How long a worker's start may take.
    pub start_timeout: Option<Duration>,
    /// How many workers may be replaced at the same time, at least one.
    pub recycling_max: usize,
}

impl Default for PoolOptions {
    /// One worker; ten failures in ten seconds; one replaced at a time.
    fn default() -> Self {
        Self {
            size: 1,
            intensity: 10,
            period: Duration::from_secs(10),
            backoff: Backoff {
                min: Duration::from_millis(10),
                ..Backoff::default()
            },
            shutdown: Shutdown::default(),
            start_timeout: Some(Duration::from_secs(10)),
            recycling_max: 1,
        }
    }
}

/// What happened to a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolEvent {
    /// Start the workers, all at once.
    Boot,
    /// The worker is up.
    Started(WorkerKey),
    /// The worker ended, or could not be started.
    Exited(WorkerKey, ExitReason),
    /// The worker shall be replaced: its successor starts first, then it is stopped.
    Recycle(WorkerKey),
    /// Every worker that is there now shall be replaced, the oldest first.
    Reload,
    /// There shall be this many workers. Of too many the oldest are stopped.
    Resize(usize),
    /// Time passed; see [`Pool::poll_timeout`].
    Tick,
    /// Stop all workers side by side, then end with this reason.
    Stop(ExitReason),
    /// Kill all workers, then end with this reason.
    Kill(ExitReason),
}

/// What is to be done to a pool's workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolAction {
    /// Start a worker.
    Start(WorkerKey),
    /// The worker gets no more work: it is about to be stopped.
    Retire(WorkerKey),
    /// Ask the worker to stop.
    Stop(WorkerKey),
    /// End the worker without asking.
    Kill(WorkerKey),
    /// All workers are up, for the first time.
    Ready,
    /// There were too many failures; the pool is about to stop.
    GaveUp,
    /// No worker is left: the pool has ended.
    Ended(ExitReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting { deadline: Option<Instant> },
    Up { since: Instant },
    Stopping { kill_at: Option<Instant> },
    Killing { timed_out: bool },
}

#[derive(Debug)]
struct Worker {
    key: WorkerKey,
    phase: Phase,
    /// It is to be replaced, and a successor counts in its place.
    leaving: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Mode {
    Idle,
    Booting,
    Running,
    Ending(ExitReason),
    Ended,
}

/// A pool of equal workers: keeps as many as are wanted, replaces those that fail, and those that
/// have served long enough without ever having fewer.
#[derive(Debug)]
pub struct Pool {
    options: PoolOptions,
    intensity: Intensity,
    mode: Mode,
    /// Oldest first.
    workers: Vec<Worker>,
    /// Workers that wait to be replaced.
    recycle: VecDeque<WorkerKey>,
    next_key: u64,
    failures: u32,
    /// Failures before all were up for the first time.
    boot_failures: u32,
    not_before: Option<Instant>,
    actions: VecDeque<PoolAction>,
    random: u32,
}

impl Pool {
    /// A pool without workers. `seed` feeds the random part of the backoff.
    #[must_use]
    pub fn new(options: PoolOptions, seed: u32) -> Self {
        Self {
            options,
            intensity: Intensity::new(options.intensity, options.period),
            mode: Mode::Idle,
            workers: Vec::new(),
            recycle: VecDeque::new(),
            next_key: 0,
            failures: 0,
            boot_failures: 0,
            not_before: None,
            actions: VecDeque::new(),
            random: seed | 1,
        }
    }

    /// How many workers there shall be.
    #[must_use]
    pub fn size(&self) -> usize {
        self.options.size
    }

    /// How many workers are up and stay.
    #[must_use]
    pub fn up(&self) -> usize {
        let up = |worker: &&Worker| matches!(worker.phase, Phase::Up { .. }) && !worker.leaving;
        self.workers.iter().filter(up).count()
    }

    /// How many workers exist in any form.
    #[must_use]
    pub fn len(&self) -> usize {
        self.workers.len()
    }

    /// Whether no worker exists.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<PoolAction> {
        self.actions.pop_front()
    }

    /// When to send [`PoolEvent::Tick`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let limits = self.workers.iter().filter_map(|worker| match worker.phase {
            Phase::Starting { deadline } => deadline,
            Phase::Stopping { kill_at } => kill_at,
            Phase::Up { .. } | Phase::Killing { .. } => None,
        });
        let working = matches!(self.mode, Mode::Booting | Mode::Running);
        let start = self.not_before.filter(|_| working && self.missing() > 0);
        limits.chain(start).min()
    }

    /// Treats workers as this says from now on. The size, which [`PoolEvent::Resize`] changes, and how failures
    /// are counted stay.
    pub fn change(&mut self, options: PoolOptions) {
        let now = self.options;
        self.options = PoolOptions {
            size: now.size,
            intensity: now.intensity,
            period: now.period,
            ..options
        };
    }

    /// Takes in what happened at `now`.
    pub fn handle(&mut self, event: PoolEvent, now: Instant) {
        if self.mode == Mode::Ended {
            return;
        }
        match event {
            PoolEvent::Boot if self.mode == Mode::Idle => self.mode = Mode::Booting,
            PoolEvent::Boot | PoolEvent::Tick => {}
            PoolEvent::Started(key) => {
                if let Some(worker) = self.worker_mut(key)
                    && matches!(worker.phase, Phase::Starting { .. })
                {
                    worker.phase = Phase::Up { since: now };
                }
            }
            PoolEvent::Exited(key, reason) => self.exited(key, &reason, now),
            PoolEvent::Recycle(key) => self.ask_recycle(key),
            PoolEvent::Reload => {
                let keys: Vec<_> = self.workers.iter().map(|worker| worker.key).collect();
                keys.into_iter().for_each(|key| self.ask_recycle(key));
            }
            PoolEvent::Resize(size) => self.options.size = size,
            PoolEvent::Stop(reason) => self.end(reason),
            PoolEvent::Kill(reason) => {
                self.end(reason);
                for worker in &mut self.workers {
                    if !matches!(worker.phase, Phase::Killing { .. }) {
                        worker.phase = Phase::Killing { timed_out: false };
                        self.actions.push_back(PoolAction::Kill(worker.key));
                    }
                }
            }
        }
        self.expire(now);
        self.advance(now);
    }

    fn worker_mut(&mut self, key: WorkerKey) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|worker| worker.key == key)
    }

    fn ask_recycle(&mut self, key: WorkerKey) {
        let known = self
            .workers
            .iter()
            .any(|worker| worker.key == key && !worker.leaving);
        if known && !self.recycle.contains(&key) {
            self.recycle.push_back(key);
        }
    }

    fn exited(&mut self, key: WorkerKey, reason: &ExitReason, now: Instant) {
        let Some(index) = self.workers.iter().position(|worker| worker.key == key) else {
            return;
        };
        let worker = self.workers.remove(index);
        self.recycle.retain(|&waiting| waiting != key);
        let reason = match worker.phase {
            Phase::Killing { timed_out: true } => &ExitReason::StartTimeout,
            _ => reason,
        };
        let failed = match worker.phase {
            Phase::Starting { .. } | Phase::Killing { timed_out: true } => true,
            Phase::Up { since } => {
                if now.saturating_duration_since(since) >= self.options.backoff.stable {
                    self.failures = 0;
                }
                !reason.is_clean()
            }
            Phase::Stopping { .. } | Phase::Killing { .. } => false,
        };
        if !failed || matches!(self.mode, Mode::Ending(_)) {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.mode == Mode::Booting {
            // What cannot start for a reason that it gives itself is not tried again; and a pool that never was
            // up does not try for ever, however slowly.
            let is_final = matches!(reason, ExitReason::StartFailed(_));
            self.boot_failures = self.boot_failures.saturating_add(1);
            if is_final || self.boot_failures > self.options.intensity {
                self.actions.push_back(PoolAction::GaveUp);
                self.end(reason.clone());
                return;
            }
        }
        if !self.intensity.record(now) {
            self.actions.push_back(PoolAction::GaveUp);
            self.end(ExitReason::Shutdown);
            return;
        }
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        let delay = self.options.backoff.delay(self.failures, self.random);
        self.not_before = now.checked_add(delay);
    }

    fn end(&mut self, reason: ExitReason) {
        if !matches!(self.mode, Mode::Ending(_)) {
            self.mode = Mode::Ending(reason);
        }
    }

    fn expire(&mut self, now: Instant) {
        for worker in &mut self.workers {
            let timed_out = match worker.phase {
                Phase::Starting { deadline: Some(at) } if at <= now => true,
                Phase::Stopping { kill_at: Some(at) } if at <= now => false,
                _ => continue,
            };
            worker.phase = Phase::Killing { timed_out };
            self.actions.push_back(PoolAction::Kill(worker.key));
        }
    }

    /// Workers that are up or coming up, and stay.
    fn staying(&self) -> usize {
        let stays = |worker: &&Worker| {
            !worker.leaving && matches!(worker.phase, Phase::Starting { .. } | Phase::Up { .. })
        };
        self.workers.iter().filter(stays).count()
    }

    fn missing(&self) -> usize {
        // The place of one that took too long to start is free when it is gone: only then is its failure
        // counted, and the next one put off.
        let late = |worker: &&Worker| {
            !worker.leaving && worker.phase == Phase::Killing { timed_out: true }
        };
        let late = self.workers.iter().filter(late).count();
        self.options.size.saturating_sub(self.staying() + late)
    }

    fn advance(&mut self, now: Instant) {
        match &self.mode {
            Mode::Idle | Mode::Ended => return,
            Mode::Ending(reason) => {
                if self.workers.is_empty() {
                    self.actions.push_back(PoolAction::Ended(reason.clone()));
                    self.mode = Mode::Ended;
                }
                let keys: Vec<_> = self.workers.iter().map(|worker| worker.key).collect();
                keys.into_iter().for_each(|key| self.stop(key, now));
                return;
            }
            Mode::Booting | Mode::Running => {}
        }
        let leaving = self.workers.iter().filter(|worker| worker.leaving).count();
        for _ in leaving..self.options.recycling_max.max(1) {
            let Some(key) = self.recycle.pop_front() else {
                break;
            };
            if let Some(worker) = self.worker_mut(key) {
                worker.leaving = true;
            }
        }
        if self.not_before.is_none_or(|at| at <= now) {
            for _ in 0..self.missing() {
                let key = WorkerKey(self.next_key);
                self.next_key += 1;
                let limit = self.options.start_timeout;
                let deadline = limit.and_then(|limit| now.checked_add(limit));
                let phase = Phase::Starting { deadline };
                self.workers.push(Worker {
                    key,
                    phase,
                    leaving: false,
                });
                self.actions.push_back(PoolAction::Start(key));
            }
        }
        let up = self.up();
        if up >= self.options.size {
            // The successors are there: the old ones may go.
            let old: Vec<_> = self
                .workers
                .iter()
                .filter(|worker| worker.leaving)
                .map(|w| w.key)
                .collect();
            old.into_iter().for_each(|key| self.stop(key, now));
            if self.mode == Mode::Booting {
                self.mode = Mode::Running;
                self.actions.push_back(PoolAction::Ready);
            }
        }
        let surplus = self.staying().saturating_sub(self.options.size);
        let oldest: Vec<_> = self
            .workers
            .iter()
            .filter(|w| !w.leaving && matches!(w.phase, Phase::Starting { .. } | Phase::Up { .. }))
            .map(|worker| worker.key)
            .take(surplus)
            .collect();
        oldest.into_iter().for_each(|key| self.stop(key, now));
    }

    fn stop(&mut self, key: WorkerKey, now: Instant) {
        let shutdown = self.options.shutdown;
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        if !matches!(worker.phase, Phase::Starting { .. } | Phase::Up { .. }) {
            return;
        }
        let (phase, action) = match shutdown {
            Shutdown::Kill => (Phase::Killing { timed_out: false }, PoolAction::Kill(key)),
            Shutdown::After(limit) => (
                Phase::Stopping {
                    kill_at: now.checked_add(limit),
                },
                PoolAction::Stop(key),
            ),
            Shutdown::Unlimited => (Phase::Stopping { kill_at: None }, PoolAction::Stop(key)),
        };
        worker.phase = phase;
        self.actions.push_back(PoolAction::Retire(key));
        self.actions.push_back(action);
    }
}
