//! Programs: services in processes of their own.

use std::time::Duration;

use ipc_dispatch::Selector;
use ipc_exchange::{Exit, Program, StartError};
use ipc_marshal::{Duct, RecvError};

use crate::harness::{children, tests};
use crate::tasks;

tests![
    a_program_talks_both_ways,
    a_program_ends_with_its_function,
    a_program_is_killed,
    a_program_is_watched_by_a_selector,
    an_unregistered_program_is_refused,
    dropping_a_program_ends_it,
    a_program_is_killed_while_others_reap_it,
];

fn a_program_talks_both_ways() {
    let mut program = Program::start(tasks::echo, &"> ".to_owned()).unwrap();
    for text in ["one", "two"] {
        program.duct().send(text.into()).unwrap();
        assert_eq!(program.duct().recv().unwrap(), format!("> {text}"));
    }
    let (duct, process) = program.into_parts();
    drop(duct);
    assert_eq!(process.wait().unwrap(), Exit::Code(0));
    assert!(children().is_empty());
}

fn a_program_ends_with_its_function() {
    let mut program = Program::start(tasks::quits, &7).unwrap();
    assert!(matches!(
        program.duct().recv(),
        Err(RecvError::Disconnected)
    ));
    assert_eq!(program.process().wait().unwrap(), Exit::Code(7));
    assert_eq!(program.process().try_wait().unwrap(), Some(Exit::Code(7)));
    program.process().kill().unwrap();
}

fn a_program_is_killed() {
    let mut program = Program::start(tasks::deaf, &()).unwrap();
    assert_eq!(program.duct().recv().unwrap(), program.process().id());
    assert_eq!(program.process().try_wait().unwrap(), None);
    let short = Duration::from_millis(5);
    assert_eq!(program.process().wait_timeout(short).unwrap(), None);
    program.process().terminate().unwrap();
    assert_eq!(program.process().wait().unwrap().signal(), Some(15));
}

fn a_program_is_watched_by_a_selector() {
    #[derive(Default)]
    struct Seen {
        messages: Vec<String>,
        exit: Option<Exit>,
    }

    let program = Program::start(tasks::echo, &"> ".to_owned()).unwrap();
    let (mut duct, process) = program.into_parts();
    duct.send("hello".into()).unwrap();
    let mut selector = Selector::<Seen>::new().unwrap();
    let key = selector.add(duct);
    selector
        .on_message(
            key,
            |_: &mut Duct<String, String>, message, ctx| match message {
                Ok(text) => {
                    ctx.state.messages.push(text);
                    // Lets go of the duct: the program ends.
                    ipc_dispatch::Control::Close
                }
                Err(_) => ipc_dispatch::Control::Drop,
            },
        )
        .unwrap();
    process
        .on_exit(&mut selector, |exit, ctx| ctx.state.exit = Some(exit))
        .unwrap();
    let mut seen = Seen::default();
    selector.run(&mut seen).unwrap();
    assert_eq!(seen.messages, ["> hello"]);
    assert_eq!(seen.exit, Some(Exit::Code(0)));
    assert_eq!(process.wait().unwrap(), Exit::Code(0));
}

fn an_unregistered_program_is_refused() {
    fn stranger(_: Duct<(), ()>, _: u32) {}
    let error = Program::start(stranger, &1).unwrap_err();
    assert!(matches!(error, StartError::Unregistered { .. }), "{error}");
}

fn dropping_a_program_ends_it() {
    for _ in 0..5 {
        let mut program = Program::start(tasks::deaf, &()).unwrap();
        program.duct().recv().unwrap();
    }
}

/// A selector, a waiting thread and one that kills: whoever reaps it, nobody signals a number that is
/// free, and all learn the same.
fn a_program_is_killed_while_others_reap_it() {
    for _ in 0..20 {
        let mut program = Program::start(tasks::deaf, &()).unwrap();
        program.duct().recv().unwrap();
        let (_duct, process) = program.into_parts();
        let mut selector = Selector::<Option<Exit>>::new().unwrap();
        process
            .on_exit(&mut selector, |exit, ctx| *ctx.state = Some(exit))
            .unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| process.wait().unwrap());
            scope.spawn(|| {
                while process.try_wait().unwrap().is_none() {
                    process.kill().unwrap();
                }
            });
            let mut seen = None;
            selector.run(&mut seen).unwrap();
            assert_eq!(seen.unwrap().signal(), Some(9));
            assert_eq!(waiting.join().unwrap().signal(), Some(9));
        });
        process.kill().unwrap();
    }
}
