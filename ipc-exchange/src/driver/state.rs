//! The state of the exchange's selector.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ipc_dispatch::{AlarmId, Registry};
use ipc_marshal::TryRecvError;
use nix::sys::signal::Signal;
use slab::Slab;

use super::cancelled;
use super::ending::{Evidence, Job};
use super::events::{Events, ExchangeEvent, Listeners};
use super::link::{Link, Starting, resident};
use super::snapshot::{Running, Snapshot};
use crate::cgroup::Memory;
use crate::chunk::Part;
use crate::exchange::{Shared, Submission};
use crate::outcome::{Collector, NO_KEY, between};
use crate::plan::{Action, Ending, Event, Force, JobKey, Plan, Reply, WorkerKey};
use crate::wire::{Finished, FromWorker, Run, ToWorker};
use crate::{ExchangeOptions, Exit, Start};

/// What a selector's handlers leave for [`Driver::pump`].
#[derive(Debug)]
enum Incoming {
    Plan(Event),
    Done {
        worker: WorkerKey,
        seq: u64,
        ran_ns: u64,
        result: Finished,
    },
    Item {
        worker: WorkerKey,
        seq: u64,
        value: crate::payload::Payload,
    },
    Part {
        worker: WorkerKey,
        seq: u64,
        part: Part,
    },
    Gone {
        worker: WorkerKey,
    },
}

#[derive(Debug)]
pub(crate) struct Driver {
    plan: Plan,
    jobs: Slab<Job>,
    links: Vec<Option<Link>>,
    starting: Starting,
    listeners: Listeners,
    memory_max: Option<u64>,
    shared: Arc<Shared>,
    incoming: VecDeque<Incoming>,
    actions: Vec<Action>,
    /// What is known about the job whose ending is being handled.
    evidence: Evidence,
    alarm: Option<(AlarmId, Instant)>,
    /// Whether a pump is due in this turn.
    deferred: bool,
    /// Jobs that ended since their room in the backlog was given back.
    ended: usize,
    now: Instant,
}

impl Driver {
    pub(crate) fn new(options: ExchangeOptions, shared: Arc<Shared>) -> Self {
        Self {
            plan: Plan::new(options.config),
            jobs: Slab::new(),
            links: Vec::new(),
            starting: Starting {
                launch: options.launch,
                initializer: options.initializer,
                capture: options.capture,
                forks: options.start == Start::Zygote
                    && cfg!(all(target_os = "linux", not(ipc_portable))),
                zygote: None,
                memory: Memory::new(options.cgroup),
            },
            listeners: Listeners::default(),
            memory_max: options.memory_max,
            shared,
            incoming: VecDeque::new(),
            actions: Vec::new(),
            evidence: Evidence::default(),
            alarm: None,
            deferred: false,
            ended: 0,
            now: Instant::now(),
        }
    }

    /// Takes in what was submitted since the last time.
    pub(crate) fn take_in(&mut self, registry: &mut Registry<Self>) {
        let submitted = self.shared.take();
        self.now = Instant::now();
        for submission in submitted {
            self.accept(submission, registry);
        }
        self.pump(registry);
    }

    fn accept(&mut self, submission: Submission, registry: &mut Registry<Self>) {
        let spec = submission.spec;
        let chunk = submission.sink.is_chunk().then_some(0);
        let entry = self.jobs.vacant_entry();
        let job = JobKey(entry.key());
        if let Some(key) = submission.sink.key() {
            // Relaxed: read on this thread only, by what was posted later.
            key.store(job.0, Ordering::Relaxed);
        }
        entry.insert(Job {
            submission,
            attempt: 0,
            pid: None,
            place: None,
            sent: self.now,
            chunk,
        });
        self.tell(Event::Submitted { job, spec }, registry);
    }

    /// Cancels the job with this key, if it has not ended.
    pub(crate) fn cancel(&mut self, key: usize, registry: &mut Registry<Self>) {
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
        let jobs = self.jobs.iter();
        let jobs = jobs.filter(|(_, job)| job.submission.sink.is_of(collector));
        let keys: Vec<_> = jobs.map(|(key, _)| JobKey(key)).collect();
        for job in keys {
            self.tell(Event::Cancel { job }, registry);
        }
        self.pump(registry);
    }

    /// Lets a streaming job yield more items.
    pub(crate) fn grant(&mut self, key: usize, count: u32, registry: &mut Registry<Self>) {
        let Some((worker, seq)) = self.jobs.get(key).and_then(|job| job.place) else {
            return;
        };
        if let Some(Some(link)) = self.links.get_mut(worker.0)
            && link
                .send(ToWorker::Credit { seq, count }, worker, registry)
                .is_err()
        {
            self.event(Event::Broken { worker }, registry);
        }
    }

    /// Tells the plan something from outside and acts on it.
    pub(crate) fn event(&mut self, event: Event, registry: &mut Registry<Self>) {
        self.now = Instant::now();
        self.tell(event, registry);
        self.pump(registry);
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot {
            waiting: self.plan.waiting_len,
            ended: self.plan.ended,
            failures: self.plan.failures,
            ran: self.plan.ran(),
            workers: Vec::new(),
        };
        for link in self.links.iter().flatten() {
            if link.exit.is_some() {
                continue;
            }
            let front = link.job(link.answered + 1);
            let job = front.and_then(|key| self.jobs.get(key));
            snapshot.workers.push(Running {
                pid: link.pid,
                memory: resident(link.pid),
                task: job.map(|job| job.submission.name),
                job: job.map(|job| job.submission.number),
                since: job.map(|job| between(job.sent, Instant::now())),
                answered: link.answered,
            });
        }
        snapshot
    }

    pub(crate) fn listen(&mut self, capacity: usize) -> Events {
        self.listeners.add(capacity)
    }

    pub(super) fn link(&mut self, key: WorkerKey) -> Option<&mut Link> {
        self.links.get_mut(key.0)?.as_mut()
    }

    /// Handles what came in, places, and sends, until nothing is left to do.
    fn pump(&mut self, registry: &mut Registry<Self>) {
        self.deferred = false;
        loop {
            self.now = Instant::now();
            while let Some(incoming) = self.incoming.pop_front() {
                self.receive(incoming, registry);
            }
            let mut actions = std::mem::take(&mut self.actions);
            self.plan.settle(self.now, &mut actions);
            let settled = actions.is_empty();
            self.carry_out(actions, registry);
            if !settled || !self.incoming.is_empty() {
                continue;
            }
            for index in 0..self.links.len() {
                let worker = WorkerKey(index);
                if let Some(Some(link)) = self.links.get_mut(index)
                    && link.send_batch(worker, registry).is_err()
                {
                    self.incoming
                        .push_back(Incoming::Plan(Event::Broken { worker }));
                }
            }
            if self.incoming.is_empty() {
                break;
            }
        }
        if self.ended > 0 {
            self.shared.release(std::mem::take(&mut self.ended));
        }
        self.set_alarm(registry);
        if self.plan.is_done() {
            drop(self.starting.zygote.take());
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
            } => self.done(worker, seq, Duration::from_nanos(ran_ns), result, registry),
            Incoming::Item { worker, seq, value } => {
                let key = self.link(worker).and_then(|link| link.job(seq));
                if let Some(job) = key.and_then(|key| self.jobs.get(key)) {
                    job.submission.sink.item(value);
                }
            }
            Incoming::Part { worker, seq, part } => {
                let key = self.link(worker).and_then(|link| link.job(seq));
                if let Some(job) = key.and_then(|key| self.jobs.get_mut(key)) {
                    job.chunk = job.chunk.map(|answered| answered.max(part.end()));
                    job.submission.sink.part(job.about(), part);
                }
            }
            Incoming::Gone { worker } => self.gone(worker, registry),
        }
    }

    fn done(
        &mut self,
        worker: WorkerKey,
        seq: u64,
        ran: Duration,
        result: Finished,
        registry: &mut Registry<Self>,
    ) {
        let reply = match &result {
            Finished::Returned { failed: false, .. } => Reply::Ok,
            Finished::Returned { .. } => Reply::Err,
            _ => Reply::Panicked,
        };
        let (memory_max, now) = (self.memory_max, self.now);
        let mut is_worn = false;
        if let Some(Some(link)) = self.links.get_mut(worker.0) {
            link.answered(seq);
            self.evidence.output = link.output_of(seq, registry);
            is_worn = memory_max.is_some_and(|max| link.exceeds(max, now));
        }
        self.evidence.reply = Some((result, ran));
        let event = Event::Replied {
            worker,
            seq,
            reply,
            ran,
        };
        self.tell(event, registry);
        self.evidence.reply = None;
        if is_worn {
            self.tell(Event::Worn { worker }, registry);
        }
    }

    fn tell(&mut self, event: Event, registry: &mut Registry<Self>) {
        if let Event::Skipped { worker, seq } = event
            && let Some(link) = self.link(worker)
        {
            link.answered(seq);
        }
        let mut actions = std::mem::take(&mut self.actions);
        self.plan.handle(event, self.now, &mut actions);
        self.carry_out(actions, registry);
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
                    let recalled = self.link(worker).is_some_and(|link| link.page.recall(seq));
                    let mut more = Vec::new();
                    let event = Event::Recalled {
                        worker,
                        seq,
                        recalled,
                    };
                    self.plan.handle(event, self.now, &mut more);
                    actions.splice(index..index, more);
                }
                Action::Stop { worker, force } => self.stop(worker, force),
                Action::Retire { worker } => {
                    if let Some(link) = self.link(worker) {
                        let key = link.key;
                        registry.close(key);
                    }
                }
                Action::End { job, ending } => self.end(job, ending),
            }
        }
        actions.clear();
        self.actions = actions;
    }

    fn queue(&mut self, key: WorkerKey, job_key: JobKey, seq: u64, attempt: u32) {
        let Some(Some(link)) = self.links.get_mut(key.0) else {
            return;
        };
        let job = &mut self.jobs[job_key.0];
        job.attempt = attempt;
        job.pid = Some(link.pid);
        job.place = Some((key, seq));
        job.sent = self.now;
        let (number, task, pid) = (job.submission.number, job.submission.name, link.pid);
        self.listeners.tell(|| ExchangeEvent::Sent {
            job: number,
            task,
            pid,
            attempt,
        });
        let run = Run {
            chunk: job.chunk,
            seq,
            task: job.submission.task,
            job: job.submission.number,
            attempt,
            argument: Arc::clone(&job.submission.argument),
        };
        link.push(job_key.0, run);
    }

    /// Starts a worker's process; if that fails the plan is told as of a process that ended.
    fn start(&mut self, key: WorkerKey, registry: &mut Registry<Self>) {
        match self.starting.start(key, registry) {
            Ok(link) => {
                if self.links.len() <= key.0 {
                    self.links.resize_with(key.0 + 1, || None);
                }
                let pid = link.pid;
                self.listeners.tell(|| ExchangeEvent::WorkerStarted { pid });
                self.links[key.0] = Some(link);
            }
            Err(error) => {
                self.evidence.start_error = error.to_string();
                let event = Event::Exited {
                    worker: key,
                    begun: 0,
                };
                self.incoming.push_back(Incoming::Plan(event));
            }
        }
    }

    /// Pumps once after the handlers of this turn.
    pub(super) fn pump_later(&mut self, registry: &mut Registry<Self>) {
        if !self.deferred {
            self.deferred = true;
            registry.defer(|ctx| ctx.state.pump(ctx.registry));
        }
    }

    /// Takes in what a worker said, or the end of its channel.
    pub(super) fn message(&mut self, worker: WorkerKey, message: Result<FromWorker, TryRecvError>) {
        let incoming = match message {
            Ok(FromWorker::Ready) => Incoming::Plan(Event::Ready { worker }),
            Ok(FromWorker::Refused(reason)) => {
                self.evidence.start_error = reason;
                return;
            }
            Ok(FromWorker::Item { seq, value }) => Incoming::Item { worker, seq, value },
            Ok(FromWorker::Part { seq, part }) => Incoming::Part { worker, seq, part },
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
                if let Some(link) = self.link(worker).filter(|link| link.exit.is_none()) {
                    // Without its channel it is of no use, if it is not dying already. Its end is
                    // told by its exit.
                    link.signal(Signal::SIGKILL);
                }
                return;
            }
        };
        self.incoming.push_back(incoming);
    }

    /// The process was reaped. What it wrote before is still to be read.
    pub(super) fn exited(&mut self, key: WorkerKey, exit: Exit, registry: &mut Registry<Self>) {
        let Some(link) = self.link(key) else {
            return;
        };
        if !exit.is_success() {
            link.kill_group();
        }
        link.exit = Some(exit);
        link.child = None;
        let source = link.key;
        while let Some(message) = registry.get_mut(source).map(|duct| duct.try_recv()) {
            if message.is_err() {
                break;
            }
            self.message(key, message);
        }
        self.incoming.push_back(Incoming::Gone { worker: key });
        self.pump(registry);
    }

    /// A zygote has ended; if a worker is needed another is started.
    pub(super) fn zygote_exited(&mut self, pid: u32, registry: &mut Registry<Self>) {
        drop(self.starting.zygote.take_if(|zygote| zygote.id() == pid));
        self.pump(registry);
    }

    fn gone(&mut self, key: WorkerKey, registry: &mut Registry<Self>) {
        let Some(mut link) = self.links.get_mut(key.0).and_then(Option::take) else {
            return;
        };
        let exit = link.exit.unwrap_or(Exit::Unknown);
        let pid = link.pid;
        self.listeners
            .tell(|| ExchangeEvent::WorkerEnded { pid, exit });
        self.evidence.exit = Some(exit);
        self.evidence.out_of_memory = exit.signal() == Some(Signal::SIGKILL as i32)
            && self.starting.memory.explains(link.kills_before);
        self.evidence.output = link.last_output(registry);
        if self.evidence.start_error.is_empty() {
            self.evidence.start_error = format!("the worker ended before it was ready: {exit}");
        }
        link.close(registry);
        let event = Event::Exited {
            worker: key,
            begun: link.begun(),
        };
        self.tell(event, registry);
        self.evidence = Evidence::default();
    }

    fn stop(&mut self, key: WorkerKey, force: Force) {
        if let Some(link) = self.link(key) {
            match force {
                Force::Ask => link.page.ask(link.answered + 1),
                Force::Terminate => link.signal(Signal::SIGTERM),
                Force::Kill => link.signal(Signal::SIGKILL),
            }
        }
    }

    fn end(&mut self, key: JobKey, ending: Ending) {
        if let Some(job) = self.jobs.try_remove(key.0) {
            self.ended += 1;
            let outcome = job.outcome(ending, &mut self.evidence);
            self.listeners.tell(|| ExchangeEvent::Ended {
                job: outcome.about.job,
                task: outcome.about.task,
                ran: outcome.about.ran,
                error: outcome.result.as_ref().err().cloned(),
            });
            job.submission.sink.complete(outcome);
        }
    }

    fn set_alarm(&mut self, registry: &mut Registry<Self>) {
        let Some(due) = self.plan.next_wake(self.now) else {
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

impl Drop for Driver {
    fn drop(&mut self) {
        for link in self.links.iter().flatten() {
            link.signal(Signal::SIGKILL);
        }
        for job in self.jobs.drain() {
            let outcome = cancelled(&job.submission);
            job.submission.sink.complete(outcome);
        }
        self.shared.close();
    }
}
