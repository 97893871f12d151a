//! Actors that wait where nobody else could bring what they wait for.

use ipc_actors::{
    Actor, AskError, Commands, Context, Failure, Handler, Message, MonitorSpec, Placement, Proxy,
    Receive, Reply, SpawnError, Spec,
};
use serde::{Deserialize, Serialize};

use crate::actors::{Add, Counter, Start};
use crate::support::{LIMIT, PLACEMENTS, spawn, with_arbiter};

/// Asks others for their answers, and waits for them or not.
struct Asker;

/// How it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum How {
    Wait,
    WaitTimeout,
    AskTimeout,
}

#[derive(Debug, Serialize, Deserialize)]
struct Wait(Proxy<Counter>, How);

impl Message for Wait {
    type Reply = Result<u64, AskError>;
    const NAME: &'static str = "wait";
}

#[derive(Debug, Serialize, Deserialize)]
struct Leave(Proxy<Counter>);

impl Message for Leave {
    type Reply = u64;
    const NAME: &'static str = "leave";
}

#[derive(Debug, Serialize, Deserialize)]
struct Hire;

impl Message for Hire {
    type Reply = bool;
    const NAME: &'static str = "hire";
}

#[derive(Debug, Serialize, Deserialize)]
struct Myself;

impl Message for Myself {
    type Reply = Result<(), AskError>;
    const NAME: &'static str = "myself";
}

impl Actor for Asker {
    type Params = ();
    const NAME: &'static str = "asker";

    fn commands(commands: &mut Commands<Self>) {
        commands.on::<Wait>().on::<Leave>();
        commands.on::<Hire>().on::<Myself>();
    }

    fn init((): (), _: &mut Context<'_, Self>) -> Result<Self, Failure> {
        Ok(Self)
    }
}

impl Handler<Wait> for Asker {
    fn handle(&mut self, Wait(of, how): Wait, _: &mut Context<'_, Self>) -> Result<u64, AskError> {
        match how {
            How::Wait => of.ask(Add(1)).wait(),
            How::WaitTimeout => of.ask(Add(1)).wait_timeout(LIMIT).expect("no time passes"),
            How::AskTimeout => of.ask_timeout(Add(1), LIMIT),
        }
    }
}

impl Receive<Leave> for Asker {
    fn receive(&mut self, Leave(of): Leave, reply: Reply<u64>, _: &mut Context<'_, Self>) {
        reply.answer_with(of.ask(Add(1)));
    }
}

impl Handler<Hire> for Asker {
    fn handle(&mut self, _: Hire, ctx: &mut Context<'_, Self>) -> bool {
        let spec = Spec::<Counter>::new(Start::default()).thread();
        matches!(ctx.spawn(spec).wait(), Err(SpawnError::Deadlock))
    }
}

impl Handler<Myself> for Asker {
    fn handle(&mut self, _: Myself, ctx: &mut Context<'_, Self>) -> Result<(), AskError> {
        ctx.proxy().ask(Myself).wait()?
    }
}

#[test]
fn an_actor_on_the_loop_is_told_that_it_would_wait_for_ever() {
    with_arbiter(|arbiter| {
        let asker = spawn(arbiter, Spec::<Asker>::new(()).local());
        for placement in PLACEMENTS {
            let spec = Spec::<Counter>::new(Start::default()).placement(placement);
            let counter = spawn(arbiter, spec.name(placement.to_string()));
            for how in [How::Wait, How::WaitTimeout, How::AskTimeout] {
                let waited = asker
                    .ask_timeout(Wait(counter.clone(), how), LIMIT)
                    .unwrap();
                match placement {
                    // Another thread answers whatever the loop does.
                    Placement::Thread => assert!(waited.is_ok(), "{how:?}"),
                    _ => assert_eq!(waited, Err(AskError::Deadlock), "{placement} {how:?}"),
                }
            }
            // What was sent before the wait was handled; what would have waited was not sent.
            let sent = if placement == Placement::Thread { 3 } else { 2 };
            let left = asker.ask_timeout(Leave(counter), LIMIT);
            assert_eq!(left, Ok(sent + 1), "{placement}");
        }
        assert_eq!(asker.ask_timeout(Hire, LIMIT), Ok(true));
    });
}

#[test]
fn an_actor_that_waits_for_itself_is_told() {
    with_arbiter(|arbiter| {
        for placement in [Placement::Local, Placement::Thread] {
            let spec = Spec::<Asker>::new(()).placement(placement);
            let asker = spawn(arbiter, spec.name(placement.to_string()));
            let waited = asker.ask_timeout(Myself, LIMIT).unwrap();
            assert_eq!(waited, Err(AskError::Deadlock), "{placement}");
            arbiter.kill_actor(asker.id());
        }
    });
}

#[test]
fn who_is_not_on_the_loop_may_wait_for_a_pool() {
    with_arbiter(|arbiter| {
        for placement in PLACEMENTS {
            let spec = Spec::<Counter>::new(Start::default()).placement(placement);
            let pool = arbiter.monitor(MonitorSpec::new(placement.to_string(), spec, 1));
            let pool = pool.wait().expect("a pool");
            assert_eq!(pool.ask(Add(1)).wait(), Ok(1), "{placement}");
        }
    });
}
