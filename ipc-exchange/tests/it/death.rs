//! Workers and parents that die.

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant};

use ipc_exchange::{Cause, Exchange, ExchangeOptions, Exit, Program, Start, TaskOptions};
use nix::sys::signal::Signal;

use crate::harness::{children, eventually, is_alive, kill, patience, tests};
use crate::tasks;

tests![
    a_death_costs_one_task,
    deaths_are_told_apart,
    a_map_with_random_deaths,
    a_lost_task_is_tried_again,
    a_poisonous_task_is_given_up,
    a_killed_worker_is_replaced_at_once,
    what_a_killed_worker_started_ends_with_it,
    a_killed_or_stopped_zygote_costs_no_task,
    workers_end_with_a_killed_parent,
];

fn a_death_costs_one_task() {
    let exchange = Exchange::new(2).unwrap();
    let mut queue = exchange.queue();
    let lost = exchange.submit(tasks::die, "kill".into()).unwrap();
    for x in 0..200 {
        queue.start(tasks::square, x).unwrap();
    }
    let error = lost.wait().unwrap_err();
    let Cause::Lost { exit, .. } = error.cause() else {
        panic!("{error:?}");
    };
    assert_eq!(exit.signal(), Some(9));
    assert!(error.report().task.ends_with("tasks::die"));
    assert!(error.report().pid.is_some());
    assert_eq!(queue.by_ref().filter(Result::is_ok).count(), 200);
    exchange.finish();
}

fn deaths_are_told_apart() {
    let exchange = Exchange::new(1).unwrap();
    let how = |how: &str| {
        let error = exchange
            .submit(tasks::die, how.into())
            .unwrap()
            .wait()
            .unwrap_err();
        match error.cause() {
            Cause::Lost { exit, .. } => *exit,
            other => panic!("{how}: {other:?}"),
        }
    };
    assert_eq!(how("exit"), Exit::Code(3));
    assert_eq!(how("abort").signal(), Some(6));
    assert_eq!(how("kill").signal(), Some(9));
    assert_eq!(how("overflow").signal(), Some(6));
    assert_eq!(
        exchange.submit(tasks::square, 2).unwrap().wait().unwrap(),
        4
    );
    exchange.finish();
}

fn a_map_with_random_deaths() {
    let exchange = Exchange::new(2).unwrap();
    let mut map = exchange.map(tasks::pause, vec![1; 300]);
    let mut lost = 0;
    let mut killed = HashSet::new();
    for index in 0..300 {
        if index % 60 == 30 {
            let pid = exchange.workers()[0];
            if killed.insert(pid) {
                kill(pid, Signal::SIGKILL);
            }
        }
        match map.next().unwrap() {
            Ok(_) => {}
            Err(error) => {
                assert!(error.is_lost(), "{error}");
                lost += 1;
            }
        }
    }
    assert!(map.next().is_none());
    assert!(
        lost <= killed.len(),
        "{lost} lost by {} deaths",
        killed.len()
    );
    exchange.finish();
}

fn a_lost_task_is_tried_again() {
    let exchange = ExchangeOptions::new().limit(1).retries(1).open().unwrap();
    assert_eq!(
        exchange.submit(tasks::attempt, 1).unwrap().wait().unwrap(),
        2
    );
    let error = exchange
        .submit(tasks::attempt, 2)
        .unwrap()
        .wait()
        .unwrap_err();
    assert!(error.is_lost());
    assert_eq!(error.report().attempt, 2);
    let once = TaskOptions::new();
    let error = exchange
        .submit_with(&once, tasks::attempt, 1)
        .unwrap()
        .wait()
        .unwrap_err();
    assert_eq!(error.report().attempt, 1);
    exchange.finish();
}

fn a_poisonous_task_is_given_up() {
    let exchange = ExchangeOptions::new()
        .limit(1)
        .retries(1000)
        .open()
        .unwrap();
    let error = exchange
        .submit(tasks::attempt, 5000)
        .unwrap()
        .wait()
        .unwrap_err();
    assert_eq!(error.report().attempt, 3);
    exchange.finish();
}

fn a_killed_worker_is_replaced_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let exchange = Exchange::new(1).unwrap();
    for round in 0..10 {
        let path = folder.path().join(round.to_string());
        let busy = exchange.submit(tasks::spin, Some(path.clone())).unwrap();
        let next = exchange.submit(tasks::square, 3).unwrap();
        // Only a task that has begun is lost with its worker.
        let pid = || fs::read_to_string(&path).ok()?.parse::<u32>().ok();
        assert!(eventually(|| pid().is_some()));
        let pid = pid().unwrap();
        let killed = Instant::now();
        kill(pid, Signal::SIGKILL);
        let error = busy.wait().unwrap_err();
        let told = killed.elapsed();
        assert_eq!(error.report().pid, Some(pid));
        assert_eq!(next.wait().unwrap(), 9);
        let replaced = killed.elapsed();
        // 1 ms and 5 ms are wanted: see the example `latency`.
        assert!(told < patience(), "{told:?}");
        assert!(replaced < patience(), "{replaced:?}");
    }
    exchange.finish();
}

/// Only the worker is killed, not its process group.
fn what_a_killed_worker_started_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grandchild");
    let exchange = Exchange::new(1).unwrap();
    let lost = exchange.submit(tasks::grandchild, path.clone()).unwrap();
    let pid = || fs::read_to_string(&path).ok()?.parse::<u32>().ok();
    assert!(eventually(|| pid().is_some()));
    let grandchild = pid().unwrap();
    kill(exchange.workers()[0], Signal::SIGKILL);
    assert!(lost.wait().unwrap_err().is_lost());
    assert!(eventually(|| !is_alive(grandchild)));
    exchange.finish();
}

/// Whatever it was at: it may have forked what it never tells of.
fn a_killed_or_stopped_zygote_costs_no_task() {
    let options = ExchangeOptions::new().limit(2).reuse(false);
    let exchange = options.start(Start::Zygote).open().unwrap();
    for round in 0..60 {
        let squares = (0..8).map(|x| exchange.submit(tasks::square, x).unwrap());
        let squares: Vec<_> = squares.collect();
        let workers = exchange.workers();
        let zygote = children()
            .into_iter()
            .find(|pid| !workers.contains(pid) && is_zygote(*pid));
        if let Some(zygote) = zygote {
            let until = Instant::now() + Duration::from_micros(round * 30);
            while Instant::now() < until {}
            kill(
                zygote,
                if round == 59 {
                    Signal::SIGSTOP
                } else {
                    Signal::SIGKILL
                },
            );
        }
        for (x, square) in (0..8).zip(squares) {
            assert_eq!(square.wait().unwrap(), x * x, "round {round}");
        }
    }
    exchange.finish();
}

/// It alone has one thread.
fn is_zygote(pid: u32) -> bool {
    fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|threads| threads.count() == 1)
}

/// A whole program is killed while its workers compute.
fn workers_end_with_a_killed_parent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("parent");
    let exchange = Exchange::new(1).unwrap();
    let lost = exchange.submit(tasks::orphan, path.clone()).unwrap();
    let read = |name: &str| -> Option<u32> {
        fs::read_to_string(folder.path().join(name))
            .ok()?
            .parse()
            .ok()
    };
    assert!(eventually(|| read("parent").is_some()));
    let pids = ["spin0", "spin1"].map(|name| read(name).unwrap());
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    kill(read("parent").unwrap(), Signal::SIGKILL);
    assert!(lost.wait().unwrap_err().is_lost());
    assert!(eventually(|| pids.iter().all(|pid| !is_alive(*pid))));
    exchange.finish();

    // And a program's process when only its owner lets go of it.
    let mut program = Program::start(tasks::deaf, &()).unwrap();
    let pid = program.duct().recv().unwrap();
    drop(program);
    assert!(eventually(|| !is_alive(pid) && children().is_empty()));
}
