//! Functions that talk through a channel of their own.

use ipc_exchange::{Program, Programs};
use ipc_marshal::Duct;

use crate::maps::calculate;
use crate::watch::Watch;

/// Handles its channel itself.
pub(crate) fn calculate_and_send(mut duct: Duct<(u32, u32, u32), ()>, (i, j): (u32, u32)) {
    duct.send((i, j, calculate((i, j)))).unwrap();
}

pub(crate) fn simple_start() {
    const LIMIT: usize = 4;
    let watch = Watch::start();
    let programs = Programs::new(LIMIT).unwrap();
    let mut table = [[u32::MAX; 4]; 4];
    for i in 0..4 {
        for j in 0..4 {
            programs.start(calculate_and_send, (i, j)).unwrap();
        }
    }
    programs
        .finish(|_, message, _| {
            let (i, j, value) = message.unwrap();
            table[i as usize][j as usize] = value;
        })
        .unwrap();
    for (i, row) in (0..).zip(table) {
        for (j, value) in (0..).zip(row) {
            assert_eq!(value, i * 10 + j);
        }
    }
    drop(programs);
    watch.finish(LIMIT);
}

/// Sends back what it gets, and says that it is done when there is no more.
pub(crate) fn echoes(mut duct: Duct<String, Option<u32>>, _: ()) {
    while let Some(number) = duct.recv().unwrap() {
        duct.send(number.to_string()).unwrap();
    }
    duct.send("Done".into()).unwrap();
}

pub(crate) fn create_loop() {
    let watch = Watch::start();
    let mut program = Program::start(echoes, &()).unwrap();
    for number in 0..100 {
        program.duct().send(Some(number)).unwrap();
        assert_eq!(program.duct().recv().unwrap(), number.to_string());
    }
    program.duct().send(None).unwrap();
    assert_eq!(program.duct().recv().unwrap(), "Done");
    assert!(program.process().wait().unwrap().is_success());
    watch.finish(1);
}

/// Sends a number, and goes on with the answer until that is zero.
pub(crate) fn counts_down(mut duct: Duct<u32, u32>, mut number: u32) {
    loop {
        duct.send(number).unwrap();
        number = duct.recv().unwrap();
        if number == 0 {
            return;
        }
    }
}

pub(crate) fn countdown() {
    let watch = Watch::start();
    let programs = Programs::new(2).unwrap();
    for _ in 0..3 {
        programs.start(counts_down, 20).unwrap();
    }
    let mut seen = vec![Vec::new(); 3];
    programs
        .finish(|id, message, answer| {
            let number = message.unwrap();
            seen[id as usize].push(number);
            answer.unwrap().send(number - 1).unwrap();
        })
        .unwrap();
    for numbers in seen {
        assert_eq!(numbers, (1..=20).rev().collect::<Vec<_>>());
    }
    drop(programs);
    watch.finish(2);
}
