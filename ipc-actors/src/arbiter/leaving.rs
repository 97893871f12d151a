//! The end of one actor, after what waits for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipc_dispatch::Context;

use super::handle::Arbiter;
use super::tree::{GoneResolver, Owner, Tree};
use crate::deferred::deferred;
use crate::remote::Opened;
use crate::{ActorId, AskError, Deferred, ExitReason, SpawnError};

impl Arbiter {
    /// Ends an actor for good when it has handled what it was sent: from now on senders are told
    /// [`Draining`](crate::SendError::Draining), what waits is handled, and then it is stopped as by
    /// [`stop_actor`](Self::stop_actor), as it is when `limit` has passed before. Should it end on the
    /// way, its supervisor does what its policy says, and the next incarnation goes on with what waits.
    ///
    /// Senders on a [lane of their own](crate::Proxy::direct) are not told before it stops; what it has not
    /// begun of theirs ends with [`NotStarted`](AskError::NotStarted). Answers kept for later are not waited
    /// for. A pool's worker is replaced, as it would be by [`Monitor::reload`](crate::Monitor::reload): it
    /// finishes what it has, and the pool goes on.
    ///
    /// Answers, when it is gone, why it ended; `None` if there is no such actor.
    pub fn drain_actor(
        &self,
        id: ActorId,
        limit: Duration,
    ) -> Deferred<Option<ExitReason>, SpawnError> {
        let (resolver, gone) = deferred();
        let posted = self
            .shared
            .poster
            .post(move |ctx| Tree::drain_actor(ctx, id, limit, resolver));
        match posted {
            Ok(()) => gone.brought_by(self.shared.home.bringer()),
            Err(_) => Deferred::ready(Err(SpawnError::Disconnected)),
        }
    }
}

/// One that is drained.
#[derive(Clone)]
struct Leaving {
    id: ActorId,
    actor: Arc<dyn Opened>,
    /// Whoever waits for it to be gone; `None` once it was told to stop.
    gone: Arc<Mutex<Option<GoneResolver>>>,
}

impl Tree {
    fn drain_actor(ctx: &mut Context<'_, Self>, id: ActorId, limit: Duration, gone: GoneResolver) {
        let owner = ctx.state.actors.get(&id).map(|entry| entry.owner);
        let alone = matches!(owner, Some(Owner::Child(..) | Owner::Nobody));
        let actor = ctx.state.shared.find_id(id).filter(|_| alone);
        let Some(actor) = actor else {
            return Self::stop_actor(ctx, id, gone);
        };
        let gone = Arc::new(Mutex::new(Some(gone)));
        let leaving = Leaving { id, actor, gone };
        leaving.clone().drain(ctx);
        ctx.alarm(limit, move |ctx| leaving.stop(ctx));
    }
}

impl Leaving {
    fn drain(self, ctx: &mut Context<'_, Tree>) {
        let poster = ctx.poster();
        let actor = Arc::clone(&self.actor);
        actor.drain().then(move |done| {
            // Without a loop there is no actor either.
            let _ = poster.post(move |ctx| match done {
                // The incarnation that was at it is gone: the next one has what was not sent to that.
                Err(AskError::Started | AskError::NotStarted) if self.is_there(ctx) => {
                    self.drain(ctx);
                }
                _ => self.stop(ctx),
            });
        });
    }

    fn is_there(&self, ctx: &Context<'_, Tree>) -> bool {
        ctx.state.actors.contains_key(&self.id)
    }

    fn stop(&self, ctx: &mut Context<'_, Tree>) {
        let gone = self.gone.lock();
        let gone = gone.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(gone) = gone {
            Tree::stop_actor(ctx, self.id, gone);
        }
    }
}
