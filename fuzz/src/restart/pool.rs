//! A pool whose workers take their time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ipc_actors::{
    Backoff, ExitReason, Pool, PoolAction, PoolEvent, PoolOptions, Shutdown, WorkerKey,
};

use super::history;
use crate::tape::Tape;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Starting,
    Up,
    Stopping,
    Killed {
        /// Because it took too long to start.
        late: bool,
    },
}

#[derive(Debug)]
struct Worker {
    life: Life,
    is_retired: bool,
    is_deaf: bool,
}

struct World {
    pool: Pool,
    options: PoolOptions,
    workers: BTreeMap<WorkerKey, Worker>,
    /// When workers failed.
    failures: Vec<Instant>,
    started: u64,
    now: Instant,
    is_ready: bool,
    must_give_up: bool,
    ending: bool,
    ended: bool,
}

/// Runs a pool through what the tape says, and to its end.
pub(super) fn pool(mut tape: Tape<'_>) {
    let (byte, more) = (tape.next(), tape.next());
    let options = PoolOptions {
        size: usize::from(byte & 3),
        intensity: u32::from(byte >> 2 & 7),
        period: Duration::from_secs(1),
        backoff: Backoff {
            min: Duration::from_millis(u64::from(byte >> 5) * 20),
            max: Duration::from_millis(400),
            jitter_percent: more & 15,
            stable: Duration::from_millis(200),
        },
        shutdown: match more >> 4 & 3 {
            0 => Shutdown::Kill,
            1 => Shutdown::Unlimited,
            _ => Shutdown::After(Duration::from_millis(300)),
        },
        start_timeout: (more & 0x40 != 0).then_some(Duration::from_millis(400)),
        recycling_max: usize::from(more >> 7) + 1,
    };
    let mut world = World {
        pool: Pool::new(options, 1),
        options,
        workers: BTreeMap::new(),
        failures: Vec::new(),
        started: 0,
        now: Instant::now(),
        is_ready: false,
        must_give_up: false,
        ending: false,
        ended: false,
    };
    world.tell(PoolEvent::Boot);
    for _ in 0..400 {
        if tape.0.is_empty() || world.ended {
            break;
        }
        let (what, number) = (tape.next(), tape.next());
        world.step(what, number);
        world.check();
    }
    world.drain();
}

impl World {
    fn tell(&mut self, event: PoolEvent) {
        self.pool.handle(event, self.now);
        while let Some(action) = self.pool.poll_action() {
            self.obey(action);
        }
        assert!(!self.must_give_up, "it goes on beyond its intensity");
    }

    fn obey(&mut self, action: PoolAction) {
        assert!(!self.ended, "{action:?} after the end");
        match action {
            PoolAction::Start(key) => {
                assert!(!self.ending, "a start at the end");
                assert_eq!(key, WorkerKey(self.started), "keys are never used twice");
                let put_off = |at: &Instant| *at + self.options.backoff.min <= self.now;
                assert!(
                    self.failures.last().is_none_or(put_off),
                    "{key:?} is too early"
                );
                let most = self.options.size + self.options.recycling_max;
                assert!(self.kept() < most, "more than {most} workers");
                let worker = Worker {
                    life: Life::Starting,
                    is_retired: false,
                    is_deaf: self.started.is_multiple_of(3),
                };
                self.started += 1;
                self.workers.insert(key, worker);
            }
            PoolAction::Retire(key) => {
                let worker = self.worker(key);
                assert!(matches!(worker.life, Life::Starting | Life::Up), "{key:?}");
                assert!(!std::mem::replace(&mut worker.is_retired, true));
            }
            PoolAction::Stop(key) => {
                let worker = self.worker(key);
                assert!(worker.is_retired, "{key:?} may still be given work");
                assert!(matches!(worker.life, Life::Starting | Life::Up), "{key:?}");
                worker.life = Life::Stopping;
            }
            PoolAction::Kill(key) => {
                let worker = self.worker(key);
                assert!(!matches!(worker.life, Life::Killed { .. }), "{key:?}");
                let late = worker.life == Life::Starting && !worker.is_retired;
                worker.life = Life::Killed { late };
            }
            PoolAction::Ready => assert!(!std::mem::replace(&mut self.is_ready, true)),
            PoolAction::GaveUp => {
                assert!(
                    std::mem::take(&mut self.must_give_up),
                    "it gave up too early"
                );
                self.ending = true;
            }
            PoolAction::Ended(_) => {
                assert!(self.ending && self.workers.is_empty());
                self.ended = true;
            }
        }
    }

    fn worker(&mut self, key: WorkerKey) -> &mut Worker {
        self.workers.get_mut(&key).expect("it is there")
    }

    fn exit(&mut self, key: WorkerKey, reason: ExitReason) {
        let Some(worker) = self.workers.remove(&key) else {
            return;
        };
        let failed = match worker.life {
            Life::Starting => true,
            Life::Up => !reason.is_clean(),
            Life::Stopping => false,
            Life::Killed { late } => late,
        };
        if failed && !self.ending {
            let (now, period) = (self.now, self.options.period);
            self.failures.push(now);
            let recent = |at: &&Instant| now - **at <= period;
            let recent = self.failures.iter().filter(recent).count();
            let most = self.options.intensity as usize;
            // Before it was up for the first time all count, and what will be no other the next time.
            let is_late = matches!(worker.life, Life::Killed { late: true });
            let is_final = matches!(reason, ExitReason::StartFailed(_)) && !is_late;
            let never_up = !self.is_ready && (is_final || self.failures.len() > most);
            self.must_give_up = recent > most || never_up;
        }
        self.tell(PoolEvent::Exited(key, reason));
    }

    fn step(&mut self, what: u8, number: u8) {
        let count = self.workers.len().max(1);
        let key = self.workers.keys().nth(usize::from(number) % count);
        let key = key.copied().unwrap_or(WorkerKey(1 << 40));
        let life = self.workers.get(&key).map(|worker| worker.life);
        match (what % 12, life) {
            (0..=3, Some(Life::Starting)) => {
                self.worker(key).life = Life::Up;
                self.tell(PoolEvent::Started(key));
            }
            (0..=4, Some(Life::Stopping | Life::Killed { .. })) => {
                let worker = self.worker(key);
                if worker.life != Life::Stopping || !worker.is_deaf {
                    self.exit(key, ExitReason::Shutdown);
                }
            }
            (4 | 5, _) => self.exit(key, history::reason(number >> 3)),
            (6, _) => self.tell(PoolEvent::Recycle(key)),
            (7, _) => self.tell(PoolEvent::Reload),
            (8, _) => {
                self.options.size = usize::from(number % 5);
                self.tell(PoolEvent::Resize(self.options.size));
            }
            (9, _) if number == 255 => self.end(),
            (10, _) if number == 255 => self.kill(),
            _ => self.pass(Duration::from_millis(u64::from(number) * 8)),
        }
    }

    fn end(&mut self) {
        self.ending = true;
        self.tell(PoolEvent::Stop(ExitReason::Shutdown));
    }

    fn kill(&mut self) {
        self.ending = true;
        self.tell(PoolEvent::Kill(ExitReason::Killed));
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..1000 {
            match self.pool.poll_timeout() {
                Some(at) if at <= end => {
                    self.now = self.now.max(at);
                    self.tell(PoolEvent::Tick);
                }
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
        panic!("ticks without end");
    }

    /// Workers that were not told to go, and those whose end will be a failure.
    fn kept(&self) -> usize {
        let kept = self
            .workers
            .values()
            .filter(|worker| !worker.is_retired && worker.life != (Life::Killed { late: false }));
        kept.count()
    }

    /// As many as wanted are up when nobody is on the way.
    fn check(&self) {
        if self.ending {
            return;
        }
        assert_eq!(self.pool.len(), self.workers.len());
        let moves = self.workers.values().any(|worker| worker.life != Life::Up);
        if !moves && self.pool.poll_timeout().is_none() {
            assert_eq!(self.pool.up(), self.options.size);
            assert!(self.is_ready);
        }
    }

    /// The end comes, whatever the workers do.
    fn drain(&mut self) {
        self.end();
        for _ in 0..1000 {
            if self.ended {
                break;
            }
            let going = |worker: &Worker| match worker.life {
                Life::Killed { .. } => true,
                Life::Stopping => !worker.is_deaf,
                Life::Starting | Life::Up => false,
            };
            let gone = self.workers.iter().find(|(_, worker)| going(worker));
            if let Some(key) = gone.map(|(key, _)| *key) {
                self.exit(key, ExitReason::Shutdown);
            } else if let Some(at) = self.pool.poll_timeout() {
                self.now = self.now.max(at);
                self.tell(PoolEvent::Tick);
            } else {
                self.kill();
            }
        }
        assert!(self.ended, "the pool does not end");
        self.tell(PoolEvent::Boot);
    }
}
