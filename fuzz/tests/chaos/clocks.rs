//! Time that is not what it was: another clock, a stop that every timer sleeps through, and the proof
//! that no wait asks the clock that can be set.
//!
//! Setting the clock would set it for the whole machine. What can be shown instead is that nothing
//! looks at that clock, and that the other may have any value.

use std::fs;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use ipc_core::{Address, Deadline, Pipe, Port, Ring, Socket};
use ipc_dispatch::{Context, Deferred, Exit, Selector, WaitError};
use ipc_marshal::{AckError, DuctOptions, RecvError};
use nix::sys::signal::Signal;

use crate::calls::addresses;
use crate::chance::Chance;
use crate::scenario::{scenarios, skip};
use crate::session::{SOON, Session};
use crate::tasks::pause;

scenarios![
    time_outs_are_kept_on_a_clock_that_is_years_ahead,
    no_wait_asks_the_clock_that_can_be_set,
    a_stop_is_slept_through_without_a_burst,
];

pub(crate) const WAITS: &str = "waits";
pub(crate) const TICKS: &str = "ticks";

const LIMIT: Duration = Duration::from_millis(15);

/// Runs a wait that is to take as long as the limit, and not much more.
fn takes(what: &str, wait: impl FnOnce()) {
    let begun = Instant::now();
    wait();
    let took = begun.elapsed();
    let most = Duration::from_secs(5);
    assert!(took >= LIMIT && took < most, "{what} took {took:?}");
}

/// The role: every call that waits, in vain.
pub(crate) fn waits(_: &[String]) -> ExitCode {
    let (pipe, _p) = Pipe::pair().expect("a pipe");
    let (ring, _r) = Ring::pair().expect("a ring");
    let (socket, _s) = Socket::pair().expect("a socket");
    let channels = [
        ("pipe", pipe.into()),
        ("ring", ring.into()),
        ("socket", socket.into()),
    ];
    for (kind, channel) in channels {
        let mut duct = DuctOptions::new().from_channel::<u32, u32, ipc_core::AnyChannel>(channel);
        takes(kind, || {
            let result = duct.recv_timeout(LIMIT);
            assert!(matches!(result, Err(RecvError::Timeout)), "{result:?}");
        });
        takes(kind, || {
            let result = duct.send_acked(1, Deadline::after(LIMIT));
            assert!(matches!(result, Err(AckError::Timeout)), "{result:?}");
        });
    }
    let folder = tempfile::tempdir().expect("a folder");
    for address in addresses(folder.path()) {
        let mut port = Port::bind(&address).expect("it is free");
        takes("accept", || {
            drop(port.accept_timeout(LIMIT).expect_err("nobody calls"))
        });
    }
    takes("a deferred", || {
        let (_completer, mut deferred) = Deferred::<()>::pair();
        let result = deferred.wait_timeout(LIMIT);
        assert!(matches!(result, Err(WaitError::Timeout)), "{result:?}");
    });
    let mut selector = Selector::<u32>::new().expect("a selector");
    selector.alarm(LIMIT, |ctx: &mut Context<'_, u32>| *ctx.state += 1);
    let mut rang = 0;
    takes("an alarm", || {
        assert_eq!(selector.run(&mut rang).expect("no error"), Exit::Idle)
    });
    assert_eq!(rang, 1);
    assert_eq!(Deadline::after(Duration::MAX), Deadline::Never);
    println!("enough");
    ExitCode::SUCCESS
}

#[track_caller]
fn assert_enough(mut session: Session, case: &str) {
    let (status, told) = session.wait();
    assert!(
        status.success() && told.trim() == "enough",
        "{case}: {status} {told}"
    );
    session.assert_gone(case);
}

fn time_outs_are_kept_on_a_clock_that_is_years_ahead(chance: &mut Chance) {
    let root = nix::unistd::geteuid().is_root();
    let first = if root { "--time" } else { "--map-root-user" };
    // Up to ten years.
    let ahead = (1 + chance.below(315_360_000)).to_string();
    let wrapper = [
        "unshare",
        first,
        "--time",
        "--monotonic",
        &ahead,
        "--boottime",
        &ahead,
        "--fork",
        "--kill-child",
        "--",
    ];
    let tried = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg("true")
        .output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        return skip("a time of one's own cannot be had here");
    }
    assert_enough(Session::start_under(&wrapper, WAITS, &[]), "another time");
}

fn no_wait_asks_the_clock_that_can_be_set(_: &mut Chance) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("calls");
    let log_name = log.display().to_string();
    let calls = "trace=futex,futex_waitv,poll,ppoll,select,pselect6,epoll_wait,epoll_pwait,\
                 epoll_pwait2,nanosleep,clock_nanosleep,timerfd_create,timer_create,recvmsg,accept4";
    let wrapper = ["strace", "-f", "-qq", "-e", calls, "-o", &log_name];
    let tried = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg("true")
        .output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        return skip("there is no strace, or it may not trace");
    }
    assert_enough(Session::start_under(&wrapper, WAITS, &[]), "traced");
    let text = fs::read_to_string(&log).expect("what was traced");
    let waits = text.lines().filter(|line| line.contains("tv_"));
    assert!(waits.count() > 5, "it did not wait: {text}");
    let asks = text.lines().find(|line| line.contains("CLOCK_REALTIME"));
    assert_eq!(asks, None, "the wall clock");
}

/// How often the role's timer ticks.
const PERIOD: Duration = Duration::from_millis(10);

/// The role: a timer, an alarm and a wait, whatever happens to the process meanwhile.
pub(crate) fn ticks(_: &[String]) -> ExitCode {
    #[derive(Default)]
    struct Seen {
        ticks: Vec<Instant>,
        alarms: u32,
    }
    let mut selector = Selector::<Seen>::new().expect("a selector");
    let address: Address = "tcp:127.0.0.1:0".parse().expect("an address");
    selector.add(Port::bind(&address).expect("a port"));
    selector.every(PERIOD, |ctx: &mut Context<'_, Seen>| {
        ctx.state.ticks.push(Instant::now());
    });
    for ms in 0..600 {
        let delay = Duration::from_millis(ms);
        // The loop's own time, from which it counts.
        let due = selector.now() + delay;
        selector.alarm(delay, move |ctx: &mut Context<'_, Seen>| {
            assert!(Instant::now() >= due, "an alarm rang early");
            ctx.state.alarms += 1;
        });
    }
    println!("ready");
    let mut seen = Seen::default();
    let whole = Duration::from_millis(700);
    let begun = Instant::now();
    let exit = selector.run_timeout(&mut seen, whole);
    assert_eq!(exit.expect("no error"), Exit::Deadline);
    assert!(begun.elapsed() >= whole, "it ended early");
    // On a busy machine some are due when the time is up, and ring in the next turns.
    let until = Instant::now() + SOON;
    while seen.alarms < 600 && Instant::now() < until {
        selector.turn(&mut seen, Some(PERIOD)).expect("no error");
    }
    selector.turn(&mut seen, Some(PERIOD)).expect("no error");
    assert_eq!(seen.alarms, 600, "every alarm rings once");
    // Those that were missed are left out: a late one and the next may be close, and no more.
    for four in seen.ticks.windows(4) {
        let took = four[3] - four[0];
        assert!(took >= PERIOD, "four ticks in {took:?}");
    }
    println!("enough");
    ExitCode::SUCCESS
}

fn a_stop_is_slept_through_without_a_burst(chance: &mut Chance) {
    let mut session = Session::start(TICKS, &[]);
    assert_eq!(session.line(), "ready");
    for _ in 0..4 {
        pause(Duration::from_millis(chance.below(60)));
        session.signal(Signal::SIGSTOP);
        pause(Duration::from_millis(20 + chance.below(120)));
        session.signal(Signal::SIGCONT);
    }
    assert_enough(session, "stopped");
}
