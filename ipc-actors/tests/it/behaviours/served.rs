//! An arbiter in a process of its own, that others reach over sockets.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use ipc_actors::{ArbiterOptions, ArbiterThread, Listener, RemoteOptions, Spec};
use ipc_core::Address;

use crate::actors::{Counter, Start};
use crate::desk::{plain, secured};
use crate::support::{set_up, spawn};

/// Where the process finds its folder.
const SERVED: &str = "IPC_ACTORS_TEST_SERVED_IN";

/// The process, as those see it that connect to it.
pub(super) struct Served {
    child: Child,
    words: BufReader<ChildStdout>,
    pub(super) folder: PathBuf,
    pub(super) tcp: Address,
}

/// What has come to all its listeners.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Come {
    pub(super) refused: u64,
    pub(super) failed: u64,
    pub(super) strikes: u64,
    pub(super) forged: u64,
    pub(super) cut: u64,
}

impl Served {
    /// Starts it, with its sockets in this folder.
    pub(super) fn start(folder: &Path) -> Self {
        let mut child = Command::new(env::current_exe().expect("a path"))
            .args(["behaviours::served::serve", "--exact", "--nocapture"])
            .env(SERVED, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a start");
        let mut words = BufReader::new(child.stdout.take().expect("piped"));
        let tcp = said(&mut words, "served at ").parse().expect("an address");
        let folder = folder.to_owned();
        Self {
            child,
            words,
            folder,
            tcp,
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its own user's way in, in this manner.
    pub(super) fn local(&self, kind: &str) -> Address {
        let path = self.folder.join(kind);
        format!("{kind}:{}", path.display())
            .parse()
            .expect("an address")
    }

    pub(super) fn addresses(&self) -> [Address; 3] {
        [self.local("unix"), self.local("ring"), self.tcp.clone()]
    }

    /// What has come to it so far.
    pub(super) fn come(&mut self) -> Come {
        let mut orders = self.child.stdin.as_ref().expect("piped");
        orders.write_all(b"tell\n").expect("it listens");
        let text = said(&mut self.words, "come ");
        let numbers: Vec<u64> = text
            .split(' ')
            .map(|word| word.parse().expect("a number"))
            .collect();
        Come {
            refused: numbers[0],
            failed: numbers[1],
            strikes: numbers[2],
            forged: numbers[3],
            cut: numbers[4],
        }
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().expect("it is there");
    }

    /// Has it end, and answers whether that was without a panic.
    pub(super) fn end(mut self) -> bool {
        drop(self.child.stdin.take());
        let status = self.child.wait().expect("an end");
        let rest: Vec<_> = self.words.by_ref().lines().map_while(Result::ok).collect();
        status.success() && !rest.iter().any(|line| line.contains("panicked"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // One that has ended is none the worse for it.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What it says behind this word.
fn said(words: &mut BufReader<ChildStdout>, word: &str) -> String {
    loop {
        let mut line = String::new();
        let len = words.read_line(&mut line).expect("words");
        assert_ne!(len, 0, "it has ended");
        if let Some((_, text)) = line.split_once(word) {
            return text.trim_end().to_owned();
        }
    }
}

/// Not a test by itself: what the process does.
#[test]
fn serve() {
    let Some(folder) = env::var_os(SERVED).map(PathBuf::from) else {
        return;
    };
    // What it starts is not to do the same.
    set_up();
    let thread = ArbiterThread::start(ArbiterOptions::default()).expect("an arbiter");
    let arbiter = thread.arbiter();
    spawn(&arbiter, plain().name("desk"));
    spawn(&arbiter, plain().name("other"));
    spawn(
        &arbiter,
        Spec::<Counter>::new(Start::default())
            .thread()
            .name("counter"),
    );
    arbiter.offer_run("greet", |name| Ok(format!("hello {name}")));
    arbiter.offer_spawn("desk", plain(), 2);
    let local = |kind: &str| {
        let address = format!("{kind}:{}", folder.join(kind).display());
        arbiter
            .listen(&address.parse().expect("an address"), RemoteOptions::new())
            .expect("a listener")
    };
    let tcp: Address = "tcp:127.0.0.1:0".parse().expect("an address");
    let options = secured(RemoteOptions::new()).strangers(true);
    let tcp = arbiter.listen(&tcp, options).expect("a listener");
    let listeners = [local("unix"), local("ring"), tcp];
    println!("served at {}", listeners[2].address());
    for _ in std::io::stdin().lines() {
        println!("come {}", tell(&listeners));
    }
    drop(listeners);
    thread.finish().expect("a clean end");
}

fn tell(listeners: &[Listener]) -> String {
    let stats: Vec<_> = listeners.iter().map(Listener::stats).collect();
    let sum = |of: fn(&ipc_actors::ListenerStats) -> u64| stats.iter().map(of).sum::<u64>();
    let numbers = [
        sum(|stats| stats.refused),
        sum(|stats| stats.failed),
        sum(|stats| stats.strikes),
        sum(|stats| stats.forged),
        sum(|stats| stats.cut),
    ];
    numbers.map(|number| number.to_string()).join(" ")
}
