//! The plan against a model of workers: whatever happens, nothing is lost or ends twice.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// A worker as the plan's driver sees it.
#[derive(Debug, Default)]
struct Process {
    /// Sent and not answered: job, and whether it was recalled.
    window: VecDeque<(u64, JobKey, bool)>,
    /// The last job begun.
    begun: u64,
    ready: bool,
    dismissed: bool,
    stopped: Option<Force>,
}

struct World {
    plan: Plan,
    now: Instant,
    processes: HashMap<WorkerKey, Process>,
    /// How each submitted job ended.
    endings: Vec<Vec<Ending>>,
    /// How often the function of each job was begun.
    begun: Vec<u32>,
    peak: usize,
}

impl World {
    fn new(config: Config) -> Self {
        Self {
            plan: Plan::new(config),
            now: Instant::now(),
            processes: HashMap::new(),
            endings: Vec::new(),
            begun: Vec::new(),
            peak: 0,
        }
    }

    fn submit(&mut self, spec: Spec) -> JobKey {
        let job = JobKey(self.endings.len());
        self.endings.push(Vec::new());
        self.begun.push(0);
        self.event(Event::Submitted { job, spec });
        job
    }

    fn event(&mut self, event: Event) {
        let mut out = Vec::new();
        self.plan.handle(event, self.now, &mut out);
        self.act(out);
        self.settle();
    }

    fn settle(&mut self) {
        for _ in 0..1000 {
            let mut out = Vec::new();
            self.plan.settle(self.now, &mut out);
            if out.is_empty() {
                return;
            }
            self.act(out);
        }
        panic!("it does not settle");
    }

    fn act(&mut self, actions: Vec<Action>) {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            let mut out = Vec::new();
            match action {
                Action::Spawn { worker } => {
                    let old = self.processes.insert(worker, Process::default());
                    assert!(old.is_none(), "{worker:?} is alive already");
                    self.peak = self.peak.max(self.processes.len());
                }
                Action::Send {
                    worker, job, seq, ..
                } => {
                    let process = self
                        .processes
                        .get_mut(&worker)
                        .expect("sent to a dead worker");
                    assert!(!process.dismissed && process.stopped.is_none());
                    process.window.push_back((seq, job, false));
                    assert!(process.window.len() <= SLOTS);
                }
                Action::Recall { worker, seq } => {
                    let Some(process) = self.processes.get_mut(&worker) else {
                        continue;
                    };
                    let begun = process.begun;
                    let entry = process.window.iter_mut().find(|entry| entry.0 == seq);
                    let recalled = entry.is_some_and(|entry| {
                        let free = seq > begun && !entry.2;
                        entry.2 |= free;
                        free
                    });
                    let event = Event::Recalled {
                        worker,
                        seq,
                        recalled,
                    };
                    self.plan.handle(event, self.now, &mut out);
                }
                Action::Stop { worker, force } => {
                    if let Some(process) = self.processes.get_mut(&worker) {
                        process.stopped = Some(force);
                    }
                }
                Action::Retire { worker } => {
                    self.processes
                        .get_mut(&worker)
                        .expect("dismissed a dead worker")
                        .dismissed = true;
                }
                Action::End { job, ending } => self.endings[job.0].push(ending),
            }
            for action in out.into_iter().rev() {
                actions.push_front(action);
            }
        }
    }

    /// A worker takes one step: shakes hands, begins, answers, passes over, or leaves.
    fn step(&mut self, worker: WorkerKey, reply: Reply) {
        let Some(process) = self.processes.get_mut(&worker) else {
            return;
        };
        if !process.ready {
            process.ready = true;
            return self.event(Event::Ready { worker });
        }
        let Some((seq, job, recalled)) = process.window.front().copied() else {
            if process.dismissed {
                self.die(worker);
            }
            return;
        };
        if recalled {
            process.window.pop_front();
            return self.event(Event::Skipped { worker, seq });
        }
        if process.begun < seq {
            process.begun = seq;
            self.begun[job.0] += 1;
            return;
        }
        process.window.pop_front();
        let ran = Duration::from_micros(1);
        self.event(Event::Replied {
            worker,
            seq,
            reply,
            ran,
        });
    }

    fn die(&mut self, worker: WorkerKey) {
        if let Some(process) = self.processes.remove(&worker) {
            let begun = process.begun;
            self.event(Event::Exited { worker, begun });
        }
    }

    fn advance(&mut self, time: Duration) {
        self.now += time;
        self.settle();
    }

    /// Lets everything run out.
    fn drain(&mut self) {
        for _ in 0..5_000 {
            if self.plan.is_done() {
                return;
            }
            let mut keys: Vec<_> = self.processes.keys().copied().collect();
            keys.sort();
            for key in keys {
                match self.processes.get(&key).and_then(|process| process.stopped) {
                    Some(Force::Kill | Force::Terminate) => self.die(key),
                    _ => self.step(key, Reply::Ok),
                }
            }
            self.advance(Duration::from_millis(1));
        }
        panic!("it does not end");
    }
}

fn config(limit: usize) -> Config {
    Config {
        limit,
        tasks_max: None,
        age_max: None,
        prefetch: true,
        deaths_max: 3,
        backoff: Duration::ZERO,
        ask_grace: Duration::ZERO,
        terminate_grace: Duration::from_millis(50),
        halt: Halt::Never,
    }
}

#[derive(Clone, Debug)]
enum Step {
    Submit {
        retries: u32,
        timeout_ms: Option<u64>,
        deadline_ms: Option<u64>,
        priority: i8,
    },
    Cancel(usize),
    Work(usize, bool),
    Die(usize),
    Wait(u64),
    Limit(usize),
    Worn(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let milliseconds = || proptest::option::weighted(0.2, 1..50u64);
    prop_oneof![
        4 => (0..3u32, milliseconds(), milliseconds(), -1..2i8).prop_map(
            |(retries, timeout_ms, deadline_ms, priority)| Step::Submit {
                retries, timeout_ms, deadline_ms, priority,
            }
        ),
        1 => any::<usize>().prop_map(Step::Cancel),
        8 => (0..4usize, any::<bool>()).prop_map(|(worker, ok)| Step::Work(worker, ok)),
        1 => (0..4usize).prop_map(Step::Die),
        1 => (0..30u64).prop_map(Step::Wait),
        1 => (1..4usize).prop_map(Step::Limit),
        1 => (0..4usize).prop_map(Step::Worn),
    ]
}

fn take(world: &mut World, step: &Step) {
    let after = |ms: Option<u64>, now: Instant| ms.map(|ms| now + Duration::from_millis(ms));
    match *step {
        Step::Submit {
            retries,
            timeout_ms,
            deadline_ms,
            priority,
        } => {
            world.submit(Spec {
                retries,
                timeout: timeout_ms.map(Duration::from_millis),
                deadline: after(deadline_ms, world.now),
                priority,
                // Some are large.
                len: (world.endings.len() % 3) * 100_000,
            });
        }
        Step::Cancel(job) if !world.endings.is_empty() => {
            let job = JobKey(job % world.endings.len());
            // The driver knows which jobs have ended.
            if world.endings[job.0].is_empty() {
                world.event(Event::Cancel { job });
            }
        }
        Step::Cancel(_) => {}
        Step::Work(worker, ok) => {
            let reply = if ok { Reply::Ok } else { Reply::Err };
            world.step(WorkerKey(worker), reply);
        }
        Step::Die(worker) => world.die(WorkerKey(worker)),
        Step::Wait(ms) => world.advance(Duration::from_millis(ms)),
        Step::Worn(worker) => world.event(Event::Worn {
            worker: WorkerKey(worker),
        }),
        Step::Limit(limit) => world.event(Event::Limit { limit }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 512 },
        max_shrink_iters: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_job_ends_exactly_once(
        limit in 1..4usize,
        tasks_max in proptest::option::of(1..4u64),
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let mut world = World::new(Config { tasks_max, ..config(limit) });
        for step in &steps {
            take(&mut world, step);
            prop_assert!(world.processes.len() <= 3);
        }
        world.event(Event::Close);
        world.drain();
        for (job, endings) in world.endings.iter().enumerate() {
            prop_assert_eq!(endings.len(), 1, "job {}: {:?}", job, endings);
            prop_assert!(world.begun[job] <= 3, "job {} was begun {} times", job, world.begun[job]);
            if endings[0] == Ending::Replied {
                prop_assert!(world.begun[job] >= 1);
            }
        }
        prop_assert_eq!(world.plan.jobs_len, 0);
        prop_assert!(world.processes.is_empty());
    }
}

#[test]
fn a_death_costs_the_job_in_hand_and_no_other() {
    let mut world = World::new(config(1));
    let jobs: Vec<_> = (0..3).map(|_| world.submit(Spec::default())).collect();
    let worker = WorkerKey(0);
    world.step(worker, Reply::Ok);
    world.step(worker, Reply::Ok);
    assert_eq!(world.begun, [1, 0, 0]);
    assert_eq!(
        world.processes[&worker].window.len(),
        2,
        "one is sent ahead"
    );
    world.die(worker);
    assert_eq!(world.endings[jobs[0].0], [Ending::Lost { worker }]);
    assert_eq!(world.processes.len(), 1, "replaced at once");
    world.event(Event::Close);
    world.drain();
    assert_eq!(world.endings[1..], [[Ending::Replied], [Ending::Replied]]);
    assert_eq!(world.begun, [1, 1, 1]);
}

#[test]
fn a_lost_job_is_tried_again_until_it_is_poison() {
    let mut world = World::new(config(1));
    let spec = Spec {
        retries: 100,
        ..Spec::default()
    };
    world.submit(spec);
    for _ in 0..3 {
        world.step(WorkerKey(0), Reply::Ok);
        world.step(WorkerKey(0), Reply::Ok);
        world.die(WorkerKey(0));
        world.settle();
    }
    assert_eq!(world.begun, [3]);
    assert!(matches!(world.endings[0][..], [Ending::Lost { .. }]));
}

#[test]
fn cancelling_takes_back_what_was_sent_ahead() {
    let mut world = World::new(config(1));
    let jobs: Vec<_> = (0..2).map(|_| world.submit(Spec::default())).collect();
    world.step(WorkerKey(0), Reply::Ok);
    world.step(WorkerKey(0), Reply::Ok);
    world.event(Event::Cancel { job: jobs[1] });
    assert_eq!(world.endings[1], [Ending::Cancelled]);
    assert!(world.processes[&WorkerKey(0)].stopped.is_none());
    world.event(Event::Cancel { job: jobs[0] });
    assert_eq!(
        world.processes[&WorkerKey(0)].stopped,
        Some(Force::Terminate)
    );
    world.advance(Duration::from_millis(50));
    assert_eq!(world.processes[&WorkerKey(0)].stopped, Some(Force::Kill));
    world.die(WorkerKey(0));
    assert_eq!(world.endings[0], [Ending::Cancelled]);
    assert_eq!(world.begun, [1, 0]);
}

#[test]
fn an_idle_worker_takes_what_waits_behind_a_long_job() {
    let mut world = World::new(config(2));
    for _ in 0..4 {
        world.submit(Spec::default());
    }
    for worker in [WorkerKey(0), WorkerKey(1)] {
        world.step(worker, Reply::Ok);
        world.step(worker, Reply::Ok);
    }
    // Worker 1 finishes both of its jobs while worker 0 is stuck in its first.
    for _ in 0..3 {
        world.step(WorkerKey(1), Reply::Ok);
    }
    assert!(world.plan.next_wake(world.now).is_some());
    world.advance(Duration::from_millis(1));
    for _ in 0..2 {
        world.step(WorkerKey(1), Reply::Ok);
    }
    assert_eq!(world.begun, [1, 1, 1, 1]);
    assert_eq!(world.endings.iter().filter(|e| !e.is_empty()).count(), 3);
}

#[test]
fn without_any_worker_jobs_end_instead_of_waiting() {
    let mut world = World::new(config(2));
    world.submit(Spec::default());
    for _ in 0..3 {
        world.die(WorkerKey(0));
        world.advance(Duration::from_secs(1));
    }
    assert_eq!(world.endings[0], [Ending::NoWorker]);
    world.event(Event::Close);
    world.drain();
}

#[test]
fn enough_failures_stop_the_rest() {
    let mut world = World::new(Config {
        halt: Halt::Soon(1),
        ..config(1)
    });
    for _ in 0..5 {
        world.submit(Spec::default());
    }
    for _ in 0..3 {
        world.step(WorkerKey(0), Reply::Err);
    }
    assert_eq!(world.endings[0], [Ending::Replied]);
    assert!(
        world.endings[1..]
            .iter()
            .all(|endings| *endings == [Ending::Cancelled])
    );
    world.submit(Spec::default());
    assert_eq!(world.endings[5], [Ending::Cancelled]);
}

#[test]
fn a_recall_that_comes_too_late_is_not_asked_again_at_once() {
    let mut world = World::new(config(2));
    for _ in 0..3 {
        world.submit(Spec::default());
    }
    for worker in [WorkerKey(0), WorkerKey(1)] {
        world.step(worker, Reply::Ok);
        world.step(worker, Reply::Ok);
    }
    assert_eq!(world.processes[&WorkerKey(0)].window.len(), 2);
    // Worker 0 has begun its second job; its answer for the first was not read.
    world.processes.get_mut(&WorkerKey(0)).unwrap().begun = 2;
    world.step(WorkerKey(1), Reply::Ok);
    world.advance(Duration::from_millis(1));
    assert!(world.plan.next_wake(world.now) > Some(world.now));
}
