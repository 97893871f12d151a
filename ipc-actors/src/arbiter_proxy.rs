//! The arbiter, for an actor wherever that runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::deferred::deferred;
use crate::local::Bringer;
use crate::remote::{Manage, Managed, Ordered};
use crate::upward::Upward;
use crate::{
    Access, Actor, ActorId, Arbiter, AskError, Deferred, Proxy, SpawnError, Spec, TreeInfo,
};

/// Reaches the arbiter of an actor, wherever the actor runs: see [`Context::arbiter`](crate::Context::arbiter).
///
/// From an actor's own process it is asked over the lane on which that reports, never behind messages, with
/// the rights of [`Access::Peer`]; whoever [audits](Arbiter::audit) the arbiter is told of what changes
/// something. When the arbiter is gone the answers are [`NotStarted`](AskError::NotStarted), or
/// [`Lost`](AskError::Lost) for what was under way.
#[derive(Clone)]
pub struct ArbiterProxy {
    way: Way,
}

#[derive(Clone)]
enum Way {
    Here(Arbiter),
    Up(Arc<Upward>),
    Nowhere,
}

impl ArbiterProxy {
    /// The arbiter of an actor of this process; `here` if it is in this process.
    pub(crate) fn of(here: Option<&Arbiter>) -> Self {
        let way = match (here, Upward::here()) {
            (Some(arbiter), _) => Way::Here(arbiter.clone()),
            (None, Some(up)) => Way::Up(up),
            (None, None) => Way::Nowhere,
        };
        Self { way }
    }

    /// The arbiter itself, if it is in this process: with all that it can do.
    #[must_use]
    pub fn here(&self) -> Option<&Arbiter> {
        match &self.way {
            Way::Here(arbiter) => Some(arbiter),
            Way::Up(_) | Way::Nowhere => None,
        }
    }

    /// Spawns an actor, as [`Arbiter::spawn`] does. A process may ask for the kinds that
    /// [`Arbiter::allow_spawn`] was called for. An actor on the loop cannot wait for the result there
    /// ([`Deadlock`](SpawnError::Deadlock)).
    pub fn spawn<B: Actor>(&self, spec: Spec<B>) -> Deferred<Proxy<B>, SpawnError> {
        match &self.way {
            Way::Here(arbiter) => arbiter.spawn(spec).into_deferred(),
            Way::Up(up) => up.spawn(&spec),
            Way::Nowhere => Deferred::ready(Err(SpawnError::Disconnected)),
        }
    }

    /// The actor of this name, if there is one and it is of this type. On the loop and in threads the answer
    /// is there at once.
    pub fn get_actor<B: Actor>(&self, name: &str) -> Deferred<Option<Proxy<B>>, AskError> {
        match &self.way {
            Way::Here(arbiter) => Deferred::ready(Ok(arbiter.get_actor(name))),
            Way::Up(up) => up.find(name),
            Way::Nowhere => Deferred::ready(Err(AskError::NotStarted)),
        }
    }

    /// What the arbiter has below it: [`Arbiter::tree`].
    pub fn tree(&self) -> Deferred<TreeInfo, AskError> {
        self.order(Manage::Tree, None, Managed::tree)
    }

    /// Ends an actor for good: [`Arbiter::stop_actor`]. Answers, when it is gone, whether there was one; an
    /// actor cannot wait for that of itself.
    pub fn stop_actor(&self, id: ActorId) -> Deferred<bool, AskError> {
        self.order(Manage::StopActor(id.to_u64()), Some(id), Managed::found)
    }

    /// Ends an actor when it has handled what it has, at the latest after `limit`:
    /// [`Arbiter::drain_actor`]. Answers as [`stop_actor`](Self::stop_actor).
    pub fn drain_actor(&self, id: ActorId, limit: Duration) -> Deferred<bool, AskError> {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let order = Manage::DrainActor(id.to_u64(), limit_ms);
        self.order(order, Some(id), Managed::found)
    }

    /// Kills the present incarnation of an actor: [`Arbiter::kill_actor`]. The answer comes when that has
    /// begun.
    pub fn kill_actor(&self, id: ActorId) -> Deferred<(), AskError> {
        self.order(Manage::KillActor(id.to_u64()), Some(id), Managed::done)
    }

    /// Replaces the workers of all pools: [`Arbiter::reload`]. The answer comes when that has begun.
    pub fn reload(&self) -> Deferred<(), AskError> {
        self.order(Manage::Reload, None, Managed::done)
    }

    /// Ends the arbiter and with it all actors: [`Arbiter::stop`]. The answer comes when that has begun.
    pub fn shutdown(&self) -> Deferred<(), AskError> {
        self.order(Manage::Shutdown, None, Managed::done)
    }

    /// The value of a setting of the program, which must be an [`Application`](crate::Application); `None`
    /// if there is no such setting. That of a secret is `***`.
    pub fn config_get(&self, name: &str) -> Deferred<Option<String>, AskError> {
        let order = Manage::ConfigGet(name.to_owned());
        self.order(order, None, |managed| match managed {
            Managed::Setting(value) => Some(value),
            _ => None,
        })
    }

    /// `of` cannot wait for it.
    fn order<T: Send + 'static>(
        &self,
        order: Manage,
        of: Option<ActorId>,
        expected: fn(Managed) -> Option<T>,
    ) -> Deferred<T, AskError> {
        let (resolver, answer) = deferred();
        let ordered: Ordered = Box::new(move |managed| {
            let answer = managed.and_then(|managed| expected(managed).ok_or(AskError::Lost));
            resolver.resolve(answer);
        });
        match &self.way {
            Way::Here(arbiter) => {
                arbiter.obey(&order, Access::Supervisor, ordered);
                answer.brought_by(arbiter.shared.home.bringer())
            }
            Way::Up(up) => {
                up.manage(order, ordered);
                answer.brought_by(of.map_or(Bringer::Anybody, Bringer::Actor))
            }
            Way::Nowhere => {
                ordered(Err(AskError::NotStarted));
                answer
            }
        }
    }
}

impl fmt::Debug for ArbiterProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArbiterProxy")
            .field("is_here", &self.here().is_some())
            .finish()
    }
}
