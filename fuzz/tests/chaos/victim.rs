//! A role that is killed at a step of its own work: between two of its system calls, or some
//! instructions after one.
//!
//! The role runs under trace. Its system calls are the same each time, so that counting them strikes
//! at every step of a protocol without a word about chaos in the protocol's code.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::session::signal;

/// When a victim is struck.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// After so many entries to system calls and returns from them.
    pub(crate) call: u64,
    /// And after so many instructions more.
    pub(crate) instruction: u64,
}

/// How a victim ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was struck.
    Struck,
    /// It had done all its work before.
    Whole,
}

pub(crate) struct Victim {
    tracer: JoinHandle<nix::Result<End>>,
    stdout: BufReader<ChildStdout>,
}

impl Victim {
    /// Starts a role with these words for it, which [waits](wait_for_the_blow) before its first step.
    #[expect(clippy::zombie_processes, reason = "the tracer waits for it")]
    pub(crate) fn start(role: &str, words: &[&str], step: Step) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(program)
            .args(["--role", role])
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be started");
        let stdin = child.stdin.take().expect("it is piped");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("it can be read");
        assert_eq!(
            line, "ready\n",
            "the role {role} does not wait for the blow"
        );
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("process ids fit"));
        // The thread that traces is the one that waits, and the child ends with it.
        let tracer = thread::spawn(move || drive(pid, step, stdin));
        Self { tracer, stdout }
    }

    /// The next line that it says; empty when it says no more.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("it can be read");
        line.trim_end().to_owned()
    }

    /// Whether it has ended and was waited for.
    pub(crate) fn is_over(&self) -> bool {
        self.tracer.is_finished()
    }

    pub(crate) fn wait(self) -> End {
        let end = self.tracer.join().expect("the tracer does not panic");
        end.expect("it can be traced")
    }
}

/// In a role: waits until it is traced.
pub(crate) fn wait_for_the_blow() {
    println!("ready");
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .expect("it can be read");
}

/// Whether a process may trace its children here. Says so if not.
pub(crate) fn can_trace() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let mut child = Command::new("true")
            .spawn()
            .expect("there is a program true");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("process ids fit"));
        // One that has ended already could be traced as well.
        let refused = ptrace::seize(pid, Options::PTRACE_O_EXITKILL) == Err(nix::Error::EPERM);
        if refused {
            println!("skipped: processes may not trace their children here");
        } else {
            // It was seized by this thread, whose wait it needs.
            let _ = ptrace::detach(pid, None);
        }
        let _ = child.wait();
        !refused
    })
}

fn drive(pid: Pid, step: Step, mut stdin: ChildStdin) -> nix::Result<End> {
    ptrace::seize(
        pid,
        Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL,
    )?;
    ptrace::interrupt(pid)?;
    let mut status = waitpid(pid, None)?;
    // It reads, and cannot be gone.
    stdin.write_all(b"\n").expect("it reads");
    for _ in 0..step.call {
        if has_ended(status) {
            return Ok(End::Whole);
        }
        ptrace::syscall(pid, deliverable(status))?;
        status = waitpid(pid, None)?;
    }
    for _ in 0..step.instruction {
        if has_ended(status) {
            return Ok(End::Whole);
        }
        ptrace::step(pid, deliverable(status))?;
        status = waitpid(pid, None)?;
    }
    if has_ended(status) {
        return Ok(End::Whole);
    }
    signal(pid.as_raw().unsigned_abs(), Signal::SIGKILL);
    while !has_ended(status) {
        status = waitpid(pid, None)?;
    }
    Ok(End::Struck)
}

fn has_ended(status: WaitStatus) -> bool {
    matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..))
}

/// The signal that stopped it, if one did; all other stops are of the trace.
fn deliverable(status: WaitStatus) -> Option<Signal> {
    match status {
        WaitStatus::Stopped(_, signal) if signal != Signal::SIGTRAP => Some(signal),
        _ => None,
    }
}
