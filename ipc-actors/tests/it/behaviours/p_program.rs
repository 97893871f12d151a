//! A program with workers, as its operator and its users see it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ipc_actors::MonitorSpec;
use ipc_core::Address;
use ipc_marshal::Duct;

use super::alone;
use super::witness::{Job, Plan};
use crate::application::{Server, program, say};
use crate::support::{LIMIT, eventually, is_alive, signal, with_arbiter};
use crate::upgrade::pid_in;

#[test]
fn p09_each_signal_that_ends_it_leaves_nothing_and_tells_its_status() {
    let test =
        "behaviours::p_program::p09_each_signal_that_ends_it_leaves_nothing_and_tells_its_status";
    alone(test, 3 * LIMIT, || {
        for (name, status) in [("TERM", 0), ("INT", 130), ("QUIT", 131)] {
            let mut server = Server::start(&["-w", "3"]);
            let workers = server.workers_when(|workers| workers.len() == 3);
            // Defined, and no end.
            server.signal("USR1");
            say(&mut server.client(), "it goes on");
            server.signal(name);
            assert_eq!(server.wait(), Some(status), "{name}");
            assert!(workers.iter().all(|&pid| !is_alive(pid)), "{name}");
            let left = fs::read_dir(server.folder.path())
                .expect("a folder")
                .count();
            assert_eq!(left, 0, "{name}");
        }
        // A worker that does not stop has its time after the first, and none after the second.
        for (second, grace) in [(false, "2"), (true, "60")] {
            let mut server = Server::start(&["-w", "1", "--graceful-timeout", grace]);
            let workers = server.workers_when(|workers| workers.len() == 1);
            let stuck = *workers.first().expect("a worker");
            signal(stuck, "STOP");
            let begun = Instant::now();
            server.signal("TERM");
            if second {
                server.signal("TERM");
            }
            // Two that are sent at once may come as one.
            let mut told = Instant::now();
            while server.child.try_wait().expect("a child").is_none() {
                if second && told.elapsed() > Duration::from_millis(50) {
                    server.signal("TERM");
                    told = Instant::now();
                }
                std::thread::park_timeout(Duration::from_millis(2));
            }
            assert_eq!(server.wait(), Some(0));
            let took = begun.elapsed();
            super::note(&format!("ended after {took:?}, told twice: {second}"));
            assert!(second || took > Duration::from_millis(1900), "{took:?}");
            assert!(took < LIMIT, "{took:?}");
            assert!(!is_alive(stuck));
        }
    });
}

#[test]
fn p14_only_its_own_pid_file_is_taken_away() {
    let test = "behaviours::p_program::p14_only_its_own_pid_file_is_taken_away";
    alone(test, 2 * LIMIT, || {
        let mut server = Server::start(&[]);
        fs::write(server.pidfile(), "1\n").expect("somebody else's");
        server.signal("TERM");
        assert_eq!(server.wait(), Some(0));
        assert_eq!(pid_in(&server.pidfile()), Some(1));
    });
}

#[test]
fn p14_a_daemon_keeps_its_umask_folder_and_descriptors() {
    let test = "behaviours::p_program::p14_a_daemon_keeps_its_umask_folder_and_descriptors";
    alone(test, 2 * LIMIT, || {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().display();
        let script = "umask 027; exec 7</dev/null; exec \"$0\" \"$@\"";
        let mut starter = Command::new("sh")
            .args(["-c", script])
            .arg(program())
            .args([
                "--daemon",
                "--bind",
                &format!("unix:{path}/echo"),
                "--pidfile",
            ])
            .arg(folder.path().join("pid"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a start");
        // Its streams end when it does: what goes on has not kept them.
        let mut told = String::new();
        let mut words = starter.stdout.take().expect("piped");
        words.read_to_string(&mut told).expect("text");
        assert_eq!(starter.wait().expect("its end").code(), Some(0), "{told}");
        let pid = pid_in(&folder.path().join("pid")).expect("it runs already");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        assert!(status.contains("Umask:\t0027"), "{status}");
        let cwd = fs::read_link(format!("/proc/{pid}/cwd")).expect("it runs");
        assert_eq!(cwd, folder.path());
        let address: Address = format!("unix:{path}/echo").parse().expect("an address");
        let mut client = Duct::connect(&address).expect("a connection");
        say(&mut client, "hello");
        // What it was given it keeps: a port, perhaps.
        let has_7 = |process| fs::read_link(format!("/proc/{process}/fd/7")).ok();
        assert!(has_7(pid).is_some_and(|to| to == Path::new("/dev/null")));
        signal(pid, "TERM");
        eventually(|| !is_alive(pid));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    });
}

#[test]
fn p15_each_job_is_done_once_and_those_of_the_killed_again() {
    let test = "behaviours::p_program::p15_each_job_is_done_once_and_those_of_the_killed_again";
    alone(test, 2 * LIMIT, || {
        with_arbiter(|arbiter| {
            const JOBS: u64 = 200;
            const KILLS: usize = 4;
            let folder = tempfile::tempdir().expect("a folder");
            let plan = Plan::new(folder.path());
            let spec = MonitorSpec::new("crew", plan.spec("worker"), 4).backlog(1);
            let spec = spec.deliveries_max(1 + KILLS as u32);
            let pool = arbiter.monitor(spec).wait().expect("a pool");
            let jobs: Vec<_> = (0..JOBS).map(|number| pool.ask(Job(number, 10))).collect();
            for kill in 1..=KILLS {
                let done = || plan.seen(&["job"]).len();
                eventually(|| done() > kill * 30);
                let workers = pool.workers();
                let victim = workers[kill % workers.len()].info().wait();
                if let Ok(victim) = victim {
                    signal(victim.pid, "KILL");
                }
            }
            for (number, job) in (0..JOBS).zip(jobs) {
                let (done, _) = job
                    .wait_timeout(LIMIT)
                    .expect("in time")
                    .expect("an answer");
                assert_eq!(done, number);
            }
            let mut times = BTreeMap::new();
            for job in plan.seen(&["job"]) {
                *times.entry(job).or_insert(0_usize) += 1;
            }
            assert_eq!(times.len() as u64, JOBS);
            // One that was killed between the last stroke and the answer has done it in vain.
            let again: usize = times.values().map(|times| times - 1).sum();
            assert!(again <= KILLS, "{times:?}");
        });
    });
}
