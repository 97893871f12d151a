//! Histories whose starts and stops end at once, beside the model.

use std::time::Duration;

use ipc_actors::{
    AutoShutdown, ChildPolicy, Event, ExitReason, Restart, Strategy, SupervisorOptions,
};

use super::supervision::model::Model;
use super::supervision::world::World;
use crate::tape::Tape;

/// More would only be more of the same.
const STEPS_MAX: usize = 400;

pub(super) fn options(tape: &mut Tape<'_>) -> SupervisorOptions {
    let byte = tape.next();
    SupervisorOptions {
        strategy: [
            Strategy::OneForOne,
            Strategy::OneForAll,
            Strategy::RestForOne,
        ][usize::from(byte % 3)],
        intensity: u32::from(byte >> 2 & 7),
        period: Duration::from_secs(1),
        auto_shutdown: match byte >> 5 {
            0..=4 => AutoShutdown::Never,
            5 | 6 => AutoShutdown::AnySignificant,
            _ => AutoShutdown::AllSignificant,
        },
        ..SupervisorOptions::default()
    }
}

pub(super) fn policy(byte: u8, options: &SupervisorOptions) -> ChildPolicy {
    let restart = [
        Restart::Permanent,
        Restart::Transient,
        Restart::Temporary,
        Restart::Permanent,
    ][usize::from(byte & 3)];
    let may = options.auto_shutdown != AutoShutdown::Never && restart != Restart::Permanent;
    ChildPolicy {
        restart,
        significant: may && byte & 4 != 0,
        ..ChildPolicy::default()
    }
}

pub(super) fn reason(byte: u8) -> ExitReason {
    match byte % 6 {
        0 => ExitReason::Panicked("on purpose".to_owned()),
        1 => ExitReason::Normal,
        2 => ExitReason::Shutdown,
        3 => ExitReason::ShutdownWith("done".to_owned()),
        4 => ExitReason::Exited(3),
        _ => ExitReason::Signalled {
            signal: 9,
            core: false,
        },
    }
}

/// Same starts, same stops, in the same order, and the same children alive after every step.
pub(super) fn history(mut tape: Tape<'_>) {
    let options = options(&mut tape);
    let children: Vec<(String, ChildPolicy)> = (0..tape.next() % 7)
        .map(|at| (format!("c{at}"), policy(tape.next(), &options)))
        .collect();
    let mask = tape.take(8).to_vec();
    // A start fails now and then: where two bits in a row are set.
    let starts: Vec<bool> = mask
        .iter()
        .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 3 != 3))
        .collect();
    let mut model = Model::new(options, &starts);
    let mut world = World::new(options, &starts);
    model.boot(&children);
    world.boot(&children);
    for _ in 0..STEPS_MAX {
        assert_eq!(model.steps, world.steps);
        assert_eq!(model.alive(), world.alive());
        assert_eq!(model.ended, world.ended.is_some());
        if model.ended || tape.0.is_empty() {
            break;
        }
        // Only how the next step goes is compared, not all before it.
        model.steps.clear();
        world.steps.clear();
        let (what, number) = (tape.next(), tape.next());
        step(what, number, &options, &mut model, &mut world);
    }
}

fn step(what: u8, number: u8, options: &SupervisorOptions, model: &mut Model, world: &mut World) {
    let name = format!("c{}", number % 8);
    match what % 13 {
        0..=5 => {
            model.exit(&name, &reason(number >> 3));
            world.exit(&name, reason(number >> 3));
        }
        6 | 7 => {
            let time = Duration::from_millis([500, 1000, 1001, 2500][usize::from(number & 3)]);
            model.now += time;
            world.advance(time);
        }
        8 => {
            model.terminate(&name);
            world.by_hand(&name, |supervisor, key, now| {
                supervisor.terminate(key, now).expect("it was found");
            });
        }
        9 => {
            model.restart_child(&name);
            world.by_hand(&name, |supervisor, key, now| {
                let _ = supervisor.restart(key, now);
            });
        }
        10 => {
            model.delete(&name);
            world.by_hand(&name, |supervisor, key, now| {
                let _ = supervisor.delete(key, now);
            });
        }
        11 => {
            model.add(&name, policy(number >> 3, options));
            world.add(&name, policy(number >> 3, options));
        }
        _ if number > 250 => {
            model.shut_down();
            world.handle(Event::Stop(ExitReason::Shutdown));
        }
        _ => {}
    }
}
