//! Hours of supervision that take no time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ipc_actors::{
    ArbiterLoop, ArbiterOptions, Backoff, MonitorSpec, Proxy, Restart, Spec, State,
    SupervisorOptions,
};

use crate::actors::{Add, Counter, Harm, Pid, Read, Start, Tick};
use crate::support::{LIMIT, within};

const HOUR: Duration = Duration::from_secs(3600);

fn arbiter(options: SupervisorOptions) -> ArbiterLoop {
    ArbiterLoop::simulated(ArbiterOptions {
        supervisor: options,
        ..ArbiterOptions::default()
    })
}

fn spec() -> Spec<Counter> {
    Spec::<Counter>::new(Start::default()).process()
}

fn spawn(root: &mut ArbiterLoop, spec: Spec<Counter>) -> Proxy<Counter> {
    let spawning = root.arbiter().spawn(spec);
    let spawned = root.wait(spawning.into_deferred()).expect("a loop");
    spawned.expect("a start")
}

/// Ends an incarnation by a panic.
fn crash(root: &mut ArbiterLoop, counter: &Proxy<Counter>) {
    counter.send(Harm::Panic).expect("it is up");
    root.advance(Duration::ZERO).expect("a loop");
}

#[test]
fn restarts_are_put_off_for_hours() {
    within(LIMIT, || {
        let begun = Instant::now();
        let mut root = arbiter(SupervisorOptions {
            intensity: 3,
            period: 100 * HOUR,
            backoff: Backoff {
                min: HOUR,
                max: 3 * HOUR,
                jitter_percent: 0,
                stable: 10 * HOUR,
            },
            ..SupervisorOptions::default()
        });
        let counter = spawn(&mut root, spec());
        assert_eq!(root.wait(counter.ask(Pid)).unwrap(), Ok(std::process::id()));
        for (number, hours) in [(1, 1), (2, 2), (3, 3)] {
            crash(&mut root, &counter);
            root.advance(hours * HOUR - Duration::from_nanos(1))
                .unwrap();
            assert_eq!(
                counter.incarnation(),
                number - 1,
                "{hours} hours are not over"
            );
            root.advance(Duration::from_nanos(1)).unwrap();
            assert_eq!(
                (counter.incarnation(), counter.state()),
                (number, State::Running)
            );
        }
        // The fourth crash is one too many, and nothing is left.
        crash(&mut root, &counter);
        assert_eq!(root.run().unwrap(), 1);
        assert!(begun.elapsed() < LIMIT / 4);
    });
}

#[test]
fn restarts_are_counted_in_a_window_of_hours() {
    within(LIMIT, || {
        let mut root = arbiter(SupervisorOptions {
            intensity: 2,
            period: HOUR,
            ..SupervisorOptions::default()
        });
        let counter = spawn(&mut root, spec());
        for number in 1..=100 {
            crash(&mut root, &counter);
            assert_eq!(counter.incarnation(), number);
            root.advance(HOUR / 2 + Duration::from_nanos(1)).unwrap();
        }
        // One more than two within an hour.
        crash(&mut root, &counter);
        assert!(root.exit_reason().is_none());
        crash(&mut root, &counter);
        assert_eq!(root.run().unwrap(), 1);
    });
}

#[test]
fn alarms_of_actors_ring_in_the_time_that_passes() {
    within(LIMIT, || {
        let mut root = arbiter(SupervisorOptions::default());
        let counter = spawn(&mut root, spec().thread());
        let read = |root: &mut ArbiterLoop| root.wait(counter.ask(Read)).unwrap().unwrap();
        // One after an hour, and one each hour for ten.
        counter.send(Tick(3_600_000)).unwrap();
        root.advance(HOUR - Duration::from_millis(1)).unwrap();
        assert_eq!(read(&mut root), 0);
        root.advance(Duration::from_millis(1)).unwrap();
        assert_eq!(read(&mut root), 101);
        root.advance(2 * HOUR).unwrap();
        assert_eq!(read(&mut root), 103);
        let before = root.now();
        root.advance(100 * HOUR).unwrap();
        assert_eq!(root.now() - before, 100 * HOUR);
        assert_eq!(read(&mut root), 110);
        counter.send(Add(1)).unwrap();
        assert_eq!(read(&mut root), 111);
    });
}

#[test]
fn pools_put_new_workers_off_and_waiting_for_them_lets_time_pass() {
    within(LIMIT, || {
        let mut root = arbiter(SupervisorOptions::default());
        let spec = MonitorSpec::new("crew", spec(), 1).options(|options| {
            options.backoff = Backoff {
                min: HOUR,
                max: HOUR,
                jitter_percent: 0,
                stable: HOUR,
            };
        });
        let pool = root.arbiter().monitor(spec.deliveries_max(1));
        let pool = root.wait(pool).unwrap().unwrap();
        assert_eq!(root.wait(pool.ask(Add(1))).unwrap(), Ok(1));
        let poison = pool.ask(Harm::Panic);
        assert!(root.wait(poison).unwrap().is_err());
        let before = root.now();
        assert_eq!(root.wait(pool.ask(Add(1))).unwrap(), Ok(1));
        assert_eq!(root.now() - before, HOUR);
    });
}

#[test]
fn waiting_for_what_cannot_come_is_an_error() {
    within(LIMIT, || {
        let mut root = arbiter(SupervisorOptions::default());
        let counter = spawn(&mut root, spec().restart(Restart::Temporary));
        let watch = root.arbiter().watch(counter.id());
        let error = root.wait(watch).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::Deadlock);
        assert_eq!(root.wait(counter.ask(Add(2))).unwrap(), Ok(2));
        root.arbiter().stop();
        assert_eq!(root.run().unwrap(), 0);
    });
}

#[test]
fn workers_of_an_age_are_replaced_and_pools_can_be_changed() {
    within(LIMIT, || {
        let mut root = arbiter(SupervisorOptions::default());
        let made = MonitorSpec::new("crew", spec(), 3);
        let pool = root.arbiter().monitor(made.clone().age_max(HOUR, HOUR));
        let pool = root.wait(pool).unwrap().unwrap();
        let ids = || -> BTreeSet<_> { pool.workers().iter().map(Proxy::id).collect() };
        let first = ids();
        root.advance(HOUR).unwrap();
        assert_eq!(ids(), first);
        root.advance(HOUR + Duration::from_secs(5)).unwrap();
        let second = ids();
        assert!(second.len() == 3 && second.is_disjoint(&first));
        // Without that, and with less to wait for: none is replaced any more.
        pool.change(made.clone().queue_max(1));
        root.advance(10 * HOUR).unwrap();
        assert_eq!(ids().len(), 3);
        let third = ids();
        root.advance(10 * HOUR).unwrap();
        assert_eq!(ids(), third);
        // Made in another way: all are.
        let other = Start {
            from: 40,
            ..Start::default()
        };
        pool.change(MonitorSpec::new("crew", Spec::<Counter>::new(other), 1));
        root.advance(Duration::from_secs(1)).unwrap();
        assert!(ids().len() == 3 && ids().is_disjoint(&third));
        assert_eq!(root.wait(pool.ask(Add(2))).unwrap(), Ok(42));
    });
}
