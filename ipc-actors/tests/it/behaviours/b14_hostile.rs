//! Callers that mean no good, and one that does.

use std::fs;
use std::io::{IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ipc_actors::{AskError, Proxy, RemoteArbiter};
use ipc_core::{Address, AnyChannel, Deadline, Inbound, Outbound, Socket};
use ipc_marshal::AuthKey;

use super::alone_by;
use super::served::{Come, Served};
use crate::desk::{Desk, Look, Nested, Stranger, clerk, operator};
use crate::hostile::{Tap, Wiretapper};
use crate::support::LIMIT;

/// For how many seconds noise is sent, unless for two.
const NOISE: &str = "IPC_ACTORS_NOISE_SECONDS";

/// How much more memory attacks may take. The stacks of the threads that meet half-open connections are
/// about as large again where the compiler has not looked at them.
const MEMORY_MAX: u64 = if cfg!(debug_assertions) {
    24 << 20
} else {
    16 << 20
};

/// Each attack on each kind of socket costs the attacker its connection, and nobody else anything.
#[test]
fn a14_hostile_callers_cost_themselves() {
    let test = "behaviours::b14_hostile::a14_hostile_callers_cost_themselves";
    let many = [
        "sh",
        "-c",
        "ulimit -n $(ulimit -Hn) 2>/dev/null; exec \"$@\"",
        "sh",
    ];
    let noise = noise_time();
    alone_by(test, 4 * LIMIT + 2 * noise, &many, move || {
        let folder = tempfile::tempdir().expect("a folder");
        let mut served = Served::start(folder.path());
        let calm = Calm::start(&served);
        calm.measure("nobody", || {
            thread::park_timeout(Duration::from_millis(1500))
        });
        let memory = Memory::watch(served.pid());
        for address in served.addresses() {
            let raw = format!("lengths, noise and trickles to {}", kind(&address));
            calm.measure(&raw, || {
                lengths(&address);
                trickle(&address);
            });
            let known = format!("nesting and unknown commands by {}", kind(&address));
            calm.measure(&known, || nesting_and_unknown(&address));
        }
        calm.measure("half-open connections", || half_open(&served));
        calm.measure("wrong keys", || wrong_keys(&served.tcp));
        calm.measure("replay and reflection", || {
            replay_and_reflection(&served.tcp)
        });
        calm.measure("no right to spawn", || no_right(&served.tcp));
        calm.measure("descriptors", || descriptors(&mut served));
        calm.measure("noise", || send_noise(&served, noise));
        let most = memory.most();
        super::note(&format!(
            "memory of the arbiter: {} KiB more at most",
            most >> 10
        ));
        assert!(most <= MEMORY_MAX, "{most} bytes");
        calm.end();
        let come = served.come();
        super::note(&format!("{come:?}"));
        let Come {
            refused,
            failed,
            strikes,
            forged,
            cut,
        } = come;
        for count in [refused, failed, strikes, forged, cut] {
            assert!(count > 0, "{come:?}");
        }
        assert!(served.end(), "without a panic");
    });
}

fn noise_time() -> Duration {
    let seconds = std::env::var(NOISE).ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(2))
}

fn kind(address: &Address) -> String {
    let text = address.to_string();
    text.split(':').next().unwrap_or_default().to_owned()
}

fn connect(address: &Address) -> RemoteArbiter {
    let key = operator();
    let key = matches!(address, Address::Tcp(_)).then_some(&key);
    RemoteArbiter::connect(address, key).expect("welcome")
}

/// A caller of each kind of socket that asks something every millisecond or so.
struct Calm {
    over: Arc<AtomicBool>,
    took: Arc<Mutex<Vec<Duration>>>,
    callers: Vec<JoinHandle<()>>,
    /// What is usual.
    base: Mutex<Option<Duration>>,
}

impl Calm {
    fn start(served: &Served) -> Self {
        let (over, took) = (
            Arc::<AtomicBool>::default(),
            Arc::<Mutex<Vec<_>>>::default(),
        );
        let callers = served.addresses().map(|address| {
            let (over, took) = (Arc::clone(&over), Arc::clone(&took));
            let desk: Proxy<Desk> = connect(&address).get_actor("desk").expect("the desk");
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    assert_eq!(desk.ask_timeout(Look, LIMIT), Ok(()), "{address}");
                    let mut all = took.lock().unwrap_or_else(PoisonError::into_inner);
                    all.push(begun.elapsed());
                    drop(all);
                    thread::park_timeout(Duration::from_millis(1));
                }
            })
        });
        Self {
            over,
            took,
            callers: callers.into(),
            base: Mutex::default(),
        }
    }

    /// Notes how long these callers wait meanwhile, beside what is usual.
    #[track_caller]
    fn measure(&self, what: &str, attack: impl FnOnce()) {
        self.took
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        attack();
        let mut took =
            std::mem::take(&mut *self.took.lock().unwrap_or_else(PoisonError::into_inner));
        took.sort_unstable();
        let at = |share: usize| {
            took.get(took.len() * share / 100)
                .copied()
                .unwrap_or_default()
        };
        let (middle, late) = (at(50), at(99));
        let mut base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        let usual = *base.get_or_insert(late);
        let times = late.as_secs_f64() / usual.as_secs_f64().max(1e-6);
        super::note(&format!(
            "{what}: others wait {middle:.0?} (99 of 100 at most {late:.0?}, {times:.1} times the usual, bar 2)"
        ));
        // A machine that is busy with other things makes anybody wait.
        assert!(late < Duration::from_secs(2), "{what}: {late:?}");
    }

    fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.join().expect("every answer came");
        }
    }
}

/// How much memory a process has more than at first.
struct Memory {
    over: Arc<AtomicBool>,
    watcher: JoinHandle<u64>,
}

fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) << 10
}

impl Memory {
    fn watch(pid: u32) -> Self {
        let over = Arc::<AtomicBool>::default();
        let flag = Arc::clone(&over);
        let watcher = thread::spawn(move || {
            let first = resident(pid);
            let mut most = first;
            while !flag.load(Ordering::Relaxed) {
                most = most.max(resident(pid));
                thread::park_timeout(Duration::from_millis(5));
            }
            most - first
        });
        Self { over, watcher }
    }

    fn most(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.watcher.join().expect("it watches")
    }
}

/// Sends bytes to somebody who may have gone.
fn send(channel: &mut AnyChannel, bytes: &[u8]) -> bool {
    let soon = Deadline::after(Duration::from_millis(200));
    channel.write_deadline(&[IoSlice::new(bytes)], soon).is_ok()
}

/// Waits for the other side to give up.
#[track_caller]
fn ends(channel: &mut AnyChannel) {
    let (mut buf, late) = ([0; 4096], Deadline::after(LIMIT));
    loop {
        match channel.read_deadline(&mut buf, late) {
            Ok(1..) => {}
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => panic!("it stays open"),
            Ok(0) | Err(_) => return,
        }
    }
}

/// Frames of four gigabytes, as far as their first bytes say, and what is no frame at all.
fn lengths(address: &Address) {
    let mut frames = vec![vec![0xff; 64], b"*-1\r\n".to_vec(), vec![0; 64]];
    for kind in 0..4 {
        frames.push(vec![0xff, 0xff, 0xff, 0xff, kind, 0, 0, 0]);
        frames.push(vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, kind]);
    }
    let mut open: Vec<_> = frames
        .iter()
        .map(|frame| {
            let mut channel = AnyChannel::connect(address).expect("a connection");
            send(&mut channel, frame);
            channel
        })
        .collect();
    open.iter_mut().for_each(|channel| ends(channel));
}

/// A byte now and then, which is no reason to be waited for.
fn trickle(address: &Address) {
    let begun = Instant::now();
    let mut open: Vec<_> = (0..8)
        .map(|_| AnyChannel::connect(address).expect("a connection"))
        .collect();
    while !open.is_empty() {
        open.retain_mut(|channel| {
            let mut buf = [0; 64];
            let gone = matches!(channel.read_deadline(&mut buf, Deadline::Now), Ok(0));
            !gone && send(channel, &[1])
        });
        assert!(begun.elapsed() < LIMIT, "{} stay", open.len());
        thread::park_timeout(Duration::from_millis(200));
    }
}

/// As many as the machine gives, at most ten thousand, which say nothing.
fn half_open(served: &Served) {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let limit = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let limit = limit.and_then(|line| line.split_whitespace().nth(3)?.parse::<usize>().ok());
    let count = limit.unwrap_or(1024).saturating_sub(512).min(10_000);
    super::note(&format!("{count} half-open connections"));
    let [unix, ring, tcp] = served.addresses();
    // Each way in has its part; a ring takes memory and more descriptors of its maker.
    for (address, part) in [(tcp, count / 2), (unix, count / 2), (ring, count.min(40))] {
        let open: Vec<_> = (0..part)
            .filter_map(|_| {
                let soon = Duration::from_secs(2);
                AnyChannel::connect_timeout(&address, soon).ok()
            })
            .collect();
        assert!(
            open.len() > part / 2,
            "{} of {part} by {address}",
            open.len()
        );
        let mut last = open.into_iter().next_back().expect("one at least");
        ends(&mut last);
    }
}

fn wrong_keys(tcp: &Address) {
    thread::scope(|scope| {
        for number in 0..20 {
            scope.spawn(move || {
                let wrong = AuthKey::new(format!("guess {number}"));
                assert!(RemoteArbiter::connect(tcp, Some(&wrong)).is_err());
                let remote = RemoteArbiter::connect(tcp, None).expect("as a stranger");
                assert!(remote.auth(&wrong).is_err());
            });
        }
    });
}

fn replay_and_reflection(tcp: &Address) {
    let wire = Wiretapper::before(tcp);
    let remote = RemoteArbiter::connect(&wire.address, Some(&operator())).expect("welcome");
    let desk: Proxy<Desk> = remote.get_actor("desk").expect("the desk");
    assert_eq!(desk.ask_timeout(Look, LIMIT), Ok(()));
    let recording: Vec<u8> = wire.heard.try_iter().flatten().collect();
    for _ in 0..10 {
        let mut channel = AnyChannel::connect(tcp).expect("a connection");
        send(&mut channel, &recording);
        ends(&mut channel);
    }
    for tap in [Tap::Repeat, Tap::Reflect, Tap::Change] {
        let wire = Wiretapper::before(tcp);
        let remote = RemoteArbiter::connect(&wire.address, Some(&operator())).expect("welcome");
        let desk: Proxy<Desk> = remote.get_actor("desk").expect("the desk");
        wire.orders.send(tap).expect("it listens");
        drop(desk.ask(Look).wait_timeout(LIMIT).expect("an end"));
        // Whichever side has found out: the connection is over.
        let begun = Instant::now();
        while desk.ask_timeout(Look, LIMIT).is_ok() {
            assert!(begun.elapsed() < LIMIT, "{tap:?}");
        }
    }
}

fn no_right(tcp: &Address) {
    let remote = RemoteArbiter::connect(tcp, Some(&clerk())).expect("welcome");
    let forbidden = |name: &str| AskError::Forbidden(name.to_owned());
    for _ in 0..10 {
        assert_eq!(remote.spawn("desk").wait(), Err(forbidden("spawn")));
        assert_eq!(remote.run("greet", "x").wait(), Err(forbidden("run")));
    }
    let begun = Instant::now();
    // Strikes end it.
    while remote.spawn("desk").wait() == Err(forbidden("spawn")) {
        assert!(begun.elapsed() < LIMIT);
    }
}

fn nesting_and_unknown(address: &Address) {
    let remote = connect(address);
    let desk: Proxy<Desk> = remote.get_actor("desk").expect("the desk");
    for depth in [1_000, 1_000_000] {
        let error = desk
            .ask_timeout(Nested(depth), LIMIT)
            .expect_err("too deep");
        assert!(matches!(error, AskError::Codec(_)), "{error}");
    }
    let begun = Instant::now();
    loop {
        match desk.ask_timeout(Stranger, LIMIT) {
            Err(AskError::UnknownCommand(_)) => assert!(begun.elapsed() < LIMIT),
            Err(_) => break,
            Ok(()) => panic!("it is unknown"),
        }
    }
}

/// What sits between a caller and the unix socket of the arbiter does with what passes.
type Meddle = Box<dyn FnMut(&mut Socket, &mut [u8]) + Send>;

/// Lets the first connection pass through `meddle`, and answers where it is to be made.
fn between(served: &Served, name: &str, mut meddle: Meddle) -> Address {
    let path = served.folder.join(name);
    let own = UnixListener::bind(&path).expect("a socket");
    let there = UnixStream::connect(served.folder.join("unix")).expect("the arbiter");
    thread::spawn(move || {
        let (mut here, _) = own.accept().expect("the caller");
        let (mut back, mut answers) = (
            here.try_clone().expect("a copy"),
            there.try_clone().expect("a copy"),
        );
        let answering = thread::spawn(move || {
            drop(std::io::copy(&mut answers, &mut back));
            drop(back.shutdown(Shutdown::Both));
        });
        let mut onward = Socket::from_fd(there.into()).expect("a socket");
        let mut buf = vec![0; 64 << 10];
        while let Ok(len @ 1..) = here.read(&mut buf) {
            meddle(&mut onward, &mut buf[..len]);
        }
        drop((onward, here));
        answering.join().expect("no panic");
    });
    format!("unix:{}", path.display())
        .parse()
        .expect("an address")
}

/// Descriptors before the greeting and in the middle of a conversation.
fn descriptors(served: &mut Served) {
    let count = |pid| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let before = count(served.pid());
    let own = fs::File::open("/dev/null").expect("it is there");
    let unix = served.local("unix");
    for many in [1, 253] {
        let mut socket = Socket::connect(&unix).expect("a connection");
        let fds = vec![own.as_fd(); many];
        socket.send_fds(&[1; 8], &fds).expect("it is taken");
        let mut channel = AnyChannel::Socket(socket);
        ends(&mut channel);
    }
    for many in [1, 253] {
        let forged = served.come().forged;
        let armed = Arc::new(AtomicUsize::new(0));
        let (load, trigger) = (own.try_clone().expect("a copy"), Arc::clone(&armed));
        let address = between(
            served,
            &format!("tap-{many}"),
            Box::new(move |onward, bytes| {
                let fds = vec![load.as_fd(); trigger.swap(0, Ordering::Relaxed)];
                drop(onward.send_fds(bytes, &fds));
            }),
        );
        let remote = RemoteArbiter::connect(&address, None).expect("welcome");
        let desk: Proxy<Desk> = remote.get_actor("desk").expect("the desk");
        assert_eq!(desk.ask_timeout(Look, LIMIT), Ok(()));
        armed.store(many, Ordering::Relaxed);
        assert!(desk.ask_timeout(Look, LIMIT).is_err(), "{many} descriptors");
        assert_eq!(served.come().forged, forged + 1);
    }
    let begun = Instant::now();
    while count(served.pid()) > before {
        assert!(begun.elapsed() < LIMIT, "they stay open");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Noise from the first byte on, and sessions of which one byte in some is changed.
fn send_noise(served: &Served, time: Duration) {
    let (end, mut random) = (Instant::now() + time, 0x2545_f491_4f6c_dd1d_u64);
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let (mut raw, mut sessions) = (0, 0);
    while Instant::now() < end {
        for address in served.addresses() {
            let Ok(mut channel) = AnyChannel::connect_timeout(&address, LIMIT) else {
                continue;
            };
            let len = next() as usize % 4096 + 1;
            let noise: Vec<u8> = (0..len).map(|_| next() as u8).collect();
            send(&mut channel, &noise);
            raw += 1;
        }
        session(served, sessions, &mut next);
        sessions += 1;
    }
    super::note(&format!(
        "{raw} times noise, {sessions} sessions with noise"
    ));
}

fn session(served: &Served, number: usize, next: &mut impl FnMut() -> u64) {
    let (mut calls, at, change) = (0, next() % 12, next());
    let address = between(
        served,
        &format!("noise-{number}"),
        Box::new(move |onward, bytes| {
            if calls == at {
                let place = (change >> 8) as usize % bytes.len();
                bytes[place] ^= (change as u8).max(1);
            }
            calls += 1;
            drop(onward.write_all(bytes));
        }),
    );
    let Ok(remote) = RemoteArbiter::connect(&address, None) else {
        return;
    };
    let Ok(desk) = remote.get_actor::<Desk>("desk") else {
        return;
    };
    for _ in 0..4 {
        let soon = Duration::from_millis(50);
        drop(desk.ask_timeout(Look, soon));
        drop(desk.echo(vec![1_u8; 64]).wait_timeout(soon));
    }
    drop(fs::remove_file(
        Path::new(&served.folder).join(format!("noise-{number}")),
    ));
}
