//! Answers that come later, and processes that talk to each other: a desk keeps questions until it has news,
//! and goes on working meanwhile; a visitor in another process finds it, asks it, and leaves its own answer
//! to the desk's. They have a lane of their own, and the arbiter is not on it.
//!
//! `cargo run -p ipc-actors --example news`

use std::time::Duration;

use ipc_actors::{
    Actor, ArbiterOptions, ArbiterThread, AskError, Commands, Context, Failure, Handler, Message,
    Proxy, Receive, Reply, Spec, host,
};
use ipc_exchange::{init, registry};
use serde::{Deserialize, Serialize};

#[derive(Default)]
struct Desk {
    news: Option<String>,
    waiting: Vec<Reply<String>>,
}

#[derive(Serialize, Deserialize)]
struct Ask;

impl Message for Ask {
    type Reply = String;
    const NAME: &'static str = "ask";
}

/// Answers how many have waited for it.
#[derive(Serialize, Deserialize)]
struct Publish(String);

impl Message for Publish {
    type Reply = usize;
    const NAME: &'static str = "publish";
}

impl Actor for Desk {
    type Params = ();
    const NAME: &'static str = "desk";

    fn commands(commands: &mut Commands<Self>) {
        commands.on::<Ask>().on::<Publish>();
    }

    fn init((): (), _: &mut Context<'_, Self>) -> Result<Self, Failure> {
        Ok(Self::default())
    }
}

impl Receive<Ask> for Desk {
    fn receive(&mut self, _: Ask, reply: Reply<String>, _: &mut Context<'_, Self>) {
        match &self.news {
            Some(news) => reply.answer(news.clone()),
            None => self.waiting.push(reply),
        }
    }
}

impl Handler<Publish> for Desk {
    fn handle(&mut self, Publish(news): Publish, _: &mut Context<'_, Self>) -> usize {
        let waited = self.waiting.len();
        for reply in self.waiting.drain(..) {
            reply.answer(news.clone());
        }
        self.news = Some(news);
        waited
    }
}

struct Visitor {
    desk: Proxy<Desk>,
}

#[derive(Serialize, Deserialize)]
struct Visit;

impl Message for Visit {
    type Reply = String;
    const NAME: &'static str = "visit";
}

impl Actor for Visitor {
    type Params = ();
    const NAME: &'static str = "visitor";

    fn commands(commands: &mut Commands<Self>) {
        commands.on::<Visit>();
    }

    fn init((): (), ctx: &mut Context<'_, Self>) -> Result<Self, Failure> {
        let desk = ctx.arbiter().get_actor("desk").wait()?;
        let desk: Proxy<Desk> = desk.ok_or("there is no desk")?;
        // Without this the arbiter passes on what is sent.
        let desk = desk.direct().wait()?;
        Ok(Self { desk })
    }
}

impl Receive<Visit> for Visitor {
    fn receive(&mut self, _: Visit, reply: Reply<String>, _: &mut Context<'_, Self>) {
        // It does not wait: the answer goes on by itself when it comes.
        reply.answer_with(self.desk.ask(Ask));
    }
}

#[expect(clippy::print_stdout, reason = "an example shows what it does")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    init(registry![host::<Desk>, host::<Visitor>]);
    let thread = ArbiterThread::start(ArbiterOptions::default())?;
    let arbiter = thread.arbiter();
    let desk = arbiter
        .spawn(Spec::<Desk>::new(()).name("desk").process())
        .wait()?;
    let visitor = arbiter.spawn(Spec::<Visitor>::new(()).process()).wait()?;

    let visits: Vec<_> = (0..3).map(|_| visitor.ask(Visit)).collect();
    let waited = desk.ask(Publish("rain".to_owned())).wait()?;
    println!("{waited} had asked when the news came");
    for visit in visits {
        println!("a visitor was told of {}", visit.wait()?);
    }

    // What the desk still has is finished; nothing more is taken.
    let last = desk.ask(Ask);
    let gone = arbiter.drain_actor(desk.id(), Duration::from_secs(1));
    println!("the last was told of {}", last.wait()?);
    println!("the desk has ended: {:?}", gone.wait()?);
    assert_eq!(desk.ask(Ask).wait(), Err(AskError::NotStarted));
    thread.finish()?;
    Ok(())
}
