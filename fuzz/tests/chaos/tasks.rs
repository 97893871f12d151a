//! What workers run: tasks that do their work, and tasks that are struck down at a known step of it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::thread;
use std::time::{Duration, Instant};

use ipc_actors::host;
use ipc_exchange::{Exchange, Publisher, Registry, Yield, current, registry};
use ipc_marshal::Duct;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::people::{Clerk, Fragile};
use crate::session::signal;

/// Makes a process die before it comes to the hand-shake: a file, which the first to see it removes.
pub(crate) const BEFORE_INIT: &str = "IPC_CHAOS_BEFORE_INIT";

pub(crate) fn registry() -> Registry {
    registry![
        square,
        labour,
        prepare,
        count,
        spin,
        nested,
        large,
        hoard,
        hoard_all,
        wait,
        slow_square,
        parent_of,
        echo,
        publish,
        number,
        host::<Clerk>,
        host::<Fragile>
    ]
}

/// Strikes before `init`, if that was ordered.
pub(crate) fn before_init() {
    if let Some(token) = std::env::var_os(BEFORE_INIT)
        && fs::remove_file(token).is_ok()
    {
        die();
    }
}

/// Ends this process as `kill -9` does.
pub(crate) fn die() -> ! {
    signal(process::id(), Signal::SIGKILL);
    loop {
        thread::park();
    }
}

/// Where in its work a task is struck down, the first time that it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Blow {
    Never,
    /// Before it has done anything.
    Begin,
    /// So many microseconds after its begin, by another thread.
    After(u64),
    /// So many microseconds after its result began to travel.
    Result(u64),
}

/// A task of which it is written down that it ran.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) number: u64,
    pub(crate) trace: PathBuf,
    pub(crate) blow: Blow,
    /// How many bytes it answers.
    pub(crate) len: usize,
}

/// The result of a task: it shows that it is whole, and whose it is.
pub(crate) fn pattern(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend((0..len).map(|index| (index as u64 * 31 + number) as u8));
    bytes
}

pub(crate) fn labour(work: Work) -> Vec<u8> {
    if current().is_none_or(|task| task.attempt() > 1) {
        note(&work.trace, work.number);
        return pattern(work.number, work.len);
    }
    match work.blow {
        Blow::Begin => die(),
        Blow::After(us) => strike_after(us),
        Blow::Never | Blow::Result(_) => {}
    }
    note(&work.trace, work.number);
    if let Blow::After(_) = work.blow {
        pause(Duration::MAX);
    }
    let result = pattern(work.number, work.len);
    if let Blow::Result(us) = work.blow {
        strike_after(us);
    }
    result
}

fn strike_after(us: u64) {
    thread::spawn(move || {
        let until = Instant::now() + Duration::from_micros(us);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        die()
    });
}

/// Adds a line, in one piece.
pub(crate) fn note(trace: &Path, number: u64) {
    let file = OpenOptions::new().create(true).append(true).open(trace);
    let line = format!("{number}\n");
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .expect("the trace can be written");
}

/// The numbers that were noted, in that order.
pub(crate) fn notes(trace: &Path) -> Vec<u64> {
    let text = fs::read_to_string(trace).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

pub(crate) fn pause(time: Duration) {
    let begun = Instant::now();
    while let Some(left) = time.checked_sub(begun.elapsed()) {
        thread::park_timeout(left);
    }
}

pub(crate) fn square(x: u64) -> u64 {
    x * x
}

/// A square that takes its time.
pub(crate) fn slow_square(x: u64) -> u64 {
    let until = Instant::now() + Duration::from_micros(200);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    x * x
}

/// Notes a number and takes its time, in microseconds.
pub(crate) fn number((trace, n, us): (PathBuf, u64, u64)) -> u64 {
    note(&trace, n);
    pause(Duration::from_micros(us));
    n * n
}

/// An initializer: dies if it can have the token, and hangs if there is no token to be had.
pub(crate) fn prepare((token, how): (PathBuf, String)) -> bool {
    match how.as_str() {
        "die" if fs::remove_file(&token).is_ok() => die(),
        "hang" => {
            note(&token, process::id().into());
            spin(None)
        }
        _ => true,
    }
}

/// Yields numbers and dies after so many of them.
pub(crate) fn count((to, dies_at): (u64, u64), out: Yield<u64>) {
    for n in 0..to {
        if n == dies_at {
            die();
        }
        if out.put(&n).is_err() {
            return;
        }
    }
}

/// Computes until it is killed, and tells who does.
pub(crate) fn spin(trace: Option<PathBuf>) -> bool {
    if let Some(trace) = trace {
        note(&trace, process::id().into());
    }
    loop {
        std::hint::spin_loop();
    }
}

/// Has workers of its own, who have workers of theirs, who compute until they are killed.
pub(crate) fn nested((depth, trace): (u32, PathBuf)) -> u32 {
    let exchange = Exchange::new(2).expect("an exchange");
    let ended = match depth {
        0 => exchange
            .submit(spin, Some(trace))
            .map(|handle| handle.wait().is_ok()),
        _ => {
            let below = exchange.submit(nested, (depth - 1, trace));
            return below.map_or(0, |handle| handle.wait().unwrap_or(0));
        }
    };
    u32::from(ended.is_ok_and(|ended| ended))
}

/// A result that takes its time to travel.
pub(crate) fn large((trace, len): (PathBuf, usize)) -> Vec<u8> {
    note(&trace, process::id().into());
    pattern(0, len)
}

/// Takes so many bytes of memory, and answers whether it got them.
pub(crate) fn hoard(bytes: usize) -> bool {
    let mut memory = Vec::new();
    if memory.try_reserve_exact(bytes).is_err() {
        return false;
    }
    memory.resize(bytes, 1_u8);
    std::hint::black_box(&memory);
    true
}

/// The same, and ends this process if there is not so much.
pub(crate) fn hoard_all(bytes: usize) -> usize {
    let memory = vec![1_u8; bytes];
    std::hint::black_box(&memory).len()
}

/// Tells who this is and waits to be killed.
pub(crate) fn wait(trace: PathBuf) -> bool {
    note(&trace, process::id().into());
    pause(Duration::MAX);
    false
}

/// Starts a process of its own, tells who, and computes until it is killed.
#[expect(clippy::zombie_processes, reason = "it is killed before it could wait")]
pub(crate) fn parent_of(trace: PathBuf) -> bool {
    let task = current().expect("it runs as a task");
    task.starts_processes().expect("the system lets it");
    let child = Command::new("sleep").arg("1000").spawn().expect("a child");
    note(&trace, child.id().into());
    spin(None)
}

/// A program that sends back what it gets, and dies instead of the n-th answer.
pub(crate) fn echo(mut duct: Duct<Vec<u8>, Vec<u8>>, dies_at: u64) {
    let mut answers = 0;
    while let Ok(bytes) = duct.recv() {
        if answers == dies_at {
            die();
        }
        answers += 1;
        if duct.send(bytes).is_err() {
            break;
        }
    }
}

/// What is added to the process id that a background task publishes first.
pub(crate) const PID_BASE: u64 = 1 << 40;

/// Publishes its process id and then numbers, each so many microseconds after the one before.
pub(crate) fn publish((to, us): (u64, u64), out: Publisher<u64>) {
    let published = out.put(&(PID_BASE + u64::from(process::id())));
    for n in 0..to {
        pause(Duration::from_micros(us));
        if out.put(&n).is_err() {
            break;
        }
    }
    drop(published);
}
