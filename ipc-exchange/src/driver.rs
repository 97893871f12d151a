//! The exchange's own thread: events to the plan, the plan's actions to the workers.
//!
//! Thin on purpose: what to do is decided in [`plan`](crate::plan), how to wait is the selector's
//! business, and how bytes become messages the duct's.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ipc_dispatch::{AlarmId, Control as Keep, Key, Registry, SourceId};
use ipc_marshal::{TryRecvError, TrySendError};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use slab::Slab;

use crate::exchange::{Shared, Submission};
use crate::launch::{Control, Launch};
use crate::outcome::{Collector, NO_KEY, Outcome, Sink, Slot, between, lock};
use crate::plan::{Action, Ending, Event, Force, JobKey, Plan, Reply, WorkerKey};
use crate::sys::Page;
use crate::wire::{Finished, FromWorker, Payload, Role, Run, ToWorker};
use crate::{Cause, Exit, TaskId};

/// A job that has not ended.
struct Job {
    submission: Submission,
    attempt: u32,
    pid: Option<u32>,
    sent: Instant,
}

/// A worker's process as long as it is not reaped and read to its end.
struct Worker {
    key: Key<Control>,
    pid: u32,
    child: Option<SourceId>,
    page: Page,
    /// Jobs to be sent with the next frame, and frames that found no room.
    batch: Vec<Run>,
    unsent: VecDeque<ToWorker>,
    /// The last sequence numbers that were answered and sent.
    answered: u64,
    sent: u64,
    exit: Option<Exit>,
    ended: bool,
}

/// What a selector's handlers leave for [`Driver::pump`].
enum Incoming {
    Plan(Event),
    Done {
        worker: WorkerKey,
        seq: u64,
        ran_ns: u64,
        result: Finished,
    },
    Gone {
        worker: WorkerKey,
    },
}

/// The state of the exchange's selector.
pub(crate) struct Driver {
    plan: Plan,
    jobs: Slab<Job>,
    workers: Vec<Option<Worker>>,
    launch: Launch,
    initializer: Option<(TaskId, Payload)>,
    shared: Arc<Shared>,
    incoming: VecDeque<Incoming>,
    actions: Vec<Action>,
    /// The reply or exit that the event being handled is about.
    reply: Option<(Finished, Duration)>,
    exit: Exit,
    start_error: String,
    alarm: Option<(AlarmId, Instant)>,
    /// Whether a pump is due in this turn.
    deferred: bool,
    ended: usize,
}

impl Driver {
    pub(crate) fn new(
        plan: Plan,
        launch: Launch,
        initializer: Option<(TaskId, Payload)>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            plan,
            jobs: Slab::new(),
            workers: Vec::new(),
            launch,
            initializer,
            shared,
            incoming: VecDeque::new(),
            actions: Vec::new(),
            reply: None,
            exit: Exit::Unknown,
            start_error: String::new(),
            alarm: None,
            deferred: false,
            ended: 0,
        }
    }

    /// Takes in what was submitted since the last time.
    pub(crate) fn take_in(&mut self, registry: &mut Registry<Self>) {
        let submitted = {
            let mut inbox = lock(&self.shared.inbox);
            inbox.is_scheduled = false;
            std::mem::take(&mut inbox.queue)
        };
        let now = Instant::now();
        for submission in submitted {
            let spec = submission.spec;
            let entry = self.jobs.vacant_entry();
            let job = JobKey(entry.key());
            if let Sink::Slot(slot) = &submission.sink {
                // Relaxed: read on this thread only, by what was posted later.
                slot.key.store(job.0, Ordering::Relaxed);
            }
            entry.insert(Job {
                submission,
                attempt: 0,
                pid: None,
                sent: now,
            });
            self.tell(Event::Submitted { job, spec }, registry);
        }
        self.pump(registry);
    }

    /// Cancels one job.
    pub(crate) fn cancel(&mut self, slot: &Slot, registry: &mut Registry<Self>) {
        let key = slot.key.load(Ordering::Relaxed);
        if key != NO_KEY {
            self.event(Event::Cancel { job: JobKey(key) }, registry);
        }
    }

    /// Cancels the jobs of a map or queue that was dropped.
    pub(crate) fn cancel_collected(
        &mut self,
        collector: &Arc<Collector>,
        registry: &mut Registry<Self>,
    ) {
        let is_of = |job: &Job| matches!(&job.submission.sink, Sink::Collector(other, _) if Arc::ptr_eq(other, collector));
        let jobs = self.jobs.iter().filter(|(_, job)| is_of(job));
        let keys: Vec<_> = jobs.map(|(key, _)| JobKey(key)).collect();
        for job in keys {
            self.tell(Event::Cancel { job }, registry);
        }
        self.pump(registry);
    }

    /// Tells the plan something from outside and acts on it.
    pub(crate) fn event(&mut self, event: Event, registry: &mut Registry<Self>) {
        self.tell(event, registry);
        self.pump(registry);
    }

    /// The pids of the workers that are alive.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let alive = self.workers.iter().flatten().filter(|w| w.exit.is_none());
        alive.map(|worker| worker.pid).collect()
    }

    /// Handles what came in, places, and sends, until nothing is left to do.
    fn pump(&mut self, registry: &mut Registry<Self>) {
        self.deferred = false;
        loop {
            while let Some(incoming) = self.incoming.pop_front() {
                self.receive(incoming, registry);
            }
            let now = Instant::now();
            let mut actions = std::mem::take(&mut self.actions);
            self.plan.settle(now, &mut actions);
            let settled = actions.is_empty();
            self.carry_out(actions, registry);
            if settled && self.incoming.is_empty() {
                break;
            }
        }
        for index in 0..self.workers.len() {
            self.send_batch(WorkerKey(index), registry);
        }
        if self.ended > 0 {
            self.shared.release(std::mem::take(&mut self.ended));
        }
        self.set_alarm(registry);
        if self.plan.is_done() {
            registry.stop();
        }
    }

    fn receive(&mut self, incoming: Incoming, registry: &mut Registry<Self>) {
        match incoming {
            Incoming::Plan(event) => self.tell(event, registry),
            Incoming::Done {
                worker,
                seq,
                ran_ns,
                result,
            } => {
                let reply = match &result {
                    Finished::Returned { failed: false, .. } => Reply::Ok,
                    Finished::Returned { .. } => Reply::Err,
                    _ => Reply::Panicked,
                };
                let ran = Duration::from_nanos(ran_ns);
                self.answered(worker, seq);
                self.reply = Some((result, ran));
                let event = Event::Replied {
                    worker,
                    seq,
                    reply,
                    ran,
                };
                self.tell(event, registry);
                self.reply = None;
            }
            Incoming::Gone { worker } => self.gone(worker, registry),
        }
    }

    fn tell(&mut self, event: Event, registry: &mut Registry<Self>) {
        if let Event::Skipped { worker, seq } = event {
            self.answered(worker, seq);
        }
        let mut actions = std::mem::take(&mut self.actions);
        self.plan.handle(event, Instant::now(), &mut actions);
        self.carry_out(actions, registry);
    }

    fn answered(&mut self, key: WorkerKey, seq: u64) {
        if let Some(Some(worker)) = self.workers.get_mut(key.0) {
            worker.answered = worker.answered.max(seq);
        }
    }

    /// Carries actions out in order; what they lead to comes before the rest.
    fn carry_out(&mut self, mut actions: Vec<Action>, registry: &mut Registry<Self>) {
        let mut index = 0;
        while let Some(action) = actions.get(index).copied() {
            index += 1;
            match action {
                Action::Spawn { worker } => self.start(worker, registry),
                Action::Send {
                    worker,
                    job,
                    seq,
                    attempt,
                } => self.queue(worker, job, seq, attempt),
                Action::Recall { worker, seq } => {
                    let recalled = match self.workers.get(worker.0) {
                        Some(Some(live)) => live.page.recall(seq),
                        _ => false,
                    };
                    let mut more = Vec::new();
                    let event = Event::Recalled {
                        worker,
                        seq,
                        recalled,
                    };
                    self.plan.handle(event, Instant::now(), &mut more);
                    actions.splice(index..index, more);
                }
                Action::Stop { worker, force } => self.stop(worker, force),
                Action::Retire { worker } => self.dismiss(worker, registry),
                Action::End { job, ending } => self.end(job, ending),
            }
        }
        actions.clear();
        self.actions = actions;
    }

    fn queue(&mut self, key: WorkerKey, job: JobKey, seq: u64, attempt: u32) {
        let Some(Some(worker)) = self.workers.get_mut(key.0) else {
            return;
        };
        let job = &mut self.jobs[job.0];
        job.attempt = attempt;
        job.pid = Some(worker.pid);
        job.sent = Instant::now();
        worker.page.publish(seq);
        worker.sent = seq;
        worker.batch.push(Run {
            seq,
            task: job.submission.task,
            job: job.submission.number,
            attempt,
            argument: Arc::clone(&job.submission.argument),
        });
    }

    fn send_batch(&mut self, key: WorkerKey, registry: &mut Registry<Self>) {
        let Some(Some(worker)) = self.workers.get_mut(key.0) else {
            return;
        };
        if worker.batch.is_empty() {
            return;
        }
        let batch = ToWorker::Run(std::mem::take(&mut worker.batch));
        worker.unsent.push_back(batch);
        if worker.unsent.len() > 1 {
            return;
        }
        let source = worker.key;
        let Some(duct) = registry.get_mut(source) else {
            return;
        };
        if worker.write(duct) {
            return;
        }
        let drain = registry.on_writable(source, move |duct: &mut Control, ctx| {
            match ctx.state.workers.get_mut(key.0) {
                Some(Some(worker)) if worker.key.id() == source.id() => {
                    if worker.write(duct) {
                        Keep::Drop
                    } else {
                        Keep::Keep
                    }
                }
                _ => Keep::Drop,
            }
        });
        if drain.is_err() {
            self.incoming
                .push_back(Incoming::Plan(Event::Broken { worker: key }));
        }
    }

    /// Starts a worker's process; if that fails the plan is told as of a process that ended.
    fn start(&mut self, key: WorkerKey, registry: &mut Registry<Self>) {
        if let Err(error) = self.try_start(key, registry) {
            self.start_error = error.to_string();
            let event = Event::Exited {
                worker: key,
                begun: 0,
            };
            self.incoming.push_back(Incoming::Plan(event));
        }
    }

    fn try_start(&mut self, key: WorkerKey, registry: &mut Registry<Self>) -> std::io::Result<()> {
        let page = Page::new()?;
        let extra = page.as_fd().try_clone_to_owned()?;
        let role = Role::Worker {
            initializer: self.initializer.clone(),
        };
        let mut launched = self.launch.start(role, extra)?;
        let pid = launched.child.id();
        let child = registry.on_child(pid, move |status, ctx| {
            let exit = status.map_or(Exit::Unknown, Exit::from);
            ctx.state.exited(key, exit, ctx.registry);
        });
        let child = match child {
            Ok(child) => child,
            Err(error) => {
                launched.child.kill()?;
                launched.child.wait()?;
                return Err(error);
            }
        };
        let source = registry.add(launched.control);
        registry.on_message(source, move |_: &mut Control, message, ctx| {
            ctx.state.message(key, message);
            ctx.state.pump_later(ctx.registry);
        })?;
        if self.workers.len() <= key.0 {
            self.workers.resize_with(key.0 + 1, || None);
        }
        self.workers[key.0] = Some(Worker {
            key: source,
            pid,
            child: Some(child),
            page,
            batch: Vec::new(),
            unsent: VecDeque::new(),
            answered: 0,
            sent: 0,
            exit: None,
            ended: false,
        });
        Ok(())
    }

    /// Pumps once after the handlers of this turn.
    fn pump_later(&mut self, registry: &mut Registry<Self>) {
        if !self.deferred {
            self.deferred = true;
            registry.defer(|ctx| ctx.state.pump(ctx.registry));
        }
    }

    fn message(&mut self, worker: WorkerKey, message: Result<FromWorker, TryRecvError>) {
        let incoming = match message {
            Ok(FromWorker::Ready) => Incoming::Plan(Event::Ready { worker }),
            Ok(FromWorker::Refused(reason)) => {
                self.start_error = reason;
                return;
            }
            Ok(FromWorker::Done {
                seq,
                ran_ns,
                result,
            }) => Incoming::Done {
                worker,
                seq,
                ran_ns,
                result,
            },
            Ok(FromWorker::Skipped { seq }) => Incoming::Plan(Event::Skipped { worker, seq }),
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Decode(_)) => Incoming::Plan(Event::Broken { worker }),
            Err(_) => {
                if let Some(Some(live)) = self.workers.get_mut(worker.0) {
                    live.ended = true;
                    if live.exit.is_none() {
                        // Without its channel it is of no use, if it is not dying already.
                        live.signal(Signal::SIGKILL);
                        return;
                    }
                }
                Incoming::Gone { worker }
            }
        };
        self.incoming.push_back(incoming);
    }

    /// The process was reaped. What it wrote before is still to be read.
    fn exited(&mut self, key: WorkerKey, exit: Exit, registry: &mut Registry<Self>) {
        let Some(Some(worker)) = self.workers.get_mut(key.0) else {
            return;
        };
        worker.exit = Some(exit);
        worker.child = None;
        let source = worker.key;
        loop {
            let message = match registry.get_mut(source).map(|duct| duct.try_recv()) {
                None | Some(Err(TryRecvError::Empty)) => break,
                Some(message) => message,
            };
            let last = message.is_err();
            self.message(key, message);
            if last {
                break;
            }
        }
        self.incoming.push_back(Incoming::Gone { worker: key });
        self.pump(registry);
    }

    fn gone(&mut self, key: WorkerKey, registry: &mut Registry<Self>) {
        let Some(worker) = self.workers.get_mut(key.0).and_then(Option::take) else {
            return;
        };
        registry.close(worker.key);
        let window = worker.answered + 1..=worker.sent;
        let begun = window.rev().find(|seq| worker.page.is_begun(*seq));
        self.exit = worker.exit.unwrap_or(Exit::Unknown);
        let event = Event::Exited {
            worker: key,
            begun: begun.unwrap_or(worker.answered),
        };
        if self.start_error.is_empty() {
            self.start_error = format!("the worker ended before it was ready: {}", self.exit);
        }
        self.tell(event, registry);
    }

    fn stop(&mut self, key: WorkerKey, force: Force) {
        let Some(Some(worker)) = self.workers.get_mut(key.0) else {
            return;
        };
        match force {
            Force::Ask => worker.page.ask(worker.answered + 1),
            Force::Terminate => worker.signal(Signal::SIGTERM),
            Force::Kill => worker.signal(Signal::SIGKILL),
        }
    }

    /// Closes a worker's channel; it ends by itself.
    fn dismiss(&mut self, key: WorkerKey, registry: &mut Registry<Self>) {
        if let Some(Some(worker)) = self.workers.get_mut(key.0) {
            worker.ended = true;
            registry.close(worker.key);
        }
    }

    fn end(&mut self, key: JobKey, ending: Ending) {
        let Some(job) = self.jobs.try_remove(key.0) else {
            return;
        };
        self.ended += 1;
        let now = Instant::now();
        let mut ran = if job.attempt == 0 {
            Duration::ZERO
        } else {
            between(job.sent, now)
        };
        let result = match ending {
            Ending::Replied => match self.reply.take() {
                Some((finished, measured)) => {
                    ran = measured;
                    finished_result(finished)
                }
                None => Err(Cause::Cancelled),
            },
            Ending::Lost { .. } => Err(Cause::Lost { exit: self.exit }),
            Ending::NoWorker => Err(Cause::NoWorker {
                reason: std::mem::take(&mut self.start_error),
            }),
            Ending::TimedOut { running } => Err(Cause::TimedOut { running }),
            Ending::Cancelled => Err(Cause::Cancelled),
        };
        let queued = match job.attempt {
            0 => between(job.submission.at, now),
            _ => between(job.submission.at, job.sent),
        };
        let outcome = Outcome {
            task: job.submission.name,
            task_id: job.submission.task,
            job: job.submission.number,
            attempt: job.attempt,
            pid: job.pid,
            queued,
            ran,
            result,
        };
        job.submission.sink.complete(outcome);
    }

    fn set_alarm(&mut self, registry: &mut Registry<Self>) {
        let Some(due) = self.plan.next_wake(Instant::now()) else {
            return;
        };
        match self.alarm {
            Some((_, set)) if set <= due => return,
            Some((id, _)) => {
                registry.cancel(id);
            }
            None => {}
        }
        let id = registry.alarm_at(due, |ctx| {
            ctx.state.alarm = None;
            ctx.state.pump(ctx.registry);
        });
        self.alarm = Some((id, due));
    }
}

impl Worker {
    /// Writes frames while there is room; answers whether all are written.
    fn write(&mut self, duct: &mut Control) -> bool {
        while let Some(frame) = self.unsent.pop_front() {
            match duct.try_send(frame) {
                Ok(()) => {}
                Err(TrySendError::Full(frame)) => {
                    self.unsent.push_front(frame);
                    return false;
                }
                // The worker is gone or will be; its end tells what became of its jobs.
                Err(_) => self.signal(Signal::SIGKILL),
            }
        }
        true
    }

    /// Signals the worker and what it has started. It has not been reaped, so its number is its own.
    fn signal(&self, signal: Signal) {
        if self.exit.is_none()
            && let Ok(pid) = i32::try_from(self.pid)
        {
            // An error means that it has just ended.
            let _ = killpg(Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        for worker in self.workers.iter().flatten() {
            worker.signal(Signal::SIGKILL);
        }
        for job in self.jobs.drain() {
            let outcome = cancelled(&job.submission);
            job.submission.sink.complete(outcome);
        }
        self.shared.close();
    }
}

/// The outcome of a submission that was never placed.
pub(crate) fn cancelled(submission: &Submission) -> Outcome {
    Outcome {
        task: submission.name,
        task_id: submission.task,
        job: submission.number,
        attempt: 0,
        pid: None,
        queued: submission.at.elapsed(),
        ran: Duration::ZERO,
        result: Err(Cause::Cancelled),
    }
}

fn finished_result(finished: Finished) -> Result<Payload, Cause> {
    match finished {
        Finished::Returned { value, .. } => Ok(value),
        Finished::Panicked {
            message,
            location,
            backtrace,
        } => Err(Cause::Panicked {
            message,
            location,
            backtrace,
        }),
        Finished::BadArgument(reason) => Err(Cause::BadArgument { reason }),
        Finished::BadResult(reason) => Err(Cause::BadResult { reason }),
        Finished::Unknown => Err(Cause::Unknown),
    }
}
