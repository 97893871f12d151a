//! A pool of CPU-bound workers in processes: one is killed in the middle and nothing is lost.
//!
//! `cargo run --release -p ipc-actors --example pool`

use std::error::Error;
use std::process::Command;

use ipc_actors::{
    Actor, ArbiterOptions, ArbiterThread, Commands, Context, Failure, Handler, Message,
    MonitorSpec, Spec, host,
};
use ipc_exchange::{init, registry};
use serde::{Deserialize, Serialize};

struct Primes;

/// How many primes are below this number.
#[derive(Serialize, Deserialize)]
struct Below(u64);

impl Message for Below {
    type Reply = (u64, u32);
    const NAME: &'static str = "below";
}

impl Actor for Primes {
    type Params = ();
    const NAME: &'static str = "primes";

    fn commands(commands: &mut Commands<Self>) {
        commands.on::<Below>();
    }

    fn init((): (), _: &mut Context<'_, Self>) -> Result<Self, Failure> {
        Ok(Self)
    }
}

impl Handler<Below> for Primes {
    fn handle(&mut self, Below(limit): Below, ctx: &mut Context<'_, Self>) -> (u64, u32) {
        let mut count = 0;
        for number in 2..limit {
            if number % 1024 == 0 {
                // Long work is no reason to be taken for stuck.
                ctx.progress();
            }
            let divides = |divisor| number % divisor == 0;
            let mut divisors = (2..).take_while(|divisor| divisor * divisor <= number);
            count += u64::from(!divisors.any(divides));
        }
        (count, std::process::id())
    }
}

#[expect(clippy::print_stdout, reason = "an example shows what it does")]
fn main() -> Result<(), Box<dyn Error>> {
    init(registry![host::<Primes>]);
    let thread = ArbiterThread::start(ArbiterOptions::default())?;
    let worker = Spec::<Primes>::new(()).process().cpu_bound();
    // One message at a time each, and a new process after every five.
    let spec = MonitorSpec::new("primes", worker, 2)
        .backlog(1)
        .requests_max(5, 2);
    let pool = thread.arbiter().monitor(spec).wait()?;

    let asks: Vec<_> = (1..=20)
        .map(|step| (step * 2000, pool.ask(Below(step * 2000))))
        .collect();
    let victim = pool.workers()[0].info().wait()?.pid;
    Command::new("kill")
        .args(["-9", &victim.to_string()])
        .status()?;
    println!("process {victim} was killed");
    for (limit, ask) in asks {
        let (count, pid) = ask.wait()?;
        println!("{count:>5} primes below {limit:>5}, says process {pid}");
    }
    let info = pool.info().wait()?.ok_or("no pool")?;
    println!("of {} workers {} are up", info.size, info.up);
    thread.finish()?;
    Ok(())
}
