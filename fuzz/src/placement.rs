//! The exchange's placement beside workers that do anything in any order.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::plan::{
    Action, Config, Ending, Event, Force, Halt, JobKey, Plan, Reply, SLOTS, Spec, WorkerKey,
};

/// A worker's process, as the exchange would see it.
#[derive(Debug, Default)]
struct Process {
    /// Sent and not answered: sequence number, job, whether it was taken back.
    window: VecDeque<(u64, JobKey, bool)>,
    begun: u64,
    is_ready: bool,
    is_dismissed: bool,
    stopped: Option<Force>,
}

struct World {
    plan: Plan,
    now: Instant,
    processes: BTreeMap<WorkerKey, Process>,
    /// How often each submitted job has ended.
    ends: Vec<usize>,
    limit_max: usize,
}

impl World {
    fn event(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.plan.handle(event, self.now, &mut actions);
        self.act(&mut actions);
        self.settle();
    }

    fn settle(&mut self) {
        let mut actions = Vec::new();
        for _ in 0..1000 {
            self.plan.settle(self.now, &mut actions);
            if actions.is_empty() {
                let next = self.plan.next_wake(self.now);
                assert!(next.is_none_or(|next| next >= self.now));
                return;
            }
            self.act(&mut actions);
        }
        panic!("the plan does not settle");
    }

    fn act(&mut self, actions: &mut Vec<Action>) {
        let mut index = 0;
        while let Some(action) = actions.get(index).copied() {
            index += 1;
            match action {
                Action::Spawn { worker } => {
                    let before = self.processes.insert(worker, Process::default());
                    assert!(before.is_none(), "a worker was started twice");
                    assert!(self.processes.len() <= self.limit_max, "too many workers");
                }
                Action::Send {
                    worker, job, seq, ..
                } => {
                    let process = self.processes.get_mut(&worker);
                    let process = process.expect("a job was sent to a worker that is alive");
                    assert!(!process.is_dismissed && process.stopped.is_none());
                    process.window.push_back((seq, job, false));
                    assert!(process.window.len() <= SLOTS);
                }
                Action::Recall { worker, seq } => {
                    let recalled = self.recall(worker, seq);
                    let mut more = Vec::new();
                    let answer = Event::Recalled {
                        worker,
                        seq,
                        recalled,
                    };
                    self.plan.handle(answer, self.now, &mut more);
                    actions.splice(index..index, more);
                }
                Action::Stop { worker, force } => {
                    if let Some(process) = self.processes.get_mut(&worker) {
                        process.stopped = Some(force);
                    }
                }
                Action::Retire { worker } => {
                    if let Some(process) = self.processes.get_mut(&worker) {
                        process.is_dismissed = true;
                    }
                }
                Action::End { job, ending } => {
                    assert_ne!(
                        ending,
                        Ending::NoWorker,
                        "some worker could always be started"
                    );
                    self.ends[job.0] += 1;
                    assert_eq!(self.ends[job.0], 1, "a job ended twice");
                }
            }
        }
        actions.clear();
    }

    fn recall(&mut self, worker: WorkerKey, seq: u64) -> bool {
        let Some(process) = self.processes.get_mut(&worker) else {
            return false;
        };
        let begun = process.begun;
        let mut window = process.window.iter_mut();
        match window.find(|entry| entry.0 == seq) {
            Some(entry) if seq > begun && !entry.2 => {
                entry.2 = true;
                true
            }
            _ => false,
        }
    }

    /// A worker does the next thing it has to do.
    fn step(&mut self, worker: WorkerKey, reply: Reply, ran: Duration) {
        let Some(process) = self.processes.get_mut(&worker) else {
            return;
        };
        if !process.is_ready {
            process.is_ready = true;
            return self.event(Event::Ready { worker });
        }
        let Some((seq, _, is_recalled)) = process.window.front().copied() else {
            if process.is_dismissed {
                self.die(worker);
            }
            return;
        };
        if is_recalled {
            process.window.pop_front();
            return self.event(Event::Skipped { worker, seq });
        }
        if process.begun < seq {
            process.begun = seq;
            return;
        }
        process.window.pop_front();
        if process.stopped == Some(Force::Ask) {
            // It did as it was asked, and goes on with others.
            process.stopped = None;
        }
        self.event(Event::Replied {
            worker,
            seq,
            reply,
            ran,
        });
    }

    fn die(&mut self, worker: WorkerKey) {
        if self
            .processes
            .get(&worker)
            .is_some_and(|process| !process.is_ready)
        {
            // One that was never ready would count as a start that failed.
            self.step(worker, Reply::Ok, Duration::ZERO);
        }
        if let Some(process) = self.processes.remove(&worker) {
            let begun = process.begun;
            self.event(Event::Exited { worker, begun });
        }
    }

    fn drain(&mut self) {
        self.event(Event::Close);
        for _ in 0..20_000 {
            if self.plan.is_done() {
                return;
            }
            let keys: Vec<_> = self.processes.keys().copied().collect();
            for key in keys {
                match self.processes.get(&key).and_then(|process| process.stopped) {
                    Some(Force::Kill | Force::Terminate) => self.die(key),
                    _ => self.step(key, Reply::Ok, Duration::from_micros(1)),
                }
            }
            self.now += Duration::from_millis(1);
            self.settle();
        }
        panic!("the plan does not end");
    }
}

fn config(data: u8) -> Config {
    let bit = |at: u8| data >> at & 1 == 1;
    Config {
        limit: usize::from(data % 3) + 1,
        tasks_max: bit(2).then_some(2),
        age_max: bit(3).then_some(Duration::from_millis(5)),
        prefetch: !bit(4),
        deaths_max: 3,
        backoff: Duration::from_millis(u64::from(bit(5))),
        ask_grace: Duration::from_millis(if bit(6) { 3 } else { 0 }),
        terminate_grace: Duration::from_millis(5),
        halt: if bit(7) { Halt::Soon(5) } else { Halt::Never },
    }
}

/// Whatever happens in whatever order, every task ends exactly once, there are never more workers than
/// allowed, and the plan comes to rest.
pub fn placement(data: &[u8]) {
    let Some((first, steps)) = data.split_first() else {
        return;
    };
    let mut world = World {
        plan: Plan::new(config(*first)),
        now: Instant::now(),
        processes: BTreeMap::new(),
        ends: Vec::new(),
        limit_max: 4,
    };
    // Each step costs a model's whole round: longer inputs would only be slow.
    for pair in steps.chunks_exact(2).take(2000) {
        let (what, number) = (pair[0], pair[1]);
        let worker = WorkerKey(usize::from(number % 4));
        let after = |ms: u8| (ms > 0).then(|| Duration::from_millis(ms.into()));
        match what % 12 {
            0..=2 => {
                let spec = Spec {
                    retries: u32::from(number % 3),
                    timeout: after(number >> 2 & 3),
                    deadline: after(number >> 4 & 3).map(|after| world.now + after),
                    priority: (number % 5) as i8 - 2,
                    len: usize::from(number) * 2000,
                };
                let job = JobKey(world.ends.len());
                world.ends.push(0);
                world.event(Event::Submitted { job, spec });
            }
            3 => {
                let job = usize::from(number) % world.ends.len().max(1);
                // The driver knows which have ended.
                if world.ends.get(job) == Some(&0) {
                    world.event(Event::Cancel { job: JobKey(job) });
                }
            }
            4 => world.die(worker),
            5 => {
                world.now += Duration::from_micros(u64::from(number) * 40);
                world.settle();
            }
            6 => {
                let limit = usize::from(number % 4) + 1;
                world.event(Event::Limit { limit });
            }
            7 => world.event(Event::Worn { worker }),
            8 if number > 250 => world.event(Event::CancelAll),
            _ => {
                let reply = [Reply::Ok, Reply::Ok, Reply::Err, Reply::Panicked];
                let ran = Duration::from_micros(u64::from(number));
                world.step(worker, reply[usize::from(number >> 6)], ran);
            }
        }
    }
    world.drain();
    assert!(world.ends.iter().all(|ends| *ends == 1), "a job was lost");
}
