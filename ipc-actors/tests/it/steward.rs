//! Actors that have their arbiter do something, wherever they run.

use ipc_actors::{
    Actor, ActorId, AskError, Caller, Commands, Context, Deed, Failure, Handler, Message,
    Placement, Spec,
};
use serde::{Deserialize, Serialize};

use crate::actors::{Counter, Pid, Start};
use crate::support::{LIMIT, PLACEMENTS, eventually, is_alive, spawn, with_arbiter};

/// Has the arbiter do things, and answers what came of it.
pub(crate) struct Steward;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Task {
    Look,
    Stop(ActorId),
    Drain(ActorId),
    Kill(ActorId),
    Config,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Outcome {
    Names(Vec<String>),
    Found(bool),
    Begun,
    Failed(AskError),
}

impl Message for Task {
    type Reply = Outcome;
    const NAME: &'static str = "task";
}

impl Actor for Steward {
    type Params = ();
    const NAME: &'static str = "steward";

    fn commands(commands: &mut Commands<Self>) {
        commands.on::<Task>();
    }

    fn init((): (), _: &mut Context<'_, Self>) -> Result<Self, Failure> {
        Ok(Self)
    }
}

impl Handler<Task> for Steward {
    fn handle(&mut self, task: Task, ctx: &mut Context<'_, Self>) -> Outcome {
        let arbiter = ctx.arbiter();
        let done = match task {
            Task::Look => arbiter.tree().wait().map(|tree| {
                let names = tree.actors.into_iter().map(|actor| actor.info.name);
                Outcome::Names(names.collect())
            }),
            Task::Stop(id) => arbiter.stop_actor(id).wait().map(Outcome::Found),
            Task::Drain(id) => arbiter.drain_actor(id, LIMIT).wait().map(Outcome::Found),
            Task::Kill(id) => arbiter.kill_actor(id).wait().map(|()| Outcome::Begun),
            Task::Config => arbiter.config_get("workers").wait().map(|_| Outcome::Begun),
        };
        done.unwrap_or_else(Outcome::Failed)
    }
}

fn counter(name: &str) -> Spec<Counter> {
    Spec::<Counter>::new(Start::default()).name(name)
}

#[test]
fn the_arbiter_obeys_actors_in_threads_and_processes() {
    with_arbiter(|arbiter| {
        let audits = arbiter.audit(64);
        for placement in [Placement::Thread, Placement::Process] {
            let steward = Spec::<Steward>::new(()).placement(placement);
            let steward = spawn(arbiter, steward.name("steward"));
            let [stopped, drained, killed] =
                ["stopped", "drained", "killed"].map(|name| spawn(arbiter, counter(name)));
            let ask = |task| steward.ask_timeout(task, LIMIT).expect("an answer");
            let names = ["steward", "stopped", "drained", "killed"].map(str::to_owned);
            assert_eq!(ask(Task::Look), Outcome::Names(names.to_vec()));
            let pid = killed.ask_timeout(Pid, LIMIT).expect("a process");
            assert_eq!(ask(Task::Stop(stopped.id())), Outcome::Found(true));
            assert_eq!(ask(Task::Stop(stopped.id())), Outcome::Found(false));
            assert_eq!(ask(Task::Drain(drained.id())), Outcome::Found(true));
            assert_eq!(ask(Task::Kill(killed.id())), Outcome::Begun);
            eventually(|| !is_alive(pid) && killed.incarnation() == 1);
            let unknown = AskError::UnknownCommand("config".to_owned());
            assert_eq!(ask(Task::Config), Outcome::Failed(unknown));
            // It cannot wait for its own end.
            let own = Task::Stop(steward.id());
            if placement == Placement::Process {
                assert_eq!(ask(own), Outcome::Failed(AskError::Deadlock));
                let by = Caller::Actor(steward.id());
                for deed in [stopped.id(), stopped.id(), drained.id()].map(Deed::Stop) {
                    let audit = audits.recv_timeout(LIMIT).expect("an entry");
                    assert_eq!((audit.caller, audit.deed), (by.clone(), deed));
                }
            } else {
                arbiter.stop_actor(steward.id()).wait().expect("an end");
            }
            arbiter.stop_actor(killed.id()).wait().expect("an end");
            eventually(|| arbiter.names().is_empty());
        }
    });
}

#[test]
fn only_who_is_beside_the_arbiter_has_all_of_it() {
    with_arbiter(|arbiter| {
        for placement in PLACEMENTS {
            let spec = Spec::<Beside>::new(()).placement(placement);
            let beside = spawn(arbiter, spec.name(placement.to_string()));
            let here = beside.ask_timeout(IsHere, LIMIT).expect("an answer");
            assert_eq!(here, placement != Placement::Process, "{placement}");
        }
    });
}

/// Looks whether the arbiter is in its process.
pub(crate) struct Beside;

#[derive(Debug, Serialize, Deserialize)]
struct IsHere;

impl Message for IsHere {
    type Reply = bool;
    const NAME: &'static str = "is-here";
}

impl Actor for Beside {
    type Params = ();
    const NAME: &'static str = "beside";

    fn commands(commands: &mut Commands<Self>) {
        commands.on::<IsHere>();
    }

    fn init((): (), _: &mut Context<'_, Self>) -> Result<Self, Failure> {
        Ok(Self)
    }
}

impl Handler<IsHere> for Beside {
    fn handle(&mut self, _: IsHere, ctx: &mut Context<'_, Self>) -> bool {
        ctx.arbiter().here().is_some()
    }
}
