//! Drives the state machine as an arbiter would whose children start and stop at once.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use ipc_actors::{Action, ChildKey, ChildPolicy, Event, ExitReason, Supervisor, SupervisorOptions};

use super::model::Step;

/// A supervisor, its children's names and what it did to them.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) supervisor: Supervisor,
    pub(crate) names: BTreeMap<ChildKey, String>,
    pub(crate) steps: Vec<Step>,
    pub(crate) ended: Option<ExitReason>,
    pub(crate) gave_up: bool,
    starts: VecDeque<bool>,
    /// Children that ignore a polite stop.
    pub(crate) deaf: Vec<String>,
    epoch: Instant,
    pub(crate) now: Duration,
}

impl World {
    pub(crate) fn new(options: SupervisorOptions, starts: &[bool]) -> Self {
        Self {
            supervisor: Supervisor::new(options, 7),
            names: BTreeMap::new(),
            steps: Vec::new(),
            ended: None,
            gave_up: false,
            starts: starts.iter().copied().collect(),
            deaf: Vec::new(),
            epoch: Instant::now(),
            now: Duration::ZERO,
        }
    }

    pub(crate) fn time(&self) -> Instant {
        self.epoch + self.now
    }

    pub(crate) fn boot(&mut self, children: &[(String, ChildPolicy)]) {
        for (name, policy) in children {
            let key = self
                .supervisor
                .add(name, *policy, self.time())
                .expect("a new name");
            self.names.insert(key, name.clone());
        }
        self.handle(Event::Boot);
    }

    pub(crate) fn add(&mut self, name: &str, policy: ChildPolicy) {
        if let Ok(key) = self.supervisor.add(name, policy, self.time()) {
            self.names.insert(key, name.to_owned());
        }
        self.run();
    }

    pub(crate) fn exit(&mut self, name: &str, reason: ExitReason) {
        if let Some(key) = self.supervisor.find(name)
            && self.supervisor.is_up(key)
        {
            self.handle(Event::Exited(key, reason));
        }
    }

    pub(crate) fn by_hand(
        &mut self,
        name: &str,
        act: impl FnOnce(&mut Supervisor, ChildKey, Instant),
    ) {
        if let Some(key) = self.supervisor.find(name) {
            let now = self.time();
            act(&mut self.supervisor, key, now);
            self.run();
        }
    }

    pub(crate) fn alive(&self) -> Vec<String> {
        let keys = self
            .supervisor
            .children()
            .filter(|&key| self.supervisor.is_up(key));
        keys.map(|key| self.names[&key].clone()).collect()
    }

    pub(crate) fn handle(&mut self, event: Event) {
        let now = self.time();
        self.supervisor.handle(event, now);
        self.run();
    }

    /// Lets time pass, ticking whenever the supervisor asks for it.
    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(at) = self.supervisor.poll_timeout() {
            let at = at.saturating_duration_since(self.epoch);
            if at > end {
                break;
            }
            self.now = self.now.max(at);
            self.handle(Event::Tick);
        }
        self.now = end;
    }

    fn run(&mut self) {
        while let Some(action) = self.supervisor.poll_action() {
            let now = self.time();
            match action {
                Action::Start(key) => {
                    let ok = self.starts.pop_front().unwrap_or(true);
                    self.steps.push(Step::Start(self.names[&key].clone(), ok));
                    let failed = ExitReason::StartFailed("as told".to_owned());
                    let event = if ok {
                        Event::Started(key)
                    } else {
                        Event::StartFailed(key, failed)
                    };
                    self.supervisor.handle(event, now);
                }
                Action::Stop(key) if self.deaf.contains(&self.names[&key]) => {}
                Action::Stop(key) => {
                    self.steps.push(Step::Stop(self.names[&key].clone()));
                    self.supervisor
                        .handle(Event::Exited(key, ExitReason::Shutdown), now);
                }
                Action::Kill(key) => {
                    self.steps.push(Step::Stop(self.names[&key].clone()));
                    self.supervisor
                        .handle(Event::Exited(key, ExitReason::Killed), now);
                }
                Action::Ended(reason) => {
                    self.steps.push(Step::Ended);
                    self.ended = Some(reason);
                }
                Action::GaveUp(_) => self.gave_up = true,
                Action::Ready | Action::Removed(_) | Action::Rejected(..) => {}
            }
        }
    }
}

/// `count` children named c1, c2, ... of this policy.
pub(crate) fn children(count: usize, policy: ChildPolicy) -> Vec<(String, ChildPolicy)> {
    (1..=count)
        .map(|number| (format!("c{number}"), policy))
        .collect()
}

/// `c1 c2` as the names they are.
pub(crate) fn names(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// The steps as text: `+c1` a start, `!c1` a failed start, `-c1` a stop, `.` the end.
pub(crate) fn told(steps: &[Step]) -> String {
    let text: Vec<String> = steps
        .iter()
        .map(|step| match step {
            Step::Start(name, true) => format!("+{name}"),
            Step::Start(name, false) => format!("!{name}"),
            Step::Stop(name) => format!("-{name}"),
            Step::Ended => ".".to_owned(),
        })
        .collect();
    text.join(" ")
}
