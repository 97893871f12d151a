//! A supervisor whose children take their time: starts and stops end later, fail, or never end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ipc_actors::{
    Action, Backoff, ChildKey, ChildPolicy, Event, ExitReason, Restart, Shutdown, Strategy,
    Supervisor, SupervisorOptions,
};

use super::history;
use crate::tape::Tape;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Down,
    Starting,
    Up,
    /// Asked to stop; perhaps it does not.
    Stopping,
    Killed,
}

#[derive(Debug)]
struct Child {
    policy: ChildPolicy,
    life: Life,
    /// It does not stop for being asked.
    is_deaf: bool,
    starts: u32,
    /// When it was started, other than for the first time or by hand.
    restarts: Vec<Instant>,
    by_hand: bool,
    /// Nothing keeps it from having to run.
    is_wanted: bool,
}

struct World {
    supervisor: Supervisor,
    options: SupervisorOptions,
    children: BTreeMap<ChildKey, Child>,
    named: u32,
    now: Instant,
    is_ready: bool,
    was_killed: bool,
    ended: bool,
}

/// Runs a supervisor through what the tape says, and to its end.
pub(super) fn tree(mut tape: Tape<'_>) {
    let mut options = history::options(&mut tape);
    let backoff = tape.next();
    options.backoff = Backoff {
        min: Duration::from_millis(u64::from(backoff & 3) * 100),
        max: Duration::from_millis(800),
        jitter_percent: backoff >> 4,
        stable: Duration::from_millis(500),
    };
    let mut world = World {
        supervisor: Supervisor::new(options, u32::from(backoff)),
        options,
        children: BTreeMap::new(),
        named: 0,
        now: Instant::now(),
        is_ready: false,
        was_killed: false,
        ended: false,
    };
    for _ in 0..tape.next() % 6 {
        world.add(tape.next());
    }
    world.tell(Event::Boot);
    for _ in 0..400 {
        if tape.0.is_empty() || world.ended {
            break;
        }
        let (what, number) = (tape.next(), tape.next());
        world.step(what, number);
        world.check_rest();
    }
    world.drain();
}

impl World {
    fn add(&mut self, byte: u8) {
        let policy = ChildPolicy {
            shutdown: match byte >> 3 & 3 {
                0 => Shutdown::Kill,
                1 => Shutdown::Unlimited,
                _ => Shutdown::After(Duration::from_millis(300)),
            },
            start_timeout: (byte & 0x20 != 0).then_some(Duration::from_millis(400)),
            ..history::policy(byte, &self.options)
        };
        self.named += 1;
        let name = format!("c{}", self.named);
        let Ok(key) = self.supervisor.add(&name, policy, self.now) else {
            assert!(self.supervisor.is_ending());
            return;
        };
        let child = Child {
            policy,
            life: Life::Down,
            is_deaf: byte & 0x40 != 0,
            starts: 0,
            restarts: Vec::new(),
            by_hand: false,
            is_wanted: true,
        };
        assert!(
            self.children.insert(key, child).is_none(),
            "a key came twice"
        );
        self.obey();
    }

    fn tell(&mut self, event: Event) {
        self.supervisor.handle(event, self.now);
        self.obey();
    }

    /// Carries out what the supervisor says, which must make sense.
    fn obey(&mut self) {
        while let Some(action) = self.supervisor.poll_action() {
            assert!(!self.ended, "{action:?} after the end");
            match action {
                Action::Start(key) => self.start(key),
                Action::Stop(key) => self.stop(key),
                Action::Kill(key) => {
                    let child = self.children.get_mut(&key).expect("it is known");
                    assert!(!matches!(child.life, Life::Down | Life::Killed), "{key:?}");
                    child.life = Life::Killed;
                }
                Action::Rejected(key, _) => self.child(key).is_wanted = false,
                Action::Removed(key) => {
                    let child = self.children.remove(&key).expect("it is removed once");
                    assert_eq!(child.life, Life::Down, "{key:?} was forgotten alive");
                }
                Action::Ready => assert!(!std::mem::replace(&mut self.is_ready, true)),
                Action::GaveUp(_) => assert!(self.supervisor.is_ending()),
                Action::Ended(_) => {
                    self.ended = true;
                    let alive = |child: &Child| child.life != Life::Down;
                    assert!(
                        !self.children.values().any(alive),
                        "it left somebody behind"
                    );
                }
            }
        }
    }

    fn child(&mut self, key: ChildKey) -> &mut Child {
        self.children.get_mut(&key).expect("it is known")
    }

    fn start(&mut self, key: ChildKey) {
        assert!(!self.supervisor.is_ending(), "a start at the end");
        let side_by_side = self.is_ready && self.options.strategy == Strategy::OneForOne;
        if !side_by_side {
            let busy = |child: &Child| child.life == Life::Starting;
            assert!(!self.children.values().any(busy), "two starts at once");
        }
        let (now, period) = (self.now, self.options.period);
        let most = self.options.intensity as usize + 1;
        let child = self.child(key);
        assert_eq!(child.life, Life::Down, "{key:?} was started twice");
        child.life = Life::Starting;
        child.is_wanted = true;
        child.starts += 1;
        if child.policy.restart == Restart::Temporary {
            assert!(child.starts == 1, "a temporary child came back");
        }
        if !std::mem::take(&mut child.by_hand) && child.starts > 1 {
            child.restarts.push(now);
            let recent = |at: &&Instant| now - **at <= period;
            let recent = child.restarts.iter().filter(recent).count();
            assert!(recent <= most, "{recent} restarts within the period");
        }
    }

    fn stop(&mut self, key: ChildKey) {
        let stopping = |child: &Child| child.life == Life::Stopping;
        assert!(!self.children.values().any(stopping), "two stops at once");
        let last = self.children.keys().next_back().copied();
        let all = self.supervisor.is_ending() && !self.was_killed;
        let child = self.child(key);
        assert!(matches!(child.life, Life::Starting | Life::Up), "{key:?}");
        child.life = Life::Stopping;
        if all {
            // In reverse order: whoever is younger has gone.
            let younger = self.children.range(key..).skip(1);
            let alive = younger
                .filter(|(_, child)| child.life != Life::Down)
                .count();
            assert_eq!(
                alive, 0,
                "{key:?} goes before its youngers, {last:?} among them"
            );
        }
    }

    fn step(&mut self, what: u8, number: u8) {
        let count = self.children.len().max(1);
        let key = self.children.keys().nth(usize::from(number) % count);
        let Some(key) = key.copied() else {
            return self.alone(what, number);
        };
        let life = self.child(key).life;
        match (what % 16, life) {
            (0..=4, Life::Starting) => {
                self.child(key).life = Life::Up;
                self.tell(Event::Started(key));
            }
            (5, Life::Starting) => {
                let child = self.child(key);
                child.life = Life::Down;
                child.is_wanted = false;
                self.tell(Event::Ignored(key));
            }
            (6, Life::Starting) => {
                self.child(key).life = Life::Down;
                self.tell(Event::StartFailed(key, history::reason(number >> 3)));
            }
            (0..=4 | 7, Life::Stopping | Life::Killed) => {
                let child = self.child(key);
                if child.life == Life::Killed || !child.is_deaf {
                    child.life = Life::Down;
                    self.tell(Event::Exited(key, ExitReason::Shutdown));
                }
            }
            (7 | 8, Life::Starting | Life::Up | Life::Stopping) => {
                self.child(key).life = Life::Down;
                self.tell(Event::Exited(key, history::reason(number >> 3)));
            }
            (9, _) => {
                self.child(key).is_wanted = false;
                let done = self.supervisor.terminate(key, self.now);
                assert!(done.is_ok());
                self.obey();
            }
            (10, _) => {
                if self.supervisor.restart(key, self.now).is_ok() {
                    let child = self.child(key);
                    assert_eq!(child.life, Life::Down);
                    child.by_hand = true;
                    child.is_wanted = true;
                }
                self.obey();
            }
            (11, _) => {
                if self.supervisor.delete(key, self.now).is_ok() {
                    assert_eq!(life, Life::Down, "{key:?} was deleted alive");
                }
                self.obey();
            }
            _ => self.alone(what, number),
        }
    }

    /// What concerns no child that is there.
    fn alone(&mut self, what: u8, number: u8) {
        match what % 16 {
            12 => self.add(number),
            // Of somebody who is long gone, or never was.
            13 => self.tell(Event::Exited(
                ChildKey(u64::from(number) + 1000),
                ExitReason::Killed,
            )),
            14 if number == 255 => self.tell(Event::Stop(ExitReason::Shutdown)),
            15 if number == 255 => self.kill(),
            _ => self.pass(Duration::from_millis(u64::from(number) * 8)),
        }
    }

    fn kill(&mut self) {
        self.was_killed = true;
        self.tell(Event::Kill(ExitReason::Killed));
    }

    /// Lets time pass, with a tick whenever one is asked for.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..1000 {
            match self.supervisor.poll_timeout() {
                Some(at) if at <= end => {
                    self.now = self.now.max(at);
                    self.tell(Event::Tick);
                }
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
        panic!("ticks without end");
    }

    /// When nobody is starting or stopping and no time is waited for, who shall run does.
    fn check_rest(&self) {
        let moving = |child: &Child| !matches!(child.life, Life::Down | Life::Up);
        let waits = self.supervisor.poll_timeout().is_some();
        if waits || !self.is_ready || self.supervisor.is_ending() || self.ended {
            return;
        }
        if self.children.values().any(moving) {
            return;
        }
        for (key, child) in &self.children {
            let due = child.policy.restart == Restart::Permanent && child.is_wanted;
            assert!(!due || child.life == Life::Up, "{key:?} was forgotten");
            assert_eq!(child.life == Life::Up, self.supervisor.is_up(*key));
        }
    }

    /// The end comes, whatever the children do.
    fn drain(&mut self) {
        self.tell(Event::Stop(ExitReason::Shutdown));
        for _ in 0..1000 {
            if self.ended {
                break;
            }
            let going = |child: &Child| match child.life {
                Life::Killed => true,
                Life::Stopping => !child.is_deaf,
                Life::Down | Life::Starting | Life::Up => false,
            };
            let gone = self.children.iter().find(|(_, child)| going(child));
            if let Some(key) = gone.map(|(key, _)| *key) {
                self.child(key).life = Life::Down;
                self.tell(Event::Exited(key, ExitReason::Killed));
            } else if let Some(at) = self.supervisor.poll_timeout() {
                self.now = self.now.max(at);
                self.tell(Event::Tick);
            } else {
                // One that is waited for without limit and does not listen.
                self.kill();
            }
        }
        assert!(self.ended, "the supervisor does not end");
        self.tell(Event::Boot);
        assert_eq!(self.supervisor.poll_timeout(), None);
    }
}
