//! A supervised tree: a store that sessions depend on, and a supervisor that gives up.
//!
//! `cargo run -p ipc-actors --example tree`

use std::error::Error;
use std::time::Duration;

use ipc_actors::{
    Actor, Arbiter, ArbiterOptions, ArbiterThread, Commands, Context, Failure, Handler, Message,
    Proxy, Spec, Strategy, SupervisorOptions, SupervisorSpec, host,
};
use ipc_exchange::{init, registry};
use serde::{Deserialize, Serialize};

struct Service(String);

#[derive(Serialize, Deserialize)]
struct Who;

#[derive(Serialize, Deserialize)]
struct Crash;

impl Message for Who {
    type Reply = String;
    const NAME: &'static str = "who";
}

impl Message for Crash {
    type Reply = ();
    const NAME: &'static str = "crash";
}

impl Actor for Service {
    type Params = String;
    const NAME: &'static str = "service";

    fn commands(commands: &mut Commands<Self>) {
        commands.on::<Who>().on::<Crash>();
    }

    fn init(name: String, ctx: &mut Context<'_, Self>) -> Result<Self, Failure> {
        Ok(Self(format!("{name}, start {}", ctx.incarnation() + 1)))
    }
}

impl Handler<Who> for Service {
    fn handle(&mut self, _: Who, _: &mut Context<'_, Self>) -> String {
        self.0.clone()
    }
}

impl Handler<Crash> for Service {
    fn handle(&mut self, _: Crash, _: &mut Context<'_, Self>) {
        std::process::abort();
    }
}

fn service(name: &str) -> Spec<Service> {
    Spec::new(name.to_owned()).name(name)
}

#[expect(clippy::print_stdout, reason = "an example shows what it does")]
fn show(arbiter: &Arbiter, when: &str) -> Result<(), Box<dyn Error>> {
    println!("{when}:");
    for name in ["log", "store", "session"] {
        let answer = loop {
            let actor: Option<Proxy<Service>> = arbiter.get_actor(name);
            match actor.map(|actor| actor.ask_timeout(Who, Duration::from_secs(5))) {
                Some(Ok(answer)) => break answer,
                // It is being restarted.
                _ => std::thread::yield_now(),
            }
        };
        println!("  {answer}");
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    init(registry![host::<Service>]);
    let thread = ArbiterThread::start(ArbiterOptions::default())?;
    let arbiter = thread.arbiter();

    // A session cannot outlive the store it was made with; one crash in five seconds is allowed.
    let strategy = Strategy::RestForOne;
    let inner = SupervisorOptions {
        strategy,
        intensity: 1,
        ..SupervisorOptions::default()
    };
    let data = SupervisorSpec::new("data", inner)
        .child(service("store").process())
        .child(service("session").thread());
    let tree = SupervisorSpec::new("main", SupervisorOptions::default())
        .child(service("log").local())
        .supervisor(data);
    arbiter.supervise(tree).wait()?;
    show(&arbiter, "all have started")?;

    for when in [
        "the store has crashed, so the session starts anew",
        "again: all is made anew",
    ] {
        let store: Proxy<Service> = arbiter.get_actor("store").ok_or("no store")?;
        let lost = store.ask(Crash).wait();
        assert!(lost.is_err());
        let old = store.clone();
        while store.incarnation() == 0 && arbiter.get_actor("store") == Some(old.clone()) {
            std::thread::yield_now();
        }
        show(&arbiter, when)?;
    }
    thread.finish()?;
    Ok(())
}
