//! `ipc-cli actor`: served, called, looked at and stopped as an operator would.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::support::{Ran, assert_one_line, children, command, is_alive, kill, run, until, wait};

/// An application that runs, in a folder of its own.
pub(crate) struct Served {
    pub(crate) child: Child,
    pub(crate) address: String,
    pub(crate) folder: tempfile::TempDir,
    _stdout: BufReader<ChildStdout>,
}

impl Served {
    /// At a socket in the folder.
    #[track_caller]
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = format!("unix:{}", folder.path().join("port").display());
        Self::start_in(folder, &[&["--bind", &address], arguments].concat())
    }

    #[track_caller]
    fn start_in(folder: tempfile::TempDir, arguments: &[&str]) -> Self {
        let mut command = command(["actor", "serve"]);
        let mut child = command
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let (address, pid) = line
            .trim_end()
            .split_once(" pid ")
            .unwrap_or_else(|| panic!("{line:?} does not tell the address and the process id"));
        assert_eq!(pid, child.id().to_string());
        Self {
            address: address.to_owned(),
            child,
            folder,
            _stdout: stdout,
        }
    }

    #[track_caller]
    pub(crate) fn call(&self, arguments: &[&str]) -> Ran {
        run(&[&["actor", "call", &self.address], arguments].concat())
    }

    /// What `info --json` shows.
    #[track_caller]
    fn info(&self) -> Value {
        let ran = run(&["actor", "info", &self.address, "--json"]);
        assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        serde_json::from_slice(&ran.stdout).unwrap()
    }

    /// Its end: the status, and that nothing is left.
    #[track_caller]
    pub(crate) fn end(self) -> Option<i32> {
        let workers = children(self.child.id());
        let output = wait(self.child);
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
        until("the end of the workers", || {
            workers.iter().all(|pid| !is_alive(*pid)).then_some(())
        });
        let sockets = fs::read_dir(self.folder.path()).unwrap().flatten();
        let left: Vec<_> = sockets
            .map(|entry| entry.file_name())
            .filter(|name| name == "port")
            .collect();
        assert!(left.is_empty(), "{left:?} are left");
        output.status.code()
    }
}

#[track_caller]
fn check_answer(ran: &Ran, expected: &str) {
    let printed = String::from_utf8_lossy(&ran.stdout);
    assert_eq!(
        (ran.status, &*printed),
        (Some(0), expected),
        "{}",
        ran.stderr
    );
}

#[track_caller]
fn check_refused(ran: &Ran, words: &str) {
    assert_eq!(
        (ran.status, &ran.stdout[..]),
        (Some(1), &b""[..]),
        "{}",
        ran.stderr
    );
    assert_one_line(&ran.stderr);
    assert!(ran.stderr.contains(words), "no {words:?} in {}", ran.stderr);
}

#[test]
fn the_demonstration_answers_looks_and_stops() {
    let served = Served::start(&["--workers", "2"]);
    check_answer(&served.call(&["ping"]), "\"pong\"\n");
    check_answer(
        &served.call(&["echo", "{\"a\": [1, null]}"]),
        "{\"a\":[1,null]}\n",
    );
    check_answer(&served.call(&["square", "12"]), "144\n");
    check_answer(&served.call(&["square", "-3"]), "9\n");
    check_refused(&served.call(&["square", "\"x\""]), "invalid type");
    check_refused(&served.call(&["square", "4000000000"]), "64 bits");
    check_refused(&served.call(&["sleep", "-1"]), "from 0 to");
    check_refused(&served.call(&["frobnicate"]), "crash, sleep, square");
    check_refused(&served.call(&["ping", "--name", "nobody"]), "nobody");
    check_refused(&served.call(&["sleep", "20", "--timeout", "1"]), "in time");
    let ran = served.call(&["square", "[1"]);
    assert_eq!(ran.status, Some(2));
    assert_one_line(&ran.stderr);

    let info = served.info();
    assert_eq!(info["pid"], served.child.id());
    assert_eq!(
        (&info["pools"][0]["size"], &info["pools"][0]["up"]),
        (&2.into(), &2.into())
    );
    let pids: Vec<u64> = info["actors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["pid"].as_u64().unwrap())
        .collect();
    let mut expected: Vec<u64> = children(served.child.id())
        .into_iter()
        .map(u64::from)
        .collect();
    expected.sort_unstable();
    let mut sorted = pids.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    let table = run(&["actor", "info", &served.address]);
    let table = String::from_utf8(table.stdout).unwrap();
    for words in [
        "ACTOR",
        "RESTARTS",
        "MAILBOX",
        "REQUESTS",
        "demo",
        &pids[0].to_string(),
    ] {
        assert!(table.contains(words), "no {words} in {table}");
    }

    let ran = run(&["actor", "stop", &served.address]);
    check_answer(&ran, "");
    let address = served.address.clone();
    assert_eq!(served.end(), Some(0));
    check_refused(&run(&["actor", "info", &address]), &address);
    check_refused(&run(&["actor", "stop", &address]), &address);
}

#[test]
fn a_crash_costs_the_call_and_the_worker_is_replaced() {
    let served = Served::start(&["--workers", "1"]);
    let pid = || served.call(&["sleep", "0"]).stdout;
    let before = pid();
    check_refused(&served.call(&["crash"]), "ended while it worked");
    let after = pid();
    assert!(!after.is_empty() && after != before);
    kill(served.child.id(), "TERM");
    assert_eq!(served.end(), Some(0));
}

#[test]
fn a_worker_is_replaced_after_its_requests() {
    let served = Served::start(&["--workers", "1", "--max-requests", "2"]);
    let pids: Vec<_> = (0..6)
        .map(|_| served.call(&["sleep", "0"]).stdout)
        .collect();
    let mut distinct = pids.clone();
    distinct.dedup();
    assert!(distinct.len() >= 3, "{pids:?}");
    kill(served.child.id(), "TERM");
    assert_eq!(served.end(), Some(0));
}

#[test]
fn settings_are_looked_at_and_changed() {
    let served = Served::start(&["--workers", "1"]);
    let config = |rest: &[&str]| run(&[&["actor", "config", &served.address], rest].concat());
    let all = String::from_utf8(config(&[]).stdout).unwrap();
    assert!(all.contains("workers = 1\n"), "{all}");
    assert!(all.contains("control_key = ***\n"), "{all}");
    check_answer(&config(&["timeout"]), "30\n");
    check_refused(&config(&["wokers"]), "no setting wokers");
    check_refused(&config(&["workers", "-1"]), "workers is a count");
    check_refused(&config(&["bind", "unix:/else"]), "cannot change");
    check_answer(&config(&["workers", "2"]), "");
    until("two workers", || {
        (children(served.child.id()).len() == 2).then_some(())
    });
    // Workers that are made in another way, and then all for no reason but the wish.
    for change in [
        &["config", "max_requests", "7"][..],
        &["config", "timeout", "20"],
        &["reload"],
    ] {
        let before = children(served.child.id());
        let words = [&["actor", change[0], &served.address], &change[1..]].concat();
        check_answer(&run(&words), "");
        let made_anew = change != ["config", "max_requests", "7"];
        until("the workers that shall be", || {
            let now = children(served.child.id());
            let new = now.iter().filter(|pid| !before.contains(pid)).count();
            (now.len() == 2 && new == if made_anew { 2 } else { 0 }).then_some(())
        });
        check_answer(&served.call(&["square", "2"]), "4\n");
    }
    kill(served.child.id(), "TERM");
    assert_eq!(served.end(), Some(0));
}

#[test]
fn signals_mean_what_they_mean() {
    let served = Served::start(&["--workers", "1"]);
    let pid = served.child.id();
    let before = children(pid);
    kill(pid, "HUP");
    until("another worker", || {
        let now = children(pid);
        (now.len() == 1 && now != before).then_some(())
    });
    kill(pid, "TTIN");
    until("two workers", || {
        (served.info()["pools"][0]["up"] == 2).then_some(())
    });
    kill(pid, "TTOU");
    until("one worker", || {
        (served.info()["pools"][0]["total"] == 1).then_some(())
    });
    kill(pid, "INT");
    assert_eq!(served.end(), Some(130));
    let served = Served::start(&["--workers", "0"]);
    assert!(children(served.child.id()).is_empty());
    check_answer(&served.call(&["square", "2"]), "4\n");
    kill(served.child.id(), "QUIT");
    assert_eq!(served.end(), Some(131));
}

#[test]
fn nobody_outlives_a_killed_application() {
    let served = Served::start(&["--workers", "2"]);
    let workers = children(served.child.id());
    assert_eq!(workers.len(), 2);
    kill(served.child.id(), "KILL");
    wait(served.child);
    until("the end of the workers", || {
        workers.iter().all(|pid| !is_alive(*pid)).then_some(())
    });
}

#[test]
fn over_tcp_a_key_is_needed_and_a_file_has_settings() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (key, wrong, config) = (path("key"), path("wrong"), path("config.toml"));
    fs::write(&key, "a secret of the right people\n").unwrap();
    fs::write(&wrong, "something else\n").unwrap();
    fs::write(
        &config,
        format!("bind = \"tcp:127.0.0.1:0\"\nworkers = 2\nkey_file = \"{key}\"\n"),
    )
    .unwrap();
    let served = Served::start_in(folder, &["--config", &config, "--workers", "1"]);
    assert!(
        served.address.starts_with("tcp:127.0.0.1:"),
        "{}",
        served.address
    );
    check_answer(&served.call(&["square", "5", "--key-file", &key]), "25\n");
    check_refused(&served.call(&["square", "5"]), "cannot connect");
    check_refused(
        &served.call(&["square", "5", "--key-file", &wrong]),
        "cannot connect",
    );
    let ran = run(&["actor", "info", &served.address, "--key-file", &key]);
    assert!(
        String::from_utf8(ran.stdout).unwrap().contains("demo  1 "),
        "{}",
        ran.stderr
    );
    let ran = run(&["actor", "stop", &served.address, "--key-file", &key]);
    check_answer(&ran, "");
    assert_eq!(served.end(), Some(0));
}

#[test]
fn what_cannot_be_served_is_told_in_one_line() {
    let refused = |arguments: &[&str], status: i32, words: &str| {
        let ran = run(&[&["actor", "serve"], arguments].concat());
        assert_eq!(
            (ran.status, &ran.stdout[..]),
            (Some(status), &b""[..]),
            "{}",
            ran.stderr
        );
        assert_one_line(&ran.stderr);
        assert!(ran.stderr.contains(words), "no {words:?} in {}", ran.stderr);
    };
    refused(&["--bind", "nowhere"], 2, "nowhere");
    refused(&["--workers", "many"], 2, "many");
    refused(&["--config", "/no/such/file"], 2, "/no/such/file");
    refused(&["--bind", "tcp:127.0.0.1:0"], 1, "key");
    refused(&["--bind", "unix:/dev/null/port"], 1, "/dev/null");
    refused(&["--key-file", "/no/such/key"], 1, "/no/such/key");
    let served = Served::start(&["--workers", "0"]);
    refused(&["--bind", &served.address], 1, &served.address);
    kill(served.child.id(), "TERM");
    assert_eq!(served.end(), Some(0));
    let program = env!("CARGO_BIN_EXE_ipc-cli");
    let line = format!("'{program}' actor serve --bind unix:@ipc-cli-closed-$$ >&-");
    let ran = crate::support::finish(Command::new("sh").args(["-c", &line]));
    assert_eq!(ran.status, Some(1));
    assert!(ran.stderr.contains("standard output"), "{}", ran.stderr);
}

#[test]
fn a_call_that_waits_is_interrupted() {
    let served = Served::start(&["--workers", "1"]);
    let mut call = command(["actor", "call", &served.address, "sleep", "1000"]);
    let call = call
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the call being begun", || {
        let busy = served.info()["pools"][0]["waiting"] == 0;
        busy.then_some(())
    });
    kill(call.id(), "INT");
    let status = wait(call).status;
    // It has nothing to put in order: the signal itself ends it, which a shell shows as 130.
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(2)
    );
    kill(served.child.id(), "INT");
    assert_eq!(served.end(), Some(130));
}
