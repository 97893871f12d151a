//! Actors that never stop crashing.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use ipc_actors::{
    Arbiter, ArbiterLoop, ArbiterOptions, Backoff, ChildPolicy, ExitReason, Proxy, Restart,
    SpawnError, Strategy, SupervisorOptions, SupervisorSpec,
};

use super::alone;
use super::witness::{Does, Fall, Plan, Witness};
use crate::supervision::model::Model;
use crate::supervision::world::told;
use crate::support::{LIMIT, with_arbiter, within};

const PERIOD: Duration = Duration::from_secs(60);

fn options(strategy: Strategy, intensity: u32) -> SupervisorOptions {
    SupervisorOptions {
        strategy,
        intensity,
        period: PERIOD,
        ..SupervisorOptions::default()
    }
}

fn find(arbiter: &Arbiter, name: &str) -> Proxy<Witness> {
    arbiter.get_actor(name).expect("it was started")
}

/// Once up, its `init` exits for ever after: the inner supervisor tries as often as it may, then the one
/// above it, then the one above that, and so to the arbiter, whose exit status says so.
#[test]
fn a08_a_crash_loop_escalates_after_exactly_so_many_restarts() {
    let test =
        "behaviours::b08_crash_loop::a08_a_crash_loop_escalates_after_exactly_so_many_restarts";
    alone(test, 2 * LIMIT, || {
        let folder = tempfile::tempdir().expect("a folder");
        let plan = Plan {
            inits: vec![Does::Nothing],
            then: Does::Exit(7),
            ..Plan::new(folder.path())
        };
        for (inner, middle, outer) in [(2, 1, 1), (0, 0, 0), (1, 2, 0), (3, 0, 2)] {
            drop(fs::remove_file(&plan.journal));
            let supervisor = options(Strategy::OneForOne, outer);
            let mut root = ArbiterLoop::new(ArbiterOptions {
                supervisor,
                ..ArbiterOptions::default()
            })
            .expect("an arbiter");
            let arbiter = root.arbiter();
            let spec = SupervisorSpec::new("middle", options(Strategy::OneForAll, middle))
                .supervisor(
                    SupervisorSpec::new("inner", options(Strategy::RestForOne, inner))
                        .child(plan.spec("frail")),
                );
            root.wait(arbiter.supervise(spec))
                .expect("a loop")
                .expect("a start");
            let frail = find(&arbiter, "frail");
            let down = arbiter.watch(frail.id());
            frail.send(Fall(5)).expect("it is up");
            let down = root.wait(down).expect("a loop").expect("an end");
            assert_eq!(down.reason, ExitReason::Exited(5));
            assert_eq!(root.run().expect("a loop"), 1, "the status tells the truth");
            assert_eq!(root.exit_reason(), Some(&ExitReason::Shutdown));
            let lives = plan.seen(&["init"]).len();
            // Each of the upper ones starts it once per restart of its own.
            assert_eq!(lives as u32, 1 + inner + middle + outer);
            assert_eq!(plan.seen(&["+"]).len(), 1, "it came up once");
        }
    });
}

/// Restarts come later and later, and while they wait nothing is done.
#[test]
fn a08_restarts_are_put_off_longer_and_longer() {
    let test = "behaviours::b08_crash_loop::a08_restarts_are_put_off_longer_and_longer";
    alone(test, 2 * LIMIT, || {
        let folder = tempfile::tempdir().expect("a folder");
        let plan = Plan {
            inits: vec![Does::Nothing],
            then: Does::Exit(7),
            ..Plan::new(folder.path())
        };
        let ms = Duration::from_millis;
        let backoff = Backoff {
            min: ms(100),
            max: ms(500),
            jitter_percent: 20,
            stable: PERIOD,
        };
        within(LIMIT, move || {
            let supervisor = SupervisorOptions {
                backoff,
                ..options(Strategy::OneForOne, 5)
            };
            let mut root = ArbiterLoop::new(ArbiterOptions {
                supervisor,
                ..ArbiterOptions::default()
            })
            .expect("an arbiter");
            let spawning = root.arbiter().spawn(plan.spec("frail"));
            let frail = root.wait(spawning.into_deferred()).expect("a loop");
            frail.expect("a start").send(Fall(5)).expect("it is up");
            let (begun, before) = (Instant::now(), processor_time());
            assert_eq!(root.run().expect("a loop"), 1);
            let (took, spent) = (begun.elapsed(), processor_time() - before);
            let mut lines = plan.lines();
            lines.retain(|line| line.what.starts_with("init"));
            let starts: Vec<_> = lines.iter().map(|line| line.at).collect();
            let pauses: Vec<_> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
            super::note(&format!("pauses {pauses:?}, {spent:?} of {took:?} spent"));
            assert_eq!(pauses.len(), 5);
            for (pause, least) in pauses.iter().zip([100, 200, 400, 500, 500]) {
                // Both ends of a pause are seen by those that start, a little late.
                assert!(*pause + ms(20) >= ms(least), "{pauses:?}");
            }
            assert!(spent < took / 20 + ms(20), "{spent:?} of {took:?}");
        });
    });
}

/// What this process has had of processors, in hundredths of a second.
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("a process table");
    let fields = stat.rsplit_once(") ").expect("a name").1;
    let ticks = fields.split(' ').skip(11).take(2);
    let ticks = ticks.map(|field| field.parse::<u64>().expect("a count"));
    Duration::from_millis(10 * ticks.sum::<u64>())
}

/// What cannot come up for a reason that it gives itself is not tried again.
#[test]
fn a08_a_first_start_that_fails_ends_everything_at_once() {
    let test = "behaviours::b08_crash_loop::a08_a_first_start_that_fails_ends_everything_at_once";
    alone(test, 2 * LIMIT, || {
        let folder = tempfile::tempdir().expect("a folder");
        with_arbiter(move |arbiter| {
            let fine = Plan::new(folder.path());
            let fails = Plan {
                then: Does::Fail,
                ..fine.clone()
            };
            let spec = SupervisorSpec::new("top", options(Strategy::OneForOne, 10))
                .child(fine.spec("fine"))
                .child(fails.spec("fails"));
            let refused = arbiter.supervise(spec).wait().expect_err("no start");
            assert!(matches!(refused, SpawnError::Start(_)), "{refused}");
            let seen = fine.seen(&["init", "-"]);
            assert_eq!(seen, ["init fine", "init fails", "-fine"]);
        });
    });
}

/// The order in which real processes start and stop is the model's.
#[test]
fn a08_starts_and_stops_come_in_the_order_of_the_model() {
    let test = "behaviours::b08_crash_loop::a08_starts_and_stops_come_in_the_order_of_the_model";
    alone(test, 3 * LIMIT, || {
        let policies = [
            Restart::Permanent,
            Restart::Temporary,
            Restart::Permanent,
            Restart::Transient,
        ];
        for strategy in [
            Strategy::OneForOne,
            Strategy::OneForAll,
            Strategy::RestForOne,
        ] {
            with_arbiter(move |arbiter| {
                let folder = tempfile::tempdir().expect("a folder");
                let plan = Plan::new(folder.path());
                let mut spec = SupervisorSpec::new("top", options(strategy, 3));
                let mut children = Vec::new();
                for (index, restart) in policies.into_iter().enumerate() {
                    let name = format!("c{}", index + 1);
                    spec = spec.child(plan.spec(&name).restart(restart));
                    let policy = ChildPolicy {
                        restart,
                        ..ChildPolicy::default()
                    };
                    children.push((name, policy));
                }
                let mut model = Model::new(options(strategy, 3), &[]);
                model.boot(&children);
                arbiter.supervise(spec).wait().expect("a start");
                // One that takes others along, one that is not restarted, and one too many.
                for (name, status) in [("c3", 1), ("c4", 0), ("c1", 1), ("c3", 1), ("c1", 1)] {
                    let reason = match status {
                        0 => ExitReason::Normal,
                        status => ExitReason::Exited(status),
                    };
                    model.exit(name, &reason);
                    if let Some(child) = arbiter.get_actor::<Witness>(name) {
                        drop(child.ask(Fall(status)).wait());
                    }
                    let expected = told(&model.steps).replace(" .", "");
                    let end = Instant::now() + LIMIT;
                    loop {
                        let seen = plan.seen(&["+", "-"]).join(" ");
                        // One that has ended is started anew by the arbiter.
                        if seen == expected || model.ended && seen.starts_with(&expected) {
                            break;
                        }
                        assert!(Instant::now() < end, "{strategy:?}: {seen} not {expected}");
                        thread::park_timeout(Duration::from_millis(2));
                    }
                    if model.ended {
                        return;
                    }
                }
                panic!("{strategy:?}: one crash too many was not too many");
            });
        }
    });
}
