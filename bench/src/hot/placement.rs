//! The exchange's decisions.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Hot;
use super::plan::{Action, Config, Event, Halt, JobKey, Plan, Reply, Spec, WorkerKey};

/// A plan whose workers answer when they are told to.
struct Placing {
    plan: Plan,
    now: Instant,
    actions: Vec<Action>,
    /// What workers have in hand.
    sent: VecDeque<(WorkerKey, u64)>,
    ended: usize,
}

impl Placing {
    fn new(workers: usize) -> Self {
        let config = Config {
            limit: workers,
            tasks_max: None,
            age_max: None,
            prefetch: true,
            deaths_max: 3,
            backoff: Duration::from_millis(1),
            ask_grace: Duration::from_secs(1),
            terminate_grace: Duration::from_secs(1),
            halt: Halt::Never,
        };
        let mut placing = Self {
            plan: Plan::new(config),
            now: Instant::now(),
            actions: Vec::new(),
            sent: VecDeque::new(),
            ended: 0,
        };
        for key in 0..workers {
            placing.submit(key);
        }
        for key in 0..workers {
            placing.step(Event::Ready {
                worker: WorkerKey(key),
            });
        }
        assert_eq!(placing.sent.len(), workers, "every worker has a task");
        placing
    }

    fn submit(&mut self, key: usize) {
        self.step(Event::Submitted {
            job: JobKey(key),
            spec: Spec::default(),
        });
    }

    /// The worker that was first given a task answers for it.
    fn reply(&mut self) {
        let (worker, seq) = self.sent.pop_front().expect("tasks were sent");
        self.step(Event::Replied {
            worker,
            seq,
            reply: Reply::Ok,
            ran: Duration::from_micros(5),
        });
    }

    /// Takes in an event and does as the plan says until it is settled.
    fn step(&mut self, event: Event) {
        self.plan.handle(event, self.now, &mut self.actions);
        loop {
            for action in self.actions.drain(..) {
                match action {
                    Action::Send { worker, seq, .. } => self.sent.push_back((worker, seq)),
                    Action::End { .. } => self.ended += 1,
                    _ => {}
                }
            }
            self.plan.settle(self.now, &mut self.actions);
            if self.actions.is_empty() {
                return;
            }
        }
    }
}

/// One task's way through a plan with two workers: submitted, placed, answered, ended.
pub fn plan_step() -> Hot {
    let mut placing = Placing::new(2);
    let mut key = 2;
    Hot::new(move || {
        placing.now += Duration::from_micros(5);
        let ended = placing.ended;
        placing.submit(key);
        placing.reply();
        assert_eq!(placing.ended, ended + 1);
        key = (key + 1) % 16;
    })
}
