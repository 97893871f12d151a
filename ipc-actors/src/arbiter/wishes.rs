//! What actors in their own processes want of the arbiter.

use std::sync::Arc;

use ipc_core::Deadline;
use ipc_dispatch::Context;
use ipc_marshal::{Attached, Sender};

use super::tree::Tree;
use crate::audit::brief;
use crate::command::CommandId;
use crate::direct;
use crate::remote::{Manage, Opened};
use crate::upward::{Grant, Offspring, Whereabouts, Wish};
use crate::wire::{Block, Order, ToActor};
use crate::{
    Access, Actor, ActorId, Arbiter, AskError, Caller, Deed, Deferred, ExitReason, Info, Proxy,
    SpawnError,
};

/// Spawns an actor of one kind.
pub(super) type Midwife =
    fn(&Arbiter, Offspring) -> Result<Deferred<Whereabouts, SpawnError>, AskError>;

pub(super) fn midwife<A: Actor>(
    arbiter: &Arbiter,
    offspring: Offspring,
) -> Result<Deferred<Whereabouts, SpawnError>, AskError> {
    let spawning = arbiter.spawn(offspring.into_spec::<A>()?);
    let (resolver, spawned) = crate::deferred::deferred();
    spawning
        .into_deferred()
        .then(move |proxy| resolver.resolve(proxy.map(|proxy| whereabouts(&proxy))));
    Ok(spawned)
}

pub(crate) fn whereabouts<A: Actor>(proxy: &Proxy<A>) -> Whereabouts {
    Whereabouts {
        id: proxy.id().to_u64(),
        name: proxy.name().to_owned(),
        kind: A::NAME.to_owned(),
        placement: proxy.placement(),
    }
}

/// What actors in processes may have the arbiter do.
const RIGHTS: Access = Access::Peer;

/// The way back to who had a wish.
#[derive(Clone)]
struct Back {
    arbiter: Arbiter,
    id: ActorId,
    orders: Sender<ToActor>,
}

impl Back {
    /// Never waits: a process that does not read what it has asked for is ended.
    fn grant(&self, grant: Grant) {
        let refused = self.orders.try_send(ToActor(Order::Grant(grant))).is_err();
        if refused && self.orders.try_flush().is_ok() {
            self.arbiter.kill_actor(self.id);
        }
    }

    fn answer(&self, request: u64, answer: Result<Block, AskError>) {
        self.grant(Grant::Answer(request, answer));
    }

    /// Has a message delivered. No answer is wanted if the request is zero.
    fn call(
        self,
        (request, actor): (u64, u64),
        command: CommandId,
        body: Block,
        found: Option<Arc<dyn Opened>>,
    ) {
        let body: Arc<[u8]> = body.0.into();
        let answered = Box::new(move |answer: Result<&[u8], AskError>| match answer {
            Err(_) if request == 0 => self.grant(Grant::Lost(actor)),
            _ if request == 0 => {}
            answer => self.answer(request, answer.map(|bytes| Block(bytes.to_vec()))),
        });
        match found {
            // What comes from a process of this arbiter has no other limit than a frame's.
            Some(found) => match found.check(command, 0, RIGHTS) {
                Ok(()) => found.call(command, &body, answered),
                Err(refused) => answered(Err(refused)),
            },
            None => answered(Err(AskError::NotStarted)),
        }
    }

    fn manage(self, request: u64, order: &Manage) {
        let (needed, name) = order.required();
        let allowed = RIGHTS >= needed;
        if let Some(deed) = order.deed() {
            let auditors = &self.arbiter.shared.auditors;
            auditors.tell(allowed, || deed, || Caller::Actor(self.id));
        }
        let arbiter = self.arbiter.clone();
        let answered = move |answer| self.grant(Grant::Managed(request, answer));
        if allowed {
            arbiter.obey(order, RIGHTS, answered);
        } else {
            answered(Err(AskError::Forbidden(name.to_owned())));
        }
    }
}

impl Tree {
    /// Does what an actor in its own process wants, with the rights of an actor of this arbiter.
    pub(super) fn wish(
        ctx: &mut Context<'_, Self>,
        id: ActorId,
        orders: &Sender<ToActor>,
        wish: Wish,
    ) {
        let arbiter = Arbiter::new(Arc::clone(&ctx.state.shared));
        let back = Back {
            arbiter,
            id,
            orders: orders.clone(),
        };
        let opened = |actor| back.arbiter.shared.find_id(ActorId(actor));
        match wish {
            Wish::Find { request, name } => {
                let found = back.arbiter.shared.find(&name).map(|opened| Whereabouts {
                    id: opened.id().to_u64(),
                    name,
                    kind: opened.kind().to_owned(),
                    placement: opened.placement(),
                });
                back.grant(Grant::Found(request, found));
            }
            Wish::Call {
                request,
                actor,
                command,
                body,
            } => {
                let found = opened(actor);
                back.call((request, actor), CommandId(command), body, found);
            }
            Wish::Ping { request, actor } => match opened(actor) {
                Some(found) => found.ping().then(move |pong| {
                    back.answer(request, pong.map(|()| Block::default()));
                }),
                None => back.answer(request, Err(AskError::NotStarted)),
            },
            Wish::Info { request, actor } => {
                let found = opened(actor);
                let told = move |info: Result<Info, AskError>| {
                    back.grant(Grant::Info(request, info.map(Box::new)));
                };
                match found {
                    Some(found) => found.info().then(told),
                    None => told(Err(AskError::NotStarted)),
                }
            }
            Wish::Stop { actor } => {
                let found = opened(actor);
                let auditors = &back.arbiter.shared.auditors;
                let (deed, who) = (|| Deed::Stop(ActorId(actor)), || Caller::Actor(id));
                auditors.tell(found.is_some(), deed, who);
                if let Some(found) = found {
                    found.stop();
                }
            }
            Wish::Lane { request, actor } => {
                let made = Self::lane(ctx, &back, request, ActorId(actor));
                made.unwrap_or_else(|error| back.grant(Grant::Lane(request, Err(error))));
            }
            Wish::Manage { request, order } => back.manage(request, &order),
            Wish::Spawn { request, offspring } => Self::spawn_wished(&back, request, *offspring),
        }
    }

    /// Gives two processes the ends of a lane between them. What then goes over it is nothing of the
    /// arbiter's: the one that is asked heeds the commands that the other may use.
    fn lane(
        ctx: &mut Context<'_, Self>,
        back: &Back,
        request: u64,
        actor: ActorId,
    ) -> Result<(), AskError> {
        let found = back.arbiter.shared.find_id(actor);
        let commands = found.ok_or(AskError::NotStarted)?.commands(Access::Peer);
        // The one that asks may be on its way up: its first hooks ask for what it will need.
        let mut of = |id, is_asked: bool| {
            let process = ctx.state.actors.get_mut(&id)?.slot.process()?;
            let serves = !is_asked || process.is_up();
            serves.then(|| process.lane()).flatten()
        };
        let (from, to) = match (of(back.id, false), of(actor, true)) {
            (Some(from), Some(to)) if back.id != actor => (from, to),
            _ => return Err(AskError::NotStarted),
        };
        let (one, other) = direct::ends().map_err(|_| AskError::Full)?;
        let order = |order, end| Attached::new(ToActor(order)).attach(end);
        let told = to.send_attached(order(Order::Lane(commands), one), Deadline::Now);
        told.map_err(|_| AskError::Full)?;
        let grant = Order::Grant(Grant::Lane(request, Ok(())));
        let granted = from.send_attached(order(grant, other), Deadline::Now);
        granted.map_err(|_| AskError::Full)
    }

    fn spawn_wished(back: &Back, request: u64, offspring: Offspring) {
        let midwife = back.arbiter.shared.midwife(&offspring.kind);
        let deed = || Deed::Spawn(brief(&offspring.kind));
        let auditors = &back.arbiter.shared.auditors;
        auditors.tell(midwife.is_some(), deed, || Caller::Actor(back.id));
        let spawned = match midwife {
            Some(midwife) => midwife(&back.arbiter, offspring).map_err(|error| error.to_string()),
            None => Err(format!("processes may not spawn a {}", offspring.kind)),
        };
        match spawned {
            Ok(spawned) => {
                let back = back.clone();
                spawned.then(move |spawned| {
                    let spawned = spawned.map_err(|error| error.to_string());
                    back.grant(Grant::Spawned(request, spawned));
                });
            }
            Err(error) => back.grant(Grant::Spawned(request, Err(error))),
        }
    }

    /// Tells an actor that traps exits of the end of one that it was linked to. Answers whether it does.
    pub(super) fn tell_of_exit(
        &mut self,
        id: ActorId,
        linked: ActorId,
        reason: &ExitReason,
    ) -> bool {
        let entry = self.actors.get_mut(&id);
        entry.is_some_and(|entry| entry.slot.trap(linked, reason))
    }
}
