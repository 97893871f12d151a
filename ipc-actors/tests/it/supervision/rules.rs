//! The rules that a synchronous model cannot tell: deadlines, backoff, refusals.

use std::time::{Duration, Instant};

use ipc_actors::{
    Action, AutoShutdown, Backoff, ChildPolicy, Event, ExitReason, Restart, Shutdown, Strategy,
    SuperviseError, Supervisor, SupervisorOptions,
};

use super::world::{World, children, names, told};

const MS: Duration = Duration::from_millis(1);

fn crash() -> ExitReason {
    ExitReason::Signalled {
        signal: 11,
        core: true,
    }
}

fn drain(supervisor: &mut Supervisor) -> Vec<Action> {
    std::iter::from_fn(|| supervisor.poll_action()).collect()
}

#[test]
fn a_start_that_hangs_is_killed_and_fails_the_boot() {
    let now = Instant::now();
    let mut supervisor = Supervisor::new(SupervisorOptions::default(), 1);
    let policy = ChildPolicy {
        start_timeout: Some(50 * MS),
        ..ChildPolicy::default()
    };
    let first = supervisor.add("first", policy, now).unwrap();
    let second = supervisor.add("second", policy, now).unwrap();
    supervisor.handle(Event::Boot, now);
    assert_eq!(drain(&mut supervisor), [Action::Start(first)]);
    supervisor.handle(Event::Started(first), now);
    assert_eq!(
        drain(&mut supervisor),
        [Action::Start(second)],
        "one after the other"
    );
    assert_eq!(supervisor.poll_timeout(), Some(now + 50 * MS));
    supervisor.handle(Event::Tick, now + 50 * MS);
    assert_eq!(drain(&mut supervisor), [Action::Kill(second)]);
    supervisor.handle(Event::Exited(second, crash()), now + 51 * MS);
    assert_eq!(drain(&mut supervisor), [Action::Stop(first)]);
    supervisor.handle(Event::Exited(first, ExitReason::Shutdown), now + 52 * MS);
    let reason = ExitReason::StartFailed("did not start in time".to_owned());
    assert_eq!(drain(&mut supervisor), [Action::Ended(reason)]);
}

#[test]
fn backoff_doubles_and_is_forgotten_after_a_stable_run() {
    let backoff = Backoff {
        min: 100 * MS,
        max: 300 * MS,
        jitter_percent: 0,
        stable: Duration::from_secs(5),
    };
    let options = SupervisorOptions {
        backoff,
        intensity: 100,
        ..SupervisorOptions::default()
    };
    let mut world = World::new(options, &[]);
    world.boot(&children(1, ChildPolicy::default()));
    for delay in [100, 200, 300, 300] {
        world.exit("c1", crash());
        world.advance(delay * MS - Duration::from_nanos(1));
        assert_eq!(world.alive(), names(""), "still waiting {delay} ms");
        world.advance(Duration::from_nanos(1));
        assert_eq!(world.alive(), names("c1"));
    }
    world.advance(Duration::from_secs(5));
    world.exit("c1", crash());
    world.advance(100 * MS);
    assert_eq!(world.alive(), names("c1"));
}

#[test]
fn the_random_part_of_the_backoff_is_bounded() {
    let backoff = Backoff {
        jitter_percent: 20,
        ..Backoff::default()
    };
    for random in [0, 1, 500, 1000, u32::MAX] {
        let delay = backoff.delay(1, random);
        assert!((100 * MS..=120 * MS).contains(&delay), "{delay:?}");
        assert!(backoff.delay(u32::MAX, random) <= Duration::from_secs(12));
    }
    assert_eq!(Backoff::NONE.delay(9, 77), Duration::ZERO);
}

#[test]
fn one_for_one_restarts_do_not_wait_for_each_other() {
    let now = Instant::now();
    let options = SupervisorOptions {
        intensity: 9,
        ..SupervisorOptions::default()
    };
    let mut supervisor = Supervisor::new(options, 1);
    let keys: Vec<_> = ["a", "b"]
        .map(|name| supervisor.add(name, ChildPolicy::default(), now).unwrap())
        .into();
    supervisor.handle(Event::Boot, now);
    for &key in &keys {
        supervisor.handle(Event::Started(key), now);
    }
    drain(&mut supervisor);
    supervisor.handle(Event::Exited(keys[0], crash()), now);
    supervisor.handle(Event::Exited(keys[1], crash()), now);
    assert_eq!(
        drain(&mut supervisor),
        [Action::Start(keys[0]), Action::Start(keys[1])]
    );
}

/// Found by fuzzing: one in front of the child that was starting did not wait for it.
#[test]
fn restarts_by_hand_wait_for_a_start_that_is_under_way() {
    let now = Instant::now();
    let options = SupervisorOptions {
        strategy: Strategy::OneForAll,
        ..SupervisorOptions::default()
    };
    let mut supervisor = Supervisor::new(options, 1);
    let first = supervisor
        .add("first", ChildPolicy::default(), now)
        .unwrap();
    supervisor.handle(Event::Boot, now);
    supervisor.handle(Event::Ignored(first), now);
    assert_eq!(
        drain(&mut supervisor),
        [Action::Start(first), Action::Ready]
    );
    let second = supervisor
        .add("second", ChildPolicy::default(), now)
        .unwrap();
    supervisor.restart(first, now).unwrap();
    assert_eq!(drain(&mut supervisor), [Action::Start(second)]);
    let limit = ChildPolicy::default().start_timeout.unwrap();
    assert_eq!(
        supervisor.poll_timeout(),
        Some(now + limit),
        "time alone starts nobody"
    );
    supervisor.handle(Event::Started(second), now);
    assert_eq!(drain(&mut supervisor), [Action::Start(first)]);
}

#[test]
fn a_second_stop_does_not_restart_the_clock_and_a_kill_does_not_wait() {
    let shutdown = Shutdown::After(100 * MS);
    let mut world = World::new(SupervisorOptions::default(), &[]);
    world.boot(&children(
        2,
        ChildPolicy {
            shutdown,
            ..ChildPolicy::default()
        },
    ));
    world.deaf = names("c1 c2");
    world.handle(Event::Stop(ExitReason::Shutdown));
    world.advance(60 * MS);
    world.handle(Event::Stop(ExitReason::Shutdown));
    world.advance(40 * MS);
    assert_eq!(
        told(&world.steps),
        "+c1 +c2 -c2",
        "reverse order, one after the other"
    );
    world.handle(Event::Kill(ExitReason::Shutdown));
    assert_eq!(told(&world.steps), "+c1 +c2 -c2 -c1 .");
}

#[test]
fn refusals_have_names() {
    let now = Instant::now();
    let mut supervisor = Supervisor::new(SupervisorOptions::default(), 1);
    let policy = ChildPolicy::default();
    let key = supervisor.add("a", policy, now).unwrap();
    assert_eq!(
        supervisor.add("a", policy, now),
        Err(SuperviseError::AlreadyPresent)
    );
    let significant = ChildPolicy {
        significant: true,
        restart: Restart::Transient,
        ..ChildPolicy::default()
    };
    assert_eq!(
        supervisor.add("b", significant, now),
        Err(SuperviseError::Significant)
    );
    supervisor.handle(Event::Boot, now);
    supervisor.handle(Event::Started(key), now);
    assert_eq!(supervisor.delete(key, now), Err(SuperviseError::Running));
    assert_eq!(supervisor.restart(key, now), Err(SuperviseError::Running));
    supervisor.handle(Event::Kill(ExitReason::Shutdown), now);
    assert_eq!(
        supervisor.add("c", policy, now),
        Err(SuperviseError::Ending)
    );

    let auto = AutoShutdown::AnySignificant;
    let options = SupervisorOptions {
        auto_shutdown: auto,
        ..SupervisorOptions::default()
    };
    let mut supervisor = Supervisor::new(options, 1);
    let permanent = ChildPolicy {
        significant: true,
        ..ChildPolicy::default()
    };
    assert_eq!(
        supervisor.add("a", permanent, now),
        Err(SuperviseError::Significant)
    );
}

#[test]
fn a_child_that_ignores_its_start_stays_down_with_its_specification() {
    let now = Instant::now();
    let mut supervisor = Supervisor::new(SupervisorOptions::default(), 1);
    let key = supervisor.add("a", ChildPolicy::default(), now).unwrap();
    supervisor.handle(Event::Boot, now);
    supervisor.handle(Event::Ignored(key), now);
    assert_eq!(drain(&mut supervisor), [Action::Start(key), Action::Ready]);
    assert_eq!(supervisor.find("a"), Some(key));
    supervisor.restart(key, now).unwrap();
    assert_eq!(drain(&mut supervisor), [Action::Start(key)]);
}

#[test]
fn rest_for_one_in_backoff_keeps_the_order() {
    let backoff = Backoff {
        min: 100 * MS,
        max: 100 * MS,
        jitter_percent: 0,
        ..Backoff::default()
    };
    let options = SupervisorOptions {
        strategy: Strategy::RestForOne,
        intensity: 9,
        backoff,
        ..SupervisorOptions::default()
    };
    let mut world = World::new(options, &[]);
    world.boot(&children(4, ChildPolicy::default()));
    world.exit("c3", crash());
    world.advance(50 * MS);
    world.exit("c2", crash());
    world.advance(200 * MS);
    assert_eq!(told(&world.steps), "+c1 +c2 +c3 +c4 -c4 +c2 +c3 +c4");
}
