//! What takes a system that lets one: control groups, other users, full disks. Where it does not, a
//! notice is printed.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use ipc_core::Address;
use ipc_exchange::{
    Cause, Exchange, ExchangeOptions, Journal, Reader, TaskError, start_persistent,
};

use crate::harness::{eventually, tests};
use crate::tasks;

tests![
    b01_out_of_memory,
    b11_detached,
    b11_a_second_user_is_refused,
    a_full_disk_loses_nothing,
];

fn skip(why: &str) {
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
    let options = ExchangeOptions::new().limit(1).worker_cgroup(&group.0);
    let exchange = options.open().unwrap();
    let cause = |error: TaskError| match error.cause() {
        Cause::Lost {
            exit,
            out_of_memory,
        } => (exit.signal(), *out_of_memory),
        other => panic!("{other:?}"),
    };
    for _ in 0..2 {
        let grown = exchange.submit(tasks::grows, 512 << 20).unwrap();
        assert_eq!(cause(grown.wait().unwrap_err()), (Some(9), true));
        let killed = exchange.submit(tasks::die, "kill".to_owned()).unwrap();
        assert_eq!(cause(killed.wait().unwrap_err()), (Some(9), false));
        let next = exchange.submit(tasks::square, 3).unwrap();
        assert_eq!(next.wait().unwrap(), 9);
    }
    exchange.finish();
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
