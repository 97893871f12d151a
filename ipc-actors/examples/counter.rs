//! A counter in a process of its own, and what happens when that is killed.
//!
//! `cargo run -p ipc-actors --example counter`

use std::error::Error;
use std::process::Command;
use std::time::Duration;

use ipc_actors::{
    Actor, ArbiterOptions, ArbiterThread, Commands, Context, Failure, Handler, Message, Spec, host,
};
use ipc_exchange::{init, registry};
use serde::{Deserialize, Serialize};

struct Counter(u64);

#[derive(Serialize, Deserialize)]
struct Add(u64);

impl Message for Add {
    type Reply = u64;
    const NAME: &'static str = "add";
}

impl Actor for Counter {
    type Params = u64;
    const NAME: &'static str = "counter";

    fn commands(commands: &mut Commands<Self>) {
        commands.on::<Add>();
    }

    fn init(from: u64, _: &mut Context<'_, Self>) -> Result<Self, Failure> {
        Ok(Self(from))
    }
}

impl Handler<Add> for Counter {
    fn handle(&mut self, Add(by): Add, _: &mut Context<'_, Self>) -> u64 {
        self.0 += by;
        self.0
    }
}

#[expect(clippy::print_stdout, reason = "an example shows what it does")]
fn main() -> Result<(), Box<dyn Error>> {
    // The counter's process starts here, too, and goes no further.
    init(registry![host::<Counter>]);
    let thread = ArbiterThread::start(ArbiterOptions::default())?;
    let arbiter = thread.arbiter();

    // The same for every placement: try `.local()` or `.thread()`.
    let counter = arbiter.spawn(Spec::<Counter>::new(40).process()).wait()?;
    counter.send(Add(1))?;
    println!("40 + 1 + 1 = {}", counter.ask(Add(1)).wait()?);

    let pid = counter.info().wait()?.pid;
    Command::new("kill")
        .args(["-9", &pid.to_string()])
        .status()?;
    let answer = loop {
        match counter.ask_timeout(Add(1), Duration::from_secs(5)) {
            Ok(answer) => break answer,
            Err(error) => println!("killed: {error}"),
        }
    };
    println!("a new process begins again: 40 + 1 = {answer}");
    println!(
        "process {pid} is now process {}",
        counter.info().wait()?.pid
    );
    Ok(thread.finish().map(drop)?)
}
