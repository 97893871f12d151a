//! Chaos: real processes that are killed, stopped and starved at every step of each protocol, and what
//! must hold then.
//!
//! It has a `main` of its own because it is started again in many roles: as a worker, as the process of
//! an actor, and as the programs that the scenarios start and kill ([`session`]). Words select
//! scenarios by a part of their names. `IPC_CHAOS_ROUNDS` plays them so often, each round with another
//! seed; `IPC_CHAOS_SEED` repeats what was seen ([`play`]). After each scenario the books must balance
//! ([`account`]).

#![expect(clippy::print_stdout, reason = "the test runner prints what it does")]

mod account;
mod actors;
mod adoption;
mod arbiter;
mod calls;
mod chance;
mod clocks;
mod crowd;
mod detached;
mod exchange;
mod garbage;
mod journal;
mod loops;
mod parent;
mod passing;
mod pauses;
mod people;
mod play;
mod poverty;
mod remote;
mod rings;
mod scarcity;
mod scenario;
mod session;
mod signals;
mod storms;
mod tasks;
mod torn;
mod victim;

use std::process::ExitCode;

use scenario::Scenario;

/// A role by its name, given the words that are left for it.
type Role = (&'static str, fn(&[String]) -> ExitCode);

/// What this program is when a scenario has started it.
const ROLES: [Role; 25] = [
    (clocks::TICKS, clocks::ticks),
    (clocks::WAITS, clocks::waits),
    (garbage::CALLER, garbage::caller),
    (garbage::SERVER, garbage::server),
    (passing::FULL, passing::full),
    (storms::INTERRUPTED, storms::interrupted),
    (loops::CROWD, loops::crowd),
    (pauses::ECHO, pauses::echo),
    (poverty::POOR, poverty::poor),
    (storms::STORMED, storms::stormed),
    (parent::ROLE, parent::role),
    (detached::STARTER, detached::starter),
    (detached::READER, detached::reader),
    (journal::ROLE, journal::role),
    (journal::FILLER, journal::filler),
    (crowd::ROLE, crowd::role),
    (signals::ROLE, signals::role),
    (scarcity::FEW, scarcity::few),
    (scarcity::FEW_FOR_ACTORS, scarcity::few_for_actors),
    (scarcity::LITTLE, scarcity::little),
    (scarcity::ONE, scarcity::one),
    (adoption::ROLE, adoption::role),
    (arbiter::ROLE, arbiter::role),
    (arbiter::SERVER, arbiter::server),
    (remote::ROLE, remote::role),
];

/// Those that are traced by the scenario that has started them, and end with it.
const VICTIMS: [Role; 6] = [
    (calls::CALLER, calls::caller),
    (calls::SERVER, calls::server),
    (rings::READER, rings::reader),
    (rings::WRITER, rings::writer),
    (torn::DEAF, torn::deaf),
    (torn::TORN, torn::torn),
];

const FAMILIES: [&[Scenario]; 21] = [
    calls::SCENARIOS,
    garbage::SCENARIOS,
    passing::SCENARIOS,
    clocks::SCENARIOS,
    torn::SCENARIOS,
    rings::SCENARIOS,
    pauses::SCENARIOS,
    storms::SCENARIOS,
    poverty::SCENARIOS,
    loops::SCENARIOS,
    exchange::SCENARIOS,
    parent::SCENARIOS,
    detached::SCENARIOS,
    journal::SCENARIOS,
    crowd::SCENARIOS,
    signals::SCENARIOS,
    scarcity::SCENARIOS,
    actors::SCENARIOS,
    arbiter::SCENARIOS,
    adoption::SCENARIOS,
    remote::SCENARIOS,
];

fn main() -> ExitCode {
    tasks::before_init();
    ipc_exchange::init(tasks::registry());
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name, words @ ..] = &arguments[..]
        && flag == "--role"
    {
        if let Some((_, victim)) = VICTIMS.iter().find(|role| role.0 == name) {
            return victim(words);
        }
        session::end_with_the_scenario();
        let role = ROLES.iter().find(|role| role.0 == name);
        return role.map_or(ExitCode::FAILURE, |role| role.1(words));
    }
    let (flags, filters): (Vec<_>, Vec<_>) =
        arguments.iter().partition(|word| word.starts_with('-'));
    let wanted = |name: &str| {
        let mut filters = filters.iter();
        filters.len() == 0 || filters.any(|filter| name.contains(filter.as_str()))
    };
    let all = FAMILIES.concat().into_iter();
    let chosen: Vec<_> = all.filter(|(name, _)| wanted(name)).collect();
    if flags.iter().any(|flag| *flag == "--list") {
        chosen.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    play::all(&chosen)
}
