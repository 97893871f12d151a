//! Programs that are started anew, in the background, or by systemd; and what their operators do.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ipc_actors::{AskError, RemoteArbiter};
use ipc_core::{Address, Inherit, Port};
use ipc_marshal::Duct;

use crate::application::{Client, Server, program, say};
use crate::support::{LIMIT, eventually, is_alive, signal, within};

/// A client that connects anew for every word, until it is told to stop. Counts the answers; anything
/// that is lost is a panic.
fn hammer(address: &Address, stop: &Arc<AtomicBool>, count: &Arc<AtomicU32>) {
    while !stop.load(Ordering::Relaxed) {
        let mut client: Client = Duct::connect(address).expect("nobody is refused");
        client.send("word".to_owned()).expect("it is taken");
        let answer = client.recv().expect("an answer");
        assert!(answer.expect("an echo").starts_with("word (from process"));
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs `change` while clients hammer at the address; each gets at least some words through before and
/// after.
pub(crate) fn under_load(address: &Address, change: impl FnOnce()) -> u32 {
    let (stop, count) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU32::new(0)),
    );
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (address, stop, count) = (address.clone(), Arc::clone(&stop), Arc::clone(&count));
            thread::spawn(move || hammer(&address, &stop, &count))
        })
        .collect();
    let some_more = || {
        let before = count.load(Ordering::Relaxed);
        eventually(|| count.load(Ordering::Relaxed) > before + 20);
    };
    some_more();
    change();
    some_more();
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("nothing is lost");
    }
    count.load(Ordering::Relaxed)
}

pub(crate) fn pid_in(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

pub(crate) fn control(folder: &Path) -> RemoteArbiter {
    let address = format!("unix:{}/control", folder.display());
    let address: Address = address.parse().expect("an address");
    RemoteArbiter::connect(&address, None).expect("an operator")
}

#[test]
fn usr2_starts_the_program_anew_and_no_connection_is_lost() {
    within(3 * LIMIT, || {
        let mut old = Server::start(&["-w", "2"]);
        let (address, pidfile) = (old.address.clone(), old.pidfile());
        let second = pidfile.with_file_name("pid.2");
        let mut new = 0;
        under_load(&address, || {
            old.signal("USR2");
            eventually(|| second.exists());
            new = pid_in(&second).expect("the new one's id");
            assert_ne!(new, old.child.id());
            // Another USR2 does not start a third.
            old.signal("USR2");
            old.signal("TERM");
            assert_eq!(old.wait(), Some(0));
            eventually(|| pid_in(&pidfile) == Some(new) && !second.exists());
        });
        say(&mut old.client(), "the new one serves");
        signal(new, "TERM");
        eventually(|| !is_alive(new));
        let left: Vec<_> = fs::read_dir(old.folder.path()).expect("a folder").collect();
        assert!(left.is_empty(), "{left:?}");
    });
}

#[test]
fn a_new_program_that_does_not_run_leaves_the_old_one_untouched() {
    within(3 * LIMIT, || {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let path = folder.path().join("server");
        fs::copy(program(), &path).expect("a copy");
        let address = format!("unix:{}/echo", folder.path().display());
        let mut child = Command::new(&path)
            .args(["--bind", &address])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the copy");
        let address: Address = address.parse().expect("an address");
        eventually(|| Duct::<(), ()>::connect(&address).is_ok());
        let fresh = folder.path().join("fresh");
        fs::write(&fresh, "#!/bin/sh\nexit 3\n").expect("a broken program");
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).expect("rights");
        fs::rename(&fresh, &path).expect("in its place");
        under_load(&address, || {
            signal(child.id(), "USR2");
            let mut told = [0; 256];
            let len = child
                .stderr
                .as_mut()
                .expect("piped")
                .read(&mut told)
                .expect("a word");
            let told = String::from_utf8_lossy(&told[..len]).into_owned();
            assert_eq!(told.trim(), "the new program ended: exit status: 3");
        });
        signal(child.id(), "TERM");
        assert_eq!(child.wait().expect("its end").code(), Some(0));
        assert!(!folder.path().join("echo").exists());
    });
}

#[test]
fn hup_under_load_loses_nothing() {
    within(3 * LIMIT, || {
        let mut server = Server::start(&["-w", "3", "--max-requests", "40"]);
        under_load(&server.address.clone(), || {
            for _ in 0..3 {
                let before = server.workers_when(|workers| workers.len() >= 3);
                server.signal("HUP");
                server.workers_when(|workers| workers.len() >= 3 && workers.is_disjoint(&before));
            }
            server.signal("TTIN");
            server.signal("TTOU");
        });
        eventually(|| server.workers().len() == 3);
        server.signal("TERM");
        assert_eq!(server.wait(), Some(0));
    });
}

#[test]
fn term_waits_for_those_who_were_let_in_and_not_for_ever() {
    within(3 * LIMIT, || {
        let mut server = Server::start(&["-w", "1"]);
        // One that was served is sent away at once; one that never says a word keeps it for its time.
        say(&mut server.client(), "hello");
        let silent = server.client();
        let begun = Instant::now();
        server.signal("TERM");
        assert_eq!(server.wait(), Some(0));
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(1900), "{took:?}");
        assert!(took < LIMIT / 2, "{took:?}");
        drop(silent);
    });
}

#[test]
fn a_daemon_has_a_session_and_no_terminal_and_says_how_its_start_went() {
    within(3 * LIMIT, || {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().display();
        let start = |extra: &[&str]| {
            Command::new(program())
                .args(["--daemon", "--bind", &format!("unix:{path}/echo")])
                .args([
                    "--pidfile",
                    &format!("{path}/pid"),
                    "--graceful-timeout",
                    "2",
                ])
                .args(extra)
                .stdin(Stdio::null())
                .output()
                .expect("a run")
        };
        let started = start(&[]);
        assert_eq!(started.status.code(), Some(0));
        let pid = pid_in(&folder.path().join("pid")).expect("it runs already");
        let address: Address = format!("unix:{path}/echo").parse().expect("an address");
        say(&mut Duct::connect(&address).expect("a connection"), "hello");
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let fields: Vec<_> = stat
            .rsplit_once(')')
            .expect("a name")
            .1
            .split_whitespace()
            .collect();
        assert_eq!(fields[3], pid.to_string(), "it leads its session");
        assert_eq!(fields[4], "0", "it has no terminal");
        for fd in 0..3 {
            let target = fs::read_link(format!("/proc/{pid}/fd/{fd}")).expect("a stream");
            assert_eq!(target, Path::new("/dev/null"));
        }
        // A second one is refused, and says so in this terminal.
        let second = start(&[]);
        assert_eq!(second.status.code(), Some(1));
        let told = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(
            told.contains(&format!("belongs to process {pid}")),
            "{told}"
        );
        signal(pid, "WINCH");
        let children = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        eventually(|| children().is_ok_and(|text| text.trim().is_empty()));
        signal(pid, "TERM");
        eventually(|| !is_alive(pid));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    });
}

#[test]
fn systemd_gives_a_socket_and_hears_how_it_goes() {
    within(3 * LIMIT, || {
        let folder = tempfile::tempdir().expect("a folder");
        let ears = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        ears.set_read_timeout(Some(LIMIT)).expect("a time-out");
        let hear = || {
            let mut buf = [0; 256];
            let len = ears.recv(&mut buf).expect("a word");
            String::from_utf8_lossy(&buf[..len]).into_owned()
        };
        let port = Port::bind(&"tcp:127.0.0.1:0".parse().expect("an address")).expect("a port");
        let address = port.address().clone();
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "LISTEN_PID=$$ LISTEN_FDS=1 WATCHDOG_USEC=200000 exec \"$0\" \"$@\"",
            ])
            .arg(program())
            .args(["--bind", "unix:@never-bound", "-w", "1"])
            .env("NOTIFY_SOCKET", folder.path().join("notify"));
        let null = || {
            fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open("/dev/null")
        };
        let mut child = Inherit::new()
            .give(1, null().expect("null"))
            .give(3, port.parts().expect("its descriptor").listener)
            .spawn(&command)
            .expect("a start");
        drop(port);
        assert_eq!(hear(), format!("READY=1\nMAINPID={}", child.id()));
        say(&mut Duct::connect(&address).expect("a connection"), "hello");
        assert_eq!(hear(), "WATCHDOG=1");
        signal(child.id(), "HUP");
        let mut heard = Vec::new();
        while heard.last().is_none_or(|word| word != "READY=1") {
            heard.push(hear());
        }
        assert!(heard.contains(&"RELOADING=1".to_owned()), "{heard:?}");
        signal(child.id(), "TERM");
        while hear() != "STOPPING=1" {}
        assert_eq!(child.wait().expect("its end").code(), Some(0));
    });
}

#[test]
fn operators_look_at_settings_and_change_them_while_it_runs() {
    within(3 * LIMIT, || {
        let mut server = Server::start(&["-w", "1"]);
        let remote = control(server.folder.path());
        let get = |name: &str| remote.config_get(name).wait().expect("an answer");
        assert_eq!(get("workers").as_deref(), Some("1"));
        assert_eq!(get("wokers"), None);
        assert_eq!(get("control_key").as_deref(), Some("***"));
        assert_eq!(remote.config_set("workers", "3").wait(), Ok(Ok(())));
        eventually(|| server.workers().len() == 3);
        assert_eq!(get("workers").as_deref(), Some("3"));
        let wrong = remote
            .config_set("workers", "many")
            .wait()
            .expect("an answer");
        assert!(wrong.is_err_and(|text| text.starts_with("workers is a count")));
        let all = remote.config().wait().expect("all");
        assert!(all.contains(&("timeout".to_owned(), "30".to_owned())));
        let tree = remote.tree().wait().expect("the tree");
        assert_eq!(tree.pools[0].size, 3);
        let worker = &tree.actors[0].info;
        let system = worker.system.expect("on Linux it is told");
        assert!(system.memory > 0 && system.threads > 0 && system.descriptors > 0);
        assert_eq!(
            remote.spawn("anything").wait(),
            Err(AskError::UnknownCommand("anything".into()))
        );
        assert_eq!(remote.shutdown().wait(), Ok(()));
        assert_eq!(server.wait(), Some(0));
    });
}

#[test]
fn hup_reads_the_settings_anew_and_wrong_ones_change_nothing() {
    within(3 * LIMIT, || {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("settings.toml");
        fs::write(&path, "workers = 1\n").expect("a file");
        let server = Server::start(&["-c", &path.display().to_string()]);
        server.workers_when(|workers| workers.len() == 1);
        fs::write(&path, "workers = 2\n").expect("a file");
        server.signal("HUP");
        let remote = control(server.folder.path());
        let workers = || remote.config_get("workers").wait().expect("an answer");
        eventually(|| workers().as_deref() == Some("2"));
        eventually(|| server.workers().len() == 2);
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .expect("the file");
        file.write_all(b"wokers = 3\n").expect("a line");
        let before = server.workers();
        server.signal("HUP");
        // Once that is heeded the other was, too.
        server.signal("TTIN");
        eventually(|| server.workers().len() == 3);
        assert!(server.workers().is_superset(&before), "they stay");
        say(&mut server.client(), "it goes on");
        assert_eq!(workers().as_deref(), Some("2"));
    });
}

/// What the server answers to a word, without the process that does.
fn answer(server: &Server) -> String {
    let mut client = server.client();
    client.send("word".to_owned()).expect("a connection");
    let answer = client.recv().expect("an answer").expect("an echo");
    answer.split(" (from").next().expect("a word").to_owned()
}

#[test]
fn settings_that_change_reach_the_workers_and_nothing_is_lost() {
    within(3 * LIMIT, || {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("settings.toml");
        fs::write(&path, "workers = 2\n").expect("a file");
        let mut server = Server::start(&["-c", &path.display().to_string()]);
        let old = server.workers_when(|workers| workers.len() == 2);
        let remote = control(server.folder.path());
        let set = |name: &str, value: &str| remote.config_set(name, value).wait().expect("told");
        // Those that are made otherwise take the places of the others.
        assert_eq!(set("prefix", "+"), Ok(()));
        eventually(|| answer(&server) == "+word");
        let new = server.workers_when(|workers| workers.len() == 2 && workers.is_disjoint(&old));
        // What is dealt out to those that are there needs no others.
        assert_eq!(set("backlog", "7"), Ok(()));
        assert_eq!(answer(&server), "+word");
        assert_eq!(server.workers(), new);
        assert_eq!(set("max_requests", "1"), Ok(()));
        eventually(|| {
            answer(&server);
            server.workers().is_disjoint(&new)
        });
        assert_eq!(set("max_requests", "0"), Ok(()));
        let wrong = set("placement", "moon").expect_err("there is no such place");
        assert!(wrong.starts_with("placement is process, thread or local, not \"moon\""));
        let fixed = set("pidfile", "/elsewhere").expect_err("it is written");
        assert_eq!(fixed, "pidfile cannot change while the program runs");
        // What the program refuses is as before.
        assert_eq!(set("prefix", &"x".repeat(81)), Ok(()));
        let prefix = || remote.config_get("prefix").wait().expect("told");
        eventually(|| prefix().as_deref() == Some("+"));
        // By HUP, while many ask; those who ask wait for an answer that begins with their word.
        assert_eq!(set("prefix", ""), Ok(()));
        eventually(|| answer(&server) == "word");
        fs::write(&path, "workers = 3\nplacement = \"thread\"\n").expect("a file");
        let server_pid = server.child.id();
        under_load(&server.address, || {
            server.signal("HUP");
            eventually(|| say(&mut server.client(), "where") == server_pid);
            eventually(|| server.workers().is_empty());
        });
        assert_eq!(remote.tree().wait().expect("the tree").pools[0].size, 3);
        server.signal("TERM");
        assert_eq!(server.wait(), Some(0));
    });
}
