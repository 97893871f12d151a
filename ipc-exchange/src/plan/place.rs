//! The plan itself: jobs, workers, and who gets what.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::table::{Phase, Sent, Table, Worker};
use super::waiting::Waiting;
use super::{Action, Ending, Event, JobKey, Reply, Spec, WorkerKey};

/// How many jobs a worker may hold, recalled ones included.
pub(crate) const SLOTS: usize = 128;

/// How much work a worker is given ahead. Long enough to hide a wake-up, short enough that a job
/// behind others is not noticeably late.
const AHEAD: Duration = Duration::from_micros(200);

/// How many bytes of arguments a worker is given ahead: more would not fit into its channel, and not
/// into a processor's cache.
const AHEAD_LEN: usize = 256 * 1024;

/// Starts that may fail in a row, without a worker alive, before the waiting jobs are given up.
const FAILED_STARTS_MAX: u32 = 3;

/// When to stop because of failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Halt {
    /// Go on whatever happens.
    #[default]
    Never,
    /// After this many failures, cancel what has not begun and let the rest finish.
    Soon(u64),
    /// After this many failures, cancel everything.
    Now(u64),
    /// As `Soon`, once at least this percentage of the tasks that have ended, and three, failed.
    SoonPercent(u8),
    /// As `Now`, once at least this percentage of the tasks that have ended, and three, failed.
    NowPercent(u8),
}

#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Workers alive at any time, at most.
    pub(crate) limit: usize,
    /// Jobs a worker may answer before it is replaced.
    pub(crate) tasks_max: Option<u64>,
    /// How old a worker may be when it is given a job.
    pub(crate) age_max: Option<Duration>,
    /// Whether a worker is sent jobs before it has answered for the one it runs.
    pub(crate) prefetch: bool,
    /// Deaths of workers that one job may cause, whatever its retries.
    pub(crate) deaths_max: u32,
    /// How long before a job is tried again; doubled with every attempt.
    pub(crate) backoff: Duration,
    /// How long a task that is asked to stop has before SIGTERM.
    pub(crate) ask_grace: Duration,
    /// How long a worker has after SIGTERM before SIGKILL.
    pub(crate) terminate_grace: Duration,
    /// When failures stop everything.
    pub(crate) halt: Halt,
}

#[derive(Debug)]
pub(crate) enum Place {
    Waiting { ticket: u64 },
    Sent { worker: WorkerKey, seq: u64 },
}

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) spec: Spec,
    pub(crate) place: Place,
    /// Times it was begun.
    pub(crate) attempt: u32,
    /// How it ends as soon as it can be stopped.
    pub(crate) end_as: Option<Ending>,
}

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) config: Config,
    pub(crate) jobs: Vec<Option<Job>>,
    pub(crate) jobs_len: usize,
    pub(crate) waiting: Waiting,
    /// Jobs in `waiting` whose ticket is valid.
    pub(crate) waiting_len: usize,
    pub(crate) workers: Table,
    pub(crate) deadlines: BTreeSet<(Instant, JobKey)>,
    /// Jobs alive that have a time-out.
    pub(crate) timed: usize,
    /// Workers with room, and how much: empty between two calls of `fill`.
    takers: Vec<(WorkerKey, usize)>,
    /// How long jobs take, as a moving average in nanoseconds; 0 while unknown.
    ran_ns: u64,
    failed_starts: u32,
    start_after: Option<Instant>,
    closing: bool,
    halted: bool,
    pub(crate) ended: u64,
    pub(crate) failures: u64,
}

impl Plan {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            jobs: Vec::new(),
            jobs_len: 0,
            waiting: Waiting::default(),
            waiting_len: 0,
            workers: Table::default(),
            deadlines: BTreeSet::new(),
            timed: 0,
            takers: Vec::new(),
            ran_ns: 0,
            failed_starts: 0,
            start_after: None,
            closing: false,
            halted: false,
            ended: 0,
            failures: 0,
        }
    }

    /// Takes in one event. The actions are to be carried out, in order, before anything else is
    /// told to the plan; [`settle`](Self::settle) is to be called after the last event of a batch.
    pub(crate) fn handle(&mut self, event: Event, now: Instant, out: &mut Vec<Action>) {
        match event {
            Event::Submitted { job, spec } => self.submitted(job, spec, out),
            Event::Cancel { job } => self.end_early(job, Ending::Cancelled, out),
            Event::Ready { worker } => self.ready(worker, now),
            Event::Replied {
                worker,
                seq,
                reply,
                ran,
            } => self.replied(worker, seq, reply, ran, now, out),
            Event::Skipped { worker, seq } => self.skipped(worker, seq, now, out),
            Event::Recalled {
                worker,
                seq,
                recalled,
            } => self.recalled(worker, seq, recalled, now, out),
            Event::Exited { worker, begun } => self.exited(worker, begun, now, out),
            Event::Worn { worker } => self.retire(worker, out),
            Event::Broken { worker } => self.broken(worker, now, out),
            Event::Limit { limit } => self.limited(limit.max(1), out),
            Event::Close => self.closing = true,
            Event::CancelAll => self.cancel_all(true, out),
        }
    }

    /// Lets due time-outs act, or if there are none places what can be placed. To be called again
    /// until it adds no action.
    pub(crate) fn settle(&mut self, now: Instant, out: &mut Vec<Action>) {
        self.expire(now, out);
        if !out.is_empty() {
            // What is recalled must be known before anything else is placed.
            return;
        }
        self.waiting.mature(now);
        self.start_workers(now, out);
        self.fill(now, out);
        self.steal(now, out);
        if self.closing && self.jobs_len == 0 {
            for key in self.workers.keys() {
                self.retire(key, out);
            }
        }
        self.dismiss(now, out);
    }

    /// Whether it was closed and everything has ended.
    pub(crate) fn is_done(&self) -> bool {
        self.closing && self.jobs_len == 0 && self.workers.len() == 0
    }

    /// How long jobs take, as a moving average.
    pub(crate) fn ran(&self) -> Duration {
        Duration::from_nanos(self.ran_ns)
    }

    /// When [`settle`](Self::settle) is to be called even if nothing happens.
    pub(crate) fn next_wake(&self, now: Instant) -> Option<Instant> {
        let mut next = self.deadlines.first().map(|(when, _)| *when);
        let mut sooner = |when: Option<Instant>| {
            if let Some(when) = when {
                next = Some(next.map_or(when, |next: Instant| next.min(when)));
            }
        };
        sooner(self.waiting.next_due());
        if self.waiting_len > 0 {
            sooner(self.start_after);
        }
        let idle = self.waiting_len == 0 && self.has_idle();
        for (_, worker) in self.workers.iter() {
            sooner(self.worker_wake(worker));
            if idle && worker.held > 1 && worker.phase == Phase::Live {
                sooner(Some(worker.steal_from));
            }
        }
        // Never before now: a time in the past would only spin.
        next.map(|when| when.max(now))
    }

    fn submitted(&mut self, key: JobKey, spec: Spec, out: &mut Vec<Action>) {
        if self.halted {
            out.push(Action::End {
                job: key,
                ending: Ending::Cancelled,
            });
            return;
        }
        if self.jobs.len() <= key.0 {
            self.jobs.resize_with(key.0 + 1, || None);
        }
        let ticket = self.waiting.push_back(key, spec.priority);
        self.waiting_len += 1;
        self.jobs_len += 1;
        self.timed += usize::from(spec.timeout.is_some());
        if let Some(deadline) = spec.deadline {
            self.deadlines.insert((deadline, key));
        }
        debug_assert!(self.jobs[key.0].is_none(), "the key is in use");
        self.jobs[key.0] = Some(Job {
            spec,
            place: Place::Waiting { ticket },
            attempt: 0,
            end_as: None,
        });
    }

    fn ready(&mut self, key: WorkerKey, now: Instant) {
        self.failed_starts = 0;
        self.start_after = None;
        if let Some(worker) = self.workers.get_mut(key) {
            worker.was_ready = true;
            worker.progressed(now);
            if worker.phase == Phase::Starting {
                worker.phase = Phase::Live;
            }
        }
    }

    fn replied(
        &mut self,
        key: WorkerKey,
        seq: u64,
        reply: Reply,
        ran: Duration,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let Some(worker) = self.workers.get_mut(key) else {
            return;
        };
        let valid = seq == worker.first_seq && worker.window.front().is_some_and(|s| !s.recalled);
        if !valid {
            self.broken(key, now, out);
            return;
        }
        let sent = worker.window.pop_front();
        worker.first_seq += 1;
        worker.held -= 1;
        worker.held_len -= sent.map_or(0, |sent| sent.len);
        worker.progressed(now);
        worker.answered += 1;
        let verdict = worker.verdict.take();
        if let Phase::Stopping { force, .. } = worker.phase
            && force == super::Force::Ask
        {
            worker.phase = Phase::Live;
        }
        let ran = u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.ran_ns = match self.ran_ns {
            0 => ran,
            old => (old / 8 * 7).saturating_add(ran / 8).max(1),
        };
        if let Some(Sent { job, .. }) = sent {
            let asked = self.jobs[job.0].as_ref().and_then(|job| job.end_as);
            let ending = verdict.or(asked).unwrap_or(Ending::Replied);
            self.end(job, ending, out);
            if ending != Ending::Replied || reply != Reply::Ok {
                self.failed(ending, out);
            }
        }
        let worn = self.is_worn(key, now);
        if worn {
            self.retire(key, out);
        }
        self.front_changed(key, now, out);
    }

    fn skipped(&mut self, key: WorkerKey, seq: u64, now: Instant, out: &mut Vec<Action>) {
        let Some(worker) = self.workers.get_mut(key) else {
            return;
        };
        if seq != worker.first_seq || !worker.window.front().is_some_and(|s| s.recalled) {
            self.broken(key, now, out);
            return;
        }
        worker.window.pop_front();
        worker.first_seq += 1;
        worker.progressed(now);
        self.front_changed(key, now, out);
    }

    fn exited(&mut self, key: WorkerKey, begun: u64, now: Instant, out: &mut Vec<Action>) {
        let Some(mut worker) = self.workers.remove(key) else {
            return;
        };
        let first_seq = worker.first_seq;
        let mut verdict = worker.verdict.take();
        let mut unbegun = Vec::new();
        for (index, sent) in worker.window.iter().enumerate() {
            if sent.recalled {
                continue;
            }
            if first_seq + index as u64 > begun {
                unbegun.push(sent.job);
            } else {
                self.died(sent.job, key, verdict.take(), now, out);
            }
        }
        // Backwards, so that they keep their order at the front.
        for job in unbegun.into_iter().rev() {
            self.put_back(job, out);
        }
        if !worker.was_ready && worker.phase != Phase::Retiring {
            self.start_failed(now, out);
        }
    }

    /// The worker running this job died.
    fn died(
        &mut self,
        key: JobKey,
        worker: WorkerKey,
        verdict: Option<Ending>,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let Some(job) = self.jobs.get_mut(key.0).and_then(Option::as_mut) else {
            return;
        };
        let ending = verdict.or(job.end_as);
        let again = job.attempt <= job.spec.retries && job.attempt < self.config.deaths_max;
        if ending.is_none() && again {
            let wait = self.config.backoff * 2u32.saturating_pow(job.attempt.saturating_sub(1));
            let ticket = self.waiting.delay(key, job.spec.priority, now + wait);
            job.place = Place::Waiting { ticket };
            self.waiting_len += 1;
            return;
        }
        let ending = ending.unwrap_or(Ending::Lost { worker });
        self.end(key, ending, out);
        self.failed(ending, out);
    }

    /// A job that was sent and not begun waits again, ahead of the others.
    pub(crate) fn put_back(&mut self, key: JobKey, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get_mut(key.0).and_then(Option::as_mut) else {
            return;
        };
        if let Some(ending) = job.end_as {
            self.end(key, ending, out);
            return;
        }
        if self.halted {
            self.end(key, Ending::Cancelled, out);
            return;
        }
        job.attempt -= 1;
        let ticket = self.waiting.push_front(key, job.spec.priority);
        job.place = Place::Waiting { ticket };
        self.waiting_len += 1;
    }

    fn start_failed(&mut self, now: Instant, out: &mut Vec<Action>) {
        self.failed_starts += 1;
        let wait = Duration::from_millis(10) * 2u32.pow(self.failed_starts.min(7) - 1);
        let alive = self.workers.iter().any(|(_, worker)| worker.was_ready);
        if alive || self.failed_starts < FAILED_STARTS_MAX {
            self.start_after = Some(now + wait);
            return;
        }
        self.failed_starts = 0;
        self.start_after = None;
        while let Some(job) = self.pop_waiting() {
            self.end(job, Ending::NoWorker, out);
        }
    }

    /// Counts a failure and applies the policy on failures.
    fn failed(&mut self, ending: Ending, out: &mut Vec<Action>) {
        if ending == Ending::Cancelled {
            return;
        }
        self.failures += 1;
        let percent = |limit: u8| {
            self.failures >= 3 && self.failures * 100 >= u64::from(limit) * self.ended.max(1)
        };
        let (hit, running) = match self.config.halt {
            Halt::Never => (false, false),
            Halt::Soon(limit) => (self.failures >= limit, false),
            Halt::Now(limit) => (self.failures >= limit, true),
            Halt::SoonPercent(limit) => (percent(limit), false),
            Halt::NowPercent(limit) => (percent(limit), true),
        };
        if hit && !self.halted {
            self.halted = true;
            self.cancel_all(running, out);
        }
    }

    /// Starts workers for jobs that no idle worker can take.
    fn start_workers(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.start_after.is_some_and(|when| when > now) {
            return;
        }
        let idle = self
            .workers
            .iter()
            .filter(|(_, w)| w.takes_jobs() && w.held == 0);
        let wanted = self.waiting_len.saturating_sub(idle.count());
        let room = self.config.limit.saturating_sub(self.workers.len());
        // After a failed start one is tried, not many.
        let most = if self.failed_starts > 0 { 1 } else { room };
        for _ in 0..wanted.min(room).min(most) {
            let worker = self.workers.insert(Worker::new(now));
            out.push(Action::Spawn { worker });
        }
    }

    /// Gives waiting jobs to workers with room: one to each before a second to any.
    fn fill(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.waiting_len == 0 {
            return;
        }
        let mut takers = std::mem::take(&mut self.takers);
        for (key, worker) in self.workers.iter() {
            let room = self.room(worker);
            if room > worker.held {
                takers.push((key, room));
            }
        }
        self.deal(&mut takers, now, out);
        takers.clear();
        self.takers = takers;
    }

    fn deal(&mut self, takers: &mut Vec<(WorkerKey, usize)>, now: Instant, out: &mut Vec<Action>) {
        let mut level = 0;
        while !takers.is_empty() {
            let mut index = 0;
            while index < takers.len() {
                let (key, room) = takers[index];
                let worker = self.workers.get(key);
                let (held, len) = worker.map_or((usize::MAX, 0), |w| (w.held, w.held_len));
                if held >= room || (held > 1 && len >= AHEAD_LEN) {
                    takers.swap_remove(index);
                    continue;
                }
                index += 1;
                if held > level {
                    continue;
                }
                let Some(job) = self.pop_waiting() else {
                    return;
                };
                self.send(key, job, now, out);
            }
            level += 1;
        }
    }

    /// How many jobs a worker may hold now.
    fn room(&self, worker: &Worker) -> usize {
        if !worker.takes_jobs() {
            return 0;
        }
        let ahead = match (self.config.prefetch, self.ran_ns) {
            (false, _) => 0,
            (true, 0) => 1,
            (true, ran) => (AHEAD.as_nanos() as u64 / ran).clamp(1, SLOTS as u64 - 1) as usize,
        };
        let depth = if worker.phase == Phase::Starting {
            1
        } else {
            1 + ahead
        };
        let recalled = worker.window.len() - worker.held;
        let left = self.config.tasks_max.map_or(usize::MAX, |max| {
            usize::try_from(max.saturating_sub(worker.answered)).unwrap_or(usize::MAX)
        });
        depth.min(SLOTS - recalled).min(left)
    }

    fn send(&mut self, key: WorkerKey, job_key: JobKey, now: Instant, out: &mut Vec<Action>) {
        let worker = self.workers.get_mut(key).expect("a taker is in the table");
        let seq = worker.next_seq();
        if worker.held == 0 {
            worker.progressed(now);
        }
        let job = self.jobs[job_key.0].as_mut().expect("a waiting job exists");
        worker.window.push_back(Sent {
            job: job_key,
            len: job.spec.len,
            recalled: false,
        });
        worker.held += 1;
        worker.held_len += job.spec.len;
        job.attempt += 1;
        job.place = Place::Sent { worker: key, seq };
        out.push(Action::Send {
            worker: key,
            job: job_key,
            seq,
            attempt: job.attempt,
        });
    }

    /// Takes jobs back from behind a long one when a worker is idle.
    fn steal(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.waiting_len > 0 || !self.has_idle() {
            return;
        }
        let idle = self.workers.iter().filter(|(_, worker)| worker.is_idle());
        let mut wanted = idle.count();
        for (key, worker) in self.workers.iter() {
            let stuck = worker.held > 1 && now >= worker.steal_from;
            if !stuck || wanted == 0 {
                continue;
            }
            let last = worker.window.iter().rposition(|sent| !sent.recalled);
            if let Some(index) = last.filter(|index| *index > 0) {
                out.push(Action::Recall {
                    worker: key,
                    seq: worker.first_seq + index as u64,
                });
                wanted -= 1;
            }
        }
    }

    fn has_idle(&self) -> bool {
        self.workers.iter().any(|(_, worker)| worker.is_idle())
    }

    fn is_worn(&self, key: WorkerKey, now: Instant) -> bool {
        self.workers.get(key).is_some_and(|worker| {
            self.config
                .tasks_max
                .is_some_and(|max| worker.answered >= max)
                || self
                    .config
                    .age_max
                    .is_some_and(|max| now >= worker.born + max)
        })
    }

    pub(crate) fn pop_waiting(&mut self) -> Option<JobKey> {
        loop {
            let (ticket, key) = self.waiting.pop()?;
            let job = self.jobs.get(key.0).and_then(Option::as_ref);
            if job
                .is_some_and(|job| matches!(job.place, Place::Waiting { ticket: t } if t == ticket))
            {
                self.waiting_len -= 1;
                return Some(key);
            }
        }
    }

    /// The one place where a job leaves.
    pub(crate) fn end(&mut self, key: JobKey, ending: Ending, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get_mut(key.0).and_then(Option::take) else {
            return;
        };
        self.jobs_len -= 1;
        self.ended += 1;
        self.timed -= usize::from(job.spec.timeout.is_some());
        if let Some(deadline) = job.spec.deadline {
            self.deadlines.remove(&(deadline, key));
        }
        out.push(Action::End { job: key, ending });
    }
}
