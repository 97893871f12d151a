//! The pool's rules: by name, and over random histories.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ipc_actors::{Backoff, ExitReason, Pool, PoolAction, PoolEvent, PoolOptions, WorkerKey};
use proptest::prelude::*;

fn options(size: usize) -> PoolOptions {
    PoolOptions {
        size,
        backoff: Backoff::NONE,
        ..PoolOptions::default()
    }
}

fn crash() -> ExitReason {
    ExitReason::Signalled {
        signal: 9,
        core: false,
    }
}

/// A pool whose workers do as they are told, at once.
struct World {
    pool: Pool,
    alive: BTreeSet<WorkerKey>,
    up: BTreeSet<WorkerKey>,
    log: Vec<String>,
    now: Instant,
    fewest: usize,
    most: usize,
}

impl World {
    fn new(options: PoolOptions) -> Self {
        let mut world = Self {
            pool: Pool::new(options, 3),
            alive: BTreeSet::new(),
            up: BTreeSet::new(),
            log: Vec::new(),
            now: Instant::now(),
            fewest: usize::MAX,
            most: 0,
        };
        world.tell(PoolEvent::Boot);
        world
    }

    fn tell(&mut self, event: PoolEvent) {
        self.pool.handle(event, self.now);
        while let Some(action) = self.pool.poll_action() {
            match action {
                PoolAction::Start(key) => {
                    self.log.push(format!("+{}", key.0));
                    self.alive.insert(key);
                    self.up.insert(key);
                    self.pool.handle(PoolEvent::Started(key), self.now);
                }
                PoolAction::Stop(key) | PoolAction::Kill(key) => {
                    self.log.push(format!("-{}", key.0));
                    assert!(self.alive.remove(&key), "{key:?} was stopped twice");
                    self.up.remove(&key);
                    self.pool
                        .handle(PoolEvent::Exited(key, ExitReason::Shutdown), self.now);
                }
                PoolAction::Ended(_) => self.log.push(".".to_owned()),
                PoolAction::GaveUp => self.log.push("!".to_owned()),
                PoolAction::Ready => self.log.push("ready".to_owned()),
                PoolAction::Retire(_) => {}
            }
            self.fewest = self.fewest.min(self.up.len());
            self.most = self.most.max(self.alive.len());
        }
    }

    fn told(&mut self) -> String {
        std::mem::take(&mut self.log).join(" ")
    }
}

#[test]
fn it_fills_replaces_and_shrinks_from_the_oldest() {
    let mut world = World::new(options(3));
    assert_eq!(world.told(), "+0 +1 +2 ready");
    world.alive.remove(&WorkerKey(1));
    world.up.remove(&WorkerKey(1));
    world.tell(PoolEvent::Exited(WorkerKey(1), crash()));
    assert_eq!(world.told(), "+3");
    world.tell(PoolEvent::Resize(1));
    assert_eq!(world.told(), "-0 -2");
    world.tell(PoolEvent::Resize(2));
    assert_eq!(world.told(), "+4");
    world.tell(PoolEvent::Stop(ExitReason::Shutdown));
    assert_eq!(world.told(), "-3 -4 .");
}

#[test]
fn a_reload_never_has_fewer_and_at_most_one_more() {
    let mut world = World::new(options(4));
    world.told();
    world.fewest = usize::MAX;
    world.tell(PoolEvent::Reload);
    assert_eq!(world.told(), "+4 -0 +5 -1 +6 -2 +7 -3");
    assert_eq!((world.fewest, world.most), (4, 5));
}

#[test]
fn at_most_so_many_are_recycled_at_once() {
    let now = Instant::now();
    let mut pool = Pool::new(
        PoolOptions {
            recycling_max: 2,
            ..options(4)
        },
        1,
    );
    pool.handle(PoolEvent::Boot, now);
    (0..4).for_each(|key| pool.handle(PoolEvent::Started(WorkerKey(key)), now));
    (0..4).for_each(|key| pool.handle(PoolEvent::Recycle(WorkerKey(key)), now));
    let actions: Vec<_> = std::iter::from_fn(|| pool.poll_action()).collect();
    let start = |key| PoolAction::Start(WorkerKey(key));
    assert_eq!(
        actions[4..],
        [PoolAction::Ready, start(4), start(5)],
        "and no more for now"
    );
}

#[test]
fn a_boot_loop_backs_off_and_gives_up() {
    let backoff = Backoff {
        min: Duration::from_millis(100),
        max: Duration::from_secs(1),
        jitter_percent: 0,
        stable: Duration::from_secs(5),
    };
    let intensity = PoolOptions {
        intensity: 3,
        period: Duration::from_secs(10),
        ..options(1)
    };
    let mut pool = Pool::new(
        PoolOptions {
            backoff,
            ..intensity
        },
        1,
    );
    let mut now = Instant::now();
    pool.handle(PoolEvent::Boot, now);
    for (key, delay) in [(0, 100), (1, 200), (2, 400)] {
        assert_eq!(pool.poll_action(), Some(PoolAction::Start(WorkerKey(key))));
        pool.handle(PoolEvent::Exited(WorkerKey(key), crash()), now);
        assert_eq!(pool.poll_action(), None);
        let due = now + Duration::from_millis(delay);
        assert_eq!(pool.poll_timeout(), Some(due));
        now = due;
        pool.handle(PoolEvent::Tick, now);
    }
    pool.handle(PoolEvent::Exited(WorkerKey(3), crash()), now);
    let last: Vec<_> = std::iter::from_fn(|| pool.poll_action()).collect();
    assert_eq!(last[1..], [PoolAction::GaveUp, PoolAction::Ended(crash())]);
}

/// However slowly they come, failures before all were up are counted together; and what a worker says itself
/// will not be otherwise the next time.
#[test]
fn a_pool_that_never_was_up_is_given_up_for_a_reason() {
    let reason = || ExitReason::StartFailed("no coffee".to_owned());
    for (failure, tries) in [(crash(), 4), (reason(), 1)] {
        let mut pool = Pool::new(
            PoolOptions {
                intensity: 3,
                period: Duration::from_secs(1),
                start_timeout: None,
                ..options(1)
            },
            1,
        );
        let mut now = Instant::now();
        pool.handle(PoolEvent::Boot, now);
        for key in 0..tries {
            assert_eq!(pool.poll_action(), Some(PoolAction::Start(WorkerKey(key))));
            pool.handle(PoolEvent::Exited(WorkerKey(key), failure.clone()), now);
            now += Duration::from_secs(60);
            pool.handle(PoolEvent::Tick, now);
        }
        assert_eq!(pool.poll_action(), Some(PoolAction::GaveUp));
        assert_eq!(pool.poll_action(), Some(PoolAction::Ended(failure)));
    }
}

/// Found by fuzzing: the next one was started before the failure was known, and so without delay, and one
/// after the other as long as the killed ones did not go.
#[test]
fn a_start_that_hangs_is_a_failure_before_the_next_one() {
    let limit = Duration::from_millis(50);
    let delay = Duration::from_millis(100);
    let backoff = Backoff {
        min: delay,
        max: delay,
        ..Backoff::NONE
    };
    let now = Instant::now();
    let mut pool = Pool::new(
        PoolOptions {
            start_timeout: Some(limit),
            backoff,
            ..options(1)
        },
        1,
    );
    pool.handle(PoolEvent::Boot, now);
    assert_eq!(pool.poll_action(), Some(PoolAction::Start(WorkerKey(0))));
    pool.handle(PoolEvent::Tick, now + limit);
    assert_eq!(pool.poll_action(), Some(PoolAction::Kill(WorkerKey(0))));
    assert_eq!(pool.poll_action(), None);
    assert_eq!(pool.poll_timeout(), None, "its end is waited for");
    pool.handle(PoolEvent::Exited(WorkerKey(0), crash()), now + limit);
    assert_eq!(pool.poll_action(), None);
    assert_eq!(pool.poll_timeout(), Some(now + limit + delay));
    pool.handle(PoolEvent::Tick, now + limit + delay);
    assert_eq!(pool.poll_action(), Some(PoolAction::Start(WorkerKey(1))));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 500 }, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens, there are as many workers as wanted, and never more than one over.
    #[test]
    fn it_has_what_it_shall_have(ops in prop::collection::vec((0..6_u8, 0..8_usize), 0..60)) {
        let mut world = World::new(PoolOptions { intensity: 1000, ..options(3) });
        for (op, number) in ops {
            let victim = world.alive.iter().nth(number % world.alive.len().max(1)).copied();
            match (op, victim) {
                (0 | 1, Some(key)) => {
                    world.alive.remove(&key);
                    world.up.remove(&key);
                    let reason = if op == 0 { crash() } else { ExitReason::Normal };
                    world.tell(PoolEvent::Exited(key, reason));
                }
                (2, Some(key)) => world.tell(PoolEvent::Recycle(key)),
                (3, _) => world.tell(PoolEvent::Resize(number)),
                (4, _) => world.tell(PoolEvent::Reload),
                _ => world.tell(PoolEvent::Tick),
            }
            prop_assert_eq!(world.up.len(), world.pool.size());
            prop_assert_eq!(world.pool.up(), world.pool.size());
            prop_assert!(world.alive.len() <= world.pool.size() + 1);
        }
        world.tell(PoolEvent::Stop(ExitReason::Shutdown));
        prop_assert!(world.alive.is_empty());
        let told = world.told();
        prop_assert!(told.ends_with('.'));
    }
}
