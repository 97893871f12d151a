//! What telling, asking, spawning and replacing cost on this machine, per placement.
//!
//! `cargo run --release -p ipc-actors --example bars`

use std::error::Error;
use std::time::{Duration, Instant};

use ipc_actors::{
    Actor, Arbiter, ArbiterLoop, ArbiterOptions, ArbiterThread, Commands, Context, Failure,
    Handler, Message, Placement, Proxy, Restart, Spec, host,
};
use ipc_exchange::{init, registry};
use serde::{Deserialize, Serialize};

struct Sum(u64);

#[derive(Serialize, Deserialize)]
struct Add(u64);

#[derive(Serialize, Deserialize)]
struct Crash;

impl Message for Add {
    type Reply = u64;
    const NAME: &'static str = "add";
}

impl Message for Crash {
    type Reply = ();
    const NAME: &'static str = "crash";
}

impl Actor for Sum {
    type Params = ();
    const NAME: &'static str = "sum";

    fn commands(commands: &mut Commands<Self>) {
        commands.on::<Add>().on::<Crash>();
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

impl Handler<Crash> for Sum {
    fn handle(&mut self, _: Crash, _: &mut Context<'_, Self>) {
        std::process::abort();
    }
}

const TELLS: u64 = 2_000_000;
const ASKS: usize = 20_000;

fn quantile(sorted: &[Duration], permille: usize) -> Duration {
    sorted[(sorted.len() - 1) * permille / 1000]
}

#[expect(clippy::print_stdout, reason = "it is there to print")]
fn line(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let (p50, p99) = (quantile(&times, 500), quantile(&times, 990));
    println!("{what:<28} p50 {p50:>10.2?}  p99 {p99:>10.2?}");
}

#[expect(clippy::print_stdout, reason = "it is there to print")]
fn rate(what: &str, count: u64, begun: Instant) {
    let rate = count as f64 / begun.elapsed().as_secs_f64() / 1e6;
    println!("{what:<28} {rate:>6.2} M/s");
}

fn timed(mut run: impl FnMut()) -> Duration {
    let begun = Instant::now();
    run();
    begun.elapsed()
}

fn local() -> Result<(), Box<dyn Error>> {
    let mut root = ArbiterLoop::new(ArbiterOptions::default())?;
    let arbiter = root.arbiter();
    let spawning = arbiter.spawn(Spec::<Sum>::new(()).local());
    let sum: Proxy<Sum> = root.wait(spawning.into_deferred())??;
    let begun = Instant::now();
    for number in 0..TELLS {
        if let Err(refused) = sum.send(Add(1)) {
            root.wait(sum.ping())??;
            sum.send(refused.into_inner())
                .map_err(|_| format!("no room for {number}"))?;
        }
    }
    root.wait(sum.ping())??;
    rate("tell local", TELLS, begun);
    let mut times = Vec::with_capacity(ASKS);
    for _ in 0..ASKS {
        let begun = Instant::now();
        root.wait(sum.ask(Add(1)))??;
        times.push(begun.elapsed());
    }
    line("ask local", times);
    arbiter.stop();
    root.run()?;
    Ok(())
}

fn beside(arbiter: &Arbiter, placement: Placement) -> Result<(), Box<dyn Error>> {
    let spec = Spec::<Sum>::new(()).placement(placement).capacity(16 << 10);
    let sum = arbiter.spawn(spec).wait()?;
    sum.ask(Add(0)).wait()?;
    let begun = Instant::now();
    for _ in 0..TELLS {
        sum.send(Add(1))?;
    }
    assert_eq!(sum.ask(Add(0)).wait()?, TELLS);
    rate(&format!("tell {placement}"), TELLS, begun);
    let asks = (0..ASKS)
        .map(|_| timed(|| drop(sum.ask(Add(1)).wait())))
        .collect();
    line(&format!("ask {placement}"), asks);
    let mut spawns = Vec::new();
    for _ in 0..50 {
        let begun = Instant::now();
        let other = arbiter
            .spawn(Spec::<Sum>::new(()).placement(placement))
            .wait()?;
        other.ask(Add(1)).wait()?;
        spawns.push(begun.elapsed());
        arbiter.stop_actor(other.id()).wait()?;
    }
    line(&format!("spawn {placement}, first answer"), spawns);
    Ok(())
}

fn replaced(arbiter: &Arbiter) -> Result<(), Box<dyn Error>> {
    let (mut seen, mut serving) = (Vec::new(), Vec::new());
    for _ in 0..50 {
        let spec = Spec::<Sum>::new(()).restart(Restart::Transient).process();
        let sum = arbiter.spawn(spec).wait()?;
        let pid = sum.info().wait()?.pid.to_string();
        let asked = sum.ask(Crash);
        let begun = Instant::now();
        drop(asked.wait());
        seen.push(begun.elapsed());
        while sum.ask(Add(1)).wait().is_err() {}
        serving.push(begun.elapsed());
        assert_ne!(pid, sum.info().wait()?.pid.to_string());
        arbiter.stop_actor(sum.id()).wait()?;
    }
    line("crash seen by the asker", seen);
    line("replacement serving", serving);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "it is there to print")]
fn memory(arbiter: &Arbiter, count: usize) -> Result<(), Box<dyn Error>> {
    let rss = || -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok())
            .unwrap_or(0)
    };
    let before = rss();
    let begun = Instant::now();
    let spec = Spec::<Sum>::new(()).local().restart(Restart::Temporary);
    let spawning: Vec<_> = (0..count).map(|_| arbiter.spawn(spec.clone())).collect();
    let actors: Result<Vec<_>, _> = spawning
        .into_iter()
        .map(|spawning| spawning.wait())
        .collect();
    let actors = actors?;
    let each = begun.elapsed() / u32::try_from(count)?;
    println!("spawn local, {count} of them     {each:?} each");
    println!(
        "memory per idle local actor  {} bytes",
        (rss() - before) * 1024 / actors.len()
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    init(registry![host::<Sum>]);
    let crash = std::env::args().any(|argument| argument == "crash");
    if !crash {
        local()?;
    }
    let mut options = ArbiterOptions::default();
    options.supervisor.intensity = 1000;
    let thread = ArbiterThread::start(options)?;
    let arbiter = thread.arbiter();
    if !crash {
        beside(&arbiter, Placement::Thread)?;
        beside(&arbiter, Placement::Process)?;
    }
    replaced(&arbiter)?;
    memory(&arbiter, 2_000)?;
    thread.finish()?;
    Ok(())
}
