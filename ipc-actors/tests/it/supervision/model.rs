//! A model of OTP's `supervisor.erl`: synchronous, recursive, one thing after the other, written from
//! its source so that the state machine has something else to agree with.

use std::collections::VecDeque;
use std::time::Duration;

use ipc_actors::{AutoShutdown, ChildPolicy, ExitReason, Restart, Strategy, SupervisorOptions};

/// What a supervisor does to its children, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Start(String, bool),
    Stop(String),
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pid {
    Undefined,
    Alive,
    Restarting,
}

#[derive(Clone, Debug)]
struct Child {
    name: String,
    policy: ChildPolicy,
    pid: Pid,
}

/// OTP's supervisor, with `starts` telling which start attempts succeed.
#[derive(Debug)]
pub(crate) struct Model {
    options: SupervisorOptions,
    children: Vec<Child>,
    restarts: Vec<Duration>,
    starts: VecDeque<bool>,
    pub(crate) steps: Vec<Step>,
    pub(crate) ended: bool,
    pub(crate) now: Duration,
}

impl Model {
    pub(crate) fn new(options: SupervisorOptions, starts: &[bool]) -> Self {
        Self {
            options,
            children: Vec::new(),
            restarts: Vec::new(),
            starts: starts.iter().copied().collect(),
            steps: Vec::new(),
            ended: false,
            now: Duration::ZERO,
        }
    }

    pub(crate) fn boot(&mut self, children: &[(String, ChildPolicy)]) {
        for (name, policy) in children {
            let child = Child {
                name: name.clone(),
                policy: *policy,
                pid: Pid::Undefined,
            };
            self.children.push(child);
        }
        for index in 0..self.children.len() {
            if !self.do_start(index) {
                self.shut_down();
                return;
            }
        }
    }

    pub(crate) fn alive(&self) -> Vec<String> {
        let alive = self.children.iter().filter(|child| child.pid == Pid::Alive);
        alive.map(|child| child.name.clone()).collect()
    }

    /// `handle_info({'EXIT', Pid, Reason})`.
    pub(crate) fn exit(&mut self, name: &str, reason: &ExitReason) {
        let Some(index) = self.alive_index(name) else {
            return;
        };
        self.children[index].pid = Pid::Undefined;
        let restart = match self.children[index].policy.restart {
            Restart::Permanent => true,
            Restart::Transient => !reason.is_clean(),
            Restart::Temporary => false,
        };
        if restart {
            self.restart(name);
        } else {
            self.delete_and_maybe_shut_down(name);
        }
    }

    /// `start_child`.
    pub(crate) fn add(&mut self, name: &str, policy: ChildPolicy) {
        if self.ended || self.children.iter().any(|child| child.name == name) {
            return;
        }
        self.children.push(Child {
            name: name.to_owned(),
            policy,
            pid: Pid::Undefined,
        });
        let index = self.children.len() - 1;
        if !self.do_start(index) {
            self.children.pop();
        }
    }

    /// `terminate_child`.
    pub(crate) fn terminate(&mut self, name: &str) {
        let Some(index) = self.index(name) else {
            return;
        };
        self.do_terminate(index);
        if self.children[index].policy.restart == Restart::Temporary {
            self.children.remove(index);
        }
    }

    /// `restart_child`.
    pub(crate) fn restart_child(&mut self, name: &str) {
        let Some(index) = self.index(name) else {
            return;
        };
        if !self.ended && self.children[index].pid == Pid::Undefined {
            self.do_start(index);
        }
    }

    /// `delete_child`.
    pub(crate) fn delete(&mut self, name: &str) {
        if let Some(index) = self.index(name)
            && self.children[index].pid == Pid::Undefined
        {
            self.children.remove(index);
        }
    }

    pub(crate) fn shut_down(&mut self) {
        if self.ended {
            return;
        }
        for index in (0..self.children.len()).rev() {
            self.do_terminate(index);
        }
        self.ended = true;
        self.steps.push(Step::Ended);
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.children.iter().position(|child| child.name == name)
    }

    fn alive_index(&self, name: &str) -> Option<usize> {
        self.index(name)
            .filter(|&index| self.children[index].pid == Pid::Alive)
    }

    fn do_start(&mut self, index: usize) -> bool {
        let ok = self.starts.pop_front().unwrap_or(true);
        let child = &mut self.children[index];
        self.steps.push(Step::Start(child.name.clone(), ok));
        child.pid = if ok { Pid::Alive } else { Pid::Undefined };
        ok
    }

    fn do_terminate(&mut self, index: usize) {
        let child = &mut self.children[index];
        if child.pid == Pid::Alive {
            self.steps.push(Step::Stop(child.name.clone()));
        }
        child.pid = Pid::Undefined;
    }

    fn delete_and_maybe_shut_down(&mut self, name: &str) {
        let Some(index) = self.index(name) else {
            return;
        };
        let significant = self.children[index].policy.significant;
        if self.children[index].policy.restart == Restart::Temporary {
            self.children.remove(index);
        }
        let any_left = self
            .children
            .iter()
            .any(|child| child.policy.significant && child.pid != Pid::Undefined);
        match self.options.auto_shutdown {
            AutoShutdown::AnySignificant if significant => self.shut_down(),
            AutoShutdown::AllSignificant if significant && !any_left => self.shut_down(),
            _ => {}
        }
    }

    /// `add_restart` and `restart`, with `try_again_restart` as the loop.
    fn restart(&mut self, name: &str) {
        let mut name = name.to_owned();
        loop {
            let (now, period) = (self.now, self.options.period);
            self.restarts.insert(0, now);
            self.restarts.retain(|&at| now - at <= period);
            if self.restarts.len() > self.options.intensity as usize {
                self.shut_down();
                return;
            }
            let Some(index) = self.index(&name) else {
                return;
            };
            let failed = match self.options.strategy {
                Strategy::OneForOne => (!self.do_start(index)).then_some(index),
                Strategy::OneForAll => self.restart_from(0),
                Strategy::RestForOne => self.restart_from(index),
            };
            let Some(failed) = failed else { return };
            self.children[failed].pid = Pid::Restarting;
            name.clone_from(&self.children[failed].name);
        }
    }

    /// `terminate_children` of the tail that begins at `first`, then `start_children`.
    fn restart_from(&mut self, first: usize) -> Option<usize> {
        for index in (first..self.children.len()).rev() {
            self.do_terminate(index);
            if self.children[index].policy.restart == Restart::Temporary {
                self.children.remove(index);
            }
        }
        (first..self.children.len()).find(|&index| !self.do_start(index))
    }
}
