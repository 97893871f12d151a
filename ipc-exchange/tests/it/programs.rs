//! Many programs, a limited number at a time.

use std::time::{Duration, Instant};

use ipc_exchange::{Exit, Program, ProgramError, Programs, ProgramsOptions};
use ipc_marshal::Duct;

use crate::harness::{children, eventually, tests};
use crate::tasks;

tests![
    waiting_programs_start_by_themselves,
    programs_are_answered,
    a_program_that_fails_tells_it_last,
    ready_tells_who_has_spoken,
    waiting_for_a_place_stores_meanwhile,
    one_message_is_a_result,
    the_exit_is_kept,
    a_talkative_program_waits_for_its_owner,
    a_program_that_cannot_start_in_its_turn,
    managed_programs,
];

fn waiting_programs_start_by_themselves() {
    let programs = Programs::<(), u64>::new(2).unwrap();
    for n in 0..6 {
        programs.start(tasks::numbers, (n, 3)).unwrap();
        assert!(children().len() <= 2);
    }
    // Nobody stores anything, and still all of them run to their ends.
    assert!(eventually(|| !programs.busy() && children().is_empty()));
    assert_eq!(programs.active().len(), 6);
    let mut seen = vec![Vec::new(); 6];
    programs
        .finish(|id, message, _| seen[id as usize].push(message.unwrap()))
        .unwrap();
    for (n, numbers) in (0..).zip(seen) {
        assert_eq!(numbers, [n, n + 1, n + 2]);
    }
    assert_eq!(programs.unfinished(), 0);
}

fn programs_are_answered() {
    let programs = Programs::<String, String>::new(1).unwrap();
    let id = programs.start(tasks::echo, "> ".to_owned()).unwrap();
    let mut program = Program::start(tasks::echo, &"] ".to_owned()).unwrap();
    program.duct().send("first".into()).unwrap();
    let added = programs.add(program).unwrap();
    assert_eq!(programs.active(), [id, added]);
    let mut seen = Vec::new();
    while seen.len() < 3 {
        programs
            .store(None, |from, message, answer| {
                let text = message.unwrap();
                if seen.len() < 2 {
                    answer.unwrap().send(text.clone()).unwrap();
                }
                seen.push((from, text));
            })
            .unwrap();
    }
    let expected = ["] first", "] ] first", "] ] ] first"].map(|text| (added, text.to_owned()));
    assert_eq!(seen, expected);
    assert!(programs.remove(id) && programs.remove(added));
    assert!(
        !programs.store(None, |_, _, _| ()).unwrap(),
        "nothing can come"
    );
}

fn a_program_that_fails_tells_it_last() {
    let programs = Programs::<(), ()>::new(1).unwrap();
    for code in [0, 5] {
        programs.start(tasks::quits, code).unwrap();
    }
    let mut ends = Vec::new();
    programs
        .finish(|id, message, _| ends.push((id, message)))
        .unwrap();
    assert!(
        matches!(ends[..], [(1, Err(ProgramError::Exited(Exit::Code(5))))]),
        "{ends:?}"
    );
}

fn ready_tells_who_has_spoken() {
    let programs = Programs::<String, String>::new(2).unwrap();
    let quiet = programs.start(tasks::echo, String::new()).unwrap();
    assert!(programs.ready(Some(Duration::from_millis(20))).is_empty());
    let mut program = Program::start(tasks::echo, &String::new()).unwrap();
    program.duct().send("x".into()).unwrap();
    let loud = programs.add(program).unwrap();
    assert_eq!(programs.ready(None), [loud]);
    assert_eq!(programs.ready(None), [loud], "it takes nothing");
    assert!(programs.remove(loud) && programs.remove(quiet));
    assert!(programs.ready(None).is_empty());
}

fn waiting_for_a_place_stores_meanwhile() {
    let programs = Programs::<(), u64>::new(1).unwrap();
    let mut seen = 0;
    for n in 0..3 {
        programs
            .create(tasks::numbers, (n, 2000), |_, message, _| {
                message.unwrap();
                seen += 1;
            })
            .unwrap();
        assert!(children().len() <= 1);
    }
    let program = Program::start(tasks::numbers, &(0, 1)).unwrap();
    let id = programs.add_wait(program, |_, _, _| seen += 1).unwrap();
    assert_eq!(id, 3);
    programs.finish(|_, _, _| seen += 1).unwrap();
    assert_eq!(seen, 6001);
}

fn one_message_is_a_result() {
    let options = ProgramsOptions::new().limit(2).continuous(false);
    let programs = options.open::<(), u64>().unwrap();
    for n in 0..8 {
        programs.start(tasks::numbers, (n, 2)).unwrap();
        assert!(
            children().len() <= 2,
            "a result frees no place before its sender's end"
        );
    }
    let mut results = Vec::new();
    programs
        .finish(|id, message, _| results.push((id, message.unwrap())))
        .unwrap();
    results.sort_unstable();
    assert_eq!(results, (0..8).map(|n| (n, n)).collect::<Vec<_>>());
}

fn the_exit_is_kept() {
    let options = ProgramsOptions::new().limit(1).autoclose(false);
    let programs = options.open::<(), ()>().unwrap();
    let first = programs.start(tasks::quits, 0).unwrap();
    let second = programs.start(tasks::quits, 3).unwrap();
    programs.finish(|_, _, _| ()).unwrap();
    assert_eq!(programs.exit(first), Some(Exit::Code(0)));
    assert_eq!(programs.exit(second), Some(Exit::Code(3)));
    assert!(programs.active().is_empty() && programs.unfinished() == 0);
    assert!(programs.remove(first) && !programs.remove(first));
    assert_eq!(programs.exit(first), None);
}

fn a_talkative_program_waits_for_its_owner() {
    let programs = Programs::<(), u64>::new(1).unwrap();
    programs.start(tasks::numbers, (0, 300_000)).unwrap();
    let started = Instant::now();
    assert!(!programs.ready(None).is_empty());
    let mut next = 0;
    programs
        .finish(|_, message, _| {
            assert_eq!(message.unwrap(), next);
            next += 1;
        })
        .unwrap();
    assert_eq!(next, 300_000, "{:?}", started.elapsed());
}

fn a_program_that_cannot_start_in_its_turn() {
    fn stranger(_: Duct<u64, ()>, _: u64) {}
    let programs = Programs::<(), u64>::new(1).unwrap();
    assert!(programs.start(stranger, 1).is_err());
    programs.start(tasks::numbers, (0, 1)).unwrap();
    let late = programs.start(stranger, 1).unwrap();
    let mut failed = Vec::new();
    programs
        .finish(|id, message, answer| {
            if let Err(error) = message {
                assert!(matches!(error, ProgramError::NotStarted(_)) && answer.is_none());
                failed.push(id);
            }
        })
        .unwrap();
    assert_eq!(failed, [late]);
}

fn managed_programs() {
    let programs = Programs::<(), u64>::new(2).unwrap();
    let numbers = programs.manage(tasks::numbers);
    for n in 0..4 {
        numbers((n, 1)).unwrap();
    }
    let mut sum = 0;
    programs
        .finish(|_, number, _| sum += number.unwrap())
        .unwrap();
    assert_eq!(sum, 6);
}
