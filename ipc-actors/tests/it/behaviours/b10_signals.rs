//! More signals than anybody sends.

use std::fmt::Write;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use ipc_actors::{PoolStatus, RemoteArbiter};

use super::{alone, note};
use crate::application::{Server, say};
use crate::support::{LIMIT, eventually, is_alive};
use crate::upgrade::control;

/// Sends ten thousand signals of these kinds in about a second.
fn storm(pid: u32, kinds: &[&str]) {
    const ALL: usize = 10_000;
    const BURSTS: usize = 25;
    let mut round = String::new();
    for kind in kinds {
        write!(round, "kill -{kind} {pid} || exit 0; ").expect("it fits");
    }
    let rounds = ALL / BURSTS / kinds.len() + 1;
    let script = format!("i=0; while [ $i -lt {rounds} ]; do {round} i=$((i+1)); done");
    let begun = Instant::now();
    for burst in 1..=BURSTS as u32 {
        let status = Command::new("sh").args(["-c", &script]).status();
        assert!(status.expect("a shell").success());
        let next = Duration::from_millis(40) * burst;
        while let Some(left) = next.checked_sub(begun.elapsed()) {
            thread::park_timeout(left);
        }
    }
    note(&format!("{ALL} signals in {:?}", begun.elapsed()));
}

fn pool(remote: &RemoteArbiter) -> PoolStatus {
    let mut tree = remote
        .tree()
        .wait_timeout(LIMIT)
        .expect("in time")
        .expect("the tree");
    tree.pools.remove(0)
}

/// As many workers as are said, and as there are.
fn settled(server: &Server, remote: &RemoteArbiter) -> u64 {
    let mut size = 0;
    eventually(|| {
        let pool = pool(remote);
        size = pool.size;
        (pool.up, pool.total) == (size, size) && server.workers().len() as u64 == size
    });
    size
}

#[test]
fn a10_after_a_storm_every_signal_means_what_it_meant() {
    let test = "behaviours::b10_signals::a10_after_a_storm_every_signal_means_what_it_meant";
    alone(test, 4 * LIMIT, || {
        let mut server = Server::start(&["-w", "2"]);
        let remote = control(server.folder.path());
        storm(
            server.child.id(),
            &["HUP", "TTIN", "TTOU", "USR1", "CHLD", "WINCH"],
        );
        let size = settled(&server, &remote);
        note(&format!("{size} workers after the storm"));
        // Once each, one after the other: none is lost and none does more than it says.
        server.signal("WINCH");
        eventually(|| pool(&remote).size == 0);
        assert_eq!(settled(&server, &remote), 0);
        for count in 1..=3 {
            server.signal("TTIN");
            eventually(|| pool(&remote).size == count);
        }
        server.signal("TTOU");
        eventually(|| pool(&remote).size == 2);
        assert_eq!(settled(&server, &remote), 2);
        let before = server.workers();
        server.signal("HUP");
        server.workers_when(|workers| workers.len() == 2 && workers.is_disjoint(&before));
        say(&mut server.client(), "it goes on");
        server.signal("TERM");
        assert_eq!(server.wait(), Some(0));
    });
}

#[test]
fn a10_a_stop_in_the_middle_of_a_storm_is_a_stop() {
    let test = "behaviours::b10_signals::a10_a_stop_in_the_middle_of_a_storm_is_a_stop";
    alone(test, 4 * LIMIT, || {
        for second in [false, true] {
            let mut server = Server::start(&["-w", "3"]);
            // Somebody who was let in and never says a word keeps it for its two seconds.
            let mut silent = server.client();
            say(&mut server.client(), "served");
            let workers = server.workers_when(|workers| workers.len() == 3);
            let pid = server.child.id();
            let storm = thread::spawn(move || {
                storm(pid, &["HUP", "TTIN", "TTOU", "USR1", "CHLD", "WINCH"]);
            });
            thread::park_timeout(Duration::from_millis(400));
            server.signal("TERM");
            let begun = Instant::now();
            if second {
                thread::park_timeout(Duration::from_millis(200));
                server.signal("TERM");
            }
            assert_eq!(server.wait(), Some(0), "the first decides");
            let took = begun.elapsed();
            let bar = match second {
                true => Duration::from_secs(1),
                false => Duration::from_secs(3),
            };
            note(&format!(
                "ended after {took:?} (bar {bar:?}), told twice: {second}"
            ));
            assert!(took < bar + LIMIT / 4, "{took:?}");
            assert!(second || took > Duration::from_millis(1900), "{took:?}");
            assert!(workers.iter().all(|&pid| !is_alive(pid)));
            assert!(!server.pidfile().exists());
            assert!(silent.recv().is_err());
            storm.join().expect("a storm");
        }
    });
}

/// While workers that do not stop are being replaced, other signals are heeded.
#[test]
fn a10_nothing_waits_for_a_reload() {
    let test = "behaviours::b10_signals::a10_nothing_waits_for_a_reload";
    alone(test, 2 * LIMIT, || {
        let mut server = Server::start(&["-w", "1"]);
        let remote = control(server.folder.path());
        assert_eq!(settled(&server, &remote), 1);
        let stuck = server.workers_when(|workers| workers.len() == 1);
        let stuck = *stuck.first().expect("a worker");
        crate::support::signal(stuck, "STOP");
        server.signal("HUP");
        let begun = Instant::now();
        server.signal("TTIN");
        eventually(|| {
            let pool = pool(&remote);
            (pool.size, pool.up) == (2, 2)
        });
        super::figure("two serve", begun.elapsed(), Duration::from_millis(300));
        // It was asked, and killed after the two seconds that it has.
        eventually(|| !is_alive(stuck));
        assert!(begun.elapsed() >= Duration::from_millis(1900));
        assert_eq!(settled(&server, &remote), 2);
        server.signal("TERM");
        assert_eq!(server.wait(), Some(0));
    });
}
