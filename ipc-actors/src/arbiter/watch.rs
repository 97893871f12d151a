//! Who learns of an actor's end, and who ends with it.

use std::fmt;

use ipc_dispatch::Context;

use super::tree::{Entry, Told, Tree};
use crate::deferred::{Resolver, deferred};
use crate::{ActorId, Arbiter, Deferred, ExitReason, SpawnError};

/// The end of an incarnation, as [`Arbiter::watch`](crate::Arbiter::watch) tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// The actor.
    pub id: ActorId,
    /// Its name; empty if there was no such actor.
    pub name: String,
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
    /// The end of what its process wrote to standard error, if that died and was not just stopped
    /// ([`Spec::keep_output`](crate::Spec::keep_output)). It may hold anything that the program prints.
    pub output: String,
}

impl Down {
    /// Nothing is known of it.
    fn unknown(id: ActorId) -> Self {
        Self {
            id,
            name: String::new(),
            incarnation: 0,
            reason: ExitReason::NoSuchActor,
            lost: 0,
            at_hand: None,
            output: String::new(),
        }
    }
}

impl fmt::Display for Down {
    /// A line for a log, however many its output has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, id, incarnation) = (&self.name, self.id, self.incarnation);
        write!(f, "actor {name:?} ({id}/{incarnation}): {}", self.reason)?;
        if let Some(message) = &self.at_hand {
            write!(f, ", working on {message:?}")?;
        }
        if self.lost > 0 {
            write!(f, ", {} messages lost", self.lost)?;
        }
        if !self.output.is_empty() {
            write!(f, ", last output {:?}", self.output)?;
        }
        Ok(())
    }
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
            Ok(()) => down.brought_by(self.shared.home.bringer()),
            Err(_) => Deferred::ready(Err(SpawnError::Disconnected)),
        }
    }

    /// Has `hook` told of the end of every incarnation of every actor, clean ends too: the place to
    /// write a log line ([`Down`] displays as one) or to count. It runs on the arbiter's loop and must
    /// not block there. A second one takes the place of the first.
    pub fn on_end(&self, hook: impl FnMut(&Down) + Send + 'static) {
        // An arbiter that is gone has no ends to tell of.
        let _ = self
            .shared
            .poster
            .post(move |ctx| ctx.state.on_end = Some(Box::new(hook)));
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
                ctx.state.unlink(id, linked);
            }
        });
    }
}

impl Tree {
    fn watch(ctx: &mut Context<'_, Self>, id: ActorId, resolver: DownResolver) {
        match ctx.state.actors.get_mut(&id) {
            Some(entry) => entry.rare_mut().watchers.push(resolver),
            None => resolver.resolve(Ok(Down::unknown(id))),
        }
    }

    fn link(ctx: &mut Context<'_, Self>, one: ActorId, other: ActorId) {
        for (id, linked) in [(one, other), (other, one)] {
            if !ctx.state.actors.contains_key(&linked) {
                Self::end_linked(ctx, id, linked, ExitReason::NoSuchActor);
            } else if let Some(entry) = ctx.state.actors.get_mut(&id) {
                entry.rare_mut().links.insert(linked);
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
        if let Some(hook) = &mut ctx.state.on_end {
            hook(down);
        }
        let entry = ctx.state.actors.get_mut(&down.id);
        let Some(rare) = entry.and_then(Entry::rare_if_any) else {
            return;
        };
        let watchers = std::mem::take(&mut rare.watchers);
        let links = std::mem::take(&mut rare.links);
        for watcher in watchers {
            watcher.resolve(Ok(down.clone()));
        }
        for linked in links {
            ctx.state.unlink(linked, down.id);
            if down.reason != ExitReason::Normal {
                Self::end_linked(ctx, linked, down.id, down.reason.clone());
            }
        }
    }

    /// Takes one side of a link away.
    fn unlink(&mut self, id: ActorId, linked: ActorId) {
        let entry = self.actors.get_mut(&id);
        if let Some(rare) = entry.and_then(Entry::rare_if_any) {
            rare.links.remove(&linked);
        }
    }
}
