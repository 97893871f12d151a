//! A test runner that takes the usual arguments, with a watchdog, and checks for what is left over.

use std::collections::HashSet;
use std::fs;
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) type Test = (&'static str, fn());

/// Names tests by their functions.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) const TESTS: &[$crate::harness::Test] =
            &[$((concat!(module_path!(), "::", stringify!($name)), $name)),*];
    };
}
pub(crate) use tests;

/// How long a test may run, in [`patience`]s and counted in steps: time in which the whole machine, or
/// the group that the tests are in, stood still is one step.
const STEPS: u32 = 30;
const STEP: Duration = Duration::from_secs(1);

/// How much later than wanted something may come before a test fails: two seconds, or as many as
/// `IPC_EXCHANGE_PATIENCE` says, for machines that hardly get round to it.
pub(crate) fn patience() -> Duration {
    let seconds = std::env::var("IPC_EXCHANGE_PATIENCE").ok();
    Duration::from_secs(seconds.map_or(2, |seconds| seconds.parse().unwrap()))
}

/// Runs the tests of `groups` once and those of `repeated` so many times.
pub(crate) fn run(rounds: usize, repeated: &[&[Test]], groups: &[&[Test]]) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let filters: Vec<_> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let wanted = |name: &str| {
        filters.is_empty()
            || filters.iter().any(|filter| match has("--exact") {
                true => name == *filter,
                false => name.contains(*filter),
            })
    };
    let chosen = |groups: &[&[Test]]| -> Vec<Test> {
        let tests = groups.iter().copied().flatten().copied();
        tests.filter(|(name, _)| wanted(name)).collect()
    };
    let mut tests = chosen(groups);
    for _ in 0..rounds {
        tests.extend(chosen(repeated));
    }
    if has("--list") {
        for (name, _) in &tests {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", tests.len());
    let mut failed = Vec::new();
    for (name, test) in &tests {
        let started = Instant::now();
        let passed = one(*test);
        let verdict = if passed { "ok" } else { "FAILED" };
        println!("test {name} ... {verdict} ({:.0?})", started.elapsed());
        if !passed {
            failed.push(*name);
        }
    }
    let passed = tests.len() - failed.len();
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {passed} passed; {} failed",
        failed.len()
    );
    ExitCode::from(u8::from(!failed.is_empty()))
}

/// What a test must leave as it was.
struct Guard {
    descriptors: HashSet<String>,
    shared: usize,
    files: HashSet<String>,
}

impl Guard {
    fn new() -> Self {
        Self {
            descriptors: descriptors(),
            shared: shared_mappings(),
            files: files(),
        }
    }

    /// Whether nothing is left; says what is. What was let go of without waiting takes a moment.
    fn is_clean(&self) -> bool {
        let mut clean = true;
        let mut check = |what: &str, left: &dyn Fn() -> Vec<String>| {
            if !eventually(|| left().is_empty()) {
                println!("{what} left: {:?}", left());
                clean = false;
            }
        };
        let text = |pids: Vec<u32>| pids.iter().map(ToString::to_string).collect();
        check("children", &|| text(children()));
        check("processes", &|| text(orphans()));
        check("descriptors", &|| {
            let now = descriptors();
            match now.len() > self.descriptors.len() {
                true => now.difference(&self.descriptors).cloned().collect(),
                false => Vec::new(),
            }
        });
        check("files", &|| {
            files().difference(&self.files).cloned().collect()
        });
        check("mappings", &|| {
            let more = shared_mappings().saturating_sub(self.shared);
            vec!["shared".to_owned(); more]
        });
        clean
    }
}

/// Runs a test under the watchdog; a hang ends the whole run.
fn one(test: fn()) -> bool {
    let guard = Guard::new();
    let (done, finished) = mpsc::channel();
    let thread = thread::spawn(move || {
        let result = catch_unwind(test);
        let _ = done.send(());
        result.is_ok()
    });
    let steps = STEPS * u32::try_from(patience().as_secs()).unwrap();
    if !(0..steps).any(|_| finish_in_a_step(&finished)) {
        println!("still running after {:?}", STEP * steps);
        std::process::exit(101);
    }
    thread.join().unwrap_or(false) && guard.is_clean()
}

/// Waits for the end of a test; tells if it was a long wait because nothing at all ran.
fn finish_in_a_step(finished: &mpsc::Receiver<()>) -> bool {
    let started = Instant::now();
    let done = finished.recv_timeout(STEP).is_ok();
    let took = started.elapsed();
    if took > STEP * 3 {
        println!("everything stood still for {took:.0?}");
    }
    done
}

/// How many mappings of memory files this process has.
fn shared_mappings() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("/memfd:")).count()
}

/// Files of this crate where files without a name of their own are put.
fn files() -> HashSet<String> {
    let folders = [std::env::temp_dir(), "/dev/shm".into()];
    let entries = folders.iter().flat_map(fs::read_dir).flatten().flatten();
    let names = entries.map(|entry| entry.path().display().to_string());
    names.filter(|name| name.contains("ipc-exchange")).collect()
}

/// Other processes that run this program, whosever children they are: workers of workers, and what
/// has lost its parent.
pub(crate) fn orphans() -> Vec<u32> {
    let own = fs::read_link("/proc/self/exe").unwrap();
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let is_same = fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == own);
        if is_same && pid != std::process::id() && is_alive(pid) {
            pids.push(pid);
        }
    }
    pids
}

/// Waits five times the [`patience`] for something that no event tells of: what other processes do can only be
/// asked for.
pub(crate) fn eventually(condition: impl Fn() -> bool) -> bool {
    // Counted as the tests' own limit is.
    (0..patience().as_millis() * 5 / 2).any(|_| {
        let holds = condition();
        if !holds {
            thread::park_timeout(Duration::from_millis(2));
        }
        holds
    })
}

/// This process's children, zombies included.
pub(crate) fn children() -> Vec<u32> {
    let mut pids = Vec::new();
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path().join("children");
        let listed = fs::read_to_string(path).unwrap_or_default();
        pids.extend(
            listed
                .split_whitespace()
                .map(|pid| pid.parse::<u32>().unwrap()),
        );
    }
    pids
}

/// Whether a process exists and is no zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat.rsplit(')').next().unwrap().trim().chars().next();
    state != Some('Z')
}

fn descriptors() -> HashSet<String> {
    let found = ipc_core::descriptors().unwrap();
    found
        .iter()
        .map(|fd| format!("{} {:?}", fd.number, fd.target))
        .collect()
}

/// Signals a process, which may just have ended by itself.
pub(crate) fn kill(pid: u32, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    match nix::sys::signal::kill(pid, signal) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
        Err(errno) => panic!("{errno}"),
    }
}
