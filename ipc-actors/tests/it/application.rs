//! An application as its own program: `examples/echo_server.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use ipc_core::Address;
use ipc_marshal::Duct;
use tempfile::TempDir;

use crate::support::{LIMIT, eventually, is_alive, signal, within};

pub(crate) struct Server {
    pub(crate) child: Child,
    /// Kept open: a program that prints to nobody panics.
    _stdout: BufReader<ChildStdout>,
    pub(crate) address: Address,
    pub(crate) folder: Arc<TempDir>,
}

pub(crate) type Client = Duct<String, Result<String, String>>;

/// The example, which `cargo test` builds next to the tests.
pub(crate) fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a path");
    let folder = test
        .parent()
        .and_then(|deps| deps.parent())
        .expect("a target folder");
    folder.join("examples").join("echo_server")
}

impl Server {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().expect("a folder")), arguments)
    }

    pub(crate) fn start_in(folder: Arc<TempDir>, arguments: &[&str]) -> Self {
        let control = format!("unix:{}/control", folder.path().display());
        let arguments = [&["--control", &control], arguments].concat();
        Self::run_in(folder, &arguments, &[])
    }

    /// Without a place for operators, unless the arguments name one.
    pub(crate) fn start_plain(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        Self::run_in(folder, arguments, variables)
    }

    fn run_in(folder: Arc<TempDir>, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let path = folder.path().display();
        let mut child = Command::new(program())
            .args(["--bind", &format!("unix:{path}/echo")])
            .args(["--pidfile", &format!("{path}/pid")])
            .args(["--graceful-timeout", "2"])
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        let mut stdout = BufReader::new(stdout);
        stdout.read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on ").expect(&line);
        let address = address.parse().expect("an address");
        Self {
            child,
            _stdout: stdout,
            address,
            folder,
        }
    }

    pub(crate) fn client(&self) -> Client {
        Duct::connect(&self.address).expect("a connection")
    }

    pub(crate) fn pidfile(&self) -> PathBuf {
        self.folder.path().join("pid")
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// The processes of its workers.
    pub(crate) fn workers(&self) -> BTreeSet<u32> {
        let path = format!("/proc/{0}/task", self.child.id());
        let Ok(tasks) = fs::read_dir(path) else {
            return BTreeSet::new();
        };
        let children = tasks.flatten().filter_map(|task| {
            let text = fs::read_to_string(task.path().join("children")).ok()?;
            Some(
                text.split_whitespace()
                    .filter_map(|pid| pid.parse().ok())
                    .collect::<Vec<_>>(),
            )
        });
        children.flatten().collect()
    }

    /// The workers, once they are as they are waited for. The kernel's list of children is complete
    /// only while none of them ends, so one look decides.
    pub(crate) fn workers_when(&self, so: impl Fn(&BTreeSet<u32>) -> bool) -> BTreeSet<u32> {
        let mut workers = BTreeSet::new();
        eventually(|| {
            workers = self.workers();
            so(&workers)
        });
        workers
    }

    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().expect("its end").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn say(client: &mut Client, text: &str) -> u32 {
    client.send(text.to_owned()).expect("a connection");
    let answer = client.recv().expect("an answer").expect("an echo");
    let pid = answer
        .strip_prefix(&format!("{text} (from process "))
        .expect(&answer);
    pid.trim_end_matches(')').parse().expect("a number")
}

#[test]
fn it_serves_and_ends_with_its_workers_and_files() {
    within(3 * LIMIT, || {
        let mut server = Server::start(&["-w", "2"]);
        let mut client = server.client();
        let pid = say(&mut client, "hello");
        let workers = server.workers_when(|workers| workers.len() == 2);
        assert!(workers.contains(&pid));
        let text = fs::read_to_string(server.pidfile()).expect("a pid file");
        assert_eq!(text.trim(), server.child.id().to_string());
        server.signal("TERM");
        assert_eq!(server.wait(), Some(0));
        assert!(workers.iter().all(|&pid| !is_alive(pid)));
        assert!(!server.pidfile().exists());
    });
}

#[test]
fn signals_have_gunicorns_meanings() {
    within(3 * LIMIT, || {
        let mut server = Server::start(&[]);
        let mut client = server.client();
        let first = server.workers_when(|workers| workers.len() == 1);
        server.signal("TTIN");
        eventually(|| server.workers().len() == 2);
        server.signal("TTOU");
        let before = server.workers_when(|workers| workers.len() == 1);
        assert!(before.is_disjoint(&first), "the oldest goes first");
        server.signal("HUP");
        for _ in 0..200 {
            say(&mut client, "none is lost");
        }
        server.workers_when(|workers| workers.len() == 1 && workers.is_disjoint(&before));
        server.signal("WINCH");
        eventually(|| server.workers().is_empty());
        server.signal("TTIN");
        eventually(|| server.workers().len() == 1);
        say(&mut client, "and it goes on");
        server.signal("INT");
        assert_eq!(server.wait(), Some(130));
    });
}

#[test]
fn a_worker_can_be_ended_alone_and_is_replaced() {
    within(3 * LIMIT, || {
        let server = Server::start(&["-w", "2"]);
        let mut client = server.client();
        for name in ["TERM", "KILL", "SEGV"] {
            let before = server.workers_when(|workers| workers.len() == 2);
            let victim = *before.first().expect("a worker");
            // The standard library's handler takes itself away first.
            signal(victim, name);
            if name == "SEGV" {
                eventually(|| {
                    let alive = is_alive(victim);
                    if alive {
                        drop(
                            Command::new("kill")
                                .args(["-SEGV", &victim.to_string()])
                                .output(),
                        );
                    }
                    !alive
                });
            }
            let after =
                server.workers_when(|workers| workers.len() == 2 && !workers.contains(&victim));
            assert_eq!(after.intersection(&before).count(), 1, "{name}");
            say(&mut client, name);
        }
    });
}

#[test]
fn when_the_arbiter_is_killed_its_workers_end_by_themselves() {
    within(3 * LIMIT, || {
        let mut server = Server::start(&["-w", "3"]);
        let workers = server.workers_when(|workers| workers.len() == 3);
        // One cannot even look.
        signal(*workers.first().expect("a worker"), "STOP");
        server.signal("KILL");
        assert_eq!(server.wait(), None);
        let stopped = *workers.first().expect("a worker");
        eventually(|| {
            workers
                .iter()
                .filter(|&&pid| pid != stopped)
                .all(|&pid| !is_alive(pid))
        });
        drop(
            Command::new("kill")
                .args(["-CONT", &stopped.to_string()])
                .output(),
        );
        eventually(|| !is_alive(stopped));

        // What it left behind keeps nobody out.
        let mut next = Server::start_in(Arc::clone(&server.folder), &[]);
        say(&mut next.client(), "again");
        next.signal("TERM");
        assert_eq!(next.wait(), Some(0));
    });
}

/// The same workers serve the next instance, and end with it.
#[test]
fn workers_outlive_a_killed_arbiter_where_they_have_a_refuge() {
    within(3 * LIMIT, || {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let refuge = folder.path().join("refuge");
        let arguments = ["-w", "3", "--refuge", &refuge.display().to_string()];
        let mut server = Server::start_in(Arc::clone(&folder), &arguments);
        let workers = server.workers_when(|workers| workers.len() == 3);
        say(&mut server.client(), "before");
        server.signal("KILL");
        assert_eq!(server.wait(), None);

        let mut next = Server::start_in(folder, &arguments);
        say(&mut next.client(), "again");
        assert!(workers.iter().all(|&pid| is_alive(pid)));
        assert_eq!(next.workers().len(), 0, "none was started");
        next.signal("TERM");
        assert_eq!(next.wait(), Some(0));
        eventually(|| !workers.iter().any(|&pid| is_alive(pid)));
        let left = fs::read_dir(&refuge).expect("a folder");
        assert_eq!(left.count(), 0);
    });
}

#[test]
fn a_second_instance_is_refused() {
    within(3 * LIMIT, || {
        let server = Server::start(&[]);
        let pidfile = format!("{}", server.pidfile().display());
        let second = Command::new(program())
            .args(["--pidfile", &pidfile])
            .output()
            .expect("a run");
        assert_eq!(second.status.code(), Some(1));
        let told = String::from_utf8_lossy(&second.stderr).into_owned();
        let pid = server.child.id();
        assert_eq!(
            told.trim(),
            format!("{pidfile} belongs to process {pid}, which runs")
        );
        say(&mut server.client(), "unharmed");
    });
}

#[test]
fn without_workers_the_arbiter_does_the_work() {
    within(3 * LIMIT, || {
        let server = Server::start(&["-w", "0"]);
        assert_eq!(say(&mut server.client(), "hello"), server.child.id());
        assert!(server.workers().is_empty());
    });
}

#[test]
fn wrong_settings_end_it_with_a_word_and_a_status() {
    within(LIMIT, || {
        for (arguments, status, told) in [
            (
                &["--wokers", "2"][..],
                2,
                "there is no setting --wokers (command line)",
            ),
            (
                &["-w", "many"],
                2,
                "workers is a count, not \"many\" (command line)",
            ),
            (
                &["--placement", "moon"],
                2,
                "placement is process, thread or local, not \"moon\" (command line)",
            ),
            (&["--bind", "nonsense:"], 1, "the application failed: "),
            (
                &["a-word"],
                1,
                "the application failed: a-word is no setting",
            ),
            (&["--user", "nobody-here"], 3, "the workers did not start: "),
            (
                &["--pidfile", "/nowhere/pid"],
                1,
                "cannot write /nowhere/pid: No such file or directory",
            ),
            (
                &["--control", "tcp:127.0.0.1:0"],
                1,
                "operators cannot connect to tcp:127.0.0.1:0: actors are not reachable over TCP without",
            ),
        ] {
            let run = Command::new(program())
                .args(arguments)
                .output()
                .expect("a run");
            let text = String::from_utf8_lossy(&run.stderr).into_owned();
            assert_eq!(run.status.code(), Some(status), "{text}");
            assert!(text.starts_with(told), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
        }
        let help = Command::new(program()).arg("--help").output();
        let help = help.expect("a run");
        assert_eq!((help.status.code(), help.stderr.len()), (Some(0), 0));
        assert!(String::from_utf8_lossy(&help.stdout).contains("\n  -w, --workers VALUE "));
    });
}
