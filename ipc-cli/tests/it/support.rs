//! Running the built command as a person would.

use std::ffi::OsStr;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long one run may take before the test fails, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// The command, with nothing on its standard input.
pub(crate) fn command(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let program = env!("CARGO_BIN_EXE_ipc-cli");
    let mut command = if interrupts_are_ignored() {
        let mut command = Command::new("env");
        command.args(["--default-signal=INT", program]);
        command
    } else {
        Command::new(program)
    };
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Whether the tests run in the background of a shell, which has them, and all that they start,
/// ignore Ctrl-C.
fn interrupts_are_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 << 1 != 0)
}

/// What a run printed and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// Runs the command to its end.
#[track_caller]
pub(crate) fn run(arguments: &[&str]) -> Ran {
    finish(&mut command(arguments))
}

/// Runs `command` to its end, which must come within a minute.
#[track_caller]
pub(crate) fn finish(command: &mut Command) -> Ran {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let Output {
        status,
        stdout,
        stderr,
    } = wait(child);
    Ran {
        status: status.code(),
        stdout,
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

/// Waits for `child` and everything it prints; ends it and fails when that takes too long.
#[track_caller]
pub(crate) fn wait(mut child: Child) -> Output {
    let stdout = child.stdout.take().map(reading);
    let stderr = child.stderr.take().map(reading);
    let (sender, receiver) = mpsc::channel();
    let pid = child.id();
    thread::spawn(move || sender.send(child.wait()));
    let status = receiver.recv_timeout(LIMIT).unwrap_or_else(|_| {
        kill(pid, "KILL");
        panic!("the command did not end within {LIMIT:?}")
    });
    let collect = |pipe: Option<thread::JoinHandle<Vec<u8>>>| {
        pipe.map_or_else(Vec::new, |pipe| pipe.join().unwrap())
    };
    Output {
        status: status.unwrap(),
        stdout: collect(stdout),
        stderr: collect(stderr),
    }
}

fn reading(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Sends a signal to a process that this test started, or that such a one started.
pub(crate) fn kill(pid: u32, signal: &str) {
    let status = Command::new("kill")
        .arg(format!("-{signal}"))
        .arg(pid.to_string())
        .stderr(Stdio::null())
        .status();
    // One that has ended meanwhile is no failure.
    status.unwrap();
}

/// The living children of a process.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let mut children = Vec::new();
    let tasks = PathBuf::from(format!("/proc/{pid}/task"));
    let Ok(tasks) = std::fs::read_dir(tasks) else {
        return children;
    };
    for task in tasks.flatten() {
        let list = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.extend(
            list.split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
    }
    children
}

/// Waits until a condition holds, looking again without hurry; fails after a minute.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let (_sender, never) = mpsc::channel::<()>();
    for _ in 0..LIMIT.as_millis() {
        if let Some(found) = look() {
            return found;
        }
        // A wait that nothing ends early: the pause between two looks.
        let _ = never.recv_timeout(Duration::from_millis(1));
    }
    panic!("{what} did not happen within {LIMIT:?}");
}

/// Whether a process exists and is not a zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let state = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next());
        state.is_some_and(|state| state != 'Z' && state != 'X')
    })
}

/// One line, with a newline at its end, that does not tell of a panic.
#[track_caller]
pub(crate) fn assert_one_line(text: &str) {
    assert_eq!(text.matches('\n').count(), 1, "not one line: {text:?}");
    assert!(
        text.ends_with('\n') && !text.contains("panicked"),
        "{text:?}"
    );
}
