//! Playing scenarios one after another, and watching over them.
//!
//! The program that is started makes a folder and starts itself again with it: that one plays, and
//! all that it starts can be told by the folder's name in their environment. The first one looks that
//! nothing outlives the run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::account::{Books, HOME, home};
use crate::chance::Chance;
use crate::scenario::{Scenario, current_step, step, tally};
use crate::session::{bearers, end_with_the_scenario, signal};

/// How long a scenario may take on a machine that does much else.
const LIMIT: Duration = Duration::from_secs(300);

/// Plays the scenarios so often, in a process of its own.
pub(crate) fn all(chosen: &[Scenario]) -> ExitCode {
    match home() {
        None => watched(),
        Some(_) => {
            end_with_the_scenario();
            rounds(chosen)
        }
    }
}

fn watched() -> ExitCode {
    let home = tempfile::tempdir().expect("a folder");
    let own = std::env::current_exe().expect("this program has a path");
    let mut player = Command::new(own)
        .args(std::env::args_os().skip(1))
        .env(HOME, home.path())
        .env("TMPDIR", home.path())
        .stdin(Stdio::piped())
        .spawn()
        .expect("this program can be started");
    // Waiting would close what tells the player that this process lives.
    let lifeline = player.stdin.take();
    let status = player.wait().expect("its end");
    drop(lifeline);
    let left = bearers(HOME, home.path());
    for pid in &left {
        println!("process {pid} outlives the run");
        signal(*pid, Signal::SIGKILL);
    }
    ExitCode::from(u8::from(!status.success() || !left.is_empty()))
}

fn rounds(chosen: &[Scenario]) -> ExitCode {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    let rounds = number("IPC_CHAOS_ROUNDS").unwrap_or(1);
    let seed = number("IPC_CHAOS_SEED").unwrap_or(std::process::id().into());
    let mut failed = 0;
    for round in 0..rounds {
        for scenario in chosen {
            failed += u32::from(!one(*scenario, seed + round));
        }
    }
    let count = chosen.len();
    println!("{count} scenarios, {rounds} rounds, {failed} failed");
    ExitCode::from(u8::from(failed > 0))
}

/// Plays a scenario; one that hangs ends everything, and what it has started ends with it.
fn one((name, scenario): Scenario, seed: u64) -> bool {
    step("begin");
    let books = Books::open();
    let begun = Instant::now();
    let (done, finished) = mpsc::channel();
    let thread = thread::spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(|| scenario(&mut Chance::new(seed))));
        // The watch may have given up.
        let _ = done.send(());
        result.is_ok()
    });
    let hint = || format!("again: IPC_CHAOS_SEED={seed} cargo test -p fuzz --test chaos -- {name}");
    if finished.recv_timeout(LIMIT).is_err() {
        println!("{name} hangs at: {}\n{}", current_step(), hint());
        for pid in bearers(HOME, &home().unwrap_or_default()) {
            if pid != std::process::id() {
                signal(pid, Signal::SIGKILL);
            }
        }
        std::process::exit(101);
    }
    let mut passed = thread.join().unwrap_or(false);
    if !passed {
        println!("{name} failed at: {}", current_step());
    }
    if let Err(left) = books.balance() {
        println!("{name} left: {left}");
        passed = false;
    }
    let verdict = if passed { "ok" } else { "FAILED" };
    let (took, done) = (begun.elapsed(), tally().take());
    println!("{name} ... {verdict} ({took:.1?}, seed {seed}; {done})");
    if !passed {
        println!("{}", hint());
    }
    passed
}
