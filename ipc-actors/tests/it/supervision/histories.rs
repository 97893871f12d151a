//! The state machine against the model, over random histories.

use std::time::Duration;

use ipc_actors::{
    AutoShutdown, ChildPolicy, Event, ExitReason, Restart, Strategy as Who, SupervisorOptions,
};
use proptest::prelude::*;

use super::model::Model;
use super::world::World;

#[derive(Clone, Debug)]
enum Op {
    Exit(usize, ExitReason),
    Wait(u64),
    Terminate(usize),
    Restart(usize),
    Delete(usize),
    Add(usize, ChildPolicy),
    Stop,
}

fn reason() -> impl Strategy<Value = ExitReason> {
    prop_oneof![
        Just(ExitReason::Normal),
        Just(ExitReason::Shutdown),
        Just(ExitReason::ShutdownWith("done".to_owned())),
        Just(ExitReason::Panicked("on purpose".to_owned())),
        Just(ExitReason::Signalled {
            signal: 9,
            core: false
        }),
        Just(ExitReason::Exited(3)),
    ]
}

fn policy(auto: AutoShutdown) -> impl Strategy<Value = ChildPolicy> {
    let restart = prop_oneof![
        3 => Just(Restart::Permanent),
        2 => Just(Restart::Transient),
        2 => Just(Restart::Temporary),
    ];
    (restart, any::<bool>()).prop_map(move |(restart, significant)| ChildPolicy {
        restart,
        significant: significant && auto != AutoShutdown::Never && restart != Restart::Permanent,
        ..ChildPolicy::default()
    })
}

fn op(auto: AutoShutdown) -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..8_usize, reason()).prop_map(|(child, reason)| Op::Exit(child, reason)),
        6 => prop_oneof![Just(500), Just(1000), Just(1001), 0..2500_u64].prop_map(Op::Wait),
        2 => (0..8_usize).prop_map(Op::Terminate),
        2 => (0..8_usize).prop_map(Op::Restart),
        1 => (0..8_usize).prop_map(Op::Delete),
        2 => (0..8_usize, policy(auto)).prop_map(|(child, policy)| Op::Add(child, policy)),
        1 => Just(Op::Stop),
    ]
}

#[derive(Clone, Debug)]
struct History {
    options: SupervisorOptions,
    children: Vec<ChildPolicy>,
    starts: Vec<bool>,
    ops: Vec<Op>,
}

fn history() -> impl Strategy<Value = History> {
    let who = prop_oneof![
        Just(Who::OneForOne),
        Just(Who::OneForAll),
        Just(Who::RestForOne)
    ];
    let auto = prop_oneof![
        4 => Just(AutoShutdown::Never),
        1 => Just(AutoShutdown::AnySignificant),
        1 => Just(AutoShutdown::AllSignificant),
    ];
    (who, auto, 0..5_u32).prop_flat_map(|(strategy, auto_shutdown, intensity)| {
        let options = SupervisorOptions {
            strategy,
            intensity,
            period: Duration::from_secs(1),
            auto_shutdown,
            ..SupervisorOptions::default()
        };
        let start = prop_oneof![9 => Just(true), 1 => Just(false)];
        (
            Just(options),
            prop::collection::vec(policy(auto_shutdown), 0..6),
            prop::collection::vec(start, 0..60),
            prop::collection::vec(op(auto_shutdown), 0..40),
        )
            .prop_map(|(options, children, starts, ops)| History {
                options,
                children,
                starts,
                ops,
            })
    })
}

fn apply(op: &Op, model: &mut Model, world: &mut World) {
    let name = |child: &usize| format!("c{}", child + 1);
    match op {
        Op::Exit(child, reason) => {
            model.exit(&name(child), reason);
            world.exit(&name(child), reason.clone());
        }
        Op::Wait(ms) => {
            model.now += Duration::from_millis(*ms);
            world.advance(Duration::from_millis(*ms));
        }
        Op::Terminate(child) => {
            model.terminate(&name(child));
            world.by_hand(&name(child), |supervisor, key, now| {
                supervisor.terminate(key, now).expect("it was found");
            });
        }
        Op::Restart(child) => {
            model.restart_child(&name(child));
            world.by_hand(&name(child), |supervisor, key, now| {
                let _ = supervisor.restart(key, now);
            });
        }
        Op::Delete(child) => {
            model.delete(&name(child));
            world.by_hand(&name(child), |supervisor, key, now| {
                let _ = supervisor.delete(key, now);
            });
        }
        Op::Add(child, policy) => {
            model.add(&name(child), *policy);
            world.add(&name(child), *policy);
        }
        Op::Stop => {
            model.shut_down();
            world.handle(Event::Stop(ExitReason::Shutdown));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 2000 }, failure_persistence: None, ..ProptestConfig::default() })]

    /// Same starts, same stops, in the same order, and the same children alive after every step.
    #[test]
    fn every_history_goes_as_in_otp(history in history()) {
        let named: Vec<_> = history
            .children
            .iter()
            .enumerate()
            .map(|(index, policy)| (format!("c{}", index + 1), *policy))
            .collect();
        let mut model = Model::new(history.options, &history.starts);
        let mut world = World::new(history.options, &history.starts);
        model.boot(&named);
        world.boot(&named);
        prop_assert_eq!(&model.steps, &world.steps);
        for op in &history.ops {
            if model.ended {
                break;
            }
            apply(op, &mut model, &mut world);
            prop_assert_eq!(&model.steps, &world.steps, "after {:?}", op);
            prop_assert_eq!(model.alive(), world.alive(), "after {:?}", op);
            prop_assert_eq!(model.ended, world.ended.is_some());
        }
    }
}
