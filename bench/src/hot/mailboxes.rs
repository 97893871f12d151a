//! Messages to an actor on the loop of the calling thread.

use std::time::Duration;

use ipc_actors::{
    Actor, ArbiterLoop, ArbiterOptions, Commands, Context, Failure, Handler, Message, Proxy, Spec,
};
use serde::{Deserialize, Serialize};

use super::Hot;

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

fn counter() -> (ArbiterLoop, Proxy<Counter>) {
    let mut arbiter =
        ArbiterLoop::new(ArbiterOptions::default()).expect("descriptors are to be had");
    let spawning = arbiter.arbiter().spawn(Spec::<Counter>::new(0).local());
    let counter = arbiter
        .wait(spawning.into_deferred())
        .expect("waiting works")
        .expect("a counter starts");
    (arbiter, counter)
}

/// Tells an actor `count` messages, and a turn of the loop delivers them.
pub fn mailbox_tell(count: usize) -> Hot {
    let (mut arbiter, counter) = counter();
    Hot::new(move || {
        for _ in 0..count {
            assert!(counter.send(Add(1)).is_ok());
        }
        while counter.waiting() > 0 {
            arbiter.turn(Some(Duration::ZERO)).expect("waiting works");
        }
    })
}

/// Asks an actor and takes its answer.
pub fn mailbox_ask() -> Hot {
    let (mut arbiter, counter) = counter();
    let mut last = 0;
    Hot::new(move || {
        let answer = arbiter
            .wait(counter.ask(Add(1)))
            .expect("waiting works")
            .expect("a counter answers");
        assert_eq!(answer, last + 1);
        last = answer;
    })
}
