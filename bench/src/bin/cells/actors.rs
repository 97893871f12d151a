//! One actor that adds up what it is told and answers with the sum, wherever it is placed.

use std::time::{Duration, Instant};

use ipc_actors::{
    Actor, ArbiterLoop, ArbiterOptions, ArbiterThread, Commands, Context, Failure, Handler,
    Message, Placement, Proxy, Spec,
};
use serde::{Deserialize, Serialize};

use crate::{Cell, emit, emit_percentile};

/// What a message holds, in bytes.
const MESSAGE_LEN: usize = 8;

/// How many messages may wait for the actor.
const CAPACITY: usize = 16 << 10;

pub(crate) struct Sum(u64);

#[derive(Serialize, Deserialize)]
pub(crate) struct Add(pub(crate) u64);

/// Has the actor measure another in the same way.
#[derive(Serialize, Deserialize)]
pub(crate) struct Measure {
    other: Option<Proxy<Sum>>,
    direct: bool,
    tells: bool,
    ms: u64,
}

/// Messages in how many seconds, or the times of each in nanoseconds.
type Measured = (u64, f64, Vec<u64>);

/// Ends the process of whoever gets it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Crash;

impl Message for Add {
    type Reply = u64;
    const NAME: &'static str = "add";
}

impl Message for Measure {
    type Reply = Measured;
    const NAME: &'static str = "measure";
}

impl Message for Crash {
    type Reply = ();
    const NAME: &'static str = "crash";
}

impl Actor for Sum {
    type Params = ();
    const NAME: &'static str = "sum";

    fn commands(commands: &mut Commands<Self>) {
        commands.on::<Add>().on::<Crash>().on::<Measure>();
    }

    fn init((): (), _: &mut Context<'_, Self>) -> Result<Self, Failure> {
        Ok(Self(0))
    }
}

impl Handler<Add> for Sum {
    fn handle(&mut self, Add(by): Add, _: &mut Context<'_, Self>) -> u64 {
        self.0 += by;
        self.0
    }
}

impl Handler<Measure> for Sum {
    fn handle(&mut self, measure: Measure, _: &mut Context<'_, Self>) -> Measured {
        let mut other = measure.other.expect("another actor");
        if measure.direct {
            other = other.direct().wait().expect("a way of its own");
        }
        if measure.tells {
            other.ask(Add(0)).wait().expect("it answers");
            let started = Instant::now();
            let count = tells(measure.ms);
            for number in 0..count {
                other.send(Add(number)).expect("it lives");
            }
            let last = other.ask(Add(0)).wait().expect("it answers");
            assert_eq!(
                last,
                count * (count - 1) / 2,
                "every message was added once"
            );
            return (count, started.elapsed().as_secs_f64(), Vec::new());
        }
        let ask = |number| other.ask(Add(number)).wait().expect("it answers");
        (0, 0.0, ask_times(measure.ms, ask))
    }
}

impl Handler<Crash> for Sum {
    fn handle(&mut self, _: Crash, _: &mut Context<'_, Self>) {
        std::process::abort();
    }
}

pub(crate) fn list() -> Vec<Cell> {
    let mut cells = Vec::new();
    for case in ["actor_tell", "actor_ask"] {
        for peer in ["local", "thread", "process", "between", "between-direct"] {
            cells.push(Cell {
                group: "actors",
                peer: peer.to_owned(),
                case,
                size: MESSAGE_LEN,
            });
        }
    }
    cells
}

/// Measures the cell, if there is one of this name.
pub(crate) fn cell(peer: &str, case: &str, size: usize, ms: u64) -> bool {
    if size != MESSAGE_LEN || !matches!(case, "actor_tell" | "actor_ask") {
        return false;
    }
    match peer {
        "local" => local(case, ms),
        "thread" => elsewhere(Placement::Thread, case, ms),
        "process" => elsewhere(Placement::Process, case, ms),
        "between" => between(false, case, ms),
        "between-direct" => between(true, case, ms),
        _ => return false,
    }
    true
}

/// How many messages are told: half a million, or fewer when time is short.
fn tells(ms: u64) -> u64 {
    if ms >= 200 { 500_000 } else { 100_000 }
}

/// On the loop of the one thread that there is: it tells until the mailbox is full, and then the
/// actor works.
fn local(case: &str, ms: u64) {
    let mut root = ArbiterLoop::new(ArbiterOptions::default()).expect("an arbiter starts");
    let arbiter = root.arbiter();
    let spec = Spec::<Sum>::new(()).local().capacity(CAPACITY);
    let spawning = arbiter.spawn(spec).into_deferred();
    let sum: Proxy<Sum> = root.wait(spawning).expect("it waits").expect("it starts");
    if case == "actor_tell" {
        let started = Instant::now();
        for number in 0..tells(ms) {
            if let Err(refused) = sum.send(Add(number)) {
                while sum.waiting() > 0 {
                    root.turn(Some(Duration::ZERO)).expect("it waits");
                }
                assert!(sum.send(refused.into_inner()).is_ok(), "there is room now");
            }
        }
        let last = root.wait(sum.ask(Add(0))).expect("it waits");
        report_tells(tells(ms), started, last.expect("it answers"));
    } else {
        asks(ms, |number| {
            let answer = root.wait(sum.ask(Add(number))).expect("it waits");
            answer.expect("it answers")
        });
    }
    arbiter.stop();
    root.run().expect("it ends well");
}

/// On another thread or in another process than the one that sends.
fn elsewhere(placement: Placement, case: &str, ms: u64) {
    let thread = ArbiterThread::start(ArbiterOptions::default()).expect("an arbiter starts");
    let spec = Spec::<Sum>::new(()).placement(placement).capacity(CAPACITY);
    let sum = thread.arbiter().spawn(spec).wait().expect("it starts");
    if case == "actor_tell" {
        sum.ask(Add(0)).wait().expect("it answers");
        let started = Instant::now();
        for number in 0..tells(ms) {
            sum.send(Add(number)).expect("it lives");
        }
        let last = sum.ask(Add(0)).wait().expect("it answers");
        report_tells(tells(ms), started, last);
    } else {
        asks(ms, |number| {
            sum.ask(Add(number)).wait().expect("it answers")
        });
    }
    thread.finish().expect("it ends well");
}

/// From one process to another, by the arbiter or directly.
fn between(direct: bool, case: &str, ms: u64) {
    let thread = ArbiterThread::start(ArbiterOptions::default()).expect("an arbiter starts");
    let [first, second] = ["first", "second"].map(|name| {
        let spec = Spec::<Sum>::new(()).process().name(name).capacity(CAPACITY);
        thread.arbiter().spawn(spec).wait().expect("it starts")
    });
    let measure = Measure {
        other: Some(second),
        direct,
        tells: case == "actor_tell",
        ms,
    };
    let (count, seconds, mut times) = first.ask(measure).wait().expect("it answers");
    if count > 0 {
        emit("msgs_per_s", count as f64 / seconds);
    } else {
        emit_percentile("rtt_us_p50", &mut times, 50, 1000.0);
        emit_percentile("rtt_us_p99", &mut times, 99, 1000.0);
    }
    thread.finish().expect("it ends well");
}

fn report_tells(count: u64, started: Instant, sum: u64) {
    let time = started.elapsed().as_secs_f64();
    assert_eq!(sum, count * (count - 1) / 2, "every message was added once");
    emit("msgs_per_s", count as f64 / time);
}

fn asks(ms: u64, ask: impl FnMut(u64) -> u64) {
    let mut times = ask_times(ms, ask);
    emit_percentile("rtt_us_p50", &mut times, 50, 1000.0);
    emit_percentile("rtt_us_p99", &mut times, 99, 1000.0);
}

/// How long each answer took, in nanoseconds.
fn ask_times(ms: u64, mut ask: impl FnMut(u64) -> u64) -> Vec<u64> {
    let warm_up = Duration::from_millis(ms / 4);
    let end = Duration::from_millis(ms) + warm_up;
    let (mut times, mut sum) = (Vec::with_capacity(1 << 20), 0);
    let started = Instant::now();
    let mut before = started;
    for number in 0.. {
        sum += number;
        assert_eq!(ask(number), sum, "every message was added once");
        let now = Instant::now();
        if now - started > warm_up {
            times.push((now - before).as_nanos() as u64);
        }
        if now - started > end && times.len() > 100 {
            break;
        }
        before = now;
    }
    times
}
