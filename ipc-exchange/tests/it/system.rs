//! What takes a system that lets one: control groups, other users, full disks. Where it does not, a
//! notice is printed.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use ipc_core::Address;
use ipc_exchange::{
    Cause, Exchange, ExchangeOptions, Journal, Reader, Start, TaskError, start_persistent,
};

use crate::behaviours::beside_busy_threads;
use crate::harness::{eventually, orphans, tests};
use crate::tasks;

tests![
    b01_out_of_memory,
    b11_detached,
    b10_a_parent_that_ends_leaves_nothing,
    b11_a_second_user_is_refused,
    b13_no_process_is_a_copy_of_the_parent,
    a_full_disk_loses_nothing,
];

pub(crate) fn skip(why: &str) {
    println!("skipped: {why}");
}

/// Runs what a test has this program started again for.
pub(crate) fn helper() -> Option<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [flag, argument] = &arguments[..] else {
        return None;
    };
    match flag.as_str() {
        "--read" => {
            let address: Address = argument.parse().unwrap();
            let first = Reader::<u64>::connect(&address).map(|mut reader| reader.recv());
            println!("{first:?}");
        }
        "--fill" => fill(Path::new(argument)),
        "--leave" => leave(Path::new(argument)),
        "--spawn" => beside_busy_threads(|| spawn(argument == "zygote")),
        _ => return None,
    }
    Some(ExitCode::SUCCESS)
}

/// A control group with little memory, removed in the end.
struct Group(PathBuf);

impl Group {
    fn new() -> Option<Self> {
        let name = format!("ipc-exchange-test-{}", std::process::id());
        let made = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ];
        made.iter().find_map(|(root, limit)| {
            let group = Self(Path::new(root).join(&name));
            fs::create_dir(&group.0).ok()?;
            fs::write(group.0.join(limit), "67108864").ok()?;
            Some(group)
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It is busy until the last process is gone entirely.
        assert!(eventually(
            || fs::remove_dir(&self.0).is_ok() || !self.0.exists()
        ));
    }
}

fn b01_out_of_memory() {
    let Some(group) = Group::new() else {
        return skip("control groups cannot be made here");
    };
    let options = ExchangeOptions::new().limit(2).worker_cgroup(&group.0);
    let exchange = options.open().unwrap();
    let cause = |error: TaskError| match error.cause() {
        Cause::Lost {
            exit,
            out_of_memory,
        } => (exit.signal(), *out_of_memory),
        other => panic!("{other:?}"),
    };
    for _ in 0..2 {
        let peer = exchange.submit(tasks::pause, 200).unwrap();
        let grown = exchange.submit(tasks::grows, 512 << 20).unwrap();
        assert_eq!(cause(grown.wait().unwrap_err()), (Some(9), true));
        peer.wait().unwrap();
        let killed = exchange.submit(tasks::die, "kill".to_owned()).unwrap();
        assert_eq!(cause(killed.wait().unwrap_err()), (Some(9), false));
        let next = exchange.submit(tasks::square, 3).unwrap();
        assert_eq!(next.wait().unwrap(), 9);
    }
    exchange.finish();
}

/// Ends its own process with busy workers, a map, and an exchange that nobody has finished.
fn leave(folder: &Path) {
    let exchange = Exchange::new(2).unwrap();
    let spins = [0, 1].map(|n| folder.join(n.to_string()));
    let busy = spins
        .clone()
        .map(|path| exchange.submit(tasks::spin, Some(path)).unwrap());
    assert!(eventually(|| spins.iter().all(|path| path.exists())));
    std::mem::forget((busy, exchange));
}

fn b10_a_parent_that_ends_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let status = command.arg("--leave").arg(folder.path()).status().unwrap();
    assert!(status.success());
    // Within a second is wanted; the runner looks for zombies, descriptors and files.
    assert!(eventually(|| orphans().is_empty()));
}

/// Starts workers until each of them has been replaced.
fn spawn(forks: bool) {
    let start = if forks { Start::Zygote } else { Start::Spawn };
    let options = ExchangeOptions::new().limit(2).reuse(false).start(start);
    let exchange = options.open().unwrap();
    let pids = exchange.map(tasks::pid, [(); 20]);
    assert_eq!(pids.filter(Result::is_ok).count(), 20);
    exchange.finish();
}

/// A copy of a large process is dear, and one of a process with threads has the locks that they held.
fn b13_no_process_is_a_copy_of_the_parent() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    for start in ["spawn", "zygote"] {
        let mut command = Command::new("strace");
        // Threads are followed; the processes that are started are of another family.
        command.args(["-f", "-e", "trace=clone,clone3,fork,vfork", "-o"]);
        command.arg(&trace).arg(std::env::current_exe().unwrap());
        let Ok(output) = command.args(["--spawn", start]).output() else {
            return skip("there is no strace");
        };
        let errors = String::from_utf8_lossy(&output.stderr);
        if errors.contains("ptrace") || errors.contains("PTRACE") {
            return skip("processes cannot be traced here");
        }
        assert!(output.status.success(), "{errors}");
        let text = fs::read_to_string(&trace).unwrap();
        let parent = text.split_whitespace().next().unwrap().to_owned();
        let calls = text
            .lines()
            .filter(|line| line.contains("CLONE_") || line.contains("fork("));
        let (threads, processes): (Vec<_>, Vec<_>) =
            calls.partition(|line| line.contains("CLONE_THREAD"));
        assert!(threads.len() >= 8 && !processes.is_empty(), "{text}");
        let copies = processes
            .iter()
            .filter(|line| !line.contains("CLONE_VFORK"));
        let copies: Vec<_> = copies.collect();
        match start {
            "spawn" => assert!(processes.len() >= 20 && copies.is_empty(), "{copies:?}"),
            // The zygote has one thread and nothing of the parent's: it may copy itself.
            _ => assert!(
                copies.iter().all(|line| !line.starts_with(&parent)),
                "{copies:?}"
            ),
        }
    }
}

fn b11_detached() {
    let folder = tempfile::tempdir().unwrap();
    let address = Address::unix(folder.path().join("results")).unwrap();
    let exchange = Exchange::new(1).unwrap();
    // The starter is killed; what it has started goes on.
    let starter = exchange.submit(tasks::starts_and_dies, address.to_string());
    assert!(starter.unwrap().wait().unwrap_err().is_lost());
    let pid = Reader::<u64>::connect(&address).unwrap().last().unwrap();
    assert!(pid.unwrap() > 0);
    // The one before has the address until it has ended.
    assert!(eventually(|| {
        start_persistent(&address, tasks::publishes, &100).is_ok()
    }));
    let reader = exchange.submit(tasks::reads_and_dies, (address.to_string(), 10));
    assert!(reader.unwrap().wait().unwrap_err().is_lost());
    exchange.finish();
    let rest: Vec<u64> = Reader::connect(&address)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    // Nine of ten were acknowledged.
    assert_eq!(rest[..91], (9..100).collect::<Vec<_>>());
    assert_eq!(rest.len(), 92);
    for n in 0..100 {
        let address = Address::unix(folder.path().join(n.to_string())).unwrap();
        start_persistent(&address, tasks::publishes, &1).unwrap();
        // At once, and never refused.
        assert_eq!(Reader::<u64>::connect(&address).unwrap().count(), 2);
    }
}

fn b11_a_second_user_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can be somebody else");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let path = folder.path().join("results");
    let address = Address::unix(&path).unwrap();
    start_persistent(&address, tasks::publishes, &3).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let read = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--read", &address.to_string()]);
        command.uid(65_534).gid(65_534).output()
    };
    let Ok(refused) = read() else {
        return skip("the other user cannot run this program");
    };
    let text = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(text.contains("PermissionDenied"), "{refused:?}");
    // Even where the file lets everybody in.
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    let refused = read().unwrap();
    // By `connect` or by `recv`, whichever the refusal met.
    let text = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(
        text.contains("Refused") && text.contains("same user") && !text.contains("Ok(Ok"),
        "{refused:?}"
    );
    let own: Vec<u64> = Reader::connect(&address)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(own[..3], [0, 1, 2]);
}

fn a_full_disk_loses_nothing() {
    assert!(Journal::open("/dev/full").is_err());
    let folder = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=16k none \"$1\" && exec \"$2\" --fill \"$1\"";
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", script, "sh"]);
    command.arg(folder.path());
    command.arg(std::env::current_exe().unwrap());
    let Ok(output) = command.output() else {
        return skip("there is no unshare");
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if errors.contains("unshare") || errors.contains("mount") {
        return skip("file systems cannot be mounted here");
    }
    assert!(
        output.status.success() && text.contains("full"),
        "{text}{errors}"
    );
}

/// Fills the folder's disk with a journal.
fn fill(folder: &Path) {
    let path = folder.join("journal");
    let run = || {
        let exchange = Exchange::new(2).unwrap();
        let journal = Journal::open(&path).unwrap();
        let map = exchange.map(tasks::square, 0..500).journal(&journal);
        let results: Vec<u64> = map.map(Result::unwrap).collect();
        exchange.finish();
        // The results are there, written down or not.
        assert_eq!(results, (0..500).map(|x| x * x).collect::<Vec<_>>());
        journal.sync()
    };
    let error = run().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert!(error.to_string().contains(&path.display().to_string()));
    let written = Journal::open(&path).unwrap().len();
    assert!((1..500).contains(&written), "{written}");
    // What is there is whole, and stays usable.
    assert!(run().is_err());
    assert!(Journal::open(&path).unwrap().len() >= written);
    println!("full after {written}");
}
