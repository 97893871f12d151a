//! Who learns of an actor's end, and who ends with it.

use ipc_dispatch::Context;

use super::tree::{Entry, Told, Tree};
use crate::deferred::{Resolver, deferred};
use crate::{ActorId, Arbiter, Deferred, ExitReason, SpawnError};

/// The end of an incarnation, as [`Arbiter::watch`](crate::Arbiter::watch) tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// The actor.
    pub id: ActorId,
    /// Which incarnation has ended; zero if there was no such actor.
    pub incarnation: u32,
    /// Why. [`ExitReason::NoSuchActor`] if there was no such actor.
    pub reason: ExitReason,
    /// How many messages that were only told are lost with it: those that had left for its process
    /// and were not seen to be handled. After a crash some of them may have been handled since the
    /// last answer; asks are not counted, as each is told its own end.
    pub lost: u64,
    /// The message that it may have been working on when its process died: the first of those it had
    /// been asked and had not answered.
    pub at_hand: Option<String>,
}

pub(super) type DownResolver = Resolver<Down, SpawnError>;

impl Arbiter {
    /// Tells of the end of an actor's present incarnation, or at once if there is no such actor: what
    /// OTP calls a monitor. One-way, and as many as are wanted.
    pub fn watch(&self, id: ActorId) -> Deferred<Down, SpawnError> {
        let (resolver, down) = deferred();
        match self
            .shared
            .poster
            .post(move |ctx| Tree::watch(ctx, id, resolver))
        {
            Ok(()) => down,
            Err(_) => Deferred::ready(Err(SpawnError::Disconnected)),
        }
    }

    /// Links two actors: when the present incarnation of either ends other than normally, so does the
    /// other's, with [`ExitReason::Linked`]; a process is killed, others end after the message at hand.
    /// An actor that traps exits ([`Spec::trap_exits`](crate::Spec::trap_exits)) is told instead.
    /// Their supervisors then decide what becomes of each, and the link is gone. If one of them is not
    /// there, the other ends at once.
    pub fn link(&self, one: ActorId, other: ActorId) {
        // An arbiter that is gone has taken both along.
        let _ = self
            .shared
            .poster
            .post(move |ctx| Tree::link(ctx, one, other));
    }

    /// Takes a link away.
    pub fn unlink(&self, one: ActorId, other: ActorId) {
        let _ = self.shared.poster.post(move |ctx| {
            for (id, linked) in [(one, other), (other, one)] {
                if let Some(entry) = ctx.state.actors.get_mut(&id) {
                    entry.links.retain(|&link| link != linked);
                }
            }
        });
    }
}

impl Tree {
    fn watch(ctx: &mut Context<'_, Self>, id: ActorId, resolver: DownResolver) {
        match ctx.state.actors.get_mut(&id) {
            Some(entry) => entry.watchers.push(resolver),
            None => {
                let reason = ExitReason::NoSuchActor;
                resolver.resolve(Ok(Down {
                    id,
                    incarnation: 0,
                    reason,
                    lost: 0,
                    at_hand: None,
                }));
            }
        }
    }

    fn link(ctx: &mut Context<'_, Self>, one: ActorId, other: ActorId) {
        for (id, linked) in [(one, other), (other, one)] {
            if !ctx.state.actors.contains_key(&linked) {
                Self::end_linked(ctx, id, linked, ExitReason::NoSuchActor);
            } else if let Some(entry) = ctx.state.actors.get_mut(&id)
                && !entry.links.contains(&linked)
            {
                entry.links.push(linked);
            }
        }
    }

    /// Ends an actor because one that it is linked to has ended.
    fn end_linked(ctx: &mut Context<'_, Self>, id: ActorId, from: ActorId, reason: ExitReason) {
        if ctx.state.tell_of_exit(id, from, &reason) {
            return;
        }
        let Some(entry) = ctx.state.actors.get_mut(&id) else {
            return;
        };
        let reason = ExitReason::Linked(Box::new(reason));
        let incarnation = entry.slot.incarnation();
        let ended = match entry.slot.process() {
            Some(_) => entry.slot.kill(reason),
            None => entry.slot.stop(reason),
        };
        if let Some(reason) = ended {
            Self::told(ctx, id, incarnation, Told::Ended(reason));
        }
    }

    /// Tells those who watch an incarnation, and ends those linked to it.
    pub(super) fn tell_of_end(ctx: &mut Context<'_, Self>, down: &Down) {
        let Some(entry) = ctx.state.actors.get_mut(&down.id) else {
            return;
        };
        let Entry {
            watchers, links, ..
        } = entry;
        let (watchers, links) = (std::mem::take(watchers), std::mem::take(links));
        for watcher in watchers {
            watcher.resolve(Ok(down.clone()));
        }
        for linked in links {
            if let Some(entry) = ctx.state.actors.get_mut(&linked) {
                entry.links.retain(|&link| link != down.id);
            }
            if down.reason != ExitReason::Normal {
                Self::end_linked(ctx, linked, down.id, down.reason.clone());
            }
        }
    }
}
